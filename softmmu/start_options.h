// SPDX-License-Identifier: Apache-2.0
// The command line in typed form, and how it is read. Nothing is opened or made here.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "accel/accel.h"
#include "chardev/chardev_options.h"
#include "hw/machine/board.h"
#include "softmmu/drive_options.h"
#include "softmmu/firmware_options.h"
#include "softmmu/fs_options.h"
#include "softmmu/net_options.h"
#include "softmmu/run_options.h"
#include "softmmu/sandbox.h"
#include "util/log.h"
#include "util/options.h"

namespace emu::softmmu {

/// What a user asked to have explained; it is printed and the program ends with status 0.
enum class HelpTopic : u8 {
  Options,
  Markdown,
  Version,
  Target,
  Machine,
  MachineProperties,
  Cpu,
  Device,
  DeviceProperties,
  Accel,
  Chardev,
  Netdev,
  NicModels,
  Log,
  Display,
  Vga,
  Object,
  DataDir,
  Trace,
};
struct HelpRequest {
  HelpTopic topic;
  std::string about = {};  ///< the machine or driver
};

struct AccelRequest {
  std::string name;
  std::optional<u64> code_cache_bytes;
  bool one_insn_per_block = false, count = false, interpreter = false, split_wx = false;
  std::optional<bool> single_thread;
  u8 dirty_ring_shift = 0;  ///< 2 to this power entries; 0: no ring
  std::string host_features = {}, without = {}, kernel_chips = {};
};

struct DeviceRequest {
  std::string driver, id, bus;
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
};

struct GlobalRequest {
  std::string driver, property, value;
};

/// -object memory-backend-ram and memory-backend-memfd.
struct MemoryBackend {
  std::string id;
  u64 size = 0;
  bool prealloc = false, share = false;
};

/// -monitor, -qmp and -mon, in order.
struct MonitorRequest {
  std::string stream;      ///< as typed; empty with -mon
  std::string chardev;     ///< id, with -mon
  bool for_programs = false;  ///< QMP
  bool pretty = false;
};

/// -object, but for what makes guest memory.
struct ObjectRequest {
  std::string type, id;
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
};

/// -add-fd.
struct FdRequest {
  u64 fd = 0, set = 0;
  std::optional<std::string> opaque;
};

enum class DisplayChoice : u8 { Default, Nographic, None };

struct StartOptions {
  std::optional<HelpRequest> help;
  std::string target;

  std::string machine;         ///< name as typed; empty: the default
  Options machine_properties;  ///< what is left for the machine, in order
  std::string memory_backend;
  std::vector<AccelRequest> accels;  ///< in order of preference; empty: tcg
  accel::IcountOptions icount;
  bool one_insn_per_block = false, perf_map = false, jit_dump = false;
  std::string cpu;
  hw::CpuTopology cpus;
  std::optional<u64> ram_bytes;
  std::vector<MemoryBackend> memory_backends;
  std::vector<DeviceRequest> devices;
  std::vector<GlobalRequest> globals;
  std::vector<DriveRequest> drives;
  std::vector<Options> blockdevs;
  bool snapshot = false;
  std::vector<FsRequest> folders;  ///< -fsdev, -virtfs

  std::string kernel, initrd, append, dtb, bios;
  hw::BootOrder boot;
  std::vector<FirmwareOption> firmware;  ///< -fw_cfg, -smbios, -acpitable, in order
  std::vector<std::string> data_dirs;
  std::string name, process_name, uuid;
  std::optional<i64> rtc_base;
  bool rtc_localtime = false;
  std::string rtc_clock = "host";

  DisplayChoice display = DisplayChoice::Default;
  std::optional<bool> vga;  ///< empty: as the machine has it
  std::vector<chardev::ChardevOptions> chardevs;
  std::vector<std::string> serials;              ///< -serial as typed, in order
  std::vector<MonitorRequest> monitors;
  NetworkOptions network;
  std::vector<ObjectRequest> objects;
  std::vector<FdRequest> fds;
  std::string debugcon;
  std::string debugger;  ///< -gdb as typed
  std::string qtest, qtest_log;
  std::vector<std::string> trace_patterns, trace_files;  ///< -trace enable= and events=, each in order
  std::string trace_sink;
  std::vector<std::string> symbol_files;
  SandboxOptions sandbox;
  std::optional<u64> timeout_s, seed;
  std::optional<u8> escape_char;
  bool default_devices = true;

  bool freeze = false, daemonize = false;
  bool preconfig = false, dry_run = false, explain = false;
  std::string pidfile;
  RunActions actions;
  log::Mask log_mask = log::Mask::None;
  std::string log_file, log_filter;
  bool message_timestamps = false;
  std::string log_items;  ///< -d as typed, for those who explain it
};

/// Reads the arguments after the program's name. Errors are for the person who typed them and name the option.
Result<StartOptions> parse_command_line(std::span<const std::string> arguments);

/// -smp. At most `kMostCpus`; what is missing is computed as QEMU's manual says: cores, then sockets, then threads.
inline constexpr unsigned kMostCpus = 255;
Result<hw::CpuTopology> parse_smp(Options& options);
/// -m, in bytes.
Result<u64> parse_memory(Options& options);
/// -icount.
Result<accel::IcountOptions> parse_icount(std::string_view text);
/// The seconds since 1970 of base=DATE.
Result<i64> parse_rtc_date(std::string_view text);
Result<DeviceRequest> parse_device(std::string_view text);
/// -boot, merged into what earlier ones said.
Result<void> parse_boot(Options& options, hw::BootOrder& boot);
/// Lower-case canonical form. Errors: not a UUID.
Result<std::string> parse_uuid(std::string_view text);

/// Known before anything is made: accelerators that could fail are tried before qtest, so that counts only where it
/// stands first.
bool is_qtest(const StartOptions& options);
/// What was asked for; or, on boards of that type, what they have when nobody says anything.
NetworkOptions networks_of(const StartOptions& options, const qom::TypeRegistry& types, std::string_view board);

/// Which guest architecture a program of this name runs: its suffix, or empty ("system-emu").
std::string target_of_program(std::string_view argv0);

}  // namespace emu::softmmu
