// SPDX-License-Identifier: Apache-2.0
#include "softmmu/reverse/obstacles.h"

#include <algorithm>

#include "hw/core/device.h"
#include "util/random.h"

namespace emu::softmmu {
namespace {

/// Devices that save all of their state, and whose doings follow from it and from the CPU's: nothing of theirs happens
/// on other threads, and nothing stays behind on the host but bytes that were written to a stream.
constexpr std::string_view kRepeatable[] = {
    "PIIX3",  "PIIX4_PM",       "VGA",       "apic",    "fpu-error",   "fw_cfg_io",    "hpet",           "i440FX",
    "i8042",  "i440FX-pcihost", "ioapic",    "isa-pit", "isa-i8259",   "isa-serial",   "mc146818rtc",    "piix3-ide",
    "port92", "ICH9-LPC",       "ich9-ahci", "mch",     "q35-pcihost", "isa-debugcon", "isa-debug-exit", "pvpanic"};

}  // namespace

std::optional<std::string> find_obstacle(const StartOptions& options, hw::Machine& machine, bool can_rewind) {
  if (!options.icount.enabled) return "it needs -icount shift=N, so that the machine does the same again";
  if (!can_rewind) return "it needs -icount with a shift=N that is a number, and without align=on";
  if (!random_position()) return "it needs -seed NUMBER, or the guest's random numbers are others the next time";
  if (options.rtc_clock != "vm") {
    return fmt::format("it needs -rtc clock=vm: the guest's date follows the host's with clock={}", options.rtc_clock);
  }
  std::optional<std::string> found;
  machine.tree().root().visit([&found](qom::Object& object) {
    const auto* device = dynamic_cast<const hw::Device*>(&object);
    if (device == nullptr || found) return;
    const std::string_view type = device->type().name();
    if (std::find(std::begin(kRepeatable), std::end(kRepeatable), type) != std::end(kRepeatable)) return;
    found = fmt::format("the device '{}' has dealings with the host that cannot be repeated; leave it out{}", type,
                        type == "e1000" || type == "e1000e" ? " with -nic none" : "");
  });
  return found;
}

}  // namespace emu::softmmu
