// SPDX-License-Identifier: Apache-2.0
#include "target/x86/kvm/interrupt_chips.h"

#include <cerrno>
#include <cstring>

#include "util/log.h"

namespace emu::x86 {

using accel::KernelChips;

Result<void> KvmInterruptChips::create(accel::KvmFd& vm, KernelChips kind) {
  vm_ = &vm;
  if (kind == KernelChips::Split) {
    kvm_enable_cap enable{};
    enable.cap = KVM_CAP_SPLIT_IRQCHIP;
    enable.args[0] = routes_.size();
    EMU_TRY(vm.require("KVM_CAP_SPLIT_IRQCHIP", KVM_ENABLE_CAP, &enable));
  } else if (kind == KernelChips::On) {
    EMU_TRY(vm.require("KVM_CREATE_IRQCHIP", KVM_CREATE_IRQCHIP, u64(0)));
    EMU_TRY(route_pins());
    kvm_pit_config pit{};
    pit.flags = KVM_PIT_SPEAKER_DUMMY;
    EMU_TRY(vm.require("KVM_CREATE_PIT2", KVM_CREATE_PIT2, &pit));
    for (u32 i = 0; i < std::size(fresh_chips_); ++i) {
      fresh_chips_[i].chip_id = i;
      EMU_TRY(vm.require("KVM_GET_IRQCHIP", KVM_GET_IRQCHIP, &fresh_chips_[i]));
    }
    EMU_TRY(vm.require("KVM_GET_PIT2", KVM_GET_PIT2, &fresh_pit_));
  }
  kind_ = kind;
  return {};
}

/// Global system interrupts 0..23: the 8259 pair and the IOAPIC side by side; 0 is input 2 of the latter, 2 is the cascade.
Result<void> KvmInterruptChips::route_pins() {
  accel::KvmList<accel::KvmRoutingHeader, kvm_irq_routing_entry> table(16 + routes_.size());
  const auto add = [&table](u32 gsi, u32 chip, u32 pin) {
    kvm_irq_routing_entry entry{};
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_IRQCHIP;
    entry.u.irqchip.irqchip = chip;
    entry.u.irqchip.pin = pin;
    table.set(table.header().nr++, entry);
  };
  for (u32 gsi = 0; gsi < routes_.size(); ++gsi) {
    if (gsi == 2) continue;
    if (gsi < 16) add(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
    add(gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
  }
  EMU_TRY(vm_->require("KVM_SET_GSI_ROUTING", accel::kSetGsiRouting, table.data()));
  return {};
}

void KvmInterruptChips::send_msi(u64 address, u32 data) {
  kvm_msi msi{};
  msi.address_lo = u32(address);
  msi.address_hi = u32(address >> 32);
  msi.data = data;
  const int sent = vm_->call(KVM_SIGNAL_MSI, &msi);
  if (sent < 0) log::guest_error("interrupt message {:#x} to {:#x} is refused: {}", data, address, std::strerror(-sent));
}

void KvmInterruptChips::set_gsi(unsigned gsi, bool level) {
  kvm_irq_level line{};
  line.irq = gsi;
  line.level = level;
  vm_->call(KVM_IRQ_LINE, &line);
}

/// The kernel learns from these routes alone for which vectors an end of interrupt is of interest to us.
void KvmInterruptChips::set_ioapic_routes(const std::array<Route, 24>& routes) {
  if (kind_ != KernelChips::Split) return;
  const std::lock_guard guard(mutex_);
  if (routes == routes_) return;
  routes_ = routes;
  accel::KvmList<accel::KvmRoutingHeader, kvm_irq_routing_entry> table(routes.size());
  for (u32 pin = 0; pin < routes.size(); ++pin) {
    if (!routes[pin].active) continue;
    kvm_irq_routing_entry entry{};
    entry.gsi = pin;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = u32(routes[pin].address);
    entry.u.msi.address_hi = u32(routes[pin].address >> 32);
    entry.u.msi.data = routes[pin].data;
    table.set(table.header().nr++, entry);
  }
  if (const int set = vm_->call(accel::kSetGsiRouting, table.data()); set < 0) {
    log::error("KVM refuses the interrupt routes: {}", std::strerror(-set));
  }
}

void KvmInterruptChips::reset() {
  machine_.virtual_wire = false;
  if (kind_ == KernelChips::Split) set_ioapic_routes({});
  if (kind_ != KernelChips::On) return;
  for (kvm_irqchip chip : fresh_chips_) vm_->call(KVM_SET_IRQCHIP, &chip);
  kvm_pit_state2 pit = fresh_pit_;
  vm_->call(KVM_SET_PIT2, &pit);
}

void KvmInterruptChips::configure_as_firmware(u16 level_triggered) {
  machine_.virtual_wire = true;
  if (kind_ != KernelChips::On) return;
  for (u32 i = 0; i < 2; ++i) {
    kvm_irqchip chip = fresh_chips_[i];
    chip.chip.pic.elcr = u8(level_triggered >> 8 * i);
    vm_->call(KVM_SET_IRQCHIP, &chip);
  }
}

}  // namespace emu::x86
