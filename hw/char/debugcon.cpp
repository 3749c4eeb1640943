// SPDX-License-Identifier: Apache-2.0
#include "hw/char/debugcon.h"

namespace emu::hw {

void IsaDebugcon::describe(TypeInfo<IsaDebugcon>& type) {
  type.doc("Debug port whose bytes go to a character device");
  type.category(Category::Misc);
  type.property("iobase", &IsaDebugcon::iobase_, "I/O port");
  type.property("readback", &IsaDebugcon::readback_, "what reading the port gives");
  type.link("chardev", &IsaDebugcon::chardev_, "/chardevs", "where the bytes go");
  type.region("debugcon", 1, &IsaDebugcon::read, &IsaDebugcon::write,
              {.valid = {1, 1}, .impl = {1, 1}, .locking = mem::Locking::None});
}

Result<void> IsaDebugcon::realize() {
  if (chardev_ == nullptr) return error("isa-debugcon: needs chardev=ID");
  if (iobase_ > 0xffff) return error("isa-debugcon: iobase={:#x} is beyond the last I/O port", iobase_);
  EMU_TRY(chardev_->stream().attach(front_), "isa-debugcon");
  map_ports("debugcon", u16(iobase_));
  return {};
}

void IsaDebugcon::unrealize() { chardev_->stream().detach(front_); }

u64 IsaDebugcon::read(u64, unsigned) { return readback_; }

/// A byte that the stream cannot take now is lost: the port has no way to say "busy".
void IsaDebugcon::write(u64, u64 value, unsigned) {
  const u8 byte = u8(value);
  chardev_->stream().write(std::span<const u8>(&byte, 1));
}

void register_debugcon(TypeRegistry& registry) { registry.add<IsaDebugcon>("isa-debugcon"); }

}  // namespace emu::hw
