// SPDX-License-Identifier: Apache-2.0
#include "net/dgram_net.h"

#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "util/log.h"

namespace emu::net {
namespace {

bool is_multicast(const RawAddress& address) {
  if (address.family() != AF_INET) return false;
  sockaddr_in v4;
  std::memcpy(&v4, &address.storage, sizeof v4);
  return IN_MULTICAST(ntohl(v4.sin_addr.s_addr));
}

}  // namespace

Result<void> check_dgram(const DgramOptions& options) {
  if (options.local) EMU_TRY(check_address(*options.local, /*is_server=*/true, SOCK_DGRAM));
  if (options.remote) EMU_TRY(resolve(*options.remote, Use::Connect, SOCK_DGRAM));
  const bool is_unix = options.local && options.local->kind == SocketAddress::Kind::Unix;
  if (!is_unix) return {};
  if (!options.remote) return error("'remote.type=' is missing");
  if (options.local->kind == options.remote->kind) return {};
  return error("local and remote address are of different kinds");
}

DgramNet::~DgramNet() {
  const auto& local = options_.local;
  if (socket_ && local) remove_stale_socket(*local);
}

Result<void> DgramNet::open_group(const RawAddress& group) {
  sockaddr_in v4;
  std::memcpy(&v4, &group.storage, sizeof v4);
  socket_ = EMU_TRY(bind_datagram(group));
  ip_mreq request{};
  request.imr_multiaddr = v4.sin_addr;
  request.imr_interface.s_addr = htonl(INADDR_ANY);
  if (options_.local && options_.local->kind == SocketAddress::Kind::Inet) {
    sockaddr_in local;
    const RawAddress raw = EMU_TRY(resolve(*options_.local, Use::Listen, SOCK_DGRAM));
    if (raw.family() != AF_INET) return error("the local address of a multicast group must be IPv4");
    std::memcpy(&local, &raw.storage, sizeof local);
    request.imr_interface = local.sin_addr;
    if (::setsockopt(socket_.get(), IPPROTO_IP, IP_MULTICAST_IF, &local.sin_addr, sizeof local.sin_addr) < 0) {
      return error("cannot send to a multicast group from '{}': {}", options_.local->text(), std::strerror(errno));
    }
  }
  if (::setsockopt(socket_.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request) < 0) {
    return error("cannot join the multicast group '{}': {}", to_text(group), std::strerror(errno));
  }
  const int loop = 1;  // other programs on this host want to hear us
  ::setsockopt(socket_.get(), IPPROTO_IP, IP_MULTICAST_LOOP, &loop, sizeof loop);
  return {};
}

Result<void> DgramNet::open(const DgramOptions& options, EventLoop& loop) {
  set_loop(loop);
  options_ = options;
  if (options.remote && options.remote->kind != SocketAddress::Kind::Fd) {
    remote_ = EMU_TRY(resolve(*options.remote, Use::Connect, SOCK_DGRAM));
  }
  const bool local_fd = options.local && options.local->kind == SocketAddress::Kind::Fd;
  if (local_fd) {
    socket_ = EMU_TRY(adopt_socket(options.local->fd, SOCK_DGRAM));
  } else if (remote_ && is_multicast(*remote_)) {
    EMU_TRY(open_group(*remote_));
  } else {
    if (!options.local) return error("'local.type=' is missing: only a multicast group needs no local address");
    if (!remote_) return error("'remote.type=' is missing");
    if (options.local->kind != options.remote->kind) return error("local and remote address are of different kinds");
    const RawAddress local = EMU_TRY(resolve(*options.local, Use::Listen, SOCK_DGRAM));
    remove_stale_socket(*options.local);
    socket_ = EMU_TRY(bind_datagram(local));
  }
  state_ = fmt::format("local={}{}", options.local ? options.local->text() : "any",
                       options.remote ? ",remote=" + options.remote->text() : "");
  buffer_.resize(kMostPacketBytes);
  watch_ = loop.watch_fd(socket_.get(), FdEvents::Read, [this](FdEvents) { socket_ready(); });
  return {};
}

void DgramNet::socket_ready() {
  constexpr unsigned kMostAtOnce = 64;
  for (unsigned i = 0; i < kMostAtOnce; i++) {
    const ssize_t count = ::recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count < 0) return;
    const iovec part{buffer_.data(), std::size_t(count)};
    if (count != 0 && !send(Packet{.parts = {&part, 1}})) {
      kept_ = std::size_t(count);
      return watch_.set_events(FdEvents::None);
    }
  }
}

void DgramNet::peer_ready() {
  if (kept_ == 0) return;
  const iovec part{buffer_.data(), kept_};
  if (!send(Packet{.parts = {&part, 1}})) return;
  kept_ = 0;
  watch_.set_events(FdEvents::Read);
}

/// A datagram that the host has no room for is lost, as on any network.
bool DgramNet::receive(const Packet& packet) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(packet.parts.data());
  message.msg_iovlen = packet.parts.size();
  if (remote_) {
    message.msg_name = &remote_->storage;
    message.msg_namelen = remote_->size;
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return true;
}

}  // namespace emu::net
