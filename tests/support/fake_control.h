// SPDX-License-Identifier: Apache-2.0
// A terminal, and a machine that runs nothing, for tests of monitors.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "block/block_store.h"
#include "chardev/backends.h"
#include "monitor/control.h"
#include "monitor/monitors.h"
#include "net/register.h"
#include "qom/user_creatable.h"
#include "support/fake_machine.h"

namespace emu::monitor {

/// A terminal: keeps what is written, and types.
class FakeTerminal final : public Chardev {
 public:
  FakeTerminal() : Chardev("term") {}
  std::string description() const override { return "fake"; }
  void type(std::string_view text) {
    frontend()->receive(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
  }
  std::string take() { return std::exchange(screen, {}); }
  void tell_event(ChardevEvent event) { tell(event); }
  void pass(Fd fd) { fds.push_back(std::move(fd)); }
  std::vector<Fd> take_fds() override { return std::exchange(fds, {}); }
  std::vector<Fd> fds;
  std::string screen;
  std::size_t room = ~std::size_t(0);
  void make_room() {
    room = ~std::size_t(0);
    frontend()->writable();
  }

 protected:
  std::size_t do_write(std::span<const u8> data) override {
    const std::size_t n = std::min(room, data.size());
    room -= n;
    screen.append(reinterpret_cast<const char*>(data.data()), n);
    return n;
  }
};

struct NoEvents final : hw::MachineEvents {
  void shutdown_requested(hw::ShutdownCause) override {}
  void reset_requested(hw::ResetCause) override {}
  void exit_requested(int) override {}
  void panicked(hw::PanicKind) override {}
  void suspend_requested() override {}
  void wakeup_requested(hw::WakeupReason) override {}
  void stop_vcpus_soon() override {}
};

/// What object-add can make.
class FakeObject final : public qom::UserCreatable {
 public:
  static void describe(qom::TypeInfo<FakeObject>& type) {
    type.property("size", &FakeObject::size_, "how large").required();
    type.property("fast", &FakeObject::fast_, "how fast").settable_at_runtime();
  }

 private:
  qom::Bytes size_;
  bool fast_ = false;
};

class FakeControl final : public MachineControl {
 public:
  FakeControl() {
    hw::register_core_types(registry_);
    hw::register_chardev_object(registry_);
    hw::register_boards(registry_);
    block::register_backend_types(registry_);
    net::register_net_types(registry_);
    registry_.add_abstract<qom::UserCreatable, qom::Object>();
    registry_.add<FakeObject>("fake-object");
    machine_ = std::make_unique<hw::Machine>(registry_, loop_, events_);
    mem::MachineLockScope guard(machine_->memory().lock());
    hw::BoardConfig config;
    EXPECT_TRUE(fake_board.build(*machine_, config).has_value());
    disks_ = std::make_unique<block::BlockStore>(machine_->tree(), loop_);
  }
  ~FakeControl() override {
    fake_board.drop_ram();
    disks_->close();
    disks_.reset();
    machine_.reset();
  }
  hw::Machine& machine() override { return *machine_; }
  block::BlockStore& disks() override { return *disks_; }
  hw::Board& board() override { return fake_board; }
  accel::Accelerator& accelerator() override { return fake_accelerator; }
  EventLoop& loop() { return loop_; }
  std::string_view target() const override { return "x86_64"; }
  std::string_view status() const override {
    if (!state.empty()) return state;
    return running ? "running" : "prelaunch";
  }
  bool is_running() const override { return running; }
  Result<void> cont() override {
    if (refuse_cont) return error("Resetting the Virtual Machine is required");
    running = true;
    return {};
  }
  void stop() override { running = false; }
  void reset() override { log += "reset "; }
  void powerdown() override { log += "powerdown "; }
  Result<void> wakeup() override { return error("Unable to wake up: guest is not in suspended state"); }
  void quit() override { log += "quit "; }
  void set_actions(const SetActionArguments& given) override { actions = given; }
  bool is_preconfig() const override { return preconfig; }
  Result<void> exit_preconfig() override {
    if (!std::exchange(preconfig, false)) return error("The command is permitted only before machine initialization");
    return {};
  }
  std::string guest_name() const override { return "test"; }
  std::string guest_uuid() const override { return ""; }
  u64 ram_bytes() const override { return 0x10000; }
  hw::CpuTopology topology() const override { return {2, 2, 1, 1, 2, 1}; }
  std::string cpu_path(unsigned index) const override { return fmt::format("/machine/cpu[{}]", index); }
  std::vector<CpuDefinition> cpu_definitions() const override { return {{.name = "toy", .type_name = "toy-cpu"}}; }
  Result<CpuModelInfo> expand_cpu_model(const CpuModelInfo& model, bool) const override {
    if (model.name != "toy") return error("CPU model '{}' not found", model.name);
    return CpuModelInfo{model.name, Json{{"fast", true}}};
  }
  std::vector<OptionInfo> command_line_options() const override { return {{"smp-opts", {{"cpus"}}}}; }
  Result<std::string> add_chardev(const chardev::ChardevOptions& options) override {
    auto object = machine_->tree().make<hw::ChardevObject>();
    object->hold(EMU_TRY(chardev::create(options, loop_)));
    EMU_TRY(machine_->tree().container("/chardevs").add_child(options.id, std::move(object)));
    return std::string();
  }

  test::FakeBoard fake_board;
  test::FakeAccelerator fake_accelerator;
  bool running = true, refuse_cont = false, preconfig = false;
  std::string state;  ///< instead of what follows from those
  SetActionArguments actions;
  std::string log;

 private:
  EventLoop loop_;
  qom::TypeRegistry registry_;
  NoEvents events_;
  std::unique_ptr<hw::Machine> machine_;
  std::unique_ptr<block::BlockStore> disks_;
};

}  // namespace emu::monitor
