// SPDX-License-Identifier: Apache-2.0
// Shared TLB checks: the first of several accesses (or probes) off one base checks the bytes of all of them, the others
// use its host address and check nothing. Where the check fails for good (the bytes lie on two pages, or not in RAM)
// the instruction is executed again in a block without windows. So is one whose access by itself must be performed by
// C++ while a window is in use: that may change mappings. The instruction has touched no device by then: such an access
// opens no window behind one that may have.
#include <algorithm>

#include "tcg/host/x86_64/compiler.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr i32 kSpan = 128;  ///< wider windows lie on two pages more often
constexpr i32 kFar = 1 << 16;
constexpr size_t kOpenWindows = 4;

bool is_write(const Op& op, const ir::MemInfo& mem) { return op.opcode != Opcode::Ld || mem.write_intent; }

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
    if (op.opcode != Opcode::Ld && op.opcode != Opcode::St && op.opcode != Opcode::Probe) continue;
    const ir::MemInfo& mem = block_->mem(op);
    if (!op.a.is_value() || mem.align_log2 || mem.log2_bytes > 5 || mem.order == ir::Order::SeqCst) continue;
    if (ir::is_vector(op.type) && (mem.log2_bytes < (op.opcode == Opcode::St ? 4 : 2) || mem.big_endian)) continue;
    const bool write = is_write(op, mem);
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
  if (opens && (left == 1 || may_have_touched_device_)) return false;
  const ir::MemInfo& mem = block_->mem(op);
  const i32 own = root_of(op.a).offset;
  if (opens) settle_flags();
  if (!opens) {
    hold(w.reg);
    ++result_->shared_checks;
  }
  Transfer transfer;
  if (op.opcode == Opcode::St) transfer.v = prepare_store(op);
  Reg free = kNoReg;  // for what is loaded: a register that the check has used
  if (opens) {
    const Access access = open_window(w, op, own);
    free = access.check != kNoReg ? access.check : kAddress;
  }
  if (op.opcode == Opcode::Ld) {
    const u8 hint = values_[id].hint;
    const bool needs_temp = !ir::is_vector(op.type) && (hint == kNoHostRegister || !is_free(Reg(hint), now_));
    transfer = prepare_load(id, op, !needs_temp ? kNoReg : opens ? free : temp());
  }
  if (op.opcode != Opcode::Probe) emit_transfer(hot_, transfer, ptr(w.reg, own + mem.disp - w.low), op);
  if (op.opcode == Opcode::Ld) define_loaded(id, op, transfer);
  if (left == 1) drop_window(w.reg);
  return true;
}

/// The check of [base + low, base + high), before which everything is allocated: its stub goes back to where the
/// address is made. Leaves the host address of base + low in w.reg.
Compiler::Access Compiler::open_window(Window& w, const Op& op, i32 own) {
  const ir::MemInfo& mem = block_->mem(op);
  take(kAddress);  // a base that was there is read from elsewhere, also by the cold part
  release(kAddress);
  Access access;
  access.write = w.write;
  access.view = w.view;
  access.addend = temp(1u << kAddress);
  for (const Reg r : kScratch) {
    if (r != kAddress && !(held_ >> r & 1) && !holds_window(r) && is_free(r, now_ - 1)) access.check = r;
  }
  if (access.check != kNoReg) take(access.check);
  w.reg = access.addend;
  window_regs_ |= 1u << w.reg;

  Stub stub;
  stub.kind = Stub::Window;
  stub.resume = hot_.position();
  ir::MemInfo first = mem;
  first.disp = w.low - own;
  access.address = address_of(op, first, /*copy=*/access.check == kNoReg);
  const Operand base = operand(op.a, Type::I64);
  stub.recovery = new_recovery(&op);
  recovery_[stub.recovery].access.unshares = true;
  emit_check_of(access, u32(w.high - w.low), 0);
  hot_.alu(Alu::Add, Width::q, access.addend, access.address);
  stub.from = access.miss;
  stub.address = base.kind == Operand::Gpr ? base.reg : kNoReg;
  stub.base_slot = base.offset;
  stub.disp = mem.disp;
  const bool has_thunk = mem.view == ir::kCurrentView && mem.log2_bytes <= 4;
  const bool write = is_write(op, mem);
  if (has_thunk) stub.thunk = request_->thunks->window[w.reg - r9][write][mem.log2_bytes];
  if (stub.thunk == nullptr) stub.thunk = access_thunk(mem, write, 0);
  stubs_.push_back(stub);
  return access;
}

/// Fills the TLB with the access's own page and goes back to the check. Where that would not help, nothing comes back.
void Compiler::emit_window_stub(const Stub& stub) {
  if (stub.address != kNoReg) {
    cold_.lea(Width::q, kAddress, ptr(stub.address, stub.disp));
  } else {
    cold_.mov(Width::q, kAddress, slot(stub.base_slot));
    if (stub.disp) cold_.lea(Width::q, kAddress, ptr(kAddress, stub.disp));
  }
  cold_.call(stub.thunk);
  ir::RecoveryPoint& p = recovery_[stub.recovery];
  p.key = offset_in(cold_, cold_.position());
  p.retry = p.key;
  cold_.jmp(hot_.exec_base() + stub.resume);
  side_table_.add(p);
}

}  // namespace emu::tcg::x86_64
