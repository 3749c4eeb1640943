// SPDX-License-Identifier: Apache-2.0
// ACPI tables, checked field by field and by Intel's compiler.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "hw/acpi/aml.h"
#include "hw/acpi/tables.h"

namespace emu::hw {
namespace {

using testing::HasSubstr;

constexpr u64 kBase = 0x3ffe'0000;

AcpiConfig pc_config() {
  AcpiConfig config;
  config.apic_ids = {0, 1, 2, 3};
  config.pci_memory32 = {{0x4000'0000, 0xfebf'ffff}};
  config.pci_memory64 = AddressWindow{0x1'4000'0000, 0x1'bfff'ffff};
  config.pvpanic_port = 0x505;
  config.serial_ports = 2;
  config.has_pci_hotplug = true;
  return config;
}

AcpiConfig q35_config() {
  AcpiConfig config = pc_config();
  config.chipset = AcpiConfig::Chipset::Q35;
  config.pci_memory32 = {{0x8000'0000, 0xafff'ffff}, {0xc000'0000, 0xfebf'ffff}};
  config.ecam_base = 0xb000'0000;
  config.has_pci_hotplug = false;
  return config;
}

const AcpiTables::Table* find(const AcpiTables& tables, std::string_view signature) {
  for (const auto& table : tables.directory) {
    if (table.signature == signature) return &table;
  }
  return nullptr;
}

u64 number_at(const std::vector<u8>& bytes, size_t offset, unsigned size) {
  u64 value = 0;
  for (unsigned i = 0; i < size; i++) value |= u64(bytes.at(offset + i)) << (8 * i);
  return value;
}

u8 sum(const std::vector<u8>& bytes, size_t start, size_t length) {
  u8 total = 0;
  for (size_t i = 0; i < length; i++) total = u8(total + bytes.at(start + i));
  return total;
}

class Placed : public testing::TestWithParam<AcpiConfig (*)()> {};

TEST_P(Placed, EveryTableIsReachableAndSumsToZero) {
  const AcpiTables tables = build_acpi_tables(GetParam()());
  const PlacedAcpi placed = place_acpi_tables(tables, kBase);
  ASSERT_EQ(placed.rsdp.size(), 20u);
  EXPECT_EQ(sum(placed.rsdp, 0, 20), 0);
  EXPECT_EQ(std::memcmp(placed.rsdp.data(), "RSD PTR ", 8), 0);

  const u64 rsdt = number_at(placed.rsdp, 16, 4) - kBase;
  ASSERT_EQ(std::memcmp(placed.tables.data() + rsdt, "RSDT", 4), 0);
  const u64 entries = (number_at(placed.tables, rsdt + 4, 4) - 36) / 4;
  EXPECT_EQ(entries, GetParam() == pc_config ? 4u : 5u);
  for (u64 i = 0; i < entries; i++) {
    const u64 table = number_at(placed.tables, rsdt + 36 + 4 * i, 4) - kBase;
    EXPECT_EQ(sum(placed.tables, table, number_at(placed.tables, table + 4, 4)), 0) << i;
  }
  const u64 fadt = find(tables, "FACP")->offset;
  EXPECT_EQ(number_at(placed.tables, fadt + 36, 4), kBase);
  const u64 dsdt = number_at(placed.tables, fadt + 40, 4) - kBase;
  EXPECT_EQ(std::memcmp(placed.tables.data() + dsdt, "DSDT", 4), 0);
  EXPECT_EQ(sum(placed.tables, dsdt, number_at(placed.tables, dsdt + 4, 4)), 0);
}

/// A loader as firmware has one, from the documented commands.
TEST_P(Placed, LoaderScriptMakesTheSameBytes) {
  const AcpiTables tables = build_acpi_tables(GetParam()());
  const std::vector<u8> script = acpi_loader_script(tables);
  ASSERT_EQ(script.size() % 128, 0u);
  std::map<std::string, std::vector<u8>> files = {{kAcpiTablesFile, tables.tables}, {kAcpiRsdpFile, tables.rsdp}};
  std::map<std::string, u64> addresses;
  for (size_t at = 0; at < script.size(); at += 128) {
    const auto name = [&](size_t offset) { return std::string(reinterpret_cast<const char*>(&script[at + offset])); };
    std::vector<u8>& file = files.at(name(4));
    switch (number_at(script, at, 4)) {
      case 1:
        addresses[name(4)] = name(4) == kAcpiTablesFile ? kBase : 0xf'5000;
        break;
      case 2: {
        const u64 offset = number_at(script, at + 116, 4);
        const unsigned size = script[at + 120];
        const u64 value = number_at(file, offset, size) + addresses.at(name(60));
        for (unsigned i = 0; i < size; i++) file.at(offset + i) = u8(value >> (8 * i));
        break;
      }
      case 3: {
        const u64 offset = number_at(script, at + 60, 4);
        file.at(offset) = u8(file.at(offset) - sum(file, number_at(script, at + 64, 4), number_at(script, at + 68, 4)));
        break;
      }
      default:
        FAIL() << "unknown command";
    }
  }
  const PlacedAcpi placed = place_acpi_tables(tables, kBase);
  EXPECT_EQ(files[kAcpiTablesFile], placed.tables);
  EXPECT_EQ(files[kAcpiRsdpFile], placed.rsdp);
}

/// Disassembles each table and compiles the source again: it must be accepted, and give the same code.
TEST_P(Placed, IaslReadsAndRecompilesEveryTable) {
  if (std::system("iasl -v >/dev/null 2>&1") != 0) GTEST_SKIP() << "iasl is not installed (package acpica-tools)";
  const AcpiTables tables = build_acpi_tables(GetParam()());
  const PlacedAcpi placed = place_acpi_tables(tables, kBase);
  std::string folder = (std::filesystem::temp_directory_path() / "acpi-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  for (const auto& table : tables.directory) {
    const std::string file = folder + "/" + table.signature;
    const char* first = reinterpret_cast<const char*>(placed.tables.data()) + table.offset;
    std::ofstream(file + ".dat", std::ios::binary).write(first, table.length);
    const std::string command = "cd " + folder + " && iasl -d " + table.signature + ".dat >" + table.signature +
                                ".log 2>&1 && iasl -oa -p again_" + table.signature + " " + table.signature +
                                ".dsl >>" + table.signature + ".log 2>&1";
    const int status = std::system(command.c_str());
    std::ifstream log_file(file + ".log");
    const std::string log((std::istreambuf_iterator<char>(log_file)), std::istreambuf_iterator<char>());
    EXPECT_EQ(status, 0) << table.signature << "\n" << log;
    EXPECT_THAT(log, HasSubstr(" 0 Errors")) << table.signature;
    if (table.signature != "FACS") {
      EXPECT_THAT(log, HasSubstr("0 Warnings")) << table.signature << "\n" << log;
    }
    if (table.signature == "DSDT") {
      std::ifstream again_file(folder + "/again_DSDT.aml", std::ios::binary);
      const std::vector<u8> again((std::istreambuf_iterator<char>(again_file)), std::istreambuf_iterator<char>());
      ASSERT_GE(again.size(), 36u);
      // The header differs in the compiler's own name.
      EXPECT_EQ(again.size(), table.length);
      EXPECT_TRUE(std::equal(again.begin() + 36, again.end(), placed.tables.begin() + table.offset + 36));
    }
  }
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Acpi, Placed, testing::Values(pc_config, q35_config),
                         [](const auto& which) { return which.index == 0 ? "pc" : "q35"; });

TEST(AcpiMadt, LargeApicIdsGetX2apicEntries) {
  AcpiConfig config = pc_config();
  config.apic_ids = {0, 254, 255, 300};
  const AcpiTables tables = build_acpi_tables(config);
  const auto* madt = find(tables, "APIC");
  std::vector<std::pair<u64, u64>> found;  // type, id
  for (size_t at = madt->offset + 44; at < madt->offset + madt->length; at += tables.tables[at + 1]) {
    if (tables.tables[at] == 0) found.emplace_back(0, tables.tables[at + 3]);
    if (tables.tables[at] == 9) found.emplace_back(9, number_at(tables.tables, at + 4, 4));
  }
  EXPECT_THAT(found, testing::ElementsAre(testing::Pair(0, 0), testing::Pair(0, 254), testing::Pair(9, 255),
                                          testing::Pair(9, 300)));
}

TEST(AcpiFadt, RegistersFollowThePmBase) {
  AcpiConfig config = q35_config();
  config.pm_base = 0x800;
  const AcpiTables tables = build_acpi_tables(config);
  const size_t fadt = find(tables, "FACP")->offset;
  EXPECT_EQ(find(tables, "FACP")->length, 244u);
  EXPECT_EQ(number_at(tables.tables, fadt + 56, 4), 0x800u);
  EXPECT_EQ(number_at(tables.tables, fadt + 64, 4), 0x804u);
  EXPECT_EQ(number_at(tables.tables, fadt + 76, 4), 0x808u);
  EXPECT_EQ(number_at(tables.tables, fadt + 80, 4), 0x820u);
}

TEST(AcpiTables, AbsentPartsAreNotNamed) {
  AcpiConfig config = pc_config();
  config.has_hpet = false;
  const AcpiTables tables = build_acpi_tables(config);
  EXPECT_EQ(find(tables, "HPET"), nullptr);
  EXPECT_EQ(find(tables, "MCFG"), nullptr);
}

// AML. ---------------------------------------------------------------------------------------------------------------

TEST(Aml, PackageLengthGrowsWithItsContent) {
  const auto head = [](size_t content) {
    std::vector<u8> bytes(content - 1, 0xa3);
    aml::Aml body;
    for (const u8 b : bytes) body.byte(b);
    const auto all = aml::if_then(aml::integer(1), body).bytes();
    return std::vector<u8>(all.begin() + 1, all.begin() + 4);
  };
  EXPECT_EQ(head(62)[0], 0x3f);
  EXPECT_EQ(head(63)[0], 0x41);
  EXPECT_EQ(head(63)[1], 0x04);
  EXPECT_EQ(head(4093)[0], 0x4f);
  EXPECT_EQ(head(4093)[1], 0xff);
  EXPECT_EQ(head(4094)[0], 0x81);
}

TEST(Aml, NamesArePaddedAndPrefixed) {
  EXPECT_EQ(aml::path("\\_SB.PCI0").bytes(), (std::vector<u8>{'\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0'}));
  EXPECT_EQ(aml::path("^A").bytes(), (std::vector<u8>{'^', 'A', '_', '_', '_'}));
  EXPECT_EQ(aml::path("A.B.C").bytes().at(0), 0x2f);
}

TEST(Aml, IntegersUseTheShortestForm) {
  EXPECT_EQ(aml::integer(0).size(), 1u);
  EXPECT_EQ(aml::integer(0xff).size(), 2u);
  EXPECT_EQ(aml::integer(0x100).size(), 3u);
  EXPECT_EQ(aml::integer(0x1'0000).size(), 5u);
  EXPECT_EQ(aml::integer(u64(1) << 32).size(), 9u);
}

TEST(Aml, EisaIdIsCompressed) {
  EXPECT_EQ(aml::eisa_id("PNP0A03").bytes(), (std::vector<u8>{0x0c, 0x41, 0xd0, 0x0a, 0x03}));
}

TEST(Aml, UuidSwapsTheFirstThreeGroups) {
  const auto bytes = aml::uuid("33db4d5b-1ff7-401c-9657-7441c03dd766").bytes();
  const std::vector<u8> expected = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
                                    0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};
  EXPECT_EQ(std::vector<u8>(bytes.end() - 16, bytes.end()), expected);
}

}  // namespace
}  // namespace emu::hw
