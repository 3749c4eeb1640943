// SPDX-License-Identifier: Apache-2.0
#include "util/clock.h"

#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <thread>

#include "util/check.h"
#include "util/trace.h"

namespace emu {
namespace detail {

struct TimerState : std::enable_shared_from_this<TimerState> {
  std::shared_ptr<TimerQueueCore> queue;
  std::function<void()> callback;
  // All below under queue->mutex.
  ClockNs deadline{};
  ClockNs order{};  ///< deadline, or the time of arming if that was later: a past deadline goes behind what waits
  u64 sequence = 0;
  std::size_t slot = kNotQueued;
  static constexpr std::size_t kNotQueued = ~std::size_t(0);
};

/// The part of a queue that its timers share. A binary heap whose entries know their slot, so that cancelling is
/// as cheap as arming and neither allocates once the heap has grown.
struct TimerQueueCore {
  explicit TimerQueueCore(Clock& owner) : clock(&owner) {}

  Clock* const clock;
  mutable std::mutex mutex;
  std::condition_variable idle;
  std::vector<TimerState*> heap;
  TimerState* running = nullptr;
  std::thread::id runner;
  u64 next_sequence = 0;
  ClockNs last_run = ClockNs::min();
  bool closed = false;
  std::shared_ptr<std::function<void()>> notify;

  static bool before(const TimerState* a, const TimerState* b) {
    return a->order != b->order ? a->order < b->order : a->sequence < b->sequence;
  }
  void place(std::size_t slot, TimerState* timer) {
    heap[slot] = timer;
    timer->slot = slot;
  }
  void sift_up_locked(std::size_t slot) {
    TimerState* const timer = heap[slot];
    for (; slot > 0; slot = (slot - 1) / 2) {
      TimerState* const parent = heap[(slot - 1) / 2];
      if (!before(timer, parent)) break;
      place(slot, parent);
    }
    place(slot, timer);
  }
  void sift_down_locked(std::size_t slot) {
    TimerState* const timer = heap[slot];
    for (;;) {
      std::size_t child = 2 * slot + 1;
      if (child >= heap.size()) break;
      if (child + 1 < heap.size() && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], timer)) break;
      place(slot, heap[child]);
      slot = child;
    }
    place(slot, timer);
  }
  void remove_locked(TimerState* timer) {
    const std::size_t slot = timer->slot;
    if (slot == TimerState::kNotQueued) return;
    timer->slot = TimerState::kNotQueued;
    TimerState* const last = heap.back();
    heap.pop_back();
    if (last == timer) return;
    place(slot, last);
    sift_up_locked(slot);
    sift_down_locked(last->slot);
  }
  void insert_locked(TimerState* timer, ClockNs when) {
    remove_locked(timer);
    timer->deadline = when;
    timer->order = std::max(when, last_run);
    timer->sequence = next_sequence++;
    heap.push_back(timer);
    sift_up_locked(heap.size() - 1);
  }
  unsigned run_due();
};

unsigned TimerQueueCore::run_due() {
  unsigned ran = 0;
  std::unique_lock lock(mutex);
  last_run = clock->now();
  // What is armed from here on waits for the next call, even if it is due, so that a loop gets to its other work. It
  // stands behind all that was armed before: its order is not below `last_run`.
  const u64 first_new = next_sequence;
  while (!heap.empty() && clock->is_running()) {
    if (heap.front()->order > last_run || heap.front()->sequence >= first_new) break;
    const std::shared_ptr<TimerState> timer = heap.front()->shared_from_this();
    remove_locked(timer.get());
    running = timer.get();
    runner = std::this_thread::get_id();
    EMU_TRACE("timer_fire", "clock {} timer {} deadline {} now {}", unsigned(clock->kind()),
              static_cast<const void*>(timer.get()), timer->deadline.count(), last_run.count());
    lock.unlock();
    timer->callback();
    ran++;
    lock.lock();
    running = nullptr;
    runner = {};
    idle.notify_all();
  }
  return ran;
}

}  // namespace detail

namespace {

ClockNs read_clock(clockid_t id) {
  timespec now{};
  ::clock_gettime(id, &now);
  return ClockNs(i64(now.tv_sec) * 1'000'000'000 + now.tv_nsec);
}

void notify(const std::shared_ptr<std::function<void()>>& callback) {
  if (callback && *callback) (*callback)();
}

}  // namespace

ClockNs saturating_add(ClockNs a, ClockNs b) {
  i64 sum = 0;
  if (__builtin_add_overflow(a.count(), b.count(), &sum)) return b.count() < 0 ? ClockNs::min() : ClockNs::max();
  return ClockNs(sum);
}

// ---- Timer

Timer::Timer() = default;
Timer::Timer(std::shared_ptr<detail::TimerState> state) : state_(std::move(state)) {}
Timer::Timer(Timer&&) noexcept = default;
Timer::~Timer() { drop(); }

Timer& Timer::operator=(Timer&& other) noexcept {
  if (this != &other) {
    drop();
    state_ = std::move(other.state_);
  }
  return *this;
}

void Timer::drop() {
  if (!state_) return;
  auto& queue = *state_->queue;
  {
    std::unique_lock lock(queue.mutex);
    queue.remove_locked(state_.get());
    // From inside its own callback the runner holds another count on the state.
    if (queue.runner != std::this_thread::get_id()) {
      queue.idle.wait(lock, [&] { return queue.running != state_.get(); });
      queue.remove_locked(state_.get());  // the callback may have armed it again
    }
  }
  state_.reset();
}

void Timer::arm_at(ClockNs when) {
  EMU_CHECK(state_ != nullptr);
  auto& queue = *state_->queue;
  std::shared_ptr<std::function<void()>> earlier;
  ClockCounter* counter = nullptr;
  {
    const std::lock_guard lock(queue.mutex);
    if (queue.closed) return;
    queue.insert_locked(state_.get(), when);
    if (queue.heap.front() == state_.get()) {
      earlier = queue.notify;
      counter = queue.clock->counter_.load(std::memory_order_acquire);
    }
  }
  notify(earlier);
  if (counter != nullptr) counter->deadline_moved();
}

void Timer::arm_after(ClockNs delay) {
  EMU_CHECK(state_ != nullptr);
  ClockNs now{};
  {
    const std::lock_guard lock(state_->queue->mutex);
    if (state_->queue->closed) return;  // and the clock may be gone
    now = state_->queue->clock->now();
  }
  arm_at(saturating_add(now, delay));
}

void Timer::cancel() {
  if (!state_) return;
  const std::lock_guard lock(state_->queue->mutex);
  state_->queue->remove_locked(state_.get());  // a loop that wakes for nothing does no harm
}

bool Timer::is_armed() const { return deadline().has_value(); }

std::optional<ClockNs> Timer::deadline() const {
  if (!state_) return std::nullopt;
  const std::lock_guard lock(state_->queue->mutex);
  if (state_->slot == detail::TimerState::kNotQueued) return std::nullopt;
  return state_->deadline;
}

// ---- Clock

Clock::Clock(Kind kind, Drive drive) : kind_(kind), drive_(drive) {
  EMU_CHECK(drive == Drive::Automatic || kind == Kind::Virtual);
  running_ = kind != Kind::Virtual || drive == Drive::Manual;
  main_queue_ = std::make_unique<TimerQueue>(*this);
}

Clock::~Clock() = default;

ClockNs Clock::monotonic_now() { return read_clock(CLOCK_MONOTONIC); }
ClockNs Clock::host_now() const { return read_clock(kind_ == Kind::Host ? CLOCK_REALTIME : CLOCK_MONOTONIC); }

ClockNs Clock::now() const {
  if (kind_ != Kind::Virtual) return host_now();
  if (drive_ == Drive::Counted) {
    const ClockCounter* counter = counter_.load(std::memory_order_acquire);
    return ClockNs(base_.load(std::memory_order_acquire)) + (counter != nullptr ? counter->counted() : ClockNs(0));
  }
  for (;;) {
    const u32 before = sequence_.load(std::memory_order_acquire);
    const bool running = running_.load(std::memory_order_acquire);
    const i64 base = base_.load(std::memory_order_acquire);
    const ClockNs result = ClockNs(base) + (running && drive_ == Drive::Automatic ? host_now() : ClockNs(0));
    if ((before & 1) == 0 && sequence_.load(std::memory_order_acquire) == before) return result;
  }
}

void Clock::publish(bool running, ClockNs base) {
  sequence_.fetch_add(1, std::memory_order_acq_rel);
  running_.store(running, std::memory_order_release);
  base_.store(base.count(), std::memory_order_release);
  sequence_.fetch_add(1, std::memory_order_release);
}

void Clock::start() {
  EMU_CHECK(kind_ == Kind::Virtual);
  {
    const std::lock_guard lock(mutex_);
    if (is_running()) return;
    publish(true, drive_ == Drive::Counted ? ClockNs(base_) : drive_ == Drive::Manual ? now() : now() - host_now());
  }
  notify_queues();
}

void Clock::stop() {
  EMU_CHECK(kind_ == Kind::Virtual);
  {
    const std::lock_guard lock(mutex_);
    if (!is_running()) return;
    publish(false, drive_ == Drive::Counted ? ClockNs(base_) : now());
  }
  notify_queues();
}

void Clock::set_now(ClockNs time) {
  EMU_CHECK(kind_ == Kind::Virtual);
  {
    const std::lock_guard lock(mutex_);
    EMU_CHECK(!is_running() || drive_ == Drive::Manual);
    publish(is_running(), drive_ == Drive::Counted ? ClockNs(base_) + (time - now()) : time);
  }
  for (const auto& queue : queues()) {
    const std::lock_guard lock(queue->mutex);
    queue->last_run = ClockNs::min();  // time may have moved backwards
  }
  notify_queues();
}

void Clock::set_counter(ClockCounter* counter) {
  EMU_CHECK(drive_ == Drive::Counted);
  const std::lock_guard lock(mutex_);
  const ClockNs before = now();
  base_.store((before - (counter != nullptr ? counter->counted() : ClockNs(0))).count(), std::memory_order_release);
  counter_.store(counter, std::memory_order_release);
}

void Clock::advance(ClockNs distance) {
  EMU_CHECK(drive_ == Drive::Manual && distance >= ClockNs(0));
  if (!is_running()) return;
  const ClockNs end = saturating_add(now(), distance);
  const auto move_to = [this](ClockNs time) {
    const std::lock_guard lock(mutex_);
    publish(is_running(), time);
  };
  while (is_running()) {
    ClockNs next = ClockNs::max();
    for (const auto& queue : queues()) {
      const std::lock_guard lock(queue->mutex);
      if (!queue->heap.empty()) next = std::min(next, queue->heap.front()->order);
    }
    if (next > end || next == ClockNs::max()) break;
    move_to(std::max(next, now()));
    for (const auto& queue : queues()) queue->run_due();
  }
  if (is_running()) {
    move_to(std::max(end, now()));
    notify_queues();
  }
}

std::optional<ClockNs> Clock::monotonic_at(ClockNs when) const {
  if (kind_ == Kind::Realtime) return when;
  if (!is_running() || drive_ != Drive::Automatic) return std::nullopt;
  const ClockNs left = saturating_add(when, -now());
  return saturating_add(monotonic_now(), std::max(left, ClockNs(0)));
}

Timer Clock::make_timer(std::function<void()> callback) { return main_queue_->make_timer(std::move(callback)); }

std::vector<std::shared_ptr<detail::TimerQueueCore>> Clock::queues() const {
  std::vector<std::shared_ptr<detail::TimerQueueCore>> alive;
  const std::lock_guard lock(mutex_);
  for (const auto& weak : queues_) {
    if (auto queue = weak.lock()) alive.push_back(std::move(queue));
  }
  return alive;
}

void Clock::notify_queues() {
  for (const auto& queue : queues()) {
    std::shared_ptr<std::function<void()>> callback;
    {
      const std::lock_guard lock(queue->mutex);
      callback = queue->notify;
    }
    notify(callback);
  }
}

// ---- TimerQueue

TimerQueue::TimerQueue(Clock& clock) : core_(std::make_shared<detail::TimerQueueCore>(clock)) {
  const std::lock_guard lock(clock.mutex_);
  std::erase_if(clock.queues_, [](const auto& weak) { return weak.expired(); });
  clock.queues_.push_back(core_);
}

TimerQueue::~TimerQueue() {
  const std::lock_guard lock(core_->mutex);
  core_->closed = true;
  core_->notify.reset();
  for (auto* timer : core_->heap) timer->slot = detail::TimerState::kNotQueued;
  core_->heap.clear();
}

Clock& TimerQueue::clock() const { return *core_->clock; }

Timer TimerQueue::make_timer(std::function<void()> callback) {
  auto state = std::make_shared<detail::TimerState>();
  state->queue = core_;
  state->callback = std::move(callback);
  return Timer(std::move(state));
}

std::optional<ClockNs> TimerQueue::deadline() const {
  if (!core_->clock->is_running()) return std::nullopt;
  const std::lock_guard lock(core_->mutex);
  if (core_->heap.empty()) return std::nullopt;
  return core_->heap.front()->deadline;
}

std::optional<ClockNs> TimerQueue::monotonic_deadline() const {
  const auto when = deadline();
  return when ? core_->clock->monotonic_at(*when) : std::nullopt;
}

unsigned TimerQueue::run_due() { return core_->run_due(); }

void TimerQueue::set_notify(std::function<void()> callback) {
  auto shared = callback ? std::make_shared<std::function<void()>>(std::move(callback)) : nullptr;
  const std::lock_guard lock(core_->mutex);
  core_->notify = std::move(shared);
}

}  // namespace emu
