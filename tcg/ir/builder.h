// SPDX-License-Identifier: Apache-2.0
// Builder: what front ends write IR with. Typed wrappers catch wrong widths at the call; constants and copies fold
// while building, and Get after Set (or Get) of the same field yields the value without an op.
#pragma once

#include <array>
#include <initializer_list>
#include <optional>

#include "tcg/ir/op.h"
#include "tcg/ir/vec_ops.h"
#include "util/bits.h"

namespace emu::ir {

/// A value with its type, as front ends hold it.
struct Value {
  Ref ref;
  Type type = Type::Void;
  bool is_constant() const { return ref.is_constant(); }
};

class Builder {
 public:
  Builder(Block& block, const StateLayout& layout, const HelperTable& helpers);
  void begin(u64 pc);  ///< clears the block

  Block& block() { return block_; }
  void insn_start(u32 pc_delta);

  Value constant(Type type, u64 value);
  Value i8(u64 v) { return constant(Type::I8, v); }
  Value i32(u64 v) { return constant(Type::I32, v); }
  Value i64(u64 v) { return constant(Type::I64, v); }
  Value pc_constant(u64 pc);  ///< an I64 that is relocated when the block is cloned at another virtual page
  /// Zero-extended from its type; empty for values and for constants that move with the page.
  std::optional<u64> constant_of(Value v) const {
    if (!v.ref.is_constant()) return std::nullopt;
    if (!v.ref.is_pool()) return u64(v.ref.inline_value()) & low_mask(width(v.type));
    const PoolConstant& pooled = block_.pool[v.ref.pool_index()];
    if (pooled.pc_relative) return std::nullopt;
    return pooled.value & low_mask(width(v.type));
  }

  Value get(FieldId field);
  Value get_low(FieldId field);  ///< V128: the low half of a V256 field; set() takes such a value, too
  void set(FieldId field, Value v);
  void zero_upper();             ///< of all V256 fields that ask for a vector register
  Value get_flags();
  void set_flags(Value flags);

  Value unary(Opcode opcode, Value a);            ///< Not Neg Bswap Clz Ctz Popcnt
  Value binary(Opcode opcode, Value a, Value b);  ///< same-typed operands; shifts and rotates: b is I8
  Value add(Value a, Value b) { return binary(Opcode::Add, a, b); }
  Value sub(Value a, Value b) { return binary(Opcode::Sub, a, b); }
  Value mul(Value a, Value b) { return binary(Opcode::Mul, a, b); }
  Value and_(Value a, Value b) { return binary(Opcode::And, a, b); }
  Value or_(Value a, Value b) { return binary(Opcode::Or, a, b); }
  Value xor_(Value a, Value b) { return binary(Opcode::Xor, a, b); }
  Value shl(Value a, Value count) { return binary(Opcode::Shl, a, count); }
  Value shr(Value a, Value count) { return binary(Opcode::Shr, a, count); }
  Value sar(Value a, Value count) { return binary(Opcode::Sar, a, count); }
  Value not_(Value a) { return unary(Opcode::Not, a); }
  Value neg(Value a) { return unary(Opcode::Neg, a); }
  Value add_shl(Value a, Value b, unsigned shift);
  Value double_shift(Opcode opcode, Value a, Value b, Value count);  ///< Shld, Shrd
  Value trunc(Type to, Value a);
  Value zext(Type to, Value a);
  Value sext(Type to, Value a);
  Value insert(Value into, Value part, unsigned at_bit);
  Value extract(Type to, Value a, unsigned at_bit);
  Value compare(Cond condition, Value a, Value b);
  Value bit_test(Value a, Value index);
  Value select(Value condition, Value if_true, Value if_false);
  Value with_carry(Opcode opcode, Value a, Value b, Value carry);  ///< AddCarry SubBorrow
  Value carry_out(Opcode opcode, Value a, Value b, Value result);  ///< CarryOut BorrowOut

  Value flags3(Opcode opcode, Value a, Value b, Value result);  ///< FlAdd FlAdc FlSub FlSbb
  Value flags2(Opcode opcode, Value a, Value b);  ///< FlCmp FlTest FlInc FlDec FlShl FlShr FlMulU FlMulS
                                                          ///< FlJoin FlSetCarry
  Value fl_logic(Value result);
  Value fl_unpack(Value packed);
  Value fl_fcmp(Value a, Value b, bool is_f64, bool signal_quiet);
  Value fl_is(Cond condition, Value flags);
  Value fl_pack(Value flags);

  Value load(Type result, Value address, const MemInfo& mem);  ///< address I64
  void store(Value address, Value v, const MemInfo& mem);
  void probe(Value address, const MemInfo& mem);
  Value rmw(RmwOp op, Value address, Value v, const MemInfo& mem);
  Value cas(Value address, Value expected, Value desired, const MemInfo& mem);
  void fence();

  Value vec(VecOp op, Value a, Value b, u8 imm = 0);
  Value vec1(VecOp op, Value a, u8 imm = 0);
  /// On V256; `low_half`: kVecLowHalf.
  Value vec_wide(VecOp op, bool low_half, Value a, Value b = {}, u8 imm = 0);
  Value vec3(VecOp op, bool low_half, Value a, Value b, Value c, u8 imm = 0);
  Value vec_widen(Value v);
  Value vec_from_int(Value v);
  Value vec_to_int(Type to, Value v, unsigned lane);
  Value vec_insert(Value into, Value v, unsigned lane);
  Value vec_convert_from_int(Value into, Value v, bool to_f64);
  Value vec_convert_to_int(Type to, Value v, bool from_f64, Round round);
  Value vec_mask(Value v, unsigned log2_lane_bytes);
  Value x87(X87Op op, unsigned reg = 0, Value a = {}, Value b = {});

  Value call(u32 helper, std::span<const Value> args);
  Value call(u32 helper, std::initializer_list<Value> args) { return call(helper, {args.begin(), args.size()}); }

  void side_exit(Value condition, u64 pc);
  void trap_if(Value condition, u32 code);
  void trap(u32 code);
  void exit_direct(u64 pc);
  /// Goes on at pc in another mode: the state must hold what makes the target's mode key `mode`.
  void exit_mode(u64 pc, u32 mode);
  /// With `checks` a pc whose upper 17 bits differ raises kBadTargetTrap and is in env.slow_address then. The state is
  /// what it is behind the instruction, but env.pc is at it.
  void exit_indirect(Value pc, unsigned hint = 0, bool checks = false);
  void exit_system(Value pc, u32 reason);
  /// Whether the last op is out; whatever comes after it is dropped.
  bool is_ended() const { return ended_; }

 private:
  Value emit(Opcode opcode, Type type, Ref a = {}, Ref b = {}, Ref c = {}, u8 flags = 0);
  Value fold_binary(Opcode opcode, Value a, Value b);
  Value fold_constant_right(Opcode opcode, Value a, Value b, u64 value);
  Value fold_pc_relative(Opcode opcode, Value a, Value b);
  Value insert_constant(Value into, u64 part, Type part_type, unsigned at_bit);
  u32 add_mem(const MemInfo& mem);
  Ref fold_address(Value address, MemInfo& mem) const;
  Ref add_constant(u64 value, bool pc_relative);
  void end(Opcode opcode, Ref a = {}, Ref c = {});
  void forget_state(bool pinned);
  Value get_as(FieldId field, Type type);
  Op definition(Value v) const { return v.ref.is_value() ? block_.ops[v.ref.id()] : Op{}; }
  Value operand(Ref ref, Type constant_type) const;
  bool is_pc_relative(Value v) const { return v.ref.is_pool() && block_.pool[v.ref.pool_index()].pc_relative; }
  bool constant_flags(Ref flags, u64& packed) const;

  Block& block_;
  const StateLayout& layout_;
  const HelperTable& helpers_;
  std::vector<Ref> known_;        ///< per field: the value it now holds, if known
  std::vector<u8> is_volatile_;   ///< per field
  std::vector<FieldId> pinned_;   ///< integers that have a host register
  std::array<u32, 64> recent_{};  ///< by hash: a pure op that may be the same as the next one
  Value flags_;
  bool ended_ = false;
};

}  // namespace emu::ir
