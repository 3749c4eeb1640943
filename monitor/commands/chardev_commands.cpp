// SPDX-License-Identifier: Apache-2.0
// Byte streams at run time: chardev-*, ringbuf-*, yank.
#include <glib.h>

#include "chardev/backends.h"
#include "monitor/commands.h"
#include "monitor/commands/socket_address.h"
#include "monitor/monitors.h"
#include "qom/user_creatable.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

// ---- Back ends as programs describe them

enum class BackendKind : u8 { File, Null, Stdio, Pty, Socket, Ringbuf, Memory, Pipe, Serial, Tty, Udp };
constexpr EnumNames enum_names(BackendKind) {
  return {"ChardevBackendKind", {"file", "null", "stdio", "pty", "socket", "ringbuf", "memory", "pipe", "serial", "tty",
                                 "udp"}};
}

struct ChardevCommon {
  static constexpr const char* kName = "ChardevCommon";
  std::optional<std::string> logfile;
  std::optional<bool> logappend;
  void members(auto& m) {
    m("logfile", logfile);
    m("logappend", logappend);
  }
};
struct ChardevFile {
  static constexpr const char* kName = "ChardevFile";
  ChardevCommon common;
  std::optional<std::string> in;
  std::string out;
  std::optional<bool> append;
  void members(auto& m) {
    common.members(m);
    m("in", in);
    m("out", out);
    m("append", append);
  }
};
struct ChardevHostdev {
  static constexpr const char* kName = "ChardevHostdev";
  ChardevCommon common;
  std::string device;
  void members(auto& m) {
    common.members(m);
    m("device", device);
  }
};
struct ChardevStdio {
  static constexpr const char* kName = "ChardevStdio";
  ChardevCommon common;
  std::optional<bool> signal;
  void members(auto& m) {
    common.members(m);
    m("signal", signal);
  }
};
struct ChardevRingbuf {
  static constexpr const char* kName = "ChardevRingbuf";
  ChardevCommon common;
  std::optional<u64> size;
  void members(auto& m) {
    common.members(m);
    m("size", size);
  }
};

struct SocketAddress {
  static constexpr const char* kName = "SocketAddressLegacy";
  SocketAddressKind type = SocketAddressKind::Unix;
  Wrapped<InetSocketAddress> inet;
  Wrapped<UnixSocketAddress> path;
  Wrapped<NamedString> fd;
  void members(auto& m) {
    m.tag("type", type);
    m.when(SocketAddressKind::Inet, inet);
    m.when(SocketAddressKind::Unix, path);
    m.when(SocketAddressKind::Fd, fd);
  }
};
struct ChardevSocket {
  static constexpr const char* kName = "ChardevSocket";
  ChardevCommon common;
  SocketAddress addr;
  std::optional<bool> server, wait, nodelay, telnet;
  std::optional<u32> reconnect;
  void members(auto& m) {
    common.members(m);
    m("addr", addr);
    m("server", server);
    m("wait", wait);
    m("nodelay", nodelay);
    m("telnet", telnet);
    m("reconnect", reconnect);
  }
};
struct ChardevUdp {
  static constexpr const char* kName = "ChardevUdp";
  ChardevCommon common;
  SocketAddress remote;
  std::optional<SocketAddress> local;
  void members(auto& m) {
    common.members(m);
    m("remote", remote);
    m("local", local);
  }
};

struct ChardevBackend {
  static constexpr const char* kName = "ChardevBackend";
  BackendKind type = BackendKind::Null;
  Wrapped<ChardevFile> file;
  Wrapped<ChardevCommon> plain;
  Wrapped<ChardevStdio> stdio;
  Wrapped<ChardevHostdev> device;
  Wrapped<ChardevUdp> udp;
  Wrapped<ChardevSocket> socket;
  Wrapped<ChardevRingbuf> ring;
  void members(auto& m) {
    m.tag("type", type);
    m.when(BackendKind::File, file);
    m.when(BackendKind::Null, plain);
    m.when(BackendKind::Stdio, stdio);
    m.when(BackendKind::Pty, plain);
    m.when(BackendKind::Socket, socket);
    m.when(BackendKind::Ringbuf, ring);
    m.when(BackendKind::Memory, ring);
    m.when(BackendKind::Pipe, device);
    m.when(BackendKind::Serial, device);
    m.when(BackendKind::Tty, device);
    m.when(BackendKind::Udp, udp);
  }
};

struct ChardevAddArguments {
  static constexpr const char* kName = "ChardevAddArguments";
  std::string id;
  ChardevBackend backend;
  void members(auto& m) {
    m("id", id);
    m("backend", backend);
  }
};
struct ChardevReturn {
  static constexpr const char* kName = "ChardevReturn";
  std::optional<std::string> pty;
  void members(auto& m) { m("pty", pty); }
};

void take_common(const ChardevCommon& common, chardev::ChardevOptions& options) {
  options.logfile = common.logfile.value_or("");
  options.logappend = common.logappend.value_or(false);
}

/// ipv4 and ipv6, of which none or both mean either.
template <typename Family>
Result<Family> family_of(const InetSocketAddress& inet) {
  for (const auto& [name, asked] : {std::pair("keep-alive", inet.keep_alive), std::pair("mptcp", inet.mptcp)}) {
    if (asked.value_or(false)) return error("'{}' is not supported: leave it out", name);
  }
  if (inet.ipv4 == false && inet.ipv6 == false) return error("'ipv4' and 'ipv6' cannot both be off");
  const bool v4 = inet.ipv4.value_or(!inet.ipv6.value_or(false)), v6 = inet.ipv6.value_or(!inet.ipv4.value_or(false));
  if (v4 == v6) return Family::Any;
  return v4 ? Family::V4 : Family::V6;
}

/// A descriptor that is named is taken, so nothing may fail behind it but what takes it over.
Result<chardev::SocketOptions> socket_options(CommandContext& context, const ChardevSocket& given) {
  chardev::SocketOptions options;
  options.server = given.server.value_or(true);
  options.wait = given.wait.value_or(false);
  options.no_delay = given.nodelay.value_or(false);
  options.telnet = given.telnet.value_or(false);
  options.reconnect_s = given.reconnect.value_or(0);
  if (options.reconnect_s != 0 && options.server) {
    return error("'reconnect' option is incompatible with socket in server listen mode");
  }
  if (options.reconnect_s > 24 * 3600) return error("'reconnect' is at most a day, 86400 s");
  if (options.wait && options.server) {
    return error("'wait' would stop the machine until somebody connects: leave it out");
  }
  switch (given.addr.type) {
    case SocketAddressKind::Inet: {
      const InetSocketAddress& inet = given.addr.inet.data;
      options.host = inet.host;
      options.port = inet.port;
      if (inet.to) {
        const u64 first = EMU_TRY(parse_u64(inet.port), "port");
        if (!options.server || *inet.to < first) return error("'to' is for servers, and not below 'port'");
        options.last_port = *inet.to;
      }
      options.family = EMU_TRY(family_of<chardev::SocketOptions::Family>(inet));
      break;
    }
    case SocketAddressKind::Unix:
      options.path = given.addr.path.data.path;
      if (options.path.empty()) return error("Parameter 'path' is empty");
      options.abstract = given.addr.path.data.abstract.value_or(false);
      options.tight = given.addr.path.data.tight.value_or(true);
      break;
    case SocketAddressKind::Fd:
      if (options.reconnect_s != 0) return error("'reconnect' needs an address, which a descriptor is not");
      options.fd = u64(EMU_TRY(take_named_fd(context.session, given.addr.fd.data.str)).release());
      break;
  }
  return options;
}

Result<chardev::UdpOptions> udp_options(const ChardevUdp& given) {
  if (given.remote.type != SocketAddressKind::Inet || (given.local && given.local->type != SocketAddressKind::Inet)) {
    return error("a udp chardev needs addresses of type 'inet'");
  }
  const InetSocketAddress& remote = given.remote.inet.data;
  chardev::UdpOptions options{.host = remote.host, .port = remote.port};
  options.family = EMU_TRY(family_of<chardev::UdpOptions::Family>(remote));
  if (given.local) {
    options.local_host = given.local->inet.data.host;
    options.local_port = given.local->inet.data.port;
  }
  return options;
}

Result<chardev::ChardevOptions> chardev_options(CommandContext& context, const std::string& id,
                                                const ChardevBackend& backend) {
  chardev::ChardevOptions options{.id = id, .backend = chardev::NullOptions{}};
  switch (backend.type) {
    case BackendKind::File:
      take_common(backend.file.data.common, options);
      options.backend = chardev::FileOptions{backend.file.data.out, backend.file.data.append.value_or(false),
                                             backend.file.data.in.value_or("")};
      break;
    case BackendKind::Null:
      take_common(backend.plain.data, options);
      break;
    case BackendKind::Pty:
      take_common(backend.plain.data, options);
      options.backend = chardev::PtyOptions{};
      break;
    case BackendKind::Stdio:
      take_common(backend.stdio.data.common, options);
      options.backend = chardev::StdioOptions{backend.stdio.data.signal.value_or(true)};
      break;
    case BackendKind::Socket:
      take_common(backend.socket.data.common, options);
      options.backend = EMU_TRY(socket_options(context, backend.socket.data));
      break;
    case BackendKind::Pipe:
      take_common(backend.device.data.common, options);
      options.backend = chardev::PipeOptions{backend.device.data.device};
      break;
    case BackendKind::Serial:
    case BackendKind::Tty:
      take_common(backend.device.data.common, options);
      options.backend = chardev::TtyOptions{backend.device.data.device};
      break;
    case BackendKind::Udp:
      take_common(backend.udp.data.common, options);
      options.backend = EMU_TRY(udp_options(backend.udp.data));
      break;
    case BackendKind::Ringbuf:
    case BackendKind::Memory: {
      take_common(backend.ring.data.common, options);
      const u64 size = backend.ring.data.size.value_or(chardev::RingBufferOptions{}.size);
      if (size == 0 || (size & (size - 1)) != 0 || size > u64(1) << 30) {
        return error("size of ringbuf chardev must be power of two");
      }
      options.backend = chardev::RingBufferOptions{size};
      break;
    }
  }
  return options;
}

qom::Object& folder(CommandContext& context) { return context.control.machine().tree().container("/chardevs"); }

Result<hw::ChardevObject*> find(CommandContext& context, const std::string& id) {
  auto* object = dynamic_cast<hw::ChardevObject*>(folder(context).child(id));
  if (object == nullptr) return error("Chardev '{}' not found", id);
  return object;
}

// ---- Commands

struct ChardevInfo {
  static constexpr const char* kName = "ChardevInfo";
  std::string label, filename;
  bool frontend_open = false;
  void members(auto& m) {
    m("label", label);
    m("filename", filename);
    m("frontend-open", frontend_open);
  }
};
Result<std::vector<ChardevInfo>> query_chardev(CommandContext& context) {
  std::vector<ChardevInfo> list;
  for (const auto& child : folder(context).children()) {
    const auto* object = dynamic_cast<const hw::ChardevObject*>(child.get());
    if (object == nullptr) continue;
    list.push_back({child->name(), object->stream().description(), object->stream().is_attached()});
  }
  return list;
}

struct ChardevBackendInfo {
  static constexpr const char* kName = "ChardevBackendInfo";
  std::string name;
  void members(auto& m) { m("name", name); }
};
Result<std::vector<ChardevBackendInfo>> query_chardev_backends(CommandContext&) {
  std::vector<ChardevBackendInfo> list;
  constexpr EnumNames kinds = enum_names(BackendKind{});
  for (std::size_t i = 0; i < kinds.count(); i++) list.push_back({kinds.values[i]});
  return list;
}

Result<void> check_new_id(CommandContext& context, const std::string& id) {
  if (!qom::is_object_id(id)) return error("Parameter 'id' expects an identifier");
  if (folder(context).child(id) != nullptr) return error("Chardev with id '{}' already exists", id);
  return {};
}

Result<ChardevReturn> add_chardev(CommandContext& context, const chardev::ChardevOptions& options) {
  std::string pty = EMU_TRY(context.control.add_chardev(options));
  return pty.empty() ? ChardevReturn{} : ChardevReturn{std::move(pty)};
}

Result<ChardevReturn> chardev_add(CommandContext& context, const ChardevAddArguments& arguments) {
  EMU_TRY(check_new_id(context, arguments.id));  // first: a descriptor that is taken must find its stream
  return add_chardev(context, EMU_TRY(chardev_options(context, arguments.id, arguments.backend)));
}

struct IdArguments {
  static constexpr const char* kName = "ChardevIdArguments";
  std::string id;
  void members(auto& m) { m("id", id); }
};
Result<void> chardev_remove(CommandContext& context, const IdArguments& arguments) {
  hw::ChardevObject* object = EMU_TRY(find(context, arguments.id));
  if (object->stream().is_attached()) return error("Chardev '{}' is busy", arguments.id);
  context.monitors.yanks().remove(arguments.id);
  folder(context).remove_child(*object);
  return {};
}

/// Whoever uses a stream holds it by reference, so only an unused one can be another from now on.
Result<ChardevReturn> chardev_change(CommandContext& context, const ChardevAddArguments& arguments) {
  hw::ChardevObject* object = EMU_TRY(find(context, arguments.id));
  if (object->stream().is_attached()) return error("Chardev user does not support chardev hotswap");
  const chardev::ChardevOptions options = EMU_TRY(chardev_options(context, arguments.id, arguments.backend));
  context.monitors.yanks().remove(arguments.id);
  auto old = folder(context).remove_child(*object);
  auto added = add_chardev(context, options);
  if (!added) {
    chardev::Chardev& before = static_cast<hw::ChardevObject&>(*old).stream();
    EMU_TRY(folder(context).add_child(arguments.id, std::move(old)));
    context.monitors.yanks().add(arguments.id, before);
  }
  return added;
}

Result<void> chardev_send_break(CommandContext& context, const IdArguments& arguments) {
  EMU_TRY(find(context, arguments.id))->stream().send_break();
  return {};
}

enum class DataFormat : u8 { Utf8, Base64 };
constexpr EnumNames enum_names(DataFormat) { return {"DataFormat", {"utf8", "base64"}}; }

Result<chardev::RingBufferChardev*> ring(CommandContext& context, const std::string& id) {
  auto* object = dynamic_cast<hw::ChardevObject*>(folder(context).child(id));
  if (object == nullptr) return error("Device '{}' not found", id);
  chardev::RingBufferChardev* buffer = object->stream().as_ring_buffer();
  if (buffer == nullptr) return error("{} is not a ringbuf device", id);
  return buffer;
}

struct RingbufReadArguments {
  static constexpr const char* kName = "RingbufReadArguments";
  std::string device;
  i64 size = 0;
  std::optional<DataFormat> format;
  void members(auto& m) {
    m("device", device);
    m("size", size);
    m("format", format);
  }
};
Result<std::string> ringbuf_read(CommandContext& context, const RingbufReadArguments& arguments) {
  chardev::RingBufferChardev* buffer = EMU_TRY(ring(context, arguments.device));
  if (arguments.size <= 0) return error("size must be greater than zero");
  const std::vector<u8> data = buffer->read(std::size_t(arguments.size));
  if (arguments.format != DataFormat::Base64) return std::string(data.begin(), data.end());
  gchar* const text = ::g_base64_encode(data.data(), data.size());
  std::string encoded = text;
  ::g_free(text);
  return encoded;
}

struct RingbufWriteArguments {
  static constexpr const char* kName = "RingbufWriteArguments";
  std::string device, data;
  std::optional<DataFormat> format;
  void members(auto& m) {
    m("device", device);
    m("data", data);
    m("format", format);
  }
};
Result<void> ringbuf_write(CommandContext& context, const RingbufWriteArguments& arguments) {
  chardev::RingBufferChardev* buffer = EMU_TRY(ring(context, arguments.device));
  if (arguments.format != DataFormat::Base64) {
    buffer->write(arguments.data);
    return {};
  }
  gsize size = 0;
  guchar* const bytes = ::g_base64_decode(arguments.data.c_str(), &size);
  buffer->write(std::span<const u8>(bytes, size));
  ::g_free(bytes);
  return {};
}

// ---- yank

enum class YankKind : u8 { Chardev };
constexpr EnumNames enum_names(YankKind) { return {"YankInstanceType", {"chardev"}}; }
struct YankChardev {
  static constexpr const char* kName = "YankInstanceChardev";
  std::string id;
  void members(auto& m) { m("id", id); }
};
struct YankInstance {
  static constexpr const char* kName = "YankInstance";
  YankKind type = YankKind::Chardev;
  YankChardev chardev;
  void members(auto& m) {
    m.tag("type", type);
    m.when(YankKind::Chardev, chardev);
  }
};
struct YankArguments {
  static constexpr const char* kName = "YankArguments";
  std::vector<YankInstance> instances;
  void members(auto& m) { m("instances", instances); }
};
Result<std::vector<YankInstance>> query_yank(CommandContext& context) {
  std::vector<YankInstance> list;
  for (std::string& id : context.monitors.yanks().names()) list.push_back({YankKind::Chardev, {std::move(id)}});
  return list;
}
Result<void> yank(CommandContext& context, const YankArguments& arguments) {
  for (const YankInstance& instance : arguments.instances) {
    if (!context.monitors.yanks().has(instance.chardev.id)) {
      return error(Error("Instance not found", ErrorClass::DeviceNotFound));
    }
  }
  for (const YankInstance& instance : arguments.instances) context.monitors.yanks().yank(instance.chardev.id);
  return {};
}

// ---- for people

Result<Reply> info_chardev(CommandContext& context, const Arguments&) {
  std::string text;
  for (const ChardevInfo& info : EMU_TRY(query_chardev(context))) {
    text += fmt::format("{}: filename={}\n", info.label, info.filename);
  }
  return Reply{std::move(text)};
}
Result<Reply> hmp_chardev_add(CommandContext& context, const Arguments& arguments) {
  const chardev::ChardevOptions options = EMU_TRY(chardev::parse_chardev(arguments.text("args")));
  EMU_TRY(check_new_id(context, options.id));
  if (const auto* socket = std::get_if<chardev::SocketOptions>(&options.backend); socket != nullptr && socket->fd) {
    // Those inherited were for the command line; a number typed now may be any of our own.
    return error("'fd=' is not taken here: QMP's getfd and chardev-add pass descriptors");
  }
  EMU_TRY(add_chardev(context, options));
  return Reply{};
}
Result<Reply> hmp_chardev_remove(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(chardev_remove(context, {arguments.text("id")}));
  return Reply{};
}
Result<Reply> hmp_chardev_send_break(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(chardev_send_break(context, {arguments.text("id")}));
  return Reply{};
}
Result<Reply> hmp_ringbuf_read(CommandContext& context, const Arguments& arguments) {
  const i64 size = i64(*arguments.number("size"));
  return Reply{EMU_TRY(ringbuf_read(context, {arguments.text("device"), size, {}})) + "\n"};
}
Result<Reply> hmp_ringbuf_write(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(ringbuf_write(context, {arguments.text("device"), arguments.text("data"), {}}));
  return Reply{};
}

}  // namespace

void register_chardev_commands(CommandRegistry& registry) {
  const QmpTraits early{.before_machine = true};
  registry.add(qmp("query-chardev", query_chardev, early));
  registry.add(qmp("query-chardev-backends", query_chardev_backends, early));
  registry.add(qmp("chardev-add", chardev_add));
  registry.add(qmp("chardev-change", chardev_change));
  registry.add(qmp("chardev-remove", chardev_remove));
  registry.add(qmp("chardev-send-break", chardev_send_break));
  registry.add(qmp("ringbuf-read", ringbuf_read));
  registry.add(qmp("ringbuf-write", ringbuf_write));
  registry.add(qmp("query-yank", query_yank, {.out_of_band = true, .before_machine = true}));
  registry.add(qmp("yank", yank, {.out_of_band = true, .before_machine = true}));

  registry.add({.name = "info chardev", .help = "show the character devices", .run = info_chardev});
  registry.add({.name = "chardev-add",
                .arguments = {{"args", ArgKind::Rest}},
                .syntax = "args",
                .help = "add chardev, like -chardev on the command line",
                .run = hmp_chardev_add});
  registry.add({.name = "chardev-remove",
                .arguments = {{"id"}},
                .syntax = "id",
                .help = "remove chardev",
                .run = hmp_chardev_remove});
  registry.add({.name = "chardev-send-break",
                .arguments = {{"id"}},
                .syntax = "id",
                .help = "send a break on chardev",
                .run = hmp_chardev_send_break});
  registry.add({.name = "ringbuf_read",
                .arguments = {{"device"}, {"size", ArgKind::Expression}},
                .syntax = "device size",
                .help = "read from a ring buffer character device",
                .run = hmp_ringbuf_read});
  registry.add({.name = "ringbuf_write",
                .arguments = {{"device"}, {"data"}},
                .syntax = "device data",
                .help = "write to a ring buffer character device",
                .run = hmp_ringbuf_write});
}

}  // namespace emu::monitor
