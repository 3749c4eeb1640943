// SPDX-License-Identifier: Apache-2.0
#include "target/x86/helpers.h"

#include "target/x86/cpu.h"

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
  return table;
}

}  // namespace emu::x86
