// SPDX-License-Identifier: Apache-2.0
// Properties of objects as JSON.
#pragma once

#include "monitor/schema/schema.h"
#include "qom/property.h"

namespace emu::qom {
class Type;
}

namespace emu::monitor {

Json to_json(const qom::PropertyValue& value);
/// Errors: an object or null, which properties do not take.
Result<qom::PropertyValue> to_property_value(const std::string& name, const Json& value);
/// Programs say what they mean: "4K" is no size and "on" no bool for them.
Result<void> check_json_type(const qom::Property& property, const Json& value);

/// The settable properties of a type as a struct of the schema; gives its name.
std::string describe_type_properties(SchemaBuilder& builder, const qom::Type& type);

}  // namespace emu::monitor
