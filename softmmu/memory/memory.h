// SPDX-License-Identifier: Apache-2.0
// All memory of one machine: its RAM blocks and page numbers, its address spaces, transactions and grace periods.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "softmmu/memory/address_space.h"
#include "softmmu/memory/grace.h"
#include "softmmu/memory/machine_lock.h"
#include "softmmu/memory/ram_block.h"
#include "softmmu/memory/region.h"

namespace emu::mem {

/// Made first and destroyed last of a machine.
class Memory {
 public:
  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  MachineLock& lock() { return lock_; }
  GracePeriods& grace() { return grace_; }
  /// Runs `callback` on the main loop when nobody can still be using what was unpublished before this call.
  void defer(std::function<void()> callback) { grace_.defer(std::move(callback)); }

  struct RamOptions {
    bool huge_pages = true;  ///< ask for them (MADV_HUGEPAGE)
    bool prealloc = false;   ///< touch all pages now
    bool shared = false;     ///< of a descriptor that other processes can map: RamBlock::shared_fd()
  };
  /// Zeroed memory, anonymous and private unless the options say otherwise. `size` is rounded up to whole pages.
  /// Errors: no host memory, or a block with that id exists.
  Result<RamRef> make_ram(std::string id, u64 size, RamOptions options);
  Result<RamRef> make_ram(std::string id, u64 size) { return make_ram(std::move(id), size, RamOptions{}); }
  /// The block that holds the page; null when it is gone. Any thread.
  RamRef ram_block_of(RamPage page) const;
  RamRef find_ram_block(std::string_view id) const;
  std::vector<RamRef> ram_blocks() const;

  /// For accelerators. Registered before vCPUs run, removed after they stopped.
  void add_ram_listener(RamListener& listener);
  void remove_ram_listener(RamListener& listener);

  /// Of the latest publication of any address space. A vCPU that sees it change re-reads its views.
  u64 generation() const { return generation_.load(std::memory_order_seq_cst); }

  const std::vector<AddressSpace*>& address_spaces() const { return spaces_; }

  /// The text of `info mtree` (region trees) and `info mtree -f` (flat views).
  std::string describe_tree() const;
  std::string describe_flat() const;

 private:
  friend class AddressSpace;
  friend class RamBlock;
  friend class Region;
  friend class Transaction;

  void begin();
  void end();
  void tree_changed() { stale_ = true; }
  void commit();
  void forget(RamBlock& block);
  template <typename Call>
  void tell_ram_listeners(Call&& call) {
    std::shared_lock hold(listener_mutex_);
    for (RamListener* listener : ram_listeners_) call(*listener);
  }

  MachineLock lock_;
  GracePeriods grace_;
  std::vector<AddressSpace*> spaces_;
  unsigned depth_ = 0;
  bool stale_ = false;
  std::atomic<u64> generation_{0};

  mutable std::shared_mutex ram_mutex_;  // leaf lock: the two below
  struct KnownBlock {
    std::string id;
    u64 first_page, page_count;
    std::weak_ptr<RamBlock> block;
  };
  std::vector<KnownBlock> blocks_;  // by first page
  u64 next_page_ = 0;
  std::shared_mutex listener_mutex_;  // held (shared) while listeners are called
  std::vector<RamListener*> ram_listeners_;
};

/// Changes to region trees between construction and destruction are published together. Nests. Machine lock held.
class Transaction {
 public:
  explicit Transaction(Memory& memory) : memory_(memory) { memory_.begin(); }
  ~Transaction() { memory_.end(); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

 private:
  Memory& memory_;
};

}  // namespace emu::mem
