// SPDX-License-Identifier: Apache-2.0
#include "hw/isa/piix3.h"

namespace emu::hw {

using namespace pci;

void Piix3::describe(TypeInfo<Piix3>& type) {
  type.doc("PCI-to-ISA bridge (82371SB)");
  type.category(Category::Bridge);
  type.not_user_creatable();
  type.saved(1, &Piix3::fields);
}

Result<void> Piix3::realize() {
  auto* host = dynamic_cast<PciHostBridge*>(bus()->owner());
  if (host == nullptr) return error("PIIX3: is not on a root bus");
  isa_ = &add_bus<IsaBus>("isa.0");
  isa_->set_spaces(pci_bus().ports_ref(), pci_bus().memory_ref());
  router_.connect(*isa_);
  pci_bus().set_irqs(pirq_of, router_.lines());
  host->set_reset_port(reset_control_.port(machine()));

  // I/O, memory and mastering cannot be switched off, §2.2.3.
  PciConfig& c = config();
  c.set16(COMMAND, kCommandIo | kCommandMemory | kCommandMaster);
  c.deny(COMMAND, 2);
  c.set16(STATUS, kStatusDevselMedium);
  // Defaults of §2.2; these only concern signals that we do not have, so they are kept and do nothing.
  c.set8(IORT, 0x4d);
  c.allow8(IORT, 0x7f);
  c.set16(XBCS, 0x0003);
  c.allow16(XBCS, 0x01ff);
  c.set8(TOM, 0x02);
  c.allow8(TOM, 0xfe);
  c.set8(MBIRQ, 0x80);
  c.allow8(MBIRQ, 0xaf);
  c.allow8(APICBASE, 0x7f);
  c.allow8(DLC, 0x0f);
  c.set8(SMICNTL, 0x08);
  c.allow8(SMICNTL, 0x1f);
  for (unsigned i = 0; i < kPirqs; i++) {
    c.set8(PIRQRCA + i, PirqRouter::kDisabled);
    c.allow8(PIRQRCA + i, PirqRouter::kRegisterMask);
  }
  return {};
}

void Piix3::reset_enter() { reset_control_.reset(); }

void Piix3::config_written(unsigned offset, unsigned size) {
  if (offset < PIRQRCA + kPirqs && offset + size > PIRQRCA) refresh_routes();
}

void Piix3::refresh_routes() {
  for (unsigned i = 0; i < kPirqs; i++) router_.set_route(i, config().get8(PIRQRCA + i));
}

void register_piix3(TypeRegistry& registry) { registry.add<Piix3>("PIIX3"); }

}  // namespace emu::hw
