// SPDX-License-Identifier: Apache-2.0
// The ISA bus and its devices.
#pragma once

#include <array>

#include "hw/core/device.h"

namespace emu::hw {

/// Sixteen interrupt lines, I/O ports and memory below 16 MiB. Made by the south bridge with add_bus<IsaBus>("isa.0").
class IsaBus final : public Bus {
 public:
  static constexpr const char* kTypeName = "ISA";
  static constexpr unsigned kIrqs = 16;

  /// By the bridge, before any device is realized on the bus.
  void set_spaces(mem::RegionRef ports, mem::RegionRef memory) {
    ports_ = std::move(ports);
    memory_ = std::move(memory);
  }
  /// By the board, when the interrupt controllers exist. Lines shared by devices are OR-ed.
  void set_irq(unsigned number, IrqInput input);
  /// A new input onto ISA IRQ `number` (0..15) for one device.
  IrqInput irq(unsigned number);
  mem::Region& ports() { return *ports_; }
  mem::Region& memory() { return *memory_; }

 private:
  mem::RegionRef ports_, memory_;
  std::array<IrqOr, kIrqs> lines_;
  std::array<unsigned, kIrqs> users_{};
};

/// A device with port regions and IRQ numbers of its own choosing; it maps itself in realize().
class IsaDevice : public Device {
 public:
  static constexpr const char* kTypeName = "isa-device";
  static void describe(TypeInfo<IsaDevice>& type);

 protected:
  IsaBus& isa_bus() const;
  /// Maps a region at I/O port `port`.
  void map_ports(std::string_view region, u16 port);
  void map_memory(std::string_view region, u32 address);
  /// Wires `line` to ISA IRQ `number`. Errors: not 0..15.
  Result<void> connect_irq(IrqLine& line, unsigned number);
};

}  // namespace emu::hw
