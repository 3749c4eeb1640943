// SPDX-License-Identifier: Apache-2.0
#include "target/x86/helpers.h"

#include "target/x86/cpu.h"
#include "target/x86/direct_transfer.h"

namespace emu::x86 {

using namespace ir;  // the effect bits that helpers.inc names

ir::HelperTable make_helper_table() {
  ir::HelperTable table;
#define X86_HELPER(name, arguments, effects)                                                                        \
  table.add({#name,                                                                                                 \
             [](tcg::EnvHeader& env, const u64* args) -> u64 { return X86Cpu::from_env(env).helper_##name(args); }, \
             u32(effects), arguments});
#include "target/x86/helpers.inc"
#undef X86_HELPER
  const auto full = [&table](Helper helper) { return table.helpers[helper].function; };
  static const tcg::TransferHelper kSyscall{direct_syscall, full(H_syscall)}, kSysret{direct_sysret, full(H_sysret)},
      kIret{direct_iret, full(H_iret)}, kSoftwareInt{direct_software_int, full(H_software_int)};
  table.helpers[H_syscall].transfer = &kSyscall;
  table.helpers[H_sysret].transfer = &kSysret;
  table.helpers[H_iret].transfer = &kIret;
  table.helpers[H_software_int].transfer = &kSoftwareInt;
  static constexpr tcg::HostVectorHomes kHomes{offsetof(X86State, vec), offsetof(X86State, opmask)};
  table.helpers[H_evex].vectors = &kHomes;
  return table;
}

}  // namespace emu::x86
