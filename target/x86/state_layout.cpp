// SPDX-License-Identifier: Apache-2.0
// make_state_layout(): the IR's view of X86State.
#include <fmt/format.h>

#include "target/x86/state.h"
#include "tcg/abi/host_vector.h"

namespace emu::x86 {
namespace {

using ir::Pin;
using ir::StateField;
using ir::Type;

constexpr const char* kGprNames[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr const char* kSegNames[] = {"es", "cs", "ss", "ds", "fs", "gs"};

u32 gpr_home(unsigned i) {
  return u32(i < 8 ? offsetof(X86State, gpr_low) + 8 * i : offsetof(X86State, hdr.hot) + 8 * (i - 8));
}

/// rax..rdi and r12..r14 are the eleven that code mentions most (translator.md section 3).
Pin gpr_pin(unsigned i) {
  switch (i) {
    case RAX:
      return Pin::MulLow;
    case RDX:
      return Pin::MulHigh;
    case RCX:
      return Pin::ShiftCount;
    case R8:
    case R9:
    case R10:
    case R11:
    case R15:
      return Pin::None;
    default:
      return Pin::General;
  }
}

u32 segment_base_home(unsigned s) {
  if (s == FS || s == GS) return u32(offsetof(X86State, hdr.hot_aux) + 8 * (s - FS));
  return u32(offsetof(X86State, seg_base) + 8 * s);
}

}  // namespace

ir::StateLayout make_state_layout() {
  ir::StateLayout layout;
  layout.fields.resize(F_COUNT);
  layout.size = sizeof(X86State);
  const auto put = [&](unsigned field, std::string name, size_t offset, Type type, Pin pin = Pin::None) {
    layout.fields[field] = StateField{std::move(name), u32(offset), type, pin};
  };

  for (unsigned i = 0; i < 16; ++i) put(F_RAX + i, kGprNames[i], gpr_home(i), Type::I64, gpr_pin(i));
  for (unsigned i = 0; i < 16; ++i)
    put(F_XMM0 + i, fmt::format("xmm{}", i), offsetof(X86State, vec) + sizeof(VectorSlot) * i, Type::V256, Pin::Vector);
  for (unsigned s = 0; s < 6; ++s) {
    const std::string name = kSegNames[s];
    const size_t range = offsetof(X86State, seg_range) + sizeof(SegmentRange) * s;
    put(F_SEG_BASE + s, name + "_base", segment_base_home(s), Type::I64);
    put(F_SEG_READ_LOW + s, name + "_read_low", range + offsetof(SegmentRange, read_low), Type::I32);
    put(F_SEG_READ_HIGH + s, name + "_read_high", range + offsetof(SegmentRange, read_high), Type::I32);
    put(F_SEG_WRITE_LOW + s, name + "_write_low", range + offsetof(SegmentRange, write_low), Type::I32);
    put(F_SEG_WRITE_HIGH + s, name + "_write_high", range + offsetof(SegmentRange, write_high), Type::I32);
    put(F_SELECTOR + s, name, offsetof(X86State, seg) + sizeof(Segment) * s + offsetof(Segment, selector), Type::I16);
  }
  put(F_DF, "df", offsetof(X86State, df), Type::I64);
  put(F_RFLAGS_SYSTEM, "rflags_system", offsetof(X86State, rflags_system), Type::I64);
  put(F_MXCSR, "mxcsr", offsetof(X86State, mxcsr), Type::I32);
  put(F_CR0, "cr0", offsetof(X86State, cr0), Type::I64);
  put(F_CR2, "cr2", offsetof(X86State, cr2), Type::I64);
  put(F_CR3, "cr3", offsetof(X86State, cr3), Type::I64);
  put(F_CR4, "cr4", offsetof(X86State, cr4), Type::I64);
  put(F_EFER, "efer", offsetof(X86State, efer), Type::I64);
  put(F_TSC_OFFSET, "tsc_offset", offsetof(X86State, tsc_offset), Type::I64);
  put(F_INHIBIT, "inhibit", offsetof(X86State, inhibit_interrupts), Type::I64);
  put(F_PC, "pc", offsetof(X86State, hdr.pc), Type::I64);
  put(F_FPU_CONTROL, "fpu_control", offsetof(X86State, hdr.fpu_control), Type::I32);
  put(F_FP_CONTROL, "fp_control", offsetof(X86State, hdr.fp_control), Type::I32);
  for (unsigned i = 0; i < 2; ++i)
    put(F_VEC_TMP0 + i, fmt::format("vec_tmp{}", i), offsetof(X86State, vec_tmp) + sizeof(VectorSlot) * i, Type::V128);
  for (unsigned i = 0; i < 8; ++i)
    put(F_TEMP0 + i, fmt::format("temp{}", i), offsetof(X86State, temp) + 8 * i, Type::I64);
  put(F_CS_LIMIT, "cs_limit", offsetof(X86State, seg) + sizeof(Segment) * CS + offsetof(Segment, limit), Type::I32);
  put(F_KERNEL_GS_BASE, "kernel_gs_base", offsetof(X86State, kernel_gs_base), Type::I64);
  put(F_SIGNALS, "signals", offsetof(X86State, signals), Type::I32);
  for (unsigned i = 0; i < 8; ++i) put(F_K0 + i, fmt::format("k{}", i), offsetof(X86State, opmask) + 8 * i, Type::I64);
  const auto slot = [](unsigned i) { return offsetof(X86State, vec) + sizeof(VectorSlot) * i; };
  for (unsigned i = 0; i < 32; ++i) put(F_ZMM_HIGH0 + i, fmt::format("zmm{}_high", i), slot(i) + 32, Type::V256);
  for (unsigned i = 16; i < 32; ++i) put(F_ZMM16_LOW + i - 16, fmt::format("zmm{}_low", i), slot(i), Type::V256);
  put(F_EVEX_MEM_LOW, "evex_mem_low", slot(tcg::HostVector::kMemorySlot), Type::V256);
  put(F_EVEX_MEM_HIGH, "evex_mem_high", slot(tcg::HostVector::kMemorySlot) + 32, Type::V256);
  put(F_EVEX_GENERAL, "evex_general", slot(tcg::HostVector::kGeneralSlot), Type::I64);
  put(F_SIMD_A, "simd_a", slot(tcg::HostVector::kMemorySlot), Type::V256);
  put(F_SIMD_B, "simd_b", slot(tcg::HostVector::kMemorySlot) + 32, Type::V256);
  put(F_SIMD_C, "simd_c", slot(tcg::HostVector::kGeneralSlot), Type::V256);
  put(F_TSC_AUX, "tsc_aux", offsetof(X86State, tsc_aux), Type::I64);
  put(F_FPU_IP, "fpu_ip", offsetof(X86State, fpu_ip), Type::I64);
  put(F_FPU_DP, "fpu_dp", offsetof(X86State, fpu_dp), Type::I64);
  put(F_FPU_OPCODE, "fpu_opcode", offsetof(X86State, fpu_opcode), Type::I32);
  put(F_FPU_DATA_SEGMENT, "fpu_data_segment", offsetof(X86State, fpu_data_segment), Type::I32);
  for (unsigned field : {F_FPU_IP, F_FPU_OPCODE, F_FPU_DATA_SEGMENT}) layout.fields[field].deferred = true;
  return layout;
}

}  // namespace emu::x86
