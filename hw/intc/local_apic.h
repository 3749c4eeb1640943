// SPDX-License-Identifier: Apache-2.0
// Local APIC of one CPU: xAPIC registers in memory, x2APIC registers as MSRs, timer with TSC deadline. Sections (§):
// Intel SDM volume 3, chapter "Advanced Programmable Interrupt Controller (APIC)".
//
//   MMIO "apic" 4 KiB at APIC_BASE, in the address space of its own CPU only
//   IRQ in "lint0", "lint1"    what the board wires to the local pins (8259 INTR, NMI)
#pragma once

#include <array>
#include <mutex>

#include "hw/core/sysbus.h"
#include "hw/intc/apic_bus.h"
#include "target/cpu.h"

namespace emu::hw {

/// Whoever stands behind an ExtINT message: gives the vector of the highest request. The 8259 pair.
class ExternalVectorSource {
 public:
  virtual ~ExternalVectorSource() = default;
  virtual u8 acknowledge() = 0;
};

/// Registers and pins are used from any thread; everything below `mutex_` is guarded by it.
class LocalApic final : public SysBusDevice, public target::CpuInterruptPort {
 public:
  static constexpr unsigned kBytes = 0x1000;
  enum Reg : hwaddr {
    ID = 0x20, VERSION = 0x30, TPR = 0x80, APR = 0x90, PPR = 0xa0, EOI = 0xb0, RRD = 0xc0, LDR = 0xd0, DFR = 0xe0,
    SVR = 0xf0, ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR_LOW = 0x300, ICR_HIGH = 0x310,
    LVT_TIMER = 0x320, LVT_THERMAL = 0x330, LVT_PERF = 0x340, LVT_LINT0 = 0x350, LVT_LINT1 = 0x360,
    LVT_ERROR = 0x370, TIMER_INITIAL = 0x380, TIMER_CURRENT = 0x390, TIMER_DIVIDE = 0x3e0, SELF_IPI = 0x3f0,
  };
  enum Lvt : unsigned { kTimer, kThermal, kPerf, kLint0, kLint1, kErrorLvt, kLvtCount };
  static constexpr u64 kBaseMask = 0xf'ffff'f000, kBaseBsp = bit64(8), kBaseX2apic = bit64(10), kBaseEnable = bit64(11);
  static constexpr u64 kDefaultBase = 0xfee0'0000;

  static void describe(TypeInfo<LocalApic>& type);

  /// By the board, before realize. `cpu` outlives the APIC. `cpu_root` is the CPU's own memory container.
  void wire(ApicBus& bus, target::CpuSignals& cpu, u32 apic_id, bool boot_cpu, mem::RegionRef cpu_root,
            ExternalVectorSource* external);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override;

  // From the bus and the board; any thread.
  bool is_addressed(u32 destination, bool logical) const;
  bool is_software_enabled() const;
  u32 arbitration_priority() const;
  void receive(const ApicMessage& message);
  u32 apic_id() const { return id_; }
  std::string dump() const;

  // CpuInterruptPort: vCPU thread.
  std::optional<u8> acknowledge() override;
  u8 task_priority() override;
  void set_task_priority(u8 cr8) override;
  bool read_register(u32 index, u64& value) override;
  bool write_register(u32 index, u64 value) override;

 private:
  using Vectors = std::array<u32, 8>;  ///< one bit a vector
  struct State {
    u64 base = kDefaultBase | kBaseEnable;
    u32 tpr = 0, ldr = 0, dfr = ~0u, svr = 0xff, esr = 0, esr_latched = 0, icr_low = 0, icr_high = 0;
    u32 initial_count = 0, divide = 0;
    i64 count_start_ns = 0;
    bool is_counting = false;  ///< a count was set, and its one-shot interrupt has not come yet
    u64 tsc_deadline = 0;
    Vectors isr{}, tmr{}, irr{};
    std::array<u32, kLvtCount> lvt{};
    bool lint0 = false, lint1 = false;
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();
  Result<void> check_loaded() const;
  void show_registers(u64 base);  ///< machine lock

  u64 mmio_read(u64 offset, unsigned size);
  void mmio_write(u64 offset, u64 value, unsigned size);
  u32 read_locked(u32 reg);
  /// Returns a message to send once the lock is released (ICR), and the vector whose EOI is to be broadcast.
  struct Deferred {
    std::optional<ApicMessage> message;
    bool self = false, others = false;
    std::optional<u8> eoi;
  };
  void write_locked(u32 reg, u32 value, Deferred& after);
  void act(const Deferred& after);
  Deferred send_ipi_locked(u32 low, u32 destination) const;

  void set_lint(unsigned pin, bool level);
  void pin_lint0(bool level) { set_lint(kLint0, level); }
  void pin_lint1(bool level) { set_lint(kLint1, level); }
  void accept_locked(u8 vector, bool level_triggered);
  void deliver_local_locked(Lvt which);
  std::optional<u8> end_locked();
  u32 processor_priority_locked() const;
  bool external_enabled_locked() const;
  void update_cpu_locked();
  bool write_base(u64 value);
  bool is_x2apic() const { return (state_.base & (kBaseEnable | kBaseX2apic)) == (kBaseEnable | kBaseX2apic); }

  // Timer, §"APIC Timer". The bus clock is 1 GHz, as are guest time-stamp counters.
  u64 divisor() const;
  u32 current_count_locked();
  void restart_timer_locked();
  void timer_fired();

  ApicBus* bus_ = nullptr;
  target::CpuSignals* cpu_ = nullptr;
  ExternalVectorSource* external_ = nullptr;
  mem::RegionRef cpu_root_;
  u32 id_ = 0;
  bool boot_cpu_ = false;
  mutable std::mutex mutex_;
  State state_;
  Timer timer_;
};

void register_local_apic(TypeRegistry& registry);

}  // namespace emu::hw
