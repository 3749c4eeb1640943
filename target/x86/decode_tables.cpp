// SPDX-License-Identifier: Apache-2.0
// The rows of all opcode maps, and a compile-time index from opcode to rows.
#include "target/x86/decode_tables.h"

#include <array>

#include "target/x86/translate_emitter.h"

namespace emu::x86 {
namespace {

using E = Emitter;
using ir::VecOp;
using ir::X87Op;
using enum Operand;
using enum InsnFeature;

template <typename... Ops>
constexpr Row make_row(Map map, u8 opcode, const char* name, Ops... operands) {
  Row row;
  row.name = name;
  row.map = map;
  row.opcode = opcode;
  unsigned i = 0;
  ((row.operands[i++] = operands), ...);
  return row;
}
template <typename... Ops>
constexpr Row one(u8 opcode, const char* name, Ops... o) {
  return make_row(kMapOne, opcode, name, o...);
}
template <typename... Ops>
constexpr Row two(u8 opcode, const char* name, Ops... o) {
  return make_row(kMap0F, opcode, name, o...);
}
template <typename... Ops>
constexpr Row t38(u8 opcode, const char* name, Ops... o) {
  return make_row(kMap38, opcode, name, o...);
}
template <typename... Ops>
constexpr Row t3a(u8 opcode, const char* name, Ops... o) {
  return make_row(kMap3A, opcode, name, o...);
}

template <typename... Ops>
constexpr Row t5(u8 opcode, const char* name, Ops... o) {
  return make_row(kMap5, opcode, name, o...);
}
template <typename... Ops>
constexpr Row t6(u8 opcode, const char* name, Ops... o) {
  return make_row(kMap6, opcode, name, o...);
}

/// Row::arg of SIMD rows.
constexpr u16 vec(VecOp op, unsigned memory_log2 = 4) { return Emitter::vec_arg(op, memory_log2); }

/// Of VEX rows: the memory operand grows with the vector, or stays as long (a lane, a count, an element).
constexpr u16 avx(VecOp op, unsigned memory_log2 = 4) { return Emitter::vec_arg(op, memory_log2); }
constexpr u16 fixed(VecOp op, unsigned memory_log2) { return Emitter::vec_arg(op, memory_log2 | 8); }

constexpr FlagMask kAll = kArithmetic;
constexpr FlagMask kAllButCF = kArithmetic & ~kCF;
constexpr FlagMask kAllButZF = kArithmetic & ~kZF;
constexpr FlagMask kAllButCFZF = kArithmetic & ~(kCF | kZF);

// What Jcc, SETcc and CMOVcc read, by condition / 2.
constexpr FlagMask kCondition[] = {kOF, kCF, kZF, kCF | kZF, kSF, kPF, kSF | kOF, kZF | kSF | kOF};

constexpr Row kRows[] = {
#include "target/x86/decode_tables_0f.inc"
#include "target/x86/decode_tables_0f38_3a.inc"
#include "target/x86/decode_tables_0f_sse.inc"
#include "target/x86/decode_tables_onebyte.inc"
#include "target/x86/decode_tables_x87.inc"
#include "target/x86/decode_tables_vex.inc"
#include "target/x86/decode_tables_vex38_3a.inc"
#include "target/x86/decode_tables_opmask.inc"
#include "target/x86/decode_tables_evex.inc"
#include "target/x86/decode_tables_evex3a.inc"
#include "target/x86/decode_tables_fp16.inc"
};
constexpr size_t kRowCount = std::size(kRows);

constexpr bool needs_modrm(const Row& row) {
  if (row.rules & kModrm || row.mod != Mod::Any) return true;
  for (const Operand o : row.operands) {
    if ((o >= Eb && o <= Gy) || (o >= M && o <= Ma) || (o >= Sw && o <= Ry) || (o >= V && o <= KR)) return true;
  }
  return false;
}

struct Index {
  std::array<u16, kMapCount* 256 + 1> start = {};
  std::array<u16, kRowCount + 1200> rows = {};  // rows that span several opcodes are listed under each
  std::array<bool, kMapCount* 256> modrm = {};
};

constexpr Index make_index() {
  Index index;
  std::array<u16, kMapCount* 256 + 1> count = {};
  for (const Row& row : kRows)
    for (unsigned i = 0; i < row.count; ++i) ++count[row.map * 256u + row.opcode + i];
  u16 sum = 0;
  for (unsigned i = 0; i < kMapCount * 256; ++i) {
    index.start[i] = sum;
    sum = u16(sum + count[i]);
    count[i] = index.start[i];
  }
  index.start[kMapCount * 256] = sum;
  for (u16 r = 0; r < kRowCount; ++r) {
    const Row& row = kRows[r];
    for (unsigned i = 0; i < row.count; ++i) {
      const unsigned at = row.map * 256u + row.opcode + i;
      index.rows[count[at]++] = r;
      if (needs_modrm(row)) index.modrm[at] = true;
    }
  }
  return index;
}
constexpr Index kIndex = make_index();

}  // namespace

constexpr Row kUndefinedRow = Row{.name = "(undefined)", .rules = kFaults | kEnds, .emitter = &Emitter::undefined};
constexpr Row kMissingEvexRow =
    Row{.name = "(EVEX)", .rules = kFaults | kEnds | kMissing, .emitter = &Emitter::not_translated};
constexpr Row kTooLongRow = Row{.name = "(too long)", .rules = kFaults | kEnds, .emitter = &Emitter::too_long};

std::span<const Row> all_rows() { return kRows; }

std::span<const u16> rows_of(Map map, u8 opcode) {
  const unsigned at = map * 256u + opcode;
  return {kIndex.rows.data() + kIndex.start[at], size_t(kIndex.start[at + 1] - kIndex.start[at])};
}

bool opcode_has_modrm(Map map, u8 opcode) { return kIndex.modrm[map * 256u + opcode]; }

}  // namespace emu::x86
