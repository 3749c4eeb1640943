// SPDX-License-Identifier: Apache-2.0
// A board, CPU and accelerator that run nothing, for tests of what surrounds them.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "accel/accel.h"
#include "hw/machine/board.h"
#include "hw/machine/machine.h"
#include "tcg/abi/env_storage.h"

namespace emu::test {

/// Its listing is one line for every two bytes.
class FakeTranslator final : public target::Translator {
 public:
  const ir::StateLayout& layout() const override { return *static_cast<const ir::StateLayout*>(nullptr); }
  const ir::HelperTable& helpers() const override { return *static_cast<const ir::HelperTable*>(nullptr); }
  target::TranslateResult translate(const target::TranslateRequest&, target::GuestCode&, ir::Builder&) override {
    return {};
  }
  std::string disassemble(std::span<const u8> bytes, u64 pc, u32) const override {
    std::string text;
    for (size_t at = 0; at + 1 < bytes.size(); at += 2) {
      text += fmt::format("{:#018x}:  {:02x}{:02x} insn\n", pc + at, bytes[at], bytes[at + 1]);
    }
    return text;
  }
};

/// Virtual addresses are physical ones plus 0x10000, up to 0x20000.
class FakeCpu final : public target::Vcpu {
 public:
  explicit FakeCpu(unsigned index) : index_(index) {}
  unsigned index() const override { return index_; }
  tcg::EnvHeader& env() override { return *static_cast<tcg::EnvHeader*>(nullptr); }
  target::Translator& translator() override { return translator_; }
  void attach(target::GuestAccess&, target::CpuServices&) override {}
  void set_interrupt_port(target::CpuInterruptPort*) override {}
  void reset() override {}
  u32 mode_key() const override { return 0; }
  u8 current_view() const override { return 0; }
  bool view_is_kernel(u8) const override { return true; }
  unsigned view_count() const override { return 1; }
  u64 context_id() const override { return 0; }
  bool walk(u64, target::Access, u8, target::TlbFill&) override { return false; }
  std::optional<u64> debug_translate(u64 va) override {
    if (va < 0x10000 || va >= 0x20000) return std::nullopt;
    return va - 0x10000;
  }
  void handle_trap(u64) override {}
  void handle_system(u64) override {}
  void raise_alignment_fault(u64, unsigned, target::Access) override {}
  void deliver_pending() override {}
  bool has_pending_fault() const override { return false; }
  bool has_deliverable_event() override { return false; }
  bool take_event() override { return false; }
  target::Halt halt_state() const override { return target::Halt::Running; }
  bool wakeup_pending() const override { return false; }
  std::string dump_registers() const override {
    return fmt::format(
        "RAX=0000000012345678 RBX=00000000000000{:02x}\nRIP=0000000000010004 RFL=00000002 [-------]\n"
        "CS =0010 0000000000000000 ffffffff\nCR0=00000011 CR3=0000000000001000 CR4=00000000\nEFER=0000000000000000\n",
        index_);
  }
  u64 debug_pc() const override { return 0x10004; }
  void set_interrupt(bool) override {}
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void startup(u8) override {}

 private:
  unsigned index_;
  FakeTranslator translator_;
};

/// Two CPUs and 64 KiB of RAM at 0.
class FakeBoard final : public hw::Board {
 public:
  static void describe(qom::TypeInfo<FakeBoard>& type) {
    type.doc("nothing that runs");
    type.property("frobs", &FakeBoard::frobs_, "how many frobs");
  }
  Result<void> build(hw::Machine& machine, hw::BoardConfig& config) override {
    config_ = config;
    machine_ = &machine;
    ram_ = EMU_TRY(machine.memory().make_ram("fake.ram", 0x10000));
    machine.system_root()->add(0, mem::Region::ram(machine.memory(), "fake.ram", ram_));
    return {};
  }
  void reset() override {
    EXPECT_TRUE(machine_->memory().lock().held_by_me());
    resets++;
  }
  std::vector<hw::BoardCpu> cpus() override {
    return {{&cpus_[0], &machine_->system_memory(), &machine_->io_ports()},
            {&cpus_[1], &machine_->system_memory(), &machine_->io_ports()}};
  }
  unsigned max_cpus() const override { return 2; }
  std::string describe_interrupts() const override { return "pic0: quiet\n"; }
  std::string describe_local_interrupts(unsigned cpu) const override { return fmt::format("lapic {}\n", cpu); }
  void inject_nmi() override { nmis++; }

  mem::RamBlock& ram() { return *ram_; }
  /// For a board outside the tree: before its machine goes.
  void drop_ram() { ram_.reset(); }
  const hw::BoardConfig& config() const { return config_; }
  unsigned resets = 0, nmis = 0;

 private:
  hw::Machine* machine_ = nullptr;
  hw::BoardConfig config_;
  mem::RamRef ram_;
  FakeCpu cpus_[2] = {FakeCpu(0), FakeCpu(1)};
  u32 frobs_ = 0;
};

class FakeAccelerator final : public accel::Accelerator {
 public:
  std::string name() const override { return "fake"; }
  Result<void> add_vcpu(target::Vcpu&, mem::AddressSpace&, mem::AddressSpace*) override { return {}; }
  void resume_all() override {
    paused = false;
    log += "resume ";
  }
  void pause_all() override {
    paused = true;
    log += "pause ";
  }
  void request_pause_all() override {
    paused = true;
    log += "ask ";
  }
  bool is_paused() const override { return paused; }
  void shut_down() override { paused = true; }
  void run_exclusive(const std::function<void()>& work) override {
    log += "exclusive ";
    work();
  }
  std::string statistics() const override { return "  translations 7\n"; }
  std::string dump_tlb(unsigned vcpu) const override { return fmt::format("tlb of {}\n", vcpu); }

  bool paused = true;
  std::string log;
};

}  // namespace emu::test
