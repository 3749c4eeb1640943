// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/queue_events.h"

namespace emu::hw {

Result<std::shared_ptr<QueueEvents>> QueueEvents::create(EventLoop* loop, RunOnMainLoop run_on_main_loop,
                                                         Handler handler, Handler time_over) {
  std::shared_ptr<QueueEvents> events(new QueueEvents());
  events->loop_ = loop;
  events->run_on_main_loop_ = std::move(run_on_main_loop);
  events->handler_ = std::move(handler);
  events->time_over_ = std::move(time_over);
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
  due_.store(false);  // before looking: who kicks from here on is heard again
  call(handler_);
}

void QueueEvents::run_now() {
  if (loop_ == nullptr || !loop_->is_loop_thread()) return kick();
  if (!is_running_) call(handler_);
}

void QueueEvents::call(const Handler& handler) {
  const std::lock_guard hold(mutex_);
  if (!handler) return;
  is_running_ = true;
  handler();
  is_running_ = false;
}

void QueueEvents::call_in(std::chrono::milliseconds delay) {
  if (loop_ == nullptr) return;
  if (!loop_->is_loop_thread()) return loop_->post([events = shared_from_this(), delay] { events->call_in(delay); });
  if (!watch_.is_active()) return;  // close() has been here
  if (!deadline_.is_active()) {
    deadline_ = loop_->make_deadline([raw = this] {
      const auto alive = raw->shared_from_this();
      if (raw->is_running_) return raw->deadline_.start(std::chrono::milliseconds(1));  // it runs the loop
      raw->call(raw->time_over_);
    });
  }
  deadline_.start(delay);
}

void QueueEvents::close() {
  {
    const std::lock_guard hold(mutex_);
    handler_ = time_over_ = {};
  }
  if (loop_ == nullptr) return;
  const auto forget = [events = shared_from_this()] {
    events->watch_.reset();
    events->deadline_.reset();
  };
  if (loop_->is_loop_thread()) {
    forget();
  } else {
    loop_->post(forget);
  }
}

}  // namespace emu::hw
