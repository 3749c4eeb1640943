// SPDX-License-Identifier: Apache-2.0
// Segments, control registers, MSRs, ports and processor control. What mode and privilege decide statically is decided
// here (they are in the mode key); the rest is in the helpers.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::Cond;

namespace {
enum Table : u16 { kGdt = 0, kIdt = 2 };
}

// ---- Segment registers
// -------------------------------------------------------------------------------------------------

void Emitter::mov_from_segment(const Insn& insn) {
  if ((insn.reg & 7) > GS) return raise(kUD);
  const Value selector = b_.get(field_at(F_SELECTOR, (insn.reg & 7)));
  if (insn.is_memory) {
    store_at(linear(effective(insn), 2, AccessKind::Write), selector);
  } else {
    set_gpr(insn.rm, insn.size, fit(type_of(insn.size), selector));
  }
}

/// The shadow of MOV SS and POP SS (LSS has none), and the mode key's flat bits, end the block; FS and GS are never
/// constants of it.
void Emitter::after_segment_load(const Insn& insn, unsigned segment, bool is_lss) {
  if (segment == SS) {
    b_.set(F_INHIBIT, b_.i64(is_lss ? kNoShadow : kShadowOfStack));
    return leave_to_system(next_pc(insn), kSysInterruptWindow);
  }
  if (segment != FS && segment != GS) leave_to_system(next_pc(insn));
}

void Emitter::mov_to_segment(const Insn& insn) {
  const unsigned segment = insn.reg & 7;
  const Value selector = to_i64(read(insn, 1));
  call(H_load_segment, {b_.i64(segment), selector});
  after_segment_load(insn, segment);
}

/// LES LDS LSS LFS LGS
void Emitter::load_far_pointer(const Insn& insn) {
  Value offset;
  const Value selector = far_selector(insn, offset);
  call(H_load_segment, {b_.i64(insn.row->arg), selector});
  set_gpr(insn.reg, insn.size, fit(type_of(insn.size), offset));
  after_segment_load(insn, insn.row->arg, true);
}

/// SLDT, STR
void Emitter::store_selector(const Insn& insn) {
  if (mode_.has(Mode::kUmip) && cpl() > 0) return raise_gp();
  const Value selector = call(H_store_table, {b_.i64(insn.row->arg)});
  if (insn.is_memory) {
    store_at(linear(effective(insn), 2, AccessKind::Write), b_.trunc(Type::I16, selector));
  } else {
    set_gpr(insn.rm, insn.size, fit(type_of(insn.size), selector));
  }
}

/// LLDT, LTR
void Emitter::load_system_segment(const Insn& insn) {
  const Value selector = to_i64(read(insn, 0));
  call(insn.row->arg == LDTR ? H_load_ldtr : H_load_tr, {selector});
}

/// VERR, VERW
void Emitter::verify_segment(const Insn& insn) {
  const Value selector = to_i64(read(insn, 0));
  const Value ok = call(H_verify_segment, {selector, b_.i64(insn.row->arg)});
  set_packed_bits(packed_flags(), kZF, b_.shl(b_.and_(ok, b_.i64(1)), b_.i8(6)));
}

/// LAR, LSL
void Emitter::lar_lsl(const Insn& insn) {
  const Insn& i = insn;
  const Value selector =
      b_.and_(to_i64(i.is_memory ? load(memory_place(i, 1, AccessKind::Read)) : get_gpr(i.rm, 1)), b_.i64(0xffff));
  const Value answer = call(i.row->arg == 0 ? H_lar : H_lsl, {selector});
  const Value valid = b_.and_(b_.shr(answer, b_.i8(32)), b_.i64(1));
  const Value is_valid = b_.compare(Cond::NotEqual, valid, b_.i64(0));
  const Value old = b_.get(gpr_field(i.reg));
  const Value part = i.size == 3 ? b_.zext(Type::I64, b_.trunc(Type::I32, answer))
                                 : merged_gpr(i.reg, i.size, fit(type_of(i.size), answer));
  b_.set(gpr_field(i.reg), b_.select(is_valid, part, old));
  set_packed_bits(packed_flags(), kZF, b_.shl(valid, b_.i8(6)));
}

void Emitter::arpl(const Insn& insn) {
  const Place to = place(insn, 0, insn.is_memory ? AccessKind::Read : AccessKind::ReadWrite);
  const Value a = load(to), b = read(insn, 1);
  const Value rpl_a = b_.and_(a, constant(1, 3)), rpl_b = b_.and_(b, constant(1, 3));
  const Value raise_rpl = b_.compare(Cond::Below, rpl_a, rpl_b);
  const Value raised = b_.or_(b_.and_(a, constant(1, 0xfffc)), rpl_b);
  if (to.is_memory()) {  // written only if it changes, and only then a code segment is none to write to
    if (insn.segment == CS) raise_if(raise_rpl, trap_code(kGP, 0));
    const Value address = to.mem.disp == 0 ? to.value : b_.add(to.value, b_.i64(u64(i64(to.mem.disp))));
    call(H_arpl_store, {address, to_i64(raised), b_.zext(Type::I64, raise_rpl)});
  } else {
    store(to, b_.select(raise_rpl, raised, a));
  }
  set_packed_bits(packed_flags(), kZF, flag_bit(raise_rpl, 6));
}

void Emitter::bound(const Insn& insn) {
  const u64 bytes = u64(1) << insn.size;
  const Value address = linear_value(linear(effective(insn), 2 * bytes, AccessKind::Read));
  call(H_bound, {to_i64(get_gpr(insn.reg, insn.size)), address, b_.i64(bytes)});
}

// ---- Descriptor tables
// -------------------------------------------------------------------------------------------------

/// SGDT, SIDT: limit, then base (8 bytes in 64-bit mode, else 4).
void Emitter::store_table(const Insn& insn) {
  if (mode_.has(Mode::kUmip) && cpl() > 0) return raise_gp();
  const unsigned base_log2 = code64() ? 3 : 2;
  const Value base = call(H_store_table, {b_.i64(insn.row->arg)});
  const Value limit = call(H_store_table, {b_.i64(insn.row->arg + 1u)});
  const Linear l = linear(effective(insn), 2 + (1u << base_log2), AccessKind::Write);
  const Value address = linear_value(l);
  b_.probe(b_.add(address, b_.i64(2)), mem_info(base_log2, {address, 0, false}));
  store_at({address, 0, false}, b_.trunc(Type::I16, limit));
  store_at({address, 2, false}, fit(type_of(base_log2), base));
}

/// LGDT, LIDT: a 16-bit operand size loads 24 bits of base.
void Emitter::load_table(const Insn& insn) {
  const unsigned base_log2 = code64() ? 3 : 2;
  const Value address = linear_value(linear(effective(insn), 2 + (1u << base_log2), AccessKind::Read));
  const Value limit = to_i64(load_at({address, 0, false}, 1));
  Value base = to_i64(load_at({address, 2, false}, base_log2));
  if (!code64() && insn.size == 1) base = b_.and_(base, b_.i64(0xff'ffff));
  call(insn.row->arg == kGdt ? H_load_gdtr : H_load_idtr, {base, limit});
}

// ---- Control registers and what follows them
// -----------------------------------------------------------------------------

void Emitter::smsw(const Insn& insn) {
  if (mode_.has(Mode::kUmip) && cpl() > 0) return raise_gp();
  const Value cr0 = b_.get(F_CR0);
  if (insn.is_memory) {
    store_at(linear(effective(insn), 2, AccessKind::Write), b_.trunc(Type::I16, cr0));
  } else {
    set_gpr(insn.rm, insn.size, fit(type_of(insn.size), cr0));
  }
}

void Emitter::lmsw(const Insn& insn) {
  call(H_lmsw, {to_i64(read(insn, 0))});
  leave_to_system(next_pc(insn));
}

void Emitter::clts(const Insn& insn) {
  call(H_clts, {});
  leave_to_system(next_pc(insn));
}

namespace {
bool is_control_register(unsigned n) { return n == 0 || (n >= 2 && n <= 4) || n == 8; }
}  // namespace

void Emitter::mov_from_control(const Insn& insn) {
  if (!is_control_register(insn.reg)) return raise(kUD);
  if (cpl() != 0) return raise_gp();
  const Value v = call(H_read_cr, {b_.i64(insn.reg)});
  set_gpr(insn.rm, insn.size, fit(type_of(insn.size), v));
}

void Emitter::mov_to_control(const Insn& insn) {
  if (!is_control_register(insn.reg)) return raise(kUD);
  if (cpl() != 0) return raise_gp();
  call(H_write_cr, {b_.i64(insn.reg), to_i64(get_gpr(insn.rm, insn.size))});
  leave_to_system(next_pc(insn));
}

void Emitter::mov_from_debug(const Insn& insn) {
  if (insn.reg > 7) return raise(kUD);
  if (cpl() != 0) return raise_gp();
  const Value v = call(H_read_dr, {b_.i64(insn.reg)});
  set_gpr(insn.rm, insn.size, fit(type_of(insn.size), v));
}

void Emitter::mov_to_debug(const Insn& insn) {
  if (insn.reg > 7) return raise(kUD);
  if (cpl() != 0) return raise_gp();
  call(H_write_dr, {b_.i64(insn.reg), to_i64(get_gpr(insn.rm, insn.size))});
  leave_to_system(next_pc(insn));
}

void Emitter::invlpg(const Insn& insn) {
  // No access is made, so no segment check either; the base still counts.
  const Effective e = effective(insn);
  Value address = effective_value(e);
  if (!is_flat(e.segment)) address = b_.add(address, b_.get(field_at(F_SEG_BASE, e.segment)));
  if (!code64()) address = b_.and_(address, b_.i64(0xffff'ffff));
  call(H_invlpg, {address});
  leave_to_system(next_pc(insn));
}

void Emitter::invpcid(const Insn& insn) {
  const Linear l = linear(effective(insn), 16, AccessKind::Read);
  const Value address = linear_value(l);
  const Value low = load_at({address, 0, false}, 3);
  const Value high = load_at({address, 8, false}, 3);
  call(H_invpcid, {to_i64(get_gpr(insn.reg, insn.size)), low, high});
  leave_to_system(next_pc(insn));
}

void Emitter::wbinvd(const Insn&) { call(H_wbinvd, {}); }

// ---- MSRs, time, identification
// ------------------------------------------------------------------------------------------

void Emitter::rdmsr(const Insn&) { call(H_rdmsr, {}); }

void Emitter::wrmsr(const Insn& insn) {
  call(H_wrmsr, {});
  leave_to_system(next_pc(insn));
}

void Emitter::rdtsc(const Insn&) {
  if (mode_.has(Mode::kTsd) && cpl() > 0) return raise_gp();
  const Value v = call(H_rdtsc, {});
  b_.set(gpr_field(RAX), b_.and_(v, b_.i64(0xffff'ffff)));
  b_.set(gpr_field(RDX), b_.shr(v, b_.i8(32)));
}

void Emitter::rdtscp(const Insn& insn) {
  rdtsc(insn);
  if (!b_.is_ended()) b_.set(gpr_field(RCX), b_.and_(b_.get(F_TSC_AUX), b_.i64(0xffff'ffff)));
}

void Emitter::rdpid(const Insn& insn) {
  set_gpr(insn.rm, insn.size, fit(type_of(insn.size), b_.and_(b_.get(F_TSC_AUX), b_.i64(0xffff'ffff))));
}

void Emitter::rdpmc(const Insn&) {
  call(H_rdpmc, {});  // with CR4.PCE or without
}

void Emitter::cpuid(const Insn&) { call(H_cpuid, {}); }

// ---- FS and GS base, SMAP
// ------------------------------------------------------------------------------------------------

void Emitter::swapgs(const Insn&) {
  const ir::FieldId gs = field_at(F_SEG_BASE, GS);
  const Value user = b_.get(gs), kernel = b_.get(F_KERNEL_GS_BASE);
  b_.set(gs, kernel);
  b_.set(F_KERNEL_GS_BASE, user);
}

void Emitter::rd_segment_base(const Insn& insn) {
  if (!mode_.has(Mode::kFsGsBase)) return raise(kUD);
  set_gpr(insn.rm, insn.size, fit(type_of(insn.size), b_.get(field_at(F_SEG_BASE, insn.row->arg))));
}

void Emitter::wr_segment_base(const Insn& insn) {
  if (!mode_.has(Mode::kFsGsBase)) return raise(kUD);
  call(H_write_fs_gs_base, {b_.i64(insn.row->arg), to_i64(get_gpr(insn.rm, insn.size))});
}

/// CLAC, STAC: AC decides which view data accesses use, so the mode changes.
void Emitter::clac_stac(const Insn& insn) {
  if (cpl() > 0) return raise(kUD);
  const Value flags = b_.get(F_RFLAGS_SYSTEM);
  b_.set(F_RFLAGS_SYSTEM, insn.row->arg ? b_.or_(flags, b_.i64(kAC)) : b_.and_(flags, b_.i64(~u64(kAC))));
  if (!mode_.has(Mode::kPE)) return leave_to_system(next_pc(insn));
  const u32 bit_ = 1u << Mode::kSmapOverride;
  const u32 key = !mode_.has(Mode::kSmap) ? mode_.key : insn.row->arg ? mode_.key | bit_ : mode_.key & ~bit_;
  if (is_single()) return leave_to_system(next_pc(insn), single_reason());
  if (key != mode_.key) b_.exit_mode(next_pc(insn), key);
}

// ---- Extended state
// ------------------------------------------------------------------------------------------------------

void Emitter::xgetbv(const Insn&) {
  if (!mode_.has(Mode::kOsXsave)) return raise(kUD);
  call(H_xgetbv, {});
}

/// RDPKRU (0), WRPKRU (1).
void Emitter::pkru(const Insn& insn) { call(insn.row->arg == 0 ? H_rdpkru : H_wrpkru, {}); }

void Emitter::xsetbv(const Insn& insn) {
  if (!mode_.has(Mode::kOsXsave)) return raise(kUD);
  call(H_xsetbv, {});
  leave_to_system(next_pc(insn));
}

/// FXSAVE FXRSTOR XSAVE XRSTOR XSAVEOPT XRSTORS XSAVEC XSAVES, by row argument.
void Emitter::state_image(const Insn& insn) {
  const unsigned which = insn.row->arg;
  const bool is_fx = which <= 1;
  if (!is_fx && !mode_.has(Mode::kOsXsave)) return raise(kUD);
  if (mode_.has(Mode::kCr0TS) || (is_fx && mode_.has(Mode::kCr0EM))) return raise(kNM);
  const bool restores = which == 1 || which == 3 || which == 5;
  const Value address =
      linear_value(linear(effective(insn), is_fx ? 512 : 576, restores ? AccessKind::Read : AccessKind::Write));
  const Value w = b_.i64(insn.rex_w() ? 1 : 0);
  switch (which) {
    case 0:
      call(H_fxsave, {address, w});
      break;
    case 1:
      call(H_fxrstor, {address, w});
      break;
    case 2:
      call(H_xsave, {address, w, b_.i64(0)});
      break;
    case 3:
      call(H_xrstor, {address, w, b_.i64(0)});
      break;
    case 4:
      call(H_xsave, {address, w, b_.i64(1)});
      break;
    case 5:
      call(H_xrstor, {address, w, b_.i64(1)});
      break;
    case 6:
      call(H_xsave, {address, w, b_.i64(2)});
      break;
    default:
      call(H_xsave, {address, w, b_.i64(3)});
      break;
  }
}

void Emitter::ldmxcsr(const Insn& insn) {
  if (!can_simd(insn)) return;
  call(H_load_mxcsr, {to_i64(read(insn, 0))});
}

void Emitter::stmxcsr(const Insn& insn) {
  if (!can_simd(insn)) return;
  const Value v = call(H_store_mxcsr, {});
  store(place(insn, 0, AccessKind::Write), b_.trunc(Type::I32, v));
}

// ---- Processor control
// ---------------------------------------------------------------------------------------------------

void Emitter::monitor(const Insn& insn) {
  if (cpl() != 0) return raise(kUD);
  const Value offset = wrap_offset(b_.get(gpr_field(RAX)), insn.address);
  const Effective e{offset, 0, insn.segment, false};
  call(H_monitor, {linear_value(linear(e, 1, AccessKind::Read))});
}

void Emitter::mwait(const Insn& insn) {
  if (cpl() != 0) return raise(kUD);
  call(H_mwait, {b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn), kSysWait);
}

void Emitter::hlt(const Insn& insn) { leave_to_system(next_pc(insn), kSysHalt); }

void Emitter::pause(const Insn& insn) {
  if (insn.rex & 1) {  // F3 REX.B 90 is XCHG r8, rAX
    const Value a = get_gpr(R8, insn.size), b = get_gpr(RAX, insn.size);
    set_gpr(R8, insn.size, b);
    set_gpr(RAX, insn.size, a);
    return go(next_pc(insn));
  }
  leave_to_system(next_pc(insn), kSysPause);
}

void Emitter::cli(const Insn&) {
  if (!mode_.has(Mode::kIopl)) {
    call(H_cli, {});
    return;
  }
  b_.set(F_RFLAGS_SYSTEM, b_.and_(b_.get(F_RFLAGS_SYSTEM), b_.i64(~u64(kIF))));
}

/// The next instruction of the block lies in the shadow. Nothing is taken within a block, so all that there is to do is
/// to look whether something waits already: then that instruction gets a block of its own, and the run loop looks after
/// it. Later signals set exit_req, which the next exit check sees. (An IF that was set already gets a shadow, too.)
void Emitter::sti(const Insn& insn) {
  if (mode_.has(Mode::kIopl) && !is_single()) {
    b_.set(F_RFLAGS_SYSTEM, b_.or_(b_.get(F_RFLAGS_SYSTEM), b_.i64(kIF)));
    b_.set(F_INHIBIT, b_.i64(1));
    has_shadow_ = true;
    return;
  }
  call(H_sti, {});
  leave_to_system(next_pc(insn), kSysInterruptWindow);
}

void Emitter::in(const Insn& insn) {
  const Value port = fit(Type::I64, read(insn, 1));
  const Value v = call(H_port_in, {port, b_.i64(1u << insn.size)});
  set_gpr(RAX, insn.size, fit(type_of(insn.size), v));
}

void Emitter::out(const Insn& insn) {
  const Value port = fit(Type::I64, read(insn, 0));
  call(H_port_out, {port, b_.i64(1u << insn.size), to_i64(get_gpr(RAX, insn.size))});
}

void Emitter::mfence(const Insn&) { b_.fence(); }

}  // namespace emu::x86
