// SPDX-License-Identifier: Apache-2.0
// The one door to host addresses of guest RAM. For accel/ and softmmu/memory/ only, and for hw/virtio/vhost/, which passes
// them on as numbers: devices, boards and back ends copy through AddressSpace, GuestSlice or RamBlock::read/write, or hand
// on PinnedSpans.
#pragma once

#include "softmmu/memory/ram_block.h"
#include "util/check.h"

namespace emu::mem {

/// Host address of byte `offset` of the block. The block's pages are contiguous in host memory, so the addend of a TLB
/// entry (host - guest) holds for the whole range of a Section. Guests write there at any time from any vCPU: read and
/// write it only with relaxed atomic accesses (copy_from_ram, copy_to_ram) or from generated code. A write that does
/// not come through a TLB entry must be followed by RamBlock::note_write.
/// Valid while the block is: hold a RamRef, a ReadGuard, or be a Participant that has not been quiescent since.
inline u8* host_address(const RamBlock& block, u64 offset) {
  EMU_CHECK(offset < block.size_);
  return block.host_ + offset;
}

/// Copies between private memory and RAM that others may be changing. Naturally aligned pieces of up to 8 bytes are
/// single accesses; longer ones are copied in any order.
void copy_from_ram(void* to, const u8* ram, u64 length);
/// A naturally aligned word.
inline u64 load_word(const u8* ram) { return __atomic_load_n(reinterpret_cast<const u64*>(ram), __ATOMIC_RELAXED); }
void copy_to_ram(u8* ram, const void* from, u64 length);

}  // namespace emu::mem
