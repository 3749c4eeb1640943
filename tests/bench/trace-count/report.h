// SPDX-License-Identifier: Apache-2.0
// Sums one phase over all blocks, weighted by how often each path through them ran.
#pragma once

#include <array>
#include <string>

#include "model.h"

namespace trace {

class PhaseReport {
 public:
  PhaseReport(std::string name, int vcpu) : name_(std::move(name)), vcpu_(vcpu) {}
  void add(const Ebb& ebb);
  std::string json(const PhaseCounters& counters, const std::array<Tables, 2>& tables,
                   std::span<const JumpCacheTrial> trials) const;

 private:
  void add_path(const Ebb& ebb, std::size_t length, u64 times);
  void add_basic_block(std::span<const Insn> insns, u64 times);

  std::string name_;
  int vcpu_;
  u64 entries_ = 0, basic_blocks_ = 0, insns_ = 0, guest_bytes_ = 0, accesses_ = 0, helpers_ = 0;
  std::array<u64, 16> explicit_{}, any_{}, read_first_{}, written_{}, used_{};
};

}  // namespace trace
