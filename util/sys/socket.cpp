// SPDX-License-Identifier: Apache-2.0
#include "util/sys/socket.h"

#include <cerrno>
#include <cstring>

#include "util/fd.h"

namespace emu::sys {

/// A socket of another type cannot connect, and is told so only after the kernel has found one at the address and the
/// right to write to it.
int probe_unix_stream(const sockaddr* address, socklen_t size) {
  const Fd other_type(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!other_type) return errno;
  if (::connect(other_type.get(), address, size) == 0) return EPROTOTYPE;
  return errno == EPROTOTYPE ? 0 : errno;
}

Error listen_error(std::string_view address, int why) {
  Error plain(fmt::format("cannot listen on '{}': {}", address, std::strerror(why)));
  switch (why) {
    case EADDRINUSE:
      return std::move(plain).with_hint("end what is there already ('ss -lnp' shows it), or take another address");
    case EACCES:
      return std::move(plain).with_hint("ports below 1024 are for root; a path needs the right to write to its folder");
    case ENOENT:
      return std::move(plain).with_hint("its folder is not there: make that first");
    case EADDRNOTAVAIL:
      return std::move(plain).with_hint("that is no address of this host: leave it out for all of them");
    default:
      return plain;
  }
}

Error connect_error(std::string_view address, int why) {
  Error plain(fmt::format("cannot connect to '{}': {}", address, std::strerror(why)));
  if (why != ENOENT && why != ECONNREFUSED) return plain;
  return std::move(plain).with_hint("start first what listens there, or write reconnect=1 to try again each second");
}

}  // namespace emu::sys
