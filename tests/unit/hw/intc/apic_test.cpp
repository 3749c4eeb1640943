// SPDX-License-Identifier: Apache-2.0
// Local APIC and I/O APIC, alone and together.
#include <gtest/gtest.h>

#include "hw/intc/ioapic.h"
#include "hw/intc/local_apic.h"
#include "support/device_bench.h"
#include "support/saved_fields.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;
using test::BenchMachine;
using test::DeviceBench;

struct FakeCpu final : target::CpuSignals {
  void set_interrupt(bool level) override { interrupt = level; }
  void nmi() override { nmis++; }
  void smi() override { smis++; }
  void init() override { inits++; }
  void startup(u8 vector) override { starts.push_back(vector); }
  bool interrupt = false;
  unsigned nmis = 0, smis = 0, inits = 0;
  std::vector<u8> starts;
};

struct FakePic final : ExternalVectorSource {
  u8 acknowledge() override { return 0x33; }
};

/// What a LocalApic is wired to; made before the bench, so that it outlives it.
struct Wiring {
  ApicBus bus;
  FakeCpu cpu;
  FakePic pic;
};

struct ApicBench : Wiring, DeviceBench<LocalApic> {
  explicit ApicBench(u32 id = 0)
      : DeviceBench<LocalApic>({}, [this, id](LocalApic& apic, BenchMachine& machine) {
          apic.wire(bus, cpu, id, /*boot_cpu=*/true, machine.system_memory().root(), &pic);
          bus.add(apic);
        }) {}
  void enable() { write32(LocalApic::SVR, 0x1ff); }
  void fixed(u8 vector, bool level = false) {
    bus.deliver({.destination = 0, .vector = vector, .level_triggered = level});
  }
};

TEST(LocalApic, RegistersAfterReset) {
  ApicBench apic;
  EXPECT_EQ(apic.read32(LocalApic::ID), 0u);
  EXPECT_EQ(apic.read32(LocalApic::VERSION) & 0xff, 0x14u);
  EXPECT_EQ(apic.read32(LocalApic::SVR), 0xffu);
  EXPECT_EQ(apic.read32(LocalApic::LVT_LINT0), 0x1'0000u);
  EXPECT_EQ(apic.read32(LocalApic::DFR), ~0u);
  u64 base = 0;
  ASSERT_TRUE(apic->read_register(0x1b, base));
  EXPECT_EQ(base, 0xfee0'0900u);
}

TEST(LocalApic, FixedMessageIsServedOnceEnabled) {
  ApicBench apic;
  apic.fixed(0x40);
  EXPECT_FALSE(apic.cpu.interrupt);
  apic.enable();
  apic.fixed(0x40);
  EXPECT_TRUE(apic.cpu.interrupt);
  EXPECT_EQ(apic->acknowledge(), 0x40);
  EXPECT_FALSE(apic.cpu.interrupt);
  EXPECT_EQ(apic.read32(LocalApic::ISR + 0x20), 1u);
  apic.write32(LocalApic::EOI, 0);
  EXPECT_EQ(apic.read32(LocalApic::ISR + 0x20), 0u);
}

TEST(LocalApic, TaskPriorityHoldsLowerClassesBack) {
  ApicBench apic;
  apic.enable();
  apic->set_task_priority(5);
  EXPECT_EQ(apic.read32(LocalApic::TPR), 0x50u);
  apic.fixed(0x5f);
  EXPECT_FALSE(apic.cpu.interrupt);
  apic.fixed(0x60);
  EXPECT_TRUE(apic.cpu.interrupt);
  EXPECT_EQ(apic->acknowledge(), 0x60);
  apic->set_task_priority(0);
  EXPECT_FALSE(apic.cpu.interrupt);  // 0x60 is in service
  apic.write32(LocalApic::EOI, 0);
  EXPECT_TRUE(apic.cpu.interrupt);
}

TEST(LocalApic, OneShotTimerFiresOnce) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::TIMER_DIVIDE, 0xb);
  apic.write32(LocalApic::LVT_TIMER, 0x41);
  apic.write32(LocalApic::TIMER_INITIAL, 1000);
  apic.advance(400ns);
  EXPECT_EQ(apic.read32(LocalApic::TIMER_CURRENT), 600u);
  EXPECT_FALSE(apic.cpu.interrupt);
  apic.advance(600ns);
  EXPECT_EQ(apic->acknowledge(), 0x41);
  apic.write32(LocalApic::EOI, 0);
  apic.advance(10us);
  EXPECT_FALSE(apic.cpu.interrupt);
  EXPECT_EQ(apic.read32(LocalApic::TIMER_CURRENT), 0u);
}

TEST(LocalApic, OneShotThatRanOutUnservedIsNotLostWhenTheGuestTouchesTheTimer) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::TIMER_DIVIDE, 0xb);
  apic.write32(LocalApic::LVT_TIMER, 0x41);
  apic.write32(LocalApic::TIMER_INITIAL, 1000);
  Clock& clock = apic.machine().clock();
  clock.set_now(clock.now() + 2us);  // the thread that runs timers has not come to that yet
  apic.write32(LocalApic::TIMER_DIVIDE, 0x3);
  EXPECT_EQ(apic.read32(LocalApic::TIMER_CURRENT), 0u);
  EXPECT_FALSE(apic.cpu.interrupt);
  apic.advance(0ns);
  EXPECT_EQ(apic->acknowledge(), 0x41);
}

TEST(LocalApic, PeriodicTimerKeepsFiring) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::TIMER_DIVIDE, 0x3);  // by 16
  apic.write32(LocalApic::LVT_TIMER, 0x2'0041);
  apic.write32(LocalApic::TIMER_INITIAL, 100);
  for (unsigned i = 0; i < 3; i++) {
    apic.advance(1600ns);
    ASSERT_EQ(apic->acknowledge(), 0x41) << i;
    apic.write32(LocalApic::EOI, 0);
  }
}

TEST(LocalApic, TscDeadlineFiresAndClears) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::LVT_TIMER, 0x4'0042);
  ASSERT_TRUE(apic->write_register(0x6e0, 5000));
  apic.advance(4us);
  EXPECT_FALSE(apic.cpu.interrupt);
  apic.advance(2us);
  EXPECT_EQ(apic->acknowledge(), 0x42);
  u64 deadline = 1;
  ASSERT_TRUE(apic->read_register(0x6e0, deadline));
  EXPECT_EQ(deadline, 0u);
}

TEST(LocalApic, Lint0BringsTheOldControllersVector) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::LVT_LINT0, 0x700);
  apic.set_irq_in("lint0", true);
  EXPECT_TRUE(apic.cpu.interrupt);
  EXPECT_EQ(apic->acknowledge(), 0x33);
  apic.set_irq_in("lint0", false);
  EXPECT_FALSE(apic.cpu.interrupt);
  EXPECT_FALSE(apic->acknowledge().has_value());
}

TEST(LocalApic, Lint1IsAnNmi) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::LVT_LINT1, 0x400);
  apic.set_irq_in("lint1", true);
  EXPECT_EQ(apic.cpu.nmis, 1u);
}

TEST(LocalApic, InterprocessorMessagesReachTheCpu) {
  ApicBench apic(3);
  apic.enable();
  apic.write32(LocalApic::ICR_HIGH, 3u << 24);
  apic.write32(LocalApic::ICR_LOW, 0x4500);    // INIT, assert
  apic.write32(LocalApic::ICR_LOW, 0x4699);    // startup at page 0x99
  apic.write32(LocalApic::ICR_LOW, 0x4'4050);  // fixed to self
  EXPECT_EQ(apic.cpu.inits, 1u);
  EXPECT_EQ(apic.cpu.starts, std::vector<u8>{0x99});
  EXPECT_EQ(apic->acknowledge(), 0x50);
}

TEST(LocalApic, X2apicModeUsesMsrs) {
  ApicBench apic(0x123);
  apic.enable();
  ASSERT_TRUE(apic->write_register(0x1b, 0xfee0'0000 | 0xc00));
  u64 value = 0;
  ASSERT_TRUE(apic->read_register(0x802, value));
  EXPECT_EQ(value, 0x123u);
  ASSERT_TRUE(apic->read_register(0x80d, value));
  EXPECT_EQ(value, 0x12'0008u);
  EXPECT_TRUE(apic->write_register(0x83f, 0x77));  // self IPI
  EXPECT_EQ(apic->acknowledge(), 0x77);
  EXPECT_FALSE(apic->write_register(0x80b, 1));  // EOI takes only zero
  EXPECT_TRUE(apic->write_register(0x80b, 0));
  EXPECT_FALSE(apic->read_register(0x80b, value));
  EXPECT_FALSE(apic->write_register(0x1b, 0xfee0'0000 | 0x800));  // back to xAPIC is not allowed
}

TEST(LocalApic, LogicalDestinationsInFlatAndClusterMode) {
  ApicBench apic;
  apic.write32(LocalApic::LDR, 0x0400'0000);
  EXPECT_TRUE(apic->is_addressed(0x06, true));
  EXPECT_FALSE(apic->is_addressed(0x03, true));
  apic.write32(LocalApic::DFR, 0x0fff'ffff);
  apic.write32(LocalApic::LDR, 0x2400'0000);
  EXPECT_TRUE(apic->is_addressed(0x24, true));
  EXPECT_FALSE(apic->is_addressed(0x14, true));
}

TEST(LocalApic, ErrorStatusTellsOfMissingRegisters) {
  ApicBench apic;
  apic.read32(0x3a0);
  apic.write32(LocalApic::ESR, 0);
  EXPECT_EQ(apic.read32(LocalApic::ESR), 0x80u);
  apic.write32(LocalApic::ESR, 0);
  EXPECT_EQ(apic.read32(LocalApic::ESR), 0u);
}

TEST(LocalApic, DisablingMasksTheVectorTable) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::LVT_TIMER, 0x41);
  apic.write32(LocalApic::SVR, 0xff);
  EXPECT_EQ(apic.read32(LocalApic::LVT_TIMER), 0x1'0041u);
}

TEST(LocalApic, StateSurvivesARoundTrip) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::TIMER_DIVIDE, 0xb);
  apic.write32(LocalApic::LVT_TIMER, 0x41);
  apic.write32(LocalApic::TIMER_INITIAL, 1000);
  apic.fixed(0x60);
  apic.expect_round_trip();
  EXPECT_EQ(apic->acknowledge(), 0x60);
  apic.write32(LocalApic::EOI, 0);
  apic.advance(1us);
  EXPECT_EQ(apic->acknowledge(), 0x41);
}

// I/O APIC. ----------------------------------------------------------------------------------------------------------

struct IoBench : Wiring, DeviceBench<LocalApic> {
  IoBench()
      : DeviceBench<LocalApic>({}, [this](LocalApic& apic, BenchMachine& machine) {
          apic.wire(bus, cpu, 0, true, machine.system_memory().root(), nullptr);
          bus.add(apic);
        }) {
    write32(LocalApic::SVR, 0x1ff);
  }
};

struct IoApicBench : IoBench, DeviceBench<IoApic> {
  using Io = DeviceBench<IoApic>;
  IoApicBench() : Io({}, [this](IoApic& io, BenchMachine&) { io.wire(bus); }) {}
  void select(u8 index) { Io::write32(IoApic::IOREGSEL, index); }
  u32 get(u8 index) {
    select(index);
    return Io::read32(IoApic::IOWIN);
  }
  void set(u8 index, u32 value) {
    select(index);
    Io::write32(IoApic::IOWIN, value);
  }
  void pin(unsigned number, bool level) { Io::set_irq_in("irq", level, number); }
  LocalApic& local() { return DeviceBench<LocalApic>::device(); }
  void eoi() { DeviceBench<LocalApic>::write32(LocalApic::EOI, 0); }
};

TEST(IoApic, RegistersHaveTheirMasks) {
  IoApicBench bench;
  EXPECT_EQ(bench.get(IoApic::IOAPICVER), 0x0017'0020u);
  bench.set(IoApic::IOAPICID, ~0u);
  EXPECT_EQ(bench.get(IoApic::IOAPICID), 0x0f00'0000u);
  EXPECT_EQ(bench.get(IoApic::IOREDTBL), 0x1'0000u);
  bench.set(IoApic::IOREDTBL, ~0u);
  EXPECT_EQ(bench.get(IoApic::IOREDTBL), 0x1'afffu);
  bench.set(IoApic::IOREDTBL + 1, ~0u);
  EXPECT_EQ(bench.get(IoApic::IOREDTBL + 1), 0xff00'0000u);
  EXPECT_EQ(bench.get(0x80), 0u);
}

TEST(IoApic, EdgeSendsOneMessage) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 8, 0x45);
  bench.pin(4, true);
  EXPECT_EQ(bench.local().acknowledge(), 0x45);
  bench.eoi();
  EXPECT_FALSE(bench.cpu.interrupt);
  bench.pin(4, true);
  EXPECT_FALSE(bench.cpu.interrupt);
  bench.pin(4, false);
  bench.pin(4, true);
  EXPECT_TRUE(bench.cpu.interrupt);
}

TEST(IoApic, LevelIsSentAgainAfterEoi) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x8050);
  bench.pin(11, true);
  EXPECT_EQ(bench.local().acknowledge(), 0x50);
  EXPECT_EQ(bench.get(IoApic::IOREDTBL + 2 * 11) & 0x4000, 0x4000u);
  bench.eoi();
  EXPECT_EQ(bench.local().acknowledge(), 0x50);
  bench.pin(11, false);
  bench.eoi();
  EXPECT_FALSE(bench.cpu.interrupt);
  EXPECT_EQ(bench.get(IoApic::IOREDTBL + 2 * 11) & 0x4000, 0u);
}

/// Ends interrupt after interrupt, the level never going away, until there is no next one; how many there were.
unsigned interrupts_in_a_row(IoApicBench& bench) {
  unsigned count = 0;
  while (bench.cpu.interrupt && count < 10'000) {
    EXPECT_EQ(bench.local().acknowledge(), 0x50);
    bench.eoi();
    count++;
  }
  return count;
}

TEST(IoApic, ALevelThatStaysIsGivenARest) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x8050);
  bench.pin(11, true);
  EXPECT_EQ(interrupts_in_a_row(bench), 100u);
  bench.Io::advance(std::chrono::microseconds(99));
  bench.pin(11, true);  // nothing new
  EXPECT_FALSE(bench.cpu.interrupt);
  bench.Io::advance(std::chrono::microseconds(1));
  EXPECT_TRUE(bench.cpu.interrupt);
  EXPECT_EQ(interrupts_in_a_row(bench), 100u);
  bench.pin(11, false);
  bench.pin(11, true);  // this is new
  EXPECT_TRUE(bench.cpu.interrupt);
}

TEST(IoApic, ALevelThatGoesAwayInItsRestIsForgotten) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x8050);
  bench.pin(11, true);
  interrupts_in_a_row(bench);
  bench.pin(11, false);
  bench.Io::advance(std::chrono::milliseconds(1));
  EXPECT_FALSE(bench.cpu.interrupt);
}

TEST(IoApic, ARestSurvivesARoundTrip) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x8050);
  bench.pin(11, true);
  interrupts_in_a_row(bench);
  bench.Io::expect_round_trip();
  EXPECT_FALSE(bench.cpu.interrupt);
  bench.Io::advance(std::chrono::milliseconds(1));
  EXPECT_TRUE(bench.cpu.interrupt);
}

TEST(IoApic, MaskedLevelIsSentWhenUnmasked) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x1'8050);
  bench.pin(11, true);
  EXPECT_FALSE(bench.cpu.interrupt);
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x8050);
  EXPECT_TRUE(bench.cpu.interrupt);
}

TEST(LocalApic, AfterALoadTheRegistersAreWhereTheBaseSays) {
  ApicBench apic;
  const auto version_at = [&](u64 base) {
    u64 value = 0;
    return apic.machine().system_memory().load(base + LocalApic::VERSION, 4, value) == mem::MemTxResult::Ok ? value : 0;
  };
  ASSERT_TRUE(apic->write_register(0x1b, 0xfec1'0900));
  const qom::FieldTree elsewhere = apic.save();
  ASSERT_TRUE(apic->write_register(0x1b, 0xfec1'0d00));
  const qom::FieldTree x2apic = apic.save();
  apic.reset();
  ASSERT_TRUE(apic.load(elsewhere).has_value());
  EXPECT_EQ(version_at(0xfee0'0000), 0u);
  EXPECT_EQ(version_at(0xfec1'0000) & 0xff, 0x14u);
  ASSERT_TRUE(apic.load(x2apic).has_value());
  EXPECT_EQ(version_at(0xfec1'0000), 0u);
}

TEST(LocalApic, RefusesStatesThatCannotBe) {
  ApicBench apic;
  apic.enable();
  apic.write32(LocalApic::LVT_TIMER, 0x2'0041);
  apic.write32(LocalApic::TIMER_INITIAL, 1000);
  Device& device = apic.device();
  for (const i64 start : {INT64_MIN, INT64_MAX}) {
    EXPECT_FALSE(test::load_with(device, "count_start_ns", start).has_value());
  }
  apic.reset();
  EXPECT_FALSE(test::load_with(device, "base", u64(0xfee0'0500)).has_value());
  apic.reset();
  EXPECT_FALSE(test::load_with(device, "divide", u64(0x10)).has_value());
  apic.reset();
  EXPECT_FALSE(test::load_with(device, "tpr", u64(0x100)).has_value());
}

TEST(IoApic, StateSurvivesARoundTrip) {
  IoApicBench bench;
  bench.set(IoApic::IOREDTBL + 2 * 11, 0x8050);
  bench.pin(11, true);
  bench.Io::expect_round_trip();
  EXPECT_EQ(bench.get(IoApic::IOREDTBL + 2 * 11), 0xc050u);
}

TEST(Msi, WriteBecomesAMessage) {
  ApicBench apic(2);
  apic.enable();
  apic.bus.deliver_msi(0xfee0'2000, 0x55);
  EXPECT_EQ(apic->acknowledge(), 0x55);
}

}  // namespace
}  // namespace emu::hw
