// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#include <cerrno>
#include <cstring>

#include "util/event_notifier.h"
#include "util/fd.h"
#include "util/guarded.h"
#include "util/sys/fatal_signals.h"
#include "util/sys/futex.h"
#include "util/sys/socket.h"
#include "util/sys/terminal.h"
#include "util/thread.h"

namespace emu {
namespace {
using namespace std::chrono_literals;

TEST(Futex, ChangedWordDoesNotSleep) {
  std::atomic<u32> word{1};
  EXPECT_EQ(sys::futex_wait(word, 0), sys::FutexWait::Changed);
}

TEST(Futex, DeadlineEndsTheSleep) {
  std::atomic<u32> word{0};
  const ClockNs deadline = Clock::monotonic_now() + 2ms;
  EXPECT_EQ(sys::futex_wait(word, 0, deadline), sys::FutexWait::TimedOut);
  EXPECT_GE(Clock::monotonic_now(), deadline);
}

TEST(Futex, WakeEndsTheSleep) {
  std::atomic<u32> word{0};
  std::thread sleeper = start_thread("sleeper", [&] {
    while (word.load() == 0) sys::futex_wait(word, 0);
  });
  word = 1;
  sys::futex_wake_all(word);
  sleeper.join();
}

TEST(Guarded, ValueIsReachedThroughItsLock) {
  Guarded<int> count(1);
  *count.lock() += 1;
  EXPECT_EQ(*count.lock(), 2);
}

/// A child that makes a terminal raw and leaves in one way; the terminal is looked at afterwards.
class RawTerminal : public testing::Test {
 protected:
  void SetUp() override {
    master_.reset(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(master_);
    ASSERT_EQ(::grantpt(master_.get()), 0);
    ASSERT_EQ(::unlockpt(master_.get()), 0);
    slave_.reset(::open(::ptsname(master_.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(slave_);
    ASSERT_EQ(::tcgetattr(slave_.get(), &before_), 0);
    ASSERT_TRUE(before_.c_lflag & ICANON);
  }
  template <typename Body>
  int leave_by(Body body) {
    const pid_t child = ::fork();
    if (child == 0) {
      sys::install_fatal_signals();
      (void)!::freopen("/dev/null", "w", stderr);
      if (!sys::set_terminal_raw(slave_.get(), sys::SignalKeys::ToGuest)) ::_exit(90);
      termios raw{};
      ::tcgetattr(slave_.get(), &raw);
      if (raw.c_lflag & (ICANON | ECHO | ISIG)) ::_exit(91);
      body();
      ::_exit(92);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }
  bool is_restored() const {
    termios now{};
    ::tcgetattr(slave_.get(), &now);
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag && now.c_oflag == before_.c_oflag;
  }
  Fd master_, slave_;
  termios before_{};
};

TEST_F(RawTerminal, RestoredByExit) {
  EXPECT_EQ(WEXITSTATUS(leave_by([] { ::exit(7); })), 7);
  EXPECT_TRUE(is_restored());
}

TEST_F(RawTerminal, RestoredByABrokenInvariant) {
  const int status = leave_by([] { EMU_CHECK(1 == 2); });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGABRT);
  EXPECT_TRUE(is_restored());
}

TEST_F(RawTerminal, RestoredByEachDeadlySignal) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV}) {
    const int status = leave_by([signal] { ::raise(signal); });
    EXPECT_TRUE(is_restored()) << signal;
    EXPECT_TRUE(WIFSIGNALED(status) || WIFEXITED(status));
    if (WIFSIGNALED(status)) {
      EXPECT_EQ(WTERMSIG(status), signal);
    }
  }
}

TEST_F(RawTerminal, RestoredByARealFault) {
  static volatile uintptr_t nowhere = 16;  // volatile, or the compiler sees the fault coming
  leave_by([] { *reinterpret_cast<volatile int*>(nowhere) = 1; });
  EXPECT_TRUE(is_restored());
}

TEST_F(RawTerminal, RestoredWhenAnotherThreadCrashes) {
  leave_by([] { start_thread("crasher", [] { ::abort(); }).join(); });
  EXPECT_TRUE(is_restored());
}

TEST_F(RawTerminal, FirstTerminationIsDivertedSecondEndsUs) {
  const int status = leave_by([] {
    auto notifier = EventNotifier::create();
    sys::divert_termination(notifier->fd());
    ::raise(SIGTERM);
    if (!notifier->test_and_clear() || sys::diverted_signal() != SIGTERM) ::_exit(93);
    ::raise(SIGTERM);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  EXPECT_TRUE(is_restored());
}

TEST(Terminal, NoTerminalIsNoError) {
  Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(sys::set_terminal_raw(null.get(), sys::SignalKeys::ToGuest));
}

TEST(Socket, AProbeSeesAListenerAndDoesNotConnect) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = testing::TempDir() + "probe." + std::to_string(::getpid());
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(sys::probe_unix_stream(generic, sizeof address), ENOENT);
  {
    const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(listener.get(), generic, sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(sys::probe_unix_stream(generic, sizeof address), 0);
    EXPECT_LT(::accept(listener.get(), nullptr, nullptr), 0);
  }
  EXPECT_EQ(sys::probe_unix_stream(generic, sizeof address), ECONNREFUSED);
  ::unlink(path.c_str());
}

TEST(Socket, ErrorsHaveHints) {
  EXPECT_EQ(sys::listen_error("tcp::80", EACCES).message(), "cannot listen on 'tcp::80': Permission denied");
  for (const int why : {EADDRINUSE, EACCES, ENOENT, EADDRNOTAVAIL}) {
    EXPECT_FALSE(sys::listen_error("x", why).hint().empty()) << why;
  }
  EXPECT_FALSE(sys::connect_error("x", ECONNREFUSED).hint().empty());
}

}  // namespace
}  // namespace emu
