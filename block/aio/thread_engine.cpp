// SPDX-License-Identifier: Apache-2.0
// File requests carried out by threads that block.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "block/aio/engines.h"
#include "util/task.h"

namespace emu::block {
namespace {

i64 ask_kernel(const IoRequest& request) {
  switch (request.kind) {
    case IoRequest::Kind::Read:
      return ::preadv(request.fd, request.parts, int(request.part_count), off_t(request.offset));
    case IoRequest::Kind::Write:
      return ::pwritev2(request.fd, request.parts, int(request.part_count), off_t(request.offset),
                        request.data_sync ? RWF_DSYNC : 0);
    case IoRequest::Kind::Sync:
      return ::fdatasync(request.fd);
    case IoRequest::Kind::Allocate:
      return ::fallocate(request.fd, request.mode, off_t(request.offset), off_t(request.length));
  }
  return -1;
}

class ThreadEngine final : public IoEngine {
 public:
  ThreadEngine(EventLoop& loop, ThreadPool& pool) : loop_(loop), pool_(pool) {}
  const char* name() const override { return "threads"; }
  void submit(IoRequest& request) override {
    pool_.submit([&request, &loop = loop_] {
      request.result = carry_out(request);
      loop.post([&request] { detail::resume_on_trampoline(request.waiter); });
    });
  }

 private:
  EventLoop& loop_;
  ThreadPool& pool_;
};

}  // namespace

i64 carry_out(const IoRequest& request) {
  i64 done = 0;
  do {
    done = ask_kernel(request);
  } while (done < 0 && errno == EINTR);
  return done < 0 ? -errno : done;
}

std::shared_ptr<IoEngine> make_thread_engine(EventLoop& loop, ThreadPool& pool) {
  return std::make_shared<ThreadEngine>(loop, pool);
}

}  // namespace emu::block
