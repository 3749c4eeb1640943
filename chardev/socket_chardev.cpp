// SPDX-License-Identifier: Apache-2.0
#include "chardev/socket_chardev.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "chardev/address_list.h"
#include "util/file.h"
#include "util/log.h"
#include "util/string.h"
#include "util/sys/socket.h"

namespace emu::chardev {
namespace {

constexpr int kStream = SOCK_STREAM | SOCK_CLOEXEC;

/// Waits for a connect() that a signal interrupted.
bool finish_connecting(int fd) {
  pollfd ready{fd, POLLOUT, 0};
  while (::poll(&ready, 1, -1) < 0 && errno == EINTR) {
  }
  int failure = 0;
  socklen_t size = sizeof failure;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
  errno = failure;
  return failure == 0;
}

/// As whoever reads an error has typed it.
std::string where(const SocketOptions& options) {
  return options.path.empty() || options.abstract ? name_of(options) : options.path;
}

bool connect_to(int fd, const sockaddr* address, socklen_t size) {
  return ::connect(fd, address, size) == 0 || (errno == EINTR && finish_connecting(fd));
}

struct UnixAddress {
  sockaddr_un storage = {};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<UnixAddress> unix_address(const SocketOptions& options) {
  const std::string& path = options.path;
  UnixAddress address;
  address.storage.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.storage.sun_path) {
    return error("'{}' is longer than the {} characters a socket's path may have", path,
                 sizeof address.storage.sun_path - 1);
  }
  // An abstract name begins with a zero and has the length that is given with it, unix(7).
  std::memcpy(address.storage.sun_path + (options.abstract ? 1 : 0), path.c_str(), path.size());
  address.size = options.abstract && options.tight ? socklen_t(offsetof(sockaddr_un, sun_path) + 1 + path.size())
                                                   : socklen_t(sizeof address.storage);
  return address;
}

Result<Fd> open_unix(const SocketOptions& options) {
  const std::string& path = options.path;
  const bool server = options.server;
  const UnixAddress address = EMU_TRY(unix_address(options));
  // With a queue that is full, a blocking connect() waits: who tries again later must not.
  Fd fd(::socket(AF_UNIX, kStream | (options.reconnect_s != 0 ? SOCK_NONBLOCK : 0), 0));
  if (!fd) return error("cannot make a socket: {}", std::strerror(errno));
  if (!server) {
    if (!connect_to(fd.get(), address.get(), address.size)) return error(sys::connect_error(where(options), errno));
    return fd;
  }
  struct stat status {};
  const bool of_an_earlier_run =
      !options.abstract && ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
  if (of_an_earlier_run && ::unlink(path.c_str()) < 0) return error(sys::listen_error(where(options), errno));
  if (::bind(fd.get(), address.get(), address.size) < 0 || ::listen(fd.get(), 1) < 0) {
    return error(sys::listen_error(where(options), errno));
  }
  return fd;
}

Result<Fd> open_tcp(const SocketOptions& options) {
  const AddressList addresses = EMU_TRY(resolve(options));
  int failure = EADDRNOTAVAIL;
  for (const addrinfo* address = addresses.get(); address; address = address->ai_next) {
    Fd fd(::socket(address->ai_family, kStream, address->ai_protocol));
    const int one = 1;
    bool opened = fd.is_valid();
    if (opened && options.server) {
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
      opened = ::bind(fd.get(), address->ai_addr, address->ai_addrlen) == 0 && ::listen(fd.get(), 1) == 0;
    } else if (opened) {
      opened = connect_to(fd.get(), address->ai_addr, address->ai_addrlen);
    }
    if (opened) return fd;
    failure = errno;
  }
  return error(options.server ? sys::listen_error(where(options), failure)
                              : sys::connect_error(where(options), failure));
}

Result<Fd> open_tcp_range(SocketOptions options) {
  for (u32 port = u32(EMU_TRY(parse_u64(options.port))); port <= *options.last_port; port++) {
    options.port = fmt::format("{}", port);
    auto opened = open_tcp(options);
    if (opened || port == *options.last_port) return opened;
  }
  return error("no port is free");
}

/// A client, or a server at the first port of its range that is free.
Result<Fd> open_inet(const SocketOptions& options) {
  return options.last_port ? open_tcp_range(options) : open_tcp(options);
}

/// A file that is there already counts only if it is a socket, which a start replaces.
Result<void> check_socket_path(const SocketOptions& options) {
  struct stat status {};
  if (::lstat(options.path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode)) {
    return error(sys::listen_error(where(options), EADDRINUSE));
  }
  if (::access(folder_of(options.path).c_str(), W_OK | X_OK) == 0) return {};
  return error(sys::listen_error(where(options), errno));
}

/// The descriptor is ours from here on, whatever comes.
Result<Fd> adopt(int fd, bool server) {
  Fd owned(fd);
  EMU_TRY(check_socket(fd, server));
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return owned;
}

}  // namespace

Result<Fd> check_backend(const SocketOptions& options) {
  if (options.fd) {
    EMU_TRY(check_socket(int(*options.fd), options.server));
    return Fd();
  }
  if (options.path.empty()) {
    if (options.server) return open_inet(options);
    if (options.reconnect_s == 0) EMU_TRY(resolve(options));
    return Fd();
  }
  const UnixAddress address = EMU_TRY(unix_address(options));
  if (options.server && options.abstract) return open_unix(options);
  if (options.server) {
    EMU_TRY(check_socket_path(options));
  } else if (options.reconnect_s == 0) {
    const int why = sys::probe_unix_stream(address.get(), address.size);
    if (why != 0) return error(sys::connect_error(where(options), why));
  }
  return Fd();
}

SocketChardev::SocketChardev(std::string id, const SocketOptions& options, EventLoop& loop)
    : FdChardev(std::move(id), loop), options_(options) {}

SocketChardev::~SocketChardev() {
  close_streams();
  attempt_watch_.reset();
  retry_watch_.reset();
  listener_watch_.reset();
  // Another may listen there by now.
  if (made_path_ && *made_path_ == file_at(options_.path)) ::unlink(options_.path.c_str());
}

SocketChardev::FileId SocketChardev::file_at(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) < 0) return {};
  return {status.st_dev, status.st_ino};
}

Result<std::unique_ptr<Chardev>> SocketChardev::create(const std::string& id, const SocketOptions& options,
                                                       EventLoop& loop) {
  std::unique_ptr<SocketChardev> socket(new SocketChardev(id, options, loop));
  EMU_TRY(socket->start());
  return std::unique_ptr<Chardev>(std::move(socket));
}

Result<void> SocketChardev::start() {
  if (options_.reconnect_s != 0) {
    retry_timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!retry_timer_) return error("cannot make a timer: {}", std::strerror(errno));
    retry_watch_ = loop().watch_fd(retry_timer_.get(), FdEvents::Read, [this](FdEvents) {
      u64 expired = 0;
      if (::read(retry_timer_.get(), &expired, sizeof expired) == sizeof expired) begin_connecting();
    });
    begin_connecting();
    return {};
  }
  Fd fd = options_.fd              ? EMU_TRY(adopt(int(*options_.fd), options_.server))
          : !options_.path.empty() ? EMU_TRY(open_unix(options_))
                                   : EMU_TRY(open_inet(options_));
  if (!options_.server) {
    connected(std::move(fd));
    return {};
  }
  if (!options_.path.empty() && !options_.abstract) made_path_ = file_at(options_.path);
  listener_ = std::move(fd);
  ::fcntl(listener_.get(), F_SETFL, ::fcntl(listener_.get(), F_GETFL) | O_NONBLOCK);
  listener_watch_ = loop().watch_fd(listener_.get(), FdEvents::Read, [this](FdEvents) { accept_client(); });
  if (options_.wait) return wait_for_client();
  return {};
}

Result<void> SocketChardev::wait_for_client() {
  log::info("waiting for a connection on {}", name_of(options_));
  while (!is_open()) {
    pollfd ready{listener_.get(), POLLIN, 0};
    if (::poll(&ready, 1, -1) < 0 && errno != EINTR)
      return error("cannot wait for a connection: {}", std::strerror(errno));
    if (ready.revents) accept_client();
  }
  return {};
}

void SocketChardev::accept_client() {
  Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (client) connected(std::move(client));
}

void SocketChardev::connected(Fd connection) {
  listener_watch_.set_events(FdEvents::None);  // the next one waits until this one is gone
  {
    const std::lock_guard lock(connection_mutex_);
    connection_ = std::move(connection);
  }
  open_ = true;
  if (options_.no_delay) {
    const int one = 1;
    ::setsockopt(connection_.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  }
  open_streams(connection_.get(), connection_.get());
  telnet_ = {};
  {
    const std::lock_guard lock(escape_mutex_);
    owes_escape_ = false;
  }
  if (options_.telnet && options_.server) {
    const std::string_view greeting = TelnetReader::greeting();
    FdChardev::do_write(std::span(reinterpret_cast<const u8*>(greeting.data()), greeting.size()));
  }
  tell(ChardevEvent::Opened);
}

void SocketChardev::disconnect() {
  if (!is_open()) return;
  close_streams();
  {
    const std::lock_guard lock(connection_mutex_);
    connection_.reset();
  }
  open_ = false;
  received_.clear();
  listener_watch_.set_events(FdEvents::Read);
  tell(ChardevEvent::Closed);
  if (options_.reconnect_s != 0) try_again_later();
}

// Connecting again and again. The machine never waits for it. ---------------------------------------------------------

void SocketChardev::begin_connecting() {
  if (is_open() || attempt_) return;
  if (!options_.path.empty()) {
    if (auto fd = open_unix(options_)) return connected(std::move(*fd));
    return try_again_later();
  }
  const auto addresses = resolve(options_);
  if (!addresses) return try_again_later();
  const addrinfo* address = addresses->get();
  for (std::size_t i = 0; i < attempt_number_ && address != nullptr; i++) address = address->ai_next;
  if (address == nullptr) {
    attempt_number_ = 0;
    return try_again_later();
  }
  attempt_number_++;
  attempt_.reset(::socket(address->ai_family, kStream | SOCK_NONBLOCK, address->ai_protocol));
  if (!attempt_) return try_again_later();
  if (::connect(attempt_.get(), address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS) {
    attempt_watch_ = loop().watch_fd(attempt_.get(), FdEvents::Write, [this](FdEvents) { connecting_ended(); });
    return;
  }
  attempt_.reset();
  begin_connecting();  // with the next address
}

void SocketChardev::connecting_ended() {
  Fd fd = std::move(attempt_);
  attempt_watch_.reset();
  if (!finish_connecting(fd.get())) return begin_connecting();
  attempt_number_ = 0;
  connected(std::move(fd));
}

void SocketChardev::try_again_later() {
  itimerspec when{};
  when.it_value.tv_sec = time_t(options_.reconnect_s);
  ::timerfd_settime(retry_timer_.get(), 0, &when, nullptr);
}

/// A byte that telnet has a meaning for is sent twice.
std::size_t SocketChardev::do_write(std::span<const u8> data) {
  constexpr u8 kIac = 255;
  if (!options_.telnet) return FdChardev::do_write(data);
  const std::lock_guard lock(escape_mutex_);
  std::size_t done = 0;
  while (done < data.size() || owes_escape_) {
    if (owes_escape_) {
      if (FdChardev::do_write(std::span(&kIac, 1)) == 0) break;
      owes_escape_ = false;
      continue;
    }
    std::size_t end = done;
    while (end < data.size() && data[end] != kIac) end++;
    const std::size_t length = std::min(end + 1, data.size()) - done;
    const std::size_t taken = FdChardev::do_write(data.subspan(done, length));
    done += taken;
    if (taken < length) break;
    owes_escape_ = end < data.size();
  }
  return done;
}

/// Bytes, and what descriptors a unix socket brings with them.
ssize_t SocketChardev::read_input(int fd, std::span<u8> to) {
  constexpr std::size_t kMostFds = 16;
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))];
  iovec data{to.data(), to.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0) return n;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; i++) {
      int passed = -1;
      std::memcpy(&passed, CMSG_DATA(part) + i * sizeof(int), sizeof passed);
      Fd owned(passed);
      if (received_.size() < kMostFds) received_.push_back(std::move(owned));
    }
  }
  if (n == 0 || !options_.telnet) return n;
  const TelnetReader::Found found = telnet_.filter(to.first(std::size_t(n)));
  for (unsigned i = 0; i < found.breaks; i++) send_break();
  if (found.bytes != 0) return ssize_t(found.bytes);
  errno = EAGAIN;  // nothing but commands
  return -1;
}

void SocketChardev::yank() {
  const std::lock_guard lock(connection_mutex_);
  if (connection_) ::shutdown(connection_.get(), SHUT_RDWR);
}

std::string SocketChardev::description() const {
  return fmt::format("{}{}{}", is_open() ? "" : "disconnected:", name_of(options_),
                     options_.server ? ",server=on" : "");
}

std::string SocketChardev::address() const {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  char host[NI_MAXHOST], port[NI_MAXSERV];
  auto* const generic = reinterpret_cast<sockaddr*>(&storage);
  if (::getsockname(listener_.get(), generic, &size) < 0 || storage.ss_family == AF_UNIX ||
      ::getnameinfo(generic, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return options_.path;
  }
  return storage.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace emu::chardev
