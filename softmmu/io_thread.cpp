// SPDX-License-Identifier: Apache-2.0
#include "softmmu/io_thread.h"

#include <unistd.h>

#include <future>
#include <vector>

#include "util/event_notifier.h"
#include "util/thread.h"

namespace emu::softmmu {

namespace {

/// A loop cannot be without its descriptors, nor can glib, which ends the program: whether there are some left.
Result<void> check_descriptors() {
  constexpr std::size_t kWanted = 16;
  std::vector<EventNotifier> held;
  while (held.size() < kWanted) held.push_back(EMU_TRY(EventNotifier::create()));
  return {};
}

}  // namespace

void IoThread::describe(qom::TypeInfo<IoThread>& type) {
  type.doc("a thread that carries out the requests of devices with iothread=ID");
  type.property("thread-id", &IoThread::thread_id, "the host's number of the thread");
  type.property("poll-max-ns", &IoThread::poll_max_ns_, "has no effect");
  type.property("poll-grow", &IoThread::poll_grow_, "has no effect");
  type.property("poll-shrink", &IoThread::poll_shrink_, "has no effect");
  type.property("aio-max-batch", &IoThread::aio_max_batch_, "has no effect: requests go to the host in one batch");
  type.property("thread-pool-min", &IoThread::pool_min_, "has no effect");
  type.property("thread-pool-max", &IoThread::pool_max_, "has no effect");
}

Result<void> IoThread::complete() {
  for (const i64 value : {poll_max_ns_, poll_grow_, poll_shrink_, aio_max_batch_, pool_min_, pool_max_}) {
    if (value < 0) return error("values must be in range [0, {}]", INT64_MAX);
  }
  EMU_TRY(check_descriptors());
  loop_ = std::make_unique<EventLoop>();
  std::promise<int> started;
  auto id = started.get_future();
  UniqueFunction<void()> body = [this, &started] {
    loop_->run_once(/*wait=*/false);  // from here on the loop is this thread's
    started.set_value(::gettid());
    loop_->run();
  };
  thread_ = try_start_thread("iothread", body);
  if (!thread_.joinable()) return error("the host has no thread left");
  thread_id_ = id.get();
  return {};
}

IoThread::~IoThread() {
  if (!thread_.joinable()) return;
  loop_->quit();
  thread_.join();
}

}  // namespace emu::softmmu
