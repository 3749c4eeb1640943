// SPDX-License-Identifier: Apache-2.0
// UART 16550A, National Semiconductor PC16550D datasheet (sections as §).
//
// Deviation: no baud timing; bytes leave and arrive at once, and the receive time-out interrupt needs no idle time.
#pragma once

#include <array>
#include <mutex>
#include <vector>

#include "chardev/chardev.h"
#include "hw/char/chardev_object.h"
#include "hw/core/isa.h"

namespace emu::hw {

/// The chip, independent of where it is mapped. Registers from any thread, the stream's side on the main loop; `mutex_`
/// guards the state. The stream is never called with it held when that could call back.
class Serial16550 final : public chardev::ChardevFrontend {
 public:
  enum Reg : u8 { RBR_THR = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
  static constexpr size_t kFifoBytes = 16;

  struct State {
    u8 ier = 0, fcr = 0, lcr = 0, mcr = 0x08, msr = 0, scr = 0;
    u8 line_errors = 0;  ///< LSR bits 1..4 for the oldest byte
    u16 divisor = 12;
    bool thr_empty_pending = false;  ///< the THRE interrupt, until IIR is read or THR written
    bool overrun = false;
    std::vector<u8> receive;   ///< at most kFifoBytes
    std::vector<u8> transmit;  ///< what the stream has not taken yet, at most kFifoBytes
  };
  static void fields(Archive& ar, State& s);

  Serial16550(State& state, IrqLine& irq) : state_(state), irq_(irq) {}

  /// Null: nothing is connected.
  Result<void> connect(chardev::Chardev* stream);
  void disconnect();
  void reset_state();
  /// After a reset or a load: the interrupt as the state wants it, and input where there is room.
  void refresh();
  Result<void> check_loaded() const;

  u8 read(u8 reg);
  void write(u8 reg, u8 value);

  // ChardevFrontend
  size_t can_receive() override;
  void receive(std::span<const u8> data) override;
  void event(chardev::ChardevEvent event) override;
  void writable() override;
  /// How often the stream, not the guest, has changed the chip. Main loop.
  u64 stream_events() const { return stream_events_; }

 private:
  bool fifo_enabled() const { return state_.fcr & 1; }
  size_t room_locked() const;
  void receive_locked(std::span<const u8> data);
  u8 iir_locked() const;
  u8 lsr_locked() const;
  u8 msr_locked() const;
  void update_locked();
  void flush_locked();
  void write_thr_locked(u8 value);
  void made_room();

  State& state_;
  IrqLine& irq_;
  chardev::Chardev* stream_ = nullptr;
  bool line_open_ = false;
  u64 stream_events_ = 0;
  std::mutex mutex_;
};

/// -device isa-serial: COM1..COM4 by index.
class IsaSerial final : public IsaDevice {
 public:
  static void describe(TypeInfo<IsaSerial>& type);
  Result<void> realize() override;
  void unrealize() override { uart_.disconnect(); }
  void reset_enter() override { uart_.reset_state(); }
  void reset_hold() override { uart_.refresh(); }
  u16 port() const { return u16(iobase_); }
  u64 stream_events() const { return uart_.stream_events(); }
  u32 irq_number() const { return irq_number_; }

 private:
  u64 read(u64 offset, unsigned) { return uart_.read(u8(offset)); }
  void write(u64 offset, u64 value, unsigned) { uart_.write(u8(offset), u8(value)); }
  Result<void> after_load();
  u32 free_index() const;

  u32 index_ = ~0u, iobase_ = ~0u, irq_number_ = ~0u;
  ChardevObject* chardev_ = nullptr;
  Serial16550::State state_;
  IrqLine irq_;
  Serial16550 uart_{state_, irq_};
};

void register_serial(TypeRegistry& registry);

}  // namespace emu::hw
