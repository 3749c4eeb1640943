// SPDX-License-Identifier: Apache-2.0
// The options of the command line, one row each: what parsing, -help, the manual and shell completion read.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::softmmu {

/// What an option is for; several spellings may share one.
enum class Opt : u8 {
  Help,
  Version,
  Target,
  HelpMarkdown,
  Machine,
  Cpu,
  Accel,
  EnableKvm,
  Smp,
  Memory,
  Device,
  Global,
  Object,
  Name,
  Uuid,
  NoHpet,
  NoAcpi,
  Overcommit,
  Kernel,
  Initrd,
  Append,
  Dtb,
  Bios,
  DataDir,
  Boot,
  Rtc,
  Nographic,
  Display,
  Audiodev,
  Vga,
  Serial,
  Parallel,
  Monitor,
  Mon,
  AddFd,
  Qmp,
  QmpPretty,
  Preconfig,
  DryRun,
  Explain,
  Chardev,
  Debugcon,
  EscapeChar,
  Netdev,
  Nic,
  Net,
  Freeze,
  Gdb,
  GdbShort,
  NoReboot,
  NoShutdown,
  Action,
  WatchdogAction,
  Daemonize,
  Pidfile,
  NoDefaults,
  NoUserConfig,
  Message,
  Sandbox,
  Log,
  LogFile,
  LogFilter,
  SingleStep,
  PerfMap,
  JitDump,
  Qtest,
  QtestLog,
  Audio,
  Trace,
  Timeout,
  Seed,
  Icount,
  Symbols,
  Drive,
  Blockdev,
  HardDisk,
  Cdrom,
  Snapshot,
  Fsdev,
  Virtfs,
  FwCfg,
  Smbios,
  AcpiTable,
  ReadConfig,
  Set,
};

enum class TakesArgument : u8 { No, Yes };
enum class Section : u8 { Standard, Boot, Disks, Display, Streams, Network, Running, Debug };

struct OptionRow {
  std::string_view name;  ///< without dashes
  Opt opt;
  TakesArgument argument;
  Section section;
  std::string_view syntax;  ///< of the argument, for help
  std::string_view help;    ///< one sentence or two
};

/// An option of QEMU 7.2 that this program does not have.
struct MissingRow {
  std::string_view name;
  TakesArgument argument;
  std::string_view instead;  ///< a hint, or empty
};

std::span<const OptionRow> option_rows();
std::span<const MissingRow> missing_rows();
std::string_view section_title(Section section);

/// One option as given.
struct GivenOption {
  const OptionRow* row = nullptr;
  std::string value;
  std::string where = {};  ///< "FILE:LINE", when it comes from a file
};

/// Splits the arguments after the program's name. Errors: an option that does not exist (with the nearest spelling), is
/// not supported yet, or lacks its argument; a word that is no option.
Result<std::vector<GivenOption>> scan_arguments(std::span<const std::string> arguments);

}  // namespace emu::softmmu
