// SPDX-License-Identifier: Apache-2.0
// The part of FirmwareSetup that sets PCI up: bus numbers, addresses, bridge windows.
#include <algorithm>
#include <utility>

#include "hw/machine/firmware_setup.h"
#include "hw/pci/pci_express.h"

namespace emu::hw {

using namespace pci;

namespace {

constexpr u64 kIoGranule = 0x1000, kMemoryGranule = 0x10'0000;
/// What a slot for devices that come later gets.
constexpr u64 kSlotMemory = 2 * kMemoryGranule;

u16 function_of(const PciBus& bus, unsigned devfn) { return u16(bus.number() << 8 | devfn); }

/// The bus that a bridge has, whether or not there was a number left for it.
PciBus* bus_of(const PciDevice& device) {
  for (Bus* child : device.child_buses()) {
    if (auto* pci = dynamic_cast<PciBus*>(child)) return pci;
  }
  return nullptr;
}

PciBus* bus_behind(const PciDevice& device) {
  PciBus* bus = bus_of(device);
  return bus != nullptr && bus->number() != 0 ? bus : nullptr;
}

template <typename Visitor>
void for_each_function(const PciBus& bus, Visitor&& visit) {
  for (unsigned devfn = 0; devfn < kSlots * kFunctions; devfn++) {
    if (PciDevice* device = bus.at(u8(devfn))) visit(u8(devfn), *device);
  }
}

}  // namespace

/// A BAR, or the window of a bridge with what lies in it.
struct FirmwareSetup::Want {
  enum class Kind { Bar, IoWindow, MemoryWindow, PrefetchWindow };
  Kind kind = Kind::Bar;
  u16 function = 0;
  unsigned reg = 0;
  u64 size = 0, alignment = 0;
  bool io = false, is_64bit = false, prefetchable = false;
  std::vector<Want> inside;
};

void FirmwareSetup::assign_resources(PciBus& bus, const Windows& windows, const IrqOf& irq_of) {
  number_buses(bus, 0);
  std::vector<Want> memory = collect(bus);
  const auto first_io = std::stable_partition(memory.begin(), memory.end(), [](const Want& w) { return !w.io; });
  std::vector<Want> io(std::make_move_iterator(first_io), std::make_move_iterator(memory.end()));
  memory.erase(first_io, memory.end());
  place(memory, windows.memory_base, windows.memory_end);
  place(io, windows.io_base, 0x10000);
  set_irq_lines(bus, irq_of);
}

/// Depth first; returns the last number used.
unsigned FirmwareSetup::number_buses(PciBus& bus, unsigned number) {
  unsigned last = number;
  for_each_function(bus, [&](u8 devfn, PciDevice& device) {
    if (bus_of(device) == nullptr || last >= 0xff) return;
    const u16 function = u16(number << 8 | devfn);
    const unsigned secondary = last + 1;
    write32(function, PRIMARY_BUS, u32(number | secondary << 8 | 0xffu << 16));
    last = number_buses(*bus_of(device), secondary);
    write8(function, SUBORDINATE_BUS, u8(last));
  });
  return last;
}

void FirmwareSetup::set_irq_lines(PciBus& bus, const IrqOf& irq_of) {
  for_each_function(bus, [&](u8 devfn, PciDevice& device) {
    const u16 function = function_of(bus, devfn);
    const unsigned pin = read32(function, INTERRUPT_LINE) >> 8 & 0xff;
    if (pin >= 1 && pin <= 4) write8(function, INTERRUPT_LINE, irq_of(devfn, pin - 1));
    if (PciBus* behind = bus_behind(device)) {
      const auto through = [&](u8 inner, unsigned inner_pin) { return irq_of(devfn, ((inner >> 3) + inner_pin) & 3); };
      set_irq_lines(*behind, through);
    }
  });
}

// What is wanted. ----------------------------------------------------------------------------------------------------

std::vector<FirmwareSetup::Want> FirmwareSetup::collect(PciBus& bus) {
  std::vector<Want> wants;
  for_each_function(bus, [&](u8 devfn, PciDevice& device) {
    PciBus* behind = bus_behind(device);
    collect_bars(function_of(bus, devfn), bus_of(device) == nullptr ? 6 : 2, wants);
    if (behind != nullptr) collect_windows(device, *behind, wants);
  });
  return wants;
}

void FirmwareSetup::collect_bars(u16 function, unsigned count, std::vector<Want>& wants) {
  for (unsigned bar = 0; bar < count; bar++) {
    const unsigned reg = BAR0 + bar * 4;
    write32(function, reg, ~u32(0));
    const u32 low = read32(function, reg);
    if (low == 0) continue;
    Want want{.function = function, .reg = reg};
    want.io = (low & 1) != 0;
    want.is_64bit = (low & 7) == 4;
    want.prefetchable = (low & 9) == 8;
    u64 mask = low & (want.io ? ~3u : ~15u);
    if (want.is_64bit) {
      write32(function, reg + 4, ~u32(0));
      mask |= u64(read32(function, reg + 4)) << 32;
      bar++;
    } else {
      mask |= want.io ? 0xffff'ffff'ffff'0000 : 0xffff'ffff'0000'0000;
    }
    want.size = want.alignment = ~mask + 1;
    wants.push_back(std::move(want));
  }
}

void FirmwareSetup::collect_windows(PciDevice& bridge, PciBus& behind, std::vector<Want>& wants) {
  const u16 function = function_of(bridge.pci_bus(), bridge.devfn());
  const bool takes_more = behind.hotplug() != nullptr;
  const bool express = std::as_const(bridge).config().find_capability(kCapExpress) != 0;
  std::vector<Want> all = collect(behind);
  for (const auto kind : {Want::Kind::IoWindow, Want::Kind::MemoryWindow, Want::Kind::PrefetchWindow}) {
    Want window{.kind = kind, .function = function};
    window.io = kind == Want::Kind::IoWindow;
    window.prefetchable = kind == Want::Kind::PrefetchWindow;
    const u64 granule = window.io ? kIoGranule : kMemoryGranule;
    window.alignment = granule;
    // Ports are few, and an Express device must do without them.
    const u64 room = !takes_more ? 0 : window.io ? (express ? 0 : kIoGranule) : kSlotMemory;
    u64 next = 0;
    std::stable_sort(all.begin(), all.end(), [](const Want& a, const Want& b) { return a.alignment > b.alignment; });
    for (Want& want : all) {
      if (want.size == 0 || want.io != window.io || want.prefetchable != window.prefetchable) continue;
      window.alignment = std::max(window.alignment, want.alignment);
      next = align_up(next, want.alignment) + want.size;
      window.inside.push_back(std::move(want));
      want.size = 0;  // taken
    }
    window.size = align_up(std::max(next, room), granule);
    write_window(window, 0);  // closed for now
    if (window.size != 0) wants.push_back(std::move(window));
  }
}

// Where it goes. -----------------------------------------------------------------------------------------------------

void FirmwareSetup::place(std::vector<Want>& wants, u64 next, u64 end) {
  std::stable_sort(wants.begin(), wants.end(), [](const Want& a, const Want& b) { return a.alignment > b.alignment; });
  for (Want& want : wants) {
    const u64 address = align_up(next, want.alignment);
    if (want.size > end || address > end - want.size) continue;  // stays off, as with firmware that runs out of room
    next = address + want.size;
    if (want.kind == Want::Kind::Bar) {
      write32(want.function, want.reg, u32(address));
      if (want.is_64bit) write32(want.function, want.reg + 4, u32(address >> 32));
    } else {
      write_window(want, address);
      place(want.inside, address, next);
    }
    turn_on(want.function, u16((want.io ? kCommandIo : kCommandMemory) | kCommandMaster));
  }
}

/// A window that starts at 0 is closed.
void FirmwareSetup::write_window(const Want& window, u64 first) {
  const u64 last = first == 0 ? 0 : first + window.size - 1;
  const u16 function = window.function;
  switch (window.kind) {
    case Want::Kind::IoWindow:
      write16(function, IO_BASE, first == 0 ? 0x00f0 : u16((first >> 8 & 0xf0) | (last & 0xf000)));
      break;
    case Want::Kind::MemoryWindow:
      write32(function, MEMORY_BASE, first == 0 ? 0x0000'fff0 : u32((first >> 16 & 0xfff0) | (last & 0xfff0'0000)));
      break;
    default:
      write32(function, PREFETCH_BASE, first == 0 ? 0x0000'fff0 : u32((first >> 16 & 0xfff0) | (last & 0xfff0'0000)));
      write32(function, PREFETCH_BASE_HIGH, u32(first >> 32));
      write32(function, PREFETCH_LIMIT_HIGH, u32(last >> 32));
  }
}

void FirmwareSetup::turn_on(u16 function, u16 bits) {
  write16(function, COMMAND, u16(read32(function, COMMAND) | bits));
}

}  // namespace emu::hw
