// SPDX-License-Identifier: Apache-2.0
// Reduces what the disassembler says about an instruction to the trace count's `Insn`.
#include "decode.h"

#include <capstone.h>

#include <algorithm>

namespace trace {
namespace {

constexpr u64 kAllStatusFlagsModified = X86_EFLAGS_MODIFY_CF | X86_EFLAGS_MODIFY_ZF | X86_EFLAGS_MODIFY_SF;
constexpr u64 kAnyFlagWritten = kAllStatusFlagsModified | X86_EFLAGS_MODIFY_AF | X86_EFLAGS_MODIFY_OF |
                                X86_EFLAGS_MODIFY_PF | X86_EFLAGS_RESET_CF | X86_EFLAGS_RESET_OF | X86_EFLAGS_SET_CF;
constexpr u64 kAnyFlagRead =
    X86_EFLAGS_TEST_OF | X86_EFLAGS_TEST_SF | X86_EFLAGS_TEST_ZF | X86_EFLAGS_TEST_PF | X86_EFLAGS_TEST_CF;

int gpr_number(unsigned reg) {
  switch (reg) {
    case X86_REG_AL:
    case X86_REG_AH:
    case X86_REG_AX:
    case X86_REG_EAX:
    case X86_REG_RAX:
      return 0;
    case X86_REG_CL:
    case X86_REG_CH:
    case X86_REG_CX:
    case X86_REG_ECX:
    case X86_REG_RCX:
      return 1;
    case X86_REG_DL:
    case X86_REG_DH:
    case X86_REG_DX:
    case X86_REG_EDX:
    case X86_REG_RDX:
      return 2;
    case X86_REG_BL:
    case X86_REG_BH:
    case X86_REG_BX:
    case X86_REG_EBX:
    case X86_REG_RBX:
      return 3;
    case X86_REG_SPL:
    case X86_REG_SP:
    case X86_REG_ESP:
    case X86_REG_RSP:
      return 4;
    case X86_REG_BPL:
    case X86_REG_BP:
    case X86_REG_EBP:
    case X86_REG_RBP:
      return 5;
    case X86_REG_SIL:
    case X86_REG_SI:
    case X86_REG_ESI:
    case X86_REG_RSI:
      return 6;
    case X86_REG_DIL:
    case X86_REG_DI:
    case X86_REG_EDI:
    case X86_REG_RDI:
      return 7;
    default:
      break;
  }
  const auto in = [reg](unsigned first) { return reg >= first && reg < first + 8; };
  if (in(X86_REG_R8)) return int(8 + reg - X86_REG_R8);
  if (in(X86_REG_R8B)) return int(8 + reg - X86_REG_R8B);
  if (in(X86_REG_R8D)) return int(8 + reg - X86_REG_R8D);
  if (in(X86_REG_R8W)) return int(8 + reg - X86_REG_R8W);
  return -1;
}

u16 gpr_bit(unsigned reg) {
  const int number = gpr_number(reg);
  return number < 0 ? u16(0) : u16(1u << number);
}

u8 gpr_or_none(unsigned reg) {
  const int number = gpr_number(reg);
  return number < 0 ? kNoRegister : u8(number);
}

bool is_string(unsigned id) {
  switch (id) {
    case X86_INS_MOVSB:
    case X86_INS_MOVSW:
    case X86_INS_MOVSQ:
    case X86_INS_STOSB:
    case X86_INS_STOSW:
    case X86_INS_STOSD:
    case X86_INS_STOSQ:
    case X86_INS_LODSB:
    case X86_INS_LODSW:
    case X86_INS_LODSD:
    case X86_INS_LODSQ:
    case X86_INS_SCASB:
    case X86_INS_SCASW:
    case X86_INS_SCASD:
    case X86_INS_SCASQ:
    case X86_INS_CMPSB:
    case X86_INS_CMPSW:
    case X86_INS_CMPSQ:
    case X86_INS_INSB:
    case X86_INS_INSW:
    case X86_INS_INSD:
    case X86_INS_OUTSB:
    case X86_INS_OUTSW:
    case X86_INS_OUTSD:
      return true;
    default:
      return false;
  }
}

/// Instructions that end a block because they may change mode, or leave to the run loop.
bool ends_block(unsigned id) {
  switch (id) {
    case X86_INS_SYSCALL:
    case X86_INS_SYSRET:
    case X86_INS_SYSENTER:
    case X86_INS_SYSEXIT:
    case X86_INS_INT:
    case X86_INS_INT3:
    case X86_INS_INT1:
    case X86_INS_INTO:
    case X86_INS_IRET:
    case X86_INS_IRETD:
    case X86_INS_IRETQ:
    case X86_INS_HLT:
    case X86_INS_STI:
    case X86_INS_POPF:
    case X86_INS_POPFD:
    case X86_INS_POPFQ:
    case X86_INS_WRMSR:
    case X86_INS_STAC:
    case X86_INS_CLAC:
    case X86_INS_LJMP:
    case X86_INS_LCALL:
    case X86_INS_RETF:
    case X86_INS_RETFQ:
    case X86_INS_INVLPG:
    case X86_INS_UD2:
    case X86_INS_XRSTOR:
    case X86_INS_XRSTOR64:
    case X86_INS_LMSW:
    case X86_INS_CLTS:
    case X86_INS_INVPCID:
      return true;
    default:
      return false;
  }
}

bool is_other_helper(unsigned id) {
  switch (id) {
    case X86_INS_CPUID:
    case X86_INS_RDMSR:
    case X86_INS_IN:
    case X86_INS_OUT:
    case X86_INS_CLI:
    case X86_INS_PUSHF:
    case X86_INS_PUSHFD:
    case X86_INS_PUSHFQ:
    case X86_INS_XSAVE:
    case X86_INS_XSAVE64:
    case X86_INS_XSAVEOPT:
    case X86_INS_FXSAVE:
    case X86_INS_FXSAVE64:
    case X86_INS_FXRSTOR:
    case X86_INS_FXRSTOR64:
    case X86_INS_LGDT:
    case X86_INS_LIDT:
    case X86_INS_LLDT:
    case X86_INS_LTR:
    case X86_INS_SWAPGS:
    case X86_INS_RDPMC:
    case X86_INS_PAUSE:
    case X86_INS_WBINVD:
    case X86_INS_CMPXCHG16B:
    case X86_INS_VERW:
    case X86_INS_RDRAND:
      return true;
    default:
      return false;
  }
}

void fill_memory(const cs_insn& insn, const cs_x86_op& op, u64 next, Memory& memory) {
  memory.present = true;
  // The disassembler's access bits are missing for some forms: read is the safe reading of "unknown".
  memory.load = (op.access & CS_AC_READ) != 0 || op.access == 0;
  memory.store = (op.access & CS_AC_WRITE) != 0;
  if (insn.id == X86_INS_MOV || insn.id == X86_INS_MOVABS) memory.load = !memory.store;
  memory.size = op.size;
  memory.segment_base = op.mem.segment == X86_REG_FS || op.mem.segment == X86_REG_GS;
  memory.displacement = op.mem.disp;
  memory.scale = u8(op.mem.scale);
  if (op.mem.base == X86_REG_RIP || op.mem.base == X86_REG_EIP) {
    memory.constant = true;
    memory.displacement += i64(next);
  } else {
    memory.base = gpr_or_none(op.mem.base);
    memory.index = gpr_or_none(op.mem.index);
    memory.constant = memory.base == kNoRegister && memory.index == kNoRegister && !memory.segment_base;
  }
}

void fill_stack(Insn& out, bool load, u8 size) {
  out.rsp_constant_step = true;
  out.stepped = kRsp;
  out.step = load ? size : -i64(size);
  if (out.memory.present) return;  // push [m]: the explicit access is the one that is counted with its own check
  out.memory = {.present = true,
                .load = load,
                .store = !load,
                .stack = true,
                .base = kRsp,
                .size = size,
                .displacement = load ? 0 : -i64(size)};
}

Kind branch_kind(const cs_insn& insn, const cs_x86& x86, u64& target) {
  const bool direct = x86.op_count == 1 && x86.operands[0].type == X86_OP_IMM;
  if (direct) target = u64(x86.operands[0].imm);
  switch (insn.id) {
    case X86_INS_JMP:
      return direct ? Kind::Jump : Kind::IndirectJump;
    case X86_INS_CALL:
      return direct ? Kind::Call : Kind::IndirectCall;
    case X86_INS_RET:
      return Kind::Return;
    default:
      break;
  }
  const bool conditional = (insn.id >= X86_INS_JAE && insn.id <= X86_INS_JS && insn.id != X86_INS_JMP) ||
                           insn.id == X86_INS_LOOP || insn.id == X86_INS_LOOPE || insn.id == X86_INS_LOOPNE;
  if (conditional && direct) return Kind::Conditional;
  return ends_block(insn.id) ? Kind::System : Kind::Sequential;
}

void fill_step(const cs_insn& insn, const cs_x86& x86, Insn& out) {
  if (x86.op_count != 2 || x86.operands[0].type != X86_OP_REG || x86.operands[0].size < 4) return;
  const u8 target = gpr_or_none(x86.operands[0].reg);
  if (target == kNoRegister) return;
  const auto& source = x86.operands[1];
  if ((insn.id == X86_INS_ADD || insn.id == X86_INS_SUB) && source.type == X86_OP_IMM) {
    out.stepped = target;
    out.step = insn.id == X86_INS_ADD ? source.imm : -source.imm;
  } else if (insn.id == X86_INS_LEA && gpr_or_none(source.mem.base) == target && source.mem.index == X86_REG_INVALID) {
    out.stepped = target;
    out.step = source.mem.disp;
  }
  out.rsp_constant_step = out.stepped == kRsp;
}

}  // namespace

Decoder::Decoder() {
  constexpr cs_mode kModes[] = {CS_MODE_16, CS_MODE_32, CS_MODE_64};
  for (int i = 0; i < 3; ++i) {
    cs_open(CS_ARCH_X86, kModes[i], &handles_[i]);
    cs_option(handles_[i], CS_OPT_DETAIL, CS_OPT_ON);
  }
}

Decoder::~Decoder() {
  for (auto& handle : handles_) cs_close(&handle);
}

bool Decoder::decode(std::span<const u8> bytes, u64 address, Mode mode, Insn& out) {
  const csh handle = handles_[int(mode)];
  cs_insn* insn = nullptr;
  if (cs_disasm(handle, bytes.data(), bytes.size(), address, 1, &insn) != 1) return false;
  const cs_x86& x86 = insn->detail->x86;
  out = {};
  out.length = u8(insn->size);
  out.kind = branch_kind(*insn, x86, out.target);
  out.immediate_bytes = x86.encoding.imm_size;

  cs_regs read, written;
  u8 read_count = 0, written_count = 0;
  cs_regs_access(handle, insn, read, &read_count, written, &written_count);
  for (int i = 0; i < read_count; ++i) out.read |= gpr_bit(read[i]);
  for (int i = 0; i < written_count; ++i) out.written |= gpr_bit(written[i]);
  for (int i = 0; i < x86.op_count; ++i) {
    const cs_x86_op& op = x86.operands[i];
    if (op.type == X86_OP_REG) out.mentioned |= gpr_bit(op.reg);
    if (op.type == X86_OP_REG && insn->id == X86_INS_MOV && op.reg == X86_REG_CR3 && i == 0) out.writes_cr3 = true;
    if (op.type != X86_OP_MEM) continue;
    out.mentioned |= u16(gpr_bit(op.mem.base) | gpr_bit(op.mem.index));
    if (insn->id != X86_INS_LEA && insn->id != X86_INS_NOP) fill_memory(*insn, op, address + insn->size, out.memory);
  }
  out.implied = u16((out.read | out.written) & ~out.mentioned);
  out.string = is_string(insn->id) || (insn->id == X86_INS_MOVSD && insn->bytes[insn->size - 1] == 0xa5) ||
               (insn->id == X86_INS_CMPSD && insn->bytes[insn->size - 1] == 0xa7);
  out.is_invlpg = insn->id == X86_INS_INVLPG;
  out.helper = out.string || is_other_helper(insn->id) || out.kind == Kind::System || out.writes_cr3;
  if (out.writes_cr3) out.kind = Kind::System;

  // The FPU group shares this field with x87 condition codes; of it only fcomi and its kin write EFLAGS.
  const bool is_x87 = cs_insn_group(handle, insn, X86_GRP_FPU);
  const bool x87_compare = insn->id == X86_INS_FCOMI || insn->id == X86_INS_FCOMIP || insn->id == X86_INS_FUCOMI ||
                           insn->id == X86_INS_FUCOMIP;
  const u64 flags = !is_x87 ? x86.eflags : x87_compare ? kAllStatusFlagsModified : 0;
  out.reads_flags = (flags & kAnyFlagRead) != 0 || insn->id == X86_INS_PUSHFQ || insn->id == X86_INS_PUSHF;
  out.writes_flags = (flags & kAnyFlagWritten) != 0;
  out.keeps_some_flags = out.writes_flags && (flags & kAllStatusFlagsModified) != kAllStatusFlagsModified;

  const u8 word = mode == Mode::k64 ? 8 : mode == Mode::k32 ? 4 : 2;
  if (insn->id == X86_INS_PUSH || out.kind == Kind::Call || out.kind == Kind::IndirectCall)
    fill_stack(out, false, word);
  else if (insn->id == X86_INS_POP || out.kind == Kind::Return)
    fill_stack(out, true, word);
  else
    fill_step(*insn, x86, out);
  if (out.string || out.is_invlpg) out.memory.present = false;
  cs_free(insn, 1);
  return true;
}

}  // namespace trace
