// SPDX-License-Identifier: Apache-2.0
// The program: joins the guest architecture's parts; the rest is in the libraries, see softmmu/startup.h.
#include <optional>
#include <string>
#include <vector>

#include "block/img/img.h"
#include "hw/register.h"
#include "softmmu/startup.h"
#include "target/x86/debug_registers.h"
#include "target/x86/kvm/kvm_target.h"
#include "target/x86/models.h"

namespace emu::softmmu {
namespace {

void register_types(qom::TypeRegistry& registry) {
  hw::register_devices(registry);
  hw::register_boards(registry);
}

Result<CpuDetails> cpu_details(std::string_view option, const target::Acceleration* acceleration) {
  const std::optional<x86::HostCpu> host = x86::describe_host(acceleration);
  const x86::CpuModel model = EMU_TRY(x86::parse_cpu_option(option, host ? &*host : nullptr));
  CpuDetails details{model.name, x86::model_features(model), {}, model.dropped_features};
  details.properties = {{"family", model.family},       {"model", model.model},  {"stepping", model.stepping},
                        {"phys-bits", model.phys_bits}, {"level", model.level},  {"xlevel", model.extended_level},
                        {"vendor", model.vendor},       {"model-id", model.brand}};
  return details;
}

}  // namespace

Parts make_x86_64_parts() {
  return {.target = "x86_64",
          .register_types = register_types,
          .machine_types = hw::machine_types,
          .find_machine_type = hw::find_machine_type,
          .cpu_help = x86::cpu_help,
          .cpu_models = x86::model_names,
          .cpu_details = cpu_details,
          .make_tcg = accel::make_tcg_accelerator,
          .make_kvm = x86::make_kvm_accelerator,
          .make_debug_registers = x86::make_debug_registers};
}

}  // namespace emu::softmmu

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  if (argc > 0 && emu::block::img::is_tool_name(arguments[0])) return emu::block::img::run(arguments);
  return emu::softmmu::run_program(arguments, emu::softmmu::make_x86_64_parts());
}
