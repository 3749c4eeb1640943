// SPDX-License-Identifier: Apache-2.0
// Ways into configuration space: ports 0xcf8/0xcfc (PCI 3.0 §3.2.2.3.2) and ECAM memory (PCI Express base, 7.2.2).
#pragma once

#include <functional>

#include "hw/core/sysbus.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Base of the host bridges of PCs: a root bus and the two configuration ports.
class PciHostBridge : public SysBusDevice {
 public:
  static constexpr const char* kTypeName = "pci-host-bridge";
  static void describe(TypeInfo<PciHostBridge>& type);

  /// After realize.
  PciBus& pci_bus() const { return *root_bus_; }
  /// Byte-wide port 0xcf9 lies within the dword-wide CONFIG_ADDRESS; the south bridge that has it answers there.
  struct ResetPort {
    std::function<u8()> read;
    std::function<void(u8)> write;
  };
  void set_reset_port(ResetPort port) { reset_port_ = std::move(port); }

 protected:
  static constexpr u16 kAddressPort = 0xcf8, kDataPort = 0xcfc;
  void set_root_bus(PciBus& bus) { root_bus_ = &bus; }
  void map_config_ports();
  /// Configuration space of all buses as memory; size is 1 MiB a bus.
  mem::RegionRef make_ecam(unsigned buses);

  void before_reset_enter() override { state_ = {}; }

 private:
  struct State {
    u32 address = 0;
  };
  static void fields(Archive& ar, State& s) { ar("config_address", s.address); }
  PciDevice* target(u8 bus, u8 devfn) const;
  u64 read_address(u64 offset, unsigned size);
  void write_address(u64 offset, u64 value, unsigned size);
  u64 read_data(u64 offset, unsigned size);
  void write_data(u64 offset, u64 value, unsigned size);

  State state_;
  PciBus* root_bus_ = nullptr;
  ResetPort reset_port_;
};

}  // namespace emu::hw
