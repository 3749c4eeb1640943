// SPDX-License-Identifier: Apache-2.0
// How a PC comes up: in SeaBIOS, or directly in the kernel with the firmware's work done by us.
#include <unistd.h>

#include "hw/block/pflash.h"
#include "hw/display/vga.h"
#include "hw/machine/boot_order.h"
#include "hw/machine/option_roms.h"
#include "hw/machine/pc_board.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/rtc/mc146818.h"
#include "util/log.h"

namespace emu::hw {
namespace {

/// Reserved at the top of low memory for ACPI tables on direct entry.
constexpr u64 kTablesBytes = 0x20000;
constexpr u64 kEbda = 0x9fc00;

/// What our option ROM is called in fw_cfg, and how the boot order names it.
constexpr const char* kKernelRomFile = "genroms/kernel_boot.bin";
constexpr std::string_view kKernelRomDevice = "/rom@genroms/kernel_boot.bin";
/// Firmware keeps the top of low memory for tables and its own data; the initrd must fit below.
constexpr u64 kFirmwareKeeps = 1 << 20;
/// Flash lies below 4 GiB, above the interrupt controllers' registers at 0xfee00000 and 0xfec00000.
constexpr u64 kMaxFlashBytes = 8 << 20;

/// Nibble of a drive letter in the CMOS bytes by which SeaBIOS is told the boot order.
u8 boot_nibble(char letter) {
  constexpr std::string_view kLetters = "?acdn";
  const size_t at = kLetters.find(letter);
  return at == std::string_view::npos ? 0 : u8(at);
}

void append_text(std::vector<u8>& bytes, std::string_view text) { bytes.insert(bytes.end(), text.begin(), text.end()); }

}  // namespace

/// The map as INT 15h E820h would give it.
std::vector<E820Entry> PcBoard::memory_map(u64 tables_address) const {
  std::vector<E820Entry> map;
  map.push_back({0, kEbda, E820Type::Ram});
  map.push_back({kEbda, 0xa0000 - kEbda, E820Type::Reserved});
  map.push_back({0xf0000, 0x10000, E820Type::Reserved});
  map.push_back({0x100000, tables_address - 0x100000, E820Type::Ram});
  map.push_back({tables_address, layout_.low_bytes - tables_address, E820Type::Acpi});
  if (const auto rcba = acpi_config().rcba) map.push_back({*rcba, 0x4000, E820Type::Reserved});
  if (const auto ecam = acpi_config().ecam_base) map.push_back({*ecam, 0x1000'0000, E820Type::Reserved});
  map.push_back({0xfeffc000, 0x4000, E820Type::Reserved});
  map.push_back({0xfffc0000, 0x40000, E820Type::Reserved});
  if (layout_.high_bytes != 0) map.push_back({kHigh, layout_.high_bytes, E820Type::Ram});
  return map;
}

/// With -bios or flash the user wants that firmware; else a kernel is entered directly unless firmware=on.
bool PcBoard::is_direct_boot() const {
  return !config_.kernel.empty() &&
         (firmware_ == FirmwareUse::Off ||
          (firmware_ == FirmwareUse::Auto && config_.bios.empty() && config_.flash[0] == nullptr));
}

Result<void> PcBoard::prepare_boot() {
  direct_boot_ = is_direct_boot();
  if (!config_.acpi_tables.empty() && !has_acpi()) return error("-acpitable: the machine has no ACPI with acpi=off");
  if (config_.kernel.empty()) {
    if (firmware_ == FirmwareUse::Off) return error("firmware=off needs a kernel to start: give -kernel FILE");
    if (!config_.initrd.empty()) return error("-initrd needs -kernel");
    if (!config_.append.empty()) return error("-append needs -kernel");
  }
  if (!direct_boot_) return load_firmware();
  if (config_.boot.needs_firmware()) {
    return error(Error("-boot: the kernel is entered directly, so there is no firmware that would heed it")
                     .with_hint("Leave -boot out, or start the kernel through firmware with -machine firmware=on."));
  }
  if (layout_.low_bytes < (2u << 20)) return error("a guest that is entered directly needs at least 2 MiB of memory");

  if (!config_.firmware_files.empty()) EMU_TRY(build_fw_cfg());
  const u64 tables_address = align_down(layout_.low_bytes - kTablesBytes, 4096);
  tables_address_ = tables_address;
  std::vector<BootBlob> tables;
  BootRequest request{config_.kernel, config_.initrd, config_.append, memory_map(tables_address), tables_address, 0};
  request.acpi_rsdp = place_tables(tables, tables_address);
  image_ = EMU_TRY(load_boot_image(request));
  for (BootBlob& blob : tables) image_.blobs.push_back(std::move(blob));
  return {};
}

/// Finds a firmware file by name. Error says where it comes from.
Result<std::string> PcBoard::find_firmware(const std::string& name) const {
  std::string path = machine_->find_data_file(name);
  if (access(path.c_str(), R_OK) == 0) return path;
  return error(Error(fmt::format("firmware '{}' was not found", name))
                   .with_hint("Install Debian's package seabios, or name its folder with -L, or the file with -bios."));
}

Result<void> PcBoard::build_vga() {
  if (!config_.vga) return {};
  auto& vga = place<Vga>(*machine_);
  constexpr const char* kRom = "vgabios-stdvga.bin";
  // A kernel that is entered directly does not run it, so that its package need not be there.
  std::string rom = machine_->find_data_file(kRom);
  if (!is_direct_boot()) rom = EMU_TRY(find_firmware(kRom));
  if (access(rom.c_str(), R_OK) != 0) rom.clear();
  EMU_TRY(vga.set("romfile", rom));
  return vga.realize_on(&pci_bus());
}

/// The ROM file ends at 4 GiB; its last 128 KiB also show below 1 MiB, through PCI memory.
Result<void> PcBoard::load_firmware() {
  EMU_TRY(build_fw_cfg());
  if (!config_.kernel.empty()) EMU_TRY(offer_kernel_to_firmware());
  add_boot_order();
  if (config_.flash[1] != nullptr && config_.flash[0] == nullptr) {
    return error("flash unit 1 is given without unit 0, which has the firmware");
  }
  return config_.flash[0] != nullptr ? map_flash() : load_bios();
}

Result<void> PcBoard::load_bios() {
  const std::string path = EMU_TRY(find_firmware(config_.bios.empty() ? "bios-256k.bin" : config_.bios));
  const std::vector<u8> bytes = EMU_TRY(read_file(path, "firmware"));
  if (bytes.empty() || bytes.size() % 65536 != 0 || bytes.size() > (16 << 20)) {
    return error("firmware '{}' has {} bytes; a PC's has a multiple of 64 KiB, at most 16 MiB", path, bytes.size());
  }
  mem::Memory& memory = machine_->memory();
  const mem::RamRef rom = EMU_TRY(memory.make_ram("pc.bios", bytes.size()));
  rom->write(0, bytes.data(), bytes.size());
  const mem::RegionRef region = mem::Region::rom(memory, "pc.bios", rom);
  machine_->system_root()->add(kHigh - bytes.size(), region);
  map_isa_bios(region);
  roms_.push_back({kHigh - bytes.size(), bytes.size(), path.substr(path.rfind('/') + 1)});
  return {};
}

/// The last 128 KiB also show below 1 MiB.
void PcBoard::map_isa_bios(const mem::RegionRef& firmware) {
  const u64 bytes = u64(firmware->size()), low = std::min<u64>(bytes, 128 << 10);
  pci_memory()->add(0x100000 - low,
                    mem::Region::alias(machine_->memory(), "isa-bios", firmware, bytes - low, low), 1);
}

/// Firmware in flash: unit 0 ends at 4 GiB, unit 1 (its variables) lies below that.
Result<void> PcBoard::map_flash() {
  if (!config_.bios.empty()) {
    return error(Error("-bios and flash unit 0 are both firmware").with_hint("Give only one of them."));
  }
  mem::Memory& memory = machine_->memory();
  u64 end = kHigh;
  for (unsigned unit = 0; unit < config_.flash.size(); unit++) {
    if (config_.flash[unit] == nullptr) continue;
    auto& flash = place<Pflash>(*machine_);
    EMU_TRY(flash.set("drive", config_.flash[unit]->path()));
    EMU_TRY(flash.set("name", fmt::format("system.flash{}", unit)));
    EMU_TRY(flash.realize_on(&machine_->system_bus()), fmt::format("flash unit {}", unit));
    if (kHigh - end + flash.bytes() > kMaxFlashBytes) {
      return error("flash unit {}: both units together may hold 8 MiB", unit);
    }
    end -= flash.bytes();
    machine_->system_root()->add(end, flash.flash());
    roms_.push_back({end, flash.bytes(), config_.flash[unit]->filename()});
    if (unit != 0) continue;
    // A copy, so that what is written below 1 MiB is no command for the flash.
    const u64 low = std::min<u64>(flash.bytes(), 128 << 10);
    const mem::RamRef copy = EMU_TRY(memory.make_ram("isa-bios", low));
    std::vector<u8> bytes(low);
    flash.flash()->ram_block()->read(flash.bytes() - low, bytes.data(), low);
    copy->write(0, bytes.data(), low);
    map_isa_bios(mem::Region::rom(memory, "isa-bios", copy));
  }
  return {};
}

/// The kernel in pieces under fw_cfg's keys, for our option ROM or for firmware that knows them, as OVMF does.
Result<void> PcBoard::offer_kernel_to_firmware() {
  const u64 low_ram_end = layout_.low_bytes - std::min(layout_.low_bytes, kFirmwareKeeps);
  FirmwareKernel kernel =
      EMU_TRY(load_firmware_kernel({config_.kernel, config_.initrd, config_.append, {}, low_ram_end, 0}));
  const auto add = [&](FwCfg::Key size_key, FwCfg::Key data_key, std::vector<u8>& bytes) {
    fw_cfg_->add_u32(size_key, u32(bytes.size()));
    fw_cfg_->add_bytes(data_key, std::move(bytes));
  };
  fw_cfg_->add_u32(FwCfg::SETUP_ADDR, FirmwareKernel::kSetupAddress);
  add(FwCfg::SETUP_SIZE, FwCfg::SETUP_DATA, kernel.setup);
  fw_cfg_->add_u32(FwCfg::KERNEL_ADDR, FirmwareKernel::kKernelAddress);
  add(FwCfg::KERNEL_SIZE, FwCfg::KERNEL_DATA, kernel.kernel);
  fw_cfg_->add_u32(FwCfg::CMDLINE_ADDR, FirmwareKernel::kCommandLineAddress);
  add(FwCfg::CMDLINE_SIZE, FwCfg::CMDLINE_DATA, kernel.command_line);
  fw_cfg_->add_u32(FwCfg::INITRD_ADDR, kernel.initrd_address);
  add(FwCfg::INITRD_SIZE, FwCfg::INITRD_DATA, kernel.initrd);
  const std::vector<u8> rom = kernel_boot_rom();
  roms_.push_back({{}, rom.size(), kKernelRomFile});
  fw_cfg_->add_file(kKernelRomFile, rom);
  return {};
}

/// What firmware tries first, as paths: our kernel's ROM, then devices by bootindex. Devices come and go, so it is made
/// anew at each reset.
void PcBoard::set_boot_paths() {
  if (fw_cfg_ == nullptr) return;
  std::vector<u8> order;
  if (!config_.kernel.empty()) append_text(order, fmt::format("{}\n", kKernelRomDevice));
  for (const std::string& path : boot_order(machine_->tree().root())) append_text(order, path + "\n");
  if (config_.boot.strict) append_text(order, "HALT\n");
  if (order.empty()) return fw_cfg_->remove_file("bootorder");
  order.back() = 0;
  fw_cfg_->add_file("bootorder", order);
}

/// -boot as SeaBIOS takes it (its docs/Runtime_config.md): drive letters through CMOS, the rest through fw_cfg.
void PcBoard::add_boot_order() {
  const BootOrder& boot = config_.boot;
  set_boot_paths();
  fw_cfg_->add_u16(FwCfg::BOOT_MENU, boot.menu ? 1 : 0);
  if (boot.menu_wait_ms) {
    fw_cfg_->add_file("etc/boot-menu-wait", {u8(*boot.menu_wait_ms), u8(*boot.menu_wait_ms >> 8)});
  }
  if (boot.reboot_timeout_ms) {
    std::vector<u8> wait(4);
    detail::put<u32>(wait, 0, *boot.reboot_timeout_ms);
    fw_cfg_->add_file("etc/boot-fail-wait", wait);
  }
}

void PcBoard::set_boot_letters(const std::string& letters) {
  const auto nibble = [&](size_t i) { return i < letters.size() ? boot_nibble(letters[i]) : u8(0); };
  rtc_->set_cmos(0x3d, u8(nibble(1) << 4 | nibble(0)));
  rtc_->set_cmos(0x38, u8(nibble(2) << 4));
}

std::string PcBoard::describe_roms() const {
  std::string text;
  for (const RomNote& rom : roms_) {
    if (rom.address) {
      text += fmt::format("addr={:016x} size={:#08x} mem=rom name=\"{}\"\n", *rom.address, rom.bytes, rom.name);
    } else {
      text += fmt::format("/rom@{} size={:#08x} name=\"{}\"\n", rom.name, rom.bytes, rom.name);
    }
  }
  for (const BootBlob& blob : image_.blobs) {
    text += fmt::format("addr={:016x} size={:#08x} mem=ram name=\"{}\"\n", blob.address, blob.bytes.size(), blob.what);
  }
  return text;
}

void PcBoard::reset() {
  const BootOrder& boot = config_.boot;
  set_boot_letters(!booted_once_ && !boot.once.empty() ? boot.once : boot.order.empty() ? "cad" : boot.order);
  booted_once_ = true;
  if (!direct_boot_) set_boot_paths();
  reset_all(*machine_->tree().find("/machine"));
  if (chips() != nullptr) chips()->reset();
  for (Cpu& entry : cpus_) entry.cpu->reset();
  if (direct_boot_) enter_directly();
}

/// Suspend to RAM ends. SeaBIOS lies in shadow RAM and learns from CMOS that it shall resume.
void PcBoard::wake() {
  constexpr u8 kShutdownStatus = 0x0f, kResume = 0xfe;
  reset_all(*machine_->tree().find("/machine"));
  if (chips() != nullptr) chips()->reset();
  for (Cpu& entry : cpus_) entry.cpu->reset();
  if (direct_boot_) return resume_directly();
  open_shadow_ram();
  place_chipset_registers();
  rtc_->poke_cmos(kShutdownStatus, kResume);
}

/// The kernel left an address in the firmware ACPI control structure, the first of our tables (ACPI 6.4 §5.2.10).
void PcBoard::resume_directly() {
  constexpr u64 kWakingVector = 12, kMostVector = 0xfffff;
  configure_as_firmware();
  const auto vector = machine_->system_memory().read<Le32>(tables_address_ + kWakingVector);
  if (!has_acpi() || !vector || *vector == 0 || *vector > kMostVector) {
    log::guest_error("suspend to RAM without a waking vector: the guest starts anew");
    return enter_directly();
  }
  cpus_[0].cpu->enter_real(u16(*vector >> 4), u16(*vector & 15));
}

void PcBoard::enter_directly() {
  configure_as_firmware();
  const u64 low = layout_.low_bytes;
  const u32 uncached = low <= 0x8000'0000 ? 0x8000'0000 : low <= 0xc000'0000 ? 0xc000'0000 : 0xe000'0000;
  for (Cpu& entry : cpus_) entry.cpu->set_firmware_mtrrs(uncached);
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
