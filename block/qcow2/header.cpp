// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/header.h"

#include <array>
#include <cstring>

namespace emu::block::qcow2 {

namespace {

constexpr u32 kV2HeaderBytes = 72;
constexpr u32 kV3HeaderBytes = 104;
constexpr u32 kCompressionField = 104;
constexpr u32 kFeatureNameBytes = 48;

struct FeatureName {
  u8 kind;
  u8 bit;
  const char* name;
};
constexpr std::array kFeatureNames = {
    FeatureName{0, 0, "dirty bit"},          FeatureName{0, 1, "corrupt bit"},
    FeatureName{0, 2, "external data file"}, FeatureName{0, 3, "compression type"},
    FeatureName{0, 4, "extended L2 entries"}, FeatureName{1, 0, "lazy refcounts"},
    FeatureName{2, 0, "bitmaps"},            FeatureName{2, 1, "raw external data"},
};

std::string text(std::span<const u8> bytes) { return std::string(bytes.begin(), bytes.end()); }

/// Names for unknown incompatible bits, from the image's own table where it has one.
std::string name_features(u64 unknown, const std::vector<u8>& table) {
  std::string names;
  for (unsigned i = 0; i < 64; ++i) {
    if (!(unknown & bit64(i))) continue;
    std::string name = fmt::format("bit {}", i);
    for (std::size_t at = 0; at + kFeatureNameBytes <= table.size(); at += kFeatureNameBytes) {
      if (table[at] != 0 || table[at + 1] != i) continue;
      const char* start = reinterpret_cast<const char*>(&table[at + 2]);
      name = std::string(start, ::strnlen(start, kFeatureNameBytes - 2));
    }
    names += (names.empty() ? "" : ", ") + name;
  }
  return names;
}

Result<void> take_extension(Header& header, u32 type, std::span<const u8> data, std::vector<u8>& feature_names) {
  switch (ExtensionType(type)) {
    case ExtensionType::BackingFormat:
      if (data.size() > 255) return error("backing format name too long: {} bytes", data.size());
      header.backing_format = text(data);
      return {};
    case ExtensionType::FeatureNames:
      feature_names.assign(data.begin(), data.end());
      return {};
    case ExtensionType::DataFile:
      if (data.size() > kMostBackingName) return error("data file name too long: {} bytes", data.size());
      header.data_file = text(data);
      return {};
    case ExtensionType::Encryption:
      return error("the image is encrypted (LUKS), which system-emu does not support");
    case ExtensionType::Bitmaps: {
      if (data.size() != 24) return error("bitmaps extension has {} bytes instead of 24", data.size());
      BitmapsExtension bitmaps;
      bitmaps.count = load_be32(&data[0]);
      if (load_be32(&data[4]) != 0) return error("bitmaps extension: a reserved field is not zero");
      bitmaps.directory_bytes = load_be64(&data[8]);
      bitmaps.directory_offset = load_be64(&data[16]);
      header.bitmaps = bitmaps;
      return {};
    }
    default:
      header.unknown_extensions.push_back({type, {data.begin(), data.end()}});
      return {};
  }
}

Result<void> parse_extensions(Header& header, std::span<const u8> cluster, u64 end, std::vector<u8>& feature_names) {
  u64 at = header.header_length;
  while (at + 8 <= end) {
    const u32 type = load_be32(&cluster[at]);
    const u64 length = load_be32(&cluster[at + 4]);
    at += 8;
    if (type == u32(ExtensionType::End)) return {};
    if (length > end - at) return error("header extension {:#010x} too large: {} bytes", type, length);
    EMU_TRY(take_extension(header, type, cluster.subspan(at, length), feature_names));
    at += align_up(length, 8);
  }
  return {};
}

Result<void> parse_v3_fields(Header& header, std::span<const u8> cluster) {
  if (cluster.size() < kV3HeaderBytes) return error("qcow2 header is cut off at {} bytes", cluster.size());
  header.incompatible = load_be64(&cluster[kFieldIncompatible]);
  header.compatible = load_be64(&cluster[kFieldCompatible]);
  header.autoclear = load_be64(&cluster[kFieldAutoclear]);
  header.refcount_order = load_be32(&cluster[96]);
  header.header_length = load_be32(&cluster[100]);
  if (header.header_length < kV3HeaderBytes) return error("qcow2 header too short: {} bytes", header.header_length);
  if (header.header_length > header.cluster()) return error("qcow2 header exceeds cluster size");
  if (header.header_length % 8 != 0) {
    return error("qcow2 header length {} is not a multiple of 8", header.header_length);
  }
  if (header.header_length > cluster.size()) return error("qcow2 header is cut off at {} bytes", cluster.size());
  if (header.refcount_order > 6) return error("refcount width exceeds 64 bits (order {})", header.refcount_order);
  return {};
}

Result<void> parse_compression(Header& header, std::span<const u8> cluster) {
  const u8 type = header.header_length > kCompressionField ? cluster[kCompressionField] : 0;
  if (header.has(kCompressionType) != (type != 0)) {
    return error("compression type {} does not agree with the compression type feature bit", type);
  }
  if (type > u8(Compression::Zstd)) return error("unknown compression type {}", type);
  header.compression = Compression(type);
  return {};
}

Result<void> parse_backing(Header& header, std::span<const u8> cluster) {
  const u64 offset = load_be64(&cluster[8]);
  if (offset == 0) return {};
  const u64 length = load_be32(&cluster[16]);
  if (length > kMostBackingName) return error("backing file name too long: {} bytes", length);
  if (offset > header.cluster() || length > header.cluster() - offset) {
    return error("backing file name at {:#x} is outside of the first cluster", offset);
  }
  if (offset + length > cluster.size()) return error("backing file name is cut off by the end of the file");
  header.backing_file = text(cluster.subspan(offset, length));
  if (header.backing_file.find('\0') != std::string::npos) return error("backing file name holds a zero byte");
  return {};
}

Result<void> check_table(const Header& header, const char* what, u64 offset, u64 bytes, u64 most) {
  if (bytes > most) return error("{} too large: {} bytes of at most {}", what, bytes, most);
  if (bytes == 0) return {};
  if (offset & (header.cluster() - 1)) return error("{} at {:#x} is not aligned to a cluster", what, offset);
  if (offset == 0 || offset >= kMostHostBytes - bytes) return error("{} offset {:#x} is invalid", what, offset);
  return {};
}

Result<void> check_fields(const Header& header) {
  const Geometry geometry = header.geometry();
  if (geometry.subclusters && header.cluster_bits < kMinSubclusterClusterBits) {
    return error("extended L2 entries need clusters of at least 16 KiB, not {} bytes", header.cluster());
  }
  if ((header.autoclear & kRawExternalData) && !header.has(kExternalData) && header.version >= 3) {
    return error("raw external data bit is set without an external data file");
  }
  if (header.is_raw_external() && !header.backing_file.empty()) {
    return error("an image with a raw external data file cannot have a backing file");
  }
  if (header.bytes > kMostVirtualBytes) return error("image size {} is too large", header.bytes);
  EMU_TRY(check_table(header, "active L1 table", header.l1_offset, u64(header.l1_entries) * 8, kMostL1Bytes));
  if (geometry.l1_entries_for(header.bytes) > header.l1_entries) {
    return error("L1 table is too small: {} entries for {} bytes", header.l1_entries, header.bytes);
  }
  if (header.refcount_table_clusters == 0) return error("image does not contain a reference count table");
  EMU_TRY(check_table(header, "reference count table", header.refcount_table_offset,
                      u64(header.refcount_table_clusters) << header.cluster_bits, kMostRefcountTableBytes));
  if (header.snapshots > kMostSnapshots) return error("snapshot table too large: {} snapshots", header.snapshots);
  if (header.snapshots != 0) {
    if (header.has(kExternalData)) return error("internal snapshots with an external data file are not possible");
    EMU_TRY(check_table(header, "snapshot table", header.snapshots_offset, u64(header.snapshots) * 40,
                        kMostSnapshotTableBytes));
  }
  if ((header.autoclear & kBitmaps) && !header.bitmaps) return error("bitmaps bit is set without bitmaps extension");
  if (header.bitmaps) {
    if (header.bitmaps->count == 0 || header.bitmaps->count > kMostBitmaps) {
      return error("bitmaps extension: {} bitmaps", header.bitmaps->count);
    }
    EMU_TRY(check_table(header, "bitmap directory", header.bitmaps->directory_offset, header.bitmaps->directory_bytes,
                        kMostBitmapDirectoryBytes));
    if (header.bitmaps->directory_bytes < u64(header.bitmaps->count) * 24) return error("bitmap directory too small");
  }
  return {};
}

}  // namespace

bool looks_like_qcow2(std::span<const u8> first_bytes) {
  return first_bytes.size() >= 8 && load_be32(first_bytes.data()) == kMagic && load_be32(&first_bytes[4]) >= 2;
}

Result<u64> header_bytes_wanted(std::span<const u8> first) {
  if (first.size() < 4 || load_be32(first.data()) != kMagic) return error(Error(kNotQcow2));
  if (first.size() < kV2HeaderBytes) return error("qcow2 header is cut off at {} bytes", first.size());
  const u32 version = load_be32(&first[4]);
  if (version != 2 && version != 3) return error("unsupported qcow2 version {}", version);
  const u32 cluster_bits = load_be32(&first[20]);
  if (cluster_bits < kMinClusterBits || cluster_bits > kMaxClusterBits) {
    return error("unsupported cluster size: 2^{}", cluster_bits);
  }
  return u64(1) << cluster_bits;
}

Result<Header> parse_header(std::span<const u8> cluster) {
  EMU_TRY(header_bytes_wanted(cluster));
  Header header;
  header.version = load_be32(&cluster[4]);
  header.cluster_bits = load_be32(&cluster[20]);
  header.bytes = load_be64(&cluster[kFieldSize]);
  const u32 encryption = load_be32(&cluster[32]);
  header.l1_entries = load_be32(&cluster[kFieldL1Entries]);
  header.l1_offset = load_be64(&cluster[kFieldL1Offset]);
  header.refcount_table_offset = load_be64(&cluster[kFieldRefcountTable]);
  header.refcount_table_clusters = load_be32(&cluster[kFieldRefcountTableClusters]);
  header.snapshots = load_be32(&cluster[60]);
  header.snapshots_offset = load_be64(&cluster[64]);
  header.header_length = kV2HeaderBytes;
  if (header.version >= 3) EMU_TRY(parse_v3_fields(header, cluster));
  cluster = cluster.first(std::min<u64>(cluster.size(), header.cluster()));

  // Unknown features first: they may be why the rest looks odd.
  std::vector<u8> feature_names;
  const u64 backing_offset = load_be64(&cluster[8]);
  const u64 end =
      backing_offset > header.header_length ? std::min<u64>(cluster.size(), backing_offset) : cluster.size();
  const Result<void> extensions = parse_extensions(header, cluster, end, feature_names);
  if (const u64 unknown = header.incompatible & ~kKnownIncompatible) {
    return error("unsupported qcow2 features: {}", name_features(unknown, feature_names));
  }
  if (encryption != 0) {
    return error("the image is encrypted ({}), which system-emu does not support",
                 encryption == 1 ? "AES" : encryption == 2 ? "LUKS" : fmt::format("method {}", encryption));
  }
  if (!extensions) return tl::unexpected<Error>(extensions.error());
  if (header.version >= 3) EMU_TRY(parse_compression(header, cluster));
  EMU_TRY(parse_backing(header, cluster));
  EMU_TRY(check_fields(header));
  return header;
}

Result<void> check_layout(const Header& header, u64 file_bytes) {
  struct Area {
    const char* name;
    u64 start, end;
  };
  std::vector<Area> areas = {{"header", 0, header.cluster()}};
  const auto add = [&](const char* name, u64 start, u64 bytes) {
    if (bytes != 0) areas.push_back({name, start, start + align_up(bytes, header.cluster())});
  };
  add("active L1 table", header.l1_offset, u64(header.l1_entries) * 8);
  add("reference count table", header.refcount_table_offset,
      u64(header.refcount_table_clusters) << header.cluster_bits);
  if (header.snapshots != 0) add("snapshot table", header.snapshots_offset, u64(header.snapshots) * 40);
  if (header.bitmaps) add("bitmap directory", header.bitmaps->directory_offset, header.bitmaps->directory_bytes);
  for (std::size_t i = 0; i < areas.size(); ++i) {
    // A file may end inside its last cluster, not before it.
    if (areas[i].start >= file_bytes) {
      return error("{} at {:#x} is beyond the end of the file ({} bytes)", areas[i].name, areas[i].start, file_bytes);
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (areas[i].start < areas[j].end && areas[j].start < areas[i].end) {
        return error("{} and {} overlap", areas[j].name, areas[i].name);
      }
    }
  }
  return {};
}

Result<Buffer> make_header(const Header& header) {
  Buffer cluster(header.cluster());
  u8* const p = cluster.data();
  store_be32(p, kMagic);
  store_be32(p + 4, header.version);
  store_be32(p + 20, header.cluster_bits);
  store_be64(p + kFieldSize, header.bytes);
  store_be32(p + kFieldL1Entries, header.l1_entries);
  store_be64(p + kFieldL1Offset, header.l1_offset);
  store_be64(p + kFieldRefcountTable, header.refcount_table_offset);
  store_be32(p + kFieldRefcountTableClusters, header.refcount_table_clusters);
  store_be32(p + 60, header.snapshots);
  store_be64(p + 64, header.snapshots_offset);
  u64 at = kV2HeaderBytes;
  if (header.version >= 3) {
    store_be64(p + kFieldIncompatible, header.incompatible);
    store_be64(p + kFieldCompatible, header.compatible);
    store_be64(p + kFieldAutoclear, header.autoclear);
    store_be32(p + 96, header.refcount_order);
    at = 112;
    store_be32(p + 100, u32(at));
    p[kCompressionField] = u8(header.compression);
  }
  bool fits = true;
  const auto extension = [&](ExtensionType type, std::span<const u8> data) {
    const u64 needed = 8 + align_up(data.size(), 8);
    if (at + needed > cluster.size()) {
      fits = false;
      return;
    }
    store_be32(p + at, u32(type));
    store_be32(p + at + 4, u32(data.size()));
    if (!data.empty()) std::memcpy(p + at + 8, data.data(), data.size());
    at += needed;
  };
  const auto as_bytes = [](const std::string& s) {
    return std::span<const u8>(reinterpret_cast<const u8*>(s.data()), s.size());
  };
  if (!header.backing_format.empty()) extension(ExtensionType::BackingFormat, as_bytes(header.backing_format));
  if (!header.data_file.empty()) extension(ExtensionType::DataFile, as_bytes(header.data_file));
  if (header.bitmaps) {
    u8 data[24] = {};
    store_be32(data, header.bitmaps->count);
    store_be64(data + 8, header.bitmaps->directory_bytes);
    store_be64(data + 16, header.bitmaps->directory_offset);
    extension(ExtensionType::Bitmaps, data);
  }
  // The names are a help for others: where 512-byte clusters have no room for them, they are left out.
  const u64 names_bytes = kFeatureNames.size() * kFeatureNameBytes;
  if (header.version >= 3 && at + names_bytes + header.backing_file.size() + 64 <= cluster.size()) {
    std::vector<u8> table(names_bytes);
    for (std::size_t i = 0; i < kFeatureNames.size(); ++i) {
      u8* const row = &table[i * kFeatureNameBytes];
      row[0] = kFeatureNames[i].kind;
      row[1] = kFeatureNames[i].bit;
      std::memcpy(row + 2, kFeatureNames[i].name, std::strlen(kFeatureNames[i].name));
    }
    extension(ExtensionType::FeatureNames, table);
  }
  for (const Extension& other : header.unknown_extensions) extension(ExtensionType(other.type), other.data);
  extension(ExtensionType::End, {});
  if (!header.backing_file.empty()) {
    if (header.backing_file.size() > kMostBackingName || at + header.backing_file.size() > cluster.size()) fits = false;
    if (fits) {
      store_be64(p + 8, at);
      store_be32(p + 16, u32(header.backing_file.size()));
      std::memcpy(p + at, header.backing_file.data(), header.backing_file.size());
    }
  }
  if (!fits) {
    return error("the names of backing and data file do not fit into the first cluster ({} bytes)", cluster.size());
  }
  return cluster;
}

}  // namespace emu::block::qcow2
