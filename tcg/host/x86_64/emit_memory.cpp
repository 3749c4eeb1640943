// SPDX-License-Identifier: Apache-2.0
// Guest memory: the inline TLB check and the access behind it. Everything is allocated, and evicted, before the check:
// the slow path returns either to the check (retry) or behind the access (resume).
#include "tcg/host/x86_64/compiler.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr u32 kIndexMask = (kTlbEntries - 1) * sizeof(TlbEntry);
constexpr unsigned kIndexRotate = kPageBits - 5;
static_assert(sizeof(TlbEntry) == 32 && offsetof(View, l1) == 0);

bool is_scratch(Reg r) { return r == r9 || r == r10 || r == r11; }

}  // namespace

bool Compiler::emit_memory(u32 id, const Op& op) {
  switch (op.opcode) {
    case Opcode::Ld:
      emit_load(id, op);
      return true;
    case Opcode::St:
      emit_store(id, op);
      return true;
    case Opcode::Probe:
      emit_probe(id, op);
      return true;
    case Opcode::Rmw:
      emit_rmw(id, op);
      return true;
    case Opcode::Cas:
      emit_cas(id, op);
      return true;
    case Opcode::Fence:
      hot_.lock_alu_imm(Alu::Or, Width::d, ptr(kEnv, -8), 0);
      return true;
    default:
      return false;
  }
}

void Compiler::settle_flags() {
  if (flags_.is_value() && flags_state(flags_).pending_and) materialise_and(flags_.id());
}

/// A recovery point at the running op, as registers are now. Nothing may be evicted between here and the op.
u32 Compiler::new_recovery(const Op* access_op) {
  if (recovery_count_ == recovery_.size()) recovery_.emplace_back();
  ir::RecoveryPoint& p = recovery_[recovery_count_];
  p.key = 0;
  p.pc_delta = insn_delta_;
  p.insn_index = insn_index_ ? insn_index_ - 1 : 0;
  p.next_pc_delta = insn_index_ < insn_deltas_.size() ? insn_deltas_[insn_index_] : block_->guest_bytes;
  p.resume = p.retry = 0;
  p.fields.clear();
  for (const auto& [field, constant] : deferred_)
    p.fields.push_back({field, location(operand(constant, layout_->field(field).type))});
  p.flags = flags_location();
  p.access = {};
  if (access_op) {
    p.access.opcode = access_op->opcode;
    p.access.mem = block_->mem(*access_op);
    p.access.type = access_op->type;
    if (access_op->opcode == Opcode::Rmw) p.access.rmw = ir::RmwOp(access_op->flags);
  }
  return recovery_count_++;
}

/// The guest address in a register: the value's own if nothing is added, else r11. Either way r11 carries nothing else
/// across the access, since the stub passes the address in it.
Reg Compiler::address_of(const Op& op, const ir::MemInfo& mem, bool copy) {
  Operand a = operand(op.a, Type::I64);
  if (a.kind == Operand::None) a = {.kind = Operand::Constant};
  if (a.kind == Operand::Constant) {
    take(kAddress);
    a.value += u64(i64(mem.disp));
    load_constant(kAddress, a);
    return kAddress;
  }
  if (a.kind == Operand::Gpr && mem.disp == 0 && !copy) {
    hold(a.reg);
    if (a.reg != kAddress) {
      take(kAddress);
      release(kAddress);
    }
    return a.reg;
  }
  if (a.kind == Operand::Gpr && a.reg == kAddress) {
    evict(kAddress, now_);  // keeps what later ops need; the address itself stays in the register
    gpr_head_[kAddress] = 0;
    hold(kAddress);
    if (mem.disp) hot_.lea(Width::q, kAddress, ptr(kAddress, mem.disp));
    return kAddress;
  }
  take(kAddress);
  a = operand(op.a, Type::I64);
  if (a.kind == Operand::Gpr && mem.disp) {
    hot_.lea(Width::q, kAddress, ptr(a.reg, mem.disp));
  } else {
    load(kAddress, a, Width::q);
    if (mem.disp) hot_.lea(Width::q, kAddress, ptr(kAddress, mem.disp));
  }
  return kAddress;
}

/// Registers for an access, after those of its value are held. Without a third scratch register the check borrows the
/// address register and puts the address back.
Compiler::Access Compiler::allocate_access(const Op& op, const ir::MemInfo& mem, bool write, bool copy_address,
                                           bool need_check_reg) {
  Access access;
  access.write = write || mem.write_intent;
  access.view = mem.view;
  access.address = address_of(op, mem, copy_address);
  access.addend = temp();
  // Only a register that costs nothing: borrowing the address register takes seven bytes, a spill and reload more.
  for (const Reg r : kScratch) {
    if (!(held_ >> r & 1) && !holds_window(r) && is_free(r, now_ - 1)) access.check = r;
  }
  if (access.check != kNoReg)
    take(access.check);
  else if (need_check_reg)
    access.check = temp();
  return access;
}

Mem Compiler::tlb_word(const Access& access, i32 offset) const {
  if (access.view == ir::kCurrentView) return ptr(kView, access.addend, 0, offset);
  return ptr(access.addend, offset);
}

/// Leaves the addend in access.addend, so that access.host() is where the bytes are.
void Compiler::emit_check(Access& access, unsigned log2_bytes, unsigned align_log2, bool want_addend) {
  emit_check_of(access, 1u << log2_bytes, align_log2, want_addend);
}

void Compiler::emit_check_of(Access& access, u32 bytes, unsigned align_log2, bool want_addend) {
  access.retry = hot_.position();
  hot_.rorx(Width::q, access.addend, access.address, kIndexRotate);
  hot_.alu_imm32(Alu::And, Width::d, access.addend, i32(kIndexMask));
  if (access.view != ir::kCurrentView) {
    hot_.alu(Alu::Add, Width::q, access.addend, slot(i32(offsetof(EnvHeader, views)) + access.view * 8));
  }
  const Mem tag = tlb_word(access, access.write ? offsetof(TlbEntry, wr) : offsetof(TlbEntry, rd));
  const Reg t = access.check == kNoReg ? access.address : access.check;
  if (access.check != kNoReg) hot_.mov(Width::q, t, access.address);
  hot_.alu(Alu::Xor, Width::q, t, tag);
  if (align_log2 && (1u << align_log2) < bytes) {  // aligned ones may still cross the page's end
    hot_.test_imm(Width::d, t, (1 << align_log2) - 1);
    access.misaligned = hot_.jcc_forward(Cc::NotEqual);
    hot_.alu_imm(Alu::Cmp, Width::q, t, i32(kPageSize - bytes));
    access.miss = hot_.jcc_forward(Cc::Above);
  } else if (align_log2) {
    hot_.test_imm(Width::q, t, -i32(kPageSize) | ((1 << align_log2) - 1));
    access.miss = hot_.jcc_forward(Cc::NotEqual);
  } else {
    hot_.alu_imm(Alu::Cmp, Width::q, t, i32(kPageSize - bytes));
    access.miss = hot_.jcc_forward(Cc::Above);
  }
  if (access.check == kNoReg) hot_.alu(Alu::Xor, Width::q, t, tag);
  if (want_addend) hot_.mov(Width::q, access.addend, tlb_word(access, offsetof(TlbEntry, addend)));
}

/// What the stub of a failed check calls.
const u8* Compiler::access_thunk(const ir::MemInfo& mem, bool write, unsigned align_log2) const {
  const ThunkTable& thunks = *request_->thunks;
  const bool aligned = align_log2 != 0;
  if (mem.view != ir::kCurrentView || mem.log2_bytes > 4 || (aligned && align_log2 != mem.log2_bytes)) {
    return thunks.access_slow;
  }
  if (write) return (aligned ? thunks.store_aligned : thunks.store)[mem.log2_bytes];
  return (aligned ? thunks.load_aligned : thunks.load)[mem.log2_bytes];
}

/// Behind the access: where to resume, and the stub.
void Compiler::finish_access(const Access& access, u32 recovery, const u8* thunk) {
  ir::RecoveryPoint& p = recovery_[recovery];
  p.resume = offset_in(hot_, hot_.position());
  p.retry = offset_in(hot_, access.retry);
  Stub stub;
  stub.kind = Stub::Access;
  stub.from = access.miss;
  stub.other_from = access.misaligned;
  stub.address = access.address;
  stub.recovery = recovery;
  stub.thunk = thunk;
  stub.resume = access.retry;
  p.access.unshares = window_regs_ != 0;
  if (window_regs_ == 0) may_have_touched_device_ = true;
  if (access.check == kNoReg) {
    stub.addend = access.addend;
    stub.write = access.write;
    stub.view = access.view;
  }
  stubs_.push_back(stub);
}

void Compiler::emit_load_from(Assembler& a, Reg dst, const Mem& host, Type type, const ir::MemInfo& mem) {
  const Width size = Width(mem.log2_bytes), to = wide(type);
  const bool sign = mem.extend == ir::Extend::Sign && size < width_of(type);
  if (mem.big_endian && size != Width::b) {
    a.movbe(size, dst, host);
    if (sign)
      a.movsx(size, to, dst, dst);
    else if (size == Width::w)
      a.movzx(size, dst, dst);
  } else if (sign) {
    a.movsx(size, to, dst, host);
  } else {
    a.movzx(size, dst, host);
  }
}

void Compiler::emit_store_to(Assembler& a, const Mem& host, const Operand& v, const ir::MemInfo& mem) {
  const Width size = Width(mem.log2_bytes);
  if (v.kind == Operand::Vec) {
    if (mem.log2_bytes == 5)
      a.vmovups(5, host, v.xmm);
    else
      a.movups(host, v.xmm);
  } else if (v.kind == Operand::Constant) {
    u64 value = v.value;
    if (mem.big_endian) value = __builtin_bswap64(value) >> (64 - bits(size));
    a.mov_imm(size, host, i32(value));
    if (v.pc_relative) relocate(a, a.position() - 4, ir::Relocation::Form::Pc32);
  } else if (mem.big_endian && size != Width::b) {
    a.movbe(size, host, v.reg);
  } else {
    a.mov(size, host, v.reg);
  }
}

void Compiler::emit_transfer(Assembler& a, const Transfer& t, const Mem& host, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  if (!t.is_load()) return emit_store_to(a, host, t.v, mem);
  if (t.dst != kNoReg) return emit_load_from(a, t.dst, host, op.type, mem);
  if (op.type == Type::V256)
    a.vmov_load(mem.log2_bytes, t.x, host);
  else if (mem.log2_bytes == 4)
    a.movups(t.x, host);
  else
    a.movd_load(Width(mem.log2_bytes), t.x, host);
}

/// Where a load goes. An integer goes to the pinned register that is set next, else to default_dst.
Compiler::Transfer Compiler::prepare_load(u32 id, const Op& op, Reg default_dst) {
  Transfer t;
  if (ir::is_vector(op.type)) {
    t.x = vec_dest(id);
    return t;
  }
  const u8 hint = values_[id].hint;
  const bool hinted = hint != kNoHostRegister && is_free(Reg(hint), now_);
  t.dst = hinted ? Reg(hint) : default_dst;
  return t;
}

/// The operand of a store in a register that stays, or an immediate. Never in r11, which is for the address.
Operand Compiler::prepare_store(const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  Operand v = operand(op.b, op.type);
  if (ir::is_vector(op.type)) {
    v.kind = Operand::Vec;
    v.xmm = use_xmm(op.b);
  } else if (v.kind == Operand::Gpr) {
    if (v.reg == kAddress) {
      v = {.kind = Operand::Gpr, .reg = temp(1u << kAddress)};
      hot_.mov(Width::q, v.reg, kAddress);
    }
    hold(v.reg);
  } else if (v.kind == Operand::Constant && i64(v.value) == i64(i32(v.value)) &&
             !(mem.big_endian && mem.log2_bytes == 3) && (!v.pc_relative || (mem.log2_bytes == 3 && !mem.big_endian))) {
    return v;  // pc constants move with the block: the word is relocated
  } else {
    const Reg t = temp(1u << kAddress);
    load(t, v, width_of(op.type));
    v = {.kind = Operand::Gpr, .reg = t};
  }
  return v;
}

void Compiler::emit_load(u32 id, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  if (mem.log2_bytes > 5) {
    too_complex_ = true;
    return;
  }
  const bool vector = ir::is_vector(op.type);
  if (vector && mem.big_endian && mem.log2_bytes > 0) return emit_slow_only(id, op);
  if (emit_in_window(id, op)) return;
  settle_flags();
  Transfer t;
  if (vector) t = prepare_load(id, op, kNoReg);
  Access access = allocate_access(op, mem, false, false, false);
  if (!vector) t = prepare_load(id, op, access.addend);
  const u32 recovery = new_recovery(&op);
  if (is_used(id)) {
    const Operand result{.kind = vector ? Operand::Vec : Operand::Gpr, .reg = t.dst, .xmm = t.x};
    recovery_[recovery].access.result = location(result);
  }
  emit_check(access, mem.log2_bytes, mem.align_log2);
  if (vector && mem.log2_bytes < 2) {
    hot_.movzx(Width(mem.log2_bytes), access.addend, access.host());
    if (op.type == Type::V256)
      hot_.vector_gpr({.pp = 1, .opcode = 0x6e}, t.x, 0, access.addend);
    else
      hot_.movd_to(Width::d, t.x, access.addend);
  } else {
    emit_transfer(hot_, t, access.host(), op);
  }
  define_loaded(id, op, t);
  finish_access(access, recovery, access_thunk(mem, mem.write_intent, mem.align_log2));
}

void Compiler::define_loaded(u32 id, const Op& op, const Transfer& t) {
  if (t.dst == kNoReg) return define_xmm(id, t.x);
  const ir::MemInfo& mem = block_->mem(op);
  const bool sign = mem.extend == ir::Extend::Sign && Width(mem.log2_bytes) < width_of(op.type);
  define(id, t.dst, !sign || op.type == Type::I32);
}

void Compiler::emit_store(u32 id, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  if (mem.log2_bytes > 5) {
    too_complex_ = true;
    return;
  }
  const bool vector = ir::is_vector(op.type);
  if (vector && mem.big_endian && mem.log2_bytes > 0) return emit_slow_only(id, op);
  if (emit_in_window(id, op)) return;
  settle_flags();
  const Operand v = prepare_store(op);
  const Operand a = operand(op.a, Type::I64);
  // An address register that is also the value must not be borrowed by the check.
  const bool same = a.kind == Operand::Gpr && v.kind == Operand::Gpr && a.reg == v.reg;
  Access access = allocate_access(op, mem, true, same && is_scratch(a.reg), vector);
  const u32 recovery = new_recovery(&op);
  recovery_[recovery].access.value = location(v);
  emit_check(access, mem.log2_bytes, mem.align_log2);
  if (vector && mem.log2_bytes < 4) {
    hot_.lea(Width::q, access.addend, access.host());
    hot_.movd_from(Width::q, access.check, v.xmm);
    hot_.mov(Width(mem.log2_bytes), ptr(access.addend), access.check);
  } else {
    emit_store_to(hot_, access.host(), v, mem);
  }
  if (mem.order == ir::Order::SeqCst) hot_.lock_alu_imm(Alu::Or, Width::d, ptr(kEnv, -8), 0);
  finish_access(access, recovery, access_thunk(mem, true, mem.align_log2));
}

void Compiler::emit_probe(u32 id, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  if (emit_in_window(id, op)) return;
  settle_flags();
  Access access = allocate_access(op, mem, true, false, false);
  const u32 recovery = new_recovery(&op);
  emit_check(access, mem.log2_bytes, mem.align_log2, false);
  finish_access(access, recovery, access_thunk(mem, true, mem.align_log2));
}

void Compiler::out_of_scratch(Ref r) {
  const Operand o = operand(r, Type::I64);
  if (o.kind != Operand::Gpr || !is_scratch(o.reg)) return;
  const unsigned spill = new_spill();
  hot_.mov(Width::q, slot(offset_of_spill(spill)), o.reg);
  for (u32 next, id = gpr_head_[o.reg]; id; id = next) {  // all values there are the same bits
    next = values_[id].next;
    if (values_[id].last_use < now_) continue;
    detach(id);
    attach(id, Where::Spill, u8(spill));
  }
  gpr_head_[o.reg] = 0;
}

void Compiler::emit_rmw(u32 id, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  const ir::RmwOp kind = ir::RmwOp(op.flags);
  if (mem.big_endian || mem.log2_bytes > 3) return emit_slow_only(id, op);
  settle_flags();
  out_of_scratch(op.b);
  const bool logic = kind == ir::RmwOp::And || kind == ir::RmwOp::Or || kind == ir::RmwOp::Xor;
  const bool loop = logic && is_used(id);
  Access access = allocate_access(op, mem, true, loop, true);
  const u32 recovery = new_recovery(&op);
  ir::AccessRecord& record = recovery_[recovery].access;
  record.value = location(operand(op.b, op.type));
  const Operand result{.kind = Operand::Gpr, .reg = access.check};
  if (is_used(id)) record.result = location(result);
  emit_check(access, mem.log2_bytes, std::max<unsigned>(mem.align_log2, mem.log2_bytes));
  const Width w = Width(mem.log2_bytes);
  const Operand v = operand(op.b, op.type);
  if (loop) {
    emit_rmw_loop(id, op, access);
  } else if (logic) {
    const Alu alu = kind == ir::RmwOp::And ? Alu::And : kind == ir::RmwOp::Or ? Alu::Or : Alu::Xor;
    if (v.is_imm32()) {
      hot_.lock_alu_imm(alu, w, access.host(), i32(v.value));
    } else {
      Reg r = v.reg;
      if (v.kind != Operand::Gpr) load(r = access.check, v, width_of(op.type));
      hot_.lock_alu(alu, w, access.host(), r);
    }
  } else {
    load(access.check, v, width_of(op.type));
    if (kind == ir::RmwOp::Sub) hot_.neg(w == Width::q ? Width::q : Width::d, access.check);
    if (kind == ir::RmwOp::Xchg)
      hot_.xchg(w, access.host(), access.check);
    else
      hot_.lock_xadd(w, access.host(), access.check);
    define(id, access.check, op.type == Type::I32);
  }
  finish_access(access, recovery, access_thunk(mem, true, std::max<unsigned>(mem.align_log2, mem.log2_bytes)));
}

/// Old value wanted of a logic operation: a compare-and-exchange loop through rax, which is put back.
void Compiler::emit_rmw_loop(u32 id, const Op& op, const Access& access) {
  const ir::RmwOp kind = ir::RmwOp(op.flags);
  const Alu alu = kind == ir::RmwOp::And ? Alu::And : kind == ir::RmwOp::Or ? Alu::Or : Alu::Xor;
  const Width w = Width(block_->mem(op).log2_bytes);
  Operand v = operand(op.b, op.type);
  if (v.kind == Operand::Gpr && v.reg == rax) v = {.kind = Operand::Slot, .offset = offset_of_spill(kSaveRax)};
  hot_.mov(Width::q, slot(offset_of_spill(kSaveRax)), rax);
  hot_.lea(Width::q, access.addend, access.host());
  if (v.kind == Operand::Constant && !v.is_imm32()) {  // the address register is free now
    load_constant(access.address, v);
    v = {.kind = Operand::Gpr, .reg = access.address};
  }
  hot_.movzx(w, rax, ptr(access.addend));
  const Label again = hot_.new_label();
  hot_.bind(again);
  hot_.mov(Width::q, access.check, rax);
  if (v.kind == Operand::Constant)
    hot_.alu_imm(alu, w, access.check, i32(v.value));
  else if (v.kind == Operand::Slot)
    hot_.alu(alu, w, access.check, slot(v.offset));
  else
    hot_.alu(alu, w, access.check, v.reg);
  hot_.lock_cmpxchg(w, ptr(access.addend), access.check);
  hot_.jcc(Cc::NotEqual, again, true);
  hot_.mov(op.type == Type::I64 ? Width::q : Width::d, access.check, rax);
  hot_.mov(Width::q, rax, slot(offset_of_spill(kSaveRax)));
  define(id, access.check, op.type == Type::I32);
}

void Compiler::emit_cas(u32 id, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  const Ref expected = block_->args[op.b.bits()], desired = block_->args[op.b.bits() + 1];
  if (mem.big_endian || mem.log2_bytes > 3) return emit_slow_only(id, op);
  settle_flags();
  out_of_scratch(expected);
  out_of_scratch(desired);
  Access access = allocate_access(op, mem, true, true, true);
  const u32 recovery = new_recovery(&op);
  ir::AccessRecord& record = recovery_[recovery].access;
  record.expected = location(operand(expected, op.type));
  record.value = location(operand(desired, op.type));
  const Operand result{.kind = Operand::Gpr, .reg = access.check};
  if (is_used(id)) record.result = location(result);
  emit_check(access, mem.log2_bytes, std::max<unsigned>(mem.align_log2, mem.log2_bytes));
  const Operand e = operand(expected, op.type), d = operand(desired, op.type);
  hot_.mov(Width::q, slot(offset_of_spill(kSaveRax)), rax);
  Reg r = d.reg;
  if (d.kind != Operand::Gpr || r == rax) load(r = access.check, d, width_of(op.type));
  load(rax, e, width_of(op.type));
  hot_.lock_cmpxchg(Width(mem.log2_bytes), access.host(), r);
  hot_.mov(op.type == Type::I64 ? Width::q : Width::d, access.check, rax);
  hot_.mov(Width::q, rax, slot(offset_of_spill(kSaveRax)));
  define(id, access.check, op.type == Type::I32);
  finish_access(access, recovery, access_thunk(mem, true, std::max<unsigned>(mem.align_log2, mem.log2_bytes)));
}

/// Accesses that have no inline form: C++ performs them, always.
void Compiler::emit_slow_only(u32 id, const Op& op) {
  const ir::MemInfo& mem = block_->mem(op);
  settle_flags();
  if (op.opcode != Opcode::Ld && !ir::is_vector(op.type)) {
    if (op.opcode == Opcode::Cas)
      out_of_scratch(block_->args[op.b.bits()]), out_of_scratch(block_->args[op.b.bits() + 1]);
    else
      out_of_scratch(op.b);
  }
  Operand result;
  const bool has_result = op.opcode != Opcode::St && is_used(id);
  if (has_result && ir::is_vector(op.type)) result = {.kind = Operand::Vec, .xmm = vec_dest(id)};
  address_of(op, mem, true);
  if (has_result && !ir::is_vector(op.type)) result = {.kind = Operand::Gpr, .reg = temp()};
  const u32 recovery = new_recovery(&op);
  ir::RecoveryPoint& p = recovery_[recovery];
  p.access.result = location(result);
  if (op.opcode == Opcode::Cas) {
    p.access.expected = location(operand(block_->args[op.b.bits()], op.type));
    p.access.value = location(operand(block_->args[op.b.bits() + 1], op.type));
  } else if (op.opcode != Opcode::Ld) {
    p.access.value = location(operand(op.b, op.type));
  }
  hot_.call(request_->thunks->access_slow);
  p.key = offset_in(hot_, hot_.position());
  p.resume = offset_in(hot_, hot_.position());
  side_table_.add(p);
  drop_windows();  // the access may have changed mappings
  may_have_touched_device_ = true;
  if (result.kind == Operand::Gpr)
    define(id, result.reg);
  else if (result.kind == Operand::Vec)
    define_xmm(id, result.xmm);
}

}  // namespace emu::tcg::x86_64
