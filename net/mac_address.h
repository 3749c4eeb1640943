// SPDX-License-Identifier: Apache-2.0
// Ethernet addresses as users write them: 52:54:00:12:34:56.
#pragma once

#include <string>
#include <string_view>

#include "net/net_client.h"
#include "qom/property.h"

namespace emu::net {

std::string to_text(const MacAddress& mac);
/// Six bytes in hexadecimal, with ':' or '-' between. Errors: anything else, a multicast address.
Result<MacAddress> parse_mac(std::string_view text);

}  // namespace emu::net

namespace emu::qom {
template <>
struct PropertyCodec<net::MacAddress> {
  static std::string type_name() { return "str"; }
  static Result<net::MacAddress> from(const PropertyValue& value);
  static PropertyValue to(const net::MacAddress& mac) { return net::to_text(mac); }
};
}  // namespace emu::qom
