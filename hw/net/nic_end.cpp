// SPDX-License-Identifier: Apache-2.0
#include "hw/net/nic_end.h"

#include <algorithm>
#include <vector>

namespace emu::hw {

net::MacAddress next_free_mac(qom::ObjectTree& tree) {
  std::vector<net::MacAddress> used;
  tree.root().visit([&](qom::Object& object) {
    if (const auto* end = dynamic_cast<const NicEnd*>(&object)) used.push_back(end->mac());
  });
  net::MacAddress mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  while (std::find(used.begin(), used.end(), mac) != used.end()) mac[5]++;
  return mac;
}

std::string numbered_label(const NicEnd& end, qom::ObjectTree& tree) {
  unsigned number = 0;
  bool seen = false;
  tree.root().visit([&](qom::Object& object) {
    const auto* other = dynamic_cast<const NicEnd*>(&object);
    if (other == &end) seen = true;
    if (!seen && other != nullptr && other->kind() == end.kind()) number++;
  });
  return fmt::format("{}.{}", end.kind(), number);
}

}  // namespace emu::hw
