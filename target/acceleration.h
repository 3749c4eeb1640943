// SPDX-License-Identifier: Apache-2.0
// Acceleration: what running guests on the host's own processor brings with it, for boards that make CPUs and interrupt
// controllers. A board that gets none makes everything itself.
#pragma once

#include <array>
#include <functional>

#include "util/types.h"

namespace emu::target {

/// Interrupt controllers that the accelerator runs itself, instead of those in hw/intc. Any thread, no lock held by the
/// implementation when it calls back.
class InterruptChips {
 public:
  virtual ~InterruptChips() = default;
  /// Local APICs, with their timers: the board makes none.
  virtual bool has_local_apics() const = 0;
  /// 8259 pair, IOAPIC and 8254: the board makes none of these either, and sends pin levels to set_gsi.
  virtual bool has_board_chips() const = 0;
  /// A message that a device writes to 0xfee00000..0xfeefffff, or an IOAPIC of the board's sends.
  virtual void send_msi(u64 address, u32 data) = 0;
  virtual void set_gsi(unsigned gsi, bool level) = 0;
  /// Vectors that pins [0, 24) of the board's IOAPIC send level-triggered now, as message address and data; the guest's
  /// end of interrupt for these is told to `ended`.
  struct Route {
    bool active = false;
    u64 address = 0;
    u32 data = 0;
    bool operator==(const Route&) const = default;
  };
  virtual void set_ioapic_routes(const std::array<Route, 24>& routes) = 0;
  /// The board is reset. vCPUs stand still.
  virtual void reset() = 0;
  /// After reset, where a board stands in for firmware: the boot CPU's LINT0 takes the 8259 pair's requests, LINT1 is NMI;
  /// ISA interrupts of the mask are level-triggered.
  virtual void configure_as_firmware(u16 level_triggered) = 0;
  virtual void on_end_of_interrupt(std::function<void(u8 vector)> ended) = 0;
};

class Acceleration {
 public:
  virtual ~Acceleration() = default;
  /// What CPUID may tell guests of this host: eax, ebx, ecx, edx.
  virtual std::array<u32, 4> host_cpuid(u32 leaf, u32 subleaf) const = 0;
  /// A feature MSR's value, 0 if there is none.
  virtual u64 host_feature_msr(u32 index) const = 0;
  virtual InterruptChips& chips() = 0;
};

}  // namespace emu::target
