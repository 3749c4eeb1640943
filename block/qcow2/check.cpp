// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/check.h"

#include <cerrno>
#include <cstring>

#include "block/qcow2/image.h"

namespace emu::block::qcow2 {

namespace {

/// How often each host cluster is referred to; sparse.
class References {
 public:
  void add(u64 cluster) {
    std::vector<u32>& chunk = chunks_[cluster / kChunk];
    if (chunk.empty()) chunk.resize(kChunk);
    ++chunk[cluster % kChunk];
    end_ = std::max(end_, cluster + 1);
  }
  u64 get(u64 cluster) const {
    const auto it = chunks_.find(cluster / kChunk);
    return it == chunks_.end() ? 0 : it->second[cluster % kChunk];
  }
  u64 end() const { return end_; }

 private:
  static constexpr u64 kChunk = 4096;
  std::unordered_map<u64, std::vector<u32>> chunks_;
  u64 end_ = 0;
};

class Checker {
 public:
  Checker(Image& image, Repair repair, std::function<void(const std::string&)> say)
      : image_(image),
        geometry_(image.geometry()),
        header_(image.header()),
        file_(image.file()),
        refcounts_(image.refcounts()),
        repair_(repair),
        say_(std::move(say)) {}

  Task<Result<CheckReport>> run();

 private:
  void say(const std::string& line) {
    if (say_) say_(line);
  }
  void error_found(const std::string& line) {
    ++report_.errors;
    say("ERROR " + line);
  }
  bool count(const char* what, u64 offset, u64 bytes);
  Task<IoStatus> count_tables(const std::vector<u64>& l1, bool active);
  void count_entries(const Buffer& table, u64 index, bool active);
  Task<IoStatus> count_snapshots();
  Task<IoStatus> count_bitmaps();
  void count_refcount_tables();
  Task<IoStatus> compare();
  Task<IoStatus> compare_cluster(u64 cluster);
  Task<IoStatus> check_copied_flags();
  Task<IoStatus> check_copied_table(u64 table);
  Task<Result<void>> finish();

  Image& image_;
  const Geometry& geometry_;
  const Header& header_;
  HostFile& file_;
  Refcounts& refcounts_;
  const Repair repair_;
  std::function<void(const std::string&)> say_;
  CheckReport report_;
  References references_;
  u64 file_end_ = 0;
  u64 next_guest_host_ = 0;
  u64 free_end_ = 0;  ///< clusters from here on are nobody's
};

/// False: nothing was counted, since it lies outside of the file.
bool Checker::count(const char* what, u64 offset, u64 bytes) {
  if (bytes == 0) return true;
  if (offset >= file_end_ || bytes > file_end_ - offset) {
    error_found(fmt::format("{} at {:#x} is beyond the end of the file", what, offset));
    return false;
  }
  const u64 last = (offset + bytes - 1) >> geometry_.cluster_bits;
  for (u64 cluster = offset >> geometry_.cluster_bits; cluster <= last; ++cluster) references_.add(cluster);
  return true;
}

void Checker::count_entries(const Buffer& table, u64 l1_index, bool active) {
  const u64 entry_bytes = u64(1) << geometry_.entry_bits();
  for (u64 i = 0; i < geometry_.l2_entries(); ++i) {
    const u8* const at = table.data() + i * entry_bytes;
    const L2Entry entry = {load_be64(at), geometry_.subclusters ? load_be64(at + 8) : 0};
    if (entry == L2Entry{}) continue;
    const std::optional<ClusterState> state = decode(geometry_, entry);
    const u64 guest = l1_index * geometry_.l2_span() + (i << geometry_.cluster_bits);
    if (!state) {
      error_found(fmt::format("guest offset {:#x}: invalid L2 entry {:#x}", guest, entry.descriptor));
      continue;
    }
    if (state->compressed) {
      if (entry.descriptor & kCopied) {
        error_found(fmt::format("coffset={:#x}: copied flag must never be set for compressed clusters",
                                state->compressed_offset));
      }
      const u64 bytes = std::min(state->compressed_bytes, file_end_ - std::min(file_end_, state->compressed_offset));
      count("compressed cluster", state->compressed_offset, std::max<u64>(bytes, 1));
      if (active) {
        ++report_.compressed_clusters;
        ++report_.allocated_clusters;
        ++report_.fragmented_clusters;  // as it is read: each by itself
      }
    } else if (state->host) {
      if (geometry_.external_data) {
        if (*state->host != guest) error_found(fmt::format("guest offset {:#x}: wrong data file offset", guest));
      } else if (!count("data cluster", *state->host, geometry_.cluster())) {
        continue;
      }
      if (!active) continue;
      ++report_.allocated_clusters;
      if (next_guest_host_ != 0 && *state->host != next_guest_host_) ++report_.fragmented_clusters;
      next_guest_host_ = *state->host + geometry_.cluster();
    }
  }
}

Task<IoStatus> Checker::count_tables(const std::vector<u64>& l1, bool active) {
  Buffer table(geometry_.cluster());
  for (u64 i = 0; i < l1.size(); ++i) {
    const u64 offset = l1[i] & kOffsetMask;
    if (l1[i] & ~(kOffsetMask | kCopied)) error_found(fmt::format("L1 entry {}: reserved bits are set", i));
    if (offset == 0) continue;
    if (!is_aligned(offset, geometry_.cluster())) {
      error_found(fmt::format("l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", offset));
      continue;
    }
    if (!count("L2 table", offset, geometry_.cluster())) continue;
    const IoStatus status = co_await file_.read(offset, table.data(), table.size());
    if (status != 0) {
      ++report_.failures;
      say(fmt::format("L2 table at {:#x} cannot be read: {}", offset, std::strerror(status)));
      continue;
    }
    count_entries(table, i, active);
  }
  co_return 0;
}

Task<IoStatus> Checker::count_snapshots() {
  if (header_.snapshots == 0) co_return 0;
  // Rows have any length: read in pieces as they are needed.
  constexpr u64 kFixed = 40;
  u64 at = header_.snapshots_offset;
  for (u32 i = 0; i < header_.snapshots; ++i) {
    u8 row[kFixed];
    if (at >= file_end_ || at - header_.snapshots_offset > kMostSnapshotTableBytes) {
      error_found("snapshot table is cut off");
      co_return 0;
    }
    IoStatus status = co_await file_.read(at, row, kFixed);
    if (status != 0) co_return status;
    const u64 l1_offset = load_be64(row);
    const u64 l1_entries = load_be32(row + 8);
    at = align_up(at + kFixed + load_be16(row + 12) + load_be16(row + 14) + load_be32(row + 36), 8);
    if (!is_aligned(l1_offset, geometry_.cluster()) || l1_entries * 8 > kMostL1Bytes) {
      error_found(fmt::format("snapshot {}: L1 table at {:#x} ({} entries) is not valid", i, l1_offset, l1_entries));
      continue;
    }
    if (!count("snapshot L1 table", l1_offset, l1_entries * 8)) continue;
    Buffer raw(l1_entries * 8);
    status = co_await file_.read(l1_offset, raw.data(), raw.size());
    if (status != 0) co_return status;
    std::vector<u64> l1(l1_entries);
    for (u64 k = 0; k < l1_entries; ++k) l1[k] = load_be64(raw.data() + k * 8);
    status = co_await count_tables(l1, false);
    if (status != 0) co_return status;
  }
  count("snapshot table", header_.snapshots_offset, std::min(at, file_end_) - header_.snapshots_offset);
  co_return 0;
}

Task<IoStatus> Checker::count_bitmaps() {
  if (!header_.bitmaps) co_return 0;
  count("bitmap directory", header_.bitmaps->directory_offset, header_.bitmaps->directory_bytes);
  const Result<std::vector<BitmapEntry>> entries = co_await read_bitmap_directory(file_, geometry_, *header_.bitmaps);
  if (!entries) {
    error_found(entries.error().message());
    co_return 0;
  }
  for (const BitmapEntry& entry : *entries) {
    if (!count("bitmap table", entry.table_offset, u64(entry.table_entries) * 8)) continue;
    Buffer raw(u64(entry.table_entries) * 8);
    const IoStatus status = co_await file_.read(entry.table_offset, raw.data(), raw.size());
    if (status != 0) co_return status;
    for (u32 i = 0; i < entry.table_entries; ++i) {
      const u64 place = load_be64(raw.data() + u64(i) * 8);
      const u64 offset = place & kOffsetMask;
      if ((place & ~(kOffsetMask | 1)) || (offset != 0 && (place & 1)) || !is_aligned(offset, geometry_.cluster())) {
        error_found(fmt::format("bitmap '{}': table entry {} is not valid", entry.name, i));
      } else if (offset != 0) {
        count("bitmap data", offset, geometry_.cluster());
      }
    }
  }
  co_return 0;
}

void Checker::count_refcount_tables() {
  count("refcount table", refcounts_.table_offset(), refcounts_.table_clusters() << geometry_.cluster_bits);
  for (u64 i = 0; i < refcounts_.table().size(); ++i) {
    const u64 entry = refcounts_.table()[i];
    if (entry == 0) continue;
    if (refcounts_.is_valid_entry(entry, file_end_)) {
      count("refcount block", entry, geometry_.cluster());
    } else {
      error_found(fmt::format("refcount block {} is not cluster aligned or outside of the file; refcount table entry "
                              "corrupted ({:#x})", i, entry));
    }
  }
  if (repair_ == Repair::All) {
    const u64 dropped = refcounts_.drop_invalid_blocks(file_end_);
    report_.errors -= dropped;
    report_.errors_fixed += dropped;
  }
}

Task<IoStatus> Checker::compare_cluster(u64 cluster) {
  u64 counted = 0;
  IoStatus status = co_await refcounts_.get(cluster, &counted);
  if (status != 0) co_return status;
  const u64 wanted = references_.get(cluster);
  if (counted == wanted) co_return 0;
  const bool leak = counted > wanted;
  const bool mend = leak ? repair_ != Repair::None : repair_ == Repair::All;
  say(fmt::format("{} cluster {} refcount={} reference={}", mend ? "Repairing" : leak ? "Leaked" : "ERROR", cluster,
                  counted, wanted));
  if (!mend) {
    ++(leak ? report_.leaks : report_.errors);
    co_return 0;
  }
  if (wanted > geometry_.most_refcount()) {
    ++report_.errors;
    co_return 0;
  }
  for (int tries = 0; tries < 4; ++tries) {
    const bool needs_block = !refcounts_.has_block_for(cluster);
    const u64 table_before = refcounts_.table_offset();
    status = co_await refcounts_.force(cluster, wanted, needs_block ? free_end_ : 0);
    if (refcounts_.table_offset() != table_before) {
      for (u64 i = 0; i < refcounts_.table_clusters(); ++i) {
        references_.add((refcounts_.table_offset() >> geometry_.cluster_bits) + i);
      }
      free_end_ = std::max(free_end_, refcounts_.end_cluster());
    }
    if (status == EAGAIN) continue;
    if (status != 0) co_return status;
    if (needs_block) references_.add(free_end_++);
    break;
  }
  ++(leak ? report_.leaks_fixed : report_.errors_fixed);
  co_return 0;
}

Task<IoStatus> Checker::compare() {
  const u64 per_block = geometry_.refcounts_per_block();
  free_end_ = std::max(references_.end(), (file_end_ + geometry_.cluster() - 1) >> geometry_.cluster_bits);
  for (u64 index = 0; index < refcounts_.table().size() || index * per_block < references_.end(); ++index) {
    const u64 first = index * per_block;
    if (!refcounts_.has_block_for(first) && first >= references_.end()) continue;
    for (u64 cluster = first; cluster < first + per_block; ++cluster) {
      if (!refcounts_.has_block_for(first) && cluster >= references_.end()) break;
      const IoStatus status = co_await compare_cluster(cluster);
      if (status != 0) {
        ++report_.failures;
        say(fmt::format("refcount block {} cannot be read or written: {}", index, std::strerror(status)));
        break;
      }
    }
  }
  co_return 0;
}

/// §: bit 63 of an entry says that the count is exactly one.
Task<IoStatus> Checker::check_copied_table(u64 table) {
  Buffer raw(geometry_.cluster());
  IoStatus status = co_await file_.read(table, raw.data(), raw.size());
  if (status != 0) co_return status;
  bool changed = false;
  const u64 entry_bytes = u64(1) << geometry_.entry_bits();
  for (u64 i = 0; i < geometry_.l2_entries(); ++i) {
    u8* const at = raw.data() + i * entry_bytes;
    const u64 descriptor = load_be64(at);
    if ((descriptor & kCompressed) || (descriptor & kOffsetMask) == 0 || geometry_.external_data) continue;
    u64 counted = 0;
    status = co_await refcounts_.get((descriptor & kOffsetMask) >> geometry_.cluster_bits, &counted);
    if (status != 0) co_return status;
    if ((counted == 1) == ((descriptor & kCopied) != 0)) continue;
    const bool mend = repair_ == Repair::All;
    say(fmt::format("{} OFLAG_COPIED data cluster: l2_entry={:x} refcount={}", mend ? "Repairing" : "ERROR", descriptor,
                    counted));
    ++(mend ? report_.errors_fixed : report_.errors);
    store_be64(at, descriptor ^ kCopied);
    changed = mend;
  }
  if (!changed) co_return 0;
  image_.map().drop(table);
  status = co_await file_.write(table, raw.data(), raw.size());
  co_return status;
}

Task<IoStatus> Checker::check_copied_flags() {
  ClusterMap& map = image_.map();
  for (u64 i = 0; i < map.l1_entries(); ++i) {
    const u64 entry = map.l1_entry(i);
    const u64 table = entry & kOffsetMask;
    if (table == 0 || !is_aligned(table, geometry_.cluster()) || table >= file_end_) continue;
    u64 counted = 0;
    IoStatus status = co_await refcounts_.get(table >> geometry_.cluster_bits, &counted);
    if (status == 0 && (counted == 1) != ((entry & kCopied) != 0)) {
      const bool mend = repair_ == Repair::All;
      say(fmt::format("{} OFLAG_COPIED L2 cluster: l1_index={} l1_entry={:x} refcount={}", mend ? "Repairing" : "ERROR",
                      i, entry, counted));
      ++(mend ? report_.errors_fixed : report_.errors);
      if (mend) map.set_copied(i, counted == 1);
    }
    if (status == 0) status = co_await check_copied_table(table);
    if (status != 0) ++report_.failures;
  }
  co_return 0;
}

Task<Result<void>> Checker::finish() {
  if (repair_ == Repair::None) co_return Result<void>();
  IoStatus status = co_await image_.settle();
  if (status != 0) co_return error("cannot write what was repaired: {}", std::strerror(status));
  const u64 marks = (kDirty | kCorrupt) & header_.incompatible;
  if (marks != 0 && report_.is_usable() && report_.leaks == 0) {
    status = co_await image_.set_feature_bits(header_.incompatible & ~marks, header_.compatible, header_.autoclear);
    if (status != 0) co_return error("cannot write the qcow2 header: {}", std::strerror(status));
  }
  co_return Result<void>();
}

Task<Result<CheckReport>> Checker::run() {
  file_end_ = align_up(file_.bytes(), geometry_.cluster());
  report_.total_clusters = (header_.bytes + geometry_.cluster() - 1) >> geometry_.cluster_bits;
  count("header", 0, geometry_.cluster());
  std::vector<u64> l1(image_.map().l1_entries());
  for (u64 i = 0; i < l1.size(); ++i) l1[i] = image_.map().l1_entry(i);
  count("L1 table", image_.map().l1_offset(), image_.map().l1_bytes());
  IoStatus status = co_await count_tables(l1, true);
  if (status == 0) status = co_await count_snapshots();
  if (status == 0) status = co_await count_bitmaps();
  if (status != 0) co_return error("Check failed: {}", std::strerror(status));
  count_refcount_tables();
  status = co_await compare();
  if (status == 0) status = co_await check_copied_flags();
  if (status != 0) co_return error("Check failed: {}", std::strerror(status));
  u64 end_cluster = 0;
  status = co_await refcounts_.last_used(&end_cluster);
  if (status != 0) ++report_.failures;
  report_.end_offset = end_cluster << geometry_.cluster_bits;
  const Result<void> finished = co_await finish();
  EMU_CO_TRY(finished);
  co_return report_;
}

}  // namespace

Task<Result<CheckReport>> check(Image& image, Repair repair, std::function<void(const std::string&)> say) {
  Checker checker(image, repair, std::move(say));
  Result<CheckReport> report = co_await checker.run();
  co_return report;
}

}  // namespace emu::block::qcow2
