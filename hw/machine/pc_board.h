// SPDX-License-Identifier: Apache-2.0
// What the PC machine types share: CPUs with local APICs, ISA devices, memory layout, and the ways to boot.
#pragma once

#include <memory>
#include <vector>

#include "hw/acpi/tables.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/intc/local_apic.h"
#include "hw/machine/board.h"
#include "hw/machine/boot_image.h"
#include "hw/pci/pci_bus.h"
#include "target/x86/cpu.h"

namespace emu::hw {

class FwCfg;
class I8254;
class I8042;
class Hpet;
class Mc146818;
struct SmbiosConfig;

/// -machine firmware=: whether the guest starts in SeaBIOS, or in the kernel with us in the firmware's place.
enum class FirmwareUse { Auto, On, Off };

/// Global system interrupts 0..23: the 8259 pair and the I/O APIC side by side; ISA 0 is input 2 of the latter.
/// Or the accelerator has both.
class GsiRouter final : public IrqSink {
 public:
  void wire(I8259Pair& pic, IoApic& ioapic);
  void wire(target::InterruptChips& chips) { chips_ = &chips; }
  IrqInput input(unsigned gsi) { return {this, gsi}; }
  void set_irq(unsigned gsi, bool level) override;

 private:
  std::array<IrqInput, 16> pic_{};
  std::array<IrqInput, IoApic::kPins> ioapic_{};
  target::InterruptChips* chips_ = nullptr;
};

/// What a CPU whose local APIC the accelerator has asks of the board: the vector of the 8259 pair's request.
class ExternalInterruptPort final : public target::CpuInterruptPort {
 public:
  void wire(ExternalVectorSource& source) { source_ = &source; }
  std::optional<u8> acknowledge() override { return source_->acknowledge(); }
  u8 task_priority() override { return 0; }
  void set_task_priority(u8) override {}
  bool read_register(u32, u64&) override { return false; }
  bool write_register(u32, u64) override { return false; }

 private:
  ExternalVectorSource* source_ = nullptr;
};

/// RAM below and above the hole under 4 GiB.
struct PcMemoryLayout {
  u64 low_bytes = 0, high_bytes = 0;
};

class PcBoard : public Board, public target::Accelerated {
 public:
  static constexpr const char* kTypeName = "x86-machine";
  static constexpr u64 kHigh = u64(1) << 32;
  static void describe(qom::TypeInfo<PcBoard>& type);

  Result<void> build(Machine& machine, BoardConfig& config) override;
  void reset() override;
  void wake() override;
  std::vector<BoardCpu> cpus() override;
  unsigned max_cpus() const override { return 255; }
  std::string default_cpu() const override { return "qemu64"; }
  std::string ram_id() const override { return "pc.ram"; }
  Bus* default_bus(std::string_view bus_type) override;
  std::string describe_interrupts() const override;
  std::string describe_local_interrupts(unsigned cpu) const override;
  std::string describe_roms() const override;
  void inject_nmi() override;
  target::Acceleration* acceleration() const override { return config_.acceleration; }

 protected:
  struct Cpu {
    std::unique_ptr<x86::X86Cpu> cpu;
    mem::RegionRef root;
    std::unique_ptr<mem::AddressSpace> memory;
    LocalApic* apic = nullptr;  ///< null: the accelerator has it
  };

  target::InterruptChips* chips() const;
  /// An IOAPIC pin that is no ISA interrupt.
  IrqInput gsi_input(unsigned gsi);

  // What the chipsets differ in.
  /// RAM that lies below 4 GiB when there are `bytes` in all.
  virtual u64 low_ram_limit(u64 bytes) const = 0;
  /// The bus that -device's PCI devices go on.
  virtual PciBus& pci_bus() const = 0;
  /// Host bridge, PCI, south bridge with its ISA bus (isa_bus_), power management.
  virtual Result<void> build_chipset() = 0;
  /// After build_chipset: memory that the PCI bus decodes.
  virtual const mem::RegionRef& pci_memory() const = 0;
  /// RAM in place of ROM below 1 MiB.
  virtual void open_shadow_ram() = 0;
  /// Where power management and configuration space are: chips keep that in the well that suspend does not switch off,
  /// and firmware's resume relies on it.
  virtual void place_chipset_registers() = 0;
  /// Sets what firmware would: shadow RAM open, ACPI mode on, BARs and interrupt lines assigned. At each reset.
  virtual void configure_as_firmware() = 0;
  /// What the chipset adds to what the tables say.
  virtual void adapt_acpi(AcpiConfig& acpi) const = 0;
  /// SMBIOS product and version: "Standard PC (...)", "pc-i440fx-7.2".
  virtual std::string product() const = 0;
  virtual std::string version_name() const = 0;

  Machine& machine() const { return *machine_; }
  bool has_acpi() const { return acpi_ != qom::OnOffAuto::Off; }
  const BoardConfig& config() const { return config_; }
  std::vector<E820Entry> memory_map(u64 tables_address) const;

  Machine* machine_ = nullptr;
  BoardConfig config_;
  PcMemoryLayout layout_;
  mem::RamRef ram_;
  mem::RegionRef ram_region_;
  std::vector<Cpu> cpus_;
  std::unique_ptr<target::Translator> translator_;
  ApicBus apic_bus_;
  GsiRouter gsi_;
  ExternalInterruptPort external_port_;
  IrqFunction lint0_{[this](unsigned, bool level) { set_external_interrupt(level); }};
  IrqFunction a20_{[this](unsigned, bool level) { set_a20(level); }};
  I8259Pair* pic_ = nullptr;   ///< null, as the next and pit_: the accelerator has it
  IoApic* ioapic_ = nullptr;
  IsaBus* isa_bus_ = nullptr;
  Mc146818* rtc_ = nullptr;
  I8254* pit_ = nullptr;
  Hpet* hpet_ = nullptr;
  FwCfg* fw_cfg_ = nullptr;

  bool direct_boot_ = false;
  BootImage image_;

 private:
  Result<void> build_memory();
  Result<void> build_cpus();
  Result<void> build_interrupt_controllers();
  Result<void> build_isa_devices();
  bool is_direct_boot() const;
  Result<void> build_vga();
  Result<void> build_fw_cfg();
  Result<void> add_firmware_files();
  Result<void> load_firmware();
  Result<void> load_bios();
  Result<void> map_flash();
  void map_isa_bios(const mem::RegionRef& firmware);
  Result<std::string> find_firmware(const std::string& name) const;
  Result<void> offer_kernel_to_firmware();
  void add_boot_order();
  void set_boot_paths();
  void set_boot_letters(const std::string& letters);
  AcpiConfig acpi_config() const;
  SmbiosConfig smbios_config() const;
  u64 place_tables(std::vector<BootBlob>& blobs, u64 tables_address);
  Result<void> prepare_boot();
  void fill_cmos();
  void set_a20(bool level);
  void set_external_interrupt(bool level);
  void enter_directly();
  void resume_directly();

  /// A row of info roms.
  struct RomNote {
    std::optional<u64> address;  ///< none: firmware places it
    u64 bytes;
    std::string name;
  };
  std::vector<RomNote> roms_;
  u64 tables_address_ = 0;    ///< of the ACPI tables, on direct entry
  bool booted_once_ = false;  ///< -boot once= has had its turn
  FirmwareUse firmware_ = FirmwareUse::Auto;
  bool hpet_enabled_ = true;
  qom::OnOffAuto acpi_ = qom::OnOffAuto::Auto;
  block::BlockBackend *flash0_ = nullptr, *flash1_ = nullptr;
  bool graphics_ = true;  ///< somebody may see a screen; else firmware uses the first serial line
};

}  // namespace emu::hw
