// SPDX-License-Identifier: Apache-2.0
// Where packet sockets are: addresses as options write them, and descriptors opened there.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>

#include "util/fd.h"
#include "util/options.h"
#include "util/result.h"

namespace emu::net {

struct SocketAddress {
  enum class Kind { Inet, Unix, Fd } kind = Kind::Inet;
  std::string host = {}, port = {};
  std::optional<bool> ipv4 = {}, ipv6 = {};
  bool numeric = false;  ///< no name is looked up
  std::string path = {};
  bool abstract = false;
  int fd = -1;

  /// "127.0.0.1:1234", "unix:/tmp/s", "fd:7".
  std::string text() const;
};

/// "HOST:PORT", "[V6]:PORT", ":PORT".
Result<SocketAddress> parse_host_port(std::string_view text);
/// Takes PREFIXtype, PREFIXhost, PREFIXport, PREFIXpath, PREFIXstr...; nothing when there is no PREFIXtype.
Result<std::optional<SocketAddress>> take_address(Options& options, const std::string& prefix);

/// An address as the kernel wants it.
struct RawAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};
enum class Use { Listen, Connect };
Result<RawAddress> resolve(const SocketAddress& address, Use use, int type = SOCK_STREAM);
std::string to_text(const RawAddress& address);

/// Removes the socket that an earlier program left at a unix address; what is no socket stays.
void remove_stale_socket(const SocketAddress& address);
/// What using the address would find wrong, as far as that can be seen without opening it.
Result<void> check_address(const SocketAddress& address, bool is_server, int type = SOCK_STREAM);
// All descriptors are non-blocking and close on exec.
Result<Fd> listen_on(const SocketAddress& address);
/// The connection may still be under way: it is once the descriptor is writable, or broken by SO_ERROR.
Result<Fd> start_connecting(const SocketAddress& address);
Result<Fd> bind_datagram(const RawAddress& address);
/// Takes a descriptor that somebody else opened. Errors: it is no socket of that type.
Result<Fd> adopt_socket(int fd, int type);
/// Makes an inherited descriptor ours: non-blocking, closed on exec.
Result<Fd> adopt_fd(int fd);

}  // namespace emu::net
