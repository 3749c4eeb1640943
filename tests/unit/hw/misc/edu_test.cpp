// SPDX-License-Identifier: Apache-2.0
// The educational device, driven as a guest drives it: the example of docs/devel/pci.md.
#include <gtest/gtest.h>

#include "hw/misc/edu.h"
#include "unit/hw/pci/pci_bench.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;

constexpr u8 kDevfn = 3 << 3;
constexpr u64 kBar = 0xe000'0000;
constexpr u64 kMailbox = 0x2000;

class EduBench : public test::I440FxBench {
 public:
  EduBench() {
    types().add<Edu>("edu");
    edu_ = &place_function<Edu>("03.0");
    config_write(1 << 3, Piix3::PIRQRCA + 2, 11, 1);
    config_write(kDevfn, pci::BAR0, u32(kBar), 4);
    config_write(kDevfn, pci::COMMAND, pci::kCommandMemory | pci::kCommandMaster, 2);
  }
  u32 get(hwaddr reg) { return u32(load(kBar + reg, 4)); }
  void set(hwaddr reg, u64 value, unsigned size = 4) { store(kBar + reg, value, size); }
  void start_dma(u64 source, u64 destination, u64 count, u64 command) {
    set(Edu::DMA_SOURCE, source, 8);
    set(Edu::DMA_DESTINATION, destination, 8);
    set(Edu::DMA_COUNT, count, 8);
    set(Edu::DMA_COMMAND, command | Edu::kDmaStart, 8);
  }
  void advance(ClockNs time) {
    machine().clock().advance(time);
    machine().clock().main_queue().run_due();
  }
  bool irq() { return isa_irqs[11].is_high(); }
  Edu& edu() { return *edu_; }

 private:
  Edu* edu_;
};

TEST(Edu, IdentifiesItselfAndIsAlive) {
  EduBench bench;
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x11e8'1234u);
  EXPECT_EQ(bench.get(Edu::ID), 0x0100'00edu);
  bench.set(Edu::LIVENESS, 0x1234'5678);
  EXPECT_EQ(bench.get(Edu::LIVENESS), 0xedcb'a987u);
}

TEST(Edu, FactorialTakesTimeAndMayInterrupt) {
  EduBench bench;
  bench.set(Edu::STATUS, Edu::kInterruptWhenComputed);
  bench.set(Edu::FACTORIAL, 10);
  EXPECT_EQ(bench.get(Edu::STATUS), 0x81u);
  bench.advance(1ms);
  EXPECT_EQ(bench.get(Edu::FACTORIAL), 3628800u);
  EXPECT_EQ(bench.get(Edu::STATUS), 0x80u);
  EXPECT_EQ(bench.get(Edu::IRQ_STATUS), Edu::kFactorialDone);
  EXPECT_TRUE(bench.irq());
  bench.set(Edu::IRQ_ACK, Edu::kFactorialDone);
  EXPECT_FALSE(bench.irq());
}

TEST(Edu, LargeFactorialsAreZeroModulo2To32) {
  EduBench bench;
  bench.set(Edu::FACTORIAL, 0xffff'ffff);
  bench.advance(1ms);
  EXPECT_EQ(bench.get(Edu::FACTORIAL), 0u);
}

TEST(Edu, InterruptRegistersRaiseAndAcknowledge) {
  EduBench bench;
  bench.set(Edu::IRQ_RAISE, 0x30);
  EXPECT_TRUE(bench.irq());
  bench.set(Edu::IRQ_ACK, 0x10);
  EXPECT_TRUE(bench.irq());
  EXPECT_EQ(bench.get(Edu::IRQ_STATUS), 0x20u);
  bench.set(Edu::IRQ_ACK, 0x20);
  EXPECT_FALSE(bench.irq());
}

TEST(Edu, InterruptIsAMessageOnceTheGuestWantsIt) {
  EduBench bench;
  const u32 msi = bench.config_read(kDevfn, pci::CAPABILITY_LIST, 1);
  bench.config_write(kDevfn, msi + 4, kMailbox, 4);
  bench.config_write(kDevfn, msi + 12, 0x51, 2);
  bench.config_write(kDevfn, msi + 2, 1, 2);
  bench.set(Edu::IRQ_RAISE, 1);
  EXPECT_FALSE(bench.irq());
  EXPECT_EQ(bench.load(kMailbox, 4), 0x51u);
}

TEST(Edu, DmaCopiesBothWays) {
  EduBench bench;
  bench.store(0x1000, 0x1122'3344'5566'7788, 8);
  bench.start_dma(0x1000, Edu::kBuffer + 8, 8, 0);
  EXPECT_EQ(bench.get(Edu::DMA_COMMAND) & 1, 1u);
  bench.advance(1s);
  EXPECT_EQ(bench.get(Edu::DMA_COMMAND) & 1, 0u);
  bench.start_dma(Edu::kBuffer + 8, 0x3000, 8, Edu::kDmaToMemory | Edu::kDmaInterrupt);
  bench.advance(1s);
  EXPECT_EQ(bench.load(0x3000, 8), 0x1122'3344'5566'7788u);
  EXPECT_EQ(bench.get(Edu::IRQ_STATUS), Edu::kDmaDone);
}

TEST(Edu, DmaOutsideTheBufferDoesNothing) {
  EduBench bench;
  bench.store(0x3000, 0x55, 4);
  for (const auto& [address, count] : {std::pair<u64, u64>{Edu::kBuffer + 4090, 8}, {Edu::kBuffer - 1, 4},
                                       {Edu::kBuffer, 4097}, {~u64(0), 8}, {Edu::kBuffer, ~u64(0)}}) {
    bench.start_dma(address, 0x3000, count, Edu::kDmaToMemory);
    bench.advance(1s);
    EXPECT_EQ(bench.load(0x3000, 4), 0x55u);
  }
}

TEST(Edu, AddressesAreCutToTheMask) {
  EduBench bench;
  bench.store(0x1000, 0x77, 4);
  bench.start_dma(0xf000'1000, Edu::kBuffer, 4, 0);
  bench.advance(1s);
  bench.start_dma(Edu::kBuffer, 0x3000, 4, Edu::kDmaToMemory);
  bench.advance(1s);
  EXPECT_EQ(bench.load(0x3000, 4), 0x77u);
}

TEST(Edu, StateSurvivesARoundTrip) {
  EduBench bench;
  bench.set(Edu::LIVENESS, 5);
  bench.set(Edu::FACTORIAL, 5);
  bench.set(Edu::IRQ_RAISE, 2);
  Device& device = bench.edu();
  const qom::FieldTree saved = device.save();
  reset_device(device);
  EXPECT_FALSE(bench.irq());
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(device.save().dump(), saved.dump());
  EXPECT_TRUE(bench.irq());
  bench.advance(1ms);
  EXPECT_EQ(bench.get(Edu::FACTORIAL), 120u);
}

}  // namespace
}  // namespace emu::hw
