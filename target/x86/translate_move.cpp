// SPDX-License-Identifier: Apache-2.0
// Moves, conversions between widths, and single flags. SDM Vol. 2, by instruction name.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::Opcode;

void Emitter::mov(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::Write);
  store(to, read(insn, 1));
}

void Emitter::movzx(const Insn& insn) {
  const Place from = place(insn, 1, AccessKind::Read);
  Value v;
  if (from.is_memory()) {
    v = b_.load(type_of(insn.size), from.value, from.mem);
  } else {
    v = fit(type_of(insn.size), load(from));
  }
  set_gpr(insn.reg, insn.size, v);
}

/// MOVSX and MOVSXD.
void Emitter::movsx(const Insn& insn) {
  Place from = place(insn, 1, AccessKind::Read);
  const Type type = type_of(insn.size);
  Value v;
  if (insn.size <= from.log2) {  // MOVSXD with a 16- or 32-bit operand size is a plain move
    v = fit(type, load(from));
  } else if (from.is_memory()) {
    from.mem.extend = ir::Extend::Sign;
    v = b_.load(type, from.value, from.mem);
  } else {
    v = b_.sext(type, load(from));
  }
  set_gpr(insn.reg, insn.size, v);
}

void Emitter::movbe(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::Write);
  store(to, b_.unary(Opcode::Bswap, read(insn, 1)));
}

void Emitter::lea(const Insn& insn) {
  const Value address = effective_value(effective(insn));
  set_gpr(insn.reg, insn.size, fit(type_of(insn.size), address));
}

void Emitter::xchg(const Insn& insn) {
  if (insn.opcode == 0x90 && !(insn.rex & 1)) return;  // NOP
  const Place a = place(insn, 0, AccessKind::ReadWrite);
  const Place b = place(insn, 1, AccessKind::ReadWrite);
  const Value from_b = load(b);
  if (a.is_memory()) {  // locked with or without the prefix
    store(b, rmw(ir::RmwOp::Xchg, a, from_b));
    return;
  }
  const Value from_a = load(a);
  store(a, from_b);
  store(b, from_a);
}

void Emitter::bswap(const Insn& insn) {
  const Place p = place(insn, 0, AccessKind::ReadWrite);
  store(p, insn.size == 1 ? constant(1, 0) : b_.unary(Opcode::Bswap, load(p)));  // 16 bits: undefined, zero in silicon
}

void Emitter::cmovcc(const Insn& insn) {
  const Value from = read(insn, 1);  // faults whether or not it moves
  const Value taken = condition(insn.opcode);
  set_gpr(insn.reg, insn.size, b_.select(taken, from, get_gpr(insn.reg, insn.size)));
}

void Emitter::setcc(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::Write);
  store(to, b_.zext(Type::I8, condition(insn.opcode)));
}

void Emitter::cbw(const Insn& insn) {
  set_gpr(RAX, insn.size, b_.sext(type_of(insn.size), get_gpr(RAX, insn.size - 1)));
}

void Emitter::cwd(const Insn& insn) {
  set_gpr(RDX, insn.size, b_.sar(get_gpr(RAX, insn.size), b_.i8((8u << insn.size) - 1)));
}

void Emitter::xlat(const Insn& insn) {
  const Value index = b_.zext(Type::I64, get_gpr(RAX, 0));
  const Value sum = b_.add(b_.get(gpr_field(RBX)), index);
  const Effective e{wrap_offset(sum, insn.address), 0, insn.segment, false};
  set_gpr(RAX, 0, load_at(linear(e, 1, AccessKind::Read), 0));
}

void Emitter::lahf(const Insn&) {
  const Value flags = b_.or_(b_.and_(packed_flags(), b_.i64(kArithmetic & ~kOF)), b_.i64(2));
  const Value rax = b_.get(gpr_field(RAX));
  b_.set(gpr_field(RAX), b_.insert(rax, b_.trunc(Type::I8, flags), 8));
}

void Emitter::sahf(const Insn&) {
  const Value ah = b_.zext(Type::I64, get_byte(RAX, true));
  const FlagMask which = kArithmetic & ~kOF;
  set_packed_bits(packed_flags(), which, b_.and_(ah, b_.i64(which)));
}

void Emitter::salc(const Insn&) { set_gpr(RAX, 0, b_.neg(b_.zext(Type::I8, condition(2)))); }

/// CLC, STC, CMC
void Emitter::carry_op(const Insn& insn) {
  if (!wants_flags(insn)) return;
  const Value flags = b_.get_flags();
  const Value carry = insn.row->arg == 2 ? b_.fl_is(ir::Cond::NotBelow, flags) : b_.constant(Type::I1, insn.row->arg);
  b_.set_flags(b_.flags2(Opcode::FlSetCarry, carry, flags));
}

/// CLFLUSH, CLFLUSHOPT, CLWB: nothing to write back, but they fault as a load of one byte does.
void Emitter::cache_line(const Insn& insn) {
  Linear l = linear(effective(insn), 1, AccessKind::Read);
  load_at(l, 0);
}

/// MOVDIR64B: 64 bytes to ES:reg, which is aligned.
void Emitter::movdir64b(const Insn& insn) {
  const Value source = linear_value(linear(effective(insn), 64, AccessKind::Read));
  Effective to;
  to.segment = ES;
  to.offset = wrap_offset(b_.get(gpr_field(insn.reg)), insn.address);
  call(H_movdir64b, {linear_value(linear(to, 64, AccessKind::Write)), source});
}

/// SERIALIZE: all earlier instructions have completed here anyway; code that was changed is seen by other means.
void Emitter::serialize(const Insn& insn) { leave_to_system(next_pc(insn)); }

/// CLD, STD
void Emitter::direction_op(const Insn& insn) { b_.set(F_DF, b_.i64(insn.row->arg ? ~u64(0) : 1)); }

}  // namespace emu::x86
