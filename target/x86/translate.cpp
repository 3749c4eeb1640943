// SPDX-License-Identifier: Apache-2.0
// Block shape: decode a whole block, find which flags live, emit.
#include "target/x86/translate.h"

#include <algorithm>
#include <array>

#include "target/x86/translate_emitter.h"
#include "util/log.h"

namespace emu::x86 {
namespace {

constexpr unsigned kMaxInsns = 64;
constexpr unsigned kMaxExits = 31;
constexpr unsigned kMaxInsnBytes = 15;
/// Code behind that many conditional branches is seldom reached from the block's beginning, and often translated
/// already as the target of another: of a compiler, half as much again was translated as is reached, a third with this.
constexpr unsigned kMaxBranches = 5;

/// Room for a block's instructions, of which decode() makes as many as there are.
union InsnRoom {
  InsnRoom() {}
  Insn insns[kMaxInsns];
};

/// Whether the masked count of a shift is a constant other than 0, so that its flags replace the old ones.
bool count_is_nonzero(const Insn& insn) {
  for (const Operand operand : insn.row->operands) {
    if (operand == Operand::One) return true;
    if (operand == Operand::Ib) return (insn.imm & (insn.size == 3 ? 63 : 31)) != 0;
  }
  if (insn.row->operands[0] >= Operand::AL) return !(insn.prefixes & (kHasRep | kHasRepne));  // CMPS, SCAS
  return false;
}

/// Fills Insn::live: what a later instruction, a fault or an exit may see.
void find_live_flags(std::span<Insn> insns, Mode mode) {
  const bool fpu_traps = mode.has(Mode::kCr0EM) || mode.has(Mode::kCr0TS) || !mode.has(Mode::kOsFxsr) ||
                         mode.has(Mode::kSimdTraps) || mode.has(Mode::kX87Traps);
  FlagMask live = kArithmetic;
  for (size_t i = insns.size(); i-- > 0;) {
    Insn& insn = insns[i];
    const Row& row = *insn.row;
    insn.live = live;
    if (!row.has(kMaybeZero) || count_is_nonzero(insn)) live = FlagMask(live & ~row.written);
    live |= row.read;
    const bool avx_traps = (row.is_vex && !mode.has(Mode::kAvx)) || (row.is_avx512() && !mode.has(Mode::kAvx512)) ||
                           (insn.uses_zmm() && !mode.has(Mode::kZmm));
    if (observes_flags(insn) || ((fpu_traps || avx_traps) && row.has(kFpuUse))) live = kArithmetic;
  }
}

/// Emits instructions until the block ends, or has all its exits. Gives their number.
unsigned emit_block(const target::TranslateRequest& request, std::span<const Insn> insns, ir::Builder& builder) {
  const Mode mode{request.mode};
  builder.begin(request.pc);
  builder.block().wide_vectors = mode.has(Mode::kAvx);
  builder.block().movable = mode.has(Mode::kCode64) && !mode.has(Mode::kTF);  // elsewhere pcs wrap, or are values
  const u64 decoded_end = request.pc + insns.back().offset + insns.back().length;
  Emitter emitter(builder, request.pc, mode, decoded_end, insns.size() == 1, request.is_only_cpu);
  unsigned emitted = 0;
  while (emitted < insns.size() && !emitter.is_ended() && emitter.exits() < kMaxExits) {
    emitter.emit(insns[emitted], emitted > 0 ? &insns[emitted - 1] : nullptr);
    ++emitted;
  }
  const unsigned end = insns[emitted - 1].offset + insns[emitted - 1].length;
  emitter.finish_block(request.pc + end);
  builder.block().guest_bytes = end;
  builder.block().guest_insns = emitted;
  return emitted;
}

}  // namespace

X86Translator::X86Translator(ir::HelperTable helpers, InsnFeatures features)
    : layout_(make_state_layout()), helpers_(std::move(helpers)), features_(features) {}

target::TranslateResult X86Translator::translate(const target::TranslateRequest& request, target::GuestCode& code,
                                                 ir::Builder& builder) {
  using Status = target::TranslateResult::Status;
  const Mode mode{request.mode};
  const bool one_insn = mode.has(Mode::kTF) || mode.has(Mode::kInhibit);
  const unsigned limit = one_insn ? 1 : std::clamp(request.max_insns, 1u, kMaxInsns);
  const std::span<const u8> bytes = code.first();
  if (bytes.empty()) return {.status = Status::FetchFault, .fault_address = request.pc};

  InsnRoom room;
  Insn* const insns = room.insns;
  unsigned count = 0, offset = 0, branches = 0;
  target::TranslateResult result;
  while (count < limit && offset < bytes.size()) {
    if (count > 0 && request.break_after != 0 && request.pc + offset == request.break_after) break;
    Insn& insn = insns[count];
    if (decode(bytes.subspan(offset), mode, features_, insn) == DecodeStatus::Truncated) {
      if (count > 0) break;  // an instruction that straddles pages is a block of its own
      const std::span<const u8> more = code.second();
      std::array<u8, 2 * kMaxInsnBytes> joined;
      const size_t have = std::min<size_t>(bytes.size(), kMaxInsnBytes);
      const size_t extra = std::min<size_t>(more.size(), kMaxInsnBytes);
      std::copy_n(bytes.begin(), have, joined.begin());
      std::copy_n(more.begin(), extra, joined.begin() + have);
      if (more.empty() || decode({joined.data(), have + extra}, mode, features_, insn) == DecodeStatus::Truncated)
        return {.status = Status::FetchFault, .fault_address = request.pc + bytes.size()};
      result.straddles = true;
    }
    insn.offset = u16(offset);
    offset += insn.length;
    ++count;
    if (insn.row->has(kEnds) || result.straddles) break;
    if (insn.row->has(kBranch) && ++branches == kMaxBranches) break;
  }
  find_live_flags({insns, count}, mode);
  if (const unsigned emitted = emit_block(request, {insns, count}, builder); emitted < count) {
    // The flags of the last one are seen at the block's end, whatever would have overwritten them.
    find_live_flags({insns, emitted}, mode);
    emit_block(request, {insns, emitted}, builder);
  }
  return result;
}

/// Others are tested: Emitter::check_branch_limit().
bool X86Translator::may_branch_to(u64 pc) const { return is_canonical_48(pc); }

void Emitter::emit(const Insn& insn, const Insn* previous) {
  previous_ = previous;
  b_.insn_start(insn.offset);
  if (previous == nullptr) check_code_limit();
  if (has_shadow_) {
    const Value waits = b_.compare(ir::Cond::NotEqual, b_.get(F_SIGNALS), b_.i32(0));
    b_.trap_if(waits, kTrapShadow);
    ++exits_;
  }
  // The shadow covers this one, faulting or not.
  if (has_shadow_ || mode_.has(Mode::kInhibit)) b_.set(F_INHIBIT, b_.i64(0));
  has_shadow_ = false;
  if (insn.row->is_missing() && !insn.row->emitter) return not_translated(insn);
  if (!check_privilege(insn)) return;
  (this->*insn.row->emitter)(insn);
}

/// A block that reaches beyond the limit goes by single instructions, the one that is beyond by itself faults.
void Emitter::check_code_limit() {
  if (code64() || is_flat(CS)) return;
  const Value last = b_.sub(b_.pc_constant(wrap_pc(end_ - 1)), b_.get(field_at(F_SEG_BASE, CS)));
  const Value beyond =
      b_.compare(ir::Cond::Above, b_.and_(last, b_.i64(0xffff'ffff)), b_.zext(Type::I64, b_.get(F_CS_LIMIT)));
  raise_if(beyond, is_alone_ ? trap_code(kGP, 0) : kTrapCodeLimit);
}

void Emitter::finish_block(u64 pc) {
  if (b_.is_ended()) return;
  if (has_shadow_) return leave_to_system(wrap_pc(pc), kSysInterruptWindow);
  go(wrap_pc(pc));
}

bool Emitter::check_privilege(const Insn& insn) {
  if (insn.row->has(kCpl0) && cpl() != 0) {
    raise_gp();
    return false;
  }
  return true;
}

void Emitter::raise(u32 code) {
  if (!b_.is_ended()) b_.trap(code);
}

void Emitter::raise_if(Value condition, u32 code) {
  if (const auto known = b_.constant_of(condition)) {
    if (*known & 1) raise(code);
    return;
  }
  b_.trap_if(condition, code);
  ++exits_;
}

void Emitter::undefined(const Insn&) { raise(kUD); }
void Emitter::not_translated(const Insn& insn) {
  log::unimplemented("x86: {} (opcode {:#04x}, modrm {:#04x}) is not translated and raises #UD", insn.row->name,
                     insn.opcode, insn.modrm);
  raise(kUD);
}
void Emitter::too_long(const Insn&) { raise_gp(); }

}  // namespace emu::x86
