// SPDX-License-Identifier: Apache-2.0
// The schema against the handlers.
#include <unistd.h>

#include <map>
#include <set>

#include "unit/monitor/qmp_bench.h"

namespace emu::monitor {
namespace {

/// What the schema says, by name.
class SchemaReader {
 public:
  explicit SchemaReader(const Json& entities) {
    for (const Json& entity : entities) {
      EXPECT_TRUE(entities_.emplace(entity["name"].get<std::string>(), entity).second) << entity["name"];
    }
  }
  const Json& entity(const std::string& name) const {
    const auto at = entities_.find(name);
    EXPECT_NE(at, entities_.end()) << "type not described: " << name;
    return at == entities_.end() ? kNone : at->second;
  }
  const std::map<std::string, Json>& all() const { return entities_; }
  /// A value of that type, with all members, or only those that must be there.
  Json example(const std::string& name, bool optional, int depth = 0) const {
    const Json& type = entity(name);
    const std::string meta = type.value("meta-type", "");
    if (meta == "builtin") {
      const std::string kind = type["json-type"];
      if (kind == "int") return 1;
      if (kind == "boolean") return true;
      if (kind == "number") return 1.5;
      if (kind == "string") return "x1";
      return "any";
    }
    if (meta == "enum") return type["values"].empty() ? Json("none") : type["values"][0];
    if (meta == "array")
      return depth > 6 ? Json::array() : Json::array({example(type["element-type"], optional, depth + 1)});
    if (meta == "alternate") {  // the plain one of them: the others may contain such a thing again
      for (const Json& member : type["members"]) {
        if (entity(member["type"]).value("meta-type", "") == "builtin")
          return example(member["type"], optional, depth + 1);
      }
      return example(type["members"][0]["type"], optional, depth + 1);
    }
    Json object = Json::object();
    add_members(type, object, optional, depth);
    if (type.contains("tag")) {
      for (const Json& variant : type["variants"]) {
        if (variant["case"] == object[type["tag"].get<std::string>()]) {
          add_members(entity(variant["type"]), object, optional, depth);
        }
      }
    }
    return object;
  }
  /// A value that the type does not take.
  Json wrong(const std::string& name) const {
    const Json& type = entity(name);
    const std::string meta = type.value("meta-type", "");
    if (meta == "enum") return "no such value";
    if (meta == "array" || meta == "object" || meta == "alternate") return 5;
    return type["json-type"] == "value" ? Json() : Json::array();
  }

 private:
  void add_members(const Json& type, Json& object, bool optional, int depth) const {
    for (const Json& member : type["members"]) {
      if (member.contains("default") && !optional) continue;
      object[member["name"].get<std::string>()] = example(member["type"], optional, depth + 1);
    }
  }
  inline static const Json kNone = Json::object();
  std::map<std::string, Json> entities_;
};

class QmpSchemaTest : public QmpTest {
 protected:
  QmpSchemaTest() {
    EXPECT_EQ(::chdir(testing::TempDir().c_str()), 0);  // files that examples name
    negotiate();
    schema = std::make_unique<SchemaReader>(call("query-qmp-schema")["return"]);
  }
  /// Refused for its arguments' shape, not for what they mean.
  static bool is_shape_error(const Json& answer) {
    if (!answer.contains("error")) return false;
    const std::string text = answer["error"]["desc"];
    return text.ends_with("is missing") || text.ends_with("is unexpected") ||
           text.starts_with("Invalid parameter type") || text.find("does not accept value") != std::string::npos;
  }
  std::unique_ptr<SchemaReader> schema;
};

TEST_F(QmpSchemaTest, EveryTypeThatIsNamedIsDescribed) {
  for (const auto& [name, entity] : schema->all()) {
    const std::string meta = entity["meta-type"];
    if (meta == "command") {
      schema->example(entity["arg-type"], true);
      schema->example(entity["ret-type"], true);
    }
    if (meta == "event") schema->example(entity["arg-type"], true);
  }
}

TEST_F(QmpSchemaTest, ListsExactlyTheCommandsThereAre) {
  std::set<std::string> listed, described;
  const Json answer = call("query-commands");
  for (const Json& info : answer["return"]) listed.insert(info["name"].get<std::string>());
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] == "command") described.insert(name);
  }
  EXPECT_EQ(listed, described);
}

TEST_F(QmpSchemaTest, HandlersTakeWhatTheSchemaSays) {
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] != "command" || name == "qmp_capabilities") continue;
    const std::string type = entity["arg-type"];
    for (const bool optional : {false, true}) {
      const Json arguments = schema->example(type, optional);
      const Json answer = call(name, arguments);
      EXPECT_FALSE(is_shape_error(answer)) << name << " " << arguments << " " << answer;
    }
  }
}

TEST_F(QmpSchemaTest, HandlersRefuseWhatTheSchemaDoesNotSay) {
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] != "command" || name == "qmp_capabilities") continue;
    const std::string type = entity["arg-type"];
    const Json good = schema->example(type, false);
    if (name != "device_add" && name != "blockdev-add") {  // take what their drivers have
      Json surplus = good;
      surplus["no-such-argument"] = 1;
      EXPECT_EQ(why(call(name, surplus)), "Parameter 'no-such-argument' is unexpected") << name;
    }
    for (const Json& member : schema->entity(type)["members"]) {
      const std::string key = member["name"];
      if (!member.contains("default")) {
        Json lacking = good;
        lacking.erase(key);
        EXPECT_EQ(why(call(name, lacking)), fmt::format("Parameter '{}' is missing", key)) << name;
      }
      const Json bad = schema->wrong(member["type"]);
      if (bad.is_null()) continue;
      Json mistaken = good;
      mistaken[key] = bad;
      const Json answer = call(name, mistaken);
      EXPECT_TRUE(is_shape_error(answer)) << name << " " << mistaken << " " << answer;
      EXPECT_THAT(why(answer), HasSubstr("'" + key + "'")) << name;
    }
  }
}

TEST_F(QmpSchemaTest, RepliesAreAsDescribed) {
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] != "command" || !name.starts_with("query-")) continue;
    const Json answer = call(name);
    if (!answer.contains("return")) continue;
    const Json& type = schema->entity(entity["ret-type"]);
    EXPECT_EQ(answer["return"].is_array(), type["meta-type"] == "array") << name;
    if (type["meta-type"] != "object") continue;
    std::set<std::string> known;
    for (const Json& member : type["members"]) {
      known.insert(member["name"].get<std::string>());
      const bool is_there = member.contains("default") || answer["return"].contains(member["name"]);
      EXPECT_TRUE(is_there) << name << " " << member;
    }
    for (const auto& [key, value] : answer["return"].items()) EXPECT_TRUE(known.contains(key)) << name << " " << key;
  }
}

}  // namespace
}  // namespace emu::monitor
