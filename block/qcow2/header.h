// SPDX-License-Identifier: Apache-2.0
// The header of a qcow2 image: what its first cluster says, every field checked.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "block/qcow2/format.h"
#include "util/result.h"

namespace emu::block::qcow2 {

enum class ExtensionType : u32 {
  End = 0,
  BackingFormat = 0xe2792aca,
  FeatureNames = 0x6803f857,
  Bitmaps = 0x23852875,
  Encryption = 0x0537be77,
  DataFile = 0x44415441,
};

/// The place of the bitmaps, §Bitmaps extension.
struct BitmapsExtension {
  u32 count = 0;
  u64 directory_bytes = 0;
  u64 directory_offset = 0;
};

struct Extension {
  u32 type = 0;
  std::vector<u8> data;
};

struct Header {
  u32 version = 3;
  unsigned cluster_bits = 16;
  u64 bytes = 0;
  u32 l1_entries = 0;
  u64 l1_offset = 0;
  u64 refcount_table_offset = 0;
  u32 refcount_table_clusters = 0;
  u32 snapshots = 0;
  u64 snapshots_offset = 0;
  u64 incompatible = 0;
  u64 compatible = 0;
  u64 autoclear = 0;
  unsigned refcount_order = 4;
  u32 header_length = 112;
  Compression compression = Compression::Zlib;

  std::string backing_file;
  std::string backing_format;
  std::string data_file;
  std::optional<BitmapsExtension> bitmaps;
  /// Those that mean nothing to us, for whoever rewrites the header.
  std::vector<Extension> unknown_extensions;

  Geometry geometry() const {
    return {cluster_bits, refcount_order, (incompatible & kExtendedL2) != 0, version,
            (incompatible & kExternalData) != 0};
  }
  u64 cluster() const { return u64(1) << cluster_bits; }
  bool has(Incompatible bit) const { return (incompatible & bit) != 0; }
  bool has_lazy_refcounts() const { return (compatible & kLazyRefcounts) != 0; }
  bool is_raw_external() const { return has(kExternalData) && (autoclear & kRawExternalData); }
};

/// Byte offsets of the fields that change while an image is open.
enum HeaderField : u32 {
  kFieldSize = 24,
  kFieldL1Entries = 36,
  kFieldL1Offset = 40,
  kFieldRefcountTable = 48,
  kFieldRefcountTableClusters = 56,
  kFieldIncompatible = 72,
  kFieldCompatible = 80,
  kFieldAutoclear = 88,
};

/// What parse_header() says of a file that is something else.
inline constexpr const char* kNotQcow2 = "image is not in qcow2 format";

/// Whether the first bytes of a file are those of a qcow2 image of any version.
bool looks_like_qcow2(std::span<const u8> first_bytes);

/// How many bytes parse_header() wants to see, from the first 512: one cluster. Errors: not qcow2.
Result<u64> header_bytes_wanted(std::span<const u8> first_sector);

/// `first_cluster`: from the start of the file; shorter if the file is. Checked here is all that does not need the
/// file's length: see check_layout(). Errors: one sentence that names the field.
Result<Header> parse_header(std::span<const u8> first_cluster);

/// Tables lie inside the file and do not overlap each other or the header.
Result<void> check_layout(const Header& header, u64 file_bytes);

/// The first cluster of an image. Errors: the names and extensions do not fit.
Result<Buffer> make_header(const Header& header);

}  // namespace emu::block::qcow2
