// SPDX-License-Identifier: Apache-2.0
// x87: one instruction to one or two IR X87 operations. SDM Vol. 1 chapter 8, Vol. 2 chapter 3.
//
// Exceptions are masked in the host's unit and their flags accumulate. Where the guest's control word unmasks one
// (Mode::kX87Traps), helpers do each instruction under that word (fpu_traps.cpp); elsewhere none can be pending.
// CR0.NE: check_x87(). Instruction and data pointers: note_x87(), fpu_state.cpp.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::X87Op;

namespace {

X87Op op_of(const Insn& insn) { return X87Op(insn.row->arg); }
constexpr u64 kExceptions = 0x3f, kSummaryAndBusy = 0x8080;
constexpr u64 kPops = 1 << 24;

}  // namespace

bool Emitter::can_x87() {
  if (mode_.has(Mode::kCr0EM) || mode_.has(Mode::kCr0TS)) return raise(kNM), false;
  return true;
}

Emitter::Place Emitter::x87_place(const Insn& insn, Type type, AccessKind kind) {
  return memory_place(insn, ir::log2_bytes(type), kind);
}

/// The operation in a helper, where exceptions are unmasked.
Emitter::Value Emitter::x87_checked(X87Op op, unsigned reg, bool pops, Value a, Value b) {
  const auto argument = [&](Value v) { return v.type == Type::Void ? b_.i64(0) : to_i64(v); };
  return call(H_x87_op, {b_.i64(u64(op) | u64(reg & 7) << 16 | (pops ? kPops : 0)), argument(a), argument(b)});
}

void Emitter::x87_checked_store(const Insn& insn, X87Op op, unsigned log2, bool pops) {
  call(H_x87_pending, {});
  const Linear l = linear(effective(insn), log2 == 4 ? 10 : u64(1) << log2, AccessKind::Write);
  if (mode_.has(Mode::kAlignCheck))
    b_.probe(linear_value(l), mem_info(log2 == 4 ? 3 : log2, {linear_value(l), 0, l.is_stack}));
  call(H_x87_store, {b_.i64(u64(op) | u64(log2) << 16 | (pops ? kPops : 0)), linear_value(l)});
  note_x87(insn);
}

/// What FNSTENV shows of the last instruction that is no control instruction, once it is complete.
void Emitter::note_x87(const Insn& insn) {
  if (is_ended()) return;
  b_.set(F_FPU_IP, b_.pc_constant(wrap_pc(pc_of(insn))));
  b_.set(F_FPU_OPCODE, b_.i32((insn.opcode & 7u) << 8 | insn.modrm));
  if (!insn.is_memory) return;
  const Effective e = effective(insn);
  b_.set(F_FPU_DP, effective_value(e));
  b_.set(F_FPU_DATA_SEGMENT, b_.i32(e.segment));
}

/// FNOP waits; what is left of the 8087's and 80287's control instructions does not.
void Emitter::x87_nop(const Insn& insn) {
  if (!can_x87() || insn.opcode != 0xd9) return;
  if (x87_traps()) call(H_x87_pending, {});
  note_x87(insn);
}

void Emitter::x87_op(const Insn& insn) {
  if (!can_x87()) return;
  const X87Op op = op_of(insn);
  if (x87_traps() || op == X87Op::Init) {
    x87_checked(op, insn.rm);
  } else {
    b_.x87(op, insn.rm & 7);
  }
  if (op != X87Op::Init && op != X87Op::ClearExceptions) note_x87(insn);
}

void Emitter::x87_op_pop(const Insn& insn) {
  if (!can_x87()) return;
  if (x87_traps()) {
    x87_checked(op_of(insn), insn.rm, true);
  } else {
    b_.x87(op_of(insn), insn.rm & 7);
    b_.x87(X87Op::Pop);
  }
  note_x87(insn);
}

// ---- Memory operands ------------------------------------------------------------------------------------------------

void Emitter::x87_memory(const Insn& insn) {
  if (!can_x87()) return;
  if (x87_traps()) call(H_x87_pending, {});  // comes before the operand's faults
  const Value v = load(x87_place(insn, ir::x87_operand_type(op_of(insn), 0), AccessKind::Read));
  if (x87_traps()) {
    x87_checked(op_of(insn), 0, false, v);
  } else {
    b_.x87(op_of(insn), 0, v);
  }
  note_x87(insn);
}

void Emitter::x87_memory_pop(const Insn& insn) {
  if (!x87_traps()) {
    x87_memory(insn);
    if (!is_ended()) b_.x87(X87Op::Pop);
    return;
  }
  if (!can_x87()) return;
  call(H_x87_pending, {});
  x87_checked(op_of(insn), 0, true, load(x87_place(insn, ir::x87_operand_type(op_of(insn), 0), AccessKind::Read)));
  note_x87(insn);
}

void Emitter::x87_store(const Insn& insn) {
  if (!can_x87()) return;
  const Type type = ir::x87_result_type(op_of(insn));
  if (x87_traps()) return x87_checked_store(insn, op_of(insn), ir::log2_bytes(type), false);
  const Place p = x87_place(insn, type, AccessKind::Write);
  b_.probe(p.value, p.mem);  // a fault comes before the flags of the conversion
  store(p, b_.x87(op_of(insn)));
  note_x87(insn);
}

void Emitter::x87_store_pop(const Insn& insn) {
  if (!x87_traps()) {
    x87_store(insn);
    if (!is_ended()) b_.x87(X87Op::Pop);
  } else if (can_x87()) {
    x87_checked_store(insn, op_of(insn), ir::log2_bytes(ir::x87_result_type(op_of(insn))), true);
  }
}

void Emitter::x87_load80(const Insn& insn) {
  if (!can_x87()) return;
  if (x87_traps()) call(H_x87_pending, {});
  const Linear l = linear(effective(insn), 10, AccessKind::Read);
  const Value significand = load_at(l, 3);
  const Value exponent = load_at({b_.add(linear_value(l), b_.i64(8)), 0, l.is_stack}, 1);
  if (x87_traps()) {
    x87_checked(X87Op::PushF80, 0, false, significand, exponent);
  } else {
    b_.x87(X87Op::PushF80, 0, significand, exponent);
  }
  note_x87(insn);
}

void Emitter::x87_store80(const Insn& insn) {
  if (!can_x87()) return;
  if (x87_traps()) return x87_checked_store(insn, X87Op::StoreReg, 4, true);
  const Linear l = linear(effective(insn), 10, AccessKind::Write);
  const Value begin = linear_value(l), behind = b_.add(begin, b_.i64(8));
  b_.probe(begin, mem_info(3, {begin, 0, l.is_stack}));  // nothing is stored, and no flag set, if either part faults
  b_.probe(behind, mem_info(1, {behind, 0, l.is_stack}));
  // Onto itself: an empty register becomes the indefinite, with its flags (and keeps it, which nobody sees).
  b_.x87(X87Op::StoreReg, 0);
  const Value significand = b_.x87(X87Op::ToF80Low), exponent = b_.x87(X87Op::ToF80High);
  store_at({behind, 0, l.is_stack}, exponent);
  store_at({begin, 0, l.is_stack}, significand);
  b_.x87(X87Op::Pop);
  note_x87(insn);
}

/// FLDENV, FNSTENV, FRSTOR, FNSAVE, FBLD, FBSTP (arg: the helper).
void Emitter::x87_image(const Insn& insn) {
  if (!can_x87()) return;
  const u32 helper = insn.row->arg;
  const unsigned operand_bytes = insn.size == 1 ? 2 : 4;
  const bool is_decimal = helper == H_fbld || helper == H_fbstp;
  const bool is_whole = helper == H_fsave || helper == H_frstor;
  if (x87_traps() && helper != H_fstenv && helper != H_fsave) call(H_x87_pending, {});
  const bool writes = helper == H_fstenv || helper == H_fsave || helper == H_fbstp;
  const u64 bytes = is_decimal ? 10 : 7 * operand_bytes + (is_whole ? 80 : 0);
  const Value address = linear_value(linear(effective(insn), bytes, writes ? AccessKind::Write : AccessKind::Read));
  if (is_decimal) {
    call(Helper(helper), {address});
    note_x87(insn);
  } else {
    call(Helper(helper), {address, b_.i64(operand_bytes)});
  }
}

// ---- Flags ----------------------------------------------------------------------------------------------------------

void Emitter::x87_compare_flags(const Insn& insn) {
  if (x87_traps()) return x87_checked_flags(insn, false);
  if (!can_x87()) return;
  const Value packed = b_.x87(op_of(insn), insn.rm & 7);
  if (wants_flags(insn)) b_.set_flags(b_.fl_unpack(packed));
  note_x87(insn);
}

/// An unmasked exception leaves the flags alone.
void Emitter::x87_checked_flags(const Insn& insn, bool pops) {
  if (!can_x87()) return;
  const Value result = x87_checked(op_of(insn), insn.rm, pops);
  note_x87(insn);
  if (!wants_flags(insn)) return;
  const Value left_out = b_.compare(ir::Cond::NotEqual, b_.and_(result, b_.i64(bit64(63))), b_.i64(0));
  const Value old = packed_flags();
  b_.set_flags(b_.fl_unpack(b_.select(left_out, old, result)));
}

void Emitter::x87_compare_flags_pop(const Insn& insn) {
  if (x87_traps()) return x87_checked_flags(insn, true);
  x87_compare_flags(insn);
  if (!is_ended()) b_.x87(X87Op::Pop);
}

/// arg: the condition code.
void Emitter::x87_cmov(const Insn& insn) {
  if (!can_x87()) return;
  const Value taken = condition(insn.row->arg);
  if (x87_traps()) {
    x87_checked(X87Op::CmovIf, insn.rm, false, taken);
  } else {
    b_.x87(X87Op::CmovIf, insn.rm & 7, taken);
  }
  note_x87(insn);
}

// ---- Control and status ---------------------------------------------------------------------------------------------

/// The guest's: the host has every exception masked and so never sets the summary.
Emitter::Value Emitter::x87_status_word() {
  const Value status = b_.x87(X87Op::StatusWord);
  if (!x87_traps()) return status;
  const Value control = b_.x87(X87Op::ControlWord);
  const Value pending = b_.and_(b_.and_(status, b_.not_(control)), b_.constant(Type::I16, kExceptions));
  const Value is_pending = b_.compare(ir::Cond::NotEqual, pending, b_.constant(Type::I16, 0));
  const Value summary = b_.select(is_pending, b_.constant(Type::I16, kSummaryAndBusy), b_.constant(Type::I16, 0));
  return b_.or_(status, summary);
}

void Emitter::x87_status(const Insn& insn) {
  if (!can_x87()) return;
  if (!insn.is_memory) return set_gpr(RAX, 1, x87_status_word());
  const Place p = x87_place(insn, Type::I16, AccessKind::Write);
  store(p, x87_status_word());
}

void Emitter::x87_store_control(const Insn& insn) {
  if (!can_x87()) return;
  const Place p = x87_place(insn, Type::I16, AccessKind::Write);
  store(p, b_.x87(X87Op::ControlWord));
}

void Emitter::x87_load_control(const Insn& insn) {
  if (!can_x87()) return;
  if (x87_traps()) call(H_x87_pending, {});
  const Value word = load(x87_place(insn, Type::I16, AccessKind::Read));
  if (x87_traps()) {
    x87_checked(X87Op::LoadControl, 0, false, word);
    return;
  }
  const Value masks = b_.and_(word, b_.constant(Type::I16, kExceptions));
  raise_if(b_.compare(ir::Cond::NotEqual, masks, b_.constant(Type::I16, kExceptions)), kTrapX87Unmasks);
  b_.x87(X87Op::LoadControl, 0, word);
}

void Emitter::x87_wait(const Insn&) {
  if (mode_.has(Mode::kCr0TS) && mode_.has(Mode::kCr0MP)) return raise(kNM);
  if (x87_traps()) call(H_x87_pending, {});
}

}  // namespace emu::x86
