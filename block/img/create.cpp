// SPDX-License-Identifier: Apache-2.0
// system-emu-img create.
#include <cstdio>

#include "block/img/tool.h"
#include "block/qcow2/create.h"
#include "util/string.h"

namespace emu::block::img {

namespace {

const char* on_off(bool on) { return on ? "on" : "off"; }

constexpr const char* kQcow2Help =
    "Supported qcow2 options:\n"
    "  backing_file=<str>     - File name of a base image\n"
    "  backing_fmt=<str>      - Image format of the base image\n"
    "  cluster_size=<size>    - qcow2 cluster size\n"
    "  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])\n"
    "  compression_type=<str> - Compression method used for image cluster compression\n"
    "  data_file=<str>        - File name of an external data file\n"
    "  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image\n"
    "  extended_l2=<bool (on/off)> - Extended L2 tables\n"
    "  lazy_refcounts=<bool (on/off)> - Postpone refcount updates\n"
    "  preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)\n"
    "  refcount_bits=<num>    - Width of a reference count entry in bits\n"
    "  size=<size>            - Virtual disk size\n";
constexpr const char* kRawHelp =
    "Supported raw options:\n"
    "  preallocation=<str>    - Preallocation mode (allowed values: off, falloc, full)\n"
    "  size=<size>            - Virtual disk size\n";

Result<Options> merged(const std::vector<std::string>& texts) {
  Options all;
  for (const std::string& text : texts) {
    const Options some = EMU_TRY(Options::parse(text));
    for (const auto& [key, value] : some.pairs()) all.set(key, value);
  }
  return all;
}

Result<qcow2::CreateOptions> take_qcow2(Options& options) {
  qcow2::CreateOptions create;
  if (const auto compat = options.take("compat")) {
    if (*compat == "0.10" || *compat == "v2") create.version = 2;
    else if (*compat != "1.1" && *compat != "v3") return error("Invalid compatibility level: '{}'", *compat);
  }
  create.cluster = EMU_TRY(options.take_size("cluster_size")).value_or(65536);
  create.refcount_bits = u32(std::min<u64>(EMU_TRY(options.take_u64_or("refcount_bits", 16)), 1u << 16));
  create.lazy_refcounts = EMU_TRY(options.take_bool_or("lazy_refcounts", false));
  create.extended_l2 = EMU_TRY(options.take_bool_or("extended_l2", false));
  create.data_file_raw = EMU_TRY(options.take_bool_or("data_file_raw", false));
  create.data_file = options.take("data_file").value_or("");
  if (const auto type = options.take("compression_type")) {
    if (*type == "zstd") create.compression = qcow2::Compression::Zstd;
    else if (*type != "zlib") return error("Invalid parameter '{}' for compression_type: zlib or zstd", *type);
  }
  if (EMU_TRY(options.take_bool_or("encryption", false)) || options.has("encrypt.format")) {
    return error("encrypted images are not supported");
  }
  return create;
}

/// Opens the backing file as the new image will; its length.
Result<u64> backing_length(Tool& tool, const NewImage& image) {
  const NodeRef node = EMU_TRY(tool.open({.filename = filename_beside(image.filename, image.backing_file),
                                          .format = image.backing_format}));
  const u64 bytes = node->bytes();
  EMU_TRY(tool.close(node));
  return bytes;
}

Result<void> make_raw(Tool& tool, const NewImage& image, u64 bytes, Preallocation preallocation) {
  const NodeRef file = EMU_TRY(tool.open_new_file(image.filename));
  EMU_TRY(tool.run(file->truncate(0, Preallocation::Off)));
  EMU_TRY(tool.run(file->truncate(bytes, preallocation)));
  return tool.close(file);
}

Result<void> make_qcow2(Tool& tool, const NewImage& image, const qcow2::CreateOptions& create) {
  EMU_TRY(qcow2::check_create_options(create));
  NodeRef data;
  if (!create.data_file.empty()) {
    data = EMU_TRY(tool.open_new_file(filename_beside(image.filename, create.data_file)));
    EMU_TRY(tool.run(data->truncate(0, Preallocation::Off)));
    EMU_TRY(tool.run(data->truncate(create.bytes, Preallocation::Off)));
  }
  const NodeRef file = EMU_TRY(tool.open_new_file(image.filename));
  EMU_TRY(tool.run(qcow2::create(file, create, data)));
  EMU_TRY(tool.close(file));
  if (data) EMU_TRY(tool.close(data));
  return {};
}

}  // namespace

Result<void> make_image(Tool& tool, NewImage image) {
  if (image.format != "raw" && image.format != "qcow2") return error("Unknown file format '{}'", image.format);
  Options options = EMU_TRY(merged(image.options));
  const std::string where = image.filename;
  if (const auto size = EMU_TRY(options.take_size("size")); size && !image.bytes) image.bytes = size;
  Preallocation preallocation = Preallocation::Off;
  std::string mode = "off";
  const auto compat = options.peek("compat");
  if (const auto given = options.take("preallocation")) {
    mode = *given;
    preallocation = EMU_TRY(parse_preallocation(mode));
  }
  qcow2::CreateOptions create;
  if (image.format == "qcow2") {
    if (const auto backing = options.take("backing_file")) image.backing_file = *backing;
    if (const auto format = options.take("backing_fmt")) image.backing_format = *format;
    create = EMU_TRY(take_qcow2(options), where);
  } else if (!image.backing_file.empty()) {
    return error("{}: Backing file not supported for file format 'raw'", where);
  }
  for (const auto& [key, value] : options.take_rest()) return error("{}: Invalid parameter '{}'", where, key);
  if (!image.backing_file.empty()) {
    if (image.backing_file == image.filename || is_same_file(filename_beside(where, image.backing_file), where)) {
      return error("{}: Error: Trying to create an image with the same filename as the backing file", where);
    }
    if (image.backing_format.empty()) {
      return error(Error(where + ": Backing file specified without backing format").with_hint("say which with -F"));
    }
    if (!image.backing_unchecked || !image.bytes) {
      auto length = backing_length(tool, image);
      if (!length) return error(std::move(length).error().within(where));
      if (!image.bytes) image.bytes = *length;
    }
  }
  if (!image.bytes) return error("{}: Image creation needs a size parameter", where);
  if (*image.bytes > u64(INT64_MAX) - 511) return error("{}: Image size {} is too large", where, *image.bytes);
  create.bytes = align_up(*image.bytes, 512);
  if (image.format == "raw") {
    if (preallocation == Preallocation::Metadata) return error("{}: raw has no preallocation=metadata", where);
    const std::string shown = mode == "off" ? "" : " preallocation=" + mode;
    if (!image.is_quiet) fmt::print("Formatting '{}', fmt=raw size={}{}\n", where, create.bytes, shown);
    EMU_TRY(make_raw(tool, image, create.bytes, preallocation), where);
    return {};
  }
  create.preallocation = preallocation;
  create.backing_file = image.backing_file;
  create.backing_format = image.backing_format;
  if (!image.is_quiet) {
    std::string line = fmt::format("Formatting '{}', fmt=qcow2 cluster_size={} extended_l2={}", where, create.cluster,
                                   on_off(create.extended_l2));
    if (mode != "off") line += " preallocation=" + mode;
    line += fmt::format(" compression_type={} size={}",
                        create.compression == qcow2::Compression::Zstd ? "zstd" : "zlib", create.bytes);
    if (!create.data_file.empty()) line += fmt::format(" data_file={}", create.data_file);
    if (create.data_file_raw) line += " data_file_raw=on";
    if (!create.backing_file.empty()) {
      line += fmt::format(" backing_file={} backing_fmt={}", create.backing_file, create.backing_format);
    }
    if (compat) line += " compat=" + *compat;
    fmt::print("{} lazy_refcounts={} refcount_bits={}\n", line, on_off(create.lazy_refcounts), create.refcount_bits);
    std::fflush(stdout);
  }
  EMU_TRY(make_qcow2(tool, image, create), where);
  return {};
}

int create_command(Tool& tool, const std::vector<std::string>& words) {
  const auto arguments = Arguments::parse(words, "f:b:F:o:qu", {"object=", "quiet"});
  if (!arguments) return tool.fail(arguments.error());
  NewImage image;
  image.format = arguments->get("f").value_or("raw");
  image.options = arguments->all("o");
  image.backing_file = arguments->get("b").value_or("");
  image.backing_format = arguments->get("F").value_or("");
  image.backing_unchecked = arguments->has("u");
  image.is_quiet = arguments->has("q") || arguments->has("quiet");
  for (const std::string& text : image.options) {
    if (text != "help" && text != "?") continue;
    fmt::print("{}", image.format == "qcow2" ? kQcow2Help : kRawHelp);
    return 0;
  }
  if (arguments->rest().empty()) return tool.fail("Expecting image file name");
  if (arguments->rest().size() > 2) return tool.fail("Unexpected argument: " + arguments->rest()[2]);
  image.filename = arguments->rest()[0];
  if (arguments->rest().size() == 2) {
    const auto bytes = parse_length(arguments->rest()[1]);
    if (!bytes) return tool.fail(bytes.error());
    image.bytes = *bytes;
  }
  const Result<void> made = make_image(tool, std::move(image));
  return made ? 0 : tool.fail(made.error());
}

}  // namespace emu::block::img
