// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_bus.h"

#include <algorithm>

#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_host.h"

namespace emu::hw {

using namespace pci;

void PciBus::set_spaces(mem::RegionRef memory, mem::RegionRef ports) {
  memory_ = std::move(memory);
  ports_ = std::move(ports);
}

void PciBus::set_irqs(PinMap map, std::vector<IrqInput> lines) {
  const std::lock_guard guard(irq_mutex_);
  map_ = std::move(map);
  lines_ = std::move(lines);
  levels_.assign(lines_.size(), std::vector<bool>(functions_.size() * kDrivers));
  high_.assign(lines_.size(), 0);
}

PciBus* PciBus::find(u8 number) {
  if (number == number_) return this;
  for (PciDevice* device : functions_) {
    if (device == nullptr) continue;
    for (Bus* child : device->child_buses()) {
      auto* pci = dynamic_cast<PciBus*>(child);
      // A bridge that has no number yet (0) forwards nothing.
      if (pci == nullptr || pci->number_ == 0 || number < pci->number_ || number > pci->last_number_) continue;
      return pci->reachable_ ? pci->find(number) : nullptr;
    }
  }
  return nullptr;
}

mem::RegionRef PciBus::dma_root(u8 devfn) const {
  for (const PciBus* at = this; at != nullptr;) {
    if (at->dma_root_) return at->dma_root_(*this, devfn);
    const PciDevice* up = at->bridge();
    at = up == nullptr ? nullptr : dynamic_cast<const PciBus*>(up->bus());
  }
  return nullptr;
}

void PciBus::drive(unsigned driver, u8 devfn, unsigned pin, bool level) {
  const std::lock_guard guard(irq_mutex_);
  if (!map_) return;
  const unsigned line = map_(devfn, pin);
  EMU_CHECK(line < lines_.size());
  auto mine = levels_[line][driver];
  if (mine == level) return;
  mine = level;
  const unsigned before = high_[line];
  high_[line] += level ? 1 : -1u;
  if ((before != 0) != (high_[line] != 0)) lines_[line].set(level);
}

// Places. ------------------------------------------------------------------------------------------------------------

Result<u8> PciBus::choose(const PciDevice& device) const {
  if (!device.address_) {
    for (unsigned slot = first_free_slot_; slot < slot_count_; slot++) {
      const auto first = functions_.begin() + slot * kFunctions;
      if (std::all_of(first, first + kFunctions, [](PciDevice* d) { return d == nullptr; })) return pci_devfn(slot, 0);
    }
    return error("PCI: no slot of bus {} is free for {}", name(), device.type().name());
  }
  const u8 devfn = device.address_->devfn;
  const unsigned slot = devfn >> 3, function = devfn & 7;
  if (slot >= slot_count_) {
    return error("PCI: slot {} is not valid for {}, parent device only allows plugging into slot {}.", slot,
                 device.type().name(), slot_count_ - 1);
  }
  if (const PciDevice* other = functions_[devfn]) {
    return error("PCI: slot {} function {} not available for {}, in use by {}", slot, function, device.type().name(),
                 other->type().name());
  }
  const PciDevice* first = functions_[pci_devfn(slot, 0)];
  if (function != 0 && first != nullptr && !first->is_multifunction()) {
    return error("PCI: {:02x}.0 is not multifunction, so {} cannot be {:02x}.{:x}", slot, device.type().name(), slot,
                 function);
  }
  if (function == 0 && !device.multifunction_) {
    for (unsigned f = 1; f < kFunctions; f++) {
      if (functions_[pci_devfn(slot, f)] == nullptr) continue;
      return error("PCI: {:02x}.{:x} is there already, so {} at {:02x}.0 needs multifunction=on", slot, f,
                   device.type().name(), slot);
    }
  }
  return devfn;
}

Result<void> PciBus::attach(Device& device) {
  auto* pci = dynamic_cast<PciDevice*>(&device);
  if (pci == nullptr) return error("{} is not a PCI device", device.type().name());
  const u8 devfn = EMU_TRY(choose(*pci));
  functions_[devfn] = pci;
  pci->devfn_ = devfn;
  return Bus::attach(device);
}

void PciBus::detach(Device& device) {
  for (PciDevice*& place : functions_) {
    if (place == &device) place = nullptr;
  }
  Bus::detach(device);
}

std::string PciBus::device_address(const Device& device) const {
  const auto* pci = dynamic_cast<const PciDevice*>(&device);
  if (pci == nullptr) return {};
  return fmt::format("0000:{:02x}:{:02x}.{:x}", number_, pci->slot(), pci->function());
}

std::string PciBus::path_of(const PciDevice& device) const {
  const std::string own = fmt::format("{:02x}.{:x}", device.slot(), device.function());
  const PciDevice* up = bridge();
  if (up == nullptr) return "0000:00:" + own;
  return up->pci_bus().path_of(*up) + ":" + own;
}

bool PciBus::is_full() const {
  for (unsigned slot = first_free_slot_; slot < slot_count_; slot++) {
    const auto first = functions_.begin() + slot * kFunctions;
    if (std::all_of(first, first + kFunctions, [](PciDevice* d) { return d == nullptr; })) return false;
  }
  return true;
}

// For people. --------------------------------------------------------------------------------------------------------

std::string pci_class_title(u16 class_code) {
  static constexpr std::pair<u16, const char*> kTitles[] = {
      {0x0100, "SCSI controller"},     {0x0101, "IDE controller"}, {0x0106, "SATA controller"},
      {0x0200, "Ethernet controller"}, {0x0300, "VGA controller"}, {0x0403, "Audio controller"},
      {0x0500, "RAM controller"},      {0x0600, "Host bridge"},    {0x0601, "ISA bridge"},
      {0x0604, "PCI bridge"},          {0x0680, "Bridge"},         {0x0700, "Serial port"},
      {0x0c03, "USB controller"},      {0x0c05, "SMBus"},
  };
  for (const auto& [code, title] : kTitles) {
    if (code == class_code) return title;
  }
  return fmt::format("Class {:04x}", class_code);
}

namespace {
PciFunctionInfo::Bridge describe_bridge(const PciConfig& c) {
  const auto memory = [](u16 base, u16 limit) {
    return PciFunctionInfo::Window{u64(base & 0xfff0) << 16, u64(limit & 0xfff0) << 16 | 0xf'ffff};
  };
  PciFunctionInfo::Bridge bridge{c.get8(PRIMARY_BUS), c.get8(SECONDARY_BUS), c.get8(SUBORDINATE_BUS), {}, {}, {}};
  bridge.io = {u64(c.get8(IO_BASE) & 0xf0) << 8, u64(c.get8(IO_LIMIT) & 0xf0) << 8 | 0xfff};
  bridge.memory = memory(c.get16(MEMORY_BASE), c.get16(MEMORY_LIMIT));
  bridge.prefetchable = memory(c.get16(PREFETCH_BASE), c.get16(PREFETCH_LIMIT));
  bridge.prefetchable.base |= u64(c.get32(PREFETCH_BASE_HIGH)) << 32;
  bridge.prefetchable.limit |= u64(c.get32(PREFETCH_LIMIT_HIGH)) << 32;
  return bridge;
}
}  // namespace

std::vector<PciFunctionInfo> enumerate_pci(const PciBus& bus) {
  std::vector<PciFunctionInfo> found;
  for (unsigned devfn = 0; devfn < kSlots * kFunctions; devfn++) {
    const PciDevice* device = bus.at(u8(devfn));
    if (device == nullptr) continue;
    const PciConfig& config = device->config();
    PciFunctionInfo info{};
    info.bus = bus.number();
    info.slot = u8(devfn >> 3);
    info.function = u8(devfn & 7);
    info.class_code = config.get16(CLASS_DEVICE);
    info.vendor = config.get16(VENDOR_ID);
    info.device = config.get16(DEVICE_ID);
    if (device->identity().bridge) {
      info.bridge = describe_bridge(config);
    } else {
      info.subsystem_vendor = config.get16(SUBSYSTEM_VENDOR_ID);
      info.subsystem = config.get16(SUBSYSTEM_ID);
    }
    info.irq_line = config.get8(INTERRUPT_LINE);
    info.irq_pin = config.get8(INTERRUPT_PIN);
    info.id = device->id();
    for (unsigned index = 0; index < device->bars().size(); index++) {
      const PciBar& bar = device->bars()[index];
      if (bar.region == nullptr) continue;
      const bool wide = bar.kind == BarKind::Memory64 || bar.kind == BarKind::PrefetchableMemory64;
      const bool prefetch = bar.kind == BarKind::PrefetchableMemory32 || bar.kind == BarKind::PrefetchableMemory64;
      info.regions.push_back({index, bar.kind == BarKind::Io, prefetch, wide, bar.size, bar.address});
    }
    for (const Bus* child : device->child_buses()) {
      if (const auto* behind = dynamic_cast<const PciBus*>(child)) info.behind = enumerate_pci(*behind);
    }
    found.push_back(std::move(info));
  }
  return found;
}

namespace {
std::string describe_function(const PciFunctionInfo& f) {
  std::string text = fmt::format("  Bus {:2}, device {:3}, function {}:\n", f.bus, f.slot, f.function);
  text += fmt::format("    {}: PCI device {:04x}:{:04x}\n", pci_class_title(f.class_code), f.vendor, f.device);
  if (f.subsystem_vendor != 0 || f.subsystem != 0) {
    text += fmt::format("      PCI subsystem {:04x}:{:04x}\n", f.subsystem_vendor, f.subsystem);
  }
  if (f.irq_pin != 0) text += fmt::format("      IRQ {}, pin {:c}\n", f.irq_line, char('A' + f.irq_pin - 1));
  if (f.bridge) {
    const auto& b = *f.bridge;
    text += fmt::format("      BUS {}.\n      secondary bus {}.\n      subordinate bus {}.\n", b.primary, b.secondary,
                        b.subordinate);
    text += fmt::format("      IO range [{:#06x}, {:#06x}]\n", b.io.base, b.io.limit);
    text += fmt::format("      memory range [{:#010x}, {:#010x}]\n", b.memory.base, b.memory.limit);
    text += fmt::format("      prefetchable memory range [{:#010x}, {:#010x}]\n", b.prefetchable.base,
                        b.prefetchable.limit);
  }
  for (const auto& region : f.regions) {
    // A BAR without an address is shown as all ones, as people know it.
    const u64 first = region.address.value_or(~u64(0)), last = first + region.size - 1;
    if (region.io) {
      text += fmt::format("      BAR{}: I/O at {:#06x} [{:#06x}].\n", region.bar, first, last);
    } else {
      text += fmt::format("      BAR{}: {} bit {}memory at {:#010x} [{:#010x}].\n", region.bar,
                          region.is_64bit ? 64 : 32, region.prefetchable ? "prefetchable " : "", first, last);
    }
  }
  text += fmt::format("      id \"{}\"\n", f.id);
  for (const PciFunctionInfo& behind : f.behind) text += describe_function(behind);
  return text;
}
}  // namespace

std::string describe_pci(const PciBus& bus) {
  std::string text;
  for (const PciFunctionInfo& f : enumerate_pci(bus)) text += describe_function(f);
  return text;
}

void register_pci_core(TypeRegistry& registry) {
  registry.add_base<PciBus, Bus>();
  registry.add_base<PcieBus, PciBus>();
  registry.add_abstract<PciDevice, Device>();
  registry.add_abstract<PciHostBridge, SysBusDevice>();
  register_pci_bridges(registry);
}

}  // namespace emu::hw
