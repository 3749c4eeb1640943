// SPDX-License-Identifier: Apache-2.0
// Each case filters a process of its own.
#include "softmmu/sandbox.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

namespace emu::softmmu {
namespace {

/// How a process ends that enters the sandbox of `text` and then does `work`, whose value is its exit status.
template <typename Work>
int end_of(const char* text, Work work) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto options = Options::parse(text, {.implied_key = "enable"});
    auto parsed = options ? parse_sandbox(*options) : error("not options");
    if (!parsed || !enter_sandbox(*parsed)) ::_exit(99);
    ::_exit(work());
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

bool died_of_filter(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS; }
bool exited(int status, int code) { return WIFEXITED(status) && WEXITSTATUS(status) == code; }

int swap_on() { return ::syscall(SYS_swapon, nullptr, 0) == 0 ? 1 : 2; }
int set_user() { return ::syscall(SYS_setuid, ::getuid()) == 0 ? 0 : 2; }
int start_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  return child > 0 ? 0 : 2;
}
int start_thread() {
  int seen = 2;
  std::thread([&] { seen = 0; }).join();
  return seen;
}
int change_priority() { return ::setpriority(PRIO_PROCESS, 0, 5) == 0 ? 0 : errno; }

TEST(Sandbox, OffFiltersNothing) {
  EXPECT_FALSE(died_of_filter(end_of("off", swap_on)));
  EXPECT_TRUE(exited(end_of("off,spawn=deny", start_process), 0));
}

TEST(Sandbox, OnKillsWhoCallsWhatNoMachineNeeds) { EXPECT_TRUE(died_of_filter(end_of("on", swap_on))); }

TEST(Sandbox, ObsoleteCallsAreDeniedUnlessAllowed) {
  const auto call = [] { return ::syscall(SYS_uselib, nullptr) == 0 ? 0 : 2; };
  EXPECT_TRUE(died_of_filter(end_of("on", call)));
  EXPECT_TRUE(exited(end_of("on,obsolete=allow", call), 2));
}

TEST(Sandbox, PrivilegesAreKeptOnlyIfDenied) {
  EXPECT_TRUE(exited(end_of("on", set_user), 0));
  EXPECT_TRUE(exited(end_of("on,elevateprivileges=children", set_user), 0));
  EXPECT_TRUE(died_of_filter(end_of("on,elevateprivileges=deny", set_user)));
}

TEST(Sandbox, SpawnDenyLeavesThreads) {
  EXPECT_TRUE(exited(end_of("on", start_process), 0));
  EXPECT_TRUE(died_of_filter(end_of("on,spawn=deny", start_process)));
  EXPECT_TRUE(exited(end_of("on,spawn=deny", start_thread), 0));
  EXPECT_TRUE(died_of_filter(end_of("on,spawn=deny", [] { return ::execl("/bin/true", "true", nullptr); })));
}

TEST(Sandbox, ResourcesAreRefusedWithAnError) {
  EXPECT_TRUE(exited(end_of("on", change_priority), 0));
  EXPECT_TRUE(exited(end_of("on,resourcecontrol=deny", change_priority), EPERM));
}

TEST(Sandbox, ThreadsThatWereThereAreFilteredToo) {
  const auto status = [] {
    const pid_t child = ::fork();
    if (child == 0) {
      int go[2];
      if (::pipe(go) != 0) ::_exit(98);
      std::thread other([&] {
        char byte = 0;
        if (::read(go[0], &byte, 1) == 1) swap_on();
        ::_exit(1);
      });
      if (!enter_sandbox({.on = true})) ::_exit(99);
      static_cast<void>(!::write(go[1], "x", 1));
      other.join();
    }
    int result = 0;
    ::waitpid(child, &result, 0);
    return result;
  }();
  EXPECT_TRUE(died_of_filter(status));
}

}  // namespace
}  // namespace emu::softmmu
