// SPDX-License-Identifier: Apache-2.0
// A machine with shared memory, a main loop and an accelerator, for devices that others serve.
#pragma once

#include <filesystem>

#include "../virtio_bench.h"
#include "chardev/chardev_options.h"
#include "chardev/socket_chardev.h"
#include "fake_backend.h"
#include "hw/char/chardev_object.h"
#include "hw/virtio/vhost/vhost_user_device.h"
#include "target/acceleration.h"

namespace emu::test {

/// Events that send messages are counted, and that is all that happens.
class FakeChips final : public target::InterruptChips {
 public:
  bool has_local_apics() const override { return false; }
  bool has_board_chips() const override { return false; }
  void send_msi(u64, u32) override {}
  void set_gsi(unsigned, bool) override {}
  void set_ioapic_routes(const std::array<Route, 24>&) override {}
  void reset() override {}
  void configure_as_firmware(u16) override {}
  void on_end_of_interrupt(std::function<void(u8)>) override {}
  Result<std::unique_ptr<target::EventInterrupt>> on_event_send(int, u64 address, u32 data) override {
    if (!can_send) return error("not here");
    sends.push_back({address, data});
    return std::unique_ptr<target::EventInterrupt>(std::make_unique<Sender>(*this));
  }
  struct Sender final : target::EventInterrupt {
    explicit Sender(FakeChips& chips) : owner(chips) { ++owner.alive; }
    ~Sender() override { --owner.alive; }
    Result<void> set_message(u64 address, u32 data) override {
      owner.sends.push_back({address, data});
      return {};
    }
    FakeChips& owner;
  };
  bool can_send = false;
  unsigned alive = 0;
  std::vector<std::pair<u64, u32>> sends;
};

class FakeBoard final : public qom::Object, public target::Accelerated, public target::Acceleration {
 public:
  target::Acceleration* acceleration() const override { return const_cast<FakeBoard*>(this); }
  std::array<u32, 4> host_cpuid(u32, u32) const override { return {}; }
  u64 host_feature_msr(u32) const override { return 0; }
  target::InterruptChips& chips() override { return fake_chips; }
  FakeChips fake_chips;
};

class VhostBench {
 public:
  enum class Ram { Shared, Private };
  enum class Accelerator { There, None };

  explicit VhostBench(Ram ram = Ram::Shared, Accelerator accelerator = Accelerator::There) {
    hw::register_core_types(registry);
    hw::register_virtio_core(registry);
    registry.add_abstract<hw::VhostUserDevice, hw::VirtioDevice>();
    hw::register_chardev_object(registry);
    registry.add<TestTransport>("test-transport");
    machine = std::make_unique<BenchMachine>(registry);
    machine->event_loop = &loop;
    machine->add_ram(0, kBenchRam, {.shared = ram == Ram::Shared});
    if (accelerator == Accelerator::There) {
      board = &machine->tree().container("/machine").adopt("board", std::make_unique<FakeBoard>());
    }
    path = (std::filesystem::temp_directory_path() / ("vhost-test-" + std::to_string(::getpid()) + ".sock")).string();
    auto stream = chardev::SocketChardev::create("c", {.path = path, .server = true, .wait = false}, loop);
    EMU_CHECK(stream.has_value());
    chardev = &machine->tree().container("/chardevs").adopt("c", std::make_unique<hw::ChardevObject>());
    chardev->hold(std::move(*stream));
  }
  ~VhostBench() {
    unplug();
    turn();
  }

  void turn() {
    do {
      machine->run_main_loop();
    } while (loop.run_once(false));
  }
  template <typename Done>
  bool wait_for(Done&& done) {
    for (unsigned i = 0; i < 5000; ++i) {
      turn();
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  void connect(FakeBackend& backend) {
    backend.connect(path);
    ASSERT_TRUE(wait_for([&] { return chardev->stream().is_open(); }));
  }

  using Properties = std::vector<std::pair<std::string, qom::PropertyValue>>;
  template <typename T>
  Result<T*> plug(const Properties& properties, std::function<void(T&)> before = {}) {
    if (registry.find(T::kDeviceType) == nullptr) registry.add<T>(T::kDeviceType);
    transport = &hw::place<TestTransport>(*machine);
    EMU_TRY(static_cast<hw::Device*>(transport)->realize_on(&machine->system_bus()));
    T& made = hw::place<T>(*machine);
    if (before) before(made);
    hw::Device& base = made;
    for (const auto& [name, value] : properties) EMU_TRY(static_cast<qom::Object&>(made).set(name, value));
    EMU_TRY(base.realize_on(&transport->slot()));
    device = &made;
    hw::reset_device(base);
    return &made;
  }
  void unplug() {
    if (device != nullptr) static_cast<hw::Device*>(std::exchange(device, nullptr))->unrealize_all();
  }

  /// See play_driver().
  void start(u64 wanted = ~u64(0)) {
    queues = play_driver(*device, machine->system_memory(), wanted);
    turn();
  }
  /// Has `text` turned into capitals; empty when that does not happen.
  std::string shout(u32 queue, const std::string& text) {
    constexpr u64 kFrom = 0x1000, kTo = 0x2000;
    EXPECT_EQ(machine->system_memory().write(kFrom, {reinterpret_cast<const u8*>(text.data()), text.size()}),
              mem::MemTxResult::Ok);
    queues.at(queue).add({{kFrom, u32(text.size())}, {kTo, 256, true}});
    device->kick(queue);
    std::vector<Used> used;
    if (!wait_for([&] { return !(used = queues[queue].take_used()).empty(); })) return "";
    std::string answer(used[0].length, '\0');
    EXPECT_EQ(machine->system_memory().read(kTo, {reinterpret_cast<u8*>(answer.data()), answer.size()}),
              mem::MemTxResult::Ok);
    return answer;
  }
  bool needs_reset() const { return (device->status() & hw::virtio::kNeedsReset) != 0; }
  void set_running(bool running) {
    for (hw::PowerListener* listener : std::vector(machine->power_listeners)) listener->run_state_changed(running);
  }

  EventLoop loop;
  qom::TypeRegistry registry;
  std::unique_ptr<BenchMachine> machine;
  FakeBoard* board = nullptr;
  TestTransport* transport = nullptr;
  hw::VirtioDevice* device = nullptr;
  hw::ChardevObject* chardev = nullptr;
  std::string path;
  std::vector<DriverQueue> queues;
};

}  // namespace emu::test
