// SPDX-License-Identifier: Apache-2.0
#include "hw/intc/apic_bus.h"

#include "hw/intc/local_apic.h"
#include "util/bits.h"

namespace emu::hw {

void ApicBus::deliver(const ApicMessage& message) {
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
