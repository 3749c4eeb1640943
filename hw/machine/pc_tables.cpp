// SPDX-License-Identifier: Apache-2.0
// What a PC tells its firmware or kernel about itself: ACPI and SMBIOS tables, and the items of fw_cfg.
#include <cstring>

#include "hw/acpi/smbios.h"
#include "hw/machine/pc_board.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/rtc/mc146818.h"

namespace emu::hw {
namespace {

constexpr u64 kRsdpAddress = 0xf0000, kSmbiosAnchor = 0xf0040, kSmbiosTables = 0xf0100;

/// "12345678-1234-1234-1234-123456789abc" as sixteen bytes in text order; zero if empty. The command line checked it.
std::array<u8, 16> uuid_bytes(const std::string& text) {
  std::array<u8, 16> bytes{};
  unsigned digit = 0;
  for (const char c : text) {
    if (c == '-' || digit >= 32) continue;
    const u8 value = u8(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    bytes[digit / 2] = u8(bytes[digit / 2] << 4 | (value & 15));
    digit++;
  }
  return bytes;
}

template <typename T>
void append(std::vector<u8>& bytes, T value) {
  const size_t at = bytes.size();
  bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

}  // namespace

AcpiConfig PcBoard::acpi_config() const {
  AcpiConfig acpi;
  for (const Cpu& entry : cpus_) acpi.apic_ids.push_back(entry.cpu->config().apic_id);
  acpi.has_hpet = hpet_ != nullptr;
  acpi.has_fw_cfg = fw_cfg_ != nullptr;
  acpi.has_vga = config_.vga;
  acpi.serial_ports = 0;
  for (const bool present : config_.serial_present) acpi.serial_ports += present;
  acpi.extra_tables = config_.acpi_tables;
  adapt_acpi(acpi);
  return acpi;
}

SmbiosConfig PcBoard::smbios_config() const {
  SmbiosConfig smbios;
  smbios.product = product();
  smbios.version = version_name();
  smbios.uuid = uuid_bytes(config_.uuid);
  smbios.sockets = config_.cpus.sockets * config_.cpus.dies;
  smbios.cores = config_.cpus.cores;
  smbios.threads = config_.cpus.threads;
  const x86::CpuidResult id = cpus_[0].cpu->cpuid(1, 0);
  smbios.cpuid_1_eax = id.eax;
  smbios.cpuid_1_edx = id.edx;
  smbios.ram_below_4g = layout_.low_bytes;
  smbios.ram_above_4g = layout_.high_bytes;
  smbios.overrides = config_.smbios;
  return smbios;
}

/// For direct entry: ACPI tables at the top of low memory, the pointers where a BIOS has them.
u64 PcBoard::place_tables(std::vector<BootBlob>& blobs, u64 tables_address) {
  if (has_acpi()) {
    const PlacedAcpi acpi = place_acpi_tables(build_acpi_tables(acpi_config()), tables_address);
    blobs.push_back({"ACPI tables", acpi.tables_address, acpi.tables});
    blobs.push_back({"ACPI RSDP", kRsdpAddress, acpi.rsdp});
  }
  SmbiosConfig smbios = smbios_config();
  smbios.bios = SmbiosConfig::Bios{"system-emu", "0.1", "01/01/2026"};
  const SmbiosTables tables = build_smbios_tables(smbios);
  blobs.push_back({"SMBIOS tables", kSmbiosTables, tables.tables});
  blobs.push_back({"SMBIOS anchor", kSmbiosAnchor, place_smbios_anchor(tables, u32(kSmbiosTables))});
  return has_acpi() ? kRsdpAddress : 0;
}

Result<void> PcBoard::build_fw_cfg() {
  fw_cfg_ = &place<FwCfg>(*machine_);
  EMU_TRY(fw_cfg_->realize_on(&machine_->system_bus()));
  fw_cfg_->add_u64(FwCfg::RAM_SIZE, config_.ram_bytes);
  fw_cfg_->add_u16(FwCfg::NB_CPUS, u16(config_.cpus.cpus));
  fw_cfg_->add_u16(FwCfg::MAX_CPUS, u16(config_.cpus.maxcpus));
  fw_cfg_->add_u32(FwCfg::IRQ0_OVERRIDE, 1);
  fw_cfg_->add_u16(FwCfg::NOGRAPHIC, graphics_ ? 0 : 1);
  const std::array<u8, 16> uuid = uuid_bytes(config_.uuid);
  fw_cfg_->add_bytes(FwCfg::UUID, {uuid.begin(), uuid.end()});
  // RAM as firmware cannot learn it from CMOS; type 1 is RAM.
  std::vector<u8> e820;
  const auto add = [&](u64 address, u64 length) {
    append(e820, address);
    append(e820, length);
    append(e820, u32(1));
  };
  add(0, layout_.low_bytes);
  if (layout_.high_bytes != 0) add(kHigh, layout_.high_bytes);
  fw_cfg_->add_file("etc/e820", e820);
  // A screen that nobody sees is repeated on the first serial line.
  if (!graphics_ && config_.serial_present[0]) fw_cfg_->add_file("etc/sercon-port", {0xf8, 0x03});

  const SmbiosTables smbios = build_smbios_tables(smbios_config());
  fw_cfg_->add_file(kSmbiosTablesFile, smbios.tables);
  fw_cfg_->add_file(kSmbiosAnchorFile, smbios.anchor);
  if (!has_acpi()) return add_firmware_files();
  const AcpiTables acpi = build_acpi_tables(acpi_config());
  fw_cfg_->add_file(kAcpiTablesFile, acpi.tables);
  fw_cfg_->add_file(kAcpiRsdpFile, acpi.rsdp);
  fw_cfg_->add_file(kTableLoaderFile, acpi_loader_script(acpi));
  return add_firmware_files();
}

Result<void> PcBoard::add_firmware_files() {
  for (const FirmwareFile& file : config_.firmware_files) {
    if (fw_cfg_->has_file(file.name)) return error("-fw_cfg name={}: the machine has a file of that name", file.name);
    fw_cfg_->add_file(file.name, file.data);
  }
  return {};
}

}  // namespace emu::hw
