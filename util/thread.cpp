// SPDX-License-Identifier: Apache-2.0
#include "util/thread.h"

#include <pthread.h>
#include <signal.h>

#include <memory>
#include <system_error>

#include "util/check.h"
#include "util/sys/fatal_signals.h"

namespace emu {

std::thread start_thread(const std::string& name, UniqueFunction<void()> body) {
  std::thread thread = try_start_thread(name, body);
  EMU_CHECK(thread.joinable());  // the host has no thread left
  return thread;
}

std::thread try_start_thread(const std::string& name, UniqueFunction<void()>& body) {
  // Blocked before it exists, so that no signal can arrive in between.
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, synchronous);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto given = std::make_shared<UniqueFunction<void()>>(std::move(body));
  std::thread thread;
  try {
    thread = std::thread([name, given] {
      set_this_thread_name(name);
      const sys::AlternateStack stack;
      (*given)();
      *given = {};
    });
  } catch (const std::system_error&) {
    body = std::move(*given);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

void set_this_thread_name(const std::string& name) { pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()); }

}  // namespace emu
