// SPDX-License-Identifier: Apache-2.0
// What firmware does to a PC before it hands over, done by us when there is none: through the same registers.
#pragma once

#include <functional>
#include <initializer_list>
#include <vector>

#include "hw/pci/pci_bus.h"
#include "target/acceleration.h"

namespace emu::hw {

/// Writes through I/O ports. Functions are bus << 8 | devfn. Machine lock held, vCPUs standing.
class FirmwareSetup {
 public:
  explicit FirmwareSetup(mem::AddressSpace& ports) : ports_(ports) {}

  u32 read32(u16 function, unsigned reg);
  void write32(u16 function, unsigned reg, u32 value) { config_write(function, reg, value, 4); }
  void write16(u16 function, unsigned reg, u16 value) { config_write(function, reg, value, 2); }
  void write8(u16 function, unsigned reg, u8 value) { config_write(function, reg, value, 1); }

  /// Seven PAM registers from `pam0`: everything below 1 MiB that is no VGA memory becomes RAM.
  void open_shadow_ram(u8 devfn, unsigned pam0);
  /// Turns I/O decoding of a function on that has no BAR for it.
  void enable_io(u8 devfn);
  /// Keyboard interrupts on, scan codes translated to set 1, mouse off.
  void set_up_keyboard();
  /// ELCR bits of these ISA interrupts.
  void set_level_triggered(std::initializer_list<unsigned> irqs);

  struct Windows {
    u64 memory_base = 0, memory_end = 0;
    u16 io_base = 0;
  };
  /// Numbers the buses below root bus `bus`, gives every BAR an address, largest first, opens the windows of bridges
  /// (with some room behind slots for what comes later), turns decoding on, and fills the interrupt line registers;
  /// `irq_of` is asked for the pins of `bus`.
  void assign_resources(PciBus& bus, const Windows& windows,
                        const std::function<u8(u8 devfn, unsigned pin)>& irq_of);
  /// Virtual wire mode: the boot CPU's LINT0 takes the 8259's requests, LINT1 is NMI (MultiProcessor Specification 1.4,
  /// section 3.6.2.2). `chips`, if any, may have the APIC.
  void enable_interrupt_delivery(mem::AddressSpace* boot_cpu_memory, target::InterruptChips* chips);

 private:
  struct Want;
  using IrqOf = std::function<u8(u8 devfn, unsigned pin)>;
  void config_write(u16 function, unsigned reg, u32 value, unsigned bytes);
  unsigned number_buses(PciBus& bus, unsigned number);
  void set_irq_lines(PciBus& bus, const IrqOf& irq_of);
  std::vector<Want> collect(PciBus& bus);
  void collect_bars(u16 function, unsigned count, std::vector<Want>& wants);
  void collect_windows(PciDevice& bridge, PciBus& behind, std::vector<Want>& wants);
  void place(std::vector<Want>& wants, u64 next, u64 end);
  void write_window(const Want& window, u64 first);
  void turn_on(u16 function, u16 bits);
  mem::AddressSpace& ports_;
  u16 level_triggered_ = 0;
};

}  // namespace emu::hw
