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

constexpr bool is_byte_operand(Operand o) {
  return o == Eb || o == Gb || o == Zb || o == Mb || o == AL || o == Ob || o == Xb || o == Yb;
}
constexpr u8 traits_of(const Row& row) {
  unsigned traits = is_byte_operand(row.operands[0]) ? kByteSized : 0;
  for (const Operand o : row.operands) {
    if ((o >= Ib && o <= Iv) || o == Jb || o == Jz || o == Ap || o == Ob || o == Ov || o == L) traits |= kHasImmediate;
    if (o == H || o == KH) traits |= kNamesVvvv;
  }
  return u8(traits);
}

constexpr bool prefix_matches(Prefix want, u8 rep, bool has66) {
  switch (want) {
    case Prefix::Any:
      return true;
    case Prefix::NoRep:
      return rep == 0;
    case Prefix::None:
      return rep == 0 && !has66;
    case Prefix::P66:
      return rep == 0 && has66;
    case Prefix::PF3:
      return rep == 0xf3;
    case Prefix::PF2:
      return rep == 0xf2;
  }
  return false;
}

constexpr RowKey make_key(const Row& row, u16 index) {
  RowKey key{.row = index, .traits = traits_of(row)};
  key.forms = u8(1u << (row.is_evex ? RowKey::kEvex : row.is_vex ? RowKey::kVex : RowKey::kLegacy));
  if (row.mod != Mod::Register) key.forms |= 1 << RowKey::kMemory;
  if (row.mod != Mod::Memory) key.forms |= 1 << RowKey::kRegister;
  if (!(row.rules & kNo64)) key.forms |= 1 << RowKey::kCode64;
  if (!(row.rules & kOnly64)) key.forms |= 1 << RowKey::kOther;
  for (const u8 rep : {u8(0), u8(0xf2), u8(0xf3)}) {
    for (const bool has66 : {false, true}) {
      if (prefix_matches(row.prefix, rep, has66)) key.prefixes |= u8(1u << RowKey::prefix_bit(rep, has66));
    }
  }
  if (row.reg_field != kAnyField) key.regs = u8(1u << row.reg_field);
  if (row.rm_field != kAnyField) key.rms = u8(1u << row.rm_field);
  return key;
}

constexpr bool needs_modrm(const Row& row) {
  if (row.rules & kModrm || row.mod != Mod::Any) return true;
  for (const Operand o : row.operands) {
    if ((o >= Eb && o <= Gy) || (o >= M && o <= Ma) || (o >= Sw && o <= Ry) || (o >= V && o <= KR)) return true;
  }
  return false;
}

struct Index {
  std::array<u16, kMapCount* 256 + 1> start = {};
  std::array<RowKey, kRowCount + 1200> rows = {};  // rows that span several opcodes are listed under each
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
      index.rows[count[at]++] = make_key(row, r);
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

std::span<const RowKey> row_keys(Map map, u8 opcode) {
  const unsigned at = map * 256u + opcode;
  return {kIndex.rows.data() + kIndex.start[at], size_t(kIndex.start[at + 1] - kIndex.start[at])};
}

bool opcode_has_modrm(Map map, u8 opcode) { return kIndex.modrm[map * 256u + opcode]; }

}  // namespace emu::x86
