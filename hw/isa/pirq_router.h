// SPDX-License-Identifier: Apache-2.0
// PIRQ route control of Intel south bridges: which ISA interrupt each PCI interrupt line drives.
#pragma once

#include <array>
#include <mutex>
#include <vector>

#include "hw/core/isa.h"

namespace emu::hw {

/// Inputs are PIRQA# and up, active levels. Lock order: PCI bus → router → PIC. `mutex_` guards levels and routes.
class PirqRouter final : public IrqSink {
 public:
  static constexpr u8 kDisabled = 0x80;  ///< in a route register; the low four bits are the ISA interrupt
  static constexpr u8 kRegisterMask = 0x8f;
  static constexpr unsigned kMaxInputs = 8;

  explicit PirqRouter(unsigned inputs) : inputs_(inputs) { routes_.fill(kDisabled); }

  /// Takes one more input of each ISA interrupt that may be routed to.
  void connect(IsaBus& isa) {
    for (unsigned irq = 0; irq < IsaBus::kIrqs; irq++) {
      if (is_routable(irq)) outputs_[irq] = isa.irq(irq);
    }
  }
  /// An input of an I/O APIC that PIRQ `number` drives whatever its route is.
  void connect_direct(unsigned number, IrqInput input) { direct_.at(number) = input; }

  /// One input for each line of the PCI bus.
  std::vector<IrqInput> lines() {
    std::vector<IrqInput> lines;
    for (unsigned i = 0; i < inputs_; i++) lines.push_back({this, i});
    return lines;
  }

  void set_irq(unsigned number, bool level) override {
    const std::lock_guard guard(mutex_);
    if (number >= inputs_) return;
    levels_ = u8(level ? levels_ | bit(number) : levels_ & ~bit(number));
    direct_[number].set(level);
    update_locked();
  }
  /// The route register of PIRQ `number` was written.
  void set_route(unsigned number, u8 value) {
    const std::lock_guard guard(mutex_);
    routes_.at(number) = value;
    update_locked();
  }

  /// 0, 1, 2, 8 and 13 are reserved (PIIX3 datasheet, PIRQRC).
  static constexpr bool is_routable(unsigned irq) { return irq >= 3 && irq != 8 && irq != 13; }

 private:
  void update_locked() {
    u16 high = 0;
    for (unsigned i = 0; i < inputs_; i++) {
      if ((levels_ & bit(i)) && !(routes_[i] & kDisabled)) high |= u16(bit(routes_[i] & 15));
    }
    const u16 changed = high ^ high_;
    high_ = high;
    for (unsigned irq = 0; irq < IsaBus::kIrqs; irq++) {
      if (changed & bit(irq)) outputs_[irq].set((high & bit(irq)) != 0);
    }
  }

  const unsigned inputs_;
  std::mutex mutex_;
  u8 levels_ = 0;
  u16 high_ = 0;
  std::array<u8, kMaxInputs> routes_;
  std::array<IrqInput, IsaBus::kIrqs> outputs_;
  std::array<IrqInput, kMaxInputs> direct_;
};

}  // namespace emu::hw
