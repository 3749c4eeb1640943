// SPDX-License-Identifier: Apache-2.0
#include "hw/core/loader.h"

#include <gtest/gtest.h>

#include "support/device_bench.h"

namespace emu::hw {
namespace {

void put(std::string& file, std::size_t at, u64 value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) file[at + i] = char(value >> (8 * i));
}

/// A 64-bit file with one segment of four bytes that is eight bytes in memory.
std::string elf() {
  std::string file(64 + 56 + 4, '\0');
  file.replace(0, 4, "\x7f" "ELF");
  file[4] = 2;
  file[5] = 1;
  put(file, 32, 64, 8);
  put(file, 54, 56, 2);
  put(file, 56, 1, 2);
  put(file, 64, 1, 4);
  put(file, 64 + 8, 120, 8);
  put(file, 64 + 24, 0x2000, 8);
  put(file, 64 + 32, 4, 8);
  put(file, 64 + 40, 8, 8);
  file.replace(120, 4, "code");
  return file;
}

TEST(Loader, ElfSegmentsAreFilledWithZeros) {
  const auto pieces = read_elf_pieces(elf());
  ASSERT_TRUE(pieces);
  ASSERT_EQ(pieces->size(), 1u);
  EXPECT_EQ(pieces->at(0).address, 0x2000u);
  EXPECT_EQ(std::string(pieces->at(0).bytes.begin(), pieces->at(0).bytes.end()), std::string("code\0\0\0\0", 8));
}

TEST(Loader, DamagedElfIsAnError) {
  for (std::size_t length = 0; length < elf().size(); length++) EXPECT_FALSE(read_elf_pieces(elf().substr(0, length)));
  std::string huge = elf();
  put(huge, 64 + 40, ~u64(0), 8);
  EXPECT_FALSE(read_elf_pieces(huge));
}

TEST(Loader, ValueIsThereAfterReset) {
  const auto bytes_for = [](bool big_endian) {
    test::DeviceBench<GenericLoader> bench(
        {{"addr", u64(0x1000)}, {"data", u64(0x1234)}, {"data-len", u64(4)}, {"data-be", big_endian}},
        [](GenericLoader&, test::BenchMachine& machine) { machine.add_ram(0, 0x10000); });
    u64 value = 0;
    EXPECT_EQ(bench.machine().system_memory().load(0x1000, 4, value), mem::MemTxResult::Ok);
    return value;
  };
  EXPECT_EQ(bytes_for(false), 0x1234u);
  EXPECT_EQ(bytes_for(true), 0x3412'0000u);
}

}  // namespace
}  // namespace emu::hw
