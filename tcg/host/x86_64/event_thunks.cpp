// SPDX-License-Identifier: Apache-2.0
#include "tcg/host/x86_64/event_thunks.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr i32 off(size_t member) { return i32(member); }
constexpr i32 kJc = off(offsetof(EnvHeader, jc)), kViewSlot = off(offsetof(EnvHeader, view)),
              kMode = off(offsetof(EnvHeader, mode)), kViewIndex = off(offsetof(EnvHeader, view_index)),
              kModes = off(offsetof(EnvHeader, modes)), kSite = off(offsetof(EnvHeader, return_site)),
              kHostSp = off(offsetof(EnvHeader, host_sp)), kArgs = off(offsetof(EnvHeader, helper_args)),
              kFpuLive = off(offsetof(EnvHeader, fpu_live)), kPc = off(offsetof(EnvHeader, pc)),
              kEntries = off(offsetof(EnvHeader, direct_entries));

const u8* begin(Assembler& a) {
  a.align(16);
  return a.here();
}

}  // namespace

/// Called, so env lies behind the return address. All scratch registers are free at the end of a block.
const u8* emit_switch_mode(Assembler& a, const u8* miss) {
  constexpr i32 kBehind = 8;
  const u8* start = begin(a);
  static_assert(sizeof(ModeRecord) == 32 && kModeRecords == 16);
  a.imul_imm(Width::d, r10, r11, i32(kModeHash));
  a.shift_imm(Shift::Shr, Width::d, r10, 28);
  a.shift_imm(Shift::Shl, Width::d, r10, 5);
  a.lea(Width::q, r10, ptr(rsp, r10, 0, kBehind + kModes));
  a.lea(Width::q, r9, ptr(r11, 1));
  a.alu(Alu::Cmp, Width::q, r9, ptr(r10, offsetof(ModeRecord, key)));
  a.jcc(Cond::NotEqual, miss);
  a.mov(Width::q, r15, ptr(r10, offsetof(ModeRecord, view)));
  a.mov(Width::q, r9, ptr(r10, offsetof(ModeRecord, jc)));
  a.mov(Width::d, r10, ptr(r10, offsetof(ModeRecord, view_index)));
  a.mov(Width::q, ptr(rsp, kBehind + kJc), r9);
  a.mov(Width::q, ptr(rsp, kBehind + kViewSlot), r15);
  a.mov(Width::d, ptr(rsp, kBehind + kViewIndex), r10);
  a.mov(Width::d, ptr(rsp, kBehind + kMode), r11);
  a.ret();
  return start;
}

/// Called with the TransferHelper in r11. Vectors and MXCSR stay as they are: the leaf uses neither.
const u8* emit_transfer(Assembler& a, const RegisterMap& map, const u8* helper, const u8* indirect_miss) {
  const u8* slow = begin(a);
  a.mov(Width::q, r11, ptr(r11, offsetof(TransferHelper, full)));
  a.jmp(helper);

  const u8* start = begin(a);
  const Label refused = a.new_label();
  a.alu_imm(Alu::Cmp, Width::d, ptr(rsp, 8 + kFpuLive), 0);
  a.jcc(Cond::NotEqual, slow);
  a.pop(ptr(rsp, kSite));
  for (unsigned r = 0; r < 16; r++) {
    if (map.gpr_home[r] >= 0) a.mov(Width::q, ptr(rsp, map.gpr_home[r]), Reg(r));
  }
  a.mov(Width::q, rbx, rsp);
  a.mov(Width::q, rsp, ptr(rbx, kHostSp));
  a.mov(Width::q, rdi, rbx);
  a.lea(Width::q, rsi, ptr(rbx, kArgs));
  a.call(ptr(r11, offsetof(TransferHelper, direct)));
  a.mov(Width::q, rsp, rbx);
  a.test(Width::b, rax, rax);
  for (unsigned r = 0; r < 16; r++) {
    if (map.gpr_home[r] >= 0) a.mov(Width::q, Reg(r), ptr(rsp, map.gpr_home[r]));  // any of them may have changed
  }
  a.jcc(Cond::Equal, refused);
  a.mov(Width::q, r15, ptr(rsp, kViewSlot));
  a.alu_imm(Alu::Add, Width::d, ptr(rsp, kEntries), 1);
  a.mov(Width::q, r11, ptr(rsp, kPc));
  a.rorx(Width::q, r9, r11, kPageBits);
  a.alu(Alu::Xor, Width::d, r9, r11);
  a.shift_imm(Shift::Shl, Width::d, r9, 4);
  a.alu_imm32(Alu::And, Width::d, r9, i32((kJumpCacheEntries - 1) << 4));
  a.alu(Alu::Add, Width::q, r9, ptr(rsp, kJc));
  a.alu(Alu::Cmp, Width::q, r11, ptr(r9, offsetof(JumpCacheEntry, pc)));
  a.jcc(Cond::NotEqual, indirect_miss);
  a.jmp(ptr(r9, offsetof(JumpCacheEntry, host)));

  a.bind(refused);
  a.push(ptr(rsp, kSite));
  a.jmp(slow);
  return start;
}

}  // namespace emu::tcg::x86_64
