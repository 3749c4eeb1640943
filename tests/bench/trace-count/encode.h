// SPDX-License-Identifier: Apache-2.0
// How many host bytes a block takes under a candidate ABI: the building blocks of translator.md section 7, with a
// simulated allocation of the scratch registers. Nothing is emitted.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "decode.h"

namespace trace {

struct Abi {
  const char* name;
  u16 pinned;               // guest registers that live in host registers across blocks
  int scratch;              // host registers left for checks, kept translations and other guest registers
  bool share = true;        // TLB checks shared between accesses off one base
  bool store_flags = true;  // flags that may be live are stored at exits
};
std::span<const Abi> candidate_abis();

struct BlockSite {
  u64 start = 0;  // of the first instruction
  std::span<const u16> offsets;
  bool exit_check = false;
  /// Whether status flags are certainly dead at an address of the same page (looked up among known blocks).
  std::function<bool(u64)> flags_dead_at;
};

struct Encoded {
  std::vector<u32> hot_after;  // bytes in line after each instruction
  u32 hot = 0, cold = 0;       // whole block: in line; stubs
  u32 accesses = 0, shared = 0, shared_on_stack = 0, fault_points = 0;
  u32 register_traffic = 0, flag_stores = 0;  // bytes, part of hot and cold
};

Encoded encode(std::span<const Insn> insns, const BlockSite& site, const Abi& abi);

}  // namespace trace
