// SPDX-License-Identifier: Apache-2.0
// What host bridges do to memory below 1 MiB: shadow RAM over ROM (PAM), and the SMRAM window over VGA memory.
#pragma once

#include <array>
#include <memory>

#include "softmmu/memory/memory.h"

namespace emu::hw {

/// What a board lends its host bridge. `ram` lies at guest address 0 and has at least 1 MiB; the board maps it (and RAM
/// above 4 GiB) into `system` at priority 0. The bridge maps PCI memory below it, at priority -1.
struct HostBridgeMemory {
  mem::RegionRef system;
  mem::RegionRef ram;
  u64 below_4g_bytes = 0;  ///< RAM ends here; PCI memory begins
};

/// The thirteen segments of programmable attribute maps: 0xf0000 (64 KiB), then 0xc0000..0xeffff by 16 KiB. 82441FX
/// datasheet (290549), PAM[6:0]; the MCH has the same with other register numbers.
class ShadowMemory {
 public:
  static constexpr unsigned kSegments = 13;
  static constexpr u8 kRead = 1, kWrite = 2;  ///< mode bits: that direction goes to RAM, not to PCI

  ShadowMemory(mem::Memory& memory, const HostBridgeMemory& board, const mem::RegionRef& pci);
  ~ShadowMemory();
  ShadowMemory(const ShadowMemory&) = delete;
  ShadowMemory& operator=(const ShadowMemory&) = delete;

  void set_mode(unsigned segment, u8 mode);
  /// From the seven registers PAM0..PAM6.
  void set_registers(const std::array<u8, 7>& pam);
  static constexpr std::array<u8, 7> kRegisterMasks = {0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33};

 private:
  struct Segment {
    u64 address, size;
    mem::RegionRef ram, pci, write_only;
    u8 mode = 0xff;
  };
  mem::RegionRef make_write_only(const Segment& segment);

  mem::Memory& memory_;
  mem::RamRef ram_block_;
  mem::AddressSpace pci_space_;  ///< for reads of segments whose writes go to RAM
  std::array<Segment, kSegments> segments_;
};

/// Who sees RAM at 0xa0000..0xbffff: everybody while open, else CPUs in system management mode only.
class SmramWindow {
 public:
  static constexpr u64 kAddress = 0xa'0000, kSize = 0x2'0000;

  SmramWindow(mem::Memory& memory, const HostBridgeMemory& board, const mem::RegionRef& pci);
  ~SmramWindow();
  SmramWindow(const SmramWindow&) = delete;
  SmramWindow& operator=(const SmramWindow&) = delete;

  /// `enabled`: G_SMRAME. `open`: D_OPEN. Deviation: D_CLS is kept but does not hide SMRAM from data accesses.
  void set(bool enabled, bool open);
  /// What a CPU in SMM has above system memory.
  const mem::RegionRef& smm_view() const { return smm_view_; }

 private:
  mem::RegionRef vga_, smm_view_, smm_ram_;
};

/// Reads all ones at 0xa0000..0xfffff where nothing on PCI answers, so that RAM never shows through a PCI alias.
mem::RegionRef make_pci_background(mem::Memory& memory);

}  // namespace emu::hw
