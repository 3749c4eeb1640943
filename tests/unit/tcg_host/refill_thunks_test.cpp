// SPDX-License-Identifier: Apache-2.0
// The assembly stage of the slow path: what it serves, what it leaves to C++, and what it writes.
#include "unit/tcg_host/jit_bench.h"

namespace emu::test {
namespace {

using tcg::L2Entry;
using tcg::TlbEntry;

constexpr u64 kPage = 0x12345000;
constexpr u32 kGeneration[2] = {1, 2};  // as JitBench has them: non-global, global

class Refill : public testing::TestWithParam<bool> {
 protected:
  Refill() : bench_(GetParam()) {
    bench_.prepare = [this] {
      if (ways_used_ < 4) place(entry_, ways_used_);
      bench_.page_flags = page_flags_;
      bench_.tracking.logging = logging_;
      if (before_) before_();
    };
  }

  /// A block that loads or stores `bytes` at r1, and adds up registers afterwards so that all of them matter.
  void compile(bool store, unsigned log2_bytes, const char* attributes = "") {
    static constexpr const char* kTypes[] = {"i8", "i16", "i32", "i64", "v128"};
    std::string body = "   v2 = get.i64 r1\n";
    if (log2_bytes == 4) {
      body += store ? fmt::format("   v3 = get.v128 x0\n   st.v128 [v2] 16{}, v3\n", attributes)
                    : fmt::format("   v3 = ld.v128 [v2] 16{}\n   set x0, v3\n", attributes);
    } else if (store) {
      body += "   v3 = get.i64 r2\n";
      if (log2_bytes < 3) body += fmt::format("   v4 = trunc.{} v3\n", kTypes[log2_bytes]);
      body += fmt::format("   st.{} [v2] {}{}, v{}\n", kTypes[log2_bytes], 1 << log2_bytes, attributes,
                          log2_bytes < 3 ? 4 : 3);
    } else {
      body += fmt::format("   v3 = ld.{} [v2] {}{}\n", kTypes[log2_bytes], 1 << log2_bytes, attributes);
      body += log2_bytes < 3 ? "   v4 = zext.i64 v3\n   set r2, v4\n" : "   set r2, v3\n";
    }
    body += "   exit_direct pc(0x1100)\n";
    const auto parsed =
        ir::parse(fmt::format("block 0x1000 bytes=8\n insn #0x0\n{}", body), bench_.layout, bench_.helpers, block_);
    ASSERT_TRUE(parsed) << parsed.error().message() << "\n" << body;
    ASSERT_EQ(bench_.compile(block_), ir::CompileStatus::Ok);
  }

  void place(L2Entry entry, unsigned way) {
    if (entry.tag == 0) return;
    bench_.l2[tcg::l2_set(entry.tag) * tcg::kL2Ways + way] = entry;
  }
  L2Entry ram_entry(u64 page, bool global) {
    return {page | 1, reinterpret_cast<u64>(page_) - page, reinterpret_cast<u64>(&bench_.tracking),
            kGeneration[global] << tcg::kL2GenerationShift | tcg::kStoreFlags | (global ? u32(tcg::kL2Global) : 0u), 0};
  }
  TlbEntry& l1(u64 va) { return bench_.view().l1[tcg::tlb_index(va)]; }

  /// Runs the access at `va`; returns whether the thunk served it.
  bool served(u64 va) {
    auto& state = bench_.state();
    for (unsigned i = 0; i < std::size(state.regs); ++i) state.regs[i] = 0x1111'1111'0000 * (i + 1);
    state.regs[1] = va;
    u64 before[std::size(decltype(state.regs){})];
    std::memcpy(before, state.regs, sizeof before);
    state.hdr.l2_refills = bench_.slow_accesses = 0;
    bench_.run(memory_, 1);
    EXPECT_LE(state.hdr.l2_refills, 1u);
    for (unsigned i = 0; i < std::size(before); ++i) {
      if (i != 2) {
        EXPECT_EQ(state.regs[i], before[i]) << i;
      }
    }
    // Another page's bits and entries stay as they are.
    EXPECT_EQ(bench_.view().l1[tcg::tlb_index(va) ^ 1].rd, tcg::tlb_invalid(tcg::tlb_index(va) ^ 1));
    EXPECT_TRUE(bench_.slow_accesses == 0 || state.hdr.l2_refills == 0);
    return state.hdr.l2_refills == 1;
  }

  void TearDown() override {
    for (L2Entry& e : bench_.l2) e = {};
  }

  alignas(4096) u8 page_[4096] = {};
  JitBench bench_;
  ir::Block block_;
  GuestMemory memory_;
  L2Entry entry_{};
  unsigned ways_used_ = 0;
  u8 page_flags_ = 0, logging_ = 0;
  std::function<void()> before_;
};

TEST_P(Refill, LoadsOfEverySizeFillTheEntryAndSeeTheBytes) {
  for (unsigned i = 0; i < 4096; ++i) page_[i] = u8(i * 7 + 1);
  for (unsigned log2 = 0; log2 < 5; ++log2) {
    compile(false, log2);
    for (const bool global : {false, true}) {
      for (ways_used_ = 0; ways_used_ < 4; ++ways_used_) {
        entry_ = ram_entry(kPage, global);
        std::memset(bench_.view().touched, 0, sizeof bench_.view().touched);
        for (unsigned w = 0; w < 4; ++w) bench_.l2[tcg::l2_set(kPage) * 4 + w] = {};
        ASSERT_TRUE(served(kPage + 0x123)) << log2 << global << ways_used_;
        const unsigned index = tcg::tlb_index(kPage);
        EXPECT_EQ(l1(kPage).rd, kPage);
        EXPECT_EQ(l1(kPage).wr, tcg::tlb_invalid(index));
        EXPECT_EQ(l1(kPage).addend, entry_.addend);
        EXPECT_EQ(bench_.view().touched[global][index / 64], u64(1) << index % 64);
        EXPECT_EQ(bench_.view().touched[!global][index / 64], 0u);
        if (log2 < 4) {
          u64 expected = 0;
          std::memcpy(&expected, page_ + 0x123, 1u << log2);
          EXPECT_EQ(bench_.state().regs[2], expected);
        }
      }
    }
  }
}

TEST_P(Refill, StoresFillBothPermissionsAndRecordTheOwner) {
  ways_used_ = 2;
  entry_ = ram_entry(kPage, false);
  for (unsigned log2 = 0; log2 < 5; ++log2) {
    compile(true, log2);
    ASSERT_TRUE(served(kPage + 0x123)) << log2;
    EXPECT_EQ(l1(kPage).rd, kPage);
    EXPECT_EQ(l1(kPage).wr, kPage);
    const u64 host = reinterpret_cast<u64>(page_);
    ASSERT_EQ(host % 4096, 0u);
    const tcg::WriteOwner& owner = bench_.owners[tcg::write_owner_slot(host)];
    EXPECT_EQ(owner.view, &bench_.view());
    EXPECT_EQ(owner.host_and_index, host | tcg::tlb_index(kPage));
  }
}

TEST_P(Refill, StoreTakesPermissionFromTheEntryThatHadIt) {
  ways_used_ = 1;
  entry_ = ram_entry(kPage, false);
  compile(true, 3);
  const u64 host = reinterpret_cast<u64>(page_);
  tcg::View other{};
  for (const u64 old_page : {u64(0x7654000), u64(0x7000000)}) {  // the second has index 0
    for (const bool still_there : {true, false}) {
      const unsigned index = tcg::tlb_index(old_page);
      other.l1[index] = {old_page, old_page, host - old_page + (still_there ? 0 : 0x1000), 0};
      before_ = [&] { bench_.owners[tcg::write_owner_slot(host)] = {&other, host | index}; };
      ASSERT_TRUE(served(kPage));
      EXPECT_EQ(other.l1[index].rd, old_page);
      EXPECT_EQ(other.l1[index].wr, still_there ? tcg::tlb_invalid(index) : old_page);
      EXPECT_EQ(bench_.owners[tcg::write_owner_slot(host)].view, &bench_.view());
    }
  }
}

TEST_P(Refill, WhatNeedsMoreThanTablesIsLeftToCpp) {
  struct Case {
    const char* name;
    bool load, store;  ///< served?
    std::function<void(L2Entry&)> change;
    u8 page_flags = 0, logging = 0;
  };
  const auto without = [](u32 flags) { return [flags](L2Entry& e) { e.state &= ~flags; }; };
  const Case cases[] = {
      {"ram", true, true, [](L2Entry&) {}},
      {"read-only for the guest, or clean in its table", true, false, without(tcg::kL2Writable)},
      {"rom", true, false, without(tcg::kL2RamWrites)},
      {"not readable", false, false, without(tcg::kL2Readable)},
      {"device", false, false, without(tcg::kL2Ram | tcg::kL2RamWrites)},
      {"fetched only", false, false, without(tcg::kL2Ram | tcg::kL2RamWrites | tcg::kL2Readable | tcg::kL2Writable)},
      {"code page", true, false, [](L2Entry&) {}, tcg::kPageHasCode},
      {"first write while somebody logs", true, false, [](L2Entry&) {}, 0, 2},
      {"dirty for one of two", true, false, [](L2Entry&) {}, 2, 6},
      {"dirty for all who log", true, true, [](L2Entry&) {}, 6, 2},
      {"flushed", false, false, [](L2Entry& e) { e.state += 1u << tcg::kL2GenerationShift; }},
      {"other view", false, false, [](L2Entry& e) { e.tag += 1; }},
      {"other page of the set", false, false, [](L2Entry& e) { e.tag ^= u64(1) << 40; }},
      {"empty", false, false, [](L2Entry& e) { e = {}; }},
  };
  for (const bool store : {false, true}) {
    compile(store, 3);
    for (const Case& c : cases) {
      ways_used_ = 3;
      for (unsigned w = 0; w < 4; ++w) bench_.l2[tcg::l2_set(kPage) * 4 + w] = {};
      entry_ = ram_entry(kPage, false);
      c.change(entry_);
      page_flags_ = c.page_flags;
      logging_ = c.logging;
      EXPECT_EQ(served(kPage + 8), store ? c.store : c.load) << c.name << " " << store;
    }
  }
}

TEST_P(Refill, AccessesThatTheCheckRefusesAgainAreLeftToCpp) {
  ways_used_ = 0;
  entry_ = ram_entry(kPage, true);
  for (const bool store : {false, true}) {
    for (unsigned log2 = 1; log2 < 5; ++log2) {
      const u64 bytes = u64(1) << log2;
      compile(store, log2);
      EXPECT_TRUE(served(kPage + 4096 - bytes)) << log2;
      EXPECT_FALSE(served(kPage + 4096 - bytes + 1)) << log2;
      EXPECT_FALSE(served(kPage + 4095)) << log2;
      EXPECT_TRUE(served(kPage + 1)) << log2;
    }
  }
}

TEST_P(Refill, AlignedAccessesOfAlignedFormsAreServed) {
  ways_used_ = 0;
  entry_ = ram_entry(kPage, true);
  for (const bool store : {false, true}) {
    for (unsigned log2 = 1; log2 < 5; ++log2) {
      const u64 bytes = u64(1) << log2;
      compile(store, log2, fmt::format(" align={}", bytes).c_str());
      EXPECT_TRUE(served(kPage + 2 * bytes)) << log2;
      EXPECT_FALSE(served(kPage + 2 * bytes + bytes / 2)) << log2;
      EXPECT_FALSE(served(kPage + 2 * bytes + 1)) << log2;
    }
  }
}

TEST_P(Refill, FirstIndexHoldsItsOwnInvalid) {
  const u64 page = 0x5000000;  // index 0
  ways_used_ = 0;
  entry_ = ram_entry(page, false);
  compile(false, 3);
  EXPECT_TRUE(served(page + 16));
  EXPECT_EQ(l1(page).rd, page);
  EXPECT_EQ(l1(page).wr, 0x1000u);
}

INSTANTIATE_TEST_SUITE_P(Vectors, Refill, testing::Values(false, true));

}  // namespace
}  // namespace emu::test
