// SPDX-License-Identifier: Apache-2.0
// -object iothread: the thread itself.
#pragma once

#include <memory>
#include <thread>

#include "hw/core/io_thread.h"

namespace emu::softmmu {

class IoThread final : public hw::IoThreadObject {
 public:
  static void describe(qom::TypeInfo<IoThread>& type);
  ~IoThread() override;

  Result<void> complete() override;
  EventLoop& loop() override { return *loop_; }
  int thread_id() const { return thread_id_; }

  // QEMU's knobs for polling before sleeping: kept for queries, without effect.
  i64 poll_max_ns() const { return poll_max_ns_; }
  i64 poll_grow() const { return poll_grow_; }
  i64 poll_shrink() const { return poll_shrink_; }
  i64 aio_max_batch() const { return aio_max_batch_; }

 private:
  std::unique_ptr<EventLoop> loop_;
  std::thread thread_;
  int thread_id_ = 0;
  i64 poll_max_ns_ = 32768, poll_grow_ = 0, poll_shrink_ = 0, aio_max_batch_ = 0;
  i64 pool_min_ = 0, pool_max_ = 64;
};

}  // namespace emu::softmmu
