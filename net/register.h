// SPDX-License-Identifier: Apache-2.0
// The types of this room.
#pragma once

#include "qom/type.h"

namespace emu::net {

/// "net-client", the back ends, filter-dump. Needs "user-creatable".
void register_net_types(qom::TypeRegistry& registry);

}  // namespace emu::net
