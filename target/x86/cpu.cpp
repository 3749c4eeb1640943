// SPDX-License-Identifier: Apache-2.0
#include "target/x86/cpu.h"

#include <new>

#include "target/x86/decode.h"
#include "target/x86/eflags.h"
#include "util/log.h"

namespace emu::x86 {

using target::Halt;

X86Cpu::X86Cpu(const CpuConfig& config, target::Translator& translator)
    : config_(config), translator_(translator), storage_(sizeof(Block)) {
  Block* block = new (storage_.state()) Block;
  block->cpu = this;
  s_ = &block->state;
  reset_registers();
  halt_ = config_.index == 0 ? Halt::Running : Halt::WaitForStartup;
}

void X86Cpu::attach(target::GuestAccess& memory, target::CpuServices& services) {
  memory_ = &memory;
  services_ = &services;
}

// SDM vol. 3, table 10-1, "Processor states following power-up, reset, or INIT".
void X86Cpu::reset_registers() {
  X86State& s = *s_;
  for (unsigned i = 0; i < 16; ++i) s.gpr(i) = 0;
  s.gpr(RDX) = config_.model.signature();
  write_rflags(s, 0, kAllFlags);
  s.efer = 0;
  s.cr0 = kCr0ET | kCr0NW | kCr0CD;
  s.cr2 = s.cr3 = s.cr4 = 0;
  for (Seg seg : {ES, SS, DS, FS, GS}) set_segment(seg, 0, 0, 0xffff, 0x9300);
  set_segment(CS, 0xf000, 0xffff0000, 0xffff, 0x9300);
  set_segment(LDTR, 0, 0, 0xffff, 0x8200);
  set_segment(TR, 0, 0, 0xffff, 0x8b00);
  s.gdt = s.idt = {0, 0xffff};
  s.hdr.guest_debug = 0;
  debug_pending_ = 0;
  stepped_from_ = SteppedFrom::Unknown;
  monitor_ = {};
  for (u64& d : s.dr) d = 0;
  s.dr[6] = 0xffff0ff0;
  s.dr[7] = 0x400;
  s.inhibit_interrupts = 0;
  s.hdr.pc = 0xfffffff0;
  s.hdr.leave = tcg::kLeaveNot;
  pdptes_ = {};
  walk_cache_.fill({});
  pending_ = {};
  s_->nmi_blocked = 0;
  external_ = 0;
  fault_chain_.clear();
  shutdown_reason_.clear();
  update_mode();
}

void X86Cpu::reset() {
  ++resets_;
  reset_registers();
  if (asserts_ferr_) release_ferr();
  X86State& s = *s_;
  for (VectorSlot& v : s.vec) v = {};
  for (u64& mask : s.opmask) mask = 0;
  s.avx512_live = 0;
  init_fpu();
  s.hdr.fpu_control = 0x40;  // power-up only; INIT and FNINIT differ
  set_mxcsr(0x1f80);
  s.xcr0 = 1;
  s.pkru = 0;
  s.star = s.lstar = s.cstar = s.sfmask = s.kernel_gs_base = s.tsc_aux = 0;
  s.sysenter_cs = s.sysenter_esp = s.sysenter_eip = 0;
  s.pat = 0x0007040600070406;
  s.tsc_offset = 0;
  msr_ = {};
  s_->signals.store(a20_wanted_.load() == (a20_mask_.load() == ~u64(0)) ? 0 : u32(kSignalA20));
  halt_ = config_.index == 0 ? Halt::Running : Halt::WaitForStartup;
  if (services_) {
    services_->switch_context(context_id(), false);
    services_->flush_all();
  }
  if (log::enabled(log::Mask::CpuReset)) log::write("CPU Reset (CPU {})\n{}", config_.index, dump_registers());
}

void X86Cpu::take_init() {
  const u64 cache_bits = s_->cr0 & (kCr0CD | kCr0NW);
  reset_registers();
  s_->cr0 = (s_->cr0 & ~(kCr0CD | kCr0NW)) | cache_bits;  // INIT leaves caches, FPU, vectors, MSRs and the TSC alone
  halt_ = config_.index == 0 ? Halt::Running : Halt::WaitForStartup;
  services_->switch_context(context_id(), false);
  services_->flush_all();
  if (log::enabled(log::Mask::CpuReset)) log::write("CPU INIT (CPU {})\n", config_.index);
}

void X86Cpu::take_startup() {
  const u8 vector = startup_vector_.load();
  set_segment(CS, u16(vector << 8), u64(vector) << 12, 0xffff, 0x9300);
  s_->hdr.pc = u64(vector) << 12;
  halt_ = Halt::Running;
  update_mode();
  log::write_if(log::Mask::CpuReset, "CPU {} starts at {:#x}\n", config_.index, s_->hdr.pc);
}

// --- Mode -----------------------------------------------------------------------------------------------------------

void X86Cpu::update_mode() {
  s_->static_mode = make_static_mode(*s_);
  s_->hdr.wide_vectors = Mode{s_->static_mode}.has(Mode::kAvx);
  if (services_) services_->mode_changed();
}

u32 X86Cpu::mode_key() const { return make_mode_key(*s_, s_->static_mode, s_->rflags_system, s_->inhibit_interrupts); }

u8 X86Cpu::view_for(unsigned cpl) const { return view_of(*s_, cpl, s_->rflags_system); }

u64 X86Cpu::context_id() const {
  if (!is_long_mode()) return s_->cr3 & 0xffffffe0;
  const u64 page = s_->cr3 & 0x000ffffffffff000;
  return s_->cr4 & kCr4PCIDE ? page | (s_->cr3 & 0xfff) : page;
}

void X86Cpu::set_ip(u64 ip) { s_->hdr.pc = is_code64() ? ip : u32(s_->seg_base[CS] + ip); }

u64 X86Cpu::transfer() {
  s_->inhibit_interrupts = 0;
  stepped_from_ = SteppedFrom::Unknown;
  if (s_->hdr.guest_debug != 0) set_guest_debug(0, kDebugAlone);
  update_mode();
  recheck_events();
  s_->hdr.leave = tcg::kLeaveTransferred;
  return 0;
}

// --- Faults and memory ----------------------------------------------------------------------------------------------

bool X86Cpu::raise(Vector vector) {
  pending_ = {.valid = true, .vector = u8(vector)};
  s_->hdr.leave = tcg::kLeaveAtInsn;
  return false;
}

bool X86Cpu::raise(Vector vector, u32 error) {
  pending_ = {.valid = true, .vector = u8(vector), .has_error = true, .error = error | external_};
  s_->hdr.leave = tcg::kLeaveAtInsn;
  return false;
}

bool X86Cpu::require_cpl0() { return s_->cpl() == 0 || raise_gp(); }

/// Alignment checking of what helpers do for user code: elements of strings, stacks.
bool X86Cpu::check_alignment(u64 linear, unsigned bytes, u8 view) {
  if ((linear & (bytes - 1)) == 0 || view != kViewUser || !checks_alignment()) return true;
  raise_alignment_fault(linear, bytes, target::Access::Load);
  s_->hdr.leave = tcg::kLeaveAtInsn;
  return false;
}

bool X86Cpu::read(u64 linear, unsigned bytes, u8 view, u64& value) {
  if (!check_alignment(linear, bytes, view)) return false;
  return memory_->load(wrap_linear(linear), bytes, view, value) == target::AccessStatus::Ok;
}

bool X86Cpu::write(u64 linear, unsigned bytes, u8 view, u64 value) {
  if (!check_alignment(linear, bytes, view)) return false;
  return memory_->store(wrap_linear(linear), bytes, view, value) == target::AccessStatus::Ok;
}

bool X86Cpu::is_canonical(u64 linear) const {
  const unsigned width = s_->cr4 & kCr4LA57 ? 57 : 48;
  return u64(sign_extend(linear, width)) == linear;
}

// --- Signals and events ---------------------------------------------------------------------------------------------

void X86Cpu::signal(Signal which) {
  s_->signals.fetch_or(which);
  if (services_) services_->kick(tcg::kExitInterrupt);
}

void X86Cpu::set_interrupt(bool level) {
  if (level) {
    signal(kSignalInterrupt);
  } else {
    s_->signals.fetch_and(~u32(kSignalInterrupt));
  }
}

void X86Cpu::nmi() { signal(kSignalNmi); }
void X86Cpu::smi() { signal(kSignalSmi); }

void X86Cpu::init() {
  s_->signals.fetch_and(~u32(kSignalStartup));  // a start-up message before INIT is lost
  signal(kSignalInit);
}

void X86Cpu::startup(u8 vector) {
  startup_vector_.store(vector);
  signal(kSignalStartup);
}

void X86Cpu::set_a20(bool enabled) {
  if (a20_wanted_.exchange(enabled) == enabled) return;
  if (services_) {
    signal(kSignalA20);
  } else {
    a20_mask_.store(enabled ? ~u64(0) : ~bit64(20));
  }
}

bool X86Cpu::interrupts_enabled() const { return (s_->rflags_system & kIF) && s_->inhibit_interrupts == 0; }

void X86Cpu::recheck_events() {
  if (s_->signals.load(std::memory_order_relaxed) != 0 && services_ && has_deliverable_event()) {
    services_->kick(tcg::kExitInterrupt);
  }
}

bool X86Cpu::has_deliverable_event() {
  const u32 signals = s_->signals.load();
  if (signals & (kSignalA20 | kSignalInit | kSignalTaskJump)) return true;
  if (halt_ == Halt::WaitForStartup) return signals & kSignalStartup;
  if (halt_ == Halt::Shutdown) return false;
  if (signals & (kSignalSmi | kSignalStartup)) return true;  // taken to be dropped
  if ((signals & kSignalNmi) && !s_->nmi_blocked && s_->inhibit_interrupts == 0) return true;
  return (signals & kSignalInterrupt) && interrupts_enabled();
}

bool X86Cpu::wakeup_pending() const {
  const u32 signals = s_->signals.load();
  if (signals & (kSignalA20 | kSignalInit | kSignalTaskJump)) return true;
  switch (halt_) {
    case Halt::Running:
      return true;
    case Halt::WaitForStartup:
      return signals & kSignalStartup;
    case Halt::Shutdown:
      return false;
    case Halt::Halted:
      break;
  }
  if (signals & (kSignalSmi | kSignalStartup)) return true;
  if ((signals & kSignalNmi) && !s_->nmi_blocked) return true;
  return (signals & kSignalInterrupt) && (s_->rflags_system & kIF);
}

// The order is SDM vol. 3, "Priority among concurrent events".
bool X86Cpu::take_event() {
  const auto take = [this](Signal which) { return (s_->signals.fetch_and(~u32(which)) & which) != 0; };
  bool changed = false;
  if (take(kSignalA20)) {
    a20_mask_.store(a20_wanted_.load() ? ~u64(0) : ~bit64(20));
    services_->flush_all();
    changed = true;
  }
  if (take(kSignalTaskJump)) {
    take_task_jump();
    return true;
  }
  if (take(kSignalInit)) {
    if (halt_ != Halt::WaitForStartup) take_init();
    changed = true;
  }
  if (take(kSignalStartup) && halt_ == Halt::WaitForStartup) {
    take_startup();
    return true;
  }
  if (halt_ == Halt::WaitForStartup || halt_ == Halt::Shutdown) return changed;
  if (take(kSignalSmi)) log::unimplemented("SMI: system-management mode is not there, the SMI is dropped");
  if (s_->inhibit_interrupts != 0) return changed;
  if (!s_->nmi_blocked && take(kSignalNmi)) {
    s_->nmi_blocked = 1;
    halt_ = Halt::Running;
    deliver_with_nesting({.vector = kNMI, .kind = Event::Kind::External, .return_pc = s_->hdr.pc});
    return true;
  }
  if ((s_->signals.load() & kSignalInterrupt) && interrupts_enabled() && port_) {
    const std::optional<u8> vector = port_->acknowledge();
    if (!vector) return changed;
    halt_ = Halt::Running;
    deliver_with_nesting({.vector = *vector, .kind = Event::Kind::External, .return_pc = s_->hdr.pc});
    return true;
  }
  return changed;
}

void X86Cpu::handle_system(u64 reason) {
  if ((reason & kSysStepped) && instruction_stepped()) return recheck_events();
  monitor_.waiting = false;
  const u64 why = reason & ~u64(kSysStepped);
  if (why == kSysPause && services_ != nullptr) services_->yield();
  if (why == kSysHalt || (why == kSysWait && monitor_.armed)) {
    halt_ = Halt::Halted;
    s_->inhibit_interrupts = 0;
    monitor_.waiting = why == kSysWait;
    monitor_.slept_ns = 0;
  }
  recheck_events();
}

void X86Cpu::handle_trap(u64 code) {
  if (code == kTrapX87Unmasks) {
    s_->static_mode |= 1u << Mode::kX87Traps;
    return;
  }
  if (code == kTrapAvx512) return enter_avx512();
  if (code == kTrapCodeLimit) return set_guest_debug(kDebugAlone, 0);
  if (code == kTrapShadow) return;  // the shadow is in the state, and so in the mode that is loaded now
  if (code == kTrapBadTarget) return refuse_target();
  const u8 vector = u8(code);
  instruction_faulted();
  raise_now(vector, code & 0x100, u32(code >> 16 & 0xffff), vector == kDB ? Event::Kind::Trap : Event::Kind::Fault);
}

/// SDM vol. 2, CALL, JMP and RET: #GP before anything is changed.
void X86Cpu::refuse_target() {
  const u64 target = s_->hdr.slow_address;
  if (is_canonical(target)) {
    s_->hdr.pc = target;
    return;
  }
  Insn insn;
  if (decode_at_pc(insn)) s_->gpr(RSP) -= near_branch_stack_change(insn);
  instruction_faulted();
  raise_now(kGP, true, 0, Event::Kind::Fault);
}

u64 X86Cpu::helper_check_target(const u64* args) { return is_canonical(args[0]) || raise_gp(); }

/// An instruction on zmm registers where the mode says that there is nothing above bit 255.
void X86Cpu::enter_avx512() {
  s_->avx512_live = 1;
  update_mode();
}

void X86Cpu::raise_alignment_fault(u64 va, unsigned bytes, target::Access) {
  // Where alignment checking is off, only SSE operands are checked. Theirs comes before the canonical check (so that on
  // the stack, too, it is #GP), #AC behind it and behind the end of 4 GiB in compatibility mode.
  const u64 last = va + bytes - 1;
  const bool is_checked = checks_alignment();
  const bool is_canonical_operand = !is_long_mode() || (is_canonical(va) && is_canonical(last));
  const bool is_in_segment = !is_long_mode() || is_code64() || last >> 32 == 0;
  pending_ = {.valid = true,
              .vector = is_checked && is_canonical_operand && is_in_segment ? kACv : kGP,
              .has_error = true,
              .error = 0,
              .is_canonical = !is_checked || is_canonical_operand,
              .is_in_segment = !is_checked || is_in_segment};
}

/// A non-canonical address is #SS(0) where RSP or RBP is the base. Helpers get linear addresses: settle_pending().
void X86Cpu::stack_access_faulted() {
  if (pending_.valid && pending_.vector == kGP && !pending_.is_canonical && is_code64()) pending_.vector = kSS;
}

// MONITOR keeps what the line holds now; MWAIT sleeps until it holds something else, which is looked for every
// kMwaitPollNs, until an interrupt, or for kMwaitLimitNs: it may end without a reason, and so a store that changes
// nothing is not missed.
u64 X86Cpu::helper_monitor(const u64* args) {
  if (s_->gpr(RCX) & low_mask(32)) return raise_gp();
  u64 ignored = 0;
  if (!read(args[0], 1, current_view(), ignored)) return 0;
  monitor_ = {};
  if (const std::optional<u64> physical = debug_translate(wrap_linear(args[0]))) {
    monitor_.armed = true;
    monitor_.line = wrap_physical(*physical) & ~u64(63);
    monitor_.armed = read_monitored(monitor_.contents);
  }
  return 0;
}

bool X86Cpu::read_monitored(std::array<u64, 8>& contents) {
  for (unsigned i = 0; i < 8; ++i) {
    if (!memory_->load_physical(monitor_.line + 8 * i, 8, contents[i])) return false;
  }
  return true;
}

/// ECX bit 0: interrupts end the wait though IF is clear.
u64 X86Cpu::helper_mwait(const u64*) {
  const u32 extensions = u32(s_->gpr(RCX));
  if (extensions & ~1u) return raise_gp();
  monitor_.wakes_masked = extensions & 1;
  return 0;
}

u64 X86Cpu::idle_poll_ns() const { return halt_ == Halt::Halted && monitor_.waiting ? kMwaitPollNs : 0; }

bool X86Cpu::idle_poll() {
  if (!monitor_.waiting) return false;
  std::array<u64, 8> now{};
  monitor_.slept_ns += kMwaitPollNs;
  const bool interrupted = monitor_.wakes_masked && (s_->signals.load() & kSignalInterrupt);
  if (!interrupted && monitor_.slept_ns < kMwaitLimitNs && read_monitored(now) && now == monitor_.contents)
    return false;
  monitor_ = {};
  halt_ = Halt::Running;
  return true;
}

u64 X86Cpu::helper_rsm(const u64*) {
  raise(kUD);  // outside SMM, where we always are
  return 0;
}

u64 X86Cpu::helper_wbinvd(const u64*) {
  require_cpl0();
  return 0;
}

u64 X86Cpu::read_tsc() const { return (services_ ? services_->ticks() : 0) + s_->tsc_offset; }

u64 X86Cpu::helper_rdtsc(const u64*) { return read_tsc(); }

}  // namespace emu::x86
