// SPDX-License-Identifier: Apache-2.0
// pci-serial and its kin with two and four ports: 16550A UARTs behind one I/O BAR and one interrupt pin.
#pragma once

#include <array>
#include <memory>
#include <mutex>

#include "hw/char/serial_16550.h"
#include "hw/pci/pci_device.h"

namespace emu::hw {

/// `kPorts` UARTs, eight ports apart. Red Hat's PCI identifiers (QEMU docs/specs/pci-serial.txt).
template <unsigned kPorts, u16 kDeviceId>
class PciSerial final : public PciDevice {
 public:
  PciSerial() : PciDevice({.vendor = 0x1b36, .device = kDeviceId, .revision = 1, .class_code = 0x0700, .prog_if = 2}) {
    for (unsigned i = 0; i < kPorts; i++) {
      lines_[i].connect(any_line_.input(i));
      uarts_[i] = std::make_unique<Serial16550>(state_.ports[i].uart, lines_[i]);
    }
  }
  static void describe(TypeInfo<PciSerial>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override {
    for (auto& uart : uarts_) uart->reset_state();
  }
  void reset_hold() override {
    for (auto& uart : uarts_) uart->refresh();
  }

 private:
  static constexpr unsigned kPortBytes = 8;
  struct Port {
    Serial16550::State uart;
    void fields(Archive& ar) { Serial16550::fields(ar, uart); }
  };
  struct State {
    std::array<Port, kPorts> ports;
  };
  static void fields(Archive& ar, State& s) { ar("ports", s.ports); }
  Result<void> after_load();
  u64 read(u64 offset, unsigned) { return uarts_[offset / kPortBytes]->read(u8(offset % kPortBytes)); }
  void write(u64 offset, u64 value, unsigned) {
    uarts_[offset / kPortBytes]->write(u8(offset % kPortBytes), u8(value));
  }
  void set_line(unsigned port, bool level);

  State state_;
  ChardevObject *chardev1_ = nullptr, *chardev2_ = nullptr, *chardev3_ = nullptr, *chardev4_ = nullptr;
  IrqFunction any_line_{[this](unsigned port, bool level) { set_line(port, level); }};
  std::array<IrqLine, kPorts> lines_;
  std::array<std::unique_ptr<Serial16550>, kPorts> uarts_;
  std::mutex pin_mutex_;  ///< orders what the ports do to the pin; inside a UART's lock
  unsigned high_ = 0;     ///< ports whose line is high
};

using PciSerial1 = PciSerial<1, 0x0002>;
using PciSerial2 = PciSerial<2, 0x0003>;
using PciSerial4 = PciSerial<4, 0x0004>;

void register_pci_serial(TypeRegistry& registry);

}  // namespace emu::hw
