// SPDX-License-Identifier: Apache-2.0
// The translator's blocks, links and tables, driven by a recorded execution: one `Model` per vCPU.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "decode.h"

namespace trace {

constexpr u64 kPageBits = 12;
constexpr u64 kPageMask = (u64(1) << kPageBits) - 1;
constexpr u64 page_of(u64 address) { return address >> kPageBits; }
constexpr bool is_kernel(u64 address) { return address >> 63; }

/// One block as the reference emulator translated it. Immutable after construction, shared by vCPUs.
struct TracedBlock {
  struct Step {
    u64 address;
    u64 ram;  // identifies the RAM byte; 0 when the emulator knows none
    u8 bytes[16];
    u8 length;
  };
  std::vector<Step> steps;
  Mode mode;
};

/// A tier-0 block of ours: from one entry through the fall-through of conditional branches to the end of the page.
struct Ebb {
  u64 start = 0, ram = 0;
  Mode mode = Mode::k64;
  std::vector<Insn> insns;
  std::vector<u16> offsets;
  std::array<u64, 65> left_after{};  // how often it was left after its first n instructions, this phase
  bool from_other_page = false;      // by direct links
  bool from_cycle = false;           // indirectly, or by a backward link in the page
  bool needs_exit_check() const { return from_other_page || from_cycle; }
};

enum class Exit { SamePage, CrossPage, Loop, Indirect, Return, System, Event, kCount };
constexpr const char* kExitNames[] = {"same page", "cross page", "loop to own head", "indirect jump or call", "return",
                                      "system",    "event"};

struct HitCount {
  u64 tried = 0, missed = 0;
  void count(bool hit) { ++tried, missed += !hit; }
};

/// The tables of translator.md sections 1 and 4, in two forms that bound the truth: address-space switches flush
/// nothing, or everything that belongs to the user.
struct Tables {
  bool flush_on_switch = false;
  std::array<u64, 4096> jump_cache[2] = {};  // user, kernel
  std::array<u64, 1024> exec[2] = {};        // RAM id of the page found there, tagged by virtual page
  std::array<u64, 1024> exec_tag[2] = {};
  std::array<u64, 4096> read[3] = {}, write[3] = {};  // user, kernel, kernel on user pages (SMAP override)
  HitCount jump, link, dtlb;
  u64 lines_touched = 0;

  static u32 jump_index(u64 pc) { return (((u32(pc >> 2)) ^ (u32(pc) & 0x3f0)) & 0xfff0) >> 4; }
  bool probe_jump(u64 pc, int view);
  bool probe_link(u64 virtual_page, u64 ram_page, int view);
  void note_executable(u64 virtual_page, u64 ram_page, int view);
  void access(u64 address, bool store, bool from_kernel);
  void switch_address_space();
};

/// A jump-cache shape to compare with the planned one: entries, and the index computed from a pc.
struct JumpCacheShape {
  const char* name;
  u32 entries;
  u32 (*index)(u64 pc);
};
std::span<const JumpCacheShape> jump_cache_shapes();

struct JumpCacheTrial {
  std::vector<u64> entries[2];  // user, kernel
  HitCount hits;
};

struct PhaseCounters {
  std::array<u64, int(Exit::kCount)> exits{};
  u64 cr3_writes = 0, invlpg = 0, memory_accesses = 0, ebbs_made = 0, clones = 0, rebuilt = 0;
};

class Model {
 public:
  explicit Model(int vcpu);

  void execute(const TracedBlock& block);
  void access(u64 address, bool store);
  /// Everything counted since the last call, as one JSON object; counters start again, table contents stay.
  std::string finish_phase(const std::string& name);

 private:
  struct Key {
    u64 start, ram;
    Mode mode;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    std::size_t operator()(const Key& key) const {
      return (key.start * 0x9e3779b97f4a7c15u) ^ (key.ram * 0xc2b2ae3d27d4eb4fu) ^ u64(key.mode);
    }
  };

  bool repeats(u64 address) const;
  bool flags_dead_at(const Ebb& from, u64 address) const;
  void probe_jumps(u64 pc, int view);
  void leave(u64 next_address, u64 next_ram);
  Ebb& enter(const TracedBlock& block, std::size_t step);
  void build(Ebb& ebb, const TracedBlock& block, std::size_t step);
  Exit classify(const Insn& last, u64 next_address) const;

  int vcpu_;
  Decoder decoder_;
  std::unordered_map<Key, std::unique_ptr<Ebb>, KeyHash> ebbs_;
  std::unordered_map<u64, u64> first_virtual_;  // RAM address of a block -> virtual address it was first made for
  Ebb* current_ = nullptr;
  std::size_t position_ = 0;  // instructions of `current_` executed
  bool kernel_ = false;
  std::array<Tables, 2> tables_;  // without and with flush on address-space switch
  std::vector<JumpCacheTrial> trials_;
  PhaseCounters counters_;
};

}  // namespace trace
