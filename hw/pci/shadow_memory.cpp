// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/shadow_memory.h"

namespace emu::hw {
namespace {

constexpr u64 kBackgroundAddress = 0xa'0000, kBackgroundSize = 0x6'0000;
constexpr int kBackgroundPriority = -100;
constexpr int kOverRam = 1;
constexpr mem::MmioOptions kAnyThread{.valid = {1, 8}, .impl = {1, 8}, .locking = mem::Locking::None};

}  // namespace

mem::RegionRef make_pci_background(mem::Memory& memory) {
  auto pci = mem::Region::container(memory, "pci", mem::kWholeAddressSpace);
  pci->add(kBackgroundAddress,
           mem::Region::mmio(
               memory, "pci-nothing", kBackgroundSize, [](u64, unsigned) { return ~u64(0); }, {}, kAnyThread),
           kBackgroundPriority);
  return pci;
}

ShadowMemory::ShadowMemory(mem::Memory& memory, const HostBridgeMemory& board, const mem::RegionRef& pci)
    : memory_(memory), ram_block_(board.ram->ram_block()), pci_space_(memory, "pci", pci) {
  EMU_CHECK(ram_block_ != nullptr && ram_block_->size() >= 0x10'0000);
  const mem::Transaction transaction(memory);
  for (unsigned i = 0; i < kSegments; i++) {
    Segment& s = segments_[i];
    s.address = i == 0 ? 0xf'0000 : 0xc'0000 + u64(i - 1) * 0x4000;
    s.size = i == 0 ? 0x1'0000 : 0x4000;
    s.ram = mem::Region::alias(memory, "pam-ram", board.ram, s.address, s.size);
    s.pci = mem::Region::alias(memory, "pam-pci", pci, s.address, s.size);
    s.write_only = make_write_only(s);
    for (const auto& region : {s.ram, s.pci, s.write_only}) {
      region->set_enabled(false);
      board.system->add(s.address, region, kOverRam);
    }
    set_mode(i, 0);
  }
}

ShadowMemory::~ShadowMemory() {
  for (Segment& s : segments_) {
    for (const auto& region : {s.ram, s.pci, s.write_only}) region->remove_from_parent();
    s.write_only->revoke();
  }
}

/// Reads go to PCI, writes to RAM: how a BIOS copies itself into the RAM under it.
mem::RegionRef ShadowMemory::make_write_only(const Segment& segment) {
  const u64 base = segment.address;
  return mem::Region::mmio(
      memory_, "pam-write-only", segment.size,
      [this, base](u64 offset, unsigned size) {
        u64 value = 0;
        static_cast<void>(pci_space_.load(base + offset, size, value));
        return value;
      },
      [this, base](u64 offset, u64 value, unsigned size) {
        const Le64 stored = value;
        ram_block_->write(base + offset, &stored, size);
      },
      kAnyThread);
}

void ShadowMemory::set_mode(unsigned segment, u8 mode) {
  Segment& s = segments_.at(segment);
  mode &= kRead | kWrite;
  if (s.mode == mode) return;
  const mem::Transaction transaction(memory_);
  s.mode = mode;
  s.pci->set_enabled(mode == 0);
  s.write_only->set_enabled(mode == kWrite);
  s.ram->set_enabled((mode & kRead) != 0);
  s.ram->set_readonly(mode == kRead);
}

void ShadowMemory::set_registers(const std::array<u8, 7>& pam) {
  const mem::Transaction transaction(memory_);
  set_mode(0, pam[0] >> 4);
  for (unsigned i = 1; i < kSegments; i++) set_mode(i, u8(pam[(i + 1) / 2] >> ((i - 1) % 2 * 4)));
}

SmramWindow::SmramWindow(mem::Memory& memory, const HostBridgeMemory& board, const mem::RegionRef& pci)
    : vga_(mem::Region::alias(memory, "smram-region", pci, kAddress, kSize)),
      smm_view_(mem::Region::container(memory, "smram", mem::kWholeAddressSpace)),
      smm_ram_(mem::Region::alias(memory, "smram-low", board.ram, kAddress, kSize)) {
  const mem::Transaction transaction(memory);
  board.system->add(kAddress, vga_, kOverRam);
  smm_ram_->set_enabled(false);
  smm_view_->add(kAddress, smm_ram_);
}

SmramWindow::~SmramWindow() { vga_->remove_from_parent(); }

void SmramWindow::set(bool enabled, bool open) {
  const mem::Transaction transaction(vga_->memory());
  vga_->set_enabled(!(enabled && open));
  smm_ram_->set_enabled(enabled);
}

}  // namespace emu::hw
