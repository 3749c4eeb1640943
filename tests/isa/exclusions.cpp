// SPDX-License-Identifier: Apache-2.0
// What is not compared with the host, and why. Everything else in the tables is.
#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "isa/generate.h"
#include "target/x86/models.h"
#include "target/x86/state.h"
#include "util/bits.h"

namespace emu::isa {

using namespace x86;

namespace {

struct Exclusion {
  std::string_view name;  ///< of rows
  const char* why;
};
constexpr Exclusion kExclusions[] = {
    {"SGDT", "the host's kernel emulates it under UMIP"},
    {"SIDT", "the host's kernel emulates it under UMIP"},
    {"SMSW", "the host's kernel emulates it under UMIP"},
    {"SLDT", "the host's kernel emulates it under UMIP"},
    {"STR", "the host's kernel emulates it under UMIP"},
    {"SYSCALL", "enters the host's kernel"},
    {"SYSENTER", "enters the host's kernel"},
    {"INT", "enters the host's kernel"},
    {"INT3", "goes through the IDT: its delivery is not user state"},
    {"INT1", "goes through the IDT: its delivery is not user state"},
    {"INTO", "goes through the IDT: its delivery is not user state"},
    {"IRET", "needs the host's descriptor tables"},
    {"CALL far", "needs the host's descriptor tables"},
    {"JMP far", "needs the host's descriptor tables"},
    {"RET far", "needs the host's descriptor tables"},
    {"LAR", "needs the host's descriptor tables"},
    {"LSL", "needs the host's descriptor tables"},
    {"VERR", "needs the host's descriptor tables"},
    {"VERW", "needs the host's descriptor tables"},
    {"LES", "needs the host's descriptor tables"},
    {"LDS", "needs the host's descriptor tables"},
    {"LSS", "needs the host's descriptor tables"},
    {"LFS", "needs the host's descriptor tables"},
    {"LGS", "needs the host's descriptor tables"},
    {"POP ES", "needs the host's descriptor tables"},
    {"POP SS", "needs the host's descriptor tables"},
    {"POP DS", "needs the host's descriptor tables"},
    {"POP FS", "needs the host's descriptor tables"},
    {"POP GS", "needs the host's descriptor tables"},
    {"CPUID", "says what the model has, not what the host has"},
    {"XGETBV", "says what the model has, not what the host has"},
    {"RDPMC", "the host's kernel decides who may"},
    {"RDPID", "says which of the host's processors runs us"},
    {"RDTSCP", "says which of the host's processors runs us"},
    {"XSAVE", "the image holds components of the host that the model does not have"},
    {"XSAVEC", "the image holds components of the host that the model does not have"},
    {"XSAVEOPT", "the image holds components of the host that the model does not have"},
    {"XRSTOR", "the image holds components of the host that the model does not have"},
    {"RSM", "only in system-management mode"},
};

u64 effective_offset(const Insn& insn, const State& s) {
  u64 sum = u64(i64(insn.disp));
  if (insn.base == kBaseRip) sum += kCodeAt + insn.offset + insn.length;
  if (insn.base < 16) sum += s.gpr[insn.base];
  if (insn.index < 16) sum += s.gpr[insn.index] << insn.scale;
  return insn.address == 3 ? sum : sum & low_mask(8u << insn.address);
}

u64 effective_address(const Insn& insn, const State& s, Bits bits) {
  u64 sum = effective_offset(insn, s);
  if (insn.segment == FS) sum += s.fs_base;
  if (insn.segment == GS) sum += s.gs_base;
  return bits == Bits::k64 ? sum : u32(sum);
}

bool is_near_branch(const Row& row) {
  return row.size_rule == SizeRule::F64;
}

/// What keeps the feature from this host, by the CPUID bits that models.inc gives it; null for those without one.
const char* lacking(InsnFeature feature) {
  struct Bit {
    InsnFeature feature;
    FeatureWord where;
    u8 bit;
    const char* name;
  };
  using enum FeatureWord;
  using enum InsnFeature;
  constexpr Bit kBits[] = {
#define X86_FEATURE(id, where, bit, spelling, translated, instructions) {instructions, where, bit, spelling},
#include "target/x86/models.inc"
#undef X86_FEATURE
  };
  if (feature == kBase) return nullptr;
  for (const Bit& b : kBits) {
    if (b.feature != feature) continue;
    const auto [leaf, subleaf, reg] = [&]() -> std::array<u32, 3> {
      switch (b.where) {
        case Leaf1Ecx:
          return {1, 0, 2};
        case Leaf1Edx:
          return {1, 0, 3};
        case Leaf7Ebx:
          return {7, 0, 1};
        case Leaf7Ecx:
          return {7, 0, 2};
        case Leaf7Edx:
          return {7, 0, 3};
        case Leaf7s1Eax:
          return {7, 1, 0};
        case LeafD1Eax:
          return {0xd, 1, 0};
        case Ext1Ecx:
          return {0x8000'0001, 0, 2};
        case Ext1Edx:
          return {0x8000'0001, 0, 3};
        default:
          return {0, 0, 0};
      }
    }();
    u32 out[4] = {};
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
    return out[reg] >> b.bit & 1 ? nullptr : b.name;
  }
  return nullptr;
}

}  // namespace

const char* lacking_feature(const Row& row) {
  if (const char* name = lacking(row.feature)) return name;
  return row.is_avx512() && !host_has_avx512() ? "avx512f" : nullptr;
}

const char* cannot_compare(const Row& row, Bits) {
  if (row.is_missing()) return "not translated yet";
  if (lacking_feature(row) != nullptr) return "not on this host";
  for (const Exclusion& e : kExclusions)
    if (e.name == row.name) return e.why;
  if (std::string_view(row.name) == "MOV" && row.opcode == 0x8e && row.map == kMapOne) {
    return "needs the host's descriptor tables";
  }
  if (std::string_view(row.name) == "NOP" && row.opcode == 0x0d) return "with a register, AMD's processors have none";
  if (std::string_view(row.name) == "FSTP" && row.opcode == 0xd9 && row.mod == Mod::Register) {
    return "AMD's processors raise no underflow";
  }
  return nullptr;
}

bool cannot_compare(const Insn& insn, const Row& written, Bits bits) {
  const Row& row = *insn.row;
  const auto is_0f = [&](u8 opcode) {
    return written.map == kMap0F && !written.is_vex && !written.is_evex && insn.opcode == opcode;
  };
  const std::string_view name = row.name;
  // AMD's processors honour 66 on near branches in 64-bit mode, Intel's ignore it, and so do we.
  if (bits == Bits::k64 && is_near_branch(row) && insn.has(kHas66)) return true;
  // AMD's take the condition of LOOPcc from F2 and F3, have no NOP at 0F 0D with a register, and CR8 at LOCK MOV CR0.
  if (name.starts_with("LOOP") && (insn.has(kHasRep) || insn.has(kHasRepne))) return true;
  if (row.map == kMap0F && row.opcode == 0x0d && !insn.is_memory) return true;
  if (insn.has(kHasLock) && (is_0f(0x20) || is_0f(0x22))) return true;
  // Nor is FSTP at D9 D8+i the same as at DD D8+i there, and MOVNTSS and MOVNTSD (SSE4a) are not ours.
  if (name == "FSTP" && row.opcode == 0xd9 && !insn.is_memory) return true;
  if (row.emitter == nullptr || insn.row == &kUndefinedRow) {
    if (is_0f(0x2b) && (insn.has(kHasRep) || insn.has(kHasRepne))) return true;
  }
  if (name == "BSWAP" && insn.size == 1) return true;  // undefined
  // AMD's ignore z without a mask, b with registers where it is neither rounding nor SAE, and the top bit of a mask
  // register's number in ModRM: #UD by Intel's manual. Zen 5 raises #UD where that bit is in vvvv, and outside 64-bit code
  // for V'; Zen 4 does not.
  if (insn.differs_by_maker) return true;
  if ((name == "SHLD" || name == "SHRD") && insn.size == 1 && row.operands[2] == Operand::Ib && (insn.imm & 0x10))
    return true;  // a count above the width: undefined
  return false;
}

bool is_image(std::string_view name) {
  return name == "FXSAVE" || name == "FXRSTOR" || name == "FNSAVE" || name == "FRSTOR" || name == "FNSTENV" ||
         name == "FLDENV" || name == "FBSTP" || name == "FBLD";
}

bool cannot_be_in_block(const Insn& insn) {
  const std::string_view name = insn.row->name;
  // Behind POP the host at hand (AMD EPYC) broadcast RSP's old value.
  if (insn.row->is_evex && insn.row->names_general() && !insn.is_memory && insn.rm == RSP) return true;
  return (insn.row->is_evex && insn.is_memory && (insn.mask != 0 || insn.row->is(kCompacts))) || is_image(name) ||
         name.starts_with("SHA") || name == "FLDCW" || name == "FNINIT" || name.starts_with("FCOMI") ||
         name.starts_with("FUCOMI") || name == "VLDMXCSR" || name == "LDMXCSR" || name == "POPF" || name == "RDTSC" ||
         name == "RDRAND" || name == "RDSEED" || name == "POPA" || name == "PUSHA" || name == "ENTER" ||
         (name.starts_with("MASKMOV") || name == "VMASKMOVDQU") || name.starts_with("CMPS") ||
         (name.starts_with("SH") && insn.row->operands[2] == Operand::CL);
}

bool is_undefined(const Insn& insn, const State& s, const Memory& memory) {
  const std::string_view name = insn.row->name;
  // Which alignment is checked of elements that a mask selects.
  const bool by_elements = insn.mask != 0 || insn.row->is(kCompacts);
  if (insn.row->is_evex && insn.is_memory && by_elements && (s.flags & kAC)) return true;
  // Whether a store that its mask may leave out whole faults in a segment that cannot be written.
  const bool may_store_nothing = insn.mask != 0 || name.starts_with("MASKMOV") || name.find("MASKMOV") == 1;
  if (may_store_nothing && insn.segment == CS) return true;
  // A count above the width.
  if ((name == "SHLD" || name == "SHRD") && insn.size == 1 && insn.row->operands[2] == Operand::CL) {
    return (s.gpr[RCX] & 31) > 16;
  }
  // Whether bytes that are not stored may fault.
  if ((name.starts_with("MASKMOV") || name == "VMASKMOVDQU")) {
    u64 at = s.gpr[RDI] & (insn.address == 3 ? ~u64(0) : low_mask(8u << insn.address));
    if (insn.segment == FS) at += s.fs_base;
    if (insn.segment == GS) at += s.gs_base;
    return page_kind(at) != PageKind::ReadWrite || page_kind(at + 15) != PageKind::ReadWrite;
  }
  // What has been popped or pushed when a later element faults.
  if (name == "POPA" || name == "PUSHA" || name == "ENTER") {
    const auto is_writable = [&](u64 at) { return page_kind(at) == PageKind::ReadWrite; };
    return !is_writable(s.gpr[RSP] - 512) || !is_writable(s.gpr[RSP] + 64);
  }
  // Single step is not of this comparison.
  if (name == "POPF") {
    const u64 at = s.gpr[RSP] + 1 - kWindow;
    return at < kWindowBytes && (memory.bytes[at] & 1);
  }
  // Which alignment is checked, and what has been loaded when the limit is reached.
  return is_image(name) && ((s.flags & kAC) || (insn.address == 2 && effective_offset(insn, s) > 0xffff'fd00));
}

namespace {

const Insn* insn_at(const Case& c, u64 pc) {
  const auto found = std::find_if(c.insns.begin(), c.insns.end(),
                                  [pc](const Insn& insn) { return kCodeAt + insn.offset == pc; });
  return found == c.insns.end() ? nullptr : &*found;
}

bool is_refused(const Outcome& o) { return o.faulted && (o.vector == kGP || o.vector == kSS) && o.error == 0; }
bool is_access_fault(const Outcome& o) { return o.faulted && (o.vector == kPFv || o.vector == kACv); }

/// Whether an operand in compatibility mode may reach behind 4 GiB. `state`: what the instruction found.
bool may_wrap(const Insn& insn, const State& state, const Outcome& ours) {
  constexpr std::string_view kImplicit[] = {"MOVS", "STOS", "CMPS", "SCAS", "LODS", "LEAVE"};
  const std::string_view name = insn.row->name;
  const auto starts = [name](std::string_view start) { return name.starts_with(start); };
  return (insn.is_memory && insn.address == 2 && effective_offset(insn, state) > 0xffff'ff00) ||
         std::any_of(std::begin(kImplicit), std::end(kImplicit), starts) ||
         (ours.faulted && ours.vector == kPFv && u32(ours.address) >= 0xffff'f000);
}

/// Both fault at one instruction, in different ways whose order the manual leaves to the processor: "exceptions within
/// each class are implementation-dependent" (SDM vol. 3, priority among concurrent events; faults of an instruction's
/// execution are one class).
bool differs_in_order(const Insn& insn, u64 address, const Outcome& host, const Outcome& ours) {
  // Which of two operands is looked at first.
  if (std::string_view(insn.row->name).starts_with("CMPS") && is_access_fault(host) && is_access_fault(ours))
    return true;
  // An operand that begins in canonical space, misaligned or in a page that is not there, and ends outside.
  constexpr u64 kEnd = u64(1) << 47;
  if (!is_refused(host) || !is_access_fault(ours)) return false;
  const u64 begin = ours.vector == kPFv ? ours.address : address;
  return begin >= kEnd - 64 && begin < kEnd;
}

/// Where the makers' manuals or processors differ.
bool differs_by_maker(const Insn& insn, const State& state, const Outcome& host, const Outcome& ours) {
  const std::string_view name = insn.row->name;
  const bool is_gp = ours.faulted && ours.vector == kGP && ours.error == 0;
  // AMD's MXCSR has one bit more.
  if (is_gp && (name == "LDMXCSR" || name == "VLDMXCSR" || name == "FXRSTOR")) return true;
  // SHA with a misaligned operand: #GP by Intel's manual, as with every SSE operand; AMD's processors just do it.
  if (is_gp && name.starts_with("SHA")) return true;
  // With 32-bit addresses in 64-bit code, elements of a masked operand behind 4 GiB: AMD's processors go on at 0; by the
  // manual it is the operand's own address that has 32 bits.
  const bool both_miss = ours.faulted && host.faulted && ours.vector == kPFv && host.vector == kPFv && ours.pc == host.pc;
  if (both_miss && insn.address == 2 && name.find("MASKMOV") != name.npos && ours.address == host.address + (u64(1) << 32)) {
    return true;
  }
  // AMD's processors want an address canonical before FS's base is added, too; by the manuals it is the sum that
  // counts.
  if (!ours.faulted || !host.faulted || ours.vector != kPFv || host.vector != kGP || insn.segment != FS) return false;
  const u64 offset = ours.address - state.fs_base;
  return sign_extend(offset, 48) != i64(offset);
}

}  // namespace

bool is_same_by_exception(const Case& c, const Outcome& host, const State& host_state, const Outcome& ours,
                          const State& our_state) {
  if (ours.faulted && ours.vector == kPFv && ours.address - kControl < 0x10000)
    return true;  // the native runner's page
  // Both left the case for one place, where the host found another of the runner's pages.
  if (!ours.faulted && host.faulted && host.pc == ours.pc && ours.pc - kCodeAt >= 0x1000) return true;
  if (const Insn* insn = ours.faulted ? insn_at(c, ours.pc) : nullptr) {
    const u64 address = insn->is_memory ? effective_address(*insn, our_state, c.bits) : 0;
    if (host.pc == ours.pc && differs_in_order(*insn, address, host, ours)) return true;
    if (differs_by_maker(*insn, our_state, host, ours)) return true;
  }
  // An operand that reaches behind a segment of 4 GiB: "these accesses may or may not cause the indicated exceptions"
  // (SDM vol. 3, limit checking).
  if (c.bits == Bits::k64 || (!is_refused(host) && !is_refused(ours))) return false;
  const Insn* insn = insn_at(c, is_refused(host) ? host.pc : ours.pc);
  return insn != nullptr && may_wrap(*insn, is_refused(host) ? host_state : our_state, ours);
}

/// By Intel's manual lanes of the mask become all ones or zero before anything is loaded; AMD's processors leave what
/// they have not reached as it was.
void settle_gather_mask(const Case& c, const Outcome& outcome, State& after) {
  if (!outcome.faulted) return;
  for (const Insn& insn : c.insns) {
    const bool is_gather = std::string_view(insn.row->name).find("GATHER") != std::string_view::npos;
    if (insn.row->is_evex || !is_gather || outcome.pc != kCodeAt + insn.offset) continue;
    const unsigned size = insn.vex_w ? 8 : 4, index_size = 1u << (insn.row->arg & 15);
    const unsigned lanes = (insn.vector_256 ? 32 : 16) / std::max(size, index_size);
    for (unsigned i = 0; i < lanes; ++i) {
      const unsigned at = i * size;
      u8* lane = at < 16 ? after.vectors.xmm(insn.vvvv) + at : after.vectors.ymm_high(insn.vvvv) + at - 16;
      std::memset(lane, lane[size - 1] & 0x80 ? 0xff : 0, size);
    }
  }
}

void add_masks(const Insn& insn, const State& before, Bits bits, Masks& masks) {
  const std::string_view name = insn.row->name;
  const u64 at = insn.is_memory ? effective_address(insn, before, bits) : 0;
  const auto ignore = [&](u64 from, u64 bytes) { masks.ignored.push_back({at + from, bytes}); };
  masks.flags &= ~u64(insn.row->undefined);
  // An unmasked exception: Intel's processors leave the flags alone, and so do we; AMD's set them.
  const bool is_unmasked = ~before.vectors.get<u16>(Vectors::kControlWord) & 3;
  if (is_unmasked && (name.starts_with("FCOMI") || name.starts_with("FUCOMI"))) masks.flags &= ~u64(kArithmetic);
  // Where a masked operand begins to fault within its page.
  if (insn.row->is_evex && insn.is_memory && insn.mask != 0) masks.address = ~u64(0xfff);
  if (name == "RDRAND" || name == "RDSEED") {
    masks.gprs &= u16(~(1u << insn.rm));
    masks.flags &= ~u64(tcg::kFlagCarry);  // the host may have had no number; Zen 5's RDSEED never has
  }
  if (name == "RDTSC") masks.gprs &= u16(~(1u << RAX | 1u << RDX));
  if (name == "FXSAVE") ignore(28, 4);  // MXCSR_MASK is the model's
  if (is_image(name)) {
    masks.error = 0;  // which byte of such an image faults first is the processor's affair
    masks.address = 0;
  }
  if (name.starts_with("CMPS")) masks.address = 0;  // and which of two operands
}

}  // namespace emu::isa
