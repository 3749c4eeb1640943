// SPDX-License-Identifier: Apache-2.0
// Recovery points: how to put a guest's state right when a block is left in the middle. Written by back ends, read by
// accelerators; see translator.md section 1, "Precise exceptions by side table".
//
// A thunk stores every host register to a slot of the state before C++ looks (tcg/abi/thunks.h), so each location is
// either a constant or an offset into the state; readers need to know no host register. Nothing in a table depends on
// where the block or its code lies: a copy of the block elsewhere has the same table.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "tcg/ir/op.h"

namespace emu::ir {

/// Where a value is while the state is spilled.
struct Location {
  enum class Where : u8 {
    None,
    Constant,
    State,
    Pc,  ///< a constant that moves with the block: counted from the block's pc. Readers are given a Constant.
  } where = Where::None;
  u64 value = 0;  ///< the constant, or the byte offset from the EnvHeader
};

/// A field whose current guest value is not at its home.
struct FieldLocation {
  FieldId field = 0;
  Location at;
};

/// Condition flags of the guest at this point.
struct FlagsLocation {
  bool at_home = true;  ///< env.cc_{op,a,b} hold them; else:
  u32 cc_op = 0;
  Location a, b;
};

/// The memory access of a recovery point, for accesses that a thunk performs itself.
struct AccessRecord {
  Opcode opcode = Opcode::Nop;   ///< Ld, St, Probe, Rmw, Cas; Nop: not a memory access
  MemInfo mem;
  RmwOp rmw = RmwOp::Add;
  bool unshares = false;         ///< is not to be performed: the instruction is executed again without shared checks
  Type type = Type::Void;        ///< result type of Ld, Rmw, Cas; operand type of St
  Location value;                ///< St, Rmw: operand; Cas: desired
  Location expected;             ///< Cas
  Location result;               ///< Ld, Rmw, Cas: the slot that the thunk reloads into the destination; None: unused
};

struct RecoveryPoint {
  u32 key = 0;                   ///< host return address, as CodeParts counts
  u32 pc_delta = 0;              ///< guest instruction: pc = block pc + pc_delta
  u32 insn_index = 0;            ///< instructions of the block completed before this one
  u32 next_pc_delta = 0;         ///< the following instruction, for leaving after this one completed
  u32 resume = 0;                ///< host address after the access, counted alike; 0: none
  u32 retry = 0;                 ///< host address that performs the access again, counted alike; 0: none
  AccessRecord access;
  std::vector<FieldLocation> fields;
  FlagsLocation flags;
};

/// The recovery points of one block, delta-encoded. Building: add() in any key order, then finish(). Each point is
/// encoded as the difference from the one added before, so program order is the densest. Reuse the writer (and the
/// RecoveryPoint given to add) from block to block: then nothing is allocated.
class SideTableWriter {
 public:
  void clear();
  void add(const RecoveryPoint& point);
  /// Appends the encoding to `out` and returns its size in bytes.
  size_t finish(std::vector<u8>& out);

 private:
  std::vector<u8> bytes_;
  RecoveryPoint last_;
};

/// Finds a point by key in the encoded table of a block at `pc`. Cold path; allocates.
std::optional<RecoveryPoint> find_recovery_point(std::span<const u8> table, u32 key, u64 pc);

/// Moves every guest register and the flags home, given that all slots named by `point` are filled.
void apply_recovery(const RecoveryPoint& point, const StateLayout& layout, tcg::EnvHeader& env);

}  // namespace emu::ir
