// SPDX-License-Identifier: Apache-2.0
// The numbers of the qcow2 format, and one guest cluster's mapping in a form that has no special cases. Sections (§)
// are those of the published description "Qcow2 Image File Format", docs/interop/qcow2 of QEMU.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>

#include "util/bits.h"
#include "util/endian.h"
#include "util/types.h"

namespace emu::block::qcow2 {

constexpr u32 kMagic = 0x514649fb;
constexpr unsigned kMinClusterBits = 9;
constexpr unsigned kMaxClusterBits = 21;
constexpr unsigned kMinSubclusterClusterBits = 14;
constexpr u64 kSector = 512;
/// Offsets in tables have bits 9-55.
constexpr u64 kOffsetMask = 0x00fffffffffffe00;
constexpr u64 kMostHostBytes = u64(1) << 56;
constexpr u64 kMostL1Bytes = 32u << 20;
constexpr u64 kMostRefcountTableBytes = 8u << 20;
constexpr u64 kMostSnapshots = 65536;
constexpr u64 kMostSnapshotTableBytes = 64u << 20;
constexpr u64 kMostBitmaps = 65535;
constexpr u64 kMostBitmapDirectoryBytes = 64u << 20;
constexpr u32 kMostBackingName = 1023;
constexpr u64 kMostVirtualBytes = u64(1) << 61;

constexpr u64 kCopied = bit64(63);
constexpr u64 kCompressed = bit64(62);
constexpr u64 kZeroFlag = bit64(0);

enum Incompatible : u64 { kDirty = 1, kCorrupt = 2, kExternalData = 4, kCompressionType = 8, kExtendedL2 = 16 };
constexpr u64 kKnownIncompatible = kDirty | kCorrupt | kExternalData | kCompressionType | kExtendedL2;
enum Compatible : u64 { kLazyRefcounts = 1 };
enum Autoclear : u64 { kBitmaps = 1, kRawExternalData = 2 };
constexpr u64 kKnownAutoclear = kBitmaps | kRawExternalData;

enum class Compression : u8 { Zlib = 0, Zstd = 1 };

/// Bytes for I/O: aligned for direct I/O, zeroed.
class Buffer {
 public:
  static constexpr std::size_t kAlignment = 4096;
  Buffer() = default;
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    data_.reset(static_cast<u8*>(std::aligned_alloc(kAlignment, align_up(bytes, kAlignment))));
    if (!data_) throw_bad_alloc();
    __builtin_memset(data_.get(), 0, bytes);
  }
  u8* data() { return data_.get(); }
  const u8* data() const { return data_.get(); }
  std::size_t size() const { return bytes_; }
  bool empty() const { return bytes_ == 0; }

 private:
  [[noreturn]] static void throw_bad_alloc() { std::abort(); }  // as operator new ends under -fno-exceptions
  struct Free {
    void operator()(u8* p) const { std::free(p); }
  };
  std::unique_ptr<u8, Free> data_;
  std::size_t bytes_ = 0;
};

inline u64 load_be64(const u8* at) {
  u64 v;
  __builtin_memcpy(&v, at, 8);
  return byte_swap(v);
}
inline u32 load_be32(const u8* at) {
  u32 v;
  __builtin_memcpy(&v, at, 4);
  return byte_swap(v);
}
inline u16 load_be16(const u8* at) {
  u16 v;
  __builtin_memcpy(&v, at, 2);
  return byte_swap(v);
}
inline void store_be64(u8* at, u64 v) {
  v = byte_swap(v);
  __builtin_memcpy(at, &v, 8);
}
inline void store_be32(u8* at, u32 v) {
  v = byte_swap(v);
  __builtin_memcpy(at, &v, 4);
}
inline void store_be16(u8* at, u16 v) {
  v = byte_swap(v);
  __builtin_memcpy(at, &v, 2);
}

/// What follows from cluster_bits, refcount_order and extended L2 entries.
struct Geometry {
  unsigned cluster_bits = 16;
  unsigned refcount_order = 4;
  bool subclusters = false;
  u32 version = 3;
  bool external_data = false;

  u64 cluster() const { return u64(1) << cluster_bits; }
  u64 cluster_mask() const { return cluster() - 1; }
  unsigned entry_bits() const { return subclusters ? 4 : 3; }  ///< log2 of an L2 entry's bytes
  u64 l2_entries() const { return u64(1) << (cluster_bits - entry_bits()); }
  /// Guest bytes that one L2 table maps.
  u64 l2_span() const { return l2_entries() << cluster_bits; }
  unsigned subcluster_count() const { return subclusters ? 32 : 1; }
  u64 subcluster() const { return cluster() / subcluster_count(); }
  u32 all_subclusters() const { return u32(low_mask(subcluster_count())); }
  u64 refcounts_per_block() const { return (cluster() * 8) >> refcount_order; }
  u64 most_refcount() const { return low_mask(1u << refcount_order); }
  u64 l1_entries_for(u64 bytes) const { return (bytes + l2_span() - 1) / l2_span(); }
  /// §Compressed Clusters Descriptor: where the count of sectors begins.
  unsigned compressed_shift() const { return 62 - (cluster_bits - 8); }

  /// The subclusters that bytes [from, to) of a cluster touch.
  u32 touched(u64 from, u64 to) const {
    if (from >= to) return 0;
    const u64 first = from / subcluster();
    const u64 last = (to - 1) / subcluster();
    return u32(low_mask(unsigned(last + 1)) & ~low_mask(unsigned(first)));
  }
};

/// The mapping of one guest cluster. Images without subclusters have one subcluster a cluster.
struct ClusterState {
  bool compressed = false;
  bool copied = false;               ///< refcount is one: may be written in place
  std::optional<u64> host;           ///< of a standard cluster
  u32 allocated = 0;                 ///< subclusters whose data is at `host`
  u32 zero = 0;                      ///< subclusters that read as zeroes
  u64 compressed_offset = 0;
  u64 compressed_bytes = 0;          ///< to the end of the last sector

  bool is_unallocated() const { return !compressed && !host && allocated == 0 && zero == 0; }
};

/// An L2 entry as it lies in the image.
struct L2Entry {
  u64 descriptor = 0;
  u64 bitmap = 0;
  bool operator==(const L2Entry&) const = default;
};

/// What an entry means; nullopt if it breaks the format (a reserved bit, an unaligned offset, a subcluster that is both
/// allocated and zero).
std::optional<ClusterState> decode(const Geometry& geometry, L2Entry entry);
L2Entry encode(const Geometry& geometry, const ClusterState& state);

}  // namespace emu::block::qcow2
