// SPDX-License-Identifier: Apache-2.0
// RAM that other processes can map.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "softmmu/memory/memory.h"

namespace emu::mem {
namespace {

constexpr u64 kSize = 4 << 20;  // two huge pages

TEST(SharedRam, OthersSeeTheSameBytes) {
  Memory memory;
  auto ram = memory.make_ram("r", kSize, {.shared = true});
  ASSERT_TRUE(ram.has_value()) << ram.error().text();
  ASSERT_GE((*ram)->shared_fd(), 0);
  auto* theirs = static_cast<u8*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, (*ram)->shared_fd(), 0));
  ASSERT_NE(theirs, MAP_FAILED);
  const u8 byte = 0x5a;
  (*ram)->write(kSize - 1, &byte, 1);
  EXPECT_EQ(theirs[kSize - 1], 0x5a);
  theirs[3] = 0x77;
  u8 seen = 0;
  (*ram)->read(3, &seen, 1);
  EXPECT_EQ(seen, 0x77);
  (*ram)->discard(0, kPageSize);
  (*ram)->read(3, &seen, 1);
  EXPECT_EQ(seen, 0);
  EXPECT_EQ(theirs[3], 0);
  munmap(theirs, kSize);
}

TEST(SharedRam, NobodyCanCutItShort) {
  Memory memory;
  auto ram = memory.make_ram("r", kSize, {.shared = true});
  ASSERT_TRUE(ram.has_value());
  EXPECT_NE(ftruncate((*ram)->shared_fd(), 0), 0);
}

TEST(SharedRam, OrdinaryRamIsPrivate) {
  Memory memory;
  EXPECT_EQ((*memory.make_ram("r", kSize))->shared_fd(), -1);
}

}  // namespace
}  // namespace emu::mem
