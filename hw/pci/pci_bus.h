// SPDX-License-Identifier: Apache-2.0
// A PCI bus: which functions are on it, their address spaces, and where their interrupt pins go.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "hw/pci/pci_device.h"

namespace emu::hw {

/// Made by a host bridge with add_bus<PciBus>("pci.0"). Machine lock, except set_pin().
class PciBus : public Bus {
 public:
  static constexpr const char* kTypeName = "PCI";
  /// Interrupt line of the bus that pin 0..3 (INTA..INTD) of a function drives.
  using PinMap = std::function<unsigned(u8 devfn, unsigned pin)>;

  // By the bridges, before any pin is driven.
  void set_spaces(mem::RegionRef memory, mem::RegionRef ports);
  /// `lines` are the inputs of the interrupt router; `map` gives an index into them.
  void set_irqs(PinMap map, std::vector<IrqInput> lines);
  /// This bus, and the last one behind it: what configuration accesses to buses `number`..`last` come here for. A root
  /// bus has 0 and 255.
  void set_numbers(u8 number, u8 last) {
    number_ = number;
    last_number_ = last;
  }
  /// Functions without an address get a slot from here on.
  void set_first_free_slot(unsigned slot) { first_free_slot_ = slot; }
  /// There are slots 0..count-1 only.
  void set_slot_count(unsigned count) { slot_count_ = count; }
  /// While off (a port's link is down), configuration accesses find nothing from here on.
  void set_reachable(bool reachable) { reachable_ = reachable; }
  bool is_reachable() const { return reachable_; }
  /// Gives the region that dma() of a function shows, for functions on this bus and behind it: `bus` is theirs. Null
  /// stands for system memory. By an IOMMU, before those functions are realized.
  using DmaRoot = std::function<mem::RegionRef(const PciBus& bus, u8 devfn)>;
  void set_dma_root(DmaRoot root) { dma_root_ = std::move(root); }
  /// Null: system memory.
  mem::RegionRef dma_root(u8 devfn) const;

  u8 number() const { return number_; }
  /// The bridge or port whose secondary bus this is; null for a root bus.
  PciDevice* bridge() const { return dynamic_cast<PciDevice*>(owner()); }
  /// Who accesses, as an IOMMU and error messages know it: bus number and function.
  u16 requester_id(u8 devfn) const { return u16(number_ << 8 | devfn); }
  mem::Region& memory_space() { return *memory_; }
  const mem::RegionRef& memory_ref() const { return memory_; }
  mem::Region& ports() { return *ports_; }
  const mem::RegionRef& ports_ref() const { return ports_; }

  /// The function there, or null.
  PciDevice* at(u8 devfn) const { return functions_[devfn]; }
  /// This bus or one behind it, as bridges forward configuration accesses; null when none of them takes that number.
  PciBus* find(u8 number);

  /// The level of one function's pin; pins on one line are OR-ed. Any thread. Lock order: device → bus → router.
  void set_pin(u8 devfn, unsigned pin, bool level) { drive(devfn * kDrivers + pin, devfn, pin, level); }
  /// The same for what a bridge at `devfn` passes on from behind it.
  void set_forwarded_pin(u8 devfn, unsigned pin, bool level) { drive(devfn * kDrivers + 4 + pin, devfn, pin, level); }
  /// The line a pin is on, for tables and people.
  unsigned line_of(u8 devfn, unsigned pin) const { return map_ ? map_(devfn, pin) : 0; }

  Result<void> attach(Device& device) override;
  void detach(Device& device) override;
  std::string device_address(const Device& device) const override;
  /// Slots all the way from the root bus: "0000:00:1c.0:00.0". Does not depend on bus numbers.
  std::string path_of(const PciDevice& device) const;
  bool is_full() const override;

 private:
  static constexpr unsigned kDrivers = 8;  ///< of a function: its own pins, those behind it
  void drive(unsigned driver, u8 devfn, unsigned pin, bool level);
  Result<u8> choose(const PciDevice& device) const;

  mem::RegionRef memory_, ports_;
  std::array<PciDevice*, pci::kSlots * pci::kFunctions> functions_{};
  std::atomic<u8> number_ = 0;
  u8 last_number_ = 0xff;
  unsigned slot_count_ = pci::kSlots;
  bool reachable_ = true;
  DmaRoot dma_root_;
  unsigned first_free_slot_ = 0;
  PinMap map_;
  std::mutex irq_mutex_;  ///< the two below
  std::vector<IrqInput> lines_;
  std::vector<std::vector<bool>> levels_;  ///< by line, then driver
  std::vector<unsigned> high_;             ///< pins high, by line
};

/// Functions with 4 KiB of configuration space may be on it.
class PcieBus : public PciBus {
 public:
  static constexpr const char* kTypeName = "PCIE";
};

/// One function as `info pci` and query-pci show it.
struct PciFunctionInfo {
  struct Region {
    unsigned bar;
    bool io, prefetchable, is_64bit;
    u64 size;
    std::optional<u64> address;
  };
  u8 bus, slot, function;
  u16 class_code, vendor, device, subsystem_vendor, subsystem;
  u8 irq_line, irq_pin;
  std::vector<Region> regions;
  std::string id;
  struct Window {
    u64 base, limit;
  };
  struct Bridge {
    u8 primary, secondary, subordinate;
    Window io, memory, prefetchable;
  };
  std::optional<Bridge> bridge;
  std::vector<PciFunctionInfo> behind;  ///< of a bridge
};
std::vector<PciFunctionInfo> enumerate_pci(const PciBus& bus);
/// The text of `info pci`.
std::string describe_pci(const PciBus& bus);
/// "VGA controller"; "Class 0c03" for a class without a name here.
std::string pci_class_title(u16 class_code);

/// Registers "PCI", "PCIE", "pci-device", "pci-host-bridge" and the bridges.
void register_pci_core(TypeRegistry& registry);

}  // namespace emu::hw
