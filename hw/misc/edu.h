// SPDX-License-Identifier: Apache-2.0
// The educational PCI device, the worked example of docs/devel/pci.md. Sections (§): docs/specs/edu.txt of QEMU.
//
//   BAR 0   1 MiB of registers (32 bits; those from 0x80 on also 64)
//   pin A   or one MSI vector
#pragma once

#include <array>

#include "hw/pci/pci_device.h"

namespace emu::hw {

/// Inverts, computes factorials, raises interrupts and copies between guest memory and its own 4 KiB.
class Edu final : public PciDevice {
 public:
  enum Reg : hwaddr {
    ID = 0x00,
    LIVENESS = 0x04,
    FACTORIAL = 0x08,
    STATUS = 0x20,
    IRQ_STATUS = 0x24,
    IRQ_RAISE = 0x60,
    IRQ_ACK = 0x64,
    DMA_SOURCE = 0x80,
    DMA_DESTINATION = 0x88,
    DMA_COUNT = 0x90,
    DMA_COMMAND = 0x98,
  };
  static constexpr u32 kIdentification = 0x0100'00ed;  ///< 0xRRrr00ed: version 1.0
  static constexpr u32 kComputing = 0x01, kInterruptWhenComputed = 0x80;                    // STATUS
  static constexpr u64 kDmaStart = 1, kDmaToMemory = 2, kDmaInterrupt = 4;                  // DMA_COMMAND
  static constexpr u32 kFactorialDone = 0x001, kDmaDone = 0x100;                            // IRQ_STATUS
  /// Where the device's own memory stands among DMA addresses.
  static constexpr u64 kBuffer = 0x4'0000, kBufferBytes = 4096;

  Edu() : PciDevice({.vendor = 0x1234, .device = 0x11e8, .revision = 0x10, .class_code = 0x00ff}) {}
  static void describe(TypeInfo<Edu>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;

 private:
  struct State {
    u32 liveness = 0, factorial = 0, status = 0, irq_status = 0;
    u64 source = 0, destination = 0, count = 0, command = 0;
    u64 fires_ns = 0;  ///< when the factorial is ready, 0: not computing
    u64 copied_ns = 0;
    std::array<u8, kBufferBytes> buffer{};
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();
  void message_vectors_changed() override { refresh(); }

  u32 identification() const { return kIdentification; }
  void write_liveness(u32 value) { state_.liveness = ~value; }
  void write_factorial(u32 value);
  void raise(u32 reasons);
  void acknowledge(u32 reasons);
  void command_written();
  void factorial_ready();
  void copy();
  void refresh() { set_intx(state_.irq_status != 0); }
  bool is_in_buffer(u64 address) const;

  State state_;
  u64 dma_mask_ = (u64(1) << 28) - 1;
  Timer factorial_timer_, dma_timer_;
};

void register_edu(TypeRegistry& registry);

}  // namespace emu::hw
