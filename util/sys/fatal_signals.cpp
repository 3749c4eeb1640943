// SPDX-License-Identifier: Apache-2.0
#include "util/sys/fatal_signals.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>

#include "util/sys/terminal.h"

namespace emu::sys {
namespace {

constexpr int kCrashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
constexpr int kTerminations[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
constexpr std::size_t kMostHooks = 8;
constexpr std::size_t kStackBytes = 64 * 1024;

// Signal handlers have nobody to ask: what they need is here.
std::atomic<void (*)()> g_hooks[kMostHooks];
struct sigaction g_before[NSIG];
std::atomic<int> g_notify_fd{-1};
std::atomic<int> g_diverted{0};
std::atomic<int> g_sender{0};
std::atomic<bool> g_dying{false};

/// printf is not safe here.
class Line {
 public:
  Line& text(const char* s) {
    while (*s && size_ < sizeof bytes_) bytes_[size_++] = *s++;
    return *this;
  }
  Line& number(u64 value, unsigned base) {
    char digits[24];
    std::size_t n = 0;
    do {
      digits[n++] = "0123456789abcdef"[value % base];
      value /= base;
    } while (value);
    while (n > 0 && size_ < sizeof bytes_) bytes_[size_++] = digits[--n];
    return *this;
  }
  void print() const { (void)!::write(STDERR_FILENO, bytes_, size_); }

 private:
  char bytes_[160];
  std::size_t size_ = 0;
};

const char* signal_name(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV";
    case SIGBUS:
      return "SIGBUS";
    case SIGILL:
      return "SIGILL";
    case SIGFPE:
      return "SIGFPE";
    default:
      return "SIGABRT";
  }
}

void on_the_way_out() {
  if (!g_dying.exchange(true)) {
    for (auto& slot : g_hooks) {
      if (auto* const hook = slot.load()) hook();
    }
  }
  restore_terminal();
}

void on_crash(int signal, siginfo_t* info, void*) {
  on_the_way_out();
  if (signal != SIGABRT) {  // whoever aborts has said why
    Line line;
    line.text("system-emu: internal error: ").text(signal_name(signal)).text(" at address 0x");
    line.number(u64(reinterpret_cast<std::uintptr_t>(info->si_addr)), 16).text("\n").print();
  }
  ::sigaction(signal, &g_before[signal], nullptr);
  // A fault happens again when we return, now for the previous handler. A sent signal has to be sent again.
  if (info->si_code <= 0 || signal == SIGABRT) ::raise(signal);
}

void end_by(int signal) {
  on_the_way_out();
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(signal, &standard, nullptr);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  ::raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);
}

void on_termination(int signal, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const int fd = g_notify_fd.load();
  if (fd >= 0 && signal != SIGQUIT && g_diverted.exchange(signal) == 0) {
    g_sender.store(info->si_pid);
    const u64 one = 1;
    (void)!::write(fd, &one, sizeof one);
    errno = saved_errno;
    return;
  }
  end_by(signal);
}

void on_stop(int signal, siginfo_t*, void*) {
  const int saved_errno = errno;
  restore_terminal();
  struct sigaction standard {
  }, ours{};
  standard.sa_handler = SIG_DFL;
  ::sigaction(signal, &standard, &ours);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  ::raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &only, nullptr);  // stops here; goes on at SIGCONT
  ::sigaction(signal, &ours, nullptr);
  errno = saved_errno;
}

void on_continue(int, siginfo_t*, void*) { resume_terminal(); }

void install(int signal, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | flags;
  sigemptyset(&action.sa_mask);
  ::sigaction(signal, &action, &g_before[signal]);
}

}  // namespace

void install_fatal_signals() {
  static const AlternateStack kMainStack;
  for (const int signal : kCrashes) install(signal, on_crash, 0);
  for (const int signal : kTerminations) {
    struct sigaction now {};
    ::sigaction(signal, nullptr, &now);
    if (now.sa_handler != SIG_IGN) install(signal, on_termination, SA_RESTART);
  }
  install(SIGTSTP, on_stop, SA_RESTART);
  install(SIGCONT, on_continue, SA_RESTART);
  struct sigaction ignored {};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignored, nullptr);
}

bool add_fatal_hook(void (*hook)()) {
  for (auto& slot : g_hooks) {
    void (*empty)() = nullptr;
    if (slot.compare_exchange_strong(empty, hook)) return true;
  }
  return false;
}

void divert_termination(int notify_fd) {
  g_diverted.store(0);
  g_notify_fd.store(notify_fd);
}
int diverted_signal() { return g_diverted.load(); }
int diverted_sender() { return g_sender.load(); }

AlternateStack::AlternateStack() {
  const std::size_t bytes = std::max<std::size_t>(kStackBytes, std::size_t(MINSIGSTKSZ));
  memory_ = std::make_unique<u8[]>(bytes);
  stack_t stack{};
  stack.ss_sp = memory_.get();
  stack.ss_size = bytes;
  ::sigaltstack(&stack, nullptr);
}

AlternateStack::~AlternateStack() {
  stack_t current{};
  ::sigaltstack(nullptr, &current);
  if (current.ss_sp != memory_.get()) return;
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  ::sigaltstack(&off, nullptr);
}

}  // namespace emu::sys
