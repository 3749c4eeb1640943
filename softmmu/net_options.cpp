// SPDX-License-Identifier: Apache-2.0
#include "softmmu/net_options.h"

#include <algorithm>

#include "hw/core/device.h"
#include "net/mac_address.h"
#include "net/netdev_json.h"
#include "softmmu/start_options.h"
#include "util/suggest.h"

namespace emu::softmmu {
namespace {

Result<Options> parse(std::string_view text) {
  return Options::parse(text, {.implied_key = "type", .json = net::netdev_pairs});
}

std::string made_up_id(NetworkOptions& network, std::string_view kind) {
  return fmt::format("#{}{}", kind, network.numbered++);
}

/// Checks the options of a back end under `id`, and keeps them.
Result<void> keep(NetworkOptions& network, const std::string& id, Options options) {
  for (const auto& known : network.netdevs) {
    if (known.first == id) return error("there are two network back ends '{}'", id);
  }
  Options::Pairs pairs;
  for (auto& [key, value] : options.take_rest()) pairs.emplace_back(key, value);
  Options kept(std::move(pairs));
  Options check = kept;
  check.set("id", id.starts_with('#') ? id.substr(1) : id);
  EMU_TRY(net::check_netdev(check));
  network.netdevs.emplace_back(id, std::move(kept));
  return {};
}

/// A port of hub 0, to which all of -net are connected; `netdev` may be empty.
Result<std::string> plug_into_hub(NetworkOptions& network, const std::string& netdev) {
  Options port(Options::Pairs{{"type", "hubport"}, {"hubid", "0"}});
  if (!netdev.empty()) port.set("netdev", netdev);
  std::string id = made_up_id(network, "hub0port");
  EMU_TRY(keep(network, id, std::move(port)));
  return id;
}

bool asks_for_models(const Options& options) {
  const auto model = options.peek("model");
  return model && (*model == "help" || *model == "?");
}

NicRequest take_card(Options& options, std::string option) {
  NicRequest nic{.option = std::move(option)};
  nic.model = options.take("model").value_or("");
  nic.mac = options.take("mac").value_or("");
  if (auto mac = options.take("macaddr")) nic.mac = *mac;
  nic.addr = options.take("addr").value_or("");
  nic.vectors = options.take("vectors").value_or("");
  return nic;
}

Result<void> check_card(const NicRequest& nic) {
  if (!nic.mac.empty()) EMU_TRY(net::parse_mac(nic.mac), "mac");
  return {};
}

}  // namespace

Result<NetHelp> take_netdev(std::string_view text, NetworkOptions& network) {
  Options options = EMU_TRY(parse(text));
  if (options.asks_help()) return NetHelp::Netdev;
  const auto type = options.peek("type");
  const auto id = options.take("id");
  if (!id) return error("{}'id=' is missing", type ? *type + ": " : "");
  network.given = true;
  EMU_TRY(keep(network, *id, std::move(options)));
  return NetHelp::None;
}

Result<NetHelp> take_nic(std::string_view text, NetworkOptions& network) {
  Options options = EMU_TRY(parse(text));
  if (asks_for_models(options)) return NetHelp::Models;
  if (options.asks_help()) return NetHelp::Netdev;
  network.given = true;
  const std::string type = options.take("type").value_or("user");
  if (type == "none") {
    EMU_TRY(options.finish());
    return NetHelp::None;
  }
  NicRequest nic = take_card(options, fmt::format("-nic {}", text));
  EMU_TRY(check_card(nic));
  nic.netdev = options.take("id").value_or("");
  if (nic.netdev.empty()) nic.netdev = made_up_id(network, "net");
  options.set("type", type);
  EMU_TRY(keep(network, nic.netdev, std::move(options)));
  network.nics.push_back(std::move(nic));
  return NetHelp::None;
}

Result<NetHelp> take_net(std::string_view text, NetworkOptions& network) {
  Options options = EMU_TRY(parse(text));
  if (asks_for_models(options)) return NetHelp::Models;
  if (options.asks_help()) return NetHelp::Netdev;
  network.given = true;
  const std::string type = EMU_TRY(options.take_required("type"));
  if (type == "none") {
    EMU_TRY(options.finish());
    return NetHelp::None;
  }
  if (type == "nic") {
    NicRequest nic = take_card(options, fmt::format("-net {}", text));
    EMU_TRY(check_card(nic));
    nic.netdev = options.take("netdev").value_or("");
    nic.id = options.take("name").value_or("");
    if (auto id = options.take("id")) nic.id = *id;
    EMU_TRY(options.finish());
    if (nic.netdev.empty()) nic.netdev = EMU_TRY(plug_into_hub(network, ""));
    network.nics.push_back(std::move(nic));
    return NetHelp::None;
  }
  auto id = options.take("id");
  if (auto name = options.take("name"); name && !id) id = name;
  const std::string netdev = id ? *id : made_up_id(network, "net");
  options.set("type", type);
  EMU_TRY(keep(network, netdev, std::move(options)));
  EMU_TRY(plug_into_hub(network, netdev));
  return NetHelp::None;
}

void add_default_network(NetworkOptions& network) {
  const std::string id = made_up_id(network, "net");
  network.netdevs.emplace_back(id, Options(Options::Pairs{{"type", "user"}}));
  network.nics.push_back({.option = "default network", .netdev = id});
}

std::vector<std::string> nic_models(const qom::TypeRegistry& types) {
  std::vector<std::string> models;
  for (const qom::Type* type : types.list(hw::Device::kTypeName)) {
    const bool is_card = hw::category_of(*type) == hw::Category::Network && hw::is_user_creatable(*type);
    if (is_card && hw::bus_type_of(*type) == "PCI") models.push_back(type->name());
  }
  return models;
}

std::string nic_models_help(const qom::TypeRegistry& types) {
  std::string text = "Supported NIC models:\n";
  for (const std::string& model : nic_models(types)) text += model + "\n";
  return text;
}

Result<std::string> nic_type(const qom::TypeRegistry& types, const std::string& model, std::string_view machine) {
  const std::vector<std::string> models = nic_models(types);
  std::string wanted = model == "virtio" ? "virtio-net-pci" : model;
  if (wanted.empty()) {
    wanted = machine.find("q35") != std::string_view::npos ? "e1000e" : "e1000";
    if (types.find(wanted) == nullptr) wanted = "e1000";
  }
  const qom::Type* type = types.find(wanted);
  if (type != nullptr && std::find(models.begin(), models.end(), type->name()) != models.end()) return type->name();
  std::string hint = did_you_mean(wanted, models);
  if (hint.empty()) hint = "'-nic model=help' lists the models";
  return error(Error(fmt::format("there is no network card '{}'", model)).with_hint(std::move(hint)));
}

NetworkOptions networks_of(const StartOptions& options, const qom::TypeRegistry& types, std::string_view board) {
  NetworkOptions network = options.network;
  if (!network.given && options.default_devices && !is_qtest(options) && has_default_nic(types, board)) {
    add_default_network(network);
  }
  return network;
}

bool has_default_nic(const qom::TypeRegistry& types, std::string_view machine) {
  return machine.starts_with("pc-") && nic_type(types, "", machine).has_value();
}

}  // namespace emu::softmmu
