// SPDX-License-Identifier: Apache-2.0
// Back ends from options: -netdev, -nic, netdev_add.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/backend.h"
#include "net/program_rights.h"
#include "net/socket_address.h"
#include "net/user_net.h"
#include "util/options.h"

namespace emu::net {

/// A connection of -netdev stream comes, with its other end, or goes. Main loop.
using StreamListener = std::function<void(const std::string& id, const std::optional<SocketAddress>& to)>;

struct NetdevServices {
  qom::ObjectTree& tree;
  EventLoop& loop;
  StreamOpener open_stream = {};  ///< for guestfwd
  /// What fd=NAME stands for that is no number (getfd): it is taken, and closed if the back end cannot be made.
  std::function<Result<Fd>(const std::string& name)> find_fd = {};
  StreamListener stream_changed = {};
  ProgramRights programs = {};
  /// For a dry run: no client connects, no script or helper runs and no file is made; something silent stands in. The
  /// addresses of servers are taken and kept here, so that two who want the same are found.
  std::vector<Fd>* dry_run = nullptr;
};

/// Makes /netdevs/ID of options "type" and "id" and those of the type; takes all keys. Errors name what is wrong and
/// the nearest valid spelling; nothing is left behind. Main loop.
Result<NetClient*> add_netdev(const NetdevServices& services, Options options);
/// The same without an id, outside the tree's folder: for -nic and -net, which name it themselves.
Result<NetClient*> add_netdev(const NetdevServices& services, const std::string& id, Options options);
/// Only checks what can be checked without opening anything: for the command line before anything exists.
Result<void> check_netdev(const Options& options);
Result<void> remove_netdev(qom::ObjectTree& tree, const std::string& id);
/// Null when there is none.
NetClient* find_netdev(qom::ObjectTree& tree, std::string_view id);

/// "user", "tap"...
std::span<const std::string_view> netdev_kinds();
/// The text of `-netdev help`.
std::string netdev_help();

}  // namespace emu::net
