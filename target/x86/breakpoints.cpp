// SPDX-License-Identifier: Apache-2.0
// Debug exceptions: breakpoints through DR0 to DR3, single step. SDM vol. 3, "Debug, branch profile, TSC...".
//
// While DR7 enables something, EnvHeader::guest_debug has the accelerator ask before each instruction and tell of each
// access to a watched page, and the mode key makes blocks of one instruction. Otherwise nothing is spent on them.
#include "target/x86/cpu.h"
#include "target/x86/eflags.h"

namespace emu::x86 {

using target::Access;

namespace {

constexpr u32 kHits = 15;            // B0 to B3
constexpr u32 kBS = bit(14);
enum Kind : unsigned { kExecute = 0, kWrites = 1, kPorts = 2, kAccesses = 3 };

Kind kind_of(u64 dr7, unsigned n) { return Kind(dr7 >> (16 + 4 * n) & 3); }
u64 length_of(u64 dr7, unsigned n) {
  constexpr u64 kLengths[] = {1, 2, 8, 4};
  return kLengths[dr7 >> (18 + 4 * n) & 3];
}
bool is_enabled(u64 dr7, unsigned n) { return dr7 >> (2 * n) & 3; }

/// Whether the breakpoint's bytes, which begin at a multiple of their number, and `bytes` at `at` have one in common.
bool overlaps(u64 dr7, unsigned n, u64 address, u64 at, u64 bytes) {
  const u64 length = length_of(dr7, n), first = address & ~(length - 1);
  return at - first < length || first - at < bytes;
}

}  // namespace

bool X86Cpu::has_breakpoints() const { return s_->dr[7] & 0xff; }

/// After each write of DR7, DR0 to DR3 or CR4.DE, and of what is pending.
void X86Cpu::set_guest_debug(u32 set, u32 clear) {
  u32& now = s_->hdr.guest_debug;
  const u32 before = now;
  now = (now & ~clear) | set;
  if (now == before) return;
  if (services_) services_->mode_changed();
}

void X86Cpu::debug_registers_written(bool was_armed) {
  const bool armed = has_breakpoints();
  set_guest_debug(armed ? u32(kDebugArmed) : 0, armed ? 0 : u32(kDebugArmed));
  // Pages that are watched now may be in the tables that generated code searches.
  if ((armed || was_armed) && services_) services_->flush_all();
}

void X86Cpu::debug_hits(u32 hits) {
  if (hits == 0) return;
  debug_pending_ |= hits;
  set_guest_debug(kDebugPending, 0);
}

bool X86Cpu::watches_data(u64 va) const {
  const u64 dr7 = s_->dr[7], page = va & ~u64(4095);
  for (unsigned n = 0; n < 4; ++n) {
    if (is_enabled(dr7, n) && (kind_of(dr7, n) & 1) && overlaps(dr7, n, s_->dr[n], page, 4096)) return true;
  }
  return false;
}

void X86Cpu::data_accessed(u64 va, u64 bytes, Access access) {
  const u64 dr7 = s_->dr[7];
  u32 hits = 0;
  for (unsigned n = 0; n < 4; ++n) {
    const Kind kind = kind_of(dr7, n);
    if (!is_enabled(dr7, n) || !(kind == kAccesses || (kind == kWrites && access == Access::Store))) continue;
    if (overlaps(dr7, n, s_->dr[n], va, bytes)) hits |= 1u << n;
  }
  debug_hits(hits);
}

/// I/O breakpoints, with CR4.DE.
void X86Cpu::port_accessed(u16 port, unsigned bytes) {
  if (s_->hdr.guest_debug == 0 || !(s_->cr4 & kCr4DE)) return;
  const u64 dr7 = s_->dr[7];
  u32 hits = 0;
  for (unsigned n = 0; n < 4; ++n) {
    if (!is_enabled(dr7, n) || kind_of(dr7, n) != kPorts) continue;
    if (overlaps(dr7, n, s_->dr[n], port, bytes)) hits |= 1u << n;
  }
  debug_hits(hits);
}

u32 X86Cpu::instruction_breakpoints() const {
  const u64 dr7 = s_->dr[7];
  u32 hits = 0;
  for (unsigned n = 0; n < 4; ++n) {
    if (is_enabled(dr7, n) && kind_of(dr7, n) == kExecute && s_->dr[n] == s_->hdr.pc) hits |= 1u << n;
  }
  return hits;
}

/// #DB at hdr.pc. Of DR6 it replaces B0 to B3 and sets what else has happened; DR7.GD is cleared for the handler.
void X86Cpu::raise_debug(u32 conditions, Event::Kind kind) {
  s_->dr[6] = (s_->dr[6] & ~u64(kHits)) | conditions;
  s_->dr[7] &= ~bit64(13);
  debug_pending_ = 0;
  set_guest_debug(0, kDebugPending);
  raise_now(kDB, false, 0, kind);
}

bool X86Cpu::before_instruction() {
  X86State& s = *s_;
  const bool held = s.inhibit_interrupts == kShadowOfStack;
  if (debug_pending_ != 0 && !held) {
    raise_debug(debug_pending_, Event::Kind::Trap);
    return true;
  }
  stepped_from_ = s.rflags_system & kTF ? SteppedFrom::Trapping : SteppedFrom::Free;
  if (!has_breakpoints() || held || (s.rflags_system & kRF)) return false;
  const u32 hits = instruction_breakpoints();
  if (hits == 0) return false;
  raise_debug(hits, Event::Kind::Trap);  // by what it saves of RF
  return true;
}

/// The one instruction of a block is complete. True: #DB was delivered.
bool X86Cpu::instruction_stepped() {
  X86State& s = *s_;
  // Blocks are single because of TF alone where before_instruction() was not asked.
  const bool trapping = stepped_from_ != SteppedFrom::Free;
  stepped_from_ = SteppedFrom::Unknown;
  s.rflags_system &= ~u64(kRF);
  set_guest_debug(0, kDebugAlone);
  if (s.inhibit_interrupts == kShadowOfStack) return false;  // the next boundary will do
  const u32 conditions = debug_pending_ | (trapping ? kBS : 0);
  if (conditions == 0) return false;
  raise_debug(conditions, Event::Kind::Trap);
  return true;
}

/// What it has hit before the fault is not told.
void X86Cpu::instruction_faulted() {
  stepped_from_ = SteppedFrom::Unknown;
  if (s_->hdr.guest_debug == 0) return;
  debug_pending_ = 0;
  set_guest_debug(0, kDebugPending | kDebugAlone);
}

/// Whether a repeated string instruction stops after an element, with more to come: for events, which let it start
/// again with what is left, as a debug exception does; and for a debugger that steps.
bool X86Cpu::string_stops() {
  if (s_->rflags_system & kTF) debug_hits(kBS);
  if (debug_pending_ != 0) s_->rflags_system |= kRF;  // in the image that the trap saves: the instruction goes on later
  return debug_pending_ != 0 || exit_requested() || is_stepped_;
}

}  // namespace emu::x86
