// SPDX-License-Identifier: Apache-2.0
// How a PC comes up: in SeaBIOS, or directly in the kernel with the firmware's work done by us.
#include <unistd.h>

#include "hw/display/vga.h"
#include "hw/machine/pc_board.h"

namespace emu::hw {
namespace {

/// Reserved at the top of low memory for ACPI tables on direct entry.
constexpr u64 kTablesBytes = 0x20000;
constexpr u64 kEbda = 0x9fc00;

/// Where a firmware file may be: as named, then in each data folder.
std::vector<std::string> firmware_candidates(const std::string& name, const std::vector<std::string>& folders) {
  std::vector<std::string> paths{name};
  if (name.find('/') != std::string::npos) return paths;
  for (const std::string& folder : folders) paths.push_back(folder + "/" + name);
  for (const char* folder : {"/usr/share/seabios", "/usr/share/qemu", "/usr/share/OVMF"})
    paths.push_back(std::string(folder) + "/" + name);
  return paths;
}

}  // namespace

/// The map as INT 15h E820h would give it.
std::vector<E820Entry> PcBoard::memory_map(u64 tables_address) const {
  std::vector<E820Entry> map;
  map.push_back({0, kEbda, E820Type::Ram});
  map.push_back({kEbda, 0xa0000 - kEbda, E820Type::Reserved});
  map.push_back({0xf0000, 0x10000, E820Type::Reserved});
  map.push_back({0x100000, tables_address - 0x100000, E820Type::Ram});
  map.push_back({tables_address, layout_.low_bytes - tables_address, E820Type::Acpi});
  if (const auto ecam = acpi_config().ecam_base) map.push_back({*ecam, 0x1000'0000, E820Type::Reserved});
  map.push_back({0xfeffc000, 0x4000, E820Type::Reserved});
  map.push_back({0xfffc0000, 0x40000, E820Type::Reserved});
  if (layout_.high_bytes != 0) map.push_back({kHigh, layout_.high_bytes, E820Type::Ram});
  return map;
}

/// With -bios the user wants that firmware; else a kernel is entered directly unless firmware=on.
bool PcBoard::is_direct_boot() const {
  return !config_.kernel.empty() &&
         (firmware_ == FirmwareUse::Off || (firmware_ == FirmwareUse::Auto && config_.bios.empty()));
}

Result<void> PcBoard::prepare_boot() {
  direct_boot_ = is_direct_boot();
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
  request.acpi_rsdp = place_tables(tables, tables_address);
  image_ = EMU_TRY(load_boot_image(request));
  for (BootBlob& blob : tables) image_.blobs.push_back(std::move(blob));
  return {};
}

/// Finds a firmware file by name. Error says where it comes from.
Result<std::string> PcBoard::find_data_file(const std::string& name) const {
  for (const std::string& candidate : firmware_candidates(name, config_.data_dirs)) {
    if (access(candidate.c_str(), R_OK) == 0) return candidate;
  }
  return error(Error(fmt::format("firmware '{}' was not found", name))
                   .with_hint("Install Debian's package seabios, or name its folder with -L, or the file with -bios."));
}

Result<void> PcBoard::build_vga() {
  if (!config_.vga) return {};
  auto& vga = place<Vga>(*machine_);
  std::string rom;  // a kernel entered directly has no use for it
  if (!is_direct_boot()) rom = EMU_TRY(find_data_file("vgabios-stdvga.bin"));
  EMU_TRY(vga.set("romfile", rom));
  return vga.realize_on(&pci_bus());
}

/// The ROM file ends at 4 GiB; its last 128 KiB also show below 1 MiB, through PCI memory.
Result<void> PcBoard::load_firmware() {
  if (!config_.kernel.empty()) {
    return error(Error("a kernel cannot be started through firmware yet")
                     .with_hint("Leave out firmware=on and -bios: the kernel is then entered directly."));
  }
  EMU_TRY(build_fw_cfg());
  const std::string path = EMU_TRY(find_data_file(config_.bios.empty() ? "bios-256k.bin" : config_.bios));
  const std::vector<u8> bytes = EMU_TRY(read_file(path, "firmware"));
  if (bytes.empty() || bytes.size() % 65536 != 0 || bytes.size() > (16 << 20)) {
    return error("firmware '{}' has {} bytes; a PC's has a multiple of 64 KiB, at most 16 MiB", path, bytes.size());
  }
  mem::Memory& memory = machine_->memory();
  const mem::RamRef rom = EMU_TRY(memory.make_ram("pc.bios", bytes.size()));
  rom->write(0, bytes.data(), bytes.size());
  const mem::RegionRef region = mem::Region::rom(memory, "pc.bios", rom);
  machine_->system_root()->add(kHigh - bytes.size(), region);
  const u64 low = std::min<u64>(bytes.size(), 128 << 10);
  pci_memory()->add(0x100000 - low, mem::Region::alias(memory, "isa-bios", region, bytes.size() - low, low), 1);
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
  cpus_[0].cpu->enter_flat32({.eip = entry.eip,
                              .eax = entry.eax,
                              .ebx = entry.ebx,
                              .esi = entry.esi,
                              .gdt_base = entry.gdt_address,
                              .gdt_limit = entry.gdt_limit,
                              .cs = entry.cs,
                              .ds = entry.ds});
}

}  // namespace emu::hw
