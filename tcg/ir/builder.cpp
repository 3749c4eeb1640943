// SPDX-License-Identifier: Apache-2.0
// State, memory, calls and exits. Folding is in fold.cpp and fold_flags.cpp.
#include "tcg/ir/builder.h"

#include <algorithm>
#include <bit>

#include "tcg/ir/op_traits.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::ir {
namespace {

constexpr u32 kShareDistance = 16;  ///< ops; reusing a value from further back costs a scarce register for too long

/// An op as two words. Ops are made and compared so, since reading an op back just after its fields were stored one by
/// one stalls the host's pipeline (measured: 40 % of building).
struct Words {
  u64 head, tail;
  bool operator==(const Words&) const = default;
};
static_assert(sizeof(Words) == sizeof(Op) && std::endian::native == std::endian::little,
              "a big-endian host wants the fields of `head` and `tail` the other way round");

Words make_words(Opcode opcode, Type type, u8 flags, Ref a, Ref b, Ref c) {
  return {u64(opcode) | u64(type) << 16 | u64(flags) << 24 | u64(a.bits()) << 32, u64(b.bits()) | u64(c.bits()) << 32};
}

u32 hash(const Words& w) { return u32(((w.head * 0x9e3779b97f4a7c15u) ^ (w.tail * 0xc2b2ae3d27d4eb4fu)) >> 58); }

/// Whether two such ops with equal operands make equal values, wherever they stand. Not those of Vec3: there equal
/// operands do not make equal words.
bool is_shareable(Opcode opcode, Ref c) {
  if (opcode == Opcode::Vec) return !has_fp_effects(vec_op_of(c.bits()));
  return (traits(opcode) & kRemovable) && opcode != Opcode::Get && opcode != Opcode::GetFlags;
}

bool add_displacement(MemInfo& mem, i64 add) {
  i64 sum;
  if (__builtin_add_overflow(i64(mem.disp), add, &sum) || sum != i32(sum)) return false;
  mem.disp = i32(sum);
  return true;
}

}  // namespace

Builder::Builder(Block& block, const StateLayout& layout, const HelperTable& helpers)
    : block_(block), layout_(layout), helpers_(helpers), known_(layout.fields.size()) {
  for (const StateField& field : layout.fields) {
    is_volatile_.push_back(is_volatile_field(field));
    if (field.pin != Pin::None && !is_vector(field.type)) pinned_.push_back(FieldId(is_volatile_.size() - 1));
  }
}

void Builder::begin(u64 pc) {
  block_.clear();
  block_.pc = pc;
  block_.folded = true;
  std::fill(known_.begin(), known_.end(), Ref{});
  flags_ = {};
  ended_ = false;
}

/// Appends an op; a pure one that was just made already is reused.
Value Builder::emit(Opcode opcode, Type type, Ref a, Ref b, Ref c, u8 flags) {
  const Type result = result_type(opcode, type);
  if (ended_) [[unlikely]]
    return is_int(result) ? constant(result, 0) : Value{Ref{}, result};
  const Words words = make_words(opcode, type, flags, a, b, c);
  const u32 id = u32(block_.ops.size());
  if (is_shareable(opcode, c)) {
    u32& slot = recent_[hash(words)];
    if (slot < id && id - slot <= kShareDistance && std::bit_cast<Words>(block_.ops[slot]) == words) {
      return {Ref::value(slot), result};
    }
    slot = id;
  }
  block_.ops.push_back(std::bit_cast<Op>(words));
  return {Ref::value(id), result};
}

void Builder::insn_start(u32 pc_delta) {
  if (ended_) return;
  emit(Opcode::InsnStart, Type::Void, {}, {}, Ref::raw(pc_delta));
  ++block_.guest_insns;
}

Ref Builder::add_constant(u64 value, bool pc_relative) {
  if (!pc_relative && Ref::fits_inline(emu::i64(value))) return Ref::inline_constant(emu::i64(value));
  const size_t size = block_.pool.size();
  for (size_t i = size; i > 0 && size - i < 8; --i) {
    const PoolConstant& entry = block_.pool[i - 1];
    if (entry.value == value && entry.pc_relative == pc_relative) return Ref::pool_constant(u32(i - 1));
  }
  block_.pool.push_back({value, pc_relative});
  return Ref::pool_constant(u32(size));
}

Value Builder::constant(Type type, u64 value) {
  EMU_CHECK(is_int(type));
  value = type == Type::I1 ? value & 1 : u64(sign_extend(value, width(type)));
  return {add_constant(value, false), type};
}

Value Builder::pc_constant(u64 pc) { return {add_constant(pc, true), Type::I64}; }

Value Builder::operand(Ref ref, Type constant_type) const {
  return {ref, ref.is_value() ? result_type(block_.ops[ref.id()]) : constant_type};
}

// State ---------------------------------------------------------------------------------------------------------------

Value Builder::get(FieldId field) { return get_as(field, layout_.field(field).type); }

Value Builder::get_low(FieldId field) {
  EMU_CHECK(layout_.field(field).type == Type::V256);
  return get_as(field, Type::V128);
}

Value Builder::get_as(FieldId field, Type type) {
  if (is_volatile_[field]) return emit(Opcode::Get, type, {}, {}, Ref::raw(field));
  Ref& known = known_[field];
  // A half is no answer to the question for the whole, nor (without an op) the other way round.
  const bool other = is_vector(type) && known.is_value() && result_type(block_.ops[known.id()]) != type;
  if (known.is_none() || other) known = emit(Opcode::Get, type, {}, {}, Ref::raw(field)).ref;
  return {known, type};
}

void Builder::set(FieldId field, Value v) {
  const Type whole = layout_.field(field).type, type = v.type;
  EMU_CHECK(type == whole || (whole == Type::V256 && type == Type::V128));
  if (ended_) return;
  if (!is_volatile_[field]) {
    if (known_[field] == v.ref) return;
    known_[field] = v.ref;
  }
  emit(Opcode::Set, type, v.ref, {}, Ref::raw(field));
}

void Builder::zero_upper() {
  if (ended_) return;
  emit(Opcode::ZeroUpper, Type::Void);
  for (size_t i = 0; i < known_.size(); ++i) {  // low halves stay known
    if (layout_.fields[i].type == Type::V256 && layout_.fields[i].pin == Pin::Vector && known_[i].is_value() &&
        result_type(block_.ops[known_[i].id()]) == Type::V256) {
      known_[i] = {};
    }
  }
}

Value Builder::get_flags() {
  if (flags_.ref.is_none()) flags_ = emit(Opcode::GetFlags, Type::Flags);
  return flags_;
}

void Builder::set_flags(Value flags) {
  EMU_CHECK(flags.type == Type::Flags);
  if (ended_ || flags_.ref == flags.ref) return;
  emit(Opcode::SetFlags, Type::Flags, flags.ref);
  flags_ = flags;
}

void Builder::forget_state(bool pinned) {
  for (size_t i = 0; i < known_.size(); ++i) {
    if (pinned || layout_.fields[i].pin == Pin::None) known_[i] = {};
  }
  flags_ = {};
}

// Memory --------------------------------------------------------------------------------------------------------------

u32 Builder::add_mem(const MemInfo& mem) {
  block_.mems.push_back(mem);
  return u32(block_.mems.size() - 1);
}

/// Moves a constant part of the address into the displacement. A sum that a guest register holds now stays as it is,
/// and one that was made from a guest register is taken apart only while the register still has that value: no old
/// value is to be kept alive for it.
Ref Builder::fold_address(Value address, MemInfo& mem) const {
  if (const auto c = constant_of(address)) {
    return add_displacement(mem, emu::i64(*c)) ? Ref{} : address.ref;
  }
  const Op sum = definition(address);
  if (sum.opcode != Opcode::Add && sum.opcode != Opcode::Sub) return address.ref;
  const auto c = constant_of(operand(sum.b, Type::I64));
  if (!c || !sum.a.is_value() || *c == bit64(63)) return address.ref;
  for (const FieldId field : pinned_) {
    if (known_[field] == address.ref) return address.ref;
  }
  const emu::i64 add = sum.opcode == Opcode::Add ? emu::i64(*c) : -emu::i64(*c);
  const Op base = block_.ops[sum.a.id()];
  if (base.opcode == Opcode::Get && known_[base.c.bits()] != sum.a) return address.ref;
  return add_displacement(mem, add) ? sum.a : address.ref;
}

Value Builder::load(Type result, Value address, const MemInfo& mem) {
  EMU_CHECK(address.type == Type::I64);
  MemInfo folded = mem;
  const Ref base = fold_address(address, folded);
  return emit(Opcode::Ld, result, base, {}, Ref::raw(add_mem(folded)));
}

void Builder::store(Value address, Value v, const MemInfo& mem) {
  EMU_CHECK(address.type == Type::I64);
  MemInfo folded = mem;
  const Ref base = fold_address(address, folded);
  emit(Opcode::St, v.type, base, v.ref, Ref::raw(add_mem(folded)));
}

void Builder::probe(Value address, const MemInfo& mem) {
  EMU_CHECK(address.type == Type::I64);
  MemInfo folded = mem;
  const Ref base = fold_address(address, folded);
  emit(Opcode::Probe, Type::Void, base, {}, Ref::raw(add_mem(folded)));
}

Value Builder::rmw(RmwOp op, Value address, Value v, const MemInfo& mem) {
  EMU_CHECK(address.type == Type::I64);
  MemInfo folded = mem;
  const Ref base = fold_address(address, folded);
  return emit(Opcode::Rmw, v.type, base, v.ref, Ref::raw(add_mem(folded)), u8(op));
}

Value Builder::cas(Value address, Value expected, Value desired, const MemInfo& mem) {
  EMU_CHECK(address.type == Type::I64 && expected.type == desired.type);
  MemInfo folded = mem;
  const Ref base = fold_address(address, folded);
  const Ref args = Ref::raw(u32(block_.args.size()));
  block_.args.push_back(expected.ref);
  block_.args.push_back(desired.ref);
  return emit(Opcode::Cas, expected.type, base, args, Ref::raw(add_mem(folded)));
}

void Builder::fence() { emit(Opcode::Fence, Type::Void); }

// Vectors and x87 -----------------------------------------------------------------------------------------------------

Value Builder::vec(VecOp op, Value a, Value b, u8 imm) {
  EMU_CHECK(is_vector(a.type) && a.type == b.type && info(op).arity == 2);
  if (a.ref == b.ref && (op == VecOp::VAnd || op == VecOp::VOr)) return a;
  return emit(Opcode::Vec, a.type, a.ref, b.ref, Ref::raw(pack_sub_op(u32(op), imm)));
}

Value Builder::vec1(VecOp op, Value a, u8 imm) {
  EMU_CHECK(is_vector(a.type) && info(op).arity == 1);
  return emit(Opcode::Vec, a.type, a.ref, {}, Ref::raw(pack_sub_op(u32(op), imm)));
}

Value Builder::vec_wide(VecOp op, bool low_half, Value a, Value b, u8 imm) {
  EMU_CHECK(a.type == Type::V256 && info(op).arity == (b.ref.is_none() ? 1 : 2));
  EMU_CHECK(b.ref.is_none() || b.type == Type::V256);
  return emit(Opcode::Vec, Type::V256, a.ref, b.ref, Ref::raw(pack_sub_op(u32(op), imm)), low_half ? kVecLowHalf : 0);
}

Value Builder::vec3(VecOp op, bool low_half, Value a, Value b, Value c, u8 imm) {
  EMU_CHECK(is_vector(a.type) && a.type == b.type && a.type == c.type && info(op).arity == 3);
  const Ref args = Ref::raw(u32(block_.args.size()));
  block_.args.push_back(b.ref);
  block_.args.push_back(c.ref);
  const u8 flags = low_half ? kVecLowHalf : 0;
  return emit(Opcode::Vec3, a.type, a.ref, args, Ref::raw(pack_sub_op(u32(op), imm)), flags);
}

Value Builder::vec_widen(Value v) {
  EMU_CHECK(is_vector(v.type));
  return emit(Opcode::Vec, Type::V256, v.ref, {}, Ref::raw(u32(VecOp::VWiden128)));
}

Value Builder::vec_from_int(Value v) {
  EMU_CHECK(v.type == Type::I32 || v.type == Type::I64);
  return emit(Opcode::VecFromInt, v.type, v.ref);
}

Value Builder::vec_to_int(Type to, Value v, unsigned lane) {
  EMU_CHECK(is_vector(v.type) && lane < width(v.type) / width(to));
  const Op made = definition(v);
  if (made.opcode == Opcode::VecFromInt && lane == 0 && width(to) <= width(made.type)) {
    return trunc(to, operand(made.a, made.type));
  }
  return emit(Opcode::VecToInt, to, v.ref, {}, Ref::raw(lane));
}

Value Builder::vec_insert(Value into, Value v, unsigned lane) {
  EMU_CHECK(into.type == Type::V128 && is_int(v.type) && v.type != Type::I1 && lane < 128 / width(v.type));
  return emit(Opcode::VecInsert, v.type, into.ref, v.ref, Ref::raw(lane));
}

Value Builder::vec_convert_from_int(Value into, Value v, bool to_f64) {
  EMU_CHECK(into.type == Type::V128 && (v.type == Type::I32 || v.type == Type::I64));
  return emit(Opcode::VecCvtFromInt, v.type, into.ref, v.ref, Ref::raw(to_f64));
}

Value Builder::vec_convert_to_int(Type to, Value v, bool from_f64, Round round) {
  EMU_CHECK(v.type == Type::V128 && (to == Type::I32 || to == Type::I64));
  return emit(Opcode::VecCvtToInt, to, v.ref, {}, Ref::raw(u32(from_f64) | (round == Round::Truncate ? 2u : 0u)));
}

Value Builder::vec_mask(Value v, unsigned log2_lane_bytes) {
  EMU_CHECK(is_vector(v.type));
  return emit(Opcode::VecMask, Type::I32, v.ref, {}, Ref::raw(log2_lane_bytes));
}

Value Builder::x87(X87Op op, unsigned reg, Value a, Value b) {
  EMU_CHECK(a.type == x87_operand_type(op, 0) && b.type == x87_operand_type(op, 1));
  if (!ended_) block_.uses_fpu = true;
  return emit(Opcode::X87, x87_result_type(op), a.ref, b.ref, Ref::raw(pack_sub_op(u32(op), reg & 7)));
}

// Calls and exits -----------------------------------------------------------------------------------------------------

Value Builder::call(u32 helper, std::span<const Value> args) {
  const HelperDesc& desc = helpers_.helpers[helper];
  EMU_CHECK(args.size() == desc.arguments && args.size() <= tcg::kHelperArgs);
  const Ref first = Ref::raw(u32(block_.args.size()));
  for (const Value& v : args) {
    EMU_CHECK(v.type == Type::I64);
    block_.args.push_back(v.ref);
  }
  const Value result = emit(Opcode::Call, Type::I64, first, Ref::raw(u32(args.size())), Ref::raw(helper));
  if (desc.effects & kHelperWritesState) forget_state(!(desc.effects & kHelperLeaf));
  return result;
}

void Builder::side_exit(Value condition, u64 pc) {
  EMU_CHECK(condition.type == Type::I1);
  const auto c = constant_of(condition);
  if (ended_ || (c && !*c)) return;
  if (c) block_.folded = false;
  emit(Opcode::SideExit, Type::Void, condition.ref, pc_constant(pc).ref);
}

void Builder::trap_if(Value condition, u32 code) {
  EMU_CHECK(condition.type == Type::I1);
  const auto c = constant_of(condition);
  if (ended_ || (c && !*c)) return;
  if (c) block_.folded = false;
  emit(Opcode::TrapIf, Type::Void, condition.ref, {}, Ref::raw(code));
}

void Builder::end(Opcode opcode, Ref a, Ref c) {
  emit(opcode, Type::Void, a, {}, c);
  ended_ = true;
}

void Builder::trap(u32 code) { end(Opcode::Trap, {}, Ref::raw(code)); }
void Builder::exit_direct(u64 pc) {
  if (!ended_) end(Opcode::ExitDirect, pc_constant(pc).ref);
}
void Builder::exit_mode(u64 pc, u32 mode) {
  if (!ended_) end(Opcode::ExitMode, pc_constant(pc).ref, Ref::raw(mode));
}
void Builder::exit_indirect(Value pc, unsigned hint, bool checks) {
  EMU_CHECK(pc.type == Type::I64);
  end(Opcode::ExitIndirect, pc.ref, Ref::raw(pack_indirect(hint, checks)));
}
void Builder::exit_system(Value pc, u32 reason) {
  EMU_CHECK(pc.type == Type::I64);
  end(Opcode::ExitSystem, pc.ref, Ref::raw(reason));
}

}  // namespace emu::ir
