// SPDX-License-Identifier: Apache-2.0
// What main links in for one guest architecture; tests link less.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "accel/accel.h"
#include "accel/kvm/kvm_target.h"
#include "hw/machine/board.h"
#include "target/debug_registers.h"

namespace emu::softmmu {

/// A CPU option in full.
struct CpuDetails {
  std::string model;
  std::vector<std::pair<std::string, bool>> features;
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;  ///< family, vendor...
  std::vector<std::string> unavailable;                                ///< asked for, but not translated
};

struct Parts {
  std::string_view target;  ///< "x86_64"
  /// Devices and boards; the core types are there already.
  std::function<void(qom::TypeRegistry&)> register_types;
  std::function<const std::vector<hw::MachineTypeInfo>&()> machine_types;
  std::function<Result<std::string>(std::string_view)> find_machine_type;
  std::function<std::string()> cpu_help;
  std::function<std::vector<std::string>()> cpu_models = {};
  /// "max,-avx"; with an acceleration, as it runs on the host's processor, and "host". Errors as for -cpu.
  std::function<Result<CpuDetails>(std::string_view, const target::Acceleration*)> cpu_details = {};
  std::function<Result<std::unique_ptr<accel::Accelerator>>(const accel::AccelOptions&, accel::AccelClient&)> make_tcg;
  /// Null: not for this architecture, or not linked in.
  std::function<Result<std::unique_ptr<accel::Accelerator>>(const accel::KvmOptions&, accel::AccelClient&)> make_kvm =
      {};
  /// Of a CPU of this architecture, for debuggers.
  std::function<std::unique_ptr<target::DebugRegisters>(target::Vcpu&)> make_debug_registers = {};
};

/// Every type that there is: the core's, network back ends', those of the parts, objects' and CPUs'.
void register_all_types(qom::TypeRegistry& registry, const Parts& parts);

/// The name of the machine that is meant: an alias is resolved, nothing is the default one.
std::string machine_or_default(const Parts& parts, const std::string& typed);

/// The parts of the real program. Defined in softmmu/main.
Parts make_x86_64_parts();

}  // namespace emu::softmmu
