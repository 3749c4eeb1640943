// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps for a guest that is a hypervisor itself (api.rst 4.114 and 4.115): bytes of its own behind a
// header.
#pragma once

#include <span>
#include <vector>

#include "accel/kvm/kvm_api.h"

namespace emu::x86 {

/// Of one vCPU, on its thread or with it standing still. The kernel keeps its own while we only look at registers: what
/// goes there is a reset, and what was loaded.
class NestedState {
 public:
  /// `most` bytes are what KVM_CAP_NESTED_STATE says; less than a header: the kernel has none.
  explicit NestedState(u32 most) : most_(most < sizeof(kvm_nested_state) ? 0 : most) {}

  bool is_there() const { return most_ != 0; }
  /// From the kernel; nothing where there is none.
  Result<void> fetch(const accel::KvmFd& vcpu);
  /// No guest hypervisor is on, and none was. Before the control registers and EFER are set: the kernel does not let go
  /// of bits in them that a hypervisor has locked.
  Result<void> reset(const accel::KvmFd& vcpu);
  /// To the kernel, if it was loaded. After the control registers and EFER: they say whether there may be one.
  Result<void> put(const accel::KvmFd& vcpu);

  /// As last fetched or loaded; empty before that.
  std::span<const u8> bytes() const { return {reinterpret_cast<const u8*>(words_.data()), size_}; }
  /// What bytes() gave, on this host or another. Errors: it is not that, or more than this kernel takes.
  Result<void> load(std::span<const u8> bytes);

 private:
  kvm_nested_state header() const;
  bool is_as_after_reset() const;

  const u32 most_;
  std::vector<u64> words_;  ///< room for the kernel's structure, which wants to lie at eight bytes
  u32 size_ = 0;            ///< of what is in it
  bool loaded_ = false;     ///< the kernel has not got it yet
};

}  // namespace emu::x86
