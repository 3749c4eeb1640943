// SPDX-License-Identifier: Apache-2.0
// Registers of an x86 CPU in the numbering that gdb has for i386 and x86-64.
#pragma once

#include <memory>

#include "target/debug_registers.h"

namespace emu::x86 {

/// `cpu` is an X86Cpu and outlives what is returned. One layout for all modes: the 64-bit one if the CPU has long mode.
std::unique_ptr<target::DebugRegisters> make_debug_registers(target::Vcpu& cpu);

}  // namespace emu::x86
