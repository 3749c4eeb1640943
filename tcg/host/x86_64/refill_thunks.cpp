// SPDX-License-Identifier: Apache-2.0
// Called from the cold stub of an access whose check failed, with the guest address in r11. The thunk serves what needs
// nothing but tables: a page of RAM that the second level knows, with the permission, and for a store one that nobody
// wants to hear of (no code, no clear dirty bit). It then fills the first level as ViewTable::install and
// SoftTlb::own_write do and returns, with every register as it was, to the stub's jump back to the check, which cannot
// fail again: the access lies in the page, and aligned if that was asked for. All else goes on to C++, untouched.
//
// Write permission needs no fence against a translator that sets the page's code bit: tables belong to this thread, and
// a request to drop the permission is queued after the bit was set. Either the bit is seen here, or the request comes
// after.
#include "tcg/host/x86_64/refill_thunks.h"

#include <cstddef>

namespace emu::tcg::x86_64 {
namespace {

static_assert(sizeof(TlbEntry) == 32 && sizeof(L2Entry) == 32 && sizeof(WriteOwner) == 16);
static_assert(kL2Sets * kL2Ways * sizeof(L2Entry) == u64(1) << 19 && kL2Ways == 4);
static_assert(kL2Global == 8 && sizeof(View::live_for_load[0]) == 8);  // the flag is the byte offset of the global word

constexpr unsigned kL2SetShift = 7;   ///< a set is 128 bytes
constexpr unsigned kTouchedShift = 6; ///< kL2Global << 6 = sizeof touched[0]
static_assert(sizeof(View::touched[0]) == u64(kL2Global) << kTouchedShift);
constexpr i32 kPageMask = -i32(kPageSize);
constexpr i32 kIndexMask = kTlbEntries - 1;

class RefillEmitter {
 public:
  RefillEmitter(Assembler& a, const RegisterMap& map, const u8* slow) : a_(a), map_(map), slow_(slow) {}

  /// The part behind the entries of all sizes: r9 is saved already.
  void body(bool store);
  const u8* entry(unsigned log2_bytes, bool aligned);

 private:
  /// Below the return address.
  static Mem env(i64 offset) { return ptr(kEnv, offset + 8); }
  void save(Reg r) {
    if (map_.gpr_home[r] >= 0) a_.mov(Width::q, env(map_.gpr_home[r]), r);
  }
  void restore(Reg r) {
    if (map_.gpr_home[r] >= 0) a_.mov(Width::q, r, env(map_.gpr_home[r]));
  }
  void find_entry(Label miss);
  void check_state(bool store, Label miss);
  void check_tracking(Label miss);
  void mark_touched();
  void fill_for_load();
  void fill_for_store();
  void invalid_of(Reg index);

  Assembler& a_;
  const RegisterMap& map_;
  const u8* slow_;
  const u8* body_ = nullptr;
};

/// r9 = the L2 entry of r11's page in this view.
void RefillEmitter::find_entry(Label miss) {
  a_.rorx(Width::q, r9, r11, kPageBits);
  a_.rorx(Width::q, r10, r11, 2 * kPageBits);
  a_.alu(Alu::Xor, Width::d, r9, r10);
  a_.alu_imm(Alu::And, Width::d, r9, kL2Sets - 1);
  a_.shift_imm(Shift::Shl, Width::d, r9, kL2SetShift);
  a_.alu(Alu::Add, Width::q, r9, ptr(kView, offsetof(View, l2)));
  a_.mov(Width::q, r10, r11);
  a_.alu_imm(Alu::And, Width::q, r10, kPageMask);
  a_.alu(Alu::Or, Width::q, r10, ptr(kView, offsetof(View, l2_tag)));
  // Which way it is cannot be predicted: select, do not branch.
  a_.mov(Width::q, rcx, r9);
  for (unsigned way = 1; way < kL2Ways; ++way) {
    a_.lea(Width::q, rax, ptr(r9, way * sizeof(L2Entry)));
    a_.alu(Alu::Cmp, Width::q, r10, ptr(rax));
    a_.cmov(Cc::Equal, Width::q, rcx, rax);
  }
  a_.alu(Alu::Cmp, Width::q, r10, ptr(rcx));
  a_.jcc(Cc::NotEqual, miss);
  a_.mov(Width::q, r9, rcx);
}

/// The entry is of a living generation and allows the access. r10 = kL2Global if it is global, else 0.
void RefillEmitter::check_state(bool store, Label miss) {
  a_.mov(Width::d, rax, ptr(r9, offsetof(L2Entry, state)));
  a_.mov(Width::d, r10, rax);
  a_.alu_imm(Alu::And, Width::d, r10, kL2Global);
  a_.alu_imm(Alu::And, Width::d, rax, i32(kL2GenerationMask | (store ? kStoreFlags : kLoadFlags)));
  const i32 live = store ? offsetof(View, live_for_store) : offsetof(View, live_for_load);
  a_.alu(Alu::Cmp, Width::d, rax, ptr(kView, r10, 0, live));
  a_.jcc(Cc::NotEqual, miss);
}

/// The page holds no code, and has the dirty bits of all who log.
void RefillEmitter::check_tracking(Label miss) {
  a_.mov(Width::q, rax, ptr(r9, offsetof(L2Entry, target)));
  a_.mov(Width::d, rcx, ptr(r9, offsetof(L2Entry, ram_page)));
  a_.alu(Alu::Add, Width::q, rcx, ptr(rax, offsetof(PageTracking, flags_base)));
  a_.movzx(Width::b, rcx, ptr(rcx));
  a_.test_imm(Width::b, rcx, kPageHasCode);
  a_.jcc(Cc::NotEqual, miss);
  a_.not_(Width::d, rcx);
  a_.test(Width::b, ptr(rax, offsetof(PageTracking, logging)), rcx);
  a_.jcc(Cc::NotEqual, miss);
}

/// Takes r10 from check_state; leaves rax = the first-level index, r10 = the first-level entry.
void RefillEmitter::mark_touched() {
  a_.shift_imm(Shift::Shl, Width::d, r10, kTouchedShift);
  a_.alu(Alu::Add, Width::q, r10, kView);
  a_.rorx(Width::q, rax, r11, kPageBits);
  a_.alu_imm(Alu::And, Width::d, rax, kIndexMask);
  a_.mov(Width::d, rcx, rax);
  a_.shift_imm(Shift::Shr, Width::d, rcx, 6);
  a_.lea(Width::q, r10, ptr(r10, rcx, 3, offsetof(View, touched)));
  a_.mov(Width::q, rcx, ptr(r10));
  a_.bts(Width::q, rcx, rax);
  a_.mov(Width::q, ptr(r10), rcx);
  a_.mov(Width::d, r10, rax);
  a_.shift_imm(Shift::Shl, Width::d, r10, 5);
  a_.alu(Alu::Add, Width::q, r10, kView);
}

/// index = tlb_invalid(index)
void RefillEmitter::invalid_of(Reg index) {
  a_.alu_imm(Alu::Cmp, Width::d, index, 1);
  a_.alu(Alu::Sbb, Width::d, index, index);
  a_.alu_imm(Alu::And, Width::d, index, i32(tlb_invalid(0)));
}

void RefillEmitter::fill_for_load() {
  a_.mov(Width::q, rcx, r11);
  a_.alu_imm(Alu::And, Width::q, rcx, kPageMask);
  a_.mov(Width::q, ptr(r10, offsetof(TlbEntry, rd)), rcx);
  invalid_of(rax);
  a_.mov(Width::q, ptr(r10, offsetof(TlbEntry, wr)), rax);
  a_.mov(Width::q, rcx, ptr(r9, offsetof(L2Entry, addend)));
  a_.mov(Width::q, ptr(r10, offsetof(TlbEntry, addend)), rcx);
}

void RefillEmitter::fill_for_store() {
  const Label done = a_.new_label(), other = a_.new_label(), unowned = a_.new_label();
  a_.mov(Width::q, rcx, r11);
  a_.alu_imm(Alu::And, Width::q, rcx, kPageMask);
  a_.mov(Width::q, ptr(r10, offsetof(TlbEntry, rd)), rcx);
  a_.mov(Width::q, ptr(r10, offsetof(TlbEntry, wr)), rcx);
  a_.mov(Width::q, r9, ptr(r9, offsetof(L2Entry, addend)));
  a_.mov(Width::q, ptr(r10, offsetof(TlbEntry, addend)), r9);
  // The owner of write permission: rcx = host page | index, r9 = its record.
  a_.alu(Alu::Add, Width::q, rcx, r9);
  a_.rorx(Width::q, r9, rcx, kPageBits);
  a_.alu_imm(Alu::And, Width::d, r9, kWriteOwners - 1);
  a_.shift_imm(Shift::Shl, Width::d, r9, 4);
  a_.alu(Alu::Add, Width::q, r9, ptr(kView, offsetof(View, write_owners)));
  a_.alu(Alu::Or, Width::q, rcx, rax);
  a_.alu(Alu::Cmp, Width::q, rcx, ptr(r9, offsetof(WriteOwner, host_and_index)));
  a_.jcc(Cc::NotEqual, other);
  a_.alu(Alu::Cmp, Width::q, kView, ptr(r9, offsetof(WriteOwner, view)));
  a_.jcc(Cc::Equal, done);
  a_.bind(other);  // take it from whoever has it: rax = that entry
  a_.mov(Width::q, rax, ptr(r9, offsetof(WriteOwner, view)));
  a_.test(Width::q, rax, rax);
  a_.jcc(Cc::Equal, unowned);
  a_.mov(Width::q, r10, ptr(r9, offsetof(WriteOwner, host_and_index)));
  a_.alu_imm(Alu::And, Width::d, r10, kIndexMask);
  a_.shift_imm(Shift::Shl, Width::d, r10, 5);
  a_.alu(Alu::Add, Width::q, rax, r10);
  a_.mov(Width::q, r10, ptr(rax, offsetof(TlbEntry, wr)));
  a_.alu(Alu::Add, Width::q, r10, ptr(rax, offsetof(TlbEntry, addend)));
  a_.alu(Alu::Xor, Width::q, r10, ptr(r9, offsetof(WriteOwner, host_and_index)));
  a_.alu_imm(Alu::Cmp, Width::q, r10, kIndexMask);
  a_.jcc(Cc::Above, unowned);  // the entry is another page's by now
  a_.mov(Width::d, r10, ptr(r9, offsetof(WriteOwner, host_and_index)));
  a_.alu_imm(Alu::And, Width::d, r10, kIndexMask);
  invalid_of(r10);
  a_.mov(Width::q, ptr(rax, offsetof(TlbEntry, wr)), r10);
  a_.bind(unowned);
  a_.mov(Width::q, ptr(r9, offsetof(WriteOwner, view)), kView);
  a_.mov(Width::q, ptr(r9, offsetof(WriteOwner, host_and_index)), rcx);
  a_.bind(done);
}

void RefillEmitter::body(bool store) {
  const Label miss = a_.new_label();
  a_.align(16);
  body_ = a_.here();
  save(r10);
  save(rax);
  save(rcx);
  find_entry(miss);
  check_state(store, miss);
  if (store) {
    check_tracking(miss);
    // check_tracking leaves r10 alone
  }
  mark_touched();
  store ? fill_for_store() : fill_for_load();
  a_.alu_imm(Alu::Add, Width::q, env(offsetof(EnvHeader, l2_refills)), 1);
  for (const Reg r : {rax, rcx, r9, r10}) restore(r);
  a_.ret();
  a_.bind(miss);
  for (const Reg r : {rax, rcx, r9, r10}) restore(r);
  a_.jmp(slow_);
}

/// Refuses what the access's own check would refuse again.
const u8* RefillEmitter::entry(unsigned log2_bytes, bool aligned) {
  const i32 last = (1 << log2_bytes) - 1;
  a_.align(16);
  const u8* start = a_.here();
  save(r9);
  if (aligned) {
    if (last != 0) {
      a_.test_imm(Width::b, r11, last);
      a_.jcc(Cc::NotEqual, slow_);
    }
  } else if (last != 0) {
    const Label inside = a_.new_label();
    a_.mov(Width::d, r9, r11);
    a_.alu_imm(Alu::And, Width::d, r9, i32(kPageSize - 1));
    a_.alu_imm(Alu::Cmp, Width::d, r9, i32(kPageSize) - 1 - last);
    a_.jcc(Cc::BelowEqual, inside);
    restore(r9);
    a_.jmp(slow_);
    a_.bind(inside);
  }
  a_.jmp(body_);
  return start;
}

/// Where the access's own page is there, what was refused is the window: no refill would help.
const u8* emit_window_thunk(Assembler& a, Reg index, bool store, unsigned log2_bytes, const u8* refill,
                            const u8* slow) {
  const Mem tag = ptr(r15, index, 0, store ? offsetof(TlbEntry, wr) : offsetof(TlbEntry, rd));
  const Label miss = a.new_label();
  a.align(16);
  const u8* start = a.here();
  a.rorx(Width::q, index, r11, kPageBits - 5);
  a.alu_imm32(Alu::And, Width::d, index, i32((kTlbEntries - 1) * sizeof(TlbEntry)));
  a.alu(Alu::Xor, Width::q, r11, tag);
  a.alu_imm(Alu::Cmp, Width::q, r11, i32(kPageSize) - (1 << log2_bytes));
  a.jcc(Cc::Above, miss);
  a.alu(Alu::Xor, Width::q, r11, tag);
  a.jmp(slow);
  a.bind(miss);
  a.alu(Alu::Xor, Width::q, r11, tag);
  a.jmp(refill);
  return start;
}

}  // namespace

void emit_refill_thunks(Assembler& a, const RegisterMap& map, ThunkTable& table) {
  RefillEmitter emit(a, map, table.access_slow);
  for (const bool store : {false, true}) {
    emit.body(store);
    for (unsigned i = 0; i < 5; ++i) {
      (store ? table.store : table.load)[i] = emit.entry(i, false);
      (store ? table.store_aligned : table.load_aligned)[i] = emit.entry(i, true);
      for (const Reg index : {r9, r10}) {
        table.window[index - r9][store][i] =
            emit_window_thunk(a, index, store, i, (store ? table.store : table.load)[i], table.access_slow);
      }
    }
  }
}

}  // namespace emu::tcg::x86_64
