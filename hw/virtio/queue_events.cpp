// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/queue_events.h"

namespace emu::hw {

Result<std::shared_ptr<QueueEvents>> QueueEvents::create(EventLoop* loop, RunOnMainLoop run_on_main_loop,
                                                         Handler handler) {
  std::shared_ptr<QueueEvents> events(new QueueEvents());
  events->loop_ = loop;
  events->run_on_main_loop_ = std::move(run_on_main_loop);
  events->handler_ = std::move(handler);
  if (loop == nullptr) return events;
  events->notifier_ = EMU_TRY(EventNotifier::create());
  const auto watch = [events] {
    // The watch does not count: close() drops it.
    events->watch_ = events->loop_->watch_fd(events->notifier_->fd(), FdEvents::Read, [raw = events.get()](FdEvents) {
      const auto alive = raw->shared_from_this();
      if (raw->notifier_->test_and_clear()) raw->run();
    });
  };
  if (loop->is_loop_thread()) {
    watch();
  } else {
    loop->post(watch);
  }
  return events;
}

Result<std::shared_ptr<QueueEvents>> QueueEvents::create_outside() {
  std::shared_ptr<QueueEvents> events(new QueueEvents());
  events->outside_ = true;
  events->notifier_ = EMU_TRY(EventNotifier::create());
  return events;
}

QueueEvents::~QueueEvents() = default;

void QueueEvents::listen(bool on) {
  if (loop_ == nullptr) return;
  loop_->post([events = shared_from_this(), on] { events->watch_.set_events(on ? FdEvents::Read : FdEvents::None); });
}

void QueueEvents::kick() {
  if (outside_) return notifier_->notify();
  if (due_.exchange(true)) return;
  if (notifier_) {
    notifier_->notify();
  } else {
    run_on_main_loop_([events = shared_from_this()] { events->run(); });
  }
}

void QueueEvents::run() {
  const std::lock_guard hold(mutex_);
  due_.store(false);  // before looking: who kicks from here on is heard again
  if (handler_) handler_();
}

void QueueEvents::close() {
  {
    const std::lock_guard hold(mutex_);
    handler_ = {};
  }
  if (loop_ == nullptr) return;
  if (loop_->is_loop_thread()) {
    watch_.reset();
  } else {
    loop_->post([events = shared_from_this()] { events->watch_.reset(); });
  }
}

}  // namespace emu::hw
