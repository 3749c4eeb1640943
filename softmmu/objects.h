// SPDX-License-Identifier: Apache-2.0
// The object types of -object and object-add.
#pragma once

#include <span>
#include <string_view>

#include "qom/type.h"

namespace emu::softmmu {

/// A type that users may name, for help; those without help are QEMU's, and not here.
struct ObjectKind {
  std::string_view type, syntax = {}, help = {};
};
std::span<const ObjectKind> object_kinds();

void register_objects(qom::TypeRegistry& registry);

}  // namespace emu::softmmu
