// SPDX-License-Identifier: Apache-2.0
// The memory of one machine.
#include "softmmu/memory/memory.h"

#include <fmt/format.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace emu::mem {

namespace {

constexpr u64 kHugePage = u64(2) << 20;

/// Anonymous zeroed memory, aligned so that huge pages fit.
u8* map_anonymous(u64 size, bool aligned) {
  const u64 slack = aligned ? kHugePage : 0;
  void* got = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  auto* start = static_cast<u8*>(got);
  if (slack == 0) return start;
  const u64 head = align_up(u64(start), kHugePage) - u64(start);
  if (head > 0) munmap(start, head);
  if (head < slack) munmap(start + head + size, slack - head);
  return start + head;
}

/// Puts a file without a name in the place of anonymous memory. Nobody who gets the descriptor can make it shorter.
Result<Fd> share(u8* start, u64 size) {
  Fd fd(memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ftruncate(fd.get(), off_t(size)) != 0) return error("cannot make shared memory: {}", std::strerror(errno));
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return error("cannot seal shared memory: {}", std::strerror(errno));
  }
  constexpr int kFlags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
  if (mmap(start, size, PROT_READ | PROT_WRITE, kFlags, fd.get(), 0) == MAP_FAILED) {
    return error("cannot map shared memory: {}", std::strerror(errno));
  }
  return fd;
}

}  // namespace

Memory::Memory() = default;

Memory::~Memory() {
  EMU_CHECK(spaces_.empty());
  while (grace_.poll()) {}
  EMU_CHECK(blocks_.empty());  // a block refers to its Memory
}

Result<RamRef> Memory::make_ram(std::string id, u64 size, RamOptions options) {
  if (size == 0 || size > (u64(1) << 47)) return error("RAM block '{}': size {} is not possible", id, size);
  size = align_up(size, kPageSize);
  const u64 pages = size >> kPageShift;
  std::unique_lock hold(ram_mutex_);
  for (const KnownBlock& known : blocks_) {
    if (known.id == id && !known.block.expired()) return error("RAM block '{}' exists already", id);
  }
  if (next_page_ + pages >= u64(u32(kNoRamPage))) return error("RAM block '{}': out of RAM page numbers", id);
  const bool huge = options.huge_pages && size >= kHugePage;
  u8* host = map_anonymous(size, huge);
  if (host == nullptr) return error("cannot allocate {} bytes for RAM block '{}': {}", size, id, std::strerror(errno));
  Fd shared;
  if (options.shared) {
    auto made = share(host, size);
    if (!made) {
      munmap(host, size);
      return error(std::move(made).error().within(fmt::format("RAM block '{}'", id)));
    }
    shared = std::move(*made);
  }
  u8* flags = map_anonymous(pages, false);
  if (flags == nullptr) {
    const int reason = errno;
    munmap(host, size);
    return error("cannot allocate page flags for RAM block '{}': {}", id, std::strerror(reason));
  }
  if (huge) madvise(host, size, MADV_HUGEPAGE);  // only asked for: without it everything works
  if (options.prealloc && madvise(host, size, MADV_POPULATE_WRITE) != 0) {
    for (u64 offset = 0; offset < size; offset += kPageSize) __atomic_store_n(host + offset, u8(0), __ATOMIC_RELAXED);
  }
  const RamPage first{u32(next_page_)};
  next_page_ += pages;
  RamRef block(new RamBlock(*this, id, size, first, host, reinterpret_cast<std::atomic<u8>*>(flags),
                            std::move(shared)));
  blocks_.push_back({std::move(id), u64(u32(first)), pages, block});
  return block;
}

void Memory::forget(RamBlock& block) {
  std::unique_lock hold(ram_mutex_);
  std::erase_if(blocks_, [&](const KnownBlock& known) { return known.first_page == u32(block.first_page()); });
}

// The last reference to a block must not be dropped with ram_mutex_ held: its destructor takes it. So only what is
// returned is ever locked.
RamRef Memory::ram_block_of(RamPage page) const {
  std::shared_lock hold(ram_mutex_);
  for (const KnownBlock& known : blocks_) {
    if (u32(page) >= known.first_page && u32(page) - known.first_page < known.page_count) return known.block.lock();
  }
  return nullptr;
}

RamRef Memory::find_ram_block(std::string_view id) const {
  std::shared_lock hold(ram_mutex_);
  for (const KnownBlock& known : blocks_) {
    if (known.id == id && !known.block.expired()) return known.block.lock();
  }
  return nullptr;
}

std::vector<RamRef> Memory::ram_blocks() const {
  std::vector<RamRef> blocks;
  std::shared_lock hold(ram_mutex_);
  for (const KnownBlock& known : blocks_) {
    if (RamRef block = known.block.lock()) blocks.push_back(std::move(block));
  }
  return blocks;
}

void Memory::add_ram_listener(RamListener& listener) {
  std::unique_lock hold(listener_mutex_);
  ram_listeners_.push_back(&listener);
}

void Memory::remove_ram_listener(RamListener& listener) {
  std::unique_lock hold(listener_mutex_);
  std::erase(ram_listeners_, &listener);
}

void Memory::begin() { ++depth_; }

void Memory::end() {
  EMU_CHECK(depth_ > 0);
  if (--depth_ == 0 && stale_) commit();
}

void Memory::commit() {
  stale_ = false;
  ++depth_;  // a listener that changes the tree is served by the loop below
  const u64 next = generation_.load() + 1;
  for (size_t i = 0; i < spaces_.size(); ++i) spaces_[i]->publish(flatten(*spaces_[i]->root()), next);
  generation_.store(next, std::memory_order_seq_cst);
  --depth_;
  if (stale_) commit();
}

namespace {

const char* kind_name(const Region& region, bool readonly) {
  switch (region.kind()) {
    case Region::Kind::Ram: return readonly ? "rom" : "ram";
    case Region::Kind::Rom: return "rom";
    case Region::Kind::RomDevice: return region.is_rom_mode() ? "romd" : "i/o";
    default: return "i/o";
  }
}

u64 last_of(u64 first, Size size) { return size == 0 ? first : u64(Size(first) + size - 1); }

void describe_region(std::string& out, const Region& region, u64 base, unsigned indent) {
  out += fmt::format("{:{}}{:016x}-{:016x} (prio {}, {}): ", "", indent, base, last_of(base, region.size()),
                     region.priority(), kind_name(region, region.is_readonly()));
  if (const RegionRef& target = region.alias_target()) {
    out += fmt::format("alias {} @{} {:016x}-{:016x}", region.name(), target->name(), region.alias_offset(),
                       last_of(region.alias_offset(), region.size()));
  } else {
    out += region.name();
  }
  out += region.is_enabled() ? "\n" : " [disabled]\n";
  std::vector<const Region*> children;
  for (const RegionRef& child : region.children()) children.push_back(child.get());
  std::stable_sort(children.begin(), children.end(),
                   [](const Region* a, const Region* b) { return a->address() < b->address(); });
  for (const Region* child : children) describe_region(out, *child, base + child->address(), indent + 2);
}

}  // namespace

std::string Memory::describe_tree() const {
  std::string out;
  for (const AddressSpace* space : spaces_) {
    out += fmt::format("address-space: {}\n", space->name());
    describe_region(out, *space->root(), 0, 2);
    out += '\n';
  }
  return out;
}

std::string Memory::describe_flat() const {
  std::string out;
  for (size_t i = 0; i < spaces_.size(); ++i) {
    out += fmt::format("FlatView #{}\n AS \"{}\", root: {}\n", i, spaces_[i]->name(), spaces_[i]->root()->name());
    const FlatView& view = spaces_[i]->view();
    if (view.ranges().empty()) out += "  No rendered FlatView\n";
    for (const FlatRange& range : view.ranges()) {
      out += fmt::format("  {:016x}-{:016x} (prio {}, {}): {}", range.first, range.last, range.region->priority(),
                         kind_name(*range.region, range.readonly), range.region->name());
      if (range.offset_in_region != 0) out += fmt::format(" @{:016x}", range.offset_in_region);
      out += '\n';
    }
    out += '\n';
  }
  return out;
}

}  // namespace emu::mem
