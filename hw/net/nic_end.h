// SPDX-License-Identifier: Apache-2.0
// The card's end of a wire, whatever the card: what monitors and other cards ask of it.
#pragma once

#include <string>

#include "net/mac_address.h"
#include "qom/object.h"

namespace emu::hw {

class NicEnd : public net::NetClient {
 public:
  /// "e1000.0", or the device's id: what people call the card.
  virtual std::string label() const = 0;
  virtual net::MacAddress mac() const = 0;
  /// set_link on the card itself.
  void plug_cable(bool in) {
    if (in == is_link_up()) return;
    set_link(in);
    link_changed();
  }
};

/// The first address from 52:54:00:12:34:56 that no other card has: as QEMU numbers its cards, so that guests see the
/// addresses they know.
net::MacAddress next_free_mac(qom::ObjectTree& tree);
/// "TYPE.N": how many cards with that label's beginning come before `end`.
std::string numbered_label(const NicEnd& end, qom::ObjectTree& tree);

}  // namespace emu::hw
