// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_rng.h"

#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;
using Bench = test::VirtioBench<VirtioRng>;
using test::Used;

/// Counts upwards, as far as it is allowed to.
class CountingRng final : public RngBackend {
 public:
  static void describe(qom::TypeInfo<CountingRng>& type) { type.doc("for tests"); }
  std::size_t read(std::span<u8> to) override {
    const std::size_t size = std::min(to.size(), available);
    for (std::size_t i = 0; i < size; ++i) to[i] = u8(next++);
    available -= size;
    return size;
  }
  std::size_t available = 1 << 30;
  unsigned next = 1;
};

std::unique_ptr<Bench> make(CountingRng*& rng, std::initializer_list<std::pair<std::string, qom::PropertyValue>> properties) {
  return std::make_unique<Bench>(
      properties,
      [&](VirtioRng& device, test::BenchMachine& machine) {
        rng = &machine.tree().container("/objects").adopt("rng0", machine.tree().make<CountingRng>());
        ASSERT_TRUE(static_cast<qom::Object&>(device).set("rng", "rng0").has_value());
      },
      [](qom::TypeRegistry& registry) {
        registry.add_abstract<qom::UserCreatable, qom::Object>();
        register_rng_backends(registry);
        registry.add<CountingRng>("rng-counting");
      });
}

TEST(VirtioRng, FillsBuffersFromItsSource) {
  CountingRng* rng = nullptr;
  const auto made = make(rng, {});
  Bench& bench = *made;
  EXPECT_TRUE(rng->is_in_use());
  bench.start();
  const u16 id = bench.submit(0, {{0x1000, 2, true}, {0x2000, 3, true}});
  EXPECT_EQ(bench.queues[0].take_used(), (std::vector<Used>{{id, 5}}));
  EXPECT_EQ(bench.read(0x1000, 2), "\x01\x02");
  EXPECT_EQ(bench.read(0x2000, 3), "\x03\x04\x05");
  EXPECT_EQ(bench.transport().queue_interrupts, 1u);
}

TEST(VirtioRng, WaitsForASourceThatHasNothing) {
  CountingRng* rng = nullptr;
  const auto made = make(rng, {});
  Bench& bench = *made;
  bench.start();
  rng->available = 0;
  const u16 id = bench.submit(0, {{0x1000, 4, true}});
  EXPECT_TRUE(bench.queues[0].take_used().empty());
  rng->available = 3;
  bench.machine().clock().advance(10ms);
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.queues[0].take_used(), (std::vector<Used>{{id, 3}}));
}

TEST(VirtioRng, GivesNoMoreThanItsQuotaInAPeriod) {
  CountingRng* rng = nullptr;
  const auto made = make(rng, {{"max-bytes", 6}, {"period", 100}});
  Bench& bench = *made;
  bench.start();
  const u16 a = bench.submit(0, {{0x1000, 4, true}});
  const u16 b = bench.submit(0, {{0x1000, 4, true}});
  const u16 c = bench.submit(0, {{0x1000, 4, true}});
  EXPECT_EQ(bench.queues[0].take_used(), (std::vector<Used>{{a, 4}, {b, 2}}));
  bench.machine().clock().advance(100ms);
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.queues[0].take_used(), (std::vector<Used>{{c, 4}}));
}

TEST(VirtioRng, ChainsWithoutRoomComeBackEmpty) {
  CountingRng* rng = nullptr;
  const auto made = make(rng, {});
  Bench& bench = *made;
  bench.start();
  const u16 id = bench.submit(0, {{0x1000, 4}});
  EXPECT_EQ(bench.queues[0].take_used(), (std::vector<Used>{{id, 0}}));
}

TEST(VirtioRng, TheHostsGeneratorIsTheDefaultAndUrandomWorks) {
  Bench bench;
  bench.start();
  bench.submit(0, {{0x1000, 64, true}});
  EXPECT_EQ(bench.queues[0].take_used().at(0).length, 64u);
  EXPECT_NE(bench.read(0x1000, 64), std::string(64, '\0'));
  RngRandom file;
  ASSERT_TRUE(file.complete().has_value());
  std::array<u8, 16> bytes{};
  EXPECT_EQ(file.read(bytes), 16u);
}

}  // namespace
}  // namespace emu::hw
