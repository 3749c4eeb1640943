// SPDX-License-Identifier: Apache-2.0
#include "hw/misc/debug_exit.h"

namespace emu::hw {

void IsaDebugExit::describe(TypeInfo<IsaDebugExit>& type) {
  type.doc("Port that ends the emulator with status (value << 1) | 1");
  type.category(Category::Misc);
  type.property("iobase", &IsaDebugExit::iobase_, "I/O port");
  type.property("iosize", &IsaDebugExit::iosize_, "number of ports: 1, 2 or 4");
}

Result<void> IsaDebugExit::realize() {
  if (iosize_ != 1 && iosize_ != 2 && iosize_ != 4) return error("isa-debug-exit: iosize={} is not 1, 2 or 4", iosize_);
  if (u64(iobase_) + iosize_ > 0x10000) {
    return error("isa-debug-exit: iobase={:#x} is beyond the last I/O port", iobase_);
  }
  const auto& region = add_region(mem::Region::mmio(
      memory(), "isa-debug-exit", iosize_, [](u64, unsigned) { return u64(0); },
      [this](u64, u64 value, unsigned) { machine().request_exit(int((value << 1 | 1) & 0xff)); },
      {.valid = {1, 4}, .impl = {1, 4}}));
  isa_bus().ports().add(iobase_, region);
  return {};
}

void register_debug_exit(TypeRegistry& registry) { registry.add<IsaDebugExit>("isa-debug-exit"); }

}  // namespace emu::hw
