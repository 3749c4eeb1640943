// SPDX-License-Identifier: Apache-2.0
#include "tcg/passes/refold.h"

#include <utility>

#include "tcg/ir/builder.h"

namespace emu::ir {
namespace {

class Refolder {
 public:
  Refolder(const Block& from, Block& to, const StateLayout& layout, const HelperTable& helpers)
      : from_(from), layout_(layout), builder_(to, layout, helpers), values_(from.ops.size()) {}

  void run() {
    builder_.begin(from_.pc);
    for (u32 i = 1; i < from_.ops.size() && !builder_.is_ended(); ++i) values_[i] = build(from_.ops[i]);
    Block& to = builder_.block();
    to.guest_bytes = from_.guest_bytes;
    to.wide_vectors = from_.wide_vectors;
    to.movable = from_.movable;
  }

 private:
  bool is_low_half(const Op& op) const { return layout_.field(FieldId(op.c.bits())).type != op.type; }
  Value value(Ref r, Type constant_type) {
    if (r.is_value()) return values_[r.id()];
    const u64 v = from_.constant_value(r);
    if (r.is_pool() && from_.pool[r.pool_index()].pc_relative) {
      const Value pc = builder_.pc_constant(v);
      return {pc.ref, constant_type};
    }
    return builder_.constant(constant_type, v);
  }
  Value a(const Op& op) { return value(op.a, op.type); }
  Value b(const Op& op) { return value(op.b, op.type); }
  Value address(const Op& op) { return op.a.is_none() ? builder_.i64(0) : value(op.a, Type::I64); }
  bool is_true(Ref r) { return builder_.constant_of(value(r, Type::I1)) == 1; }

  Value build(const Op& op) {
    const u32 c = op.c.bits();
    switch (op.opcode) {
      case Opcode::Nop:
      case Opcode::kCount:
        return {};
      case Opcode::InsnStart:
        builder_.insn_start(c);
        return {};
      case Opcode::Get:
        return is_low_half(op) ? builder_.get_low(FieldId(c)) : builder_.get(FieldId(c));
      case Opcode::Set:
        builder_.set(FieldId(c), a(op));  // a half says so by its type
        return {};
      case Opcode::ZeroUpper:
        builder_.zero_upper();
        return {};
      case Opcode::GetFlags:
        return builder_.get_flags();
      case Opcode::SetFlags:
        builder_.set_flags(a(op));
        return {};
      case Opcode::Shl:
      case Opcode::Shr:
      case Opcode::Sar:
      case Opcode::Rotl:
      case Opcode::Rotr:
        return builder_.binary(op.opcode, a(op), value(op.b, Type::I8));
      case Opcode::Shld:
      case Opcode::Shrd:
        return builder_.double_shift(op.opcode, a(op), b(op), value(op.c, Type::I8));
      case Opcode::AddShl:
        return builder_.add_shl(a(op), b(op), c);
      case Opcode::Not:
      case Opcode::Neg:
      case Opcode::Bswap:
      case Opcode::Clz:
      case Opcode::Ctz:
      case Opcode::Popcnt:
        return builder_.unary(op.opcode, a(op));
      case Opcode::Trunc:
        return builder_.trunc(op.type, value(op.a, Type::I64));
      case Opcode::Zext:
        return builder_.zext(op.type, value(op.a, Type::I64));
      case Opcode::Sext:
        return builder_.sext(op.type, value(op.a, Type::I64));
      case Opcode::Ext:
        return builder_.extract(op.type, value(op.a, Type::I64), c);
      case Opcode::Ins:
        return builder_.insert(a(op), value(op.b, Type::I8), c);
      case Opcode::CmpSet:
        return builder_.compare(Cond(c), a(op), b(op));
      case Opcode::BitTest:
        return builder_.bit_test(a(op), b(op));
      case Opcode::AddCarry:
      case Opcode::SubBorrow:
        return builder_.with_carry(op.opcode, a(op), b(op), value(op.c, Type::I1));
      case Opcode::CarryOut:
      case Opcode::BorrowOut:
        return builder_.carry_out(op.opcode, a(op), b(op), value(op.c, op.type));
      case Opcode::Select:
        return builder_.select(value(op.a, Type::I1), b(op), value(op.c, op.type));
      case Opcode::FlAdd:
      case Opcode::FlAdc:
      case Opcode::FlSub:
      case Opcode::FlSbb:
        return builder_.flags3(op.opcode, a(op), b(op), value(op.c, op.type));
      case Opcode::FlLogic:
        return builder_.fl_logic(a(op));
      case Opcode::FlUnpack:
        return builder_.fl_unpack(value(op.a, Type::I64));
      case Opcode::FlSetCarry:
        return builder_.flags2(op.opcode, value(op.a, Type::I1), b(op));
      case Opcode::FlCmp:
      case Opcode::FlTest:
      case Opcode::FlJoin:
      case Opcode::FlInc:
      case Opcode::FlDec:
      case Opcode::FlShl:
      case Opcode::FlShr:
      case Opcode::FlMulU:
      case Opcode::FlMulS:
        return builder_.flags2(op.opcode, a(op), b(op));
      case Opcode::FlFcmp:
        return builder_.fl_fcmp(a(op), b(op), c & 1, c & 2);
      case Opcode::FlIs:
        return builder_.fl_is(Cond(c), a(op));
      case Opcode::FlPack:
        return builder_.fl_pack(a(op));
      case Opcode::Add:
      case Opcode::Sub:
      case Opcode::Mul:
      case Opcode::MulHiU:
      case Opcode::MulHiS:
      case Opcode::UDiv:
      case Opcode::URem:
      case Opcode::SDiv:
      case Opcode::SRem:
      case Opcode::And:
      case Opcode::Or:
      case Opcode::Xor:
      case Opcode::AndNot:
        return builder_.binary(op.opcode, a(op), b(op));
      default:
        return build_effect(op);
    }
  }

  Value build_effect(const Op& op) {
    const u32 c = op.c.bits();
    switch (op.opcode) {
      case Opcode::Ld:
        return builder_.load(op.type, address(op), from_.mem(op));
      case Opcode::St:
        builder_.store(address(op), b(op), from_.mem(op));
        return {};
      case Opcode::Probe:
        builder_.probe(address(op), from_.mem(op));
        return {};
      case Opcode::Rmw:
        return builder_.rmw(RmwOp(op.flags), address(op), b(op), from_.mem(op));
      case Opcode::Cas:
        return builder_.cas(address(op), value(from_.args[op.b.bits()], op.type),
                            value(from_.args[op.b.bits() + 1], op.type), from_.mem(op));
      case Opcode::Fence:
        builder_.fence();
        return {};
      case Opcode::Vec3:
        return builder_.vec3(vec_op_of(c), op.flags & kVecLowHalf, a(op), value(from_.args[op.b.bits()], op.type),
                             value(from_.args[op.b.bits() + 1], op.type), u8(immediate_of(c)));
      case Opcode::Vec:
        if (vec_op_of(c) == VecOp::VWiden128) return builder_.vec_widen(a(op));
        if (op.type == Type::V256) {
          return builder_.vec_wide(vec_op_of(c), op.flags & kVecLowHalf, a(op), op.b.is_none() ? Value{} : b(op),
                                   u8(immediate_of(c)));
        }
        return op.b.is_none() ? builder_.vec1(vec_op_of(c), a(op), u8(immediate_of(c)))
                              : builder_.vec(vec_op_of(c), a(op), b(op), u8(immediate_of(c)));
      case Opcode::VecFromInt:
        return builder_.vec_from_int(a(op));
      case Opcode::VecToInt:
        return builder_.vec_to_int(op.type, a(op), c);
      case Opcode::VecInsert:
        return builder_.vec_insert(a(op), b(op), c);
      case Opcode::VecCvtFromInt:
        return builder_.vec_convert_from_int(a(op), b(op), c & 1);
      case Opcode::VecCvtToInt:
        return builder_.vec_convert_to_int(op.type, a(op), c & 1, c & 2 ? Round::Truncate : Round::Current);
      case Opcode::VecMask:
        return builder_.vec_mask(a(op), c);
      case Opcode::X87:
        return build_x87(op);
      case Opcode::Call:
        return build_call(op);
      case Opcode::SideExit:
        if (is_true(op.a)) {
          builder_.exit_direct(from_.constant_value(op.b));
        } else {
          builder_.side_exit(value(op.a, Type::I1), from_.constant_value(op.b));
        }
        return {};
      case Opcode::TrapIf:
        if (is_true(op.a)) {
          builder_.trap(c);
        } else {
          builder_.trap_if(value(op.a, Type::I1), c);
        }
        return {};
      case Opcode::Trap:
        builder_.trap(c);
        return {};
      case Opcode::ExitDirect:
        builder_.exit_direct(from_.constant_value(op.a));
        return {};
      case Opcode::ExitMode:
        builder_.exit_mode(from_.constant_value(op.a), c);
        return {};
      case Opcode::ExitIndirect:
        builder_.exit_indirect(value(op.a, Type::I64), indirect_hint(c), indirect_checks(c));
        return {};
      default:
        builder_.exit_system(value(op.a, Type::I64), c);
        return {};
    }
  }

  Value build_x87(const Op& op) {
    const X87Op x87 = x87_op_of(op.c.bits());
    const unsigned count = info(x87).operands;
    const Value first = count > 0 ? value(op.a, x87_operand_type(x87, 0)) : Value{};
    const Value second = count > 1 ? value(op.b, x87_operand_type(x87, 1)) : Value{};
    return builder_.x87(x87, immediate_of(op.c.bits()), first, second);
  }

  Value build_call(const Op& op) {
    std::array<Value, tcg::kHelperArgs> args;
    const auto refs = from_.call_args(op);
    for (size_t i = 0; i < refs.size(); ++i) args[i] = value(refs[i], Type::I64);
    return builder_.call(op.c.bits(), std::span<const Value>(args.data(), refs.size()));
  }

  const Block& from_;
  const StateLayout& layout_;
  Builder builder_;
  std::vector<Value> values_;
};

}  // namespace

void refold(Block& block, const StateLayout& layout, const HelperTable& helpers) {
  Block fresh;
  Refolder(block, fresh, layout, helpers).run();
  fresh.folded = true;
  std::swap(block, fresh);
}

}  // namespace emu::ir
