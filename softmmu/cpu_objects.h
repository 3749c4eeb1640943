// SPDX-License-Identifier: Apache-2.0
// CPUs as objects in the tree, for monitors: one type a model, with its features as properties.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "qom/type.h"
#include "softmmu/parts.h"

namespace emu::softmmu {

/// The model that is the host's processor: only where it runs the guest.
constexpr std::string_view kHostCpu = "host";

/// "qemu64-x86_64-cpu".
std::string cpu_type_name(const Parts& parts, std::string_view model);
void register_cpu_types(qom::TypeRegistry& registry, const Parts& parts);
/// The CPU that `details` describe, not yet in the tree.
Result<std::unique_ptr<qom::Object>> make_cpu_object(qom::ObjectTree& tree, const Parts& parts,
                                                     const CpuDetails& details);

}  // namespace emu::softmmu
