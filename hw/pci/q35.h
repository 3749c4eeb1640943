// SPDX-License-Identifier: Apache-2.0
// The host bridge of machine "q35". Intel 3 Series Express chipset datasheet (316966), chapter "DRAM controller".
#pragma once

#include <memory>

#include "hw/pci/pci_host.h"
#include "hw/pci/shadow_memory.h"

namespace emu::hw {

/// Function 00.0 ("mch"): PCI Express configuration window, PAM, SMRAM and TSEG. Made by Q35Host. Deviation: DRAM, DMI
/// and graphics registers are not there; high SMRAM (H_SMRAME) is kept and does nothing.
class Mch final : public PciDevice {
 public:
  enum Reg : unsigned { EXT_TSEG = 0x50, PCIEXBAR = 0x60, PAM0 = 0x90, SMRAM = 0x9d, ESMRAMC = 0x9e };
  static constexpr u8 kDOpen = 0x40, kDClosed = 0x20, kDLock = 0x10, kSmramEnable = 0x08, kBaseSegment = 0x02;  // SMRAM
  static constexpr u8 kHighSmram = 0x80, kSmramError = 0x40, kCacheBits = 0x38, kTsegSize = 0x06,
                      kTsegEnable = 0x01;  // ESMRAMC
  /// Not of the chip: writing all ones asks for, and then reads, the size in MiB that TSEG_SZ = 3 stands for.
  static constexpr u16 kExtendedTsegQuery = 0xffff;
  static constexpr u64 kEcamDefault = 0xb000'0000;  ///< where firmware (and we, when we are it) puts PCIEXBAR

  Mch() : PciDevice({.vendor = 0x8086, .device = 0x29c0, .class_code = pci::kClassHostBridge}) {}
  static void describe(TypeInfo<Mch>& type);

  void set_board(const HostBridgeMemory& board, mem::RegionRef pci, mem::RegionRef ecam) {
    board_ = board;
    pci_ = std::move(pci);
    ecam_ = std::move(ecam);
  }
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override { refresh(); }
  SmramWindow& smram() { return *smram_; }

 private:
  void config_written(unsigned offset, unsigned size) override;
  void refresh();
  void refresh_ecam();
  void refresh_tseg(bool smram_enabled);

  HostBridgeMemory board_;
  mem::RegionRef pci_, ecam_;
  u16 extended_tseg_mib_ = 16;
  std::unique_ptr<ShadowMemory> shadow_;
  std::unique_ptr<SmramWindow> smram_;
  mem::RegionRef tseg_hidden_, tseg_ram_;  ///< for CPUs outside and inside SMM
};

/// Provides bus "pcie.0", the configuration ports and the ECAM window.
class Q35Host final : public PciHostBridge {
 public:
  static void describe(TypeInfo<Q35Host>& type);
  /// By the board, before realize.
  void set_board(HostBridgeMemory board) { board_ = std::move(board); }
  Result<void> realize() override;
  void unrealize() override;
  Mch& bridge() const { return *bridge_; }
  const mem::RegionRef& pci_memory() const { return pci_memory_; }

 private:
  HostBridgeMemory board_;
  mem::RegionRef pci_memory_;
  Mch* bridge_ = nullptr;
};

void register_q35(TypeRegistry& registry);

}  // namespace emu::hw
