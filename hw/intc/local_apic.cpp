// SPDX-License-Identifier: Apache-2.0
#include "hw/intc/local_apic.h"

#include <fmt/format.h>

#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u32 kVersion = 0x0005'0014;  // six LVT entries, integrated APIC
constexpr u32 kSvrEnable = bit(8);
constexpr u32 kLvtMasked = bit(16), kLvtLevel = bit(15), kLvtRemoteIrr = bit(14), kLvtPending = bit(12);
constexpr u32 kTimerModeMask = 3u << 17, kTimerPeriodic = 1u << 17, kTimerTscDeadline = 2u << 17;
constexpr u32 kEsrSendIllegal = bit(5), kEsrReceiveIllegal = bit(6), kEsrRegisterIllegal = bit(7);
constexpr i64 kMostNs = INT64_MAX / 4;  // sums of saved times stay in range
constexpr u32 kMsrBase = 0x1b, kMsrTscDeadline = 0x6e0, kMsrX2apicFirst = 0x800, kMsrX2apicLast = 0x8ff;

/// Bits that software may write, by LVT entry (§"Local Vector Table").
constexpr std::array<u32, LocalApic::kLvtCount> kLvtWritable = {0x7'00ff, 0x1'07ff, 0x1'07ff,
                                                                0x1'a7ff, 0x1'a7ff, 0x1'00ff};

bool has_vector(const std::array<u32, 8>& set, u8 v) { return set[v >> 5] >> (v & 31) & 1; }
void put(std::array<u32, 8>& set, u8 v, bool on) {
  const u32 mask = bit(v & 31);
  set[v >> 5] = on ? set[v >> 5] | mask : set[v >> 5] & ~mask;
}
int highest(const std::array<u32, 8>& set) {
  for (int i = 7; i >= 0; i--) {
    if (set[i] != 0) return i * 32 + 31 - __builtin_clz(set[i]);
  }
  return -1;
}
int lvt_index(u32 reg) {
  if (reg == LocalApic::LVT_ERROR) return LocalApic::kErrorLvt;
  const bool is_one = reg >= LocalApic::LVT_TIMER && reg <= LocalApic::LVT_LINT1 && (reg & 0xf) == 0;
  return is_one ? int(reg - LocalApic::LVT_TIMER) / 16 : -1;
}

}  // namespace

void LocalApic::describe(TypeInfo<LocalApic>& type) {
  type.doc("Local interrupt controller of one x86 CPU (xAPIC and x2APIC)");
  type.not_user_creatable();
  type.irq_in("lint0", &LocalApic::pin_lint0);
  type.irq_in("lint1", &LocalApic::pin_lint1);
  type.region("apic", kBytes, &LocalApic::mmio_read, &LocalApic::mmio_write,
              {.valid = {1, 8}, .impl = {4, 4}, .locking = mem::Locking::None});
  type.saved(1, &LocalApic::state_, &LocalApic::fields, &LocalApic::after_load);
}

void LocalApic::wire(ApicBus& bus, target::CpuSignals& cpu, u32 apic_id, bool boot_cpu, mem::RegionRef cpu_root,
                     ExternalVectorSource* external) {
  bus_ = &bus;
  cpu_ = &cpu;
  external_ = external;
  id_ = apic_id;
  boot_cpu_ = boot_cpu;
  cpu_root_ = std::move(cpu_root);
}

Result<void> LocalApic::realize() {
  timer_ = clock().make_timer([this] { timer_fired(); });
  cpu_root_->add(kDefaultBase, region("apic"), 4096);
  return {};
}

void LocalApic::reset_enter() {
  std::lock_guard guard(mutex_);
  const bool lint0 = state_.lint0, lint1 = state_.lint1;  // the pins follow the board, not reset
  state_ = {};
  state_.lint0 = lint0;
  state_.lint1 = lint1;
  if (boot_cpu_) state_.base |= kBaseBsp;
  state_.lvt.fill(kLvtMasked);
  timer_.cancel();
}

void LocalApic::reset_hold() {
  show_registers(kDefaultBase | kBaseEnable);
  std::lock_guard guard(mutex_);
  update_cpu_locked();
}

/// Where IA32_APIC_BASE says, while that says they are in memory.
void LocalApic::show_registers(u64 base) {
  const mem::Transaction transaction(memory());
  region("apic")->set_address(base & kBaseMask);
  region("apic")->set_enabled((base & kBaseEnable) && !(base & kBaseX2apic));
}

void LocalApic::fields(Archive& ar, State& s) {
  ar("base", s.base)("tpr", s.tpr)("ldr", s.ldr)("dfr", s.dfr)("svr", s.svr)("esr", s.esr);
  ar("esr_latched", s.esr_latched);
  ar("icr_low", s.icr_low)("icr_high", s.icr_high)("initial_count", s.initial_count)("divide", s.divide);
  ar("count_start_ns", s.count_start_ns)("tsc_deadline", s.tsc_deadline)("isr", s.isr)("tmr", s.tmr)("irr", s.irr);
  ar("lvt", s.lvt)("is_counting", s.is_counting)("lint0", s.lint0)("lint1", s.lint1);
}

Result<void> LocalApic::after_load() {
  EMU_TRY(check_loaded());
  show_registers(state_.base);
  std::lock_guard guard(mutex_);
  restart_timer_locked();
  update_cpu_locked();
  return {};
}

Result<void> LocalApic::check_loaded() const {
  std::lock_guard guard(mutex_);
  for (unsigned i = 0; i < kLvtCount; i++) {
    if (state_.lvt[i] & ~(kLvtWritable[i] | kLvtRemoteIrr | kLvtPending)) {
      return error("apic: reserved bits in lvt {}: {:#x}", i, state_.lvt[i]);
    }
  }
  if ((state_.base & ~(kBaseMask | kBaseBsp | kBaseX2apic | kBaseEnable)) != 0) {
    return error("apic: reserved bits in base {:#x}", state_.base);
  }
  if ((state_.base & kBaseX2apic) && !(state_.base & kBaseEnable)) return error("apic: x2APIC mode, but not enabled");
  if ((state_.tpr & ~0xffu) || (state_.ldr & 0x00ff'ffff) || (state_.dfr | 0x0fff'ffff) != state_.dfr ||
      (state_.svr & ~0x1ffu) || (state_.divide & ~0xbu)) {
    return error("apic: reserved bits in tpr {:#x}, ldr {:#x}, dfr {:#x}, svr {:#x} or divide {:#x}", state_.tpr,
                 state_.ldr, state_.dfr, state_.svr, state_.divide);
  }
  if (state_.is_counting && state_.initial_count == 0) return error("apic: counting down from zero");
  if (state_.count_start_ns < -kMostNs || state_.count_start_ns > kMostNs) return error("apic: time out of range");
  return {};
}

// Addressing, §"Determining IPI Destination". -----------------------------------------------------------------------

bool LocalApic::is_addressed(u32 destination, bool logical) const {
  std::lock_guard guard(mutex_);
  if (!(state_.base & kBaseEnable)) return false;
  if (is_x2apic()) {
    // Messages of 8-bit senders say 0xff for everyone.
    if (destination == ~0u || destination == 0xff) return true;
    if (!logical) return destination == id_;
    const u32 cluster = id_ >> 4;
    return destination >> 16 == cluster && (destination & bit(id_ & 15)) != 0;
  }
  if (!logical) return destination == 0xff || destination == ~0u || destination == id_;
  const u32 mine = state_.ldr >> 24;
  if (state_.dfr >> 28 == 0xf) return (mine & destination) != 0;
  const bool my_cluster = (destination >> 4) == 0xf || (destination >> 4) == (mine >> 4);
  return my_cluster && (mine & destination & 0xf) != 0;
}

bool LocalApic::is_software_enabled() const {
  std::lock_guard guard(mutex_);
  return (state_.base & kBaseEnable) && (state_.svr & kSvrEnable);
}

u32 LocalApic::arbitration_priority() const {
  std::lock_guard guard(mutex_);
  return processor_priority_locked();
}

void LocalApic::receive(const ApicMessage& message) {
  switch (message.mode) {
    case DeliveryMode::Fixed:
    case DeliveryMode::LowestPriority: {
      std::lock_guard guard(mutex_);
      if (!(state_.svr & kSvrEnable)) return;
      accept_locked(message.vector, message.level_triggered);
      update_cpu_locked();
      return;
    }
    case DeliveryMode::Smi: return cpu_->smi();
    case DeliveryMode::Nmi: return cpu_->nmi();
    case DeliveryMode::Init:
      if (message.asserted) cpu_->init();
      return;
    case DeliveryMode::Startup: return cpu_->startup(message.vector);
    case DeliveryMode::ExtInt: {
      std::lock_guard guard(mutex_);
      state_.lint0 = true;
      update_cpu_locked();
      return;
    }
    case DeliveryMode::Reserved: log::guest_error("apic: message with a reserved delivery mode"); return;
  }
}

// Priorities and the CPU's request line, §"Interrupt, Task, and Processor Priority". ---------------------------------

u32 LocalApic::processor_priority_locked() const {
  const int in_service = highest(state_.isr);
  const u32 service_class = in_service < 0 ? 0 : u32(in_service) & 0xf0;
  return (state_.tpr & 0xf0) >= service_class ? state_.tpr : service_class;
}

/// Whether the 8259's request reaches the CPU: through LINT0 as ExtINT, or directly while the APIC is off.
bool LocalApic::external_enabled_locked() const {
  if (external_ == nullptr) return false;
  if (!(state_.base & kBaseEnable)) return true;
  const u32 lint0 = state_.lvt[kLint0];
  return !(lint0 & kLvtMasked) && DeliveryMode(lint0 >> 8 & 7) == DeliveryMode::ExtInt;
}

void LocalApic::accept_locked(u8 vector, bool level_triggered) {
  if (vector < 16) {
    state_.esr |= kEsrReceiveIllegal;
    return deliver_local_locked(kErrorLvt);
  }
  put(state_.irr, vector, true);
  put(state_.tmr, vector, level_triggered);
}

void LocalApic::update_cpu_locked() {
  bool request = state_.lint0 && external_enabled_locked();
  if ((state_.base & kBaseEnable) && (state_.svr & kSvrEnable)) {
    const int requested = highest(state_.irr);
    request = request || (requested >= 0 && (u32(requested) & 0xf0) > (processor_priority_locked() & 0xf0));
  }
  cpu_->set_interrupt(request);
}

std::optional<u8> LocalApic::acknowledge() {
  std::unique_lock guard(mutex_);
  const int requested = highest(state_.irr);
  const bool enabled = (state_.base & kBaseEnable) && (state_.svr & kSvrEnable);
  if (enabled && requested >= 0 && (u32(requested) & 0xf0) > (processor_priority_locked() & 0xf0)) {
    put(state_.irr, u8(requested), false);
    put(state_.isr, u8(requested), true);
    update_cpu_locked();
    return u8(requested);
  }
  if (!state_.lint0 || !external_enabled_locked()) {
    update_cpu_locked();
    return std::nullopt;
  }
  guard.unlock();  // lock order: PIC before LAPIC
  return external_->acknowledge();
}

std::optional<u8> LocalApic::end_locked() {
  const int in_service = highest(state_.isr);
  if (in_service < 0) return std::nullopt;
  put(state_.isr, u8(in_service), false);
  if (!has_vector(state_.tmr, u8(in_service))) return std::nullopt;
  state_.lvt[kLint0] &= ~kLvtRemoteIrr;
  return u8(in_service);
}

u8 LocalApic::task_priority() {
  std::lock_guard guard(mutex_);
  return u8(state_.tpr >> 4);
}

void LocalApic::set_task_priority(u8 cr8) {
  std::lock_guard guard(mutex_);
  state_.tpr = u32(cr8 & 0xf) << 4;
  update_cpu_locked();
}

// Local sources, §"Local Interrupts". -------------------------------------------------------------------------------

void LocalApic::deliver_local_locked(Lvt which) {
  const u32 lvt = state_.lvt[which];
  if (lvt & kLvtMasked) return;
  switch (which == kTimer || which == kErrorLvt ? DeliveryMode::Fixed : DeliveryMode(lvt >> 8 & 7)) {
    case DeliveryMode::Fixed: {
      if (!(state_.svr & kSvrEnable)) return;
      const bool level = which == kLint0 && (lvt & kLvtLevel);
      if (level) state_.lvt[which] |= kLvtRemoteIrr;
      if (u8(lvt) >= 16) accept_locked(u8(lvt), level);
      return;
    }
    case DeliveryMode::Smi: return cpu_->smi();
    case DeliveryMode::Nmi: return cpu_->nmi();
    case DeliveryMode::Init: return cpu_->init();
    default: return;  // ExtINT follows the pin's level
  }
}

void LocalApic::set_lint(unsigned pin, bool level) {
  std::lock_guard guard(mutex_);
  bool& state = pin == kLint0 ? state_.lint0 : state_.lint1;
  const bool rising = level && !state;
  state = level;
  if (!(state_.base & kBaseEnable)) {
    // With the APIC off the pins are the CPU's INTR and NMI.
    if (pin == kLint1 && rising) cpu_->nmi();
  } else if (rising) {
    deliver_local_locked(Lvt(pin));
  }
  update_cpu_locked();
}

// Timer. -------------------------------------------------------------------------------------------------------------

u64 LocalApic::divisor() const {
  const u32 code = (state_.divide & 3) | (state_.divide >> 1 & 4);
  return code == 7 ? 1 : u64(2) << code;
}

u32 LocalApic::current_count_locked() {
  if (!state_.is_counting || (state_.lvt[kTimer] & kTimerModeMask) == kTimerTscDeadline) return 0;
  const u64 ticks = u64(clock().now().count() - state_.count_start_ns) / divisor();
  const u64 period = state_.initial_count;
  if ((state_.lvt[kTimer] & kTimerModeMask) == kTimerPeriodic) return u32(period - ticks % period);
  return ticks >= period ? 0 : u32(period - ticks);
}

/// Arms the timer for what the registers say. A time that has passed meanwhile fires at once: this thread may have lost
/// its processor since the guest wrote the register, and the interrupt is due all the same.
void LocalApic::restart_timer_locked() {
  const u32 mode = state_.lvt[kTimer] & kTimerModeMask;
  if (mode == kTimerTscDeadline) {
    if (state_.tsc_deadline == 0) return timer_.cancel();
    return timer_.arm_at(ClockNs(i64(std::min<u64>(state_.tsc_deadline, INT64_MAX))));
  }
  if (!state_.is_counting) return timer_.cancel();
  const u64 period_ns = u64(state_.initial_count) * divisor();
  const u64 elapsed = u64(clock().now().count() - state_.count_start_ns);
  const u64 periods = mode == kTimerPeriodic ? elapsed / period_ns + 1 : 1;
  timer_.arm_at(ClockNs(state_.count_start_ns + i64(periods * period_ns)));
}

/// The callback may come late, when the guest has set another time already: then that one is waited for.
void LocalApic::timer_fired() {
  std::lock_guard guard(mutex_);
  const i64 now = clock().now().count();
  switch (state_.lvt[kTimer] & kTimerModeMask) {
    case kTimerTscDeadline:
      if (state_.tsc_deadline == 0 || u64(now) < state_.tsc_deadline) return;
      state_.tsc_deadline = 0;
      break;
    case kTimerPeriodic:
      if (!state_.is_counting) return;
      restart_timer_locked();
      break;
    default:
      if (!state_.is_counting || u64(now - state_.count_start_ns) < u64(state_.initial_count) * divisor()) return;
      state_.is_counting = false;
  }
  deliver_local_locked(kTimer);
  update_cpu_locked();
}

// Registers. ---------------------------------------------------------------------------------------------------------

u32 LocalApic::read_locked(u32 reg) {
  if (const int lvt = lvt_index(reg); lvt >= 0) return state_.lvt[lvt];
  if (reg >= ISR && reg < ISR + 0x80) return state_.isr[(reg - ISR) >> 4];
  if (reg >= TMR && reg < TMR + 0x80) return state_.tmr[(reg - TMR) >> 4];
  if (reg >= IRR && reg < IRR + 0x80) return state_.irr[(reg - IRR) >> 4];
  switch (reg) {
    case ID: return is_x2apic() ? id_ : id_ << 24;
    case VERSION: return kVersion;
    case TPR: return state_.tpr;
    case APR: return processor_priority_locked();
    case PPR: return processor_priority_locked();
    case EOI: return 0;
    case RRD: return 0;
    case LDR: return is_x2apic() ? (id_ >> 4) << 16 | bit(id_ & 15) : state_.ldr;
    case DFR: return state_.dfr;
    case SVR: return state_.svr;
    case ESR: return state_.esr_latched;
    case ICR_LOW: return state_.icr_low;
    case ICR_HIGH: return state_.icr_high;
    case TIMER_INITIAL: return state_.initial_count;
    case TIMER_CURRENT: return current_count_locked();
    case TIMER_DIVIDE: return state_.divide;
    default:
      state_.esr |= kEsrRegisterIllegal;
      log::guest_error("apic {}: read of register {:#x}, which does not exist", id_, reg);
      return 0;
  }
}

void LocalApic::write_locked(u32 reg, u32 value, Deferred& after) {
  if (const int lvt = lvt_index(reg); lvt >= 0) {
    const u32 old_mode = state_.lvt[lvt] & kTimerModeMask;
    state_.lvt[lvt] = (value & kLvtWritable[lvt]) | (state_.lvt[lvt] & (kLvtRemoteIrr | kLvtPending));
    if (!(state_.svr & kSvrEnable)) state_.lvt[lvt] |= kLvtMasked;
    if (lvt == kTimer && ((old_mode ^ value) & kTimerModeMask)) {
      if ((value & kTimerModeMask) == kTimerTscDeadline) {
        state_.initial_count = 0;
        state_.is_counting = false;
      } else {
        state_.tsc_deadline = 0;
      }
      restart_timer_locked();
    }
    if (lvt == kLint0 && state_.lint0 && DeliveryMode(value >> 8 & 7) == DeliveryMode::Fixed && (value & kLvtLevel)) {
      deliver_local_locked(kLint0);
    }
    return;
  }
  switch (reg) {
    case ID: return;  // Deviation: read-only, as on processors since Nehalem
    case TPR: state_.tpr = value & 0xff; return;
    case EOI: after.eoi = end_locked(); return;
    case LDR: state_.ldr = value & 0xff00'0000; return;
    case DFR: state_.dfr = value | 0x0fff'ffff; return;
    case SVR:
      state_.svr = value & 0x1ff;
      if (!(value & kSvrEnable)) {
        for (u32& lvt : state_.lvt) lvt |= kLvtMasked;
      }
      return;
    case ESR: state_.esr_latched = std::exchange(state_.esr, 0); return;
    case ICR_LOW:
      state_.icr_low = value & 0xc'dfff & ~kLvtPending;
      after = send_ipi_locked(value, is_x2apic() ? state_.icr_high : state_.icr_high >> 24);
      return;
    case ICR_HIGH: state_.icr_high = is_x2apic() ? value : value & 0xff00'0000; return;
    case TIMER_INITIAL:
      if ((state_.lvt[kTimer] & kTimerModeMask) == kTimerTscDeadline) return;
      state_.initial_count = value;
      state_.is_counting = value != 0;
      state_.count_start_ns = clock().now().count();
      return restart_timer_locked();
    case TIMER_DIVIDE: {
      // The count goes on from where it stands, at the new rate.
      const u32 left = current_count_locked();
      if (left == 0) {  // has run out; its interrupt may still be on its way
        state_.divide = value & 0xb;
        state_.count_start_ns = clock().now().count() - i64(state_.initial_count * divisor());
        return;
      }
      const u64 done = state_.initial_count - left;
      state_.divide = value & 0xb;
      state_.count_start_ns = clock().now().count() - i64(done * divisor());
      return restart_timer_locked();
    }
    default:
      state_.esr |= kEsrRegisterIllegal;
      log::guest_error("apic {}: write of {:#x} to register {:#x}, which cannot be written", id_, value, reg);
  }
}

LocalApic::Deferred LocalApic::send_ipi_locked(u32 low, u32 destination) const {
  Deferred after;
  ApicMessage message;
  message.vector = u8(low);
  message.mode = DeliveryMode(low >> 8 & 7);
  message.logical = low & bit(11);
  message.asserted = low & bit(14);
  message.level_triggered = low & bit(15);
  message.destination = destination;
  if (message.mode == DeliveryMode::Init && !message.asserted && message.level_triggered) return after;  // de-assert
  message.asserted = true;
  const bool is_interrupt = message.mode == DeliveryMode::Fixed || message.mode == DeliveryMode::LowestPriority;
  if (is_interrupt) message.level_triggered = false;
  after.message = message;
  after.self = (low >> 18 & 3) == 1 || (low >> 18 & 3) == 2;
  after.others = (low >> 18 & 3) == 2 || (low >> 18 & 3) == 3;
  return after;
}

void LocalApic::act(const Deferred& after) {
  if (after.eoi) bus_->end_of_interrupt(*after.eoi);
  if (!after.message) return;
  if (!after.self && !after.others) return bus_->deliver(*after.message);
  for (LocalApic* apic : bus_->apics()) {
    if (apic == this ? after.self : after.others) apic->receive(*after.message);
  }
}

u64 LocalApic::mmio_read(u64 offset, unsigned) {
  std::lock_guard guard(mutex_);
  // §"Accessing APIC registers": 32-bit accesses at multiples of 16; other bytes of a slot are undefined, here zero.
  return offset & 0xf ? 0 : read_locked(u32(offset));
}

void LocalApic::mmio_write(u64 offset, u64 value, unsigned) {
  if (offset & 0xf) return;
  Deferred after;
  {
    std::lock_guard guard(mutex_);
    write_locked(u32(offset), u32(value), after);
    update_cpu_locked();
  }
  act(after);
}

bool LocalApic::read_register(u32 index, u64& value) {
  std::lock_guard guard(mutex_);
  if (index == kMsrBase) {
    value = state_.base;
    return true;
  }
  if (index == kMsrTscDeadline) {
    value = (state_.lvt[kTimer] & kTimerModeMask) == kTimerTscDeadline ? state_.tsc_deadline : 0;
    return true;
  }
  if (index < kMsrX2apicFirst || index > kMsrX2apicLast || !is_x2apic()) return false;
  const u32 reg = (index - kMsrX2apicFirst) << 4;
  if (reg == ICR_LOW) {
    value = u64(state_.icr_high) << 32 | state_.icr_low;
    return true;
  }
  if (reg == EOI || reg == ICR_HIGH || reg == DFR || reg == APR || reg == RRD || reg == SELF_IPI) return false;
  const u32 errors = state_.esr;
  value = read_locked(reg);
  const bool exists = state_.esr == errors;
  state_.esr = errors;  // a missing MSR is #GP, not an APIC error
  return exists;
}

bool LocalApic::write_register(u32 index, u64 value) {
  if (index == kMsrBase) return write_base(value);
  Deferred after;
  {
    std::lock_guard guard(mutex_);
    if (index == kMsrTscDeadline) {
      if ((state_.lvt[kTimer] & kTimerModeMask) != kTimerTscDeadline) return true;
      state_.tsc_deadline = value;
      restart_timer_locked();
      return true;
    }
    if (index < kMsrX2apicFirst || index > kMsrX2apicLast || !is_x2apic()) return false;
    const u32 reg = (index - kMsrX2apicFirst) << 4;
    if (reg == ICR_LOW) {
      state_.icr_high = u32(value >> 32);
      write_locked(ICR_LOW, u32(value), after);
    } else if (reg == SELF_IPI) {
      if (value >> 8) return false;
      accept_locked(u8(value), false);
    } else {
      if (value >> 32) return false;
      const bool writable = reg == TPR || reg == EOI || reg == SVR || reg == ESR || reg == TIMER_INITIAL ||
                            reg == TIMER_DIVIDE || lvt_index(reg) >= 0;
      if (!writable || ((reg == EOI || reg == ESR) && value != 0)) return false;
      if ((reg == TPR && value >> 8 != 0) || (reg == SVR && value >> 13 != 0)) return false;
      write_locked(reg, u32(value), after);
    }
    update_cpu_locked();
  }
  act(after);
  return true;
}

/// IA32_APIC_BASE, §"Local APIC Status and Location" and "x2APIC State Transitions".
bool LocalApic::write_base(u64 value) {
  u64 old;
  {
    std::lock_guard guard(mutex_);
    old = state_.base;
    if (value & ~(kBaseMask | kBaseBsp | kBaseX2apic | kBaseEnable)) return false;
    const bool was_x2 = old & kBaseX2apic, now_x2 = value & kBaseX2apic;
    const bool was_on = old & kBaseEnable, now_on = value & kBaseEnable;
    if (now_x2 && !now_on) return false;
    if (was_x2 && now_on && !now_x2) return false;
    if (!was_on && now_x2) return false;
    state_.base = (value & ~kBaseBsp) | (old & kBaseBsp);
    if (!now_on) {
      state_.svr &= ~kSvrEnable;
      for (u32& lvt : state_.lvt) lvt |= kLvtMasked;
    }
    update_cpu_locked();
  }
  if ((old ^ value) & (kBaseMask | kBaseEnable | kBaseX2apic)) {
    const mem::MachineLockScope machine_lock(memory().lock());
    show_registers(value);
  }
  return true;
}

std::string LocalApic::dump() const {
  std::lock_guard guard(mutex_);
  std::string text = fmt::format("dumping local APIC state for CPU with id {}\n\n", id_);
  constexpr std::array<const char*, kLvtCount> kNames = {"LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1", "LVTERR"};
  for (unsigned i = 0; i < kLvtCount; i++) {
    text += fmt::format("{:8} 0x{:08x}{}\n", kNames[i], state_.lvt[i], state_.lvt[i] & kLvtMasked ? " masked" : "");
  }
  text += fmt::format("Timer    DCR=0x{:x} initial_count = {}\n", state_.divide, state_.initial_count);
  text += fmt::format("SPIV     0x{:08x} APIC {}\n", state_.svr, state_.svr & kSvrEnable ? "enabled" : "disabled");
  text += fmt::format("ICR      0x{:08x} 0x{:08x}\nESR      0x{:08x}\n", state_.icr_low, state_.icr_high, state_.esr);
  const auto list = [&](const char* name, const Vectors& set) {
    text += name;
    bool any = false;
    for (unsigned v = 0; v < 256; v++) {
      if (has_vector(set, u8(v))) text += fmt::format(" {}", v), any = true;
    }
    text += any ? "\n" : " (none)\n";
  };
  list("ISR     ", state_.isr);
  list("IRR     ", state_.irr);
  text += fmt::format("TPR      0x{:02x} PPR 0x{:02x} base 0x{:x}\n", state_.tpr, processor_priority_locked(),
                      state_.base);
  return text;
}

void register_local_apic(TypeRegistry& registry) { registry.add<LocalApic>("apic"); }

}  // namespace emu::hw
