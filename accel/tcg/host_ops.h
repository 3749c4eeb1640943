// SPDX-License-Identifier: Apache-2.0
// What depends on the host: atomic operations on guest RAM at addresses of any alignment it can do, and its
// floating-point control word.
#pragma once

#include "tcg/ir/types.h"
#include "util/types.h"

namespace emu::accel {

#if defined(__x86_64__)
#define EMU_HOST_ATOMIC16 __attribute__((target("cx16")))
#else
#define EMU_HOST_ATOMIC16
#endif
/// The control word of the host's floating-point unit as C++ wants it (tcg/abi/env.h, fp_control_host).
inline u32 host_fp_control() {
#if defined(__x86_64__)
  return __builtin_ia32_stmxcsr();
#else
  return 0;
#endif
}

/// Aligned to 16. Returns the old value.
EMU_HOST_ATOMIC16 inline u128 atomic_cas16(u8* at, u128 expected, u128 desired) {
  return __sync_val_compare_and_swap(reinterpret_cast<u128*>(at), expected, desired);
}
#undef EMU_HOST_ATOMIC16

template <typename T>
u64 atomic_cas_as(u8* at, u64 expected, u64 desired) {
  T old = T(expected);
  __atomic_compare_exchange_n(reinterpret_cast<T*>(at), &old, T(desired), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return old;
}

/// 1, 2, 4 or 8 bytes; returns the old value.
inline u64 atomic_cas(u8* at, unsigned bytes, u64 expected, u64 desired) {
  switch (bytes) {
    case 1: return atomic_cas_as<u8>(at, expected, desired);
    case 2: return atomic_cas_as<u16>(at, expected, desired);
    case 4: return atomic_cas_as<u32>(at, expected, desired);
    default: return atomic_cas_as<u64>(at, expected, desired);
  }
}

template <typename T>
u64 atomic_rmw_as(ir::RmwOp op, u8* at, u64 operand) {
  T* p = reinterpret_cast<T*>(at);
  const T v = T(operand);
  switch (op) {
    case ir::RmwOp::Add: return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
    case ir::RmwOp::Sub: return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);
    case ir::RmwOp::And: return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);
    case ir::RmwOp::Or: return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);
    case ir::RmwOp::Xor: return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST);
    case ir::RmwOp::Xchg: return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
  }
  return 0;
}

inline u64 atomic_rmw(ir::RmwOp op, u8* at, unsigned bytes, u64 operand) {
  switch (bytes) {
    case 1: return atomic_rmw_as<u8>(op, at, operand);
    case 2: return atomic_rmw_as<u16>(op, at, operand);
    case 4: return atomic_rmw_as<u32>(op, at, operand);
    default: return atomic_rmw_as<u64>(op, at, operand);
  }
}

/// What atomic_rmw leaves in memory, for memory that cannot do it (devices).
constexpr u64 rmw_result(ir::RmwOp op, u64 old, u64 operand) {
  switch (op) {
    case ir::RmwOp::Add: return old + operand;
    case ir::RmwOp::Sub: return old - operand;
    case ir::RmwOp::And: return old & operand;
    case ir::RmwOp::Or: return old | operand;
    case ir::RmwOp::Xor: return old ^ operand;
    case ir::RmwOp::Xchg: return operand;
  }
  return 0;
}

}  // namespace emu::accel
