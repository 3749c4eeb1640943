// SPDX-License-Identifier: Apache-2.0
// Vector operations: legacy SSE one to one, so that upper halves are kept as legacy SSE keeps them.
#include <array>

#include "tcg/host/x86_64/compiler.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

using ir::VecOp;

/// How the second operand may be given.
enum class Form : u8 {
  Any,       ///< register or memory
  GroupImm,  ///< shift of the destination by an immediate; `digit`
  Low32,     ///< MOVSS: from memory it would zero the rest, INSERTPS does not
  Low64,     ///< MOVSD, likewise; MOVLPS
  High64,    ///< MOVHLPS: MOVLPS of the high half in memory
  Lane32,    ///< INSERTPS: from memory the lane is chosen by address
};
struct Encoding {
  u8 prefix = 0;
  u32 opcode = 0;
  Form form = Form::Any;
  u8 digit = 0;
};

Encoding encoding(VecOp op) {
  constexpr u8 k66 = 0x66, kF2 = 0xf2, kF3 = 0xf3;
  switch (op) {
#define FP(name, code)    \
  case VecOp::name##F32:  \
    return {0, code};     \
  case VecOp::name##F64:  \
    return {k66, code};   \
  case VecOp::name##SF32: \
    return {kF3, code};   \
  case VecOp::name##SF64: \
    return {kF2, code};
    FP(VAdd, 0x0f58)
    FP(VSub, 0x0f5c) FP(VMul, 0x0f59) FP(VDiv, 0x0f5e) FP(VMin, 0x0f5d) FP(VMax, 0x0f5f) FP(VSqrt, 0x0f51)
        FP(VCmp, 0x0fc2)
#undef FP
            case VecOp::VRoundF32 : return {k66, 0x0f3a08};
    case VecOp::VRoundF64:
      return {k66, 0x0f3a09};
    case VecOp::VRoundSF32:
      return {k66, 0x0f3a0a};
    case VecOp::VRoundSF64:
      return {k66, 0x0f3a0b};
    case VecOp::VInsertF32:
      return {k66, 0x0f3a21, Form::Lane32};
    case VecOp::VDotF32:
      return {k66, 0x0f3a40};
    case VecOp::VDotF64:
      return {k66, 0x0f3a41};
    case VecOp::VRcpF32:
      return {0, 0x0f53};
    case VecOp::VRsqrtF32:
      return {0, 0x0f52};
    case VecOp::VRcpSF32:
      return {kF3, 0x0f53};
    case VecOp::VRsqrtSF32:
      return {kF3, 0x0f52};
    case VecOp::VCvtF32F64:
      return {0, 0x0f5a};
    case VecOp::VCvtF64F32:
      return {k66, 0x0f5a};
    case VecOp::VCvtSF32F64:
      return {kF3, 0x0f5a};
    case VecOp::VCvtSF64F32:
      return {kF2, 0x0f5a};
    case VecOp::VCvtI32F32:
      return {0, 0x0f5b};
    case VecOp::VCvtI32F64:
      return {kF3, 0x0fe6};
    case VecOp::VCvtF32I32:
      return {k66, 0x0f5b};
    case VecOp::VCvttF32I32:
      return {kF3, 0x0f5b};
    case VecOp::VCvtF64I32:
      return {kF2, 0x0fe6};
    case VecOp::VCvttF64I32:
      return {k66, 0x0fe6};
    case VecOp::VMergeLow32:
      return {kF3, 0x0f10, Form::Low32};
    case VecOp::VMergeLow64:
      return {kF2, 0x0f10, Form::Low64};
    case VecOp::VZeroHigh64:
      return {kF3, 0x0f7e};
    case VecOp::VLowToHigh64:
      return {0, 0x0f16};
    case VecOp::VHighToLow64:
      return {0, 0x0f12, Form::High64};
    case VecOp::VUnpackLoF32:
      return {0, 0x0f14};
    case VecOp::VUnpackHiF32:
      return {0, 0x0f15};
    case VecOp::VUnpackLo64:
      return {k66, 0x0f6c};
    case VecOp::VUnpackHi64:
      return {k66, 0x0f6d};
    case VecOp::VUnpackLo8:
      return {k66, 0x0f60};
    case VecOp::VUnpackHi8:
      return {k66, 0x0f68};
    case VecOp::VUnpackLo16:
      return {k66, 0x0f61};
    case VecOp::VUnpackHi16:
      return {k66, 0x0f69};
    case VecOp::VShufF32:
      return {0, 0x0fc6};
    case VecOp::VShufF64:
      return {k66, 0x0fc6};
    case VecOp::VShufI32:
      return {k66, 0x0f70};
    case VecOp::VShufLo16:
      return {kF2, 0x0f70};
    case VecOp::VShufHi16:
      return {kF3, 0x0f70};
    case VecOp::VShlBytes:
      return {k66, 0x0f73, Form::GroupImm, 7};
    case VecOp::VShrBytes:
      return {k66, 0x0f73, Form::GroupImm, 3};
    case VecOp::VShlI16:
      return {k66, 0x0f71, Form::GroupImm, 6};
    case VecOp::VShrI16:
      return {k66, 0x0f71, Form::GroupImm, 2};
    case VecOp::VSarI16:
      return {k66, 0x0f71, Form::GroupImm, 4};
    case VecOp::VShlI32:
      return {k66, 0x0f72, Form::GroupImm, 6};
    case VecOp::VShrI32:
      return {k66, 0x0f72, Form::GroupImm, 2};
    case VecOp::VSarI32:
      return {k66, 0x0f72, Form::GroupImm, 4};
    case VecOp::VShlI64:
      return {k66, 0x0f73, Form::GroupImm, 6};
    case VecOp::VShrI64:
      return {k66, 0x0f73, Form::GroupImm, 2};
#define INT(name, code) \
  case VecOp::name:     \
    return {k66, 0x0f00 | code};
      INT(VAnd, 0xdb)
      INT(VAndNot, 0xdf) INT(VOr, 0xeb) INT(VXor, 0xef) INT(VAddI8, 0xfc) INT(VSubI8, 0xf8) INT(VAddI16, 0xfd) INT(
          VSubI16, 0xf9) INT(VAddI32, 0xfe) INT(VSubI32, 0xfa) INT(VAddI64, 0xd4) INT(VSubI64, 0xfb)
          INT(VAddSatI8, 0xec) INT(VSubSatI8, 0xe8) INT(VAddSatU8, 0xdc) INT(VSubSatU8, 0xd8) INT(VAddSatI16, 0xed) INT(
              VSubSatI16, 0xe9) INT(VAddSatU16, 0xdd) INT(VSubSatU16, 0xd9) INT(VMulLo16, 0xd5) INT(VMulHiI16, 0xe5)
              INT(VMulHiU16, 0xe4) INT(VMulU32, 0xf4) INT(VMulAddI16, 0xf5) INT(VSadU8, 0xf6) INT(VAvgU8, 0xe0)
                  INT(VAvgU16, 0xe3) INT(VMinU8, 0xda) INT(VMaxU8, 0xde) INT(VMinI16, 0xea) INT(VMaxI16, 0xee) INT(
                      VCmpEq8, 0x74) INT(VCmpEq16, 0x75) INT(VCmpEq32, 0x76) INT(VCmpGtI8, 0x64) INT(VCmpGtI16, 0x65)
                      INT(VCmpGtI32, 0x66) INT(VPackI16I8, 0x63) INT(VPackI32I16, 0x6b) INT(VPackI16U8, 0x67)
                          INT(VShlV16, 0xf1) INT(VShrV16, 0xd1) INT(VSarV16, 0xe1) INT(VShlV32, 0xf2) INT(VShrV32, 0xd2)
                              INT(VSarV32, 0xe2) INT(VShlV64, 0xf3) INT(VShrV64, 0xd3)
#undef INT
#define SSE4(name, code) \
  case VecOp::name:      \
    return {k66, 0x0f0000 | code};
                                  SSE4(VShuffle8, 0x3800)
                                      SSE4(VHAddI16, 0x3801) SSE4(VHAddI32, 0x3802) SSE4(VHAddSatI16, 0x3803)
                                          SSE4(VMulAddU8I8, 0x3804) SSE4(VHSubI16, 0x3805) SSE4(VHSubI32, 0x3806) SSE4(
                                              VHSubSatI16, 0x3807) SSE4(VSignI8, 0x3808) SSE4(VSignI16, 0x3809)
                                              SSE4(VSignI32, 0x380a) SSE4(VMulRoundI16, 0x380b) SSE4(VAbsI8, 0x381c)
                                                  SSE4(VAbsI16, 0x381d) SSE4(VAbsI32, 0x381e) SSE4(VAlignBytes, 0x3a0f)
                                                      SSE4(VSextI8I16, 0x3820) SSE4(VSextI8I32, 0x3821)
                                                          SSE4(VSextI8I64, 0x3822) SSE4(VSextI16I32, 0x3823) SSE4(
                                                              VSextI16I64, 0x3824) SSE4(VSextI32I64, 0x3825)
                                                              SSE4(VZextU8U16, 0x3830) SSE4(VZextU8U32, 0x3831) SSE4(
                                                                  VZextU8U64, 0x3832) SSE4(VZextU16U32, 0x3833)
                                                                  SSE4(VZextU16U64, 0x3834) SSE4(VZextU32U64, 0x3835)
                                                                      SSE4(VMulI32, 0x3828) SSE4(VCmpEq64, 0x3829) SSE4(
                                                                          VPackI32U16, 0x382b) SSE4(VCmpGtI64, 0x3837)
                                                                          SSE4(VMinI8, 0x3838) SSE4(VMinI32, 0x3839)
                                                                              SSE4(VMinU16, 0x383a) SSE4(
                                                                                  VMinU32, 0x383b) SSE4(VMaxI8, 0x383c)
                                                                                  SSE4(VMaxI32, 0x383d) SSE4(VMaxU16,
                                                                                                             0x383e)
                                                                                      SSE4(VMaxU32, 0x383f) SSE4(
                                                                                          VMulLo32, 0x3840)
                                                                                          SSE4(VMinPosU16, 0x3841) SSE4(
                                                                                              VBlend16, 0x3a0e)
                                                                                              SSE4(VSadBlocks, 0x3a42)
#undef SSE4
                                                                                                  case VecOp::kCount
          : break;
  }
  EMU_CHECK(!"a vector operation without encoding");
}

}  // namespace

bool Compiler::emit_vector(u32 id, const Op& op) {
  switch (op.opcode) {
    case Opcode::Vec:
      emit_vec(id, op);
      return true;
    case Opcode::VecInsert:
      emit_vec_insert(id, op);
      return true;
    case Opcode::VecToInt:
      emit_vec_to_int(id, op);
      return true;
    case Opcode::X87:
      emit_x87(id, op);
      return true;
    case Opcode::VecFromInt: {
      const Reg r = use_reg(op.a, op.type);
      const Xmm d = vec_dest(id);
      hot_.movd_to(width_of(op.type), d, r);
      return define_xmm(id, d), true;
    }
    case Opcode::VecCvtFromInt: {
      const Reg r = use_reg(op.b, op.type);
      const Work w = legacy_work(id, op.a, op.a);
      load_xmm(w.reg, operand(op.a, Type::V128));
      hot_.sse_from_gpr(op.c.bits() & 1 ? 0xf2 : 0xf3, 0x0f2a, width_of(op.type), w.reg, r);
      return finish_legacy(id, w), true;
    }
    case Opcode::VecCvtToInt: {
      const Reg d = dest(id);
      const u8 prefix = op.c.bits() & 1 ? 0xf2 : 0xf3;
      const u32 opcode = op.c.bits() & 2 ? 0x0f2c : 0x0f2d;
      Operand a = operand(op.a, Type::V128);
      if (a.kind != Operand::Vec || a.xmm >= xmm16)
        hot_.sse_to_gpr(prefix, opcode, width_of(op.type), d, in_memory(a));
      else
        hot_.sse_to_gpr(prefix, opcode, width_of(op.type), d, a.xmm);
      return define(id, d, op.type == Type::I32), true;
    }
    case Opcode::VecMask: {
      const Reg d = dest(id);
      const Operand a = operand(op.a, Type::V128);
      Xmm x = a.xmm;
      const bool borrow = map_.borrow_save != kNoXmm && (a.kind != Operand::Vec || x >= xmm16);
      if (borrow) {
        x = xmm0;
        hot_.movaps(map_.borrow_save, x);
        load_xmm(x, a);
      } else if (a.kind != Operand::Vec) {
        x = use_xmm(op.a);
      }
      if (op.c.bits() == 0)
        hot_.sse_to_gpr(0x66, 0x0fd7, Width::d, d, x);
      else
        hot_.sse_to_gpr(op.c.bits() == 3 ? 0x66 : 0, 0x0f50, Width::d, d, x);
      if (borrow) hot_.movaps(x, map_.borrow_save);
      return define(id, d, true), true;
    }
    default:
      return false;
  }
}

Mem Compiler::in_memory(const Operand& v) {
  if (v.kind == Operand::Slot) return slot(v.offset);
  hot_.movaps(slot(kTransient), v.xmm);
  return slot(kTransient);
}

Compiler::Work Compiler::legacy_work(u32 id, Ref a, Ref b) {
  Work w;
  w.reg = w.result = vec_dest(id, a);
  if (w.reg < xmm16) return w;
  const Operand oa = operand(a, Type::V128), ob = operand(b, Type::V128);
  for (unsigned x = 0; x < 3; ++x) {
    if ((oa.kind != Operand::Vec || oa.xmm != x) && (ob.kind != Operand::Vec || ob.xmm != x)) w.reg = Xmm(x);
  }
  hot_.movaps(map_.borrow_save, w.reg);
  return w;
}

void Compiler::finish_legacy(u32 id, const Work& w) {
  if (w.reg != w.result) {
    hot_.movaps(w.result, w.reg);
    hot_.movaps(w.reg, map_.borrow_save);
  }
  define_xmm(id, w.result);
}

void Compiler::emit_vec(u32 id, const Op& op) {
  const VecOp vec = ir::vec_op_of(op.c.bits());
  const Encoding e = encoding(vec);
  const bool has_imm = ir::info(vec).immediate;
  const u8 imm = u8(ir::immediate_of(op.c.bits()));
  const bool unary = ir::info(vec).arity == 1;
  const Ref last = unary ? op.a : op.b;
  const Work w = legacy_work(id, op.a, last);
  if (e.form == Form::GroupImm) {
    load_xmm(w.reg, operand(op.a, Type::V128));
    hot_.sse_group_imm(e.prefix, e.opcode, e.digit, w.reg, imm);
    return finish_legacy(id, w);
  }
  Operand b = operand(last, Type::V128);
  const Operand a = operand(op.a, Type::V128);
  // The second operand is read after the first has been copied: it goes to memory if the copy overwrites it, or if
  // legacy SSE does not reach it.
  const bool overwritten =
      !unary && b.kind == Operand::Vec && b.xmm == w.reg && !(a.kind == Operand::Vec && a.xmm == w.reg);
  const bool to_memory = b.kind != Operand::Vec || b.xmm >= xmm16 || overwritten;
  Mem m;
  if (to_memory) m = in_memory(b);
  if (!unary) load_xmm(w.reg, a);
  if (!to_memory) {
    if (has_imm)
      hot_.sse_imm(e.prefix, e.opcode, w.reg, b.xmm, imm);
    else
      hot_.sse(e.prefix, e.opcode, w.reg, b.xmm);
    return finish_legacy(id, w);
  }
  switch (e.form) {
    case Form::Low32:
      hot_.sse_imm(0x66, 0x0f3a21, w.reg, m, 0);
      break;
    case Form::Low64:
      hot_.sse(0, 0x0f12, w.reg, m);
      break;
    case Form::Lane32:
      m.disp += 4 * (imm >> 6);
      hot_.sse_imm(e.prefix, e.opcode, w.reg, m, imm & 0x3f);
      break;
    case Form::High64:
      m.disp += 8;
      hot_.sse(0, 0x0f12, w.reg, m);
      break;
    default:
      if (has_imm)
        hot_.sse_imm(e.prefix, e.opcode, w.reg, m, imm);
      else
        hot_.sse(e.prefix, e.opcode, w.reg, m);
      break;
  }
  finish_legacy(id, w);
}

void Compiler::emit_vec_to_int(u32 id, const Op& op) {
  const Operand a = operand(op.a, Type::V128);
  const unsigned lane = op.c.bits();
  const Width size = width_of(op.type);
  const Reg d = dest(id);
  const bool first = lane == 0 && size >= Width::d;
  if (a.kind == Operand::Vec && first) {
    hot_.movd_from(size, d, a.xmm);
  } else if (a.kind != Operand::Vec || a.xmm >= xmm16) {
    Mem m = in_memory(a);
    m.disp += i32(lane << unsigned(size));
    hot_.movzx(size, d, m);
  } else if (size == Width::w) {
    hot_.sse_to_gpr_imm(0x66, 0x0fc5, Width::d, d, a.xmm, u8(lane));
  } else {  // PEXTRB, PEXTRD and PEXTRQ have the general register in the other field
    hot_.sse_from_gpr_imm(0x66, size == Width::b ? 0x0f3a14 : 0x0f3a16, size == Width::q ? Width::q : Width::d, a.xmm,
                          d, u8(lane));
  }
  define(id, d, true);
}

void Compiler::emit_vec_insert(u32 id, const Op& op) {
  const Width size = width_of(op.type);
  const u8 lane = u8(op.c.bits());
  const Reg r = use_reg(op.b, op.type);
  const Xmm d = vec_dest(id, op.a);
  const Operand a = operand(op.a, Type::V128);
  if (d >= xmm16) {
    const Xmm x = a.kind == Operand::Vec ? a.xmm : d;
    load_xmm(x, a);
    hot_.movaps(slot(kTransient), x);
    hot_.mov(size, slot(kTransient + (lane << unsigned(size))), r);
    hot_.movaps(d, slot(kTransient));
    return define_xmm(id, d);
  }
  load_xmm(d, a);
  const u32 opcode = size == Width::b ? 0x0f3a20 : size == Width::w ? 0x0fc4 : 0x0f3a22;
  hot_.sse_from_gpr_imm(0x66, opcode, size == Width::q ? Width::q : Width::d, d, r, lane);
  define_xmm(id, d);
}

}  // namespace emu::tcg::x86_64
