// SPDX-License-Identifier: Apache-2.0
// The interrupt message bus: how IOAPIC, MSI and inter-processor interrupts reach local APICs. Intel SDM volume 3,
// chapter "Advanced Programmable Interrupt Controller".
#pragma once

#include <optional>
#include <vector>

#include "target/acceleration.h"
#include "util/types.h"

namespace emu::hw {

class LocalApic;

enum class DeliveryMode : u8 {
  Fixed = 0,
  LowestPriority = 1,
  Smi = 2,
  Reserved = 3,
  Nmi = 4,
  Init = 5,
  Startup = 6,
  ExtInt = 7
};

/// One message on the bus.
struct ApicMessage {
  u32 destination = 0;
  bool logical = false;        ///< destination is a logical set, else an APIC id (or broadcast)
  DeliveryMode mode = DeliveryMode::Fixed;
  u8 vector = 0;
  bool level_triggered = false;
  bool asserted = true;        ///< false only for the INIT level de-assert
};

/// Hears which vector a CPU has finished (level-triggered only). Any thread, no LAPIC lock held.
class EoiListener {
 public:
  virtual ~EoiListener() = default;
  virtual void end_of_interrupt(u8 vector) = 0;
};

/// Joins local APICs and their senders. Wired before the machine runs, constant afterwards; messages from any thread.
/// Lock order: sender (IOAPIC) → LAPIC. Takes no lock of its own.
class ApicBus {
 public:
  void add(LocalApic& apic) { apics_.push_back(&apic); }
  void add(EoiListener& listener) { listeners_.push_back(&listener); }
  const std::vector<LocalApic*>& apics() const { return apics_; }
  /// The accelerator has the local APICs: messages go to it, and it tells which vectors are finished.
  void connect(target::InterruptChips& chips);
  /// What the IOAPIC's pins send now, for an accelerator that must know. Null otherwise.
  target::InterruptChips* chips() const { return chips_; }
  /// A message as a write of `data` to `address`.
  static target::InterruptChips::Route as_msi(const ApicMessage& message);

  void deliver(const ApicMessage& message);
  /// A write of `data` to `address` in 0xfee00000..0xfeefffff by a device.
  void deliver_msi(u64 address, u32 data);
  void end_of_interrupt(u8 vector);

 private:
  std::vector<LocalApic*> apics_;
  std::vector<EoiListener*> listeners_;
  target::InterruptChips* chips_ = nullptr;
};

}  // namespace emu::hw
