// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/bitmaps.h"

#include <cerrno>
#include <cstring>

#include "block/qcow2/refcounts.h"

namespace emu::block::qcow2 {

namespace {

constexpr u64 kRowBytes = 24;
constexpr u64 kAllOnes = 1;  ///< in a table entry without an offset
constexpr u64 kMostBitmapBytes = 256u << 20;

Result<void> check_row(const BitmapEntry& entry, const Geometry& geometry, u64 file_bytes) {
  if (entry.flags & ~7u) return error("bitmap '{}': reserved flags are set", entry.name);
  if (entry.type != 1) return error("bitmap '{}': unknown type {}", entry.name, entry.type);
  if (entry.granularity_bits > 63) return error("bitmap '{}': invalid granularity", entry.name);
  if (entry.name.empty() || entry.name.size() > 1023) return error("a bitmap's name has {} bytes", entry.name.size());
  if (!is_aligned(entry.table_offset, geometry.cluster()) || entry.table_offset >= file_bytes ||
      u64(entry.table_entries) * 8 > kMostL1Bytes) {
    return error("bitmap '{}': its table at {:#x} is not valid", entry.name, entry.table_offset);
  }
  return {};
}

}  // namespace

Task<Result<std::vector<BitmapEntry>>> read_bitmap_directory(HostFile& file, const Geometry& geometry,
                                                             const BitmapsExtension& extension) {
  Buffer raw(extension.directory_bytes);
  const IoStatus status = co_await file.read(extension.directory_offset, raw.data(), raw.size());
  if (status != 0) co_return error("cannot read the bitmap directory: {}", std::strerror(status));
  std::vector<BitmapEntry> entries;
  u64 at = 0;
  for (u32 i = 0; i < extension.count; ++i) {
    if (raw.size() - at < kRowBytes) co_return error("bitmap directory is cut off");
    const u8* const row = raw.data() + at;
    BitmapEntry entry;
    entry.table_offset = load_be64(row);
    entry.table_entries = load_be32(row + 8);
    entry.flags = load_be32(row + 12);
    entry.type = row[16];
    entry.granularity_bits = row[17];
    const u64 name_bytes = load_be16(row + 18);
    const u64 extra_bytes = load_be32(row + 20);
    entry.flags_at = extension.directory_offset + at + 12;
    const u64 row_bytes = align_up(kRowBytes + extra_bytes + name_bytes, 8);
    if (row_bytes > raw.size() - at) co_return error("bitmap directory is cut off");
    entry.name.assign(reinterpret_cast<const char*>(row) + kRowBytes + extra_bytes, name_bytes);
    const Result<void> valid = check_row(entry, geometry, file.bytes());
    EMU_CO_TRY(valid);
    entries.push_back(std::move(entry));
    at += row_bytes;
  }
  if (at != raw.size()) co_return error("bitmap directory has {} bytes too many", raw.size() - at);
  co_return entries;
}

Task<Result<void>> Bitmaps::open(const BitmapsExtension& extension, u64 image_bytes) {
  enabled_.clear();
  in_use_ = false;
  Result<std::vector<BitmapEntry>> entries = co_await read_bitmap_directory(file_, geometry_, extension);
  EMU_CO_TRY(entries);
  u64 total = 0;
  for (BitmapEntry& entry : *entries) {
    if ((entry.flags & BitmapEntry::kInUse) || !(entry.flags & BitmapEntry::kAuto)) continue;
    if (entry.granularity_bits < 9 || entry.granularity_bits > 31) {
      co_return error("bitmap '{}': granularity 2^{} is not supported", entry.name, entry.granularity_bits);
    }
    const u64 granularity = bit64(entry.granularity_bits);
    const u64 bytes = ((image_bytes + granularity - 1) / granularity + 7) / 8;
    total += bytes;
    if (total > kMostBitmapBytes) co_return error("bitmap '{}' is too large: more than {} bytes with those before it",
                                                  entry.name, kMostBitmapBytes);
    if (entry.table_entries != (bytes + geometry_.cluster() - 1) / geometry_.cluster()) {
      co_return error("bitmap '{}': {} table entries for {} bytes", entry.name, entry.table_entries, bytes);
    }
    Bitmap bitmap;
    Buffer raw(u64(entry.table_entries) * 8);
    IoStatus status = raw.empty() ? 0 : co_await file_.read(entry.table_offset, raw.data(), raw.size());
    for (u32 i = 0; status == 0 && i < entry.table_entries; ++i) {
      const u64 place = load_be64(raw.data() + u64(i) * 8);
      const u64 offset = place & kOffsetMask;
      if ((place & ~(kOffsetMask | kAllOnes)) || (offset != 0 && (place & kAllOnes)) ||
          !is_aligned(offset, geometry_.cluster())) {
        co_return error("bitmap '{}': table entry {} is not valid", entry.name, i);
      }
      bitmap.table.push_back(place);
      Buffer cluster(geometry_.cluster());
      if (offset != 0) status = co_await file_.read(offset, cluster.data(), cluster.size());
      else if (place & kAllOnes) std::memset(cluster.data(), 0xff, cluster.size());
      bitmap.clusters.push_back(std::move(cluster));
    }
    if (status != 0) co_return error("cannot read bitmap '{}': {}", entry.name, std::strerror(status));
    bitmap.changed.resize(entry.table_entries);
    bitmap.entry = std::move(entry);
    enabled_.push_back(std::move(bitmap));
  }
  co_return Result<void>();
}

void Bitmaps::set_bits(u64 offset, u64 bytes) {
  if (bytes == 0) return;
  for (Bitmap& bitmap : enabled_) {
    const u64 last = (offset + bytes - 1) >> bitmap.entry.granularity_bits;
    for (u64 i = offset >> bitmap.entry.granularity_bits; i <= last; ++i) {
      const u64 cluster = i / 8 / geometry_.cluster();
      if (cluster >= bitmap.clusters.size()) break;
      u8& byte = bitmap.clusters[cluster].data()[i / 8 % geometry_.cluster()];
      if (byte & (1u << (i % 8))) continue;
      byte |= u8(1u << (i % 8));
      bitmap.changed[cluster] = true;
    }
  }
}

Task<IoStatus> Bitmaps::write_flags(const Bitmap& bitmap, u32 flags) {
  u8 raw[4];
  store_be32(raw, flags);
  const IoStatus status = co_await file_.write(bitmap.entry.flags_at, raw, sizeof raw);
  co_return status;
}

Task<IoStatus> Bitmaps::mark_in_use() {
  in_use_ = true;
  for (const Bitmap& bitmap : enabled_) {
    const IoStatus status = co_await write_flags(bitmap, bitmap.entry.flags | BitmapEntry::kInUse);
    if (status != 0) co_return status;
  }
  co_return 0;
}

Task<IoStatus> Bitmaps::store(Refcounts& refcounts) {
  for (Bitmap& bitmap : enabled_) {
    for (std::size_t i = 0; i < bitmap.clusters.size(); ++i) {
      if (!bitmap.changed[i]) continue;
      u64 offset = bitmap.table[i] & kOffsetMask;
      if (offset == 0) {
        const Allocation place = co_await refcounts.allocate(1, Contiguity::Exactly);
        if (place.status != 0) co_return place.status;
        offset = place.offset;
        bitmap.table[i] = offset;
      }
      const IoStatus status = co_await file_.write(offset, bitmap.clusters[i].data(), geometry_.cluster());
      if (status != 0) co_return status;
    }
  }
  co_return 0;
}

Task<IoStatus> Bitmaps::finish() {
  for (Bitmap& bitmap : enabled_) {
    Buffer raw(bitmap.table.size() * 8);
    for (std::size_t i = 0; i < bitmap.table.size(); ++i) store_be64(raw.data() + i * 8, bitmap.table[i]);
    const IoStatus status = co_await file_.write(bitmap.entry.table_offset, raw.data(), raw.size());
    if (status != 0) co_return status;
    bitmap.changed.assign(bitmap.changed.size(), false);
  }
  IoStatus status = co_await file_.flush();
  if (status != 0) co_return status;
  for (const Bitmap& bitmap : enabled_) {
    status = co_await write_flags(bitmap, bitmap.entry.flags);
    if (status != 0) co_return status;
  }
  in_use_ = false;
  status = co_await file_.flush();
  co_return status;
}

}  // namespace emu::block::qcow2
