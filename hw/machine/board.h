// SPDX-License-Identifier: Apache-2.0
// Board: a machine type. It joins CPUs, memory and devices; machine names (`pc-i440fx-7.2`) are QOM classes below it.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/block_backend.h"
#include "hw/acpi/smbios.h"
#include "hw/char/chardev_object.h"
#include "hw/machine/machine.h"
#include "target/acceleration.h"
#include "target/cpu.h"

namespace emu::hw {

/// -smp. All at least 1; sockets * cores * threads = maxcpus.
struct CpuTopology {
  unsigned cpus = 1, maxcpus = 1, sockets = 1, dies = 1, cores = 1, threads = 1;
};

/// -boot. Letters are drives as in QEMU: a floppy, c disk, d CD-ROM, n network.
struct BootOrder {
  std::string order, once;  ///< empty: not given
  bool menu = false;
  bool strict = false;                                ///< what is not listed is not tried
  std::optional<u32> menu_wait_ms, reboot_timeout_ms;  ///< how long the menu waits; after a failed boot
  /// Whether it asks for anything that firmware must do.
  bool needs_firmware() const {
    return !order.empty() || !once.empty() || menu || menu_wait_ms || reboot_timeout_ms;
  }
};

/// -fw_cfg: a file for firmware and guest.
struct FirmwareFile {
  std::string name;
  std::vector<u8> data;
};

/// What the command line says, in typed form; files are named, not opened.
struct BoardConfig {
  u64 ram_bytes = 128 << 20;
  bool ram_shared = false, ram_prealloc = false;  ///< as the memory backend says
  CpuTopology cpus;
  std::string cpu_model;  ///< "max,+x2apic"; empty: the board's default
  std::string kernel, initrd, append, dtb;
  std::string bios;                         ///< -bios
  std::array<block::BlockBackend*, 2> flash{};  ///< if=pflash: unit 0 ends at 4 GiB, unit 1 below it; null: none
  BootOrder boot;
  std::vector<std::string> data_dirs;       ///< -L first, then the usual folders
  std::array<ChardevObject*, 4> serials{};  ///< null: that port has no back end; see serial_present
  std::array<bool, 4> serial_present{};
  bool default_devices = true;  ///< false with -nodefaults
  bool vga = true;
  std::string uuid;  ///< as typed, or empty
  std::string name;
  std::optional<i64> rtc_base;  ///< seconds since 1970 at start; empty: the host's UTC
  bool rtc_localtime = false;
  std::string rtc_clock = "host";
  std::vector<FirmwareFile> firmware_files;
  SmbiosOverrides smbios;
  std::vector<std::vector<u8>> acpi_tables;  ///< -acpitable, whole
  /// Whether it brings anything for a machine's firmware tables.
  bool has_firmware_data() const {
    return !firmware_files.empty() || !acpi_tables.empty() || !smbios.raw.empty() || !smbios.types.empty() ||
           !smbios.ports.empty() || !smbios.slots.empty() || !smbios.oem_strings.empty();
  }
  target::Acceleration* acceleration = nullptr;  ///< null: guest code is translated
  std::vector<std::string> warnings;  ///< what the board has to say to the person, filled by build()
};

struct BoardCpu {
  target::Vcpu* cpu = nullptr;
  mem::AddressSpace* memory = nullptr;
  mem::AddressSpace* ports = nullptr;
};

/// Base of machine types. Its QOM properties are what -machine takes besides the type.
class Board : public qom::Object {
 public:
  static constexpr const char* kTypeName = "machine";
  static void describe(qom::TypeInfo<Board>& type) { type.doc("Machine type"); }

  /// Makes everything; the devices are realized, not yet reset. Main thread, machine lock held.
  virtual Result<void> build(Machine& machine, BoardConfig& config) = 0;
  /// Resets CPUs and devices and puts firmware or kernel where the CPU starts. vCPUs stand still; machine lock held.
  virtual void reset() = 0;
  /// Ends suspend to RAM: as reset(), but memory keeps what it holds and the guest resumes.
  virtual void wake() { reset(); }
  virtual std::vector<BoardCpu> cpus() = 0;
  virtual unsigned max_cpus() const { return 1; }
  virtual std::string default_cpu() const { return ""; }
  /// What the machine's own block of RAM is called: the id that memory-backend= stands in for. Empty: it has none.
  virtual std::string ram_id() const { return ""; }
  /// The bus of a kind that -device uses when the user names none; null if there is none.
  virtual Bus* default_bus(std::string_view bus_type) {
    static_cast<void>(bus_type);
    return nullptr;
  }
  /// Texts of `info pic` and `info lapic`; empty: this machine has none.
  virtual std::string describe_interrupts() const { return ""; }
  virtual std::string describe_local_interrupts(unsigned cpu) const {
    static_cast<void>(cpu);
    return "";
  }
  /// Text of `info roms`: what the board put into the guest's memory, or gave its firmware to load.
  virtual std::string describe_roms() const { return ""; }
  /// The monitor's `nmi`.
  virtual void inject_nmi() {}
};

/// One row of -machine help.
struct MachineTypeInfo {
  std::string name, description;
  std::string alias;  ///< "pc"
  bool is_default = false;
};
const std::vector<MachineTypeInfo>& machine_types();

/// Finds a machine name or alias: the QOM type name ("pc-i440fx-7.2-machine"). Error with the nearest spelling.
Result<std::string> find_machine_type(std::string_view name);

void register_boards(qom::TypeRegistry& registry);

}  // namespace emu::hw
