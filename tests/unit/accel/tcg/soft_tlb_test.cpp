// SPDX-License-Identifier: Apache-2.0
// The software TLB against a naive walker, and its empty tables.
#include <gtest/gtest.h>

#include <random>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

using accel::JumpCacheTable;
using accel::ViewTable;

TEST(ViewTable, EmptyAndFlushedTableMatchesNoPage) {
  ViewTable table(nullptr, 1, nullptr);
  const auto check = [&] {
    for (unsigned i = 0; i < tcg::kTlbEntries; ++i) {
      const tcg::TlbEntry& e = table.view()->l1[i];
      // Whatever page an entry names must not be one that looks it up.
      ASSERT_NE(tcg::tlb_index(e.rd), i);
      ASSERT_NE(tcg::tlb_index(e.wr), i);
    }
  };
  check();
  for (u64 i = 0; i < tcg::kTlbEntries; ++i) table.install(0xffff'ff00'0000'0000 + i * 4096, 64, true, true, i % 2);
  table.drop_non_global();
  table.flush();
  check();
}

/// As the inline check does it, with addresses of every form: none may get through an empty entry.
TEST(ViewTable, NoAddressPassesTheCheckOfAnEmptyOrFlushedTable) {
  ViewTable table(nullptr, 1, nullptr);
  constexpr u64 kHigh[] = {0, 1, 0x7f'ffff, 0x80'0000, 0xff'8000, 0xffff'8000'00, 0xffff'ffff'ff, 0x8000'0000'00};
  const auto check = [&] {
    for (u64 i = 0; i < tcg::kTlbEntries; ++i) {
      const tcg::TlbEntry& e = table.view()->l1[i];
      EXPECT_EQ(e.addend, 0u);
      for (const u64 high : kHigh) {
        for (const u64 offset : {u64(0), u64(1), u64(4088), u64(4095)}) {
          const u64 va = high << 24 | i << 12 | offset;
          ASSERT_EQ(tcg::tlb_index(va), i);
          for (unsigned bytes = 1; bytes <= 16; bytes *= 2) {
            ASSERT_GT(va ^ e.rd, 4096u - bytes) << i << " " << high;
            ASSERT_GT(va ^ e.wr, 4096u - bytes) << i << " " << high;
          }
        }
      }
    }
  };
  check();
  for (u64 i = 0; i < tcg::kTlbEntries; ++i) {
    table.install(kHigh[i % std::size(kHigh)] << 24 | i << 12, 64, i % 3 != 0, i % 3 != 1, i % 2);
  }
  table.drop_non_global();
  table.flush();
  check();
}

TEST(ViewTable, ReadAndWriteOfOnePageAreKeptTogether) {
  ViewTable table(nullptr, 1, nullptr);
  table.install(0x5000, 0x100, true, false, true);
  table.install(0x5000, 0x100, false, true, true);
  EXPECT_EQ(table.view()->l1[5].rd, 0x5000u);
  EXPECT_EQ(table.view()->l1[5].wr, 0x5000u);
  table.install(0x1005000, 0x200, true, false, true);
  EXPECT_EQ(table.view()->l1[5].rd, 0x1005000u);
  EXPECT_EQ(table.view()->l1[5].wr, 0u);
  table.drop_page(0x1005000);
  EXPECT_EQ(table.view()->l1[5].rd, 0u);
}

TEST(JumpCacheTable, PageFlushDropsItsGroupAndTheStraddlingBlock) {
  JumpCacheTable jc;
  const u8 code[1] = {};
  const auto holds = [&](u64 pc) { return jc.entries()[tcg::jump_cache_index(pc)].pc == pc; };
  for (const u64 pc : {u64(0x7ffe), u64(0x8000), u64(0x8ffc), u64(0x9000), u64(0x7100)}) jc.fill(pc, code, true);
  jc.drop_page(0x8000);
  EXPECT_FALSE(holds(0x7ffe));
  EXPECT_FALSE(holds(0x8000));
  EXPECT_FALSE(holds(0x8ffc));
  EXPECT_TRUE(holds(0x9000));
  EXPECT_TRUE(holds(0x7100));
  jc.flush();
  for (unsigned i = 0; i < tcg::kJumpCacheEntries; ++i) ASSERT_NE(tcg::jump_cache_index(jc.entries()[i].pc), i);
  for (unsigned i = tcg::kJumpCacheEntries; i < tcg::kJumpCacheSlots; ++i) {
    ASSERT_NE(tcg::jump_cache_victim(jc.entries()[i].pc), i);
  }
}

TEST(JumpCacheTable, WhatLosesItsPlaceIsFoundAmongTheVictims) {
  constexpr u64 kFirst = 0x401000, kSecond = kFirst + 0x4004;
  ASSERT_EQ(tcg::jump_cache_index(kFirst), tcg::jump_cache_index(kSecond));
  ASSERT_NE(tcg::jump_cache_victim(kFirst), tcg::jump_cache_victim(kSecond));
  const u8 code[2] = {};
  JumpCacheTable jc;
  jc.fill(kFirst, code, false);
  jc.fill(kSecond, code + 1, true);
  EXPECT_EQ(tcg::find_jump(jc.entries(), kFirst), code);
  EXPECT_EQ(tcg::find_jump(jc.entries(), kSecond), code + 1);
  jc.drop_non_global();
  EXPECT_EQ(tcg::find_jump(jc.entries(), kFirst), nullptr) << "a victim is as global as it was";
  EXPECT_EQ(tcg::find_jump(jc.entries(), kSecond), code + 1);
  jc.fill(kFirst, code, false);
  EXPECT_EQ(tcg::find_jump(jc.entries(), kSecond), code + 1);
  jc.drop_page(kSecond & ~u64(0xfff));
  EXPECT_EQ(tcg::find_jump(jc.entries(), kSecond), nullptr);
  EXPECT_EQ(tcg::find_jump(jc.entries(), kFirst), code);
}

TEST(JumpCacheTable, PageFlushFindsAStraddlingBlockAmongTheVictims) {
  constexpr u64 kStraddles = 0x401ffe, kOther = 0x405ffa;  // one place
  static_assert(tcg::jump_cache_index(kStraddles) == tcg::jump_cache_index(kOther));
  const u8 code[2] = {};
  JumpCacheTable jc;
  jc.fill(kStraddles, code, true);
  jc.fill(kOther, code + 1, true);
  jc.drop_page(0x402000);
  EXPECT_EQ(tcg::find_jump(jc.entries(), kStraddles), nullptr);
  EXPECT_EQ(tcg::find_jump(jc.entries(), kOther), code + 1);
}

/// Random maps, unmaps, switches and flushes; every access is compared with what the tables in memory say. Guests that
/// change a table flush the page before they rely on it, and so does this.
TEST(SoftTlb, AgreesWithANaiveWalkerOnRandomTraces) {
  constexpr u64 kTables[] = {0x8000, 0x9000, 0xa000};
  constexpr u64 kPages = 64;
  ToyMachine m(Engine::Interpreter);
  ToyVcpu& cpu = m.cpu();
  std::mt19937 random(7);
  const auto pick = [&](u64 n) { return random() % n; };
  for (u64 page = 0x20; page < 0x60; ++page) m.poke(page << 12, page);
  const auto random_entry = [&] { return (0x20 + pick(0x40)) << 12 | pick(8); };
  for (const u64 t : kTables) {
    for (u64 p = 0; p < kPages; ++p) m.poke(t + p * 8, random_entry());
  }
  cpu.state().table = kTables[0];
  cpu.services().switch_context(kTables[0], false);
  u64 hits = 0;
  for (int step = 0; step < 60000; ++step) {
    const u64 va = pick(kPages) << 12;
    switch (pick(16)) {
      case 0: {
        const u64 t = kTables[pick(3)];
        cpu.state().table = t;
        cpu.services().switch_context(t, true);
        break;
      }
      case 1:
        m.poke(cpu.state().table + (va >> 12) * 8, random_entry());
        cpu.services().flush_page(va);
        break;
      case 2: {
        const u64 t = kTables[pick(3)];
        m.poke(t + (va >> 12) * 8, random_entry());
        cpu.services().flush_context(t, va);
        break;
      }
      case 3:
        if (pick(50) == 0) cpu.services().flush_all();
        break;
      case 4:
        if (pick(20) == 0) cpu.services().flush_non_global();
        break;
      default: {
        const u64 entry = m.word(cpu.state().table + (va >> 12) * 8);
        const bool is_store = pick(2);
        const bool allowed = (entry & ToyVcpu::kPresent) && (!is_store || (entry & ToyVcpu::kWritable));
        u64 value = 0;
        const auto status = is_store ? cpu.memory().store(va + 8, 8, ir::kCurrentView, u64(step))
                                     : cpu.memory().load(va, 8, ir::kCurrentView, value);
        ASSERT_EQ(status == target::AccessStatus::Ok, allowed) << step;
        if (status != target::AccessStatus::Ok) {
          cpu.restart(0);
          break;
        }
        if (is_store) {
          ASSERT_EQ(m.word((entry & ~u64(0xfff)) + 8), u64(step));
        } else {
          ASSERT_EQ(value, entry >> 12) << step;
        }
        ++hits;
      }
    }
  }
  EXPECT_GT(hits, 1000u);
  EXPECT_LT(cpu.walks.load(), 40000u);
}

/// The same of generated code, whose misses are served by the refill thunks as far as they can: first-level entries
/// vanish now and then, pages turn clean, and every store has to leave its dirty bit.
TEST(SoftTlb, GeneratedCodeAgreesWithANaiveWalkerOnRandomTraces) {
  constexpr u64 kTables[] = {0x8000, 0x9000, 0xa000};
  constexpr u64 kFirst = 16, kPages = 64;  // the pages whose mappings change
  constexpr unsigned kSteps = 60000;
  ToyMachine m(Engine::Jit);
  ToyVcpu& cpu = m.cpu();
  std::mt19937 random(11);
  const auto pick = [&](u64 n) { return random() % n; };
  for (u64 page = 0x20; page < 0x60; ++page) m.poke(page << 12, page);
  const auto random_entry = [&] {
    const u64 flags = pick(8);
    if (pick(16) == 0) return (ToyMachine::kDevice + 0x1000) | flags;  // nothing answers there: reads as ones
    return (0x20 + pick(0x40)) << 12 | flags;
  };
  for (const u64 t : kTables) {
    for (u64 p = 0; p < 512; ++p) m.poke(t + p * 8, p << 12 | 7 | (p % 2 ? u64(ToyVcpu::kGlobal) : 0));
    m.poke(t + 500 * 8, ToyMachine::kDevice | 7);
  }
  // The first pages are global, and so the same in every table.
  const auto set_entry = [&](u64 table, u64 p) {
    const u64 entry = random_entry();
    for (const u64 t : kTables) {
      if (t == table || p < kFirst + 16) m.poke(t + p * 8, entry | (p < kFirst + 16 ? u64(ToyVcpu::kGlobal) : 0));
    }
  };
  for (const u64 t : kTables) {
    for (u64 p = 0; p < kPages; ++p) set_entry(t, kFirst + p);
  }
  m.ram->set_logging(mem::DirtyClient::Display, true);

  // r4: the device; r1: address; r2: value; r3: what was loaded; r5: 0 load, 1 store, 2 locked addition; r0 = 0
  m.load(0x1000, {li(4, 500), insn(kSlli, 4, 4, 12), li(0, 0),
                  /*0x100c*/ insn(kSt, 0, 4, 0), insn(kSys, 0, 0, kEnable), li(3, 1), insn(kBne, 5, 0, 3),
                  insn(kLd, 3, 1, 0), insn(kJump, 0, 0, 5),
                  /*store*/ insn(kBne, 5, 3, 3), insn(kSt, 2, 1, 8), insn(kJump, 0, 0, 2),
                  /*locked*/ insn(kAmoAdd, 3, 1, 0), insn(kSt, 0, 4, 8), insn(kJump, 0, 0, -11)});
  m.load(0x2000, {li(5, 0x1034), insn(kJr, 5)});  // a fault goes on at "store to the device + 8"
  cpu.state().handler = 0x2000;
  cpu.state().table = kTables[0];

  unsigned step = 0, hits = 0;
  u64 va = 0, kind = 0, faults = 0;
  std::vector<bool> stored(0x60);
  const auto change = [&] {
    const u64 page = (kFirst + pick(kPages)) << 12;
    switch (pick(16)) {
      case 0: {
        const u64 t = kTables[pick(3)];
        cpu.state().table = t;
        cpu.services().switch_context(t, pick(2));
        break;
      }
      case 1:
        set_entry(cpu.state().table, page >> 12);
        cpu.services().flush_page(page);
        break;
      case 2:
        if (pick(20) == 0) cpu.services().flush_all();
        break;
      case 3:
        if (pick(10) == 0) cpu.services().flush_non_global();
        break;
      case 4:
      case 5:  // what conflicts would do
        for (tcg::View* v : cpu.state().hdr.views) {
          if (v == nullptr) continue;
          for (u64 p = kFirst; p < kFirst + kPages; ++p) v->l1[p] = {};
        }
        break;
      case 6: {
        std::vector<bool> dirty(0x60);
        m.ram->take_dirty(mem::DirtyClient::Display, 0x20000, 0x40000, [&](u64 offset, u64 length) {
          for (u64 at = offset; at < offset + length; at += 4096) dirty[at >> 12] = true;
        });
        for (u64 p = 0x20; p < 0x60; ++p) {
          EXPECT_TRUE(dirty[p] || !stored[p]) << "page " << p << " step " << step;
          stored[p] = false;
        }
        break;
      }
      default:
        break;
    }
  };
  const auto entry_of = [&](u64 address) { return m.word(cpu.state().table + (address >> 12) * 8); };
  m.on_write = [&](u64 offset, u64) {
    if (offset == 8) {
      const u64 entry = entry_of(va), page = entry >> 12;
      const bool allowed = (entry & ToyVcpu::kPresent) && (kind == 0 || (entry & ToyVcpu::kWritable));
      EXPECT_EQ(cpu.faults.load() == faults, allowed) << "step " << step << " kind " << kind;
      faults = cpu.faults.load();
      if (!allowed) return;
      ++hits;
      const bool is_ram = page < 0x400;
      EXPECT_TRUE(kind != 0 || cpu.state().reg[3] == (is_ram ? page : ~u64(0))) << "step " << step;
      EXPECT_TRUE(kind != 1 || !is_ram || m.word((page << 12) + 8) == step) << "step " << step;
      if (kind != 0 && is_ram) stored[page] = true;
      return;
    }
    if (step == kSteps || testing::Test::HasFailure()) {
      m.load(0x1010, {insn(kSys, 0, 0, kStop)});
      return;
    }
    ++step;
    change();
    va = (kFirst + pick(kPages)) << 12;
    kind = pick(3);
    cpu.state().reg[1] = va;
    cpu.state().reg[2] = step;
    cpu.state().reg[5] = kind;
  };
  cpu.restart(0x1000);
  m.start();
  ASSERT_TRUE(m.wait(std::chrono::seconds(120)));
  m.on_write = nullptr;
  EXPECT_EQ(step, kSteps);
  EXPECT_GT(hits, kSteps / 4);
  EXPECT_GT(m.statistics().l2_refills.get(), kSteps / 50);
}

TEST(SoftTlb, RestartedDirtyTrackingSeesTheNextStore) {
  ToyMachine m(Engine::Interpreter);
  ToyVcpu& cpu = m.cpu();
  m.ram->set_logging(mem::DirtyClient::Display, true);
  const auto take = [&] {
    unsigned dirty = 0;
    m.ram->take_dirty(mem::DirtyClient::Display, 0x5000, 0x1000, [&](u64, u64) { ++dirty; });
    return dirty;
  };
  take();
  static_cast<void>(cpu.memory().store(0x5000, 8, ir::kCurrentView, 1));
  EXPECT_EQ(take(), 1u);
  m.load(0x1000, {insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(0x1000));  // passes a quiescent point
  take();
  EXPECT_EQ(take(), 0u);
  static_cast<void>(cpu.memory().store(0x5000, 8, ir::kCurrentView, 2));
  EXPECT_EQ(take(), 1u);
}

TEST(SoftTlb, CopyRunStopsAtThePageAndRepeatsPatterns) {
  ToyMachine m(Engine::Interpreter);
  target::GuestAccess& memory = m.cpu().memory();
  static_cast<void>(memory.store(0x5000, 8, ir::kCurrentView, 0x0807060504030201));
  static_cast<void>(memory.store(0x6000, 8, ir::kCurrentView, 0));
  u64 v = 0;
  static_cast<void>(memory.load(0x5000, 8, ir::kCurrentView, v));
  EXPECT_EQ(memory.copy_run(0x6ff0, 0x5000, 100, ir::kCurrentView), 16u);
  EXPECT_EQ(memory.copy_run(0x5008, 0x5000, 100, ir::kCurrentView), 8u);
  EXPECT_EQ(m.word(0x5008), 0x0807060504030201u);
  EXPECT_EQ(memory.copy_run(0x5001, 0x5000, 100, ir::kCurrentView), 0u);
  EXPECT_EQ(memory.fill_run(0x6000, 0xab, 3, ir::kCurrentView), 3u);
  EXPECT_EQ(m.word(0x6000), 0xabababu);
  EXPECT_EQ(memory.fill_run(ToyMachine::kDevice, 0, 8, ir::kCurrentView), 0u);
}

}  // namespace
}  // namespace emu::toy
