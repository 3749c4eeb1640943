// SPDX-License-Identifier: Apache-2.0
// Grace periods.
#include "softmmu/memory/grace.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "util/check.h"

namespace emu::mem {

GracePeriods::~GracePeriods() {
  EMU_CHECK(participants_.empty());
  while (poll()) {}  // guards are scopes of threads that must have ended by now
}

unsigned GracePeriods::my_stripe() {
  // Thread descriptors lie megabytes apart; spread them by a multiplicative hash.
  return unsigned((u64(pthread_self()) >> 12) * 0x9e3779b97f4a7c15u >> 60) % kStripes;
}

void GracePeriods::defer(std::function<void()> callback) {
  std::function<void()> kick;
  {
    std::scoped_lock hold(mutex_);
    const u64 epoch = epoch_.fetch_add(1, std::memory_order_seq_cst) + 1;
    pending_.push_back({epoch, std::move(callback)});
    kick = kick_;
  }
  if (kick) kick();
}

void GracePeriods::set_kick(std::function<void()> kick) {
  std::scoped_lock hold(mutex_);
  kick_ = std::move(kick);
}

bool GracePeriods::guards_gone(unsigned side) const {
  return std::all_of(stripes_[side].begin(), stripes_[side].end(),
                     [](const Stripe& s) { return s.readers.load(std::memory_order_seq_cst) == 0; });
}

void GracePeriods::advance_locked() {
  for (;;) {
    if (guards_target_ == 0) {
      if (pending_.empty() || pending_.back().epoch <= guards_done_) return;
      guards_target_ = pending_.back().epoch;
      flips_left_ = 2;
      side_.fetch_xor(1, std::memory_order_seq_cst);
    }
    while (flips_left_ > 0) {
      const unsigned old_side = (side_.load(std::memory_order_seq_cst) & 1) ^ 1;
      if (!guards_gone(old_side)) return;
      if (--flips_left_ > 0) side_.fetch_xor(1, std::memory_order_seq_cst);
    }
    guards_done_ = std::exchange(guards_target_, 0);
  }
}

bool GracePeriods::poll() {
  std::vector<Pending> due;
  {
    std::scoped_lock hold(mutex_);
    advance_locked();
    u64 passed = guards_done_;
    for (const Participant* participant : participants_) {
      passed = std::min(passed, participant->seen_.load(std::memory_order_seq_cst));
    }
    const auto end = std::find_if(pending_.begin(), pending_.end(), [&](const Pending& p) { return p.epoch > passed; });
    due.assign(std::make_move_iterator(pending_.begin()), std::make_move_iterator(end));
    pending_.erase(pending_.begin(), end);
  }
  for (Pending& pending : due) {
    pending.callback();
    pending.callback = nullptr;  // what it captured goes now, in order
  }
  std::scoped_lock hold(mutex_);
  return !pending_.empty();
}

GracePeriods::Participant::Participant(GracePeriods& periods) : periods_(periods) {
  std::scoped_lock hold(periods_.mutex_);
  periods_.participants_.push_back(this);
}

GracePeriods::Participant::~Participant() {
  std::scoped_lock hold(periods_.mutex_);
  std::erase(periods_.participants_, this);
}

}  // namespace emu::mem
