// SPDX-License-Identifier: Apache-2.0
// Back ends as JSON: -netdev '{"type":"user",...}' and netdev_add.
#pragma once

#include <string_view>

#include "util/options.h"

namespace emu::net {

/// Members as pairs: those of objects as "a.b", each element of a list as a pair of its own, {"str":X} as X.
Result<Options::Pairs> netdev_pairs(std::string_view json);

}  // namespace emu::net
