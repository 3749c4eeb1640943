// SPDX-License-Identifier: Apache-2.0
// What the kernel counts of a VM or a vCPU (KVM_GET_STATS_FD).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "accel/kvm/kvm_api.h"

namespace emu::accel {

/// The file that has the counters. It is asked for once: the kernel answers requests to a vCPU only when that is out of
/// KVM_RUN, and one that halts there stays as long as it likes. Reading the file waits for nobody.
class KernelStatistics {
 public:
  /// Before a vCPU runs, or on its thread. A kernel that has none of this is no error.
  explicit KernelStatistics(const KvmFd& vm_or_vcpu);

  /// Single counters by name; histograms are left out. Any thread.
  std::vector<std::pair<std::string, u64>> read() const;

 private:
  KvmFd file_;
};

}  // namespace emu::accel
