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

void PhaseReport::add(const Ebb& ebb) {
  for (std::size_t length = 1; length <= ebb.insns.size(); ++length)
    if (ebb.left_after[length]) add_path(ebb, length, ebb.left_after[length]);
}

void PhaseReport::add_path(const Ebb& ebb, std::size_t length, u64 times) {
  entries_ += times;
  std::size_t start = 0;
  for (std::size_t i = 0; i < length; ++i) {
    if (ebb.insns[i].kind == Kind::Sequential && i + 1 != length) continue;
    add_basic_block(std::span(ebb.insns).subspan(start, i + 1 - start), times);
    start = i + 1;
  }
}

void PhaseReport::add_basic_block(std::span<const Insn> insns, u64 times) {
  basic_blocks_ += times;
  u16 used = 0, written = 0, read_first = 0;
  for (const Insn& insn : insns) {
    insns_ += times;
    guest_bytes_ += times * insn.length;
    accesses_ += times * insn.memory.present;
    helpers_ += times * insn.helper;
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
      << ",\"accesses\":" << accesses_ << ",\"helpers\":" << helpers_ << ",\"explicit\":" << list(explicit_)
      << ",\"any\":" << list(any_) << ",\"used\":" << list(used_) << ",\"read_first\":" << list(read_first_)
      << ",\"written\":" << list(written_) << ",\"exits\":" << list(counters.exits)
      << ",\"cr3_writes\":" << counters.cr3_writes << ",\"invlpg\":" << counters.invlpg
      << ",\"memory_accesses\":" << counters.memory_accesses << ",\"ebbs_made\":" << counters.ebbs_made
      << ",\"clones\":" << counters.clones << ",\"rebuilt\":" << counters.rebuilt;
  for (const auto& each : tables) {
    out << ",\"" << (each.flush_on_switch ? "flushed" : "kept") << "\":{\"jump\":" << hits(each.jump)
        << ",\"link\":" << hits(each.link) << ",\"dtlb\":" << hits(each.dtlb) << "}";
  }
  out << ",\"shapes\":{";
  for (std::size_t i = 0; i < trials.size(); ++i)
    out << (i ? ",\"" : "\"") << jump_cache_shapes()[i].name << "\":" << hits(trials[i].hits);
  out << "}}";
  return out.str();
}

}  // namespace trace
