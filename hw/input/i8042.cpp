// SPDX-License-Identifier: Apache-2.0
#include "hw/input/i8042.h"

#include "util/log.h"

namespace emu::hw {

void I8042::describe(TypeInfo<I8042>& type) {
  type.doc("Keyboard controller with PS/2 keyboard and mouse");
  type.category(Category::Input);
  type.not_user_creatable();
  type.irq_out("keyboard", &I8042::keyboard_irq_);
  type.irq_out("mouse", &I8042::mouse_irq_);
  type.irq_out("a20", &I8042::a20_);
  const mem::MmioOptions bytes{.valid = {1, 1}, .impl = {1, 1}};
  type.region("data", 1, &I8042::read_data, &I8042::write_data, bytes);
  type.region("command", 1, &I8042::read_status, &I8042::write_command, bytes);
  type.saved(1, &I8042::state_, &I8042::fields, &I8042::after_load);
}

Result<void> I8042::realize() {
  map_ports("data", 0x60);
  map_ports("command", 0x64);
  EMU_TRY(connect_irq(keyboard_irq_, 1));
  EMU_TRY(connect_irq(mouse_irq_, 12));
  return {};
}

void I8042::reset_enter() {
  state_ = {};
}

void I8042::reset_hold() {
  a20_.set(true);
  refresh();
}

void I8042::fields(Archive& ar, State& s) {
  ar("status", s.status)("mode", s.mode)("outport", s.outport)("data", s.data)("pending_command", s.pending_command);
  ar("break_prefix", s.break_prefix);
  Ps2Keyboard& k = s.keyboard;
  ar.bounded("keyboard_queue", k.queue.bytes(), Ps2Queue::kMax);
  ar("keyboard_command", k.pending_command)("keyboard_leds", k.leds)("keyboard_set", k.scan_set);
  ar("keyboard_rate", k.rate)("keyboard_scanning", k.scanning);
  Ps2Mouse& m = s.mouse;
  ar.bounded("mouse_queue", m.queue.bytes(), Ps2Queue::kMax);
  ar("mouse_command", m.pending_command)("mouse_rate", m.sample_rate)("mouse_resolution", m.resolution);
  ar("mouse_status", m.status)("mouse_buttons", m.buttons)("mouse_id", m.id)("mouse_wrap", m.wrap);
}

Result<void> I8042::after_load() {
  a20_.set(state_.outport & kA20);
  refresh();
  return {};
}

/// The interrupt lines follow the output buffer and the mode.
void I8042::refresh() {
  const bool full = state_.status & kOutputFull, mouse = state_.status & kAuxFull;
  keyboard_irq_.set(full && !mouse && (state_.mode & kKeyboardIrq));
  mouse_irq_.set(full && mouse && (state_.mode & kMouseIrq));
}

void I8042::put(u8 byte, bool from_mouse) {
  state_.data = byte;
  state_.status = u8((state_.status & ~kAuxFull) | kOutputFull | (from_mouse ? kAuxFull : 0));
  refresh();
}

/// Fills the empty output buffer from whichever device has a byte and whose line is on; keyboard first.
void I8042::pump() {
  while (!(state_.status & kOutputFull)) {
    if (!(state_.mode & kKeyboardOff) && !state_.keyboard.queue.is_empty()) {
      u8 byte = state_.keyboard.queue.pop();
      if ((state_.mode & kTranslate) && state_.keyboard.scan_set == 2) {
        if (byte == 0xf0) {
          state_.break_prefix = true;
          continue;
        }
        // Replies to commands are above the key codes and pass as they are.
        if (byte < 0x85) byte = u8(translate_set2(byte) | (std::exchange(state_.break_prefix, false) ? 0x80 : 0));
      }
      put(byte, false);
    } else if (!(state_.mode & kMouseOff) && !state_.mouse.queue.is_empty()) {
      put(state_.mouse.queue.pop(), true);
    } else {
      return refresh();
    }
  }
}

u64 I8042::read_data(u64, unsigned) {
  const u8 data = state_.data;
  state_.status &= u8(~(kOutputFull | kAuxFull));
  refresh();
  pump();
  return data;
}

u64 I8042::read_status(u64, unsigned) { return state_.status; }

void I8042::write_data(u64, u64 value, unsigned) {
  const u8 byte = u8(value);
  state_.status &= u8(~kCommand);
  switch (std::exchange(state_.pending_command, 0)) {
    case 0:
      state_.keyboard.receive(byte);
      state_.mode &= u8(~kKeyboardOff);  // a byte to the keyboard switches its line on
      break;
    case 0x60: state_.mode = byte; break;
    case 0xd1: write_outport(byte); break;
    case 0xd2: return put(byte, false);
    case 0xd3: return put(byte, true);
    case 0xd4: state_.mouse.receive(byte); break;
    default: break;
  }
  pump();
}

void I8042::write_command(u64, u64 value, unsigned) {
  const u8 command = u8(value);
  state_.status |= kCommand;
  switch (command) {
    case 0x20: return put(state_.mode, false);
    case 0x60: case 0xd1: case 0xd2: case 0xd3: case 0xd4: state_.pending_command = command; return;
    case 0xa7: state_.mode |= kMouseOff; return;
    case 0xa8: state_.mode &= u8(~kMouseOff); return pump();
    case 0xa9: return put(0x00, false);  // mouse line test passed
    case 0xaa:
      state_.status |= kSystem;
      return put(0x55, false);           // self test passed
    case 0xab: return put(0x00, false);  // keyboard line test passed
    case 0xad: state_.mode |= kKeyboardOff; return;
    case 0xae: state_.mode &= u8(~kKeyboardOff); return pump();
    case 0xc0: return put(0x80, false);  // input port: keyboard not locked
    case 0xd0: return put(output_port(), false);
    case 0xdd: return write_outport(state_.outport & u8(~kA20));
    case 0xdf: return write_outport(state_.outport | kA20);
    default: break;
  }
  // 0xf0..0xff pulse output lines whose bit is 0; line 0 is reset.
  if (command >= 0xf0) {
    if (!(command & 1)) machine().request_reset(ResetCause::GuestReset);
    return;
  }
  log::guest_error("i8042: unknown controller command {:#x}", command);
}

u8 I8042::output_port() const {
  u8 lines = 0;
  if (state_.status & kOutputFull) lines = state_.status & kAuxFull ? kMouseFull : kKeyboardFull;
  return u8((state_.outport & ~(kMouseFull | kKeyboardFull)) | lines);
}

void I8042::write_outport(u8 value) {
  state_.outport = value;
  a20_.set(value & kA20);
  if (!(value & kResetLine)) machine().request_reset(ResetCause::GuestReset);
}

void register_i8042(TypeRegistry& registry) { registry.add<I8042>("i8042"); }

}  // namespace emu::hw
