// SPDX-License-Identifier: Apache-2.0
#include "chardev/backends.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <termios.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "chardev/line_backends.h"
#include "chardev/mux.h"
#include "chardev/socket_chardev.h"
#include "util/overloaded.h"
#include "util/sys/terminal.h"

namespace emu::chardev {
namespace {

// Standard input exists once in a process, whatever else is passed around.
std::atomic<bool> g_stdio_taken{false};

/// A write to a closed pipe is an error to handle, not a reason to end.
void ignore_sigpipe() {
  struct sigaction now {};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
    now.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &now, nullptr);
  }
}

Result<Fd> open_output(const FileOptions& options) {
  struct stat status {};
  const bool exists = ::stat(options.path.c_str(), &status) == 0;
  int flags = O_CLOEXEC | O_NOCTTY;
  if (exists && S_ISFIFO(status.st_mode)) {
    flags |= O_RDWR | O_NONBLOCK;  // for writing alone it would wait for a reader
  } else if (exists && S_ISCHR(status.st_mode)) {
    flags |= O_WRONLY | O_NONBLOCK;
  } else {
    flags |= O_WRONLY | O_CREAT | (options.append ? O_APPEND : O_TRUNC);
  }
  Fd fd(::open(options.path.c_str(), flags, 0666));
  if (!fd) return error("cannot open '{}': {}", options.path, std::strerror(errno));
  return fd;
}

}  // namespace

Result<std::unique_ptr<Chardev>> create(const ChardevOptions& options, EventLoop& loop) {
  ignore_sigpipe();
  using Made = Result<std::unique_ptr<Chardev>>;
  const std::string& id = options.id;
  auto chardev = EMU_TRY(
      std::visit(
          Overloaded{
              [&](const NullOptions&) -> Made { return std::make_unique<NullChardev>(id); },
              [&](const FileOptions& file) -> Made { return FileChardev::create(id, file, loop); },
              [&](const StdioOptions& stdio) -> Made { return StdioChardev::create(id, stdio, loop); },
              [&](const PtyOptions&) -> Made { return PtyChardev::create(id, loop); },
              [&](const SocketOptions& socket) -> Made { return SocketChardev::create(id, socket, loop); },
              [&](const PipeOptions& pipe) -> Made { return PipeChardev::create(id, pipe, loop); },
              [&](const TtyOptions& tty) -> Made { return TtyChardev::create(id, tty, loop); },
              [&](const UdpOptions& udp) -> Made { return UdpChardev::create(id, udp, loop); },
              [&](const RingBufferOptions& ring) -> Made { return std::make_unique<RingBufferChardev>(id, ring.size); },
          },
          options.backend),
      "chardev '" + id + "'");
  if (!options.logfile.empty()) EMU_TRY(chardev->log_to(options.logfile, options.logappend));
  if (options.mux) return std::unique_ptr<Chardev>(std::make_unique<MuxChardev>(std::move(chardev), loop));
  return chardev;
}

// ---- file

Result<std::unique_ptr<Chardev>> FileChardev::create(const std::string& id, const FileOptions& options,
                                                     EventLoop& loop) {
  std::unique_ptr<FileChardev> file(new FileChardev(id, loop));
  file->out_ = EMU_TRY(open_output(options));
  if (!options.input_path.empty()) {
    file->in_.reset(::open(options.input_path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!file->in_) return error("cannot open '{}': {}", options.input_path, std::strerror(errno));
  }
  file->open_streams(file->in_.get(), file->out_.get());
  return std::unique_ptr<Chardev>(std::move(file));
}

// ---- stdio

Result<StdioClaim> StdioClaim::take() {
  if (g_stdio_taken.exchange(true)) {
    return error(Error("standard input and output are already in use by another character device")
                     .with_hint("share them with mux=on, or by -serial mon:stdio"));
  }
  StdioClaim claim;
  claim.has_ = true;
  return claim;
}

StdioClaim& StdioClaim::operator=(StdioClaim&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  has_ = std::exchange(other.has_, false);
  return *this;
}

void StdioClaim::give_back() {
  if (std::exchange(has_, false)) g_stdio_taken = false;
}

Result<std::unique_ptr<Chardev>> StdioChardev::create(const std::string& id, const StdioOptions& options,
                                                      EventLoop& loop) {
  StdioClaim claim = EMU_TRY(StdioClaim::take());
  std::unique_ptr<StdioChardev> stdio(new StdioChardev(id, loop));  // gives them back if we fail
  stdio->claim_ = std::move(claim);
  EMU_TRY(sys::set_terminal_raw(STDIN_FILENO, options.signal ? sys::SignalKeys::ToUs : sys::SignalKeys::ToGuest));
  stdio->take_output();
  const bool has_input = ::fcntl(STDIN_FILENO, F_GETFD) >= 0;
  stdio->open_streams(has_input ? STDIN_FILENO : -1, stdio->out_.get());
  return std::unique_ptr<Chardev>(std::move(stdio));
}

StdioChardev::~StdioChardev() {
  close_streams();
  if (clear_nonblock_) ::fcntl(STDOUT_FILENO, F_SETFL, ::fcntl(STDOUT_FILENO, F_GETFL) & ~O_NONBLOCK);
  sys::restore_terminal();
}

void StdioChardev::take_output() {
  struct stat status {};
  if (::fstat(STDOUT_FILENO, &status) < 0) return;
  if (S_ISCHR(status.st_mode) || S_ISFIFO(status.st_mode)) {
    // O_NONBLOCK belongs to the open file, which the shell and our standard error share: open it once more.
    out_.reset(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (out_) return;
    const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
    clear_nonblock_ = (flags & O_NONBLOCK) == 0 && ::fcntl(STDOUT_FILENO, F_SETFL, flags | O_NONBLOCK) == 0;
  }
  out_.reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
}

// ---- pty

Result<std::unique_ptr<Chardev>> PtyChardev::create(const std::string& id, EventLoop& loop) {
  std::unique_ptr<PtyChardev> pty(new PtyChardev(id, loop));
  pty->master_.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  char path[128];
  if (!pty->master_ || ::grantpt(pty->master_.get()) < 0 || ::unlockpt(pty->master_.get()) < 0 ||
      ::ptsname_r(pty->master_.get(), path, sizeof path) != 0) {
    return error("cannot make a pseudo-terminal: {}", std::strerror(errno));
  }
  pty->path_ = path;
  {
    // Opened and closed once, it reports a hang-up until the next one comes. Raw, so that nothing is echoed back.
    const Fd other(::open(path, O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios settings{};
    if (!other || ::tcgetattr(other.get(), &settings) < 0)
      return error("cannot open '{}': {}", path, std::strerror(errno));
    ::cfmakeraw(&settings);
    ::tcsetattr(other.get(), TCSAFLUSH, &settings);
  }
  pty->opened_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!pty->opened_ || ::inotify_add_watch(pty->opened_.get(), path, IN_OPEN) < 0) {
    return error("cannot watch '{}': {}", path, std::strerror(errno));
  }
  pty->opened_watch_ =
      loop.watch_fd(pty->opened_.get(), FdEvents::Read, [self = pty.get()](FdEvents) { self->other_end_opened(); });
  std::printf("char device redirected to %s (label %s)\n", path, id.c_str());
  std::fflush(stdout);
  return std::unique_ptr<Chardev>(std::move(pty));
}

void PtyChardev::other_end_opened() {
  char events[1024];
  while (::read(opened_.get(), events, sizeof events) > 0) {
  }
  pollfd state{master_.get(), POLLIN, 0};
  if (open_ || ::poll(&state, 1, 0) < 0 || (state.revents & POLLHUP)) return;
  open_ = true;
  open_streams(master_.get(), master_.get());
  tell(ChardevEvent::Opened);
}

void PtyChardev::disconnect() {
  if (!open_) return;
  open_ = false;
  close_streams();
  tell(ChardevEvent::Closed);
  other_end_opened();  // perhaps somebody else came while we did not look
}

// ---- ring buffer

std::size_t RingBufferChardev::do_write(std::span<const u8> data) {
  const std::lock_guard lock(mutex_);
  for (const u8 byte : data) bytes_[written_++ & (bytes_.size() - 1)] = byte;
  if (written_ - read_ > bytes_.size()) read_ = written_ - bytes_.size();
  return data.size();
}

std::vector<u8> RingBufferChardev::read(std::size_t most) {
  const std::lock_guard lock(mutex_);
  std::vector<u8> taken(std::min<u64>(most, written_ - read_));
  for (u8& byte : taken) byte = bytes_[read_++ & (bytes_.size() - 1)];
  return taken;
}

std::size_t RingBufferChardev::available() const {
  const std::lock_guard lock(mutex_);
  return std::size_t(written_ - read_);
}

}  // namespace emu::chardev
