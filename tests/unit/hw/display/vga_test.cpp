// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/display/vga.h"
#include "hw/pci/i440fx.h"
#include "support/device_bench.h"

namespace emu::hw {
namespace {

constexpr u8 kDevfn = 2 << 3;

class VgaBench {
 public:
  VgaBench() : machine(registry()) {
    auto ram = mem::Region::ram(machine.memory(), "pc.ram", *machine.memory().make_ram("pc.ram", 16 << 20));
    machine.system_memory().root()->add(0, ram);
    host = &place<I440FxHost>(machine);
    host->set_board({.system = machine.system_memory().root(), .ram = ram, .below_4g_bytes = 16 << 20});
    EXPECT_TRUE(host->realize_on(&machine.system_bus()).has_value());
    vga = &place<Vga>(machine);
    Device& base = *vga;
    EXPECT_TRUE(base.set("romfile", "").has_value());
    EXPECT_TRUE(base.set("addr", "02.0").has_value());
    auto realized = base.realize_on(&host->pci_bus());
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
    reset_device(base);
  }
  u64 in(u16 port, unsigned size = 1) {
    u64 value = 0;
    static_cast<void>(machine.io_ports().load(port, size, value));
    return value;
  }
  void out(u16 port, u64 value, unsigned size = 1) { static_cast<void>(machine.io_ports().store(port, size, value)); }
  u64 load(u64 address, unsigned size) {
    u64 value = 0;
    static_cast<void>(machine.system_memory().load(address, size, value));
    return value;
  }
  void store(u64 address, u64 value, unsigned size) {
    static_cast<void>(machine.system_memory().store(address, size, value));
  }
  void indexed(u16 port, u8 index, u8 value) { out(port, u64(value) << 8 | index, 2); }
  /// Mode 3 as far as it matters here: 80 by 25, odd/even, window at 0xb8000.
  void set_text_mode() {
    out(0x3c2, 0x67);
    indexed(0x3c4, 2, 0x03);
    indexed(0x3c4, 4, 0x02);
    indexed(0x3ce, 5, 0x10);
    indexed(0x3ce, 6, 0x0e);
    indexed(0x3d4, 0x11, 0);
    indexed(0x3d4, 0x01, 79);
    indexed(0x3d4, 0x07, 0x1f);
    indexed(0x3d4, 0x09, 0x4f);
    indexed(0x3d4, 0x12, 0x8f);
    indexed(0x3d4, 0x13, 40);
  }
  void print(unsigned row, std::string_view text) {
    for (unsigned i = 0; i < text.size(); i++) store(0xb8000 + 2 * (row * 80 + i), 0x0700 | u8(text[i]), 2);
  }
  void dispi(u16 index, u16 value) {
    out(0x1ce, index, 2);
    out(0x1cf, value, 2);
  }
  u16 dispi(u16 index) {
    out(0x1ce, index, 2);
    return u16(in(0x1cf, 2));
  }

 private:
  qom::TypeRegistry& registry() {
    register_core_types(registry_);
    register_pci_core(registry_);
    register_i440fx(registry_);
    register_vga(registry_);
    return registry_;
  }
  qom::TypeRegistry registry_;

 public:
  test::BenchMachine machine;
  I440FxHost* host = nullptr;
  Vga* vga = nullptr;
};

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
    bench.out(0xcf8, 0x8000'0000u | kDevfn << 8 | offset, 4);
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
