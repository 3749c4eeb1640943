// SPDX-License-Identifier: Apache-2.0
// The assembler against capstone's reading of what it wrote.
#include "tcg/host/x86_64/assembler.h"

#include <capstone/capstone.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace emu::tcg::x86_64 {
namespace {

std::string disassemble(const u8* code, size_t size) {
  csh handle = 0;
  EXPECT_EQ(cs_open(CS_ARCH_X86, CS_MODE_64, &handle), CS_ERR_OK);
  std::string text;
  cs_insn* insns = nullptr;
  const size_t count = cs_disasm(handle, code, size, 0x1000, 0, &insns);
  size_t used = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!text.empty()) text += "; ";
    text += insns[i].mnemonic;
    if (insns[i].op_str[0]) text += std::string(" ") + insns[i].op_str;
    used += insns[i].size;
  }
  if (used != size) text += " (bad)";
  if (count) cs_free(insns, count);
  cs_close(&handle);
  return text;
}

std::string assemble(const std::function<void(Assembler&)>& emit) {
  u8 code[256];
  Assembler a(code, reinterpret_cast<const u8*>(0x1000), sizeof code);
  emit(a);
  EXPECT_FALSE(a.overflowed());
  return disassemble(code, a.position());
}

#define EXPECT_ASM(code, text) EXPECT_EQ(assemble([](Assembler& a) { code; }), text)

TEST(Assembler, WritesAddressForms) {
  EXPECT_ASM(a.mov(Width::q, rax, ptr(rsp)), "mov rax, qword ptr [rsp]");
  EXPECT_ASM(a.mov(Width::q, r9, ptr(r12)), "mov r9, qword ptr [r12]");
  EXPECT_ASM(a.mov(Width::d, r9, ptr(rbp)), "mov r9d, dword ptr [rbp]");
  EXPECT_ASM(a.mov(Width::d, rcx, ptr(r13, 127)), "mov ecx, dword ptr [r13 + 0x7f]");
  EXPECT_ASM(a.mov(Width::w, ptr(r13, -129), rdi), "mov word ptr [r13 - 0x81], di");
  EXPECT_ASM(a.mov(Width::b, ptr(r15, r10, 0, 16), rsi), "mov byte ptr [r15 + r10 + 0x10], sil");
  EXPECT_ASM(a.mov(Width::b, ptr(rax), rcx), "mov byte ptr [rax], cl");
  EXPECT_ASM(a.mov(Width::q, rax, ptr(rbp, r12, 3)), "mov rax, qword ptr [rbp + r12*8]");
  EXPECT_ASM(a.lea(Width::q, r11, ptr(kNoReg, r9, 2, 0x20)), "lea r11, [r9*4 + 0x20]");
  EXPECT_ASM(a.mov(Width::d, rax, ptr(kNoReg, 0x40)), "mov eax, dword ptr [0x40]");
  EXPECT_ASM(a.alu_imm(Alu::Cmp, Width::d, rip_to(reinterpret_cast<const u8*>(0x1020)), 5),
             "cmp dword ptr [rip + 0x19], 5");
}

TEST(Assembler, WritesMoves) {
  EXPECT_ASM(a.mov_imm(rax, 0xffffffff), "mov eax, 0xffffffff");
  EXPECT_ASM(a.mov_imm(r8, u64(-5)), "mov r8, -5");
  EXPECT_ASM(a.mov_imm(r11, 0x1122334455667788), "movabs r11, 0x1122334455667788");
  EXPECT_ASM(a.mov_imm(Width::q, ptr(rsp, 128), -1), "mov qword ptr [rsp + 0x80], -1");
  EXPECT_ASM(a.mov_imm(Width::w, ptr(rsp, 8), 0x1234), "mov word ptr [rsp + 8], 0x1234");
  EXPECT_ASM(a.mov_imm_low(Width::b, rdi, 7), "mov dil, 7");
  EXPECT_ASM(a.movzx(Width::b, rax, rsi), "movzx eax, sil");
  EXPECT_ASM(a.movzx(Width::w, r9, ptr(rax)), "movzx r9d, word ptr [rax]");
  EXPECT_ASM(a.movzx_high(rdi, rbx), "movzx edi, bh");
  EXPECT_ASM(a.mov_high(rax, rcx), "mov ah, cl");
  EXPECT_ASM(a.movsx(Width::b, Width::q, r9, rdi), "movsx r9, dil");
  EXPECT_ASM(a.movsx(Width::w, Width::d, r9, ptr(rdi)), "movsx r9d, word ptr [rdi]");
  EXPECT_ASM(a.movsx(Width::d, Width::q, r9, rdi), "movsxd r9, edi");
  EXPECT_ASM(a.movbe(Width::q, r9, ptr(rdi)), "movbe r9, qword ptr [rdi]");
  EXPECT_ASM(a.movbe(Width::w, ptr(rdi), r9), "movbe word ptr [rdi], r9w");
  EXPECT_ASM(a.xchg(Width::q, r9, rdi), "xchg rdi, r9");
  EXPECT_ASM(a.cmov(Cc::Less, Width::q, r9, rdi), "cmovl r9, rdi");
  EXPECT_ASM(a.setcc(Cc::Parity, rsi), "setp sil");
  EXPECT_ASM(a.setcc(Cc::Above, r9), "seta r9b");
}

TEST(Assembler, WritesArithmetic) {
  EXPECT_ASM(a.alu(Alu::Add, Width::b, rsi, rdi), "add sil, dil");
  EXPECT_ASM(a.alu(Alu::Sbb, Width::w, rsi, r9), "sbb si, r9w");
  EXPECT_ASM(a.alu(Alu::Cmp, Width::q, r9, ptr(rsp, 8)), "cmp r9, qword ptr [rsp + 8]");
  EXPECT_ASM(a.alu(Alu::Xor, Width::d, ptr(rsp, 8), r9), "xor dword ptr [rsp + 8], r9d");
  EXPECT_ASM(a.alu_imm(Alu::And, Width::q, r9, -16), "and r9, 0xfffffffffffffff0");
  EXPECT_ASM(a.alu_imm(Alu::And, Width::d, rax, 0x1ffe0), "and eax, 0x1ffe0");
  EXPECT_ASM(a.alu_imm(Alu::Or, Width::b, rdi, 3), "or dil, 3");
  EXPECT_ASM(a.alu_imm(Alu::Or, Width::b, rax, 3), "or al, 3");
  EXPECT_ASM(a.alu_imm32(Alu::Cmp, Width::d, ptr(r15, 0x20000), 3), "cmp dword ptr [r15 + 0x20000], 3");
  EXPECT_ASM(a.test_imm(Width::q, r10, -4096 | 7), "test r10, -0xff9");
  EXPECT_ASM(a.test(Width::b, rdi, rdi), "test dil, dil");
  EXPECT_ASM(a.imul_imm(Width::q, r9, rdi, 100), "imul r9, rdi, 0x64");
  EXPECT_ASM(a.imul(Width::w, r9, rdi), "imul r9w, di");
  EXPECT_ASM(a.div(Width::q, r9); a.sign_into_rdx(Width::q); a.idiv(Width::d, rcx), "div r9; cqo; idiv ecx");
  EXPECT_ASM(a.not_(Width::b, rdi); a.neg(Width::q, r9), "not dil; neg r9");
}

TEST(Assembler, WritesShiftsAndBits) {
  EXPECT_ASM(a.shift_imm(Shift::Sar, Width::d, r9, 5), "sar r9d, 5");
  EXPECT_ASM(a.shift_cl(Shift::Rol, Width::b, rdi), "rol dil, cl");
  EXPECT_ASM(a.shld(Width::q, r9, rdi, 5), "shld r9, rdi, 5");
  EXPECT_ASM(a.shrd_cl(Width::d, r9, rdi), "shrd r9d, edi, cl");
  EXPECT_ASM(a.rorx(Width::q, r9, r11, 7), "rorx r9, r11, 7");
  EXPECT_ASM(a.shlx(Width::q, r9, rax, r10), "shlx r9, rax, r10");
  EXPECT_ASM(a.shrx(Width::d, r9, rax, rcx), "shrx r9d, eax, ecx");
  EXPECT_ASM(a.sarx(Width::q, rdi, r12, rcx), "sarx rdi, r12, rcx");
  EXPECT_ASM(a.andn(Width::q, r9, r10, r11), "andn r9, r10, r11");
  EXPECT_ASM(a.bswap(Width::q, r9), "bswap r9");
  EXPECT_ASM(a.lzcnt(Width::w, r9, rdi), "lzcnt r9w, di");
  EXPECT_ASM(a.tzcnt(Width::q, rax, rdi), "tzcnt rax, rdi");
  EXPECT_ASM(a.popcnt(Width::d, r9, rdi), "popcnt r9d, edi");
  EXPECT_ASM(a.bt(Width::d, r9, rdi), "bt r9d, edi");
  EXPECT_ASM(a.bt_imm(Width::q, r9, 33), "bt r9, 0x21");
  EXPECT_ASM(a.bt_imm(Width::d, ptr(rsp, 0x150), 0), "bt dword ptr [rsp + 0x150], 0");
}

TEST(Assembler, WritesLockedForms) {
  EXPECT_ASM(a.lock_xadd(Width::b, ptr(r9, r11), rsi), "lock xadd byte ptr [r9 + r11], sil");
  EXPECT_ASM(a.lock_cmpxchg(Width::q, ptr(r9), r10), "lock cmpxchg qword ptr [r9], r10");
  EXPECT_ASM(a.lock_cmpxchg16b(ptr(r9)), "lock cmpxchg16b xmmword ptr [r9]");
  EXPECT_ASM(a.lock_alu(Alu::Or, Width::w, ptr(r9), r10), "lock or word ptr [r9], r10w");
  EXPECT_ASM(a.xchg(Width::d, ptr(r9), r10), "xchg dword ptr [r9], r10d");
  EXPECT_ASM(a.mfence(), "mfence");
}

TEST(Assembler, WritesVectors) {
  EXPECT_ASM(a.sse(0, 0x0f58, xmm1, xmm9), "addps xmm1, xmm9");
  EXPECT_ASM(a.sse(0xf2, 0x0f58, xmm9, ptr(rsp, 8)), "addsd xmm9, qword ptr [rsp + 8]");
  EXPECT_ASM(a.sse_imm(0x66, 0x0f70, xmm1, xmm2, 0x1b), "pshufd xmm1, xmm2, 0x1b");
  EXPECT_ASM(a.sse_group_imm(0x66, 0x0f73, 7, xmm12, 3), "pslldq xmm12, 3");
  EXPECT_ASM(a.movd_to(Width::q, xmm1, r9), "movq xmm1, r9");
  EXPECT_ASM(a.movd_from(Width::d, r9, xmm10), "movd r9d, xmm10");
  EXPECT_ASM(a.movups(xmm3, ptr(r9, r11)), "movups xmm3, xmmword ptr [r9 + r11]");
  EXPECT_ASM(a.movups(ptr(rsp, 0x100), xmm17), "vmovups xmmword ptr [rsp + 0x100], xmm17");
  EXPECT_ASM(a.movaps(xmm17, xmm3), "vmovaps xmm17, xmm3");
  EXPECT_ASM(a.movaps(xmm9, xmm31), "vmovaps xmm9, xmm31");
  EXPECT_ASM(a.vmovups(6, xmm17, ptr(r9, 64)), "vmovups zmm17, zmmword ptr [r9 + 0x40]");
  EXPECT_ASM(a.vmovups(5, ptr(r9, 64), xmm7), "vmovups ymmword ptr [r9 + 0x40], ymm7");
  EXPECT_ASM(a.sse_to_gpr(0xf3, 0x0f2c, Width::q, r9, xmm9), "cvttss2si r9, xmm9");
  EXPECT_ASM(a.sse_from_gpr(0xf2, 0x0f2a, Width::q, xmm9, r9), "cvtsi2sd xmm9, r9");
  EXPECT_ASM(a.ldmxcsr(ptr(rsp, 4)); a.stmxcsr(ptr(r9)), "ldmxcsr dword ptr [rsp + 4]; stmxcsr dword ptr [r9]");
}

TEST(Assembler, WritesX87) {
  EXPECT_ASM(a.x87(0xd9, 0xe8), "fld1");
  EXPECT_ASM(a.x87(0xdb, 5, ptr(rsp, 0x200)), "fld xword ptr [rsp + 0x200]");
  EXPECT_ASM(a.fxsave64(ptr(rsp, 0x240)); a.fxrstor64(ptr(rdi)), "fxsave64 ptr [rsp + 0x240]; fxrstor64 ptr [rdi]");
}

TEST(Assembler, ResolvesLabelsBothWays) {
  EXPECT_ASM(Label l = a.new_label(); a.bind(l); a.jcc(Cc::Equal, l, true); a.jmp(l), "je 0x1000; jmp 0x1000");
  EXPECT_ASM(Label l = a.new_label(); a.jcc(Cc::Above, l); a.jmp(l, true); a.bind(l), "ja 0x1008; jmp 0x1008");
  EXPECT_ASM(a.jmp(reinterpret_cast<const u8*>(0x2000)), "jmp 0x2000");
  EXPECT_ASM(const size_t p = a.jcc_forward(Cc::Below);
             a.patch_rel32(p, reinterpret_cast<const u8*>(0x3000)), "jb 0x3000");
}

TEST(Assembler, StopsAtTheEndOfItsRoom) {
  u8 code[64] = {};
  Assembler a(code, code, 32);
  for (int i = 0; i < 100; ++i) a.mov_imm64(rax, ~u64(0));
  EXPECT_TRUE(a.overflowed());
  for (int i = 32; i < 64; ++i) EXPECT_EQ(code[i], 0);
}

}  // namespace
}  // namespace emu::tcg::x86_64
