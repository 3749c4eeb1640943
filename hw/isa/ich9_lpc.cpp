// SPDX-License-Identifier: Apache-2.0
#include "hw/isa/ich9_lpc.h"

#include "util/log.h"

namespace emu::hw {
namespace {

using namespace pci;

constexpr u64 kPmBytes = 128;
constexpr u8 kAcpiEnableBit = 0x80, kSciSelect = 0x07;  // ACPI_CNTL
constexpr u32 kRcbaEnable = 1;
// Root complex: interrupt route registers of slots 31 to 25, §10.1. Each nibble-wide field is a PIRQ.
constexpr unsigned kRoutes[] = {0x3140, 0x3142, 0x3144, 0x3146, 0x3148, 0x314c, 0x3150};
constexpr u16 kRoutesReset = 0x3210;

}  // namespace

void Ich9Lpc::describe(TypeInfo<Ich9Lpc>& type) {
  type.doc("PCI-to-ISA bridge (ICH9)");
  type.category(Category::Bridge);
  type.not_user_creatable();
  type.property("disable_s3", &Ich9Lpc::disable_s3_, "whether suspend to RAM is refused");
  type.property("disable_s4", &Ich9Lpc::disable_s4_, "whether suspend to disk is refused");
  type.property("s4_val", &Ich9Lpc::s4_value_, "sleep type of suspend to disk");
  type.irq_out("smi", &Ich9Lpc::smi_);
  type.region("apm-io", ApmPort::kBytes, &Ich9Lpc::read_apm, &Ich9Lpc::write_apm, {.valid = {1, 1}, .impl = {1, 1}});
  type.region("acpi-smi", 8, &Ich9Lpc::read_smi, &Ich9Lpc::write_smi, {.valid = {1, 4}, .impl = {4, 4}});
  type.region("lpc-rcrb-mmio", kRootComplexBytes, &Ich9Lpc::read_root_complex, &Ich9Lpc::write_root_complex,
              {.valid = {1, 4}, .impl = {1, 4}});
  type.saved(1, &Ich9Lpc::fields, &Ich9Lpc::after_load);
}

Result<void> Ich9Lpc::realize() {
  auto* host = dynamic_cast<PciHostBridge*>(bus()->owner());
  if (host == nullptr) return error("ICH9-LPC: is not on a root bus");
  isa_ = &add_bus<IsaBus>("isa.0");
  isa_->set_spaces(pci_bus().ports_ref(), pci_bus().memory_ref());
  router_.connect(*isa_);
  for (unsigned i = 0; i < kPirqs; i++) router_.connect_direct(i, gsi_lines_[i].input(0));
  for (unsigned i = 0; i < sci_isa_.size(); i++) sci_isa_[i] = isa_->irq(9 + i);
  pci_bus().set_irqs(pirq_of, router_.lines());
  host->set_reset_port(reset_control_.port(machine()));
  pm_ = std::make_unique<AcpiPmBlock>(
      machine(), sci_, AcpiPmBlock::Options{.gpe_bytes = 8, .sleep = [this](unsigned t) { return sleep(t); }});
  make_pm_region();
  pci_bus().ports().add(ApmPort::kPort, region("apm-io"));
  set_config_defaults();
  return {};
}

void Ich9Lpc::make_pm_region() {
  io_ = add_region(mem::Region::container(memory(), "ich9-pm", kPmBytes));
  io_->add(PM1_STS, pm_->event_region());
  io_->add(PM1_CNT, pm_->control_region());
  io_->add(PM1_TMR, pm_->timer_region());
  io_->add(GPE0, pm_->gpe_region());
  io_->add(SMI_EN, region("acpi-smi"));
  io_->add(0,
           add_region(mem::Region::mmio(
               memory(), "ich9-pm-rest", kPmBytes,
               [](u64 offset, unsigned) {
                 log::unimplemented("ich9-pm: read of register {:#x}", offset);
                 return u64(0);
               },
               [](u64 offset, u64 value, unsigned) {
                 log::unimplemented("ich9-pm: write of {:#x} to {:#x}", value, offset);
               },
               {.valid = {1, 4}, .impl = {1, 4}})),
           -1);
}

void Ich9Lpc::set_config_defaults() {
  PciConfig& c = config();
  c.set16(COMMAND, kCommandIo | kCommandMemory | kCommandMaster);  // hard-wired, §13.1.3
  c.deny(COMMAND, 2);
  c.allow16(COMMAND, kCommandParity | kCommandSerr);
  c.set16(STATUS, kStatusDevselMedium);
  c.set32(PMBASE, 1);
  c.allow32(PMBASE, 0xff80);
  c.allow8(ACPI_CNTL, kAcpiEnableBit | kSciSelect);
  c.set32(GPIOBASE, 1);
  c.allow32(GPIOBASE, 0xff80);
  c.allow8(GC, 0x11);
  for (const unsigned first : {PIRQA, PIRQE}) {
    for (unsigned i = 0; i < 4; i++) {
      c.set8(first + i, PirqRouter::kDisabled);
      c.allow8(first + i, PirqRouter::kRegisterMask);
    }
  }
  c.set8(SIRQ_CNTL, 0x10);
  c.allow8(SIRQ_CNTL, 0xff);
  c.allow32(LPC_IO_DEC, 0x3fff'1377);
  for (unsigned offset = 0x84; offset < 0x94; offset += 4) c.allow32(offset, 0x00fc'fffd);
  c.allow16(GEN_PMCON_1, 0x06ff);
  c.allow8(GEN_PMCON_2, 0xff);
  c.allow8(GEN_PMCON_3, 0xff);
  c.allow8(BIOS_CNTL, 0x0f);
  c.allow32(RCBA, 0xffff'c001);
}

void Ich9Lpc::unrealize() { pm_.reset(); }

void Ich9Lpc::reset_enter() {
  state_ = {};
  apm_.reset();
  for (const unsigned route : kRoutes) {
    state_.root_complex[route] = u8(kRoutesReset);
    state_.root_complex[route + 1] = u8(kRoutesReset >> 8);
  }
  reset_control_.reset();
}

void Ich9Lpc::reset_hold() {
  refresh();
  pm_->reset();
}

void Ich9Lpc::fields(Archive& ar) {
  reset_control_.fields(ar);
  pm_->fields(ar);
  apm_.fields(ar);
  ar("smi_enable", state_.smi_enable)("smi_status", state_.smi_status)("root_complex", state_.root_complex);
}

Result<void> Ich9Lpc::after_load() {
  refresh();
  return pm_->after_load();
}

void Ich9Lpc::config_written(unsigned, unsigned) { refresh(); }

void Ich9Lpc::refresh() {
  const mem::Transaction transaction(memory());
  for (unsigned i = 0; i < 4; i++) {
    router_.set_route(i, config().get8(PIRQA + i));
    router_.set_route(4 + i, config().get8(PIRQE + i));
  }
  if (config().get16(GEN_PMCON_1) & kSmiLock) config().deny(GEN_PMCON_1, 1);

  const u64 port = config().get32(PMBASE) & 0xff80;
  io_->remove_from_parent();
  if ((config().get8(ACPI_CNTL) & kAcpiEnableBit) && port != 0) pci_bus().ports().add(port, io_);

  const u32 rcba = config().get32(RCBA);
  const mem::RegionRef& root_complex = region("lpc-rcrb-mmio");
  root_complex->remove_from_parent();
  if (rcba & kRcbaEnable) pci_bus().memory_space().add(rcba & 0xffff'c000, root_complex, 1);
  refresh_sci();
}

/// ACPI_CNTL, SCI_IRQ_SEL: 0..2 are ISA 9..11, 4..7 are I/O APIC 20..23.
void Ich9Lpc::refresh_sci() {
  const unsigned select = config().get8(ACPI_CNTL) & kSciSelect;
  IrqInput input;
  if (select < 3)
    input = sci_isa_[select];
  else if (select >= 4)
    input = gsi_lines_[select].input(1);
  if (input.sink == sci_.input().sink && input.number == sci_.input().number) return;
  sci_.disconnect();
  sci_.connect(input);
}

AcpiPmBlock::Sleep Ich9Lpc::sleep(unsigned type) const {
  constexpr unsigned kChipSoftOff = 7;  // SLP_TYP of S5 in the datasheet; our tables, like QEMU's, say 0
  if (type == 0 || type == kChipSoftOff) return AcpiPmBlock::Sleep::SoftOff;
  if (type == 1 && !disable_s3_) return AcpiPmBlock::Sleep::Suspend;
  if (type == s4_value_ && !disable_s4_) return AcpiPmBlock::Sleep::SoftOff;
  return AcpiPmBlock::Sleep::None;
}

// System management interrupts. --------------------------------------------------------------------------------------

void Ich9Lpc::write_apm(u64 offset, u64 value, unsigned) {
  if (!apm_.write(offset, u8(value), *pm_)) return;
  if ((state_.smi_enable & kGlobalSmi) && (state_.smi_enable & kApmcSmi)) {
    state_.smi_status |= kApmcSmi;
    smi_.pulse();
  }
}

u64 Ich9Lpc::read_smi(u64 offset, unsigned) { return offset == 0 ? state_.smi_enable : state_.smi_status; }

void Ich9Lpc::write_smi(u64 offset, u64 value, unsigned) {
  constexpr u32 kEndOfSmi = bit(1);  // reads as one, §13.8.3.13
  if (offset != 0) {
    state_.smi_status &= ~u32(value);
    return;
  }
  u32 enable = u32(value) | kEndOfSmi;
  if (config().get16(GEN_PMCON_1) & kSmiLock) enable = (enable & ~kGlobalSmi) | (state_.smi_enable & kGlobalSmi);
  state_.smi_enable = enable;
}

// Root complex registers: kept, without effect. ----------------------------------------------------------------------

u64 Ich9Lpc::read_root_complex(u64 offset, unsigned size) {
  u64 value = 0;
  for (unsigned i = 0; i < size; i++) value |= u64(state_.root_complex[offset + i]) << (8 * i);
  return value;
}

void Ich9Lpc::write_root_complex(u64 offset, u64 value, unsigned size) {
  if (read_root_complex(offset, size) != (value & low_mask(8 * size))) {
    log::unimplemented("ich9: root complex register {:#x} set to {:#x}", offset, value);
  }
  for (unsigned i = 0; i < size; i++) state_.root_complex[offset + i] = u8(value >> (8 * i));
}

void register_ich9_lpc(TypeRegistry& registry) { registry.add<Ich9Lpc>("ICH9-LPC"); }

}  // namespace emu::hw
