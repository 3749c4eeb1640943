// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/format.h"

namespace emu::block::qcow2 {

namespace {

std::optional<ClusterState> decode_compressed(const Geometry& geometry, u64 descriptor) {
  ClusterState state;
  state.compressed = true;
  const unsigned shift = geometry.compressed_shift();
  state.compressed_offset = descriptor & low_mask(shift);
  if (state.compressed_offset >= kMostHostBytes) return std::nullopt;
  const u64 sectors = bits(descriptor, 61, shift);
  state.compressed_bytes = (sectors + 1) * kSector - (state.compressed_offset & (kSector - 1));
  return state;
}

}  // namespace

std::optional<ClusterState> decode(const Geometry& geometry, L2Entry entry) {
  const u64 descriptor = entry.descriptor;
  if (descriptor & kCompressed) {
    // §: with external data files there are no compressed clusters; bit 63 is 0 in them.
    if (geometry.external_data) return std::nullopt;
    return decode_compressed(geometry, descriptor);
  }
  ClusterState state;
  const u64 reserved = bits(descriptor, 8, 1) | bits(descriptor, 61, 56);
  if (reserved != 0) return std::nullopt;
  const u64 offset = descriptor & kOffsetMask;
  if (offset & geometry.cluster_mask()) return std::nullopt;
  state.copied = (descriptor & kCopied) != 0;
  // An offset of 0 with bit 63 set is a host cluster in external data files only.
  if (offset != 0 || (geometry.external_data && state.copied)) state.host = offset;

  if (geometry.subclusters) {
    if (descriptor & kZeroFlag) return std::nullopt;
    state.allocated = u32(entry.bitmap);
    state.zero = u32(entry.bitmap >> 32);
    if (state.allocated & state.zero) return std::nullopt;
    if (state.allocated && !state.host) return std::nullopt;
  } else if (descriptor & kZeroFlag) {
    if (geometry.version < 3) return std::nullopt;
    state.zero = 1;
  } else if (state.host) {
    state.allocated = 1;
  }
  return state;
}

L2Entry encode(const Geometry& geometry, const ClusterState& state) {
  L2Entry entry;
  if (state.compressed) {
    const unsigned shift = geometry.compressed_shift();
    const u64 first = state.compressed_offset / kSector;
    const u64 last = (state.compressed_offset + state.compressed_bytes - 1) / kSector;
    entry.descriptor = kCompressed | state.compressed_offset | ((last - first) << shift);
    return entry;
  }
  if (state.host) entry.descriptor = *state.host | (state.copied ? kCopied : 0);
  if (geometry.subclusters) {
    entry.bitmap = u64(state.allocated) | (u64(state.zero) << 32);
  } else if (state.zero) {
    entry.descriptor |= kZeroFlag;
  }
  return entry;
}

}  // namespace emu::block::qcow2
