// SPDX-License-Identifier: Apache-2.0
// Prefixes, ModRM, SIB, displacement and immediates: SDM Vol. 2 chapter 2.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "target/x86/decode.h"
#include "target/x86/decode_tables.h"

namespace emu::x86 {
namespace {

constexpr unsigned kMaxLength = 15;

/// Reads forward through the instruction's bytes. Nothing is checked on the way: behind kMaxLength bytes, or all there
/// are, others follow, and who has read any of them is_bad().
class Cursor {
 public:
  explicit Cursor(std::span<const u8> bytes) : limit_(unsigned(std::min<size_t>(bytes.size(), kMaxLength))) {
    if (bytes.size() >= kReadable) {
      bytes_ = bytes.data();
    } else {
      std::copy_n(bytes.begin(), limit_, padded_.begin());
      std::fill(padded_.begin() + limit_, padded_.end(), u8(0));
      bytes_ = padded_.data();
    }
  }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  /// What is looked at so is to be read by next(), too.
  u8 peek(unsigned ahead = 0) const { return bytes_[at_ + ahead]; }
  u8 next() { return bytes_[at_++]; }
  u64 little_endian(unsigned count) {
    u64 value;
    std::memcpy(&value, bytes_ + at_, sizeof(value));
    if constexpr (std::endian::native == std::endian::big) value = __builtin_bswap64(value);
    at_ += count;
    return value & low_mask(8 * count);
  }
  i64 sign_extended(unsigned count) { return sign_extend(little_endian(count), 8 * count); }
  unsigned position() const { return at_; }
  bool is_at_end() const { return at_ >= limit_; }
  void run_over() { at_ = limit_ + 1; }
  bool is_bad() const { return at_ > limit_; }
  bool is_truncated() const { return is_bad() && limit_ < kMaxLength; }

 private:
  /// Prefixes end at the limit; behind them come at most three opcode bytes (with an EVEX prefix five), ModRM, SIB, a
  /// displacement and eight bytes of immediates; the last are read by eights.
  static constexpr size_t kReadable = kMaxLength + 5 + 2 + 4 + 8 + 8;
  const u8* bytes_;
  unsigned limit_, at_ = 0;
  std::array<u8, kReadable> padded_;
};

/// What scanning the prefixes leaves behind for the opcode lookup.
struct Opening {
  Map map = kMapOne;
  u8 rep = 0;  ///< the last of F2, F3; 0 if none
  bool is_vex = false;
  bool is_bad_vex = false;  ///< a reserved map, or VEX after a prefix that it excludes
  bool is_evex = false;
};

void scan_prefixes(Cursor& at, Mode mode, Insn& insn, Opening& opening) {
  const bool code64 = mode.has(Mode::kCode64);
  for (;;) {
    if (at.is_at_end()) return at.run_over();
    const u8 byte = at.peek();
    switch (byte) {
      case 0xf0:
        insn.prefixes |= kHasLock;
        break;
      case 0xf2:
        insn.prefixes = u8((insn.prefixes & ~kHasRep) | kHasRepne);
        opening.rep = byte;
        break;
      case 0xf3:
        insn.prefixes = u8((insn.prefixes & ~kHasRepne) | kHasRep);
        opening.rep = byte;
        break;
      case 0x66:
        insn.prefixes |= kHas66;
        break;
      case 0x67:
        insn.prefixes |= kHas67;
        break;
      case 0x26:
      case 0x2e:
      case 0x36:
      case 0x3e:
        if (!code64) {  // ignored in 64-bit mode, and does not undo an FS or GS before it
          insn.segment = u8((byte >> 3) & 3);
          insn.prefixes |= kHasSegment;
        }
        break;
      case 0x64:
      case 0x65:
        insn.segment = byte == 0x64 ? FS : GS;
        insn.prefixes |= kHasSegment;
        break;
      default:
        if (code64 && (byte & 0xf0) == 0x40) {
          insn.rex = byte;  // counts only directly before the opcode
          at.next();
          continue;
        }
        return;
    }
    insn.rex = 0;
    at.next();
  }
}

/// The three bytes behind 62: SDM vol. 2, 2.7.1.
void scan_evex(Cursor& at, Mode mode, Insn& insn, Opening& opening) {
  const u8 p0 = at.next(), p1 = at.next(), p2 = at.next();
  const bool code64 = mode.has(Mode::kCode64);
  insn.rex = u8(0x40 | (~p0 >> 5 & 7) | (p1 & 0x80 ? 8 : 0));
  insn.vex_w = insn.rex & 8;
  insn.evex_reg_high = !(p0 & 0x10);
  insn.evex_vvvv_high = !(p2 & 8);
  const unsigned map = p0 & 7;
  if ((p0 & 8) || !(p1 & 4) || map == 0 || map == 4 || map > kMap6)
    opening.is_bad_vex = true;
  else
    opening.map = Map(map);
  if (!code64) {  // there they mean nothing; with V' some processors raise #UD
    insn.differs_by_maker = insn.evex_vvvv_high;
    insn.rex = 0x40;
    insn.evex_reg_high = insn.evex_vvvv_high = false;
  }
  insn.vvvv = u8(~p1 >> 3 & 15);
  insn.zeroing = p2 & 0x80;
  insn.evex_ll = p2 >> 5 & 3;
  insn.evex_b = p2 & 0x10;
  insn.mask = p2 & 7;
  constexpr u8 kRep[] = {0, 0, 0xf3, 0xf2};
  opening.rep = kRep[p1 & 3];
  if ((p1 & 3) == 1) insn.prefixes |= kHas66;
}

/// C4/C5 (and 62) after the prefixes, where they are not LES, LDS and BOUND.
bool scan_vex(Cursor& at, Mode mode, Insn& insn, Opening& opening) {
  const u8 first = at.peek();
  if (first != 0xc4 && first != 0xc5 && first != 0x62) return false;
  const u8 second = at.peek(1);
  if (!mode.has(Mode::kCode64) && (second & 0xc0) != 0xc0) return false;
  if (!mode.is_protected()) return false;  // there they stay LES, LDS and BOUND with a register: #UD

  opening.is_vex = true;
  opening.is_evex = first == 0x62;
  opening.is_bad_vex = opening.rep || (insn.prefixes & (kHas66 | kHasLock)) || insn.rex;
  at.next();
  if (first == 0x62) {
    scan_evex(at, mode, insn, opening);
    return true;
  }
  const u8 p1 = at.next();
  u8 last = p1;
  insn.rex = u8(0x40 | (p1 & 0x80 ? 0 : 4));
  opening.map = kMap0F;
  if (first == 0xc4) {
    last = at.next();
    insn.rex = u8(0x40 | (~p1 >> 5 & 7) | (last & 0x80 ? 8 : 0));
    const unsigned map = p1 & 31;
    if (map == 0 || map > 3)
      opening.is_bad_vex = true;
    else
      opening.map = Map(map);
  }
  insn.vex_w = insn.rex & 8;
  if (!mode.has(Mode::kCode64)) insn.rex = 0x40;
  insn.vvvv = u8(~last >> 3 & 15);
  insn.vector_256 = last >> 2 & 1;
  constexpr u8 kRep[] = {0, 0, 0xf3, 0xf2};
  opening.rep = kRep[last & 3];
  if ((last & 3) == 1) insn.prefixes |= kHas66;
  return true;
}

void scan_opcode(Cursor& at, Insn& insn, Opening& opening) {
  insn.opcode = at.next();
  if (opening.is_vex || insn.opcode != 0x0f) return;
  opening.map = kMap0F;
  insn.opcode = at.next();
  if (insn.opcode != 0x38 && insn.opcode != 0x3a) return;
  opening.map = insn.opcode == 0x38 ? kMap38 : kMap3A;
  insn.opcode = at.next();
}

/// What an 8-bit displacement counts in.
i64 displacement_unit(const Insn& insn) { return insn.row->is_evex ? evex_memory_bytes(insn) : 1; }

void set_memory_segment(Insn& insn, Seg by_default) {
  if (!insn.has(kHasSegment)) insn.segment = by_default;
}

void scan_modrm16(Cursor& at, Insn& insn) {
  constexpr u8 kBase[] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
  constexpr u8 kIndex[] = {RSI, RDI, RSI, RDI, kNoReg, kNoReg, kNoReg, kNoReg};
  const unsigned mod = insn.modrm >> 6, rm = insn.modrm & 7;
  if (mod == 0 && rm == 6) {
    insn.disp = i32(u16(at.little_endian(2)));
    set_memory_segment(insn, DS);
    return;
  }
  insn.base = kBase[rm];
  insn.index = kIndex[rm];
  set_memory_segment(insn, insn.base == RBP ? SS : DS);
  if (mod == 1) insn.disp = i32(at.sign_extended(1) * displacement_unit(insn));
  if (mod == 2) insn.disp = i32(at.sign_extended(2));
}

void scan_modrm32(Cursor& at, Insn& insn, bool code64) {
  const unsigned mod = insn.modrm >> 6, rm = insn.modrm & 7;
  const u8 rex_b = u8((insn.rex & 1) << 3);
  bool has_disp32 = mod == 2;
  Seg segment = DS;
  if (rm == 4) {
    const u8 sib = at.next();
    insn.scale = sib >> 6;
    const u8 index = u8((sib >> 3 & 7) | (insn.rex & 2) << 2);
    insn.sib_index = index;
    if (index != RSP) insn.index = index;
    if ((sib & 7) == 5 && mod == 0) {
      has_disp32 = true;
    } else {
      insn.base = u8((sib & 7) | rex_b);
    }
  } else if (rm == 5 && mod == 0) {
    has_disp32 = true;
    if (code64) insn.base = kBaseRip;
  } else {
    insn.base = u8(rm | rex_b);
  }
  if (insn.base == RSP || insn.base == RBP) segment = SS;
  set_memory_segment(insn, segment);
  if (mod == 1) insn.disp = i32(at.sign_extended(1) * displacement_unit(insn));
  if (has_disp32) insn.disp = i32(at.sign_extended(4));
}

void scan_modrm(Cursor& at, bool ignore_mod, bool code64, Insn& insn) {
  insn.modrm = at.next();
  insn.reg = u8((insn.modrm >> 3 & 7) | (insn.rex & 4) << 1);
  insn.rm = u8((insn.modrm & 7) | (insn.rex & 1) << 3);
  if (insn.row->is_evex) {
    insn.reg = u8(insn.reg | insn.evex_reg_high << 4);
    if (insn.modrm >= 0xc0 && code64 && !insn.row->names_general()) insn.rm = u8(insn.rm | (insn.rex & 2) << 3);
  }
  if (insn.modrm >= 0xc0 || ignore_mod) return;
  insn.is_memory = true;
  if (insn.address == 1)
    scan_modrm16(at, insn);
  else
    scan_modrm32(at, insn, code64);
}

void scan_immediates(Cursor& at, Insn& insn) {
  const unsigned wide = insn.size == 1 ? 2 : 4;
  bool have_one = false;
  for (const Operand operand : insn.row->operands) {
    u64 value = 0;
    switch (operand) {
      case Operand::Ib:
      case Operand::L:
        value = at.next();
        break;
      case Operand::Ibs:
      case Operand::Jb:
        value = u64(at.sign_extended(1));
        break;
      case Operand::Iw:
        value = at.little_endian(2);
        break;
      case Operand::Iz:
        value = u64(at.sign_extended(wide));
        break;
      case Operand::Jz:
        value = u64(at.sign_extended(wide));
        break;
      case Operand::Iv:
        value = u64(at.sign_extended(1u << insn.size));
        break;
      case Operand::Ob:
      case Operand::Ov:
        value = at.little_endian(1u << insn.address);
        break;
      case Operand::Ap: {
        value = at.little_endian(wide);
        value |= at.little_endian(2) << 32;
        break;
      }
      default:
        continue;
    }
    insn.imm = have_one ? insn.imm | value << 16 : value;  // ENTER is the only one with two
    have_one = true;
  }
}

u8 operand_size(SizeRule rule, Mode mode, const Insn& insn) {
  const bool code64 = mode.has(Mode::kCode64), has66 = insn.has(kHas66);
  const u8 legacy = mode.has(Mode::kCode32) != has66 ? 2 : 1;
  const u8 general = !code64 ? legacy : insn.rex_w() ? 3 : has66 ? 1 : 2;
  switch (rule) {
    case SizeRule::Byte:
      return 0;
    case SizeRule::W:
      return 1;
    case SizeRule::D:
      return 2;
    case SizeRule::Q:
      return 3;
    case SizeRule::Y:
      return code64 && insn.rex_w() ? 3 : 2;
    case SizeRule::D64:
      return !code64 ? legacy : has66 && !insn.rex_w() ? 1 : 3;
    case SizeRule::F64:
      return code64 ? 3 : legacy;
    case SizeRule::Mode:
      return code64 ? 3 : 2;
    default:
      return general;
  }
}

bool vex_matches(const Row& row, const Insn& insn) {
  if (row.length == VexLength::L0 && insn.vector_256) return false;
  if (row.length == VexLength::L1 && !insn.vector_256) return false;
  return row.vex_width == VexWidth::Any || (row.vex_width == VexWidth::W1) == insn.vex_w;
}

/// Of an EVEX row: whether L'L and W are its own. Where L'L is a rounding mode, the length is 512.
bool evex_matches(const Row& row, const Insn& insn, bool is_register) {
  if (row.vex_width != VexWidth::Any && (row.vex_width == VexWidth::W1) != insn.vex_w) return false;
  const bool rounds = is_register && insn.evex_b && (row.is(kEmbeddedRounding) || row.is(kSuppress));
  if (row.lengths == 0) return rounds || insn.evex_ll != 3;
  const unsigned length = rounds ? 2 : insn.evex_ll;
  return row.lengths >> length & 1;
}

bool has_features(const Row& row, const Insn& insn, InsnFeatures features) {
  if (row.is_evex) {
    const bool is_short = insn.length_log2 != 6 && row.lengths != 0 && row.lengths != 1;
    const InsnFeatures all = feature_bit(row.feature) | feature_bit(InsnFeature::kAvx512f) |
                             (is_short ? feature_bit(InsnFeature::kAvx512vl) : 0);
    return (features & all) == all;
  }
  InsnFeature needed = row.feature;
  if (insn.vector_256 && row.feature_256 != InsnFeature::kBase) needed = row.feature_256;
  if (row.feature == InsnFeature::kCx8 && insn.rex_w()) needed = InsnFeature::kCx16;  // CMPXCHG16B
  if (row.is_vex && row.has(kFpuUse) && !(features & feature_bit(InsnFeature::kAvx))) return false;
  return features & feature_bit(needed);
}

/// Whether the tables know the opcode: what else is wrong with it makes it undefined, not missing.
bool has_evex_row(Map map, u8 opcode) {
  for (const RowKey& key : row_keys(map, opcode))
    if (key.forms & bit(RowKey::kEvex)) return true;
  return false;
}

void set_evex_length(const Row& row, Insn& insn, bool is_register) {
  const bool rounds = is_register && insn.evex_b && (row.is(kEmbeddedRounding) || row.is(kSuppress));
  insn.length_log2 = u8(row.lengths == 0 ? 4 : rounds ? 6 : 4 + insn.evex_ll);
}

const RowKey* find_row(const Opening& opening, Insn& insn, Mode mode, u8 modrm, InsnFeatures features) {
  const unsigned encoding = opening.is_evex ? RowKey::kEvex : opening.is_vex ? RowKey::kVex : RowKey::kLegacy;
  const u8 form = u8(bit(encoding) | bit(modrm >= 0xc0 ? RowKey::kRegister : RowKey::kMemory) |
                     bit(mode.has(Mode::kCode64) ? RowKey::kCode64 : RowKey::kOther));
  const u8 prefix = u8(bit(RowKey::prefix_bit(opening.rep, insn.has(kHas66))));
  const u8 reg = u8(bit(modrm >> 3 & 7)), rm = u8(bit(modrm & 7));
  for (const RowKey& key : row_keys(opening.map, insn.opcode)) {
    if ((key.forms & form) != form || !(key.prefixes & prefix) || !(key.regs & reg) || !(key.rms & rm)) continue;
    const Row& row = all_rows()[key.row];
    if (row.is_evex) {
      if (!evex_matches(row, insn, modrm >= 0xc0)) continue;
      set_evex_length(row, insn, modrm >= 0xc0);
    } else if (row.is_vex && !vex_matches(row, insn)) {
      continue;
    }
    if (!has_features(row, insn, features)) continue;  // e.g. TZCNT without BMI1 is BSF: a later row
    return &key;
  }
  return nullptr;
}

/// VEX.vvvv must be 1111b where it names nothing.
bool names_vvvv(const Row& row) {
  for (const Operand operand : row.operands)
    if (operand == Operand::H || operand == Operand::KH) return true;
  return row.is(kVsib);
}

bool names(const Row& row, Operand wanted) {
  for (const Operand operand : row.operands)
    if (operand == wanted) return true;
  return false;
}

/// The rest of SDM vol. 2, 2.7.11: what EVEX fields may hold.
bool is_valid_evex(const Row& row, Insn& insn, bool code64) {
  const bool has_b = row.is(kEmbeddedRounding) || row.is(kSuppress);
  insn.differs_by_maker |= (insn.mask == 0 && insn.zeroing) || (insn.evex_b && !insn.is_memory && !has_b);
  if (insn.evex_vvvv_high && !names_vvvv(row)) return false;
  if (insn.mask == 0 ? row.is(kNeedsMask) || insn.zeroing : row.is(kNoMask)) return false;
  const bool to_memory = insn.is_memory && (row.operands[0] == Operand::W || row.operands[0] == Operand::M);
  if (insn.zeroing && (row.is(kNoZeroing) || to_memory)) return false;
  if (insn.evex_b) {
    if (insn.is_memory ? !row.broadcasts() : !row.is(kEmbeddedRounding) && !row.is(kSuppress)) return false;
  }
  if (names(row, Operand::KG) && (insn.reg & 0x18)) return false;
  if (row.is(kDistinctDest)) {
    const unsigned vvvv = code64 ? insn.vvvv | unsigned(insn.evex_vvvv_high) << 4 : insn.vvvv & 7u;
    if (insn.reg == vvvv || (!insn.is_memory && insn.reg == insn.rm)) return false;
  }
  return !(names(row, Operand::Gy) || names(row, Operand::Gd)) || !insn.evex_reg_high;
}

bool is_valid_opmask(const Row& row, Insn& insn) {
  const bool is_high = names(row, Operand::KG) && insn.reg >= 8;
  insn.differs_by_maker = is_high || (names(row, Operand::KH) && insn.vvvv >= 8);
  return !is_high;  // the top bit of vvvv means nothing
}

bool is_valid(const Row& row, Insn& insn, Mode mode) {
  if (row.is_vex && insn.vvvv != 0 && (!names_vvvv(row) || row.is(kVsib))) return false;
  if (row.is_evex && !is_valid_evex(row, insn, mode.has(Mode::kCode64))) return false;
  if (row.is_opmask && !is_valid_opmask(row, insn)) return false;
  if (row.has(kProtected) && !mode.is_protected()) return false;
  if (insn.has(kHasLock) && !(row.has(kLockable) && insn.is_memory)) return false;
  return true;
}

}  // namespace

DecodeStatus decode(std::span<const u8> bytes, Mode mode, InsnFeatures features, Insn& insn) {
  insn = Insn{};
  Cursor at(bytes);
  Opening opening;
  const bool code64 = mode.has(Mode::kCode64);
  scan_prefixes(at, mode, insn, opening);
  if (!at.is_bad() && !scan_vex(at, mode, insn, opening)) opening.is_vex = false;
  if (!at.is_bad()) scan_opcode(at, insn, opening);
  insn.address = code64 ? (insn.has(kHas67) ? 2 : 3) : mode.has(Mode::kCode32) != insn.has(kHas67) ? 2 : 1;

  const Row* row = nullptr;
  if (!at.is_bad()) {
    const bool is_vzero = opening.is_vex && opening.map == kMap0F && insn.opcode == 0x77;
    const bool has_modrm = (opcode_has_modrm(opening.map, insn.opcode) || opening.is_vex) && !is_vzero;
    const u8 modrm = has_modrm ? at.peek() : 0;
    const RowKey* key = opening.is_bad_vex ? nullptr : find_row(opening, insn, mode, modrm, features);
    if (key != nullptr) row = &all_rows()[key->row];
    const bool is_missing = opening.is_evex && !opening.is_bad_vex && opening.map <= kMap3A &&
                            !has_evex_row(opening.map, insn.opcode);
    if (!row) row = is_missing ? &kMissingEvexRow : &kUndefinedRow;
    insn.row = row;
    if (has_modrm && !at.is_bad()) scan_modrm(at, row->has(kIgnoreMod), code64, insn);
    const u8 traits = key == nullptr ? 0 : key->traits;  // rows of what does not exist have no operands
    const bool is_byte = row->size_rule == SizeRule::Auto && (traits & kByteSized);
    insn.size = operand_size(is_byte ? SizeRule::Byte : row->size_rule, mode, insn);
    if ((traits & kHasImmediate) && !at.is_bad()) scan_immediates(at, insn);
    if (!is_valid(*row, insn, mode)) insn.row = &kUndefinedRow;
    if (row->is_evex) {
      insn.vvvv = u8(insn.vvvv | insn.evex_vvvv_high << 4);
      if (row->is(kVsib) && insn.sib_index != kNoReg) insn.sib_index = u8(insn.sib_index | insn.evex_vvvv_high << 4);
    }
    if (!code64) insn.vvvv &= 7;  // there are eight registers there, and the top bit means nothing
  }
  if (at.is_truncated()) return DecodeStatus::Truncated;
  insn.length = u8(at.position());
  if (at.is_bad()) {
    insn.row = &kTooLongRow;
    insn.length = kMaxLength;
  }
  return DecodeStatus::Ok;
}

unsigned evex_memory_bytes(const Insn& insn) {
  const Row& row = *insn.row;
  const unsigned vector = 1u << insn.length_log2, element = 1u << row.element;
  switch (row.tuple) {
    case Tuple::Full:
      return insn.evex_b ? element : vector;
    case Tuple::Half:
      return insn.evex_b ? element : vector / 2;
    case Tuple::Quarter:
      return insn.evex_b ? element : vector / 4;
    case Tuple::FullMem:
      return vector;
    case Tuple::HalfMem:
      return vector / 2;
    case Tuple::QuarterMem:
      return vector / 4;
    case Tuple::EighthMem:
      return vector / 8;
    case Tuple::T2:
      return 2 * element;
    case Tuple::T4:
      return 4 * element;
    case Tuple::T8:
      return 8 * element;
    case Tuple::Mem128:
      return 16;
    case Tuple::MovDdup:
      return vector == 16 ? 8 : vector;
    default:
      return element;
  }
}

unsigned operand_log2(Operand operand, const Insn& insn) {
  switch (operand) {
    case Operand::Eb:
    case Operand::Gb:
    case Operand::Ib:
    case Operand::Mb:
    case Operand::Zb:
    case Operand::AL:
    case Operand::CL:
    case Operand::Ob:
    case Operand::Xb:
    case Operand::Yb:
      return 0;
    case Operand::Ew:
    case Operand::Gw:
    case Operand::Iw:
    case Operand::Mw:
    case Operand::Sw:
    case Operand::DX:
      return 1;
    case Operand::Ed:
    case Operand::Gd:
    case Operand::Md:
      return 2;
    case Operand::Eq:
    case Operand::Mq:
      return 3;
    case Operand::Mdq:
      return 4;
    case Operand::Ey:
    case Operand::Gy:
      return insn.rex_w() ? 3 : 2;
    default:
      return insn.size;
  }
}

bool observes_flags(const Insn& insn) {
  const Row& row = *insn.row;
  if (row.rules & (kFaults | kEnds | kBranch | kCpl0 | kMissing)) return true;
  if (insn.is_memory && !row.has(kNoMemory)) return true;
  for (const Operand operand : row.operands) {
    if (operand >= Operand::Ob && operand <= Operand::Ov) return true;
    if (operand >= Operand::Xb && operand <= Operand::Yv) return true;
  }
  return false;
}

}  // namespace emu::x86
