// SPDX-License-Identifier: Apache-2.0
#include "hw/display/isa_vga.h"

#include "hw/core/device_writes.h"
#include "hw/nvram/fw_cfg.h"
#include "util/file.h"
#include "util/log.h"

namespace emu::hw {
namespace {

constexpr const char* kBios = "vgabios-isavga.bin";
constexpr std::size_t kMostBiosBytes = 128 << 10;

}  // namespace

void IsaVga::describe(TypeInfo<IsaVga>& type) {
  type.doc("Standard VGA with Bochs VBE, without a frame buffer in PCI memory");
  describe_core(type);
}

Result<void> IsaVga::realize() {
  EMU_TRY(offer_bios());
  EMU_TRY(make_memory(memory(), "isa-vga.vram"));
  isa_bus().ports().add(kFirstPort, region("vga-ports"), -1);
  isa_bus().ports().add(kDispiPort, region("vbe"));
  isa_bus().memory().add(kWindow, region("vga-lowmem"), 1);
  if (target::DeviceWrites* writes = device_writes(machine())) writes->coalesce(*region("vga-lowmem"));
  return {};
}

Result<void> IsaVga::offer_bios() {
  FwCfg* firmware = nullptr;
  machine().tree().root().visit([&](qom::Object& object) {
    if (auto* found = dynamic_cast<FwCfg*>(&object)) firmware = found;
  });
  if (firmware == nullptr) return {};  // a kernel that is entered directly does not run it
  const std::string bytes = EMU_TRY(read_file(machine().find_data_file(kBios), kMostBiosBytes), "isa-vga");
  firmware->add_file(std::string("vgaroms/") + kBios, {bytes.begin(), bytes.end()});
  return {};
}

}  // namespace emu::hw
