// SPDX-License-Identifier: Apache-2.0
// The vCPUs of an accelerator that gives each a thread: started, stopped and ended together.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "accel/run_control.h"
#include "softmmu/memory/machine_lock.h"
#include "target/cpu.h"
#include "util/check.h"

namespace emu::accel {

/// `V` has start(), wait_until_started(), join(), kick() and thread_id(), as TCG's and KVM's vCPUs have. Main thread.
template <typename V>
class VcpuCrew {
 public:
  explicit VcpuCrew(RunControl& run) : run_(run) {}

  void add(std::unique_ptr<V> vcpu) {
    EMU_CHECK(!started_);
    vcpus_.push_back(std::move(vcpu));
  }
  bool has_started() const { return started_; }

  void start() {
    if (std::exchange(started_, true)) return;
    for (auto& v : vcpus_) v->start();
    for (auto& v : vcpus_) v->wait_until_started();
  }
  void kick_all() {
    for (auto& v : vcpus_) v->kick(tcg::kExitStop);
  }
  /// `lock` may be held, and may be null: it is let go while waiting, as a vCPU may want it to come to rest.
  void wait_until_still(mem::MachineLock* lock) {
    const bool held = lock != nullptr && lock->held_by_me();
    if (held) lock->unlock();
    run_.wait_until_still();
    if (held) lock->lock();
  }
  void shut_down(mem::MachineLock* lock) {
    run_.set_end();
    kick_all();
    wait_until_still(lock);
    for (auto& v : vcpus_) v->join();
  }

  V& operator[](size_t index) const { return *vcpus_[index]; }
  size_t size() const { return vcpus_.size(); }
  bool empty() const { return vcpus_.empty(); }
  auto begin() const { return vcpus_.begin(); }
  auto end() const { return vcpus_.end(); }
  i64 thread_id(unsigned index) const { return index < vcpus_.size() ? vcpus_[index]->thread_id() : 0; }

 private:
  RunControl& run_;
  std::vector<std::unique_ptr<V>> vcpus_;
  bool started_ = false;
};

}  // namespace emu::accel
