// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/pc_board.h"

#include "hw/char/serial_16550.h"
#include "hw/input/i8042.h"
#include "hw/misc/fpu_error.h"
#include "hw/misc/port92.h"
#include "hw/rtc/mc146818.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "target/x86/models.h"
#include "target/x86/translate.h"

namespace emu::hw {

void GsiRouter::wire(I8259Pair& pic, IoApic& ioapic) {
  for (unsigned i = 0; i < 16; i++) pic_[i] = pic.irq_in("irq", i);
  for (unsigned i = 0; i < IoApic::kPins; i++) ioapic_[i] = ioapic.irq_in("irq", i);
}

void GsiRouter::set_irq(unsigned gsi, bool level) {
  if (chips_ != nullptr) return chips_->set_gsi(gsi, level);
  if (gsi < pic_.size()) pic_[gsi].set(level);
  if (gsi < ioapic_.size()) ioapic_[gsi == 0 ? 2 : gsi].set(level);
}

void PcBoard::describe(qom::TypeInfo<PcBoard>& type) {
  type.doc("PC");
  type.property("hpet", &PcBoard::hpet_enabled_, "high precision event timer");
  type.property("acpi", &PcBoard::acpi_, "ACPI tables and power management; auto is on");
  type.property("graphics", &PcBoard::graphics_, "whether there is a screen; off: firmware uses the first serial line");
  constexpr const char* kDrives = block::BlockBackend::kContainer;
  type.link("pflash0", &PcBoard::flash0_, kDrives, "flash with the firmware: a node name or drive");
  type.link("pflash1", &PcBoard::flash1_, kDrives, "flash below it, with the firmware's variables");
  type.choice("firmware", &PcBoard::firmware_, "FirmwareUse",
              {{"auto", FirmwareUse::Auto}, {"on", FirmwareUse::On}, {"off", FirmwareUse::Off}},
              "start in firmware: auto (unless a kernel is given), on, or off");
}

Result<void> PcBoard::build(Machine& machine, BoardConfig& config) {
  machine_ = &machine;
  config_ = config;
  machine.set_vcpu_count(config.cpus.cpus);
  config_.flash = {flash0_, flash1_};
  EMU_TRY(build_memory());
  EMU_TRY(build_cpus());
  EMU_TRY(build_interrupt_controllers());
  EMU_TRY(build_chipset());
  EMU_TRY(build_isa_devices());
  EMU_TRY(build_vga());
  EMU_TRY(prepare_boot());
  config.warnings = config_.warnings;
  return {};
}

Result<void> PcBoard::build_memory() {
  const u64 bytes = config_.ram_bytes;
  layout_.low_bytes = std::min(bytes, low_ram_limit(bytes));
  layout_.high_bytes = bytes - layout_.low_bytes;
  mem::Memory& memory = machine_->memory();
  const mem::Memory::RamOptions options{.prealloc = config_.ram_prealloc, .shared = config_.ram_shared};
  ram_ = EMU_TRY(memory.make_ram("pc.ram", bytes, options), "guest memory");
  ram_region_ = mem::Region::ram(memory, "pc.ram", ram_);
  mem::Region& system = *machine_->system_root();
  system.add(0, mem::Region::alias(memory, "ram-below-4g", ram_region_, 0, layout_.low_bytes));
  if (layout_.high_bytes != 0) {
    system.add(kHigh, mem::Region::alias(memory, "ram-above-4g", ram_region_, layout_.low_bytes, layout_.high_bytes));
  }
  return {};
}

Result<void> PcBoard::build_cpus() {
  const std::string model_text = config_.cpu_model.empty() ? default_cpu() : config_.cpu_model;
  const std::optional<x86::HostCpu> host = x86::describe_host(config_.acceleration);
  const x86::CpuModel model = EMU_TRY(x86::parse_cpu_option(model_text, host ? &*host : nullptr));
  if (!model.dropped.empty()) config_.warnings.push_back(model.dropped);
  translator_ = std::make_unique<x86::X86Translator>(x86::make_helper_table(), x86::insn_features(model.features));
  const x86::Topology topology{config_.cpus.sockets * config_.cpus.dies, config_.cpus.cores, config_.cpus.threads};
  mem::Memory& memory = machine_->memory();
  for (unsigned i = 0; i < config_.cpus.cpus; i++) {
    Cpu entry;
    x86::CpuConfig cpu_config{.index = i, .apic_id = topology.apic_id(i), .topology = topology, .model = model};
    entry.cpu = std::make_unique<x86::X86Cpu>(cpu_config, *translator_);
    // Each CPU sees its own local APIC over the machine's memory.
    entry.root = mem::Region::container(memory, fmt::format("cpu-{}-memory", i), mem::kWholeAddressSpace);
    entry.root->add(0,
                    mem::Region::alias(memory, fmt::format("cpu-{}-system", i), machine_->system_root(), 0,
                                       mem::kWholeAddressSpace),
                    -1);
    entry.memory = std::make_unique<mem::AddressSpace>(memory, fmt::format("cpu-memory-{}", i), entry.root);
    cpus_.push_back(std::move(entry));
  }
  return {};
}

Result<void> PcBoard::build_interrupt_controllers() {
  Bus& bus = machine_->system_bus();
  target::InterruptChips* const theirs = chips();
  const bool has_apics = theirs == nullptr || !theirs->has_local_apics();
  const bool has_chips = theirs == nullptr || !theirs->has_board_chips();
  if (has_chips) pic_ = &place<I8259Pair>(*machine_);  // realized on the ISA bus, when there is one
  if (!has_apics) apic_bus_.connect(*theirs);
  if (!has_apics && has_chips) {
    external_port_.wire(*pic_);
    cpus_[0].cpu->set_interrupt_port(&external_port_);
  }
  for (unsigned i = 0; has_apics && i < cpus_.size(); i++) {
    Cpu& entry = cpus_[i];
    entry.apic = &place<LocalApic>(*machine_);
    entry.apic->wire(apic_bus_, *entry.cpu, entry.cpu->config().apic_id, i == 0, entry.root, i == 0 ? pic_ : nullptr);
    EMU_TRY(entry.apic->realize_on(&bus));
    apic_bus_.add(*entry.apic);
    entry.cpu->set_interrupt_port(entry.apic);
  }
  if (has_chips) {
    ioapic_ = &place<IoApic>(*machine_);
    ioapic_->wire(apic_bus_);
    EMU_TRY(ioapic_->realize_on(&bus));
    ioapic_->map("ioapic", IoApic::kAddress);
    pic_->irq_out("intr").connect(lint0_.input());
    gsi_.wire(*pic_, *ioapic_);
  } else {
    gsi_.wire(*theirs);
  }

  // What devices write to 0xfee00000..0xfeefffff are interrupt messages; a CPU sees its own APIC there instead.
  machine_->system_root()->add(0xfee0'0000,
                               mem::Region::mmio(machine_->memory(), "apic-msi", 0x10'0000, {},
                                                 [this](u64 offset, u64 value, unsigned) {
                                                   apic_bus_.deliver_msi(0xfee0'0000 + offset, u32(value));
                                                 },
                                                 {.valid = {4, 4}, .impl = {4, 4}, .locking = mem::Locking::None}));
  return {};
}

Result<void> PcBoard::build_isa_devices() {
  for (unsigned i = 0; i < IsaBus::kIrqs; i++) isa_bus_->set_irq(i, gsi_.input(i));
  if (pic_ != nullptr) {
    EMU_TRY(pic_->realize_on(isa_bus_));
    pit_ = &place<I8254>(*machine_);
    EMU_TRY(pit_->realize_on(isa_bus_));
    pit_->irq_out("irq").connect(isa_bus_->irq(0));
  }

  rtc_ = &place<Mc146818>(*machine_);
  EMU_TRY(rtc_->set("clock", config_.rtc_clock));
  EMU_TRY(rtc_->realize_on(isa_bus_));
  rtc_->irq_out("irq").connect(isa_bus_->irq(8));
  if (config_.rtc_base) rtc_->set_time(*config_.rtc_base);
  fill_cmos();

  if (hpet_enabled_) {
    hpet_ = &place<Hpet>(*machine_);
    EMU_TRY(hpet_->realize_on(&machine_->system_bus()));
    for (unsigned pin = 0; pin < IoApic::kPins; pin++) {
      hpet_->irq_out("irq", pin).connect(pin == 0 || pin == 8 ? isa_bus_->irq(pin) : gsi_input(pin));
    }
    hpet_->set_legacy_listener([this](bool legacy) {
      if (pit_ != nullptr) pit_->set_irq_enabled(!legacy);
      rtc_->set_irq_enabled(!legacy);
    });
  }

  auto& keyboard = place<I8042>(*machine_);
  EMU_TRY(keyboard.realize_on(isa_bus_));
  keyboard.irq_out("a20").connect(a20_.input());
  auto& port92 = place<Port92>(*machine_);
  EMU_TRY(port92.realize_on(isa_bus_));
  port92.irq_out("a20").connect(a20_.input());
  auto& fpu_error = place<FpuError>(*machine_);
  EMU_TRY(fpu_error.realize_on(isa_bus_));
  fpu_error.irq_out("irq").connect(isa_bus_->irq(13));
  for (Cpu& entry : cpus_) {
    entry.cpu->connect_fpu_error({.set_ferr = [&fpu_error](bool level) { fpu_error.set_ferr(level); },
                                  .ignne = [&fpu_error] { return fpu_error.ignne(); }});
  }

  for (unsigned i = 0; i < config_.serials.size(); i++) {
    if (!config_.serial_present[i]) continue;
    auto& serial = place<IsaSerial>(*machine_);
    EMU_TRY(serial.set("index", i));
    if (config_.serials[i] != nullptr) EMU_TRY(serial.set("chardev", config_.serials[i]->path()));
    EMU_TRY(serial.realize_on(isa_bus_));
  }
  return {};
}

/// Bytes that PC firmware reads; layout of the common ones by IBM AT convention, 0x5b.. and 0x5f as QEMU's firmware
/// interface documents them.
void PcBoard::fill_cmos() {
  const u64 low = layout_.low_bytes;
  const auto set16 = [&](u8 index, u64 value) {
    rtc_->set_cmos(index, u8(value));
    rtc_->set_cmos(u8(index + 1), u8(value >> 8));
  };
  set16(0x15, 640);  // base memory, KiB
  const u64 extended = std::min<u64>(low > 0x100000 ? (low >> 10) - 1024 : 0, 65535);
  set16(0x17, extended);
  set16(0x30, extended);
  set16(0x34, low > (16 << 20) ? std::min<u64>((low - (16 << 20)) >> 16, 65535) : 0);  // above 16 MiB, 64 KiB units
  const u64 high = layout_.high_bytes >> 16;
  rtc_->set_cmos(0x5b, u8(high));
  rtc_->set_cmos(0x5c, u8(high >> 8));
  rtc_->set_cmos(0x5d, u8(high >> 16));
  rtc_->set_cmos(0x5f, u8(config_.cpus.cpus - 1));
  rtc_->set_cmos(0x14, 0x06);  // equipment: FPU, mouse
}

void PcBoard::set_a20(bool level) {
  for (Cpu& entry : cpus_) entry.cpu->set_a20(level);
}

std::vector<BoardCpu> PcBoard::cpus() {
  std::vector<BoardCpu> list;
  for (Cpu& entry : cpus_) list.push_back({entry.cpu.get(), entry.memory.get(), &machine_->io_ports()});
  return list;
}

Bus* PcBoard::default_bus(std::string_view bus_type) {
  if (bus_type == IsaBus::kTypeName) return isa_bus_;
  return pci_bus().type().is_a(bus_type) ? &pci_bus() : nullptr;
}

target::InterruptChips* PcBoard::chips() const {
  return config_.acceleration == nullptr ? nullptr : &config_.acceleration->chips();
}

IrqInput PcBoard::gsi_input(unsigned gsi) { return ioapic_ != nullptr ? ioapic_->irq_in("irq", gsi) : gsi_.input(gsi); }

/// The 8259 pair's request: to the boot CPU's LAPIC, or past the accelerator's.
void PcBoard::set_external_interrupt(bool level) {
  if (cpus_[0].apic != nullptr) {
    cpus_[0].apic->irq_in("lint0").set(level);
  } else {
    cpus_[0].cpu->set_interrupt(level);
  }
}

std::string PcBoard::describe_interrupts() const {
  return pic_ != nullptr ? pic_->dump() + ioapic_->dump() : "the host's kernel has the interrupt controllers\n";
}

std::string PcBoard::describe_local_interrupts(unsigned cpu) const {
  return cpus_[cpu].apic != nullptr ? cpus_[cpu].apic->dump() : "the host's kernel has the local APICs\n";
}

void PcBoard::inject_nmi() {
  for (Cpu& entry : cpus_) entry.cpu->nmi();
}

}  // namespace emu::hw
