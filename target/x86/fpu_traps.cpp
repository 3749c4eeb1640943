// SPDX-License-Identifier: Apache-2.0
// Unmasked floating-point exceptions: #XM, and x87 instructions where the control word unmasks one. SDM vol. 1, 8.5 to
// 8.7 and 11.5.
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/fpu_image.h"
#include "target/x86/mode_key.h"
#include "target/x86/simd_exceptions.h"
#include "tcg/interp/x87.h"

namespace emu::x86 {

using ir::X87Op;
using target::Access;
using target::AccessStatus;

namespace {

constexpr u16 kExceptionFlags = 0x3f;
constexpr u16 kPrecision = 0x20;  ///< the one whose result is delivered all the same

X87Op op_of(u64 packed) { return X87Op(packed & 0xffff); }
bool pops(u64 packed) { return packed >> 24 & 1; }
bool waits(X87Op op) { return op != X87Op::Init && op != X87Op::ClearExceptions; }

}  // namespace

/// After a change of MXCSR or the x87 control word: which exceptions are unmasked decides how code is translated.
void X86Cpu::fp_masks_changed() {
  if (asserts_ferr_ && x87_pending() == 0) release_ferr();
  if (make_static_mode(*s_) == s_->static_mode) return;
  update_mode();
  if (s_->hdr.leave == tcg::kLeaveNot) s_->hdr.leave = tcg::kLeaveAfterInsn;
}

u64 X86Cpu::helper_simd_begin(const u64*) {
  s_->mxcsr |= s_->hdr.fp_control & kExceptionFlags;
  s_->hdr.fp_control &= ~u32(kExceptionFlags);
  return 0;
}

u64 X86Cpu::helper_simd_end(const u64* args) {
  const auto op = ir::VecOp(args[0] & 0xffff);
  const u32 computed = s_->hdr.fp_control & kExceptionFlags;
  if (op >= ir::VecOp::kCount) return finish_simd(computed);
  const u8* const slots = s_->vec_tmp[0].bytes;
  const SimdExceptions exceptions(op, args[0] >> 16 & 0xff, u8(args[0] >> 24),
                                  {slots, slots + 32, s_->vec_tmp[1].bytes});
  if (!exceptions.decide(s_->mxcsr)) return finish_simd(computed);
  return finish_simd(exceptions.flags(s_->mxcsr), exceptions.has_steps());
}

/// SDM vol. 1, 11.5.2 and 11.5.3. `are_settled`: of flags that were set in steps none is to be taken back.
u64 X86Cpu::finish_simd(u32 flags, bool are_settled) {
  constexpr u32 kBeforeComputation = 7;  // IE, DE, ZE: nothing is computed if one is unmasked
  const u32 unmasked = flags & ~(s_->mxcsr >> 7);
  if (unmasked == 0) return 0;
  if ((unmasked & kBeforeComputation) && !are_settled) flags &= kBeforeComputation;
  s_->mxcsr |= flags;
  s_->hdr.fp_control &= ~u32(kExceptionFlags);
  return raise(s_->cr4 & kCr4OSXMMEXCPT ? kXM : kUD);
}

// --- x87 ------------------------------------------------------------------------------------------------------------

/// Flags of unmasked exceptions.
u16 X86Cpu::x87_pending() const {
  return FpuImage(s_->hdr).status() & ~s_->hdr.fpu_control & kExceptionFlags;
}

/// What a waiting instruction does first. False: #MF.
bool X86Cpu::check_x87() {
  if (x87_pending() == 0) {
    if (asserts_ferr_) release_ferr();
    return true;
  }
  if (!(s_->cr0 & kCr0NE) && fpu_error_.set_ferr) return report_through_ferr();
  return raise(kMF);
}

/// SDM vol. 1, 8.7.2: FERR# is asserted, and unless IGNNE# is, the instruction waits for an interrupt. Deviation: FERR#
/// comes with the waiting instruction, not with the error.
bool X86Cpu::report_through_ferr() {
  if (!asserts_ferr_) {
    asserts_ferr_ = true;
    fpu_error_.set_ferr(true);
  }
  if (fpu_error_.ignne()) return true;
  halt_ = target::Halt::Halted;
  transfer();
  return false;
}

void X86Cpu::release_ferr() {
  asserts_ferr_ = false;
  fpu_error_.set_ferr(false);
}

u64 X86Cpu::helper_x87_pending(const u64*) {
  check_x87();
  return 0;
}

/// Runs an operation under the guest's masks. Errors that IGNNE# has it ignore are parked: the host's unit knows no
/// such pin.
X86Cpu::X87Run X86Cpu::run_x87(X87Op op, unsigned reg, u64 a, u64 b) {
  const u16 ignored = waits(op) ? x87_pending() : u16(0);
  if (ignored != 0) FpuImage(s_->hdr).set_status(FpuImage(s_->hdr).status() & ~ignored);
  const u64 result = ir::run_x87_unmasked(op, reg, a, b, s_->hdr);
  const u16 raised = x87_pending();
  if (ignored != 0) FpuImage(s_->hdr).set_status(FpuImage(s_->hdr).status() | ignored);
  return {result, raised};
}

u64 X86Cpu::helper_x87_op(const u64* args) {
  const X87Op op = op_of(args[0]);
  if (waits(op) && !check_x87()) return 0;
  settle_fpu_pointers(*s_);  // while what the instruction before left is still pending
  const u32 control = s_->hdr.fpu_control;
  const auto [result, raised] = run_x87(op, unsigned(args[0] >> 16 & 7), args[1], args[2]);
  if (op == X87Op::Init) set_fpu_pointers({});
  if ((control ^ s_->hdr.fpu_control) & kExceptionFlags) fp_masks_changed();
  if (asserts_ferr_ && x87_pending() == 0) release_ferr();
  if (raised & ~kPrecision) return bit64(63);
  if (pops(args[0])) run_x87(X87Op::Pop, 0, 0, 0);
  return result;
}

u64 X86Cpu::helper_x87_store(const u64* args) {
  const unsigned log2 = unsigned(args[0] >> 16 & 7), bytes = log2 == 4 ? 10 : 1u << log2;
  const u64 address = wrap_operand(args[1]);
  settle_fpu_pointers(*s_);
  if (!check_x87() || memory_->probe(address, bytes, Access::Store, current_view()) != AccessStatus::Ok) return 0;
  u8 data[16];
  const auto [result, raised] = run_x87(op_of(args[0]), 0, 0, 0);
  if (log2 == 4) {
    std::memcpy(data, FpuImage(s_->hdr).st(0), 10);
  } else {
    std::memcpy(data, &result, 8);
  }
  if (raised & ~kPrecision) return 0;
  if (memory_->store_bytes(address, std::span<const u8>(data, bytes), current_view()) != AccessStatus::Ok) return 0;
  if (pops(args[0])) run_x87(X87Op::Pop, 0, 0, 0);
  return 0;
}

}  // namespace emu::x86
