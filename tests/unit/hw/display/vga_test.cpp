// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/hw/display/vga_bench.h"

namespace emu::hw {
namespace {

using test::kVgaDevfn;
using test::VgaBench;

TEST(Vga, TextScreenShowsWhatTheGuestWrote) {
  VgaBench bench;
  bench.set_text_mode();
  bench.print(0, "Hello");
  bench.print(24, "last line");
  const auto lines = bench.vga->text_screen();
  ASSERT_EQ(lines.size(), 25u);
  EXPECT_EQ(lines[0], "Hello");
  EXPECT_EQ(lines[1], "");
  EXPECT_EQ(lines[24], "last line");
  EXPECT_EQ(bench.load(0xb8000, 2), 0x0748u);
}

TEST(Vga, StartAddressScrolls) {
  VgaBench bench;
  bench.set_text_mode();
  bench.print(1, "second");
  bench.indexed(0x3d4, 0x0d, 80);
  EXPECT_EQ(bench.vga->text_screen().at(0), "second");
}

TEST(Vga, GraphicsModeHasNoText) {
  VgaBench bench;
  EXPECT_TRUE(bench.vga->text_screen().empty());
  bench.set_text_mode();
  bench.indexed(0x3ce, 6, 0x05);
  EXPECT_FALSE(bench.vga->is_text_mode());
}

TEST(Vga, WindowFollowsMemoryMapSelect) {
  VgaBench bench;
  bench.set_text_mode();
  EXPECT_EQ(bench.load(0xa0000, 1), 0xffu);
  EXPECT_EQ(bench.load(0xb0000, 1), 0xffu);
  EXPECT_EQ(bench.load(0xb8000, 1), 0x00u);
}

TEST(Vga, FontPlaneIsApartFromText) {
  VgaBench bench;
  bench.set_text_mode();
  bench.print(0, "A");
  bench.indexed(0x3c4, 2, 0x04);  // plane 2, sequential, at 0xa0000: how fonts are loaded
  bench.indexed(0x3c4, 4, 0x06);
  bench.indexed(0x3ce, 4, 2);
  bench.indexed(0x3ce, 5, 0);
  bench.indexed(0x3ce, 6, 0x04);
  bench.indexed(0x3ce, 8, 0xff);
  bench.store(0xa0000, 0x5a, 1);
  EXPECT_EQ(bench.load(0xa0000, 1), 0x5au);
  bench.set_text_mode();
  EXPECT_EQ(bench.load(0xb8000, 2), 0x0741u);
}

TEST(Vga, WriteModesUseLatchAndMask) {
  VgaBench bench;
  bench.indexed(0x3c4, 2, 0x0f);
  bench.indexed(0x3c4, 4, 0x06);
  bench.indexed(0x3ce, 6, 0x05);
  bench.indexed(0x3ce, 8, 0xff);
  bench.store(0xa0000, 0xf0, 1);
  EXPECT_EQ(bench.load(0xa0000, 1), 0xf0u);  // loads the latch
  bench.indexed(0x3ce, 8, 0x0f);
  bench.store(0xa0000, 0x55, 1);
  EXPECT_EQ(bench.load(0xa0000, 1), 0xf5u);
  bench.indexed(0x3ce, 5, 0x01);  // mode 1 copies the latch
  bench.store(0xa0001, 0x00, 1);
  EXPECT_EQ(bench.load(0xa0001, 1), 0xf5u);
  bench.indexed(0x3ce, 5, 0x02);  // mode 2 spreads a colour
  bench.indexed(0x3ce, 8, 0xff);
  bench.store(0xa0002, 0x01, 1);
  EXPECT_EQ(bench.load(0xa0002, 1), 0xffu);
  bench.indexed(0x3ce, 4, 1);
  EXPECT_EQ(bench.load(0xa0002, 1), 0x00u);
}

TEST(Vga, CrtcProtectionKeepsTheFirstRegisters) {
  VgaBench bench;
  bench.set_text_mode();
  bench.indexed(0x3d4, 0x11, 0x80);
  bench.indexed(0x3d4, 0x01, 12);
  bench.out(0x3d4, 0x01);
  EXPECT_EQ(bench.in(0x3d5), 79u);
  bench.indexed(0x3d4, 0x07, 0x00);
  bench.out(0x3d4, 0x07);
  EXPECT_EQ(bench.in(0x3d5), 0x0fu);
}

TEST(Vga, AttributeFlipFlopIsResetByStatus) {
  VgaBench bench;
  bench.out(0x3c2, 0x01);
  bench.in(0x3da);
  bench.out(0x3c0, 0x05);
  bench.out(0x3c0, 0xff);
  bench.in(0x3da);
  bench.out(0x3c0, 0x05);
  EXPECT_EQ(bench.in(0x3c1), 0x3fu);
}

TEST(Vga, StatusBitsMove) {
  VgaBench bench;
  bench.out(0x3c2, 0x01);
  const u64 first = bench.in(0x3da);
  EXPECT_EQ(first ^ bench.in(0x3da), 0x09u);
  EXPECT_EQ(bench.in(0x3ba), 0xffu);
}

TEST(Vga, PaletteCountsUp) {
  VgaBench bench;
  bench.out(0x3c8, 255);
  for (const u8 v : {1, 2, 0xff, 4}) bench.out(0x3c9, v);
  bench.out(0x3c7, 255);
  EXPECT_EQ(bench.in(0x3c9), 1u);
  EXPECT_EQ(bench.in(0x3c9), 2u);
  EXPECT_EQ(bench.in(0x3c9), 0x3fu);
  EXPECT_EQ(bench.in(0x3c9), 4u);
}

TEST(Vga, DispiModeIsFittedIntoMemory) {
  VgaBench bench;
  EXPECT_EQ(bench.dispi(vga::DISPI_ID), 0xb0c5u);
  bench.dispi(vga::DISPI_ID, 0xb0c0);
  EXPECT_EQ(bench.dispi(vga::DISPI_ID), 0xb0c0u);
  bench.dispi(vga::DISPI_ID, 0x1234);
  EXPECT_EQ(bench.dispi(vga::DISPI_ID), 0xb0c0u);
  EXPECT_EQ(bench.dispi(vga::DISPI_VIDEO_MEMORY_64K), 256u);
  bench.dispi(vga::DISPI_XRES, 1024);
  bench.dispi(vga::DISPI_YRES, 768);
  bench.dispi(vga::DISPI_BPP, 32);
  bench.dispi(vga::DISPI_ENABLE, vga::kDispiEnabled | vga::kDispiLinear);
  EXPECT_EQ(bench.dispi(vga::DISPI_VIRT_WIDTH), 1024u);
  EXPECT_EQ(bench.dispi(vga::DISPI_VIRT_HEIGHT), 4096u);
  bench.dispi(vga::DISPI_YRES, 0xffff);
  EXPECT_EQ(bench.dispi(vga::DISPI_YRES), 4096u);
  bench.dispi(vga::DISPI_XRES, 0);
  bench.dispi(vga::DISPI_BPP, 7);
  bench.dispi(vga::DISPI_BANK, 0xffff);
  EXPECT_EQ(bench.dispi(vga::DISPI_BANK), 0u);
}

TEST(Vga, BarsShowMemoryAndRegisters) {
  VgaBench bench;
  auto config = [&](unsigned offset, u32 value) {
    bench.out(0xcf8, 0x8000'0000u | kVgaDevfn << 8 | offset, 4);
    bench.out(0xcfc, value, 4);
  };
  config(0x10, 0xfd00'0000);
  config(0x18, 0xfebf'0000);
  config(0x04, 2);
  bench.set_text_mode();
  bench.print(0, "A");
  EXPECT_EQ(bench.load(0xfd00'0000, 2), 0x0741u);
  EXPECT_EQ(bench.load(0xfebf'0500, 2), 0xb0c5u);
  EXPECT_EQ(bench.load(0xfebf'0604, 4), 0x1e1e'1e1eu);
  bench.store(0xfebf'0604, 0xbebe'bebe, 4);
  EXPECT_EQ(bench.load(0xfebf'0604, 4), 0xbebe'bebeu);
  EXPECT_EQ(bench.load(0xfebf'040c, 1), 0x67u);
}

TEST(Vga, StateSurvivesARoundTrip) {
  VgaBench bench;
  bench.set_text_mode();
  bench.print(0, "kept");
  Device& vga = *bench.vga;
  const auto saved = vga.save();
  reset_device(vga);
  ASSERT_TRUE(vga.load(saved).has_value());
  ASSERT_TRUE(vga.finish_load().has_value());
  EXPECT_EQ(vga.save().dump(), saved.dump());
  EXPECT_EQ(bench.vga->text_screen().at(0), "kept");
}

TEST(Vga, MissingRomFileIsAnError) {
  VgaBench bench;
  Device& other = place<Vga>(bench.machine);
  ASSERT_TRUE(other.set("romfile", "/no/such/file").has_value());
  const auto realized = other.realize_on(&bench.host->pci_bus());
  ASSERT_FALSE(realized.has_value());
  EXPECT_THAT(realized.error().text(), testing::HasSubstr("/no/such/file"));
}

}  // namespace
}  // namespace emu::hw
