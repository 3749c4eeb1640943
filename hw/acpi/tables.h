// SPDX-License-Identifier: Apache-2.0
// ACPI tables of machines pc and q35: as blobs for firmware (fw_cfg), or placed for a kernel entered directly.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "util/types.h"

namespace emu::hw {

/// First and last address of a range.
struct AddressWindow {
  u64 first = 0, last = 0;
};

/// What the tables say about the machine. Plain facts; the board fills it in.
struct AcpiConfig {
  enum class Chipset { I440Fx, Q35 };
  Chipset chipset = Chipset::I440Fx;
  std::vector<u32> apic_ids;  ///< by CPU index, at least one
  /// Where PCI memory may be; without the ECAM window.
  std::vector<AddressWindow> pci_memory32;
  std::optional<AddressWindow> pci_memory64;
  std::optional<u64> ecam_base;  ///< MCFG; 256 buses
  std::optional<u64> rcba;       ///< root complex registers, 16 KiB
  u16 pm_base = 0x600;           ///< PM1 event block; the others follow as the chipset has them
  u8 sci = 9;
  u32 ioapic_address = 0xfec0'0000, lapic_address = 0xfee0'0000;
  u8 ioapic_id = 0;
  bool has_hpet = true, has_rtc = true, has_ps2 = true, has_fw_cfg = true, has_vga = true;
  unsigned serial_ports = 1;  ///< COM1.. at their usual places
  std::optional<u16> pvpanic_port;
  bool has_pci_hotplug = false;  ///< the slots of pci.0; AcpiPciHotplug
  bool offers_s3 = false, offers_s4 = false;
  /// -acpitable: whole tables, whose length is right. The checksum is made here.
  std::vector<std::vector<u8>> extra_tables;
};

/// Tables with addresses not yet known.
struct AcpiTables {
  enum class Blob { Tables, Rsdp };
  /// `size` bytes at `offset` of `blob` hold an offset into `tables`, to which its address is to be added.
  struct Pointer {
    Blob blob;
    u32 offset;
    u8 size;
  };
  /// The byte at `offset` makes [start, start + length) sum to zero.
  struct Checksum {
    Blob blob;
    u32 offset, start, length;
  };
  struct Table {
    std::string signature;
    u32 offset, length;
  };
  std::vector<u8> tables;  ///< FACS first: align it to 64 bytes
  std::vector<u8> rsdp;    ///< 16-byte aligned, where the BIOS searches
  std::vector<Pointer> pointers;
  std::vector<Checksum> checksums;
  std::vector<Table> directory;  ///< of `tables`, for tests and tools
};
AcpiTables build_acpi_tables(const AcpiConfig& config);

/// Names of the fw_cfg files.
inline constexpr const char* kAcpiTablesFile = "etc/acpi/tables";
inline constexpr const char* kAcpiRsdpFile = "etc/acpi/rsdp";
inline constexpr const char* kTableLoaderFile = "etc/table-loader";
/// The contents of "etc/table-loader": how firmware puts the two other files into memory.
std::vector<u8> acpi_loader_script(const AcpiTables& tables);

struct PlacedAcpi {
  u64 tables_address = 0;
  std::vector<u8> tables;
  std::vector<u8> rsdp;  ///< goes anywhere in 0xe0000..0xfffff on a 16-byte boundary, or into boot parameters
};
/// What a loader following the script would have made, with the tables at `address` (below 4 GiB, 64-byte aligned).
PlacedAcpi place_acpi_tables(const AcpiTables& tables, u64 address);

}  // namespace emu::hw
