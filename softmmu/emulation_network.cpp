// SPDX-License-Identifier: Apache-2.0
// Network back ends and cards at start.
#include "hw/net/nic_port.h"
#include "monitor/commands/net_streams.h"
#include "monitor/events.h"
#include "monitor/monitors.h"
#include "softmmu/emulation.h"

namespace emu::softmmu {

Result<void> Emulation::make_network() {
  const std::string type = EMU_TRY(parts_.find_machine_type(machine_or_default(parts_, options_.machine)), "-machine");
  network_ = networks_of(options_, registry_, type);
  auto events = machine_->tree().make<hw::NicEvents>();
  events->filter_changed = [this](const hw::NicPort& port) {
    if (monitors_ == nullptr) return;
    const std::string id = port.card().nic_id();
    const auto name = id.empty() ? std::nullopt : std::optional(id);
    monitors_->emit("NIC_RX_FILTER_CHANGED", monitor::NicRxFilterChangedEvent{name, port.card().nic_path()});
  };
  machine_->tree().root().adopt(hw::NicEvents::kName, std::move(events));
  const net::NetdevServices services{.tree = machine_->tree(),
                                     .loop = loop_,
                                     .open_stream = forward_opener(),
                                     .find_fd = {},
                                     .stream_changed = monitor::stream_events(*monitors_),
                                     .programs = program_rights(),
                                     .dry_run = options_.dry_run ? &reserved_sockets_ : nullptr};
  for (const auto& [id, options] : network_.netdevs) EMU_TRY(net::add_netdev(services, id, options), "-netdev");
  return {};
}

net::ProgramRights Emulation::program_rights() const {
  const SandboxOptions& sandbox = options_.sandbox;
  if (!sandbox.on) return {};
  return {.start = sandbox.spawn, .change_user = sandbox.privileges != SandboxOptions::Privileges::Deny};
}

/// For guestfwd=. A dry run checks the stream, and takes none.
net::StreamOpener Emulation::forward_opener() {
  net::StreamOpener open = monitor::stream_opener(*machine_);
  if (!options_.dry_run) return open;
  return [this, open](const std::string& text) -> Result<std::unique_ptr<net::ForwardStream>> {
    const chardev::SerialSpec spec = EMU_TRY(chardev::parse_serial(text, "guestfwd"));
    if (spec.kind != chardev::SerialSpec::Kind::Inline) return open(text);
    reserved_.push_back(EMU_TRY(chardev::check(spec.options)));
    return open("null");
  };
}

Result<std::vector<DeviceRequest>> Emulation::network_cards() const {
  std::vector<DeviceRequest> cards;
  for (const NicRequest& nic : network_.nics) {
    DeviceRequest card;
    card.driver = EMU_TRY(nic_type(registry_, nic.model, board_->type().name()), nic.option);
    card.id = nic.id;
    card.properties.emplace_back("netdev", nic.netdev);
    if (!nic.mac.empty()) card.properties.emplace_back("mac", nic.mac);
    if (!nic.addr.empty()) card.properties.emplace_back("addr", nic.addr);
    if (!nic.vectors.empty()) card.properties.emplace_back("vectors", nic.vectors);
    cards.push_back(std::move(card));
  }
  return cards;
}

void Emulation::note_unused_netdevs() {
  for (const auto& [id, options] : network_.netdevs) {
    const net::NetClient* client = net::find_netdev(machine_->tree(), id);
    if (client == nullptr || client->peer() != nullptr || options.peek("type") == "hubport") continue;
    if (options_.dry_run && options.peek("type") == "vhost-user") continue;  // its card was not made
    notes_.push_back(fmt::format("network back end '{}' has no card: add -device CARD,netdev={}", id, id));
  }
}

}  // namespace emu::softmmu
