// SPDX-License-Identifier: Apache-2.0
#include "net/mac_address.h"

#include <algorithm>

namespace emu::net {
namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string to_text(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

Result<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac{};
  std::size_t at = 0;
  for (std::size_t i = 0; i < mac.size(); i++) {
    if (i > 0 && (at >= text.size() || (text[at] != ':' && text[at] != '-'))) at = std::string_view::npos;
    if (at == std::string_view::npos) break;
    if (i > 0) at++;
    unsigned digits = 0, value = 0;
    while (digits < 2 && at < text.size() && digit_of(text[at]) >= 0) {
      value = value * 16 + unsigned(digit_of(text[at++]));
      digits++;
    }
    if (digits == 0) {
      at = std::string_view::npos;
      break;
    }
    mac[i] = u8(value);
  }
  if (at != text.size()) return error("'{}' is not an Ethernet address: write six bytes like 52:54:00:12:34:56", text);
  if ((mac[0] & 1) != 0) return error("'{}' is a multicast address: the first byte must be even", text);
  return mac;
}

}  // namespace emu::net

namespace emu::qom {

Result<net::MacAddress> PropertyCodec<net::MacAddress>::from(const PropertyValue& value) {
  const auto* text = value.get_if<std::string>();
  if (text == nullptr) return error("expects an Ethernet address like 52:54:00:12:34:56");
  return net::parse_mac(*text);
}

}  // namespace emu::qom
