// SPDX-License-Identifier: Apache-2.0
// Images of RAM: what was there comes back, and only what differs is written.
#include "softmmu/memory/ram_image.h"

#include <gtest/gtest.h>

namespace emu::mem {
namespace {

struct Writes final : RamListener {
  std::vector<u32> pages;
  void code_page_written(RamPage page, u32, u32) override { pages.push_back(u32(page)); }
  void write_tracking_restarted(RamPage, u64) override {}
};

u64 word(const RamBlock& ram, u64 at) {
  u64 value = 0;
  ram.read(at, &value, sizeof value);
  return value;
}
void put(RamBlock& ram, u64 at, u64 value) { ram.write(at, &value, sizeof value); }

TEST(RamImage, ComesBackWhereItDiffers) {
  Memory memory;
  RamRef ram = *memory.make_ram("ram", 16 * kPageSize), rom = *memory.make_ram("rom", kPageSize);
  put(*ram, 0x1008, 1);
  put(*ram, 0x2ff8, 2);
  put(*rom, 0, 3);
  const RamImage first = RamImage::take(memory, nullptr);
  put(*ram, 0x1008, 10);
  put(*ram, 0x5000, 11);  // was zeros
  ram->fill(0x2000, 0, kPageSize);
  put(*rom, 0, 12);
  const RamImage second = RamImage::take(memory, &first);
  EXPECT_FALSE(first == second);

  Writes writes;
  memory.add_ram_listener(writes);
  for (u64 at = 0; at < ram->size(); at += kPageSize) ram->set_code(ram->page_at(at));
  ASSERT_TRUE(first.restore(memory).has_value());
  EXPECT_EQ(word(*ram, 0x1008), 1u);
  EXPECT_EQ(word(*ram, 0x2ff8), 2u);
  EXPECT_EQ(word(*ram, 0x5000), 0u);
  EXPECT_EQ(word(*rom, 0), 3u);
  EXPECT_EQ(writes.pages, (std::vector<u32>{1, 2, 5}));
  EXPECT_TRUE(RamImage::take(memory, nullptr) == first);
  ASSERT_TRUE(second.restore(memory).has_value());
  EXPECT_TRUE(RamImage::take(memory, &first) == second);
  memory.remove_ram_listener(writes);
}

TEST(RamImage, OtherBlocksAreRefused) {
  Memory memory;
  RamRef ram = *memory.make_ram("ram", kPageSize);
  const RamImage image = RamImage::take(memory, nullptr);
  RamRef more = *memory.make_ram("more", kPageSize);
  EXPECT_FALSE(image.restore(memory).has_value());
  ram.reset();
  EXPECT_FALSE(image.restore(memory).has_value());
}

}  // namespace
}  // namespace emu::mem
