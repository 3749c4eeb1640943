// SPDX-License-Identifier: Apache-2.0
#include "hw/scsi/scsi_session.h"

namespace emu::hw {
namespace {

/// `co_await`: from here on the task, and what it awaits, stops when this job is asked to, and not when others are.
class StopWith {
 public:
  explicit StopWith(std::stop_token token) : token_(std::move(token)) {}
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    self.promise().stop = std::move(token_);
    return false;
  }
  void await_resume() const noexcept {}

 private:
  std::stop_token token_;
};

}  // namespace

ScsiSession::ScsiSession(block::BlockBackend& backend, EventLoop& loop, ScsiUnitConfig config,
                         std::function<std::vector<u32>()> luns, OnAttention on_attention, std::string device_name)
    : loop_(loop),
      unit_(backend, std::move(config), std::move(luns)),
      device_name_(std::move(device_name)),
      tasks_(loop_),
      on_attention_(std::move(on_attention)) {}

ScsiSession::~ScsiSession() { EMU_CHECK(jobs_.empty()); }

// Commands. ----------------------------------------------------------------------------------------------------------

void ScsiSession::on_loop(std::function<void()> work) {
  if (loop_.is_loop_thread()) return work();
  loop_.post([self = shared_from_this(), work = std::move(work)] { work(); });
}

void ScsiSession::start(std::unique_ptr<ScsiJob> job) {
  bool gone = false;
  job->era_ = era_.load();
  {
    const std::lock_guard hold(mutex_);
    gone = closing_;
    if (!gone) ++under_way_;
  }
  if (gone) return job->finish({}, ScsiEnd::Gone);
  if (loop_.is_loop_thread()) return begin(std::move(job));
  loop_.post([self = shared_from_this(), job = std::move(job)]() mutable { self->begin(std::move(job)); });
}

void ScsiSession::begin(std::unique_ptr<ScsiJob> job) {
  job->place_ = jobs_.size();
  jobs_.push_back(job.get());
  tasks_.start(serve(shared_from_this(), std::move(job)));
}

Task<void> ScsiSession::serve(std::shared_ptr<ScsiSession> self, std::unique_ptr<ScsiJob> job) {
  StopWith own_stop(job->stop_.get_token());  // named: GCC 12 copies an unnamed one bit by bit and destroys both
  co_await own_stop;
  const ScsiCommand command = self->unit_.prepare(job->cdb());
  std::vector<iovec> data;
  if (job->open(command, data)) {
    const ScsiResult result = co_await self->unit_.execute(command, data);
    job->finish(result, job->end_);
  }
  std::swap(self->jobs_[job->place_], self->jobs_.back());
  self->jobs_[job->place_]->place_ = job->place_;
  self->jobs_.pop_back();
  job.reset();  // and the waiters with it, after the answer
  self->ended();
}

void ScsiSession::ended() {
  std::function<void()> idle;
  {
    const std::lock_guard hold(mutex_);
    if (--under_way_ == 0 && closing_) idle = std::exchange(idle_, {});
  }
  // Later: the task that calls this is to be over, and the owner of all tasks goes with the session.
  if (idle) loop_.post([self = shared_from_this(), idle = std::move(idle)] { idle(); });
}

// Task management, SAM-5 7. ------------------------------------------------------------------------------------------

void ScsiSession::abort(std::optional<u64> tag, ScsiEnd how, std::shared_ptr<void> waiter) {
  on_loop([this, tag, how, waiter = std::move(waiter), era = era_.fetch_add(1)] {
    // Those that a stop request ends at once leave the list.
    std::vector<std::stop_source> stops;
    for (ScsiJob* job : jobs_) {
      if (i32(job->era_ - era) > 0 || (tag && job->tag() != *tag)) continue;
      job->end_ = how;
      if (waiter != nullptr) job->waiters_.push_back(waiter);
      stops.push_back(job->stop_);
    }
    if (how == ScsiEnd::Reset) unit_.reset();
    for (std::stop_source& stop : stops) stop.request_stop();
  });
}

void ScsiSession::ask(std::optional<u64> tag, std::function<void(bool)> answer) {
  on_loop([this, tag, answer = std::move(answer)] {
    answer(std::any_of(jobs_.begin(), jobs_.end(), [&](const ScsiJob* job) { return !tag || job->tag() == *tag; }));
  });
}

bool ScsiSession::close(std::function<void()> idle) {
  // The last task may be on its very last steps: the session stays until the loop has been through them.
  loop_.post([self = shared_from_this()] { self->abort(std::nullopt, ScsiEnd::Aborted, nullptr); });
  const std::lock_guard hold(mutex_);
  closing_ = true;
  on_attention_ = {};
  if (under_way_ == 0) return true;
  idle_ = std::move(idle);
  return false;
}

// Changes. -----------------------------------------------------------------------------------------------------------

void ScsiSession::tell(ScsiSense what) {
  const std::lock_guard hold(mutex_);
  if (on_attention_) on_attention_(what);
}

void ScsiSession::resized() {
  unit_.resized();
  tell(sense::kCapacityChanged);
}

void ScsiSession::medium_changed(bool present) {
  unit_.medium_changed(present);
  tell(sense::kMediumChanged);
}

void ScsiSession::eject_requested(bool force) {
  constexpr ScsiSense kEjectAsked{scsi::kUnitAttention, 0x5a, 0x01};  // operator medium removal request
  if (!unit_.eject_requested(force)) tell(kEjectAsked);
}

}  // namespace emu::hw
