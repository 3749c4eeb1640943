// SPDX-License-Identifier: Apache-2.0
#include "monitor/property_json.h"

#include "qom/type.h"

namespace emu::monitor {
namespace {

enum class Shape : u8 { Text, Truth, Number, Any };

Shape shape_of(const qom::Property& property) {
  const std::string& type = property.type_name();
  if (type == "bool") return Shape::Truth;
  if (type.starts_with("int") || type.starts_with("uint") || type == "size") return Shape::Number;
  if (type == "str" || type == "string" || property.is_link() || !property.choices().empty()) return Shape::Text;
  return Shape::Any;
}

}  // namespace

Json to_json(const qom::PropertyValue& value) {
  if (const bool* truth = value.get_if<bool>()) return *truth;
  if (const u64* number = value.get_if<u64>()) return *number;
  if (const i64* number = value.get_if<i64>()) return *number;
  if (const double* number = value.get_if<double>()) return *number;
  if (const auto* text = value.get_if<std::string>()) return *text;
  if (const auto* list = value.get_if<qom::PropertyValue::List>()) {
    Json array = Json::array();
    for (const qom::PropertyValue& item : *list) array.push_back(to_json(item));
    return array;
  }
  return nullptr;
}

Result<qom::PropertyValue> to_property_value(const std::string& name, const Json& value) {
  if (value.is_boolean()) return qom::PropertyValue(value.get<bool>());
  if (value.is_number_unsigned()) return qom::PropertyValue(value.get<u64>());
  if (value.is_number_integer()) return qom::PropertyValue(value.get<i64>());
  if (value.is_number_float()) return qom::PropertyValue(value.get<double>());
  if (value.is_string()) return qom::PropertyValue(value.get<std::string>());
  if (value.is_array()) {
    qom::PropertyValue::List list;
    for (const Json& item : value) list.push_back(EMU_TRY(to_property_value(name, item)));
    return qom::PropertyValue(std::move(list));
  }
  return wrong_type(name, "value");
}

Result<void> check_json_type(const qom::Property& property, const Json& value) {
  switch (shape_of(property)) {
    case Shape::Truth:
      if (!value.is_boolean()) return wrong_type(property.name(), "boolean");
      break;
    case Shape::Number:
      if (!value.is_number_integer()) return wrong_type(property.name(), "integer");
      break;
    case Shape::Text:
      if (!value.is_string()) return wrong_type(property.name(), "string");
      break;
    case Shape::Any:
      break;
  }
  return {};
}

std::string describe_type_properties(SchemaBuilder& builder, const qom::Type& type) {
  std::string name = type.name() + "-properties";
  if (!builder.claim(name)) return name;
  Json members = Json::array();
  for (const qom::Property* property : type.properties()) {
    if (property->is_read_only()) continue;
    Json member = {{"name", property->name()}};
    if (!property->is_required()) member["default"] = nullptr;
    switch (shape_of(*property)) {
      case Shape::Truth:
        member["type"] = schema_type<bool>(builder);
        break;
      case Shape::Number:
        member["type"] = schema_type<u64>(builder);
        break;
      case Shape::Text:
        member["type"] = property->choices().empty() ? schema_type<std::string>(builder)
                                                     : builder.enumeration(property->type_name(), property->choices());
        break;
      case Shape::Any:
        member["type"] = schema_type<Json>(builder);
        break;
    }
    members.push_back(std::move(member));
  }
  builder.add({{"name", name}, {"meta-type", "object"}, {"members", std::move(members)}});
  return name;
}

}  // namespace emu::monitor
