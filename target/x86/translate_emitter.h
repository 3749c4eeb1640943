// SPDX-License-Identifier: Apache-2.0
// Emitter: turns the decoded instructions of one block into IR. Lives for one translation.
//
// Order inside every instruction: everything that can fault first, guest-state writes (set, set_flags) last, so that a
// fault finds the state of the instruction's start. Helpers that write state count as writes: what can fault comes
// before.
#pragma once

#include <array>

#include "target/x86/decode.h"
#include "target/x86/evex_access.h"
#include "target/x86/helpers.h"
#include "tcg/abi/host_vector.h"
#include "tcg/ir/builder.h"

namespace emu::x86 {

/// Whether bits 63..47 are equal; with five-level paging bits 56..47 may differ, which C++ knows.
constexpr bool is_canonical_48(u64 linear) { return u64(i64(linear) >> 47) + 1 <= 1; }

/// IR fields of numbered registers.
constexpr ir::FieldId field_at(Field first, unsigned index) { return ir::FieldId(unsigned(first) + index); }
constexpr ir::FieldId gpr_field(unsigned reg) { return field_at(F_RAX, reg); }

enum class AccessKind : u8 { Read, Write, ReadWrite };

class Emitter {
 public:
  using Value = ir::Value;
  using Type = ir::Type;

  /// `end`: behind the block's last byte, which must be within the code segment.
  Emitter(ir::Builder& builder, u64 pc, Mode mode, u64 end, bool is_alone, bool is_only_cpu)
      : b_(builder), pc_(pc), end_(end), mode_(mode), is_alone_(is_alone), is_only_cpu_(is_only_cpu) {}

  /// Emits one instruction. `previous` is the one before it in the block, or null.
  void emit(const Insn& insn, const Insn* previous);
  /// Ends the block by continuing at `pc`, if nothing has ended it yet.
  void finish_block(u64 pc);
  bool is_ended() const { return b_.is_ended(); }
  unsigned exits() const { return exits_; }

  // Rows that are not instructions
  void undefined(const Insn&);
  void not_translated(const Insn&);
  void too_long(const Insn&);
  void nop(const Insn&) {}
  void cache_line(const Insn&);
  void random(const Insn&);
  void movdir64b(const Insn&);
  void serialize(const Insn&);

  // translate_alu.cpp
  void alu(const Insn&);
  void test(const Insn&);
  void not_(const Insn&);
  void neg(const Insn&);
  void inc_dec(const Insn&);
  void mul(const Insn&);
  void imul_reg(const Insn&);
  void div(const Insn&);
  void idiv(const Insn&);
  void bcd(const Insn&);
  void cmpxchg(const Insn&);
  void cmpxchg8b(const Insn&);
  void xadd(const Insn&);
  void adcx(const Insn&);
  void crc32(const Insn&);

  // translate_bmi.cpp
  void andn(const Insn&);
  void lowest_bit(const Insn&);
  void bextr(const Insn&);
  void bzhi(const Insn&);
  void pdep_pext(const Insn&);
  void mulx(const Insn&);
  void shift_x(const Insn&);

  // translate_move.cpp
  void mov(const Insn&);
  void movzx(const Insn&);
  void movsx(const Insn&);
  void movbe(const Insn&);
  void lea(const Insn&);
  void xchg(const Insn&);
  void bswap(const Insn&);
  void cmovcc(const Insn&);
  void setcc(const Insn&);
  void cbw(const Insn&);
  void cwd(const Insn&);
  void xlat(const Insn&);
  void lahf(const Insn&);
  void sahf(const Insn&);
  void salc(const Insn&);
  void carry_op(const Insn&);
  void direction_op(const Insn&);

  // translate_stack.cpp
  void push(const Insn&);
  void pop(const Insn&);
  void pusha(const Insn&);
  void popa(const Insn&);
  void pushf(const Insn&);
  void popf(const Insn&);
  void push_segment(const Insn&);
  void pop_segment(const Insn&);
  void enter(const Insn&);
  void leave(const Insn&);

  // translate_control.cpp
  void jcc(const Insn&);
  void loop(const Insn&);
  void jmp_rel(const Insn&);
  void jmp_indirect(const Insn&);
  void call_rel(const Insn&);
  void call_indirect(const Insn&);
  void ret(const Insn&);
  void jmp_far(const Insn&);
  void call_far(const Insn&);
  void ret_far(const Insn&);
  void int_n(const Insn&);
  void int3(const Insn&);
  void int1(const Insn&);
  void into(const Insn&);
  void iret(const Insn&);
  void syscall(const Insn&);
  void sysret(const Insn&);
  void sysenter(const Insn&);
  void sysexit(const Insn&);
  void rsm(const Insn&);

  // translate_shift.cpp
  void shift(const Insn&);
  void double_shift(const Insn&);
  void bit_test(const Insn&);
  void bsf(const Insn&);
  void bsr(const Insn&);
  void tzcnt(const Insn&);
  void lzcnt(const Insn&);
  void popcnt(const Insn&);

  // translate_string.cpp
  void movs(const Insn&);
  void stos(const Insn&);
  void lods(const Insn&);
  void cmps(const Insn&);
  void scas(const Insn&);
  void ins(const Insn&);
  void outs(const Insn&);

  // translate_system.cpp
  void mov_from_segment(const Insn&);
  void mov_to_segment(const Insn&);
  void load_far_pointer(const Insn&);
  void store_selector(const Insn&);
  void load_system_segment(const Insn&);
  void verify_segment(const Insn&);
  void store_table(const Insn&);
  void load_table(const Insn&);
  void lar_lsl(const Insn&);
  void arpl(const Insn&);
  void bound(const Insn&);
  void smsw(const Insn&);
  void lmsw(const Insn&);
  void clts(const Insn&);
  void mov_from_control(const Insn&);
  void mov_to_control(const Insn&);
  void mov_from_debug(const Insn&);
  void mov_to_debug(const Insn&);
  void invlpg(const Insn&);
  void invpcid(const Insn&);
  void wbinvd(const Insn&);
  void rdmsr(const Insn&);
  void wrmsr(const Insn&);
  void rdtsc(const Insn&);
  void rdtscp(const Insn&);
  void rdpid(const Insn&);
  void rdpmc(const Insn&);
  void swapgs(const Insn&);
  void rd_segment_base(const Insn&);
  void wr_segment_base(const Insn&);
  void clac_stac(const Insn&);
  void xgetbv(const Insn&);
  void xsetbv(const Insn&);
  void pkru(const Insn&);
  void monitor(const Insn&);
  void mwait(const Insn&);
  void cpuid(const Insn&);
  void hlt(const Insn&);
  void pause(const Insn&);
  void cli(const Insn&);
  void sti(const Insn&);
  void in(const Insn&);
  void out(const Insn&);
  void mfence(const Insn&);
  void state_image(const Insn&);
  void ldmxcsr(const Insn&);
  void stmxcsr(const Insn&);

  /// Row::arg of SIMD rows: the operation, and log2 of the bytes of a memory operand (aligned if 16).
  static constexpr u16 vec_arg(ir::VecOp op, unsigned memory_log2) { return u16(unsigned(op) | memory_log2 << 12); }

  // translate_sse.cpp
  void sse_op(const Insn&);
  void sse_shift_imm(const Insn&);
  void sse_mov(const Insn&);
  void sse_mov_scalar(const Insn&);
  void sse_store_half(const Insn&);
  void sse_duplicate(const Insn&);
  void sse_from_int(const Insn&);
  void sse_to_int(const Insn&);
  void sse_compare_flags(const Insn&);
  void sse_mask(const Insn&);
  void sse_movd_from(const Insn&);
  void sse_movd_to(const Insn&);
  void sse_movq(const Insn&);
  void sse_pinsrw(const Insn&);
  void sse_pextrw(const Insn&);
  void sse_sha256_rounds(const Insn&);
  void sse_maskmov(const Insn&);
  // translate_sse4.cpp
  void sse_blendv(const Insn&);
  void sse_blend(const Insn&);
  void sse_ptest(const Insn&);
  void sse_extract(const Insn&);
  void sse_insert(const Insn&);
  void sse_insertps(const Insn&);
  void sse_compare_strings(const Insn&);

  // translate_avx.cpp
  void avx_op(const Insn&);
  void avx_shift_imm(const Insn&);
  void avx_merge_reverse(const Insn&);
  void avx_fused(const Insn&);
  void avx_blendv(const Insn&);
  void avx_mov(const Insn&);
  void avx_mov_scalar(const Insn&);
  void avx_duplicate(const Insn&);
  void avx_permil_f64(const Insn&);
  void avx_blend_f64(const Insn&);
  void avx_broadcast128(const Insn&);
  void avx_insertps(const Insn&);
  void avx_narrow(const Insn&);
  void avx_zero(const Insn&);
  void avx_test(const Insn&);
  void avx_load_masked(const Insn&);
  void avx_store_masked(const Insn&);
  void avx_gather(const Insn&);

  // translate_evex.cpp
  void evex_op(const Insn&);
  void evex_mov(const Insn&);
  void evex_compare_flags(const Insn&);
  void evex_gather(const Insn&);
  void opmask_logic(const Insn&);
  void opmask_mov(const Insn&);
  void opmask_load(const Insn&);
  void opmask_store(const Insn&);
  void opmask_from_gpr(const Insn&);
  void opmask_to_gpr(const Insn&);
  void opmask_test(const Insn&);
  void opmask_shift(const Insn&);

  // translate_mmx.cpp
  void mmx_align(const Insn&);
  void mmx_shuffle(const Insn&);
  void mmx_op(const Insn&);
  void mmx_unpack_high(const Insn&);
  void mmx_pack(const Insn&);
  void mmx_shift_imm(const Insn&);
  void mmx_movd_from(const Insn&);
  void mmx_movd_to(const Insn&);
  void mmx_movq(const Insn&);
  void mmx_pinsrw(const Insn&);
  void mmx_pextrw(const Insn&);
  void mmx_mask(const Insn&);
  void mmx_maskmov(const Insn&);
  void mmx_to_xmm(const Insn&);
  void mmx_from_xmm(const Insn&);
  void mmx_to_float(const Insn&);
  void mmx_from_float(const Insn&);
  void mmx_empty(const Insn&);

  // translate_x87.cpp
  void x87_op(const Insn&);
  void x87_op_pop(const Insn&);
  void x87_memory(const Insn&);
  void x87_memory_pop(const Insn&);
  void x87_store(const Insn&);
  void x87_store_pop(const Insn&);
  void x87_load80(const Insn&);
  void x87_store80(const Insn&);
  void x87_compare_flags(const Insn&);
  void x87_compare_flags_pop(const Insn&);
  void x87_cmov(const Insn&);
  void x87_status(const Insn&);
  void x87_load_control(const Insn&);
  void x87_store_control(const Insn&);
  void x87_image(const Insn&);
  void x87_nop(const Insn&);
  void x87_wait(const Insn&);

 private:
  /// Where an operand is: a register, an immediate, or memory whose address is computed and checked.
  struct Place {
    enum class Where : u8 { Register, Immediate, Memory } where = Where::Immediate;
    u8 reg = 0;
    bool is_high_byte = false;
    u8 log2 = 0;
    Value value;  ///< the immediate, or the linear address
    ir::MemInfo mem;
    bool is_memory() const { return where == Where::Memory; }
  };
  /// An effective address before segmentation. `offset` is I64, zero-extended from the address size; `disp` is still to
  /// be added (only where that cannot wrap: 64-bit addressing).
  struct Effective {
    Value offset;
    i32 disp = 0;
    u8 segment = DS;
    bool is_stack = false;
  };
  struct Linear {
    Value address;
    i32 disp = 0;
    bool is_stack = false;
  };

  // Mode
  bool code64() const { return mode_.has(Mode::kCode64); }
  bool is_flat(unsigned segment) const;
  unsigned stack_log2() const { return code64() ? 3 : mode_.has(Mode::kStack32) ? 2 : 1; }
  unsigned cpl() const { return mode_.has(Mode::kVM86) ? 3 : !mode_.has(Mode::kPE) ? 0 : mode_.cpl(); }
  static Type type_of(unsigned log2) { return Type(unsigned(Type::I8) + log2); }
  void set_bmi_flags(const Insn& insn, Value result, Value carry);
  Value low_bits(Value count);
  bool wants_flags(const Insn& insn) const { return insn.live & insn.row->written; }
  u64 pc_of(const Insn& insn) const { return pc_ + insn.offset; }
  u64 next_pc(const Insn& insn) const { return wrap_pc(pc_ + insn.offset + insn.length); }
  u64 wrap_pc(u64 pc) const { return code64() ? pc : u32(pc); }

  // Registers (translate_address.cpp)
  Value get_gpr(unsigned reg, unsigned log2);  ///< low part, at its own width
  Value get_byte(unsigned reg, bool high);
  void set_gpr(unsigned reg, unsigned log2, Value v);      ///< 32-bit writes clear the upper half, narrower ones merge
  Value merged_gpr(unsigned reg, unsigned log2, Value v);  ///< the 64-bit value that set_gpr would set
  Value to_i64(Value v) { return v.type == Type::I64 ? v : b_.zext(Type::I64, v); }
  Value fit(Type to, Value v);  ///< truncates or zero-extends
  Value constant(unsigned log2, u64 v) { return b_.constant(type_of(log2), v); }

  // Addresses
  Effective effective(const Insn& insn);
  Value effective_value(const Effective& e);  ///< offset + disp
  Linear linear(const Effective& e, u64 bytes, AccessKind kind);
  Value element_base(const Insn& insn, const Effective& e, ElementBase& base);  ///< of elements that masks choose
  Value linear_value(const Linear& l);
  Linear stack_address(Value offset, i32 disp, u64 bytes, AccessKind kind);  ///< offset at 64 bits, stack width
  ir::MemInfo mem_info(unsigned log2, const Linear& l);
  Value load_at(const Linear& l, unsigned log2, AccessKind kind = AccessKind::Read);
  void store_at(const Linear& l, Value v);
  Value wrap_offset(Value offset64, unsigned address_log2);

  // Operands
  Place place(const Insn& insn, unsigned operand, AccessKind kind);
  Place memory_place(const Insn& insn, unsigned log2, AccessKind kind);
  Value load(const Place& p, bool write_intent = false);
  void store(const Place& p, Value v);
  Value read(const Insn& insn, unsigned operand) { return load(place(insn, operand, AccessKind::Read)); }
  Value rmw(ir::RmwOp op, const Place& p, Value v) { return b_.rmw(op, p.value, v, p.mem); }

  // Faults
  void raise(u32 code);  ///< ends the block
  void raise_gp() { raise(trap_code(kGP, 0)); }
  void check_code_limit();
  void raise_if(Value condition, u32 code);
  bool check_privilege(const Insn& insn);  ///< false: a fault ends the block

  // Flags
  Value packed_flags() { return b_.fl_pack(b_.get_flags()); }
  void set_packed_bits(Value packed, FlagMask which, Value bits);  ///< replaces `which` in `packed` and sets the flags
  Value flag_bit(Value i1, unsigned at_bit);                       ///< I64
  Value condition(unsigned code) { return b_.fl_is(ir::Cond(code & 15), b_.get_flags()); }

  // Stack
  Value stack_pointer();                    ///< I64, zero-extended from the stack width
  Value stack_offset(Value sp, i64 delta);  ///< sp + delta at stack width, I64
  void set_stack_pointer(Value sp64);
  Value push_store(Value sp, i64 delta, Value v);  ///< stores v at sp + delta; returns that offset
  Value pop_load(Value sp, i64 delta, unsigned log2);
  Value ip_value(u64 linear_pc, unsigned log2);  ///< IP of a linear pc as a value of that width

  // Leaving (translate_control.cpp)
  void go(u64 pc);  ///< near continuation at a constant linear pc
  void go_indirect(Value pc, unsigned hint);
  void leave_to_system(u64 next, u32 reason = kSysLookup);
  void check_branch_limit(const Insn& insn, Value taken);
  void branch_relative(const Insn& insn, Value taken);  ///< no `taken` (Void): unconditional
  void check_call_target(const Insn& insn, Value target);
  Value checked_target(Value ip);                       ///< CS limit check; linear pc
  bool is_single() const { return mode_.has(Mode::kTF) || mode_.has(Mode::kInhibit); }
  u32 stepped(u32 reason) const { return mode_.has(Mode::kTF) ? reason | kSysStepped : reason; }
  u32 single_reason() const { return stepped(kSysInterruptWindow); }

  Value call(Helper helper, std::initializer_list<Value> args) { return b_.call(helper, args); }
  Value far_selector(const Insn& insn, Value& offset);
  void after_segment_load(const Insn& insn, unsigned segment, bool is_lss = false);

  // Shifts
  Value shift_count(const Insn& insn, unsigned operand);
  Value has_moved(const Insn& insn, Value count);
  void set_flags_if_moved(const Insn& insn, Value count, Value flags);
  void rotate(const Insn& insn, bool right, const Place& p, Value a, Value count);
  void plain_shift(const Insn& insn, unsigned kind, const Place& p, Value a, Value count);
  void rotate_carry(const Insn& insn, bool right, const Place& p, Value a, Value count);
  void bit_scan_result(const Insn& insn, Value source, Value result);

  // SIMD and x87. The first five: false if a fault ends the block.
  bool can_sse();
  bool can_avx();
  bool can_avx512(const Insn& insn);
  bool can_simd(const Insn& insn);  ///< whichever the row is
  bool can_mmx();
  bool can_x87();
  static ir::VecOp vec_op(const Insn& insn) { return ir::VecOp(insn.row->arg & 0xfff); }
  static unsigned vec_memory_log2(const Insn& insn) { return insn.row->arg >> 12; }
  static unsigned avx_memory_log2(const Insn& insn);
  Value xmm(unsigned reg) { return b_.get_low(field_at(F_XMM0, reg)); }
  void set_xmm(unsigned reg, Value v) { b_.set(field_at(F_XMM0, reg), v); }  ///< keeps what is above
  Value ymm(unsigned reg) { return b_.get(field_at(F_XMM0, reg)); }
  void set_ymm(unsigned reg, Value v) {
    b_.set(field_at(F_XMM0, reg), v);
    if (mode_.has(Mode::kZmm)) b_.set(field_at(F_ZMM_HIGH0, reg), vector_zero());
  }
  // AVX-512
  struct EvexPlace {
    Value address;
    ir::MemInfo mem;  ///< of its first 32 bytes at most
    unsigned log2 = 0;
  };
  Value vector_zero();
  Value zmm_low(unsigned reg);
  void set_zmm(unsigned reg, Value low, Value high);
  static bool evex_is_masked(const Insn& insn);
  EvexPlace evex_place(const Insn& insn, AccessKind kind);
  std::pair<Value, Value> evex_load(const EvexPlace& p);
  void evex_store(const EvexPlace& p, Value low, Value high);
  static u64 evex_access(const Insn& insn, unsigned slot);
  void evex_masked(const Insn& insn, bool stores, bool probes, unsigned slot);
  static tcg::HostVector host_vector(const Insn& insn);
  void run_host_vector(const Insn& insn, const tcg::HostVector& v);
  Value opmask(unsigned k, unsigned log2);
  void set_vector(const Insn& insn, unsigned reg, Value v128);
  /// The register that two-operand SSE takes from ModRM.reg and VEX from its third field.
  static unsigned first_source(const Insn& insn) { return insn.row->is_vex ? insn.vvvv : insn.reg; }
  Value ymm_rm(const Insn& insn, unsigned log2, bool is_aligned);
  Value wide_op(const Insn& insn, ir::VecOp op, Value a, Value b = {}, u8 imm = 0);
  Place vec_place(const Insn& insn, unsigned log2, bool is_aligned, AccessKind kind);  ///< of the memory operand
  Value vec_rm(const Insn& insn, unsigned log2, bool is_aligned);                      ///< xmm register or memory
  void vec_store(const Place& p, Value v) { b_.store(p.value, v, p.mem); }
  Value apply_vec(const Insn& insn, Value a, Value b);
  /// `compute` emits floating-point operations, whose unmasked exceptions are raised behind them.
  template <typename Compute>
  Value with_simd_traps(bool may_trap, Compute compute) {
    may_trap = may_trap && mode_.has(Mode::kSimdTraps);
    if (may_trap) call(H_simd_begin, {});
    const Value v = compute();
    if (may_trap) end_simd();
    return v;
  }
  /// The same of one operation that may overflow or underflow; `bytes` are those of the vector.
  template <typename Compute>
  Value with_simd_traps(ir::VecOp op, unsigned bytes, u8 imm, std::array<Value, 3> operands, Compute compute) {
    const bool may_trap = ir::is_float(op) && mode_.has(Mode::kSimdTraps);
    if (may_trap) call(H_simd_begin, {});
    const Value v = compute();
    if (may_trap) end_simd(op, bytes, imm, operands);
    return v;
  }
  void end_simd(ir::VecOp op = ir::VecOp::kCount, unsigned bytes = 0, u8 imm = 0, std::array<Value, 3> operands = {});
  Value mmx(unsigned reg);  ///< I64; the unit is in MMX state from here on
  void set_mmx(unsigned reg, Value i64);
  Value mmx_rm(const Insn& insn, unsigned log2);
  Value x87_status_word();
  bool x87_traps() const { return mode_.has(Mode::kX87Traps); }
  Value x87_checked(ir::X87Op op, unsigned reg, bool pops = false, Value a = {}, Value b = {});
  void x87_checked_flags(const Insn& insn, bool pops);
  void note_x87(const Insn& insn);
  void x87_checked_store(const Insn& insn, ir::X87Op op, unsigned log2, bool pops);
  Place x87_place(const Insn& insn, ir::Type type, AccessKind kind);

  // Strings
  Value index_register(const Insn& insn, unsigned reg);
  void advance(const Insn& insn, unsigned reg, Value old_index);
  Linear source_index(const Insn& insn, Value si, AccessKind kind);
  Linear destination_index(const Insn& insn, Value di, AccessKind kind);
  Value string_mode(const Insn& insn);

  bool locks(const Insn& insn) const;
  bool is_repeated(const Insn& insn) const { return insn.prefixes & (kHasRep | kHasRepne); }

  ir::Builder& b_;
  u64 pc_;
  u64 end_;
  Mode mode_;
  bool is_alone_;  ///< the block has one instruction
  bool is_only_cpu_;
  const Insn* previous_ = nullptr;
  unsigned exits_ = 0;
  struct {
    Value flags;  ///< as the last of the row set them; others: without the two
    Value carry, overflow, others;
  } adx_;  ///< the row of ADCX and ADOX that the block is in
  bool has_shadow_ = false;  ///< the instruction before was STI
};

}  // namespace emu::x86
