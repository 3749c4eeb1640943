// SPDX-License-Identifier: Apache-2.0
// system-emu-img info, map.
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "block/img/tool.h"
#include "block/qcow2/bitmaps.h"
#include "util/string.h"

namespace emu::block::img {

namespace {

using Json = nlohmann::ordered_json;

Result<bool> wants_json(const Arguments& arguments) {
  const std::string output = arguments.get("output").value_or("human");
  if (output != "human" && output != "json") return error("--output must be used with human or json as argument.");
  return output == "json";
}

u64 allocated_bytes(const std::string& filename) {
  struct stat file {};
  return ::stat(filename.c_str(), &file) == 0 ? u64(file.st_blocks) * 512 : 0;
}

Result<Json> qcow2_specific(Tool& tool, qcow2::Image& image) {
  const qcow2::Header& header = image.header();
  Json data = {{"compat", header.version >= 3 ? "1.1" : "0.10"},
               {"compression-type", header.compression == qcow2::Compression::Zstd ? "zstd" : "zlib"}};
  if (header.version < 3) {
    data["refcount-bits"] = 16;
    return data;
  }
  data["lazy-refcounts"] = header.has_lazy_refcounts();
  data["refcount-bits"] = 1u << header.refcount_order;
  data["corrupt"] = header.has(qcow2::kCorrupt);
  data["extended-l2"] = header.has(qcow2::kExtendedL2);
  if (header.has(qcow2::kExternalData)) {
    data["data-file"] = header.data_file;
    data["data-file-raw"] = header.is_raw_external();
  }
  if (header.bitmaps) {
    auto entries = tool.run(qcow2::read_bitmap_directory(image.file(), image.geometry(), *header.bitmaps));
    if (!entries) return error(std::move(entries).error());
    Json bitmaps = Json::array();
    for (const qcow2::BitmapEntry& entry : *entries) {
      Json flags = Json::array();
      if (entry.flags & qcow2::BitmapEntry::kInUse) flags.push_back("in-use");
      if (entry.flags & qcow2::BitmapEntry::kAuto) flags.push_back("auto");
      bitmaps.push_back({{"flags", flags}, {"name", entry.name}, {"granularity", u64(1) << entry.granularity_bits}});
    }
    data["bitmaps"] = bitmaps;
  }
  return data;
}

Result<Json> describe(Tool& tool, const NodeRef& node, const std::string& filename) {
  Json info = {{"virtual-size", node->bytes()}, {"filename", filename}, {"format", std::string(node->driver())}};
  info["actual-size"] = allocated_bytes(filename);
  info["dirty-flag"] = false;
  qcow2::Image* const image = as_qcow2(node);
  if (!image) return info;
  const qcow2::Header& header = image->header();
  info["cluster-size"] = header.cluster();
  info["dirty-flag"] = header.has(qcow2::kDirty);
  info["format-specific"] = {{"type", "qcow2"}, {"data", EMU_TRY(qcow2_specific(tool, *image))}};
  if (!header.backing_file.empty()) {
    info["backing-filename"] = header.backing_file;
    info["full-backing-filename"] = filename_beside(filename, header.backing_file);
    if (!header.backing_format.empty()) info["backing-filename-format"] = header.backing_format;
  }
  return info;
}

const char* truth(const Json& value) { return value.get<bool>() ? "true" : "false"; }

void print_human(const Json& info) {
  fmt::print("image: {}\nfile format: {}\n", info["filename"].get<std::string>(), info["format"].get<std::string>());
  const u64 bytes = info["virtual-size"].get<u64>();
  fmt::print("virtual size: {} ({} bytes)\n", human_size(bytes), bytes);
  fmt::print("disk size: {}\n", human_size(info["actual-size"].get<u64>()));
  if (info["dirty-flag"].get<bool>()) fmt::print("cleanly shut down: no\n");
  if (info.contains("cluster-size")) fmt::print("cluster_size: {}\n", info["cluster-size"].get<u64>());
  if (info.contains("backing-filename")) {
    const auto name = info["backing-filename"].get<std::string>();
    const auto full = info["full-backing-filename"].get<std::string>();
    fmt::print("backing file: {}{}\n", name, name == full ? "" : " (actual path: " + full + ")");
    if (info.contains("backing-filename-format")) {
      fmt::print("backing file format: {}\n", info["backing-filename-format"].get<std::string>());
    }
  }
  if (!info.contains("format-specific")) return;
  fmt::print("Format specific information:\n");
  for (const auto& [key, value] : info["format-specific"]["data"].items()) {
    std::string name = key;
    if (key != "data-file") std::replace(name.begin(), name.end(), '-', ' ');
    if (key == "data-file") name = "data file";
    if (value.is_boolean()) {
      fmt::print("    {}: {}\n", name, truth(value));
    } else if (value.is_string()) {
      fmt::print("    {}: {}\n", name, value.get<std::string>());
    } else if (value.is_number()) {
      fmt::print("    {}: {}\n", name, value.get<u64>());
    } else if (value.is_array()) {
      fmt::print("    {}:\n", name);
      int index = 0;
      for (const auto& row : value) {
        fmt::print("        [{}]:\n            flags:\n", index++);
        int flag = 0;
        for (const auto& text : row["flags"]) fmt::print("                [{}]: {}\n", flag++, text.get<std::string>());
        fmt::print("            name: {}\n            granularity: {}\n", row["name"].get<std::string>(),
                   row["granularity"].get<u64>());
      }
    }
  }
}

}  // namespace

int info_command(Tool& tool, const std::vector<std::string>& words) {
  const auto arguments =
      Arguments::parse(words, "f:U", {"output=", "backing-chain", "force-share", "image-opts", "object=", "format="});
  if (!arguments) return tool.fail(arguments.error());
  const auto json = wants_json(*arguments);
  if (!json) return tool.fail(json.error());
  if (arguments->rest().size() != 1) return tool.fail("Expecting one image file name");
  std::string filename = arguments->rest()[0];
  std::string format = arguments->get("f").value_or(arguments->get("format").value_or(""));
  Json all = Json::array();
  std::set<std::string> seen;
  for (;;) {
    if (!seen.insert(filename).second) {
      return tool.fail("Backing file '" + filename + "' creates an infinite loop.");
    }
    auto node = tool.open({.filename = filename,
                           .format = format,
                           .force_share = arguments->has("U") || arguments->has("force-share"),
                           .image_opts = arguments->has("image-opts"),
                           .without_backing = true});
    if (!node) return tool.fail(node.error());
    auto info = describe(tool, *node, filename);
    if (!info) return tool.fail(info.error());
    all.push_back(*info);
    const qcow2::Image* const image = as_qcow2(*node);
    const bool more = arguments->has("backing-chain") && image && !image->header().backing_file.empty();
    const std::string next = more ? (*info)["full-backing-filename"].get<std::string>() : "";
    format = more ? image->header().backing_format : "";
    if (const auto closed = tool.close(*node); !closed) return tool.fail(closed.error());
    if (!more) break;
    filename = next;
  }
  if (*json) {
    const Json& shown = arguments->has("backing-chain") ? all : all[0];
    fmt::print("{}\n", shown.dump(4));
    return 0;
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i != 0) fmt::print("\n");
    print_human(all[i]);
  }
  return 0;
}

// ---- map ----

namespace {

struct MapRow {
  u64 start = 0, length = 0;
  unsigned depth = 0;
  bool present = false, zero = false, data = false;
  std::optional<u64> offset;
  std::string filename;
  bool goes_on(const MapRow& next) const {
    if (depth != next.depth || present != next.present || zero != next.zero || data != next.data) return false;
    if (offset.has_value() != next.offset.has_value() || filename != next.filename) return false;
    return !offset || *offset + length == *next.offset;
  }
};

void print_row(const MapRow& row, bool json, bool is_first) {
  if (json) {
    fmt::print("{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, \"data\": {}",
               is_first ? "[" : ",\n", row.start, row.length, row.depth, row.present, row.zero, row.data);
    if (row.offset) fmt::print(", \"offset\": {}", *row.offset);
    fmt::print("}}");
  } else if (row.data && !row.zero) {
    const auto hex = [](u64 value) { return value == 0 ? std::string("0") : fmt::format("{:#x}", value); };
    fmt::print("{:<16}{:<16}{:<16}{}\n", hex(row.start), hex(row.length), hex(*row.offset), row.filename);
  }
}

}  // namespace

int map_command(Tool& tool, const std::vector<std::string>& words) {
  const auto arguments = Arguments::parse(
      words, "f:s:l:U", {"output=", "start-offset=", "max-length=", "force-share", "image-opts", "object=", "format="});
  if (!arguments) return tool.fail(arguments.error());
  const auto json = wants_json(*arguments);
  if (!json) return tool.fail(json.error());
  if (arguments->rest().size() != 1) return tool.fail("Expecting one image file name");
  const std::string filename = arguments->rest()[0];
  const auto number = [&](const char* letter, const char* name, u64 otherwise) -> Result<u64> {
    const auto text = arguments->get(letter) ? arguments->get(letter) : arguments->get(name);
    return text ? parse_size(*text) : Result<u64>(otherwise);
  };
  const auto start = number("s", "start-offset", 0);
  const auto most = number("l", "max-length", ~u64(0));
  if (!start || !most) return tool.fail((start ? most : start).error());
  const auto node = tool.open({.filename = filename,
                               .format = arguments->get("f").value_or(arguments->get("format").value_or("")),
                               .force_share = arguments->has("U") || arguments->has("force-share"),
                               .image_opts = arguments->has("image-opts")});
  if (!node) return tool.fail(node.error());
  if (!*json) fmt::print("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
  MapRow last;
  bool is_first = true;
  const u64 end = *most < (*node)->bytes() - std::min(*start, (*node)->bytes()) ? *start + *most : (*node)->bytes();
  for (u64 at = *start; at < end;) {
    const auto extent = tool.run(chain_status(*node, at, end - at));
    if (!extent) return tool.fail("Failed to read image metadata: " + extent.error().message());
    const Extent& e = extent->extent;
    MapRow row{at, extent->bytes, extent->depth, e.allocated, e.zero || !e.allocated, e.data, {}, {}};
    if (e.host_offset) {
      row.offset = e.host_offset;
      const NodeRef data = child_of(extent->node, "data-file");
      row.filename = (data ? data : extent->node)->filename();
    }
    if (!*json && e.data && !row.offset) {
      return tool.fail("File contains external, encrypted or compressed clusters.");
    }
    at += extent->bytes;
    if (last.length != 0 && last.goes_on(row)) {
      last.length += row.length;
      continue;
    }
    if (last.length != 0) {
      print_row(last, *json, is_first);
      is_first = false;
    }
    last = row;
  }
  if (last.length != 0) print_row(last, *json, is_first);
  if (*json) fmt::print("{}]\n", last.length != 0 ? "" : "[");
  return 0;
}

}  // namespace emu::block::img
