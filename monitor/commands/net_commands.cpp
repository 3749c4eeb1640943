// SPDX-License-Identifier: Apache-2.0
// Networks at run time: netdev_*, set_link, hostfwd_*, info network.
#include "monitor/commands.h"
#include "monitor/commands/net_streams.h"
#include "monitor/commands/nic_commands.h"
#include "monitor/commands/socket_address.h"
#include "monitor/qmp/json_stream.h"
#include "net/hub.h"
#include "net/netdev.h"
#include "net/netdev_json.h"

namespace emu::monitor {
namespace {

// ---- Back ends as programs describe them; what the values mean is checked by net::add_netdev.

enum class NetdevKind : u8 { User, Tap, Socket, Stream, Dgram, Hubport, Bridge, VhostUser };
constexpr EnumNames enum_names(NetdevKind) {
  return {"NetClientDriver", {"user", "tap", "socket", "stream", "dgram", "hubport", "bridge", "vhost-user"}};
}

using NetStrings = std::optional<std::vector<NamedString>>;
using MaybeText = std::optional<std::string>;

struct NetdevUser {
  static constexpr const char* kName = "NetdevUserOptions";
  MaybeText hostname, ip, net, host, tftp, bootfile, dhcpstart, dns, domainname, ipv6_prefix, ipv6_host, ipv6_dns;
  MaybeText smb, smbserver, tftp_server_name;
  std::optional<bool> restricted, ipv4, ipv6;
  std::optional<i64> ipv6_prefixlen;
  NetStrings dnssearch, hostfwd, guestfwd;
  void members(auto& m) {
    m("hostname", hostname);
    m("restrict", restricted);
    m("ipv4", ipv4);
    m("ipv6", ipv6);
    m("ip", ip);
    m("net", net);
    m("host", host);
    m("tftp", tftp);
    m("bootfile", bootfile);
    m("dhcpstart", dhcpstart);
    m("dns", dns);
    m("dnssearch", dnssearch);
    m("domainname", domainname);
    m("ipv6-prefix", ipv6_prefix);
    m("ipv6-prefixlen", ipv6_prefixlen);
    m("ipv6-host", ipv6_host);
    m("ipv6-dns", ipv6_dns);
    m("smb", smb);
    m("smbserver", smbserver);
    m("hostfwd", hostfwd);
    m("guestfwd", guestfwd);
    m("tftp-server-name", tftp_server_name);
  }
};
struct NetdevTap {
  static constexpr const char* kName = "NetdevTapOptions";
  MaybeText ifname, fd, fds, script, downscript, br, helper, vhostfd, vhostfds;
  std::optional<u64> sndbuf;
  std::optional<bool> vnet_hdr, vhost, vhostforce;
  std::optional<u32> queues, poll_us;
  void members(auto& m) {
    m("ifname", ifname);
    m("fd", fd);
    m("fds", fds);
    m("script", script);
    m("downscript", downscript);
    m("br", br);
    m("helper", helper);
    m("sndbuf", sndbuf);
    m("vnet_hdr", vnet_hdr);
    m("vhost", vhost);
    m("vhostfd", vhostfd);
    m("vhostfds", vhostfds);
    m("vhostforce", vhostforce);
    m("queues", queues);
    m("poll-us", poll_us);
  }
};
struct NetdevSocket {
  static constexpr const char* kName = "NetdevSocketOptions";
  MaybeText fd, listen, connect, mcast, localaddr, udp;
  void members(auto& m) {
    m("fd", fd);
    m("listen", listen);
    m("connect", connect);
    m("mcast", mcast);
    m("localaddr", localaddr);
    m("udp", udp);
  }
};

struct NetdevStream {
  static constexpr const char* kName = "NetdevStreamOptions";
  SocketAddressInfo addr;
  std::optional<bool> server;
  std::optional<u32> reconnect;
  void members(auto& m) {
    m("addr", addr);
    m("server", server);
    m("reconnect", reconnect);
  }
};
struct NetdevDgram {
  static constexpr const char* kName = "NetdevDgramOptions";
  std::optional<SocketAddressInfo> local, remote;
  void members(auto& m) {
    m("local", local);
    m("remote", remote);
  }
};
struct NetdevHubPort {
  static constexpr const char* kName = "NetdevHubPortOptions";
  i32 hubid = 0;
  MaybeText netdev;
  void members(auto& m) {
    m("hubid", hubid);
    m("netdev", netdev);
  }
};
struct NetdevBridge {
  static constexpr const char* kName = "NetdevBridgeOptions";
  MaybeText br, helper;
  void members(auto& m) {
    m("br", br);
    m("helper", helper);
  }
};
struct NetdevVhostUser {
  static constexpr const char* kName = "NetdevVhostUserOptions";
  std::string chardev;
  std::optional<bool> vhostforce;
  std::optional<i32> queues;
  void members(auto& m) {
    m("chardev", chardev);
    m("vhostforce", vhostforce);
    m("queues", queues);
  }
};
struct NetdevAddArguments {
  static constexpr const char* kName = "Netdev";
  std::string id;
  NetdevKind type = NetdevKind::User;
  NetdevUser user;
  NetdevTap tap;
  NetdevSocket socket;
  NetdevStream stream;
  NetdevDgram dgram;
  NetdevHubPort hubport;
  NetdevBridge bridge;
  NetdevVhostUser vhost_user;
  void members(auto& m) {
    m("id", id);
    m.tag("type", type);
    m.when(NetdevKind::User, user);
    m.when(NetdevKind::Tap, tap);
    m.when(NetdevKind::Socket, socket);
    m.when(NetdevKind::Stream, stream);
    m.when(NetdevKind::Dgram, dgram);
    m.when(NetdevKind::Hubport, hubport);
    m.when(NetdevKind::Bridge, bridge);
    m.when(NetdevKind::VhostUser, vhost_user);
  }
};

qom::ObjectTree& tree_of(CommandContext& context) { return context.control.machine().tree(); }

Result<void> add(CommandContext& context, Options options) {
  hw::Machine& machine = context.control.machine();
  const auto take_fd = [&context](const std::string& name) { return take_named_fd(context.session, name); };
  const net::NetdevServices services{.tree = machine.tree(),
                                     .loop = machine.loop(),
                                     .open_stream = stream_opener(machine),
                                     .find_fd = take_fd,
                                     .stream_changed = stream_events(context.monitors),
                                     .programs = context.control.program_rights()};
  EMU_TRY(net::add_netdev(services, std::move(options)));
  return {};
}

Result<Json> netdev_add(CommandContext& context, const Json& json) {
  EMU_TRY(from_json<NetdevAddArguments>(json, ""));
  Options::Pairs pairs = EMU_TRY(net::netdev_pairs(json_text(json)));
  EMU_TRY(add(context, Options(std::move(pairs))));
  return Json::object();
}

struct NetdevIdArguments {
  static constexpr const char* kName = "NetdevIdArguments";
  std::string id;
  void members(auto& m) { m("id", id); }
};
Result<void> netdev_del(CommandContext& context, const NetdevIdArguments& arguments) {
  return net::remove_netdev(tree_of(context), arguments.id);
}

// ---- Cards

std::string label_of(const net::NetClient& client) {
  const auto* port = dynamic_cast<const hw::NicPort*>(&client);
  return port != nullptr ? port->label() : client.name();
}

struct SetLinkArguments {
  static constexpr const char* kName = "SetLinkArguments";
  std::string name;
  bool up = false;
  void members(auto& m) {
    m("name", name);
    m("up", up);
  }
};
Result<void> set_link(CommandContext& context, const SetLinkArguments& arguments) {
  net::NetClient* client = find_net_client(tree_of(context), arguments.name);
  if (client == nullptr) {
    return error(Error(fmt::format("Device '{}' not found", arguments.name), ErrorClass::DeviceNotFound));
  }
  if (auto* port = dynamic_cast<hw::NicPort*>(client)) {
    port->plug_cable(arguments.up);
  } else {
    client->set_link(arguments.up);
  }
  return {};
}

// ---- for people

std::string describe(const net::NetClient& client, bool is_card) {
  const std::string state = client.describe_state();
  return fmt::format("{}: index=0,type={}{}{}{}\n", label_of(client), is_card ? "nic" : client.kind(),
                     state.empty() ? "" : ",", state, client.is_link_up() ? "" : ",link=down");
}

Result<Reply> info_network(CommandContext& context, const Arguments&) {
  std::string text;
  std::map<u64, std::string> hubs;
  const auto& netdevs = tree_of(context).container(net::NetClient::kContainer).children();
  for (const auto& child : netdevs) {
    const auto* port = dynamic_cast<const net::HubPort*>(child.get());
    if (port == nullptr) continue;
    std::string& lines = hubs[port->hub()->id];
    const net::NetClient* peer = port->peer();
    const bool is_card = dynamic_cast<const hw::NicPort*>(peer) != nullptr;
    lines += fmt::format(" \\ {}: {}", port->name(), peer == nullptr ? "not connected\n" : describe(*peer, is_card));
  }
  for (const auto& [id, lines] : hubs) text += fmt::format("hub {}\n{}", id, lines);
  const auto is_hub_port = [](const net::NetClient* c) { return dynamic_cast<const net::HubPort*>(c) != nullptr; };
  for (const hw::NicPort* port : hw::all_cards(tree_of(context))) {
    if (is_hub_port(port->peer())) continue;
    text += describe(*port, true);
    if (port->peer() != nullptr) text += " \\ " + describe(*port->peer(), false);
  }
  for (const auto& child : netdevs) {
    const auto* client = dynamic_cast<const net::NetClient*>(child.get());
    if (client != nullptr && client->peer() == nullptr && !is_hub_port(client)) text += describe(*client, false);
  }
  return Reply{std::move(text)};
}

Result<Reply> info_usernet(CommandContext& context, const Arguments&) {
  std::string text;
  for (const auto& child : tree_of(context).container(net::NetClient::kContainer).children()) {
    const auto* user = dynamic_cast<const net::UserNet*>(child.get());
    if (user != nullptr) text += fmt::format("Hub -1 ({}):\n{}", user->name(), user->connections());
  }
  return Reply{std::move(text)};
}

Result<Reply> hmp_netdev_add(CommandContext& context, const Arguments& arguments) {
  Options options = EMU_TRY(Options::parse(arguments.text("args"), {.implied_key = "type"}));
  EMU_TRY(add(context, std::move(options)));
  return Reply{};
}
Result<Reply> hmp_netdev_del(CommandContext& context, const Arguments& arguments) {
  EMU_TRY(netdev_del(context, {arguments.text("id")}));
  return Reply{};
}
Result<Reply> hmp_set_link(CommandContext& context, const Arguments& arguments) {
  const std::string way = arguments.text("on|off");
  if (way != "on" && way != "off") return error("'{}' is neither on nor off", way);
  EMU_TRY(set_link(context, {arguments.text("name"), way == "on"}));
  return Reply{};
}

/// The user network by its id; without one the first, as in QEMU.
Result<net::UserNet*> user_net(CommandContext& context, const std::string& id) {
  if (!id.empty()) {
    auto* user = dynamic_cast<net::UserNet*>(net::find_netdev(tree_of(context), id));
    if (user == nullptr) return error("there is no user network '{}'", id);
    return user;
  }
  for (const auto& child : tree_of(context).container(net::NetClient::kContainer).children()) {
    if (auto* user = dynamic_cast<net::UserNet*>(child.get())) return user;
  }
  return error("there is no user network");
}

struct ForwardWords {
  std::string netdev, rule;
};
ForwardWords forward_words(const Arguments& arguments) {
  if (arguments.has("rule")) return {arguments.text("netdev"), arguments.text("rule")};
  return {"", arguments.text("netdev")};
}
Result<Reply> hostfwd_add(CommandContext& context, const Arguments& arguments) {
  const ForwardWords words = forward_words(arguments);
  net::UserNet* user = EMU_TRY(user_net(context, words.netdev));
  const net::HostForward rule = EMU_TRY(net::parse_host_forward(words.rule));
  EMU_TRY(user->add_host_forward(rule));
  return Reply{};
}
Result<Reply> hostfwd_remove(CommandContext& context, const Arguments& arguments) {
  const ForwardWords words = forward_words(arguments);
  net::UserNet* user = EMU_TRY(user_net(context, words.netdev));
  const net::HostForward rule = EMU_TRY(net::parse_host_end(words.rule));
  return Reply{fmt::format("host forwarding rule for {} {}\n", words.rule,
                           user->remove_host_forward(rule) ? "removed" : "not found")};
}

}  // namespace

void register_net_commands(CommandRegistry& registry) {
  registry.add(QmpCommand{.name = "netdev_add",
                          .traits = {.before_machine = false},
                          .describe_arguments = schema_type<NetdevAddArguments>,
                          .describe_reply = schema_type<Empty>,
                          .run = netdev_add});
  registry.add(qmp("netdev_del", netdev_del));
  registry.add(qmp("set_link", set_link));
  register_nic_commands(registry);

  registry.add({.name = "info network", .help = "show the network state", .run = info_network});
  registry.add({.name = "info usernet", .help = "show user network stack connection states", .run = info_usernet});
  registry.add({.name = "netdev_add",
                .arguments = {{"args", ArgKind::Rest}},
                .syntax = "[user|tap|socket|stream|dgram|hubport|bridge],id=str[,prop=value][,...]",
                .help = "add host network device",
                .run = hmp_netdev_add});
  registry.add({.name = "netdev_del",
                .arguments = {{"id"}},
                .syntax = "id",
                .help = "remove host network device",
                .run = hmp_netdev_del});
  registry.add({.name = "set_link",
                .arguments = {{"name"}, {"on|off"}},
                .syntax = "name on|off",
                .help = "change the link status of a network adapter",
                .run = hmp_set_link});
  registry.add({.name = "hostfwd_add",
                .arguments = {{"netdev"}, {"rule", ArgKind::String, Need::Optional}},
                .syntax = "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
                .help = "redirect TCP or UDP connections from host to guest (requires -net user)",
                .run = hostfwd_add});
  registry.add({.name = "hostfwd_remove",
                .arguments = {{"netdev"}, {"rule", ArgKind::String, Need::Optional}},
                .syntax = "[netdev_id] [tcp|udp]:[hostaddr]:hostport",
                .help = "remove host-to-guest TCP or UDP redirection",
                .run = hostfwd_remove});
}

}  // namespace emu::monitor
