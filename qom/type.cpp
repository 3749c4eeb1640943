// SPDX-License-Identifier: Apache-2.0
// The registry of types.
#include "qom/type.h"

#include <algorithm>

#include "util/suggest.h"

namespace emu::qom {

bool Type::is_a(std::string_view ancestor) const {
  for (const Type* type = this; type != nullptr; type = type->parent_) {
    if (type->name_ == ancestor) return true;
  }
  return false;
}

bool Type::is_a(const Type& ancestor) const { return is_a(ancestor.name_); }

std::vector<const Property*> Type::properties() const {
  std::vector<const Property*> all;
  if (parent_ != nullptr) all = parent_->properties();
  for (const Property& property : properties_) all.push_back(&property);
  return all;
}

const Property* Type::find_property(std::string_view name) const {
  for (const Type* type = this; type != nullptr; type = type->parent_) {
    for (const Property& property : type->properties_) {
      if (property.name() == name) return &property;
    }
  }
  return nullptr;
}

Result<const Property*> Type::require_property(std::string_view name) const {
  if (const Property* property = find_property(name)) return property;
  std::vector<std::string> names;
  for (const Property* property : properties()) names.push_back(property->name());
  return error(Error(fmt::format("Property '{}.{}' not found", name_, name)).with_hint(did_you_mean(name, names)));
}

PropertyValue Type::default_value(const Property& property) const {
  if (abstract_) return {};
  return property.get(*create());
}

std::string Type::property_help() const {
  if (abstract_) return {};
  const auto object = create();
  std::vector<std::string> lines;
  for (const Property* property : properties()) {
    std::string line = fmt::format("  {}=<{}>", property->name(), property->type_name());
    if (!property->doc().empty() || !property->is_link()) line = fmt::format("{:<23} - {}", line, property->doc());
    const PropertyValue value = property->get(*object);
    if (!value.is_null() && !property->is_link() && !property->is_read_only()) {
      const u64* number = value.get_if<u64>();
      line += property->is_hex() && number != nullptr ? fmt::format(" (default: {:#x})", *number)
                                                      : fmt::format(" (default: {})", value.text());
    }
    lines.push_back(std::move(line));
  }
  std::sort(lines.begin(), lines.end());
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

std::unique_ptr<Object> Type::create() const {
  EMU_CHECK(factory_ != nullptr);
  auto object = factory_();
  object->type_ = this;
  std::vector<const Type*> chain;
  for (const Type* type = this; type != nullptr; type = type->parent_) chain.push_back(type);
  for (auto type = chain.rbegin(); type != chain.rend(); ++type) {
    for (const auto& [name, value] : (*type)->defaults_) EMU_CHECK(object->set(name, value).has_value());
  }
  return object;
}

TypeRegistry::TypeRegistry() {
  auto root = std::make_unique<Type>();
  root->name_ = Object::kTypeName;
  root->abstract_ = true;
  types_.emplace(root->name_, std::move(root));
  add<Container>("container");
}

Type& TypeRegistry::insert(std::string name, std::string_view parent, std::type_index native) {
  const Type* ancestor = find(parent);
  EMU_CHECK(ancestor != nullptr);     // register the parent type first
  EMU_CHECK(find(name) == nullptr);  // two types, one name
  auto type = std::make_unique<Type>();
  type->name_ = name;
  type->parent_ = ancestor;
  Type& reference = *type;
  types_.emplace(std::move(name), std::move(type));
  native_.emplace(native, &reference);  // the first name of a class stays
  return reference;
}

void TypeRegistry::add_alias(std::string alias, std::string name) {
  EMU_CHECK(find(alias) == nullptr && find(name) != nullptr);
  aliases_.emplace(std::move(alias), std::move(name));
}

const Type* TypeRegistry::find(std::string_view name) const {
  if (auto alias = aliases_.find(name); alias != aliases_.end()) return find(alias->second);
  auto found = types_.find(name);
  return found == types_.end() ? nullptr : found->second.get();
}

const Type* TypeRegistry::find_native(std::type_index native) const {
  auto found = native_.find(native);
  return found == native_.end() ? nullptr : found->second;
}

Result<const Type*> TypeRegistry::require(std::string_view name, std::string_view kind) const {
  if (const Type* type = find(name)) return type;
  std::vector<std::string> names;
  for (const auto& [known, type] : types_) {
    if (!type->is_abstract()) names.push_back(known);
  }
  for (const auto& [alias, target] : aliases_) names.push_back(alias);
  return error(Error(fmt::format("'{}' is not a valid {} name", name, kind)).with_hint(did_you_mean(name, names)));
}

std::vector<const Type*> TypeRegistry::list(std::string_view ancestor, Abstract abstract) const {
  std::vector<const Type*> found;
  for (const auto& [name, type] : types_) {
    if (type->is_abstract() && abstract == Abstract::Skip) continue;
    if (ancestor.empty() || type->is_a(ancestor)) found.push_back(type.get());
  }
  return found;
}

std::vector<std::pair<std::string, std::string>> TypeRegistry::aliases() const {
  return {aliases_.begin(), aliases_.end()};
}

}  // namespace emu::qom
