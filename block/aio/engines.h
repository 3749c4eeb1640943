// SPDX-License-Identifier: Apache-2.0
// Which engine carries out a file's requests: io_uring where the host lets us, threads otherwise.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "block/aio/engine.h"
#include "util/event_loop.h"
#include "util/result.h"
#include "util/thread_pool.h"

namespace emu::block {

enum class AioMode : u8 {
  Auto,     ///< nothing said: io_uring, or threads where the host refuses it
  Threads,  ///< aio=threads
  IoUring,  ///< aio=io_uring; an error where the host refuses it
};

/// One engine of each kind a loop, while a file uses it. Main loop only.
class IoEngines {
 public:
  IoEngines();
  ~IoEngines();
  /// An engine must be let go by its last user on the loop's thread, or while that thread does not run.
  Result<std::shared_ptr<IoEngine>> engine(EventLoop& loop, AioMode mode);
  /// For what has no asynchronous form.
  ThreadPool& pool() { return *pool_; }

 private:
  std::unique_ptr<ThreadPool> pool_;
  std::map<std::pair<EventLoop*, bool>, std::weak_ptr<IoEngine>> engines_;  ///< true: io_uring
  bool told_ = false;  ///< that io_uring is refused
};

/// Carries out a request on the calling thread, which it may block: bytes moved, or -errno.
i64 carry_out(const IoRequest& request);

/// Threads that block. Made by IoEngines.
std::shared_ptr<IoEngine> make_thread_engine(EventLoop& loop, ThreadPool& pool);
/// One ring that the loop polls; requests are handed over in one batch before the loop sleeps. Requests in place are
/// carried out by the loop itself, but for one of several large reads.
/// Errors: the host refuses io_uring (a sandbox, an old kernel, kernel.io_uring_disabled).
Result<std::shared_ptr<IoEngine>> make_uring_engine(EventLoop& loop);

}  // namespace emu::block
