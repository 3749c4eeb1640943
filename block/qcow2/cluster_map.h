// SPDX-License-Identifier: Apache-2.0
// L1 and L2 tables: the L1 table in memory, slices of L2 tables in a write-back cache.
#pragma once

#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "block/qcow2/format.h"
#include "block/qcow2/host_file.h"

namespace emu::block::qcow2 {

/// A stretch of metadata to be written, copied when the commit began.
struct TableWrite {
  u64 offset = 0;
  Buffer data;
};

/// What was found to be wrong with an image; see Image::report().
using CorruptionSink = std::function<void(const std::string& what, u64 offset, u64 bytes)>;

class ClusterMap {
 public:
  static constexpr u64 kSliceBytes = 4096;

  struct Slice {
    Buffer data;
    u64 last_use = 0;
    bool dirty = false;
    bool in_commit = false;
  };

  ClusterMap(const Geometry& geometry, HostFile& file, CorruptionSink sink);

  Task<IoStatus> open(u64 l1_offset, u64 l1_entries);

  u64 l1_offset() const { return l1_offset_; }
  u64 l1_entries() const { return l1_.size(); }
  u64 l1_bytes() const { return l1_.size() * 8; }
  u64 l1_entry(u64 index) const { return l1_[index]; }
  u64 l1_index(u64 guest) const { return guest / geometry_.l2_span(); }
  /// Where the L2 table of a guest offset lies; 0: there is none.
  u64 table_of(u64 guest) const {
    const u64 index = l1_index(guest);
    return index < l1_.size() ? l1_[index] & kOffsetMask : 0;
  }
  bool is_table_copied(u64 guest) const { return (l1_[l1_index(guest)] & kCopied) != 0; }
  /// A new L2 table, refcount one. Written by the next commit.
  void set_table(u64 guest, u64 offset);
  void clear_table(u64 index);
  /// For repair.
  void set_copied(u64 index, bool copied);
  bool is_table(u64 cluster_offset) const { return tables_.contains(cluster_offset); }

  u64 slice_bytes() const { return slice_bytes_; }
  /// Guest bytes that a slice maps.
  u64 slice_span() const { return (slice_bytes_ >> geometry_.entry_bits()) << geometry_.cluster_bits; }

  /// The slice for a guest offset whose table is there, if it is in memory. The pointer is good until something is
  /// awaited. `while (!(slice = map.find(at))) { co_await map.load(at) ... }`
  Slice* find(u64 guest);
  Task<IoStatus> load(u64 guest);
  L2Entry get(const Slice& slice, u64 guest) const;
  void set(Slice& slice, u64 guest, L2Entry entry);
  /// Forgets the slices of a table that is no longer one.
  void drop(u64 table_offset);

  std::size_t dirty_slices() const { return dirty_slices_; }
  bool is_dirty() const { return dirty_slices_ != 0 || !dirty_l1_.empty(); }
  /// More changes than the cache should hold: time for a commit.
  bool is_full() const { return dirty_slices_ > kMostSlices / 2; }

  /// What has to be written, as it is now. After that either committed() or failed().
  std::vector<TableWrite> take_dirty();
  void committed();
  void failed();

  /// The L1 table, longer, at another place (not yet written): for growing an image.
  Buffer l1_image(u64 entries) const;
  void move_l1(u64 offset, u64 entries);

 private:
  static constexpr std::size_t kMostSlices = 2048;
  u64 slice_offset(u64 guest) const;
  u64 index_in_slice(u64 guest) const;
  void make_room();

  const Geometry& geometry_;
  HostFile& file_;
  CorruptionSink sink_;
  u64 slice_bytes_;
  u64 l1_offset_ = 0;
  std::vector<u64> l1_;
  std::unordered_set<u64> tables_;  ///< offsets of active L2 tables
  std::unordered_map<u64, Slice> slices_;
  u64 uses_ = 0;
  std::size_t dirty_slices_ = 0;
  std::set<u64> dirty_l1_;         ///< sectors of the L1 table
  std::set<u64> committing_l1_;
  u64 last_offset_ = 0;            ///< of the slice found last
  Slice* last_ = nullptr;
};

}  // namespace emu::block::qcow2
