// SPDX-License-Identifier: Apache-2.0
// Reference counts of host clusters, and who gets which cluster.
//
// Counts in memory run ahead of those in the image, never behind: an increment reaches the image before anything that
// refers to the cluster, a decrement is made only after what referred to it is gone from the image. So a cluster whose
// count in memory is 0 is referred to by nothing, in memory or in the image, and may be reused at once.
#pragma once

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "block/qcow2/cluster_map.h"

namespace emu::block::qcow2 {

struct Allocation {
  IoStatus status = 0;
  u64 offset = 0;
  u64 clusters = 0;
  bool reads_zero = false;  ///< never written since the file grew: holds zeroes
};

enum class Contiguity : u8 { UpTo, Exactly };

class Refcounts {
 public:
  Refcounts(const Geometry& geometry, HostFile& file, CorruptionSink sink);

  /// `is_metadata`: what the header, L1 table and others occupy; such a cluster is never given out.
  Task<IoStatus> open(u64 table_offset, u64 table_clusters, std::function<bool(u64 offset)> is_metadata);
  /// An image that is being created: nothing is allocated, the table is at `table_offset`.
  void start_empty(u64 table_offset, u64 table_clusters, std::function<bool(u64 offset)> is_metadata);

  u64 table_offset() const { return table_offset_; }
  u64 table_clusters() const { return (table_.size() * 8) >> geometry_.cluster_bits; }
  const std::vector<u64>& table() const { return table_; }
  bool is_block(u64 offset) const { return block_offsets_.contains(offset); }

  /// At least one cluster, counted once. EFBIG: the format ends here; ENOSPC: the file does.
  Task<Allocation> allocate(u64 clusters, Contiguity contiguity);
  /// Gives back what was allocated and is referred to by nothing.
  Task<IoStatus> release_unused(u64 offset, u64 clusters);
  Task<IoStatus> get(u64 cluster, u64* count);
  /// One more reference to an allocated cluster. EMFILE-like limit: ERANGE when the width does not hold it.
  Task<IoStatus> increment(u64 cluster);

  /// A reference goes with the next commit. `discard`: the file may forget the data, too.
  void free_later(u64 offset, u64 clusters, bool discard);
  bool has_frees() const { return !frees_.empty(); }
  std::size_t frees() const { return frees_.size(); }

  struct Free {
    u64 cluster;
    u64 count;
    bool discard;
  };
  struct Dirty {
    std::vector<TableWrite> blocks;
    std::vector<TableWrite> table;  ///< after the blocks, before what relies on the counts
    bool moved = false;             ///< the header has to say where the table is, instead of `table`
  };
  bool is_dirty() const { return dirty_blocks_ != 0 || !dirty_table_.empty() || moved_; }
  /// The table lies elsewhere than the header in the file says.
  bool has_moved() const { return moved_; }
  Dirty take_dirty();
  void committed();
  void failed();
  std::vector<Free> take_frees() { return std::exchange(frees_, {}); }
  void return_frees(std::vector<Free> frees);
  /// What the frees referred to is gone from the image for good.
  Task<IoStatus> apply_frees(const std::vector<Free>& frees, bool discard);

  /// One past the last cluster that was in use or was given out.
  u64 end_cluster() const { return end_cluster_; }

  /// For repair: sets a count, whatever it was. A missing block is made at `block_at`, or ENOENT if that is 0.
  Task<IoStatus> force(u64 cluster, u64 count, u64 block_at);
  bool has_block_for(u64 cluster) const {
    const u64 index = cluster / geometry_.refcounts_per_block();
    return index < table_.size() && table_[index] != 0;
  }
  /// For repair: forgets table entries that cannot be (unaligned, reserved bits, beyond `file_bytes`).
  u64 drop_invalid_blocks(u64 file_bytes);
  bool is_valid_entry(u64 entry, u64 file_bytes) const;
  Task<IoStatus> last_used(u64* end_cluster);

 private:
  struct Block {
    Buffer data;
    u64 offset = 0;
    u64 last_use = 0;
    u64 dirty_from = ~u64(0), dirty_to = 0;
    u64 committing_from = ~u64(0), committing_to = 0;
    bool is_dirty() const { return dirty_from < dirty_to; }
    bool in_commit() const { return committing_from < committing_to; }
  };

  Task<Allocation> allocate_locked(u64 clusters, Contiguity contiguity);
  Task<IoStatus> load(u64 index);
  Block* find(u64 index);
  IoStatus make_block(u64 index, u64 cluster);
  Task<IoStatus> grow_table(u64 index);
  Task<IoStatus> change_locked(u64 cluster, int by, bool* now_free);
  u64 count_of(const Block& block, u64 at) const;
  void set_count(Block& block, u64 at, u64 count);
  void set_table_entry(u64 index, u64 offset);
  void make_room();

  static constexpr std::size_t kMostBlockBytes = 8u << 20;

  const Geometry& geometry_;
  HostFile& file_;
  CorruptionSink sink_;
  std::function<bool(u64)> is_metadata_;
  AsyncMutex mutex_;
  u64 table_offset_ = 0;
  std::vector<u64> table_;
  std::unordered_set<u64> block_offsets_;
  std::unordered_map<u64, Block> blocks_;
  u64 uses_ = 0;
  std::size_t dirty_blocks_ = 0;
  std::set<u64> dirty_table_;  ///< sectors
  std::set<u64> committing_table_;
  bool moved_ = false;
  bool committing_move_ = false;
  u64 hint_ = 0;               ///< no free cluster below
  u64 fresh_from_ = 0;         ///< clusters from here on have not been written since the file grew
  u64 end_cluster_ = 0;
  std::vector<Free> frees_;
};

}  // namespace emu::block::qcow2
