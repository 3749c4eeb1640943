// SPDX-License-Identifier: Apache-2.0
#include "net/netdev_json.h"

#include <nlohmann/json.hpp>

namespace emu::net {
namespace {

using Json = nlohmann::ordered_json;

Result<void> flatten(const std::string& name, const Json& json, Options::Pairs& pairs) {
  if (json.is_boolean()) {
    pairs.emplace_back(name, json.get<bool>() ? "on" : "off");
  } else if (json.is_number_unsigned()) {
    pairs.emplace_back(name, std::to_string(json.get<u64>()));
  } else if (json.is_number_integer()) {
    pairs.emplace_back(name, std::to_string(json.get<i64>()));
  } else if (json.is_string()) {
    pairs.emplace_back(name, json.get<std::string>());
  } else if (json.is_array()) {
    for (const Json& item : json) {
      const bool is_text = item.is_object() && item.size() == 1 && item.contains("str");
      EMU_TRY(flatten(name, is_text ? item["str"] : item, pairs));
    }
  } else if (json.is_object()) {
    for (const auto& [key, value] : json.items()) EMU_TRY(flatten(name.empty() ? key : name + "." + key, value, pairs));
  } else {
    return error("'{}' has a JSON value that network back ends do not take: {}", name, json.type_name());
  }
  return {};
}

}  // namespace

Result<Options::Pairs> netdev_pairs(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return error("'{}' is not valid JSON", text);
  if (!json.is_object()) return error("'{}' is not a JSON object", text);
  Options::Pairs pairs;
  EMU_TRY(flatten("", json, pairs));
  return pairs;
}

}  // namespace emu::net
