// SPDX-License-Identifier: Apache-2.0
// The program: joins the guest architecture's parts; the rest is in the libraries, see softmmu/startup.h.
#include <string>
#include <vector>

#include "block/img/img.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/block/pflash.h"
#include "hw/char/debugcon.h"
#include "hw/char/serial_16550.h"
#include "hw/char/serial_pci.h"
#include "hw/core/loader.h"
#include "hw/display/vga.h"
#include "hw/ide/ahci.h"
#include "hw/ide/piix3_ide.h"
#include "hw/input/i8042.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/local_apic.h"
#include "hw/isa/ich9_lpc.h"
#include "hw/isa/piix3.h"
#include "hw/misc/debug_exit.h"
#include "hw/misc/edu.h"
#include "hw/misc/fpu_error.h"
#include "hw/misc/port92.h"
#include "hw/misc/pvpanic.h"
#include "hw/net/e1000.h"
#include "hw/net/e1000e.h"
#include "hw/net/rtl8139.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/q35.h"
#include "hw/rtc/mc146818.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/scsi/scsi_bus.h"
#include "hw/virtio/register.h"
#include "softmmu/startup.h"
#include "target/x86/debug_registers.h"
#include "target/x86/kvm/kvm_target.h"
#include "target/x86/models.h"

namespace emu::softmmu {
namespace {

void register_types(qom::TypeRegistry& registry) {
  hw::register_pci_core(registry);
  hw::register_i440fx(registry);
  hw::register_piix3(registry);
  hw::register_piix4_pm(registry);
  hw::register_q35(registry);
  hw::register_ich9_lpc(registry);
  hw::register_pflash(registry);
  hw::register_ide_drives(registry);
  hw::register_piix3_ide(registry);
  hw::register_ahci(registry);
  hw::register_scsi_devices(registry);
  hw::register_vga(registry);
  hw::register_fw_cfg(registry);
  hw::register_i8259(registry);
  hw::register_ioapic(registry);
  hw::register_local_apic(registry);
  hw::register_i8254(registry);
  hw::register_hpet(registry);
  hw::register_mc146818(registry);
  hw::register_i8042(registry);
  hw::register_port92(registry);
  hw::register_fpu_error(registry);
  hw::register_serial(registry);
  hw::register_pci_serial(registry);
  hw::register_loader(registry);
  hw::register_debugcon(registry);
  hw::register_debug_exit(registry);
  hw::register_pvpanic(registry);
  hw::register_nic_core(registry);
  hw::register_e1000(registry);
  hw::register_e1000e(registry);
  hw::register_rtl8139(registry);
  hw::register_edu(registry);
  hw::register_virtio(registry);
  hw::register_boards(registry);
}

Result<CpuDetails> cpu_details(std::string_view option) {
  const x86::CpuModel model = EMU_TRY(x86::parse_cpu_option(option));
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
