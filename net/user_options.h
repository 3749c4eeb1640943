// SPDX-License-Identifier: Apache-2.0
// -netdev user as typed options.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

#include "util/options.h"
#include "util/result.h"

namespace emu::net {

/// A port of the host that leads to one of the guest.
struct HostForward {
  bool udp = false;
  in_addr host = {}, guest = {};
  u16 host_port = 0, guest_port = 0;
};
/// An address in the guest's network that leads to a command or a stream of the host.
struct GuestForward {
  in_addr server = {};
  u16 port = 0;
  std::string command = {};  ///< or
  std::string stream = {};   ///< as after -serial
};

struct UserOptions {
  bool ipv4 = true, ipv6 = true, restricted = false;
  in_addr network = {}, mask = {}, host = {}, dhcp_start = {}, dns = {}, smb_server = {};
  in6_addr prefix6 = {}, host6 = {}, dns6 = {};
  u8 prefix6_length = 64;
  std::string hostname, tftp, tftp_server_name, bootfile, domain;
  std::string smb;  ///< a folder that smbd serves at smb_server; empty: none
  std::vector<std::string> dns_search;
  std::vector<HostForward> host_forwards;
  std::vector<GuestForward> guest_forwards;
};

Result<UserOptions> take_user_options(Options& options);
/// "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT".
Result<HostForward> parse_host_forward(std::string_view text);
/// "[tcp|udp]:[HOSTADDR]:HOSTPORT": the rule that is to go.
Result<HostForward> parse_host_end(std::string_view text);
/// "[tcp]:SERVER:PORT-cmd:COMMAND" or "...-STREAM".
Result<GuestForward> parse_guest_forward(std::string_view text);

}  // namespace emu::net
