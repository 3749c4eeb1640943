// SPDX-License-Identifier: Apache-2.0
// Acceleration: what running guests on the host's own processor brings with it, for boards that make CPUs and interrupt
// controllers. A board that gets none makes everything itself.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>

#include "util/result.h"
#include "util/types.h"

namespace emu::mem {
class Region;
}

namespace emu::target {

/// An interrupt that comes whenever somebody writes its eventfd, without this program: the kernel (vhost), another
/// process. No more once it is gone; the eventfd stays its maker's. Any thread.
class EventInterrupt {
 public:
  virtual ~EventInterrupt() = default;
  /// Of one that sends messages: sends this one from now on.
  virtual Result<void> set_message(u64 address, u32 data) = 0;
};

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
  /// After reset, where a board stands in for firmware: the boot CPU's LINT0 takes the 8259 pair's requests, LINT1 is
  /// NMI; ISA interrupts of the mask are level-triggered.
  virtual void configure_as_firmware(u16 level_triggered) = 0;
  virtual void on_end_of_interrupt(std::function<void(u8 vector)> ended) = 0;
  /// The eventfd sends a message, as send_msi() does. Errors: this accelerator cannot.
  virtual Result<std::unique_ptr<EventInterrupt>> on_event_send(int event_fd, u64 address, u32 data) {
    static_cast<void>(event_fd), static_cast<void>(address), static_cast<void>(data);
    return error("interrupts from events are not there");
  }
  /// The eventfd raises a pin of board chips. With `resample_fd` not -1 the pin is level-triggered: it falls when the
  /// guest ends the interrupt, and that eventfd is written. Errors: this accelerator cannot.
  virtual Result<std::unique_ptr<EventInterrupt>> on_event_raise(int event_fd, int resample_fd, unsigned gsi) {
    static_cast<void>(event_fd), static_cast<void>(resample_fd), static_cast<void>(gsi);
    return error("interrupts from events are not there");
  }
};

/// Writes of the guest's to devices for which a vCPU need not come back to this program. Machine lock.
class DeviceWrites {
 public:
  virtual ~DeviceWrites() = default;
  /// A write that does nothing but wake who waits for `event_fd`.
  struct Doorbell {
    u64 offset = 0;            ///< in the region
    unsigned bytes = 0;        ///< of the access; 0: any, at that offset
    std::optional<u64> value;  ///< that is written; empty: any
    int event_fd = -1;         ///< stays the caller's
    bool operator==(const Doorbell&) const = default;
  };
  /// From now on, wherever the region lies, until it is gone. The region's callback must do the same: it is called
  /// where the accelerator has no room.
  virtual void add_doorbell(mem::Region& region, const Doorbell& bell) = 0;
  /// Writes to the region may come late, in their order, and before anything else of the guest's that this program
  /// sees.
  virtual void coalesce(mem::Region& region) = 0;
};

/// Guests that it runs write memory themselves, unseen; so others (vhost) may do that, too, which those of translated guests
/// may not: pages with translated code are watched.
class Acceleration {
 public:
  virtual ~Acceleration() = default;
  /// What CPUID may tell guests of this host: eax, ebx, ecx, edx.
  virtual std::array<u32, 4> host_cpuid(u32 leaf, u32 subleaf) const = 0;
  /// A feature MSR's value, 0 if there is none.
  virtual u64 host_feature_msr(u32 index) const = 0;
  virtual InterruptChips& chips() = 0;
  /// Null: every write to a device comes to it at once.
  virtual DeviceWrites* device_writes() { return nullptr; }
};

/// A board that may have an Acceleration.
class Accelerated {
 public:
  virtual ~Accelerated() = default;
  virtual Acceleration* acceleration() const = 0;
};

}  // namespace emu::target
