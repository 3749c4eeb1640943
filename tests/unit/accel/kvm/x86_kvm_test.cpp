// SPDX-License-Identifier: Apache-2.0
// The x86 half of KVM over a fake kernel: state in both directions, CPUID, interrupt chips.
#include <gtest/gtest.h>

#include "target/x86/eflags.h"
#include "target/x86/kvm/kvm_target.h"
#include "unit/accel/kvm/fake_cpu.h"

namespace emu::x86 {
namespace {

using accel::KernelChips;
using test::Cpu;
using test::FakeCpu;
using test::FakeKvm;

TEST(KvmState, RegistersAndSegmentsRoundTrip) {
  Cpu from("qemu64"), to("qemu64");
  X86State& s = from.cpu.state();
  for (unsigned i = 0; i < 16; ++i) s.gpr(i) = 0x1111 * (i + 1);
  write_rflags(s, kCF | kIF | kDF, kAllFlags);
  s.cr3 = 0x5000;
  load_segment(s, DS, 0x18, 0x1000, 0xfffff, 0xc09300);
  kvm_sregs sregs{};
  const KvmStateAccess source(from.cpu);
  source.fill(sregs);
  EXPECT_EQ(sregs.cs.base, 0xffff0000u);
  EXPECT_EQ(sregs.ds.limit, 0xfffffu);
  KvmStateAccess(to.cpu).load(source.regs(), sregs);
  const X86State& t = to.cpu.state();
  for (unsigned i = 0; i < 16; ++i) EXPECT_EQ(t.gpr(i), s.gpr(i));
  EXPECT_EQ(read_rflags(t), read_rflags(s));
  EXPECT_EQ(t.hdr.pc, 0xfffffff0u);
  EXPECT_EQ(t.cr3, 0x5000u);
  EXPECT_EQ(t.seg[DS].attributes, s.seg[DS].attributes);
  EXPECT_EQ(t.segment_base(DS), 0x1000u);
}

TEST(KvmState, VectorsRoundTripAndAbsentComponentsAreInitial) {
  Cpu from("max"), to("max");
  X86State& s = from.cpu.state();
  for (unsigned i = 0; i < 32; ++i) {
    for (u8& byte : s.vec[i].bytes) byte = u8(i + 1);
  }
  XsaveArea area;
  KvmStateAccess(from.cpu).fill(area);
  area[512 / 4] |= 0xe7;
  KvmStateAccess(to.cpu).load(area);
  EXPECT_EQ(std::memcmp(to.cpu.state().vec[3].bytes, s.vec[3].bytes, 64), 0);
  EXPECT_EQ(std::memcmp(to.cpu.state().vec[20].bytes, s.vec[20].bytes, 64), 0);
  area[512 / 4] = 1;  // x87 alone
  KvmStateAccess(to.cpu).load(area);
  EXPECT_EQ(to.cpu.state().vec[3].bytes[0], 0);
  EXPECT_EQ(to.cpu.state().vec[20].bytes[63], 0);
}

/// A processor that has SSE2, long mode and CX16.
std::array<u32, 4> small_host(u32 leaf, u32) {
  if (leaf == 0) return {0xd, 0x756e6547, 0x6c65746e, 0x49656e69};
  if (leaf == 1) return {0x306a9, 0, 1u << 13 | 1u << 31, 0x078bfbff};
  if (leaf == 0x80000000) return {0x80000008, 0, 0, 0};
  if (leaf == 0x80000001) return {0, 0, 1, 0x20100800};
  if (leaf == 0x80000008) return {0x3027, 0, 0, 0};
  return {};
}

TEST(KvmCpuModels, HaveWhatTheHostHas) {
  const HostCpu host = describe_host(small_host, 0);
  EXPECT_EQ(host.vendor, "GenuineIntel");
  EXPECT_EQ(host.family, 6u);
  EXPECT_EQ(host.model, 0x3au);
  EXPECT_EQ(host.phys_bits, 39u);
  const auto same = parse_cpu_option("host", &host);
  ASSERT_TRUE(same);
  EXPECT_TRUE(same->features.has(Cpuid::Cx16));
  EXPECT_FALSE(same->features.has(Cpuid::Sse3));
  EXPECT_EQ(same->vendor, "GenuineIntel");
  const auto named = parse_cpu_option("qemu64", &host);
  ASSERT_TRUE(named);
  EXPECT_FALSE(named->features.has(Cpuid::Sse3));
  EXPECT_NE(named->dropped.find("sse3"), std::string::npos);
  const auto strict = parse_cpu_option("qemu64,enforce", &host);
  ASSERT_FALSE(strict);
  EXPECT_NE(strict.error().message().find("KVM"), std::string::npos);
  EXPECT_FALSE(parse_cpu_option("host")) << "translated code is not the host's";
}

TEST(KvmCpuModels, GuestsSeeKvmsLeavesUnlessTheyShallNot) {
  Cpu with("qemu64"), without("qemu64,kvm=off");
  const auto list = guest_cpuid(with.cpu, 0x123);
  EXPECT_EQ(find_leaf(list, 0x40000000, 0)[1], 0x4b4d564bu);
  EXPECT_EQ(find_leaf(list, 0x40000001, 0)[0], 0x123u);
  EXPECT_EQ(find_leaf(list, 0, 0)[0], with.model.level);
  EXPECT_EQ(find_leaf(guest_cpuid(without.cpu, 0x123), 0x40000000, 0)[1], 0u);
}

TEST(KvmInterruptChips, MessagesAndRoutesReachTheKernel) {
  FakeKvm kvm;
  accel::KvmFd vm(kvm, 101);
  kvm.on(KVM_ENABLE_CAP, [](u64 argument) {
    const auto& cap = *reinterpret_cast<const kvm_enable_cap*>(argument);
    EXPECT_EQ(cap.cap, u32(KVM_CAP_SPLIT_IRQCHIP));
    EXPECT_EQ(cap.args[0], 24u);
    return 0;
  });
  kvm_msi sent{};
  kvm.on(KVM_SIGNAL_MSI, [&](u64 argument) {
    sent = *reinterpret_cast<const kvm_msi*>(argument);
    return 1;
  });
  u32 routes_seen = 0;
  kvm_irq_routing_entry first{};
  kvm.on(accel::kSetGsiRouting, [&](u64 argument) {
    const u8* bytes = reinterpret_cast<const u8*>(argument);
    std::memcpy(&routes_seen, bytes, 4);
    std::memcpy(&first, bytes + 8, sizeof first);
    return 0;
  });
  KvmMachine machine;
  KvmInterruptChips chips(machine);
  ASSERT_TRUE(chips.create(vm, KernelChips::Split));
  EXPECT_TRUE(chips.has_local_apics());
  EXPECT_FALSE(chips.has_board_chips());
  chips.send_msi(0xfee01000, 0x4031);
  EXPECT_EQ(sent.address_lo, 0xfee01000u);
  EXPECT_EQ(sent.data, 0x4031u);
  std::array<target::InterruptChips::Route, 24> routes{};
  routes[11] = {.active = true, .address = 0xfee02000, .data = 0xc052};
  chips.set_ioapic_routes(routes);
  chips.set_ioapic_routes(routes);
  EXPECT_EQ(kvm.count(accel::kSetGsiRouting), 1u) << "nothing changed the second time";
  EXPECT_EQ(routes_seen, 1u);
  EXPECT_EQ(first.gsi, 11u);
  EXPECT_EQ(first.type, u32(KVM_IRQ_ROUTING_MSI));
  EXPECT_EQ(first.u.msi.data, 0xc052u);
}

TEST(KvmInterruptChips, EventsHaveRoutesAboveThePinsAndGiveThemBack) {
  FakeKvm kvm;
  accel::KvmFd vm(kvm, 101);
  kvm.on(KVM_ENABLE_CAP, [](u64) { return 0; });
  std::vector<kvm_irqfd> wires;
  kvm.on(KVM_IRQFD, [&](u64 argument) {
    wires.push_back(*reinterpret_cast<const kvm_irqfd*>(argument));
    return 0;
  });
  std::vector<kvm_irq_routing_entry> routes;
  kvm.on(accel::kSetGsiRouting, [&](u64 argument) {
    const u8* bytes = reinterpret_cast<const u8*>(argument);
    u32 count = 0;
    std::memcpy(&count, bytes, 4);
    routes.resize(count);
    std::memcpy(routes.data(), bytes + 8, count * sizeof routes[0]);
    return 0;
  });
  KvmMachine machine;
  KvmInterruptChips chips(machine);
  ASSERT_TRUE(chips.create(vm, KernelChips::Split));
  {
    const auto first = chips.on_event_send(5, 0xfee00000, 0x31), second = chips.on_event_send(6, 0xfee01000, 0x32);
    ASSERT_TRUE(first && second);
    ASSERT_EQ(routes.size(), 2u);
    EXPECT_EQ(routes[1].gsi, 25u);
    EXPECT_EQ(wires[1].gsi, 25u);
    EXPECT_EQ(wires[1].fd, 1006u) << "a descriptor of its own";
    ASSERT_TRUE((*second)->set_message(0xfee01000, 0x33));
    EXPECT_EQ(routes[1].u.msi.data, 0x33u);
  }
  EXPECT_TRUE(routes.empty());
  EXPECT_EQ(wires.back().flags, u32(KVM_IRQFD_FLAG_DEASSIGN));
  EXPECT_EQ(kvm.closed, (std::vector<int>{1006, 1005}));
  kvm.on(KVM_IRQFD, [](u64) { return -EINVAL; });
  EXPECT_FALSE(chips.on_event_send(7, 0xfee00000, 0x31));
  EXPECT_TRUE(routes.empty()) << "what was refused leaves nothing behind";
}

TEST(KvmX86Cpu, AResetClearsWhatFirmwareAllowedHypervisors) {
  FakeKvm kvm;
  const HostCpu host = describe_host(
      [](u32 leaf, u32 subleaf) {
        std::array<u32, 4> r = small_host(leaf, subleaf);
        if (leaf == 1) r[2] |= 1u << 5;  // VMX
        return r;
      },
      0);
  FakeCpu parts(kvm, "host", &host);
  ASSERT_TRUE(parts.cpu.cpu.has(Cpuid::Vmx));
  constexpr u32 kFeatureControl = 0x3a;
  const auto index_at = [](u64 argument, size_t i) {
    kvm_msr_entry entry{};
    std::memcpy(&entry, reinterpret_cast<const u8*>(argument) + 8 + i * sizeof entry, sizeof entry);
    return entry;
  };
  kvm.on(accel::kGetMsrs, [&](u64 argument) { return int(index_at(argument, 0).index == kFeatureControl); });
  unsigned cleared = 0;
  kvm.on(accel::kSetMsrs, [&](u64 argument) {
    const u32 count = reinterpret_cast<const accel::KvmMsrsHeader*>(argument)->nmsrs;
    for (u32 i = 0; i < count; ++i)
      cleared += index_at(argument, i).index == kFeatureControl && index_at(argument, i).data == 0;
    return int(count);
  });
  KvmX86Cpu cpu(parts.cpu.cpu, parts.parts(), parts.machine);
  ASSERT_TRUE(cpu.set_up());
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(cleared, 1u);
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(cleared, 1u) << "it is the guest's between resets";
  parts.cpu.cpu.reset();
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(cleared, 2u);
}

TEST(KvmX86Cpu, TheTimeStampCounterHasTheRateThatWasAskedFor) {
  const HostCpu host = describe_host(small_host, 0);
  const auto set_up = [&host](std::string_view option, bool scaling, int rate, u64& set) {
    FakeKvm kvm;
    FakeCpu parts(kvm, option, &host);
    parts.machine.features.tsc_rate = rate != 0;
    parts.machine.features.tsc_scaling = scaling;
    kvm.on(KVM_GET_TSC_KHZ, [rate](u64) { return rate; });
    kvm.on(KVM_SET_TSC_KHZ, [&set](u64 argument) {
      set = argument;
      return 0;
    });
    set = 0;
    return KvmX86Cpu(parts.cpu.cpu, parts.parts(), parts.machine).set_up();
  };
  u64 set = 0;
  EXPECT_TRUE(set_up("qemu64,check=off", true, 2'000'000, set) && set == 0) << "nobody asked";
  EXPECT_TRUE(set_up("qemu64,check=off,tsc-frequency=2.5G", true, 2'000'000, set) && set == 2'500'000);
  EXPECT_TRUE(set_up("qemu64,check=off,tsc-frequency=2000000000", false, 2'000'600, set) && set == 0) << "it is so";
  const auto refused = set_up("qemu64,check=off,tsc-frequency=2500M", false, 2'000'000, set);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("which is 2000000 kHz"), std::string::npos) << refused.error().message();
  EXPECT_FALSE(set_up("qemu64,check=off,tsc-frequency=2500M", false, 0, set));
  EXPECT_FALSE(parse_cpu_option("qemu64,tsc-frequency=2G")) << "translated guests have no such thing";
  for (const char* bad : {"", "fast", "2X", "2GG", "100", "-2G", "9999999G", "nan", "1e300"}) {
    EXPECT_FALSE(parse_cpu_option(fmt::format("qemu64,tsc-frequency={}", bad), &host)) << bad;
  }
}

TEST(KvmX86Cpu, TellsTheGuestsClockOfLostTimeWhereThereIsOne) {
  FakeKvm kvm;
  FakeCpu parts(kvm);
  KvmX86Cpu cpu(parts.cpu.cpu, parts.parts(), parts.machine);
  cpu.time_was_lost();
  EXPECT_EQ(kvm.count(KVM_KVMCLOCK_CTRL), 0u);
  parts.machine.features.clock_control = true;
  KvmX86Cpu with(parts.cpu.cpu, parts.parts(), parts.machine);
  with.time_was_lost();
  EXPECT_EQ(kvm.count(KVM_KVMCLOCK_CTRL), 1u);
}

TEST(KvmTarget, RefusesChipsThatThisHostHasNot) {
  FakeKvm kvm;
  kvm.on(accel::kGetSupportedCpuid, [](u64 argument) {
    *reinterpret_cast<u32*>(argument) = 0;
    return 0;
  });
  const auto device = accel::KvmDevice::open(kvm);
  ASSERT_TRUE(device);
  accel::KvmFd vm(kvm, 101);
  KvmX86Target target;
  const auto refused = target.set_up(*device, vm, {.chips = KernelChips::Split});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("kernel-irqchip=split"), std::string::npos);
  EXPECT_EQ(refused.error().hint(), "use kernel-irqchip=off");
  KvmX86Target plain;
  ASSERT_TRUE(plain.set_up(*device, vm, {}));
  EXPECT_EQ(plain.kernel_chips(), KernelChips::Off);
  EXPECT_EQ(plain.host_cpuid(1, 0)[2] & (1u << 21 | 1u << 24), 0u) << "no x2APIC without the kernel's APIC";
}

}  // namespace
}  // namespace emu::x86
