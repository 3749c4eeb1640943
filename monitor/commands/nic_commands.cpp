// SPDX-License-Identifier: Apache-2.0
#include "monitor/commands/nic_commands.h"

#include <algorithm>
#include <map>
#include <memory>

#include "hw/machine/machine.h"
#include "monitor/monitors.h"
#include "net/netdev.h"

namespace emu::monitor {
namespace {

qom::ObjectTree& tree_of(CommandContext& context) { return context.control.machine().tree(); }

// query-rx-filter. ---------------------------------------------------------------------------------------------------

enum class RxState : u8 { Normal, None, All };  // as hw::RxFilter::Kind
constexpr EnumNames enum_names(RxState) { return {"RxState", {"normal", "none", "all"}}; }
struct RxFilterInfo {
  static constexpr const char* kName = "RxFilterInfo";
  std::string name, main_mac;
  bool promiscuous = false, broadcast_allowed = false, multicast_overflow = false, unicast_overflow = false;
  RxState multicast = RxState::Normal, unicast = RxState::Normal, vlan = RxState::Normal;
  std::vector<i64> vlan_table;
  std::vector<std::string> unicast_table, multicast_table;
  void members(auto& m) {
    m("name", name);
    m("promiscuous", promiscuous);
    m("multicast", multicast);
    m("unicast", unicast);
    m("vlan", vlan);
    m("broadcast-allowed", broadcast_allowed);
    m("multicast-overflow", multicast_overflow);
    m("unicast-overflow", unicast_overflow);
    m("main-mac", main_mac);
    m("vlan-table", vlan_table);
    m("unicast-table", unicast_table);
    m("multicast-table", multicast_table);
  }
};
struct RxFilterArguments {
  static constexpr const char* kName = "RxFilterArguments";
  std::optional<std::string> name;
  void members(auto& m) { m("name", name); }
};

RxFilterInfo describe(const hw::NicPort& port, const hw::RxFilter& filter) {
  const auto texts = [](const std::vector<net::MacAddress>& table) {
    std::vector<std::string> list;
    for (const net::MacAddress& mac : table) list.push_back(net::to_text(mac));
    return list;
  };
  RxFilterInfo info;
  info.name = port.label();
  info.main_mac = net::to_text(port.card().mac());
  info.promiscuous = filter.promiscuous;
  info.broadcast_allowed = filter.broadcast;
  info.multicast_overflow = filter.multicast_overflow;
  info.unicast_overflow = filter.unicast_overflow;
  info.multicast = RxState(filter.multicast);
  info.unicast = RxState(filter.unicast);
  info.vlan = RxState(filter.vlan);
  info.vlan_table.assign(filter.vlans.begin(), filter.vlans.end());
  info.unicast_table = texts(filter.unicast_table);
  info.multicast_table = texts(filter.multicast_table);
  return info;
}

/// Of one card, or of all that show theirs. Whoever asks hears of the next change.
Result<std::vector<RxFilterInfo>> query_rx_filter(CommandContext& context, const RxFilterArguments& arguments) {
  std::vector<hw::NicPort*> ports = hw::all_cards(tree_of(context));
  if (arguments.name) {
    net::NetClient* client = find_net_client(tree_of(context), *arguments.name);
    if (client == nullptr) return error("invalid net client name: {}", *arguments.name);
    auto* port = dynamic_cast<hw::NicPort*>(client);
    if (port == nullptr) return error("net client({}) isn't a NIC", *arguments.name);
    if (!port->card().rx_filter()) {
      return error("net client({}) doesn't support rx-filter querying", *arguments.name);
    }
    ports = {port};
  }
  std::vector<RxFilterInfo> infos;
  for (hw::NicPort* port : ports) {
    const auto filter = port->card().rx_filter();
    if (!filter) continue;
    infos.push_back(describe(*port, *filter));
    port->arm_filter_events();
  }
  return infos;
}

// announce-self. -----------------------------------------------------------------------------------------------------

struct AnnounceParameters {
  static constexpr const char* kName = "AnnounceParameters";
  i64 initial = 50, max = 550, rounds = 5, step = 100;  ///< the defaults of the person's command
  std::optional<std::vector<std::string>> interfaces;
  std::optional<std::string> id;
  void members(auto& m) {
    m("initial", initial);
    m("max", max);
    m("rounds", rounds);
    m("step", step);
    m("interfaces", interfaces);
    m("id", id);
  }
};

/// RFC 903: "who has my hardware address?", which tells each bridge where that is now.
std::vector<u8> rarp_request(const net::MacAddress& mac) {
  constexpr std::size_t kLeastFrame = 60;
  std::vector<u8> frame(6, 0xff);
  const auto add = [&frame](std::initializer_list<u8> bytes) { frame.insert(frame.end(), bytes); };
  const auto add_mac = [&] { frame.insert(frame.end(), mac.begin(), mac.end()); };
  add_mac();
  add({0x80, 0x35, 0, 1, 0x08, 0x00, 6, 4, 0, 3});
  add_mac();
  add({0, 0, 0, 0});
  add_mac();
  frame.resize(kLeastFrame);
  return frame;
}

void announce(hw::Machine& machine, const std::optional<std::vector<std::string>>& interfaces) {
  for (hw::NicPort* port : hw::all_cards(machine.tree())) {
    const auto has = [&](const std::string& name) { return name == port->label(); };
    if (interfaces && std::none_of(interfaces->begin(), interfaces->end(), has)) continue;
    const std::vector<u8> frame = rarp_request(port->card().mac());
    const iovec part{const_cast<u8*>(frame.data()), frame.size()};
    static_cast<void>(port->send(net::Packet{.parts = {&part, 1}}));
    const mem::MachineLockScope guard(machine.memory().lock());
    port->card().ask_for_announcement();
  }
}

/// Those under way: of each name the last one asked for, by its number.
struct Announcements {
  std::map<std::string, u64, std::less<>> running;
  u64 asked = 0;
};

/// Announces, and some more times later and later, unless another of that name has been asked for since.
void announce_again(Monitors& monitors, Announcements& all, const AnnounceParameters& parameters, u64 number,
                    i64 left) {
  const auto mine = all.running.find(parameters.id.value_or(""));
  if (mine == all.running.end() || mine->second != number) return;
  announce(monitors.control().machine(), parameters.interfaces);
  if (left <= 1) {
    all.running.erase(mine);
    return;
  }
  const i64 delay_ms = std::min(parameters.initial + (parameters.rounds - left) * parameters.step, parameters.max);
  monitors.after(std::chrono::milliseconds(delay_ms), [&monitors, &all, parameters, number, left] {
    announce_again(monitors, all, parameters, number, left - 1);
  });
}

Result<void> announce_self(CommandContext& context, Announcements& all, const AnnounceParameters& parameters) {
  struct Limit {
    const char* name;
    i64 value, most;
  };
  const Limit limits[] = {{"initial", parameters.initial, 100'000}, {"max", parameters.max, 100'000},
                          {"rounds", parameters.rounds, 1000}, {"step", parameters.step, 10'000}};
  for (const auto& [name, value, most] : limits) {
    if (value < 0 || value > most) return error("Parameter '{}' expects a value in the range of 0 to {}", name, most);
  }
  if (parameters.rounds == 0) {  // none, and the one of that name under way ends
    all.running.erase(parameters.id.value_or(""));
    return {};
  }
  all.running[parameters.id.value_or("")] = ++all.asked;
  announce_again(context.monitors, all, parameters, all.asked, parameters.rounds);
  return {};
}

Result<Reply> hmp_announce_self(CommandContext& context, Announcements& all, const Arguments& arguments) {
  AnnounceParameters parameters;
  if (arguments.has("interfaces")) {
    parameters.interfaces.emplace();
    std::string text = arguments.text("interfaces");
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t comma = std::min(text.find(',', at), text.size());
      parameters.interfaces->push_back(text.substr(at, comma - at));
      at = comma + 1;
    }
  }
  if (arguments.has("id")) parameters.id = arguments.text("id");
  EMU_TRY(announce_self(context, all, parameters));
  return Reply{};
}

}  // namespace

net::NetClient* find_net_client(qom::ObjectTree& tree, std::string_view name) {
  if (net::NetClient* client = net::find_netdev(tree, name)) return client;
  for (hw::NicPort* port : hw::all_cards(tree)) {
    if (port->label() == name) return port;
  }
  return nullptr;
}

void register_nic_commands(CommandRegistry& registry) {
  registry.add(qmp("query-rx-filter", query_rx_filter));
  const auto announcements = std::make_shared<Announcements>();  // lives as long as the commands
  registry.add(QmpCommand{.name = "announce-self",
                          .traits = {},
                          .describe_arguments = schema_type<AnnounceParameters>,
                          .describe_reply = schema_type<Empty>,
                          .run = [announcements](CommandContext& context, const Json& json) -> Result<Json> {
                            const auto parameters = EMU_TRY(from_json<AnnounceParameters>(json, ""));
                            EMU_TRY(announce_self(context, *announcements, parameters));
                            return Json::object();
                          }});
  registry.add({.name = "announce_self",
                .arguments = {{"interfaces", ArgKind::String, Need::Optional}, {"id", ArgKind::String, Need::Optional}},
                .syntax = "[interfaces] [id]",
                .help = "Trigger GARP/RARP announcements",
                .run = [announcements](CommandContext& context, const Arguments& arguments) {
                  return hmp_announce_self(context, *announcements, arguments);
                }});
}

}  // namespace emu::monitor
