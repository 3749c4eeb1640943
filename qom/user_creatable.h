// SPDX-License-Identifier: Apache-2.0
// Objects that users make with -object and object-add: they live at /objects/ID.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qom/type.h"

namespace emu::qom {

class UserCreatable : public Object {
 public:
  static constexpr const char* kTypeName = "user-creatable";
  static void describe(TypeInfo<UserCreatable>& type) { type.doc("Object that users may make"); }

  /// Checks the properties, once they are set, and opens what they name.
  virtual Result<void> complete() { return {}; }
  /// Whether somebody still needs it.
  virtual bool is_in_use() const { return false; }

 protected:
  bool is_sealed() const override { return completed_; }

 private:
  friend Result<UserCreatable*> add_user_object(ObjectTree&, std::string_view, const std::string&,
                                                const std::vector<std::pair<std::string, PropertyValue>>&);
  bool completed_ = false;
};

/// A letter, then letters, digits, '-', '.', '_'.
bool is_object_id(std::string_view id);

/// Makes /objects/ID. Errors name the property; nothing is left behind.
Result<UserCreatable*> add_user_object(ObjectTree& tree, std::string_view type, const std::string& id,
                                       const std::vector<std::pair<std::string, PropertyValue>>& properties);
/// Takes it away. Errors: there is none, or it is in use.
Result<void> delete_user_object(ObjectTree& tree, std::string_view id);

}  // namespace emu::qom
