// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "hw/nvram/fw_cfg.h"
#include "support/device_bench.h"

namespace emu::hw {
namespace {

using test::DeviceBench;

struct FwCfgBench : DeviceBench<FwCfg> {
  FwCfgBench() { ram = machine().add_ram(0, 0x1'0000); }
  void select(u16 key) { write("fwcfg", 0, key, 2); }
  std::string text(size_t length) {
    std::string text;
    for (size_t i = 0; i < length; i++) text += char(read("fwcfg", 1, 1));
    return text;
  }
  u64 be(unsigned bytes) {
    u64 value = 0;
    for (unsigned i = 0; i < bytes; i++) value = value << 8 | read("fwcfg", 1, 1);
    return value;
  }
  /// Runs a request placed at 0x100; returns its control word afterwards.
  u32 dma(u32 control, u32 length, u64 address) {
    auto& memory = machine().system_memory();
    EXPECT_EQ(memory.write<Be32>(0x100, control), mem::MemTxResult::Ok);
    EXPECT_EQ(memory.write<Be32>(0x104, length), mem::MemTxResult::Ok);
    EXPECT_EQ(memory.write<Be64>(0x108, address), mem::MemTxResult::Ok);
    write("fwcfg.dma", 4, byte_swap(u32(0x100)), 4);
    return *memory.read<Be32>(0x100);
  }
  u8 byte_at(u64 address) { return *machine().system_memory().read<u8>(address); }
  mem::RamRef ram;
};

constexpr u32 kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16;

TEST(FwCfg, SignatureAndIdNameTheDmaInterface) {
  FwCfgBench bench;
  bench.select(FwCfg::SIGNATURE);
  EXPECT_EQ(bench.text(4), "QEMU");
  bench.select(FwCfg::ID);
  EXPECT_EQ(bench.text(4), std::string("\3\0\0\0", 4));
}

TEST(FwCfg, DmaAddressReadsAsTheSignature) {
  FwCfgBench bench;
  EXPECT_EQ(byte_swap(bench.read("fwcfg.dma", 0, 8)), 0x51454d5520434647u);
  EXPECT_EQ(byte_swap(u32(bench.read("fwcfg.dma", 4, 4))), 0x20434647u);
}

TEST(FwCfg, ReadsBeyondTheEndGiveZero) {
  FwCfgBench bench;
  bench->add_u16(FwCfg::NB_CPUS, 0x0102);
  bench.select(FwCfg::NB_CPUS);
  EXPECT_EQ(bench.text(4), std::string("\2\1\0\0", 4));
  bench.select(0x3fff);
  EXPECT_EQ(bench.text(1), std::string("\0", 1));
}

TEST(FwCfg, DirectoryListsFilesByName) {
  FwCfgBench bench;
  bench->add_file("etc/zeta", FwCfg::Bytes{1, 2, 3});
  bench->add_file("etc/alpha", FwCfg::Bytes{9});
  bench.select(FwCfg::FILE_DIR);
  EXPECT_EQ(bench.be(4), 2u);
  EXPECT_EQ(bench.be(4), 1u);
  EXPECT_EQ(bench.be(2), 0x20u);
  EXPECT_EQ(bench.be(2), 0u);
  EXPECT_EQ(bench.text(56), std::string("etc/alpha").append(47, '\0'));
  EXPECT_EQ(bench.be(4), 3u);
  EXPECT_EQ(bench.be(2), 0x21u);
  bench.select(0x21);
  EXPECT_EQ(bench.text(3), "\1\2\3");
}

TEST(FwCfg, ProviderRunsOnceAReset) {
  FwCfgBench bench;
  unsigned runs = 0;
  bench->add_file("etc/made", [&runs] { return FwCfg::Bytes(size_t(++runs), 0x55); });
  bench.select(FwCfg::FILE_DIR);
  bench.select(0x20);
  EXPECT_EQ(runs, 1u);
  bench.reset();
  bench.select(0x20);
  EXPECT_EQ(runs, 2u);
  EXPECT_EQ(bench.text(3), std::string("\x55\x55\0", 3));
}

TEST(FwCfg, DmaReadsSelectedItemAndPadsWithZeros) {
  FwCfgBench bench;
  bench.ram->fill(0x200, 0xee, 16);
  bench->add_file("f", FwCfg::Bytes{1, 2, 3});
  EXPECT_EQ(bench.dma(0x20u << 16 | kSelect | kRead, 5, 0x200), 0u);
  EXPECT_EQ(bench.byte_at(0x200), 1);
  EXPECT_EQ(bench.byte_at(0x202), 3);
  EXPECT_EQ(bench.byte_at(0x204), 0);
  EXPECT_EQ(bench.byte_at(0x205), 0xee);
}

TEST(FwCfg, DmaSkipsAndGoesOn) {
  FwCfgBench bench;
  bench->add_file("f", FwCfg::Bytes{1, 2, 3});
  EXPECT_EQ(bench.dma(0x20u << 16 | kSelect | kSkip, 2, 0), 0u);
  EXPECT_EQ(bench.dma(kRead, 1, 0x200), 0u);
  EXPECT_EQ(bench.byte_at(0x200), 3);
}

TEST(FwCfg, DmaToNowhereReportsAnError) {
  FwCfgBench bench;
  bench->add_file("f", FwCfg::Bytes{1, 2, 3});
  EXPECT_EQ(bench.dma(0x20u << 16 | kSelect | kRead, 3, 0x1000'0000), 1u);
}

TEST(FwCfg, DmaWriteChangesWritableFilesOnly) {
  FwCfgBench bench;
  FwCfg::Bytes heard;
  bench->add_file("a", FwCfg::Bytes{1, 2});
  bench->add_writable_file("b", FwCfg::Bytes{3, 4}, [&heard](const FwCfg::Bytes& bytes) { heard = bytes; });
  bench.ram->fill(0x200, 0x99, 16);
  EXPECT_EQ(bench.dma(0x20u << 16 | kSelect | kWrite, 2, 0x200), 1u);
  EXPECT_EQ(bench.dma(0x21u << 16 | kSelect | kWrite, 3, 0x200), 1u);
  EXPECT_EQ(bench.dma(0x21u << 16 | kSelect | kWrite, 2, 0x200), 0u);
  EXPECT_EQ(heard, (FwCfg::Bytes{0x99, 0x99}));
  EXPECT_EQ(*bench->file("a"), (FwCfg::Bytes{1, 2}));
  bench.reset();
  EXPECT_EQ(*bench->file("b"), (FwCfg::Bytes{3, 4}));
}

TEST(FwCfg, RequestOutsideMemoryIsIgnored) {
  FwCfgBench bench;
  bench.write("fwcfg.dma", 0, 0, 4);
  bench.write("fwcfg.dma", 4, byte_swap(u32(0x7000'0000)), 4);
  bench.write("fwcfg.dma", 2, 0, 2);
}

TEST(FwCfg, StateSurvivesARoundTrip) {
  FwCfgBench bench;
  bench->add_writable_file("b", FwCfg::Bytes{3, 4});
  bench.select(0x20);
  bench.be(1);
  const auto saved = bench.save();
  bench.reset();
  ASSERT_TRUE(bench.load(saved).has_value());
  EXPECT_EQ(bench.be(1), 4u);
}

TEST(FwCfg, LoadRefusesAnUnknownKey) {
  FwCfgBench bench;
  qom::FieldTree state = bench.save();
  auto* sections = state.get_if<qom::FieldTree::Struct>();
  for (auto& member : *(*sections)[0].value.get_if<qom::FieldTree::Struct>()) {
    if (member.name == "key") member.value = qom::FieldTree(u64(0x4000));
  }
  EXPECT_FALSE(bench.load(state).has_value());
}

}  // namespace
}  // namespace emu::hw
