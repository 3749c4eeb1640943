// SPDX-License-Identifier: Apache-2.0
#include "tcg/ir/verify.h"

#include <optional>

#include "tcg/ir/evaluate.h"
#include "tcg/ir/vec_ops.h"

namespace emu::ir {
namespace {

class Verifier {
 public:
  Verifier(const Block& block, const StateLayout& layout, const HelperTable& helpers)
      : block_(block), layout_(layout), helpers_(helpers) {}

  Result<void> run() {
    if (block_.ops.empty() || block_.ops[0].opcode != Opcode::Nop) return error("op 0 is not nop");
    bool in_insn = false;
    for (u32 i = 1; i < block_.ops.size(); ++i) {
      const Op& op = block_.ops[i];
      if (op.opcode >= Opcode::kCount) return error("v{}: no such opcode", i);
      if (auto r = check(i, op); !r) return error("v{} = {}: {}", i, info(op.opcode).text, r.error().message());
      in_insn |= op.opcode == Opcode::InsnStart;
      if (!in_insn && observes_state(op, helpers_)) return error("v{}: may leave the block before the first insn", i);
      const bool is_last = i + 1 == block_.ops.size();
      if (is_last != bool(info(op.opcode).effects & kEnds)) return error("v{}: the end is not the last op", i);
    }
    return block_.ops.size() == 1 ? error("empty block") : Result<void>{};
  }

 private:
  Result<void> check(u32 index, const Op& op) {
    index_ = index;
    const OpcodeInfo& row = info(op.opcode);
    if (op.type > Type::Flags) return error("no such type");
    EMU_TRY(check_operand(row.a, op.a, op, "a"));
    EMU_TRY(check_operand(row.b, op.b, op, "b"));
    if (op.opcode != Opcode::Shld && op.opcode != Opcode::Shrd) EMU_TRY(check_operand(row.c, op.c, op, "c"));
    if (row.result == Kind::T && op.opcode != Opcode::X87 && op.type == Type::Void) return error("no type");
    return check_special(op);
  }

  std::optional<Type> type_of(Ref r) const {
    return r.is_value() ? std::optional(result_type(block_.ops[r.id()])) : std::nullopt;
  }

  Result<void> check_ref(Ref r, const char* place) {
    if (r.is_none()) return error("operand {} is missing", place);
    if (r.is_pool() && r.pool_index() >= block_.pool.size()) return error("operand {}: not in the pool", place);
    if (!r.is_value()) return {};
    if (r.id() >= index_) return error("operand {}: v{} is not made yet", place, r.id());
    if (*type_of(r) == Type::Void) return error("operand {}: v{} has no value", place, r.id());
    return {};
  }

  Result<void> check_operand(Kind kind, Ref r, const Op& op, const char* place) {
    switch (kind) {
      case Kind::None:
        return r.is_none() ? Result<void>{} : error("operand {} is not wanted", place);
      case Kind::Raw:
      case Kind::Args:
      case Kind::Count:
        return {};
      case Kind::Mem:
        return r.bits() < block_.mems.size() ? Result<void>{} : error("operand {}: no such access", place);
      default:
        break;
    }
    const bool optional =
        (info(op.opcode).effects & (kReads | kWrites) && op.opcode != Opcode::Fence && place[0] == 'a') ||
        op.opcode == Opcode::X87 || (op.opcode == Opcode::Vec && place[0] == 'b');
    if (r.is_none() && optional) return {};
    EMU_TRY(check_ref(r, place));
    return check_type(kind, r, op, place);
  }

  Result<void> check_type(Kind kind, Ref r, const Op& op, const char* place) {
    const auto type = type_of(r);
    Type want = Type::Void;
    switch (kind) {
      case Kind::T:
        want = op.type;
        break;
      case Kind::I1:
        want = Type::I1;
        break;
      case Kind::I8:
        want = Type::I8;
        break;
      case Kind::I16:
        want = Type::I16;
        break;
      case Kind::I32:
        want = Type::I32;
        break;
      case Kind::I64:
        want = Type::I64;
        break;
      case Kind::V128:
        if (type == Type::V256 && (op.opcode == Opcode::VecToInt || op.opcode == Opcode::VecMask)) return {};
        want = Type::V128;
        break;
      case Kind::Flags:
        want = Type::Flags;
        break;
      case Kind::Int:
        if (type && !is_int(*type)) return error("operand {} is not an integer", place);
        return {};
      case Kind::Any:
        if (type && *type == Type::Flags) return error("operand {} is flags", place);
        return {};
      case Kind::V:
        if (type == Type::V128 && vec_op_of(op.c.bits()) == VecOp::VWiden128) return {};
        want = op.type;
        break;
      default:
        return {};
    }
    if (type ? *type != want : !is_int(want)) return error("operand {} has the wrong type", place);
    return {};
  }

  /// `r` must have type `want`; constants may stand for any integer.
  Result<void> expect(Ref r, Type want, const char* place) {
    EMU_TRY(check_ref(r, place));
    const auto type = type_of(r);
    if (type ? *type != want : !is_int(want)) return error("operand {} has the wrong type", place);
    return {};
  }

  Result<void> check_special(const Op& op) {
    switch (op.opcode) {
      case Opcode::Get:
      case Opcode::Set:
        if (op.c.bits() >= layout_.fields.size()) return error("no such field");
        if (!is_access_to(layout_.field(FieldId(op.c.bits())).type, op.type)) return error("not the field's type");
        return op.opcode == Opcode::Set ? expect(op.a, op.type, "a") : Result<void>{};
      case Opcode::Trunc:
      case Opcode::Zext:
      case Opcode::Sext:
      case Opcode::Ext:
      case Opcode::Ins:
        return check_resize(op);
      case Opcode::Shld:
      case Opcode::Shrd:
        if (width(op.type) < 32) return error("only i32 and i64");
        return expect(op.c, Type::I8, "c");
      case Opcode::UDiv:
      case Opcode::URem:
      case Opcode::SDiv:
      case Opcode::SRem:
        return op.type == Type::I32 || op.type == Type::I64 ? Result<void>{} : error("only i32 and i64");
      case Opcode::AddShl:
        return op.c.bits() <= 3 ? Result<void>{} : error("shift above 3");
      case Opcode::CmpSet:
        if (op.c.bits() > 15 || !is_compare(Cond(op.c.bits()))) return error("not a comparison");
        return is_int(op.type) ? Result<void>{} : error("not an integer type");
      case Opcode::FlIs:
        return op.c.bits() <= 15 ? Result<void>{} : error("no such condition");
      case Opcode::Ld:
      case Opcode::St:
      case Opcode::Probe:
      case Opcode::Rmw:
      case Opcode::Cas:
        return check_memory(op);
      case Opcode::Vec:
      case Opcode::Vec3:
      case Opcode::VecFromInt:
      case Opcode::VecToInt:
      case Opcode::VecInsert:
      case Opcode::VecCvtFromInt:
      case Opcode::VecCvtToInt:
      case Opcode::VecMask:
        return check_vector(op);
      case Opcode::X87:
        return check_x87(op);
      case Opcode::Call:
        return check_call(op);
      case Opcode::SideExit:
        return op.b.is_constant() ? Result<void>{} : error("the pc is not constant");
      case Opcode::ExitDirect:
      case Opcode::ExitMode:
        return op.a.is_constant() ? Result<void>{} : error("the pc is not constant");
      default:
        break;
    }
    const bool integer = op.opcode >= Opcode::Add && op.opcode <= Opcode::Popcnt;
    const bool logic = op.opcode >= Opcode::And && op.opcode <= Opcode::Not;
    const bool carries = op.opcode >= Opcode::AddCarry && op.opcode <= Opcode::BorrowOut;
    if (carries && (!is_int(op.type) || op.type == Type::I1)) return error("not an integer type");
    if (integer && (!is_int(op.type) || (op.type == Type::I1 && !logic))) return error("not an integer type");
    return {};
  }

  /// The whole field, or the low half of a V256 one.
  static bool is_access_to(Type field, Type access) {
    return access == field || (field == Type::V256 && access == Type::V128);
  }

  Result<void> check_resize(const Op& op) {
    if (!is_int(op.type)) return error("not an integer type");
    if (op.opcode == Opcode::Ins) {
      if (!op.b.is_value()) return error("the width of a constant part is not known");
      const unsigned part = width(*type_of(op.b)), at = op.c.bits();
      if (part < 8 || !(at == 0 || (at == 8 && part == 8)) || at + part > width(op.type)) return error("does not fit");
      return {};
    }
    const unsigned from = op.a.is_value() ? width(*type_of(op.a)) : 64, to = width(op.type);
    switch (op.opcode) {
      case Opcode::Trunc:
        return to < from ? Result<void>{} : error("does not narrow");
      case Opcode::Ext:
        if (op.c.bits() != 0 && op.c.bits() != 8) return error("not at bit 0 or 8");
        return op.c.bits() + to <= from ? Result<void>{} : error("does not fit");
      default:
        if (!op.a.is_value()) return error("the width of a constant is not known");
        return to > from ? Result<void>{} : error("does not widen");
    }
  }

  Result<void> check_memory(const Op& op) {
    const MemInfo& mem = block_.mem(op);
    const unsigned bits = 8u << mem.log2_bytes;
    if (mem.log2_bytes > 5) return error("access too wide");
    if (op.opcode == Opcode::Probe) return {};
    if (op.type == Type::I1 || (!is_int(op.type) && !is_vector(op.type))) return error("type cannot be in memory");
    if (bits > width(op.type)) return error("access wider than its type");
    if (is_int(op.type) && mem.log2_bytes > 3) return error("access too wide");
    if (op.opcode == Opcode::St) return expect(op.b, op.type, "b");
    if (op.opcode == Opcode::Ld) return {};
    if (!is_int(op.type) || bits != width(op.type)) return error("not the width of its type");
    if (op.opcode == Opcode::Rmw) return op.flags <= u8(RmwOp::Xchg) ? Result<void>{} : error("no such rmw");
    if (op.b.bits() + 2 > block_.args.size()) return error("arguments out of range");
    EMU_TRY(expect(block_.args[op.b.bits()], op.type, "expected"));
    return expect(block_.args[op.b.bits() + 1], op.type, "desired");
  }

  Result<void> check_vector(const Op& op) {
    const u32 c = op.c.bits();
    if (op.opcode == Opcode::Vec || op.opcode == Opcode::Vec3) {
      if (vec_op_of(c) >= VecOp::kCount) return error("no such vector operation");
      if (!is_vector(op.type)) return error("not a vector type");
      if ((op.flags & kVecLowHalf) && op.type != Type::V256) return error("a low half of what is no v256");
      if (vec_op_of(c) == VecOp::VWiden128 && op.type != Type::V256) return error("only v256");
      const unsigned arity = info(vec_op_of(c)).arity;
      if (op.opcode == Opcode::Vec) {
        return arity < 3 && (arity == 2) == op.b.is_value() ? Result<void>{} : error("wrong number of operands");
      }
      if (arity != 3) return error("wrong number of operands");
      if (op.b.bits() + 2 > block_.args.size()) return error("arguments out of range");
      EMU_TRY(expect(block_.args[op.b.bits()], op.type, "b"));
      return expect(block_.args[op.b.bits() + 1], op.type, "c");
    }
    const bool wide_int = op.type == Type::I32 || op.type == Type::I64;
    switch (op.opcode) {
      case Opcode::VecToInt:
      case Opcode::VecInsert:
        if (!is_int(op.type) || op.type == Type::I1) return error("not an integer type");
        if (c >= (op.opcode == Opcode::VecToInt ? width(*type_of(op.a)) : 128) / width(op.type))
          return error("no such lane");
        break;
      case Opcode::VecMask:
        if (c > 3 || c == 1) return error("no such lane width");
        return {};
      default:
        if (!wide_int) return error("only i32 and i64");
        break;
    }
    if (op.opcode == Opcode::VecFromInt) return expect(op.a, op.type, "a");
    const bool has_part = op.opcode == Opcode::VecInsert || op.opcode == Opcode::VecCvtFromInt;
    return has_part ? expect(op.b, op.type, "b") : Result<void>{};
  }

  Result<void> check_x87(const Op& op) {
    const X87Op x87 = x87_op_of(op.c.bits());
    if (x87 >= X87Op::kCount) return error("no such x87 operation");
    if (immediate_of(op.c.bits()) > 7) return error("no such x87 register");
    if (!block_.uses_fpu) return error("the block does not say that it uses the x87 unit");
    if (op.type != x87_result_type(x87)) return error("wrong result type");
    for (unsigned i = 0; i < 2; ++i) {
      const Ref r = i == 0 ? op.a : op.b;
      const Type want = x87_operand_type(x87, i);
      if (want == Type::Void ? !r.is_none() : r.is_none()) return error("wrong number of operands");
      if (want != Type::Void) EMU_TRY(expect(r, want, i == 0 ? "a" : "b"));
    }
    return {};
  }

  Result<void> check_call(const Op& op) {
    if (op.c.bits() >= helpers_.helpers.size()) return error("no such helper");
    if (op.b.bits() != helpers_.helpers[op.c.bits()].arguments) return error("wrong number of arguments");
    if (u64(op.a.bits()) + op.b.bits() > block_.args.size()) return error("arguments out of range");
    for (const Ref arg : block_.call_args(op)) EMU_TRY(expect(arg, Type::I64, "argument"));
    return {};
  }

  const Block& block_;
  const StateLayout& layout_;
  const HelperTable& helpers_;
  u32 index_ = 0;
};

}  // namespace

Result<void> verify(const Block& block, const StateLayout& layout, const HelperTable& helpers) {
  return Verifier(block, layout, helpers).run();
}

}  // namespace emu::ir
