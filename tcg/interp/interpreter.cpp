// SPDX-License-Identifier: Apache-2.0
#include "tcg/interp/interpreter.h"

#include <algorithm>
#include <cstring>

#include "tcg/abi/env.h"
#include "tcg/interp/vector.h"
#include "tcg/interp/x87.h"
#include "tcg/ir/evaluate.h"
#include "tcg/ir/vec_ops.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::ir {
namespace {

using tcg::ExitReason;

/// A value: integers are zero-extended in q[0]; flags are {cc_op, cc_a, cc_b}.
struct Cell {
  u64 q[4] = {};
  Vector128 vector() const {
    Vector128 v;
    std::memcpy(v.bytes.data(), q, 16);
    return v;
  }
  static Cell of(const Vector128& v) {
    Cell c;
    std::memcpy(c.q, v.bytes.data(), 16);
    return c;
  }
  Vector256 wide() const {
    Vector256 v;
    std::memcpy(v.half[0].bytes.data(), q, 16);
    std::memcpy(v.half[1].bytes.data(), q + 2, 16);
    return v;
  }
  static Cell of(const Vector256& v) {
    Cell c;
    std::memcpy(c.q, v.half[0].bytes.data(), 16);
    std::memcpy(c.q + 2, v.half[1].bytes.data(), 16);
    return c;
  }
  static Cell of(const FlagTuple& t) { return {{t.op, t.a, t.b}}; }
  FlagTuple flags() const { return {u32(q[0]), q[1], q[2]}; }
};

class Interpreter {
 public:
  Interpreter(const Block& block, const StateLayout& layout, const HelperTable& helpers, tcg::EnvHeader& env,
              InterpreterMemory& memory)
      : block_(block), layout_(layout), helpers_(helpers), env_(env), memory_(memory), cells_(block.ops.size()) {}

  InterpretResult run() {
    insn_pc_ = block_.pc;
    for (u32 i = 1; i < block_.ops.size() && !left_; ++i) {
      const Op& op = block_.ops[i];
      if (op.opcode == Opcode::InsnStart) {
        start_insn(op);
      } else if (info(op.opcode).effects & (kEnds | kExit)) {
        leave_if(op);
      } else {
        cells_[i] = execute(op);
      }
    }
    EMU_CHECK(left_);
    env_.pc = result_.pc;
    return result_;
  }

 private:
  void leave(ExitReason reason, u64 pc, u64 arg, u32 insns_done) {
    left_ = true;
    result_ = {reason, pc, arg, insns_done};
  }
  /// The block goes on elsewhere, its current instruction complete.
  void leave_to(u64 pc) { leave(leave_after_insn_ ? ExitReason::Leave : ExitReason::Lookup, pc, 0, started_); }
  void fault() { leave(ExitReason::Fault, insn_pc_, 0, started_ - 1); }

  void start_insn(const Op& op) {
    const u64 pc = block_.pc + op.c.bits();
    if (leave_after_insn_) return leave_to(pc);
    insn_pc_ = pc;
    ++started_;
  }

  void leave_if(const Op& op) {
    switch (op.opcode) {
      case Opcode::SideExit:
        if (integer(op.a, Type::I1)) leave_to(block_.constant_value(op.b));
        break;
      case Opcode::TrapIf:
        if (integer(op.a, Type::I1)) leave(ExitReason::Trap, insn_pc_, op.c.bits(), started_ - 1);
        break;
      case Opcode::Trap:
        leave(ExitReason::Trap, insn_pc_, op.c.bits(), started_ - 1);
        break;
      case Opcode::ExitSystem:
        leave(ExitReason::System, integer(op.a, Type::I64), op.c.bits(), started_);
        break;
      case Opcode::ExitMode:
        leave(ExitReason::Leave, integer(op.a, Type::I64), 0, started_);
        break;
      case Opcode::ExitIndirect: {
        const u64 pc = integer(op.a, Type::I64);
        if (!indirect_checks(op.c.bits()) || sign_extend(pc, 48) == i64(pc)) return leave_to(pc);
        env_.slow_address = pc;
        leave(ExitReason::Trap, insn_pc_, kBadTargetTrap, started_ - 1);
        break;
      }
      default:
        leave_to(integer(op.a, Type::I64));
        break;  // ExitDirect
    }
  }

  u64 integer(Ref r, Type type) const {
    return (r.is_value() ? cells_[r.id()].q[0] : block_.constant_value(r)) & low_mask(width(type));
  }
  Cell cell(Ref r, Type type) const {
    if (!r.is_constant()) return cells_[r.id()];  // none is op 0, whose cell stays empty
    return {{integer(r, type)}};
  }
  Type type_of(Ref r) const { return r.is_value() ? result_type(block_.ops[r.id()]) : Type::I64; }
  u64 packed(Ref flags) const { return cells_[flags.id()].flags().packed(); }
  static Cell scalar(u64 v) { return {{v}}; }

  Cell execute(const Op& op) {
    switch (op.opcode) {
      case Opcode::Nop:
        return {};
      case Opcode::Get:
        return get(op);
      case Opcode::Set:
        set(op);
        return {};
      case Opcode::ZeroUpper:
        for (const StateField& field : layout_.fields) {
          if (field.type == Type::V256 && field.pin == Pin::Vector)
            std::memset(reinterpret_cast<u8*>(&env_) + field.offset + 16, 0, 16);
        }
        return {};
      case Opcode::GetFlags:
        return Cell::of(FlagTuple{env_.cc_op, env_.cc_a, env_.cc_b});
      case Opcode::SetFlags: {
        const FlagTuple t = cells_[op.a.id()].flags();
        env_.cc_op = t.op, env_.cc_a = t.a, env_.cc_b = t.b;
        return {};
      }
      case Opcode::Not:
      case Opcode::Neg:
      case Opcode::Bswap:
      case Opcode::Clz:
      case Opcode::Ctz:
      case Opcode::Popcnt:
        return scalar(evaluate_unary(op.opcode, op.type, integer(op.a, op.type)));
      case Opcode::Shl:
      case Opcode::Shr:
      case Opcode::Sar:
      case Opcode::Rotl:
      case Opcode::Rotr:
        return scalar(evaluate_binary(op.opcode, op.type, integer(op.a, op.type), integer(op.b, Type::I8)));
      case Opcode::Shld:
      case Opcode::Shrd:
        return scalar(evaluate_double_shift(op.opcode, op.type, integer(op.a, op.type), integer(op.b, op.type),
                                            integer(op.c, Type::I8)));
      case Opcode::AddShl:
        return scalar((integer(op.a, op.type) + (integer(op.b, op.type) << op.c.bits())) & low_mask(width(op.type)));
      case Opcode::Trunc:
      case Opcode::Zext:
      case Opcode::Sext:
      case Opcode::Ext:
      case Opcode::Ins:
        return scalar(resize(op));
      case Opcode::CmpSet:
        return scalar(evaluate_compare(Cond(op.c.bits()), op.type, integer(op.a, op.type), integer(op.b, op.type)));
      case Opcode::BitTest:
        return scalar(integer(op.a, op.type) >> (integer(op.b, op.type) % width(op.type)) & 1);
      case Opcode::AddCarry:
      case Opcode::SubBorrow:
        return scalar(evaluate_with_carry(op.opcode, op.type, integer(op.a, op.type), integer(op.b, op.type),
                                          integer(op.c, Type::I1)));
      case Opcode::CarryOut:
      case Opcode::BorrowOut:
        return scalar(evaluate_with_carry(op.opcode, op.type, integer(op.a, op.type), integer(op.b, op.type),
                                          integer(op.c, op.type)));
      case Opcode::Select:
        return cell(integer(op.a, Type::I1) ? op.b : op.c, op.type);
      case Opcode::FlFcmp:
        return Cell::of(FlagTuple{0,
                                  compare_float(cell(op.a, Type::V128).vector(), cell(op.b, Type::V128).vector(),
                                                op.c.bits() & 1, op.c.bits() & 2, env_.fp_control),
                                  0});
      case Opcode::FlIs:
        return scalar(tcg::test_packed(Cond(op.c.bits()), packed(op.a)));
      case Opcode::FlPack:
        return scalar(packed(op.a));
      case Opcode::Ld:
        return load(op);
      case Opcode::St:
        store(op);
        return {};
      case Opcode::Probe:
        if (!memory_.probe(address(op), block_.mem(op))) fault();
        return {};
      case Opcode::Rmw:
        return rmw(op);
      case Opcode::Cas:
        return cas(op);
      case Opcode::Fence:
        return {};  // one thread sees its own accesses in order
      case Opcode::X87:
        return scalar(run_x87(x87_op_of(op.c.bits()), immediate_of(op.c.bits()), cell(op.a, Type::I64).q[0],
                              cell(op.b, Type::I64).q[0], env_));
      case Opcode::Call:
        return call(op);
      default:
        break;
    }
    if (info(op.opcode).result == Kind::Flags) return make_flags(op);
    if (op.opcode >= Opcode::Vec && op.opcode <= Opcode::VecMask) return vector(op);
    EMU_CHECK(op.opcode >= Opcode::Add && op.opcode <= Opcode::AndNot);
    return scalar(evaluate_binary(op.opcode, op.type, integer(op.a, op.type), integer(op.b, op.type)));
  }

  u64 resize(const Op& op) const {
    const Type from = type_of(op.a);
    const u64 a = integer(op.a, op.opcode == Opcode::Ins ? op.type : from);
    switch (op.opcode) {
      case Opcode::Sext:
        return u64(sign_extend(a, width(from))) & low_mask(width(op.type));
      case Opcode::Ext:
        return a >> op.c.bits() & low_mask(width(op.type));
      case Opcode::Ins: {
        const u64 field = low_mask(width(type_of(op.b))) << op.c.bits();
        return (a & ~field) | (integer(op.b, type_of(op.b)) << op.c.bits() & field);
      }
      default:
        return a & low_mask(width(op.type));
    }
  }

  Cell make_flags(const Op& op) const {
    const OpcodeInfo& row = info(op.opcode);
    const auto value = [&](Kind kind, Ref r) -> u64 {
      switch (kind) {
        case Kind::None:
          return 0;
        case Kind::Flags:
          return packed(r);
        case Kind::I1:
          return integer(r, Type::I1);
        case Kind::I64:
          return integer(r, Type::I64);
        default:
          return integer(r, op.type);
      }
    };
    return Cell::of(evaluate_flags(op.opcode, op.type, value(row.a, op.a), value(row.b, op.b), value(row.c, op.c)));
  }

  // State
  u8* home(const Op& op) const { return reinterpret_cast<u8*>(&env_) + layout_.field(FieldId(op.c.bits())).offset; }
  Cell get(const Op& op) const {
    Cell c;
    std::memcpy(c.q, home(op), size_t(1) << log2_bytes(op.type));
    if (op.type == Type::I1) c.q[0] &= 1;
    return c;
  }
  void set(const Op& op) {
    const Cell c = cell(op.a, op.type);
    std::memcpy(home(op), c.q, size_t(1) << log2_bytes(op.type));
  }

  // Memory
  u64 address(const Op& op) const {
    const u64 base = op.a.is_none() ? 0 : integer(op.a, Type::I64);
    return base + u64(i64(block_.mem(op).disp));
  }
  static void turn(const MemInfo& mem, u8* data) {
    if (mem.big_endian) std::reverse(data, data + (size_t(1) << mem.log2_bytes));
  }
  Cell load(const Op& op) {
    const MemInfo& mem = block_.mem(op);
    Cell c;
    u8* data = reinterpret_cast<u8*>(c.q);
    if (!memory_.load(address(op), mem, data)) {
      fault();
      return {};
    }
    turn(mem, data);
    if (is_int(op.type) && mem.extend == Extend::Sign) c.q[0] = u64(sign_extend(c.q[0], 8u << mem.log2_bytes));
    if (is_int(op.type)) c.q[0] &= low_mask(width(op.type));
    return c;
  }
  void store(const Op& op) {
    const MemInfo& mem = block_.mem(op);
    Cell c = cell(op.b, op.type);
    u8* data = reinterpret_cast<u8*>(c.q);
    turn(mem, data);
    if (!memory_.store(address(op), mem, data)) fault();
  }
  Cell rmw(const Op& op) {
    u64 old_value = 0;
    if (!memory_.rmw(RmwOp(op.flags), address(op), block_.mem(op), integer(op.b, op.type), old_value)) fault();
    return scalar(old_value & low_mask(width(op.type)));
  }
  Cell cas(const Op& op) {
    u64 old_value = 0;
    const Ref expected = block_.args[op.b.bits()], desired = block_.args[op.b.bits() + 1];
    if (!memory_.cas(address(op), block_.mem(op), integer(expected, op.type), integer(desired, op.type), old_value)) {
      fault();
    }
    return scalar(old_value & low_mask(width(op.type)));
  }

  // Vectors
  Cell vector(const Op& op) {
    const Vector128 a = cell(op.a, Type::V128).vector();
    const u32 c = op.c.bits();
    switch (op.opcode) {
      case Opcode::Vec: {
        const VecOp vec = vec_op_of(c);
        const Vector128 b = op.b.is_none() ? a : cells_[op.b.id()].vector();
        const auto imm = u8(immediate_of(c));
        if (vec == VecOp::VWiden128) return Cell::of(a);
        if (op.type == Type::V256) {
          const Cell none;
          return Cell::of(evaluate_vector_wide(vec, op.flags & kVecLowHalf, cells_[op.a.id()].wide(),
                                               cells_[op.b.id()].wide(), none.wide(), imm, env_.fp_control));
        }
        if (is_float(vec)) return Cell::of(evaluate_vector_float(vec, a, b, imm, env_.fp_control));
        return Cell::of(evaluate_vector(vec, a, b, imm));
      }
      case Opcode::Vec3: {
        const VecOp vec = vec_op_of(c);
        const Cell& second = cells_[block_.args[op.b.bits()].id()];
        const Cell& third = cells_[block_.args[op.b.bits() + 1].id()];
        if (op.type == Type::V128) return Cell::of(evaluate_vector3(vec, a, second.vector(), third.vector()));
        return Cell::of(evaluate_vector_wide(vec, op.flags & kVecLowHalf, cells_[op.a.id()].wide(), second.wide(),
                                             third.wide(), u8(immediate_of(c)), env_.fp_control));
      }
      case Opcode::VecFromInt:
        return scalar(integer(op.a, op.type));
      case Opcode::VecToInt:
        return scalar(lane(cells_[op.a.id()], op.type, c));
      case Opcode::VecInsert: {
        Vector128 r = a;
        const u64 v = integer(op.b, op.type);
        std::memcpy(r.bytes.data() + c * (width(op.type) / 8), &v, width(op.type) / 8);
        return Cell::of(r);
      }
      case Opcode::VecCvtFromInt:
        return Cell::of(convert_from_int(a, op.type, integer(op.b, op.type), c & 1, env_.fp_control));
      case Opcode::VecCvtToInt:
        return scalar(convert_to_int(op.type, a, c & 1, c & 2 ? Round::Truncate : Round::Current, env_.fp_control) &
                      low_mask(width(op.type)));
      default:
        return scalar(sign_mask(cells_[op.a.id()], c, width(type_of(op.a)) / 8));
    }
  }
  static u64 lane(const Cell& v, Type type, u32 index) {
    u64 r = 0;
    std::memcpy(&r, reinterpret_cast<const u8*>(v.q) + index * (width(type) / 8), width(type) / 8);
    return r;
  }
  static u64 sign_mask(const Cell& v, u32 log2_lane_bytes, unsigned size) {
    const unsigned bytes = 1u << log2_lane_bytes;
    const u8* data = reinterpret_cast<const u8*>(v.q);
    u64 mask = 0;
    for (unsigned i = 0; i < size / bytes; ++i) mask |= u64(data[i * bytes + bytes - 1] >> 7) << i;
    return mask;
  }

  Cell call(const Op& op) {
    const auto args = block_.call_args(op);
    for (size_t i = 0; i < args.size(); ++i) env_.helper_args[i] = integer(args[i], Type::I64);
    env_.pc = insn_pc_;
    env_.leave = tcg::kLeaveNot;
    env_.helper_result = helpers_.helpers[op.c.bits()].function(env_, env_.helper_args);
    switch (env_.leave) {
      case tcg::kLeaveNot:
        break;
      case tcg::kLeaveAfterInsn:
        leave_after_insn_ = true;
        break;
      case tcg::kLeaveTransferred:
        leave(ExitReason::Leave, env_.pc, 0, started_);
        break;
      default:
        fault();
        break;
    }
    env_.leave = tcg::kLeaveNot;
    return scalar(env_.helper_result);
  }

  const Block& block_;
  const StateLayout& layout_;
  const HelperTable& helpers_;
  tcg::EnvHeader& env_;
  InterpreterMemory& memory_;
  std::vector<Cell> cells_;
  u64 insn_pc_ = 0;
  u32 started_ = 0;  ///< instructions begun
  bool leave_after_insn_ = false;
  bool left_ = false;
  InterpretResult result_;
};

}  // namespace

Result<void> can_interpret(const Block& block) {
  for (const Op& op : block.ops) {
    if (op.opcode == Opcode::X87 && !host_has_x87())
      return error("x87 operations can be interpreted on x86 hosts only");
    const bool estimate = op.opcode == Opcode::Vec && is_float(vec_op_of(op.c.bits()));
    if ((has_fp_effects(op) || estimate) && !host_has_vector_float()) {
      return error("floating-point vectors can be interpreted on x86 hosts only");
    }
  }
  return {};
}

InterpretResult interpret(const Block& block, const StateLayout& layout, const HelperTable& helpers,
                          tcg::EnvHeader& env, InterpreterMemory& memory) {
  return Interpreter(block, layout, helpers, env, memory).run();
}

}  // namespace emu::ir
