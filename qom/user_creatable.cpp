// SPDX-License-Identifier: Apache-2.0
#include "qom/user_creatable.h"

#include <algorithm>

#include "util/string.h"

namespace emu::qom {

bool is_object_id(std::string_view id) { return is_identifier(id); }

Result<UserCreatable*> add_user_object(ObjectTree& tree, std::string_view type, const std::string& id,
                                       const std::vector<std::pair<std::string, PropertyValue>>& properties) {
  const Type* known = tree.registry().find(type);
  if (known == nullptr || known->is_abstract() || !known->is_a(UserCreatable::kTypeName)) {
    return error("Parameter 'qom-type' does not accept value '{}'", type);
  }
  if (!is_object_id(id)) return error("Parameter 'id' expects an identifier");
  Object& folder = tree.container("/objects");
  if (folder.child(id) != nullptr) {
    return error("attempt to add duplicate property '{}' to object (type 'container')", id);
  }
  auto object = EMU_TRY(tree.create(*known));
  auto& made = static_cast<UserCreatable&>(*object);
  for (const Property* property : known->properties()) {
    const bool given = std::any_of(properties.begin(), properties.end(),
                                   [&](const auto& pair) { return pair.first == property->name(); });
    if (property->is_required() && !given) return error("Parameter '{}' is missing", property->name());
  }
  for (const auto& [name, value] : properties) EMU_TRY(made.set(name, value));
  EMU_TRY(made.complete());
  made.completed_ = true;
  EMU_TRY(folder.add_child(id, std::move(object)));
  return &made;
}

Result<void> delete_user_object(ObjectTree& tree, std::string_view id) {
  Object& folder = tree.container("/objects");
  auto* object = dynamic_cast<UserCreatable*>(folder.child(id));
  if (object == nullptr) return error("object '{}' not found", id);
  if (object->is_in_use()) return error("object '{}' is in use, can not be deleted", id);
  folder.remove_child(*object);
  return {};
}

}  // namespace emu::qom
