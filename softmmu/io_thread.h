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
  i64 thread_id() const { return thread_id_; }

 private:
  std::unique_ptr<EventLoop> loop_;
  std::thread thread_;
  i64 thread_id_ = 0;
  // QEMU's knobs for polling before sleeping: kept for queries, without effect.
  i64 poll_max_ns_ = 32768, poll_grow_ = 0, poll_shrink_ = 0, aio_max_batch_ = 0;
  i64 pool_min_ = 0, pool_max_ = 64;
};

}  // namespace emu::softmmu
