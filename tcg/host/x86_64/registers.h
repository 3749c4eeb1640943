// SPDX-License-Identifier: Apache-2.0
// Which host register holds what while translated code runs, and where thunks save it. Shared by compile() and thunks.
//
// Fixed: rsp = EnvHeader, r15 = current View. r9 r10 r11 are scratch, everything else integer is pinned. At thunks r11
// carries the guest address of a slow access or the address of the helper; flags are lost.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "tcg/abi/env.h"
#include "tcg/host/x86_64/assembler.h"
#include "tcg/ir/state_layout.h"
#include "util/result.h"

namespace emu::tcg::x86_64 {

inline constexpr Reg kEnv = rsp;
inline constexpr Reg kView = r15;
inline constexpr std::array<Reg, 3> kScratch = {r9, r10, r11};
inline constexpr Reg kAddress = r11;   ///< guest address at load, store and access_slow thunks; pc of an indirect exit
inline constexpr Reg kFunction = r11;  ///< function at helper thunks
inline constexpr ir::FieldId kNoField = 0xffff;
inline constexpr u8 kNoHostRegister = 0xff;

/// What the host offers beyond the x86-64-v3 baseline, as far as options allow.
struct HostFeatures {
  bool avx512vl = false;
};

struct RegisterMap {
  std::array<ir::FieldId, 16> gpr_field;  ///< pinned field, or kNoField
  std::array<i32, 16> gpr_home;           ///< save slot (offset from the EnvHeader); -1: never saved (rsp, r15, unused)
  std::array<ir::FieldId, 32> xmm_field;
  std::array<i32, 32> xmm_home;     ///< -1: holds nothing across a thunk
  std::vector<u8> field_register;   ///< per FieldId: the Reg or Xmm it is pinned to, or kNoHostRegister
  std::vector<Xmm> vector_scratch;  ///< registers that values may live in
  bool has_avx512 = false;          ///< host instructions may use xmm20 and up, and mask registers
  Xmm borrow_save = kNoXmm;         ///< 16 pinned: keeps a pinned register while legacy SSE borrows it

  bool is_pinned(ir::FieldId f) const { return field_register[f] != kNoHostRegister; }
};

constexpr i32 offset_of_scratch(unsigned i) { return i32(offsetof(EnvHeader, scratch_save) + i * 8); }
constexpr i32 offset_of_spill(unsigned i) { return i32(offsetof(EnvHeader, spill) + i * 8); }
constexpr i32 offset_of_vector_spill(unsigned i) { return i32(offsetof(EnvHeader, vector_spill) + i * 64); }

/// Sixty-four bytes that an instruction sequence may use and nothing keeps.
inline constexpr i32 kTransient = offset_of_vector_spill(7);

/// Assigns the pinned fields of a layout. Errors: a pinned integer that is not I64, a pinned vector that is none,
/// a role asked for twice, more than 16 vectors.
Result<RegisterMap> make_register_map(const ir::StateLayout& layout, const HostFeatures& features);

}  // namespace emu::tcg::x86_64
