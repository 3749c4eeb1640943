// SPDX-License-Identifier: Apache-2.0
// The usual case of helpers that programs and kernels use all the time, as leaves (tcg::QuickHelper): memory that the
// first level of the TLB holds, in one page, and nothing that could fault or wait.
//
// quick_helpers.cpp is compiled to use general registers only: guest vectors stay in the host's while it runs.
#pragma once

#include "target/x86/state.h"

namespace emu::x86 {

// With the helpers' arguments.
bool quick_rep_movs(tcg::EnvHeader& env, const u64* args);
bool quick_rep_stos(tcg::EnvHeader& env, const u64* args);
bool quick_cmpxchg16b(tcg::EnvHeader& env, const u64* args);
bool quick_read_flags(tcg::EnvHeader& env, const u64* args);
bool quick_load_mxcsr(tcg::EnvHeader& env, const u64* args);
bool quick_store_mxcsr(tcg::EnvHeader& env, const u64* args);
bool quick_mmx_read(tcg::EnvHeader& env, const u64* args);
bool quick_mmx_write(tcg::EnvHeader& env, const u64* args);
bool quick_evex_load(tcg::EnvHeader& env, const u64* args);
bool quick_evex_store(tcg::EnvHeader& env, const u64* args);

// Pure helpers with the host's own instruction, which every host of translated code has.
u64 general_crc32(tcg::EnvHeader& env, const u64* args);
u64 general_pdep(tcg::EnvHeader& env, const u64* args);
u64 general_pext(tcg::EnvHeader& env, const u64* args);

}  // namespace emu::x86
