// SPDX-License-Identifier: Apache-2.0
// SMBIOS tables: what dmidecode shows. DMTF DSP0134, System Management BIOS reference specification 2.8.0 (sections as
// §).
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::hw {

/// -smbios: what a user wants otherwise. Values as text, checked by who fills this in; numbers in decimal.
struct SmbiosOverrides {
  using Fields = std::map<std::string, std::string>;
  /// What all user-made structures together may have, so that the tables fit below 1 MiB.
  static constexpr std::size_t kMostBytes = 24 * 1024;
  std::map<u8, Fields> types;            ///< 0..4 and 17, by key
  std::vector<Fields> ports, slots;      ///< type 8 and 9, one structure each
  std::vector<std::string> oem_strings;  ///< type 11
  std::vector<std::vector<u8>> raw;      ///< whole structures; a type that is here is not made besides

  const std::string* find(u8 type, const std::string& key) const;
  std::string text(u8 type, const std::string& key, std::string otherwise = "") const;
  u64 number(u8 type, const std::string& key, u64 otherwise) const;
};
/// The structures in a file's bytes, as the tables have them (§6.1). Errors: cut off, or an end-of-table among them.
Result<std::vector<std::vector<u8>>> split_smbios(std::string_view bytes);

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
  SmbiosOverrides overrides;
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
