// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/create.h"

#include <cstring>

#include "block/qcow2/header.h"
#include "block/qcow2/image.h"

namespace emu::block::qcow2 {

namespace {

/// Where everything lies in a new image, in clusters: header, refcount table, refcount blocks, L1 table.
struct Layout {
  u64 table_clusters = 1;
  u64 blocks = 1;
  u64 l1_clusters = 0;
  u64 clusters() const { return 1 + table_clusters + blocks + l1_clusters; }
};

Layout plan(const Geometry& geometry, u64 l1_entries) {
  Layout layout;
  layout.l1_clusters = (l1_entries * 8 + geometry.cluster() - 1) >> geometry.cluster_bits;
  // The counts have to cover themselves: a few rounds settle it.
  for (;;) {
    const u64 per_block = geometry.refcounts_per_block();
    const u64 blocks = (layout.clusters() + per_block - 1) / per_block;
    const u64 table = (blocks * 8 + geometry.cluster() - 1) >> geometry.cluster_bits;
    if (blocks == layout.blocks && table == layout.table_clusters) return layout;
    layout.blocks = blocks;
    layout.table_clusters = table;
  }
}

void store_count(u8* block, unsigned order, u64 index, u64 count) {
  switch (order) {
    case 3: block[index] = u8(count); break;
    case 4: store_be16(block + index * 2, u16(count)); break;
    case 5: store_be32(block + index * 4, u32(count)); break;
    case 6: store_be64(block + index * 8, count); break;
    default: {
      const u64 bit = index << order;
      block[bit / 8] |= u8(count << (bit % 8));
    }
  }
}

Header make(const CreateOptions& options, const Geometry& geometry, const Layout& layout) {
  Header header;
  header.version = options.version;
  header.cluster_bits = geometry.cluster_bits;
  header.bytes = options.bytes;
  header.l1_entries = u32(geometry.l1_entries_for(options.bytes));
  header.l1_offset = (1 + layout.table_clusters + layout.blocks) << geometry.cluster_bits;
  header.refcount_table_offset = geometry.cluster();
  header.refcount_table_clusters = u32(layout.table_clusters);
  header.refcount_order = geometry.refcount_order;
  header.compression = options.compression;
  header.backing_file = options.backing_file;
  header.backing_format = options.backing_format;
  header.data_file = options.data_file;
  if (options.extended_l2) header.incompatible |= kExtendedL2;
  if (options.compression != Compression::Zlib) header.incompatible |= kCompressionType;
  if (!options.data_file.empty()) header.incompatible |= kExternalData;
  if (options.data_file_raw) header.autoclear |= kRawExternalData;
  if (options.lazy_refcounts) header.compatible |= kLazyRefcounts;
  if (header.l1_entries == 0) header.l1_offset = 0;
  return header;
}

/// Where the file reads as zeroes, what is zero at the end of `table` need not be written.
Task<IoStatus> write_table(HostFile& file, u64 offset, const Buffer& table, bool file_is_zero) {
  u64 bytes = table.size();
  while (file_is_zero && bytes > 0 && table.data()[bytes - 1] == 0) --bytes;
  bytes = std::min<u64>(align_up(bytes, 4096), table.size());
  if (bytes == 0) co_return 0;
  const IoStatus status = co_await file.write(offset, table.data(), bytes);
  co_return status;
}

}  // namespace

Result<void> check_create_options(const CreateOptions& options) {
  if (!std::has_single_bit(options.cluster) || options.cluster < 512 || options.cluster > (2u << 20)) {
    return error("Cluster size must be a power of two between 512 and 2048k");
  }
  if (!std::has_single_bit(options.refcount_bits) || options.refcount_bits > 64) {
    return error("Refcount width must be a power of two and may not exceed 64 bits");
  }
  if (options.version < 3) {
    const char* const what = options.refcount_bits != 16  ? "Different refcount widths than 16 bits require"
                             : options.lazy_refcounts     ? "Lazy refcounts only supported with"
                             : options.extended_l2        ? "Extended L2 entries are only supported with"
                             : !options.data_file.empty() ? "External data files are only supported with"
                             : options.compression != Compression::Zlib
                                 ? "Non-zlib compression type is only supported with"
                                 : nullptr;
    if (what) return error("{} compatibility level 1.1 and above (use version=v3 or greater)", what);
  }
  if (options.extended_l2 && options.cluster < (16u << 10)) {
    return error("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  }
  if (options.data_file_raw && options.data_file.empty()) return error("data-file-raw requires data-file");
  if (options.data_file_raw && !options.backing_file.empty()) {
    return error("Backing file and data-file-raw cannot be used at the same time");
  }
  if (!options.backing_file.empty() && options.preallocation != Preallocation::Off && !options.extended_l2) {
    return error("Backing file and preallocation can only be used at the same time if extended_l2 is enabled");
  }
  if (options.backing_file.size() > kMostBackingName) return error("Backing file name too long (at most 1023 bytes)");
  if (options.bytes % kSector != 0) return error("Image size must be a multiple of {} bytes", kSector);
  Geometry geometry;
  geometry.cluster_bits = unsigned(std::countr_zero(options.cluster));
  geometry.subclusters = options.extended_l2;
  if (options.bytes > kMostVirtualBytes || geometry.l1_entries_for(options.bytes) * 8 > kMostL1Bytes) {
    return error("The image size is too large (try using a larger cluster size)");
  }
  return {};
}

Task<Result<void>> create(NodeRef node, CreateOptions options, NodeRef data_file) {
  options.bytes = align_up(options.bytes, kSector);
  const Result<void> good = check_create_options(options);
  EMU_CO_TRY(good);
  if (options.data_file_raw && options.preallocation == Preallocation::Off) {
    // Readers of the raw file see it all: so the table has to say that all of it is data.
    options.preallocation = Preallocation::Metadata;
  }
  Geometry geometry;
  geometry.cluster_bits = unsigned(std::countr_zero(options.cluster));
  geometry.refcount_order = unsigned(std::countr_zero(options.refcount_bits));
  geometry.subclusters = options.extended_l2;
  geometry.version = options.version;
  const Layout layout = plan(geometry, geometry.l1_entries_for(options.bytes));
  const Header header = make(options, geometry, layout);
  const Result<Buffer> first = make_header(header);
  EMU_CO_TRY(first);

  Result<void> sized = co_await node->truncate(0, Preallocation::Off);
  EMU_CO_TRY(sized);
  const bool is_zero = node->bytes() == 0;
  const u64 bytes = layout.clusters() << geometry.cluster_bits;
  sized = co_await node->truncate(bytes, Preallocation::Off);
  EMU_CO_TRY(sized);
  HostFile file(node);
  Buffer table(layout.table_clusters << geometry.cluster_bits);
  const u64 first_block = 1 + layout.table_clusters;
  for (u64 i = 0; i < layout.blocks; ++i) store_be64(table.data() + i * 8, (first_block + i) << geometry.cluster_bits);
  IoStatus status = co_await write_table(file, geometry.cluster(), table, is_zero);
  for (u64 i = 0; status == 0 && i < layout.blocks; ++i) {
    Buffer block(geometry.cluster());
    const u64 start = i * geometry.refcounts_per_block();
    const u64 end = std::min(layout.clusters(), start + geometry.refcounts_per_block());
    for (u64 c = start; c < end; ++c) store_count(block.data(), geometry.refcount_order, c - start, 1);
    status = co_await write_table(file, (first_block + i) << geometry.cluster_bits, block, is_zero);
  }
  if (status == 0 && layout.l1_clusters != 0) {
    Buffer l1(layout.l1_clusters << geometry.cluster_bits);
    status = co_await write_table(file, header.l1_offset, l1, is_zero);
  }
  // The header last: until then it is no image.
  if (status == 0) status = co_await write_table(file, 0, *first, is_zero);
  if (status == 0) status = co_await file.flush();
  if (status != 0) co_return error("cannot write the image: {}", std::strerror(status));
  if (options.preallocation == Preallocation::Off) co_return Result<void>();

  ImageOptions image_options;
  image_options.without_children = true;
  image_options.data_file = data_file;
  Result<std::shared_ptr<Image>> image =
      co_await Image::open(node->loop(), node->name() + "-create", node, std::move(image_options));
  EMU_CO_TRY(image);
  Result<void> done = co_await (*image)->preallocate(0, options.bytes, options.preallocation);
  Result<void> closed = co_await (*image)->close();
  EMU_CO_TRY(done);
  co_return closed;
}

}  // namespace emu::block::qcow2
