// SPDX-License-Identifier: Apache-2.0
// Modes as a driver sets them, and the picture that a monitor would show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "hw/display/isa_vga.h"
#include "unit/hw/display/vga_bench.h"

namespace emu::hw {
namespace {

using test::VgaBench;

u32 color(unsigned index) { return VgaBench::color(index); }

/// A row of a glyph, by way of plane 2 as BIOSes load fonts; the registers are as they were after it.
void load_glyph(VgaBench& bench, u8 character, unsigned row, u8 dots, unsigned font_offset = 0) {
  bench.indexed(0x3c4, 2, 0x04);
  bench.indexed(0x3c4, 4, 0x06);
  bench.indexed(0x3ce, 5, 0);
  bench.indexed(0x3ce, 6, 0x04);
  bench.store(0xa0000 + font_offset + character * 32u + row, dots, 1);
  bench.indexed(0x3c4, 2, 0x03);
  bench.indexed(0x3c4, 4, 0x02);
  bench.indexed(0x3ce, 5, 0x10);
  bench.indexed(0x3ce, 6, 0x0e);
}

void put_text(VgaBench& bench, unsigned cell, u8 character, u8 attribute) {
  bench.store(0xb8000 + cell * 2, u64(attribute) << 8 | character, 2);
}

TEST(VgaDraw, NothingIsShownBeforeAModeIsSet) {
  VgaBench bench;
  const ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.width, 640u);
  EXPECT_EQ(picture.height, 480u);
  EXPECT_THAT(picture.rgb, testing::Each(0));
}

TEST(VgaDraw, TextHasNineDotsAndColours) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  load_glyph(bench, 'A', 0, 0x81);
  load_glyph(bench, 'A', 15, 0xff);
  put_text(bench, 81, 'A', 0x1e);
  const ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.width, 720u);
  ASSERT_EQ(picture.height, 400u);
  const u32 yellow = color(0x3e), blue = color(1);
  EXPECT_EQ(picture.pixel(9, 16), yellow);
  EXPECT_EQ(picture.pixel(10, 16), blue);
  EXPECT_EQ(picture.pixel(16, 16), yellow);
  EXPECT_EQ(picture.pixel(17, 16), blue);  // the ninth
  EXPECT_EQ(picture.pixel(18, 16), color(0));
  EXPECT_EQ(picture.pixel(9, 17), blue);
  EXPECT_EQ(picture.pixel(13, 31), yellow);
  EXPECT_EQ(picture.pixel(9, 32), color(0));
}

TEST(VgaDraw, EightDotTextIsNarrower) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  bench.indexed(0x3c4, 1, 0x01);
  EXPECT_EQ(bench.vga->picture().width, 640u);
  bench.indexed(0x3c4, 1, 0x09);
  bench.indexed(0x3d4, 1, 39);
  EXPECT_EQ(bench.vga->picture().width, 640u);
}

TEST(VgaDraw, BoxCharactersMeetTheirNeighbours) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  load_glyph(bench, 0xc4, 8, 0xff);
  load_glyph(bench, 'B', 8, 0xff);
  put_text(bench, 0, 0xc4, 0x07);
  put_text(bench, 1, 'B', 0x07);
  ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(8, 8), color(7));
  EXPECT_EQ(picture.pixel(17, 8), color(0));
  bench.attribute(0x10, 0x08);  // without line graphics
  picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(8, 8), color(0));
}

TEST(VgaDraw, IntenseTextMayHaveAnotherFont) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  load_glyph(bench, 'A', 0, 0xf0);
  load_glyph(bench, 'A', 0, 0x0f, 0x6000);  // third of the second bank
  bench.indexed(0x3c4, 3, 0x24);            // intense: 1, and the bank's other half
  put_text(bench, 0, 'A', 0x07);
  put_text(bench, 1, 'A', 0x0f);
  const ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(0, 0), color(7));
  EXPECT_EQ(picture.pixel(7, 0), color(0));
  EXPECT_EQ(picture.pixel(9, 0), color(0));
  EXPECT_EQ(picture.pixel(16, 0), color(0x3f));
}

TEST(VgaDraw, BlinkTakesABackgroundBit) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  put_text(bench, 0, ' ', 0x90);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), color(1));
  bench.attribute(0x10, 0x04);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), color(0x39));
}

TEST(VgaDraw, CursorIsWhereTheRegistersSay) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  put_text(bench, 82, ' ', 0x07);
  bench.indexed(0x3d4, 0x0a, 13);
  bench.indexed(0x3d4, 0x0b, 14);
  bench.indexed(0x3d4, 0x0f, 82);
  ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(18, 16 + 12), color(0));
  EXPECT_EQ(picture.pixel(18, 16 + 13), color(7));
  EXPECT_EQ(picture.pixel(26, 16 + 14), color(7));
  EXPECT_EQ(picture.pixel(18, 16 + 15), color(0));
  EXPECT_EQ(picture.pixel(27, 16 + 13), color(0));
  bench.indexed(0x3d4, 0x0a, 0x2d);
  EXPECT_EQ(bench.vga->picture().pixel(18, 16 + 13), color(0));
}

TEST(VgaDraw, UnderlineIsAtItsRow) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  bench.indexed(0x3d4, 0x14, 12);
  put_text(bench, 0, ' ', 0x01);
  put_text(bench, 1, ' ', 0x02);
  const ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(0, 12), color(1));
  EXPECT_EQ(picture.pixel(0, 11), color(0));
  EXPECT_EQ(picture.pixel(9, 12), color(0));
}

TEST(VgaDraw, TextScrollsByDots) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  load_glyph(bench, 'A', 3, 0x80);
  put_text(bench, 1, 'A', 0x07);
  bench.indexed(0x3d4, 0x08, 3);  // first row scan
  bench.attribute(0x13, 1);       // two dots
  EXPECT_EQ(bench.vga->picture().pixel(7, 0), color(7));
  bench.indexed(0x3d4, 0x08, 0x23);  // and a character
  bench.attribute(0x13, 8);          // none
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), color(7));
}

TEST(VgaDraw, PlanesMakeSixteenColours) {
  VgaBench bench;
  bench.set_mode(test::kPlanar640x480);
  bench.indexed(0x3ce, 5, 2);     // write mode 2: colours
  bench.indexed(0x3ce, 8, 0x80);  // leftmost of eight
  bench.store(0xa0000 + 80 + 1, 0x0e, 1);
  ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.width, 640u);
  ASSERT_EQ(picture.height, 480u);
  EXPECT_EQ(picture.pixel(8, 1), color(0x3e));
  EXPECT_EQ(picture.pixel(9, 1), color(0));
  EXPECT_EQ(picture.pixel(8, 0), color(0));
  bench.attribute(0x12, 0x02);  // plane 1 only
  EXPECT_EQ(bench.vga->picture().pixel(8, 1), color(2));
  bench.attribute(0x12, 0x0f);
  bench.attribute(0x13, 3);
  EXPECT_EQ(bench.vga->picture().pixel(5, 1), color(0x3e));
  bench.attribute(0x13, 0);
  bench.attribute(0x10, 0x81);  // bits 4 and 5 from colour select, as always 6 and 7
  bench.attribute(0x14, 0x05);
  EXPECT_EQ(bench.vga->picture().pixel(8, 1), color(0x5e));
  bench.out(0x3c6, 0x0f);
  EXPECT_EQ(bench.vga->picture().pixel(8, 1), color(0x0e));
}

TEST(VgaDraw, Chain4HasAByteAPixel) {
  VgaBench bench;
  bench.set_mode(test::kChain4);
  bench.store(0xa0000 + 320 + 5, 0xc5, 1);
  const ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.width, 640u);
  ASSERT_EQ(picture.height, 400u);
  for (const unsigned y : {2u, 3u}) {
    EXPECT_EQ(picture.pixel(9, y), color(0));
    EXPECT_EQ(picture.pixel(10, y), color(0xc5));
    EXPECT_EQ(picture.pixel(11, y), color(0xc5));
    EXPECT_EQ(picture.pixel(12, y), color(0));
  }
  EXPECT_EQ(picture.pixel(10, 1), color(0));
  EXPECT_EQ(picture.pixel(10, 4), color(0));
  EXPECT_EQ(bench.load(0xa0000 + 325, 1), 0xc5u);
}

TEST(VgaDraw, ModeXHasFourPixelsACell) {
  VgaBench bench;
  bench.set_mode(test::kModeX);
  bench.indexed(0x3c4, 2, 0x04);
  bench.store(0xa0000 + 80 + 1, 0x21, 1);  // plane 2 of the second cell
  ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.height, 480u);
  EXPECT_EQ(picture.pixel(12, 2), color(0x21));
  EXPECT_EQ(picture.pixel(14, 2), color(0));
  bench.indexed(0x3d4, 0x0d, 80);  // the second page starts a line later
  EXPECT_EQ(bench.vga->picture().pixel(12, 0), color(0x21));
  bench.attribute(0x13, 2);  // a pixel is two steps
  EXPECT_EQ(bench.vga->picture().pixel(10, 0), color(0x21));
}

TEST(VgaDraw, LineCompareSplitsTheScreen) {
  VgaBench bench;
  bench.set_mode(test::kChain4);
  bench.store(0xa0000, 0x11, 1);
  bench.store(0xa0000 + 320 * 100, 0x22, 1);
  bench.indexed(0x3d4, 0x0c, 80 * 100 >> 8);
  bench.indexed(0x3d4, 0x0d, u8(80 * 100));
  bench.indexed(0x3d4, 0x18, 99);
  bench.indexed(0x3d4, 0x07, 0x0f);
  bench.indexed(0x3d4, 0x09, 0x01);
  const ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(0, 0), color(0x22));
  EXPECT_EQ(picture.pixel(0, 99), color(0));
  EXPECT_EQ(picture.pixel(0, 100), color(0x11));
  EXPECT_EQ(picture.pixel(0, 101), color(0x11));
  EXPECT_EQ(picture.pixel(0, 102), color(0));
}

TEST(VgaDraw, PanningMayEndAtTheSplit) {
  VgaBench bench;
  bench.set_mode(test::kPlanar640x480);
  bench.store(0xa0000, 0x08, 1);
  bench.indexed(0x3d4, 0x18, 9);
  bench.indexed(0x3d4, 0x07, 0x2e);
  bench.indexed(0x3d4, 0x09, 0x00);
  bench.attribute(0x13, 4);
  bench.attribute(0x10, 0x21);
  const ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(0, 0), color(0x3f));
  EXPECT_EQ(picture.pixel(4, 10), color(0x3f));
}

TEST(VgaDraw, CgaHasTwoBitsAPixelAndTwoBanks) {
  VgaBench bench;
  bench.set_mode(test::kCga320);
  bench.store(0xb8000, 0x1b, 1);           // 0 1 2 3
  bench.store(0xb8000 + 1, 0xc0, 1);       // 3
  bench.store(0xb8000 + 0x2000, 0x80, 1);  // 2 on the second line
  bench.store(0xb8000 + 80, 0x40, 1);      // 1 on the third
  const ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.width, 640u);
  ASSERT_EQ(picture.height, 400u);
  EXPECT_EQ(picture.pixel(0, 0), color(0));
  EXPECT_EQ(picture.pixel(2, 0), color(0x13));
  EXPECT_EQ(picture.pixel(4, 0), color(0x15));
  EXPECT_EQ(picture.pixel(6, 1), color(0x17));
  EXPECT_EQ(picture.pixel(8, 1), color(0x17));
  EXPECT_EQ(picture.pixel(0, 2), color(0x15));
  EXPECT_EQ(picture.pixel(1, 3), color(0x15));
  EXPECT_EQ(picture.pixel(0, 4), color(0x13));
}

TEST(VgaDraw, CgaHasOneBitAPixelAndTwoBanks) {
  VgaBench bench;
  bench.set_mode(test::kCga640);
  bench.store(0xb8000, 0x81, 1);
  bench.store(0xb8000 + 0x2000, 0x40, 1);
  bench.store(0xb8000 + 80, 0x20, 1);
  const ui::Picture picture = bench.vga->picture();
  EXPECT_EQ(picture.pixel(0, 0), color(0x17));
  EXPECT_EQ(picture.pixel(1, 0), color(0));
  EXPECT_EQ(picture.pixel(7, 1), color(0x17));
  EXPECT_EQ(picture.pixel(1, 2), color(0x17));
  EXPECT_EQ(picture.pixel(2, 4), color(0x17));
}

TEST(VgaDraw, ABlankScreenKeepsItsSize) {
  VgaBench bench;
  bench.set_mode(test::kChain4);
  bench.store(0xa0000, 0x11, 1);
  bench.indexed(0x3c4, 1, 0x21);
  EXPECT_THAT(bench.vga->picture().rgb, testing::Each(0));
  EXPECT_EQ(bench.vga->picture().width, 640u);
  bench.indexed(0x3c4, 1, 0x01);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), color(0x11));
  bench.in(0x3da);
  bench.out(0x3c0, 0x00);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), 0u);
}

// Bochs VBE. ---------------------------------------------------------------------------------------------------------

struct Depth {
  u16 bits;
  unsigned bytes;
  u64 value;
  u32 rgb;
};
class VgaDepth : public testing::TestWithParam<Depth> {};

TEST_P(VgaDepth, PixelIsWhereItBelongs) {
  const Depth depth = GetParam();
  VgaBench bench;
  bench.map_bars();
  bench.set_colors();
  bench.set_dispi_mode(64, 48, depth.bits);
  bench.dispi(vga::DISPI_VIRT_WIDTH, 128);
  bench.dispi(vga::DISPI_X_OFFSET, 3);
  bench.dispi(vga::DISPI_Y_OFFSET, 2);
  // The last pixel shown, byte by byte because 24 bits are no access.
  const u64 at = VgaBench::kMemory + ((47 + 2) * 128 + 63 + 3) * depth.bytes;
  for (unsigned i = 0; i < depth.bytes; i++) bench.store(at + i, depth.value >> (8 * i) & 0xff, 1);
  ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.width, 64u);
  ASSERT_EQ(picture.height, 48u);
  EXPECT_EQ(picture.pixel(63, 47), depth.rgb);
  EXPECT_EQ(picture.pixel(62, 47), depth.bits == 8 ? color(0) : 0u);
}
INSTANTIATE_TEST_SUITE_P(All, VgaDepth,
                         testing::Values(Depth{8, 1, 0x93, VgaBench::color(0x93)}, Depth{15, 2, 0x7c01, 0xff0008},
                                         Depth{16, 2, 0x07e1, 0x00ff08}, Depth{24, 3, 0x123456, 0x123456},
                                         Depth{32, 4, 0xff123456, 0x123456}));

TEST(VgaDraw, DispiHasPlanesAtFourBits) {
  VgaBench bench;
  bench.set_mode(test::kPlanar640x480);
  bench.set_dispi_mode(800, 600, 4);
  bench.indexed(0x3ce, 8, 0x40);
  bench.indexed(0x3c4, 2, 0x05);
  bench.store(0xa0000 + 599 * 100 + 99, 0xff, 1);
  const ui::Picture picture = bench.vga->picture();
  ASSERT_EQ(picture.width, 800u);
  ASSERT_EQ(picture.height, 600u);
  EXPECT_EQ(picture.pixel(793, 599), color(5));
  EXPECT_EQ(picture.pixel(794, 599), color(0));
}

TEST(VgaDraw, BanksShowAllOfMemory) {
  VgaBench bench;
  bench.set_mode(test::kText80);
  bench.set_dispi_mode(640, 480, 32);
  bench.dispi(vga::DISPI_BANK, 3);
  bench.store(0xa0000, 0x00aabbcc, 4);
  const unsigned pixel = (3 << 16) / 4;
  EXPECT_EQ(bench.vga->picture().pixel(pixel % 640, pixel / 640), 0xaabbccu);
}

TEST(VgaDraw, FrameBufferMayBeBigEndian) {
  VgaBench bench;
  bench.map_bars();
  bench.set_dispi_mode(64, 48, 32);
  bench.store(VgaBench::kRegisters + 0x604, 0xbebe'bebe, 4);
  bench.store(VgaBench::kMemory, 0x3322'1100, 4);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), 0x112233u);
}

TEST(VgaDraw, DacMayHaveEightBits) {
  VgaBench bench;
  bench.map_bars();
  bench.set_dispi_mode(64, 48, 8, vga::kDispi8BitDac);
  bench.out(0x3c8, 7);
  for (const u8 level : {0x81, 0x42, 0xff}) bench.out(0x3c9, level);
  bench.store(VgaBench::kMemory, 7, 1);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), 0x8142ffu);
}

TEST(VgaDraw, EnablingClearsUnlessAskedNotTo) {
  VgaBench bench;
  bench.map_bars();
  bench.store(VgaBench::kMemory, 0xffffff, 4);
  bench.set_dispi_mode(64, 48, 32, vga::kDispiNoClear);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), 0xffffffu);
  bench.set_dispi_mode(64, 48, 32);
  EXPECT_EQ(bench.vga->picture().pixel(0, 0), 0u);
}

TEST(VgaDraw, MonitorSaysWhatItIs) {
  VgaBench bench;
  bench.map_bars();
  std::array<u8, kEdidBytes> edid{};
  u8 sum = 0;
  for (unsigned i = 0; i < edid.size(); i++) sum = u8(sum + (edid[i] = u8(bench.load(VgaBench::kRegisters + i, 1))));
  EXPECT_EQ(sum, 0u);
  EXPECT_EQ(bench.load(VgaBench::kRegisters, 4), 0xffff'ff00u);
  EXPECT_EQ(bench.load(VgaBench::kRegisters + 4, 4), 0x00ff'ffffu);
  EXPECT_EQ(edid[56] | (edid[58] & 0xf0u) << 4, 1280u);
  EXPECT_EQ(edid[59] | (edid[61] & 0xf0u) << 4, 800u);
  EXPECT_EQ(std::string(&edid[95], &edid[105]), "system-emu");
  EXPECT_EQ(bench.load(VgaBench::kRegisters + 0x80, 4), 0u);
}

// State. -------------------------------------------------------------------------------------------------------------

TEST(VgaDraw, PictureSurvivesARoundTrip) {
  VgaBench bench;
  bench.set_mode(test::kCga320);
  bench.store(0xb8000, 0x1b1b, 2);
  Device& device = *bench.vga;
  const ui::Picture before = bench.vga->picture();
  const auto saved = device.save();
  reset_device(device);
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(bench.vga->picture().rgb, before.rgb);
}

TEST(VgaDraw, FuzzedRegistersNeverLeaveVideoMemory) {
  VgaBench bench(1);
  bench.map_bars();
  std::mt19937 random(20240607);
  const auto below = [&](unsigned n) { return unsigned(random() % n); };
  for (unsigned n = 0; n < 60'000; n++) {
    const unsigned size = 1u << below(3);
    switch (below(8)) {
      case 0:
        bench.out(u16(0x3b0 + below(0x30)), random(), below(2) + 1);
        break;
      case 1:
        bench.indexed(below(2) != 0 ? 0x3d4 : 0x3c4, u8(below(0x1a)), u8(random()));
        break;
      case 2:
        bench.indexed(0x3ce, u8(below(10)), u8(random()));
        break;
      case 3:
        bench.dispi(u16(below(12)), below(2) != 0 ? u16(random()) : u16(below(256)));
        break;
      case 4:
        bench.store(0xa0000 + below(0x2'0000), random(), size);
        break;
      case 5:
        bench.load(0xa0000 + below(0x2'0000), size);
        bench.in(u16(0x3b0 + below(0x30)));
        break;
      case 6:
        bench.store(VgaBench::kRegisters + below(0x1000), random(), size);
        break;
      default:
        bench.attribute(u8(below(0x15)), u8(random()));
        break;
    }
    if (n % 2000 != 0) continue;
    const ui::Picture picture = bench.vga->picture();
    EXPECT_EQ(picture.rgb.size(), std::size_t(picture.width) * picture.height * 3);
    static_cast<void>(bench.vga->text_screen());
  }
}

/// Sets the elements of every list called `name` in saved state to `value`.
void overwrite(qom::FieldTree& tree, const std::string& name, u64 value) {
  auto* members = tree.get_if<qom::FieldTree::Struct>();
  if (members == nullptr) return;
  for (auto& member : *members) {
    auto* list = member.value.get_if<qom::FieldTree::List>();
    if (member.name != name || list == nullptr) {
      overwrite(member.value, name, value);
      continue;
    }
    for (auto& element : *list) element = qom::FieldTree(value);
  }
}

TEST(VgaDraw, SavedModeThatDoesNotFitIsRefused) {
  VgaBench bench;
  Device& device = *bench.vga;
  auto saved = device.save();
  overwrite(saved, "dispi", 0xffff);
  const auto loaded = device.load(saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  const auto finished = device.finish_load();
  ASSERT_FALSE(finished.has_value());
  EXPECT_THAT(finished.error().text(), testing::HasSubstr("does not fit"));
}

TEST(IsaVga, HasPortsWindowAndPicture) {
  test::DeviceBench<IsaVga> vga({{"vgamem_mb", u64(1)}});
  const auto out = [&](u16 port, u8 value) { vga.write("vga-ports", port - 0x3b0, value, 1); };
  vga.write("vbe", 0, vga::DISPI_XRES, 2);
  vga.write("vbe", 1, 64, 2);
  vga.write("vbe", 0, vga::DISPI_YRES, 2);
  vga.write("vbe", 1, 48, 2);
  vga.write("vbe", 0, vga::DISPI_BPP, 2);
  vga.write("vbe", 1, 32, 2);
  vga.write("vbe", 0, vga::DISPI_ENABLE, 2);
  vga.write("vbe", 1, vga::kDispiEnabled, 2);
  out(0x3c0, 0x20);
  vga.write("vga-lowmem", 0, 0x00123456, 4);
  const ui::Picture picture = vga->picture();
  EXPECT_EQ(picture.width, 64u);
  EXPECT_EQ(picture.pixel(0, 0), 0x123456u);
  vga.expect_round_trip();
}

}  // namespace
}  // namespace emu::hw
