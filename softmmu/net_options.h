// SPDX-License-Identifier: Apache-2.0
// -netdev, -nic and -net in typed form. Nothing is opened here.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/netdev.h"
#include "qom/type.h"
#include "util/options.h"

namespace emu::softmmu {

/// A card that -nic or -net nic asks for.
struct NicRequest {
  std::string option;  ///< as typed, for errors
  std::string netdev;
  std::string model;   ///< empty: the machine's
  std::string mac, addr, id, vectors;
};

struct NetworkOptions {
  std::vector<std::pair<std::string, Options>> netdevs;  ///< id, and the rest
  std::vector<NicRequest> nics;
  bool given = false;     ///< anything was said: no card by default
  unsigned numbered = 0;  ///< names made up so far
};

enum class NetHelp : u8 { None, Netdev, Models };

/// Each adds to `network`; or says that help was asked for. Errors are for the person.
Result<NetHelp> take_netdev(std::string_view text, NetworkOptions& network);
Result<NetHelp> take_nic(std::string_view text, NetworkOptions& network);
Result<NetHelp> take_net(std::string_view text, NetworkOptions& network);
/// What the machine has when nobody says anything: a card on a user network.
void add_default_network(NetworkOptions& network);

/// Types of PCI cards, by name.
std::vector<std::string> nic_models(const qom::TypeRegistry& types);
std::string nic_models_help(const qom::TypeRegistry& types);
/// The type for a model as users say it; `machine` is the board's type name. Errors: there is none.
Result<std::string> nic_type(const qom::TypeRegistry& types, const std::string& model, std::string_view machine);
/// Whether boards of this type have a card by default.
bool has_default_nic(const qom::TypeRegistry& types, std::string_view machine);

}  // namespace emu::softmmu
