// SPDX-License-Identifier: Apache-2.0
// Random blocks over the test guest: every opcode, awkward constants, faulting addresses, side exits, traps. Ops are
// put down as they are drawn, without Builder's folding, so that folding can be tested against them.
#pragma once

#include <random>
#include <string_view>

#include "tcg/ir/evaluate.h"
#include "tcg/ir/vec_ops.h"
#include "unit/tcg/test_guest.h"
#include "unit/tcg/vec_op_kinds.h"
#include "util/bits.h"

namespace emu::test {

struct RandomBlockOptions {
  unsigned insns = 8;
  bool memory = true;
  bool atomics = true;
  bool calls = true;
  bool exits = true;    ///< side exits and traps in the middle
  bool vectors = true;  ///< moves and integers
  bool floats = true;   ///< floating-point vectors
  bool x87 = false;
  bool wide = false;         ///< 256-bit vectors besides
  bool runs_on_host = true;  ///< nothing that this host's processor cannot do
};

class RandomBlock {
 public:
  explicit RandomBlock(u64 seed) : random_(seed) {}

  void generate(ir::Block& block, const RandomBlockOptions& options);
  /// Fills registers, flags and memory with awkward and random values.
  void randomize(GuestState& state, GuestMemory& memory);

  u64 draw() { return random_(); }
  unsigned below(unsigned n) { return unsigned(random_() % n); }
  bool chance(unsigned percent) { return below(100) < percent; }
  u64 awkward();

 private:
  using Opcode = ir::Opcode;
  using Type = ir::Type;
  using Ref = ir::Ref;

  Ref emit(Opcode opcode, Type type, Ref a = {}, Ref b = {}, Ref c = {}, u8 flags = 0);
  Ref constant(u64 v);
  Ref pick(Type type, bool allow_constant = true);
  Ref make(Type type);
  Type int_type(Type smallest = Type::I8) {
    return Type(unsigned(smallest) + below(unsigned(Type::I64) - unsigned(smallest) + 1));
  }
  Ref integer_op(Type type);
  Ref halves(Opcode first, Opcode second, Type type, Ref a, Ref b);
  Ref resize(Type type);
  Ref condition();
  Ref flags();
  Ref vector_op();
  Ref wide_op();
  Ref address(ir::MemInfo& mem, unsigned log2_bytes);
  void memory_op();
  void atomic_op();
  void call();
  void x87_op();
  void set_something();
  void exit_in_the_middle();
  void end();

  std::mt19937_64 random_;
  ir::Block* block_ = nullptr;
  RandomBlockOptions options_;
  ir::StateLayout layout_ = guest_layout();
  std::vector<u32> values_[unsigned(Type::Flags) + 1];
  unsigned depth_ = 0;
};

// ---------------------------------------------------------------------------------------------------------------------

inline u64 RandomBlock::awkward() {
  static constexpr u64 kValues[] = {0,
                                    1,
                                    2,
                                    3,
                                    7,
                                    8,
                                    0x0f,
                                    0x10,
                                    0x1f,
                                    0x20,
                                    0x3f,
                                    0x40,
                                    0x7e,
                                    0x7f,
                                    0x80,
                                    0x81,
                                    0xfe,
                                    0xff,
                                    0x100,
                                    0x7fff,
                                    0x8000,
                                    0x8001,
                                    0xffff,
                                    0x10000,
                                    0x7fffffff,
                                    0x80000000,
                                    0x80000001,
                                    0xffffffff,
                                    0x100000000,
                                    0x7fffffffffffffff,
                                    0x8000000000000000,
                                    0x5555555555555555,
                                    0xaaaaaaaaaaaaaaaa,
                                    ~u64(0),
                                    ~u64(1),
                                    0x1fffffff,
                                    0x20000000,
                                    0xffffffffe0000000};
  return chance(60) ? kValues[below(std::size(kValues))] : draw() >> below(64);
}

inline ir::Ref RandomBlock::emit(Opcode opcode, Type type, Ref a, Ref b, Ref c, u8 flags) {
  const ir::Op op{opcode, type, flags, a, b, c};
  const u32 id = u32(block_->ops.size());
  block_->ops.push_back(op);
  const Type result = ir::result_type(op);
  if (result != Type::Void) values_[unsigned(result)].push_back(id);
  return Ref::value(id);
}

inline ir::Ref RandomBlock::constant(u64 v) {
  if (Ref::fits_inline(i64(v))) return Ref::inline_constant(i64(v));
  block_->pool.push_back({v, false});
  return Ref::pool_constant(u32(block_->pool.size() - 1));
}

/// An existing value (recent ones more often), a constant, or a new value.
inline ir::Ref RandomBlock::pick(Type type, bool allow_constant) {
  const auto& values = values_[unsigned(type)];
  if (ir::is_int(type) && allow_constant && chance(20)) return constant(awkward());
  if (!values.empty() && (depth_ > 2 || chance(75))) {
    const unsigned back =
        chance(70) ? below(std::min<unsigned>(4, unsigned(values.size()))) : below(unsigned(values.size()));
    return Ref::value(values[values.size() - 1 - back]);
  }
  ++depth_;
  const Ref made = make(type);
  --depth_;
  return made;
}

/// A new value of a type.
inline ir::Ref RandomBlock::make(Type type) {
  switch (type) {
    case Type::I64:
      if (depth_ > 2 || chance(50)) return emit(Opcode::Get, type, {}, {}, Ref::raw(kR0 + below(12)));
      return integer_op(type);
    case Type::I32:
      if (chance(30)) return emit(Opcode::Get, type, {}, {}, Ref::raw(kD0 + below(2)));
      return depth_ > 2 ? emit(Opcode::Trunc, type, make(Type::I64)) : integer_op(type);
    case Type::I16:
      if (chance(30)) return emit(Opcode::Get, type, {}, {}, Ref::raw(kW0));
      return depth_ > 2 ? emit(Opcode::Trunc, type, make(Type::I64)) : integer_op(type);
    case Type::I8:
      if (chance(30)) return emit(Opcode::Get, type, {}, {}, Ref::raw(kB0));
      return depth_ > 2 ? emit(Opcode::Trunc, type, make(Type::I64)) : integer_op(type);
    case Type::I1:
      return condition();
    case Type::Flags:
      return flags();
    case Type::V256:
      if (depth_ > 2 || chance(40)) return emit(Opcode::Get, Type::V256, {}, {}, Ref::raw(kX0 + below(6)));
      return wide_op();
    default:
      if (depth_ > 2 || chance(40)) return emit(Opcode::Get, Type::V128, {}, {}, Ref::raw(kX0 + below(6)));
      return vector_op();
  }
}

/// Two ops that one instruction of a host may do; their values may go to the fields that it has them in.
inline ir::Ref RandomBlock::halves(Opcode first, Opcode second, Type type, Ref a, Ref b) {
  const Ref low = emit(first, type, a, b), high = emit(second, type, a, b);
  if (type == Type::I64 && chance(60)) {
    emit(Opcode::Set, type, low, {}, Ref::raw(kR0));
    emit(Opcode::Set, type, high, {}, Ref::raw(kR0 + 1));
  }
  return chance(30) ? low : emit(Opcode::Xor, type, low, high);
}

inline ir::Ref RandomBlock::integer_op(Type type) {
  const unsigned w = ir::width(type);
  switch (below(10)) {
    case 0:
    case 1:
    case 2: {
      if (chance(8))
        return halves(Opcode::Mul, chance(50) ? Opcode::MulHiS : Opcode::MulHiU, type, pick(type), pick(type));
      static constexpr Opcode kOps[] = {Opcode::Add,    Opcode::Sub, Opcode::Mul, Opcode::MulHiU,
                                        Opcode::MulHiS, Opcode::And, Opcode::Or,  Opcode::Xor,
                                        Opcode::AndNot, Opcode::Add, Opcode::Sub};
      return emit(kOps[below(std::size(kOps))], type, pick(type), pick(type));
    }
    case 3: {
      static constexpr Opcode kOps[] = {Opcode::Shl, Opcode::Shr, Opcode::Sar, Opcode::Rotl, Opcode::Rotr};
      return emit(kOps[below(std::size(kOps))], type, pick(type), pick(Type::I8));
    }
    case 4: {
      if (w == 8) return emit(Opcode::Popcnt, Type::I64, pick(Type::I64)), emit(Opcode::Not, type, pick(type));
      static constexpr Opcode kOps[] = {Opcode::Not, Opcode::Neg, Opcode::Bswap,
                                        Opcode::Clz, Opcode::Ctz, Opcode::Popcnt};
      return emit(kOps[below(std::size(kOps))], type, pick(type));
    }
    case 5: {
      if (w < 32) return resize(type);
      // A divisor that is neither zero nor minus one.
      static constexpr Opcode kOps[] = {Opcode::UDiv, Opcode::URem, Opcode::SDiv, Opcode::SRem};
      const Ref odd = emit(Opcode::Or, type, pick(type), constant(1));
      const Ref divisor = emit(Opcode::And, type, odd, constant(0x7fffffff)), dividend = pick(type);
      if (chance(40)) return halves(Opcode::UDiv, Opcode::URem, type, dividend, divisor);
      if (chance(40)) return halves(Opcode::SDiv, Opcode::SRem, type, dividend, divisor);
      return emit(kOps[below(4)], type, dividend, divisor);
    }
    case 6:
      if (w < 32) return resize(type);
      return emit(chance(50) ? Opcode::Shld : Opcode::Shrd, type, pick(type), pick(type), pick(Type::I8));
    case 7:
      if (chance(50)) return emit(Opcode::AddShl, type, pick(type), pick(type), Ref::raw(below(4)));
      return emit(Opcode::Select, type, pick(Type::I1), pick(type), pick(type));
    case 8:
      if (type == Type::I64 && chance(30)) return emit(Opcode::FlPack, type, pick(Type::Flags));
      if (options_.wide && chance(15))
        return emit(Opcode::VecToInt, type, pick(Type::V256), {}, Ref::raw(below(256 / w)));
      if (options_.wide && type == Type::I32 && chance(30)) {
        static constexpr u32 kLanes[] = {0, 2, 3};
        return emit(Opcode::VecMask, type, pick(Type::V256), {}, Ref::raw(kLanes[below(3)]));
      }
      if (options_.vectors && chance(30)) {
        return emit(Opcode::VecToInt, type, pick(Type::V128), {}, Ref::raw(below(128 / w)));
      }
      if (options_.vectors && type == Type::I32 && chance(50)) {
        static constexpr u32 kLanes[] = {0, 2, 3};
        return emit(Opcode::VecMask, type, pick(Type::V128), {}, Ref::raw(kLanes[below(3)]));
      }
      if (options_.floats && w >= 32) return emit(Opcode::VecCvtToInt, type, pick(Type::V128), {}, Ref::raw(below(4)));
      return resize(type);
    default:
      return resize(type);
  }
}

/// Trunc, Zext, Sext, Ins or Ext to `type`; their sources are no constants.
inline ir::Ref RandomBlock::resize(Type type) {
  const unsigned w = ir::width(type);
  if (w >= 16 && chance(35)) {
    const Type part =
        w > 8 && chance(50) ? Type::I8 : Type(unsigned(Type::I8) + below(unsigned(type) - unsigned(Type::I8)));
    const bool high = part == Type::I8 && chance(50);
    return emit(Opcode::Ins, type, pick(type), pick(part, false), Ref::raw(high ? 8 : 0));
  }
  if (w == 8 && chance(50))
    return emit(Opcode::Ext, type, pick(int_type(Type::I16), false), {}, Ref::raw(chance(50) ? 8 : 0));
  if (type != Type::I64 && chance(50)) {
    return emit(Opcode::Trunc, type,
                pick(Type(unsigned(type) + 1 + below(unsigned(Type::I64) - unsigned(type))), false));
  }
  const Type from = Type(unsigned(Type::I1) + below(unsigned(type) - unsigned(Type::I1)));
  return emit(chance(50) ? Opcode::Zext : Opcode::Sext, type, pick(from, false));
}

inline ir::Ref RandomBlock::condition() {
  const Type type = int_type();
  switch (below(10)) {
    case 8:
    case 9: {
      const bool adds = chance(50);
      const Ref a = pick(type), b = pick(type);
      const Ref sum = emit(adds ? Opcode::AddCarry : Opcode::SubBorrow, type, a, b, pick(Type::I1));
      return emit(adds ? Opcode::CarryOut : Opcode::BorrowOut, type, a, b, chance(80) ? sum : pick(type));
    }
    case 0:
      return emit(Opcode::BitTest, type, pick(type), pick(type));
    case 1:
      return emit(Opcode::Trunc, Type::I1, pick(type, false));
    case 2:
      return emit(Opcode::Not, Type::I1, pick(Type::I1));
    case 3: {
      static constexpr Opcode kOps[] = {Opcode::And, Opcode::Or, Opcode::Xor, Opcode::AndNot};
      return emit(kOps[below(4)], Type::I1, pick(Type::I1), pick(Type::I1));
    }
    case 4:
    case 5:
      return emit(Opcode::FlIs, Type::I1, pick(Type::Flags), {}, Ref::raw(below(16)));
    default: {
      static constexpr u32 kConds[] = {2, 3, 4, 5, 6, 7, 12, 13, 14, 15};
      return emit(Opcode::CmpSet, type, pick(type), pick(type), Ref::raw(kConds[below(10)]));
    }
  }
}

inline ir::Ref RandomBlock::flags() {
  const Type type = int_type();
  const auto fl = [&](Opcode op, Ref a, Ref b = {}, Ref c = {}) { return emit(op, type, a, b, c); };
  const Ref a = pick(type), b = pick(type);
  switch (below(depth_ > 2 ? 8 : 17)) {
    case 0:
      return fl(Opcode::FlAdd, a, b, emit(Opcode::Add, type, a, b));
    case 1:
      return fl(Opcode::FlSub, a, b, emit(Opcode::Sub, type, a, b));
    case 2:
      return fl(Opcode::FlCmp, a, b);
    case 3:
      return fl(Opcode::FlLogic, a);
    case 4:
      return fl(Opcode::FlTest, a, b);
    case 5:
      return emit(Opcode::GetFlags, Type::Flags);
    case 6:
      return emit(Opcode::FlUnpack, Type::I64, pick(Type::I64));
    case 7:
      return fl(Opcode::FlCmp, a, a);
    case 8:
    case 9: {
      const Ref carry_in = emit(Opcode::FlIs, Type::I1, pick(Type::Flags), {}, Ref::raw(u32(ir::Cond::Below)));
      const Ref carry = emit(Opcode::Zext, type, carry_in);
      const bool adds = chance(50);
      const Opcode op = adds ? Opcode::Add : Opcode::Sub;
      const Ref sum = emit(op, type, emit(op, type, a, b), carry);
      return fl(adds ? Opcode::FlAdc : Opcode::FlSbb, a, b, sum);
    }
    case 10:
      return fl(Opcode::FlInc, emit(Opcode::Add, type, a, constant(1)), pick(Type::Flags));
    case 11:
      return fl(Opcode::FlDec, emit(Opcode::Sub, type, a, constant(1)), pick(Type::Flags));
    case 12:
    case 13: {
      const unsigned n = 1 + below(ir::width(type) - 1);
      const bool left = chance(50);
      const Opcode op = left ? Opcode::Shl : chance(50) ? Opcode::Shr : Opcode::Sar;
      const Ref before = emit(op, type, a, constant(n - 1));
      return fl(left ? Opcode::FlShl : Opcode::FlShr, emit(op, type, a, constant(n)), before);
    }
    case 14: {
      const bool is_signed = chance(50);
      const Ref low = emit(Opcode::Mul, type, a, b);
      const Ref high = emit(is_signed ? Opcode::MulHiS : Opcode::MulHiU, type, a, b);
      return fl(is_signed ? Opcode::FlMulS : Opcode::FlMulU, low, high);
    }
    case 15:
      if (chance(50)) return emit(Opcode::FlJoin, Type::I64, pick(Type::I64), pick(Type::I64));
      return emit(Opcode::FlSetCarry, Type::I1, pick(Type::I1), pick(Type::Flags));
    default:
      if (options_.floats && chance(50)) {
        return emit(Opcode::FlFcmp, Type::V128, pick(Type::V128), pick(Type::V128), Ref::raw(below(4)));
      }
      return emit(Opcode::Select, Type::Flags, pick(Type::I1), pick(Type::Flags), pick(Type::Flags));
  }
}

inline ir::Ref RandomBlock::vector_op() {
  if (!options_.vectors) return emit(Opcode::Get, Type::V128, {}, {}, Ref::raw(kX0 + below(6)));
  const Type wide = chance(50) ? Type::I32 : Type::I64;
  if (chance(5) && (!options_.runs_on_host || is_on_host(ir::VecOp::VSha256Rounds, false))) {
    const Ref first = pick(Type::V128), second = pick(Type::V128), third = pick(Type::V128);
    const Ref args = Ref::raw(u32(block_->args.size()));
    block_->args.push_back(second);
    block_->args.push_back(third);
    return emit(Opcode::Vec3, Type::V128, first, args, Ref::raw(u32(ir::VecOp::VSha256Rounds)));
  }
  switch (below(10)) {
    case 0:
      return emit(Opcode::VecFromInt, wide, pick(wide));
    case 1: {
      const Type type = int_type();
      return emit(Opcode::VecInsert, type, pick(Type::V128), pick(type), Ref::raw(below(128 / ir::width(type))));
    }
    case 2:
      if (options_.floats) return emit(Opcode::VecCvtFromInt, wide, pick(Type::V128), pick(wide), Ref::raw(below(2)));
      [[fallthrough]];
    case 3:
      return emit(Opcode::Select, Type::V128, pick(Type::I1), pick(Type::V128), pick(Type::V128));
    default: {
      ir::VecOp op;
      do op = ir::VecOp(below(unsigned(ir::VecOp::kCount)));
      while ((!options_.floats && is_float(op)) || !is_legacy(op) ||
             (options_.runs_on_host && !is_on_host(op, false)));
      const bool compares = op >= ir::VecOp::VCmpF32 && op <= ir::VecOp::VCmpSF64;
      const u32 imm = !info(op).immediate ? 0 : compares ? below(8) : chance(50) ? below(20) : below(256);
      const Ref b = info(op).arity == 2 ? pick(Type::V128) : Ref{};
      return emit(Opcode::Vec, Type::V128, pick(Type::V128), b, Ref::raw(ir::pack_sub_op(u32(op), imm)));
    }
  }
}

/// Scalar forms, and others that exist on 128 bits alone, say kVecLowHalf.
inline ir::Ref RandomBlock::wide_op() {
  if (chance(10)) return emit(Opcode::Vec, Type::V256, pick(Type::V128), {}, Ref::raw(u32(ir::VecOp::VWiden128)));
  if (chance(5)) return emit(Opcode::Select, Type::V256, pick(Type::I1), pick(Type::V256), pick(Type::V256));
  ir::VecOp op;
  do op = ir::VecOp(below(unsigned(ir::VecOp::kCount)));
  while ((!options_.floats && is_float(op)) || is_legacy_only(op) ||
         (options_.runs_on_host && !is_on_host(op, true)));
  const bool low = has_low_form_only(op) || (chance(40) && !crosses_halves(op));
  const bool compares = op >= ir::VecOp::VCmpF32 && op <= ir::VecOp::VCmpSF64;
  const bool fused = op >= ir::VecOp::VFmaddF32 && op <= ir::VecOp::VFmsubaddF64;
  const u32 imm = !info(op).immediate ? 0 : fused ? below(3) : compares ? below(32) : below(256);
  const Ref c = Ref::raw(ir::pack_sub_op(u32(op), imm));
  const u8 flags = low ? ir::kVecLowHalf : 0;
  if (info(op).arity == 3) {
    const Ref first = pick(Type::V256), second = pick(Type::V256), third = pick(Type::V256);
    const Ref args = Ref::raw(u32(block_->args.size()));
    block_->args.push_back(second);
    block_->args.push_back(third);
    return emit(Opcode::Vec3, Type::V256, first, args, c, flags);
  }
  const Ref b = info(op).arity == 2 ? pick(Type::V256) : Ref{};
  return emit(Opcode::Vec, Type::V256, pick(Type::V256), b, c, flags);
}

/// Mostly inside the pages; sometimes across their end, or anywhere.
inline ir::Ref RandomBlock::address(ir::MemInfo& mem, unsigned log2_bytes) {
  mem = {};
  mem.log2_bytes = u8(log2_bytes);
  mem.stack = chance(10);
  const u64 page = chance(85) ? kGuestPage : kReadOnlyPage;
  if (chance(8)) {
    mem.disp = i32(page + 0x1000 - below(20));
    return {};
  }
  if (chance(4)) return pick(Type::I64);
  const Ref offset = emit(Opcode::And, Type::I64, pick(Type::I64), constant(chance(90) ? 0xfc0 : 0x1fff));
  if (chance(50)) {
    mem.disp = i32(below(56));
    return emit(Opcode::Add, Type::I64, offset, constant(page));
  }
  mem.disp = i32(page) + i32(below(48));
  return chance(50) ? emit(chance(50) ? Opcode::Add : Opcode::Sub, Type::I64, offset, constant(below(8))) : offset;
}

inline void RandomBlock::memory_op() {
  ir::MemInfo mem;
  const bool vector = options_.vectors && chance(25);
  const Type type = vector ? (options_.wide && chance(60) ? Type::V256 : Type::V128) : int_type();
  const unsigned log2 = type == Type::V256 ? below(6) : vector ? 2 + below(3) : below(ir::log2_bytes(type) + 1);
  const bool loads = chance(60);
  const Ref value = loads ? Ref{} : pick(type);
  const Ref base = address(mem, log2);
  if (chance(5)) mem.align_log2 = u8(log2);
  if (loads && !vector && chance(50)) mem.extend = ir::Extend::Sign;
  if (loads && chance(10)) mem.write_intent = true;
  block_->mems.push_back(mem);
  const Ref index = Ref::raw(u32(block_->mems.size() - 1));
  if (chance(5)) {
    emit(Opcode::Probe, Type::Void, base, {}, index);
  } else if (loads) {
    emit(Opcode::Ld, type, base, {}, index);
  } else {
    emit(Opcode::St, type, base, value, index);
  }
}

inline void RandomBlock::atomic_op() {
  if (chance(10)) return void(emit(Opcode::Fence, Type::Void));
  ir::MemInfo mem;
  const Type type = int_type();
  const Ref x = pick(type), y = pick(type);
  const Ref base = address(mem, ir::log2_bytes(type));
  mem.disp &= ~i32((1 << mem.log2_bytes) - 1);
  block_->mems.push_back(mem);
  const Ref index = Ref::raw(u32(block_->mems.size() - 1));
  if (chance(60)) {
    emit(Opcode::Rmw, type, base, x, index, u8(below(6)));
  } else {
    block_->args.push_back(x);
    block_->args.push_back(y);
    emit(Opcode::Cas, type, base, Ref::raw(u32(block_->args.size() - 2)), index);
  }
}

inline void RandomBlock::call() {
  static const ir::HelperTable kHelpers = guest_helpers();
  const u32 helper = below(unsigned(kHelpers.helpers.size()));
  const unsigned count = kHelpers.helpers[helper].arguments;
  std::array<Ref, tcg::kHelperArgs> args;
  for (unsigned i = 0; i < count; ++i) args[i] = pick(Type::I64);
  const Ref first = Ref::raw(u32(block_->args.size()));
  block_->args.insert(block_->args.end(), args.begin(), args.begin() + count);
  emit(Opcode::Call, Type::I64, first, Ref::raw(count), Ref::raw(helper));
}

inline void RandomBlock::x87_op() {
  block_->uses_fpu = true;
  const auto op = ir::X87Op(below(unsigned(ir::X87Op::kCount)));
  const Type a = x87_operand_type(op, 0), b = x87_operand_type(op, 1);
  const Ref first = a == Type::Void ? Ref{} : pick(a), second = b == Type::Void ? Ref{} : pick(b);
  emit(Opcode::X87, x87_result_type(op), first, second, Ref::raw(ir::pack_sub_op(u32(op), below(8))));
}

inline void RandomBlock::set_something() {
  if (chance(30)) return void(emit(Opcode::SetFlags, Type::Flags, pick(Type::Flags)));
  if (options_.wide && chance(8)) return void(emit(Opcode::ZeroUpper, Type::Void));
  const u32 field = below(kGuestFields);
  Type type = layout_.fields[field].type;
  if (type == Type::V256 && (!options_.wide || chance(50))) type = Type::V128;
  const Ref v = pick(type);
  emit(Opcode::Set, type, v, {}, Ref::raw(field));
}

inline void RandomBlock::exit_in_the_middle() {
  if (chance(25)) return void(emit(Opcode::TrapIf, Type::Void, pick(Type::I1), {}, Ref::raw(below(256))));
  const Ref condition = pick(Type::I1);
  block_->pool.push_back({block_->pc + below(0x1000), true});
  emit(Opcode::SideExit, Type::Void, condition, Ref::pool_constant(u32(block_->pool.size() - 1)));
}

inline void RandomBlock::end() {
  switch (below(7)) {
    case 3:
      block_->pool.push_back({block_->pc + below(0x1000), true});
      emit(Opcode::ExitMode, Type::Void, Ref::pool_constant(u32(block_->pool.size() - 1)), {}, Ref::raw(below(100)));
      break;
    case 0:
      emit(Opcode::ExitIndirect, Type::Void, pick(Type::I64), {}, Ref::raw(ir::pack_indirect(below(3), below(2) != 0)));
      break;
    case 1:
      emit(Opcode::ExitSystem, Type::Void, pick(Type::I64), {}, Ref::raw(below(100)));
      break;
    case 2:
      emit(Opcode::Trap, Type::Void, {}, {}, Ref::raw(below(100)));
      break;
    default:
      block_->pool.push_back({block_->pc + below(0x1000), true});
      emit(Opcode::ExitDirect, Type::Void, Ref::pool_constant(u32(block_->pool.size() - 1)));
      break;
  }
}

inline void RandomBlock::generate(ir::Block& block, const RandomBlockOptions& options) {
  block_ = &block;
  options_ = options;
  depth_ = 0;
  for (auto& values : values_) values.clear();
  block.clear();
  block.wide_vectors = options.wide;
  block.pc = 0x10000 + align_down(draw() & 0xffff, 16);
  for (unsigned i = 0; i < options.insns; ++i) {
    emit(Opcode::InsnStart, Type::Void, {}, {}, Ref::raw(i * 4));
    ++block.guest_insns;
    // What may fault comes before what changes state, as in front ends.
    if (options.memory && chance(40)) memory_op();
    if (options.memory && options.atomics && chance(8)) atomic_op();
    if (options.calls && chance(8)) call();
    if (options.x87 && chance(50)) x87_op();
    for (unsigned n = below(4); n > 0; --n)
      make(chance(20) ? (options.wide && chance(60) ? Type::V256 : Type::V128) : Type(unsigned(Type::I1) + below(5)));
    for (unsigned n = 1 + below(3); n > 0; --n) set_something();
    if (options.exits && chance(12)) exit_in_the_middle();
  }
  block.guest_bytes = options.insns * 4;
  end();
}

inline void RandomBlock::randomize(GuestState& state, GuestMemory& memory) {
  for (u64& r : state.regs) r = awkward();
  for (u64& r : state.hdr.hot) r = awkward();
  state.b0 = draw() & 0xff;
  state.w0 = draw() & 0xffff;
  state.d0 = u32(awkward());
  state.d1 = u32(awkward());
  state.q0 = awkward();
  // Floats of ordinary size, special values and anything.
  static constexpr u32 kFloats[] = {0x3f800000, 0x40490fdb, 0xbf000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001,
                                    0xffc12345, 0x00000001, 0x80000000, 0x007fffff, 0x4f000000, 0xcf000000, 0x7f7fffff};
  for (auto& slot : state.vec) {
    for (unsigned i = 0; i < 8; ++i) {
      const u32 lane = chance(50) ? kFloats[below(std::size(kFloats))] : u32(draw());
      std::memcpy(slot.bytes + 4 * i, &lane, 4);
    }
    if (chance(40)) {
      const double d = double(i64(draw())) / double(1 + (draw() >> below(60)));
      std::memcpy(slot.bytes, &d, 8);
    }
  }
  static constexpr u32 kModes[] = {0x1f80, 0x1f80, 0x3f80, 0x5f80, 0x7f80, 0x9fc0};
  state.hdr.fp_control = kModes[below(6)];
  state.hdr.cc_op = chance(50) ? 0 : below(48);
  state.hdr.cc_a = draw();
  state.hdr.cc_b = chance(50) ? draw() : draw() & 1;
  for (u8& byte : memory.page) byte = u8(draw());
  for (u8& byte : memory.read_only) byte = u8(draw());
}

}  // namespace emu::test
