// SPDX-License-Identifier: Apache-2.0
// x87 operations on the host's own unit, which is live in these blocks. Exceptions are masked there.
#include "tcg/host/x86_64/compiler.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

using ir::X87Op;

constexpr i32 kControl = i32(offsetof(EnvHeader, fpu_control));
constexpr u16 kExceptionMasks = 0x3f;

struct Plain {
  u8 first = 0, second = 0;
  bool has_reg = false;
};

/// Operations that are one instruction without memory operand.
Plain plain(X87Op op) {
  switch (op) {
    case X87Op::Push1:
      return {0xd9, 0xe8};
    case X87Op::PushL2T:
      return {0xd9, 0xe9};
    case X87Op::PushL2E:
      return {0xd9, 0xea};
    case X87Op::PushPi:
      return {0xd9, 0xeb};
    case X87Op::PushLg2:
      return {0xd9, 0xec};
    case X87Op::PushLn2:
      return {0xd9, 0xed};
    case X87Op::Push0:
      return {0xd9, 0xee};
    case X87Op::PushReg:
      return {0xd9, 0xc0, true};
    case X87Op::StoreReg:
      return {0xdd, 0xd0, true};
    case X87Op::StoreRegPop:
      return {0xdd, 0xd8, true};
    case X87Op::Chs:
      return {0xd9, 0xe0};
    case X87Op::Abs:
      return {0xd9, 0xe1};
    case X87Op::Tst:
      return {0xd9, 0xe4};
    case X87Op::Xam:
      return {0xd9, 0xe5};
    case X87Op::F2xm1:
      return {0xd9, 0xf0};
    case X87Op::Yl2x:
      return {0xd9, 0xf1};
    case X87Op::Ptan:
      return {0xd9, 0xf2};
    case X87Op::Patan:
      return {0xd9, 0xf3};
    case X87Op::Xtract:
      return {0xd9, 0xf4};
    case X87Op::Prem1:
      return {0xd9, 0xf5};
    case X87Op::DecTop:
      return {0xd9, 0xf6};
    case X87Op::IncTop:
      return {0xd9, 0xf7};
    case X87Op::Prem:
      return {0xd9, 0xf8};
    case X87Op::Yl2xp1:
      return {0xd9, 0xf9};
    case X87Op::Sqrt:
      return {0xd9, 0xfa};
    case X87Op::Sincos:
      return {0xd9, 0xfb};
    case X87Op::Rndint:
      return {0xd9, 0xfc};
    case X87Op::Scale:
      return {0xd9, 0xfd};
    case X87Op::Sin:
      return {0xd9, 0xfe};
    case X87Op::Cos:
      return {0xd9, 0xff};
    case X87Op::Com:
      return {0xd8, 0xd0, true};
    case X87Op::ComPop:
      return {0xd8, 0xd8, true};
    case X87Op::Ucom:
      return {0xdd, 0xe0, true};
    case X87Op::UcomPop:
      return {0xdd, 0xe8, true};
    case X87Op::ComPopPop:
      return {0xde, 0xd9};
    case X87Op::UcomPopPop:
      return {0xda, 0xe9};
    case X87Op::Exchange:
      return {0xd9, 0xc8, true};
    case X87Op::Free:
      return {0xdd, 0xc0, true};
    case X87Op::ClearExceptions:
      return {0xdb, 0xe2};
    default:
      return {};
  }
}

/// Operations with a memory operand, read or written: escape byte and digit.
struct WithMemory {
  u8 escape = 0;
  u8 digit = 0;
};
WithMemory with_memory(X87Op op) {
  switch (op) {
    case X87Op::PushF32:
      return {0xd9, 0};
    case X87Op::PushF64:
      return {0xdd, 0};
    case X87Op::PushI16:
      return {0xdf, 0};
    case X87Op::PushI32:
      return {0xdb, 0};
    case X87Op::PushI64:
      return {0xdf, 5};
    case X87Op::ComF32:
      return {0xd8, 2};
    case X87Op::ComF64:
      return {0xdc, 2};
    case X87Op::ComI16:
      return {0xde, 2};
    case X87Op::ComI32:
      return {0xda, 2};
    case X87Op::ToF32:
      return {0xd9, 2};
    case X87Op::ToF64:
      return {0xdd, 2};
    case X87Op::ToI16:
      return {0xdf, 2};
    case X87Op::ToI32:
      return {0xdb, 2};
    // These exist only with a pop.
    case X87Op::ToI64:
      return {0xdf, 7};
    case X87Op::ToI16Trunc:
      return {0xdf, 1};
    case X87Op::ToI32Trunc:
      return {0xdb, 1};
    case X87Op::ToI64Trunc:
      return {0xdd, 1};
    default:
      return {};
  }
}
bool pops(X87Op op) { return op >= X87Op::ToI64 && op <= X87Op::ToI64Trunc; }

/// The form of a store that also pops: the next digit, where there is one that does not.
WithMemory with_memory_and_pop(X87Op op) {
  WithMemory m = with_memory(op);
  if (m.escape && !pops(op)) m.digit = u8(m.digit + 1);
  return m;
}

/// Arithmetic rows stand as Add Sub SubR Mul Div DivR, seven forms each. Where the result goes to ST(reg), subtract and
/// divide change places with their reverses.
constexpr u8 kGroup[] = {0, 4, 5, 1, 6, 7};
constexpr u8 kGroupToReg[] = {0, 5, 4, 1, 7, 6};

}  // namespace

Mem Compiler::x87_operand(Ref r, Type type) {
  const Operand o = operand(r, type);
  if (o.kind == Operand::Slot) return slot(o.offset);
  const Width w = width_of(type);
  if (o.is_imm32())
    hot_.mov_imm(w, slot(kTransient), i32(o.value));
  else
    hot_.mov(w, slot(kTransient), use_reg(r, type));
  return slot(kTransient);
}

void Compiler::emit_x87_result(u32 id, Type type) {
  if (!is_used(id)) return;
  const Reg d = dest(id);
  hot_.movzx(width_of(type), d, slot(kTransient));
  define(id, d, true);
}

/// A pop after a store or comparison is that instruction again in its popping form, for nothing else leaves C1 as it
/// is.
void Compiler::emit_x87_pop(const Op& previous) {
  const X87Op x = ir::x87_op_of(previous.c.bits());
  if (x == X87Op::ComToFlags || x == X87Op::UcomToFlags) {
    const u8 reg = u8(ir::immediate_of(previous.c.bits()) & 7);
    return hot_.x87(0xdf, u8((x == X87Op::ComToFlags ? 0xf0 : 0xe8) | reg));
  }
  if (ir::x87_result_type(x) != Type::Void) {
    if (const WithMemory m = with_memory_and_pop(x); m.escape) return hot_.x87(m.escape, m.digit, slot(kTransient));
  }
  hot_.x87(0xdd, 0xc0);
  hot_.x87(0xd9, 0xf7);
}

void Compiler::emit_x87(u32 id, const Op& op) {
  const Op& previous = block_->ops[last_x87_];
  last_x87_ = id;
  const X87Op x = ir::x87_op_of(op.c.bits());
  const u8 reg = u8(ir::immediate_of(op.c.bits()) & 7);
  const Type result = ir::x87_result_type(x);
  if (const Plain p = plain(x); p.first) return hot_.x87(p.first, u8(p.second | (p.has_reg ? reg : 0)));
  if (x >= X87Op::Add && x < X87Op::Chs) {
    const unsigned row = unsigned(x) - unsigned(X87Op::Add), form = row % 7;
    const u8 group = kGroup[row / 7], to_reg = kGroupToReg[row / 7];
    switch (form) {
      case 0:
        return hot_.x87(0xd8, u8(0xc0 | group << 3 | reg));
      case 1:
        return hot_.x87(0xdc, u8(0xc0 | to_reg << 3 | reg));
      case 2:
        return hot_.x87(0xde, u8(0xc0 | to_reg << 3 | reg));
      default:
        break;
    }
    constexpr u8 kEscape[] = {0xd8, 0xdc, 0xde, 0xda};
    return hot_.x87(kEscape[form - 3], group, x87_operand(op.a, ir::x87_operand_type(x, 0)));
  }
  if (const WithMemory m = with_memory(x); m.escape) {
    if (result == Type::Void) return hot_.x87(m.escape, m.digit, x87_operand(op.a, ir::x87_operand_type(x, 0)));
    if (pops(x)) {  // ST(0) is put aside and loaded again, which neither rounds nor needs a free register
      hot_.x87(0xdb, 7, slot(kTransient + 16));
      hot_.x87(0xdb, 5, slot(kTransient + 16));
      hot_.x87(m.escape, m.digit, slot(kTransient));
      hot_.x87(0xdb, 5, slot(kTransient + 16));
    } else {
      hot_.x87(m.escape, m.digit, slot(kTransient));
    }
    return emit_x87_result(id, result);
  }
  switch (x) {
    case X87Op::PushF80: {
      const Reg low = use_reg(op.a, Type::I64);
      hot_.mov(Width::q, slot(kTransient), low);
      const Reg high = use_reg(op.b, Type::I16);
      hot_.mov(Width::w, slot(kTransient + 8), high);
      return hot_.x87(0xdb, 5, slot(kTransient));
    }
    case X87Op::ToF80Low:
    case X87Op::ToF80High: {
      hot_.x87(0xdb, 7, slot(kTransient + 16));
      hot_.x87(0xdb, 5, slot(kTransient + 16));
      if (!is_used(id)) return;
      const Reg d = dest(id);
      if (x == X87Op::ToF80Low)
        hot_.mov(Width::q, d, slot(kTransient + 16));
      else
        hot_.movzx(Width::w, d, slot(kTransient + 24));
      return define(id, d, true);
    }
    case X87Op::Pop:
      return emit_x87_pop(previous);
    case X87Op::ComToFlags:
    case X87Op::UcomToFlags: {
      hot_.x87(0xdb, u8((x == X87Op::ComToFlags ? 0xf0 : 0xe8) | reg));
      hot_.flags_changed();
      const Reg d = temp();
      hot_.pushfq();
      hot_.pop(d);
      hot_.alu_imm(Alu::And, Width::d, d, i32(kFlagCarry | kFlagParity | kFlagZero));
      return define(id, d, true);
    }
    case X87Op::Init:
      hot_.x87(0xdb, 0xe3);
      return hot_.mov_imm(Width::d, slot(kControl), 0x37f);
    case X87Op::StatusWord:
      hot_.x87(0xdd, 7, slot(kTransient));
      return emit_x87_result(id, Type::I16);
    case X87Op::ControlWord: {
      if (!is_used(id)) return;
      const Reg d = dest(id);
      hot_.movzx(Width::w, d, slot(kControl));
      return define(id, d, true);
    }
    case X87Op::LoadControl: {  // reserved bits read back as on hardware: bit 6 one, 7 and 13..15 zero
      const Reg t = temp();
      load(t, operand(op.a, Type::I16), Width::w, true);
      hot_.alu_imm(Alu::And, Width::d, t, 0x1f3f);
      hot_.alu_imm(Alu::Or, Width::d, t, 0x40);
      hot_.mov(Width::d, slot(kControl), t);
      hot_.alu_imm(Alu::Or, Width::d, t, kExceptionMasks);
      hot_.mov(Width::w, slot(kTransient), t);
      return hot_.x87(0xd9, 5, slot(kTransient));
    }
    case X87Op::Wait:
      return;
    case X87Op::CmovIf: {
      const Reg r = use_reg(op.a, Type::I1);
      hot_.bt_imm(Width::d, r, 0);
      return hot_.x87(0xda, u8(0xc0 | reg));
    }
    default:
      EMU_CHECK(!"an x87 operation without encoding");
  }
}

}  // namespace emu::tcg::x86_64
