// SPDX-License-Identifier: Apache-2.0
#include "softmmu/start_options.h"

#include <algorithm>
#include <bit>

#include "softmmu/config_file.h"
#include "softmmu/console.h"
#include "softmmu/option_reader.h"
#include "softmmu/trace_options.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::softmmu {

Result<void> OptionReader::claim_id(const char* group, const std::string& id) {
  if (id.empty() || ids_.insert(fmt::format("{}/{}", group, id)).second) return {};
  return error(
      Error(fmt::format("id '{}' is given twice", id)).with_hint(fmt::format("each {} needs an id of its own", group)));
}

Result<void> OptionReader::machine(const std::string& text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "type", .json = json_pairs}));
  const auto type = options.peek("type");
  if (options.asks_help()) {
    if (!type || is_help(*type))
      ask(HelpTopic::Machine);
    else
      ask(HelpTopic::MachineProperties, *type);
    return {};
  }
  machine_.merge(options);
  return {};
}

/// Takes out of -machine what is for us; the rest are properties of the machine type.
Result<void> OptionReader::finish_machine() {
  if (auto type = machine_.take("type")) out_.machine = std::move(*type);
  if (auto list = machine_.take("accel"); list && out_.accels.empty()) {
    for (const std::string_view one : split(*list, ':')) out_.accels.push_back({.name = std::string(one)});
  }
  for (auto [key, member] : {std::pair("kernel", &StartOptions::kernel), std::pair("initrd", &StartOptions::initrd),
                             std::pair("append", &StartOptions::append), std::pair("dtb", &StartOptions::dtb),
                             std::pair("memory-backend", &StartOptions::memory_backend)}) {
    if (auto value = machine_.take(key); value && (out_.*member).empty()) out_.*member = std::move(*value);
  }
  for (auto& [key, value] : machine_.take_rest()) out_.machine_properties.set(key, value);
  return {};
}

Result<void> OptionReader::accel(Options options) {
  if (options.asks_help()) {
    ask(HelpTopic::Accel);
    return {};
  }
  AccelRequest request;
  const std::string text = options.take("accel").value_or("");  // of several the first that there is: kvm:tcg
  if (const auto mib = EMU_TRY(options.take_u64("tb-size")); mib.value_or(0) != 0) {
    if (*mib > 4096) return error("tb-size={}: at most 4096 MiB", *mib);
    request.code_cache_bytes = *mib << 20;
  }
  request.one_insn_per_block = EMU_TRY(options.take_bool_or("one-insn-per-tb", false));
  request.count = EMU_TRY(options.take_bool_or("count", false));
  request.interpreter = EMU_TRY(options.take_bool_or("interpreter", false));
  request.split_wx = EMU_TRY(options.take_bool_or("split-wx", false));
  request.without = options.take("without").value_or("");
  request.host_features = options.take("host-features").value_or("");
  if (const auto thread = EMU_TRY(options.take_enum("thread", {"multi", "single"}))) {
    request.single_thread = *thread == 1;
  }
  const std::vector<std::string_view> names = split(text, ':');
  if (std::find(names.begin(), names.end(), "kvm") != names.end()) {
    request.kernel_chips = options.take("kernel-irqchip").value_or("");
    const u64 ring = EMU_TRY(options.take_u64("dirty-ring-size")).value_or(0);
    if (ring != 0 && (!std::has_single_bit(ring) || ring < 1024 || ring > 65536)) {
      return error("dirty-ring-size={}: a power of two from 1024 to 65536 entries, or 0", ring);
    }
    if (ring != 0) request.dirty_ring_shift = u8(std::countr_zero(ring));
  }
  EMU_TRY(options.finish());
  for (const std::string_view name : names) {
    request.name = name;
    out_.accels.push_back(request);
  }
  return {};
}

Result<void> OptionReader::name(Options options) {
  out_.name = options.take("guest").value_or(out_.name);
  out_.process_name = options.take("process").value_or(out_.process_name);
  EMU_TRY(options.take_bool("debug-threads"));  // threads always have names
  return options.finish();
}

Result<void> OptionReader::rtc(Options options) {
  if (const auto base = options.take("base")) {
    out_.rtc_localtime = *base == "localtime";
    out_.rtc_base.reset();
    if (*base != "utc" && *base != "localtime") out_.rtc_base = EMU_TRY(parse_rtc_date(*base));
  }
  static constexpr std::string_view kClocks[] = {"host", "rt", "vm"};
  if (const auto at = EMU_TRY(options.take_enum("clock", {"host", "rt", "vm"}))) out_.rtc_clock = kClocks[*at];
  if (EMU_TRY(options.take_enum("driftfix", {"none", "slew"})).value_or(0) == 1) {
    return error("driftfix=slew is not supported yet");
  }
  return options.finish();
}

Result<void> OptionReader::take_asked(Asked asked) {
  if (asked != Asked::Nothing) ask(asked == Asked::LogHelp ? HelpTopic::Log : HelpTopic::Trace);
  return {};
}

Result<void> OptionReader::actions(Options options) { return apply_actions(options, out_.actions); }

Result<void> OptionReader::message(Options options) {
  out_.message_timestamps = EMU_TRY(options.take_bool_or("timestamp", out_.message_timestamps));
  if (EMU_TRY(options.take_bool_or("guest-name", false))) return error("guest-name=on is not supported yet");
  return options.finish();
}

Result<void> OptionReader::overcommit(Options options) {
  for (const char* key : {"mem-lock", "cpu-pm"}) {
    if (EMU_TRY(options.take_bool_or(key, false))) return error("{}=on is not supported yet", key);
  }
  return options.finish();
}

Result<void> OptionReader::read_machine_part(const GivenOption& given) {
  const std::string& value = given.value;
  switch (given.row->opt) {
    case Opt::Help:
      ask(HelpTopic::Options);
      return {};
    case Opt::HelpMarkdown:
      ask(HelpTopic::Markdown);
      return {};
    case Opt::Version:
      ask(HelpTopic::Version);
      return {};
    case Opt::Target:
      if (is_help(value)) ask(HelpTopic::Target);
      out_.target = value;
      return {};
    case Opt::Machine:
      return machine(value);
    case Opt::NoHpet:
      return machine("hpet=off");
    case Opt::NoAcpi:
      return machine("acpi=off");
    case Opt::Cpu:
      if (is_help(value)) ask(HelpTopic::Cpu);
      out_.cpu = value;
      return {};
    case Opt::Accel:
      return accel(EMU_TRY(Options::parse(value, {.implied_key = "accel", .json = json_pairs})));
    case Opt::EnableKvm:
      out_.accels.push_back({.name = "kvm"});
      return {};
    case Opt::SingleStep:
      out_.one_insn_per_block = true;
      return {};
    case Opt::PerfMap:
      out_.perf_map = true;
      return {};
    case Opt::JitDump:
      out_.jit_dump = true;
      return {};
    case Opt::Smp:
      return merge(smp_, value, "cpus");
    case Opt::Memory:
      return merge(memory_, value, "size");
    case Opt::Device:
      return device(value);
    case Opt::Global:
      return global(value);
    case Opt::Object:
      return object(value);
    case Opt::Drive:
    case Opt::Blockdev:
    case Opt::HardDisk:
    case Opt::Cdrom:
    case Opt::Snapshot:
      return disk(given);
    case Opt::Fsdev:
    case Opt::Virtfs:
      return shared_folder(given);
    case Opt::FwCfg:
      out_.firmware.push_back({FirmwareOption::Kind::FwCfg, value});
      return {};
    case Opt::Smbios:
      out_.firmware.push_back({FirmwareOption::Kind::Smbios, value});
      return {};
    case Opt::AcpiTable:
      out_.firmware.push_back({FirmwareOption::Kind::AcpiTable, value});
      return {};
    case Opt::Overcommit:
      return overcommit(EMU_TRY(Options::parse(value)));
    case Opt::Name:
      return name(EMU_TRY(Options::parse(value, {.implied_key = "guest"})));
    case Opt::Uuid:
      out_.uuid = EMU_TRY(parse_uuid(value));
      return {};
    case Opt::Rtc:
      return rtc(EMU_TRY(Options::parse(value)));
    case Opt::Kernel:
      out_.kernel = value;
      return {};
    case Opt::Initrd:
      out_.initrd = value;
      return {};
    case Opt::Append:
      out_.append = value;
      return {};
    case Opt::Dtb:
      out_.dtb = value;
      return {};
    case Opt::Bios:
      out_.bios = value;
      return {};
    case Opt::DataDir:
      if (is_help(value))
        ask(HelpTopic::DataDir);
      else
        out_.data_dirs.push_back(value);
      return {};
    case Opt::Boot: {
      Options options = EMU_TRY(Options::parse(value, {.implied_key = "order"}));
      return parse_boot(options, out_.boot);
    }
    default:
      return read_stream_part(given);
  }
}

Result<void> OptionReader::read_stream_part(const GivenOption& given) {
  const std::string& value = given.value;
  switch (given.row->opt) {
    case Opt::Nographic:
      out_.display = DisplayChoice::Nographic;
      return {};
    case Opt::Display:
      return display(value);
    case Opt::Audiodev:
      return audiodev(EMU_TRY(Options::parse(value, {.implied_key = "driver", .json = json_pairs})));
    case Opt::Audio: {
      Options options = EMU_TRY(Options::parse(value, {.implied_key = "driver"}));
      const std::string driver = EMU_TRY(options.take_required("driver"));
      if (driver == "none") return options.finish();
      return error(
          Error(fmt::format("'{}': there is no sound yet", driver)).with_hint("write -audio none, or leave it out"));
    }
    case Opt::Vga:
      return vga(value);
    case Opt::Chardev:
      return chardev(value);
    case Opt::Serial:
      EMU_TRY(chardev::parse_serial(value, "check"));
      if (out_.serials.size() == 4) return error("a machine has at most 4 serial ports");
      out_.serials.push_back(value);
      return {};
    case Opt::Parallel:
      if (value == "none" || value == "null") return {};
      return error(Error("there is no parallel port").with_hint("write -parallel none, or leave it out"));
    case Opt::Monitor:
      EMU_TRY(chardev::parse_serial(value, "check"));
      out_.monitors.push_back({.stream = value});
      return {};
    case Opt::AddFd:
      return add_fd(EMU_TRY(Options::parse(value)));
    case Opt::Qmp:
    case Opt::QmpPretty:
      if (EMU_TRY(chardev::parse_serial(value, "check")).with_monitor) {
        return error(Error("'mon:' makes a monitor for people").with_hint("leave it out: -qmp makes one for programs"));
      }
      out_.monitors.push_back({.stream = value, .for_programs = true, .pretty = given.row->opt == Opt::QmpPretty});
      return {};
    case Opt::Mon:
      return mon(value);
    case Opt::Debugcon:
      EMU_TRY(chardev::parse_serial(value, "check"));
      out_.debugcon = value;
      return {};
    case Opt::EscapeChar: {
      const u64 code = EMU_TRY(parse_u64(value));
      if (code > 255) return error("{} is not the code of a character, 0 to 255", code);
      out_.escape_char = u8(code);
      return {};
    }
    case Opt::Netdev:
    case Opt::Nic:
    case Opt::Net:
      return network(given);
    default:
      return read_running_part(given);
  }
}

Result<void> OptionReader::read_running_part(const GivenOption& given) {
  const std::string& value = given.value;
  switch (given.row->opt) {
    case Opt::Gdb:
      EMU_TRY(parse_debugger_stream(value));
      out_.debugger = value;
      return {};
    case Opt::Qtest:
      EMU_TRY(chardev::parse_serial(value, "check"));
      out_.qtest = value;
      return {};
    case Opt::QtestLog:
      out_.qtest_log = value;
      return {};
    case Opt::GdbShort:
      out_.debugger = "tcp::1234";
      return {};
    case Opt::Freeze:
      out_.freeze = true;
      return {};
    case Opt::Preconfig:
      out_.preconfig = true;
      return {};
    case Opt::DryRun:
      out_.dry_run = true;
      return {};
    case Opt::Explain:
      out_.explain = true;
      return {};
    case Opt::NoReboot:
      out_.actions.reboot = RebootAction::Shutdown;
      return {};
    case Opt::NoShutdown:
      out_.actions.shutdown = ShutdownAction::Pause;
      return {};
    case Opt::Action:
      return actions(EMU_TRY(Options::parse(value)));
    case Opt::WatchdogAction:
      return actions(Options({{"watchdog", value}}));
    case Opt::Daemonize:
      out_.daemonize = true;
      return {};
    case Opt::Pidfile:
      out_.pidfile = value;
      return {};
    case Opt::NoDefaults:
      out_.default_devices = false;
      return {};
    case Opt::NoUserConfig:
      return {};
    case Opt::Message:
      return message(EMU_TRY(Options::parse(value)));
    case Opt::Sandbox: {
      Options options = EMU_TRY(Options::parse(value, {.implied_key = "enable"}));
      out_.sandbox = EMU_TRY(parse_sandbox(options));
      return {};
    }
    case Opt::Timeout: {
      constexpr u64 kMost = u64(100) * 365 * 24 * 3600;
      const u64 seconds = EMU_TRY(parse_u64(value));
      if (seconds == 0 || seconds > kMost) return error("{} s: at least 1, at most a hundred years", seconds);
      out_.timeout_s = seconds;
      return {};
    }
    case Opt::Seed:
      out_.seed = EMU_TRY(parse_u64(value));
      return {};
    case Opt::Icount:
      out_.icount = EMU_TRY(parse_icount(value));
      return {};
    case Opt::Symbols:
      out_.symbol_files.push_back(value);
      return {};
    case Opt::Trace:
      return take_asked(EMU_TRY(read_trace(value, out_)));
    case Opt::Log:
      return take_asked(EMU_TRY(read_log_items(value, out_)));
    case Opt::LogFile:
      out_.log_file = value;
      return {};
    case Opt::LogFilter:
      out_.log_filter = value;
      return {};
    default:
      EMU_CHECK(!"an option without a reader");
      return {};
  }
}

Result<void> OptionReader::read(const GivenOption& given) {
  auto done = read_machine_part(given);
  if (done) return {};
  const std::string option = fmt::format("-{}", given.row->name);
  Error failed = std::move(done).error();
  if (!given.where.empty()) return error(std::move(failed).within(option).within("-readconfig " + given.where));
  if (failed.message().starts_with(option + ":") || failed.message().starts_with(option + " "))
    return error(std::move(failed));
  if (given.value.empty()) return error(std::move(failed).within(option));
  return error(std::move(failed).within(fmt::format("{} {}", option, given.value)));
}

Result<void> OptionReader::finish() {
  if (is_done()) return {};
  EMU_TRY(finish_machine(), "-machine");
  if (!smp_.empty()) out_.cpus = EMU_TRY(parse_smp(smp_), "-smp");
  if (!memory_.empty()) out_.ram_bytes = EMU_TRY(parse_memory(memory_), "-m");
  return {};
}

Result<StartOptions> parse_command_line(std::span<const std::string> arguments) {
  OptionReader reader;
  std::vector<GivenOption> typed = EMU_TRY(scan_arguments(arguments));
  for (const GivenOption& given : EMU_TRY(expand_config(std::move(typed)))) {
    EMU_TRY(reader.read(given));
    if (reader.is_done()) return reader.take();
  }
  EMU_TRY(reader.finish());
  return reader.take();
}

}  // namespace emu::softmmu
