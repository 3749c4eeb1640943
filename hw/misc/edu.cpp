// SPDX-License-Identifier: Apache-2.0
#include "hw/misc/edu.h"

#include "util/log.h"

namespace emu::hw {

using namespace std::chrono_literals;

namespace {

constexpr u64 kRegisterBytes = 1 << 20;
/// How long things take is not specified, only that they do; drivers have to wait.
constexpr ClockNs kFactorialTime = 10us, kDmaTime = 1ms;

/// Modulo 2^32: from 34! on there are at least 32 factors of two.
u32 factorial_of(u32 n) {
  if (n >= 34) return 0;
  u32 product = 1;
  for (u32 i = 2; i <= n; i++) product *= i;
  return product;
}

}  // namespace

void Edu::describe(TypeInfo<Edu>& type) {
  type.doc("Educational PCI device");
  type.category(Category::Misc);
  type.property("dma_mask", &Edu::dma_mask_, "bits of addresses that DMA keeps");
  type.registers("edu-mmio", kRegisterBytes, &Edu::state_)
      .reg(ID, "ID", {.read = &Edu::identification})
      .reg(LIVENESS, "LIVENESS", &State::liveness, {.ro = ~0u, .write = &Edu::write_liveness})
      .reg(FACTORIAL, "FACTORIAL", &State::factorial, {.ro = ~0u, .write = &Edu::write_factorial})
      .reg(STATUS, "STATUS", &State::status, {.rw = kInterruptWhenComputed, .ro = kComputing})
      .reg(IRQ_STATUS, "IRQ_STATUS", &State::irq_status)
      .reg(IRQ_RAISE, "IRQ_RAISE", {.write = &Edu::raise})
      .reg(IRQ_ACK, "IRQ_ACK", {.write = &Edu::acknowledge})
      .reg(DMA_SOURCE, "DMA_SOURCE", &State::source, {.rw = ~u64(0)})
      .reg(DMA_DESTINATION, "DMA_DESTINATION", &State::destination, {.rw = ~u64(0)})
      .reg(DMA_COUNT, "DMA_COUNT", &State::count, {.rw = ~u64(0)})
      .reg(DMA_COMMAND, "DMA_COMMAND", &State::command, {.rw = 7, .wrote = &Edu::command_written});
  type.saved(1, &Edu::state_, &Edu::fields, &Edu::after_load);
}

Result<void> Edu::realize() {
  add_bar(0, BarKind::Memory32, region("edu-mmio"));
  use_interrupt_pin(1);
  add_msi(1);
  factorial_timer_ = clock().make_timer([this] { factorial_ready(); });
  dma_timer_ = clock().make_timer([this] { copy(); });
  return {};
}

void Edu::unrealize() {
  factorial_timer_ = {};
  dma_timer_ = {};
}

void Edu::reset_enter() {
  state_ = {};
  factorial_timer_.cancel();
  dma_timer_.cancel();
  refresh();
}

// Factorials, §"MMIO area spec". -------------------------------------------------------------------------------------

void Edu::write_factorial(u32 value) {
  if (state_.status & kComputing) return;
  state_.factorial = value;
  state_.status |= kComputing;
  const ClockNs ready = clock().now() + kFactorialTime;
  state_.fires_ns = u64(ready.count());
  factorial_timer_.arm_at(ready);
}

void Edu::factorial_ready() {
  if (state_.fires_ns == 0) return;
  state_.fires_ns = 0;
  state_.factorial = factorial_of(state_.factorial);
  state_.status &= ~kComputing;
  if (state_.status & kInterruptWhenComputed) raise(kFactorialDone);
}

// Interrupts, §"IRQ controller". -------------------------------------------------------------------------------------

void Edu::raise(u32 reasons) {
  state_.irq_status |= reasons;
  refresh();
  if (uses_msi() && state_.irq_status != 0) notify_msi(0);
}

void Edu::acknowledge(u32 reasons) {
  state_.irq_status &= ~reasons;
  refresh();
}

// DMA, §"DMA controller". --------------------------------------------------------------------------------------------

void Edu::command_written() {
  if (!(state_.command & kDmaStart) || state_.copied_ns != 0) return;
  const ClockNs done = clock().now() + kDmaTime;
  state_.copied_ns = u64(done.count());
  dma_timer_.arm_at(done);
}

bool Edu::is_in_buffer(u64 address) const {
  return address >= kBuffer && address - kBuffer < kBufferBytes && state_.count <= kBufferBytes - (address - kBuffer);
}

void Edu::copy() {
  if (state_.copied_ns == 0) return;
  state_.copied_ns = 0;
  const bool to_memory = (state_.command & kDmaToMemory) != 0;
  const u64 own = to_memory ? state_.source : state_.destination;
  const u64 outside = (to_memory ? state_.destination : state_.source) & dma_mask_;
  state_.command &= ~kDmaStart;
  if (!is_in_buffer(own)) {
    log::guest_error("edu: DMA of {:#x} bytes at {:#x} is not within the buffer", state_.count, own);
  } else {
    const std::span bytes(&state_.buffer[own - kBuffer], state_.count);
    const auto result = to_memory ? dma().write(outside, bytes) : dma().read(outside, bytes);
    if (result != mem::MemTxResult::Ok) log::guest_error("edu: DMA at {:#x} reached no memory", outside);
  }
  if (state_.command & kDmaInterrupt) raise(kDmaDone);
}

// Saved state. -------------------------------------------------------------------------------------------------------

void Edu::fields(Archive& ar, State& s) {
  ar("liveness", s.liveness)("factorial", s.factorial)("status", s.status)("irq_status", s.irq_status);
  ar("source", s.source)("destination", s.destination)("count", s.count)("command", s.command);
  ar("fires_ns", s.fires_ns)("copied_ns", s.copied_ns)("buffer", s.buffer);
}

Result<void> Edu::after_load() {
  if ((state_.status & ~(kComputing | kInterruptWhenComputed)) != 0 || state_.command > 7) {
    return error("edu: reserved bits, status {:#x}, command {:#x}", state_.status, state_.command);
  }
  if (((state_.status & kComputing) != 0) != (state_.fires_ns != 0)) return error("edu: computes without an end");
  factorial_timer_.cancel();
  dma_timer_.cancel();
  if (state_.fires_ns != 0) factorial_timer_.arm_at(ClockNs(i64(state_.fires_ns)));
  if (state_.copied_ns != 0) dma_timer_.arm_at(ClockNs(i64(state_.copied_ns)));
  refresh();
  return {};
}

void register_edu(TypeRegistry& registry) { registry.add<Edu>("edu"); }

}  // namespace emu::hw
