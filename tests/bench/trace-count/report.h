// SPDX-License-Identifier: Apache-2.0
// Sums one phase over all blocks, weighted by how often each path through them ran.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "encode.h"
#include "model.h"

namespace trace {

class PhaseReport {
 public:
  PhaseReport(std::string name, int vcpu) : name_(std::move(name)), vcpu_(vcpu) {}
  /// `flags_dead_at(ebb, address)`: known blocks of the same page are asked.
  using FlagsDead = std::function<bool(const Ebb&, u64)>;
  void add(const Ebb& ebb, const FlagsDead& flags_dead_at);
  std::string json(const PhaseCounters& counters, const std::array<Tables, 2>& tables,
                   std::span<const JumpCacheTrial> trials) const;

 private:
  struct ByteSums {
    u64 block_hot = 0, block_cold = 0, block_accesses = 0, block_shared = 0, block_shared_stack = 0, block_traffic = 0,
        block_flags = 0;
    u64 ebb_hot = 0, ebb_cold = 0, ebb_path = 0, ebb_accesses = 0, ebb_shared = 0, ebb_shared_stack = 0;
    u64 distinct_bytes = 0;  // of all blocks that ran, each once: what the code cache holds
  };

  void add_path(const Ebb& ebb, std::size_t length, u64 times, const FlagsDead& flags_dead_at);
  void count_registers(std::span<const Insn> insns, u64 times);
  void count_block_bytes(const Ebb& ebb, std::size_t start, std::size_t count, u64 times, const FlagsDead& dead);
  void count_ebb_bytes(const Ebb& ebb, const FlagsDead& dead);

  std::string name_;
  int vcpu_;
  u64 entries_ = 0, basic_blocks_ = 0, insns_ = 0, guest_bytes_ = 0, accesses_ = 0, helpers_ = 0, unknown_ = 0;
  u64 entries_checked_ = 0, entries_cross_only_ = 0;
  u64 distinct_ebbs_ = 0;
  std::vector<ByteSums> bytes_ = std::vector<ByteSums>(candidate_abis().size());
  std::array<u64, 16> explicit_{}, any_{}, read_first_{}, written_{}, used_{};
};

}  // namespace trace
