// SPDX-License-Identifier: Apache-2.0
// The byte count. Costs are those assembled for translator.md; a scratch register is given up to whoever needs one,
// the value whose next use is furthest away first.
#include "encode.h"

#include <algorithm>
#include <limits>

namespace trace {
namespace {

constexpr u32 kLoad = 46, kLoadRegister = 42, kStoreExtra = 1, kConstantKernel = 35, kConstant = 38, kShared = 5;
constexpr u32 kKeepHost = 3, kSegmentBase = 5, kStub = 13, kJumpCache = 43, kGuardedLink = 22, kExitCheck = 11;
constexpr u32 kJump = 5, kConditional = 6, kHelper = 15, kEnvMove = 5, kEnvFold = 2, kFlagStore = 15, kRspUpdate = 4;
constexpr i64 kWindow = 256;
constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

constexpr u16 mask(std::initializer_list<int> registers) {
  u16 bits = 0;
  for (int reg : registers) bits |= u16(1u << reg);
  return bits;
}
constexpr u16 kEight = 0xff;
constexpr Abi kAbis[] = {
    {"11+3 (r12-r14)", kEight | mask({12, 13, 14}), 3},
    {"10+4 (r13 r14)", kEight | mask({13, 14}), 4},
    {"11+3 (r8 r13 r14)", kEight | mask({8, 13, 14}), 3},
    {"9+5 (r13)", kEight | mask({13}), 5},
    {"16+3, not possible", 0xffff, 3},
    {"11+3, no sharing", kEight | mask({12, 13, 14}), 3, false},
    {"11+3, no flag stores", kEight | mask({12, 13, 14}), 3, true, false},
};

/// Accesses with equal bases and a known distance, which one check can cover.
struct Group {
  std::vector<std::size_t> members;  // instruction indexes, ascending
};

struct BaseKey {
  int base_version, index_version, scale, segment_and_kind;
  bool operator==(const BaseKey&) const = default;
};

class Encoder {
 public:
  Encoder(std::span<const Insn> insns, const BlockSite& site, const Abi& abi) : insns_(insns), site_(site), abi_(abi) {
    find_groups();
  }

  Encoded run() {
    if (site_.exit_check) out_.hot += kExitCheck;
    for (at_ = 0; at_ < insns_.size(); ++at_) {
      one(insns_[at_]);
      out_.hot_after.push_back(out_.hot);
    }
    const Kind last = insns_.back().kind;
    if (last == Kind::Sequential || last == Kind::Conditional) {
      const u32 before = out_.hot;
      leave_to(address_after(insns_.size() - 1), /*in_line=*/true);
      out_.hot_after.back() += out_.hot - before;
    }
    return std::move(out_);
  }

 private:
  struct Slot {
    enum { Env, Host } kind;
    int id;  // guest register, or group
    bool dirty = false;
  };

  u64 address_after(std::size_t i) const { return site_.start + site_.offsets[i] + insns_[i].length; }

  void find_groups() {
    int version[17], next_version = 17;
    for (int reg = 0; reg < 17; ++reg) version[reg] = reg;
    i64 offset[17] = {};
    struct Open {
      BaseKey key;
      i64 low, high;
      int group;
    };
    std::vector<Open> open;
    group_of_.assign(insns_.size(), -1);
    for (std::size_t i = 0; i < insns_.size(); ++i) {
      const Insn& insn = insns_[i];
      const Memory& m = insn.memory;
      if (m.present) {
        const auto number = [](u8 reg) { return reg == kNoRegister ? 16 : int(reg); };
        const BaseKey key{m.constant ? -1 : version[number(m.base)], version[number(m.index)], m.scale,
                          m.segment_base * 2 + m.store};
        const i64 low = m.displacement + (m.constant ? 0 : offset[number(m.base)] + offset[number(m.index)] * m.scale);
        const i64 high = low + std::max<i64>(m.size, 1);
        const auto found = std::find_if(open.begin(), open.end(), [&](const Open& each) {
          return each.key == key && std::max(each.high, high) - std::min(each.low, low) <= kWindow;
        });
        if (found == open.end() || !abi_.share) {
          group_of_[i] = int(groups_.size());
          open.push_back({key, low, high, group_of_[i]});
          groups_.push_back({{i}});
        } else {
          found->low = std::min(found->low, low);
          found->high = std::max(found->high, high);
          group_of_[i] = found->group;
          groups_[std::size_t(found->group)].members.push_back(i);
        }
      }
      if (insn.helper) open.clear();
      for (int reg = 0; reg < 16; ++reg) {
        if (!(insn.written >> reg & 1) && insn.stepped != reg) continue;
        if (insn.stepped == reg)
          offset[reg] += insn.step;
        else
          version[reg] = next_version++, offset[reg] = 0;
      }
    }
  }

  std::size_t next_use(const Slot& slot) const {
    if (slot.kind == Slot::Host) {
      for (std::size_t member : groups_[std::size_t(slot.id)].members)
        if (member > at_) return member;
      return kNever;
    }
    for (std::size_t i = at_ + 1; i < insns_.size(); ++i) {
      if (insns_[i].read >> slot.id & 1) return i;
      if (insns_[i].written >> slot.id & 1) return kNever;
    }
    return slot.dirty ? insns_.size() : kNever;
  }

  void traffic(u32 bytes, bool cold = false) {
    out_.register_traffic += bytes;
    (cold ? out_.cold : out_.hot) += bytes;
  }

  void make_room(int free_wanted) {
    while (int(slots_.size()) > abi_.scratch - free_wanted && !slots_.empty()) {
      const auto victim = std::max_element(slots_.begin(), slots_.end(),
                                           [this](const Slot& a, const Slot& b) { return next_use(a) < next_use(b); });
      if (victim->dirty) traffic(kEnvMove);
      slots_.erase(victim);
    }
  }

  Slot* find(int kind, int id) {
    for (auto& slot : slots_)
      if (slot.kind == kind && slot.id == id) return &slot;
    return nullptr;
  }

  void read_env(int reg, bool for_address) {
    if (find(Slot::Env, reg)) return;
    const Slot wanted{Slot::Env, reg};
    if (next_use(wanted) >= insns_.size() && !for_address) return traffic(kEnvFold);
    traffic(kEnvMove);
    make_room(1);
    slots_.push_back(wanted);
  }

  void write_env(int reg) {
    if (Slot* slot = find(Slot::Env, reg)) {
      slot->dirty = true;
      return;
    }
    make_room(1);
    slots_.push_back({Slot::Env, reg, true});
  }

  void read_all_env(u16 registers, bool for_address) {
    registers &= u16(~abi_.pinned);
    for (int reg = 0; reg < 16; ++reg)
      if (registers >> reg & 1) read_env(reg, for_address);
  }

  static u16 address_registers(const Memory& m) {
    u16 bits = 0;
    if (m.present && m.base != kNoRegister) bits |= u16(1u << m.base);
    if (m.present && m.index != kNoRegister) bits |= u16(1u << m.index);
    return bits;
  }

  void access(const Insn& insn) {
    const Memory& m = insn.memory;
    ++out_.accesses;
    const int group = group_of_[at_];
    u32 extra = insn.immediate_bytes * u32(insn.kind == Kind::Sequential);
    if (insn.kind == Kind::Call || insn.kind == Kind::IndirectCall)  // the return address is an immediate
      extra = i64(i64(address_after(at_)) << 32) >> 32 == i64(address_after(at_)) ? 4 : 13;
    if (find(Slot::Host, group)) {
      ++out_.shared;
      out_.shared_on_stack += m.base == kRsp;
      out_.hot += kShared + extra;
      return;
    }
    const bool plain = !m.constant && m.index == kNoRegister && m.displacement == 0 && !m.segment_base;
    make_room(plain || m.constant ? 2 : 3);
    const bool kept = next_use({Slot::Host, group}) != kNever && abi_.share;
    u32 bytes = plain ? kLoadRegister : kLoad;
    if (m.constant) bytes = m.displacement < 0 && m.displacement >= -(i64(1) << 31) ? kConstantKernel : kConstant;
    out_.hot += bytes + m.store * kStoreExtra + m.segment_base * kSegmentBase + extra + kept * kKeepHost;
    out_.cold += kStub;
    ++out_.fault_points;
    if (kept) slots_.push_back({Slot::Host, group});
  }

  void one(const Insn& insn) {
    if (insn.helper) {
      for (const Slot& slot : slots_)
        if (slot.dirty) traffic(kEnvMove);
      slots_.clear();
      out_.hot += kHelper;
      ++out_.fault_points;
      flags_held_ = false;
      return;
    }
    const u16 address = address_registers(insn.memory);
    read_all_env(address, true);
    if (insn.memory.present) access(insn);
    read_all_env(insn.read & u16(~address), false);
    for (int reg = 0; reg < 16; ++reg)
      if ((insn.written & ~abi_.pinned) >> reg & 1) write_env(reg);
    if (insn.writes_flags) flags_held_ = true;
    rsp_offset_ += insn.stepped == kRsp ? insn.step : 0;
    body(insn);
  }

  void body(const Insn& insn) {
    switch (insn.kind) {
      case Kind::Sequential:
        if (!insn.memory.present && insn.stepped != kRsp) out_.hot += insn.length;
        break;
      case Kind::Conditional: {
        out_.hot += kConditional;
        const u32 before = out_.cold;
        leave_to(insn.target, /*in_line=*/false);
        out_.cold += out_.cold == before + kStub ? 0 : kJump;
        break;
      }
      case Kind::Jump:
      case Kind::Call:
        leave_to(insn.target, /*in_line=*/true);
        break;
      case Kind::IndirectJump:
      case Kind::IndirectCall:
      case Kind::Return:
        synchronise(/*cold=*/false, /*flags_dead=*/false);
        out_.hot += kJumpCache + 3 * !insn.memory.load;
        break;
      case Kind::System:
        break;
    }
  }

  /// What must be in its home before control leaves.
  void synchronise(bool cold, bool flags_dead) {
    for (const Slot& slot : slots_)
      if (slot.dirty) traffic(kEnvMove, cold);
    if (rsp_offset_ != 0) (cold ? out_.cold : out_.hot) += kRspUpdate;
    if (flags_held_ && !flags_dead && abi_.store_flags) {
      out_.flag_stores += kFlagStore;
      (cold ? out_.cold : out_.hot) += kFlagStore;
    }
  }

  void leave_to(u64 target, bool in_line) {
    const bool same_page = (target ^ site_.start) >> 12 == 0;
    synchronise(!in_line, same_page && site_.flags_dead_at(target));
    (in_line ? out_.hot : out_.cold) += !same_page ? kGuardedLink : in_line ? kJump : 0;
    out_.cold += kStub;
  }

  std::span<const Insn> insns_;
  const BlockSite& site_;
  const Abi& abi_;
  std::size_t at_ = 0;
  std::vector<Group> groups_;
  std::vector<int> group_of_;
  std::vector<Slot> slots_;
  bool flags_held_ = false;
  i64 rsp_offset_ = 0;
  Encoded out_;
};

}  // namespace

std::span<const Abi> candidate_abis() { return kAbis; }

Encoded encode(std::span<const Insn> insns, const BlockSite& site, const Abi& abi) {
  return Encoder(insns, site, abi).run();
}

}  // namespace trace
