// SPDX-License-Identifier: Apache-2.0
// The object types of -object and object-add.
#pragma once

#include "qom/type.h"

namespace emu::softmmu {

void register_objects(qom::TypeRegistry& registry);

}  // namespace emu::softmmu
