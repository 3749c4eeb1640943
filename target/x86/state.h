// SPDX-License-Identifier: Apache-2.0
// X86State: everything a guest x86 CPU holds, laid out for generated code; mode key; trap and system codes.
// Names follow the Intel SDM.
#pragma once

#include <atomic>
#include <cstddef>

#include "tcg/abi/env.h"
#include "tcg/ir/state_layout.h"
#include "util/bits.h"

namespace emu::x86 {

enum Gpr : u8 { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum Seg : u8 { ES, CS, SS, DS, FS, GS, LDTR, TR };  // encoding order of sreg; the last two are system segments

/// Bits of RFLAGS. Arithmetic ones live in the lazy tuple (tcg/abi/flags.h has the same positions), DF in `df`, the
/// others in `rflags_system`.
enum Rflag : u64 {
  kCF = bit64(0), kPF = bit64(2), kAF = bit64(4), kZF = bit64(6), kSF = bit64(7), kTF = bit64(8), kIF = bit64(9),
  kDF = bit64(10), kOF = bit64(11), kIOPL = 3 * bit64(12), kNT = bit64(14), kRF = bit64(16), kVM = bit64(17),
  kAC = bit64(18), kVIF = bit64(19), kVIP = bit64(20), kID = bit64(21),
  kArithmetic = kCF | kPF | kAF | kZF | kSF | kOF,
};

enum Cr0 : u64 {
  kCr0PE = bit64(0),
  kCr0MP = bit64(1),
  kCr0EM = bit64(2),
  kCr0TS = bit64(3),
  kCr0ET = bit64(4),
  kCr0NE = bit64(5),
  kCr0WP = bit64(16),
  kCr0AM = bit64(18),
  kCr0NW = bit64(29),
  kCr0CD = bit64(30),
  kCr0PG = bit64(31)
};
enum Cr4 : u64 {
  kCr4VME = bit64(0),
  kCr4PVI = bit64(1),
  kCr4TSD = bit64(2),
  kCr4DE = bit64(3),
  kCr4PSE = bit64(4),
  kCr4PAE = bit64(5),
  kCr4MCE = bit64(6),
  kCr4PGE = bit64(7),
  kCr4PCE = bit64(8),
  kCr4OSFXSR = bit64(9),
  kCr4OSXMMEXCPT = bit64(10),
  kCr4UMIP = bit64(11),
  kCr4LA57 = bit64(12),
  kCr4VMXE = bit64(13),
  kCr4FSGSBASE = bit64(16),
  kCr4PCIDE = bit64(17),
  kCr4OSXSAVE = bit64(18),
  kCr4SMEP = bit64(20),
  kCr4SMAP = bit64(21),
  kCr4PKE = bit64(22)
};
enum Efer : u64 { kEferSCE = bit64(0), kEferLME = bit64(8), kEferLMA = bit64(10), kEferNXE = bit64(11) };

/// A segment register with its hidden part. `attributes` is the descriptor's high dword & 0x00f0ff00 (type in [11:8], S
/// 12, DPL [14:13], P 15, AVL 20, L 21, D/B 22, G 23). An unusable (null) segment has P = 0.
struct Segment {
  u16 selector = 0;
  u32 attributes = 0;
  u32 limit = 0;  ///< in bytes, scaled
};

/// Valid offsets of a segment, for inline checks: an access of n bytes at `offset` is inside iff
/// u64(offset) >= low && u64(offset) + n - 1 <= high. Expand-down, read-only and null segments are folded in here
/// (low = 1, high = 0 admits nothing). Kept in step with Segment by set_segment().
struct SegmentRange {
  u32 read_low = 1, read_high = 0, write_low = 1, write_high = 0;
};

struct DescriptorTable {
  u64 base = 0;
  u32 limit = 0;
};

/// A 64-byte slot whatever the register's width, so that wider vectors need no new layout.
struct alignas(64) VectorSlot {
  u8 bytes[64] = {};
};

/// What the x87 unit remembers of its last instruction that is no control instruction, and of its operand.
struct FpuPointers {
  u64 ip = 0, dp = 0;  ///< offsets in their segments
  u16 cs = 0, ds = 0, opcode = 0;
  bool operator==(const FpuPointers&) const = default;
};
/// X86State::fpu_ip where FpuPointers say it all. No x87 instruction is there: the shortest has two bytes.
inline constexpr u64 kFpuSettled = ~u64(0);
inline constexpr u32 kFpuNoData = 8;

struct X86State {
  tcg::EnvHeader hdr;               ///< hot[i] = r8 + i; hot_aux[0] = FS base, hot_aux[1] = GS base
  u64 gpr_low[8] = {};              ///< RAX..RDI
  VectorSlot vec[32];
  VectorSlot vec_tmp[2];            ///< memory operands of vector helpers; tcg::HostVector's scratch slots
  /// By tcg::HostVector's numbers: registers, then scratch slots.
  VectorSlot& vector_slot(unsigned i) { return i < 32 ? vec[i] : vec_tmp[i & 1]; }
  u64 opmask[8] = {};               ///< k0..k7

  u64 seg_base[8] = {};             ///< by Seg; FS and GS live in hdr.hot_aux (use segment_base())
  SegmentRange seg_range[6];
  Segment seg[8];
  DescriptorTable gdt, idt;
  i64 df = 1;                       ///< +1 or -1
  u64 rflags_system = 2;            ///< TF IF IOPL NT RF VM AC VIF VIP ID and bit 1
  u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, efer = 0, xcr0 = 1;
  u64 dr[8] = {};
  u32 mxcsr = 0x1f80;               ///< control bits; live sticky bits may be in hdr.fp_control
  u32 pkru = 0;
  u64 inhibit_interrupts = 0;       ///< a Shadow, for one instruction
  u64 temp[8] = {};                 ///< scratch fields for translation (IR state fields TEMP0..)

  // System MSRs
  u64 star = 0, lstar = 0, cstar = 0, sfmask = 0, kernel_gs_base = 0, tsc_aux = 0;
  u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u64 pat = 0x0007040600070406;
  u64 tsc_offset = 0;

  std::atomic<u32> signals{0};  ///< X86Cpu::Signal bits, set by any thread: what wants attention, deliverable or not
  u32 static_mode = 0;              ///< what of the mode key segments and control registers decide
  u32 nmi_blocked = 0;              ///< 1: until the next IRET
  u32 avx512_live = 0;              ///< 0: bits 511:256 of zmm0..15 are zero, and nobody needs to keep them so

  // What translated code says of the last x87 instruction. Whoever changes a segment register settles it first.
  u64 fpu_ip = kFpuSettled;          ///< linear
  u64 fpu_dp = 0;                    ///< offset of the operand
  u32 fpu_opcode = 0;
  u32 fpu_data_segment = kFpuNoData; ///< a Seg; kFpuNoData: no instruction had an operand since it was settled
  FpuPointers fpu_pointers;          ///< the last instruction
  FpuPointers fpu_trapped;           ///< the last one with an unmasked exception

  u64& gpr(unsigned i) { return i < 8 ? gpr_low[i] : hdr.hot[i - 8]; }
  u64 gpr(unsigned i) const { return i < 8 ? gpr_low[i] : hdr.hot[i - 8]; }
  u64& segment_base(unsigned s) { return s == FS ? hdr.hot_aux[0] : s == GS ? hdr.hot_aux[1] : seg_base[s]; }
  u64 segment_base(unsigned s) const { return s == FS ? hdr.hot_aux[0] : s == GS ? hdr.hot_aux[1] : seg_base[s]; }
  unsigned cpl() const { return (seg[SS].attributes >> 13) & 3; }
};
static_assert(offsetof(X86State, hdr) == 0);
static_assert(offsetof(X86State, vec_tmp) == offsetof(X86State, vec) + sizeof(X86State::vec));

constexpr u64 kXcr0Avx512 = 0xe6;  ///< SSE, AVX, opmask, ZMM_Hi256, Hi16_ZMM

/// IR state fields, in the order of the StateLayout made by make_state_layout().
enum Field : ir::FieldId {
  F_RAX = 0,           // ..F_RAX + 15 = R15
  F_XMM0 = 16,         // ..F_XMM0 + 15
  F_SEG_BASE = 32,     // + Seg, six
  F_SEG_READ_LOW = 38, // + Seg, six I32; then the other three bounds
  F_SEG_READ_HIGH = 44,
  F_SEG_WRITE_LOW = 50,
  F_SEG_WRITE_HIGH = 56,
  F_SELECTOR = 62,     // + Seg, six I16
  F_DF = 68,           // I64
  F_RFLAGS_SYSTEM,     // I64
  F_MXCSR,             // I32
  F_CR0, F_CR2, F_CR3, F_CR4, F_EFER,
  F_TSC_OFFSET,
  F_INHIBIT,           // I64
  F_PC,                // EnvHeader::pc
  F_FPU_CONTROL,       // I32, EnvHeader::fpu_control
  F_FP_CONTROL,        // I32, EnvHeader::fp_control
  F_VEC_TMP0, F_VEC_TMP1,  // V128
  F_TEMP0,             // ..F_TEMP0 + 7, I64
  F_CS_LIMIT = F_TEMP0 + 8,  // I32, seg[CS].limit: near branch targets (an execute-only CS admits no reads)
  F_TSC_AUX,           // I64
  F_KERNEL_GS_BASE,    // I64
  F_SIGNALS,           // I32
  F_K0,                // ..F_K0 + 7, I64
  F_ZMM_HIGH0 = F_K0 + 8,         // V256: bits 511:256 of zmm0..zmm31
  F_ZMM16_LOW = F_ZMM_HIGH0 + 32, // V256: bits 255:0 of zmm16..zmm31
  F_EVEX_MEM_LOW = F_ZMM16_LOW + 16,  // V256: HostVector::kMemorySlot
  F_EVEX_MEM_HIGH,
  F_EVEX_GENERAL,      // I64: HostVector::kGeneralSlot
  F_SIMD_A, F_SIMD_B, F_SIMD_C,  // V256: operands for SimdExceptions, in the same slots
  F_FPU_IP, F_FPU_DP,                // I64
  F_FPU_OPCODE, F_FPU_DATA_SEGMENT,  // I32
  F_COUNT,
};
ir::StateLayout make_state_layout();

/// Takes what translated code left in fpu_ip and its neighbours into fpu_pointers.
void settle_fpu_pointers(X86State& s);

/// The mode key: what translation treats as constant. 32 bits.
struct Mode {
  u32 key = 0;
  enum Bit : unsigned {
    kPE = 0,
    kVM86 = 1,
    kCode64 = 2 /* CS.L and LMA */,
    kCode32 = 3 /* CS.D */,
    kStack32 = 4 /* SS.B */,
    kCplShift = 5 /* two bits */,
    kFlatDS = 7,
    kFlatES = 8,
    kFlatSS = 9,
    kFlatCS = 10 /* base 0, limit 4 GiB */,
    kTF = 11 /* or the debug registers hold breakpoints: one-instruction blocks, kSysStepped */,
    kCr0EM = 12,
    kCr0TS = 13,
    kCr0MP = 14,
    kAlignCheck = 15 /* AM and AC and CPL 3 */,
    kOsFxsr = 16,
    kOsXsave = 17,
    kTsd = 18,
    kAvx = 19 /* CR4.OSXSAVE and XCR0.AVX */,
    kUmip = 20,
    kFsGsBase = 21,
    kIopl = 22 /* CPL <= IOPL */,
    kSmapOverride = 23 /* CPL < 3, CR4.SMAP, AC = 1 */,
    kSmap = 24 /* CR4.SMAP and CPL < 3 */,
    kZmm = 25 /* kAvx512, and X86State::avx512_live */,
    kVme = 26,
    kPvi = 27,
    kX87Traps = 28 /* the x87 control word unmasks an exception */,
    kAvx512 = 29 /* CR4.OSXSAVE and XCR0 admit it */,
    kInhibit = 30 /* one-instruction block after STI/MOV SS */,
    kSimdTraps = 31 /* MXCSR unmasks an exception */,
  };
  bool has(Bit b) const { return key >> b & 1; }
  unsigned cpl() const { return key >> kCplShift & 3; }
  bool is_protected() const { return has(kPE) && !has(kVM86); }
};

/// Views: EnvHeader::views indexes.
enum ViewIndex : u8 {
  kViewUser = 0,
  kViewKernel = 1 /* SMAP enforced or off */,
  kViewKernelAc = 2 /* SMAP overridden */,
  kViewCount = 3
};

/// Trap codes: vector, whether an error code is pushed, the code.
enum Vector : u8 {
  kDE = 0,
  kDB = 1,
  kNMI = 2,
  kBP = 3,
  kOFv = 4,
  kBR = 5,
  kUD = 6,
  kNM = 7,
  kDFv = 8,
  kTS = 10,
  kNP = 11,
  kSS = 12,
  kGP = 13,
  kPFv = 14,
  kMF = 16,
  kACv = 17,
  kMC = 18,
  kXM = 19
};
/// No exception: the interrupt shadow of STI covers the instruction at pc, and something waits to be looked at after
/// it.
inline constexpr u32 kTrapShadow = 0x200;
/// No exception: FLDCW at pc is about to unmask one, which needs the block of a Mode::kX87Traps.
inline constexpr u32 kTrapX87Unmasks = 0x201;
/// A near branch in 64-bit mode to an address that is not canonical, unless it is with five levels of paging: then it
/// goes on in env.slow_address. RSP has changed already.
inline constexpr u32 kTrapBadTarget = 0x204;
/// No exception: an instruction on zmm registers at pc needs the block of a Mode::kZmm.
inline constexpr u32 kTrapAvx512 = 0x202;
/// No exception: the block at pc reaches beyond the limit of its code segment: its instructions go one by one.
inline constexpr u32 kTrapCodeLimit = 0x203;
constexpr u32 trap_code(Vector v) { return v; }
constexpr u32 trap_code(Vector v, u16 error_code) { return u32(v) | 0x100 | u32(error_code) << 16; }

/// X86State::inhibit_interrupts: that of MOV SS holds debug exceptions back, too.
enum Shadow : u64 { kNoShadow = 0, kShadow = 1, kShadowOfStack = 2 };
/// EnvHeader::guest_debug.
enum GuestDebug : u32 {
  kDebugArmed = 1,    ///< a breakpoint is enabled in DR7
  kDebugPending = 2,  ///< a #DB waits for the instruction boundary
  kDebugAlone = 4,    ///< the next instruction comes near the limit of its code segment
};

/// ExitSystem reasons.
enum SystemReason : u32 {
  kSysLookup = 0,       ///< nothing but: the mode may have changed; look up env.pc afresh, events allowed
  kSysHalt = 1,         ///< HLT completed; env.pc is behind it
  kSysInterruptWindow = 2, ///< STI/POPF/MOV SS ended the block; events are looked at after the shadow
  kSysPause = 3,        ///< PAUSE: let another vCPU run if cores are short
  kSysWait = 4,         ///< MWAIT completed; env.pc is behind it
  kSysStepped = 0x100,  ///< with one of the others: the one instruction of a Mode::kTF block completed
};

}  // namespace emu::x86
