// SPDX-License-Identifier: Apache-2.0
#include "hw/char/serial_pci.h"

namespace emu::hw {

template <unsigned kPorts, u16 kDeviceId>
void PciSerial<kPorts, kDeviceId>::describe(TypeInfo<PciSerial>& type) {
  type.doc(kPorts == 1 ? "PCI card with a UART 16550A" : "PCI card with several UARTs 16550A");
  type.category(Category::Input);
  type.link(kPorts == 1 ? "chardev" : "chardev1", &PciSerial::chardev1_, "/chardevs", "the stream behind the line");
  if (kPorts >= 2) type.link("chardev2", &PciSerial::chardev2_, "/chardevs", "behind the second");
  if (kPorts >= 4) {
    type.link("chardev3", &PciSerial::chardev3_, "/chardevs", "behind the third");
    type.link("chardev4", &PciSerial::chardev4_, "/chardevs", "behind the fourth");
  }
  type.region("serial", kPorts * kPortBytes, &PciSerial::read, &PciSerial::write,
              {.valid = {1, 1}, .impl = {1, 1}, .locking = mem::Locking::None});
  type.saved(1, &PciSerial::state_, &PciSerial::fields, &PciSerial::after_load);
}

template <unsigned kPorts, u16 kDeviceId>
Result<void> PciSerial<kPorts, kDeviceId>::realize() {
  const std::array<ChardevObject*, 4> streams = {chardev1_, chardev2_, chardev3_, chardev4_};
  for (unsigned i = 0; i < kPorts; i++) {
    auto connected = uarts_[i]->connect(streams[i] == nullptr ? nullptr : &streams[i]->stream());
    if (connected) continue;
    for (unsigned j = 0; j < i; j++) uarts_[j]->disconnect();
    return error(std::move(connected).error().within(std::string(type().name())));
  }
  add_bar(0, BarKind::Io, region("serial"));
  use_interrupt_pin(1);
  return {};
}

template <unsigned kPorts, u16 kDeviceId>
void PciSerial<kPorts, kDeviceId>::unrealize() {
  for (auto& uart : uarts_) uart->disconnect();
}

template <unsigned kPorts, u16 kDeviceId>
void PciSerial<kPorts, kDeviceId>::set_line(unsigned port, bool level) {
  const std::lock_guard guard(pin_mutex_);
  high_ = level ? high_ | 1u << port : high_ & ~(1u << port);
  set_intx(high_ != 0);
}

template <unsigned kPorts, u16 kDeviceId>
Result<void> PciSerial<kPorts, kDeviceId>::after_load() {
  for (auto& uart : uarts_) EMU_TRY(uart->check_loaded());
  for (auto& uart : uarts_) uart->refresh();
  return {};
}

template class PciSerial<1, 0x0002>;
template class PciSerial<2, 0x0003>;
template class PciSerial<4, 0x0004>;

void register_pci_serial(TypeRegistry& registry) {
  registry.add<PciSerial1>("pci-serial");
  registry.add<PciSerial2>("pci-serial-2x");
  registry.add<PciSerial4>("pci-serial-4x");
}

}  // namespace emu::hw
