// SPDX-License-Identifier: Apache-2.0
// Four vCPU threads, more than the host may have processors: publication of blocks, self-modified code, wake-ups and
// moving mappings, at once (design section 11 c). Each test checks that nothing is stale, torn or lost, and prints the
// figures of docs/performance.md. EMU_LONG_TESTS=1 runs the full counts.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

using Clock = std::chrono::steady_clock;
constexpr unsigned kCpus = 4;
constexpr u64 kCode = 0x1000;

bool is_long() {
  const char* wanted = std::getenv("EMU_LONG_TESTS");
  return wanted != nullptr && *wanted == '1';
}
u64 count(u64 short_form, u64 full) { return is_long() ? full : short_form; }
std::chrono::seconds limit() { return std::chrono::seconds(is_long() ? 600 : 60); }
u64 ns_since(Clock::time_point begin) { return u64((Clock::now() - begin) / std::chrono::nanoseconds(1)); }

/// 32 bits in instructions of 16: ra = value, through rb.
std::vector<u32> load_constant(u8 a, u8 b, u32 value) {
  return {li(a, i16(value >> 16)), insn(kSlli, a, a, 16), li(b, i16(value >> 1 & 0x7fff)), insn(kSlli, b, b, 1),
          insn(kAdd, a, a, b), insn(kAddi, a, a, i8(value & 1))};
}

void put(ToyMachine& m, u64& at, const std::vector<u32>& code) {
  m.ram->write(at, code.data(), code.size() * 4);
  at += code.size() * 4;
}

/// CPU 0 meets ever new blocks; each page's second half takes stores of the other CPUs all the while.
TEST(SmpStorm, BlocksAreTranslatedWhileOthersStoreIntoTheirPages) {
  constexpr u32 kBase = 0x100000, kBlocksInPage = 256;
  const u64 pages = count(24, 274), blocks = pages * kBlocksInPage;  // 274 pages: 70,144 blocks
  ToyMachine m(Engine::Jit, kCpus);
  std::vector<u32> page;
  for (u32 i = 0; i < kBlocksInPage; ++i) page.insert(page.end(), {insn(kAddi, 2, 2, 1), insn(kJr, 5)});
  for (u64 p = 0; p < pages; ++p) m.ram->write(kBase + p * 4096, page.data(), page.size() * 4);

  // CPU 0. r7 = pages left, r1 = blocks left in the page, r3 = block, r2 = executed, r0 = 0
  u64 at = kCode;
  put(m, at, load_constant(3, 1, kBase));
  put(m, at, {li(0, 0), li(2, 0), li(7, i16(pages))});
  const u64 next_page = at;
  put(m, at, {li(1, kBlocksInPage)});
  const u64 again = at;
  put(m, at, {li(5, i16(at + 8)), insn(kJr, 3)});
  put(m, at, {insn(kAddi, 3, 3, 8), insn(kAddi, 1, 1, -1)});
  put(m, at, {insn(kBne, 1, 0, i8((i64(again) - i64(at)) / 4))});
  put(m, at, {li(4, 0x800), insn(kAdd, 3, 3, 4), insn(kAddi, 7, 7, -1)});
  put(m, at, {insn(kBne, 7, 0, i8((i64(next_page) - i64(at)) / 4))});
  put(m, at, {li(4, 0x7000), li(3, 1), insn(kSt, 3, 4, 0), insn(kSys, 0, 0, kStop)});

  // The others: r2 = pass; each word is as this CPU left it, until CPU 0 says that it is done.
  for (unsigned c = 1; c < kCpus; ++c) {
    at = 0x2000 + c * 0x400;
    put(m, at, {li(0, 0), li(2, 0)});
    const u64 pass = at;
    put(m, at, load_constant(3, 1, kBase + 0x800 + c * 64));
    put(m, at, {li(1, i16(pages)), insn(kAddi, 2, 2, 1), li(5, 0x1000)});
    const u64 store = at;
    put(m, at, {insn(kLd, 4, 3, 0), insn(kAddi, 4, 4, 1)});
    put(m, at, {insn(kBne, 4, 2, 10)});  // to the trap
    put(m, at, {insn(kSt, 2, 3, 0), insn(kAdd, 3, 3, 5), insn(kAddi, 1, 1, -1)});
    put(m, at, {insn(kBne, 1, 0, i8((i64(store) - i64(at)) / 4)), li(4, 0x7000), insn(kLd, 4, 4, 0)});
    put(m, at, {insn(kBne, 4, 0, 2), insn(kJump, 0, 0, i8((i64(pass) - i64(at) - 4) / 4)), insn(kSys, 0, 0, kStop)});
    put(m, at, {insn(kTrap, 0, 0, -1)});
    m.cpu(c).restart(0x2000 + c * 0x400);
  }
  m.cpu(0).restart(kCode);
  const auto begin = Clock::now();
  m.start();
  ASSERT_TRUE(m.wait(limit()));
  const u64 ns = ns_since(begin);
  EXPECT_EQ(m.reg(2), blocks);
  u64 stores = 0;
  for (unsigned c = 0; c < kCpus; ++c) {
    EXPECT_EQ(m.cpu(c).traps, 0u) << c;
    if (c == 0) continue;
    for (u64 p = 0; p < pages; ++p) ASSERT_EQ(m.word(kBase + p * 4096 + 0x800 + c * 64), m.reg(2, c));
    stores += m.reg(2, c) * pages;
  }
  const accel::VcpuStatistics& s = m.statistics(0);
  EXPECT_GE(s.translations.get() + s.single_steps.get(), blocks);  // single steps: the lock was taken
  fmt::print(
      "publication: {} blocks in {} ms beside {} stores; publish mean {} ns ({} interrupted), translation {} ns; "
      "cache lock found taken, and not waited for, {} times\n",
      blocks, ns / 1000000, stores, s.publish_ns.get() / s.translations.get(), s.publish_interrupted.get(),
      s.translate_ns.get() / s.translations.get(), m.accel().blocks().statistics().lock_taken.load());
}

/// Every CPU patches a function of its own and calls it; all four functions lie on one page.
TEST(SmpStorm, SelfModifiedCodeOnASharedPageIsNeverStale) {
  const u64 rounds = count(400, 20000);
  ToyMachine m(Engine::Jit, kCpus);
  for (unsigned c = 0; c < kCpus; ++c) {
    const i16 function = i16(0x3000 + c * 0x40), data = i16(0x5000 + c * 0x40), code = i16(0x2000 + c * 0x400);
    m.load(u64(function), {li(1, 0), insn(kJr, 5)});
    m.poke(u64(data), li(1, 1));
    m.poke(u64(data) + 8, u64(1) << 16);  // added to the instruction: its constant grows by one
    u64 at = u64(code);
    put(m, at, {li(0, 0), li(2, 1), li(3, function), li(4, data), li(7, i16(rounds + 1))});
    const u64 again = at;
    put(m, at, {insn(kLd, 6, 4, 0), insn(kSt32, 6, 3, 0)});
    put(m, at, {li(5, i16(at + 8)), insn(kJr, 3)});
    put(m, at,
        {insn(kBne, 1, 2, 8), insn(kLd, 5, 4, 8), insn(kAdd, 6, 6, 5), insn(kSt, 6, 4, 0), insn(kAddi, 2, 2, 1)});
    put(m, at, {insn(kBne, 2, 7, i8((i64(again) - i64(at)) / 4)), insn(kSys, 0, 0, kStop), insn(kNop)});
    put(m, at, {insn(kTrap, 0, 0, -1)});
    m.cpu(c).restart(u64(code));
  }
  const auto begin = Clock::now();
  m.start();
  ASSERT_TRUE(m.wait(limit()));
  const u64 ns = ns_since(begin);
  u64 restarts = 0;
  for (unsigned c = 0; c < kCpus; ++c) {
    EXPECT_EQ(m.cpu(c).traps, 0u) << c;
    EXPECT_EQ(m.reg(2, c), rounds + 1) << c;
    restarts += m.statistics(c).restarts.get();
  }
  fmt::print("self-modified code: {} patches and calls in {} ms, {} ns each; {} blocks invalidated, {} restarts\n",
             rounds * kCpus, ns / 1000000, ns / (rounds * kCpus),
             m.accel().blocks().statistics().invalidated_blocks.get(), restarts);
}

/// CPUs 0 and 1, and 2 and 3, wake each other out of HLT in turn. A lost wake-up stops the game.
TEST(SmpStorm, HaltedCpusWakeEachOther) {
  const u64 rounds = count(2000, 30000);  // each way
  ToyMachine m(Engine::Jit, kCpus);
  m.on_write = [&](u64 offset, u64) { m.cpu(unsigned(offset / 8)).set_interrupt(true); };
  for (unsigned c = 0; c < kCpus; ++c) {
    const u64 handler = 0x2000 + c * 0x100, code = 0x3000 + c * 0x100;
    m.cpu(c).state().irq_handler = handler;
    m.load(handler, {insn(kAddi, 1, 1, -1), insn(kSt, 1, 3, i8((c ^ 1) * 8)), insn(kBne, 1, 0, 2),
                     insn(kSys, 0, 0, kStop), insn(kSys, 0, 0, kReturn)});
    m.load(code, {li(0, 0), li(3, 1), insn(kSlli, 3, 3, 23), li(1, i16(rounds)), insn(kSys, 0, 0, kEnable),
                  insn(kSys, 0, 0, kHalt), insn(kJump, 0, 0, -1)});
    m.cpu(c).restart(code);
  }
  const auto begin = Clock::now();
  m.start();
  m.cpu(0).set_interrupt(true);
  m.cpu(2).set_interrupt(true);
  const bool ended = m.wait(limit());
  const u64 ns = ns_since(begin);
  for (unsigned c = 0; c < kCpus; ++c) EXPECT_EQ(m.cpu(c).interrupts.load(), rounds) << "lost wake-up, cpu " << c;
  ASSERT_TRUE(ended);
  fmt::print("halt and wake: {} wake-ups in {} ms, {} ns each\n", 4 * rounds, ns / 1000000, ns / (4 * rounds));
  m.on_write = nullptr;
}

/// How much processor time a CPU in a loop uses from a kick until it takes the interrupt: what it waits for a host
/// processor is not the translator's.
TEST(SmpStorm, KickedCpuLeavesItsLoopSoon) {
  const u64 kicks = count(100, 1000);  // each may wait for a host processor
  ToyMachine m(Engine::Jit, kCpus);
  std::vector<u64> cpu_ns, wall_ns, undisturbed_ns;
  std::atomic<u64> taken{0};
  pthread_t thread{};
  timespec used{};
  Clock::time_point arrived;
  m.cpu(0).on_event = [&] {
    thread = pthread_self();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    arrived = Clock::now();
    taken.fetch_add(1);
  };
  m.load(0x2000, {insn(kSys, 0, 0, kReturn)});
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kAddi, 1, 1, 1), insn(kLd, 2, 3, 0), insn(kJump, 0, 0, -2)});
  m.load(0x5000, {insn(kSys, 0, 0, kStop)});
  for (unsigned c = 0; c < kCpus; ++c) {
    m.cpu(c).state().irq_handler = 0x2000;
    m.cpu(c).state().reg[3] = 0x4000;
    m.cpu(c).restart(c == 0 || is_long() ? kCode : 0x5000);  // in the short form the others do not take its processor
  }
  m.start();
  const auto ns = [](const timespec& t) { return u64(t.tv_sec) * 1000000000 + u64(t.tv_nsec); };
  const auto wait_for = [&](u64 n) {
    const auto begin = Clock::now();
    while (taken.load() < n && Clock::now() - begin < std::chrono::seconds(20)) std::this_thread::yield();
    return taken.load() >= n;
  };
  m.cpu(0).set_interrupt(true);
  ASSERT_TRUE(wait_for(1));
  clockid_t clock;
  ASSERT_EQ(pthread_getcpuclockid(thread, &clock), 0);
  for (u64 k = 0; k < kicks; ++k) {
    timespec before{};
    ASSERT_EQ(clock_gettime(clock, &before), 0);
    const auto kicked = Clock::now();
    m.cpu(0).set_interrupt(true);
    ASSERT_TRUE(wait_for(k + 2)) << "lost kick";
    cpu_ns.push_back(ns(used) - std::min(ns(used), ns(before)));
    wall_ns.push_back(u64((arrived - kicked) / std::chrono::nanoseconds(1)));
    // Neither thread lost its processor in between.
    if (wall_ns.back() < cpu_ns.back() + 5000) undisturbed_ns.push_back(wall_ns.back());
  }
  m.accel().pause_all();
  std::sort(cpu_ns.begin(), cpu_ns.end());
  std::sort(wall_ns.begin(), wall_ns.end());
  fmt::print(
      "kick to exit: {} kicks, processor time median {} ns, p99 {} ns, most {} ns; elapsed median {} ns, p99 {} ns\n",
      kicks, cpu_ns[kicks / 2], cpu_ns[kicks * 99 / 100], cpu_ns.back(), wall_ns[kicks / 2], wall_ns[kicks * 99 / 100]);
  std::sort(undisturbed_ns.begin(), undisturbed_ns.end());
  if (const size_t n = undisturbed_ns.size(); n != 0) {
    fmt::print("  of which undisturbed by the host: {}, elapsed median {} ns, p99 {} ns\n", n, undisturbed_ns[n / 2],
               undisturbed_ns[n * 99 / 100]);
  }
}

/// Every CPU moves a mapping of its own by a device write, now and then unplugging it, and the next instruction must
/// see the new place; every move makes all four drop their translations.
TEST(SmpStorm, MovedAndUnpluggedMappingsAreSeenAtOnce) {
  const u64 moves = count(2000, 250000);  // by each CPU: a million in all
  ToyMachine m(Engine::Jit, kCpus);
  struct Bar {
    mem::RamRef ram;
    mem::RegionRef region;
    u64 plugs = 0;
  } bars[kCpus];
  const auto plug = [&](unsigned c) {
    bars[c].region = mem::Region::ram(m.memory(), fmt::format("bar{}", c), bars[c].ram);
    bars[c].region->set_enabled(false);
    m.root()->add(0x10000 + c * 0x1000, bars[c].region, 1);
  };
  {
    mem::MachineLockScope lock(m.memory().lock());
    for (unsigned c = 0; c < kCpus; ++c) {
      auto ram = m.memory().make_ram(fmt::format("bar{}", c), 0x1000);
      ASSERT_TRUE(ram);
      bars[c].ram = *ram;
      const u64 v = 1000 + c;
      bars[c].ram->write(0, &v, 8);
      m.poke(0x10000 + c * 0x1000, 2000 + c);
      plug(c);
    }
  }
  m.on_write = [&](u64 offset, u64 value) {
    Bar& bar = bars[offset / 8];
    if (value == 0 && ++bar.plugs % 16 == 0) {
      m.root()->remove(*bar.region);
      plug(unsigned(offset / 8));
      return;
    }
    bar.region->set_enabled(value != 0);
  };
  for (unsigned c = 0; c < kCpus; ++c) {
    u64 at = 0x2000 + c * 0x200;
    m.poke(0x4000 + c * 64, 1000 + c);
    m.poke(0x4008 + c * 64, 2000 + c);
    const u64 start = at;
    put(m, at, load_constant(2, 1, 0x10000 + c * 0x1000));
    put(m, at, load_constant(7, 1, u32(moves / 2)));
    put(m, at, {li(3, 1), insn(kSlli, 3, 3, 23), li(4, i16(0x4000 + c * 64)), li(0, 0)});
    const u64 again = at;
    put(m, at, {li(1, 1), insn(kSt, 1, 3, i8(c * 8)), insn(kLd, 5, 2, 0), insn(kLd, 6, 4, 0)});
    put(m, at, {insn(kBne, 5, 6, 8)});
    put(m, at, {insn(kSt, 0, 3, i8(c * 8)), insn(kLd, 5, 2, 0), insn(kLd, 6, 4, 8)});
    put(m, at, {insn(kBne, 5, 6, 4), insn(kAddi, 7, 7, -1)});
    put(m, at, {insn(kBne, 7, 0, i8((i64(again) - i64(at)) / 4)), insn(kSys, 0, 0, kStop)});
    put(m, at, {insn(kTrap, 0, 0, -1)});
    m.cpu(c).restart(start);
  }
  const auto begin = Clock::now();
  m.start();
  const bool ended = m.wait(limit());
  const u64 ns = ns_since(begin);
  for (unsigned c = 0; c < kCpus; ++c) EXPECT_EQ(m.cpu(c).traps, 0u) << c;
  ASSERT_TRUE(ended);
  u64 flushes = 0;
  for (unsigned c = 0; c < kCpus; ++c) flushes += m.statistics(c).flush_requests.get();
  fmt::print("moved mappings: {} publications in {} ms, {} ns each; {} flush requests applied\n", moves * kCpus,
             ns / 1000000, ns / (moves * kCpus), flushes);
  m.on_write = nullptr;
  mem::MachineLockScope lock(m.memory().lock());
  for (Bar& bar : bars) {
    m.root()->remove(*bar.region);
    bar.region.reset();
    bar.ram.reset();
  }
}

}  // namespace
}  // namespace emu::toy
