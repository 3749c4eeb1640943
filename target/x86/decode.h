// SPDX-License-Identifier: Apache-2.0
// The x86 instruction decoder: bytes and mode to an Insn, through tables with one Row per encoding.
//
// Rows carry what the manual's instruction page says: operands (in the manual's letters, SDM Vol. 2 A.2), size rule,
// where the encoding is valid, flags, feature; and the function that translates it. Decoder, translator, disassembler
// and the tests' coverage report read the same rows. A row that is not translated yet says so (missing) and raises #UD.
#pragma once

#include <span>

#include "target/x86/state.h"

namespace emu::x86 {

class Emitter;
struct Insn;

/// Operand codes of the SDM's opcode map. Capital: where; small: size.
enum class Operand : u8 {
  None,
  Eb, Ew, Ed, Eq, Ev, Ey,              // ModRM.rm: register or memory
  Gb, Gw, Gd, Gv, Gy,                  // ModRM.reg
  Ib, Ibs, Iw, Iz, Iv, One,            // immediates; Ibs is sign-extended, One is the constant 1
  Jb, Jz,                              // branch displacements
  M, Mb, Mw, Md, Mq, Mdq, Mv, Mp, Ma,  // ModRM.rm: memory only; Mp: far pointer, Ma: BOUND pair
  Ap,                                  // far pointer in the instruction
  Ob, Ov,                              // offset without ModRM
  Sw, Cd, Dd, Ry,                      // segment, control, debug register; ModRM.rm register
  Zb, Zv,                              // register in the opcode's low three bits
  AL, CL, DX, rAX,
  Xb, Xv, Yb, Yv,                      // string operands
  V, W, U, P, Q, N,                    // xmm reg, xmm rm, xmm rm (register), mmx reg, mmx rm, mmx rm (register)
  L, H,                                // VEX: register in imm8[7:4], register in vvvv
  St,                                  // x87 register in ModRM.rm
  KG, KH, KR,                          // opmask register in ModRM.reg, vvvv, ModRM.rm
};

/// How the operand size follows from prefixes and mode.
enum class SizeRule : u8 {
  Auto,   ///< Byte if the first operand is one, else V
  Byte,
  V,      ///< 16, 32, 64
  W, D, Q,
  Y,      ///< 32, or 64 with REX.W
  D64,    ///< as V, but 64 is the default in 64-bit mode and 32 does not exist (stack)
  F64,    ///< 64 in 64-bit mode whatever the prefixes; else as V (near branches)
  Mode,   ///< 64 in 64-bit mode, else 32 (control registers)
};

enum Rule : u16 {
  kNo64 = 1 << 0,      ///< #UD in 64-bit mode
  kOnly64 = 1 << 1,    ///< #UD elsewhere
  kLockable = 1 << 2,  ///< LOCK allowed when the destination is memory
  kProtected = 1 << 3, ///< #UD in real and virtual-8086 mode
  kCpl0 = 1 << 4,      ///< #GP(0) if CPL is not 0
  kFaults = 1 << 5,    ///< may fault or call out even without a memory operand: flags must be exact before it
  kEnds = 1 << 6,      ///< always ends the block
  kBranch = 1 << 7,    ///< conditional branch: may leave the block
  kModrm = 1 << 8,     ///< has a ModRM byte although no operand says so
  kNoMemory = 1 << 9,  ///< the memory operand is not accessed (LEA, NOP, prefetch)
  kMissing = 1 << 10,  ///< recognised but not translated: #UD
  kIgnoreMod = 1 << 11,///< ModRM.rm is a register whatever mod says (MOV CR, DR)
  kMaybeZero = 1 << 12,///< a shift or rotate: the flags survive when the masked count is 0
  kFpuUse = 1 << 13,   ///< x87, MMX or SSE: #NM or #UD in some modes; else faults through memory only
  kSys = kFaults,
};

/// Which prefix selects the row.
enum class Prefix : u8 { Any, NoRep /* neither F2 nor F3 */, None /* nor 66 */, P66, PF3, PF2 };

/// CPUID features that make encodings exist. A set of them is a u64.
enum class InsnFeature : u8 {
  kBase,
  kCmov,
  kFpu,
  kMmx,
  kSse,
  kSse2,
  kSse3,
  kSsse3,
  kSse41,
  kSse42,
  kPopcnt,
  kLzcnt,
  kBmi1,
  kBmi2,
  kMovbe,
  kAdx,
  kAesni,
  kPclmul,
  kSha,
  kAvx,
  kAvx2,
  kFma,
  kF16c,
  kCx16,
  kRdtscp,
  kRdpid,
  kRdrand,
  kRdseed,
  kFsgsbase,
  kInvpcid,
  kSmap,
  kXsave,
  kXsaveopt,
  kXsavec,
  kXsaves,
  kMonitor,
  kClflush,
  kClflushopt,
  kClwb,
  kFxsr,
  kSyscall,
  kSep,
  kCx8,
  kPku,
  kGfni,
  kVaes,
  kVpclmul,
  kMovdiri,
  kMovdir64b,
  kSerialize,
  kAvx512f,
  kAvx512cd,
  kAvx512bw,
  kAvx512dq,
  kAvx512vl,
  kAvx512ifma,
  kAvx512vbmi,
  kAvx512vbmi2,
  kAvx512vnni,
  kAvx512bitalg,
  kAvx512vpopcnt,
  kAvx512bf16,
  kAvx512fp16,
  kLahfLm,
  kCount,
};
using InsnFeatures = u64;
static_assert(u8(InsnFeature::kCount) <= 64);
constexpr InsnFeatures feature_bit(InsnFeature f) { return u64(1) << u8(f); }
/// Every encoding the tables know.
constexpr InsnFeatures kAllFeatures = ~u64(0);

using FlagMask = u16;  ///< Rflag bits of the arithmetic flags
using Emit = void (Emitter::*)(const Insn&);

/// VEX.L and VEX.W as the manual writes them: 128 and 256, 128 (or LZ), 256, LIG; WIG, W0, W1.
enum class VexLength : u8 { Any, L0, L1, Ignored };
enum class VexWidth : u8 { Any, W0, W1 };

inline constexpr u8 kAnyField = 0xff;
enum class Mod : u8 { Any, Memory, Register };
/// Opcode maps: one byte, 0F, 0F 38, 0F 3A. VEX uses the same numbers; only EVEX has 5 and 6.
enum Map : u8 { kMapOne, kMap0F, kMap38, kMap3A, kMap5 = 5, kMap6, kMapCount };

/// How long an EVEX memory operand is, and what its 8-bit displacement counts in: SDM vol. 2, 2.7.5. The element is the
/// row's: of the operand in memory.
enum class Tuple : u8 {
  None,
  Full,        ///< a vector, or one element to broadcast
  Half,        ///< half of one, or one element to broadcast
  Quarter,     ///< a quarter of one, or one element to broadcast
  FullMem, HalfMem, QuarterMem, EighthMem,
  Scalar,      ///< one element
  T2, T4, T8,  ///< so many
  Mem128,
  MovDdup,     ///< eight bytes, or a vector longer than 128 bits
};

enum EvexRule : u16 {
  kEmbeddedRounding = 1 << 0,  ///< EVEX.b with registers is a rounding mode, and length 512
  kSuppress = 1 << 1,          ///< EVEX.b with registers suppresses exceptions
  kNoMask = 1 << 2,            ///< aaa must be 0
  kNoZeroing = 1 << 3,         ///< z must be 0
  kNeedsMask = 1 << 4,         ///< aaa must not be 0
  kAllElements = 1 << 5,       ///< masked-out elements of memory are read all the same
  kFloatOp = 1 << 6,           ///< raises floating-point exceptions
  kReadsDest = 1 << 7,
  kCompacts = 1 << 8,          ///< memory holds only the elements that the mask selects
  kVsib = 1 << 9,
  kAligned = 1 << 10,          ///< memory must be aligned
  kDistinctDest = 1 << 11,     ///< #UD if a source is the destination's register
};

struct Row {
  const char* name = "";
  u8 map = 0, opcode = 0, count = 1;  ///< covers [opcode, opcode + count)
  u8 reg_field = kAnyField, rm_field = kAnyField;
  Mod mod = Mod::Any;
  Prefix prefix = Prefix::Any;
  bool is_vex = false;    ///< or EVEX
  bool is_evex = false;
  bool is_opmask = false; ///< VEX, but an instruction of AVX-512
  Tuple tuple = Tuple::None;
  u8 element = 0;         ///< log2 of bytes, see Tuple
  u8 lengths = 7;         ///< EVEX: bits for 128, 256 and 512; 0 if the length does not matter
  u16 evex = 0;           ///< EvexRule bits
  VexLength length = VexLength::Any;
  VexWidth vex_width = VexWidth::Any;
  Operand operands[4] = {};
  SizeRule size_rule = SizeRule::Auto;
  InsnFeature feature = InsnFeature::kBase;      ///< VEX rows with kFpuUse need AVX besides
  InsnFeature feature_256 = InsnFeature::kBase;  ///< instead of it, where VEX.L is 1
  u16 rules = 0;
  FlagMask read = 0;
  FlagMask written = 0;    ///< set by the translation, including undefined ones that it sets to something
  FlagMask undefined = 0;  ///< left undefined by the manual; those not in `written` keep their old value
  u16 arg = 0;  ///< for `emitter`: which of a family
  Emit emitter = nullptr;

  bool has(Rule r) const { return rules & r; }
  /// Whether ModRM.rm names a general register, if it names one.
  bool names_general() const {
    for (const Operand o : operands)
      if (o >= Operand::Eb && o <= Operand::Ey) return true;
    return false;
  }
  bool is_missing() const { return rules & kMissing; }
  bool is(EvexRule r) const { return evex & r; }
  /// One element of an EVEX row's memory operand may serve all.
  bool broadcasts() const { return tuple == Tuple::Full || tuple == Tuple::Half || tuple == Tuple::Quarter; }
  bool is_avx512() const { return is_evex || is_opmask; }

  // The words that tables are written with.
  constexpr Row reads(FlagMask m) const { Row r = *this; r.read = m; return r; }
  constexpr Row writes(FlagMask m, FlagMask undef = 0) const {
    Row r = *this;
    r.written = m;
    r.undefined = undef;
    return r;
  }
  constexpr Row size(SizeRule s) const { Row r = *this; r.size_rule = s; return r; }
  constexpr Row with(unsigned rule) const { Row r = *this; r.rules = u16(r.rules | rule); return r; }
  constexpr Row reg(u8 n) const { Row r = *this; r.reg_field = n; r.rules = u16(r.rules | kModrm); return r; }
  constexpr Row rm(u8 n) const {
    Row r = mod3();
    r.rm_field = n;
    return r;
  }
  constexpr Row mem() const { Row r = *this; r.mod = Mod::Memory; r.rules = u16(r.rules | kModrm); return r; }
  constexpr Row mod3() const { Row r = *this; r.mod = Mod::Register; r.rules = u16(r.rules | kModrm); return r; }
  constexpr Row p(Prefix x) const { Row r = *this; r.prefix = x; return r; }
  constexpr Row span(u8 n) const { Row r = *this; r.count = n; return r; }
  constexpr Row feat(InsnFeature f) const { Row r = *this; r.feature = f; return r; }
  constexpr Row vex() const { Row r = *this; r.is_vex = true; return r; }
  constexpr Row l0() const { Row r = *this; r.length = VexLength::L0; return r; }
  constexpr Row l1() const { Row r = *this; r.length = VexLength::L1; return r; }
  constexpr Row lig() const { Row r = *this; r.length = VexLength::Ignored; return r; }
  constexpr Row w0() const { Row r = *this; r.vex_width = VexWidth::W0; return r; }
  constexpr Row w1() const { Row r = *this; r.vex_width = VexWidth::W1; return r; }
  constexpr Row wig() const { return *this; }
  constexpr Row wide(InsnFeature f) const { Row r = *this; r.feature_256 = f; return r; }
  constexpr Row emit(Emit e, u16 a = 0) const { Row r = *this; r.emitter = e; r.arg = a; return r; }
  constexpr Row opmask() const { Row r = *this; r.is_vex = r.is_opmask = true; return r; }
  constexpr Row evex_row() const { Row r = *this; r.is_vex = r.is_evex = true; return r; }
  constexpr Row memory(Tuple t, unsigned log2) const { Row r = *this; r.tuple = t; r.element = u8(log2); return r; }
  constexpr Row rule(unsigned e) const { Row r = *this; r.evex = u16(r.evex | e); return r; }
  constexpr Row full(unsigned log2) const { return memory(Tuple::Full, log2); }
  constexpr Row half(unsigned log2) const { return memory(Tuple::Half, log2); }
  constexpr Row quarter(unsigned log2) const { return memory(Tuple::Quarter, log2); }
  constexpr Row fullmem(unsigned log2) const { return memory(Tuple::FullMem, log2); }
  constexpr Row halfmem(unsigned log2) const { return memory(Tuple::HalfMem, log2); }
  constexpr Row quartermem(unsigned log2) const { return memory(Tuple::QuarterMem, log2); }
  constexpr Row eighthmem(unsigned log2) const { return memory(Tuple::EighthMem, log2); }
  constexpr Row one_element(unsigned log2) const { return memory(Tuple::Scalar, log2); }
  constexpr Row scalar(unsigned log2) const { return memory(Tuple::Scalar, log2).any_length(); }
  constexpr Row any_length() const { Row r = *this; r.lengths = 0; return r; }
  constexpr Row l128() const { Row r = *this; r.lengths = 1; return r; }
  constexpr Row l256up() const { Row r = *this; r.lengths = 6; return r; }
  constexpr Row l512() const { Row r = *this; r.lengths = 4; return r; }
  constexpr Row fp() const { return rule(kFloatOp); }
  constexpr Row er() const { return rule(kEmbeddedRounding | kFloatOp); }
  constexpr Row sae() const { return rule(kSuppress | kFloatOp); }
  constexpr Row nomask() const { return rule(kNoMask | kNoZeroing); }
  constexpr Row noz() const { return rule(kNoZeroing); }
  constexpr Row nf() const { return rule(kAllElements); }
  constexpr Row vsib() const { return rule(kNoZeroing | kNeedsMask | kVsib); }
  constexpr Row acc() const { return rule(kReadsDest); }
  /// Complex arithmetic: as if all exceptions were masked.
  constexpr Row complex() const { return rule(kEmbeddedRounding | kDistinctDest); }
  constexpr Row missing() const { return with(kMissing); }
};

/// Every row of every table, for coverage reports and fuzzers.
std::span<const Row> all_rows();
/// What undefined encodings decode to.
extern const Row kUndefinedRow;
extern const Row kMissingEvexRow;
extern const Row kTooLongRow;

enum InsnPrefix : u8 { kHasLock = 1, kHasRep = 2, kHasRepne = 4, kHas66 = 8, kHas67 = 16, kHasSegment = 32 };
inline constexpr u8 kNoReg = 0xff;
inline constexpr u8 kBaseRip = 0xfe;

/// One decoded instruction.
struct Insn {
  const Row* row = nullptr;
  u64 imm = 0;  ///< sign-extended where the operand says so; Ap: offset | selector << 32; ENTER: size | level << 16
  i32 disp = 0;
  u16 offset = 0;     ///< of its first byte from the block's pc
  FlagMask live = 0;  ///< flags that something may look at after it; filled by the translator
  u8 length = 0;
  u8 opcode = 0, modrm = 0;
  u8 rex = 0;         ///< the whole byte, 0 if none; VEX fields W R X B likewise, with bit 6 set
  u8 prefixes = 0;
  u8 size = 0;        ///< log2 of operand bytes
  u8 address = 0;     ///< log2 of address bytes
  u8 segment = DS;    ///< of the ModRM memory operand, or the override for strings and XLAT
  u8 reg = 0, rm = 0; ///< with REX bits
  u8 base = kNoReg, index = kNoReg, scale = 0;
  u8 vvvv = 0;
  u8 vector_256 = 0;
  bool vex_w = false;      ///< also where W means nothing (rex_w() is false outside 64-bit mode)
  u8 sib_index = kNoReg;   ///< the index field with VEX.X, if there is a SIB: VSIB's register

  bool is_memory = false;  ///< ModRM names memory

  // EVEX
  u8 length_log2 = 4;   ///< of the vector's bytes: 4, 5, 6
  u8 evex_ll = 0;       ///< L'L as it stands
  bool evex_b = false, zeroing = false;
  bool differs_by_maker = false;  ///< whether it is #UD differs between makers, or generations, of processors
  u8 mask = 0;          ///< aaa
  bool evex_reg_high = false, evex_vvvv_high = false;  ///< R' and V', inverted

  bool has(InsnPrefix p) const { return prefixes & p; }
  bool rex_w() const { return rex & 8; }
  bool uses_zmm() const { return row->is_evex && length_log2 == 6; }
};

enum class DecodeStatus : u8 {
  Ok,        ///< insn.row may still be kUndefinedRow
  Truncated, ///< needs more bytes than given
};

/// Decodes one instruction. A pure function of its arguments. `bytes` need not hold more than 15.
DecodeStatus decode(std::span<const u8> bytes, Mode mode, InsnFeatures features, Insn& insn);

/// What an indirect near branch of 64-bit code adds to RSP.
inline u64 near_branch_stack_change(const Insn& insn) {
  if (insn.opcode == 0xff) return (insn.modrm >> 3 & 7) == 2 ? -u64(8) : 0;  // CALL, JMP
  return insn.opcode == 0xc3 ? 8 : insn.opcode == 0xc2 ? 8 + (insn.imm & 0xffff) : 0;
}

/// Whether an exit, fault or helper call in the middle of the instruction may show the flags to the guest.
bool observes_flags(const Insn& insn);
/// Bytes of an EVEX instruction's memory operand.
unsigned evex_memory_bytes(const Insn& insn);
/// Whether a VEX instruction works on 256 bits.
inline bool is_256(const Insn& insn) { return insn.vector_256 && insn.row->length != VexLength::Ignored; }
/// log2 of an operand's bytes.
unsigned operand_log2(Operand operand, const Insn& insn);

}  // namespace emu::x86
