// SPDX-License-Identifier: Apache-2.0
// Guest memory as KVM knows it: one slot a stretch of RAM or ROM, kept in step with an address space.
//
// RAM is a slot; ROM, and flash in ROM mode, is one that is read-only: writes to it come back as MMIO. What a stretch
// has beyond whole pages, and everything else, has no slot: each access comes back as MMIO.
//
// Which pages were written the kernel notes in a bitmap a slot, or in a ring a vCPU (-accel kvm,dirty-ring-size=).
#pragma once

#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "accel/kvm/kvm_api.h"
#include "softmmu/memory/memory.h"

namespace emu::accel {

/// Listens to an address space and to RAM blocks that log. `mutex_` is a leaf lock.
class SlotTable final : public mem::MemoryListener, public mem::RamListener {
 public:
  /// While a slot is replaced no vCPU may run: `outside` calls what it is given with all of them outside of KVM_RUN.
  using Exclusion = std::function<void(const std::function<void()>&)>;
  SlotTable(KvmFd& vm, unsigned most, Exclusion outside) : vm_(vm), used_(most, false), outside_(std::move(outside)) {}

  /// A vCPU's ring, where there are rings: all of them, before the first run. Their memory stays the caller's.
  void add_ring(std::span<kvm_dirty_gfn> ring) { rings_.push_back({ring, 0}); }
  /// A ring is full, or nearly: takes over what is in all of them. Any thread.
  void collect_rings();

  struct Slot {
    u32 number = 0;
    u64 first = 0, bytes = 0;
    mem::RamRef ram;
    u64 offset = 0;  ///< in it
    bool readonly = false, logging = false;
  };
  const std::vector<Slot>& slots() const { return slots_; }
  /// The first thing that the kernel refused; such a slot is not there.
  const std::string& failure() const { return failure_; }

  // MemoryListener: machine lock
  void begin() override;
  void region_add(const mem::FlatRange& range) override;
  void region_del(const mem::FlatRange& range) override;
  void commit() override;
  // RamListener
  void code_page_written(mem::RamPage, u32, u32) override {}
  void write_tracking_restarted(mem::RamPage first, u64 count) override;
  void dirty_wanted(mem::RamBlock& block) override;

 private:
  static std::optional<Slot> slot_of(const mem::FlatRange& range);
  void remove_locked(const Slot& slot);
  void add_locked(Slot slot);
  int tell_kernel(const Slot& slot, u64 bytes) const;
  void fetch_log_locked(const Slot& slot);
  void collect_rings_locked();
  void note_locked(const kvm_dirty_gfn& entry);

  struct Ring {
    std::span<kvm_dirty_gfn> entries;
    size_t next = 0;  ///< to be looked at
  };

  KvmFd& vm_;
  std::mutex mutex_;
  std::vector<bool> used_;  ///< by number
  std::vector<Slot> slots_;
  std::vector<Slot> going_, coming_;  ///< of the commit under way
  std::vector<u64> log_;
  std::vector<Ring> rings_;
  Exclusion outside_;
  std::string failure_;
};

}  // namespace emu::accel
