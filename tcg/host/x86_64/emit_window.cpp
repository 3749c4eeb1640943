// SPDX-License-Identifier: Apache-2.0
// Shared TLB checks: the first of several accesses off one base checks the bytes of all of them, the others use its
// host address. Where the check fails (the bytes lie on two pages, or not in RAM) the address is 0 and each access goes
// its own way in the cold part. An access that C++ performs ends all windows, since it may have changed mappings.
#include <algorithm>

#include "tcg/host/x86_64/compiler.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr i32 kSpan = 128;  ///< wider windows lie on two pages more often
constexpr i32 kFar = 1 << 16;
constexpr size_t kOpenWindows = 4;

}  // namespace

/// What a value is made of by adding constants: the stack pointer after six pushes is the one before, less 48.
Compiler::Root Compiler::root_of(Ref r) const {
  Root root{r.id(), 0};
  for (;;) {
    const Op& sum = block_->ops[root.id];
    const bool is_sum = sum.type == Type::I64 && (sum.opcode == Opcode::Add || sum.opcode == Opcode::Sub);
    if (!is_sum || !sum.a.is_value() || !sum.b.is_constant()) return root;
    if (sum.b.is_pool() && block_->pool[sum.b.pool_index()].pc_relative) return root;
    const i64 c = i64(block_->constant_value(sum.b));
    if (c > kFar || c < -kFar || root.offset > kFar || root.offset < -kFar) return root;
    root = {sum.a.id(), sum.opcode == Opcode::Add ? root.offset + i32(c) : root.offset - i32(c)};
  }
}

void Compiler::find_windows() {
  windows_.assign(1, Window{});
  window_of_.assign(block_->ops.size(), 0);
  if (!request_->share_checks) return;
  u16 open[kOpenWindows] = {};
  size_t next = 0;
  for (u32 i = 1; i < block_->ops.size(); ++i) {
    const Op& op = block_->ops[i];
    if (op.opcode == Opcode::Call) {
      const u32 effects = request_->helpers->helpers[op.c.bits()].effects;
      if (effects != ir::kHelperPure && !(effects & ir::kHelperLeaf)) std::fill(std::begin(open), std::end(open), 0);
    }
    if (op.opcode != Opcode::Ld && op.opcode != Opcode::St) continue;
    const ir::MemInfo& mem = block_->mem(op);
    if (!op.a.is_value() || mem.align_log2 || mem.log2_bytes > 5 || mem.order == ir::Order::SeqCst) continue;
    if (ir::is_vector(op.type) && (mem.log2_bytes < (op.opcode == Opcode::St ? 4 : 2) || mem.big_endian)) continue;
    const bool write = op.opcode == Opcode::St || mem.write_intent;
    const Root root = root_of(op.a);
    if (mem.disp > kFar || mem.disp < -kFar) continue;
    const i32 low = root.offset + mem.disp, high = low + (1 << mem.log2_bytes);
    u16 found = 0;
    size_t place = next;
    for (size_t k = 0; k < kOpenWindows; ++k) {
      if (open[k] == 0 || windows_[open[k]].base != root.id || windows_[open[k]].view != mem.view) continue;
      place = k;
      const Window& w = windows_[open[k]];
      const bool fits = i64(std::max(w.high, high)) - std::min(w.low, low) <= kSpan;
      if (fits && (w.write || !write)) found = open[k];
    }
    if (found == 0) {
      if (windows_.size() == 0xffff) return;
      if (place == next) next = (next + 1) % kOpenWindows;
      found = open[place] = u16(windows_.size());
      windows_.push_back({.base = root.id, .view = mem.view, .write = write, .low = low, .high = high});
    }
    Window& w = windows_[found];
    w.low = std::min(w.low, low);
    w.high = std::max(w.high, high);
    ++w.members;
    window_of_[i] = found;
  }
}

void Compiler::drop_window(Reg r) {
  window_regs_ &= ~(1u << r);
  for (Window& w : windows_) {
    if (w.reg == r) w.reg = kNoReg;
  }
}

void Compiler::drop_windows() {
  for (const Reg r : kScratch) {
    if (holds_window(r)) drop_window(r);
  }
}

/// False: the access shares with none and is to be emitted by itself.
bool Compiler::emit_in_window(u32 id, const Op& op) {
  const u16 index = window_of_[id];
  if (index == 0) return false;
  Window& w = windows_[index];
  const u32 left = w.members--;
  const bool opens = w.reg == kNoReg;
  if (opens && left == 1) return false;
  const ir::MemInfo& mem = block_->mem(op);
  const bool load = op.opcode == Opcode::Ld;
  const i32 own = root_of(op.a).offset;

  WindowAccess wa;
  wa.op = id;
  wa.opens = opens;
  wa.write = w.write;
  wa.low = w.low - own;
  if (!opens) hold(w.reg);
  if (!load) wa.transfer.v = prepare_store(op);
  Access access;
  if (opens) {
    take(kAddress);  // a base that was there is read from elsewhere, also by the cold part
    release(kAddress);
    ir::MemInfo first = mem;
    first.disp = w.low - own;
    access.write = w.write;
    access.view = w.view;
    access.address = address_of(op, first, true);
    access.addend = temp(1u << kAddress);
    for (const Reg r : kScratch) {
      if (!(held_ >> r & 1) && !holds_window(r) && is_free(r, now_ - 1)) access.check = r;
    }
    if (access.check != kNoReg) take(access.check);
    w.reg = access.addend;
    window_regs_ |= 1u << w.reg;
  } else {
    take(kAddress);  // the cold part passes the address there
    release(kAddress);
  }
  wa.window = w.reg;
  if (load) {
    // The destination may be the register that the check used, or that the address was in.
    const u8 hint = values_[id].hint;
    const bool hinted = hint != kNoHostRegister && is_free(Reg(hint), now_);
    Reg d = kNoReg;
    if (!ir::is_vector(op.type) && !hinted) {
      if (access.check != kNoReg)
        d = access.check;
      else
        d = opens ? kAddress : temp();
    }
    wa.transfer = prepare_load(id, op, d);
  }
  wa.base = operand(op.a, Type::I64);
  const u32 recovery = new_recovery(&op);
  if (load) {
    const Operand result{
        .kind = wa.transfer.dst == kNoReg ? Operand::Vec : Operand::Gpr, .reg = wa.transfer.dst, .xmm = wa.transfer.x};
    if (is_used(id)) recovery_[recovery].access.result = location(result);
  } else {
    recovery_[recovery].access.value = location(wa.transfer.v);
  }

  Stub stub;
  stub.kind = Stub::Window;
  stub.recovery = recovery;
  if (opens) {
    emit_window_check(access, u32(w.high - w.low));
    wa.check = access.retry;
    if (access.check == kNoReg) wa.borrowed = access.address;
    stub.from = access.miss;
  } else {
    hot_.test(Width::q, w.reg, w.reg);
    stub.from = hot_.jcc_forward(Cc::Equal);
  }
  emit_transfer(hot_, wa.transfer, ptr(w.reg, own + mem.disp - w.low), op);
  wa.resume = hot_.position();
  stub.windows = window_regs_;
  stub.view = mem.view;
  stub.extra = u32(window_accesses_.size());
  window_accesses_.push_back(wa);
  stubs_.push_back(stub);
  if (load) define_loaded(id, op, wa.transfer);
  if (left == 1) drop_window(w.reg);
  return true;
}

/// Checks `bytes` bytes from the address; leaves their host address in access.addend.
void Compiler::emit_window_check(Access& access, u32 bytes) {
  emit_check_of(access, bytes, 0);
  hot_.alu(Alu::Add, Width::q, access.addend, access.address);
}

/// The access by itself. The window's register is scratch here and becomes 0 again: that is what brought us here, or
/// what the failed check has to leave.
void Compiler::emit_window_stub(const Stub& stub) {
  const WindowAccess& wa = window_accesses_[stub.extra];
  const Op& op = block_->ops[wa.op];
  const ir::MemInfo& mem = block_->mem(op);
  ir::RecoveryPoint& p = recovery_[stub.recovery];
  const auto address = [&](i32 disp) {
    if (wa.base.kind == Operand::Gpr) return cold_.lea(Width::q, kAddress, ptr(wa.base.reg, disp));
    cold_.mov(Width::q, kAddress, slot(wa.base.offset));
    if (disp) cold_.lea(Width::q, kAddress, ptr(kAddress, disp));
  };
  const auto transfer = [&] {
    emit_transfer(cold_, wa.transfer, ptr(wa.window, kAddress), op);
    cold_.mov_imm(wa.window, 0);
    cold_.jmp(hot_.exec_base() + wa.resume);
  };
  const bool write = op.opcode == Opcode::St || mem.write_intent;
  const Label filled = cold_.new_label(), again = cold_.new_label();
  address(mem.disp);
  cold_.bind(again);
  const bool has_thunk = mem.view == ir::kCurrentView && mem.log2_bytes <= 4;
  const u8* thunk = has_thunk ? request_->thunks->window[wa.window - r9][write][mem.log2_bytes] : nullptr;
  if (thunk != nullptr) {
    cold_.call(thunk);
    p.key = offset_in(cold_, cold_.position());
    cold_.jmp(filled, /*is_near=*/true);
    transfer();
    cold_.bind(filled);
  } else {
    const Label miss = emit_lone_check(wa.window, mem, write);
    transfer();
    cold_.bind(miss);
    cold_.call(access_thunk(mem, write, 0));
    p.key = offset_in(cold_, cold_.position());
  }
  p.retry = i64(cold_.here() - hot_.exec_base());
  if (wa.opens) {  // once the entry is there, the whole window may be
    address(wa.low);
    cold_.jmp(hot_.exec_base() + wa.check);
  } else {
    cold_.jmp(again);
  }
  p.resume = i64(cold_.here() - hot_.exec_base());
  for (const Reg r : kScratch) {
    if (stub.windows >> r & 1) cold_.mov_imm(r, 0);
  }
  cold_.jmp(hot_.exec_base() + wa.resume);
  side_table_.add(p);
}

/// What ThunkTable::window does, for the sizes and views that it is not for. Goes to the label if the check fails.
Label Compiler::emit_lone_check(Reg index, const ir::MemInfo& mem, bool write) {
  Access access;
  access.addend = index;
  access.view = mem.view;
  const Mem tag = tlb_word(access, write ? offsetof(TlbEntry, wr) : offsetof(TlbEntry, rd));
  const Label miss = cold_.new_label(), passed = cold_.new_label();
  cold_.rorx(Width::q, index, kAddress, kPageBits - 5);
  cold_.alu_imm32(Alu::And, Width::d, index, i32((kTlbEntries - 1) * sizeof(TlbEntry)));
  if (mem.view != ir::kCurrentView) {
    cold_.alu(Alu::Add, Width::q, index, slot(i32(offsetof(EnvHeader, views)) + mem.view * 8));
  }
  cold_.alu(Alu::Xor, Width::q, kAddress, tag);
  cold_.alu_imm(Alu::Cmp, Width::q, kAddress, i32(kPageSize) - (1 << mem.log2_bytes));
  cold_.jcc(Cc::BelowEqual, passed);
  cold_.alu(Alu::Xor, Width::q, kAddress, tag);
  cold_.jmp(miss);
  cold_.bind(passed);
  cold_.alu(Alu::Xor, Width::q, kAddress, tag);
  cold_.mov(Width::q, index, tlb_word(access, offsetof(TlbEntry, addend)));
  return miss;
}

}  // namespace emu::tcg::x86_64
