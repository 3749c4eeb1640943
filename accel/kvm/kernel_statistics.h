// SPDX-License-Identifier: Apache-2.0
// What the kernel counts of a VM or a vCPU (KVM_GET_STATS_FD).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "accel/kvm/kvm_api.h"

namespace emu::accel {

/// Single counters by name; histograms are left out. Empty where the kernel has none of this. Any thread.
std::vector<std::pair<std::string, u64>> kernel_statistics(const KvmFd& vm_or_vcpu);

}  // namespace emu::accel
