// SPDX-License-Identifier: Apache-2.0
// A qcow2 image as a node of the block graph.
//
// Order of what reaches the file (docs/devel/qcow2.md). Requests write data only; tables change in memory.
// commit() writes them, with a flush between the steps: (1) data, reference counts, new tables that nothing points to
// yet; (2) what says where reference counts are; (3) L2 and L1 entries; then (4) counts of what is no longer referred
// to go down, in memory. So at any moment the image in the file is one that checks clean but for leaked clusters.
#pragma once

#include <functional>
#include <memory>

#include "block/node.h"
#include "block/qcow2/bitmaps.h"
#include "block/qcow2/cluster_map.h"
#include "block/qcow2/header.h"
#include "block/qcow2/locks.h"
#include "block/qcow2/refcounts.h"

namespace emu::block::qcow2 {

/// What BLOCK_IMAGE_CORRUPTED says.
struct Corruption {
  std::string message;
  u64 offset = 0;
  u64 bytes = 0;
  bool fatal = false;  ///< the image refuses all requests from now on
};

/// Opens what an image names, or the user names instead. `role` is "backing" or "data-file"; `filename` is empty where
/// the image names none, and null the answer when nobody does; `format` may be empty: to be probed.
using ChildOpener =
    std::function<Task<Result<NodeRef>>(std::string role, std::string filename, std::string format)>;

struct ImageOptions {
  bool read_only = false;
  /// Read-only instead of an error where the file or the image cannot be written.
  bool auto_read_only = false;
  /// discard=unmap: the file below hears of clusters that became free.
  bool pass_discard = false;
  /// Overrides what the image says.
  std::optional<bool> lazy_refcounts;
  /// For the checker: no repair of a dirty image, a corrupt one may be written.
  bool for_check = false;
  /// Neither backing nor data file are opened (`info`, `check`).
  bool without_children = false;
  /// Instead of what the image names: a node, or none at all.
  std::optional<NodeRef> backing;
  NodeRef data_file;
  ChildOpener open_child;
  /// After the children, before anything is written.
  std::function<Result<void>()> children_opened;
  std::function<void(const Corruption&)> on_corruption;
};

class Image final : public Node {
 public:
  /// Errors: not a qcow2 image, broken, encrypted, an unknown feature, a child that does not open.
  static Task<Result<std::shared_ptr<Image>>> open(EventLoop& loop, std::string name, NodeRef file,
                                                   ImageOptions options);

  std::string_view driver() const override { return "qcow2"; }
  std::string filename() const override { return file_.node().filename(); }
  std::vector<Child> children() const override;
  u64 bytes() const override { return header_.bytes; }
  BlockLimits limits() const override;

  Task<IoStatus> read(u64 offset, IoVec to) override;
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override;
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override;
  Task<IoStatus> discard(u64 offset, u64 length) override;
  Task<IoStatus> flush() override;
  Task<Result<Extent>> status(u64 offset, u64 length) override;
  Task<Result<void>> truncate(u64 bytes, Preallocation preallocation) override;
  Task<Result<void>> close() override;
  Task<Result<void>> set_read_only(bool read_only) override;
  Access child_access(std::string_view role, Access own) const override;
  Result<void> replace_child(std::string_view role, NodeRef node) override;

  /// One guest cluster (less only at the end of the image), compressed if that makes it smaller.
  /// `offset` is a cluster's.
  Task<IoStatus> write_compressed(u64 offset, IoVec from);
  /// Gives every cluster of the range a place in the file, without data.
  Task<Result<void>> preallocate(u64 from, u64 to, Preallocation preallocation);

  const Header& header() const { return header_; }
  const Geometry& geometry() const { return geometry_; }
  const NodeRef& backing() const { return backing_; }
  /// Replaces the backing node; the header is not changed. Nothing is under way.
  void set_backing(NodeRef backing) { backing_ = std::move(backing); }

  // For the checker.
  HostFile& file() { return file_; }
  ClusterMap& map() { return *map_; }
  Refcounts& refcounts() { return *refcounts_; }
  Bitmaps& bitmaps() { return *bitmaps_; }
  /// All tables out to the file, and freed clusters counted: nothing is dirty afterwards.
  Task<IoStatus> settle();
  Task<IoStatus> set_feature_bits(u64 incompatible, u64 compatible, u64 autoclear);

 private:
  Image(EventLoop& loop, std::string name, NodeRef file, ImageOptions options, bool read_only);

  /// What a stretch of guest bytes is, for reading.
  struct Run {
    enum class Kind : u8 { Data, Zero, Backing, Compressed, Broken } kind = Kind::Backing;
    u64 bytes = 0;
    u64 host = 0;
    ClusterState state;     ///< of Compressed
    bool has_host = false;  ///< there is a place at `host`, also for what is not Data
  };
  /// Whether runs that are not data end where their places in the file do, as status() shows them.
  enum class Places : u8 { OfData, OfAll };

  // image.cpp
  Task<Result<void>> read_header_and_tables();
  Task<Result<void>> open_children();
  Result<void> prepare_for_writing();
  Task<Result<void>> make_consistent();
  void report(const std::string& message, u64 offset, u64 bytes);
  Task<IoStatus> finish(IoStatus status);  ///< of a request: writes the corrupt bit if it was found to be needed
  IoStatus check_request(u64 offset, u64 bytes, bool writes) const;
  bool is_fixed_metadata(u64 cluster_offset) const;
  bool is_metadata(u64 cluster_offset) const;
  Task<IoStatus> write_header();
  Task<IoStatus> first_write();
  u64 last_cluster(u64 offset, u64 bytes) const {
    return (offset + std::max<u64>(bytes, 1) - 1) >> geometry_.cluster_bits;
  }

  // image_read.cpp
  Run run_in_slice(const ClusterMap::Slice& slice, u64 offset, u64 most, Places places = Places::OfData);
  Task<IoStatus> next_run(u64 offset, u64 most, Run* run, Places places = Places::OfData);
  Task<IoStatus> read_unlocked(u64 offset, IoVec to, u64 skip, u64 bytes);
  Task<IoStatus> read_backing(u64 offset, IoVec to, u64 skip, u64 bytes);
  Task<IoStatus> read_compressed(const ClusterState& state, u64 within, IoVec to, u64 skip, u64 bytes);
  Task<IoStatus> load_compressed(const ClusterState& state);
  u64 backing_bytes() const { return backing_ ? backing_->bytes() : 0; }
  /// Whether the subclusters of `mask` read as zeroes without looking anywhere.
  bool reads_as_zero(const ClusterState& state, u32 mask, u64 cluster_offset) const;

  // image_write.cpp
  /// Bytes from `offset` that can be written where they are, at *host; 0: space is needed first.
  u64 in_place_bytes(const ClusterMap::Slice& slice, u64 offset, u64 most, u64* host);
  Task<IoStatus> write_locked(u64 offset, IoVec from, u64 skip, u64 bytes, RangeLock::Guard& guard);
  Task<IoStatus> write_allocating(u64 offset, IoVec from, u64 skip, u64 bytes, u64* done);
  struct Target;
  Task<IoStatus> choose_target(u64 offset, u64 bytes, Target* target);
  Task<IoStatus> write_with_edges(u64 offset, IoVec from, u64 skip, u64 bytes, const Target& target);
  Task<IoStatus> map_target(const Target& target);
  Task<IoStatus> ensure_table(u64 offset);
  /// The slice's state of a cluster, which must have a table. Nothing may be awaited before `slice` is used.
  Task<IoStatus> state_of(u64 offset, ClusterState* state);
  Task<IoStatus> set_state(u64 offset, const ClusterState& state);
  void free_clusters_of(const ClusterState& state, bool discard);
  Task<IoStatus> relieve();  ///< commits if too much is held back

  // image_zero.cpp
  Task<IoStatus> write_zeroes_locked(u64 offset, u64 length, IoFlags flags, RangeLock::Guard& guard);
  Task<IoStatus> zero_cluster(u64 offset, u64 bytes, IoFlags flags, RangeLock::Guard& guard);
  Task<IoStatus> write_zero_bytes(u64 offset, u64 bytes, RangeLock::Guard& guard);
  Task<IoStatus> discard_locked(u64 offset, u64 length, bool whole);

  // image_resize.cpp
  Task<Result<void>> grow(u64 bytes, Preallocation preallocation);
  Task<Result<void>> shrink(u64 bytes);
  Task<Result<void>> grow_l1(u64 entries);
  Task<Result<void>> set_size(u64 bytes);

  // image_commit.cpp
  Task<IoStatus> commit_if_needed(u64 ticket);
  Task<IoStatus> commit_locked();
  Task<IoStatus> write_all(const std::vector<TableWrite>& writes);
  Task<IoStatus> flush_all();
  Task<IoStatus> become_clean();

  HostFile file_;
  HostFile data_;  ///< where guest clusters are: `file_`'s node, or an external data file
  NodeRef backing_;
  ImageOptions options_;
  Header header_;
  Geometry geometry_;
  Buffer header_sector_;
  std::unique_ptr<ClusterMap> map_;
  std::unique_ptr<Refcounts> refcounts_;
  std::unique_ptr<Bitmaps> bitmaps_;
  RangeLock ranges_;
  AsyncMutex tables_mutex_;
  AsyncMutex commit_mutex_;
  AsyncMutex header_mutex_;
  AsyncMutex compress_mutex_;
  AsyncMutex first_write_mutex_;
  u64 flush_tickets_ = 0;
  u64 covered_ticket_ = 0;
  bool use_lazy_refcounts_ = false;
  bool has_written_ = false;
  bool broken_ = false;
  bool has_reported_ = false;
  bool has_warned_of_compressed_ = false;
  bool corrupt_bit_wanted_ = false;
  bool closed_ = false;
  u64 compressed_next_ = 0;  ///< where the next compressed cluster may begin, inside a cluster; 0: nowhere
  u64 unpacked_descriptor_ = 0;
  Buffer unpacked_;          ///< the compressed cluster that was read last
};

}  // namespace emu::block::qcow2
