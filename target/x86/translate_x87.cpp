// SPDX-License-Identifier: Apache-2.0
// x87 instructions, escapes D8 to DF: each is one IR X87 operation, which a host with an x87 unit runs as such. SDM Vol. 1
// chapter 8, Vol. 2 tables.
//
// Deviation: unmasked exceptions are not raised (#MF); their status bits are set.
#include <array>

#include "target/x86/translate_emitter.h"

namespace emu::x86 {
namespace {

using ir::X87Op;

/// Rows of eight by ModRM.reg.
using OpRow = std::array<X87Op, 8>;
constexpr OpRow kArithmeticTop = {X87Op::Add, X87Op::Mul, X87Op::Com, X87Op::ComPop, X87Op::Sub, X87Op::SubR, X87Op::Div, X87Op::DivR};
/// DC and DE: ST(i) is the destination, and the reversed forms change places.
constexpr OpRow kArithmeticReg = {X87Op::AddReg, X87Op::MulReg, X87Op::Com, X87Op::ComPop, X87Op::SubRReg, X87Op::SubReg, X87Op::DivRReg, X87Op::DivReg};
constexpr OpRow kArithmeticPop = {X87Op::AddRegPop, X87Op::MulRegPop, X87Op::ComPop, X87Op::ComPopPop, X87Op::SubRRegPop, X87Op::SubRegPop, X87Op::DivRRegPop, X87Op::DivRegPop};
constexpr OpRow kArithmeticF32 = {X87Op::AddF32, X87Op::MulF32, X87Op::ComF32, X87Op::ComF32, X87Op::SubF32, X87Op::SubRF32, X87Op::DivF32, X87Op::DivRF32};
constexpr OpRow kArithmeticF64 = {X87Op::AddF64, X87Op::MulF64, X87Op::ComF64, X87Op::ComF64, X87Op::SubF64, X87Op::SubRF64, X87Op::DivF64, X87Op::DivRF64};
constexpr OpRow kArithmeticI32 = {X87Op::AddI32, X87Op::MulI32, X87Op::ComI32, X87Op::ComI32, X87Op::SubI32, X87Op::SubRI32, X87Op::DivI32, X87Op::DivRI32};
constexpr OpRow kArithmeticI16 = {X87Op::AddI16, X87Op::MulI16, X87Op::ComI16, X87Op::ComI16, X87Op::SubI16, X87Op::SubRI16, X87Op::DivI16, X87Op::DivRI16};
constexpr unsigned kCompareAndPop = 3;  ///< ModRM.reg of FCOMP in those rows

/// D9 E0 to D9 FF. kCount: no instruction.
constexpr X87Op kNone = X87Op::kCount;
constexpr std::array<X87Op, 32> kD9 = {
    X87Op::Chs, X87Op::Abs, kNone, kNone, X87Op::Tst, X87Op::Xam, kNone, kNone,
    X87Op::Push1, X87Op::PushL2T, X87Op::PushL2E, X87Op::PushPi, X87Op::PushLg2, X87Op::PushLn2, X87Op::Push0, kNone,
    X87Op::F2xm1, X87Op::Yl2x, X87Op::Ptan, X87Op::Patan, X87Op::Xtract, X87Op::Prem1, X87Op::DecTop, X87Op::IncTop,
    X87Op::Prem, X87Op::Yl2xp1, X87Op::Sqrt, X87Op::Sincos, X87Op::Rndint, X87Op::Scale, X87Op::Sin, X87Op::Cos};

}  // namespace

void Emitter::x87(const Insn& insn) {
  if (!translate_x87(insn)) undefined(insn);
}

bool Emitter::translate_x87(const Insn& insn) {
  const bool is_wait = insn.opcode == 0x9b;
  const bool unavailable = is_wait ? mode_.has(Mode::kCr0MP) && mode_.has(Mode::kCr0TS) : mode_.has(Mode::kCr0EM) || mode_.has(Mode::kCr0TS);
  if (unavailable) {
    raise(kNM);
    return true;
  }
  b_.block().uses_fpu = true;
  if (is_wait) {
    b_.x87(X87Op::Wait);
    return true;
  }
  return insn.is_memory ? x87_memory(insn) : x87_register(insn);
}

void Emitter::x87_arithmetic_memory(const Insn& insn, X87Op op, unsigned log2) {
  const Value v = load(memory_place(insn, log2, AccessKind::Read));
  b_.x87(op, 0, v);
  if ((insn.modrm >> 3 & 7) == kCompareAndPop) b_.x87(X87Op::Pop);
}

void Emitter::x87_push_memory(const Insn& insn, X87Op op, unsigned log2) {
  b_.x87(op, 0, load(memory_place(insn, log2, AccessKind::Read)));
}

/// The store can fault, so it comes before the pop.
void Emitter::x87_store_memory(const Insn& insn, X87Op op, unsigned log2, bool pops) {
  const Place p = memory_place(insn, log2, AccessKind::Write);
  store(p, b_.x87(op));
  if (pops) b_.x87(X87Op::Pop);
}

void Emitter::x87_image(const Insn& insn, Helper helper, u64 bytes, AccessKind kind) {
  call(helper, {linear_value(linear(effective(insn), bytes, kind)), b_.i64(insn.size == 1 ? 2 : 4)});
}

bool Emitter::x87_memory(const Insn& insn) {
  const unsigned reg = insn.modrm >> 3 & 7;
  switch (insn.opcode) {
    case 0xd8: return x87_arithmetic_memory(insn, kArithmeticF32[reg], 2), true;
    case 0xda: return x87_arithmetic_memory(insn, kArithmeticI32[reg], 2), true;
    case 0xdc: return x87_arithmetic_memory(insn, kArithmeticF64[reg], 3), true;
    case 0xde: return x87_arithmetic_memory(insn, kArithmeticI16[reg], 1), true;
    case 0xd9: return x87_memory_d9(insn, reg);
    case 0xdb: return x87_memory_db(insn, reg);
    case 0xdd: return x87_memory_dd(insn, reg);
    default: return x87_memory_df(insn, reg);
  }
}

bool Emitter::x87_memory_d9(const Insn& insn, unsigned reg) {
  switch (reg) {
    case 0: return x87_push_memory(insn, X87Op::PushF32, 2), true;
    case 2: return x87_store_memory(insn, X87Op::ToF32, 2, false), true;
    case 3: return x87_store_memory(insn, X87Op::ToF32, 2, true), true;
    case 4: return x87_image(insn, H_fldenv, insn.size == 1 ? 14 : 28, AccessKind::Read), true;
    case 5: return x87_push_memory(insn, X87Op::LoadControl, 1), true;
    case 6: return x87_image(insn, H_fstenv, insn.size == 1 ? 14 : 28, AccessKind::Write), true;
    case 7: return x87_store_memory(insn, X87Op::ControlWord, 1, false), true;
    default: return false;
  }
}

bool Emitter::x87_memory_db(const Insn& insn, unsigned reg) {
  switch (reg) {
    case 0: return x87_push_memory(insn, X87Op::PushI32, 2), true;
    case 1: return x87_store_memory(insn, X87Op::ToI32Trunc, 2, true), true;
    case 2: return x87_store_memory(insn, X87Op::ToI32, 2, false), true;
    case 3: return x87_store_memory(insn, X87Op::ToI32, 2, true), true;
    case 5: {
      Linear l = linear(effective(insn), 10, AccessKind::Read);
      const Value low = load_at(l, 3);
      l.disp += 8;
      b_.x87(X87Op::PushF80, 0, low, load_at(l, 1));
      return true;
    }
    case 7: {
      Linear l = linear(effective(insn), 10, AccessKind::Write);
      ir::MemInfo high = mem_info(1, l);
      high.disp += 8;
      b_.probe(l.address, high);  // both parts or neither
      store_at(l, b_.x87(X87Op::ToF80Low));
      l.disp += 8;
      store_at(l, b_.x87(X87Op::ToF80High));
      b_.x87(X87Op::Pop);
      return true;
    }
    default: return false;
  }
}

bool Emitter::x87_memory_dd(const Insn& insn, unsigned reg) {
  switch (reg) {
    case 0: return x87_push_memory(insn, X87Op::PushF64, 3), true;
    case 1: return x87_store_memory(insn, X87Op::ToI64Trunc, 3, true), true;
    case 2: return x87_store_memory(insn, X87Op::ToF64, 3, false), true;
    case 3: return x87_store_memory(insn, X87Op::ToF64, 3, true), true;
    case 4: return x87_image(insn, H_frstor, insn.size == 1 ? 94 : 108, AccessKind::Read), true;
    case 6: return x87_image(insn, H_fsave, insn.size == 1 ? 94 : 108, AccessKind::Write), true;
    case 7: return x87_store_memory(insn, X87Op::StatusWord, 1, false), true;
    default: return false;
  }
}

bool Emitter::x87_memory_df(const Insn& insn, unsigned reg) {
  switch (reg) {
    case 0: return x87_push_memory(insn, X87Op::PushI16, 1), true;
    case 1: return x87_store_memory(insn, X87Op::ToI16Trunc, 1, true), true;
    case 2: return x87_store_memory(insn, X87Op::ToI16, 1, false), true;
    case 3: return x87_store_memory(insn, X87Op::ToI16, 1, true), true;
    case 4: return call(H_fbld, {linear_value(linear(effective(insn), 10, AccessKind::Read))}), true;
    case 5: return x87_push_memory(insn, X87Op::PushI64, 3), true;
    case 6: return call(H_fbstp, {linear_value(linear(effective(insn), 10, AccessKind::Write))}), true;
    default: return x87_store_memory(insn, X87Op::ToI64, 3, true), true;
  }
}

bool Emitter::x87_register(const Insn& insn) {
  const unsigned reg = insn.modrm >> 3 & 7, st = insn.modrm & 7;
  switch (insn.opcode) {
    case 0xd8: b_.x87(kArithmeticTop[reg], st); return true;
    case 0xdc: b_.x87(kArithmeticReg[reg], st); return true;
    case 0xde:
      if (reg == kCompareAndPop && st != 1) return false;  // only FCOMPP
      b_.x87(kArithmeticPop[reg], st);
      return true;
    case 0xd9: return x87_register_d9(reg, st);
    case 0xda:
      if (reg < 4) return x87_move_if(reg, false, st), true;
      if (insn.modrm != 0xe9) return false;
      b_.x87(X87Op::UcomPopPop);
      return true;
    case 0xdb: return x87_register_db(insn.modrm, reg, st);
    case 0xdd: return x87_register_dd(reg, st);
    default: return x87_register_df(insn.modrm, reg, st);
  }
}

bool Emitter::x87_register_d9(unsigned reg, unsigned st) {
  switch (reg) {
    case 0: b_.x87(X87Op::PushReg, st); return true;
    case 1: b_.x87(X87Op::Exchange, st); return true;
    case 2: return st == 0;  // FNOP
    case 3: b_.x87(X87Op::StoreRegPop, st); return true;
    default: break;
  }
  const X87Op op = kD9[(reg - 4) * 8 + st];
  if (op == kNone) return false;
  b_.x87(op);
  return true;
}

/// FCMOVcc: B, E, BE, U by ModRM.reg, negated in DB.
void Emitter::x87_move_if(unsigned which, bool negated, unsigned st) {
  constexpr std::array<ir::Cond, 4> kConditions = {ir::Cond::Below, ir::Cond::Equal, ir::Cond::BelowEqual, ir::Cond::Parity};
  const ir::Cond c = kConditions[which];
  b_.x87(X87Op::CmovIf, st, b_.fl_is(negated ? tcg::invert(c) : c, b_.get_flags()));
}

/// FCOMI and its like: ZF, PF and CF from the comparison; OF, SF and AF are cleared.
void Emitter::x87_compare_flags(X87Op op, unsigned st, bool pops) {
  const Value flags = b_.x87(op, st);
  if (pops) b_.x87(X87Op::Pop);
  b_.set_flags(b_.fl_unpack(flags));
}

bool Emitter::x87_register_db(u8 modrm, unsigned reg, unsigned st) {
  if (reg < 4) return x87_move_if(reg, true, st), true;
  if (reg == 5) return x87_compare_flags(X87Op::UcomToFlags, st, false), true;
  if (reg == 6) return x87_compare_flags(X87Op::ComToFlags, st, false), true;
  switch (modrm) {
    case 0xe2: b_.x87(X87Op::ClearExceptions); return true;
    case 0xe3: b_.x87(X87Op::Init); return true;
    case 0xe0: case 0xe1: case 0xe4: return true;  // FNENI, FNDISI, FNSETPM: no-ops since the 80387
    default: return false;
  }
}

bool Emitter::x87_register_dd(unsigned reg, unsigned st) {
  constexpr std::array<X87Op, 8> kOps = {X87Op::Free, X87Op::Exchange, X87Op::StoreReg, X87Op::StoreRegPop, X87Op::Ucom, X87Op::UcomPop, kNone, kNone};
  if (kOps[reg] == kNone) return false;
  b_.x87(kOps[reg], st);
  return true;
}

bool Emitter::x87_register_df(u8 modrm, unsigned reg, unsigned st) {
  switch (reg) {
    case 0:  // FFREEP
      b_.x87(X87Op::Free, st);
      b_.x87(X87Op::Pop);
      return true;
    case 1: b_.x87(X87Op::Exchange, st); return true;
    case 2: case 3: b_.x87(X87Op::StoreRegPop, st); return true;
    case 4:
      if (modrm != 0xe0) return false;
      set_gpr(RAX, 1, b_.x87(X87Op::StatusWord));
      return true;
    case 5: return x87_compare_flags(X87Op::UcomToFlags, st, true), true;
    case 6: return x87_compare_flags(X87Op::ComToFlags, st, true), true;
    default: return false;
  }
}

}  // namespace emu::x86
