// SPDX-License-Identifier: Apache-2.0
// Keyboard controller, Intel 8042 as programmed in PS/2 machines (IBM PS/2 Hardware Interface Technical Reference,
// "Keyboard/Auxiliary Device Controller").
//
//   ports "data" 0x60, "command" 0x64
//   IRQ out "keyboard" ISA 1, "mouse" ISA 12, "a20" gate A20
#pragma once

#include "hw/core/isa.h"
#include "hw/input/ps2.h"

namespace emu::hw {

class I8042 final : public IsaDevice {
 public:
  enum Status : u8 {
    kOutputFull = 0x01,
    kInputFull = 0x02,
    kSystem = 0x04,
    kCommand = 0x08,
    kUnlocked = 0x10,
    kAuxFull = 0x20,
  };
  enum Mode : u8 {
    kKeyboardIrq = 0x01,
    kMouseIrq = 0x02,
    kModeSystem = 0x04,
    kKeyboardOff = 0x10,
    kMouseOff = 0x20,
    kTranslate = 0x40,
  };
  enum Port2 : u8 { kResetLine = 0x01, kA20 = 0x02, kMouseFull = 0x20, kKeyboardFull = 0x10 };

  static void describe(TypeInfo<I8042>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override;

  Ps2Keyboard& keyboard() { return state_.keyboard; }
  Ps2Mouse& mouse() { return state_.mouse; }
  /// After keys or movements were put in from outside. Machine lock.
  void pump();

 private:
  struct State {
    u8 status = kUnlocked | kCommand;
    u8 mode = kKeyboardIrq | kMouseIrq;
    u8 outport = kResetLine | kA20;
    u8 data = 0;              ///< output buffer
    u8 pending_command = 0;   ///< controller command that waits for its byte at port 0x60
    bool break_prefix = false;
    Ps2Keyboard keyboard;
    Ps2Mouse mouse;
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  u64 read_data(u64 offset, unsigned size);
  u64 read_status(u64 offset, unsigned size);
  void write_data(u64 offset, u64 value, unsigned size);
  void write_command(u64 offset, u64 value, unsigned size);
  /// Port 2 as command 0xd0 shows it: with the lines that the output buffer drives.
  u8 output_port() const;
  void write_outport(u8 value);
  void put(u8 byte, bool from_mouse);
  void refresh();

  State state_;
  IrqLine keyboard_irq_, mouse_irq_, a20_;
};

void register_i8042(TypeRegistry& registry);

}  // namespace emu::hw
