// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/icount.h"

#include <algorithm>
#include <utility>

#include "util/check.h"
#include "util/log.h"

namespace emu::accel {
namespace {

/// Instructions of a turn where several vCPUs run, and between looks at the host's time.
constexpr i64 kTurn = i64(1) << 15, kLonely = i64(1) << 20;
constexpr ClockNs kAlignTime = std::chrono::milliseconds(1);
constexpr ClockNs kAdaptEvery = std::chrono::milliseconds(50), kAdaptSlack = std::chrono::milliseconds(25);
constexpr ClockNs kLate = std::chrono::milliseconds(100), kWarnEvery = std::chrono::seconds(2);

i64 rounded_up_shift(ClockNs distance, unsigned shift) {
  const i64 ns = std::max<i64>(distance.count(), 0);
  return (ns >> shift) + ((ns & ((i64(1) << shift) - 1)) != 0 ? 1 : 0);
}

}  // namespace

// --- Main thread ---

void Icount::add(CountedVcpu& vcpu, tcg::EnvHeader& env) {
  seats_.push_back(std::unique_ptr<Seat>(new Seat{.vcpu = vcpu, .env = env}));
  shift_now_ = shift_;
}

void Icount::set_held(unsigned vcpu, bool held) {
  const std::lock_guard lock(mutex_);
  seats_[vcpu]->held = held;
  if (!held || turn_ != vcpu) return;
  // Whoever has the turn must be able to use it.
  for (unsigned i = 0; i < seats_.size(); i++) {
    if (!seats_[i]->held) return pass_turn_locked(i);
  }
}

/// The host's time as far as the machine ran.
ClockNs Icount::host_time() const {
  const i64 paused_at = paused_at_.load();
  return ClockNs(paused_at != 0 ? paused_at : Clock::monotonic_now().count()) - ClockNs(host_base_.load());
}

void Icount::resumed() {
  const i64 paused_at = paused_at_.exchange(0);
  if (paused_at != 0) host_base_ += Clock::monotonic_now().count() - paused_at;
}

void Icount::paused() {
  i64 runs = 0;
  paused_at_.compare_exchange_strong(runs, Clock::monotonic_now().count());
}

// --- Turns ---

void Icount::started(unsigned vcpu) { seats_[vcpu]->thread = std::this_thread::get_id(); }

void Icount::wait_for_turn(unsigned vcpu) {
  std::unique_lock lock(mutex_);
  seats_[vcpu]->turn_came.wait(lock, [&] { return turn_ == vcpu || should_stop_; });
}

void Icount::pass_turn_locked(unsigned vcpu) {
  settle();
  note(Decision::Kind::Turn, vcpu);
  yields_ = false;
  kept_end_.reset();
  slice_end_ = grant_end_ + slice();
  turns_.fetch_add(1, std::memory_order_relaxed);
  moved_ = true;
  turn_.store(vcpu, std::memory_order_release);  // from here on all this is the other's
  seats_[vcpu]->turn_came.notify_one();
}

/// The first in order that would run, the one with the turn last.
std::optional<unsigned> Icount::next_to_run() const {
  const unsigned n = unsigned(seats_.size());
  for (unsigned i = 1; i <= n; i++) {
    const unsigned at = (turn_ + i) % n;
    if (!seats_[at]->held && seats_[at]->vcpu.wants_turn()) return at;
  }
  return std::nullopt;
}

i64 Icount::slice() const {
  if (options_.align) return std::max<i64>(kAlignTime.count() >> shift_, 1);
  return seats_.size() > 1 ? kTurn : kLonely;
}

/// False: another vCPU has the turn.
bool Icount::end_slice() {
  yields_ = false;
  if (options_.adaptive || options_.align) keep_pace();
  slice_end_ = grant_end_ + slice();
  const std::lock_guard lock(mutex_);
  const auto next = next_to_run();
  if (!next || *next == turn_) return true;
  pass_turn_locked(*next);
  return false;
}

// --- Counting ---

/// Nothing is granted any more; what was executed is counted.
void Icount::settle() {
  const i64 now = count();
  if (now != settled_) activity_++;
  settled_ = now;
  grant_end_ = now;
  seats_[turn_]->env.icount_budget = 0;
  publish(now);
}

void Icount::publish(i64 count) {
  published_count_.store(count, std::memory_order_relaxed);
  published_ns_.store(time_of(count).count(), std::memory_order_release);
}

/// While nobody executes anything.
void Icount::skip_time_to(ClockNs time) {
  note(Decision::Kind::Time, time.count());
  move_time_to(time);
}

void Icount::move_time_to(ClockNs time) {
  base_ns_ = time;
  base_count_ = grant_end_;
  publish(grant_end_);
}

void Icount::run_due_timers() {
  const auto deadline = client_.next_timer();
  if (!deadline || *deadline > time_of(grant_end_)) return;
  activity_++;
  note(Decision::Kind::Timers);
  client_.run_timers();
}

/// The vCPU leaves its loop; whoever stopped it may do to its state what he likes. Its grant is kept: that the machine
/// stopped shall make no difference.
void Icount::rest() {
  const i64 end = grant_end_;
  settle();
  if (end > grant_end_ && !is_replaying()) kept_end_ = end;
}

void Icount::grant() {
  settle();
  if (const auto end = std::exchange(kept_end_, std::nullopt); end && !moved_ && !yields_) return grant_until(*end);
  run_due_timers();
  if ((grant_end_ >= slice_end_ || yields_) && !end_slice()) return;
  moved_ = false;  // before the deadline is read
  i64 end = slice_end_;
  if (const auto deadline = client_.next_timer()) {
    const i64 left = rounded_up_shift(*deadline - time_of(grant_end_), shift_);
    // A timer that is due again already must not keep the guest from running.
    end = std::min(end, grant_end_ + std::max<i64>(left, 1));
  }
  grant_until(end);
}

void Icount::grant_until(i64 end) {
  seats_[turn_]->env.icount_budget = end - grant_end_;
  grant_end_ = end;
}

// --- Sleeping ---

void Icount::idle() {
  settle();
  if (should_stop_) return;  // time shall not go on before the machine stands
  {
    const std::lock_guard lock(mutex_);
    if (const auto next = next_to_run()) {
      if (*next != turn_) pass_turn_locked(*next);
      return;
    }
  }
  moved_ = false;  // before the deadline is read
  const auto deadline = client_.next_timer();
  const ClockNs now = time_of(grant_end_);
  if (deadline && *deadline > now && !options_.sleep) {
    skipped_ns_ += (*deadline - now).count();
    skip_time_to(*deadline);
  } else if (!deadline || *deadline > now) {
    sleep_until(deadline);
  }
  run_due_timers();
  moved_ = true;
}

/// In the host's time, until `deadline`, a vCPU's awakening or another timer. If only the deadline comes, time stands
/// there exactly.
void Icount::sleep_until(std::optional<ClockNs> deadline) {
  const ClockNs before = time_of(grant_end_), start = Clock::monotonic_now();
  {
    std::unique_lock lock(mutex_);
    waiting_.store(true, std::memory_order_seq_cst);
    const auto is_over = [this] { return should_stop_ || moved_ || next_to_run().has_value(); };
    if (deadline) {
      woken_.wait_for(lock, std::chrono::nanoseconds(*deadline - before), is_over);
    } else {
      woken_.wait(lock, is_over);
    }
    waiting_ = false;
  }
  if (!options_.sleep && !deadline) return;  // time stands still
  const ClockNs passed = Clock::monotonic_now() - start;
  const ClockNs after = deadline ? std::min(*deadline, before + passed) : before + passed;
  slept_ns_ += (after - before).count();
  skip_time_to(after);
}

void Icount::kicked(bool to_stop) {
  if (!to_stop && !waiting_.load(std::memory_order_seq_cst)) return;
  const std::lock_guard lock(mutex_);
  woken_.notify_all();
  if (!to_stop) return;
  for (auto& seat : seats_) seat->turn_came.notify_all();
}

void Icount::deadline_moved() {
  moved_ = true;
  if (seats_.empty()) return;
  seats_[turn_]->vcpu.look_up();
}

ClockNs Icount::counted() const {
  if (!seats_.empty() && seats_[turn_]->thread.load(std::memory_order_relaxed) == std::this_thread::get_id()) {
    return time_of(count());
  }
  return ClockNs(published_ns_.load(std::memory_order_acquire));
}

// --- The host's time ---

void Icount::keep_pace() {
  const ClockNs ahead = ahead_of_host();
  most_ahead_ = std::max(most_ahead_.load(), ahead.count());
  most_behind_ = std::max(most_behind_.load(), -ahead.count());
  if (options_.adaptive) adapt(ahead);
  if (options_.align) align(ahead);
}

/// An instruction takes less time where the guest is ahead and gets further, more where it is behind and falls back.
void Icount::adapt(ClockNs ahead) {
  const ClockNs now = host_time();
  if (now < next_look_) return;
  next_look_ = now + kAdaptEvery;
  unsigned shift = shift_;
  if (ahead > kAdaptSlack && ahead > last_ahead_ && shift > 0) shift--;
  if (ahead < -kAdaptSlack && ahead < last_ahead_ && shift < IcountOptions::kMostShift) shift++;
  last_ahead_ = ahead;
  if (shift == shift_) return;
  move_time_to(time_of(grant_end_));
  shift_ = shift;
  shift_now_ = shift;
}

void Icount::align(ClockNs ahead) {
  if (ahead > ClockNs(0)) {
    std::unique_lock lock(mutex_);
    waiting_.store(true, std::memory_order_seq_cst);
    woken_.wait_for(lock, std::chrono::nanoseconds(ahead), [this] { return should_stop_.load(); });
    waiting_ = false;
    return;
  }
  const ClockNs now = host_time();
  if (-ahead < kLate || now < next_warning_) return;
  next_warning_ = now + kWarnEvery;
  log::warn("-icount align=on: the guest is late by {:.1f} s; a larger shift= makes its clock go faster",
               double(-ahead.count()) / 1e9);
}

std::string Icount::describe() const {
  const auto ms = [](i64 ns) { return fmt::format("{} ms", ns / 1'000'000); };
  std::string out = "instruction counter\n";
  const auto line = [&](const char* name, const std::string& value) {
    out += fmt::format("  {:<28} {}\n", name, value);
  };
  line("instructions", fmt::format("{}", published_count_.load()));
  line("shift", fmt::format("{}{}", shift_now_.load(), options_.adaptive ? " (auto)" : ""));
  line("virtual time", fmt::format("{} ns", published_ns_.load()));
  line("skipped while idle", fmt::format("{} ns", skipped_ns_.load()));
  line("slept while idle", fmt::format("{} ns", slept_ns_.load()));
  line("turns", fmt::format("{}", turns_.load()));
  line("Host - Guest clock", ms(-ahead_of_host().count()));
  if (options_.align) {
    line("Max guest delay", ms(most_behind_));
    line("Max guest advance", ms(most_ahead_));
  }
  return out;
}

}  // namespace emu::accel
