// SPDX-License-Identifier: Apache-2.0
// Saved states in which a test changes a field: what nobody's own device would have saved.
#pragma once

#include <string_view>

#include "qom/archive.h"
#include "util/check.h"

namespace emu::test {

/// Depth first; null when there is no such field.
inline qom::FieldTree* find_field(qom::FieldTree& tree, std::string_view name) {
  auto* members = tree.get_if<qom::FieldTree::Struct>();
  if (members == nullptr) return nullptr;
  for (auto& member : *members) {
    if (member.name == name) return &member.value;
    if (qom::FieldTree* found = find_field(member.value, name)) return found;
  }
  return nullptr;
}

/// Saves `device`, and loads that with another value in one field.
template <typename D, typename V>
Result<void> load_with(D& device, std::string_view name, V value) {
  qom::FieldTree saved = device.save();
  qom::FieldTree* field = find_field(saved, name);
  EMU_CHECK(field != nullptr);
  *field = qom::FieldTree(value);
  EMU_TRY(device.load(saved));
  return device.finish_load();
}

}  // namespace emu::test
