// SPDX-License-Identifier: Apache-2.0
// One device, a virtual clock and nothing else: what unit tests of device models stand on.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hw/core/isa.h"
#include "hw/core/plug.h"
#include "hw/core/sysbus.h"

namespace emu::test {

/// MachineServices for tests: empty memory, a hand-driven clock, and a record of what was asked for.
class BenchMachine final : public hw::MachineServices {
 public:
  explicit BenchMachine(const qom::TypeRegistry& registry)
      : tree_(registry),
        system_root_(mem::Region::container(memory_, "system", mem::kWholeAddressSpace)),
        io_root_(mem::Region::container(memory_, "io", 0x10000)),
        system_(memory_, "memory", system_root_),
        io_(memory_, "I/O", io_root_) {
    bus_ = &tree_.container("/machine").adopt("main-system-bus", tree_.make<hw::SystemBus>());
  }
  ~BenchMachine() override {
    tree_.root().visit([](qom::Object& object) {
      if (auto* device = dynamic_cast<hw::Device*>(&object); device != nullptr && device->is_realized()) {
        device->unrealize_all();
      }
    });
    while (memory_.grace().poll()) {}
  }

  qom::ObjectTree& tree() override { return tree_; }
  mem::Memory& memory() override { return memory_; }
  mem::AddressSpace& system_memory() override { return system_; }
  mem::AddressSpace& io_ports() override { return io_; }
  hw::Bus& system_bus() override { return *bus_; }
  Clock& clock() override { return clock_; }
  Clock& host_clock() override { return host_clock_; }
  Clock& realtime_clock() override { return realtime_clock_; }
  void request_shutdown(hw::ShutdownCause cause) override { shutdowns.push_back(cause); }
  void request_reset(hw::ResetCause cause) override { resets.push_back(cause); }
  void request_exit(int status) override { exits.push_back(status); }
  void request_suspend() override { ++suspends; }
  void request_wakeup(hw::WakeupReason reason) override { wakeups.push_back(reason); }
  void report_panic(hw::PanicKind kind) override { panics.push_back(kind); }
  void report_device_deleted(const std::string& id, const std::string&) override { deleted.push_back(id); }
  void add_power_listener(hw::PowerListener& listener) override { power_listeners.push_back(&listener); }
  void remove_power_listener(hw::PowerListener& listener) override { std::erase(power_listeners, &listener); }
  void run_on_main_loop(std::function<void()> work) override { main_loop.push_back(std::move(work)); }
  /// Runs what was queued for the main loop.
  void run_main_loop() {
    for (auto& work : std::exchange(main_loop, {})) work();
  }

  EventLoop* main_event_loop() override { return event_loop; }
  unsigned vcpu_count() const override { return vcpus; }

  /// RAM at `address`, for DMA.
  mem::RamRef add_ram(mem::GuestPhys address, u64 size, mem::Memory::RamOptions options = mem::Memory::RamOptions{}) {
    auto ram = memory_.make_ram("ram@" + std::to_string(address), size, options);
    EMU_CHECK(ram.has_value());
    system_root_->add(address, mem::Region::ram(memory_, (*ram)->id(), *ram));
    return *ram;
  }

  std::vector<hw::ShutdownCause> shutdowns;
  std::vector<hw::ResetCause> resets;
  std::vector<int> exits;
  std::vector<hw::WakeupReason> wakeups;
  std::vector<hw::PanicKind> panics;
  std::vector<std::string> deleted;
  unsigned suspends = 0, vcpus = 1;
  EventLoop* event_loop = nullptr;  ///< for devices that want one
  std::vector<hw::PowerListener*> power_listeners;
  std::vector<std::function<void()>> main_loop;

 private:
  mem::Memory memory_;
  Clock clock_{Clock::Kind::Virtual, Clock::Drive::Manual};
  Clock host_clock_{Clock::Kind::Host};
  Clock realtime_clock_{Clock::Kind::Realtime};
  qom::ObjectTree tree_;
  mem::RegionRef system_root_, io_root_;
  mem::AddressSpace system_, io_;
  hw::Bus* bus_;
};

/// Watches one output of the device.
class IrqProbe final : public hw::IrqSink {
 public:
  void set_irq(unsigned, bool level) override {
    if (level && !high_) ++rises_;
    high_ = level;
  }
  bool is_high() const { return high_; }
  unsigned rises() const { return rises_; }

 private:
  bool high_ = false;
  unsigned rises_ = 0;
};

/// `DeviceBench<TickRtc> rtc({{"epoch", 1000}});` makes, realizes and resets one device. Its first region is at the
/// offsets of read*/write*; others by read("name", offset, size). IsaDevices get an ISA bus whose IRQs are probes too.
/// `before_realize` may set links or wire things first.
template <typename T>
class DeviceBench {
 public:
  using Properties = std::initializer_list<std::pair<std::string, qom::PropertyValue>>;

  explicit DeviceBench(Properties properties = {}, std::function<void(T&, BenchMachine&)> before_realize = {}) {
    hw::register_core_types(registry_);
    registry_.add<T>("bench-device");
    machine_ = std::make_unique<BenchMachine>(registry_);
    device_ = &hw::place<T>(*machine_);
    base_ = device_;
    for (const auto& [name, value] : properties) {
      auto set = base_->set(name, value);
      EXPECT_TRUE(set.has_value()) << set.error().text();
    }
    if (before_realize) before_realize(*device_, *machine_);
    for (const auto* type = &base_->type(); type != nullptr; type = type->parent()) {
      if (const auto* known = type->template extension<hw::DeviceClass>()) connect(*known);
    }
    auto realized = base_->realize_on(bus_for());
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
    hw::reset_device(*base_);
  }

  T& device() { return *device_; }
  T* operator->() { return device_; }
  BenchMachine& machine() { return *machine_; }

  u8 read8(u64 offset) { return u8(read("", offset, 1)); }
  u16 read16(u64 offset) { return u16(read("", offset, 2)); }
  u32 read32(u64 offset) { return u32(read("", offset, 4)); }
  u64 read64(u64 offset) { return read("", offset, 8); }
  void write8(u64 offset, u8 value) { write("", offset, value, 1); }
  void write16(u64 offset, u16 value) { write("", offset, value, 2); }
  void write32(u64 offset, u32 value) { write("", offset, value, 4); }
  void write64(u64 offset, u64 value) { write("", offset, value, 8); }
  /// An access as a vCPU makes it; the status is in last_status().
  u64 read(std::string_view region, u64 offset, unsigned size) {
    u64 value = 0;
    last_status_ = pick(region).mmio_read(offset, size, {}, value);
    return value;
  }
  void write(std::string_view region, u64 offset, u64 value, unsigned size) {
    last_status_ = pick(region).mmio_write(offset, value, size, {});
  }
  mem::MemTxResult last_status() const { return last_status_; }

  /// An output by its name in describe().
  IrqProbe& irq(std::string_view name, unsigned index = 0) { return probes_[{std::string(name), index}]; }
  /// ISA interrupt 0..15, for IsaDevices.
  IrqProbe& isa_irq(unsigned number) { return isa_probes_.at(number); }
  void set_irq_in(std::string_view name, bool level, unsigned index = 0) { base_->irq_in(name, index).set(level); }

  void advance(ClockNs distance) { machine_->clock().advance(distance); }
  void reset() { hw::reset_device(*base_); }

  qom::FieldTree save() { return base_->save(); }
  Result<void> load(const qom::FieldTree& state) {
    EMU_TRY(base_->load(state));
    return base_->finish_load();
  }
  /// Saves, resets, loads, and expects that saving again gives the same.
  void expect_round_trip() {
    const qom::FieldTree before = save();
    reset();
    auto loaded = load(before);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
    EXPECT_EQ(before.dump(), save().dump());
  }

 private:
  void connect(const hw::DeviceClass& known) {
    for (const auto& out : known.irq_outs) {
      const size_t count = out.lines(*base_).size();
      for (unsigned i = 0; i < count; ++i) {
        if (base_->irq_out(out.name, i).input().is_connected()) continue;
        base_->irq_out(out.name, i).connect({&probes_[{out.name, i}], 0});
      }
    }
  }
  hw::Bus* bus_for() {
    if constexpr (std::is_base_of_v<hw::IsaDevice, T>) {
      auto& bus = machine_->tree().container("/machine").adopt("isa.0", machine_->tree().make<hw::IsaBus>());
      bus.set_spaces(machine_->io_ports().root(), machine_->system_memory().root());
      isa_probes_ = std::vector<IrqProbe>(hw::IsaBus::kIrqs);
      for (unsigned i = 0; i < hw::IsaBus::kIrqs; ++i) bus.set_irq(i, {&isa_probes_[i], 0});
      return &bus;
    } else if constexpr (std::is_base_of_v<hw::SysBusDevice, T>) {
      return &machine_->system_bus();
    } else {
      return nullptr;
    }
  }
  mem::Region& pick(std::string_view name) {
    EMU_CHECK(!base_->regions().empty());
    return name.empty() ? *base_->regions().front() : *base_->region(name);
  }

  qom::TypeRegistry registry_;
  std::map<std::pair<std::string, unsigned>, IrqProbe> probes_;
  std::vector<IrqProbe> isa_probes_;
  std::unique_ptr<BenchMachine> machine_;  // destroyed before the probes that its lines reach
  T* device_ = nullptr;
  hw::Device* base_ = nullptr;  ///< for functions that a model may hide with its own
  mem::MemTxResult last_status_ = mem::MemTxResult::Ok;
};

}  // namespace emu::test
