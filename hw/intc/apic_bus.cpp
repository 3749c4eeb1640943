// SPDX-License-Identifier: Apache-2.0
#include "hw/intc/apic_bus.h"

#include "hw/intc/local_apic.h"
#include "util/bits.h"

namespace emu::hw {

void ApicBus::connect(target::InterruptChips& chips) {
  chips_ = &chips;
  chips.on_end_of_interrupt([this](u8 vector) { end_of_interrupt(vector); });
}

target::InterruptChips::Route ApicBus::as_msi(const ApicMessage& message) {
  const u64 hint = message.mode == DeliveryMode::LowestPriority ? bit64(3) : 0;
  return {.active = true,
          .address = 0xfee0'0000 | u64(message.destination & 0xff) << 12 | hint | (message.logical ? bit64(2) : 0),
          .data = u32(message.vector) | u32(message.mode) << 8 | (message.asserted ? u32(bit(14)) : 0u) |
                  (message.level_triggered ? u32(bit(15)) : 0u)};
}

void ApicBus::deliver(const ApicMessage& message) {
  if (chips_ != nullptr) {
    const target::InterruptChips::Route msi = as_msi(message);
    return chips_->send_msi(msi.address, msi.data);
  }
  if (message.mode != DeliveryMode::LowestPriority) {
    for (LocalApic* apic : apics_) {
      if (apic->is_addressed(message.destination, message.logical)) apic->receive(message);
    }
    return;
  }
  LocalApic* lowest = nullptr;
  for (LocalApic* apic : apics_) {
    if (!apic->is_addressed(message.destination, message.logical) || !apic->is_software_enabled()) continue;
    if (lowest == nullptr || apic->arbitration_priority() < lowest->arbitration_priority()) lowest = apic;
  }
  if (lowest != nullptr) lowest->receive(message);
}

void ApicBus::deliver_msi(u64 address, u32 data) {
  // SDM volume 3, "Message Signalled Interrupts": address 19:12 destination, 3 redirection hint, 2 destination mode;
  // data 7:0 vector, 10:8 delivery mode, 14 level assert, 15 trigger.
  if (chips_ != nullptr) return chips_->send_msi(address, data);
  ApicMessage message;
  message.destination = u32(bits(address, 19, 12));
  message.logical = (address & bit64(2)) != 0;
  message.mode = DeliveryMode(bits(data, 10, 8));
  message.vector = u8(data);
  message.level_triggered = (data & bit(15)) != 0;
  deliver(message);
}

void ApicBus::end_of_interrupt(u8 vector) {
  for (EoiListener* listener : listeners_) listener->end_of_interrupt(vector);
}

}  // namespace emu::hw
