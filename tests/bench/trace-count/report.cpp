// SPDX-License-Identifier: Apache-2.0
// The sums of a phase and their JSON form.
#include "report.h"

#include <sstream>

namespace trace {
namespace {

template <class Range>
std::string list(const Range& values) {
  std::ostringstream out;
  out << '[';
  const char* separator = "";
  for (const auto value : values) {
    out << separator << value;
    separator = ",";
  }
  out << ']';
  return out.str();
}

std::string hits(const HitCount& count) {
  return "[" + std::to_string(count.tried) + "," + std::to_string(count.missed) + "]";
}

}  // namespace

void PhaseReport::add(const Ebb& ebb, const FlagsDead& flags_dead_at) {
  bool ran = false;
  for (std::size_t length = 1; length <= ebb.insns.size(); ++length) {
    if (!ebb.left_after[length]) continue;
    ran = true;
    add_path(ebb, length, ebb.left_after[length], flags_dead_at);
  }
  if (ran) count_ebb_bytes(ebb, flags_dead_at);
}

void PhaseReport::add_path(const Ebb& ebb, std::size_t length, u64 times, const FlagsDead& flags_dead_at) {
  entries_ += times;
  entries_checked_ += times * ebb.needs_exit_check();
  entries_cross_only_ += times * (ebb.from_other_page && !ebb.from_cycle);
  std::size_t start = 0;
  for (std::size_t i = 0; i < length; ++i) {
    if (ebb.insns[i].kind == Kind::Sequential && i + 1 != length) continue;
    count_registers(std::span(ebb.insns).subspan(start, i + 1 - start), times);
    count_block_bytes(ebb, start, i + 1 - start, times, flags_dead_at);
    start = i + 1;
  }
}

/// As if every branch ended a block: the form that compares with other emulators.
void PhaseReport::count_block_bytes(const Ebb& ebb, std::size_t start, std::size_t count, u64 times,
                                    const FlagsDead& dead) {
  BlockSite site{.start = ebb.start,
                 .offsets = std::span(ebb.offsets).subspan(start, count),
                 .exit_check = start == 0 && ebb.needs_exit_check(),
                 .flags_dead_at = [&](u64 target) { return dead(ebb, target); }};
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    const auto made = encode(std::span(ebb.insns).subspan(start, count), site, candidate_abis()[i]);
    bytes_[i].block_hot += times * made.hot;
    bytes_[i].block_cold += times * made.cold;
    bytes_[i].block_accesses += times * made.accesses;
    bytes_[i].block_shared += times * made.shared;
    bytes_[i].block_shared_stack += times * made.shared_on_stack;
    bytes_[i].block_traffic += times * made.register_traffic;
    bytes_[i].block_flags += times * made.flag_stores;
  }
}

void PhaseReport::count_ebb_bytes(const Ebb& ebb, const FlagsDead& dead) {
  ++distinct_ebbs_;
  BlockSite site{.start = ebb.start,
                 .offsets = ebb.offsets,
                 .exit_check = ebb.needs_exit_check(),
                 .flags_dead_at = [&](u64 target) { return dead(ebb, target); }};
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    const auto made = encode(ebb.insns, site, candidate_abis()[i]);
    bytes_[i].distinct_bytes += made.hot + made.cold;
    for (std::size_t length = 1; length <= ebb.insns.size(); ++length) {
      const u64 times = ebb.left_after[length];
      bytes_[i].ebb_hot += times * made.hot;
      bytes_[i].ebb_cold += times * made.cold;
      bytes_[i].ebb_path += times * made.hot_after[length - 1];
      bytes_[i].ebb_accesses += times * made.accesses;
      bytes_[i].ebb_shared += times * made.shared;
      bytes_[i].ebb_shared_stack += times * made.shared_on_stack;
    }
  }
}

void PhaseReport::count_registers(std::span<const Insn> insns, u64 times) {
  basic_blocks_ += times;
  u16 used = 0, written = 0, read_first = 0;
  for (const Insn& insn : insns) {
    insns_ += times;
    guest_bytes_ += times * insn.length;
    accesses_ += times * insn.memory.present;
    helpers_ += times * insn.helper;
    unknown_ += times * insn.unknown;
    const u16 any = insn.mentioned | insn.implied;
    for (int reg = 0; reg < 16; ++reg) {
      explicit_[reg] += times * (insn.mentioned >> reg & 1);
      any_[reg] += times * (any >> reg & 1);
    }
    read_first |= u16(insn.read & ~written);
    used |= any;
    written |= insn.written;
  }
  for (int reg = 0; reg < 16; ++reg) {
    used_[reg] += times * (used >> reg & 1);
    written_[reg] += times * (written >> reg & 1);
    read_first_[reg] += times * (read_first >> reg & 1);
  }
}

std::string PhaseReport::json(const PhaseCounters& counters, const std::array<Tables, 2>& tables,
                              std::span<const JumpCacheTrial> trials) const {
  std::ostringstream out;
  out << "{\"phase\":\"" << name_ << "\",\"vcpu\":" << vcpu_ << ",\"entries\":" << entries_
      << ",\"basic_blocks\":" << basic_blocks_ << ",\"insns\":" << insns_ << ",\"guest_bytes\":" << guest_bytes_
      << ",\"accesses\":" << accesses_ << ",\"helpers\":" << helpers_ << ",\"unknown\":" << unknown_
      << ",\"entries_checked\":" << entries_checked_ << ",\"entries_cross_only\":" << entries_cross_only_
      << ",\"explicit\":" << list(explicit_) << ",\"any\":" << list(any_) << ",\"used\":" << list(used_)
      << ",\"read_first\":" << list(read_first_) << ",\"written\":" << list(written_)
      << ",\"exits\":" << list(counters.exits) << ",\"cr3_writes\":" << counters.cr3_writes
      << ",\"invlpg\":" << counters.invlpg << ",\"memory_accesses\":" << counters.memory_accesses
      << ",\"ebbs_made\":" << counters.ebbs_made << ",\"clones\":" << counters.clones
      << ",\"rebuilt\":" << counters.rebuilt;
  for (const auto& each : tables) {
    out << ",\"" << (each.flush_on_switch ? "flushed" : "kept") << "\":{\"jump\":" << hits(each.jump)
        << ",\"link\":" << hits(each.link) << ",\"dtlb\":" << hits(each.dtlb) << "}";
  }
  out << ",\"shapes\":{";
  for (std::size_t i = 0; i < trials.size(); ++i)
    out << (i ? ",\"" : "\"") << jump_cache_shapes()[i].name << "\":" << hits(trials[i].hits);
  out << "},\"distinct_ebbs\":" << distinct_ebbs_ << ",\"abis\":{";
  for (std::size_t i = 0; i < bytes_.size(); ++i) {
    const ByteSums& b = bytes_[i];
    out << (i ? ",\"" : "\"") << candidate_abis()[i].name << "\":{\"block_hot\":" << b.block_hot
        << ",\"block_cold\":" << b.block_cold << ",\"block_accesses\":" << b.block_accesses
        << ",\"block_shared\":" << b.block_shared << ",\"block_traffic\":" << b.block_traffic
        << ",\"block_flags\":" << b.block_flags << ",\"ebb_hot\":" << b.ebb_hot << ",\"ebb_cold\":" << b.ebb_cold
        << ",\"ebb_path\":" << b.ebb_path << ",\"ebb_accesses\":" << b.ebb_accesses
        << ",\"ebb_shared\":" << b.ebb_shared << ",\"block_shared_stack\":" << b.block_shared_stack
        << ",\"ebb_shared_stack\":" << b.ebb_shared_stack << ",\"distinct_bytes\":" << b.distinct_bytes << "}";
  }
  out << "}}";
  return out.str();
}

}  // namespace trace
