// SPDX-License-Identifier: Apache-2.0
#include "block/aio/engines.h"

#include "util/log.h"

namespace emu::block {

IoEngines::IoEngines() : pool_(std::make_unique<ThreadPool>("block")) {}
IoEngines::~IoEngines() = default;

Result<std::shared_ptr<IoEngine>> IoEngines::engine(EventLoop& loop, AioMode mode) {
  const bool wants_ring = mode != AioMode::Threads;
  auto& kept = engines_[{&loop, wants_ring}];
  if (auto alive = kept.lock()) return alive;
  if (wants_ring) {
    auto ring = make_uring_engine(loop);
    if (ring) {
      kept = *ring;
      return std::move(*ring);
    }
    if (mode == AioMode::IoUring) {
      return error(Error(ring.error().message()).with_hint("use aio=threads, or leave aio= away"));
    }
    if (!std::exchange(told_, true)) log::info("{}; files are read and written by threads", ring.error().message());
    return engine(loop, AioMode::Threads);
  }
  auto threads = make_thread_engine(loop, *pool_);
  kept = threads;
  return threads;
}

}  // namespace emu::block
