// SPDX-License-Identifier: Apache-2.0
#include "softmmu/json_options.h"

#include <nlohmann/json.hpp>

namespace emu::softmmu {
namespace {

using Json = nlohmann::ordered_json;

Result<Json> parse_object(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return error("'{}' is not valid JSON", text);
  if (!json.is_object()) return error("'{}' is not a JSON object", text);
  return json;
}

Result<qom::PropertyValue> property_value(const std::string& key, const Json& json) {
  if (json.is_boolean()) return qom::PropertyValue(json.get<bool>());
  if (json.is_number_unsigned()) return qom::PropertyValue(json.get<u64>());
  if (json.is_number_integer()) return qom::PropertyValue(json.get<i64>());
  if (json.is_number_float()) return qom::PropertyValue(json.get<double>());
  if (json.is_string()) return qom::PropertyValue(json.get<std::string>());
  if (json.is_array()) {
    qom::PropertyValue::List list;
    for (const Json& item : json) list.push_back(EMU_TRY(property_value(key, item)));
    return qom::PropertyValue(std::move(list));
  }
  return error("'{}' has a JSON value that options do not take: {}", key, json.type_name());
}

Result<void> flatten(const std::string& prefix, const Json& json, Options::Pairs& pairs) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = prefix + key;
    if (value.is_object()) {
      EMU_TRY(flatten(name + ".", value, pairs));
    } else {
      pairs.emplace_back(name, EMU_TRY(property_value(name, value)).text());
    }
  }
  return {};
}

}  // namespace

Result<Options::Pairs> json_pairs(std::string_view text) {
  const Json json = EMU_TRY(parse_object(text));
  Options::Pairs pairs;
  EMU_TRY(flatten("", json, pairs));
  return pairs;
}

Result<std::vector<std::pair<std::string, qom::PropertyValue>>> json_properties(std::string_view text) {
  const Json json = EMU_TRY(parse_object(text));
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
  for (const auto& [key, value] : json.items()) properties.emplace_back(key, EMU_TRY(property_value(key, value)));
  return properties;
}

}  // namespace emu::softmmu
