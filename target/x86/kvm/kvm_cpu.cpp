// SPDX-License-Identifier: Apache-2.0
#include "target/x86/kvm/kvm_cpu.h"

#include <algorithm>
#include <cstring>

#include "target/x86/eflags.h"
#include "util/log.h"

namespace emu::x86 {

using accel::KernelChips;
using target::Halt;

namespace {

constexpr u32 kMsrApicBase = 0x1b, kMsrTsc = 0x10;
// What firmware and a hypervisor write: whether VMX may be used, and where SVM keeps the host.
constexpr u32 kMsrFeatureControl = 0x3a, kMsrHostSave = 0xc0010117;
constexpr u64 kApicBaseBsp = bit64(8), kApicBaseEnable = bit64(11), kApicBaseDefault = 0xfee00000;

class MsrList {
 public:
  void add(u32 index, u64 value = 0) {
    EMU_CHECK(count() < kMost);
    list_.set(list_.header().nmsrs++, {.index = index, .reserved = 0, .data = value});
  }
  u32 count() { return list_.header().nmsrs; }
  kvm_msr_entry get(size_t i) const { return list_.get(i); }
  accel::KvmMsrsHeader* data() { return list_.data(); }

 private:
  static constexpr size_t kMost = 96;
  accel::KvmList<accel::KvmMsrsHeader, kvm_msr_entry> list_{kMost};
};

}  // namespace

// --- Once ---

Result<void> KvmX86Cpu::set_up() {
  std::vector<kvm_cpuid_entry2> list = guest_cpuid(cpu_, features_.kvm_features);
  accel::KvmList<accel::KvmCpuidHeader, kvm_cpuid_entry2> request(list.size());
  request.header().nent = u32(list.size());
  for (size_t i = 0; i < list.size(); ++i) request.set(i, list[i]);
  EMU_TRY(fd_.require("KVM_SET_CPUID2", accel::kSetCpuid2, request.data()));
  if (features_.msrs.empty()) find_msrs();
  return set_tsc_rate();
}

/// api.rst 4.55 and 4.56. Processors without scaling have one rate; half a thousandth is what clocks are off by.
Result<void> KvmX86Cpu::set_tsc_rate() {
  const u32 wanted = cpu_.config().model.tsc_khz;
  if (wanted == 0) return {};
  const int now = features_.tsc_rate ? fd_.call(KVM_GET_TSC_KHZ) : 0;
  const u64 off = now <= 0 ? ~u64(0) : u64(std::max(i64(now) - wanted, wanted - i64(now)));
  if (off <= wanted / 2000) return {};
  if (features_.tsc_scaling) {
    EMU_TRY(fd_.require("KVM_SET_TSC_KHZ", KVM_SET_TSC_KHZ, u64(wanted)));
    return {};
  }
  const std::string is = now > 0 ? fmt::format("{} kHz", now) : "not known";
  return error(
      Error(fmt::format("tsc-frequency={} kHz: this host's processor cannot have its time stamp counter count at "
                        "another rate than its own, which is {}",
                        wanted, is))
          .with_hint("leave tsc-frequency out"));
}

/// Which of them there are is found by reading each.
void KvmX86Cpu::find_msrs() {
  std::vector<u32> candidates = {0x174, 0x175, 0x176, 0x277, 0x1a0, 0x2ff, 0x3b, 0x48, 0xda0, 0xc0000081, 0xc0000082,
                                 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103, 0x250, 0x258, 0x259};
  for (u32 i = 0x268; i <= 0x26f; ++i) candidates.push_back(i);
  for (u32 i = 0x200; i < 0x210; ++i) candidates.push_back(i);
  const auto is_there = [this](u32 index) {
    MsrList list;
    list.add(index);
    return fd_.call(accel::kGetMsrs, list.data()) == 1;
  };
  for (u32 index : candidates) {
    if (state_.msr(index) != nullptr && is_there(index)) features_.msrs.push_back(index);
  }
  std::vector<u32> kernels = {0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04};
  if (cpu_.has(Cpuid::Vmx)) kernels.push_back(kMsrFeatureControl);
  if (cpu_.has(Cpuid::Svm)) kernels.push_back(kMsrHostSave);
  for (u32 index : kernels) {
    if (is_there(index)) features_.kernels_msrs.push_back(index);
  }
}

// --- To the kernel ---

Result<void> KvmX86Cpu::put_state() {
  const bool fresh = std::exchange(resets_seen_, state_.resets()) != state_.resets();
  if (fresh) {
    sregs_ = {};
    events_ = {};
    sregs_.apic_base = kApicBaseDefault | kApicBaseEnable | (cpu_.index() == 0 ? kApicBaseBsp : 0);
  }
  kvm_regs regs = state_.regs();
  state_.fill(sregs_);
  std::memset(sregs_.interrupt_bitmap, 0, sizeof sregs_.interrupt_bitmap);  // in events_
  if (!has_kernel_apic() && state_.port() != nullptr) {
    u64 base = 0;
    if (state_.port()->read_register(kMsrApicBase, base)) sregs_.apic_base = base;
    sregs_.cr8 = state_.port()->task_priority();
  }
  if (fresh) EMU_TRY(nested_.reset(fd_));
  EMU_TRY(put_vectors());
  EMU_TRY(fd_.require("KVM_SET_SREGS", KVM_SET_SREGS, &sregs_));
  EMU_TRY(fd_.require("KVM_SET_REGS", KVM_SET_REGS, &regs));
  EMU_TRY(nested_.put(fd_));
  EMU_TRY(put_msrs(fresh));
  if (features_.debug_registers) {
    kvm_debugregs debug = state_.debug_registers();
    EMU_TRY(fd_.require("KVM_SET_DEBUGREGS", KVM_SET_DEBUGREGS, &debug));
  }
  if (has_kernel_apic() && fresh) EMU_TRY(put_apic());
  EMU_TRY(put_events());
  run_.apic_base = apic_base_ = sregs_.apic_base;
  run_.cr8 = task_priority_ = u8(sregs_.cr8);
  run_.ready_for_interrupt_injection = 0;  // of what was there before
  run_.request_interrupt_window = 0;
  run_.if_flag = (regs.rflags & kIF) != 0;
  return {};
}

Result<void> KvmX86Cpu::put_vectors() {
  if (!features_.xsave) {
    kvm_fpu fpu = state_.fpu();
    EMU_TRY(fd_.require("KVM_SET_FPU", KVM_SET_FPU, &fpu));
    return {};
  }
  if (features_.xcrs && cpu_.has(Cpuid::Xsave)) {
    kvm_xcrs xcrs{};
    xcrs.nr_xcrs = 1;
    xcrs.xcrs[0].value = state_.s.xcr0;
    EMU_TRY(fd_.require("KVM_SET_XCRS", KVM_SET_XCRS, &xcrs));
  }
  XsaveArea area;
  state_.fill(area);
  EMU_TRY(fd_.require("KVM_SET_XSAVE", accel::kSetXsave, area.data()));
  return {};
}

Result<void> KvmX86Cpu::put_msrs(bool fresh) {
  MsrList list;
  for (u32 index : features_.msrs) list.add(index, *state_.msr(index));
  if (fresh) {
    for (u32 index : features_.kernels_msrs) list.add(index);
    list.add(kMsrTsc);
  }
  const int done = EMU_TRY(fd_.require("KVM_SET_MSRS", accel::kSetMsrs, list.data()));
  if (u32(done) < list.count()) {
    const kvm_msr_entry refused = list.get(size_t(done));
    return error("KVM refuses {:#x} as the value of MSR {:#x}", u64(refused.data), refused.index);
  }
  return {};
}

Result<void> KvmX86Cpu::put_events() {
  kvm_vcpu_events events = events_;
  events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
  events.nmi.masked = u8(state_.s.nmi_blocked != 0);
  events.interrupt.shadow = state_.s.inhibit_interrupts == kShadow          ? u8(KVM_X86_SHADOW_INT_STI)
                            : state_.s.inhibit_interrupts == kShadowOfStack ? u8(KVM_X86_SHADOW_INT_MOV_SS)
                                                                            : u8(0);
  EMU_TRY(fd_.require("KVM_SET_VCPU_EVENTS", KVM_SET_VCPU_EVENTS, &events));
  return {};
}

/// The kernel's local APIC after reset, SDM vol. 3, "Local APIC State After Power-Up or Reset".
Result<void> KvmX86Cpu::put_apic() {
  kvm_lapic_state apic{};
  const auto set = [&apic](unsigned offset, u32 value) { std::memcpy(apic.regs + offset, &value, 4); };
  set(0x20, cpu_.config().apic_id << 24);
  set(0x30, 0x50014);
  set(0xe0, ~0u);
  set(0xf0, 0xff);
  for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10) set(lvt, 0x10000);
  if (machine_.virtual_wire && cpu_.index() == 0) {
    set(0xf0, 0x10f);
    set(0x350, 0x8700);
    set(0x360, 0x8400);
  }
  EMU_TRY(fd_.require("KVM_SET_LAPIC", KVM_SET_LAPIC, &apic));
  kvm_mp_state mp{};
  mp.mp_state = cpu_.index() == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
  EMU_TRY(fd_.require("KVM_SET_MP_STATE", KVM_SET_MP_STATE, &mp));
  return {};
}

// --- And back ---

Result<void> KvmX86Cpu::get_state() {
  kvm_regs regs{};
  EMU_TRY(fd_.require("KVM_GET_REGS", KVM_GET_REGS, &regs));
  EMU_TRY(fd_.require("KVM_GET_SREGS", KVM_GET_SREGS, &sregs_));
  if (features_.xsave) {
    if (features_.xcrs && cpu_.has(Cpuid::Xsave)) {
      kvm_xcrs xcrs{};
      EMU_TRY(fd_.require("KVM_GET_XCRS", KVM_GET_XCRS, &xcrs));
      if (xcrs.nr_xcrs != 0) state_.s.xcr0 = xcrs.xcrs[0].value;
    }
    XsaveArea area{};
    EMU_TRY(fd_.require("KVM_GET_XSAVE", accel::kGetXsave, area.data()));
    state_.load(area);
  } else {
    kvm_fpu fpu{};
    EMU_TRY(fd_.require("KVM_GET_FPU", KVM_GET_FPU, &fpu));
    state_.load(fpu);
  }
  state_.load(regs, sregs_);
  EMU_TRY(get_msrs());
  if (features_.debug_registers) {
    kvm_debugregs debug{};
    EMU_TRY(fd_.require("KVM_GET_DEBUGREGS", KVM_GET_DEBUGREGS, &debug));
    state_.load(debug);
  }
  EMU_TRY(fd_.require("KVM_GET_VCPU_EVENTS", KVM_GET_VCPU_EVENTS, &events_));
  state_.s.nmi_blocked = events_.nmi.masked;
  state_.s.inhibit_interrupts = events_.interrupt.shadow == 0                               ? kNoShadow
                                : events_.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? kShadowOfStack
                                                                                            : kShadow;
  EMU_TRY(nested_.fetch(fd_));
  if (has_kernel_apic()) {
    kvm_mp_state mp{};
    EMU_TRY(fd_.require("KVM_GET_MP_STATE", KVM_GET_MP_STATE, &mp));
    state_.halt() = mp.mp_state == KVM_MP_STATE_HALTED     ? Halt::Halted
                    : mp.mp_state == KVM_MP_STATE_RUNNABLE ? Halt::Running
                                                           : Halt::WaitForStartup;
  }
  return {};
}

Result<void> KvmX86Cpu::get_msrs() {
  MsrList list;
  for (u32 index : features_.msrs) list.add(index);
  const int done = EMU_TRY(fd_.require("KVM_GET_MSRS", accel::kGetMsrs, list.data()));
  for (int i = 0; i < done; ++i) {
    const kvm_msr_entry entry = list.get(size_t(i));
    if (u64* place = state_.msr(entry.index)) *place = entry.data;
  }
  return {};
}

// --- Events ---

/// A guest with the paravirtual clock does not take the stop for a lockup.
void KvmX86Cpu::time_was_lost() {
  if (features_.clock_control) fd_.call(KVM_KVMCLOCK_CTRL);  // refused where the guest does not use the clock
}

/// Our own LAPICs send these; the kernel's keep them to themselves. False: the kernel refused.
bool KvmX86Cpu::take_init_and_startup(u32 signals) {
  if ((signals & KvmStateAccess::kInit) && state_.take(KvmStateAccess::kInit) &&
      state_.halt() != Halt::WaitForStartup) {
    if (!get_state()) return false;
    if (!nested_.reset(fd_)) return false;  // a processor in VMX operation would wait with the INIT until it leaves
    state_.take_init();
    events_ = {};
    if (!put_state()) return false;
  }
  if ((signals & KvmStateAccess::kStartup) && state_.take(KvmStateAccess::kStartup) &&
      state_.halt() == Halt::WaitForStartup) {
    state_.take_startup();
    if (!put_state()) return false;
  }
  return true;
}

bool KvmX86Cpu::deliver_interrupt() {
  const bool wanted = state_.signals() & KvmStateAccess::kInterrupt;
  if (wanted && run_.ready_for_interrupt_injection && state_.port() != nullptr) {
    if (const std::optional<u8> vector = state_.port()->acknowledge()) {
      kvm_interrupt interrupt{};
      interrupt.irq = *vector;
      if (fd_.call(KVM_INTERRUPT, &interrupt) < 0) return false;
      run_.ready_for_interrupt_injection = 0;
    }
  }
  run_.request_interrupt_window = (state_.signals() & KvmStateAccess::kInterrupt) != 0;
  return true;
}

KvmX86Cpu::Ready KvmX86Cpu::before_run() {
  if (const u32 signals = state_.signals(); signals != 0) {
    // The host's processor has no A20 gate; its firmware finds it open.
    if (signals & KvmStateAccess::kForTranslation) state_.take(KvmStateAccess::kForTranslation);
    if ((signals & KvmStateAccess::kSmi) && state_.take(KvmStateAccess::kSmi)) {
      log::unimplemented("SMI: system-management mode is not there, the SMI is dropped");
    }
    if (!take_init_and_startup(signals)) return Ready::Failed;
    const bool takes_nmi = has_kernel_apic() || state_.halt() == Halt::Running || state_.halt() == Halt::Halted;
    if ((signals & KvmStateAccess::kNmi) && takes_nmi && state_.take(KvmStateAccess::kNmi)) {
      if (fd_.call(KVM_NMI) < 0) return Ready::Failed;
      if (!has_kernel_apic()) state_.halt() = Halt::Running;
    }
  }
  if (state_.halt() == Halt::Shutdown) return Ready::Shutdown;
  if (!has_kernel_apic()) {
    if (state_.halt() == Halt::Halted && wakeup_pending()) state_.halt() = Halt::Running;
    if (state_.halt() != Halt::Running) return Ready::Sleep;
  }
  if (chips_ != KernelChips::On && !deliver_interrupt()) return Ready::Failed;
  if (!has_kernel_apic() && state_.port() != nullptr) {
    run_.cr8 = task_priority_ = state_.port()->task_priority();
    u64 base = apic_base_;
    if (state_.port()->read_register(kMsrApicBase, base)) run_.apic_base = apic_base_ = base;
  }
  return Ready::Run;
}

void KvmX86Cpu::after_run() {
  if (has_kernel_apic() || state_.port() == nullptr) return;
  if (run_.cr8 != task_priority_) {
    task_priority_ = u8(run_.cr8 & 15);
    state_.port()->set_task_priority(task_priority_);
  }
  if (run_.apic_base != apic_base_) {
    apic_base_ = run_.apic_base;
    if (!state_.port()->write_register(kMsrApicBase, apic_base_)) {
      log::guest_error("CPU {}: APIC base {:#x} is refused", cpu_.index(), apic_base_);
    }
  }
}

/// Asleep it is only with our own LAPIC.
bool KvmX86Cpu::wakeup_pending() const {
  const u32 signals = state_.signals();
  if (signals & (KvmStateAccess::kInit | KvmStateAccess::kForTranslation)) return true;
  switch (cpu_.halt_state()) {
    case Halt::Running:
      return true;
    case Halt::WaitForStartup:
      return signals & KvmStateAccess::kStartup;
    case Halt::Shutdown:
      return false;
    case Halt::Halted:
      break;
  }
  if (signals & (KvmStateAccess::kNmi | KvmStateAccess::kSmi)) return true;
  return (signals & KvmStateAccess::kInterrupt) && run_.if_flag;
}

std::string KvmX86Cpu::shutdown_reason() {
  state_.halt() = Halt::Shutdown;
  state_.shutdown_reason() = fmt::format("Triple fault: {}\n{}", cpu_.summary(), cpu_.dump_registers());
  return state_.shutdown_reason();
}

bool KvmX86Cpu::handle_exit() {
  switch (run_.exit_reason) {
    case KVM_EXIT_SET_TPR:
      return true;  // after_run() has seen it
    case KVM_EXIT_IOAPIC_EOI:
      if (machine_.end_of_interrupt) machine_.end_of_interrupt(run_.eoi.vector);
      return true;
    default:
      return false;
  }
}

// --- Debugger ---

std::span<const u8> KvmX86Cpu::breakpoint_instruction() const {
  static constexpr u8 kInt3[] = {0xcc};
  return kInt3;
}

Result<void> KvmX86Cpu::set_debugging(const Debugging& wanted) {
  kvm_guest_debug debug{};
  if (wanted.step) debug.control |= KVM_GUESTDBG_SINGLESTEP;
  if (wanted.step && wanted.block_events && features_.block_events) debug.control |= KVM_GUESTDBG_BLOCKIRQ;
  if (wanted.breakpoints) debug.control |= KVM_GUESTDBG_USE_SW_BP;
  if (!wanted.watchpoints.empty()) {
    debug.control |= KVM_GUESTDBG_USE_HW_BP;
    debug.arch.debugreg[7] = 0x600;  // exact, and the bit that is always set
    for (size_t i = 0; i < wanted.watchpoints.size() && i < 4; ++i) {
      const accel::Watchpoint& point = wanted.watchpoints[i];
      const u64 kind = point.kind == accel::WatchKind::Write ? 1 : 3;
      const u64 length = point.bytes == 8 ? 2 : point.bytes - 1;
      debug.arch.debugreg[i] = point.address;
      debug.arch.debugreg[7] |= u64(2) << (2 * i) | (kind | length << 2) << (16 + 4 * i);
    }
  }
  if (debug.control != 0) debug.control |= KVM_GUESTDBG_ENABLE;
  if (debug.control == 0 && debug_.control == 0) return {};
  debug_ = debug;
  if (!features_.guest_debug) return error("this host's KVM cannot debug guests");
  EMU_TRY(fd_.require("KVM_SET_GUEST_DEBUG", KVM_SET_GUEST_DEBUG, &debug));
  return {};
}

std::optional<accel::DebugStop> KvmX86Cpu::debug_stop(const accel::DebugPoints& points, bool stepping) {
  using accel::DebugStop;
  const auto& debug = run_.debug.arch;
  u32 injected = 0;
  if (debug.exception == kBP) {
    if (std::find(points.breakpoints.begin(), points.breakpoints.end(), debug.pc) != points.breakpoints.end()) {
      return DebugStop{.why = DebugStop::Why::Breakpoint, .address = debug.pc};
    }
    injected = KVM_GUESTDBG_INJECT_BP;
  } else {
    for (size_t i = 0; i < points.watchpoints.size() && i < 4; ++i) {
      if (!(debug.dr6 >> i & 1)) continue;
      return DebugStop{.why = DebugStop::Why::Watchpoint,
                       .address = points.watchpoints[i].address,
                       .kind = points.watchpoints[i].kind};
    }
    if (stepping) return DebugStop{.why = DebugStop::Why::Step};
    injected = KVM_GUESTDBG_INJECT_DB;
  }
  kvm_guest_debug hand_on = debug_;
  hand_on.control |= KVM_GUESTDBG_ENABLE | injected;
  fd_.call(KVM_SET_GUEST_DEBUG, &hand_on);
  return std::nullopt;
}

}  // namespace emu::x86
