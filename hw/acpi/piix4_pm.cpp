// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/piix4_pm.h"

#include "util/log.h"

namespace emu::hw {
namespace {

using namespace pci;

constexpr u64 kPmBytes = 64;
enum PmOffset : u64 { PMSTS = 0x00, PMCNTRL = 0x04, PMTMR = 0x08 };
// System management bus, §7.3
enum SmbusOffset : u64 { SMBHSTSTS = 0, SMBHSTCNT = 2, SMBHSTCMD = 3, SMBHSTADD = 4, SMBHSTDAT0 = 5, SMBHSTDAT1 = 6 };
constexpr u8 kSmbusDeviceError = 0x04, kSmbusStatusBits = 0x1e, kSmbusStart = 0x40;

}  // namespace

void Piix4Pm::describe(TypeInfo<Piix4Pm>& type) {
  type.doc("Power management (82371AB)");
  type.category(Category::Bridge);
  type.not_user_creatable();
  type.property("disable_s3", &Piix4Pm::disable_s3_, "whether suspend to RAM is refused");
  type.property("disable_s4", &Piix4Pm::disable_s4_, "whether suspend to disk is refused");
  type.property("s4_val", &Piix4Pm::s4_value_, "sleep type of suspend to disk");
  type.property("acpi-root-pci-hotplug", &Piix4Pm::root_hotplug_, "whether devices come and go on pci.0");
  type.irq_out("sci", &Piix4Pm::sci_);
  type.irq_out("smi", &Piix4Pm::smi_);
  type.region("apm-io", ApmPort::kBytes, &Piix4Pm::read_apm, &Piix4Pm::write_apm, {.valid = {1, 1}, .impl = {1, 1}});
  type.region("pm-smbus", 16, &Piix4Pm::read_smbus, &Piix4Pm::write_smbus, {.valid = {1, 1}, .impl = {1, 1}});
  type.region("acpi-pci-hotplug", AcpiPciHotplug::kBytes, &Piix4Pm::read_hotplug, &Piix4Pm::write_hotplug,
              {.valid = {4, 4}, .impl = {4, 4}});
  type.saved(2, &Piix4Pm::fields, &Piix4Pm::after_load);
}

Result<void> Piix4Pm::realize() {
  pm_ = std::make_unique<AcpiPmBlock>(
      machine(), sci_, AcpiPmBlock::Options{.gpe_bytes = 2, .sleep = [this](unsigned t) { return sleep(t); }});
  io_ = add_region(mem::Region::container(memory(), "piix4-pm", kPmBytes));
  io_->add(PMSTS, pm_->event_region());
  io_->add(PMCNTRL, pm_->control_region());
  io_->add(PMTMR, pm_->timer_region());
  io_->add(0,
           add_region(mem::Region::mmio(
               memory(), "piix4-pm-rest", kPmBytes,
               [](u64 offset, unsigned) {
                 log::unimplemented("piix4-pm: read of register {:#x}", offset);
                 return u64(0);
               },
               [](u64 offset, u64 value, unsigned) {
                 log::unimplemented("piix4-pm: write of {:#x} to {:#x}", value, offset);
               },
               {.valid = {1, 4}, .impl = {1, 4}})),
           -1);
  pci_bus().ports().add(kGpePort, pm_->gpe_region());
  pci_bus().ports().add(ApmPort::kPort, region("apm-io"));
  if (root_hotplug_) {
    hotplug_ = std::make_unique<AcpiPciHotplug>(pci_bus(), [this] { pm_->raise_gpe(AcpiPciHotplug::kGpe); });
    pci_bus().ports().add(AcpiPciHotplug::kPort, region("acpi-pci-hotplug"));
    pci_bus().set_hotplug(hotplug_.get());
  }

  PciConfig& c = config();
  c.set16(STATUS, kStatusDevselMedium | kStatusFastBackToBack);
  use_interrupt_pin(1);
  c.deny(INTERRUPT_LINE, 1);
  c.set8(INTERRUPT_LINE, 9);  // the SCI, wherever the pin is routed
  c.set32(PMBA, 1);           // I/O space
  c.allow32(PMBA, 0xffc0);
  // APMC_EN set tells firmware that SMM is set up already: there is none to set up.
  c.set32(DEVACTB, kApmcEnable);
  c.allow32(DEVACTB, 0x0fff'ffff);
  c.allow8(PMREGMISC, 1);
  c.set32(SMBBA, 1);
  c.allow32(SMBBA, 0xfff0);
  c.allow8(SMBHSTCFG, 0x0f);
  return {};
}

void Piix4Pm::unrealize() {
  if (hotplug_ != nullptr) pci_bus().set_hotplug(nullptr);
  hotplug_.reset();
  pm_->gpe_region()->remove_from_parent();
  pm_.reset();
}

void Piix4Pm::reset_enter() {
  state_ = {};
  apm_.reset();
  refresh_ports();
}

void Piix4Pm::reset_hold() {
  pm_->reset();
  if (hotplug_ != nullptr) hotplug_->reset();
}

void Piix4Pm::fields(Archive& ar) {
  pm_->fields(ar);
  apm_.fields(ar);
  ar("smbus_status", state_.smbus_status)("smbus_control", state_.smbus_control);
  ar("smbus_command", state_.smbus_command)("smbus_address", state_.smbus_address);
  ar("smbus_data0", state_.smbus_data0)("smbus_data1", state_.smbus_data1);
  AcpiPciHotplug::State hotplug;
  if (hotplug_ != nullptr) hotplug = hotplug_->state();
  ar.since(2)("hotplug", hotplug);
  if (hotplug_ != nullptr) hotplug_->set_state(hotplug);
}

void Piix4Pm::config_written(unsigned, unsigned) { refresh_ports(); }

void Piix4Pm::refresh_ports() {
  const mem::Transaction transaction(memory());
  const auto place = [&](const mem::RegionRef& region, bool enabled, u32 base, u32 mask) {
    const u64 port = base & mask;
    if (enabled && region->parent() != nullptr && region->address() == port) return;
    region->remove_from_parent();
    if (enabled && port != 0) pci_bus().ports().add(port, region);
  };
  place(io_, config().get8(PMREGMISC) & 1, config().get32(PMBA), 0xffc0);
  // Two enables, §7.1.15 and 7.1.16: I/O space in the command register, and the host controller's own.
  place(region("pm-smbus"), (config().get8(SMBHSTCFG) & 1) && (config().get16(COMMAND) & kCommandIo),
        config().get32(SMBBA), 0xfff0);
}

/// Sleep types as in the _S5 and other packages of our tables, the same as QEMU's.
AcpiPmBlock::Sleep Piix4Pm::sleep(unsigned type) const {
  if (type == 0) return AcpiPmBlock::Sleep::SoftOff;
  if (type == 1 && !disable_s3_) return AcpiPmBlock::Sleep::Suspend;
  if (type == s4_value_ && !disable_s4_) return AcpiPmBlock::Sleep::SoftOff;
  return AcpiPmBlock::Sleep::None;
}

void Piix4Pm::write_apm(u64 offset, u64 value, unsigned) {
  if (apm_.write(offset, u8(value), *pm_) && (config().get32(DEVACTB) & kApmcEnable)) smi_.pulse();
}

// System management bus: a host controller on an empty bus. ----------------------------------------------------------

u64 Piix4Pm::read_smbus(u64 offset, unsigned) {
  switch (offset) {
    case SMBHSTSTS:
      return state_.smbus_status;
    case SMBHSTCNT:
      return state_.smbus_control;
    case SMBHSTCMD:
      return state_.smbus_command;
    case SMBHSTADD:
      return state_.smbus_address;
    case SMBHSTDAT0:
      return state_.smbus_data0;
    case SMBHSTDAT1:
      return state_.smbus_data1;
    default:
      return 0;
  }
}

void Piix4Pm::write_smbus(u64 offset, u64 value, unsigned) {
  const u8 byte = u8(value);
  switch (offset) {
    case SMBHSTSTS:
      state_.smbus_status &= u8(~(byte & kSmbusStatusBits));
      return;
    case SMBHSTCNT:
      state_.smbus_control = byte & u8(~kSmbusStart);
      if (byte & kSmbusStart) state_.smbus_status |= kSmbusDeviceError;  // no device acknowledges
      return;
    case SMBHSTCMD:
      state_.smbus_command = byte;
      return;
    case SMBHSTADD:
      state_.smbus_address = byte;
      return;
    case SMBHSTDAT0:
      state_.smbus_data0 = byte;
      return;
    case SMBHSTDAT1:
      state_.smbus_data1 = byte;
      return;
    default:
      return;
  }
}

void register_piix4_pm(TypeRegistry& registry) { registry.add<Piix4Pm>("PIIX4_PM"); }

}  // namespace emu::hw
