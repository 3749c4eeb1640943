// SPDX-License-Identifier: Apache-2.0
// Back ends that leave a card's rings to somebody outside this program, who then moves the packets.
#pragma once

#include <string>
#include <vector>

#include "util/fd.h"

namespace emu::net {

/// Asks the card at the other end to have its rings served.
struct VhostOffer {
  std::string chardev;    ///< id of the one to the other process; empty: by the kernel's vhost-net, with our interface
  bool required = true;   ///< else the card serves its rings itself where it cannot be had
  std::vector<Fd> fds;    ///< of /dev/vhost-net, one a queue, opened by somebody else; the card takes them out
};

/// The kernel's interface behind one queue; the descriptor stays the back end's.
struct HostInterface {
  int fd = -1;
  bool has_header = false;
};

}  // namespace emu::net
