// SPDX-License-Identifier: Apache-2.0
// How a PC comes up: in SeaBIOS, or directly in the kernel with the firmware's work done by us.
#include <unistd.h>

#include "hw/machine/pc_board.h"

namespace emu::hw {
namespace {

/// Reserved at the top of low memory for ACPI tables on direct entry.
constexpr u64 kTablesBytes = 0x20000;
constexpr u64 kEbda = 0x9fc00;

}  // namespace

/// The map as INT 15h E820h would give it.
std::vector<E820Entry> PcBoard::memory_map(u64 tables_address) const {
  std::vector<E820Entry> map;
  map.push_back({0, kEbda, E820Type::Ram});
  map.push_back({kEbda, 0xa0000 - kEbda, E820Type::Reserved});
  map.push_back({0xf0000, 0x10000, E820Type::Reserved});
  map.push_back({0x100000, tables_address - 0x100000, E820Type::Ram});
  map.push_back({tables_address, layout_.low_bytes - tables_address, E820Type::Acpi});
  map.push_back({0xfeffc000, 0x4000, E820Type::Reserved});
  map.push_back({0xfffc0000, 0x40000, E820Type::Reserved});
  if (layout_.high_bytes != 0) map.push_back({kHigh, layout_.high_bytes, E820Type::Ram});
  return map;
}

Result<void> PcBoard::prepare_boot() {
  // With -bios the user wants that firmware; else a kernel is entered directly unless firmware=on.
  direct_boot_ = !config_.kernel.empty() && (firmware_ == FirmwareUse::Off || (firmware_ == FirmwareUse::Auto && config_.bios.empty()));
  if (config_.kernel.empty()) {
    if (firmware_ == FirmwareUse::Off) return error("firmware=off needs a kernel to start: give -kernel FILE");
    if (!config_.initrd.empty()) return error("-initrd needs -kernel");
    if (!config_.append.empty()) return error("-append needs -kernel");
  }
  if (!direct_boot_) return load_firmware();
  if (layout_.low_bytes < (2u << 20)) return error("a guest that is entered directly needs at least 2 MiB of memory");

  const u64 tables_address = align_down(layout_.low_bytes - kTablesBytes, 4096);
  std::vector<BootBlob> tables;
  BootRequest request{config_.kernel, config_.initrd, config_.append, memory_map(tables_address), tables_address, 0};
  request.acpi_rsdp = EMU_TRY(place_tables(tables, tables_address));
  image_ = EMU_TRY(load_boot_image(request));
  for (BootBlob& blob : tables) image_.blobs.push_back(std::move(blob));
  return {};
}

void PcBoard::reset() {
  reset_all(*machine_->tree().find("/machine"));
  for (Cpu& entry : cpus_) entry.cpu->reset();
  if (direct_boot_) enter_directly();
}

void PcBoard::enter_directly() {
  configure_as_firmware();
  for (const BootBlob& blob : image_.blobs) {
    static_cast<void>(machine_->system_memory().write(blob.address, blob.bytes));
  }
  const BootEntry& entry = image_.entry;
  cpus_[0].cpu->enter_flat32({.eip = entry.eip, .eax = entry.eax, .ebx = entry.ebx, .esi = entry.esi, .gdt_base = entry.gdt_address,
                              .gdt_limit = entry.gdt_limit, .cs = entry.cs, .ds = entry.ds});
}

}  // namespace emu::hw
