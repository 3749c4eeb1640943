// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/q35.h"

#include <algorithm>

#include "util/log.h"

namespace emu::hw {
namespace {

using namespace pci;

constexpr unsigned kBuses = 256;
constexpr u64 kMiB = 1 << 20;
// PCIEXBAR: bit 0 enables, bits 2:1 give the length, bits 35:26 the address as far as the length leaves them.
constexpr u64 kEcamEnable = bit64(0), kEcamAddress = 0xf'fc00'0000;
/// What the part has after reset; disabled.
constexpr u32 kEcamReset = 0xe000'0000;

}  // namespace

void Mch::describe(TypeInfo<Mch>& type) {
  type.doc("Host bridge (3 Series Express)");
  type.category(Category::Bridge);
  type.not_user_creatable();
  type.property("extended-tseg-mbytes", &Mch::extended_tseg_mib_,
                "size of TSEG when firmware asks for the extended one");
}

Result<void> Mch::realize() {
  if (board_.ram == nullptr) return error("mch: the board gave no RAM");
  if (extended_tseg_mib_ > 0xfff) return error("mch: extended-tseg-mbytes={} is more than 4095", extended_tseg_mib_);
  shadow_ = std::make_unique<ShadowMemory>(memory(), board_, pci_);
  smram_ = std::make_unique<SmramWindow>(memory(), board_, pci_);
  // As long as the largest; an alias of the length in use stands for it.
  auto nothing = add_region(mem::Region::mmio(
      memory(), "tseg-nothing", std::max<u64>(extended_tseg_mib_, 8) * kMiB, [](u64, unsigned) { return ~u64(0); }, {},
      {.valid = {1, 8}, .impl = {1, 8}, .locking = mem::Locking::None}));
  tseg_hidden_ = add_region(mem::Region::alias(memory(), "tseg-blackhole", std::move(nothing), 0, kMiB));
  tseg_ram_ = add_region(mem::Region::alias(memory(), "smram-tseg", board_.ram, 0, kMiB));

  PciConfig& c = config();
  c.set16(STATUS, kStatusDevselMedium | kStatusFastBackToBack);
  c.allow16(EXT_TSEG, 0xffff);
  c.set32(PCIEXBAR, kEcamReset);
  c.allow32(PCIEXBAR, u32(kEcamAddress) | 7);
  c.allow32(PCIEXBAR + 4, u32(kEcamAddress >> 32));
  for (unsigned i = 0; i < ShadowMemory::kRegisterMasks.size(); i++)
    c.allow8(PAM0 + i, ShadowMemory::kRegisterMasks[i]);
  c.set8(SMRAM, kBaseSegment);
  c.allow8(SMRAM, kDOpen | kDClosed | kDLock | kSmramEnable);
  c.set8(ESMRAMC, kCacheBits);
  c.allow8(ESMRAMC, kHighSmram | kTsegSize | kTsegEnable);
  return {};
}

void Mch::unrealize() {
  shadow_.reset();
  smram_.reset();
}

void Mch::config_written(unsigned offset, unsigned size) {
  if (offset + size > EXT_TSEG && offset < EXT_TSEG + 2 && extended_tseg_mib_ != 0 &&
      config().get16(EXT_TSEG) == kExtendedTsegQuery) {
    config().set16(EXT_TSEG, extended_tseg_mib_);
  }
  if (offset + size > EXT_TSEG && offset <= ESMRAMC) refresh();
}

void Mch::refresh() {
  const mem::Transaction transaction(memory());
  std::array<u8, 7> pam;
  for (unsigned i = 0; i < pam.size(); i++) pam[i] = config().get8(PAM0 + i);
  shadow_->set_registers(pam);
  u8 smram = config().get8(SMRAM);
  if (smram & kDLock) {
    smram &= u8(~kDOpen);  // locked: D_OPEN falls, both registers stay until reset
    config().set8(SMRAM, smram);
    config().deny(SMRAM, 2);
    config().deny(EXT_TSEG, 2);
  }
  smram_->set((smram & kSmramEnable) != 0, (smram & kDOpen) != 0);
  refresh_tseg((smram & kSmramEnable) != 0);
  refresh_ecam();
}

void Mch::refresh_ecam() {
  const u64 bar = config().get32(PCIEXBAR) | u64(config().get32(PCIEXBAR + 4)) << 32;
  const unsigned shrink = unsigned(bits(bar, 2, 1));  // 256 MiB, 128, 64
  ecam_->remove_from_parent();
  if (!(bar & kEcamEnable)) return;
  if (shrink == 3) return log::guest_error("mch: PCIEXBAR has a reserved length");
  const u64 size = (u64(kBuses) << 20) >> shrink;
  ecam_->set_size(size);
  board_.system->add(align_down(bar & kEcamAddress, size), ecam_);
}

/// TSEG lies at the end of RAM below 4 GiB. Outside SMM it reads as ones.
void Mch::refresh_tseg(bool smram_enabled) {
  const u8 control = config().get8(ESMRAMC);
  const std::array<u64, 4> sizes = {1, 2, 8, extended_tseg_mib_};
  const u64 size = sizes[bits(control, 2, 1)] * kMiB;
  tseg_hidden_->remove_from_parent();
  tseg_ram_->remove_from_parent();
  if (!smram_enabled || !(control & kTsegEnable) || size == 0 || size > board_.below_4g_bytes) return;
  const u64 base = board_.below_4g_bytes - size;
  tseg_hidden_->set_size(size);
  board_.system->add(base, tseg_hidden_, 1);
  tseg_ram_->set_size(size);
  tseg_ram_->set_alias_offset(base);
  smram_->smm_view()->add(base, tseg_ram_, 1);
}

void Q35Host::describe(TypeInfo<Q35Host>& type) {
  type.doc("PCI Express host of machine q35");
  type.not_user_creatable();
}

Result<void> Q35Host::realize() {
  pci_memory_ = make_pci_background(memory());
  machine().system_memory().root()->add(0, pci_memory_, -1);
  PcieBus& bus = add_bus<PcieBus>("pcie.0");
  bus.set_spaces(pci_memory_, machine().io_ports().root());
  set_root_bus(bus);
  map_config_ports();
  // Its length changes, so an alias stands for it.
  auto ecam = mem::Region::alias(memory(), "pcie-mmcfg", add_region(make_ecam(kBuses)), 0, mem::Size(kBuses) << 20);
  bridge_ = &adopt("mch", machine().tree().make<Mch>());
  bridge_->prepare(machine());
  EMU_TRY(bridge_->set("addr", "00.0"));
  bridge_->set_board(board_, pci_memory_, add_region(std::move(ecam)));
  return bridge_->realize_on(&bus);
}

void Q35Host::unrealize() { pci_memory_->remove_from_parent(); }

void register_q35(TypeRegistry& registry) {
  registry.add<Mch>("mch");
  registry.add<Q35Host>("q35-pcihost");
}

}  // namespace emu::hw
