// SPDX-License-Identifier: Apache-2.0
#include "hw/register.h"

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
#include "hw/scsi/scsi_bus.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/virtio/register.h"

namespace emu::hw {

void register_devices(qom::TypeRegistry& registry) {
  register_pci_core(registry);
  register_i440fx(registry);
  register_piix3(registry);
  register_piix4_pm(registry);
  register_q35(registry);
  register_ich9_lpc(registry);
  register_pflash(registry);
  register_ide_drives(registry);
  register_piix3_ide(registry);
  register_ahci(registry);
  register_scsi_devices(registry);
  register_vga(registry);
  register_fw_cfg(registry);
  register_i8259(registry);
  register_ioapic(registry);
  register_local_apic(registry);
  register_i8254(registry);
  register_hpet(registry);
  register_mc146818(registry);
  register_i8042(registry);
  register_port92(registry);
  register_fpu_error(registry);
  register_serial(registry);
  register_pci_serial(registry);
  register_loader(registry);
  register_debugcon(registry);
  register_debug_exit(registry);
  register_pvpanic(registry);
  register_nic_core(registry);
  register_e1000(registry);
  register_e1000e(registry);
  register_rtl8139(registry);
  register_edu(registry);
  register_virtio(registry);
}

}  // namespace emu::hw
