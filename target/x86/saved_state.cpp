// SPDX-License-Identifier: Apache-2.0
// What a vCPU saves: all that the guest can see of it and all that waits to happen to it. Left out is what follows from
// the rest: the bounds of segments for inline checks, the mode, and whatever caches walks and translations.
#include "qom/archive.h"
#include "target/x86/cpu.h"

namespace emu::x86 {

namespace {

constexpr u32 kVersion = 1;

}  // namespace

/// The lists of fields, apart from what they are of: that knows nothing of archives.
struct SavedState {
  X86Cpu& cpu;

  struct SegmentFields {
    Segment& s;
    u64& base;
    SegmentRange* range;
    void fields(qom::Archive& ar) {
      ar("selector", s.selector)("base", base)("limit", s.limit)("attributes", s.attributes);
      if (range == nullptr) return;
      ar("read_low", range->read_low)("read_high", range->read_high);
      ar("write_low", range->write_low)("write_high", range->write_high);
    }
  };
  struct TableFields {
    DescriptorTable& t;
    void fields(qom::Archive& ar) { ar("base", t.base)("limit", t.limit); }
  };
  struct PointerFields {
    FpuPointers& p;
    void fields(qom::Archive& ar) { ar("ip", p.ip)("dp", p.dp)("cs", p.cs)("ds", p.ds)("opcode", p.opcode); }
  };
  struct PendingFields {
    X86Cpu::Pending& p;
    void fields(qom::Archive& ar) {
      ar("valid", p.valid)("vector", p.vector)("has_error", p.has_error)("error", p.error)("address", p.address);
      ar("is_canonical", p.is_canonical)("is_in_segment", p.is_in_segment);
    }
  };
  struct MonitorFields {
    X86Cpu::Monitor& m;
    void fields(qom::Archive& ar) {
      ar("armed", m.armed)("waiting", m.waiting)("wakes_masked", m.wakes_masked)("line", m.line);
      ar("slept_ns", m.slept_ns)("contents", m.contents);
    }
  };
  struct MsrFields {
    X86Cpu::Msrs& m;
    void fields(qom::Archive& ar) {
      ar("tsc_adjust", m.tsc_adjust)("misc_enable", m.misc_enable)("spec_ctrl", m.spec_ctrl);
      ar("mcg_status", m.mcg_status)("mcg_ctl", m.mcg_ctl)("feature_control", m.feature_control);
      ar("debugctl", m.debugctl)("mtrr_default", m.mtrr_default)("xss", m.xss)("bios_signature", m.bios_signature);
      ar("smi_base", m.smi_base)("syscfg", m.syscfg)("hwcr", m.hwcr);
      ar("mtrr_variable", m.mtrr_variable)("mtrr_fixed", m.mtrr_fixed)("mc_banks", m.mc_banks);
    }
  };

  void fields(qom::Archive& ar) {
    general(ar);
    segments(ar);
    system(ar);
    vectors(ar);
    events(ar);
  }

  void general(qom::Archive& ar) {
    X86State& s = *cpu.s_;
    ar("pc", s.hdr.pc)("gpr_low", s.gpr_low)("gpr_high", s.hdr.hot);
    ar("cc_a", s.hdr.cc_a)("cc_b", s.hdr.cc_b)("cc_op", s.hdr.cc_op);
    ar("df", s.df)("rflags_system", s.rflags_system);
  }
  void segments(qom::Archive& ar) {
    X86State& s = *cpu.s_;
    constexpr const char* kNames[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    for (unsigned i = 0; i < 8; ++i) {
      SegmentFields segment{s.seg[i], s.segment_base(i), i < 6 ? &s.seg_range[i] : nullptr};
      ar(kNames[i], segment);
    }
    TableFields gdt{s.gdt}, idt{s.idt};
    ar("gdt", gdt)("idt", idt);
  }
  void system(qom::Archive& ar) {
    X86State& s = *cpu.s_;
    ar("cr0", s.cr0)("cr2", s.cr2)("cr3", s.cr3)("cr4", s.cr4)("efer", s.efer)("xcr0", s.xcr0)("dr", s.dr);
    ar("star", s.star)("lstar", s.lstar)("cstar", s.cstar)("sfmask", s.sfmask);
    ar("kernel_gs_base", s.kernel_gs_base)("tsc_aux", s.tsc_aux)("tsc_offset", s.tsc_offset)("pat", s.pat);
    ar("sysenter_cs", s.sysenter_cs)("sysenter_esp", s.sysenter_esp)("sysenter_eip", s.sysenter_eip);
    ar("pkru", s.pkru)("pdptes", cpu.pdptes_);
    MsrFields msrs{cpu.msr_};
    ar("msrs", msrs);
  }
  void vectors(qom::Archive& ar) {
    X86State& s = *cpu.s_;
    for (unsigned i = 0; i < 32; ++i) ar(fmt::format("zmm{}", i), s.vec[i].bytes);
    ar("opmask", s.opmask)("avx512_live", s.avx512_live);
    ar("mxcsr", s.mxcsr)("fp_control", s.hdr.fp_control);
    ar("fpu_control", s.hdr.fpu_control)("fpu_image", s.hdr.fpu_image);
    ar("fpu_ip", s.fpu_ip)("fpu_dp", s.fpu_dp)("fpu_opcode", s.fpu_opcode)("fpu_data_segment", s.fpu_data_segment);
    PointerFields last{s.fpu_pointers}, trapped{s.fpu_trapped};
    ar("fpu_pointers", last)("fpu_trapped", trapped)("asserts_ferr", cpu.asserts_ferr_);
  }
  void events(qom::Archive& ar) {
    X86State& s = *cpu.s_;
    ar("halt", cpu.halt_)("signals", s.signals)("startup_vector", cpu.startup_vector_);
    ar("inhibit_interrupts", s.inhibit_interrupts)("nmi_blocked", s.nmi_blocked);
    ar("a20_wanted", cpu.a20_wanted_)("a20_mask", cpu.a20_mask_)("task_jump", cpu.task_jump_);
    ar("guest_debug", s.hdr.guest_debug)("debug_pending", cpu.debug_pending_)("stepped_from", cpu.stepped_from_);
    ar("external", cpu.external_);
    PendingFields pending{cpu.pending_};
    MonitorFields monitor{cpu.monitor_};
    ar("pending", pending)("monitor", monitor);
  }

  Result<void> check() const {
    const X86State& s = *cpu.s_;
    if (cpu.halt_ > target::Halt::Shutdown) return error("halt is {}", i64(cpu.halt_));
    if (tcg::cc_kind(s.hdr.cc_op) > tcg::CcKind::Joined) return error("cc_op is {}", s.hdr.cc_op);
    if (s.df != 1 && s.df != -1) return error("df is {}, not 1 or -1", s.df);
    if (s.fpu_data_segment > kFpuNoData) return error("fpu_data_segment is {}", s.fpu_data_segment);
    if (cpu.stepped_from_ > X86Cpu::SteppedFrom::Trapping) return error("stepped_from is {}", i64(cpu.stepped_from_));
    if ((s.mxcsr | s.hdr.fp_control) & ~0xffffu) return error("mxcsr has reserved bits, {:#x}", s.mxcsr);
    return {};
  }
};

qom::FieldTree X86Cpu::save_state() {
  qom::FieldTree out;
  SavedState saved{*this};
  qom::Archive ar = qom::Archive::saver(out, kVersion);
  saved.fields(ar);
  return out;
}

Result<void> X86Cpu::load_state(const qom::FieldTree& state) {
  SavedState saved{*this};
  qom::Archive ar = qom::Archive::loader(state, kVersion);
  saved.fields(ar);
  EMU_TRY(ar.finish());
  EMU_TRY(saved.check());
  // What follows from it.
  ++resets_;
  s_->hdr.leave = tcg::kLeaveNot;
  s_->hdr.fpu_live = 0;
  is_stepped_ = false;
  walk_cache_.fill({});
  keys_in_tlb_ = 0;
  fault_chain_.clear();
  shutdown_reason_.clear();
  update_mode();
  if (services_) {
    services_->switch_context(context_id(), false);
    services_->flush_all();
    if (s_->signals.load() != 0) services_->kick(tcg::kExitInterrupt);
  }
  return {};
}

u64 X86Cpu::fingerprint() const {
  u64 hash = 0xcbf29ce484222325;  // FNV-1a, a word at a time
  const auto take = [&hash](u64 value) { hash = (hash ^ value ^ value >> 32) * 0x100000001b3; };
  take(s_->hdr.pc);
  for (unsigned i = 0; i < 16; ++i) take(s_->gpr(i));
  return hash;
}

}  // namespace emu::x86
