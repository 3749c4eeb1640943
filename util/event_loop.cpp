// SPDX-License-Identifier: Apache-2.0
#include "util/event_loop.h"

#include <glib.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <vector>

#include "util/event_notifier.h"
#include "util/guarded.h"

namespace emu {

static_assert(std::is_same_v<::_GMainContext, GMainContext>);

namespace detail {

/// Begins as the GSource that glib allocates for us.
///
/// glib keeps a callback that runs the loop from being called by itself: for the time of each dispatch it takes the
/// source's descriptors out of the poll set, which costs two wake-ups by eventfd and a round that finds nothing. Our
/// sources are allowed to recurse instead, and whoever runs the loop inside of callbacks hides theirs (run_once()).
struct FdSource {
  GSource base;
  EventLoop* loop;
  int fd;
  FdEvents wanted;
  gpointer tag;     ///< null while nothing is polled
  FdSource* outer;  ///< while dispatched: the source inside of whose callback we are
  bool is_hidden;   ///< while dispatched: the callback runs the loop
  std::shared_ptr<std::function<void(FdEvents)>> callback;

  void poll_for(FdEvents events);
  void hide();
  void end_dispatch();
};

}  // namespace detail

namespace {
using detail::FdSource;

FdSource* as_fd_source(GSource* source) { return reinterpret_cast<FdSource*>(source); }

GIOCondition condition_of(FdEvents events) {
  int condition = G_IO_HUP | G_IO_ERR;
  if (any(events & FdEvents::Read)) condition |= G_IO_IN;
  if (any(events & FdEvents::Write)) condition |= G_IO_OUT;
  return GIOCondition(condition);
}

FdEvents ready_events(FdSource* source) {
  if (!source->tag) return FdEvents::None;
  const GIOCondition ready = g_source_query_unix_fd(&source->base, source->tag);
  FdEvents events = FdEvents::None;
  if (ready & G_IO_IN) events = events | FdEvents::Read;
  if (ready & G_IO_OUT) events = events | FdEvents::Write;
  if (ready & (G_IO_HUP | G_IO_ERR | G_IO_NVAL)) events = events | FdEvents::HangUp;
  return events;
}

gboolean check(GSource* source) { return any(ready_events(as_fd_source(source))); }

void finalize(GSource* source) { as_fd_source(source)->callback.~shared_ptr(); }

}  // namespace

namespace detail {

void FdSource::poll_for(FdEvents events) {
  if (events == FdEvents::None) {
    if (tag) g_source_remove_unix_fd(&base, std::exchange(tag, nullptr));
  } else if (tag) {
    g_source_modify_unix_fd(&base, tag, condition_of(events));
  } else {
    tag = g_source_add_unix_fd(&base, fd, condition_of(events));
  }
}

void FdSource::hide() {
  is_hidden = true;
  poll_for(FdEvents::None);
}

void FdSource::end_dispatch() {
  loop->dispatching_ = outer;
  if (std::exchange(is_hidden, false) && !g_source_is_destroyed(&base)) poll_for(wanted);
}

}  // namespace detail

gboolean EventLoop::dispatch(::_GSource* source, int (*)(void*), void*) {
  FdSource* const self = as_fd_source(source);
  const FdEvents ready = ready_events(self);
  const auto callback = self->callback;  // the callback may destroy its own watch
  if (!any(ready) || !callback) return G_SOURCE_CONTINUE;
  const bool is_posted = self == self->loop->posted_watch_.source_;  // posted work may run what is posted behind it
  if (!is_posted) self->outer = std::exchange(self->loop->dispatching_, self);
  (*callback)(ready);
  if (!is_posted) self->end_dispatch();
  return G_SOURCE_CONTINUE;
}

// ---- FdWatch

FdWatch& FdWatch::operator=(FdWatch&& other) noexcept {
  if (this != &other) {
    reset();
    source_ = std::exchange(other.source_, nullptr);
  }
  return *this;
}

void FdWatch::set_events(FdEvents events) {
  if (!source_ || source_->wanted == events) return;  // each change wakes the loop
  source_->wanted = events;
  if (!source_->is_hidden) source_->poll_for(events);
}

void FdWatch::reset() {
  if (!source_) return;
  GSource* const base = &source_->base;
  source_->poll_for(FdEvents::None);
  source_ = nullptr;
  g_source_destroy(base);
  g_source_unref(base);
}

// ---- Deadline

namespace detail {

/// Begins as the GSource that glib allocates for us: the time goes into the timeout of the next poll().
struct DeadlineSource {
  GSource base;
  i64 due_us;  ///< of glib's monotonic time; negative: stopped
  std::shared_ptr<std::function<void()>> callback;
};

}  // namespace detail

namespace {

using detail::DeadlineSource;

DeadlineSource* as_deadline(GSource* source) { return reinterpret_cast<DeadlineSource*>(source); }

bool is_over(GSource* source) {
  const i64 due = as_deadline(source)->due_us;
  return due >= 0 && g_source_get_time(source) >= due;
}

gboolean prepare_deadline(GSource* source, gint* timeout_ms) {
  constexpr i64 kUsPerMs = 1000;
  const i64 due = as_deadline(source)->due_us;
  const i64 left = due - g_source_get_time(source);
  *timeout_ms = due < 0 ? -1 : gint(std::clamp<i64>((left + kUsPerMs - 1) / kUsPerMs, 0, INT_MAX));
  return is_over(source);
}

gboolean check_deadline(GSource* source) { return is_over(source); }

gboolean dispatch_deadline(GSource* source, GSourceFunc, gpointer) {
  as_deadline(source)->due_us = -1;
  const auto callback = as_deadline(source)->callback;  // it may destroy its own deadline
  (*callback)();
  return G_SOURCE_CONTINUE;
}

void finalize_deadline(GSource* source) { as_deadline(source)->callback.~shared_ptr(); }

}  // namespace

Deadline EventLoop::make_deadline(std::function<void()> callback) {
  static GSourceFuncs functions = {prepare_deadline, check_deadline, dispatch_deadline, finalize_deadline, nullptr, nullptr};
  GSource* const base = g_source_new(&functions, sizeof(DeadlineSource));
  g_source_set_can_recurse(base, TRUE);  // see FdSource; it is stopped before it calls back
  DeadlineSource* const source = as_deadline(base);
  source->due_us = -1;
  new (&source->callback) std::shared_ptr<std::function<void()>>(
      std::make_shared<std::function<void()>>(std::move(callback)));
  g_source_attach(base, context_);
  return Deadline(source);
}

Deadline& Deadline::operator=(Deadline&& other) noexcept {
  if (this != &other) {
    reset();
    source_ = std::exchange(other.source_, nullptr);
  }
  return *this;
}

void Deadline::start(std::chrono::milliseconds delay) {
  source_->due_us = g_get_monotonic_time() + std::chrono::microseconds(delay).count();
}

void Deadline::stop() { source_->due_us = -1; }

void Deadline::reset() {
  if (!source_) return;
  GSource* const base = &std::exchange(source_, nullptr)->base;
  g_source_destroy(base);
  g_source_unref(base);
}

// ---- Timers

namespace detail {

/// A timerfd that always stands at its queue's deadline. Kept alive by the queue's notify and the attachment.
struct TimerSource {
  TimerSource(TimerQueue& timers, std::function<void()> work) : queue(&timers), run_due(std::move(work)) {}

  std::mutex mutex;   ///< held while reading the deadline and setting the timer, so that the latest reading wins
  TimerQueue* queue;  ///< null once detached
  const std::function<void()> run_due;
  Fd timer;
  FdWatch watch;

  void update() {
    const std::lock_guard lock(mutex);
    if (!queue) return;
    itimerspec spec{};
    const bool wall = queue->clock().kind() == Clock::Kind::Host;
    const auto deadline = wall ? queue->deadline() : queue->monotonic_deadline();
    if (deadline) {
      const i64 ns = std::max<i64>(deadline->count(), 1);  // 0 would disarm
      spec.it_value = {.tv_sec = time_t(ns / 1'000'000'000), .tv_nsec = long(ns % 1'000'000'000)};
    }
    // A wall clock that is set wakes us, to look again.
    const int flags = TFD_TIMER_ABSTIME | (wall ? TFD_TIMER_CANCEL_ON_SET : 0);
    ::timerfd_settime(timer.get(), flags, &spec, nullptr);
  }

  void expired() {
    u64 expirations = 0;
    (void)!::read(timer.get(), &expirations, sizeof expirations);  // ECANCELED: the wall clock was set
    if (queue) run_due();                                          // detached on this thread only
    update();
  }
};

}  // namespace detail

TimerAttachment& TimerAttachment::operator=(TimerAttachment&& other) noexcept {
  if (this != &other) {
    reset();
    source_ = std::move(other.source_);
  }
  return *this;
}

void TimerAttachment::reset() {
  const auto source = std::exchange(source_, nullptr);
  if (!source) return;
  source->queue->set_notify(nullptr);
  source->watch.reset();
  // A notify that is under way on another thread still holds the source; it finds no queue.
  const std::lock_guard lock(source->mutex);
  source->queue = nullptr;
}

Result<TimerAttachment> EventLoop::attach(TimerQueue& queue, std::function<void()> run_due) {
  if (!run_due) run_due = [&queue] { queue.run_due(); };
  const int clock_id = queue.clock().kind() == Clock::Kind::Host ? CLOCK_REALTIME : CLOCK_MONOTONIC;
  auto source = std::make_shared<detail::TimerSource>(queue, std::move(run_due));
  source->timer.reset(::timerfd_create(clock_id, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!source->timer) return error("cannot create a timerfd: {}", std::strerror(errno));
  source->watch = watch_fd(source->timer.get(), FdEvents::Read, [weak = std::weak_ptr(source)](FdEvents) {
    if (const auto alive = weak.lock()) alive->expired();
  });
  queue.set_notify([source] { source->update(); });
  source->update();
  TimerAttachment attachment;
  attachment.source_ = std::move(source);
  return attachment;
}

// ---- EventLoop

struct EventLoop::Posted {
  explicit Posted(EventNotifier event) : notifier(std::move(event)) {}
  EventNotifier notifier;
  Guarded<std::deque<UniqueFunction<void()>>> work;
  bool running = false;  ///< loop's thread: some of it runs, and may run the loop itself
};

EventLoop::EventLoop(Context context)
    : context_(context == Context::Shared ? g_main_context_ref(g_main_context_default()) : g_main_context_new()),
      thread_(std::this_thread::get_id()) {
  auto notifier = EventNotifier::create();
  EMU_CHECK(notifier.has_value());  // without a single descriptor left nothing can run
  posted_ = std::make_shared<Posted>(std::move(*notifier));
  posted_watch_ = watch_fd(posted_->notifier.fd(), FdEvents::Read, [posted = posted_](FdEvents) {
    posted->notifier.test_and_clear();
    const bool outer = std::exchange(posted->running, true);
    // One by one, so that work which runs the loop meanwhile finds what comes behind it there.
    for (std::size_t left = posted->work.lock()->size(); left > 0; left--) {
      UniqueFunction<void()> work;
      {
        auto queue = posted->work.lock();
        if (queue->empty()) break;
        work = std::move(queue->front());
        queue->pop_front();
      }
      work();
    }
    posted->running = outer;
    if (!posted->work.lock()->empty()) posted->notifier.notify();
  });
}

EventLoop::~EventLoop() {
  posted_watch_.reset();
  std::deque<UniqueFunction<void()>> dropped;
  posted_->work.lock()->swap(dropped);
  dropped.clear();
  g_main_context_unref(context_);
}

void EventLoop::run() {
  while (!quit_.exchange(false)) run_once(/*wait=*/true);
}

void EventLoop::quit() {
  quit_.store(true);
  g_main_context_wakeup(context_);
}

bool EventLoop::run_once(bool wait) {
  thread_.store(std::this_thread::get_id(), std::memory_order_release);
  if (posted_->running && !posted_->work.lock()->empty()) posted_->notifier.notify();
  for (FdSource* inside = dispatching_; inside && !inside->is_hidden; inside = inside->outer) inside->hide();
  return g_main_context_iteration(context_, wait);
}

void EventLoop::post(UniqueFunction<void()> work) {
  posted_->work.lock()->push_back(std::move(work));
  posted_->notifier.notify();
}

FdWatch EventLoop::watch_fd(int fd, FdEvents events, std::function<void(FdEvents)> callback) {
  static GSourceFuncs functions = {nullptr, check, dispatch, finalize, nullptr, nullptr};
  GSource* const base = g_source_new(&functions, sizeof(FdSource));  // all zeroes behind its base
  g_source_set_can_recurse(base, TRUE);
  FdSource* const source = as_fd_source(base);
  source->loop = this;
  source->fd = fd;
  new (&source->callback) std::shared_ptr<std::function<void(FdEvents)>>(
      std::make_shared<std::function<void(FdEvents)>>(std::move(callback)));
  FdWatch watch(source);
  watch.set_events(events);
  g_source_attach(base, context_);
  return watch;
}

}  // namespace emu
