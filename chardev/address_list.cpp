// SPDX-License-Identifier: Apache-2.0
#include "chardev/address_list.h"

#include <sys/socket.h>

#include "util/string.h"

namespace emu::chardev {
namespace {

template <typename Family>
int number_of(Family family) {
  return family == Family::V4 ? AF_INET : family == Family::V6 ? AF_INET6 : AF_UNSPEC;
}

}  // namespace

Result<AddressList> resolve(const std::string& name, const std::string& host, const std::string& port,
                            const addrinfo& hints) {
  const char* const node = host.empty() ? nullptr : host.c_str();
  // getaddrinfo() would take the lower 16 bits.
  if (const auto number = parse_u64(port); number && *number > 0xffff) {
    return error("'{}' in '{}' is not a port: 65535 is the last", port, name);
  }
  addrinfo* first = nullptr;
  if (const int failure = ::getaddrinfo(node, port.c_str(), &hints, &first); failure != 0) {
    return error("cannot resolve '{}': {}", name, ::gai_strerror(failure));
  }
  return AddressList(first);
}

std::string name_of(const SocketOptions& options) {
  if (!options.path.empty()) return (options.abstract ? "unix:@" : "unix:") + options.path;
  if (options.fd) return fmt::format("fd:{}", *options.fd);
  const bool bracket = options.host.find(':') != std::string::npos;
  return fmt::format("{}:{}{}{}:{}", options.telnet ? "telnet" : "tcp", bracket ? "[" : "", options.host,
                     bracket ? "]" : "", options.port);
}

Result<AddressList> resolve(const SocketOptions& options) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = options.server ? AI_PASSIVE : 0;
  hints.ai_family = number_of(options.family);
  return resolve(name_of(options), options.host, options.port, hints);
}

Result<AddressList> resolve(const UdpOptions& options) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_family = number_of(options.family);
  return resolve(fmt::format("udp:{}:{}", options.host, options.port), options.host, options.port, hints);
}

Result<void> check_socket(int fd, bool server) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0) return error("fd {} is not a socket", fd);
  if (server == (listening != 0)) return {};
  return error("fd {} is {} listening socket, which does not go with server={}", fd, listening ? "a" : "not a",
               server ? "on" : "off");
}

}  // namespace emu::chardev
