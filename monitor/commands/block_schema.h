// SPDX-License-Identifier: Apache-2.0
// A node as blockdev-add describes it; the schema has one variant a driver.
#pragma once

#include <optional>
#include <string>

#include "monitor/command.h"

namespace emu::monitor {

enum class DiscardName : u8 { Ignore, Unmap };
constexpr EnumNames enum_names(DiscardName) { return {"BlockdevDiscardOptions", {"ignore", "unmap"}}; }
enum class DetectName : u8 { Off, On, Unmap };
constexpr EnumNames enum_names(DetectName) { return {"BlockdevDetectZeroesOptions", {"off", "on", "unmap"}}; }
struct BlockdevCacheOptions {
  static constexpr const char* kName = "BlockdevCacheOptions";
  std::optional<bool> direct, no_flush;
  void members(auto& m) {
    m("direct", direct);
    m("no-flush", no_flush);
  }
};

struct BlockdevAddArguments {
  static constexpr const char* kName = "BlockdevOptions";
  std::string driver;
  std::optional<std::string> node_name;
  std::optional<DiscardName> discard;
  std::optional<BlockdevCacheOptions> cache;
  std::optional<bool> read_only, auto_read_only, force_share;
  std::optional<DetectName> detect_zeroes;
  Json rest = Json::object();  ///< what is the driver's own
  void members(auto& m) {
    m("driver", driver);
    m("node-name", node_name);
    m("discard", discard);
    m("cache", cache);
    m("read-only", read_only);
    m("auto-read-only", auto_read_only);
    m("force-share", force_share);
    m("detect-zeroes", detect_zeroes);
    m.rest(rest);
  }
  /// All of it in one object again.
  Json description() const;
  static std::string describe_schema(SchemaBuilder& builder);
};

void register_block_queries(CommandRegistry& registry);

}  // namespace emu::monitor
