// SPDX-License-Identifier: Apache-2.0
// PCI-to-PCI bridges. PCI-to-PCI Bridge Architecture specification 1.2 (sections as §).
#pragma once

#include <array>

#include "hw/core/irq.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Base of functions with a type 1 header: one secondary bus, and windows through which its addresses appear on the
/// primary one. Deviations: ISA enable and the bridge's own bus master enable do not stop anything (firmware sets up
/// devices behind bridges without the latter); there are no discard timers.
class PciBridge : public PciDevice {
 public:
  static constexpr const char* kTypeName = "base-pci-bridge";
  static void describe(TypeInfo<PciBridge>& type);

  /// After realize.
  PciBus& secondary_bus() const { return *secondary_; }
  void unrealize() override;
  void reset_enter() override { refresh(); }

 protected:
  using PciDevice::PciDevice;

  /// In realize(): the secondary bus, named like the bridge, or "pci.1" and so on when it has no id.
  template <typename B>
  B& add_secondary_bus() {
    B& bus = add_bus<B>(bus_name(std::is_same_v<B, PciBus> ? "pci" : "pcie"));
    connect(bus);
    return bus;
  }
  /// Overriders call this one.
  void config_written(unsigned offset, unsigned size) override;

 private:
  enum Window { kIo, kMemory, kPrefetch, kVgaMemory, kVgaIoLow, kVgaIoHigh, kWindows };
  struct Range {
    u64 first, last;
  };
  std::string bus_name(std::string_view kind) const;
  void connect(PciBus& bus);
  void refresh();
  std::optional<Range> range_of(Window window) const;
  void place_window(Window window);

  PciBus* secondary_ = nullptr;
  mem::RegionRef memory_space_, port_space_;
  std::array<mem::RegionRef, kWindows> windows_;
  PciBus* primary_ = nullptr;
  u8 own_devfn_ = 0;
  IrqFunction pins_{[this](unsigned pin, bool level) { primary_->set_forwarded_pin(own_devfn_, pin, level); }};
  bool in_reset_ = false;  ///< the guest holds the secondary bus in reset
};

/// "base-pci-bridge", "pci-bridge", "i82801b11-bridge", "pcie-root-port", "pcie-pci-bridge".
void register_pci_bridges(TypeRegistry& registry);
/// Part of it.
void register_pcie_ports(TypeRegistry& registry);

}  // namespace emu::hw
