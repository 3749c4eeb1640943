// SPDX-License-Identifier: Apache-2.0
// Which frames a driver wants, as it says on the control queue. Virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3.
#pragma once

#include <bitset>
#include <span>
#include <vector>

#include "hw/net/nic_port.h"
#include "hw/virtio/virt_element.h"
#include "net/net_client.h"
#include "qom/archive.h"

namespace emu::hw {

class NetFilter {
 public:
  static constexpr std::size_t kMostAddresses = 64;

  /// As after a reset: everything passes.
  void reset() { *this = {}; }
  /// A driver that filters VLANs starts with none; the others take them all.
  void filter_vlans() { vlans_.reset(); }
  bool accepts(std::span<const u8> header, const net::MacAddress& own) const;
  RxFilter describe(bool filters_vlans) const;

  /// Commands of classes RX, MAC (table only) and VLAN: false when they are malformed. `element` from `offset` on.
  bool set_mode(u8 command, const VirtElement& element, u64 offset, bool with_extra);
  bool set_tables(const VirtElement& element, u64 offset);
  bool change_vlan(u8 command, const VirtElement& element, u64 offset);

  void fields(qom::Archive& ar);

 private:
  struct Table {
    std::vector<net::MacAddress> addresses;
    bool overflow = false;  ///< more than we keep: all pass
    bool has(std::span<const u8> address) const;
  };
  static bool read_table(const VirtElement& element, u64& offset, Table& table);

  bool promiscuous_ = true, all_multicast_ = false, all_unicast_ = false, no_multicast_ = false, no_unicast_ = false,
       no_broadcast_ = false;
  Table unicast_, multicast_;
  std::bitset<4096> vlans_ = std::bitset<4096>().set();
};

}  // namespace emu::hw
