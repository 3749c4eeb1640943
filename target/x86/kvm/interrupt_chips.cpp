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
    enable.args[0] = kPins;
    EMU_TRY(vm.require("KVM_CAP_SPLIT_IRQCHIP", KVM_ENABLE_CAP, &enable));
  } else if (kind == KernelChips::On) {
    EMU_TRY(vm.require("KVM_CREATE_IRQCHIP", KVM_CREATE_IRQCHIP, u64(0)));
    kind_ = kind;
    EMU_TRY(set_routes_locked());
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

/// 0..23: the 8259 pair and the IOAPIC side by side; 0 is input 2 of the latter, 2 is the cascade.
void KvmInterruptChips::add_pins(RouteList& list) const {
  const auto add = [&list](u32 gsi, u32 chip, u32 pin) {
    kvm_irq_routing_entry entry{};
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_IRQCHIP;
    entry.u.irqchip.irqchip = chip;
    entry.u.irqchip.pin = pin;
    list.set(list.header().nr++, entry);
  };
  for (u32 gsi = 0; gsi < kPins; ++gsi) {
    if (gsi == 2) continue;
    if (gsi < 16) add(gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
    add(gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
  }
}

/// The kernel takes the table only whole.
Result<void> KvmInterruptChips::set_routes_locked() {
  RouteList list(16 + kPins + messages_.size());
  const auto add = [&list](u32 gsi, u64 address, u32 data) {
    kvm_irq_routing_entry entry{};
    entry.gsi = gsi;
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = u32(address);
    entry.u.msi.address_hi = u32(address >> 32);
    entry.u.msi.data = data;
    list.set(list.header().nr++, entry);
  };
  if (kind_ == KernelChips::On) add_pins(list);
  for (u32 pin = 0; pin < kPins; ++pin) {
    if (routes_[pin].active) add(pin, routes_[pin].address, routes_[pin].data);
  }
  for (u32 i = 0; i < messages_.size(); ++i) {
    if (messages_[i].used) add(kPins + i, messages_[i].address, messages_[i].data);
  }
  EMU_TRY(vm_->require("KVM_SET_GSI_ROUTING", accel::kSetGsiRouting, list.data()));
  return {};
}

void KvmInterruptChips::send_msi(u64 address, u32 data) {
  kvm_msi msi{};
  msi.address_lo = u32(address);
  msi.address_hi = u32(address >> 32);
  msi.data = data;
  const int sent = vm_->call(KVM_SIGNAL_MSI, &msi);
  if (sent < 0)
    log::guest_error("interrupt message {:#x} to {:#x} is refused: {}", data, address, std::strerror(-sent));
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
  if (const auto set = set_routes_locked(); !set) log::error("the IOAPIC's routes: {}", set.error().message());
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

// --- Interrupts from events ---

/// Descriptors of its own, as the kernel wants them once more at the end.
class KvmInterruptChips::Event final : public target::EventInterrupt {
 public:
  Event(KvmInterruptChips& chips, accel::KvmFd event, accel::KvmFd resample, u32 gsi)
      : chips_(chips), event_(std::move(event)), resample_(std::move(resample)), gsi_(gsi) {}
  ~Event() override {
    static_cast<void>(chips_.connect(wire(KVM_IRQFD_FLAG_DEASSIGN)));  // refused if it was never made
    if (gsi_ >= kPins) chips_.forget_message(gsi_);
  }
  Result<void> set_message(u64 address, u32 data) override {
    if (gsi_ < kPins) return error("an interrupt pin has no message");
    return chips_.set_message(gsi_, address, data);
  }
  Wire wire(u32 flags = 0) const {
    return {event_.fd(), resample_.fd(), gsi_, flags | (resample_.fd() < 0 ? 0u : u32(KVM_IRQFD_FLAG_RESAMPLE))};
  }

 private:
  KvmInterruptChips& chips_;
  accel::KvmFd event_, resample_;
  const u32 gsi_;
};

Result<void> KvmInterruptChips::connect(const Wire& wire) const {
  kvm_irqfd request{};
  request.fd = u32(wire.event_fd);
  request.gsi = wire.gsi;
  request.flags = wire.flags & KVM_IRQFD_FLAG_DEASSIGN ? u32(KVM_IRQFD_FLAG_DEASSIGN) : wire.flags;
  if (wire.resample_fd >= 0) request.resamplefd = u32(wire.resample_fd);
  EMU_TRY(vm_->require("KVM_IRQFD", KVM_IRQFD, &request));
  return {};
}

Result<void> KvmInterruptChips::set_message(u32 gsi, u64 address, u32 data) {
  const std::lock_guard guard(mutex_);
  messages_[gsi - kPins] = {.used = true, .address = address, .data = data};
  return set_routes_locked();
}

void KvmInterruptChips::forget_message(u32 gsi) {
  const std::lock_guard guard(mutex_);
  messages_[gsi - kPins] = {};
  if (const auto set = set_routes_locked(); !set) log::warn("{}", set.error().message());
}

namespace {

/// A descriptor that stays ours until we close it; none for -1.
Result<accel::KvmFd> duplicate(accel::KvmFd& vm, int fd) {
  if (fd < 0) return accel::KvmFd();
  const int own = vm.api().duplicate(fd);
  if (own < 0) return error("an interrupt's eventfd: {}", std::strerror(-own));
  return accel::KvmFd(vm.api(), own);
}

}  // namespace

Result<std::unique_ptr<target::EventInterrupt>> KvmInterruptChips::on_event_send(int event_fd, u64 address, u32 data) {
  if (kind_ == KernelChips::Off) return error("the kernel takes no interrupts from events with kernel-irqchip=off");
  accel::KvmFd own = EMU_TRY(duplicate(*vm_, event_fd));
  u32 index = 0;
  {
    const std::lock_guard guard(mutex_);
    while (index < messages_.size() && messages_[index].used) ++index;
    if (index == kMostMessages) return error("more than {} interrupts from events", kMostMessages);
    if (index == messages_.size()) messages_.emplace_back();
    messages_[index] = {.used = true, .address = address, .data = data};
    if (auto set = set_routes_locked(); !set) {
      messages_[index] = {};
      return tl::unexpected(std::move(set).error());
    }
  }
  auto made = std::make_unique<Event>(*this, std::move(own), accel::KvmFd(), kPins + index);
  EMU_TRY(connect(made->wire()));
  return std::unique_ptr<target::EventInterrupt>(std::move(made));
}

Result<std::unique_ptr<target::EventInterrupt>> KvmInterruptChips::on_event_raise(int event_fd, int resample_fd,
                                                                                unsigned gsi) {
  if (kind_ != KernelChips::On) return error("the kernel has the interrupt pins with kernel-irqchip=on only");
  if (gsi >= kPins) return error("there is no interrupt pin {}", gsi);
  auto made =
      std::make_unique<Event>(*this, EMU_TRY(duplicate(*vm_, event_fd)), EMU_TRY(duplicate(*vm_, resample_fd)), gsi);
  EMU_TRY(connect(made->wire()));
  return std::unique_ptr<target::EventInterrupt>(std::move(made));
}

}  // namespace emu::x86
