// SPDX-License-Identifier: Apache-2.0
// What of an x86 vCPU goes to the kernel and comes back where this host's KVM cannot show it: by the kernel's document.
#include <gtest/gtest.h>

#include "target/x86/kvm/kvm_target.h"
#include "unit/accel/kvm/fake_cpu.h"

namespace emu::x86 {
namespace {

using accel::DebugPoints;
using accel::DebugStop;
using accel::KernelChips;
using accel::WatchKind;
using accel::Watchpoint;
using test::FakeCpu;
using test::FakeKvm;

/// The kernel's copy of what `set` gives and `get` fetches.
template <typename T>
void keep(FakeKvm& kvm, unsigned long set, unsigned long get, T& kept) {
  kvm.on(set, [&kept](u64 argument) {
    kept = *reinterpret_cast<const T*>(argument);
    return 0;
  });
  kvm.on(get, [&kept](u64 argument) {
    *reinterpret_cast<T*>(argument) = kept;
    return 0;
  });
}

TEST(KvmX86State, DebugRegistersGoAndComeBack) {
  FakeKvm kvm;
  FakeCpu fake(kvm);
  fake.machine.features.debug_registers = true;
  kvm_debugregs kept{};
  keep(kvm, KVM_SET_DEBUGREGS, KVM_GET_DEBUGREGS, kept);
  KvmX86Cpu cpu(fake.cpu.cpu, fake.parts(), fake.machine);
  X86State& s = fake.cpu.cpu.state();
  s.dr[2] = 0x1234;
  s.dr[7] = 0x420;
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(kept.db[2], 0x1234u);
  EXPECT_EQ(kept.dr7, 0x420u);
  kept.db[0] = 0x5678;
  kept.dr6 = 0xffff4ff0;
  ASSERT_TRUE(cpu.get_state());
  EXPECT_EQ(s.dr[0], 0x5678u);
  EXPECT_EQ(s.dr[6], 0xffff4ff0u);
}

TEST(KvmX86State, VectorsGoByXsaveAndWhatMayBeInThemByXcr0) {
  FakeKvm kvm;
  FakeCpu fake(kvm, "max");
  fake.machine.features.xsave = fake.machine.features.xcrs = true;
  accel::KvmXsave area{};
  kvm_xcrs xcrs{};
  keep(kvm, accel::kSetXsave, accel::kGetXsave, area);
  keep(kvm, KVM_SET_XCRS, KVM_GET_XCRS, xcrs);
  KvmX86Cpu cpu(fake.cpu.cpu, fake.parts(), fake.machine);
  X86State& s = fake.cpu.cpu.state();
  s.xcr0 = 7;
  s.vec[5].bytes[20] = 0x77;  // of the upper half of YMM5
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(xcrs.nr_xcrs, 1u);
  EXPECT_EQ(xcrs.xcrs[0].value, 7u);
  EXPECT_EQ(reinterpret_cast<const u8*>(area.data())[576 + 5 * 16 + 4], 0x77);
  EXPECT_EQ(kvm.count(KVM_SET_FPU), 0u);
  xcrs.xcrs[0].value = 3;
  reinterpret_cast<u8*>(area.data())[576 + 5 * 16 + 4] = 0x88;
  area[512 / 4] |= 4;
  ASSERT_TRUE(cpu.get_state());
  EXPECT_EQ(s.xcr0, 3u);
  EXPECT_EQ(s.vec[5].bytes[20], 0x88);
}

/// api.rst 4.87; the encoding of DR7 is the SDM's, vol. 3, 18.2.4.
TEST(KvmX86Debug, WatchpointsAreTheProcessorsOwn) {
  FakeKvm kvm;
  FakeCpu fake(kvm);
  fake.machine.features.guest_debug = true;
  kvm_guest_debug debug{};
  kvm.on(KVM_SET_GUEST_DEBUG, [&debug](u64 argument) {
    debug = *reinterpret_cast<const kvm_guest_debug*>(argument);
    return 0;
  });
  KvmX86Cpu cpu(fake.cpu.cpu, fake.parts(), fake.machine);
  ASSERT_TRUE(cpu.set_debugging({}));
  EXPECT_EQ(kvm.count(KVM_SET_GUEST_DEBUG), 0u) << "nothing is wanted, and nothing was";
  const Watchpoint points[] = {{.address = 0x1000, .bytes = 4, .kind = WatchKind::Write},
                               {.address = 0x2000, .bytes = 8, .kind = WatchKind::Access}};
  ASSERT_TRUE(cpu.set_debugging({.watchpoints = points}));
  EXPECT_EQ(debug.control, u32(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP));
  EXPECT_EQ(debug.arch.debugreg[0], 0x1000u);
  EXPECT_EQ(debug.arch.debugreg[1], 0x2000u);
  EXPECT_EQ(debug.arch.debugreg[7], 0x600u | 2 | 2 << 2 | 0xdu << 16 | 0xbu << 20);

  kvm_run& run = fake.parts().run;
  const DebugPoints known{.breakpoints = {0x500}, .watchpoints = {points[0], points[1]}};
  run.debug.arch.exception = 1;
  run.debug.arch.dr6 = 2;
  const auto stop = cpu.debug_stop(known, false);
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->why, DebugStop::Why::Watchpoint);
  EXPECT_EQ(stop->address, 0x2000u);
  EXPECT_EQ(stop->kind, WatchKind::Access);
  run.debug.arch.dr6 = 1u << 14;
  EXPECT_EQ(cpu.debug_stop(known, true)->why, DebugStop::Why::Step);
  EXPECT_FALSE(cpu.debug_stop(known, false)) << "the guest's own";
  EXPECT_TRUE(debug.control & KVM_GUESTDBG_INJECT_DB);
  run.debug.arch.exception = 3;
  run.debug.arch.pc = 0x500;
  EXPECT_EQ(cpu.debug_stop(known, false)->why, DebugStop::Why::Breakpoint);
  run.debug.arch.pc = 0x501;
  EXPECT_FALSE(cpu.debug_stop(known, false));
  EXPECT_TRUE(debug.control & KVM_GUESTDBG_INJECT_BP);

  ASSERT_TRUE(cpu.set_debugging({}));
  EXPECT_EQ(debug.control, 0u);
  fake.machine.features.guest_debug = false;
  EXPECT_FALSE(cpu.set_debugging({.step = true}));
}

/// api.rst 5, KVM_EXIT_IOAPIC_EOI: with split chips our IOAPIC learns from it that a level-triggered interrupt is over.
TEST(KvmX86Cpu, EndsOfInterruptReachOurIoapic) {
  FakeKvm kvm;
  FakeCpu fake(kvm);
  std::vector<u8> ended;
  KvmInterruptChips chips(fake.machine);
  chips.on_end_of_interrupt([&ended](u8 vector) { ended.push_back(vector); });
  KvmX86Cpu cpu(fake.cpu.cpu, fake.parts(), fake.machine);
  kvm_run& run = fake.parts().run;
  run.exit_reason = KVM_EXIT_IOAPIC_EOI;
  run.eoi.vector = 0x51;
  EXPECT_TRUE(cpu.handle_exit());
  EXPECT_EQ(ended, std::vector<u8>{0x51});
  run.exit_reason = KVM_EXIT_HYPERV;
  EXPECT_FALSE(cpu.handle_exit()) << "nobody asked the kernel for those";
}

/// A machine's part over a fake device.
struct FakeTarget {
  FakeTarget() {
    kvm.on(accel::kGetSupportedCpuid, [this](u64 argument) {
      auto* header = reinterpret_cast<accel::KvmCpuidHeader*>(argument);
      if (header->nent < entries.size()) return -E2BIG;
      header->nent = u32(entries.size());
      if (!entries.empty())
        std::memcpy(reinterpret_cast<u8*>(header + 1), entries.data(), entries.size() * sizeof entries[0]);
      return 0;
    });
  }
  Result<void> set_up() {
    device.emplace(*accel::KvmDevice::open(kvm));
    return target.set_up(*device, vm, {.chips = KernelChips::Off});
  }
  FakeKvm kvm;
  std::vector<kvm_cpuid_entry2> entries;
  accel::KvmFd vm{kvm, 101};
  std::optional<accel::KvmDevice> device;
  KvmX86Target target;
};

/// api.rst 4.29 and 4.30.
TEST(KvmTarget, TheGuestsClockStandsStillWithTheMachine) {
  FakeTarget fake;
  fake.kvm.extensions[KVM_CAP_ADJUST_CLOCK] = 1;
  kvm_clock_data clock{};
  keep(fake.kvm, KVM_SET_CLOCK, KVM_GET_CLOCK, clock);
  ASSERT_TRUE(fake.set_up());
  fake.target.resumed();
  EXPECT_EQ(fake.kvm.count(KVM_SET_CLOCK), 0u) << "it was never stopped";
  clock.clock = 5'000'000;
  fake.target.stopped();
  clock.clock = 9'000'000;
  fake.target.resumed();
  EXPECT_EQ(clock.clock, 5'000'000u);
  EXPECT_EQ(clock.flags, 0u);
}

/// Documentation/virt/kvm/x86/cpuid.rst
TEST(KvmTarget, ParavirtualFeaturesAreTheKernelsButForWhatNeedsItsChips) {
  constexpr u32 kClock = 1u << 3, kAsyncPf = 1u << 4, kStealTime = 1u << 5, kEoi = 1u << 6, kTlbFlush = 1u << 9,
                kIpi = 1u << 11;
  FakeTarget fake;
  kvm_cpuid_entry2 entry{};
  entry.function = 0x40000001;
  entry.eax = kClock | kAsyncPf | kStealTime | kEoi | kTlbFlush | kIpi;
  fake.entries.assign(200, {});  // more than there is room for at first
  fake.entries.push_back(entry);
  ASSERT_TRUE(fake.set_up());
  FakeCpu cpu(fake.kvm);
  u32 told = 0;
  fake.kvm.on(accel::kSetCpuid2, [&told](u64 argument) {
    const auto* header = reinterpret_cast<const accel::KvmCpuidHeader*>(argument);
    std::vector<kvm_cpuid_entry2> list(header->nent);
    std::memcpy(list.data(), header + 1, list.size() * sizeof list[0]);
    told = find_leaf(list, 0x40000001, 0)[0];
    return 0;
  });
  const auto made = fake.target.make_cpu(cpu.parts());
  ASSERT_TRUE(made && (*made)->set_up());
  EXPECT_EQ(told, kClock | kStealTime | kTlbFlush);
}

/// api.rst 4.18: on the device itself these are the MSRs that say what a processor has.
TEST(KvmTarget, FeatureMsrsAreTheDevices) {
  FakeTarget fake;
  ASSERT_TRUE(fake.set_up());
  fake.kvm.on(accel::kGetMsrs, [](u64 argument) {
    kvm_msr_entry entry{};
    u8* const place = reinterpret_cast<u8*>(argument) + sizeof(accel::KvmMsrsHeader);
    std::memcpy(&entry, place, sizeof entry);
    if (entry.index != 0x10a) return 0;
    entry.data = 0xabc;
    std::memcpy(place, &entry, sizeof entry);
    return 1;
  });
  EXPECT_EQ(fake.target.host_feature_msr(0x10a), 0xabcu);
  EXPECT_EQ(fake.target.host_feature_msr(0x480), 0u);
}

}  // namespace
}  // namespace emu::x86
