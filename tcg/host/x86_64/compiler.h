// SPDX-License-Identifier: Apache-2.0
// Compiler: one IR block to x86-64 code in one forward pass, after a backward pass that finds last uses and hints.
//
// Pinned registers always hold the current guest value of their field, and homes of other fields too: Set writes
// through. Only the flags are lazy. So recovery points have to name nothing but the flags.
//   tcg/host/x86_64/compile.cpp     driver, analysis
//   allocator.cpp                   where values are
//   emit_*.cpp                      operations by family
#pragma once

#include <functional>

#include "tcg/host/x86_64/registers.h"
#include "tcg/ir/backend.h"
#include "tcg/ir/vec_ops.h"

namespace emu::tcg::x86_64 {

using ir::Op;
using ir::Opcode;
using ir::Ref;
using ir::Type;

constexpr Width width_of(Type t) { return Width(ir::log2_bytes(t)); }
/// Width to compute in: at least 32 bits, so that results need no merging.
constexpr Width wide(Type t) { return t == Type::I64 ? Width::q : Width::d; }

/// An operand as instructions take it. Bits above its type are undefined unless `clean` (zero up to bit 63).
struct Operand {
  enum Kind : u8 { None, Gpr, Vec, Slot, Constant } kind = None;
  Reg reg = kNoReg;
  Xmm xmm = kNoXmm;
  bool clean = false;
  bool pc_relative = false;  ///< Constant: must be emitted as a relocatable word
  i32 offset = 0;            ///< Slot: from the EnvHeader
  u64 value = 0;
  bool is_imm32() const { return kind == Constant && !pc_relative && i64(value) == i64(i32(value)); }
};

/// The lazy flags at some point: where the tuple's words are.
struct FlagsState {
  bool at_home = true;
  bool pending_and = false;  ///< Logic of a & b, not computed
  u32 cc_op = 0;
  Operand a, b;
};

/// Spill slots of instructions that need a certain register.
constexpr unsigned kSaveRcx = kSpillSlots - 1, kSaveRax = kSpillSlots - 2, kSaveRdx = kSpillSlots - 3;

inline bool is_narrow(Type t) { return t < Type::I32; }

class Compiler {
 public:
  explicit Compiler(const RegisterMap& map) : map_(map), hot_(nullptr, nullptr, 0), cold_(nullptr, nullptr, 0) {}
  ir::CompileStatus compile(const ir::CompileRequest& request, ir::CompiledBlock& result);

 private:
  enum class Where : u8 { Nowhere, Gpr, Vec, Spill, VecSpill, Home };
  struct Value {
    Where where = Where::Nowhere;
    u8 reg = 0;                 ///< Reg, Xmm or spill slot
    u8 hint = kNoHostRegister;  ///< pinned register that a Set names next
    bool lazy = false;          ///< emitted by its only user
    bool clean = false;         ///< zero above its width
    u16 uses = 0;
    i32 home = -1;  ///< Home: offset; else: offset of a home that still has the value, or -1
    u32 last_use = 0;
    u32 user = 0;  ///< the last op (in program order) that uses it
    u32 next = 0;  ///< next value in the same place
  };

  /// The way through the hot part from the entry to an exit, without what counts it.
  struct Path {
    u32 insns = 0;         ///< of the guest
    u32 basic_blocks = 0;
    u32 host_insns = 0;
    u32 host_bytes = 0;
  };
  /// Work for the cold part.
  struct Stub {
    enum Kind : u8 {
      Access,
      Window,
      Side,
      TrapIf,
      IndirectMiss,
      LinkMiss,
      ExitRequest,
      Budget,
      FpuLoad,
      LeafCarry
    } kind = Access;
    Reg address = kNoReg;
    size_t from = 0;        ///< its fix-up
    size_t other_from = 0;  ///< Access: another one, or 0
    size_t resume = 0;
    const u8* thunk = nullptr;
    u32 recovery = 0;
    u64 pc = 0;
    u32 code = 0;  ///< TrapIf: the trap's; LinkMiss: index of the link
    Reg addend = kNoReg;  ///< Access with a borrowed address register
    i32 base_slot = 0;    ///< Window: of the base, if there is no address register
    i32 disp = 0;         ///< Window: of the access from the base
    bool write = false;
    u8 view = ir::kCurrentView;
    Path path;  ///< Side: to here
    FlagsState flags;
  };

  // compile.cpp
  void analyse();
  void find_hints();
  bool follows_its_sum(u32 carry) const;
  bool goes_on_with_carry(u32 carry, u32 user) const;
  bool may_be_lazy(const Op& op, const Op& user, u32 user_index) const;
  void emit_op(u32 index);
  void emit_entry();
  bool is_last_use(Ref r) const { return r.is_value() && values_[r.id()].last_use <= now_; }
  bool is_used(u32 id) const { return values_[id].last_use > id; }

  // allocator.cpp
  Value& value(Ref r) { return values_[r.id()]; }
  Operand operand(Ref r, Type type);  ///< where a value is now; constants truncated to `type`, sign-extended
  Reg use_reg(Ref r, Type type);      ///< in a register, loading it into scratch if need be; held
  Reg use_clean(Ref r, Type type);    ///< and zero-extended to 64 bits
  Reg temp(u32 avoid = 0);            ///< a scratch register for this op, evicting what it held; held
  void release(Reg r) { held_ &= ~(1u << r); }
  void hold(Reg r) { held_ |= 1u << r; }
  void take(Reg r);                  ///< evicts r's live values and holds it (any register)
  Reg dest(u32 id, Ref reuse = {});  ///< register for the result of op id: hint, operand's, or scratch
  Xmm vec_dest(u32 id, Ref reuse = {});
  Xmm use_xmm(Ref r);
  Xmm vec_temp();
  void define(u32 id, Reg r, bool clean = false);
  void define_xmm(u32 id, Xmm x);
  void define_spill(u32 id, unsigned slot, bool clean);
  void alias(u32 id, Ref of, bool clean);  ///< id is the same bits as `of`
  void define_home(u32 id, i32 offset, bool clean);
  void evict(Reg r, u32 after, u32 except = 0);  ///< moves values of r that are used after op `after` elsewhere
  void evict_xmm(Xmm x, u32 after, u32 except = 0);
  void move_home_values(i32 offset, u32 size, u32 after, u32 except);  ///< a home is about to change
  bool is_free(Reg r, u32 after);
  bool is_free_xmm(Xmm x, u32 after);
  unsigned new_spill();
  unsigned new_vector_spill();
  void attach(u32 id, Where where, u8 reg);
  void detach(u32 id);
  u32 furthest_use(u32 head) const;
  u32& head(Where where, u8 reg);
  void load(Reg dst, const Operand& from, Width w, bool clean = false);  ///< w: bits that matter; clean: zero the rest
  void load_constant(Reg dst, const Operand& constant);
  void load_xmm(Xmm dst, const Operand& from);  ///< 128 bits: a pinned register keeps what it has above them
  void load_vector(Xmm dst, const Operand& from, Type type);
  void insert_low(Xmm dst, Xmm from);
  void move_whole(Xmm dst, Xmm src);  ///< all that this block's vectors have
  Type vector_type(Ref r) const { return ir::result_type(block_->ops[r.id()]); }
  void store_word(const Mem& to, const Operand& from, Type type);  ///< zero-extended to 64 bits
  Mem slot(i32 offset) const { return ptr(kEnv, offset); }
  ir::Location location(const Operand& o) const;

  // emit_integer.cpp
  bool emit_integer(u32 index, const Op& op);
  void emit_binary(u32 id, const Op& op, Alu alu, bool commutes);
  void emit_with_carry(u32 id, const Op& op, Alu alu);
  void emit_shift(u32 id, const Op& op);
  void emit_rotate(u32 id, const Op& op);
  void emit_double_shift(u32 id, const Op& op);
  void emit_extend(u32 id, const Op& op);
  void emit_insert(u32 id, const Op& op);
  void emit_extract(u32 id, const Op& op);
  void emit_count(u32 id, const Op& op);
  void emit_select(u32 id, const Op& op);
  void emit_add_shl(u32 id, const Op& op);
  void emit_bool(u32 id);
  void emit_set(u32 index, const Op& op);
  void store_deferred();
  void emit_get(u32 id, const Op& op);
  void apply_alu(Alu alu, Width w, Reg dst, Ref b, Type type);
  void with_count_in_rcx(Reg dst, Ref count, const std::function<void(Reg)>& emit);
  Type type_of(Ref r, Type constant_type) const;

  // emit_multiply.cpp
  void emit_multiply(u32 id, const Op& op);
  bool emit_multiply_both(u32 id, u32 other, const Op& op, bool is_signed);
  void emit_multiply_high(u32 id, const Op& op);
  void emit_divide(u32 id, const Op& op);
  void emit_host_division(const Op& op, bool is_signed, Reg divisor);
  u32 other_half(u32 id, Opcode opcode) const;
  bool are_wanted_in_place(u32 low, u32 high);
  void take_halves(Reg low, Reg high);

  // emit_flags.cpp
  bool emit_flags(u32 index, const Op& op);
  FlagsState flags_state(Ref flags);
  void store_flags(Assembler& a, const FlagsState& state, Reg temp_reg);
  void store_flags_home(Ref flags, bool nested = false);
  bool store_chosen_flags(const Op& select);
  void store_selected_flags(const Op& select);
  bool is_at_home(Ref flags) const;
  void preserve_home_flags();
  Cc test_packed_state(Cond cond, const FlagsState& state, Width w = Width::q);
  void emit_carry_of(u32 id, Ref flags);
  Reg carries_into_temp(const Op& op, bool adds);
  void store_leaf_args(const FlagsState& state);
  void flags_home();     ///< guest flags go home now
  Cc condition(Ref i1);  ///< emits what sets the host flags
  Cc compare(Cond cond, Type type, Ref a, Ref b);
  Cc carry_of(u32 id);
  void set_host_carry(Ref i1);
  Cc test_flags(Cond cond, Ref flags);
  Cc test_flags_slowly(Cond cond, const FlagsState& state);
  void pack_flags_into(Reg dst, Ref flags);
  bool host_flags_are(Ref flags, Cond cond) const;
  void note_host_flags(u32 value_id);
  void call_general_leaf(HelperFn function);
  void materialise_and(u32 flags_id);
  ir::FlagsLocation flags_location();
  void emit_carry_stub(const Stub& stub);

  // emit_memory.cpp
  bool emit_memory(u32 index, const Op& op);
  struct Access {
    Reg address = kNoReg;  ///< holds the guest address
    Reg addend = kNoReg;
    Reg check = kNoReg;  ///< scratch of the check; none: the address register is borrowed
    bool write = false;
    u8 view = ir::kCurrentView;
    size_t miss = 0;        ///< fix-up of the jump to the stub
    size_t misaligned = 0;  ///< and of a second one, or 0
    size_t retry = 0;
    Mem host() const { return ptr(addend, address); }
  };
  Access allocate_access(const Op& op, const ir::MemInfo& mem, bool write, bool copy_address, bool need_check_reg);
  void emit_check(Access& access, unsigned log2_bytes, unsigned align_log2, bool want_addend = true);
  void emit_check_of(Access& access, u32 bytes, unsigned align_log2, bool want_addend = true);
  void emit_load(u32 id, const Op& op);
  /// What a load or store moves: dst or x for loads, v for stores.
  struct Transfer {
    Operand v;
    Reg dst = kNoReg;
    Xmm x = kNoXmm;
    bool is_load() const { return dst != kNoReg || x != kNoXmm; }
  };
  void emit_transfer(Assembler& a, const Transfer& transfer, const Mem& host, const Op& op);
  Transfer prepare_load(u32 id, const Op& op, Reg default_dst);
  Operand prepare_store(const Op& op);
  void define_loaded(u32 id, const Op& op, const Transfer& transfer);
  void emit_load_from(Assembler& a, Reg dst, const Mem& host, Type type, const ir::MemInfo& mem);
  void emit_store(u32 id, const Op& op);
  void emit_store_to(Assembler& a, const Mem& host, const Operand& v, const ir::MemInfo& mem);
  void emit_probe(u32 id, const Op& op);
  void emit_rmw(u32 id, const Op& op);
  void emit_rmw_loop(u32 id, const Op& op, const Access& access);
  void emit_cas(u32 id, const Op& op);
  void emit_slow_only(u32 id, const Op& op);
  void settle_flags();  ///< code that the flags' recovery needs
  u32 new_recovery(const Op* access_op);
  const u8* access_thunk(const ir::MemInfo& mem, bool write, unsigned align_log2) const;
  void finish_access(const Access& access, u32 recovery, const u8* thunk);
  void out_of_scratch(Ref r);  ///< to a spill slot, if it is in a scratch register
  Reg address_of(const Op& op, const ir::MemInfo& mem, bool copy);
  Mem tlb_word(const Access& access, i32 offset) const;

  // emit_window.cpp
  struct Root {
    u32 id = 0;
    i32 offset = 0;
  };
  Root root_of(ir::Ref r) const;
  /// Accesses off one root that share a check: [base + low, base + high). While active, `reg` is the host address of
  /// base + low.
  struct Window {
    u32 base = 0;
    u8 view = 0;
    bool write = false;
    i32 low = 0, high = 0;
    u32 members = 0;   ///< still to be emitted
    Reg reg = kNoReg;  ///< none: not active
  };
  void find_windows();
  bool emit_in_window(u32 id, const Op& op);
  void emit_window_stub(const Stub& stub);
  Access open_window(Window& window, const Op& op, i32 own);
  void drop_window(Reg r);
  void drop_windows();
  bool holds_window(Reg r) const { return (window_regs_ >> r & 1) != 0; }

  // emit_vector.cpp, emit_x87.cpp
  bool emit_vector(u32 index, const Op& op);
  void emit_vec(u32 id, const Op& op);
  void emit_vex(u32 id, const Op& op);
  void emit_vex_three(u32 id, const Op& op);
  void emit_fused(u32 id, const Op& op, const Operand (&operands)[3]);
  void emit_sha256_rounds(u32 id, const Op& op);
  void emit_vec_mask(u32 id, const Op& op);
  void emit_widen(u32 id, const Op& op);
  void emit_zero_upper();
  void emit_vec_insert(u32 id, const Op& op);
  void emit_vec_to_int(u32 id, const Op& op);
  void emit_x87(u32 id, const Op& op);
  void emit_x87_pop(const Op& previous);
  void emit_x87_result(u32 id, Type type);
  Mem x87_operand(Ref r, Type type);
  /// A register that legacy SSE reaches to compute op id in. Borrowed: a pinned one, put back by finish_legacy().
  struct Work {
    Xmm reg = kNoXmm;
    Xmm result = kNoXmm;
  };
  Work legacy_work(u32 id, Ref a, Ref b);
  void finish_legacy(u32 id, const Work& work);
  /// The same for VEX where there is no EVEX form. `avoid`: registers that the operation reads.
  Work low_work(u32 id, bool any_register, u32 avoid, Ref reuse);
  void finish_low(u32 id, const Work& work);
  Mem in_memory(const Operand& vector);  ///< a vector's slot, or a transient copy

  // emit_exits.cpp
  bool emit_exit(u32 index, const Op& op);
  void emit_call(u32 id, const Op& op);
  bool emit_host_vector(const ir::HelperDesc& helper, const Op& op);
  void emit_side_exit(const Op& op);
  void emit_side_exit_stub(const Stub& stub);
  void emit_trap_if(const Op& op);
  void emit_trap(Assembler& a, u32 code, u32 recovery);
  void forget_state();
  void emit_direct(u64 pc);
  bool is_own_loop(u64 pc) const { return pc == block_->pc && request_->loops_in_place; }
  void emit_link_miss(u64 pc, Assembler& a, size_t from, u32 link);
  void call_with_pc(const u8* thunk, u64 pc);
  void emit_access_stub(const Stub& stub);
  void emit_link(Assembler& a, u64 pc, i64 mode = -1);
  void emit_mode(u64 pc, u32 mode);

  // emit_counts.cpp
  Path path_to_here() const;
  void give_back_budget(Assembler& a, u32 insns);
  void count_exit(Assembler& a, const Path& path);
  void count(Assembler& a, size_t counter, u32 n = 1);
  void finish_counted_exit(Assembler& a);
  void finish_stub_counts();
  void emit_indirect(const Op& op);
  void emit_system(const Op& op);
  void store_pc(Assembler& a, u64 pc);
  void emit_cold();
  u32 offset_in(const Assembler& a, size_t position) const;

  // relocate.cpp
  void relocate(const Assembler& a, size_t position, ir::Relocation::Form form);
  void finish_relocations();

  const RegisterMap& map_;
  const ir::CompileRequest* request_ = nullptr;
  const ir::Block* block_ = nullptr;
  const ir::StateLayout* layout_ = nullptr;
  ir::CompiledBlock* result_ = nullptr;
  Assembler hot_, cold_;
  ir::SideTableWriter side_table_;
  std::vector<Value> values_;
  std::vector<u32> flags_before_;  ///< per op that observes state: Ref bits of the guest flags
  std::vector<u32> field_touched_;  ///< of find_hints(): per field, the last op so far that names it
  std::vector<Stub> stubs_;
  std::vector<std::pair<ir::FieldId, Ref>> deferred_;  ///< constants that are not at their homes yet
  u32 last_x87_ = 0;  ///< the x87 operation before this one in the block
  std::vector<Window> windows_;
  std::vector<u16> window_of_;  ///< per op: index into windows_, or 0
  u32 window_regs_ = 0;
  bool may_have_touched_device_ = false;  ///< an access of this instruction, with no window in use
  struct Counting {
    u32 insns = 0, bytes = 0;
  };
  Counting hot_counting_, cold_counting_;  ///< what counts, itself
  u32 basic_blocks_ = 1;
  struct CountedExit {
    Path path;
    bool in_cold = false;
    size_t host_insns_end = 0, host_bytes_end = 0, end = 0;  ///< of the immediates
    u32 insns = 0;                                           ///< emitted up to `end`
  };
  std::vector<CountedExit> counted_exits_;
  std::vector<ir::RecoveryPoint> recovery_;
  u32 recovery_count_ = 0;
  u32 gpr_head_[16] = {}, xmm_head_[32] = {}, spill_head_[kSpillSlots] = {}, vec_spill_head_[kVectorSpillSlots] = {};
  std::vector<u32> home_values_;  ///< live values that are at homes
  u32 held_ = 0, held_xmm_ = 0;
  u32 spills_of_op_ = 0, vector_spills_of_op_ = 0;  ///< handed out during the running op
  u32 now_ = 0;
  Ref flags_;              ///< current guest flags; none: at home
  u32 host_flags_of_ = 0;  ///< value whose computation set the host flags
  unsigned host_flags_version_ = 0;
  std::vector<u32> home_flags_;  ///< flag values whose tuple is in env.cc_*
  bool in_branch_ = false;       ///< code here may be jumped over: values must stay where they are
  u32 insn_index_ = 0, insn_delta_ = 0;
  std::vector<u32> insn_deltas_;
  bool too_complex_ = false;
  bool movable_ = false;  ///< relocations are wanted, and what is emitted so far can be moved
  std::vector<ir::Relocation> relocations_;
  size_t entry_ = 0, body_ = 0;
};

}  // namespace emu::tcg::x86_64
