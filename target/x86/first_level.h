// SPDX-License-Identifier: Apache-2.0
// Guest RAM for leaves that run between translated instructions: what the first level of the TLB holds.
#pragma once

#include "target/x86/state.h"

namespace emu::x86 {

/// `bytes` bytes of RAM that lie in one page and are in the first level of the view; null if they are not, or if `va`
/// is not aligned so.
inline u8* host_memory(const X86State& s, u8 view, u64 va, unsigned bytes, bool is_write, unsigned align = 8) {
  const tcg::TlbEntry& entry = s.hdr.views[view]->l1[tcg::tlb_index(va)];
  const u64 offset = va & (tcg::kPageSize - 1);
  if ((is_write ? entry.wr : entry.rd) != va - offset || offset + bytes > tcg::kPageSize || (va & (align - 1)) != 0) {
    return nullptr;
  }
  return reinterpret_cast<u8*>(va + entry.addend);
}

}  // namespace emu::x86
