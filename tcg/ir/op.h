// SPDX-License-Identifier: Apache-2.0
// Opcode, Op and Block: a translated guest block in SSA, 16 bytes an operation, no heap allocation per operation.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "tcg/ir/helper.h"
#include "tcg/ir/state_layout.h"
#include "tcg/ir/types.h"

namespace emu::ir {

enum class Opcode : u16 {
#define IR_OP(name, text, result, a, b, c, effects) name,
#include "tcg/ir/opcodes.inc"
#undef IR_OP
  kCount
};

enum Effect : u16 {
  kPure = 1 << 0,
  kReadsState = 1 << 1,
  kWritesState = 1 << 2,
  kReads = 1 << 3,
  kWrites = 1 << 4,
  kMayFault = 1 << 5,
  kEnds = 1 << 6,
  kExit = 1 << 7,
  kFpu = 1 << 8,
  kCall = 1 << 9,  ///< effects are the HelperDesc's
  kMarker = 1 << 10,
};

/// What an operand place takes.
enum class Kind : u8 { None, T, Int, Any, V, I1, I8, I16, I32, I64, V128, Flags, Raw, Mem, Args, Count };

struct OpcodeInfo {
  const char* name;
  const char* text;
  Kind result, a, b, c;
  u16 effects;
};
inline constexpr OpcodeInfo kOpcodeInfo[] = {
#define IR_OP(name, text, result, a, b, c, effects) \
  {#name, text, Kind::result, Kind::a, Kind::b, Kind::c, u16(effects)},
#include "tcg/ir/opcodes.inc"
#undef IR_OP
};
constexpr const OpcodeInfo& info(Opcode opcode) { return kOpcodeInfo[unsigned(opcode)]; }

struct Op {
  Opcode opcode = Opcode::Nop;
  Type type = Type::Void;
  u8 flags = 0;
  Ref a, b, c;  ///< where opcodes.inc says Raw, Mem, Args or Count: raw numbers
};
static_assert(sizeof(Op) == 16);

/// Op::flags of Vec and Vec3 on V256: the operation is done on the low halves alone, the rest of the result is zero.
inline constexpr u8 kVecLowHalf = 1;

inline constexpr Type kTypeOfKind[] = {
    Type::Void, Type::Void, Type::Void, Type::Void, Type::Void,  Type::I1,   Type::I8,   Type::I16,
    Type::I32,  Type::I64,  Type::V128, Type::Flags, Type::Void, Type::Void, Type::Void, Type::Void};
static_assert(unsigned(Kind::V) == 4 && unsigned(Kind::Flags) == 11 && unsigned(Kind::Count) == 15);

/// The type of the value an op makes; Void if none.
constexpr Type result_type(Opcode opcode, Type type) {
  const Kind kind = info(opcode).result;
  return kind == Kind::T ? type : kTypeOfKind[unsigned(kind)];
}
/// ExitIndirect's c. Hint: 0 jump, 1 call, 2 return.
constexpr u32 pack_indirect(unsigned hint, bool checks) { return hint | u32(checks) << 2; }
constexpr unsigned indirect_hint(u32 c) { return c & 3; }
constexpr bool indirect_checks(u32 c) { return c >> 2 & 1; }
/// The trap of an ExitIndirect that checks.
inline constexpr u32 kBadTargetTrap = 0x204;

constexpr Type result_type(const Op& op) { return result_type(op.opcode, op.type); }

struct PoolConstant {
  u64 value = 0;
  bool pc_relative = false;  ///< moves with the block's virtual page when the block is cloned
};

/// One guest block. Op 0 is a Nop, so that value ids start at 1. The last op has kEnds. Reused from block to block.
struct Block {
  u64 pc = 0;                    ///< linear address of the first instruction
  u32 guest_bytes = 0;
  u32 guest_insns = 0;
  bool wide_vectors = false;     ///< pinned vectors are 256 bits wide here; else they keep 128 of them
  bool uses_fpu = false;         ///< holds X87 ops: the x87 unit must be live at entry
  /// Nothing in it depends on its pc but pc_relative constants and exits, and those move as it does, by whole pages:
  /// its code can be made to fit another pc. Front ends say so.
  bool movable = false;
  u32 plain_locks = 0;           ///< atomic instructions that are loads and stores in it (statistics)
  bool folded = false;           ///< Builder made every op and no exit is known to be taken: another fold finds nothing
  std::vector<Op> ops;
  std::vector<PoolConstant> pool;
  std::vector<MemInfo> mems;
  std::vector<Ref> args;

  void clear();
  u64 constant_value(Ref r) const { return r.is_pool() ? pool[r.pool_index()].value : u64(r.inline_value()); }
  const MemInfo& mem(const Op& op) const { return mems[op.c.bits()]; }
  std::span<const Ref> call_args(const Op& op) const { return {args.data() + op.a.bits(), op.b.bits()}; }
};

/// True for operand kinds that hold a Ref; the others are none or raw numbers.
constexpr bool is_operand(Kind k) { return k >= Kind::T && k <= Kind::Flags; }

/// Calls visit(Ref) for each operand, constants included, and those in Block::args.
template <typename Visit>
void for_each_operand(const Block& block, const Op& op, Visit&& visit) {
  const OpcodeInfo& row = info(op.opcode);
  if (is_operand(row.a) && !op.a.is_none()) visit(op.a);
  if (is_operand(row.b) && !op.b.is_none()) visit(op.b);
  if (is_operand(row.c) && !op.c.is_none()) visit(op.c);
  if (op.opcode == Opcode::Cas || op.opcode == Opcode::Vec3) {
    visit(block.args[op.b.bits()]);
    visit(block.args[op.b.bits() + 1]);
  } else if (op.opcode == Opcode::Call) {
    for (const Ref arg : block.call_args(op)) visit(arg);
  }
}

/// Whether an op sets floating-point sticky flags (and reads the rounding mode), which the effects column does not
/// say: such ops stay where they are and are not dropped when unused.
bool has_fp_effects(const Op& op);
/// Whether an op may go if nobody uses its value.
bool is_removable(const Op& op, const HelperTable& helpers);
/// Whether fields and flags must be right before this op: it may fault, leave the block, or call what looks at them.
bool observes_state(const Op& op, const HelperTable& helpers);

}  // namespace emu::ir
