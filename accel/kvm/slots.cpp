// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/slots.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "softmmu/memory/host_access.h"
#include "util/log.h"

namespace emu::accel {

using mem::kPageSize;

/// Whole pages only. Host pages under them are whole, too: blocks begin at page boundaries, so offset and address must
/// agree within the page.
std::optional<SlotTable::Slot> SlotTable::slot_of(const mem::FlatRange& range) {
  if (!range.direct || range.region->ram_block() == nullptr) return std::nullopt;
  const u64 skip = (kPageSize - range.first % kPageSize) % kPageSize;
  const u64 length = range.last - range.first + 1;  // no stretch of RAM is 2^64 bytes long
  if (length < skip + kPageSize) return std::nullopt;
  const u64 offset = range.offset_in_region + skip;
  if (offset % kPageSize != 0) return std::nullopt;
  return Slot{.number = 0,
              .first = range.first + skip,
              .bytes = (length - skip) / kPageSize * kPageSize,
              .ram = range.region->ram_block(),
              .offset = offset,
              .readonly = range.readonly};
}

void SlotTable::begin() {
  going_.clear();
  coming_.clear();
}

void SlotTable::region_add(const mem::FlatRange& range) {
  if (auto slot = slot_of(range)) coming_.push_back(std::move(*slot));
}

void SlotTable::region_del(const mem::FlatRange& range) {
  if (auto slot = slot_of(range)) going_.push_back(std::move(*slot));
}

/// The kernel cannot change a slot's place or extent, so what went goes first. In between there is a hole where a vCPU
/// would find nothing to execute.
void SlotTable::commit() {
  const auto change = [this] {
    const std::lock_guard guard(mutex_);
    for (const Slot& slot : going_) remove_locked(slot);
    for (Slot& slot : coming_) add_locked(std::move(slot));
  };
  if (going_.empty()) {
    change();
  } else {
    outside_(change);
  }
  going_.clear();
  coming_.clear();
}

int SlotTable::tell_kernel(const Slot& slot, u64 bytes) const {
  kvm_userspace_memory_region region{};
  region.slot = slot.number;
  region.guest_phys_addr = slot.first;
  region.memory_size = bytes;
  region.userspace_addr = reinterpret_cast<u64>(mem::host_address(*slot.ram, slot.offset));
  region.flags = (slot.readonly ? KVM_MEM_READONLY : 0u) | (slot.logging ? KVM_MEM_LOG_DIRTY_PAGES : 0u);
  return vm_.call(KVM_SET_USER_MEMORY_REGION, &region);
}

void SlotTable::remove_locked(const Slot& slot) {
  const auto found = std::find_if(slots_.begin(), slots_.end(),
                                  [&](const Slot& s) { return s.first == slot.first && s.bytes == slot.bytes; });
  if (found == slots_.end()) return;
  if (found->logging) fetch_log_locked(*found);
  tell_kernel(*found, 0);
  used_[found->number] = false;
  slots_.erase(found);
}

void SlotTable::add_locked(Slot slot) {
  const auto free = std::find(used_.begin(), used_.end(), false);
  slot.number = u32(free - used_.begin());
  slot.logging = slot.ram->tracking().logging.load() != 0;
  const int result = free == used_.end() ? -ENOSPC : tell_kernel(slot, slot.bytes);
  if (result < 0) {
    if (failure_.empty()) {
      failure_ = fmt::format("KVM takes no memory slot for {:#x}..{:#x} ({}): {}", slot.first,
                             slot.first + slot.bytes - 1, slot.ram->id(), std::strerror(-result));
      log::error("{}", failure_);
    }
    return;
  }
  used_[slot.number] = true;
  slots_.push_back(std::move(slot));
}

/// Somebody began to log, maybe.
void SlotTable::write_tracking_restarted(mem::RamPage first, u64 count) {
  const std::lock_guard guard(mutex_);
  for (Slot& slot : slots_) {
    const u64 begin = u64(slot.ram->page_at(slot.offset)), end = begin + slot.bytes / kPageSize;
    if (u64(first) >= end || u64(first) + count <= begin) continue;
    if (slot.logging || slot.ram->tracking().logging.load() == 0) continue;
    slot.logging = true;
    tell_kernel(slot, slot.bytes);
  }
}

void SlotTable::dirty_wanted(mem::RamBlock& block) {
  if (rings_.empty()) {
    const std::lock_guard guard(mutex_);
    for (const Slot& slot : slots_) {
      if (slot.logging && slot.ram.get() == &block) fetch_log_locked(slot);
    }
    return;
  }
  // A processor may keep pages to itself until its vCPU comes out.
  if (block.tracking().logging.load() != 0) outside_([this] { collect_rings(); });
}

/// KVM_GET_DIRTY_LOG gives the pages that were written since it was last asked, and has their next writes noted.
void SlotTable::fetch_log_locked(const Slot& slot) {
  if (!rings_.empty()) return collect_rings_locked();
  const u64 pages = slot.bytes / kPageSize;
  log_.assign((pages + 63) / 64, 0);
  kvm_dirty_log request{};
  request.slot = slot.number;
  request.dirty_bitmap = log_.data();
  if (vm_.call(KVM_GET_DIRTY_LOG, &request) < 0) return;
  for (size_t word = 0; word < log_.size(); ++word) {
    for (u64 bits = log_[word]; bits != 0; bits &= bits - 1) {
      const u64 page = word * 64 + u64(std::countr_zero(bits));
      if (page < pages) slot.ram->mark_dirty(slot.ram->page_at(slot.offset + page * kPageSize));
    }
  }
}

// --- Rings, api.rst section 8.29 ---

void SlotTable::collect_rings() {
  const std::lock_guard guard(mutex_);
  collect_rings_locked();
}

void SlotTable::collect_rings_locked() {
  bool any = false;
  for (Ring& ring : rings_) {
    for (;;) {
      kvm_dirty_gfn& entry = ring.entries[ring.next];
      if (!(__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)) break;
      note_locked(entry);
      __atomic_store_n(&entry.flags, u32(KVM_DIRTY_GFN_F_RESET), __ATOMIC_RELEASE);
      ring.next = (ring.next + 1) % ring.entries.size();
      any = true;
    }
  }
  // Only now their next writes are noted again: what is noted above was not lost before.
  if (any) vm_.call(KVM_RESET_DIRTY_RINGS);
}

void SlotTable::note_locked(const kvm_dirty_gfn& entry) {
  constexpr u32 kAddressSpace = 0xffff0000;  // of system-management mode, which is not there
  const auto slot = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.number == entry.slot; });
  if ((entry.slot & kAddressSpace) != 0 || slot == slots_.end()) return;
  if (entry.offset < slot->bytes / kPageSize) {
    slot->ram->mark_dirty(slot->ram->page_at(slot->offset + entry.offset * kPageSize));
  }
}

}  // namespace emu::accel
