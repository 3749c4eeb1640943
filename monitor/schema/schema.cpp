// SPDX-License-Identifier: Apache-2.0
#include "monitor/schema/schema.h"

namespace emu::monitor {

std::string SchemaBuilder::builtin(const char* name, const char* json_type) {
  if (claim(name)) add({{"name", name}, {"meta-type", "builtin"}, {"json-type", json_type}});
  return name;
}

std::string SchemaBuilder::array_of(const std::string& element) {
  std::string name = "[" + element + "]";
  if (claim(name)) add({{"name", name}, {"meta-type", "array"}, {"element-type", element}});
  return name;
}

std::string SchemaBuilder::enumeration(const std::string& name, const std::vector<std::string>& values) {
  if (claim(name)) {
    Json members = Json::array();
    for (const std::string& value : values) members.push_back({{"name", value}});
    add({{"name", name}, {"meta-type", "enum"}, {"values", values}, {"members", std::move(members)}});
  }
  return name;
}

const std::string& SchemaBuilder::empty_object() {
  if (claim(empty_)) add({{"name", empty_}, {"meta-type", "object"}, {"members", Json::array()}});
  return empty_;
}

tl::unexpected<Error> wrong_type(const std::string& name, std::string_view expected) {
  return error("Invalid parameter type for '{}', expected: {}", name, expected);
}

void MemberReader::rest(Json& others) {
  if (failure_) return;
  others = Json::object();
  for (const auto& [key, value] : object_.items()) {
    if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) continue;
    others[key] = value;
    seen_.push_back(key);
  }
}

Result<void> MemberReader::finish() {
  if (!failure_) {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(seen_.begin(), seen_.end(), key) == seen_.end()) {
        fail(Error(fmt::format("Parameter '{}' is unexpected", prefix_ + key)));
        break;
      }
    }
  }
  if (failure_) return error(*std::move(failure_));
  return {};
}

}  // namespace emu::monitor
