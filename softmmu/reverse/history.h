// SPDX-License-Identifier: Apache-2.0
// History: the moments of a machine that a debugger can go back to.
//
// To go back is to load the newest checkpoint before and to run the machine again, in the past, to the moment wanted.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "monitor/time_travel.h"
#include "softmmu/reverse/checkpoint.h"

namespace emu::softmmu {

/// Main thread. While it runs the machine again the thread waits: nothing comes in from outside meanwhile.
class History final : public monitor::TimeTravel {
 public:
  using FindObstacle = std::function<std::optional<std::string>()>;
  /// `rewind` may be null if there is an obstacle, and always will be. `went_on_from_past`: told when a moment of the
  /// past becomes the present.
  History(hw::Machine& machine, hw::Board& board, accel::Rewind* rewind, FindObstacle find_obstacle,
          std::function<void()> went_on_from_past);

  std::optional<std::string> obstacle() const override { return find_obstacle_(); }
  std::string describe() const override;
  void begin() override;
  void end() override;
  void about_to_run() override;
  void touched() override { touched_ = true; }
  Result<Arrival> step_back(unsigned cpu) override;
  Result<Arrival> run_back() override;
  bool is_in_past() const override { return is_active_ && rewind().is_in_past(); }
  Result<std::optional<Arrival>> run_forward(std::optional<unsigned> step) override;

 private:
  using Hits = accel::Rerun::Hits;
  /// Checkpoints are at least that many instructions apart, where the machine stopped in between.
  static constexpr i64 kSpacing = 64'000'000;
  /// One is made so far before a moment that took a longer way to reach: the next step back begins there.
  static constexpr i64 kNear = 100'000, kFar = 2'000'000;
  static constexpr std::size_t kMost = 16;
  static constexpr i64 kMostPieces = 8;
  /// Within `Rerunning`, what the machine asks for and writes has no effect.
  class Rerunning;

  accel::Rewind& rewind() const { return *rewind_; }
  CheckpointParts parts() const { return {machine_, board_, *rewind_}; }
  bool is_void() const;
  u64 touches() const;
  bool is_timer_due();
  void run_due_timers();
  void restart();
  void forget();
  Checkpoint& add(Checkpoint made);
  void leave_present();
  template <typename Way>
  Result<Arrival> travel(Way&& way);
  Error recover(Error why);

  Result<Arrival> find_step(unsigned cpu);
  Result<Arrival> find_hit();
  Result<bool> step_forward(unsigned cpu, const accel::Moment& end);
  Result<std::optional<Arrival>> go_forward(std::optional<unsigned> step);
  std::optional<std::size_t> newest_before(i64 count) const;
  Result<void> go_to_count(i64 count);
  Result<accel::RerunResult> rerun(const accel::Rerun& how);
  Result<accel::RerunResult> run_to_count(i64 count, Hits hits);
  Result<accel::RerunResult> act_until(const accel::Moment& moment, Hits hits);
  Result<Arrival> go_to_begin();
  Result<void> spread_checkpoints(i64 end);
  void add_on_the_way();
  Result<std::optional<accel::DebugHit>> last_hit(std::size_t from, const accel::Moment& end);

  hw::Machine& machine_;
  hw::Board& board_;
  accel::Rewind* const rewind_;
  const FindObstacle find_obstacle_;
  const std::function<void()> went_on_from_past_;
  bool is_active_ = false, touched_ = true;
  u64 touches_seen_ = 0;
  std::deque<Checkpoint> checkpoints_;  ///< by count; the first is the oldest moment
  std::optional<Checkpoint> present_;   ///< that was left
};

}  // namespace emu::softmmu
