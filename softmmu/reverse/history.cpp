// SPDX-License-Identifier: Apache-2.0
#include "softmmu/reverse/history.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "hw/char/chardev_object.h"
#include "hw/char/serial_16550.h"
#include "util/log.h"

namespace emu::softmmu {

using accel::DebugHit;
using accel::Moment;
using accel::Rerun;
using accel::RerunResult;
using Arrival = monitor::TimeTravel::Arrival;

namespace {

bool is_behind(const Moment& a, const Moment& b) {
  return std::tie(a.count, a.decisions) > std::tie(b.count, b.decisions);
}

}  // namespace

class History::Rerunning {
 public:
  explicit Rerunning(hw::Machine& machine) : machine_(machine) { set(true); }
  ~Rerunning() { set(false); }
  Rerunning(const Rerunning&) = delete;
  Rerunning& operator=(const Rerunning&) = delete;

 private:
  void set(bool on) {
    machine_.set_repeating(on);
    machine_.tree().container("/chardevs").visit([on](qom::Object& object) {
      if (auto* chardev = dynamic_cast<hw::ChardevObject*>(&object)) chardev->stream().set_muted(on);
    });
  }

  hw::Machine& machine_;
};

History::History(hw::Machine& machine, hw::Board& board, accel::Rewind* rewind, FindObstacle find_obstacle,
                 std::function<void()> went_on_from_past)
    : machine_(machine),
      board_(board),
      rewind_(rewind),
      find_obstacle_(std::move(find_obstacle)),
      went_on_from_past_(std::move(went_on_from_past)) {}

// --- Keeping ---

void History::begin() {
  if (const auto obstacle = find_obstacle_()) {
    if (rewind_ != nullptr) log::info("gdb: there will be no way back: {}", *obstacle);
    return;
  }
  is_active_ = true;
  touched_ = true;
}

void History::end() {
  if (!is_active_) return;
  // Whoever goes on without a debugger goes on from here.
  if (rewind().is_in_past()) went_on_from_past_();
  forget();
  is_active_ = false;
}

void History::forget() {
  if (rewind().is_in_past()) rewind().cut();
  rewind().stop_recording();
  checkpoints_.clear();
  present_.reset();
  touched_ = true;
}

/// Nothing that was recorded leads to the state that the machine is in, or is about to run from.
bool History::is_void() const {
  return checkpoints_.empty() || touched_ || touches() != touches_seen_ || !rewind().is_recording();
}

/// How often something that the log knows nothing of has changed the machine.
u64 History::touches() const {
  u64 count = machine_.outside_count();
  machine_.tree().root().visit([&count](qom::Object& object) {
    if (const auto* serial = dynamic_cast<hw::IsaSerial*>(&object)) count += serial->stream_events();
  });
  return count;
}

void History::about_to_run() {
  if (!is_active_) return;
  // From the past without going through the recorded future: that is not what will come.
  if (is_void() || rewind().is_in_past()) return restart();
  if (rewind().now().count - checkpoints_.back().count() < kSpacing) return;
  run_due_timers();
  add(Checkpoint::take(parts(), &checkpoints_.back()));
}

bool History::is_timer_due() {
  machine_.clock().start();  // or none has a deadline
  const auto deadline = machine_.clock().main_queue().deadline();
  const bool is_due = deadline && *deadline <= machine_.clock().now();
  machine_.clock().stop();
  return is_due;
}

/// Devices that are loaded arm their timers for the future: what is due is done before it is forgotten.
void History::run_due_timers() {
  if (!is_timer_due()) return;
  machine_.clock().start();
  rewind().run_due_timers();
  machine_.clock().stop();
}

void History::restart() {
  const bool was_in_past = rewind().is_in_past();
  forget();
  if (was_in_past) went_on_from_past_();
  if (const auto obstacle = find_obstacle_()) {  // a device was plugged
    log::warn("gdb: there is no way back any more: {}", *obstacle);
    is_active_ = false;
    return;
  }
  run_due_timers();
  rewind().start_recording();
  add(Checkpoint::take(parts(), nullptr));
  touched_ = false;
  touches_seen_ = touches();
}

Checkpoint& History::add(Checkpoint made) {
  const auto at = std::find_if(checkpoints_.begin(), checkpoints_.end(), [&](const Checkpoint& other) {
    return is_behind(other.counter().at, made.counter().at);
  });
  const auto added = std::size_t(at - checkpoints_.begin());
  checkpoints_.insert(at, std::move(made));
  if (checkpoints_.size() <= kMost) return checkpoints_[added];
  // The one goes whose neighbours are nearest to each other; not the first, not the last, not the new one.
  std::size_t least = 0;
  i64 least_gap = 0;
  for (std::size_t i = 1; i + 1 < checkpoints_.size(); ++i) {
    const i64 gap = checkpoints_[i + 1].count() - checkpoints_[i - 1].count();
    if (i != added && (least == 0 || gap < least_gap)) std::tie(least, least_gap) = std::tuple(i, gap);
  }
  checkpoints_.erase(checkpoints_.begin() + i64(least));
  return checkpoints_[added - (least < added ? 1 : 0)];
}

// --- Travelling ---

void History::leave_present() {
  if (rewind().is_in_past()) return;
  run_due_timers();
  present_ = Checkpoint::take(parts(), &checkpoints_.back());
}

/// The present again; there is no way back from it any more.
Error History::recover(Error why) {
  log::warn("gdb: cannot go back: {}", why.text());
  if (present_) {
    if (auto restored = present_->restore(parts()); restored) {
      rewind().return_to_present(present_->counter());
    } else {
      log::error("the machine is lost, reset it: {}", restored.error().text());
    }
  }
  forget();
  return why;
}

template <typename Way>
Result<Arrival> History::travel(Way&& way) {
  if (!is_active_) return error("there is no history: {}", obstacle().value_or("no debugger asked for it"));
  if (is_void()) return Arrival{};
  const Rerunning rerunning(machine_);
  leave_present();
  auto arrived = way();
  touches_seen_ = touches();
  if (!arrived) return error(recover(arrived.error()));
  return arrived;
}

Result<Arrival> History::step_back(unsigned cpu) {
  return travel([&] { return find_step(cpu); });
}

Result<Arrival> History::run_back() {
  return travel([&] { return find_hit(); });
}

Result<std::optional<Arrival>> History::run_forward(std::optional<unsigned> step) {
  if (is_void()) return std::nullopt;
  const Rerunning rerunning(machine_);
  auto arrived = go_forward(step);
  touches_seen_ = touches();
  if (!arrived) return error(recover(arrived.error()));
  return arrived;
}

/// The newest checkpoint from which that count can be run to.
std::optional<std::size_t> History::newest_before(i64 count) const {
  for (std::size_t i = checkpoints_.size(); i-- > 0;) {
    const Checkpoint& checkpoint = checkpoints_[i];
    if (checkpoint.count() < count || (checkpoint.count() == count && checkpoint.is_at_begin)) return i;
  }
  return std::nullopt;
}

Result<RerunResult> History::rerun(const Rerun& how) {
  machine_.clock().start();
  auto result = rewind().rerun(how);
  machine_.clock().stop();
  return result;
}

Result<RerunResult> History::run_to_count(i64 count, Hits hits) {
  return rerun({.pace = Rerun::Pace::Full, .hits = hits, .count = count});
}

Result<RerunResult> History::act_until(const Moment& moment, Hits hits) {
  RerunResult result =
      EMU_TRY(rerun({.pace = Rerun::Pace::Actions, .hits = hits, .count = moment.count, .until = moment}));
  if (result.end == RerunResult::End::Count) {
    return error("the guest ran another way than before: it did not come to {} instructions as it had", moment.count);
  }
  return result;
}

/// To where the last of so many instructions has just been completed; or to the oldest moment, if that has that count.
Result<void> History::go_to_count(i64 count) {
  const std::size_t from = newest_before(count).value_or(0);
  EMU_TRY(checkpoints_[from].restore(parts()));
  if (count - checkpoints_[from].count() > kFar) {
    EMU_TRY(run_to_count(count - kNear, Hits::Ignored));
    if (!is_timer_due()) add_on_the_way();
  }
  if (rewind().now().count < count) EMU_TRY(run_to_count(count, Hits::Ignored));
  return {};
}

Result<Arrival> History::go_to_begin() {
  EMU_TRY(checkpoints_.front().restore(parts()));
  return Arrival{};
}

/// Of several CPUs in turn, others may have run since this one did.
Result<Arrival> History::find_step(unsigned cpu) {
  const Moment here = rewind().now();
  const i64 oldest = checkpoints_.front().count();
  const auto before = rewind().last_instruction_of(cpu, here, checkpoints_.front().counter());
  // Where instructions that were not completed (rounds, faults) may have been begun since the last that was.
  i64 base = before == here.count - 1 ? *before : std::max(here.count, oldest);
  EMU_TRY(go_to_count(base));
  RerunResult seen = EMU_TRY(act_until(here, Hits::Ignored));
  if (!seen.last_step[cpu] && before && *before != base) {
    base = *before;
    EMU_TRY(go_to_count(base));
    seen = EMU_TRY(rerun({.pace = Rerun::Pace::Actions, .count = base}));
  }
  if (!seen.last_step[cpu]) return go_to_begin();
  EMU_TRY(go_to_count(base));
  EMU_TRY(rerun({.pace = Rerun::Pace::Actions, .count = here.count, .actions = *seen.last_step[cpu]}));
  return Arrival{cpu, accel::DebugStop{.why = accel::DebugStop::Why::Step}};
}

/// From one checkpoint to the next, or to where the machine is.
Result<std::optional<DebugHit>> History::last_hit(std::size_t from, const Moment& end) {
  EMU_TRY(checkpoints_[from].restore(parts()));
  std::optional<DebugHit> last;
  if (checkpoints_[from].count() < end.count) last = EMU_TRY(run_to_count(end.count, Hits::Noted)).last_hit;
  const RerunResult rest = EMU_TRY(act_until(end, Hits::Noted));
  return rest.last_hit ? rest.last_hit : last;
}

/// Checkpoints on a long way that will be run more than once, and then only from the last of them; nearer to its end than
/// elsewhere, because what is met all the time (and so takes long) is met there.
Result<void> History::spread_checkpoints(i64 end) {
  const auto from = newest_before(end);
  if (!from) return {};
  const i64 begin = checkpoints_[*from].count();
  const i64 pieces = std::min((end - begin) / kSpacing, kMostPieces);
  std::vector<i64> places;
  for (i64 piece = 1; piece < pieces; ++piece) places.push_back(begin + (end - begin) / pieces * piece);
  for (const i64 distance : {kFar, kNear}) {
    if (end - (places.empty() ? begin : places.back()) > 2 * distance) places.push_back(end - distance);
  }
  if (places.empty()) return {};
  EMU_TRY(checkpoints_[*from].restore(parts()));
  for (const i64 place : places) {
    EMU_TRY(run_to_count(place, Hits::Ignored));
    if (!is_timer_due()) add_on_the_way();
  }
  return {};
}

/// Here, where a run has just come to its count.
void History::add_on_the_way() {
  Checkpoint made = Checkpoint::take(parts(), &checkpoints_.back());
  made.is_at_begin = true;
  add(std::move(made));
}

Result<Arrival> History::find_hit() {
  Moment end = rewind().now();
  EMU_TRY(spread_checkpoints(end.count));
  for (std::size_t from = checkpoints_.size(); from-- > 0;) {
    const Moment begin = checkpoints_[from].counter().at;
    // One within the same instruction may be behind.
    const bool is_unclear = from != 0 && begin.count == end.count && !checkpoints_[from].is_at_begin;
    if (is_behind(begin, end) || is_unclear) continue;
    if (const auto hit = EMU_TRY(last_hit(from, end))) {
      // From the same checkpoint: a nearer one may have been made between.
      EMU_TRY(checkpoints_[from].restore(parts()));
      if (begin.count < hit->at.count) EMU_TRY(run_to_count(hit->at.count, Hits::Ignored));
      EMU_TRY(act_until(hit->at, Hits::Ignored));
      return Arrival{hit->vcpu, hit->stop};
    }
    end = begin;
  }
  return go_to_begin();
}

/// Where others have the turn, as fast as ever. False: it does not come to a step before `end`, where we are then.
Result<bool> History::step_forward(unsigned cpu, const Moment& end) {
  for (;;) {
    const i64 turn = std::min(rewind().next_turn_of(cpu).value_or(end.count), end.count);
    if (rewind().now().count < turn) EMU_TRY(run_to_count(turn, Hits::Ignored));
    // It ends too when an instruction has been completed, which is another CPU's if it was no step.
    const RerunResult result =
        EMU_TRY(rerun({.pace = Rerun::Pace::Actions, .count = turn, .until = end, .step_of = cpu}));
    if (result.end == RerunResult::End::Step) return true;
    if (result.end == RerunResult::End::Until || rewind().now().count > end.count) return false;
  }
}

Result<std::optional<Arrival>> History::go_forward(std::optional<unsigned> step) {
  const Moment end = present_->counter().at;
  const auto arrival = [](const RerunResult& result) {
    return result.last_hit ? Arrival{result.last_hit->vcpu, result.last_hit->stop} : Arrival{};
  };
  if (step) {
    if (EMU_TRY(step_forward(*step, end))) {
      return Arrival{*step, accel::DebugStop{.why = accel::DebugStop::Why::Step}};
    }
  } else {
    if (rewind().now().count < end.count) {
      const RerunResult result = EMU_TRY(run_to_count(end.count, Hits::Stop));
      if (result.end == RerunResult::End::Hit) return arrival(result);
    }
    const RerunResult result = EMU_TRY(act_until(end, Hits::Stop));
    if (result.end == RerunResult::End::Hit) return arrival(result);
  }
  if (rewind().now() != end) return error("the guest ran another way than before: it did not come back to the present");
  rewind().return_to_present(present_->counter());
  present_.reset();
  return std::nullopt;
}

// --- For people ---

std::string History::describe() const {
  if (const auto why = obstacle()) return fmt::format("Going back is not possible: {}\n", *why);
  if (!is_active_) return "Nothing is recorded: no debugger is connected that can go back\n";
  if (is_void()) return "Nothing is recorded yet: recording begins when the machine runs next\n";
  const i64 here = rewind().now().count;
  return fmt::format("Instructions {} to {} are recorded, in {} checkpoints; the machine is at {}\n",
                     checkpoints_.front().count(), rewind().is_in_past() ? present_->count() : here,
                     checkpoints_.size(), here);
}

}  // namespace emu::softmmu
