// SPDX-License-Identifier: Apache-2.0
#include "block/block_options.h"

#include <nlohmann/json.hpp>

#include "util/suggest.h"

namespace emu::block {
namespace {

using Json = nlohmann::json;
constexpr unsigned kDeepest = 32;

Result<void> flatten(const std::string& name, const Json& value, unsigned depth, Options::Pairs& pairs) {
  if (depth > kDeepest) return error("'{}' is nested too deeply", name);
  const std::string prefix = name.empty() ? "" : name + ".";
  if (value.is_object()) {
    for (const auto& [key, member] : value.items()) EMU_TRY(flatten(prefix + key, member, depth + 1, pairs));
  } else if (value.is_array()) {
    for (std::size_t i = 0; i < value.size(); i++) {
      EMU_TRY(flatten(prefix + std::to_string(i), value[i], depth + 1, pairs));
    }
  } else if (value.is_boolean()) {
    pairs.emplace_back(name, value.get<bool>() ? "on" : "off");
  } else if (value.is_string()) {
    pairs.emplace_back(name, value.get<std::string>());
  } else {
    pairs.emplace_back(name, value.dump());
  }
  return {};
}

}  // namespace

Result<Options::Pairs> flatten_json(const Json& object) {
  if (!object.is_object()) return error("a node is described by a JSON object");
  Options::Pairs pairs;
  EMU_TRY(flatten("", object, 0, pairs));
  return pairs;
}

Result<CacheMode> parse_cache_mode(std::string_view name) {
  struct Row {
    std::string_view name;
    CacheMode mode;
  };
  static constexpr Row kModes[] = {{"writeback", {true, false, false}},
                                   {"none", {true, true, false}},
                                   {"off", {true, true, false}},
                                   {"writethrough", {false, false, false}},
                                   {"directsync", {false, true, false}},
                                   {"unsafe", {true, false, true}}};
  std::vector<std::string_view> names;
  for (const Row& row : kModes) {
    if (row.name == name) return row.mode;
    names.push_back(row.name);
  }
  return error(Error(fmt::format("invalid cache option '{}'", name)).with_hint(did_you_mean(name, names)));
}

namespace {

Result<OnError> take_on_error(Options& options, const char* key, OnError otherwise) {
  const auto given = options.take(key);
  if (!given) return otherwise;
  if (*given == "report") return OnError::Report;
  if (*given == "ignore") return OnError::Ignore;
  if (*given == "stop") return OnError::Stop;
  if (*given == "enospc" && std::string_view(key) == "werror") return OnError::Enospc;
  return error("'{}' invalid {} error action", *given, std::string_view(key) == "werror" ? "write" : "read");
}

/// Limits as they were spelled before, and still are: bps, iops_rd, bps_max...
void take_old_names(Options& options) {
  for (const char* what : {"bps", "iops"}) {
    for (const auto& [old_way, way] : {std::pair("", "total"), std::pair("_rd", "read"), std::pair("_wr", "write")}) {
      for (const auto& [old_end, end] : {std::pair("", ""), std::pair("_max", "-max")}) {
        const auto value = options.take(fmt::format("{}{}{}", what, old_way, old_end));
        if (value) options.set(fmt::format("throttling.{}-{}{}", what, way, end), *value);
      }
    }
  }
  if (const auto value = options.take("iops_size")) options.set("throttling.iops-size", *value);
  if (const auto value = options.take("group")) options.set("throttling.group", *value);
}

void set_default(Options& options, const char* key, const char* value) {
  if (!options.has(key)) options.set(key, value);
}

}  // namespace

Result<DriveSpec> take_drive_spec(Options& options, bool is_cdrom) {
  DriveSpec spec;
  BackendSettings& settings = spec.settings;
  settings.is_removable = is_cdrom;
  settings.on_write_error = EMU_TRY(take_on_error(options, "werror", OnError::Enospc));
  settings.on_read_error = EMU_TRY(take_on_error(options, "rerror", OnError::Report));
  CacheMode cache;
  if (const auto name = options.take("cache")) {
    cache = EMU_TRY(parse_cache_mode(*name));
    set_default(options, "cache.direct", cache.direct ? "on" : "off");
    set_default(options, "cache.no-flush", cache.no_flush ? "on" : "off");
  }
  settings.write_cache = EMU_TRY(options.take_bool_or("cache.writeback", cache.write_back));

  take_old_names(options);
  spec.limits = EMU_TRY(take_throttle_config(options, "throttling."));
  spec.throttle_group = options.take("throttling.group").value_or("");
  spec.copy_on_read = EMU_TRY(options.take_bool_or("copy-on-read", false));
  spec.snapshot = EMU_TRY(options.take_bool_or("snapshot", false));
  // CD-ROMs are not written; "readonly" is the older spelling.
  const auto older = EMU_TRY(options.take_bool("readonly"));
  const bool read_only = EMU_TRY(options.take_bool_or("read-only", older.value_or(is_cdrom)));
  settings.read_only = read_only;
  if (spec.copy_on_read && read_only) return error("copy-on-read=on: nothing can be kept in a read-only image");

  Options node;
  if (const auto file = options.take("file"); file && !file->empty()) node.set("filename", *file);
  if (const auto format = options.take("format")) node.set("driver", *format);
  // What belongs to the file below goes there; the rest is the node's own.
  if (const auto aio = options.take("aio")) node.set("file.aio", *aio);
  if (const auto locking = options.take("locking")) node.set("file.locking", *locking);
  for (auto& [key, value] : options.take_rest()) node.set(key, value);
  const bool has_image = node.has("filename") || node.has("driver") || node.has("file.driver") ||
                         node.has("file.filename") || node.has("node-name");
  if (!has_image) {
    for (const char* harmless : {"cache.direct", "cache.no-flush", "discard", "detect-zeroes", "file.aio"}) {
      node.take(harmless);
    }
    EMU_TRY(node.finish());
    return spec;
  }
  // With a snapshot nothing is written to the image itself.
  node.set("read-only", read_only || spec.snapshot ? "on" : "off");
  if (!node.has("auto-read-only")) node.set("auto-read-only", "on");
  // The file name belongs to the file as soon as anything else is said about it.
  bool has_file_keys = false;
  for (const auto& [key, value] : node.pairs()) has_file_keys |= key.starts_with("file.");
  if (has_file_keys) {
    if (const auto filename = node.peek("filename"); filename && !node.has("file.filename")) {
      Options moved;
      for (const auto& [key, value] : node.pairs()) moved.set(key == "filename" ? "file.filename" : key, value);
      node = std::move(moved);
    }
  }
  spec.node = std::move(node);
  return spec;
}

}  // namespace emu::block
