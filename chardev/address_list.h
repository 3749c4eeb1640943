// SPDX-License-Identifier: Apache-2.0
// What a host's name and a port stand for.
#pragma once

#include <netdb.h>

#include <memory>
#include <string>

#include "chardev/chardev_options.h"
#include "util/result.h"

namespace emu::chardev {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
/// The first of them, never null.
using AddressList = std::unique_ptr<addrinfo, FreeAddresses>;

/// An empty host is this one: any of its addresses with AI_PASSIVE, else the loopback. May ask a name server. Errors
/// call it `name`.
Result<AddressList> resolve(const std::string& name, const std::string& host, const std::string& port,
                            const addrinfo& hints);

/// "tcp:[::1]:1234", "unix:PATH", "fd:7".
std::string name_of(const SocketOptions& options);
Result<AddressList> resolve(const SocketOptions& options);
/// Where a datagram goes.
Result<AddressList> resolve(const UdpOptions& options);

/// Whether a descriptor is a socket that listens, for a server, or does not. It stays as it is.
Result<void> check_socket(int fd, bool server);

}  // namespace emu::chardev
