// SPDX-License-Identifier: Apache-2.0
#include "chardev/line_backends.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <termios.h>

#include <cerrno>
#include <cstring>

#include "chardev/address_list.h"
#include "util/sys/socket.h"

namespace emu::chardev {
namespace {

constexpr std::size_t kMostDatagram = 64 * 1024;

/// For reading and writing, so that the pipe neither waits for its other end nor ends with it.
Fd open_both_ways(const std::string& path) {
  return Fd(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

Result<void> bind_to(int fd, const std::string& host, const std::string& port, int family) {
  const std::string name = fmt::format("udp:{}:{}", host, port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_family = family;
  hints.ai_flags = AI_PASSIVE;
  const AddressList own = EMU_TRY(resolve(name, host, port, hints));
  if (::bind(fd, own->ai_addr, own->ai_addrlen) == 0) return {};
  return error(sys::listen_error(name, errno));
}

}  // namespace

Result<Fd> open_udp(const UdpOptions& options) {
  const AddressList peers = EMU_TRY(resolve(options));
  Error last("no address");
  for (const addrinfo* peer = peers.get(); peer != nullptr; peer = peer->ai_next) {
    Fd fd(::socket(peer->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, peer->ai_protocol));
    if (!fd) {
      last = Error(fmt::format("cannot make a socket: {}", std::strerror(errno)));
      continue;
    }
    if (!options.local_host.empty() || !options.local_port.empty()) {
      const std::string port = options.local_port.empty() ? "0" : options.local_port;
      if (auto bound = bind_to(fd.get(), options.local_host, port, peer->ai_family); !bound) {
        last = std::move(bound).error();
        continue;
      }
    }
    if (::connect(fd.get(), peer->ai_addr, peer->ai_addrlen) == 0) return fd;
    last = Error(fmt::format("cannot send to 'udp:{}:{}': {}", options.host, options.port, std::strerror(errno)));
  }
  return error(std::move(last));
}

// ---- pipe

Error no_pipe(const std::string& path, int why) {
  return Error(fmt::format("cannot open the pipe '{}': {}", path, std::strerror(why)))
      .with_hint(fmt::format("mkfifo {0}.in {0}.out makes one", path));
}

Result<std::unique_ptr<Chardev>> PipeChardev::create(const std::string& id, const PipeOptions& options,
                                                     EventLoop& loop) {
  std::unique_ptr<PipeChardev> pipe(new PipeChardev(id, loop));
  pipe->in_ = open_both_ways(options.path + ".in");
  pipe->out_ = open_both_ways(options.path + ".out");
  if (pipe->in_ && pipe->out_) {
    pipe->open_streams(pipe->in_.get(), pipe->out_.get());
    return std::unique_ptr<Chardev>(std::move(pipe));
  }
  pipe->out_.reset();
  pipe->in_ = open_both_ways(options.path);
  if (!pipe->in_) {
    return error(no_pipe(options.path, errno));
  }
  pipe->open_streams(pipe->in_.get(), pipe->in_.get());
  return std::unique_ptr<Chardev>(std::move(pipe));
}

// ---- host serial line

Result<std::unique_ptr<Chardev>> TtyChardev::create(const std::string& id, const TtyOptions& options, EventLoop& loop) {
  std::unique_ptr<TtyChardev> tty(new TtyChardev(id, loop));
  tty->line_ = open_both_ways(options.path);
  if (!tty->line_) return error("cannot open '{}': {}", options.path, std::strerror(errno));
  termios settings{};
  if (::tcgetattr(tty->line_.get(), &settings) < 0) return error("'{}' is not a serial line", options.path);
  ::cfmakeraw(&settings);
  settings.c_cflag |= CLOCAL | CREAD;
  settings.c_cflag &= ~tcflag_t(CSTOPB | CRTSCTS);
  ::cfsetspeed(&settings, B115200);
  if (::tcsetattr(tty->line_.get(), TCSANOW, &settings) < 0) {
    return error("cannot set '{}' to 115200 baud: {}", options.path, std::strerror(errno));
  }
  tty->open_streams(tty->line_.get(), tty->line_.get());
  return std::unique_ptr<Chardev>(std::move(tty));
}

// ---- UDP

Result<std::unique_ptr<Chardev>> UdpChardev::create(const std::string& id, const UdpOptions& options, EventLoop& loop) {
  std::unique_ptr<UdpChardev> udp(new UdpChardev(id, loop));
  udp->socket_ = EMU_TRY(open_udp(options));
  udp->watch_ = loop.watch_fd(udp->socket_.get(), FdEvents::Read, [self = udp.get()](FdEvents) { self->pump(); });
  return std::unique_ptr<Chardev>(std::move(udp));
}

/// A datagram that nobody takes, or for which there is no room now, is lost, as UDP has it.
std::size_t UdpChardev::do_write(std::span<const u8> data) {
  static_cast<void>(::send(socket_.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  return data.size();
}

void UdpChardev::accept_input() {
  if (!held_.exchange(false)) return;
  loop_.post([this, alive = std::weak_ptr<const int>(alive_)] {
    if (!alive.lock()) return;
    watch_.set_events(FdEvents::Read);
    pump();
  });
}

void UdpChardev::pump() {
  constexpr unsigned kMostAtOnce = 64;  // others have their turn too
  for (unsigned i = 0; i < kMostAtOnce; i++) {
    std::size_t room = frontend() != nullptr ? frontend()->can_receive() : 0;
    if (room == 0) {
      held_ = true;
      watch_.set_events(FdEvents::None);
      if (frontend() == nullptr || frontend()->can_receive() == 0 || !held_.exchange(false)) return;
      watch_.set_events(FdEvents::Read);
      continue;
    }
    if (taken_ == datagram_.size()) {
      datagram_.resize(kMostDatagram);
      taken_ = 0;
      const ssize_t n = ::recv(socket_.get(), datagram_.data(), datagram_.size(), MSG_DONTWAIT);
      datagram_.resize(n > 0 ? std::size_t(n) : 0);
      if (n < 0 && errno != ECONNREFUSED && errno != EINTR) return;  // refused: nobody heard what we sent
      if (n <= 0) continue;
    }
    // A copy: who receives it may run the loop, and us in it.
    const auto begin = datagram_.begin() + std::ptrdiff_t(taken_);
    const std::vector<u8> part(begin, begin + std::ptrdiff_t(std::min(room, datagram_.size() - taken_)));
    taken_ += part.size();
    frontend()->receive(part);
  }
  loop_.post([this, alive = std::weak_ptr<const int>(alive_)] {
    if (alive.lock()) pump();
  });
}

u16 UdpChardev::local_port() const {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &size) < 0) return 0;
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

}  // namespace emu::chardev
