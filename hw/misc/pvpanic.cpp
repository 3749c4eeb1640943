// SPDX-License-Identifier: Apache-2.0
#include "hw/misc/pvpanic.h"

#include "util/log.h"

namespace emu::hw {

void PvPanicIsa::describe(TypeInfo<PvPanicIsa>& type) {
  type.doc("Port by which a guest reports a panic");
  type.category(Category::Misc);
  type.property("ioport", &PvPanicIsa::ioport_, "I/O port");
  type.property("events", &PvPanicIsa::events_, "events offered: 1 panic, 2 crash kernel loaded");
  type.region("pvpanic", 1, &PvPanicIsa::read, &PvPanicIsa::write, {.valid = {1, 1}, .impl = {1, 1}});
}

Result<void> PvPanicIsa::realize() {
  if (ioport_ > 0xffff) return error("pvpanic: ioport={:#x} is beyond the last I/O port", ioport_);
  map_ports("pvpanic", u16(ioport_));
  return {};
}

u64 PvPanicIsa::read(u64, unsigned) { return events_; }

void PvPanicIsa::write(u64, u64 value, unsigned) {
  if (value & ~u64(kPanicked | kCrashLoaded)) log::guest_error("pvpanic: unknown event bits {:#x}", value);
  if (value & events_ & kPanicked) machine().report_panic(PanicKind::Panicked);
  else if (value & events_ & kCrashLoaded) machine().report_panic(PanicKind::CrashLoaded);
}

void register_pvpanic(TypeRegistry& registry) { registry.add<PvPanicIsa>("pvpanic"); }

}  // namespace emu::hw
