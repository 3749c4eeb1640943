// SPDX-License-Identifier: Apache-2.0
#include "softmmu/memory/ram_image.h"

#include <algorithm>
#include <cstring>

#include "softmmu/memory/host_access.h"

namespace emu::mem {
namespace {

bool is_zero(const u8* page) {
  // Equal to itself one byte on, and the first byte is zero.
  return page[0] == 0 && std::memcmp(page, page + 1, kPageSize - 1) == 0;
}

bool is_equal(const u8* page, const std::array<u8, kPageSize>* kept) {
  return kept == nullptr ? is_zero(page) : std::memcmp(page, kept->data(), kPageSize) == 0;
}

}  // namespace

const RamImage::Block* RamImage::find(const RamImage* image, const std::string& id, u64 pages) {
  if (image == nullptr) return nullptr;
  for (const Block& block : image->blocks_) {
    if (block.id == id && block.pages.size() == pages) return &block;
  }
  return nullptr;
}

RamImage RamImage::take(const Memory& memory, const RamImage* similar) {
  RamImage image;
  for (const RamRef& ram : memory.ram_blocks()) {
    const Block* before = find(similar, ram->id(), ram->page_count());
    Block block{ram->id(), std::vector<PageRef>(ram->page_count())};
    for (u64 i = 0; i < ram->page_count(); ++i) {
      const u8* now = host_address(*ram, i << kPageShift);
      if (before != nullptr && is_equal(now, before->pages[i].get())) {
        block.pages[i] = before->pages[i];
      } else if (!is_zero(now)) {
        auto page = std::make_shared<Page>();
        copy_from_ram(page->data(), now, kPageSize);
        block.pages[i] = std::move(page);
      }
    }
    image.blocks_.push_back(std::move(block));
  }
  return image;
}

Result<void> RamImage::restore(const Memory& memory) const {
  const std::vector<RamRef> blocks = memory.ram_blocks();
  if (blocks.size() != blocks_.size()) return error("RAM was added or removed since");
  static constexpr Page kZeros{};
  for (const RamRef& ram : blocks) {
    const Block* kept = find(this, ram->id(), ram->page_count());
    if (kept == nullptr) return error("RAM block '{}' was not there", ram->id());
    for (u64 i = 0; i < ram->page_count(); ++i) {
      const Page* page = kept->pages[i].get();
      if (is_equal(host_address(*ram, i << kPageShift), page)) continue;
      ram->write(i << kPageShift, (page != nullptr ? page : &kZeros)->data(), kPageSize);
    }
  }
  return {};
}

bool RamImage::operator==(const RamImage& other) const {
  const auto same_page = [](const PageRef& a, const PageRef& b) {
    return a == b || (a != nullptr && b != nullptr && *a == *b);
  };
  const auto same_block = [&](const Block& a, const Block& b) {
    return a.id == b.id && std::equal(a.pages.begin(), a.pages.end(), b.pages.begin(), b.pages.end(), same_page);
  };
  return std::equal(blocks_.begin(), blocks_.end(), other.blocks_.begin(), other.blocks_.end(), same_block);
}

}  // namespace emu::mem
