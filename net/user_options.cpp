// SPDX-License-Identifier: Apache-2.0
#include "net/user_options.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/smb_server.h"
#include "util/string.h"

namespace emu::net {
namespace {

Result<in_addr> parse_v4(std::string_view text, std::string_view key) {
  in_addr address{};
  if (::inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) {
    return error("{}: '{}' is not an IPv4 address", key, text);
  }
  return address;
}
Result<in6_addr> parse_v6(std::string_view text, std::string_view key) {
  in6_addr address{};
  if (::inet_pton(AF_INET6, std::string(text).c_str(), &address) != 1) {
    return error("{}: '{}' is not an IPv6 address", key, text);
  }
  return address;
}

u32 host_order(in_addr address) { return ntohl(address.s_addr); }
in_addr from_host_order(u32 value) { return {htonl(value)}; }

Result<u16> parse_port(std::string_view text, std::string_view whole) {
  const auto number = parse_u64(text);
  if (!number || *number > 0xffff) return error("'{}' in '{}' is not a port", text, whole);
  return u16(*number);
}

/// What stands before `separator`, which must be there; `text` goes on behind it.
Result<std::string_view> cut(std::string_view& text, char separator, std::string_view whole, std::string_view form) {
  const auto at = text.find(separator);
  if (at == std::string_view::npos) {
    return error(Error(fmt::format("'{}' is no forwarding rule", whole)).with_hint(fmt::format("write {}", form)));
  }
  const std::string_view piece = text.substr(0, at);
  text.remove_prefix(at + 1);
  return piece;
}

constexpr std::string_view kHostForm = "[tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT";
constexpr std::string_view kGuestForm = "[tcp]:SERVER:PORT-cmd:COMMAND or [tcp]:SERVER:PORT-STREAM";

/// The protocol before the first ':'.
Result<bool> cut_udp(std::string_view& text, std::string_view whole, std::string_view form) {
  const std::string_view protocol = EMU_TRY(cut(text, ':', whole, form));
  if (protocol.empty() || protocol == "tcp") return false;
  if (protocol == "udp") return true;
  return error("'{}' in '{}' is neither tcp nor udp", protocol, whole);
}

/// Whether an address lies in the guest's network and is not the network itself.
Result<void> check_inside(const UserOptions& user, in_addr address, std::string_view key) {
  const u32 mask = host_order(user.mask);
  const u32 number = host_order(address) & ~mask;
  if ((host_order(address) & mask) == host_order(user.network) && number != 0 && number != ~mask) return {};
  char text[INET_ADDRSTRLEN];
  return error("{}={} is not an address in the guest's network", key,
               ::inet_ntop(AF_INET, &address, text, sizeof text));
}

/// An address in the guest's network; the one with that number when it is not given.
Result<in_addr> take_inside(Options& options, const UserOptions& user, const char* key, u32 number) {
  in_addr address = from_host_order(host_order(user.network) | (number & ~host_order(user.mask)));
  if (const auto given = options.take(key)) address = EMU_TRY(parse_v4(*given, key));
  EMU_TRY(check_inside(user, address, key));
  return address;
}

/// Options of a protocol that is switched off would do nothing.
Result<void> refuse_options_of(const Options& options, std::string_view protocol,
                               std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (options.has(key)) return error("'{}' has no meaning with {}=off", key, protocol);
  }
  return {};
}

bool has_prefix(const in6_addr& address, const in6_addr& prefix, unsigned bits) {
  for (unsigned i = 0; i < bits; i++) {
    const u8 mask = u8(0x80 >> (i % 8));
    if ((address.s6_addr[i / 8] & mask) != (prefix.s6_addr[i / 8] & mask)) return false;
  }
  return true;
}

Result<void> check_inside(const UserOptions& user, const in6_addr& address, std::string_view key) {
  if (has_prefix(address, user.prefix6, user.prefix6_length)) return {};
  char text[INET6_ADDRSTRLEN];
  return error("{}={} is not an address in the guest's network", key,
               ::inet_ntop(AF_INET6, &address, text, sizeof text));
}

/// As DNS has it (RFC 1035, 2.3.4): libslirp leaves out what is not.
Result<void> check_domain(std::string_view name) {
  constexpr std::size_t kLongestLabel = 63, kLongestName = 253;
  const std::string_view plain = name.ends_with('.') ? name.substr(0, name.size() - 1) : name;
  if (plain.size() > kLongestName) return error("'{}...' is longer than a domain may be", plain.substr(0, 60));
  for (const std::string_view label : split(plain, '.')) {
    if (label.empty()) return error("'{}' is not a domain: a part between dots is empty", name);
    if (label.size() > kLongestLabel) return error("'{}': a part is longer than {} characters", name, kLongestLabel);
  }
  return {};
}

/// libslirp leaves out what its reply has no room for.
Result<void> check_dhcp_reply(const UserOptions& user) {
  constexpr std::size_t kRoom = 260, kHeader = 2;  // 312 bytes less the options that are always there
  std::size_t bytes = 0;
  for (const std::string* name : {&user.hostname, &user.domain, &user.tftp_server_name}) {
    bytes += name->size() + kHeader;
  }
  for (const std::string& domain : user.dns_search) bytes += domain.size() + kHeader;
  if (bytes <= kRoom) return {};
  return error("'hostname', 'domainname', 'tftp-server-name' and 'dnssearch' are together too long for a DHCP reply");
}

/// The folder that TFTP serves from.
Result<void> check_tftp(const std::string& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) < 0) return error("folder '{}': {}", folder, std::strerror(errno));
  if (!S_ISDIR(status.st_mode)) return error("'{}' is not a folder", folder);
  if (::access(folder.c_str(), X_OK) < 0) return error("folder '{}': {}", folder, std::strerror(errno));
  return {};
}

Result<void> take_network(Options& options, UserOptions& user) {
  const std::string text = options.take("net").value_or("10.0.2.0/24");
  const auto slash = text.find('/');
  user.network = EMU_TRY(parse_v4(std::string_view(text).substr(0, slash), "net"));
  u32 mask = 0xffff'ff00;
  if (slash != std::string::npos) {
    const std::string bits = text.substr(slash + 1);
    if (bits.find('.') != std::string::npos) {
      mask = host_order(EMU_TRY(parse_v4(bits, "net")));
    } else {
      const auto count = parse_u64(bits);
      if (!count || *count < 4 || *count > 30) return error("net: '/{}' is not a number of bits, 4 to 30", bits);
      mask = ~u32(0) << (32 - *count);
    }
    if ((~mask & (~mask + 1)) != 0 || ~mask < 3) return error("net: '{}' is not a netmask with room for a guest", bits);
  }
  user.mask = from_host_order(mask);
  user.network = from_host_order(host_order(user.network) & mask);
  user.host = EMU_TRY(take_inside(options, user, "host", 2));
  user.dns = EMU_TRY(take_inside(options, user, "dns", 3));
  user.dhcp_start = EMU_TRY(take_inside(options, user, "dhcpstart", 15));
  if (host_order(user.host) == host_order(user.dns)) return error("'dns' and 'host' are the same address");
  for (const auto& [key, address] : {std::pair("host", user.host), std::pair("dns", user.dns)}) {
    if (host_order(user.dhcp_start) != host_order(address)) continue;
    return error("'dhcpstart' and '{}' are the same address", key);
  }
  return {};
}

Result<void> take_v6_network(Options& options, UserOptions& user) {
  std::string prefix = options.take("ipv6-net").value_or("");
  const auto prefix_only = options.take("ipv6-prefix");
  const auto length = EMU_TRY(options.take_u64("ipv6-prefixlen"));
  if (!prefix.empty() && (prefix_only || length)) return error("'ipv6-net' says what 'ipv6-prefix' would");
  if (prefix_only) prefix = *prefix_only;
  if (prefix.empty()) prefix = "fec0::";
  const auto slash = prefix.find('/');
  u64 bits = length.value_or(64);
  if (slash != std::string::npos) {
    const auto given = parse_u64(prefix.substr(slash + 1));
    if (!given) return error("ipv6-net: '{}' is not a number of bits", prefix.substr(slash + 1));
    bits = *given;
  }
  if (bits > 126) return error("ipv6-prefixlen: {} bits leave no room for a guest", bits);
  user.prefix6 = EMU_TRY(parse_v6(prefix.substr(0, slash), "ipv6-net"));
  user.prefix6_length = u8(bits);
  const auto inside = [&](const char* key, u8 number) -> Result<in6_addr> {
    if (const auto given = options.take(key)) return parse_v6(*given, key);
    in6_addr address = user.prefix6;
    address.s6_addr[15] = u8(address.s6_addr[15] | number);
    return address;
  };
  user.host6 = EMU_TRY(inside("ipv6-host", 2));
  user.dns6 = EMU_TRY(inside("ipv6-dns", 3));
  EMU_TRY(check_inside(user, user.host6, "ipv6-host"));
  EMU_TRY(check_inside(user, user.dns6, "ipv6-dns"));
  if (std::memcmp(&user.host6, &user.dns6, sizeof user.host6) == 0) {
    return error("'ipv6-dns' and 'ipv6-host' are the same address");
  }
  return {};
}

/// smb=FOLDER[,smbserver=ADDRESS], the fourth address when none is given. After the forwards.
Result<void> take_smb(Options& options, UserOptions& user) {
  const auto folder = options.take("smb");
  if (!folder) {
    if (options.has("smbserver")) return error("'smbserver' goes with 'smb' only");
    return {};
  }
  user.smb = EMU_TRY(path_to_share(*folder), "smb");
  user.smb_server = EMU_TRY(take_inside(options, user, "smbserver", 4));
  for (const auto& [key, address] :
       {std::pair("host", user.host), std::pair("dns", user.dns), std::pair("dhcpstart", user.dhcp_start)}) {
    if (host_order(user.smb_server) != host_order(address)) continue;
    return error("'smbserver' and '{}' are the same address", key);
  }
  for (const GuestForward& rule : user.guest_forwards) {
    const auto& ports = SmbServer::kPorts;
    const bool is_its_port = std::find(ports.begin(), ports.end(), rule.port) != ports.end();
    if (!is_its_port || host_order(rule.server) != host_order(user.smb_server)) continue;
    return error("guestfwd: port {} of that address is where 'smb' is served", rule.port);
  }
  return {};
}

}  // namespace

Result<HostForward> parse_host_end(std::string_view text) {
  HostForward rule;
  const std::string_view whole = text;
  rule.udp = EMU_TRY(cut_udp(text, whole, "[tcp|udp]:[HOSTADDR]:HOSTPORT"));
  const std::string_view host = EMU_TRY(cut(text, ':', whole, "[tcp|udp]:[HOSTADDR]:HOSTPORT"));
  rule.host.s_addr = htonl(INADDR_ANY);
  if (!host.empty()) rule.host = EMU_TRY(parse_v4(host, whole));
  rule.host_port = EMU_TRY(parse_port(text, whole));
  return rule;
}

Result<HostForward> parse_host_forward(std::string_view text) {
  const std::string_view whole = text;
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) {
    return error(Error(fmt::format("'{}' is no forwarding rule", whole)).with_hint(fmt::format("write {}", kHostForm)));
  }
  HostForward rule = EMU_TRY(parse_host_end(text.substr(0, dash)), std::string(whole));
  text.remove_prefix(dash + 1);
  const std::string_view guest = EMU_TRY(cut(text, ':', whole, kHostForm));
  if (!guest.empty()) rule.guest = EMU_TRY(parse_v4(guest, whole));
  rule.guest_port = EMU_TRY(parse_port(text, whole));
  if (rule.guest_port == 0) return error("'{}': the guest's port cannot be 0", whole);
  return rule;
}

Result<GuestForward> parse_guest_forward(std::string_view text) {
  GuestForward rule;
  const std::string_view whole = text;
  if (EMU_TRY(cut_udp(text, whole, kGuestForm))) return error("'{}': only tcp is forwarded", whole);
  const std::string_view server = EMU_TRY(cut(text, ':', whole, kGuestForm));
  const std::string_view port = EMU_TRY(cut(text, '-', whole, kGuestForm));
  rule.server = EMU_TRY(parse_v4(server, whole));
  rule.port = EMU_TRY(parse_port(port, whole));
  if (rule.port == 0) return error("'{}': the port cannot be 0", whole);
  if (text.starts_with("cmd:")) {
    rule.command = text.substr(4);
  } else {
    rule.stream = text;
  }
  if (rule.command.empty() && rule.stream.empty()) return error("'{}': there is nothing to forward to", whole);
  return rule;
}

Result<UserOptions> take_user_options(Options& options) {
  UserOptions user;
  const auto v4 = EMU_TRY(options.take_bool("ipv4"));
  const auto v6 = EMU_TRY(options.take_bool("ipv6"));
  user.ipv4 = v4.value_or(!v6.value_or(false));
  user.ipv6 = v6.value_or(!v4.value_or(false));
  if (!user.ipv4 && !user.ipv6) return error("ipv4 and ipv6 cannot both be off");
  if (!user.ipv4) {
    EMU_TRY(refuse_options_of(options, "ipv4", {"net", "host", "dns", "dhcpstart", "tftp", "bootfile", "smb"}));
  }
  if (!user.ipv6) {
    EMU_TRY(refuse_options_of(options, "ipv6", {"ipv6-net", "ipv6-prefix", "ipv6-prefixlen", "ipv6-host", "ipv6-dns"}));
  }
  EMU_TRY(take_network(options, user));
  EMU_TRY(take_v6_network(options, user));
  user.restricted = EMU_TRY(options.take_bool_or("restrict", false));
  user.hostname = options.take("hostname").value_or("");
  user.tftp = options.take("tftp").value_or("");
  user.tftp_server_name = options.take("tftp-server-name").value_or("");
  user.bootfile = options.take("bootfile").value_or("");
  user.domain = options.take("domainname").value_or("");
  user.dns_search = options.take_all("dnssearch");
  constexpr std::size_t kLongestName = 255, kLongestBootFile = 127;  // in BOOTP's fields and DHCP's options
  constexpr std::size_t kLongestHost = 32;                           // libslirp cuts a longer one
  if (user.hostname.size() > kLongestHost) {
    return error("hostname: longer than the {} characters that are told to the guest", kLongestHost);
  }
  if (user.tftp_server_name.size() > kLongestName || user.domain.size() > kLongestName) {
    return error("a name is longer than the {} characters that DHCP can tell", kLongestName);
  }
  if (user.bootfile.size() > kLongestBootFile) {
    return error("bootfile: longer than the {} characters that DHCP can tell", kLongestBootFile);
  }
  for (const std::string& domain : user.dns_search) EMU_TRY(check_domain(domain), "dnssearch");
  EMU_TRY(check_dhcp_reply(user));
  if (!user.tftp.empty()) EMU_TRY(check_tftp(user.tftp), "tftp");
  for (const std::string& rule : options.take_all("hostfwd")) {
    user.host_forwards.push_back(EMU_TRY(parse_host_forward(rule), "hostfwd"));
  }
  for (const std::string& rule : options.take_all("guestfwd")) {
    user.guest_forwards.push_back(EMU_TRY(parse_guest_forward(rule), "guestfwd"));
  }
  EMU_TRY(take_smb(options, user));
  return user;
}

}  // namespace emu::net
