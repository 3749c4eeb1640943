// SPDX-License-Identifier: Apache-2.0
// Cuts the recorded execution into tier-0 blocks and runs the link, jump-cache and TLB tables beside it.
#include "model.h"

#include <algorithm>

#include "report.h"

namespace trace {
namespace {

constexpr std::size_t kMaxInsns = 64;
constexpr int kMaxExits = 32;

bool ends_ebb(const Insn& insn) { return insn.kind != Kind::Sequential && insn.kind != Kind::Conditional; }

/// `groups` pages apart, `ways` entries for each page: what one INVLPG would clear stays together.
template <u32 groups, u32 ways, u32 shift>
u32 grouped(u64 pc) {
  const u32 in_page = (u32(pc) & 0xfff) >> shift;
  return (u32(page_of(pc)) % groups) * ways + ((in_page ^ (u32(pc) & ((1u << shift) - 1)) ^ (in_page / ways)) % ways);
}

/// One `rorx` and one `xor`; a page can sit anywhere.
template <u32 entries>
u32 folded(u64 pc) {
  return u32(pc ^ (pc >> 12)) % entries;
}

/// The host's crc32 instruction; a page can sit anywhere.
template <u32 entries>
__attribute__((target("sse4.2"))) u32 hashed(u64 pc) {
  return (u32(__builtin_ia32_crc32di(0, pc)) >> 4) % entries;
}

constexpr JumpCacheShape kShapes[] = {
    {"planned 4096", 4096, Tables::jump_index},
    {"page offset 4096", 4096, [](u64 pc) { return u32(pc) & 4095; }},
    {"16x256 4096", 4096, grouped<16, 256, 4>},
    {"64x256 16384", 16384, grouped<64, 256, 4>},
    {"16x1024 16384", 16384, grouped<16, 1024, 2>},
    {"xor 4096", 4096, folded<4096>},
    {"xor 8192", 8192, folded<8192>},
    {"xor 16384", 16384, folded<16384>},
    {"crc 2048", 2048, hashed<2048>},
    {"crc 4096", 4096, hashed<4096>},
    {"crc 8192", 8192, hashed<8192>},
    {"crc 16384", 16384, hashed<16384>},
};

}  // namespace

std::span<const JumpCacheShape> jump_cache_shapes() { return kShapes; }

bool Tables::probe_jump(u64 pc, int view) {
  u64& entry = jump_cache[view][jump_index(pc)];
  const bool hit = entry == pc;
  jump.count(hit);
  entry = pc;
  return hit;
}

bool Tables::probe_link(u64 virtual_page, u64 ram_page, int view) {
  const auto index = virtual_page & 1023;
  const bool hit = exec_tag[view][index] == virtual_page && exec[view][index] == ram_page;
  link.count(hit);
  return hit;
}

void Tables::note_executable(u64 virtual_page, u64 ram_page, int view) {
  exec_tag[view][virtual_page & 1023] = virtual_page;
  exec[view][virtual_page & 1023] = ram_page;
}

void Tables::access(u64 address, bool store, bool from_kernel) {
  const int view = !from_kernel ? 0 : is_kernel(address) ? 1 : 2;
  const u64 tag = page_of(address) + 1;
  u64& entry = (store ? write : read)[view][page_of(address) & 4095];
  dtlb.count(entry == tag);
  entry = tag;
}

void Tables::switch_address_space() {
  if (!flush_on_switch) return;
  jump_cache[0].fill(0);
  exec_tag[0].fill(0);
  for (int view : {0, 2}) {
    read[view].fill(0);
    write[view].fill(0);
  }
}

Model::Model(int vcpu) : vcpu_(vcpu) {
  tables_[1].flush_on_switch = true;
  for (const auto& shape : kShapes) {
    auto& trial = trials_.emplace_back();
    for (auto& entries : trial.entries) entries.resize(shape.entries);
  }
}

void Model::probe_jumps(u64 pc, int view) {
  for (auto& tables : tables_) tables.probe_jump(pc, view);
  for (std::size_t i = 0; i < trials_.size(); ++i) {
    u64& entry = trials_[i].entries[view][kShapes[i].index(pc)];
    trials_[i].hits.count(entry == pc);
    entry = pc;
  }
}

void Model::build(Ebb& ebb, const TracedBlock& block, std::size_t step) {
  const auto& first = block.steps[step];
  ebb.start = first.address;
  ebb.ram = first.ram;
  ebb.mode = block.mode;
  ebb.insns.clear();
  ebb.offsets.clear();
  const u64 page_end = (first.address | kPageMask) + 1;
  u64 offset = 0;
  int exits = 0;
  while (ebb.insns.size() < kMaxInsns && exits < kMaxExits) {
    const u64 address = first.address + offset;
    if (address >= page_end) break;
    Insn insn;
    bool known = false;
    const std::size_t traced = step + ebb.insns.size();
    if (traced < block.steps.size()) {
      const auto& from = block.steps[traced];
      known = decoder_.decode({from.bytes, from.length}, address, ebb.mode, insn);
      if (!known) insn = {.length = from.length, .unknown = true};
    } else if (first.ram) {
      // Beyond what was executed: the same RAM page, read where the emulator keeps it.
      const auto* bytes = reinterpret_cast<const u8*>(first.ram + offset);
      known = decoder_.decode({bytes, std::size_t(std::min<u64>(15, page_end - address))}, address, ebb.mode, insn);
      if (!known) break;
    } else {
      break;
    }
    const bool straddles = address + insn.length > page_end;
    if (straddles && !ebb.insns.empty()) break;
    ebb.offsets.push_back(u16(offset));
    ebb.insns.push_back(insn);
    offset += insn.length;
    exits += insn.kind == Kind::Conditional;
    if (ends_ebb(insn) || straddles) break;
  }
}

Ebb& Model::enter(const TracedBlock& block, std::size_t step) {
  const auto& at = block.steps[step];
  auto& slot = ebbs_[{at.address, at.ram, block.mode}];
  if (!slot) {
    slot = std::make_unique<Ebb>();
    build(*slot, block, step);
    ++counters_.ebbs_made;
    const auto [first, is_new] = first_virtual_.try_emplace(at.ram, at.address);
    counters_.clones += !is_new && first->second != at.address;
  } else if (slot->insns.front().length != at.length) {
    build(*slot, block, step);
    ++counters_.rebuilt;
  }
  return *slot;
}

Exit Model::classify(const Insn& last, u64 next_address) const {
  const u64 after = current_->start + current_->offsets[position_ - 1] + last.length;
  const bool falls_through = next_address == after && last.kind <= Kind::Conditional;
  const bool taken = next_address == last.target && last.kind >= Kind::Conditional && last.kind <= Kind::Call;
  if (falls_through || taken) {
    if (next_address == current_->start) return Exit::Loop;
    return page_of(next_address) == page_of(current_->start) ? Exit::SamePage : Exit::CrossPage;
  }
  switch (last.kind) {
    case Kind::IndirectJump:
    case Kind::IndirectCall:
      return Exit::Indirect;
    case Kind::Return:
      return Exit::Return;
    case Kind::System:
      return Exit::System;
    default:
      return Exit::Event;
  }
}

void Model::leave(u64 next_address, u64 next_ram) {
  if (!current_ || position_ == 0) return;
  ++current_->left_after[position_];
  const Exit exit = classify(current_->insns[position_ - 1], next_address);
  ++counters_.exits[int(exit)];
  const int view = is_kernel(next_address);
  // A failed guard goes on to the jump cache; the two forms of the tables never differ in what they execute.
  bool guard_failed = false;
  for (auto& tables : tables_) {
    if (exit == Exit::CrossPage && !tables.probe_link(page_of(next_address), page_of(next_ram), view))
      guard_failed = true;
    tables.note_executable(page_of(next_address), page_of(next_ram), view);
  }
  if (guard_failed || exit == Exit::Indirect || exit == Exit::Return) probe_jumps(next_address, view);
}

bool Model::repeats(u64 address) const {
  return current_ && position_ && current_->insns[position_ - 1].string &&
         current_->start + current_->offsets[position_ - 1] == address;
}

void Model::execute(const TracedBlock& block) {
  kernel_ = is_kernel(block.steps.front().address);
  std::size_t step = 0;
  while (step < block.steps.size()) {
    const auto& at = block.steps[step];
    if (repeats(at.address)) {
      ++step;
      continue;
    }
    const bool continues =
        current_ && position_ < current_->insns.size() && current_->start + current_->offsets[position_] == at.address;
    if (!continues) {
      const Exit exit = current_ && position_ ? classify(current_->insns[position_ - 1], at.address) : Exit::Event;
      const bool backwards = current_ && at.address <= current_->start;
      leave(at.address, at.ram);
      current_ = &enter(block, step);
      current_->from_other_page |= exit == Exit::CrossPage;
      current_->from_cycle |=
          exit == Exit::Indirect || exit == Exit::Return || exit == Exit::Loop || (exit == Exit::SamePage && backwards);
      position_ = 0;
    }
    const auto count = std::min(current_->insns.size() - position_, block.steps.size() - step);
    const Insn& last = current_->insns[position_ + count - 1];
    if (last.writes_cr3) {
      ++counters_.cr3_writes;
      for (auto& tables : tables_) tables.switch_address_space();
    }
    counters_.invlpg += last.is_invlpg;
    position_ += count;
    step += count;
  }
}

void Model::access(u64 address, bool store) {
  ++counters_.memory_accesses;
  for (auto& tables : tables_) tables.access(address, store, kernel_);
}

/// A translator that looks at the target, in the same page, before it decides what to store.
bool Model::flags_dead_at(const Ebb& from, u64 address) const {
  const auto found = ebbs_.find({address, from.ram + (address - from.start), from.mode});
  if (found == ebbs_.end()) return false;
  for (const Insn& insn : found->second->insns) {
    if (insn.reads_flags || insn.kind != Kind::Sequential || insn.helper) return false;
    if (insn.writes_flags && !insn.keeps_some_flags) return true;
  }
  return false;
}

std::string Model::finish_phase(const std::string& name) {
  PhaseReport report(name, vcpu_);
  for (auto& [key, ebb] : ebbs_) {
    report.add(*ebb, [this](const Ebb& from, u64 address) { return flags_dead_at(from, address); });
  }
  for (auto& [key, ebb] : ebbs_) ebb->left_after.fill(0);
  const auto text = report.json(counters_, tables_, trials_);
  counters_ = {};
  for (auto& tables : tables_) tables.jump = tables.link = tables.dtlb = {};
  for (auto& trial : trials_) trial.hits = {};
  return text;
}

}  // namespace trace
