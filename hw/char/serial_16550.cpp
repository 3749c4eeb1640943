// SPDX-License-Identifier: Apache-2.0
#include "hw/char/serial_16550.h"

namespace emu::hw {
namespace {

// IER, §8.4
constexpr u8 kReceiveInt = 0x01, kThrEmptyInt = 0x02, kLineInt = 0x04, kModemInt = 0x08;
// IIR, §8.3
constexpr u8 kIirNone = 0x01, kIirModem = 0x00, kIirThrEmpty = 0x02, kIirReceive = 0x04, kIirLine = 0x06,
             kIirTimeout = 0x0c, kIirFifos = 0xc0;
// FCR, §8.5
constexpr u8 kFifoEnable = 0x01, kFifoClearReceive = 0x02, kFifoClearTransmit = 0x04;
constexpr u8 kDlab = 0x80;  // LCR
// MCR, §8.7
constexpr u8 kDtr = 0x01, kRts = 0x02, kOut1 = 0x04, kOut2 = 0x08, kLoop = 0x10;
// LSR, §8.1
constexpr u8 kDataReady = 0x01, kOverrun = 0x02, kBreak = 0x10, kThrEmpty = 0x20, kTransmitterEmpty = 0x40;
constexpr u8 kLineErrors = 0x1e;
// MSR, §8.8
constexpr u8 kCts = 0x10, kDsr = 0x20, kRi = 0x40, kDcd = 0x80, kMsrDeltas = 0x0f;
constexpr std::array<u8, 4> kTriggers = {1, 4, 8, 14};

}  // namespace

void Serial16550::fields(Archive& ar, State& s) {
  ar("ier", s.ier)("fcr", s.fcr)("lcr", s.lcr)("mcr", s.mcr)("msr", s.msr)("scr", s.scr)("line_errors", s.line_errors);
  ar("divisor", s.divisor)("thr_empty_pending", s.thr_empty_pending)("overrun", s.overrun);
  ar.bounded("receive", s.receive, kFifoBytes);
  ar.bounded("transmit", s.transmit, kFifoBytes);
}

Result<void> Serial16550::connect(chardev::Chardev* stream) {
  stream_ = stream;
  if (stream == nullptr) return {};
  if (auto attached = stream->attach(*this); !attached) {
    stream_ = nullptr;
    return attached;
  }
  return {};
}

void Serial16550::disconnect() {
  if (stream_ != nullptr) stream_->detach(*this);
  stream_ = nullptr;
}

void Serial16550::reset_state() {
  std::lock_guard guard(mutex_);
  state_ = {};
}

void Serial16550::refresh() {
  {
    std::lock_guard guard(mutex_);
    update_locked();
  }
  made_room();
}

/// What the stream holds back may come now: registers were read, or what was in them was thrown away.
void Serial16550::made_room() {
  if (stream_ != nullptr) stream_->accept_input();
}

Result<void> Serial16550::check_loaded() const {
  if (state_.line_errors & ~kLineErrors) return error("16550: reserved line status bits {:#x}", state_.line_errors);
  return {};
}

// Interrupts, §8.3 in order of priority. -----------------------------------------------------------------------------

u8 Serial16550::iir_locked() const {
  const u8 fifos = fifo_enabled() ? kIirFifos : 0;
  if ((state_.ier & kLineInt) && (lsr_locked() & kLineErrors)) return fifos | kIirLine;
  if ((state_.ier & kReceiveInt) && !state_.receive.empty()) {
    const bool reached = !fifo_enabled() || state_.receive.size() >= kTriggers[state_.fcr >> 6];
    return fifos | (reached ? kIirReceive : kIirTimeout);
  }
  if ((state_.ier & kThrEmptyInt) && state_.thr_empty_pending) return fifos | kIirThrEmpty;
  if ((state_.ier & kModemInt) && (state_.msr & kMsrDeltas)) return fifos | kIirModem;
  return fifos | kIirNone;
}

/// PC boards gate it with OUT2, which nobody who drives the port leaves off: not done here.
void Serial16550::update_locked() { irq_.set(!(iir_locked() & kIirNone)); }

u8 Serial16550::lsr_locked() const {
  u8 lsr = state_.line_errors;
  if (!state_.receive.empty()) lsr |= kDataReady;
  if (state_.overrun) lsr |= kOverrun;
  if (state_.transmit.empty()) lsr |= kThrEmpty | kTransmitterEmpty;
  return lsr;
}

u8 Serial16550::msr_locked() const {
  if (state_.mcr & kLoop) {  // §8.7: the outputs are looped onto the inputs
    return u8((state_.msr & kMsrDeltas) | (state_.mcr & kRts ? kCts : 0) | (state_.mcr & kDtr ? kDsr : 0) |
              (state_.mcr & kOut1 ? kRi : 0) | (state_.mcr & kOut2 ? kDcd : 0));
  }
  return u8((state_.msr & kMsrDeltas) | (line_open_ ? kCts | kDsr | kDcd : 0));
}

// Registers. ---------------------------------------------------------------------------------------------------------

u8 Serial16550::read(u8 reg) {
  std::unique_lock lock(mutex_);
  switch (reg) {
    case RBR_THR: {
      if (state_.lcr & kDlab) return u8(state_.divisor);
      if (state_.receive.empty()) return 0;
      const u8 byte = state_.receive.front();
      state_.receive.erase(state_.receive.begin());
      update_locked();
      lock.unlock();
      made_room();
      return byte;
    }
    case IER:
      return state_.lcr & kDlab ? u8(state_.divisor >> 8) : state_.ier;
    case IIR_FCR: {
      const u8 iir = iir_locked();
      if ((iir & 0x0f) == kIirThrEmpty) {
        state_.thr_empty_pending = false;
        update_locked();
      }
      return iir;
    }
    case LCR:
      return state_.lcr;
    case MCR:
      return state_.mcr;
    case LSR: {
      const u8 lsr = lsr_locked();
      state_.overrun = false;
      state_.line_errors = 0;
      update_locked();
      return lsr;
    }
    case MSR: {
      const u8 msr = msr_locked();
      state_.msr &= u8(~kMsrDeltas);
      update_locked();
      return msr;
    }
    default:
      return state_.scr;
  }
}

void Serial16550::write(u8 reg, u8 value) {
  std::unique_lock lock(mutex_);
  switch (reg) {
    case RBR_THR:
      if (state_.lcr & kDlab)
        state_.divisor = u16((state_.divisor & 0xff00) | value);
      else
        write_thr_locked(value);
      return;
    case IER:
      if (state_.lcr & kDlab) {
        state_.divisor = u16((state_.divisor & 0xff) | value << 8);
        return;
      }
      // Switching the interrupt on while the register is empty raises it at once.
      if ((value & kThrEmptyInt) && !(state_.ier & kThrEmptyInt) && state_.transmit.empty())
        state_.thr_empty_pending = true;
      state_.ier = value & 0x0f;
      return update_locked();
    case IIR_FCR:
      if ((value ^ state_.fcr) & kFifoEnable) value |= kFifoClearReceive | kFifoClearTransmit;
      if (value & kFifoClearReceive) state_.receive.clear();
      if (value & kFifoClearTransmit) {
        state_.transmit.clear();
        state_.thr_empty_pending = true;
      }
      state_.fcr = value & 0xc9;
      update_locked();
      lock.unlock();
      return made_room();
    case LCR:
      state_.lcr = value;
      return;
    case MCR:
      state_.mcr = value & 0x1f;
      update_locked();
      lock.unlock();
      return made_room();  // nothing comes in while the line is looped
    case SCR:
      state_.scr = value;
      return;
    default:
      return;  // LSR and MSR are read-only
  }
}

void Serial16550::write_thr_locked(u8 value) {
  state_.thr_empty_pending = false;
  if (state_.mcr & kLoop) {
    receive_locked({&value, 1});
    state_.thr_empty_pending = true;
    return update_locked();
  }
  const size_t capacity = fifo_enabled() ? kFifoBytes : 1;
  if (state_.transmit.size() >= capacity) state_.transmit.pop_back();  // §8.5: the last byte is overwritten
  state_.transmit.push_back(value);
  flush_locked();
  update_locked();
}

/// Gives the stream what it takes. Chardev::write never calls back into the front end.
void Serial16550::flush_locked() {
  size_t taken = state_.transmit.size();
  if (stream_ != nullptr) taken = stream_->write(std::span<const u8>(state_.transmit));
  state_.transmit.erase(state_.transmit.begin(), state_.transmit.begin() + i64(taken));
  if (state_.transmit.empty()) state_.thr_empty_pending = true;
}

// The stream's side. -------------------------------------------------------------------------------------------------

size_t Serial16550::room_locked() const {
  const size_t capacity = fifo_enabled() ? kFifoBytes : 1;
  return state_.receive.size() >= capacity ? 0 : capacity - state_.receive.size();
}

void Serial16550::receive_locked(std::span<const u8> data) {
  for (const u8 byte : data) {
    if (room_locked() == 0)
      state_.overrun = true;
    else
      state_.receive.push_back(byte);
  }
}

size_t Serial16550::can_receive() {
  std::lock_guard guard(mutex_);
  return state_.mcr & kLoop ? 0 : room_locked();
}

void Serial16550::receive(std::span<const u8> data) {
  ++stream_events_;
  std::lock_guard guard(mutex_);
  receive_locked(data);
  update_locked();
}

void Serial16550::event(chardev::ChardevEvent event) {
  ++stream_events_;
  std::lock_guard guard(mutex_);
  if (event == chardev::ChardevEvent::Break) {
    const u8 zero = 0;
    receive_locked({&zero, 1});
    state_.line_errors |= kBreak;
  } else if (event == chardev::ChardevEvent::Opened || event == chardev::ChardevEvent::Closed) {
    const bool open = event == chardev::ChardevEvent::Opened;
    if (open != line_open_) state_.msr |= 0x0b;  // CTS, DSR and DCD changed
    line_open_ = open;
  }
  update_locked();
}

void Serial16550::writable() {
  ++stream_events_;
  std::lock_guard guard(mutex_);
  if (!state_.transmit.empty()) flush_locked();
  update_locked();
}

// isa-serial. --------------------------------------------------------------------------------------------------------

void IsaSerial::describe(TypeInfo<IsaSerial>& type) {
  type.doc("UART 16550A at COM1 to COM4");
  type.category(Category::Input);
  type.property("index", &IsaSerial::index_, "0 to 3 for COM1 to COM4; default: the first that is free");
  type.property("iobase", &IsaSerial::iobase_, "I/O port; default: that of the index");
  type.property("irq", &IsaSerial::irq_number_, "ISA interrupt; default: that of the index");
  type.link("chardev", &IsaSerial::chardev_, "/chardevs", "the stream behind the line");
  type.irq_out("irq", &IsaSerial::irq_);
  type.region("serial", 8, &IsaSerial::read, &IsaSerial::write,
              {.valid = {1, 1}, .impl = {1, 1}, .locking = mem::Locking::None});
  type.saved(1, &IsaSerial::state_, &Serial16550::fields, &IsaSerial::after_load);
}

Result<void> IsaSerial::realize() {
  constexpr std::array<u32, 4> kPorts = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
  constexpr std::array<u32, 4> kIrqs = {4, 3, 4, 3};
  if (index_ == ~0u) index_ = free_index();
  if (index_ >= kPorts.size()) return error("isa-serial: index={} is not 0..3: a PC has four", index_);
  if (iobase_ == ~0u) iobase_ = kPorts[index_];
  if (irq_number_ == ~0u) irq_number_ = kIrqs[index_];
  if (iobase_ > 0xfff8) return error("isa-serial: iobase={:#x} is beyond the last I/O port", iobase_);
  EMU_TRY(connect_irq(irq_, irq_number_));
  EMU_TRY(uart_.connect(chardev_ == nullptr ? nullptr : &chardev_->stream()), "isa-serial");  // last: it is not undone
  map_ports("serial", u16(iobase_));
  return {};
}

/// The first that no other on the bus has.
u32 IsaSerial::free_index() const {
  u32 index = 0;
  for (bool taken = true; taken;) {
    taken = false;
    for (const Device* device : bus()->devices()) {
      const auto* other = dynamic_cast<const IsaSerial*>(device);
      if (other != nullptr && other != this && other->is_realized() && other->index_ == index) taken = true;
    }
    if (taken) index++;
  }
  return index;
}

Result<void> IsaSerial::after_load() {
  EMU_TRY(uart_.check_loaded());
  uart_.refresh();
  return {};
}

void register_chardev_object(qom::TypeRegistry& registry) { registry.add_base<ChardevObject, qom::Object>(); }
void register_serial(TypeRegistry& registry) { registry.add<IsaSerial>("isa-serial"); }

}  // namespace emu::hw
