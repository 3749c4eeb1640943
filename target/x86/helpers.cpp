// SPDX-License-Identifier: Apache-2.0
#include "target/x86/helpers.h"

#include "target/x86/cpu.h"
#include "target/x86/direct_transfer.h"
#include "target/x86/quick_helpers.h"

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
  static const tcg::QuickHelper kRepMovs{quick_rep_movs, full(H_rep_movs)}, kRepStos{quick_rep_stos, full(H_rep_stos)},
      kCmpxchg16b{quick_cmpxchg16b, full(H_cmpxchg16b)}, kReadFlags{quick_read_flags, full(H_read_flags)},
      kLoadMxcsr{quick_load_mxcsr, full(H_load_mxcsr)}, kStoreMxcsr{quick_store_mxcsr, full(H_store_mxcsr)},
      kMmxRead{quick_mmx_read, full(H_mmx_read)}, kMmxWrite{quick_mmx_write, full(H_mmx_write)},
      kEvexLoad{quick_evex_load, full(H_evex_load)}, kEvexStore{quick_evex_store, full(H_evex_store)};
  table.helpers[H_rep_movs].quick = &kRepMovs;
  table.helpers[H_rep_stos].quick = &kRepStos;
  table.helpers[H_cmpxchg16b].quick = &kCmpxchg16b;
  table.helpers[H_read_flags].quick = &kReadFlags;
  table.helpers[H_load_mxcsr].quick = &kLoadMxcsr;
  table.helpers[H_store_mxcsr].quick = &kStoreMxcsr;
  table.helpers[H_mmx_read].quick = &kMmxRead;
  table.helpers[H_mmx_write].quick = &kMmxWrite;
  table.helpers[H_evex_load].quick = &kEvexLoad;
  table.helpers[H_evex_store].quick = &kEvexStore;
  table.helpers[H_crc32].general = general_crc32;
  table.helpers[H_pdep].general = general_pdep;
  table.helpers[H_pext].general = general_pext;
  static constexpr tcg::HostVectorHomes kHomes{offsetof(X86State, vec), offsetof(X86State, opmask)};
  table.helpers[H_evex].vectors = &kHomes;
  return table;
}

}  // namespace emu::x86
