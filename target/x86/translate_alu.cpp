// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic and logic. SDM Vol. 2, by instruction name.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::Opcode;
using ir::RmwOp;

namespace {

enum Alu : u16 { kAdd, kOr, kAdc, kSbb, kAnd, kSub, kXor, kCmp };

constexpr Opcode kAluOpcode[] = {Opcode::Add, Opcode::Or,  Opcode::Add, Opcode::Sub,
                                 Opcode::And, Opcode::Sub, Opcode::Xor, Opcode::Sub};
constexpr RmwOp kAluRmw[] = {RmwOp::Add, RmwOp::Or,  RmwOp::Add, RmwOp::Sub,
                             RmwOp::And, RmwOp::Sub, RmwOp::Xor, RmwOp::Sub};

bool is_same_register(const Insn& insn) {
  return !insn.is_memory && insn.reg == insn.rm && insn.row->operands[1] != Operand::Ib &&
         insn.row->operands[1] != Operand::Ibs && insn.row->operands[1] != Operand::Iz;
}

}  // namespace

/// Whether a LOCK prefix is needed. On the only CPU no other is there to come between, and interrupts come between
/// instructions. Left out in user code only: a kernel for one CPU has no such prefixes but where it means devices. An
/// operation with 0 is a barrier, and stays one.
bool Emitter::locks(const Insn& insn) const {
  if (!insn.has(kHasLock)) return false;
  const Operand source = insn.row->operands[1];
  const bool is_sum = insn.row->map == kMapOne;  // an immediate of BTS and its like is the number of a bit
  const bool is_barrier = is_sum && source >= Operand::Ib && source <= Operand::Iv && insn.imm == 0;
  if (!is_only_cpu_ || mode_.cpl() != 3 || is_barrier) return true;
  ++b_.block().plain_locks;
  return false;
}

void Emitter::alu(const Insn& insn) {
  const Alu op = Alu(insn.row->arg);
  const bool with_carry = op == kAdc || op == kSbb;
  const bool is_logic = op == kOr || op == kAnd || op == kXor;
  const bool flags = wants_flags(insn);

  if ((op == kXor || op == kSub) && insn.size >= 2 && is_same_register(insn)) {  // the zeroing idiom
    set_gpr(insn.reg, insn.size, constant(insn.size, 0));
    if (flags) b_.set_flags(b_.fl_logic(constant(insn.size, 0)));
    return;
  }

  const Place to = place(insn, 0, op == kCmp ? AccessKind::Read : AccessKind::ReadWrite);
  const Value b = read(insn, 1);
  if (op == kCmp) {
    const Value a = load(to);
    if (flags) b_.set_flags(b_.flags2(Opcode::FlCmp, a, b));
    return;
  }
  const Value carry = with_carry ? condition(2) : Value{};
  Value a, result;
  if (locks(insn)) {
    const Value operand = with_carry ? b_.add(b, b_.zext(b.type, carry)) : b;
    a = rmw(kAluRmw[op], to, operand);
    result = b_.binary(kAluOpcode[op], a, operand);
  } else if (with_carry) {
    a = load(to);
    result = b_.with_carry(op == kAdc ? Opcode::AddCarry : Opcode::SubBorrow, a, b, carry);
    if (flags) b_.carry_out(op == kAdc ? Opcode::CarryOut : Opcode::BorrowOut, a, b, result);  // for who asks later
    store(to, result);
  } else {
    a = load(to);
    result = b_.binary(kAluOpcode[op], a, b);
    store(to, result);
  }
  if (!flags) return;
  if (is_logic) {
    b_.set_flags(b_.fl_logic(result));
  } else {
    constexpr Opcode kFlags[] = {Opcode::FlAdd, Opcode::Nop, Opcode::FlAdc, Opcode::FlSbb, Opcode::Nop, Opcode::FlSub};
    b_.set_flags(b_.flags3(kFlags[op], a, b, result));
  }
}

/// RDRAND, RDSEED: the host always has some, so CF is 1.
void Emitter::random(const Insn& insn) {
  set_gpr(insn.rm, insn.size, fit(type_of(insn.size), call(H_random, {})));
  if (wants_flags(insn)) b_.set_flags(b_.fl_unpack(b_.i64(kCF)));
}

void Emitter::test(const Insn& insn) {
  const Value a = read(insn, 0), b = read(insn, 1);
  if (wants_flags(insn)) b_.set_flags(b_.flags2(Opcode::FlTest, a, b));
}

void Emitter::not_(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::ReadWrite);
  if (locks(insn)) {
    rmw(RmwOp::Xor, to, constant(to.log2, ~u64(0)));
  } else {
    store(to, b_.not_(load(to)));
  }
}

void Emitter::neg(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::ReadWrite);
  const Value a = load(to);
  const Value zero = constant(to.log2, 0);
  const Value result = b_.sub(zero, a);
  if (locks(insn)) {
    // No single atomic operation negates: exchange if unchanged, else run the instruction again.
    const Value seen = b_.cas(to.value, a, result, to.mem);
    b_.side_exit(b_.compare(ir::Cond::NotEqual, seen, a), pc_of(insn));
    ++exits_;
  } else {
    store(to, result);
  }
  if (wants_flags(insn)) b_.set_flags(b_.flags3(Opcode::FlSub, zero, a, result));
}

void Emitter::inc_dec(const Insn& insn) {
  const bool is_dec = insn.row->arg == 1;
  const Place to = place(insn, 0, AccessKind::ReadWrite);
  const Value step = constant(to.log2, is_dec ? ~u64(0) : 1);
  const bool is_locked = locks(insn);
  const Value a = is_locked ? rmw(RmwOp::Add, to, step) : load(to);
  const Value result = b_.add(a, step);
  if (!is_locked) store(to, result);
  if (!wants_flags(insn)) return;
  if (insn.live & kCF) {
    b_.set_flags(b_.flags2(is_dec ? Opcode::FlDec : Opcode::FlInc, result, b_.get_flags()));
  } else {  // then they need not depend on the flags before
    b_.set_flags(b_.flags3(is_dec ? Opcode::FlSub : Opcode::FlAdd, a, constant(to.log2, 1), result));
  }
}

/// MUL, IMUL with one operand: rDX:rAX (or AX) = rAX * operand.
void Emitter::mul(const Insn& insn) {
  const bool is_signed = insn.row->arg == 1;
  const Opcode flag_op = is_signed ? Opcode::FlMulS : Opcode::FlMulU;
  const Value b = read(insn, 0);
  const Value a = get_gpr(RAX, insn.size);
  if (insn.size == 0) {
    const auto widen = [&](Value v) { return is_signed ? b_.sext(Type::I16, v) : b_.zext(Type::I16, v); };
    const Value product = b_.mul(widen(a), widen(b));
    set_gpr(RAX, 1, product);
    if (wants_flags(insn))
      b_.set_flags(b_.flags2(flag_op, b_.trunc(Type::I8, product), b_.extract(Type::I8, product, 8)));
    return;
  }
  const Value low = b_.mul(a, b);
  const Value high = b_.binary(is_signed ? Opcode::MulHiS : Opcode::MulHiU, a, b);
  set_gpr(RAX, insn.size, low);
  set_gpr(RDX, insn.size, high);
  if (wants_flags(insn)) b_.set_flags(b_.flags2(flag_op, low, high));
}

/// IMUL with two or three operands.
void Emitter::imul_reg(const Insn& insn) {
  const bool has_immediate = insn.row->operands[2] != Operand::None;
  const Value a = read(insn, has_immediate ? 1 : 0);
  const Value b = read(insn, has_immediate ? 2 : 1);
  const Value low = b_.mul(a, b);
  const bool flags = wants_flags(insn);
  const Value high = flags ? b_.binary(Opcode::MulHiS, a, b) : Value{};
  set_gpr(insn.reg, insn.size, low);
  if (flags) b_.set_flags(b_.flags2(Opcode::FlMulS, low, high));
}

/// 8, 16 and 32 bits divide at twice the width; 64 bits do if RDX is known to be 0, else through the helper.
void Emitter::div(const Insn& insn) {
  const Value divisor = read(insn, 0);
  if (insn.size == 3) {
    const Value high = get_gpr(RDX, 3);
    const auto known = b_.constant_of(high);
    if (!known || *known != 0) {
      call(H_div, {divisor, b_.i64(8)});
      return;
    }
    raise_if(b_.compare(ir::Cond::Equal, divisor, b_.i64(0)), kDE);
    const Value low = get_gpr(RAX, 3);
    const Value quotient = b_.binary(Opcode::UDiv, low, divisor);
    const Value remainder = b_.binary(Opcode::URem, low, divisor);
    set_gpr(RAX, 3, quotient);
    set_gpr(RDX, 3, remainder);
    return;
  }
  const Type type = insn.size == 2 ? Type::I64 : Type::I32;
  const unsigned bits = 8u << insn.size;
  const Value high = insn.size == 0 ? get_byte(RAX, true) : get_gpr(RDX, insn.size);
  // The quotient fits iff the high half is below the divisor, which also excludes 0.
  raise_if(b_.compare(ir::Cond::NotBelow, high, divisor), kDE);
  Value dividend;
  if (insn.size == 0) {
    dividend = b_.zext(type, get_gpr(RAX, 1));
  } else {
    dividend = b_.or_(b_.shl(b_.zext(type, high), b_.i8(bits)), b_.zext(type, get_gpr(RAX, insn.size)));
  }
  const Value wide = b_.zext(type, divisor);
  const Value quotient = fit(type_of(insn.size), b_.binary(Opcode::UDiv, dividend, wide));
  const Value remainder = fit(type_of(insn.size), b_.binary(Opcode::URem, dividend, wide));
  if (insn.size == 0) {
    const Value both = b_.or_(b_.zext(Type::I16, quotient), b_.shl(b_.zext(Type::I16, remainder), b_.i8(8)));
    set_gpr(RAX, 1, both);
  } else {
    set_gpr(RAX, insn.size, quotient);
    set_gpr(RDX, insn.size, remainder);
  }
}

void Emitter::idiv(const Insn& insn) {
  const Value divisor = read(insn, 0);
  const bool after_cqo = previous_ && previous_->row->emitter == &Emitter::cwd && previous_->size == 3;
  if (insn.size == 3 && !after_cqo) {
    call(H_idiv, {divisor, b_.i64(8)});
    return;
  }
  const Type type = insn.size >= 2 ? Type::I64 : Type::I32;
  const unsigned bits = 8u << insn.size;
  Value dividend;
  if (insn.size == 0) {
    dividend = b_.sext(type, get_gpr(RAX, 1));
  } else if (insn.size == 3) {
    dividend = get_gpr(RAX, 3);
  } else {
    dividend = b_.or_(b_.shl(fit(type, get_gpr(RDX, insn.size)), b_.i8(bits)), b_.zext(type, get_gpr(RAX, insn.size)));
  }
  const Value wide = insn.size == 3 ? divisor : b_.sext(type, divisor);
  raise_if(b_.compare(ir::Cond::Equal, divisor, constant(insn.size, 0)), kDE);
  if (insn.size >= 1) {  // the one quotient that does not fit the wide type either
    const Value lowest = b_.constant(type, u64(1) << (width(type) - 1));
    raise_if(b_.and_(b_.compare(ir::Cond::Equal, dividend, lowest),
                     b_.compare(ir::Cond::Equal, wide, b_.constant(type, ~u64(0)))),
             kDE);
  }
  const Value quotient = b_.binary(Opcode::SDiv, dividend, wide);
  const Value remainder = b_.binary(Opcode::SRem, dividend, wide);
  if (insn.size == 3) {
    set_gpr(RAX, 3, quotient);
    set_gpr(RDX, 3, remainder);
    return;
  }
  const Value narrow = b_.trunc(type_of(insn.size), quotient);
  const Value rest = b_.trunc(type_of(insn.size), remainder);
  raise_if(b_.compare(ir::Cond::NotEqual, b_.sext(type, narrow), quotient), kDE);
  if (insn.size == 0) {
    set_gpr(RAX, 1, b_.or_(b_.zext(Type::I16, narrow), b_.shl(b_.zext(Type::I16, rest), b_.i8(8))));
  } else {
    set_gpr(RAX, insn.size, narrow);
    set_gpr(RDX, insn.size, rest);
  }
}

void Emitter::bcd(const Insn& insn) { call(H_bcd, {b_.i64(insn.row->arg), b_.i64(insn.imm)}); }

void Emitter::cmpxchg(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::ReadWrite);
  const Value source = load(place(insn, 1, AccessKind::Read));
  const Value expected = get_gpr(RAX, to.log2);
  const Value old_rax = b_.get(gpr_field(RAX));
  Value old, equal;
  if (locks(insn)) {
    old = b_.cas(to.value, expected, source, to.mem);
    equal = b_.compare(ir::Cond::Equal, old, expected);
  } else {
    old = load(to);
    equal = b_.compare(ir::Cond::Equal, old, expected);
    const bool is_wide_register = !to.is_memory() && to.log2 == 2;
    if (is_wide_register) {
      // Only a write clears the upper half: on a mismatch the register stays as it is.
      const Value whole = b_.get(gpr_field(to.reg));
      const Value rax = b_.select(equal, old_rax, merged_gpr(RAX, 2, old));
      b_.set(gpr_field(RAX), rax);
      if (to.reg == RAX) {
        b_.set(gpr_field(RAX), b_.zext(Type::I64, source));  // always equal
      } else {
        b_.set(gpr_field(to.reg), b_.select(equal, b_.zext(Type::I64, source), whole));
      }
      if (wants_flags(insn)) b_.set_flags(b_.flags2(Opcode::FlCmp, expected, old));
      return;
    }
    if (to.is_memory()) store(to, b_.select(equal, source, old));
  }
  b_.set(gpr_field(RAX), b_.select(equal, old_rax, merged_gpr(RAX, to.log2, old)));
  if (!to.is_memory()) store(to, b_.select(equal, source, old));
  if (wants_flags(insn)) b_.set_flags(b_.flags2(Opcode::FlCmp, expected, old));
}

/// CMPXCHG8B, and CMPXCHG16B with REX.W.
void Emitter::cmpxchg8b(const Insn& insn) {
  if (insn.rex_w()) {
    const Value address = linear_value(linear(effective(insn), 16, AccessKind::ReadWrite));
    call(H_cmpxchg16b, {address});
    return;
  }
  const auto pair = [&](Gpr high, Gpr low) {
    return b_.or_(b_.shl(b_.get(gpr_field(high)), b_.i8(32)), b_.zext(Type::I64, get_gpr(low, 2)));
  };
  const Place to = memory_place(insn, 3, AccessKind::ReadWrite);
  const Value expected = pair(RDX, RAX);
  const Value old = b_.cas(to.value, expected, pair(RCX, RBX), to.mem);
  const Value equal = b_.compare(ir::Cond::Equal, old, expected);
  const auto keep = [&](Gpr reg, Value part) {
    const Value before = b_.get(gpr_field(reg));
    b_.set(gpr_field(reg), b_.select(equal, before, part));
  };
  keep(RAX, b_.zext(Type::I64, b_.trunc(Type::I32, old)));
  keep(RDX, b_.shr(old, b_.i8(32)));
  set_packed_bits(packed_flags(), kZF, flag_bit(equal, 6));
}

void Emitter::xadd(const Insn& insn) {
  const Place to = place(insn, 0, AccessKind::ReadWrite);
  const Place from = place(insn, 1, AccessKind::ReadWrite);
  const Value b = load(from);
  Value a, result;
  if (locks(insn)) {
    a = rmw(RmwOp::Add, to, b);
    result = b_.add(a, b);
    store(from, a);
  } else {
    a = load(to);
    result = b_.add(a, b);
    if (to.is_memory()) {
      store(to, result);
      store(from, a);
    } else {
      store(from, a);
      store(to, result);  // last: with one register for both, it holds the sum
    }
  }
  if (wants_flags(insn)) b_.set_flags(b_.flags3(Opcode::FlAdd, a, b, result));
}

/// ADCX (through CF) and ADOX (through OF). They come in long rows that carry in both flags: in a row, the two are values
/// of their own, and the flags are put together for those who look.
void Emitter::adcx(const Insn& insn) {
  const bool through_of = insn.row->arg == 1;
  const Value b = read(insn, 1), a = read(insn, 0);
  const Value before = b_.get_flags();
  if (adx_.flags.ref != before.ref) {
    const Value packed = b_.fl_pack(before);
    adx_.carry = b_.trunc(Type::I1, packed);
    adx_.overflow = b_.trunc(Type::I1, b_.shr(packed, b_.i8(11)));
    adx_.others = b_.and_(packed, b_.i64(tcg::kFlagsAll & ~(tcg::kFlagCarry | tcg::kFlagOverflow)));
  }
  Value& carry = through_of ? adx_.overflow : adx_.carry;
  const Value result = b_.with_carry(Opcode::AddCarry, a, b, carry);
  set_gpr(insn.reg, insn.size, result);
  carry = b_.carry_out(Opcode::CarryOut, a, b, result);
  if (!wants_flags(insn)) return;
  const Value but_overflow = b_.or_(adx_.others, b_.zext(Type::I64, adx_.carry));
  b_.set_flags(b_.flags2(Opcode::FlJoin, but_overflow, b_.zext(Type::I64, adx_.overflow)));
  adx_.flags = b_.get_flags();
}

void Emitter::crc32(const Insn& insn) {
  const Value value = to_i64(read(insn, 1));
  const Value result = call(H_crc32, {to_i64(get_gpr(insn.reg, 2)), value, b_.i64(1u << insn.size)});
  b_.set(gpr_field(insn.reg), result);
}

}  // namespace emu::x86
