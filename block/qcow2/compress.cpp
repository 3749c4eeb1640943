// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/compress.h"

#include <zlib.h>
#include <zstd.h>

namespace emu::block::qcow2 {

namespace {

// Readers of the format expect no more than 4 KiB of window; ours takes any.
constexpr int kWriteWindow = -12;
constexpr int kReadWindow = -15;

bool inflate_cluster(std::span<const u8> from, std::span<u8> cluster) {
  z_stream stream = {};
  stream.next_in = const_cast<u8*>(from.data());
  stream.avail_in = uInt(from.size());
  stream.next_out = cluster.data();
  stream.avail_out = uInt(cluster.size());
  if (inflateInit2(&stream, kReadWindow) != Z_OK) return false;
  const int result = inflate(&stream, Z_FINISH);
  const bool whole = stream.avail_out == 0 && (result == Z_STREAM_END || result == Z_BUF_ERROR || result == Z_OK);
  inflateEnd(&stream);
  return whole;
}

std::vector<u8> deflate_cluster(std::span<const u8> cluster) {
  z_stream stream = {};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kWriteWindow, 9, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::vector<u8> out(cluster.size() - 1);
  stream.next_in = const_cast<u8*>(cluster.data());
  stream.avail_in = uInt(cluster.size());
  stream.next_out = out.data();
  stream.avail_out = uInt(out.size());
  const bool fits = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  out.resize(fits ? out.size() - stream.avail_out : 0);
  deflateEnd(&stream);
  return out;
}

bool unpack_zstd(std::span<const u8> from, std::span<u8> cluster) {
  ZSTD_DCtx* const context = ZSTD_createDCtx();
  if (!context) return false;
  ZSTD_inBuffer in = {from.data(), from.size(), 0};
  ZSTD_outBuffer out = {cluster.data(), cluster.size(), 0};
  bool good = true;
  while (good && out.pos < out.size) {
    const std::size_t before_in = in.pos;
    const std::size_t before_out = out.pos;
    good = !ZSTD_isError(ZSTD_decompressStream(context, &out, &in)) && (in.pos != before_in || out.pos != before_out);
  }
  ZSTD_freeDCtx(context);
  return good;
}

std::vector<u8> pack_zstd(std::span<const u8> cluster) {
  std::vector<u8> out(cluster.size() - 1);
  const std::size_t size = ZSTD_compress(out.data(), out.size(), cluster.data(), cluster.size(), ZSTD_CLEVEL_DEFAULT);
  out.resize(ZSTD_isError(size) ? 0 : size);
  return out;
}

}  // namespace

bool decompress(Compression type, std::span<const u8> from, std::span<u8> cluster) {
  return type == Compression::Zlib ? inflate_cluster(from, cluster) : unpack_zstd(from, cluster);
}

std::vector<u8> compress(Compression type, std::span<const u8> cluster) {
  return type == Compression::Zlib ? deflate_cluster(cluster) : pack_zstd(cluster);
}

}  // namespace emu::block::qcow2
