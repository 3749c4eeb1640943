// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/dsdt.h"

#include <fmt/format.h>

#include <array>

#include "hw/acpi/pci_hotplug.h"
#include "hw/isa/ich9_lpc.h"
#include "hw/isa/piix3.h"

namespace emu::hw {
namespace {

using namespace aml;

constexpr unsigned kFirstSlot = 0, kSlotCount = 32, kPins = 4;
constexpr u32 kPirqChoices[] = {5, 10, 11};
constexpr u8 kStaPresent = 0x0f, kStaDisabled = 0x09, kStaHidden = 0x0b;  // §6.3.7

bool is_q35(const AcpiConfig& config) { return config.chipset == AcpiConfig::Chipset::Q35; }
std::string link_name(unsigned pirq) { return fmt::format("LNK{:c}", char('A' + pirq)); }
std::string gsi_name(unsigned pirq) { return fmt::format("GSI{:c}", char('A' + pirq)); }
std::string route_register(unsigned pirq) { return fmt::format("PRQ{:c}", char('A' + pirq)); }

Aml hardware_id(std::string_view pnp) { return name("_HID", eisa_id(pnp)); }
Aml resources(const Resources& r) { return name("_CRS", r.finish()); }

// Interrupt links. ---------------------------------------------------------------------------------------------------

/// A PIRQ line whose ISA interrupt the OS chooses through the bridge's route register (§6.2.13).
Aml pirq_link(unsigned pirq) {
  const std::string reg = route_register(pirq);
  const std::vector<u32> choices(std::begin(kPirqChoices), std::end(kPirqChoices));
  Aml body;
  body << hardware_id("PNP0C0F") << name("_UID", integer(pirq));
  body << name("_PRS", Resources().interrupts(Trigger::Level, Polarity::High, Sharing::Shared, choices).finish());
  body << method("_STA", 0, Serialize::No, give(call("ISTA", {path(reg)})));
  body << method("_DIS", 0, Serialize::No, bit_or(path(reg), integer(PirqRouter::kDisabled), path(reg)));
  body << method("_CRS", 0, Serialize::No, give(call("ICRS", {path(reg)})));
  // The interrupt number is five bytes into the extended interrupt descriptor.
  body << method("_SRS", 1, Serialize::No,
                 list({create_dword_field(arg(0), 5, "PRRI"), store(path("PRRI"), path(reg))}));
  return device(link_name(pirq), body);
}

/// A link whose interrupt cannot be changed.
Aml fixed_link(std::string_view link, unsigned uid, u32 interrupt) {
  const Aml choice = Resources().interrupts(Trigger::Level, Polarity::High, Sharing::Shared, {interrupt}).finish();
  Aml body;
  body << hardware_id("PNP0C0F") << name("_UID", integer(uid)) << name("_PRS", choice);
  body << name("_STA", integer(kStaHidden)) << name("_CRS", choice);
  body << method("_DIS", 0, Serialize::No, {}) << method("_SRS", 1, Serialize::No, {});
  return device(link, body);
}

/// ISTA(register) and ICRS(register): state and setting of a route register.
Aml link_helpers() {
  Aml helpers = method("ISTA", 1, Serialize::No,
                       list({if_then(bit_and(arg(0), integer(PirqRouter::kDisabled)), give(integer(kStaDisabled))),
                             give(integer(kStaHidden))}));
  Aml body = name("PRR0", Resources().interrupts(Trigger::Level, Polarity::High, Sharing::Shared, {0}).finish());
  body << create_dword_field(path("PRR0"), 5, "PRRI");
  body << if_then(less(arg(0), integer(PirqRouter::kDisabled)), bit_and(arg(0), integer(15), path("PRRI")));
  body << give(path("PRR0"));
  return helpers << method("ICRS", 1, Serialize::Yes, body);
}

// PCI routing, §6.2.13. ----------------------------------------------------------------------------------------------

template <typename Source>
Aml routing_table(Source&& source) {
  std::vector<Aml> rows;
  for (unsigned slot = kFirstSlot; slot < kSlotCount; slot++) {
    for (unsigned pin = 0; pin < kPins; pin++) {
      const std::string link = source(slot, pin);
      rows.push_back(package({integer(u64(slot) << 16 | 0xffff), integer(pin), path(link), integer(0)}));
    }
  }
  return package(rows);
}

Aml i440fx_routing() {
  return name("_PRT", routing_table([](unsigned slot, unsigned pin) -> std::string {
                // Pin A of the south bridge's slot is the power management function's, fixed to the SCI.
                if (slot == 1 && pin == 0) return "LNKS";
                return link_name(Piix3::pirq_of(pci_devfn(slot, 0), pin));
              }));
}

Aml q35_routing() {
  Aml tables = name("PRTP", routing_table([](unsigned slot, unsigned pin) {
                      return link_name(Ich9Lpc::pirq_of(pci_devfn(slot, 0), pin));
                    }));
  tables << name("PRTA", routing_table([](unsigned slot, unsigned pin) {
                   return gsi_name(Ich9Lpc::pirq_of(pci_devfn(slot, 0), pin));
                 }));
  return tables << method(
             "_PRT", 0, Serialize::No,
             list({if_then(equal(path("\\PICF"), integer(0)), give(path("PRTP"))), otherwise(give(path("PRTA")))}));
}

// Host bridge. -------------------------------------------------------------------------------------------------------

Aml pci_windows(const AcpiConfig& config) {
  Resources r;
  r.bus_numbers(0, 0xff).io(0xcf8, 8);
  r.io_window(0, 0xcf7).io_window(0xd00, 0xffff);
  r.memory_window32(0xa'0000, 0xb'ffff, Cache::Cacheable);
  for (const AddressWindow& w : config.pci_memory32) r.memory_window32(u32(w.first), u32(w.last), Cache::None);
  if (const auto& w = config.pci_memory64) r.memory_window64(w->first, w->last, Cache::Cacheable);
  return resources(r);
}

/// What the OS may control, PCI Firmware specification 3.2 §4.5.1.
Aml pci_express_control() {
  constexpr u32 kGranted = 0x1f;  // native hot plug, SHPC, PME, AER, PCIe capability structure
  Aml known = create_dword_field(arg(3), 4, "CDW2");
  known << create_dword_field(arg(3), 8, "CDW3");
  known << bit_and(path("CDW3"), integer(kGranted), local(0));
  known << if_then(logical_not(equal(arg(1), integer(1))), bit_or(path("CDW1"), integer(0x08), path("CDW1")));
  known << if_then(logical_not(equal(path("CDW3"), local(0))), bit_or(path("CDW1"), integer(0x10), path("CDW1")));
  known << store(local(0), path("CDW3"));
  Aml body = create_dword_field(arg(3), 0, "CDW1");
  body << if_then(equal(arg(0), uuid("33db4d5b-1ff7-401c-9657-7441c03dd766")), known);
  body << otherwise(bit_or(path("CDW1"), integer(0x04), path("CDW1")));
  body << give(arg(3));
  return method("_OSC", 4, Serialize::Yes, body);
}

Aml serial_port(unsigned index) {
  static constexpr std::array<u16, 4> kPorts = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
  static constexpr std::array<u8, 4> kIrqs = {4, 3, 4, 3};
  return device(fmt::format("COM{}", index + 1),
                list({hardware_id("PNP0501"), name("_UID", integer(index + 1)), name("_STA", integer(kStaPresent)),
                      resources(Resources().io(kPorts[index], 8, 0).irq(kIrqs[index]))}));
}

/// Devices behind the south bridge.
Aml isa_devices(const AcpiConfig& config) {
  Aml devices;
  if (config.has_rtc) {
    devices << device("RTC", list({hardware_id("PNP0B00"), resources(Resources().io(0x70, 8).irq(8))}));
  }
  if (config.has_ps2) {
    devices << device("KBD", list({hardware_id("PNP0303"), name("_STA", integer(kStaPresent)),
                                   resources(Resources().io(0x60, 1).io(0x64, 1).irq(1))}));
    devices << device(
        "MOU", list({hardware_id("PNP0F13"), name("_STA", integer(kStaPresent)), resources(Resources().irq(12))}));
  }
  for (unsigned i = 0; i < config.serial_ports && i < 4; i++) devices << serial_port(i);
  if (config.pvpanic_port) {
    Aml body = name("_HID", text("QEMU0001"));
    body << resources(Resources().io(*config.pvpanic_port, 1)) << name("_STA", integer(kStaPresent));
    body << operation_region("PEOR", Space::SystemIo, *config.pvpanic_port, 1);
    body << field("PEOR", Access::Byte, Update::Preserve, {{"PEPT", 8}});
    body << method("RDPT", 0, Serialize::No, give(path("PEPT")));
    body << method("WRPT", 1, Serialize::No, store(arg(0), path("PEPT")));
    devices << device("PEVT", body);
  }
  return devices;
}

Aml south_bridge(const AcpiConfig& config) {
  Aml body;
  if (is_q35(config)) {
    body << name("_ADR", integer(0x001f'0000));
    body << operation_region("PIRQ", Space::PciConfig, Ich9Lpc::PIRQA, 0x0c);
    return device("ISA", body << isa_devices(config));
  }
  body << name("_ADR", integer(0x0001'0000));
  body << operation_region("PIRQ", Space::PciConfig, Piix3::PIRQRCA, 4);
  return device("ISA", body << isa_devices(config));
}

Aml route_registers(const AcpiConfig& config) {
  if (is_q35(config)) {
    return field("PCI0.ISA.PIRQ", Access::Byte, Update::Preserve,
                 {{"PRQA", 8},
                  {"PRQB", 8},
                  {"PRQC", 8},
                  {"PRQD", 8},
                  {"", 32},
                  {"PRQE", 8},
                  {"PRQF", 8},
                  {"PRQG", 8},
                  {"PRQH", 8}});
  }
  return field("PCI0.ISA.PIRQ", Access::Byte, Update::Preserve, {{"PRQA", 8}, {"PRQB", 8}, {"PRQC", 8}, {"PRQD", 8}});
}

// Hot plug of pci.0, §5.6.6 (notifications) and §6.3.3 (_EJ0). The registers: hw/acpi/pci_hotplug.h -----------------

constexpr unsigned kFirstPlugSlot = 2;  // 0 and 1 are the board's bridges
constexpr u64 kDeviceCheck = 1, kEjectRequest = 3;

std::string slot_name(unsigned slot) { return fmt::format("S{:02X}", slot << 3); }

Aml slot_device(unsigned slot) {
  Aml body = name("_ADR", integer(u64(slot) << 16));
  body << name("_SUN", integer(slot));
  body << method("_EJ0", 1, Serialize::No, call("PCEJ", {integer(bit(slot))}));
  return device(slot_name(slot), body);
}

/// In the scope of PCI0. PCEJ(mask) ejects slots, DVNT(mask, what) notifies, PCNT looks at what is to be told.
Aml pci_hotplug() {
  Aml body = operation_region("PCST", Space::SystemIo, AcpiPciHotplug::kPort, AcpiPciHotplug::kBytes);
  body << field("PCST", Access::DWord, Update::Zeros,
                {{"PCIU", 32}, {"PCID", 32}, {"B0EJ", 32}, {"PCRM", 32}, {"BNUM", 32}});
  body << method("PCEJ", 1, Serialize::Yes, list({store(integer(0), path("BNUM")), store(arg(0), path("B0EJ"))}));
  Aml tell;
  for (unsigned slot = kFirstPlugSlot; slot < kSlotCount; slot++) {
    body << slot_device(slot);
    tell << if_then(bit_and(arg(0), integer(bit(slot))), notify_with(slot_name(slot), arg(1)));
  }
  body << method("DVNT", 2, Serialize::No, tell);
  body << method("PCNT", 0, Serialize::Yes,
                 list({store(integer(0), path("BNUM")), call("DVNT", {path("PCIU"), integer(kDeviceCheck)}),
                       call("DVNT", {path("PCID"), integer(kEjectRequest)})}));
  return body;
}

Aml general_events(const AcpiConfig& config) {
  Aml body = name("_HID", text("ACPI0006"));
  if (config.has_pci_hotplug) {
    body << method("_E01", 0, Serialize::No, call("\\_SB.PCI0.PCNT", {}));
  }
  return scope("\\_GPE", body);
}

Aml host_bridge(const AcpiConfig& config) {
  Aml body;
  if (is_q35(config)) {
    body << hardware_id("PNP0A08") << name("_CID", eisa_id("PNP0A03")) << pci_express_control();
  } else {
    body << hardware_id("PNP0A03");
  }
  body << name("_UID", integer(0)) << name("_BBN", integer(0));
  body << pci_windows(config) << (is_q35(config) ? q35_routing() : i440fx_routing()) << south_bridge(config);
  if (!is_q35(config)) body << device("PX13", name("_ADR", integer(0x0001'0003)));
  if (config.has_pci_hotplug) body << pci_hotplug();
  return device("PCI0", body);
}

// What else is on the board. -----------------------------------------------------------------------------------------

/// Ports and memory that belong to the board, so that the OS gives them to nobody else.
Aml board_resources(const AcpiConfig& config) {
  Resources r;
  if (is_q35(config)) {
    r.io(config.pm_base, 0x80);
  } else {
    r.io(config.pm_base, 0x40).io(0xafe0, 4);
    if (config.has_pci_hotplug) r.io(AcpiPciHotplug::kPort, u8(AcpiPciHotplug::kBytes));
  }
  Aml devices = device("MBRD", list({hardware_id("PNP0C02"), name("_UID", integer(1)), resources(r)}));
  if (config.ecam_base) {
    const Resources ecam = Resources().memory32(u32(*config.ecam_base), 256u << 20);
    devices << device("DRAC", list({hardware_id("PNP0C01"), name("_UID", integer(2)), resources(ecam)}));
  }
  return devices;
}

Aml processors(const AcpiConfig& config) {
  Aml body = name("_HID", text("ACPI0010"));
  body << name("_CID", eisa_id("PNP0A05"));
  for (size_t i = 0; i < config.apic_ids.size(); i++) {
    body << device(fmt::format("C{:03X}", i), list({name("_HID", text("ACPI0007")), name("_UID", integer(i))}));
  }
  return device("CPUS", body);
}

Aml sleep_state(std::string_view state, u8 type) {
  return name(state, package({integer(type), integer(type), integer(0), integer(0)}));
}

}  // namespace

aml::Aml build_dsdt_body(const AcpiConfig& config) {
  Aml board = host_bridge(config);
  board << route_registers(config) << link_helpers();
  const unsigned pirqs = is_q35(config) ? Ich9Lpc::kPirqs : Piix3::kPirqs;
  for (unsigned pirq = 0; pirq < pirqs; pirq++) board << pirq_link(pirq);
  if (is_q35(config)) {
    for (unsigned pirq = 0; pirq < pirqs; pirq++)
      board << fixed_link(gsi_name(pirq), 16 + pirq, Ich9Lpc::kFirstGsi + pirq);
  } else {
    board << fixed_link("LNKS", 4, config.sci);
  }
  board << board_resources(config);
  if (config.has_hpet) {
    board << device("HPET", list({hardware_id("PNP0103"), name("_UID", integer(0)), name("_STA", integer(kStaPresent)),
                                  resources(Resources().memory32(0xfed0'0000, 0x400, false))}));
  }
  if (config.has_fw_cfg) {
    board << device("FWCF", list({name("_HID", text("QEMU0002")), name("_STA", integer(kStaHidden)),
                                  resources(Resources().io(0x510, 0x0c))}));
  }
  board << processors(config);

  Aml body;
  if (is_q35(config)) {
    body << name("\\PICF", integer(0)) << method("\\_PIC", 1, Serialize::No, store(arg(0), path("\\PICF")));
  }
  body << scope("\\_SB", board) << general_events(config);
  if (config.offers_s3) body << sleep_state("\\_S3", 1);
  if (config.offers_s4) body << sleep_state("\\_S4", 2);
  return body << sleep_state("\\_S5", 0);
}

}  // namespace emu::hw
