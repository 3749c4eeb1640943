// SPDX-License-Identifier: Apache-2.0
#include "monitor/commands/block_schema.h"

namespace emu::monitor {
namespace {

struct MemberRow {
  const char* name;
  const char* type;  ///< "str", "int", "bool", or one of the named ones below
  bool required = false;
};
struct DriverRow {
  const char* driver;
  std::vector<MemberRow> members;
};

const std::vector<DriverRow>& drivers() {
  static const std::vector<DriverRow> kRows = {
      {"blkdebug", {{"image", "BlockdevRef", true}, {"align", "int"}, {"inject-error", "any"}, {"set-state", "any"}}},
      {"copy-on-read", {{"file", "BlockdevRef", true}}},
      {"file", {{"filename", "str", true}, {"aio", "BlockdevAioOptions"}, {"locking", "OnOffAuto"}}},
      {"host_device", {{"filename", "str", true}, {"aio", "BlockdevAioOptions"}, {"locking", "OnOffAuto"}}},
      {"null-co", {{"size", "int"}, {"latency-ns", "int"}, {"read-zeroes", "bool"}}},
      {"qcow2",
       {{"file", "BlockdevRef", true},
        {"backing", "BlockdevRefOrNull"},
        {"data-file", "BlockdevRef"},
        {"lazy-refcounts", "bool"},
        {"pass-discard-request", "bool"},
        {"pass-discard-snapshot", "bool"},
        {"pass-discard-other", "bool"},
        {"l2-cache-size", "int"},
        {"refcount-cache-size", "int"},
        {"cache-size", "int"}}},
      {"raw", {{"file", "BlockdevRef", true}, {"offset", "int"}, {"size", "int"}}},
      {"throttle", {{"file", "BlockdevRef", true}, {"throttle-group", "str", true}}},
  };
  return kRows;
}

std::string type_of(SchemaBuilder& builder, const std::string& type) {
  if (type == "str") return schema_type<std::string>(builder);
  if (type == "int") return schema_type<u64>(builder);
  if (type == "bool") return schema_type<bool>(builder);
  if (type == "any") return schema_type<Json>(builder);
  if (type == "BlockdevAioOptions") return builder.enumeration(type, {"threads", "native", "io_uring"});
  if (type == "OnOffAuto") return builder.enumeration(type, {"auto", "on", "off"});
  if (type == "BlockdevDiscardOptions") return schema_type<DiscardName>(builder);
  if (type == "BlockdevDetectZeroesOptions") return schema_type<DetectName>(builder);
  if (type == "BlockdevCacheOptions") return schema_type<BlockdevCacheOptions>(builder);
  if (builder.claim(type)) {
    Json members = Json::array();
    // BlockdevRef and BlockdevRefOrNull: a node's name, or another node's description.
    members.push_back({{"type", type_of(builder, "str")}});
    members.push_back({{"type", BlockdevAddArguments::describe_schema(builder)}});
    if (type == "BlockdevRefOrNull") members.push_back({{"type", builder.builtin("null", "null")}});
    builder.add({{"name", type}, {"meta-type", "alternate"}, {"members", std::move(members)}});
  }
  return type;
}

Json member(SchemaBuilder& builder, const MemberRow& row) {
  Json described = {{"name", row.name}, {"type", type_of(builder, row.type)}};
  if (!row.required) described["default"] = nullptr;
  return described;
}

}  // namespace

Json BlockdevAddArguments::description() const {
  BlockdevAddArguments own = *this;
  own.rest = Json::object();
  Json all = rest;
  all.update(to_json_value(own));
  return all;
}

std::string BlockdevAddArguments::describe_schema(SchemaBuilder& builder) {
  if (!builder.claim(kName)) return kName;
  std::vector<std::string> names;
  for (const DriverRow& row : drivers()) names.push_back(row.driver);
  Json members = Json::array();
  members.push_back({{"name", "driver"}, {"type", builder.enumeration("BlockdevDriver", names)}});
  for (const MemberRow& row : {MemberRow{"node-name", "str"}, MemberRow{"discard", "BlockdevDiscardOptions"},
                               MemberRow{"cache", "BlockdevCacheOptions"}, MemberRow{"read-only", "bool"},
                               MemberRow{"auto-read-only", "bool"}, MemberRow{"force-share", "bool"},
                               MemberRow{"detect-zeroes", "BlockdevDetectZeroesOptions"}}) {
    members.push_back(member(builder, row));
  }
  Json variants = Json::array();
  for (const DriverRow& row : drivers()) {
    const std::string type = std::string("BlockdevOptions-") + row.driver;
    if (builder.claim(type)) {
      Json own = Json::array();
      for (const MemberRow& one : row.members) own.push_back(member(builder, one));
      builder.add({{"name", type}, {"meta-type", "object"}, {"members", std::move(own)}});
    }
    variants.push_back({{"case", row.driver}, {"type", type}});
  }
  builder.add({{"name", kName},
               {"meta-type", "object"},
               {"members", std::move(members)},
               {"tag", "driver"},
               {"variants", std::move(variants)}});
  return kName;
}

}  // namespace emu::monitor
