// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/net_filter.h"

#include <algorithm>

namespace emu::hw {
namespace {

constexpr unsigned kVlans = 4096;
enum ModeCommand : u8 { kPromiscuous, kAllMulticast, kAllUnicast, kNoMulticast, kNoUnicast, kNoBroadcast };
enum VlanCommand : u8 { kVlanAdd, kVlanDelete };
constexpr std::size_t kAddressBytes = 6, kTypeOffset = 12, kTagOffset = 14;

bool is_broadcast(std::span<const u8> address) {
  return std::all_of(address.begin(), address.end(), [](u8 byte) { return byte == 0xff; });
}

}  // namespace

bool NetFilter::Table::has(std::span<const u8> address) const {
  return overflow || std::any_of(addresses.begin(), addresses.end(), [&](const net::MacAddress& one) {
           return std::equal(one.begin(), one.end(), address.begin());
         });
}

bool NetFilter::accepts(std::span<const u8> header, const net::MacAddress& own) const {
  if (header.size() < kTagOffset) return promiscuous_;
  if (header[kTypeOffset] == 0x81 && header[kTypeOffset + 1] == 0x00 && header.size() >= kTagOffset + 2) {
    const unsigned vlan = (header[kTagOffset] << 8 | header[kTagOffset + 1]) & (kVlans - 1);
    if (!vlans_[vlan]) return false;
  }
  if (promiscuous_) return true;
  const std::span<const u8> to = header.first(kAddressBytes);
  if (is_broadcast(to)) return !no_broadcast_;
  if (to[0] & 1) return !no_multicast_ && (all_multicast_ || multicast_.has(to));
  return !no_unicast_ && (all_unicast_ || std::equal(own.begin(), own.end(), to.begin()) || unicast_.has(to));
}

RxFilter NetFilter::describe(bool filters_vlans) const {
  using Kind = RxFilter::Kind;
  const auto kind_of = [](bool none, bool all) { return none ? Kind::None : all ? Kind::All : Kind::Normal; };
  RxFilter filter{.unicast = kind_of(no_unicast_, all_unicast_),
                  .multicast = kind_of(no_multicast_, all_multicast_),
                  .vlan = filters_vlans ? kind_of(vlans_.none(), false) : Kind::All,
                  .promiscuous = promiscuous_,
                  .broadcast = !no_broadcast_,
                  .unicast_overflow = unicast_.overflow,
                  .multicast_overflow = multicast_.overflow,
                  .unicast_table = unicast_.addresses,
                  .multicast_table = multicast_.addresses,
                  .vlans = {}};
  for (unsigned vlan = 0; filters_vlans && vlan < kVlans; ++vlan) {
    if (vlans_[vlan]) filter.vlans.push_back(vlan);
  }
  return filter;
}

bool NetFilter::set_mode(u8 command, const VirtElement& element, u64 offset, bool with_extra) {
  const auto on = element.read<u8>(offset);
  if (!on || (command > kAllMulticast && !with_extra)) return false;
  const bool value = *on != 0;
  switch (command) {
    case kPromiscuous: promiscuous_ = value; return true;
    case kAllMulticast: all_multicast_ = value; return true;
    case kAllUnicast: all_unicast_ = value; return true;
    case kNoMulticast: no_multicast_ = value; return true;
    case kNoUnicast: no_unicast_ = value; return true;
    case kNoBroadcast: no_broadcast_ = value; return true;
    default: return false;
  }
}

bool NetFilter::read_table(const VirtElement& element, u64& offset, Table& table) {
  const auto count = element.read<Le32>(offset);
  if (!count) return false;
  offset += sizeof(Le32);
  if (*count > (element.readable_bytes() - offset) / kAddressBytes) return false;
  table.overflow = *count > kMostAddresses;
  if (!table.overflow) {
    table.addresses.resize(*count);
    for (u32 i = 0; i < *count; ++i) {
      if (!element.read(offset + i * kAddressBytes, table.addresses[i])) return false;
    }
  }
  offset += u64(*count) * kAddressBytes;
  return true;
}

bool NetFilter::set_tables(const VirtElement& element, u64 offset) {
  Table unicast, multicast;
  if (!read_table(element, offset, unicast) || !read_table(element, offset, multicast)) return false;
  unicast_ = std::move(unicast);
  multicast_ = std::move(multicast);
  return true;
}

bool NetFilter::change_vlan(u8 command, const VirtElement& element, u64 offset) {
  const auto vlan = element.read<Le16>(offset);
  if (!vlan || *vlan >= kVlans || command > kVlanDelete) return false;
  vlans_[*vlan] = command == kVlanAdd;
  return true;
}

void NetFilter::fields(qom::Archive& ar) {
  ar("promiscuous", promiscuous_)("all_multicast", all_multicast_)("all_unicast", all_unicast_);
  ar("no_multicast", no_multicast_)("no_unicast", no_unicast_)("no_broadcast", no_broadcast_);
  const auto table = [&](const char* name, Table& of) {
    std::vector<u8> bytes;
    for (const auto& address : of.addresses) bytes.insert(bytes.end(), address.begin(), address.end());
    ar(fmt::format("{}_overflow", name), of.overflow).bounded(name, bytes, kMostAddresses * kAddressBytes);
    if (!ar.is_loading()) return;
    of.addresses.resize(std::min(bytes.size() / kAddressBytes, kMostAddresses));
    for (std::size_t i = 0; i < of.addresses.size(); ++i) {
      std::copy_n(bytes.begin() + std::ptrdiff_t(i * kAddressBytes), kAddressBytes, of.addresses[i].begin());
    }
  };
  table("unicast", unicast_);
  table("multicast", multicast_);
  std::vector<u8> map(kVlans / 8);
  for (unsigned i = 0; i < kVlans; ++i) map[i / 8] = u8(map[i / 8] | (vlans_[i] ? 1u << (i % 8) : 0));
  ar.bounded("vlans", map, kVlans / 8);
  if (!ar.is_loading() || map.size() != kVlans / 8) return;
  for (unsigned i = 0; i < kVlans; ++i) vlans_[i] = (map[i / 8] >> (i % 8) & 1) != 0;
}

}  // namespace emu::hw
