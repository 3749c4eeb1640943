// SPDX-License-Identifier: Apache-2.0
// Asynchronous requests to files: what is asked, and who carries it out.
#pragma once

#include <sys/uio.h>

#include <coroutine>

#include "util/clock.h"
#include "util/types.h"

namespace emu::block {

/// One request to a file descriptor; stays where it is until it is done, and what it points to with it.
struct IoRequest {
  enum class Kind : u8 { Read, Write, Sync, Allocate };
  Kind kind = Kind::Read;
  bool data_sync = false;  ///< Write: on stable storage when done
  bool in_place = false;   ///< Read, Write: it copies and waits for nothing, so that a hand-over would cost more
  int fd = -1;
  int mode = 0;  ///< Allocate: FALLOC_FL_*
  u64 offset = 0;
  u64 length = 0;                ///< Allocate
  const iovec* parts = nullptr;  ///< Read, Write: at most IOV_MAX
  unsigned part_count = 0;

  // The engine's.
  i64 result = 0;
  ClockNs took{};  ///< what the loop's thread spent on it, if it was carried out there
  std::coroutine_handle<> waiter = {};
};

/// Belongs to one event loop: requests are made and end on its thread.
class IoEngine {
 public:
  virtual ~IoEngine() = default;
  /// "io_uring" or "threads".
  virtual const char* name() const = 0;
  /// Requests in place may be carried out on the loop's thread, others never wait there.
  /// `request.waiter` is resumed when request.result is there: bytes moved, or -errno. Never before it returns.
  virtual void submit(IoRequest& request) = 0;

  struct Awaiter {
    IoEngine& engine;
    IoRequest& request;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> self) const {
      request.waiter = self;
      engine.submit(request);
    }
    i64 await_resume() const noexcept { return request.result; }
  };
  /// `const i64 done = co_await engine.run(request);`
  Awaiter run(IoRequest& request) { return Awaiter{*this, request}; }
};

}  // namespace emu::block
