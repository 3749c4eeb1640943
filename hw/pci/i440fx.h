// SPDX-License-Identifier: Apache-2.0
// The host bridge of machine "pc". Intel 82441FX PCI and memory controller datasheet (290549-001).
#pragma once

#include <memory>

#include "hw/pci/pci_host.h"
#include "hw/pci/shadow_memory.h"

namespace emu::hw {

/// Function 00.0: PAM and SMRAM control. Made by I440FxHost. Deviation: the DRAM registers (DRB, DRT, ...) are not
/// there, since firmware learns the size of RAM from fw_cfg and CMOS.
class I440Fx final : public PciDevice {
 public:
  enum Reg : unsigned { PAM0 = 0x59, SMRAM = 0x72 };
  static constexpr u8 kDOpen = 0x40, kDClosed = 0x20, kDLock = 0x10, kSmramEnable = 0x08, kBaseSegment = 0x02;  // SMRAM

  I440Fx() : PciDevice({.vendor = 0x8086, .device = 0x1237, .revision = 2, .class_code = pci::kClassHostBridge}) {}
  static void describe(TypeInfo<I440Fx>& type);

  void set_board(const HostBridgeMemory& board, mem::RegionRef pci) {
    board_ = board;
    pci_ = std::move(pci);
  }
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override { refresh(); }
  SmramWindow& smram() { return *smram_; }

 private:
  void config_written(unsigned offset, unsigned size) override;
  void refresh();

  HostBridgeMemory board_;
  mem::RegionRef pci_;
  std::unique_ptr<ShadowMemory> shadow_;
  std::unique_ptr<SmramWindow> smram_;
};

/// Provides bus "pci.0" and the configuration ports.
class I440FxHost final : public PciHostBridge {
 public:
  static void describe(TypeInfo<I440FxHost>& type);
  /// By the board, before realize.
  void set_board(HostBridgeMemory board) { board_ = std::move(board); }
  Result<void> realize() override;
  void unrealize() override;
  I440Fx& bridge() const { return *bridge_; }
  /// PCI memory: where the board puts ROM below 1 MiB.
  const mem::RegionRef& pci_memory() const { return pci_memory_; }

 private:
  HostBridgeMemory board_;
  mem::RegionRef pci_memory_;
  I440Fx* bridge_ = nullptr;
};

void register_i440fx(TypeRegistry& registry);

}  // namespace emu::hw
