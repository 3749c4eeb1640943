// SPDX-License-Identifier: Apache-2.0
#include "net/socket_address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "util/file.h"
#include "util/string.h"
#include "util/sys/socket.h"

namespace emu::net {
namespace {

constexpr int kFlags = SOCK_CLOEXEC | SOCK_NONBLOCK;

Result<void> check_socket(int fd, int type) {
  int actual = 0;
  socklen_t size = sizeof actual;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &actual, &size) < 0) return error("fd {} is not an open socket", fd);
  if (actual == type) return {};
  return error("fd {} is not a {} socket", fd, type == SOCK_STREAM ? "stream" : "datagram");
}

Result<RawAddress> raw_unix(const SocketAddress& address) {
  RawAddress raw;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const std::size_t skip = address.abstract ? 1 : 0;
  if (address.path.empty()) return error("the path of a unix socket is empty");
  if (address.path.size() + 1 > sizeof name.sun_path) {
    return error("'{}' is longer than the {} characters a socket's path may have", address.path,
                 sizeof name.sun_path - 1);
  }
  std::memcpy(name.sun_path + skip, address.path.data(), address.path.size());
  std::memcpy(&raw.storage, &name, sizeof name);
  raw.size = address.abstract ? socklen_t(offsetof(sockaddr_un, sun_path) + 1 + address.path.size()) : sizeof name;
  return raw;
}

int family_of(const SocketAddress& address) {
  const bool v4 = address.ipv4.value_or(!address.ipv6.value_or(false));
  const bool v6 = address.ipv6.value_or(!address.ipv4.value_or(false));
  return v4 == v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
}

}  // namespace

std::string SocketAddress::text() const {
  switch (kind) {
    case Kind::Unix:
      return "unix:" + path;
    case Kind::Fd:
      return fmt::format("fd:{}", fd);
    case Kind::Inet:
      break;
  }
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<SocketAddress> parse_host_port(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size()) {
    return error("'{}' is not an address: write HOST:PORT", text);
  }
  std::string_view host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return SocketAddress{.host = std::string(host), .port = std::string(text.substr(colon + 1))};
}

Result<std::optional<SocketAddress>> take_address(Options& options, const std::string& prefix) {
  const auto kind = EMU_TRY(options.take_enum(prefix + "type", {"inet", "unix", "fd"}));
  if (!kind) return std::optional<SocketAddress>();
  SocketAddress address;
  address.kind = SocketAddress::Kind(*kind);
  switch (address.kind) {
    case SocketAddress::Kind::Inet:
      address.host = EMU_TRY(options.take_required(prefix + "host"));
      address.port = EMU_TRY(options.take_required(prefix + "port"));
      address.ipv4 = EMU_TRY(options.take_bool(prefix + "ipv4"));
      address.ipv6 = EMU_TRY(options.take_bool(prefix + "ipv6"));
      address.numeric = EMU_TRY(options.take_bool_or(prefix + "numeric", false));
      for (const char* key : {"keep-alive", "mptcp"}) {
        if (EMU_TRY(options.take_bool_or(prefix + key, false))) return error("'{}{}' is not supported", prefix, key);
      }
      if (options.take(prefix + "to")) return error("'{}to' is not supported: name one port", prefix);
      break;
    case SocketAddress::Kind::Unix:
      address.path = EMU_TRY(options.take_required(prefix + "path"));
      address.abstract = EMU_TRY(options.take_bool_or(prefix + "abstract", false));
      if (!EMU_TRY(options.take_bool_or(prefix + "tight", true))) {
        return error("'{}tight=off' is not supported: abstract names are as long as they are written", prefix);
      }
      break;
    case SocketAddress::Kind::Fd: {
      const std::string text = EMU_TRY(options.take_required(prefix + "str"));
      const auto number = parse_u64(text);
      if (!number || *number > 0x7fff'ffff) return error("{}str: '{}' is not a file descriptor", prefix, text);
      address.fd = int(*number);
      break;
    }
  }
  return std::optional(address);
}

Result<RawAddress> resolve(const SocketAddress& address, Use use, int type) {
  if (address.kind == SocketAddress::Kind::Unix) return raw_unix(address);
  addrinfo hints{};
  hints.ai_socktype = type;
  hints.ai_family = family_of(address);
  hints.ai_flags = (use == Use::Listen ? AI_PASSIVE : 0) | (address.numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0);
  const char* host = address.host.empty() ? nullptr : address.host.c_str();
  if (host == nullptr && hints.ai_family == AF_UNSPEC) hints.ai_family = AF_INET;
  // getaddrinfo() would take the lower 16 bits.
  if (const auto number = parse_u64(address.port); number && *number > 0xffff) {
    return error("'{}' in '{}' is not a port: 65535 is the last", address.port, address.text());
  }
  addrinfo* list = nullptr;
  if (const int failure = ::getaddrinfo(host, address.port.c_str(), &hints, &list); failure != 0) {
    return error("cannot resolve '{}': {}", address.text(), ::gai_strerror(failure));
  }
  RawAddress raw;
  std::memcpy(&raw.storage, list->ai_addr, list->ai_addrlen);
  raw.size = list->ai_addrlen;
  ::freeaddrinfo(list);
  return raw;
}

std::string to_text(const RawAddress& address) {
  char host[INET6_ADDRSTRLEN] = "";
  if (address.family() == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address.storage, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
    return fmt::format("{}:{}", host, ntohs(v4.sin_port));
  }
  if (address.family() == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address.storage, sizeof v6);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(v6.sin6_port));
  }
  sockaddr_un name{};
  std::memcpy(&name, &address.storage, sizeof name);
  const std::size_t skip = name.sun_path[0] == 0 ? 1 : 0;  // an abstract name
  return fmt::format("unix:{}", std::string_view(name.sun_path + skip, ::strnlen(name.sun_path + skip,
                                                                                sizeof name.sun_path - skip)));
}

void remove_stale_socket(const SocketAddress& address) {
  if (address.kind != SocketAddress::Kind::Unix || address.abstract) return;
  struct stat status {};
  if (::lstat(address.path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) ::unlink(address.path.c_str());
}

Result<void> check_address(const SocketAddress& address, bool is_server, int type) {
  if (address.kind == SocketAddress::Kind::Fd) return check_socket(address.fd, type);
  const RawAddress raw = EMU_TRY(resolve(address, is_server ? Use::Listen : Use::Connect, type));
  if (address.kind != SocketAddress::Kind::Unix) return {};
  if (!is_server) {
    const int why = sys::probe_unix_stream(raw.get(), raw.size);
    return why == 0 ? Result<void>() : error(sys::connect_error(address.text(), why));
  }
  if (address.abstract) return {};
  struct stat status {};
  if (::lstat(address.path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
    return error(sys::listen_error(address.text(), EADDRINUSE));
  }
  if (::access(folder_of(address.path).c_str(), W_OK | X_OK) == 0) return {};
  return error(sys::listen_error(address.text(), errno));
}

Result<Fd> listen_on(const SocketAddress& address) {
  if (address.kind == SocketAddress::Kind::Fd) return adopt_socket(address.fd, SOCK_STREAM);
  const RawAddress raw = EMU_TRY(resolve(address, Use::Listen));
  Fd fd(::socket(raw.family(), SOCK_STREAM | kFlags, 0));
  if (!fd) return error("cannot make a socket: {}", std::strerror(errno));
  remove_stale_socket(address);
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd.get(), raw.get(), raw.size) < 0 || ::listen(fd.get(), 1) < 0) {
    return error(sys::listen_error(address.text(), errno));
  }
  return fd;
}

Result<Fd> start_connecting(const SocketAddress& address) {
  if (address.kind == SocketAddress::Kind::Fd) return adopt_socket(address.fd, SOCK_STREAM);
  const RawAddress raw = EMU_TRY(resolve(address, Use::Connect));
  Fd fd(::socket(raw.family(), SOCK_STREAM | kFlags, 0));
  if (!fd) return error("cannot make a socket: {}", std::strerror(errno));
  if (::connect(fd.get(), raw.get(), raw.size) < 0 && errno != EINPROGRESS) {
    return error(sys::connect_error(address.text(), errno));
  }
  const int one = 1;
  if (raw.family() != AF_UNIX) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

Result<Fd> bind_datagram(const RawAddress& address) {
  Fd fd(::socket(address.family(), SOCK_DGRAM | kFlags, 0));
  if (!fd) return error("cannot make a socket: {}", std::strerror(errno));
  const int one = 1;
  if (address.family() != AF_UNIX) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(fd.get(), address.get(), address.size) < 0) {
    return error(sys::listen_error(to_text(address), errno));
  }
  return fd;
}

Result<Fd> adopt_fd(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return error("fd {}: no such descriptor was inherited", fd);
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  return Fd(fd);
}

Result<Fd> adopt_socket(int fd, int type) {
  EMU_TRY(check_socket(fd, type));
  return adopt_fd(fd);
}

}  // namespace emu::net
