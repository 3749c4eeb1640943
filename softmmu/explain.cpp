// SPDX-License-Identifier: Apache-2.0
#include "softmmu/explain.h"

#include <algorithm>
#include <ctime>

#include "softmmu/console.h"
#include "util/options.h"
#include "util/overloaded.h"
#include "util/string.h"

namespace emu::softmmu {
namespace {

std::string_view on_off(bool on) { return on ? "on" : "off"; }

/// As a shell and xargs take it for one word.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// Collects "-option KEY=VALUE,..." lines.
class Lines {
 public:
  void begin(std::string_view option) {
    text_ += fmt::format("-{}", option);
    argument_.reset();
  }
  void word(std::string_view value) { argument_ = (argument_ ? *argument_ + "," : std::string()) + std::string(value); }
  void pair(std::string_view key, std::string_view value) {
    word(fmt::format("{}={}", key, escape_option_value(value)));
  }
  void end() {
    if (argument_) text_ += " " + quoted(*argument_);
    text_ += "\n";
  }
  void line(std::string_view option, std::string_view value = "") {
    begin(option);
    if (!value.empty()) word(value);
    end();
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::optional<std::string> argument_;
};

template <typename Family>
void explain_family(Lines& lines, Family family) {
  if (family != Family::Any) lines.pair(family == Family::V4 ? "ipv4" : "ipv6", "on");
}

void explain_stream(Lines& lines, const chardev::ChardevOptions& stream) {
  lines.begin("chardev");
  std::visit(Overloaded{
                 [&](const chardev::NullOptions&) { lines.word("null"); },
                 [&](const chardev::PtyOptions&) { lines.word("pty"); },
                 [&](const chardev::StdioOptions& stdio) {
                   lines.word("stdio");
                   lines.pair("signal", on_off(stdio.signal));
                 },
                 [&](const chardev::FileOptions& file) {
                   lines.word("file");
                   lines.pair("path", file.path);
                   if (file.append) lines.pair("append", "on");
                   if (!file.input_path.empty()) lines.pair("input-path", file.input_path);
                 },
                 [&](const chardev::RingBufferOptions& ring) {
                   lines.word("ringbuf");
                   lines.pair("size", fmt::format("{}", ring.size));
                 },
                 [&](const chardev::SocketOptions& socket) {
                   lines.word("socket");
                   if (!socket.path.empty()) lines.pair("path", socket.path);
                   if (!socket.port.empty()) {
                     lines.pair("host", socket.host);
                     lines.pair("port", socket.port);
                   }
                   explain_family(lines, socket.family);
                   if (socket.no_delay) lines.pair("nodelay", "on");
                   if (socket.fd) lines.pair("fd", fmt::format("{}", *socket.fd));
                   lines.pair("server", on_off(socket.server));
                   if (socket.server) lines.pair("wait", on_off(socket.wait));
                   if (socket.abstract) lines.pair("abstract", "on");
                   if (socket.abstract && !socket.tight) lines.pair("tight", "off");
                   if (socket.last_port) lines.pair("to", fmt::format("{}", *socket.last_port));
                   if (socket.telnet) lines.pair("telnet", "on");
                   if (socket.reconnect_s != 0) lines.pair("reconnect", fmt::format("{}", socket.reconnect_s));
                 },
                 [&](const chardev::PipeOptions& pipe) {
                   lines.word("pipe");
                   lines.pair("path", pipe.path);
                 },
                 [&](const chardev::TtyOptions& tty) {
                   lines.word("serial");
                   lines.pair("path", tty.path);
                 },
                 [&](const chardev::UdpOptions& udp) {
                   lines.word("udp");
                   if (!udp.host.empty()) lines.pair("host", udp.host);
                   lines.pair("port", udp.port);
                   if (!udp.local_host.empty()) lines.pair("localaddr", udp.local_host);
                   if (!udp.local_port.empty()) lines.pair("localport", udp.local_port);
                   explain_family(lines, udp.family);
                 },
             },
             stream.backend);
  lines.pair("id", stream.id);
  if (stream.mux) lines.pair("mux", "on");
  if (!stream.logfile.empty()) lines.pair("logfile", stream.logfile);
  if (stream.logappend) lines.pair("logappend", "on");
  lines.end();
}

void explain_accel(Lines& lines, const AccelRequest& accel) {
  lines.begin("accel");
  lines.word(accel.name);
  if (accel.code_cache_bytes) lines.pair("tb-size", fmt::format("{}", *accel.code_cache_bytes >> 20));
  if (accel.single_thread) lines.pair("thread", *accel.single_thread ? "single" : "multi");
  for (const auto& [key, on] : {std::pair("one-insn-per-tb", accel.one_insn_per_block), std::pair("count", accel.count),
                                std::pair("interpreter", accel.interpreter), std::pair("split-wx", accel.split_wx)}) {
    if (on) lines.pair(key, "on");
  }
  for (const auto& [key, value] :
       {std::pair("host-features", accel.host_features), std::pair("without", accel.without)}) {
    if (!value.empty()) lines.pair(key, value);
  }
  if (accel.name == "kvm") {  // of a list of several only that one takes them
    if (!accel.kernel_chips.empty()) lines.pair("kernel-irqchip", accel.kernel_chips);
    if (accel.dirty_ring_shift != 0) lines.pair("dirty-ring-size", fmt::format("{}", 1u << accel.dirty_ring_shift));
  }
  lines.end();
}

void explain_disks(Lines& lines, const StartOptions& options) {
  for (const Options& node : options.blockdevs) {
    lines.begin("blockdev");
    for (const auto& [key, value] : node.pairs()) lines.pair(key, value);
    lines.end();
  }
  for (const DriveRequest& drive : options.drives) {
    constexpr std::string_view kDrive = "-drive ";
    const std::string_view typed = drive.option;
    if (typed.starts_with(kDrive)) {
      lines.line("drive", typed.substr(kDrive.size()));
      continue;
    }
    lines.begin("drive");  // -hda and its like
    lines.pair("index", fmt::format("{}", drive.index.value_or(0)));
    lines.pair("media", drive.is_cdrom ? "cdrom" : "disk");
    lines.pair("file", typed.substr(typed.find(' ') + 1));
    lines.end();
  }
  if (options.snapshot) lines.line("snapshot");
}

void explain_boot(Lines& lines, const hw::BootOrder& boot) {
  if (!boot.needs_firmware() && !boot.strict) return;
  lines.begin("boot");
  if (!boot.order.empty()) lines.pair("order", boot.order);
  if (!boot.once.empty()) lines.pair("once", boot.once);
  lines.pair("menu", on_off(boot.menu));
  lines.pair("strict", on_off(boot.strict));
  if (boot.menu_wait_ms) lines.pair("splash-time", fmt::format("{}", *boot.menu_wait_ms));
  if (boot.reboot_timeout_ms) lines.pair("reboot-timeout", fmt::format("{}", i32(*boot.reboot_timeout_ms)));
  lines.end();
}

void explain_clock(Lines& lines, const StartOptions& options) {
  if (!options.rtc_base && !options.rtc_localtime && options.rtc_clock == "host") return;
  std::string base = options.rtc_localtime ? "localtime" : "utc";
  if (options.rtc_base) {
    const std::time_t seconds = *options.rtc_base;
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    char date[32];
    std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
    base = date;
  }
  lines.line("rtc", fmt::format("base={},clock={}", base, options.rtc_clock));
}

void explain_sandbox(Lines& lines, const SandboxOptions& sandbox) {
  if (!sandbox.on) return;
  const auto allowed = [](bool value) { return value ? "allow" : "deny"; };
  constexpr std::string_view kPrivileges[] = {"allow", "deny", "children"};
  lines.line("sandbox", fmt::format("enable=on,obsolete={},elevateprivileges={},spawn={},resourcecontrol={}",
                                    allowed(sandbox.obsolete), kPrivileges[std::size_t(sandbox.privileges)],
                                    allowed(sandbox.spawn), allowed(sandbox.resource_control)));
}

void explain_logs(Lines& lines, const StartOptions& options) {
  if (!options.log_items.empty()) lines.line("d", options.log_items);
  if (!options.log_file.empty()) lines.line("D", options.log_file);
  if (!options.log_filter.empty()) lines.line("dfilter", options.log_filter);
  const auto items = split(options.log_items, ',');
  for (const std::string& pattern : options.trace_patterns) {
    const bool is_in_items = std::find(items.begin(), items.end(), "trace:" + pattern) != items.end();
    if (!is_in_items) lines.line("trace", "enable=" + escape_option_value(pattern));
  }
  for (const std::string& file : options.trace_files) lines.line("trace", "events=" + escape_option_value(file));
  if (!options.trace_sink.empty()) lines.line("trace", "to=" + options.trace_sink);
  if (options.perf_map) lines.line("perfmap");
  if (options.jit_dump) lines.line("jitdump");
  if (options.one_insn_per_block) lines.line("singlestep");
}

void explain_machine(Lines& lines, const StartOptions& options, const std::string& machine, const qom::Type& type,
                     const ConsolePlan& plan) {
  lines.begin("machine");
  lines.pair("type", machine);
  // What -nographic says to firmware; the display itself is none in any case.
  if (options.display != DisplayChoice::None && type.find_property("graphics") != nullptr) {
    lines.pair("graphics", on_off(!plan.chose_terminal && options.display != DisplayChoice::Nographic));
  }
  for (const auto& [key, value] : options.machine_properties.pairs()) lines.pair(key, value);
  if (!options.memory_backend.empty()) lines.pair("memory-backend", options.memory_backend);
  lines.end();
  for (const AccelRequest& accel : options.accels) explain_accel(lines, accel);
  if (options.accels.empty()) lines.line("accel", "tcg");
  if (!options.cpu.empty()) lines.line("cpu", options.cpu);
  const hw::CpuTopology& t = options.cpus;
  lines.line("smp", fmt::format("cpus={},maxcpus={},sockets={},dies={},cores={},threads={}", t.cpus, t.maxcpus,
                                t.sockets, t.dies, t.cores, t.threads));
  const u64 bytes = options.ram_bytes.value_or(u64(128) << 20);
  if (options.memory_backend.empty()) lines.line("m", fmt::format("size={}k", bytes >> 10));
  for (const ObjectRequest& object : options.objects) {
    lines.begin("object");
    lines.pair("qom-type", object.type);
    lines.pair("id", object.id);
    for (const auto& [key, value] : object.properties) lines.pair(key, value.text());
    lines.end();
  }
  for (const GlobalRequest& global : options.globals) {
    lines.begin("global");
    lines.pair("driver", global.driver);
    lines.pair("property", global.property);
    lines.pair("value", global.value);
    lines.end();
  }
}

/// Names of our own become such as a person may write.
std::string written_id(const std::string& id) { return id.starts_with('#') ? "auto-" + id.substr(1) : id; }

void explain_nic(Lines& lines, const NicRequest& nic) {
  lines.begin("net");
  lines.word("nic");
  lines.pair("netdev", written_id(nic.netdev));
  for (const auto& [key, value] : {std::pair("model", nic.model), std::pair("macaddr", nic.mac),
                                   std::pair("addr", nic.addr), std::pair("id", nic.id),
                                   std::pair("vectors", nic.vectors)}) {
    if (!value.empty()) lines.pair(key, value);
  }
  lines.end();
}

void explain_networks(Lines& lines, const NetworkOptions& network) {
  for (const auto& [id, netdev] : network.netdevs) {
    lines.begin("netdev");
    for (const auto& [key, value] : netdev.pairs()) lines.pair(key, key == "netdev" ? written_id(value) : value);
    lines.pair("id", written_id(id));
    lines.end();
  }
  for (const NicRequest& nic : network.nics) explain_nic(lines, nic);
}

/// The back end of a port that has none: among the others, where it stands when the line is read again.
std::string silent_id(std::size_t port) { return fmt::format("serial{}", port); }

void explain_streams(Lines& lines, const ConsolePlan& plan) {
  for (const chardev::ChardevOptions& stream : plan.chardevs) explain_stream(lines, stream);
  for (std::size_t i = 0; i < plan.serials.size(); i++) {
    if (!plan.serials[i].present || !plan.serials[i].chardev.empty()) continue;
    explain_stream(lines, {.id = silent_id(i), .backend = chardev::NullOptions{}});
  }
}

/// The ports have their places by their order, so one that is left out is named.
void explain_serials(Lines& lines, const ConsolePlan& plan) {
  std::size_t count = plan.serials.size();
  while (count > 0 && !plan.serials[count - 1].present) count--;
  for (std::size_t i = 0; i < count; i++) {
    const ConsolePlan::Serial& serial = plan.serials[i];
    if (!serial.present) {
      lines.line("serial", "none");
      continue;
    }
    lines.line("serial", "chardev:" + (serial.chardev.empty() ? silent_id(i) : serial.chardev));
  }
}

}  // namespace

Result<std::string> explain(const StartOptions& options, const Parts& parts) {
  const std::string machine = machine_or_default(parts, options.machine);
  qom::TypeRegistry types;
  register_all_types(types, parts);
  const std::string board = EMU_TRY(parts.find_machine_type(machine), "-machine");
  const qom::Type* type = EMU_TRY(types.require(board, "machine"), "-machine");
  const ConsolePlan plan = EMU_TRY(plan_consoles(options));

  Lines lines;
  explain_machine(lines, options, machine, *type, plan);
  for (const auto& [key, value] : {std::pair("kernel", options.kernel), std::pair("initrd", options.initrd),
                                   std::pair("append", options.append), std::pair("dtb", options.dtb),
                                   std::pair("bios", options.bios), std::pair("uuid", options.uuid),
                                   std::pair("pidfile", options.pidfile)}) {
    if (!value.empty()) lines.line(key, value);
  }
  if (!options.name.empty() || !options.process_name.empty()) {
    lines.begin("name");
    lines.pair("guest", options.name);
    if (!options.process_name.empty()) lines.pair("process", options.process_name);
    lines.end();
  }
  for (const std::string& folder : options.data_dirs) lines.line("L", folder);
  explain_boot(lines, options.boot);
  explain_clock(lines, options);
  explain_disks(lines, options);
  for (const FdRequest& fd : options.fds) {
    lines.begin("add-fd");
    lines.pair("fd", fmt::format("{}", fd.fd));
    lines.pair("set", fmt::format("{}", fd.set));
    if (fd.opaque) lines.pair("opaque", *fd.opaque);
    lines.end();
  }
  explain_streams(lines, plan);
  explain_networks(lines, networks_of(options, types, board));
  for (const FsRequest& folder : options.folders) {
    lines.begin("fsdev");
    lines.pair("fsdriver", "local");
    for (const auto& [key, value] : folder.pairs) {
      if (key != "fsdriver") lines.pair(key, value);
    }
    lines.pair("id", folder.id);
    lines.end();
  }
  explain_serials(lines, plan);
  for (const ConsolePlan::Monitor& monitor : plan.monitors) {
    lines.begin("mon");
    lines.pair("chardev", monitor.chardev);
    lines.pair("mode", monitor.for_programs ? "control" : "readline");
    if (monitor.pretty) lines.pair("pretty", "on");
    lines.end();
  }
  for (const FirmwareOption& option : options.firmware) {
    static constexpr const char* kNames[] = {"fw_cfg", "smbios", "acpitable"};
    lines.line(kNames[unsigned(option.kind)], option.text);
  }
  for (const DeviceRequest& device : options.devices) {
    lines.begin("device");
    lines.pair("driver", device.driver);
    if (!device.id.empty()) lines.pair("id", device.id);
    if (!device.bus.empty()) lines.pair("bus", device.bus);
    for (const auto& [key, value] : device.properties) lines.pair(key, value.text());
    lines.end();
  }
  if (!plan.debugcon.empty()) lines.line("debugcon", "chardev:" + plan.debugcon);
  if (!plan.debugger.empty()) lines.line("gdb", "chardev:" + plan.debugger);
  for (const std::string& file : options.symbol_files) lines.line("symbols", escape_option_value(file));
  if (options.timeout_s) lines.line("timeout", fmt::format("{}", *options.timeout_s));
  if (const accel::IcountOptions& icount = options.icount; icount.enabled) {
    lines.begin("icount");
    lines.pair("shift", icount.adaptive ? "auto" : fmt::format("{}", icount.shift));
    lines.pair("align", on_off(icount.align));
    lines.pair("sleep", on_off(icount.sleep));
    lines.end();
  }
  if (options.seed) lines.line("seed", fmt::format("{}", *options.seed));
  if (!plan.qtest.empty()) lines.line("qtest", "chardev:" + plan.qtest);
  if (!options.qtest_log.empty()) lines.line("qtest-log", options.qtest_log);
  lines.line("display", "none");
  constexpr std::string_view kReboot[] = {"reset", "shutdown"}, kShutdown[] = {"poweroff", "pause"};
  constexpr std::string_view kPanic[] = {"pause", "shutdown", "exit-failure", "none"};
  constexpr std::string_view kWatchdog[] = {"reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"};
  lines.line("action", fmt::format("reboot={},shutdown={},panic={},watchdog={}",
                                   kReboot[std::size_t(options.actions.reboot)],
                                   kShutdown[std::size_t(options.actions.shutdown)],
                                   kPanic[std::size_t(options.actions.panic)],
                                   kWatchdog[std::size_t(options.actions.watchdog)]));
  explain_sandbox(lines, options.sandbox);
  explain_logs(lines, options);
  if (options.message_timestamps) lines.line("msg", "timestamp=on");
  if (options.escape_char) lines.line("echr", fmt::format("{}", *options.escape_char));
  lines.line("vga", options.vga.value_or(options.default_devices) ? "std" : "none");
  lines.line("nodefaults");
  if (options.freeze) lines.line("S");
  if (options.preconfig) lines.line("preconfig");
  if (options.daemonize) lines.line("daemonize");
  return lines.take();
}

}  // namespace emu::softmmu
