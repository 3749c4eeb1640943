// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/acpi/smbios.h"

namespace emu::hw {
namespace {

struct Structure {
  u8 type;
  u16 handle;
  std::vector<u8> formatted;
  std::vector<std::string> strings;

  u64 number(size_t offset, unsigned size) const {
    u64 value = 0;
    for (unsigned i = 0; i < size; i++) value |= u64(formatted.at(offset + i)) << (8 * i);
    return value;
  }
  std::string text(size_t offset) const {
    const u8 index = formatted.at(offset);
    return index == 0 ? "" : strings.at(index - 1u);
  }
};

/// Walks the table as a reader does.
std::vector<Structure> parse(const std::vector<u8>& bytes) {
  std::vector<Structure> found;
  for (size_t at = 0; at < bytes.size();) {
    Structure s;
    s.type = bytes.at(at);
    s.handle = u16(bytes.at(at + 2) | bytes.at(at + 3) << 8);
    s.formatted.assign(bytes.begin() + std::ptrdiff_t(at), bytes.begin() + std::ptrdiff_t(at + bytes.at(at + 1)));
    at += bytes.at(at + 1);
    while (bytes.at(at) != 0) {
      const std::string text(reinterpret_cast<const char*>(&bytes[at]));
      s.strings.push_back(text);
      at += text.size() + 1;
    }
    at += s.strings.empty() ? 2 : 1;
    found.push_back(std::move(s));
  }
  return found;
}

std::vector<Structure> of_type(const SmbiosConfig& config, u8 type) {
  std::vector<Structure> found;
  for (Structure& s : parse(build_smbios_tables(config).tables)) {
    if (s.type == type) found.push_back(std::move(s));
  }
  return found;
}

SmbiosConfig small() {
  SmbiosConfig config;
  config.ram_below_4g = 1 << 30;
  return config;
}

TEST(Smbios, StructuresComeInOrder) {
  SmbiosConfig config = small();
  config.bios = SmbiosConfig::Bios{"SeaBIOS", "1.16", "04/01/2014"};
  std::vector<unsigned> types;
  for (const Structure& s : parse(build_smbios_tables(config).tables)) types.push_back(s.type);
  EXPECT_THAT(types, testing::ElementsAre(0, 1, 3, 4, 16, 17, 19, 32, 127));
}

TEST(Smbios, SystemIsTheOneQemuShows) {
  SmbiosConfig config = small();
  for (unsigned i = 0; i < 16; i++) config.uuid[i] = u8(i);
  const auto system = of_type(config, 1).at(0);
  EXPECT_EQ(system.formatted.size(), 0x1bu);
  EXPECT_EQ(system.text(4), "QEMU");
  EXPECT_EQ(system.text(5), "Standard PC (i440FX + PIIX, 1996)");
  EXPECT_EQ(system.text(6), "pc-i440fx-7.2");
  EXPECT_EQ(system.text(7), "");
  EXPECT_EQ(system.number(8, 4), 0x00010203u);
  EXPECT_EQ(system.number(12, 2), 0x0405u);
  EXPECT_EQ(system.number(16, 1), 8u);
}

TEST(Smbios, FormattedLengthsAreThoseOfVersion28) {
  const SmbiosConfig config = small();
  EXPECT_EQ(of_type(config, 3).at(0).formatted.size(), 0x16u);
  EXPECT_EQ(of_type(config, 4).at(0).formatted.size(), 0x2au);
  EXPECT_EQ(of_type(config, 16).at(0).formatted.size(), 0x17u);
  EXPECT_EQ(of_type(config, 17).at(0).formatted.size(), 0x28u);
  EXPECT_EQ(of_type(config, 19).at(0).formatted.size(), 0x1fu);
  EXPECT_EQ(of_type(config, 32).at(0).formatted.size(), 0x0bu);
}

TEST(Smbios, MemoryIsShownInModulesAndRanges) {
  SmbiosConfig config;
  config.ram_below_4g = u64(3) << 30;
  config.ram_above_4g = u64(17) << 30;
  const auto modules = of_type(config, 17);
  ASSERT_EQ(modules.size(), 2u);
  EXPECT_EQ(modules[0].number(0x0c, 2), 16384u);
  EXPECT_EQ(modules[1].number(0x0c, 2), 4096u);
  EXPECT_EQ(modules[1].text(0x10), "DIMM 1");
  const auto ranges = of_type(config, 19);
  ASSERT_EQ(ranges.size(), 2u);
  EXPECT_EQ(ranges[0].number(8, 4), (u64(3) << 20) - 1);
  EXPECT_EQ(ranges[1].number(4, 4), u64(4) << 20);
  EXPECT_EQ(of_type(config, 16).at(0).number(7, 4), u64(20) << 20);
}

TEST(Smbios, EachSocketHasAProcessor) {
  SmbiosConfig config = small();
  config.sockets = 2;
  config.cores = 4;
  config.threads = 2;
  const auto processors = of_type(config, 4);
  ASSERT_EQ(processors.size(), 2u);
  EXPECT_EQ(processors[1].text(4), "CPU 1");
  EXPECT_EQ(processors[1].handle, 0x401);
  EXPECT_EQ(processors[0].number(0x23, 1), 4u);
  EXPECT_EQ(processors[0].number(0x25, 1), 8u);
}

TEST(Smbios, PlacedAnchorSumsToZeroTwice) {
  const SmbiosTables tables = build_smbios_tables(small());
  const auto anchor = place_smbios_anchor(tables, 0x000f'1234);
  ASSERT_EQ(anchor.size(), 31u);
  u8 all = 0, intermediate = 0;
  for (size_t i = 0; i < 31; i++) {
    all = u8(all + anchor[i]);
    if (i >= 16) intermediate = u8(intermediate + anchor[i]);
  }
  EXPECT_EQ(all, 0);
  EXPECT_EQ(intermediate, 0);
  EXPECT_EQ(anchor[24] | anchor[25] << 8 | anchor[26] << 16, 0x0f1234);
  EXPECT_EQ(size_t(anchor[22] | anchor[23] << 8), tables.tables.size());
  EXPECT_EQ(size_t(anchor[28]), parse(tables.tables).size());
}

}  // namespace
}  // namespace emu::hw
