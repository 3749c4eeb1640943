// SPDX-License-Identifier: Apache-2.0
// 16550A and the debug port, with a stream that the test holds.
#include <gtest/gtest.h>

#include "hw/char/debugcon.h"
#include "hw/char/serial_16550.h"
#include "support/device_bench.h"

namespace emu::hw {
namespace {

using Reg = Serial16550::Reg;

class FakeStream final : public chardev::Chardev {
 public:
  FakeStream() : Chardev("fake") {}
  std::string description() const override { return "fake"; }
  void accept_input() override { accepted++; }
  void say(ChardevEvent event) { tell(event); }
  size_t send(std::string_view text) {
    const size_t room = std::min(frontend()->can_receive(), text.size());
    frontend()->receive({reinterpret_cast<const u8*>(text.data()), room});
    return room;
  }
  void drain() {
    capacity = ~size_t(0);
    frontend()->writable();
  }
  std::string out;
  size_t capacity = ~size_t(0);
  unsigned accepted = 0;

 protected:
  size_t do_write(std::span<const u8> data) override {
    const size_t taken = std::min(capacity, data.size());
    out.append(reinterpret_cast<const char*>(data.data()), taken);
    return taken;
  }
};

template <typename T>
struct StreamBench : test::DeviceBench<T> {
  StreamBench()
      : test::DeviceBench<T>({}, [this](T& device, test::BenchMachine& machine) {
          auto object = std::make_unique<ChardevObject>();
          auto owned = std::make_unique<FakeStream>();
          stream = owned.get();
          object->hold(std::move(owned));
          machine.tree().container("/chardevs").adopt("fake", std::move(object));
          EXPECT_TRUE(static_cast<Device&>(device).set("chardev", "fake").has_value());
        }) {}
  FakeStream* stream;
};

struct SerialBench : StreamBench<IsaSerial> {
  u8 get(u8 reg) { return read8(reg); }
  void put(u8 reg, u8 value) { write8(reg, value); }
  bool high() { return isa_irq(4).is_high(); }
};

TEST(Serial16550, RegistersAfterReset) {
  SerialBench uart;
  EXPECT_EQ(uart.get(Reg::IER), 0);
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0x01);
  EXPECT_EQ(uart.get(Reg::LCR), 0);
  EXPECT_EQ(uart.get(Reg::LSR), 0x60);
  EXPECT_FALSE(uart.high());
}

TEST(Serial16550, RegisterMasks) {
  SerialBench uart;
  uart.put(Reg::IER, 0xff);
  EXPECT_EQ(uart.get(Reg::IER), 0x0f);
  uart.put(Reg::MCR, 0xff);
  EXPECT_EQ(uart.get(Reg::MCR), 0x1f);
  uart.put(Reg::SCR, 0xa5);
  EXPECT_EQ(uart.get(Reg::SCR), 0xa5);
}

TEST(Serial16550, DivisorIsBehindDlab) {
  SerialBench uart;
  uart.put(Reg::LCR, 0x83);
  uart.put(Reg::RBR_THR, 0x34);
  uart.put(Reg::IER, 0x12);
  EXPECT_EQ(uart.get(Reg::RBR_THR), 0x34);
  EXPECT_EQ(uart.get(Reg::IER), 0x12);
  uart.put(Reg::LCR, 0x03);
  EXPECT_EQ(uart.get(Reg::IER), 0);
  EXPECT_TRUE(uart.stream->out.empty());
}

TEST(Serial16550, WrittenBytesReachTheStream) {
  SerialBench uart;
  uart.put(Reg::RBR_THR, 'o');
  uart.put(Reg::RBR_THR, 'k');
  EXPECT_EQ(uart.stream->out, "ok");
  EXPECT_EQ(uart.get(Reg::LSR), 0x60);
}

TEST(Serial16550, TransmitterInterruptComesWhenEnabledAndAfterEachByte) {
  SerialBench uart;
  uart.put(Reg::IER, 0x02);
  EXPECT_TRUE(uart.high());
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0x02);  // reading it clears it
  EXPECT_FALSE(uart.high());
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0x01);
  uart.put(Reg::RBR_THR, 'x');
  EXPECT_TRUE(uart.high());
}

TEST(Serial16550, SlowStreamStallsTheTransmitterOnly) {
  SerialBench uart;
  uart.put(Reg::IIR_FCR, 0x01);
  uart.stream->capacity = 0;
  uart.put(Reg::RBR_THR, 'a');
  uart.put(Reg::RBR_THR, 'b');
  EXPECT_EQ(uart.get(Reg::LSR) & 0x60, 0);
  uart.stream->drain();
  EXPECT_EQ(uart.stream->out, "ab");
  EXPECT_EQ(uart.get(Reg::LSR) & 0x60, 0x60);
}

TEST(Serial16550, ReceivedByteRaisesTheInterrupt) {
  SerialBench uart;
  uart.put(Reg::IER, 0x01);
  EXPECT_EQ(uart.stream->send("hi"), 1u);  // without FIFO there is room for one
  EXPECT_TRUE(uart.high());
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0x04);
  EXPECT_EQ(uart.get(Reg::LSR) & 1, 1);
  EXPECT_EQ(uart.get(Reg::RBR_THR), 'h');
  EXPECT_FALSE(uart.high());
  EXPECT_GE(uart.stream->accepted, 1u);
  EXPECT_EQ(uart.get(Reg::RBR_THR), 0);
}

TEST(Serial16550, FifoTakesSixteenAndTellsItsTrigger) {
  SerialBench uart;
  uart.put(Reg::IER, 0x01);
  uart.put(Reg::IIR_FCR, 0x41);  // trigger at four
  EXPECT_EQ(uart.stream->send("abc"), 3u);
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0xcc);  // time-out indication
  EXPECT_EQ(uart.stream->send("defghijklmnopqrst"), 13u);
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0xc4);
  for (char c = 'a'; c <= 'p'; c++) EXPECT_EQ(uart.get(Reg::RBR_THR), c);
  EXPECT_FALSE(uart.high());
}

TEST(Serial16550, LoopModeBringsBytesBack) {
  SerialBench uart;
  uart.put(Reg::MCR, 0x1a);
  uart.put(Reg::RBR_THR, 0x55);
  EXPECT_EQ(uart.get(Reg::RBR_THR), 0x55);
  EXPECT_TRUE(uart.stream->out.empty());
  EXPECT_EQ(uart.get(Reg::MSR) & 0xf0, 0x90);  // RTS and OUT2 on CTS and DCD
}

TEST(Serial16550, ModemLinesFollowTheStream) {
  SerialBench uart;
  uart.put(Reg::IER, 0x08);
  EXPECT_EQ(uart.get(Reg::MSR), 0xb0);  // the stream was open when it was attached
  uart.stream->say(ChardevEvent::Closed);
  EXPECT_TRUE(uart.high());
  EXPECT_EQ(uart.get(Reg::MSR), 0x0b);
  EXPECT_FALSE(uart.high());
  uart.stream->say(ChardevEvent::Opened);
  EXPECT_EQ(uart.get(Reg::MSR), 0xbb);
}

TEST(Serial16550, BreakIsALineError) {
  SerialBench uart;
  uart.put(Reg::IER, 0x04);
  uart.stream->say(ChardevEvent::Break);
  EXPECT_TRUE(uart.high());
  EXPECT_EQ(uart.get(Reg::IIR_FCR), 0x06);
  EXPECT_EQ(uart.get(Reg::LSR) & 0x11, 0x11);
  EXPECT_EQ(uart.get(Reg::LSR) & 0x10, 0);
}

TEST(Serial16550, StateSurvivesARoundTrip) {
  SerialBench uart;
  uart.put(Reg::IIR_FCR, 0x01);
  uart.put(Reg::IER, 0x01);
  uart.stream->send("kept");
  uart.expect_round_trip();
  EXPECT_TRUE(uart.high());
  EXPECT_EQ(uart.get(Reg::RBR_THR), 'k');
}

TEST(Serial16550, HeldInputComesOnceRoomIsMade) {
  SerialBench uart;
  EXPECT_EQ(uart.stream->send("abc"), 1u);  // without FIFO there is room for one; the stream holds the rest
  unsigned before = uart.stream->accepted;
  uart.put(Reg::IIR_FCR, 0x07);  // FIFOs on, and emptied
  EXPECT_GT(uart.stream->accepted, before);
  EXPECT_EQ(uart.stream->send("0123456789abcdefgh"), 16u);
  before = uart.stream->accepted;
  uart.put(Reg::IIR_FCR, 0x03);
  EXPECT_GT(uart.stream->accepted, before);
  uart.put(Reg::MCR, 0x10);
  EXPECT_EQ(uart.stream->send("a"), 0u);  // looped
  before = uart.stream->accepted;
  uart.put(Reg::MCR, 0x00);
  EXPECT_GT(uart.stream->accepted, before);
  EXPECT_EQ(uart.stream->send("0123456789abcdefgh"), 16u);
  before = uart.stream->accepted;
  reset_device(uart.device());
  EXPECT_GT(uart.stream->accepted, before);
}

TEST(IsaSerial, WithoutAnIndexTakesTheFirstThatIsFree) {
  test::DeviceBench<IsaSerial> bench;
  IsaSerial& second = place<IsaSerial>(bench.machine());
  ASSERT_TRUE(second.realize_on(bench.device().bus()).has_value());
  EXPECT_EQ(second.port(), 0x2f8);
  IsaSerial& third = place<IsaSerial>(bench.machine());
  ASSERT_TRUE(third.realize_on(bench.device().bus()).has_value());
  EXPECT_EQ(third.port(), 0x3e8);
}

TEST(IsaSerial, ThatIsRefusedLeavesItsStreamAlone) {
  SerialBench bench;
  auto object = std::make_unique<ChardevObject>();
  auto owned = std::make_unique<FakeStream>();
  FakeStream& stream = *owned;
  object->hold(std::move(owned));
  bench.machine().tree().container("/chardevs").adopt("other", std::move(object));
  Device& other = place<IsaSerial>(bench.machine());
  ASSERT_TRUE(other.set("chardev", "other").has_value());
  ASSERT_TRUE(other.set("irq", 16).has_value());
  EXPECT_FALSE(other.realize_on(bench.device().bus()).has_value());
  EXPECT_FALSE(stream.is_attached());
}

TEST(IsaSerial, IndexBeyondTheFourthIsRefused) {
  test::DeviceBench<IsaSerial> bench;
  Device& other = place<IsaSerial>(bench.machine());
  ASSERT_TRUE(other.set("index", 4).has_value());
  EXPECT_FALSE(other.realize_on(bench.device().bus()).has_value());
}

TEST(IsaDebugcon, BytesGoToTheStreamAndThePortTellsItIsThere) {
  StreamBench<IsaDebugcon> bench;
  EXPECT_EQ(bench.read8(0), 0xe9);
  bench.write8(0, '!');
  EXPECT_EQ(bench.stream->out, "!");
}

}  // namespace
}  // namespace emu::hw
