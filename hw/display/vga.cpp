// SPDX-License-Identifier: Apache-2.0
#include "hw/display/vga.h"

#include "hw/core/device_writes.h"
#include "hw/display/isa_vga.h"
#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u64 kMmioBytes = 0x1000, kMmioPorts = 0x400, kMmioPortsEnd = 0x420, kMmioDispi = 0x500, kMmioExtended = 0x600;
constexpr u16 kMmioFirstPort = 0x3c0;
constexpr u32 kLeastPixels = 200;
constexpr u32 kLittleEndian = 0x1e1e'1e1e, kBigEndian = 0xbebe'bebe;

}  // namespace

void Vga::describe(TypeInfo<Vga>& type) {
  type.doc("Standard VGA with Bochs VBE");
  describe_core(type);
  type.property("edid", &Vga::edid_enabled_, "whether the guest is told of a monitor");
  type.property("xres", &Vga::preferred_width_, "the monitor's width in pixels");
  type.property("yres", &Vga::preferred_height_, "the monitor's height in pixels");
  type.set_default("romfile", "vgabios-stdvga.bin");
  type.region("vga.mmio", kMmioBytes, &Vga::read_mmio, &Vga::write_mmio, {.valid = {1, 4}, .impl = {1, 4}});
}

Result<void> Vga::realize() {
  for (const u32 pixels : {preferred_width_, preferred_height_}) {
    if (pixels < kLeastPixels || pixels > kEdidMostPixels) {
      return error("VGA: xres and yres must be from {} to {}", kLeastPixels, kEdidMostPixels);
    }
  }
  if (edid_enabled_) edid_ = make_edid(preferred_width_, preferred_height_);
  EMU_TRY(make_memory(memory(), pci_bus().device_address(*this) + "/vga.vram"));
  add_bar(0, BarKind::PrefetchableMemory32, add_region(mem::Region::ram(memory(), "vga.vram", vram_)));
  add_bar(2, BarKind::Memory32, region("vga.mmio"));
  // Below whatever else has ports in that range, such as a printer at 0x3bc.
  pci_bus().ports().add(kFirstPort, region("vga-ports"), -1);
  pci_bus().ports().add(kDispiPort, region("vbe"));
  pci_bus().memory_space().add(kWindow, region("vga-lowmem"), 1);
  if (target::DeviceWrites* writes = device_writes(machine())) writes->coalesce(*region("vga-lowmem"));
  return {};
}

// The same registers in memory. --------------------------------------------------------------------------------------

u64 Vga::read_mmio(u64 offset, unsigned size) {
  if (offset >= kMmioPorts && offset < kMmioPortsEnd) {
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
      value |= read_port(kMmioFirstPort - kFirstPort + offset - kMmioPorts + i, 1) << (8 * i);
    return value;
  }
  if (offset >= kMmioDispi && offset < kMmioDispi + 2 * vga::kDispiCount) {
    return size == 2 ? read_dispi(unsigned(offset - kMmioDispi) / 2) : 0;
  }
  if (offset == kMmioExtended && size == 4) return 8;  // length of this block
  if (offset == kMmioExtended + 4 && size == 4) return state_.big_endian ? kBigEndian : kLittleEndian;
  if (offset + size <= edid_.size()) {
    u64 value = 0;
    for (unsigned i = 0; i < size; i++) value |= u64(edid_[offset + i]) << (8 * i);
    return value;
  }
  return 0;
}

void Vga::write_mmio(u64 offset, u64 value, unsigned size) {
  if (offset >= kMmioPorts && offset < kMmioPortsEnd) {
    for (unsigned i = 0; i < size; i++)
      write_port(kMmioFirstPort - kFirstPort + offset - kMmioPorts + i, u8(value >> (8 * i)), 1);
  } else if (offset >= kMmioDispi && offset < kMmioDispi + 2 * vga::kDispiCount) {
    if (size == 2) write_dispi(unsigned(offset - kMmioDispi) / 2, u16(value));
  } else if (offset == kMmioExtended + 4 && size == 4) {
    if (value == kBigEndian) state_.big_endian = true;
    if (value == kLittleEndian) state_.big_endian = false;
  } else {
    log::guest_error("VGA: write of {:#x} to {:#x}, where no register is", value, offset);
  }
}

void register_vga(TypeRegistry& registry) {
  registry.add<Vga>("VGA");
  registry.add<IsaVga>("isa-vga");
}

}  // namespace emu::hw
