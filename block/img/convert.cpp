// SPDX-License-Identifier: Apache-2.0
// system-emu-img convert, compare.
#include <cstdio>
#include <cstring>

#include "block/img/tool.h"
#include "util/string.h"

namespace emu::block::img {

namespace {

constexpr u64 kChunk = 2u << 20;

bool is_zero(const u8* at, u64 bytes) { return bytes == 0 || (at[0] == 0 && std::memcmp(at, at + 1, bytes - 1) == 0); }

class Progress {
 public:
  Progress(bool shown, u64 total) : shown_(shown), total_(total) {}
  ~Progress() {
    if (shown_) fmt::print("\n");
  }
  void at(u64 done) {
    const double percent = total_ == 0 ? 100 : double(done) * 100 / double(total_);
    if (!shown_ || (percent < last_ + 1 && done != total_)) return;
    last_ = percent;
    fmt::print("    ({:3.2f}/100%)\r", percent);
    std::fflush(stdout);
  }

 private:
  bool shown_;
  u64 total_;
  double last_ = -1;
};

struct Copy {
  NodeRef source, target;
  std::string backing;     ///< the target's: what the source has from there is left out
  bool compressed = false;
  bool reads_zero = true;  ///< the target, where nothing was written
  u64 sparse_bytes = 4096; ///< 0: zeroes are written, too
  u64 bytes = 0;
};

auto failed(const char* what, u64 offset, IoStatus status) {
  return error("error while {} at byte {}: {}", what, offset, std::strerror(status));
}

/// Writes what is not zero, in runs of whole `sparse_bytes`.
Task<Result<void>> write_sparse(const Copy& copy, u64 offset, u8* data, u64 bytes) {
  const u64 unit = copy.sparse_bytes == 0 || !copy.reads_zero ? bytes : copy.sparse_bytes;
  for (u64 at = 0; at < bytes;) {
    u64 run = 0;
    while (at + run < bytes && (unit == bytes || !is_zero(data + at + run, std::min(unit, bytes - at - run)))) {
      run = std::min(bytes - at, align_down(offset + at + run, unit == bytes ? 1 : unit) + unit - offset - at);
    }
    if (run == 0) {
      at = std::min(bytes, align_down(offset + at, unit) + unit - offset);
      continue;
    }
    const iovec part = {data + at, run};
    const IoStatus status = co_await copy.target->write(offset + at, IoVec(&part, 1), IoFlags::None);
    if (status != 0) co_return failed("writing", offset + at, status);
    at += run;
  }
  co_return Result<void>();
}

Task<Result<void>> copy_compressed(const Copy& copy, Progress& progress) {
  qcow2::Image* const target = as_qcow2(copy.target);
  const u64 cluster = target->geometry().cluster();
  qcow2::Buffer buffer(cluster);
  for (u64 at = 0; at < copy.bytes; at += cluster) {
    progress.at(at);
    const u64 bytes = std::min(cluster, copy.bytes - at);
    auto extent = co_await chain_status(copy.source, at, bytes);
    EMU_CO_TRY(extent);
    if (extent->bytes == bytes && (extent->extent.zero || !extent->extent.allocated) && copy.reads_zero) continue;
    const iovec part = {buffer.data(), bytes};
    IoStatus status = co_await copy.source->read(at, IoVec(&part, 1));
    if (status != 0) co_return failed("reading", at, status);
    if (copy.reads_zero && is_zero(buffer.data(), bytes)) continue;
    status = co_await target->write_compressed(at, IoVec(&part, 1));
    if (status != 0) co_return failed("writing", at, status);
  }
  progress.at(copy.bytes);
  co_return Result<void>();
}

Task<Result<void>> copy_all(const Copy& copy, Progress& progress) {
  qcow2::Buffer buffer(kChunk);
  for (u64 at = 0; at < copy.bytes;) {
    progress.at(at);
    const u64 most = std::min(kChunk, copy.bytes - at);
    if (at >= copy.source->bytes()) {  // a target that is there already, and longer
      break;
    }
    auto extent = co_await chain_status(copy.source, at, std::min(most, copy.source->bytes() - at));
    EMU_CO_TRY(extent);
    const u64 bytes = extent->bytes;
    const bool below =
        !copy.backing.empty() &&
        (!extent->extent.allocated || (extent->depth > 0 && is_same_file(extent->node->filename(), copy.backing)));
    const bool zero = extent->extent.zero || !extent->extent.allocated;
    IoStatus status = 0;
    if (below || (zero && copy.reads_zero && copy.sparse_bytes != 0)) {
      // nothing to say
    } else if (zero && copy.sparse_bytes != 0) {
      status = co_await copy.target->write_zeroes(at, bytes, IoFlags::MayUnmap);
      if (status != 0) co_return failed("writing zeroes", at, status);
    } else {
      const iovec part = {buffer.data(), bytes};
      status = co_await copy.source->read(at, IoVec(&part, 1));
      if (status != 0) co_return failed("reading", at, status);
      auto written = co_await write_sparse(copy, at, buffer.data(), bytes);
      EMU_CO_TRY(written);
    }
    at += bytes;
  }
  progress.at(copy.bytes);
  co_return Result<void>();
}

Result<void> check_cache_mode(const std::optional<std::string>& mode) {
  for (const char* const known : {"none", "writeback", "unsafe", "directsync", "writethrough"}) {
    if (!mode || *mode == known) return {};
  }
  return error("Invalid cache option: {}", *mode);
}

}  // namespace

int convert_command(Tool& tool, const std::vector<std::string>& words) {
  const auto arguments = Arguments::parse(
      words, "f:O:B:F:o:S:t:T:m:l:cpqnUCWu",
      {"image-opts", "object=", "force-share", "target-is-zero", "salvage", "target-image-opts", "bitmaps", "quiet"});
  if (!arguments) return tool.fail(arguments.error());
  for (const char* const other : {"l", "salvage", "target-image-opts", "bitmaps", "C"}) {
    if (arguments->has(other)) return tool.fail(fmt::format("convert: option '{}' is not there yet", other));
  }
  if (arguments->rest().size() < 2) return tool.fail("Must specify image file name");
  if (arguments->rest().size() > 2) return tool.fail("convert: only one source image can be converted");
  for (const char* const cache : {"t", "T"}) {
    if (const auto good = check_cache_mode(arguments->get(cache)); !good) return tool.fail(good.error());
  }
  Copy copy;
  const std::string target_name = arguments->rest()[1];
  const std::string target_format = arguments->get("O").value_or("raw");
  copy.compressed = arguments->has("c");
  if (copy.compressed && target_format != "qcow2") return tool.fail("Compression not supported for this file format");
  if (const auto text = arguments->get("S")) {
    const auto bytes = parse_size(*text);
    if (!bytes || *bytes % 512 != 0) {
      return tool.fail("Invalid buffer size for sparse output specified. Valid sizes are multiples of 512.");
    }
    copy.sparse_bytes = std::min(*bytes, kChunk);
  }
  const std::string cache = arguments->get("T").value_or("writeback");
  const auto source = tool.open({.filename = arguments->rest()[0],
                                 .format = arguments->get("f").value_or(""),
                                 .force_share = arguments->has("U") || arguments->has("force-share"),
                                 .image_opts = arguments->has("image-opts"),
                                 .direct = cache == "none" || cache == "directsync"});
  if (!source) return tool.fail(source.error());
  copy.source = *source;
  for (NodeRef node = *source; node; node = child_of(node, "backing")) {
    if (!is_same_file(node->filename(), target_name)) continue;
    return tool.fail(fmt::format("'{}' cannot be converted onto itself: '{}' is what is read", arguments->rest()[0],
                                 target_name));
  }
  copy.bytes = copy.source->bytes();
  NewImage image;
  image.filename = target_name;
  image.format = target_format;
  image.options = arguments->all("o");
  image.backing_file = arguments->get("B").value_or("");
  image.backing_format = arguments->get("F").value_or("");
  image.bytes = copy.bytes;
  image.is_quiet = true;
  if (!image.backing_file.empty()) copy.backing = filename_beside(target_name, image.backing_file);
  if (!arguments->has("n")) {
    if (const auto made = make_image(tool, std::move(image)); !made) return tool.fail(made.error());
  } else {
    copy.reads_zero = arguments->has("target-is-zero");
  }
  const std::string target_cache = arguments->get("t").value_or("unsafe");
  const auto target = tool.open({.filename = target_name,
                                 .format = target_format,
                                 .writable = Writable::Yes,
                                 .no_flush = target_cache == "unsafe",
                                 .direct = target_cache == "none" || target_cache == "directsync",
                                 .unmap = true});
  if (!target) return tool.fail(target.error());
  copy.target = *target;
  copy.reads_zero = copy.reads_zero && copy.backing.empty();
  if (copy.target->bytes() < copy.bytes) return tool.fail("output file is smaller than input file");
  Result<void> done;
  {
    Progress progress(arguments->has("p"), copy.bytes);
    done = tool.run(copy.compressed ? copy_compressed(copy, progress) : copy_all(copy, progress));
  }
  if (done && tool.run(copy.target->flush()) != 0) done = error("cannot flush '{}'", target_name);
  const auto closed = tool.close(copy.target);
  if (!done) return tool.fail(done.error());
  if (!closed) return tool.fail(closed.error());
  return 0;
}

// ---- compare ----

namespace {

enum CompareStatus { kSame = 0, kDifferent = 1, kOpenFailed = 2, kReadFailed = 3, kStatusFailed = 4 };

/// The first byte of [at, at + bytes) that differs; `bytes` if none does. Reads past an end are zeroes.
Task<Result<u64>> first_difference(const NodeRef& a, const NodeRef& b, u64 at, u64 bytes) {
  qcow2::Buffer left(bytes);
  qcow2::Buffer right(bytes);
  for (auto [node, buffer] : {std::pair{a.get(), &left}, std::pair{b.get(), &right}}) {
    const u64 there = at >= node->bytes() ? 0 : std::min(bytes, node->bytes() - at);
    if (there == 0) continue;
    const iovec part = {buffer->data(), there};
    const IoStatus status = co_await node->read(at, IoVec(&part, 1));
    if (status != 0) {
      co_return error("Error while reading offset {} of {}: {}", at, node->filename(), std::strerror(status));
    }
  }
  u8* const end = left.data() + bytes;
  co_return u64(std::mismatch(left.data(), end, right.data()).first - left.data());
}

struct Comparison {
  int status = kSame;
  u64 mismatch = 0;
  std::string message;
};

Task<Comparison> compare_nodes(const NodeRef& a, const NodeRef& b, bool strict, Progress& progress) {
  const u64 bytes = std::max(a->bytes(), b->bytes());
  for (u64 at = 0; at < bytes;) {
    progress.at(at);
    u64 step = std::min(kChunk, bytes - at);
    bool zero[2] = {true, true};
    bool present[2] = {false, false};
    int index = 0;
    for (const NodeRef& node : {a, b}) {
      if (at < node->bytes()) {
        auto extent = co_await chain_status(node, at, std::min(step, node->bytes() - at));
        if (!extent) co_return Comparison{kStatusFailed, 0, extent.error().message()};
        step = extent->bytes;
        zero[index] = extent->extent.zero || !extent->extent.allocated;
        present[index] = extent->extent.allocated;
      } else {
        step = std::min(step, bytes - at);
      }
      ++index;
    }
    if (strict && present[0] != present[1]) co_return Comparison{kDifferent, at, "allocation"};
    if (!(zero[0] && zero[1])) {
      const auto same = co_await first_difference(a, b, at, step);
      if (!same) co_return Comparison{kReadFailed, 0, same.error().message()};
      if (*same != step) co_return Comparison{kDifferent, at + *same, {}};
    }
    at += step;
  }
  progress.at(bytes);
  co_return Comparison{};
}

}  // namespace

int compare_command(Tool& tool, const std::vector<std::string>& words) {
  const auto arguments = Arguments::parse(words, "f:F:T:pqsU", {"image-opts", "object=", "force-share", "quiet"});
  if (!arguments) return tool.fail(arguments.error(), kOpenFailed);
  if (arguments->rest().size() != 2) return tool.fail("Expecting two image file names", kOpenFailed);
  NodeRef nodes[2];
  for (int i = 0; i < 2; ++i) {
    auto node = tool.open({.filename = arguments->rest()[std::size_t(i)],
                           .format = arguments->get(i == 0 ? "f" : "F").value_or(""),
                           .force_share = arguments->has("U") || arguments->has("force-share"),
                           .image_opts = arguments->has("image-opts")});
    if (!node) return tool.fail(node.error(), kOpenFailed);
    nodes[i] = *node;
  }
  const bool quiet = arguments->has("q") || arguments->has("quiet");
  const bool strict = arguments->has("s");
  const bool same_size = nodes[0]->bytes() == nodes[1]->bytes();
  if (strict && !same_size) {
    if (!quiet) fmt::print("Strict mode: Image size mismatch!\n");
    return kDifferent;
  }
  Comparison result;
  {
    Progress progress(arguments->has("p"), std::max(nodes[0]->bytes(), nodes[1]->bytes()));
    result = tool.run(compare_nodes(nodes[0], nodes[1], strict, progress));
  }
  if (result.status > kDifferent) return tool.fail(result.message, result.status);
  if (!quiet) {
    const u64 common = std::min(nodes[0]->bytes(), nodes[1]->bytes());
    if (!same_size && (result.status == kSame || result.mismatch >= common)) {
      fmt::print("Warning: Image size mismatch!\n");
    }
    if (result.status == kSame) fmt::print("Images are identical.\n");
    else if (result.message.empty()) fmt::print("Content mismatch at offset {}!\n", result.mismatch);
    else fmt::print("Strict mode: Offset {} block status mismatch!\n", result.mismatch);
  }
  return result.status;
}

}  // namespace emu::block::img
