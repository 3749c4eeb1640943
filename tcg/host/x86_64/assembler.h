// SPDX-License-Identifier: Apache-2.0
// Assembler for x86-64: writes instructions into a span whose executable address may differ. Intel SDM volume 2.
//
// Operand order is Intel's: destination first. Nothing is written behind the span: once an instruction may not fit,
// overflowed() turns true and the rest goes nowhere.
#pragma once

#include <cstring>
#include <span>
#include <vector>

#include "tcg/abi/flags.h"
#include "util/types.h"

namespace emu::tcg::x86_64 {

enum Reg : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, kNoReg = 0xff };
enum Xmm : u8 {
  xmm0,
  xmm1,
  xmm2,
  xmm3,
  xmm4,
  xmm5,
  xmm6,
  xmm7,
  xmm8,
  xmm9,
  xmm10,
  xmm11,
  xmm12,
  xmm13,
  xmm14,
  xmm15,
  xmm16,
  xmm17,
  xmm18,
  xmm19,
  xmm20,
  xmm21,
  xmm22,
  xmm23,
  xmm24,
  xmm25,
  xmm26,
  xmm27,
  xmm28,
  xmm29,
  xmm30,
  xmm31,
  kNoXmm = 0xff
};
enum class Width : u8 { b, w, d, q };  ///< 8, 16, 32, 64 bits; the value is log2 of bytes
constexpr unsigned bits(Width w) { return 8u << unsigned(w); }

using Cc = Cond;  ///< the enumerators have the encodings of Jcc, SETcc, CMOVcc
enum class Alu : u8 { Add, Or, Adc, Sbb, And, Sub, Xor, Cmp };
enum class Shift : u8 { Rol, Ror, Rcl, Rcr, Shl, Shr, Sar = 7 };

/// [base + index << scale + disp], or [rip -> target].
struct Mem {
  Reg base = kNoReg;
  Reg index = kNoReg;
  u8 scale = 0;  ///< log2
  i32 disp = 0;
  const u8* rip_target = nullptr;  ///< executable address; base and index are then unused
};
constexpr Mem ptr(Reg base, i64 disp = 0) { return {base, kNoReg, 0, i32(disp), nullptr}; }
constexpr Mem ptr(Reg base, Reg index, unsigned scale = 0, i32 disp = 0) {
  return {base, index, u8(scale), disp, nullptr};
}
constexpr Mem rip_to(const u8* target) { return {kNoReg, kNoReg, 0, 0, target}; }

/// A place in the code of one Assembler.
struct Label {
  u32 id = ~0u;
};

class Assembler {
 public:
  Assembler(u8* write, const u8* exec, size_t size) { reset(write, exec, size); }
  void reset(u8* write, const u8* exec, size_t size);

  size_t position() const { return overflowed_ ? 0 : size_t(cursor_ - write_); }
  const u8* exec_base() const { return exec_; }
  const u8* here() const { return exec_ + position(); }
  bool overflowed() const { return overflowed_; }
  unsigned instructions() const { return instructions_; }
  /// Changes with every instruction that may change the arithmetic flags.
  unsigned flags_version() const { return flags_version_; }
  void flags_changed() { ++flags_version_; }

  // Labels and fix-ups
  Label new_label();
  void bind(Label label);
  bool is_bound(Label label) const { return labels_[label.id] >= 0; }
  size_t offset_of(Label label) const { return size_t(labels_[label.id]); }
  /// Makes the rel32 that ends at `end` reach `target`.
  void patch_rel32(size_t end, const u8* target);
  /// A rel32 that leads out of the span, as patch_rel32() was told.
  struct FarJump {
    u32 end = 0;
    const u8* target = nullptr;
  };
  void note_far_jumps(bool note) { notes_far_jumps_ = note; }
  std::span<const FarJump> far_jumps() const { return far_jumps_; }
  void patch_imm32(size_t end, u32 value);

  // Jumps. The forms without operand leave a rel32 to be patched and return the position behind it.
  void jmp(const u8* target);
  void jmp(Label target, bool is_near = false);  ///< near: 8-bit displacement
  void jmp(Reg target);
  void jmp(const Mem& target);
  size_t jmp_forward();
  void jcc(Cc cc, const u8* target);
  void jcc(Cc cc, Label target, bool is_near = false);
  size_t jcc_forward(Cc cc);
  void call(const u8* target);
  void call(Reg target);
  void call(const Mem& target);
  void ret();

  // Moves
  void mov(Width w, Reg dst, Reg src);
  void mov(Width w, Reg dst, const Mem& src);  ///< 8 and 16 bits: merges into dst; prefer movzx
  void mov(Width w, const Mem& dst, Reg src);
  void mov_imm(Width w, const Mem& dst, i32 imm);
  void mov_imm(Reg dst, u64 imm);               ///< the shortest form; keeps the flags
  void mov_imm_low(Width w, Reg dst, u32 imm);  ///< 8 or 16 bits, merging
  void mov_imm64(Reg dst, u64 imm);             ///< always 10 bytes: the word is at position() - 8 afterwards
  void mov_imm32(Reg dst, u32 imm);             ///< always 5 or 6 bytes, zero-extending
  void movzx(Width from, Reg dst, Reg src);     ///< to 64 bits; from d: mov r32
  void movzx(Width from, Reg dst, const Mem& src);
  void movzx_high(Reg dst, Reg src);                   ///< bits 15:8; dst below r8, src rax..rbx
  void mov_high(Reg dst, Reg src);                     ///< bits 15:8 of dst = low byte of src; both rax..rbx
  void movsx(Width from, Width to, Reg dst, Reg src);  ///< to: d or q (w too)
  void movsx(Width from, Width to, Reg dst, const Mem& src);
  void movbe(Width w, Reg dst, const Mem& src);
  void movbe(Width w, const Mem& dst, Reg src);
  void lea(Width w, Reg dst, const Mem& src);
  void xchg(Width w, Reg a, Reg b);
  void push(Reg r);
  void pop(Reg r);
  void pushfq();
  void push(const Mem& m);
  void pop(const Mem& m);
  void cmov(Cc cc, Width w, Reg dst, Reg src);
  void cmov(Cc cc, Width w, Reg dst, const Mem& src);
  void setcc(Cc cc, Reg dst);
  void setcc(Cc cc, const Mem& dst);

  // Arithmetic
  void alu(Alu op, Width w, Reg dst, Reg src);
  void alu(Alu op, Width w, Reg dst, const Mem& src);
  void alu(Alu op, Width w, const Mem& dst, Reg src);
  void alu_imm(Alu op, Width w, Reg dst, i32 imm);
  void alu_imm(Alu op, Width w, const Mem& dst, i32 imm);
  void alu_imm32(Alu op, Width w, Reg dst, i32 imm);  ///< never the 8-bit form
  void alu_imm32(Alu op, Width w, const Mem& dst, i32 imm);
  void test(Width w, Reg a, Reg b);
  void test(Width w, const Mem& a, Reg b);
  void test_imm(Width w, Reg a, i32 imm);
  void test_imm(Width w, const Mem& a, i32 imm);
  void not_(Width w, Reg r) { group3(w, 2, r); }
  void neg(Width w, Reg r) { group3(w, 3, r); }
  void mul(Width w, Reg r) { group3(w, 4, r); }  ///< rdx:rax = rax * r
  void imul1(Width w, Reg r) { group3(w, 5, r); }
  void div(Width w, Reg r) { group3(w, 6, r); }
  void idiv(Width w, Reg r) { group3(w, 7, r); }
  void group3(Width w, unsigned digit, Reg r);  ///< F6/F7 /digit, 2 to 7
  void group3(Width w, unsigned digit, const Mem& m);
  void imul(Width w, Reg dst, Reg src);  ///< 16 bits and more
  void imul(Width w, Reg dst, const Mem& src);
  void imul_imm(Width w, Reg dst, Reg src, i32 imm);
  void inc(Width w, Reg r);
  void dec(Width w, Reg r);
  void cqo() { sign_into_rdx(Width::q); }
  void sign_into_rdx(Width w);  ///< CWD CDQ CQO

  // Shifts and bits
  void shift_cl(Shift op, Width w, Reg r);
  void shift_imm(Shift op, Width w, Reg r, u8 count);
  void shld(Width w, Reg dst, Reg src, u8 count);
  void shrd(Width w, Reg dst, Reg src, u8 count);
  void shld_cl(Width w, Reg dst, Reg src);
  void shrd_cl(Width w, Reg dst, Reg src);
  void rorx(Width w, Reg dst, Reg src, u8 count);
  void rorx(Width w, Reg dst, const Mem& src, u8 count);
  void shlx(Width w, Reg dst, Reg src, Reg count);
  void shrx(Width w, Reg dst, Reg src, Reg count);
  void sarx(Width w, Reg dst, Reg src, Reg count);
  void andn(Width w, Reg dst, Reg inverted, Reg src);  ///< ~inverted & src
  void mulx(Width w, Reg high, Reg low, Reg src);      ///< rdx * src
  void bswap(Width w, Reg r);                          ///< d or q
  void lzcnt(Width w, Reg dst, Reg src);               ///< 16 bits and more
  void tzcnt(Width w, Reg dst, Reg src);
  void popcnt(Width w, Reg dst, Reg src);
  void bt(Width w, Reg value, Reg index);  ///< 16 bits and more
  void bts(Width w, Reg value, Reg index);  ///< index modulo the width
  void bt_imm(Width w, Reg value, u8 index);
  void bt_imm(Width w, const Mem& value, u8 index);

  // Atomics and barriers
  void lock_xadd(Width w, const Mem& m, Reg r);
  void lock_cmpxchg(Width w, const Mem& m, Reg r);  ///< with rax
  void lock_cmpxchg16b(const Mem& m);
  void lock_alu(Alu op, Width w, const Mem& m, Reg r);
  void lock_alu_imm(Alu op, Width w, const Mem& m, i32 imm);
  void xchg(Width w, const Mem& m, Reg r);
  void mfence();

  // Vectors
  /// Legacy SSE: prefix 0, 0x66, 0xf2 or 0xf3; opcode 0x0fXX, 0x0f38XX or 0x0f3aXX. Registers 0..15.
  void sse(u8 prefix, u32 opcode, Xmm reg, Xmm rm);
  void sse(u8 prefix, u32 opcode, Xmm reg, const Mem& rm);
  void sse_imm(u8 prefix, u32 opcode, Xmm reg, Xmm rm, u8 imm);
  void sse_imm(u8 prefix, u32 opcode, Xmm reg, const Mem& rm, u8 imm);
  void sse_group_imm(u8 prefix, u32 opcode, unsigned digit, Xmm rm, u8 imm);  ///< shifts by immediate
  /// The same with a general register as one operand; w: d or q.
  void sse_from_gpr(u8 prefix, u32 opcode, Width w, Xmm reg, Reg rm);
  void sse_from_gpr_imm(u8 prefix, u32 opcode, Width w, Xmm reg, Reg rm, u8 imm);
  void sse_to_gpr(u8 prefix, u32 opcode, Width w, Reg reg, Xmm rm);
  void sse_to_gpr(u8 prefix, u32 opcode, Width w, Reg reg, const Mem& rm);
  void sse_to_gpr_imm(u8 prefix, u32 opcode, Width w, Reg reg, Xmm rm, u8 imm);
  void movd_to(Width w, Xmm dst, Reg src);  ///< any register 0..31; rest of dst zero
  void movd_from(Width w, Reg dst, Xmm src);
  void movd_load(Width w, Xmm dst, const Mem& src);  ///< MOVSS or MOVQ: rest of dst zero; 0..31
  void movups(Xmm dst, const Mem& src);  ///< 0..31; EVEX from 16 on (all of them keep nothing above 128 bits)
  void movups(const Mem& dst, Xmm src);
  void movaps(Xmm dst, Xmm src);  ///< 0..31
  void movaps(Xmm dst, const Mem& src);
  void movaps(const Mem& dst, Xmm src);
  /// 512- or 256-bit moves, for thunks. log2 of bytes 5 or 6.
  void vmovups(unsigned log2_bytes, Xmm dst, const Mem& src);
  void vmovups(unsigned log2_bytes, const Mem& dst, Xmm src);
  void vzeroupper();
  /// What VEX or EVEX (where a register is beyond 15) encodes: map 1 to 3, pp 0 to 3 for none 66 F3 F2.
  struct VectorForm {
    u8 map = 1, pp = 0, opcode = 0;
    bool vex_w = false, evex_w = false;
    bool is_256 = false;
  };
  /// `vvvv` is 0 where the instruction has two operands. An immediate follows with byte(), hence the count.
  void vector(const VectorForm& form, unsigned reg, unsigned vvvv, Xmm rm);
  void vector(const VectorForm& form, unsigned reg, unsigned vvvv, const Mem& rm, unsigned imm_bytes = 0);
  void vector_gpr(const VectorForm& form, unsigned reg, unsigned vvvv, Reg rm);
  void bytes(std::span<const u8> code) {
    for (size_t done = 0; done < code.size(); ++done) {
      if (done % 8 == 0) begin();
      put8(code[done]);
    }
  }
  void immediate(u8 value) { put8(value); }  ///< the last byte of the instruction before
  /// Moves that clear what is above the bytes moved. Registers 0..31.
  void vmovaps(bool is_256, Xmm dst, Xmm src);
  void vmov_load(unsigned log2_bytes, Xmm dst, const Mem& src);  ///< 4 to 32 bytes
  void ldmxcsr(const Mem& m);
  void stmxcsr(const Mem& m);

  // x87 and state
  void x87(u8 escape, u8 modrm);  ///< D8..DF, register form or no operand
  void x87(u8 escape, unsigned digit, const Mem& m);
  void wait();
  void fxsave64(const Mem& m);
  void fxrstor64(const Mem& m);

  // Filling
  void nop(size_t bytes);
  void align(size_t power_of_two);
  void fill(size_t bytes, u8 value);  ///< not counted as instructions
  void int3();
  void ud2();
  void byte(u8 value);
  void bytes(const u8* data, size_t size);  ///< may cross what one instruction's room check covers
  void u32_at(size_t position, u32 value);
  void u64_at(size_t position, u64 value);

 private:
  struct Fixup {
    u32 end;
    u32 label;
    bool is_near;
  };
  /// Makes room for an instruction; after an overflow everything lands in nowhere_.
  void begin() {
    ++instructions_;
    if (size_t(end_ - cursor_) < kLongestInstruction) [[unlikely]]
      overflow();
  }
  void overflow();
  u8* put_mem(u8* at, const Mem& m, unsigned reg, unsigned imm_bytes);
  void raw(const Mem& m, unsigned reg, unsigned imm_bytes);
  void put8(u8 v) { *cursor_++ = v; }
  template <typename T>
  void put_word(T v) {
    std::memcpy(cursor_, &v, sizeof(v));
    cursor_ += sizeof(v);
  }
  void put16(u16 v) { put_word(v); }
  void put32(u32 v) { put_word(v); }
  void put64(u64 v) { put_word(v); }
  void put_imm(Width w, i32 imm);
  void put_opcode(u32 opcode);
  void rr(u8 prefix, bool is_q, u32 opcode, unsigned reg, unsigned rm, bool force_rex = false);
  void rm(u8 prefix, bool is_q, u32 opcode, unsigned reg, const Mem& m, bool force_rex = false, unsigned imm_bytes = 0);
  void int_rr(Width w, u32 opcode, Reg reg, Reg rm_reg);
  void int_rm(Width w, u32 opcode, Reg reg, const Mem& m, unsigned imm_bytes = 0);
  void vex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned vvvv,
           unsigned rm_reg);
  void vex_prefix(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned vvvv, bool x,
                  bool b);
  void vex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned vvvv, const Mem& m,
           unsigned imm_bytes);
  void evex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned rm_reg,
            unsigned vvvv = 0);
  void evex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, const Mem& m,
            unsigned vvvv = 0);
  void evex_prefix(unsigned map, unsigned pp, bool is_q, unsigned length, unsigned reg, bool x, bool b, unsigned vvvv);
  void use(Label label, bool is_near);

  static constexpr size_t kLongestInstruction = 16;

  u8* write_ = nullptr;
  const u8* exec_ = nullptr;
  u8* cursor_ = nullptr;
  u8* end_ = nullptr;
  bool overflowed_ = false;
  unsigned instructions_ = 0;
  unsigned flags_version_ = 0;
  std::vector<i64> labels_;  ///< offset, -1 while unbound
  std::vector<Fixup> fixups_;
  std::vector<FarJump> far_jumps_;
  bool notes_far_jumps_ = false;
  u8 nowhere_[64];
};

}  // namespace emu::tcg::x86_64
