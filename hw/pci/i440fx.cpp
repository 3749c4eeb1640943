// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/i440fx.h"

namespace emu::hw {

using namespace pci;

void I440Fx::describe(TypeInfo<I440Fx>& type) {
  type.doc("Host bridge (82441FX)");
  type.category(Category::Bridge);
  type.not_user_creatable();
}

Result<void> I440Fx::realize() {
  if (board_.ram == nullptr) return error("i440FX: the board gave no RAM");
  shadow_ = std::make_unique<ShadowMemory>(memory(), board_, pci_);
  smram_ = std::make_unique<SmramWindow>(memory(), board_, pci_);
  config().set16(STATUS, kStatusDevselMedium | kStatusFastBackToBack);
  for (unsigned i = 0; i < ShadowMemory::kRegisterMasks.size(); i++)
    config().allow8(PAM0 + i, ShadowMemory::kRegisterMasks[i]);
  config().set8(SMRAM, kBaseSegment);
  config().allow8(SMRAM, kDOpen | kDClosed | kDLock | kSmramEnable);
  return {};
}

void I440Fx::unrealize() {
  shadow_.reset();
  smram_.reset();
}

void I440Fx::config_written(unsigned offset, unsigned size) {
  if (offset + size > PAM0 && offset <= SMRAM) refresh();
}

void I440Fx::refresh() {
  const mem::Transaction transaction(memory());
  std::array<u8, 7> pam;
  for (unsigned i = 0; i < pam.size(); i++) pam[i] = config().get8(PAM0 + i);
  shadow_->set_registers(pam);
  u8 smram = config().get8(SMRAM);
  if (smram & kDLock) {
    // "Once D_LCK is set, D_OPEN is reset and all become read only" until reset.
    smram &= u8(~kDOpen);
    config().set8(SMRAM, smram);
    config().deny(SMRAM, 1);
  }
  smram_->set((smram & kSmramEnable) != 0, (smram & kDOpen) != 0);
}

void I440FxHost::describe(TypeInfo<I440FxHost>& type) {
  type.doc("PCI host of machine pc");
  type.not_user_creatable();
}

Result<void> I440FxHost::realize() {
  pci_memory_ = make_pci_background(memory());
  machine().system_memory().root()->add(0, pci_memory_, -1);
  PciBus& bus = add_bus<PciBus>("pci.0");
  bus.set_spaces(pci_memory_, machine().io_ports().root());
  set_root_bus(bus);
  map_config_ports();
  bridge_ = &adopt("i440fx", machine().tree().make<I440Fx>());
  bridge_->prepare(machine());
  EMU_TRY(bridge_->set("addr", "00.0"));
  bridge_->set_board(board_, pci_memory_);
  return bridge_->realize_on(&bus);
}

void I440FxHost::unrealize() { pci_memory_->remove_from_parent(); }

void register_i440fx(TypeRegistry& registry) {
  registry.add<I440Fx>("i440FX");
  registry.add<I440FxHost>("i440FX-pcihost");
}

}  // namespace emu::hw
