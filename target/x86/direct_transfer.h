// SPDX-License-Identifier: Apache-2.0
// Transfers of control in the forms that 64-bit kernels use all the time, done without leaving generated code.
//
// Every function either does the whole transfer, exactly as the helper of that name, and returns true; or it has
// changed nothing and returns false. It refuses whatever is rare: faults, other modes, TF, a waiting signal that would
// become deliverable, a descriptor that is not marked accessed, memory that the first-level TLB does not hold.
//
// direct_transfer.cpp is compiled to use general registers only: guest vectors stay in the host's while it runs.
#pragma once

#include "target/x86/state.h"

namespace emu::x86 {

// As tcg::TransferHelper::direct, with the helpers' arguments.
bool direct_syscall(tcg::EnvHeader& env, const u64* args);
bool direct_sysret(tcg::EnvHeader& env, const u64* args);
bool direct_iret(tcg::EnvHeader& env, const u64* args);
bool direct_software_int(tcg::EnvHeader& env, const u64* args);

/// What goes through a gate of the IDT.
struct DirectEvent {
  u8 vector = 0;
  bool from_software = false;  ///< INT n: the gate's privilege counts
  bool is_fault = false;       ///< RF is set in the saved flags
  bool has_error = false;
  u32 error = 0;
  u64 return_pc = 0;
};
bool direct_deliver(X86State& s, const DirectEvent& event);

}  // namespace emu::x86
