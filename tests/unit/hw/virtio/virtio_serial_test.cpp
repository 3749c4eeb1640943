// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_serial.h"

#include <random>

#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using test::Buffer;

/// Collects what is written, up to `room`.
class Pipe final : public chardev::Chardev {
 public:
  Pipe() : Chardev("pipe") {}
  std::string description() const override { return "test"; }
  bool is_open() const override { return open; }
  void accept_input() override { ++accepted; }
  void set_open(bool now) {
    open = now;
    tell(now ? chardev::ChardevEvent::Opened : chardev::ChardevEvent::Closed);
  }
  chardev::ChardevFrontend* front() const { return frontend(); }
  std::size_t bring(std::string_view text) {
    const std::size_t size = std::min(text.size(), frontend()->can_receive());
    if (size != 0) frontend()->receive({reinterpret_cast<const u8*>(text.data()), size});
    return size;
  }

  std::string written;
  std::size_t room = 1 << 20;
  bool open = true;
  unsigned accepted = 0;

 protected:
  std::size_t do_write(std::span<const u8> data) override {
    const std::size_t size = std::min(data.size(), room);
    written.append(reinterpret_cast<const char*>(data.data()), size);
    room -= size;
    return size;
  }
};

class SerialPorts : public testing::Test {
 protected:
  using Bench = test::VirtioBench<VirtioSerial>;
  static constexpr u64 kIn = 0x1000, kOut = 0x4000, kControl = 0x8000;
  enum : u16 { kReady = 0, kAdd = 1, kRemove = 2, kPortReady = 3, kConsole = 4, kOpen = 6, kName = 7 };

  void make(std::initializer_list<std::pair<std::string, qom::PropertyValue>> properties = {{"max_ports", 4}}) {
    bench.emplace(properties, [](VirtioSerial&, test::BenchMachine&) {}, [](qom::TypeRegistry& registry) {
      register_chardev_object(registry);
      register_virtio_serial_ports(registry);
    });
  }
  Result<Device*> plug(const char* type, const char* id, std::vector<std::pair<std::string, qom::PropertyValue>> more = {}) {
    auto& machine = bench->machine();
    auto& object = machine.tree().container("/chardevs").adopt(id, machine.tree().make<ChardevObject>());
    auto stream = std::make_unique<Pipe>();
    pipes[id] = stream.get();
    object.hold(std::move(stream));
    more.emplace_back("chardev", id);
    return plug_user_device(machine, type, id, more, nullptr);
  }
  void give_buffers(u32 queue, unsigned count = 8) {
    for (unsigned i = 0; i < count; ++i) bench->queues[queue].add({{kIn + 64 * i, 64, true}});
    bench->device().kick(queue);
    bench->machine().run_main_loop();
  }
  void tell(u32 port, u16 event, u16 value) {
    auto& memory = bench->memory();
    ASSERT_EQ(memory.write<Le32>(kControl, port), mem::MemTxResult::Ok);
    ASSERT_EQ(memory.write<Le16>(kControl + 4, event), mem::MemTxResult::Ok);
    ASSERT_EQ(memory.write<Le16>(kControl + 6, value), mem::MemTxResult::Ok);
    bench->submit(3, {{kControl, 8}});
    bench->queues[3].take_used();
  }
  /// Control messages that came: "port:event:value[text]".
  std::vector<std::string> heard() {
    std::vector<std::string> all;
    for (const auto& used : bench->queues[2].take_used()) {
      const u64 at = kIn + 64 * (next_control++);
      std::string text = fmt::format("{}:{}:{}", *bench->memory().read<Le32>(at), *bench->memory().read<Le16>(at + 4),
                                     *bench->memory().read<Le16>(at + 6));
      if (used.length > 8) text += bench->read(at + 8, used.length - 8);
      all.push_back(text);
    }
    return all;
  }
  void start() {
    bench->start();
    next_control = 0;
    give_buffers(2, 16);
  }
  void send(u32 queue, std::string_view text) {
    bench->write(kOut, text);
    bench->submit(queue, {{kOut, u32(text.size())}});
  }

  std::map<std::string, Pipe*> pipes;
  std::optional<Bench> bench;
  unsigned next_control = 0;
};

TEST_F(SerialPorts, TheDeviceHasTwoQueuesAPortAndTwoForControl) {
  make();
  EXPECT_EQ(bench->virtio().queue_count(), 10u);
  EXPECT_EQ(bench->config(4, 4), 4u);
  EXPECT_EQ(bench->virtio().offered_features() & 7, 6u);
  EXPECT_EQ(bench->device().child_buses().front()->name(), "virtio-serial-bus.0");
}

TEST_F(SerialPorts, ConsoleAndPortAreAnnouncedAsTheDriverAsks) {
  make();
  ASSERT_TRUE(plug("virtconsole", "c0").has_value());
  ASSERT_TRUE(plug("virtserialport", "p1", {{"name", "org.example"}}).has_value());
  start();
  tell(0xffff'ffff, kReady, 1);
  EXPECT_EQ(heard(), (std::vector<std::string>{"0:1:1", "1:1:1"}));
  tell(0, kPortReady, 1);
  EXPECT_EQ(heard(), (std::vector<std::string>{"0:4:1", "0:6:1"}));
  tell(1, kPortReady, 1);
  EXPECT_EQ(heard(), (std::vector<std::string>{"1:7:1org.example", "1:6:1"}));
}

TEST_F(SerialPorts, BytesGoBothWays) {
  make();
  ASSERT_TRUE(plug("virtserialport", "p1").has_value());
  start();
  send(5, "to the host");
  EXPECT_EQ(pipes["p1"]->written, "to the host");
  EXPECT_EQ(bench->queues[5].take_used().size(), 1u);
  give_buffers(4, 2);
  EXPECT_EQ(pipes["p1"]->bring("too early"), 0u);  // nobody has opened it
  tell(1, kOpen, 1);
  EXPECT_EQ(pipes["p1"]->bring("to the guest"), 12u);
  EXPECT_EQ(bench->queues[4].take_used().at(0).length, 12u);
  EXPECT_EQ(bench->read(kIn, 12), "to the guest");
  EXPECT_EQ(pipes["p1"]->bring("x"), 1u);
  EXPECT_EQ(pipes["p1"]->bring("y"), 0u);  // out of buffers
  const unsigned before = pipes["p1"]->accepted;
  give_buffers(4, 1);
  EXPECT_GT(pipes["p1"]->accepted, before);
  EXPECT_EQ(pipes["p1"]->bring("y"), 1u);
}

TEST_F(SerialPorts, ASlowStreamHoldsTheDriverUp) {
  make();
  ASSERT_TRUE(plug("virtserialport", "p1").has_value());
  start();
  pipes["p1"]->room = 4;
  send(5, "0123456789");
  EXPECT_TRUE(bench->queues[5].take_used().empty());
  pipes["p1"]->room = 100;
  pipes["p1"]->front()->writable();
  EXPECT_EQ(pipes["p1"]->written, "0123456789");
  EXPECT_EQ(bench->queues[5].take_used().size(), 1u);
}

TEST_F(SerialPorts, TheHostsEndIsReported) {
  make();
  ASSERT_TRUE(plug("virtserialport", "p1").has_value());
  start();
  pipes["p1"]->set_open(false);
  pipes["p1"]->set_open(true);
  EXPECT_EQ(heard(), (std::vector<std::string>{"1:6:0", "1:6:1"}));
}

TEST_F(SerialPorts, PortsComeAndGoWhileTheDriverRuns) {
  make();
  start();
  auto port = plug("virtserialport", "p1");
  ASSERT_TRUE(port.has_value());
  EXPECT_EQ(heard(), (std::vector<std::string>{"1:1:1"}));
  tell(1, kOpen, 1);
  give_buffers(4, 1);
  EXPECT_GT(pipes["p1"]->front()->can_receive(), 0u);  // holds a buffer
  destroy(**port);
  EXPECT_EQ(heard(), (std::vector<std::string>{"1:2:1"}));
  EXPECT_EQ(bench->queues[4].take_used().size(), 1u);
  send(5, "nobody");
  EXPECT_EQ(bench->queues[5].take_used().size(), 1u);
}

TEST_F(SerialPorts, NumbersAreCheckedAndGivenOut) {
  make();
  EXPECT_FALSE(plug("virtserialport", "a", {{"nr", 0}}).has_value());
  EXPECT_FALSE(plug("virtserialport", "b", {{"nr", 4}}).has_value());
  ASSERT_TRUE(plug("virtserialport", "c", {{"nr", 2}}).has_value());
  EXPECT_FALSE(plug("virtserialport", "d", {{"nr", 2}}).has_value());
  ASSERT_TRUE(plug("virtserialport", "e").has_value());
  ASSERT_TRUE(plug("virtserialport", "f").has_value());
  EXPECT_FALSE(plug("virtserialport", "g").has_value());  // 0 is for consoles
  ASSERT_TRUE(plug("virtconsole", "h").has_value());
  EXPECT_FALSE(plug("virtconsole", "i").has_value());
}

TEST_F(SerialPorts, WithoutMultiportPort0IsTheConsole) {
  make({{"max_ports", 1}});
  ASSERT_TRUE(plug("virtconsole", "c0").has_value());
  bench->start();
  send(1, "hello");
  EXPECT_EQ(pipes["c0"]->written, "hello");
  give_buffers(0, 1);
  EXPECT_EQ(pipes["c0"]->bring("in"), 2u);
  EXPECT_TRUE(bench->queues[2].take_used().empty());
}

TEST_F(SerialPorts, EmergencyOutputNeedsNoQueue) {
  make();
  ASSERT_TRUE(plug("virtconsole", "c0").has_value());
  bench->virtio().write_config(8, '!', 4);
  EXPECT_EQ(pipes["c0"]->written, "!");
}

TEST_F(SerialPorts, AResetGivesUpWhatIsHeld) {
  make();
  ASSERT_TRUE(plug("virtserialport", "p1").has_value());
  start();
  tell(1, kOpen, 1);
  give_buffers(4, 1);
  EXPECT_GT(pipes["p1"]->front()->can_receive(), 0u);
  pipes["p1"]->room = 0;
  send(5, "stuck");
  bench->virtio().write_status(0);
  EXPECT_EQ(bench->virtio().status(), 0u);
  EXPECT_EQ(pipes["p1"]->bring("x"), 0u);
  pipes["p1"]->front()->writable();
}

TEST_F(SerialPorts, ADriverThatTakesNoAnswersCostsNoMemory) {
  make();
  ASSERT_TRUE(plug("virtserialport", "p1", {{"name", "n"}}).has_value());
  bench->start();
  for (unsigned i = 0; i < 2000; ++i) tell(i % 6, u16(i % 9), u16(i % 2));
  give_buffers(2, 16);
  EXPECT_EQ(bench->queues[2].take_used().size(), 16u);
}

TEST_F(SerialPorts, SavedStateGoesOnInTheMiddleOfABuffer) {
  make();
  ASSERT_TRUE(plug("virtserialport", "p1").has_value());
  start();
  tell(1, kOpen, 1);
  pipes["p1"]->room = 4;
  send(5, "0123456789");
  auto& root = *bench->machine().tree().find("/machine");
  const auto saved = qom::save_tree(root);
  reset_all(root);
  auto loaded = qom::load_tree(root, saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  EXPECT_EQ(saved.dump(), qom::save_tree(root).dump());
  pipes["p1"]->room = 100;
  bench->machine().run_main_loop();
  EXPECT_EQ(pipes["p1"]->written, "0123456789");
  EXPECT_EQ(bench->queues[5].take_used().size(), 1u);
}

}  // namespace
}  // namespace emu::hw
