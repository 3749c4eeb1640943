// SPDX-License-Identifier: Apache-2.0
// Dirty bitmaps that an image keeps: those that are enabled follow our writes, the others stay as they are.
#pragma once

#include <string>
#include <vector>

#include "block/qcow2/header.h"
#include "block/qcow2/host_file.h"

namespace emu::block::qcow2 {

class Refcounts;

/// A row of the directory, §Bitmap directory.
struct BitmapEntry {
  u64 table_offset = 0;
  u32 table_entries = 0;
  u32 flags = 0;
  u8 type = 0;
  u8 granularity_bits = 0;
  std::string name;
  u64 flags_at = 0;  ///< file offset of `flags`

  static constexpr u32 kInUse = 1, kAuto = 2, kExtraDataCompatible = 4;
};

/// Errors: a row that breaks the format.
Task<Result<std::vector<BitmapEntry>>> read_bitmap_directory(HostFile& file, const Geometry& geometry,
                                                             const BitmapsExtension& extension);

class Bitmaps {
 public:
  Bitmaps(const Geometry& geometry, HostFile& file) : geometry_(geometry), file_(file) {}

  /// Loads the enabled ones. Errors: the directory or a table breaks the format.
  Task<Result<void>> open(const BitmapsExtension& extension, u64 image_bytes);

  bool has_enabled() const { return !enabled_.empty(); }
  bool is_in_use() const { return in_use_; }
  /// The guest writes here.
  void mark(u64 offset, u64 bytes) {
    if (!enabled_.empty()) [[unlikely]] set_bits(offset, bytes);
  }

  /// Before the first write: until finish(), the bitmaps in the file are not to be trusted.
  Task<IoStatus> mark_in_use();
  /// Data out to the file, in clusters whose counts the next commit writes; then that commit, then finish().
  Task<IoStatus> store(Refcounts& refcounts);
  Task<IoStatus> finish();

 private:
  struct Bitmap {
    BitmapEntry entry;
    std::vector<u64> table;
    std::vector<Buffer> clusters;      ///< empty: all zeroes or all ones, as the table says
    std::vector<bool> changed;
  };
  void set_bits(u64 offset, u64 bytes);
  Task<IoStatus> write_flags(const Bitmap& bitmap, u32 flags);

  const Geometry& geometry_;
  HostFile& file_;
  std::vector<Bitmap> enabled_;
  bool in_use_ = false;
};

}  // namespace emu::block::qcow2
