// SPDX-License-Identifier: Apache-2.0
#include "net/netdev.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <variant>

#include "net/dgram_net.h"
#include "net/filter_dump.h"
#include "net/hub.h"
#include "net/register.h"
#include "net/smb_server.h"
#include "net/stream_net.h"
#include "net/tap_net.h"
#include "net/vhost_user_net.h"
#include "qom/user_creatable.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::net {
namespace {

constexpr std::array<std::string_view, 7> kKinds = {"dgram", "hubport", "socket",    "stream",
                                                    "tap",   "user",    "vhost-user"};

/// Kinds that QEMU's users may ask for, and why not here.
struct Refused {
  std::string_view kind, why, instead;
};
constexpr Refused kRefused[] = {
    {"vhost-vdpa", "there is no vDPA", "use tap with vhost=on"},
    {"l2tpv3", "there are no L2TPv3 tunnels", "make one with 'ip l2tp' and use tap"},
    {"vde", "there is no VDE switch", "use stream, dgram or tap"},
    {"netmap", "there is no netmap", "use tap"},
    {"af-xdp", "there are no AF_XDP sockets", "use tap"},
    {"vmnet-host", "this host has no vmnet", "use tap"},
    {"vmnet-shared", "this host has no vmnet", "use user"},
    {"vmnet-bridged", "this host has no vmnet", "use tap"},
};

// What each kind needs to open, read off the options before anything is opened.
struct HubPortOptions {
  u64 hub = 0;
  std::string netdev;
};
using Parsed =
    std::variant<UserOptions, TapOptions, StreamOptions, DgramOptions, VhostUserOptions, HubPortOptions>;

Result<Parsed> parse_socket(Options& options) {
  const auto listen = options.take("listen");
  const auto connect = options.take("connect");
  const auto mcast = options.take("mcast");
  const auto udp = options.take("udp");
  const auto fd = options.take("fd");
  const auto local = options.take("localaddr");
  if (int(listen.has_value()) + int(connect.has_value()) + int(mcast.has_value()) + int(udp.has_value()) +
          int(fd.has_value()) != 1) {
    return error("exactly one of 'listen', 'connect', 'mcast', 'udp' and 'fd' is needed");
  }
  if (local && !mcast && !udp) return error("'localaddr' goes with 'mcast' and 'udp' only");
  if (fd) {
    const auto number = parse_u64(*fd);
    if (!number || *number > 0x7fff'ffff) return error("fd: '{}' is not a file descriptor", *fd);
    int type = 0;
    socklen_t size = sizeof type;
    const SocketAddress address{.kind = SocketAddress::Kind::Fd, .fd = int(*number)};
    if (::getsockopt(address.fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM) {
      return Parsed(DgramOptions{.local = address, .is_socket = true});
    }
    return Parsed(StreamOptions{.address = address, .is_socket = true});
  }
  if (listen || connect) {
    StreamOptions stream{.server = listen.has_value(), .is_socket = true};
    stream.address = EMU_TRY(parse_host_port(listen ? *listen : *connect), listen ? "listen" : "connect");
    if (connect && stream.address.host.empty()) stream.address.host = "localhost";
    return Parsed(std::move(stream));
  }
  DgramOptions dgram{.is_socket = true};
  dgram.remote = EMU_TRY(parse_host_port(mcast ? *mcast : *udp), mcast ? "mcast" : "udp");
  if (udp && !local) return error("'localaddr' is missing: udp= needs HOST:PORT of this end");
  if (local && udp) dgram.local = EMU_TRY(parse_host_port(*local), "localaddr");
  if (local && mcast) dgram.local = SocketAddress{.host = *local, .port = "0"};
  return Parsed(std::move(dgram));
}

Result<Parsed> parse_stream(Options& options) {
  StreamOptions stream;
  stream.server = EMU_TRY(options.take_bool_or("server", false));
  const auto address = EMU_TRY(take_address(options, "addr."));
  if (!address) return error("'addr.type' is missing: it is one of inet, unix, fd");
  stream.address = *address;
  stream.reconnect_s = EMU_TRY(options.take_u64_or("reconnect", 0));
  if (stream.reconnect_s != 0 && stream.server) return error("'reconnect' is for clients: a server listens again by itself");
  if (stream.reconnect_s != 0 && stream.address.kind == SocketAddress::Kind::Fd) {
    return error("'reconnect' does not go with a descriptor");
  }
  if (stream.reconnect_s > 86400) return error("reconnect: {} seconds are more than a day", stream.reconnect_s);
  return Parsed(std::move(stream));
}

Result<Parsed> parse_dgram(Options& options) {
  DgramOptions dgram;
  dgram.local = EMU_TRY(take_address(options, "local."));
  dgram.remote = EMU_TRY(take_address(options, "remote."));
  if (!dgram.local && !dgram.remote) return error("'local.type' or 'remote.type' is missing");
  if (dgram.remote && dgram.remote->kind == SocketAddress::Kind::Fd) return error("remote.type cannot be 'fd'");
  return Parsed(std::move(dgram));
}

Result<Parsed> parse_hub_port(Options& options) {
  HubPortOptions port;
  const auto hub = EMU_TRY(options.take_u64("hubid"));
  if (!hub) return error("'hubid' is missing");
  if (*hub > 0x7fff'ffff) return error("hubid: {} is not a number up to {}", *hub, 0x7fff'ffff);
  port.hub = *hub;
  port.netdev = options.take("netdev").value_or("");
  return Parsed(port);
}

Result<Parsed> parse_kind(const std::string& kind, Options& options) {
  if (kind == "user") return Parsed(EMU_TRY(take_user_options(options)));
  if (kind == "tap") return Parsed(EMU_TRY(take_tap_options(options)));
  if (kind == "vhost-user") return Parsed(EMU_TRY(take_vhost_user_options(options)));
  if (kind == "socket") return parse_socket(options);
  if (kind == "stream") return parse_stream(options);
  if (kind == "dgram") return parse_dgram(options);
  if (kind == "hubport") return parse_hub_port(options);
  if (kind == "bridge") {
    TapOptions tap;
    tap.bridge = options.take("br").value_or("br0");
    tap.bridge_helper = options.take("helper").value_or("/usr/lib/qemu/qemu-bridge-helper");
    if (::access(tap.bridge_helper.c_str(), X_OK) != 0) {
      return error(Error(fmt::format("the helper '{}' is not there", tap.bridge_helper))
                       .with_hint("make a tap interface on the bridge and use -netdev tap,ifname=NAME"));
    }
    return Parsed(std::move(tap));
  }
  for (const Refused& refused : kRefused) {
    if (refused.kind != kind) continue;
    return error(Error(fmt::format("'{}' is not supported: {}", kind, refused.why)).with_hint(std::string(refused.instead)));
  }
  std::string hint = did_you_mean(kind, std::span<const std::string_view>(kKinds));
  if (hint.empty()) hint = "'-netdev help' lists the kinds";
  return error(Error(fmt::format("there is no kind '{}' of network back end", kind)).with_hint(std::move(hint)));
}

Result<Parsed> parse_all(const std::string& kind, Options& options) {
  Parsed parsed = EMU_TRY(parse_kind(kind, options));
  EMU_TRY(options.finish());
  return parsed;
}

template <typename T, typename O, typename... More>
Result<std::unique_ptr<BackendClient>> open_as(const NetdevServices& services, const O& options, More&&... more) {
  auto client = services.tree.make<T>();
  EMU_TRY(client->open(options, services.loop, std::forward<More>(more)...));
  return std::unique_ptr<BackendClient>(std::move(client));
}

Result<std::unique_ptr<BackendClient>> open_stream(const NetdevServices& services, const std::string& id,
                                                   const StreamOptions& options) {
  auto client = services.tree.make<StreamNet>();
  if (services.stream_changed && !options.is_socket) {
    client->on_change([told = services.stream_changed, id](const auto& to) { told(id, to); });
  }
  EMU_TRY(client->open(options, services.loop));
  return std::unique_ptr<BackendClient>(std::move(client));
}

/// A program that the sandbox ends as it starts would be of no use to the guest.
Result<void> check_programs(const UserOptions& user, const ProgramRights& rights) {
  const auto refuse = [](std::string_view key, std::string_view right) {
    return error(Error(fmt::format("{} starts a program, which -sandbox {}=deny does not let run", key, right))
                     .with_hint(fmt::format("take {0}=deny away, or '{1}'", right, key)));
  };
  if (!user.smb.empty() && !rights.start) return refuse("smb", "spawn");
  if (!user.smb.empty() && !rights.change_user) return refuse("smb", "elevateprivileges");
  for (const GuestForward& rule : user.guest_forwards) {
    if (!rule.command.empty() && !rights.start) return refuse("guestfwd", "spawn");
  }
  return {};
}

/// A dry run checks what smbd needs, and makes no folder for it.
Result<std::unique_ptr<BackendClient>> open_user(const NetdevServices& services, UserOptions user) {
  EMU_TRY(check_programs(user, services.programs));
  if (services.dry_run != nullptr && !user.smb.empty()) {
    EMU_TRY(SmbServer::check_program(), "smb");
    user.smb.clear();
  }
  return open_as<UserNet>(services, user, services.open_stream);
}

/// Checks what open() would, without what others would notice.
Result<std::unique_ptr<BackendClient>> open_dry(const NetdevServices& services, const Parsed& parsed) {
  if (const auto* tap = std::get_if<TapOptions>(&parsed)) {
    EMU_TRY(check_tap(*tap));
    const bool is_made_here = tap->fds.empty() && tap->bridge_helper.empty();
    if (is_made_here) return open_as<TapNet>(services, without_scripts(*tap));
  } else if (const auto* stream = std::get_if<StreamOptions>(&parsed)) {
    services.dry_run->push_back(EMU_TRY(check_stream(*stream)));
  } else if (const auto* dgram = std::get_if<DgramOptions>(&parsed)) {
    EMU_TRY(check_dgram(*dgram));
    const auto& local = dgram->local;
    if (!local || local->kind == SocketAddress::Kind::Inet) return open_as<DgramNet>(services, *dgram);
  } else if (const auto* other = std::get_if<VhostUserOptions>(&parsed)) {
    if (services.tree.container("/chardevs").child(other->chardev) == nullptr) {
      return error("there is no chardev '{}'", other->chardev);
    }
  }
  // A port of a hub that nobody else is at.
  auto port = services.tree.make<HubPort>();
  port->plug(std::make_shared<Hub>(0), services.loop);
  return std::unique_ptr<BackendClient>(std::move(port));
}

Result<std::unique_ptr<BackendClient>> open(const NetdevServices& services, const std::string& id,
                                            const Parsed& parsed) {
  const bool is_inside = std::holds_alternative<UserOptions>(parsed) || std::holds_alternative<HubPortOptions>(parsed);
  if (services.dry_run != nullptr && !is_inside) return open_dry(services, parsed);
  if (const auto* user = std::get_if<UserOptions>(&parsed)) return open_user(services, *user);
  if (const auto* tap = std::get_if<TapOptions>(&parsed)) {
    EMU_TRY(check_tap(*tap));
    return open_as<TapNet>(services, *tap);
  }
  if (const auto* stream = std::get_if<StreamOptions>(&parsed)) return open_stream(services, id, *stream);
  if (const auto* dgram = std::get_if<DgramOptions>(&parsed)) return open_as<DgramNet>(services, *dgram);
  if (const auto* other = std::get_if<VhostUserOptions>(&parsed)) return open_as<VhostUserNet>(services, *other);
  const auto& options = std::get<HubPortOptions>(parsed);
  auto port = services.tree.make<HubPort>();
  port->plug(find_hub(services.tree, options.hub), services.loop);
  if (!options.netdev.empty()) {
    NetClient* other = find_netdev(services.tree, options.netdev);
    if (other == nullptr) return error("netdev: there is no back end '{}'", options.netdev);
    EMU_TRY(NetClient::connect(*port, *other));
  }
  return std::unique_ptr<BackendClient>(std::move(port));
}

/// Descriptors that were passed by name. The back end takes them by their numbers once it opens; what it has not taken
/// when that fails is still there under its number, and closed.
class PassedFds {
 public:
  int add(Fd fd) {
    struct stat status {};
    ::fstat(fd.get(), &status);
    passed_.push_back({fd.get(), status.st_dev, status.st_ino});
    return fd.release();
  }
  void close() const {
    for (const Passed& one : passed_) {
      struct stat status {};
      // Another thread may have opened something else under a number that is free by now.
      if (::fstat(one.number, &status) == 0 && status.st_dev == one.device && status.st_ino == one.inode) {
        ::close(one.number);
      }
    }
  }

 private:
  struct Passed {
    int number;
    dev_t device;
    ino_t inode;
  };
  std::vector<Passed> passed_;
};

/// Turns names of descriptors into numbers.
Result<void> name_fds(const NetdevServices& services, Options& options, PassedFds& passed) {
  if (!services.find_fd) return {};
  for (const char* key : {"fd", "fds", "vhostfd", "vhostfds", "addr.str", "local.str"}) {
    const auto value = options.peek(key);
    if (!value) continue;
    std::string numbers;
    for (std::string_view one : split(*value, ':')) {
      if (!numbers.empty()) numbers += ':';
      const bool is_number = parse_u64(one).has_value();
      numbers += is_number ? std::string(one)
                           : std::to_string(passed.add(EMU_TRY(services.find_fd(std::string(one)))));
    }
    options.set(key, numbers);
  }
  return {};
}

Result<std::string> take_kind(Options& options) {
  auto kind = options.take("type");
  if (!kind) return error(Error("the kind of back end is missing").with_hint("write e.g. user,id=net0"));
  return *kind;
}

Result<std::string> take_id(Options& options, const std::string& kind) {
  auto id = options.take("id");
  if (!id) return error("{}: 'id=' is missing", kind);
  if (!qom::is_object_id(*id)) {
    return error("'{}' is not an id: a letter, then letters, digits, '-', '.', '_'", *id);
  }
  return *id;
}

}  // namespace

Result<NetClient*> add_netdev(const NetdevServices& services, Options options) {
  const auto id = options.take("id");
  if (!id) return error("'id=' is missing");
  return add_netdev(services, *id, std::move(options));
}

Result<NetClient*> add_netdev(const NetdevServices& services, const std::string& id, Options options) {
  const std::string kind = EMU_TRY(take_kind(options));
  options.take("id");
  if (!qom::is_object_id(id) && !id.starts_with("#")) {
    return error("'{}' is not an id: a letter, then letters, digits, '-', '.', '_'", id);
  }
  if (find_netdev(services.tree, id) != nullptr) return error("there is a network back end '{}' already", id);
  PassedFds passed;
  const auto make = [&]() -> Result<std::unique_ptr<BackendClient>> {
    EMU_TRY(name_fds(services, options, passed));
    const Parsed parsed = EMU_TRY(parse_all(kind, options));
    return open(services, id, parsed);
  };
  auto opened = make();
  if (!opened) passed.close();
  auto client = EMU_TRY(std::move(opened), kind + " '" + id + "'");
  NetClient* made = client.get();
  EMU_TRY(services.tree.container(NetClient::kContainer).add_child(id, std::move(client)));
  return made;
}

Result<void> check_netdev(const Options& options) {
  Options copy = options;
  const std::string kind = EMU_TRY(take_kind(copy));
  const std::string id = EMU_TRY(take_id(copy, kind));
  EMU_TRY(parse_all(kind, copy), kind + " '" + id + "'");
  return {};
}

Result<void> remove_netdev(qom::ObjectTree& tree, const std::string& id) {
  NetClient* client = find_netdev(tree, id);
  if (client == nullptr) return error(Error(fmt::format("Device '{}' not found", id), ErrorClass::DeviceNotFound));
  client->parent()->remove_child(*client);
  return {};
}

NetClient* find_netdev(qom::ObjectTree& tree, std::string_view id) {
  return dynamic_cast<NetClient*>(tree.container(NetClient::kContainer).child(id));
}

std::span<const std::string_view> netdev_kinds() { return kKinds; }

std::string netdev_help() {
  return "Available netdev backend types:\n"
         "  bridge   [br=BRIDGE][,helper=PROGRAM]\n"
         "  dgram    [local.type=inet|unix|fd,local...][,remote.type=inet|unix,remote...]\n"
         "  hubport  hubid=N[,netdev=ID]\n"
         "  socket   listen=[HOST]:PORT | connect=HOST:PORT | mcast=GROUP:PORT[,localaddr=ADDR] |\n"
         "           udp=HOST:PORT,localaddr=HOST:PORT | fd=N\n"
         "  stream   [server=on,]addr.type=inet|unix|fd,addr.host=HOST,addr.port=PORT|addr.path=PATH|addr.str=N\n"
         "           [,reconnect=SECONDS]\n"
         "  tap      [ifname=NAME][,script=FILE|no][,downscript=FILE|no][,fd=N|fds=N:M...][,helper=PROGRAM,br=BRIDGE]\n"
         "           [,queues=N][,sndbuf=BYTES][,vnet_hdr=on|off][,vhost=on][,vhostforce=on][,vhostfd=N|vhostfds=N:M...]\n"
         "  user     [net=ADDR[/MASK]][,host=ADDR][,dhcpstart=ADDR][,dns=ADDR][,dnssearch=DOMAIN][,domainname=DOMAIN]\n"
         "           [,hostname=NAME][,restrict=on][,hostfwd=RULE][,guestfwd=RULE][,tftp=DIR][,bootfile=FILE]\n"
         "           [,tftp-server-name=NAME][,ipv4=on|off][,ipv6=on|off][,ipv6-net=ADDR[/BITS]][,ipv6-host=ADDR]\n"
         "           [,ipv6-dns=ADDR][,smb=DIR[,smbserver=ADDR]]\n"
         "  vhost-user chardev=ID[,queues=N]\n"
         "All take id=ID.\n";
}

void register_net_types(qom::TypeRegistry& registry) {
  registry.add_abstract<NetClient, qom::Object>();
  registry.add_abstract<BackendClient, NetClient>();
  registry.add<UserNet>("netdev-user");
  registry.add<TapNet>("netdev-tap");
  registry.add<StreamNet>("netdev-stream");
  registry.add<DgramNet>("netdev-dgram");
  registry.add<HubPort>("netdev-hubport");
  registry.add<VhostUserNet>("netdev-vhost-user");
}

void register_net_objects(qom::TypeRegistry& registry) { registry.add<FilterDump>("filter-dump"); }

}  // namespace emu::net
