// SPDX-License-Identifier: Apache-2.0
#include "chardev/chardev_options.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "util/string.h"
#include "util/suggest.h"

namespace emu::chardev {
namespace {

constexpr std::array<std::string_view, 12> kKinds = {"null",   "file", "stdio", "pty",  "socket", "ringbuf",
                                                     "memory", "mux",  "pipe",  "udp",  "serial", "tty"};

/// Kinds that QEMU's users may ask for and that we do not have.
constexpr std::array<std::string_view, 11> kUnsupported = {
    "vc",      "parallel", "parport", "msmouse", "braille",     "testdev",
    "spicevmc", "spiceport", "dbus",  "console", "qemu-vdagent"};

template <typename List>
bool contains(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

Result<void> refuse_if_set(Options& options, std::string_view key, std::string_view why) {
  if (!options.take(key)) return {};
  return error("'{}' is not supported: {}", key, why);
}

Result<FileOptions> parse_file(Options& options) {
  FileOptions file;
  file.path = EMU_TRY(options.take_required("path"));
  file.append = EMU_TRY(options.take_bool_or("append", false));
  file.input_path = options.take("input-path").value_or("");
  return file;
}

/// ipv4= and ipv6=, of which none or both mean either.
template <typename Family>
Result<Family> parse_family(Options& options) {
  const auto v4 = EMU_TRY(options.take_bool("ipv4"));
  const auto v6 = EMU_TRY(options.take_bool("ipv6"));
  if (v4 && v6 && !*v4 && !*v6) return error("ipv4 and ipv6 cannot both be off");
  const bool only_v4 = v4.value_or(!v6.value_or(false)) && !v6.value_or(!v4.value_or(false));
  const bool only_v6 = v6.value_or(!v4.value_or(false)) && !v4.value_or(!v6.value_or(false));
  if (only_v4 == only_v6) return Family::Any;
  return only_v4 ? Family::V4 : Family::V6;
}

Result<UdpOptions> parse_udp(Options& options) {
  UdpOptions udp;
  udp.host = options.take("host").value_or("");
  udp.port = EMU_TRY(options.take_required("port"));
  udp.local_host = options.take("localaddr").value_or("");
  udp.local_port = options.take("localport").value_or("");
  udp.family = EMU_TRY(parse_family<UdpOptions::Family>(options));
  if (udp.port.empty()) return error("'port=' is empty");
  return udp;
}

Result<void> parse_server_ports(Options& options, SocketOptions& socket) {
  const auto last = EMU_TRY(options.take_u64("to"));
  if (!last) return {};
  if (!socket.server || socket.port.empty()) return error("'to=' needs server=on and port=");
  const u64 first = EMU_TRY(parse_u64(socket.port), "port");
  if (*last < first || *last > 0xffff) return error("to={}: not between port={} and 65535", *last, first);
  socket.last_port = u16(*last);
  return {};
}

Result<SocketOptions> parse_socket(Options& options) {
  SocketOptions socket;
  const auto path = options.take("path");
  const auto port = options.take("port");
  socket.path = path.value_or("");
  socket.host = options.take("host").value_or("");
  socket.port = port.value_or("");
  socket.fd = EMU_TRY(options.take_u64("fd"));
  const bool tcp = port || !socket.host.empty();
  if (int(path.has_value()) + int(tcp) + int(socket.fd.has_value()) != 1) {
    return error("exactly one of 'path=', 'host=' with 'port=', and 'fd=' is needed");
  }
  if (path && path->empty()) return error("'path=' is empty");
  if (tcp && socket.port.empty()) return error("'port=' is missing");
  if (socket.fd && *socket.fd > 0x7fffffff) return error("fd: {} is not a file descriptor", *socket.fd);

  const auto wait = EMU_TRY(options.take_bool("wait"));
  socket.server = EMU_TRY(options.take_bool_or("server", false));
  if (wait && !socket.server) return error("'wait=' needs server=on");
  socket.wait = wait.value_or(socket.server);
  const auto delay = EMU_TRY(options.take_bool("delay"));
  socket.no_delay = EMU_TRY(options.take_bool_or("nodelay", delay && !*delay));
  socket.family = EMU_TRY(parse_family<SocketOptions::Family>(options));
  socket.reconnect_s = EMU_TRY(options.take_u64_or("reconnect", 0));
  if (socket.reconnect_s > 24 * 3600) return error("reconnect={}: at most a day, 86400 s", socket.reconnect_s);
  if (socket.reconnect_s != 0 && socket.server) return error("'reconnect=' is for clients: leave server=on out");
  if (socket.reconnect_s != 0 && socket.fd) return error("'reconnect=' needs an address, which 'fd=' is not");
  socket.telnet = EMU_TRY(options.take_bool_or("telnet", false));
  for (const std::string_view key : {"websocket", "tn3270"}) {
    if (EMU_TRY(options.take_bool_or(key, false)))
      return error("'{}' is not supported: sockets carry plain bytes or telnet", key);
  }
  socket.abstract = EMU_TRY(options.take_bool_or("abstract", false));
  const auto tight = EMU_TRY(options.take_bool("tight"));
  if ((socket.abstract || tight) && !path) return error("'abstract=' and 'tight=' need path=");
  socket.tight = tight.value_or(true);
  EMU_TRY(refuse_if_set(options, "tls-creds", "sockets are not encrypted"));
  EMU_TRY(refuse_if_set(options, "tls-authz", "sockets are not encrypted"));
  EMU_TRY(parse_server_ports(options, socket));
  return socket;
}

Result<RingBufferOptions> parse_ring_buffer(Options& options) {
  constexpr u64 kMost = u64(1) << 30;
  RingBufferOptions ring;
  ring.size = EMU_TRY(options.take_size("size")).value_or(ring.size);
  if (!std::has_single_bit(ring.size) || ring.size > kMost) {
    return error("size: {} is not a power of two up to 1G", ring.size);
  }
  return ring;
}

Result<void> parse_backend(std::string_view kind, Options& options, ChardevOptions& result) {
  if (kind == "null") {
    result.backend = NullOptions{};
  } else if (kind == "file") {
    result.backend = EMU_TRY(parse_file(options));
  } else if (kind == "stdio") {
    result.backend = StdioOptions{.signal = EMU_TRY(options.take_bool_or("signal", true))};
  } else if (kind == "pty") {
    result.backend = PtyOptions{};
  } else if (kind == "socket") {
    result.backend = EMU_TRY(parse_socket(options));
  } else if (kind == "ringbuf" || kind == "memory") {
    result.backend = EMU_TRY(parse_ring_buffer(options));
  } else if (kind == "pipe") {
    result.backend = PipeOptions{EMU_TRY(options.take_required("path"))};
  } else if (kind == "serial" || kind == "tty") {
    result.backend = TtyOptions{EMU_TRY(options.take_required("path"))};
  } else if (kind == "udp") {
    result.backend = EMU_TRY(parse_udp(options));
  } else if (kind == "mux") {
    return error(Error("a mux is made of another back end").with_hint("write e.g. -chardev stdio,id=c0,mux=on"));
  } else if (contains(kUnsupported, kind)) {
    return error("back end '{}' is not supported", kind);
  } else {
    std::string hint = did_you_mean(kind, std::span<const std::string_view>(kKinds));
    if (hint.empty()) hint = "'-chardev help' lists the back ends";
    return error(Error(fmt::format("no back end '{}'", kind)).with_hint(std::move(hint)));
  }
  return {};
}

Result<void> parse_common(Options& options, ChardevOptions& result) {
  result.mux = EMU_TRY(options.take_bool_or("mux", result.mux));
  result.logfile = options.take("logfile").value_or("");
  result.logappend = EMU_TRY(options.take_bool_or("logappend", false));
  return options.finish();
}

Result<ChardevOptions> parse_known(Options& options, std::string id, std::string_view kind) {
  ChardevOptions result;
  result.id = std::move(id);
  EMU_TRY(parse_backend(kind, options, result));
  EMU_TRY(parse_common(options, result));
  return result;
}

// ---- -serial

/// "HOST:PORT,key=value..." with the host in brackets when it is an IPv6 address.
Result<Options> split_tcp(std::string_view text) {
  const auto comma = text.find(',');
  const std::string_view address = text.substr(0, comma);
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == address.size()) {
    return error("'{}' is not an address: write tcp:HOST:PORT", address);
  }
  std::string_view host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  Options options;
  if (comma != std::string_view::npos) options = EMU_TRY(Options::parse(text.substr(comma + 1)));
  options.set("host", host.empty() && !options.has("server") ? "localhost" : std::string(host));
  options.set("port", std::string(address.substr(colon + 1)));
  return options;
}

/// "[HOST]:PORT[@[LOCAL-HOST]:LOCAL-PORT]".
Result<Options> split_udp(std::string_view text) {
  const auto at = text.find('@');
  const auto split_one = [](std::string_view address) -> Result<std::pair<std::string, std::string>> {
    const auto colon = address.rfind(':');
    if (colon == std::string_view::npos) return error("'{}' is not an address: write udp:HOST:PORT@HOST:PORT", address);
    std::string_view host = address.substr(0, colon);
    if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    return std::pair(std::string(host), std::string(address.substr(colon + 1)));
  };
  Options options;
  auto [host, port] = EMU_TRY(split_one(text.substr(0, at)));
  options.set("host", std::move(host));
  options.set("port", std::move(port));
  if (at == std::string_view::npos) return options;
  auto [local_host, local_port] = EMU_TRY(split_one(text.substr(at + 1)));
  options.set("localaddr", std::move(local_host));
  options.set("localport", std::move(local_port));
  return options;
}

/// The legacy spelling as the options that -chardev takes, and the kind.
Result<std::pair<std::string, Options>> translate_legacy(std::string_view text) {
  const auto colon = text.find(':');
  const std::string_view name = text.substr(0, std::min(colon, text.find(',')));
  const std::string_view rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  for (const std::string_view plain : {"null", "pty", "stdio"}) {
    if (name != plain) continue;
    const std::string_view options = text.substr(name.size());
    if (options.starts_with(':')) return error("'{}' takes nothing after a colon", plain);
    return std::pair(std::string(plain), EMU_TRY(Options::parse(options.empty() ? options : options.substr(1))));
  }
  if (name == "file") {
    if (rest.empty()) return error("file: the path is missing");
    return std::pair(std::string("file"), Options(Options::Pairs{{"path", std::string(rest)}}));
  }
  if (name == "unix") return std::pair(std::string("socket"), EMU_TRY(Options::parse(rest, {.implied_key = "path"})));
  if (name == "tcp") return std::pair(std::string("socket"), EMU_TRY(split_tcp(rest)));
  if (name == "telnet") {
    Options options = EMU_TRY(split_tcp(rest));
    options.set("telnet", "on");
    return std::pair(std::string("socket"), std::move(options));
  }
  if (name == "pipe") {
    if (rest.empty()) return error("pipe: the path is missing");
    return std::pair(std::string("pipe"), Options(Options::Pairs{{"path", std::string(rest)}}));
  }
  if (name == "udp") return std::pair(std::string("udp"), EMU_TRY(split_udp(rest)));
  if (name == "tn3270" || name == "websocket") {
    return error(Error(fmt::format("'{}:' is not supported: sockets carry plain bytes or telnet", name))
                     .with_hint("write tcp:HOST:PORT,server=on,wait=off"));
  }
  if (name.starts_with("/dev/parport") || name.starts_with("/dev/ppi")) {
    return error("back end '{}' is not supported: there is no parallel port", name);
  }
  if (name.starts_with("/dev/"))
    return std::pair(std::string("tty"), Options(Options::Pairs{{"path", std::string(text)}}));
  if (name == "vc" || name == "con" || name == "msmouse" || name == "braille") {
    return error("back end '{}' is not supported", name);
  }
  static constexpr std::array<std::string_view, 12> kNames = {"none", "null",   "pty",      "stdio", "file", "unix",
                                                              "tcp",  "telnet", "chardev:", "mon:",  "pipe", "udp"};
  std::string hint = did_you_mean(name, std::span<const std::string_view>(kNames));
  if (hint.empty())
    hint = "it can be stdio, null, pty, file:PATH, unix:PATH, tcp:HOST:PORT, chardev:ID, none, or mon:...";
  return error(Error(fmt::format("no back end '{}'", name)).with_hint(std::move(hint)));
}

}  // namespace

Result<ChardevOptions> parse_chardev(std::string_view text) {
  auto options = EMU_TRY(Options::parse(text, {.implied_key = "backend"}), "-chardev");
  return parse_chardev(options);
}

Result<ChardevOptions> parse_chardev(Options& options) {
  const auto id = options.take("id");
  const auto kind = options.take("backend");
  if (!kind) return error(Error("-chardev: the back end is missing").with_hint("write e.g. -chardev stdio,id=c0"));
  if (!id) return error("-chardev {}: 'id=' is missing", *kind);
  if (!is_identifier(*id)) {
    return error("-chardev: '{}' is not an id: a letter, then letters, digits, '-', '.', '_'", *id);
  }
  return EMU_TRY(parse_known(options, *id, *kind), "-chardev " + *id);
}

std::string chardev_help() {
  return "Available chardev backend types:\n"
         "  file    path=PATH[,append=on][,input-path=PATH]\n"
         "  null\n"
         "  pipe    path=PATH (PATH.in and PATH.out, or PATH for both)\n"
         "  pty\n"
         "  ringbuf [size=SIZE]\n"
         "  serial  path=DEVICE (also called tty)\n"
         "  socket  path=PATH[,abstract=on[,tight=off]] | fd=N\n"
         "          | host=HOST,port=PORT[,to=PORT][,ipv4=on][,ipv6=on][,nodelay=on]\n"
         "          [,server=on[,wait=off]][,reconnect=SECONDS][,telnet=on]\n"
         "  stdio   [signal=off]\n"
         "  udp     [host=HOST,]port=PORT[,localaddr=HOST][,localport=PORT][,ipv4=on][,ipv6=on]\n"
         "All take id=ID[,mux=on][,logfile=PATH[,logappend=on]].\n";
}

Result<SerialSpec> parse_serial(std::string_view text, std::string default_id) {
  SerialSpec spec;
  if (text.starts_with("mon:")) {
    spec = EMU_TRY(parse_serial(text.substr(4), std::move(default_id)));
    if (spec.with_monitor) return error("'mon:' stands twice in '{}'", text);
    if (spec.kind == SerialSpec::Kind::None) return error("'{}': a monitor needs a back end", text);
    spec.with_monitor = true;
    spec.options.mux = true;
    // With a monitor at hand Ctrl-C need not be the way out, and belongs to the guest.
    if (auto* stdio = std::get_if<StdioOptions>(&spec.options.backend)) stdio->signal = false;
    return spec;
  }
  if (text == "none") return spec;
  if (text.starts_with("chardev:")) {
    spec.kind = SerialSpec::Kind::Reference;
    spec.reference = text.substr(8);
    if (spec.reference.empty()) return error("chardev: the id is missing");
    return spec;
  }
  if (text.empty()) return error(Error("the back end is missing").with_hint("write e.g. stdio, file:PATH or none"));
  spec.kind = SerialSpec::Kind::Inline;
  auto [kind, options] = EMU_TRY(translate_legacy(text));
  spec.options = EMU_TRY(parse_known(options, std::move(default_id), kind), std::string(text));
  return spec;
}

}  // namespace emu::chardev
