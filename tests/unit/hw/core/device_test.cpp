// SPDX-License-Identifier: Apache-2.0
#include "hw/core/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/device_bench.h"

namespace emu::hw {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using test::BenchMachine;
using test::DeviceBench;

/// An ISA part with byte registers of every kind, inputs and outputs.
class Widget : public IsaDevice {
 public:
  static void describe(TypeInfo<Widget>& type) {
    type.doc("a widget");
    type.category(Category::Input);
    type.property("iobase", &Widget::iobase_, "first port").hex();
    type.property("irq", &Widget::irq_number_, "ISA interrupt");
    type.property("broken", &Widget::broken_, "fail to realize");
    type.irq_out("irq", &Widget::irq_);
    type.irq_out("lines", &Widget::lines_);
    type.irq_in("in", 3, &Widget::set_input);
    type.registers("ports", 0x10, &Widget::state_)
        .reg(0, "DATA", &State::data, {.rw = 0xff, .wrote = &Widget::wrote})
        .reg(1, "STATUS", &State::status, {.w1c = 0x0f, .ro = 0xf0})
        .reg(2, "ID", {.read = &Widget::id_byte})
        .reg(3, "CMD", {.write = &Widget::command})
        .reg(4, "SET", &State::set, {.w1s = 0x3c})
        .regs(8, "BANK", 2, &State::bank, {.rw = 0x0fff})
        .access(1, 2)
        .unknown_reads_as(0xff);
    type.saved(1, &Widget::state_, &Widget::fields);
  }
  Result<void> realize() override {
    if (broken_) return error("widget: broken");
    map_ports("ports", iobase_);
    return connect_irq(irq_, irq_number_);
  }
  void reset_enter() override {
    state_ = {};
    events.push_back("enter");
  }
  void reset_hold() override { events.push_back("hold"); }
  void reset_exit() override { events.push_back("exit"); }

  struct State {
    u8 data = 0, status = 0xa5, set = 0;
    std::array<u16, 4> bank{};
  };
  State state_;
  std::vector<std::string> events;
  IrqLine irq_;

 private:
  static void fields(Archive& ar, State& s) {
    ar("data", s.data)("status", s.status)("set", s.set)("bank", s.bank);
  }
  u8 id_byte() const { return 0x42; }
  void command(u8 value) { events.push_back(fmt::format("command {:x}", value)); }
  void wrote() { irq_.set(state_.data != 0); }
  void set_input(unsigned number, bool level) { events.push_back(fmt::format("in {}={}", number, level)); }

  u16 iobase_ = 0x300;
  u8 irq_number_ = 5;
  bool broken_ = false;
  std::array<IrqLine, 2> lines_;
};

TEST(RegisterTable, MasksDecideWhatAWriteChanges) {
  DeviceBench<Widget> widget;
  widget.write8(1, 0xff);
  EXPECT_EQ(widget.read8(1), 0xa0);
  widget.write8(4, 0xff);
  widget.write8(4, 0);
  EXPECT_EQ(widget.read8(4), 0x3c);
  widget.write8(2, 0);
  EXPECT_EQ(widget.read8(2), 0x42);
  widget.write8(3, 0x17);
  EXPECT_EQ(widget->events.back(), "command 17");
  EXPECT_EQ(widget.read8(3), 0);
}

TEST(RegisterTable, ArraysAndNarrowAccessWork) {
  DeviceBench<Widget> widget;
  widget.write16(10, 0xffff);
  EXPECT_EQ(widget->state_.bank[1], 0x0fff);
  widget.write8(11, 0x05);
  EXPECT_EQ(widget.read16(10), 0x05ff);
  EXPECT_EQ(widget.read8(11), 0x05);
}

TEST(RegisterTable, UnknownOffsetsReadAsDeclared) {
  DeviceBench<Widget> widget;
  EXPECT_EQ(widget.read8(7), 0xff);
  widget.write8(7, 1);
  EXPECT_EQ(widget.last_status(), mem::MemTxResult::Ok);
  EXPECT_EQ(widget.read16(0), 0xff);  // no register spans both bytes
}

TEST(RegisterTable, RowsAreListedForOthers) {
  DeviceBench<Widget> widget;
  const auto* known = widget->type().extension<DeviceClass>();
  ASSERT_EQ(known->regions.size(), 1u);
  const auto rows = known->regions[0].table->rows();
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_EQ(rows[5].name, "BANK");
  EXPECT_EQ(rows[5].count, 4u);
}

TEST(IsaDevice, AnswersOnItsPortsAndRaisesItsIrq) {
  DeviceBench<Widget> widget({{"iobase", "0x220"}, {"irq", 7}});
  auto& io = widget.machine().io_ports();
  EXPECT_EQ(io.write<u8>(0x220, 1), mem::MemTxResult::Ok);
  EXPECT_TRUE(widget.isa_irq(7).is_high());
  EXPECT_EQ(io.read<u8>(0x222), 0x42);
  u64 value = 0;
  EXPECT_EQ(io.load(0x300, 1, value), mem::MemTxResult::DecodeError);
  EXPECT_EQ(value, 0xffu);
}

TEST(IsaBus, SharedIrqStaysHighUntilAllLower) {
  DeviceBench<Widget> widget;
  auto* bus = dynamic_cast<IsaBus*>(widget->bus());
  const IrqInput a = bus->irq(3), b = bus->irq(3);
  a.set(true);
  b.set(true);
  a.set(false);
  EXPECT_TRUE(widget.isa_irq(3).is_high());
  b.set(false);
  EXPECT_FALSE(widget.isa_irq(3).is_high());
  EXPECT_EQ(widget.isa_irq(3).rises(), 1u);
}

TEST(Device, InputsReachTheHandlerWithTheirNumber) {
  DeviceBench<Widget> widget;
  widget.set_irq_in("in", true, 2);
  EXPECT_EQ(widget->events.back(), "in 2=true");
  EXPECT_TRUE(widget->has_irq_in("in"));
  EXPECT_FALSE(widget->has_irq_in("out"));
}

TEST(Device, RoundTripKeepsTheRegisters) {
  DeviceBench<Widget> widget;
  widget.write8(0, 9);
  widget.write16(8, 0x123);
  widget.expect_round_trip();
  EXPECT_EQ(widget.read16(8), 0x123);
}

TEST(Irq, SplitterAndFunctionPassLevelsOn) {
  std::vector<std::string> log;
  IrqFunction sink([&](unsigned number, bool level) { log.push_back(fmt::format("{}={}", number, level)); });
  IrqSplitter splitter;
  splitter.add_output(sink.input(1));
  splitter.add_output(sink.input(2));
  IrqLine line;
  line.set(true);
  line.connect(splitter.input());
  line.disconnect();
  EXPECT_THAT(log, ElementsAre("1=true", "2=true", "1=false", "2=false"));
}

class PlugTest : public testing::Test {
 protected:
  PlugTest() {
    register_core_types(registry_);
    registry_.add<Widget>("isa-widget");
    registry_.add_alias("widget", "isa-widget");
    machine_ = std::make_unique<BenchMachine>(registry_);
    bus_ = &machine_->tree().container("/machine").adopt("isa.0", machine_->tree().make<IsaBus>());
    bus_->set_spaces(machine_->io_ports().root(), machine_->system_memory().root());
  }
  std::string refusal(std::string_view type, const std::string& id,
                      const std::vector<std::pair<std::string, qom::PropertyValue>>& properties = {},
                      Bus* bus = nullptr) {
    auto plugged = plug_user_device(*machine_, type, id, properties, bus);
    EXPECT_FALSE(plugged.has_value());
    return plugged ? "" : plugged.error().text();
  }
  qom::TypeRegistry registry_;
  std::unique_ptr<BenchMachine> machine_;
  IsaBus* bus_ = nullptr;
};

TEST_F(PlugTest, UserDeviceIsFoundByItsId) {
  auto plugged = plug_user_device(*machine_, "widget", "w0", {{"iobase", "0x100"}}, nullptr);
  ASSERT_TRUE(plugged.has_value()) << plugged.error().text();
  EXPECT_EQ((*plugged)->path(), "/machine/peripheral/w0");
  EXPECT_EQ((*plugged)->id(), "w0");
  EXPECT_THAT(bus_->devices(), ElementsAre(*plugged));
  EXPECT_EQ(machine_->io_ports().read<u8>(0x102), 0x42);
}

TEST_F(PlugTest, RefusalsNameTheProblemAndLeaveNothingBehind) {
  EXPECT_THAT(refusal("isa-wigdet", "w0"), HasSubstr("isa-widget"));
  EXPECT_THAT(refusal("isa-device", "w0"), HasSubstr("abstract"));
  EXPECT_THAT(refusal("isa-widget", "0w"), HasSubstr("identifier"));
  EXPECT_THAT(refusal("isa-widget", "w0", {{"iobas", 1}}), HasSubstr("'iobase'"));
  EXPECT_THAT(refusal("isa-widget", "w0", {{"irq", 16}}), HasSubstr("no ISA interrupt 16"));
  EXPECT_THAT(refusal("isa-widget", "w0", {{"broken", true}}), HasSubstr("broken"));
  EXPECT_THAT(refusal("isa-widget", "w0", {}, &machine_->system_bus()), HasSubstr("can't go on System bus"));
  EXPECT_TRUE(bus_->devices().empty());
  EXPECT_EQ(machine_->tree().find("/machine/peripheral/w0"), nullptr);
  EXPECT_EQ(machine_->io_ports().read<u8>(0x302), std::nullopt);
  while (machine_->memory().grace().poll()) {}
}

TEST_F(PlugTest, DuplicateIdIsRefused) {
  ASSERT_TRUE(plug_user_device(*machine_, "widget", "w0", {}, nullptr).has_value());
  EXPECT_EQ(refusal("widget", "w0", {{"iobase", 0x200}}), "Duplicate device ID 'w0'");
}

TEST_F(PlugTest, DestroyedDeviceIsFreedAfterTheGracePeriod) {
  Device& device = **plug_user_device(*machine_, "widget", "w0", {}, nullptr);
  bool freed = false;
  {
    const mem::GracePeriods::ReadGuard guard(machine_->memory().grace());
    destroy(device, [&] { freed = true; });
    EXPECT_TRUE(machine_->memory().grace().poll());
    EXPECT_FALSE(freed);
  }
  EXPECT_EQ(machine_->io_ports().read<u8>(0x302), std::nullopt);
  EXPECT_FALSE(machine_->memory().grace().poll());
  EXPECT_TRUE(freed);
  EXPECT_EQ(machine_->tree().find("/machine/peripheral/w0"), nullptr);
}

TEST_F(PlugTest, ResetRunsPhaseByPhaseOverAllDevices) {
  for (const char* id : {"a", "b"}) {
    ASSERT_TRUE(plug_user_device(*machine_, "widget", id, {{"iobase", id[0] * 0x100}}, nullptr).has_value());
  }
  auto& a = static_cast<Widget&>(*machine_->tree().find("/machine/peripheral/a"));
  reset_all(machine_->tree().root());
  EXPECT_THAT(a.events, ElementsAre("enter", "hold", "exit"));
  reset_bus(*bus_);
  EXPECT_EQ(a.events.size(), 6u);
}

TEST_F(PlugTest, BusIsFoundByNameOrPath) {
  EXPECT_EQ(find_bus(machine_->tree().root(), "isa.0"), bus_);
  EXPECT_EQ(find_bus(machine_->tree().root(), "/machine/isa.0"), bus_);
  EXPECT_EQ(find_bus(machine_->tree().root(), "pci.0"), nullptr);
}

TEST_F(PlugTest, QtreeAndHelpShowTheDevice) {
  ASSERT_TRUE(plug_user_device(*machine_, "widget", "w0", {}, nullptr).has_value());
  EXPECT_EQ(describe_qtree(*bus_),
            "bus: isa.0\n"
            "  type ISA\n"
            "  dev: isa-widget, id \"w0\"\n"
            "    gpio-in \"in\" 3\n"
            "    gpio-out \"irq\" 1\n"
            "    gpio-out \"lines\" 2\n"
            "    iobase = 768 (0x300)\n"
            "    irq = 5 (0x5)\n"
            "    broken = false\n"
            "    mmio 0000000000000300/0000000000000010\n");
  EXPECT_EQ(device_help(registry_),
            "Input devices:\n"
            "name \"isa-widget\", bus ISA, alias \"widget\", desc \"a widget\"\n");
}

TEST_F(PlugTest, MachineStateRoundTrips) {
  auto& device = static_cast<Widget&>(**plug_user_device(*machine_, "widget", "w0", {}, nullptr));
  device.state_.data = 3;
  const auto saved = qom::save_tree(machine_->tree().root());
  device.state_.data = 0;
  auto loaded = qom::load_tree(machine_->tree().root(), saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  EXPECT_EQ(device.state_.data, 3);
}

}  // namespace
}  // namespace emu::hw
