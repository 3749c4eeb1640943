// SPDX-License-Identifier: Apache-2.0
// The types of this room.
#pragma once

#include "qom/type.h"

namespace emu::net {

/// "net-client" and the back ends.
void register_net_types(qom::TypeRegistry& registry);
/// What -object makes here: filter-dump. Needs "user-creatable".
void register_net_objects(qom::TypeRegistry& registry);

}  // namespace emu::net
