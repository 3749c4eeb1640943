// SPDX-License-Identifier: Apache-2.0
#include "util/sys/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace emu::sys {
namespace {

// One terminal a process. Written only by the main thread while g_raw is false, read by signal handlers once it is
// true.
std::atomic<bool> g_raw{false};
int g_fd = -1;
termios g_found;
termios g_wanted;

/// A background process that touches its terminal is stopped unless SIGTTOU is blocked.
void apply(const termios& settings) {
  const int saved_errno = errno;
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTTOU);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  while (::tcsetattr(g_fd, TCSANOW, &settings) < 0 && errno == EINTR) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = saved_errno;
}

}  // namespace

Result<void> set_terminal_raw(int fd, SignalKeys keys) {
  if (!::isatty(fd)) return {};
  const bool first = g_fd < 0;
  termios found{};
  if (::tcgetattr(fd, &found) < 0) return error("cannot read the terminal's settings: {}", std::strerror(errno));
  if (!first) {
    if (fd != g_fd) return error("a second terminal cannot be raw");
    restore_terminal();
    found = g_found;
  }
  termios wanted = found;
  wanted.c_iflag &= ~tcflag_t(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  wanted.c_oflag |= OPOST;
  wanted.c_lflag &= ~tcflag_t(ECHO | ECHONL | ICANON | IEXTEN);
  if (keys == SignalKeys::ToGuest) wanted.c_lflag &= ~tcflag_t(ISIG);
  wanted.c_cflag = (wanted.c_cflag & ~tcflag_t(CSIZE | PARENB)) | CS8;
  wanted.c_cc[VMIN] = 1;
  wanted.c_cc[VTIME] = 0;
  g_found = found;
  g_wanted = wanted;
  g_fd = fd;
  apply(wanted);
  g_raw.store(true, std::memory_order_release);
  if (first) std::atexit(restore_terminal);
  return {};
}

void restore_terminal() {
  if (g_raw.exchange(false, std::memory_order_acq_rel)) apply(g_found);
}

void resume_terminal() {
  if (g_fd >= 0 && !g_raw.load(std::memory_order_acquire)) {
    apply(g_wanted);
    g_raw.store(true, std::memory_order_release);
  }
}

std::optional<TerminalSize> terminal_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0) return std::nullopt;
  return TerminalSize{size.ws_col, size.ws_row};
}

}  // namespace emu::sys
