// SPDX-License-Identifier: Apache-2.0
// JSON as options take it: -device '{"driver":"isa-serial","index":1}'.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "qom/property.h"
#include "util/options.h"

namespace emu::softmmu {

/// Members of a JSON object as text pairs, "a.b" for members of members. For Options::Syntax.
Result<Options::Pairs> json_pairs(std::string_view text);

/// Members of a JSON object as typed values, in order. Errors: not JSON, not an object, objects or nulls inside.
Result<std::vector<std::pair<std::string, qom::PropertyValue>>> json_properties(std::string_view text);

}  // namespace emu::softmmu
