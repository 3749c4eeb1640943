// SPDX-License-Identifier: Apache-2.0
// Single messages to and from a vhost-user back end, whose words are checked here.
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "hw/virtio/vhost/vhost_user.h"
#include "util/log.h"

namespace emu::hw {

using namespace vhost_user;

namespace {

constexpr std::size_t kMostFds = kMostRegions;
/// Longer requests of a back end's have no meaning here.
constexpr u32 kMostSlaveBytes = 4096;

std::span<const u8> bytes_of(const auto& value) { return {reinterpret_cast<const u8*>(&value), sizeof value}; }

}  // namespace

/// The rest of the stream has no meaning any more. Who watches the connection hears of its end.
tl::unexpected<Error> VhostUser::give_up(std::string why) {
  broken_ = true;
  ::shutdown(connection_.get(), SHUT_RDWR);
  return error("{}: {}", name(), why);
}

Result<void> VhostUser::send(Request request, std::span<const u8> payload, std::span<const int> fds, u32 flags) {
  if (!is_connected()) return error("{}: nobody is connected", name());
  EMU_CHECK(fds.size() <= kMostFds);
  const Header header{u32(request), kVersion | flags, u32(payload.size())};
  std::vector<u8> bytes(sizeof header + payload.size());
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof header, payload.data(), payload.size());

  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))] = {};
  msghdr message{};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
  }
  for (std::size_t done = 0; done < bytes.size();) {
    iovec rest{bytes.data() + done, bytes.size() - done};
    message.msg_iov = &rest;
    message.msg_iovlen = 1;
    const ssize_t sent = ::sendmsg(connection_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      done += std::size_t(sent);
      message.msg_control = nullptr;  // they went with the first byte
      message.msg_controllen = 0;
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return give_up(std::strerror(errno));
    pollfd room{connection_.get(), POLLOUT, 0};
    if (::poll(&room, 1, int(kPatience.count())) == 0) return give_up("the back end takes no requests");
  }
  return {};
}

Result<void> VhostUser::receive_bytes(std::span<u8> to) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!to.empty()) {
    const ssize_t got = ::recv(connection_.get(), to.data(), to.size(), MSG_DONTWAIT);
    if (got > 0) {
      to = to.subspan(std::size_t(got));
      continue;
    }
    if (got == 0) return give_up("the back end closed the connection");
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return give_up(std::strerror(errno));
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return give_up(fmt::format("no answer within {} s", kPatience.count() / 1000));
    pollfd ready{connection_.get(), POLLIN, 0};
    ::poll(&ready, 1, int(left.count()));
  }
  return {};
}

Result<void> VhostUser::receive(Request request, std::span<u8> payload) {
  Header header;
  EMU_TRY(receive_bytes({reinterpret_cast<u8*>(&header), sizeof header}));
  if (header.request != u32(request) || (header.flags & (kVersionMask | kReply)) != (kVersion | kReply)) {
    return give_up(fmt::format("the answer to request {} is of another ({}, flags {:#x})", u32(request), header.request,
                               header.flags));
  }
  if (header.size == 0 && !payload.empty()) return error("{}: the back end refuses request {}", name(), u32(request));
  if (header.size != payload.size()) {
    return give_up(fmt::format("the answer to request {} has {} bytes, not {}", u32(request), header.size,
                               payload.size()));
  }
  return receive_bytes(payload);
}

Result<void> VhostUser::order(Request request, std::span<const u8> payload, std::span<const int> fds) {
  const bool answers = (protocol_ & kProtocolReplyAck) != 0;
  EMU_TRY(send(request, payload, fds, answers ? kNeedReply : 0));
  if (!answers) return {};
  u64 result = 0;
  EMU_TRY(receive(request, {reinterpret_cast<u8*>(&result), sizeof result}));
  if (result != 0) return error("{}: the back end refuses request {}", name(), u32(request));
  return {};
}

Result<u64> VhostUser::ask_number(Request request) {
  EMU_TRY(send(request, {}, {}));
  u64 number = 0;
  EMU_TRY(receive(request, {reinterpret_cast<u8*>(&number), sizeof number}));
  return number;
}

Result<void> VhostUser::order_number(Request request, u64 number, std::span<const int> fds) {
  return send(request, bytes_of(number), fds);
}

// Requests of the back end's. ----------------------------------------------------------------------------------------

void VhostUser::slave_ready() {
  u8 bytes[512];
  const ssize_t got = ::recv(slave_.get(), bytes, sizeof bytes, MSG_DONTWAIT);  // descriptors are dropped
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const mem::MachineLockScope lock(machine_.memory().lock());
  if (got > 0) slave_bytes_.insert(slave_bytes_.end(), bytes, bytes + got);
  while (got > 0 && take_slave_message()) {
  }
  if (got > 0 && slave_watch_.is_active()) return;
  slave_watch_.reset();
  slave_.reset();
}

/// True when there may be another.
bool VhostUser::take_slave_message() {
  Header header;
  if (slave_bytes_.size() < sizeof header) return false;
  std::memcpy(&header, slave_bytes_.data(), sizeof header);
  if ((header.flags & (kVersionMask | kReply)) != kVersion || header.size > kMostSlaveBytes) {
    log::warn("{}: a request of the back end's makes no sense (flags {:#x}, {} bytes): no more are taken", name(),
              header.flags, header.size);
    slave_watch_.reset();
    return false;
  }
  const std::size_t whole = sizeof header + header.size;
  if (slave_bytes_.size() < whole) return false;
  slave_bytes_.erase(slave_bytes_.begin(), slave_bytes_.begin() + std::ptrdiff_t(whole));
  const bool known = header.request == u32(SlaveRequest::ConfigChange) && (protocol_ & kProtocolConfig) != 0;
  if ((header.flags & kNeedReply) != 0) {  // before the work, for which the back end must listen to us
    struct {
      Header header;
      u8 number[8] = {};
    } answer{{header.request, kVersion | kReply, 8}};
    answer.number[0] = known ? 0 : 1;
    if (::send(slave_.get(), &answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT) != ssize_t(sizeof answer)) {
      slave_watch_.reset();
      return false;
    }
  }
  if (known && events_.config_changed) events_.config_changed();
  return slave_watch_.is_active();
}

}  // namespace emu::hw
