// SPDX-License-Identifier: Apache-2.0
// Threads with a name that ps, perf and a debugger show.
#pragma once

#include <string>
#include <thread>

#include "util/function.h"

namespace emu {

/// Starts a thread. All signals but the synchronous ones stay with the main thread, and a crash in this one is
/// reported on a stack of its own. Linux shows the first 15 characters of the name.
std::thread start_thread(const std::string& name, UniqueFunction<void()> body);
/// The same where the host may have no thread left; then `body` is untouched, and the result is not joinable.
std::thread try_start_thread(const std::string& name, UniqueFunction<void()>& body);

void set_this_thread_name(const std::string& name);

}  // namespace emu
