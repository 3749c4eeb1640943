// SPDX-License-Identifier: Apache-2.0
#include "net/stream_net.h"

#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "util/log.h"

namespace emu::net {
namespace {

constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kReadBytes = 64 * 1024;

u32 length_at(const std::vector<u8>& bytes, std::size_t at) {
  return u32(bytes[at]) << 24 | u32(bytes[at + 1]) << 16 | u32(bytes[at + 2]) << 8 | bytes[at + 3];
}

SocketAddress other_end(int fd, const SocketAddress& address) {
  RawAddress raw;
  raw.size = sizeof raw.storage;
  if (address.kind == SocketAddress::Kind::Unix) return address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&raw.storage), &raw.size) < 0) return address;
  const auto numbers = parse_host_port(to_text(raw));
  return numbers ? *numbers : address;  // an inherited one may be of any family
}

}  // namespace

Result<Fd> check_stream(const StreamOptions& options) {
  if (options.server && options.address.kind == SocketAddress::Kind::Inet) return listen_on(options.address);
  if (options.server || options.reconnect_s == 0) EMU_TRY(check_address(options.address, options.server));
  return Fd();
}

StreamNet::~StreamNet() {
  const bool made_path = listener_.is_valid() && options_.address.kind == SocketAddress::Kind::Unix;
  if (made_path && !options_.address.abstract) ::unlink(options_.address.path.c_str());
}

Result<void> StreamNet::open(const StreamOptions& options, EventLoop& loop) {
  set_loop(loop);
  options_ = options;
  if (options.server) {
    listener_ = EMU_TRY(listen_on(options.address));
    state_ = "listening on " + options.address.text();
    listener_watch_ = loop.watch_fd(listener_.get(), FdEvents::Read, [this](FdEvents) { accept_client(); });
    return {};
  }
  if (options.reconnect_s != 0) {
    timers_ = EMU_TRY(loop.attach(clock_.main_queue()));
    retry_ = clock_.make_timer([this] { begin_connecting(); });
    begin_connecting();
    return {};
  }
  adopt(EMU_TRY(start_connecting(options.address)));
  return {};
}

void StreamNet::begin_connecting() {
  auto connection = start_connecting(options_.address);
  if (connection) return adopt(std::move(*connection));
  state_ = connection.error().message();
  retry_.arm_after(std::chrono::seconds(options_.reconnect_s));
}

void StreamNet::accept_client() {
  Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  listener_watch_.set_events(FdEvents::None);  // one at a time; others wait in the kernel
  adopt(std::move(fd));
}

void StreamNet::adopt(Fd connection) {
  connection_ = std::move(connection);
  connecting_ = !options_.server && options_.address.kind != SocketAddress::Kind::Fd;
  state_ = "connecting to " + options_.address.text();
  held_up_ = false;
  watch_ = loop().watch_fd(connection_.get(), FdEvents::None, [this](FdEvents ready) { socket_ready(ready); });
  if (!connecting_) established();
  update_events();
}

void StreamNet::established() {
  connecting_ = false;
  const SocketAddress where = other_end(connection_.get(), options_.address);
  state_ = (options_.server ? "connection from " : "connected to ") + where.text();
  if (changed_) changed_(where);
}

void StreamNet::disconnected(const std::string& why) {
  const bool was_up = !connecting_;
  watch_.reset();
  connection_.reset();
  connecting_ = false;
  input_.clear();
  input_used_ = 0;
  output_.clear();
  state_ = "disconnected";
  if (options_.server) {
    listener_watch_.set_events(FdEvents::Read);
    state_ = "listening on " + options_.address.text();
  } else if (options_.reconnect_s != 0) {
    retry_.arm_after(std::chrono::seconds(options_.reconnect_s));
  } else {
    log::warn("netdev '{}': {}: {}", name(), options_.address.text(), why);
  }
  if (was_up && changed_) changed_(std::nullopt);
  ready();  // from now on packets fall away, and nobody should wait
}

void StreamNet::update_events() {
  if (!connection_) return;
  const bool write = connecting_ || !output_.empty();
  const bool read = !connecting_ && !held_up_;
  watch_.set_events((write ? FdEvents::Write : FdEvents::None) | (read ? FdEvents::Read : FdEvents::None));
}

void StreamNet::socket_ready(FdEvents ready) {
  if (connecting_) {
    int failure = 0;
    socklen_t size = sizeof failure;
    ::getsockopt(connection_.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
    if (failure != 0) return disconnected(std::strerror(failure));
    established();
    return update_events();
  }
  if (any(ready & FdEvents::Write) && !flush()) return;
  if (any(ready & (FdEvents::Read | FdEvents::HangUp)) && !held_up_) return read_input();
  update_events();
}

/// False when the connection broke.
bool StreamNet::flush() {
  while (!output_.empty()) {
    const ssize_t sent = ::send(connection_.get(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return true;
      disconnected(std::strerror(errno));
      return false;
    }
    output_.erase(output_.begin(), output_.begin() + sent);
  }
  NetClient::ready();
  return true;
}

void StreamNet::read_input() {
  const std::size_t old = input_.size();
  input_.resize(old + kReadBytes);
  const ssize_t count = ::recv(connection_.get(), input_.data() + old, kReadBytes, MSG_DONTWAIT);
  input_.resize(old + std::size_t(count > 0 ? count : 0));
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return update_events();
  if (count <= 0) return disconnected(count == 0 ? "the other end closed the connection" : std::strerror(errno));
  if (take_frames()) update_events();
}

/// Hands whole frames to the peer until it has no room. False when the connection had to be given up.
bool StreamNet::take_frames() {
  held_up_ = false;
  while (input_.size() - input_used_ >= kLengthBytes) {
    const u32 length = length_at(input_, input_used_);
    if (length > kMostPacketBytes) {
      disconnected(fmt::format("a packet of {} bytes is announced, which is no packet", length));
      return false;
    }
    if (input_.size() - input_used_ - kLengthBytes < length) break;
    const iovec part{input_.data() + input_used_ + kLengthBytes, length};
    if (length != 0 && !send(Packet{.parts = {&part, 1}})) {
      held_up_ = true;
      break;
    }
    if (!connection_) return false;
    input_used_ += kLengthBytes + length;
  }
  input_.erase(input_.begin(), input_.begin() + std::ptrdiff_t(input_used_));
  input_used_ = 0;
  return true;
}

void StreamNet::peer_ready() {
  if (held_up_ && take_frames()) update_events();
}

bool StreamNet::receive(const Packet& packet) {
  if (!is_connected()) return true;
  if (!output_.empty()) return false;
  const std::size_t bytes = packet.bytes();
  const u8 length[kLengthBytes] = {u8(bytes >> 24), u8(bytes >> 16), u8(bytes >> 8), u8(bytes)};
  std::vector<iovec> parts{{const_cast<u8*>(length), sizeof length}};
  parts.insert(parts.end(), packet.parts.begin(), packet.parts.end());
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t sent;
  do {
    sent = ::sendmsg(connection_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno == EAGAIN) sent = 0;
  if (sent < 0) {
    disconnected(std::strerror(errno));
    return true;
  }
  std::size_t skip = std::size_t(sent);
  if (skip == bytes + sizeof length) return true;
  for (const iovec& part : parts) {  // the packet is ours now; the next one must wait
    const std::size_t here = std::min(skip, part.iov_len);
    const auto* from = static_cast<const u8*>(part.iov_base);
    output_.insert(output_.end(), from + here, from + part.iov_len);
    skip -= here;
  }
  update_events();
  return true;
}

}  // namespace emu::net
