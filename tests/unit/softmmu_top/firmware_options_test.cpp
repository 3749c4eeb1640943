// SPDX-License-Identifier: Apache-2.0
#include "softmmu/firmware_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "hw/acpi/tables.h"
#include "softmmu/config_file.h"
#include "softmmu/start_options.h"

namespace emu::softmmu {
namespace {

using Kind = FirmwareOption::Kind;
using testing::HasSubstr;

std::string file_of(const std::string& name, const std::string& contents) {
  const std::string path = testing::TempDir() + name + "." + std::to_string(::getpid());
  std::ofstream(path, std::ios::binary) << contents;
  return path;
}

hw::BoardConfig applied(std::vector<FirmwareOption> options) {
  hw::BoardConfig config;
  auto done = apply_firmware_options(options, config);
  EXPECT_TRUE(done) << done.error().text();
  return config;
}

std::string refused(FirmwareOption option) {
  hw::BoardConfig config;
  const auto done = apply_firmware_options({option}, config);
  EXPECT_FALSE(done);
  return done ? "" : done.error().text();
}

TEST(FirmwareOptions, FwCfgFilesComeFromTextsAndFiles) {
  const std::string path = file_of("fw", "from file");
  const auto config = applied({{Kind::FwCfg, "opt/a,string=text"}, {Kind::FwCfg, "name=opt/b,file=" + path}});
  ASSERT_EQ(config.firmware_files.size(), 2u);
  EXPECT_EQ(config.firmware_files[0].name, "opt/a");
  EXPECT_EQ(config.firmware_files[0].data, (std::vector<u8>{'t', 'e', 'x', 't'}));
  EXPECT_EQ(config.firmware_files[1].data.size(), 9u);
  ::unlink(path.c_str());
}

TEST(FirmwareOptions, FwCfgRefusalsNameTheCause) {
  EXPECT_EQ(refused({Kind::FwCfg, "opt/a"}), "-fw_cfg opt/a: name=opt/a: either file= or string= is needed");
  EXPECT_THAT(refused({Kind::FwCfg, "opt/a,gen_id=x"}), HasSubstr("there are no objects"));
  EXPECT_THAT(refused({Kind::FwCfg, "string=x"}), HasSubstr("name"));
  EXPECT_THAT(refused({Kind::FwCfg, "opt/" + std::string(52, 'a') + ",string=x"}), HasSubstr("at most 55"));
  hw::BoardConfig config;
  EXPECT_FALSE(apply_firmware_options({{Kind::FwCfg, "opt/a,string=x"}, {Kind::FwCfg, "opt/a,string=y"}}, config));
}

TEST(FirmwareOptions, SmbiosFieldsReachTheTables) {
  auto config = applied({{Kind::Smbios, "type=0,vendor=Us,release=1.2"},
                         {Kind::Smbios, "type=1,serial=S-1,uuid=00010203-0405-0607-0809-0a0b0c0d0e0f"},
                         {Kind::Smbios, "type=2,product=Board"},
                         {Kind::Smbios, "type=4,sock_pfx=Socket,max-speed=3000"},
                         {Kind::Smbios, "type=8,internal_reference=COM1,port_type=9"},
                         {Kind::Smbios, "type=9,slot_designation=Slot1,slot_id=3"},
                         {Kind::Smbios, "type=11,value=one,value=two"},
                         {Kind::Smbios, "type=17,manufacturer=Maker,speed=2400"}});
  hw::SmbiosConfig smbios;
  smbios.ram_below_4g = 1 << 30;
  smbios.overrides = config.smbios;
  const std::vector<u8> bytes = hw::build_smbios_tables(smbios).tables;
  const std::string text(bytes.begin(), bytes.end());
  for (const char* word : {"Us", "S-1", "Board", "Socket 0", "COM1", "Slot1", "one", "two", "Maker"}) {
    EXPECT_THAT(text, HasSubstr(std::string(word) + '\0')) << word;
  }
  // The end is added by the builder, so the user's own may not have one.
  EXPECT_THAT(hw::split_smbios(text).error().text(), HasSubstr("end-of-table"));
  const auto structures = hw::split_smbios(text.substr(0, text.size() - 6));
  ASSERT_TRUE(structures) << structures.error().text();
  std::vector<unsigned> types;
  for (const auto& one : *structures) types.push_back(one[0]);
  EXPECT_THAT(types, testing::ElementsAre(0, 1, 2, 3, 4, 8, 9, 11, 16, 17, 19, 32));
  EXPECT_EQ(structures->at(0)[20], 1);
  EXPECT_EQ(structures->at(0)[21], 2);
  EXPECT_EQ(structures->at(4)[0x14] | structures->at(4)[0x15] << 8, 3000);
  EXPECT_EQ(structures->at(1)[8], 3);  // the first field of the UUID, little-endian
}

TEST(FirmwareOptions, SmbiosStructureOfAFileReplacesOurs) {
  const std::string raw = std::string("\x01\x06\x00\x01\x01\x00", 6) + "Mine" + std::string(2, '\0');
  const std::string path = file_of("smbios", raw);
  const auto config = applied({{Kind::Smbios, "file=" + path}});
  hw::SmbiosConfig smbios;
  smbios.overrides = config.smbios;
  const std::vector<u8> bytes = hw::build_smbios_tables(smbios).tables;
  const std::string text(bytes.begin(), bytes.end());
  EXPECT_THAT(text, HasSubstr("Mine"));
  EXPECT_EQ(text.find("Standard PC"), std::string::npos);
  ::unlink(path.c_str());
}

TEST(FirmwareOptions, SmbiosRefusalsNameTheCause) {
  EXPECT_THAT(refused({Kind::Smbios, "type=16,x=y"}), HasSubstr("type=16: structures of this type have no fields"));
  EXPECT_THAT(refused({Kind::Smbios, "type=1,seriel=x"}), HasSubstr("did you mean 'serial'?"));
  EXPECT_THAT(refused({Kind::Smbios, "type=1,uuid=x"}), HasSubstr("is not a UUID"));
  EXPECT_THAT(refused({Kind::Smbios, "type=0,release=300.1"}), HasSubstr("MAJOR.MINOR"));
  EXPECT_THAT(refused({Kind::Smbios, "type=17,speed=70000"}), HasSubstr("at most 65535"));
  EXPECT_THAT(refused({Kind::Smbios, "type=11,value=" + std::string(30000, 'x')}), HasSubstr("bytes"));
  EXPECT_FALSE(hw::split_smbios(std::string_view("\x01\x30\x00\x01", 4)));
  EXPECT_FALSE(hw::split_smbios(std::string_view("\x01\x04\x00\x01x", 5)));
}

TEST(FirmwareOptions, AcpiTableIsListedAndSumsToZero) {
  const std::string path = file_of("acpi", "contents");
  const auto config =
      applied({{Kind::AcpiTable, "sig=TEST,rev=7,oem_id=US,oem_table_id=TABLE,oem_rev=9,data=" + path + ":" + path}});
  ASSERT_EQ(config.acpi_tables.size(), 1u);
  EXPECT_EQ(config.acpi_tables[0].size(), 36u + 16);
  hw::AcpiConfig acpi;
  acpi.apic_ids = {0};
  acpi.extra_tables = config.acpi_tables;
  const hw::AcpiTables tables = hw::build_acpi_tables(acpi);
  const hw::PlacedAcpi placed = hw::place_acpi_tables(tables, 0x10000);
  for (const auto& table : tables.directory) {
    if (table.signature != "TEST") continue;
    u8 sum = 0;
    for (u32 i = 0; i < table.length; i++) sum = u8(sum + placed.tables[table.offset + i]);
    EXPECT_EQ(sum, 0);
    EXPECT_EQ(placed.tables[table.offset + 8], 7);
    EXPECT_EQ(placed.tables[table.offset + 4], 52);
    ::unlink(path.c_str());
    return;
  }
  FAIL() << "the table is not there";
}

TEST(FirmwareOptions, AcpiRefusalsNameTheCause) {
  EXPECT_THAT(refused({Kind::AcpiTable, "sig=TEST"}), HasSubstr("either file="));
  EXPECT_THAT(refused({Kind::AcpiTable, "sig=TES,data=/dev/null"}), HasSubstr("a signature has four characters"));
  EXPECT_THAT(refused({Kind::AcpiTable, "sig=TEST,oem_id=TOOLONG,data=/dev/null"}), HasSubstr("at most 6"));
  EXPECT_THAT(refused({Kind::AcpiTable, "sig=TEST,rev=256,data=/dev/null"}), HasSubstr("at most 255"));
  EXPECT_THAT(refused({Kind::AcpiTable, "file=/dev/null"}), HasSubstr("shorter than a table's header"));
}

TEST(ConfigFile, SectionsAreOptions) {
  const auto given = parse_config(
      "# a comment\n[machine]\n  type = \"q35\"\n\n[device \"d0\"]\ndriver=\"edu\"\n[smp-opts]\n cpus = \"2\"\n",
      "vm.cfg");
  ASSERT_TRUE(given) << given.error().text();
  ASSERT_EQ(given->size(), 3u);
  EXPECT_EQ(given->at(0).row->name, "machine");
  EXPECT_EQ(given->at(0).value, "type=q35");
  EXPECT_EQ(given->at(1).value, "id=d0,driver=edu");
  EXPECT_EQ(given->at(1).where, "vm.cfg:5");
  EXPECT_EQ(given->at(2).row->name, "smp");
}

TEST(ConfigFile, RefusalsNameFileAndLine) {
  const auto refusal = [](std::string_view text) {
    const auto given = parse_config(text, "vm.cfg");
    EXPECT_FALSE(given);
    return given ? "" : given.error().text();
  };
  EXPECT_EQ(refusal("[devise \"x\"]"), "vm.cfg:1: there is no group 'devise'\ndid you mean 'device'?");
  EXPECT_EQ(refusal("\nkey = \"1\""), "vm.cfg:2: 'key = \"1\"' stands in no section: [GROUP \"ID\"] begins one");
  EXPECT_EQ(refusal("[device]\nkey = 1"), "vm.cfg:2: the value of 'key' is not in quotes");
  EXPECT_EQ(refusal("[device]\nkey"), "vm.cfg:2: 'key' is no KEY = \"VALUE\"");
  EXPECT_EQ(refusal("[device"), "vm.cfg:1: '[device' does not end in ']'");
  EXPECT_EQ(refusal("[device x]"), "vm.cfg:1: the id x is not in quotes");
}

TEST(ConfigFile, FileAndSetMakeOneCommandLine) {
  const std::string path = file_of("config", "[device \"d0\"]\ndriver = \"edu\"\n[memory]\nsize = \"64\"\n");
  const std::vector<std::string> words = {"-readconfig", path, "-device", R"({"driver":"edu","id":"d1"})", "-set",
                                          "device.d0.addr=5", "-set", "device.d1.addr=6"};
  const auto options = parse_command_line(words);
  ASSERT_TRUE(options) << options.error().text();
  EXPECT_EQ(options->ram_bytes, u64(64) << 20);
  ASSERT_EQ(options->devices.size(), 2u);
  EXPECT_EQ(options->devices[0].id, "d0");
  EXPECT_EQ(options->devices[0].properties.at(0).second.text(), "5");
  EXPECT_EQ(options->devices[1].properties.at(0).second.text(), "6");
  ::unlink(path.c_str());
}

TEST(ConfigFile, ErrorsInAFileNameItsLine) {
  const std::string path = file_of("config2", "[smp-opts]\ncpus = \"x\"\n[chardev \"c\"]\nbackend = \"stdoi\"\n");
  const auto options = parse_command_line(std::vector<std::string>{"-readconfig", path});
  ASSERT_FALSE(options);
  EXPECT_THAT(options.error().text(), HasSubstr(path + ":3: -chardev: "));
  ::unlink(path.c_str());
}

TEST(ConfigFile, SetNeedsWhatItChanges) {
  const auto refusal = [](const char* text) {
    const auto options = parse_command_line(std::vector<std::string>{"-set", text});
    EXPECT_FALSE(options);
    return options ? "" : options.error().text();
  };
  EXPECT_THAT(refusal("device.x.a=1"), HasSubstr("there is no device 'x'"));
  EXPECT_THAT(refusal("device.x"), HasSubstr("GROUP.ID.KEY=VALUE"));
  EXPECT_THAT(refusal("devise.x.a=1"), HasSubstr("did you mean 'device'?"));
}

}  // namespace
}  // namespace emu::softmmu
