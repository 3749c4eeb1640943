// SPDX-License-Identifier: Apache-2.0
// A node as blockdev-add describes it; the schema has one variant a driver.
#pragma once

#include <optional>
#include <string>

#include "monitor/command.h"

namespace emu::monitor {

struct BlockdevAddArguments {
  static constexpr const char* kName = "BlockdevOptions";
  std::string driver;
  std::optional<std::string> node_name;
  Json rest = Json::object();
  void members(auto& m) {
    m("driver", driver);
    m("node-name", node_name);
    m.rest(rest);
  }
  static std::string describe_schema(SchemaBuilder& builder);
};

void register_block_queries(CommandRegistry& registry);

}  // namespace emu::monitor
