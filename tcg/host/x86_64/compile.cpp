// SPDX-License-Identifier: Apache-2.0
// Driver: analysis of the block, the forward emission pass, then the cold part.
#include <algorithm>
#include <utility>

#include "tcg/host/x86_64/compiler.h"
#include "tcg/ir/op_traits.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr u32 kMaxOps = 60000;

bool is_flags_producer(Opcode o) { return o >= Opcode::FlAdd && o <= Opcode::FlFcmp; }

bool is_condition_user(Opcode o) {
  return o == Opcode::SideExit || o == Opcode::TrapIf || o == Opcode::Select || o == Opcode::Zext;
}

/// Empty again, with the room it has.
void clear(ir::CompiledBlock& result) {
  ir::CompiledBlock fresh;
  fresh.links.swap(result.links);
  fresh.relocations.swap(result.relocations);
  fresh.side_table.swap(result.side_table);
  fresh.links.clear();
  fresh.relocations.clear();
  fresh.side_table.clear();
  result = std::move(fresh);
}

/// May leave the block, or show the state to others.
bool is_barrier(Opcode o) { return (ir::traits(o) & (ir::kObserves | ir::kIsCall)) != 0; }
bool takes_carry(Opcode o) { return o == Opcode::AddCarry || o == Opcode::SubBorrow; }

}  // namespace

ir::CompileStatus Compiler::compile(const ir::CompileRequest& request, ir::CompiledBlock& result) {
  request_ = &request;
  block_ = request.block;
  layout_ = request.layout;
  result_ = &result;
  clear(result);
  EMU_CHECK(request.hot.size <= ir::kColdOffset);
  if (block_->ops.size() < 2 || block_->ops.size() > kMaxOps) return ir::CompileStatus::TooComplex;
  hot_.reset(request.hot.write, request.hot.exec, request.hot.size);
  cold_.reset(request.cold.write, request.cold.exec, request.cold.size);
  movable_ = request.relocatable && block_->movable;
  relocations_.clear();
  hot_.note_far_jumps(movable_);
  cold_.note_far_jumps(movable_);
  side_table_.clear();
  stubs_.clear();
  recovery_count_ = 0;
  std::fill(std::begin(gpr_head_), std::end(gpr_head_), 0);
  std::fill(std::begin(xmm_head_), std::end(xmm_head_), 0);
  std::fill(std::begin(spill_head_), std::end(spill_head_), 0);
  std::fill(std::begin(vec_spill_head_), std::end(vec_spill_head_), 0);
  home_values_.clear();
  may_have_touched_device_ = false;
  window_regs_ = 0;
  deferred_.clear();
  last_x87_ = 0;
  flags_ = {};
  host_flags_of_ = 0;
  home_flags_.clear();
  in_branch_ = false;
  insn_index_ = insn_delta_ = 0;
  too_complex_ = false;
  hot_counting_ = cold_counting_ = {};
  basic_blocks_ = 1;
  counted_exits_.clear();

  analyse();
  find_hints();
  find_windows();
  emit_entry();
  for (u32 i = 1; i < block_->ops.size() && !too_complex_; ++i) emit_op(i);
  if (too_complex_) return ir::CompileStatus::TooComplex;
  if (hot_.overflowed()) return ir::CompileStatus::NoRoom;
  emit_cold();
  finish_stub_counts();
  if (hot_.overflowed() || cold_.overflowed()) return ir::CompileStatus::NoRoom;

  finish_relocations();
  result.hot_size = u32(hot_.position());
  result.cold_size = u32(cold_.position());
  result.entry = u32(entry_);
  result.body = u32(body_);
  result.host_insns += hot_.instructions();
  side_table_.finish(result.side_table);
  return ir::CompileStatus::Ok;
}

/// Last uses and use counts, backwards; operands of what its user emits live as long as that user.
void Compiler::analyse() {
  const u32 n = u32(block_->ops.size());
  values_.assign(n, Value{});
  flags_before_.assign(n, 0);
  insn_deltas_.clear();
  Ref flags;
  for (u32 i = 1; i < n; ++i) {
    const Op& op = block_->ops[i];
    if (op.opcode == Opcode::InsnStart) {
      insn_deltas_.push_back(op.c.bits());
    } else if (op.opcode == Opcode::SetFlags) {
      flags = op.a;
    } else if (is_barrier(op.opcode) || op.opcode == Opcode::GetFlags) {
      flags_before_[i] = flags.bits();
      const bool is_call = op.opcode == Opcode::Call;
      if (is_call && (request_->helpers->helpers[op.c.bits()].effects & ir::kHelperWritesState)) flags = {};
    }
  }
  for (u32 i = n - 1; i > 0; --i) {
    const Op& op = block_->ops[i];
    Value& v = values_[i];
    if (v.uses == 0 && ir::may_be_removed(op, *request_->helpers)) continue;
    u32 until = i;
    const auto use = [&](Ref r, u32 last) {
      if (!r.is_value()) return;
      Value& operand_value = values_[r.id()];
      if (operand_value.uses == 0) operand_value.user = i;
      if (operand_value.uses < 0xffff) ++operand_value.uses;
      operand_value.last_use = std::max(operand_value.last_use, last);
    };
    if (flags_before_[i]) use(Ref::raw(flags_before_[i]), i);
    if (is_flags_producer(op.opcode) || (op.opcode == Opcode::Select && op.type == Type::Flags)) {
      until = std::max(i, v.last_use);
    } else if (v.uses == 1 && may_be_lazy(op, block_->ops[v.user], v.user)) {
      v.lazy = true;
      result_->fused_conditions += op.opcode == Opcode::FlIs || op.opcode == Opcode::CmpSet;
      until = std::max(i, v.last_use);
    }
    switch (op.opcode) {
      case Opcode::FlAdd:
      case Opcode::FlSub:  // the tuple holds the result and the second operand
        use(op.b, until);
        use(op.c, until);
        break;
      case Opcode::FlInc:
      case Opcode::FlDec:
        use(op.a, until);
        use(op.b, i);
        break;
      case Opcode::FlAdc:
      case Opcode::FlSbb:
        use(op.a, i);
        use(op.b, i);
        use(op.c, until);
        break;
      case Opcode::CarryOut:
      case Opcode::BorrowOut:
        if (follows_its_sum(i)) break;  // it finds the host's carry flag
        ir::visit_operands(*block_, op, [&](Ref r) { use(r, until); });
        break;
      case Opcode::FlSetCarry:
      case Opcode::FlFcmp:
        use(op.a, i);
        use(op.b, i);
        break;
      default:
        ir::visit_operands(*block_, op, [&](Ref r) { use(r, until); });
        break;
    }
  }
}

/// Whether a CarryOut or BorrowOut stands behind the operation that it is of, with nothing between them but moves of its
/// result, which leave the host's flags alone.
bool Compiler::follows_its_sum(u32 carry) const {
  const Op& op = block_->ops[carry];
  if (!op.c.is_value()) return false;
  const Op& sum = block_->ops[op.c.id()];
  const Opcode maker = op.opcode == Opcode::CarryOut ? Opcode::AddCarry : Opcode::SubBorrow;
  if (sum.opcode != maker || sum.type != op.type || op.a != sum.a || op.b != sum.b) return false;
  if (values_[op.c.id()].uses == 0) return false;
  Ref result = op.c;
  for (u32 i = op.c.id() + 1; i < carry; ++i) {
    const Op& between = block_->ops[i];
    if ((between.opcode != Opcode::Set && between.opcode != Opcode::Zext) || between.a != result) return false;
    if (between.opcode == Opcode::Zext) result = Ref::value(i);
  }
  return true;
}

/// Whether the carry of an operation is taken up at once, by one that still finds it in the host's flag.
bool Compiler::goes_on_with_carry(u32 carry, u32 user) const {
  if (!takes_carry(block_->ops[user].opcode) || block_->ops[user].c != Ref::value(carry)) return false;
  if (!follows_its_sum(carry)) return false;
  for (u32 i = carry + 1; i < user; ++i) {
    const Opcode between = block_->ops[i].opcode;
    if (between != Opcode::InsnStart && between != Opcode::Get && between != Opcode::Set) return false;
  }
  return true;
}

/// Whether `op`, used only by `user`, is better emitted there: conditions, and additions that a Set applies in place.
bool Compiler::may_be_lazy(const Op& op, const Op& user, u32 user_index) const {
  switch (op.opcode) {
    case Opcode::FlIs:
    case Opcode::CmpSet:
    case Opcode::BitTest:
      if (!request_->fuse_flags) return false;
      if (takes_carry(user.opcode)) return user.c == Ref::value(u32(&op - block_->ops.data()));
      return is_condition_user(user.opcode) && user.a == Ref::value(u32(&op - block_->ops.data()));
    case Opcode::CarryOut:
    case Opcode::BorrowOut:
      return goes_on_with_carry(u32(&op - block_->ops.data()), user_index);
    case Opcode::Add:
    case Opcode::Sub: {
      if (user.opcode != Opcode::Set || op.type != Type::I64 || !op.b.is_constant() || !op.a.is_value()) return false;
      if (!map_.is_pinned(ir::FieldId(user.c.bits())) || user_index == 0) return false;
      const i64 c = i64(block_->constant_value(op.b));
      const bool pc_relative = op.b.is_pool() && block_->pool[op.b.pool_index()].pc_relative;
      return !pc_relative && c > -(i64(1) << 31) && c < (i64(1) << 31);
    }
    default:
      return false;
  }
}

/// A value that a Set puts into a pinned register may be computed there, if nothing looks at the field in between.
void Compiler::find_hints() {
  std::vector<u32>& touched = field_touched_;
  touched.assign(layout_->fields.size(), 0);
  u32 barrier = 0;
  for (u32 i = 1; i < block_->ops.size(); ++i) {
    const Op& op = block_->ops[i];
    if (op.opcode == Opcode::Get) touched[op.c.bits()] = i;
    if (op.opcode == Opcode::Set) {
      const ir::FieldId field = ir::FieldId(op.c.bits());
      Ref v = op.a;
      while (map_.is_pinned(field) && v.is_value() && barrier <= v.id() && touched[field] < v.id()) {
        values_[v.id()].hint = map_.field_register[field];
        const Op& def = block_->ops[v.id()];
        if (def.opcode != Opcode::Zext && def.opcode != Opcode::Trunc) break;
        v = def.a;
      }
      touched[field] = i;
    }
    if (is_barrier(op.opcode) || op.opcode == Opcode::ZeroUpper) barrier = i;
  }
}

void Compiler::emit_entry() {
  hot_.align(8);
  entry_ = hot_.position();
  hot_.alu_imm(Alu::Cmp, Width::d, slot(i32(offsetof(EnvHeader, exit_req))), 0);
  Stub stub;
  stub.kind = Stub::ExitRequest;
  stub.from = hot_.jcc_forward(Cc::NotEqual);
  stubs_.push_back(stub);
  // Counted blocks look at every entry, so that when events are seen does not depend on which links there are.
  body_ = request_->icount ? entry_ : hot_.position();
  if (block_->uses_fpu) {
    hot_.alu_imm(Alu::Cmp, Width::d, slot(i32(offsetof(EnvHeader, fpu_live))), 0);
    stub.kind = Stub::FpuLoad;
    stub.from = hot_.jcc_forward(Cc::Equal);
    stubs_.push_back(stub);
  }
  if (request_->icount) {
    hot_.alu_imm(Alu::Sub, Width::q, slot(i32(offsetof(EnvHeader, icount_budget))), i32(block_->guest_insns));
    stub.kind = Stub::Budget;
    stub.from = hot_.jcc_forward(Cc::Sign);
    stubs_.push_back(stub);
  }
}

void Compiler::emit_op(u32 index) {
  const Op& op = block_->ops[index];
  now_ = index;
  held_ = held_xmm_ = spills_of_op_ = vector_spills_of_op_ = 0;
  if (op.opcode == Opcode::InsnStart) {
    insn_delta_ = op.c.bits();
    ++insn_index_;
    may_have_touched_device_ = false;
    return;
  }
  const Value& v = values_[index];
  if (op.opcode == Opcode::Nop || v.lazy) return;
  if (v.uses == 0 && ir::may_be_removed(op, *request_->helpers)) return;
  const bool done = emit_integer(index, op) || emit_flags(index, op) || emit_memory(index, op) ||
                    emit_vector(index, op) || emit_exit(index, op);
  EMU_CHECK(done);
}

}  // namespace emu::tcg::x86_64
