// SPDX-License-Identifier: Apache-2.0
// SMBIOS tables: what dmidecode shows. DMTF DSP0134, System Management BIOS reference specification 2.8.0 (sections as
// §).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "util/types.h"

namespace emu::hw {

/// Plain facts; the board fills them in. The defaults are what QEMU's guests see.
struct SmbiosConfig {
  std::string manufacturer = "QEMU";
  std::string product = "Standard PC (i440FX + PIIX, 1996)";
  std::string version = "pc-i440fx-7.2";
  std::string serial, sku, family;  ///< "" is "not specified"
  std::array<u8, 16> uuid{};        ///< in the order of its text form; all zero: not set

  /// Type 0. Firmware adds its own, so only for a kernel entered directly.
  struct Bios {
    std::string vendor, version, date;  ///< date as MM/DD/YYYY
  };
  std::optional<Bios> bios;

  unsigned sockets = 1, cores = 1, threads = 1;  ///< cores per socket, threads per core
  u32 cpuid_1_eax = 0, cpuid_1_edx = 0;          ///< the processor's ID field
  u64 ram_below_4g = 0, ram_above_4g = 0;        ///< in bytes
};

struct SmbiosTables {
  std::vector<u8> tables;
  std::vector<u8> anchor;  ///< 31-byte entry point; address and checksums are for place() or firmware to fill in
};
SmbiosTables build_smbios_tables(const SmbiosConfig& config);

/// Names of the fw_cfg files.
inline constexpr const char* kSmbiosTablesFile = "etc/smbios/smbios-tables";
inline constexpr const char* kSmbiosAnchorFile = "etc/smbios/smbios-anchor";

/// The entry point for tables at `tables_address` (below 4 GiB). It goes onto a 16-byte boundary in 0xf0000..0xfffff.
std::vector<u8> place_smbios_anchor(const SmbiosTables& tables, u32 tables_address);

}  // namespace emu::hw
