// SPDX-License-Identifier: Apache-2.0
// The x86 half of KVM over a fake kernel: state in both directions, CPUID, interrupt chips.
#include <gtest/gtest.h>

#include "target/x86/eflags.h"
#include "target/x86/kvm/kvm_target.h"
#include "target/x86/translate.h"
#include "unit/accel/kvm/fake_kvm.h"

namespace emu::x86 {
namespace {

using accel::KernelChips;
using test::FakeKvm;

struct Cpu {
  explicit Cpu(std::string_view option) : model(*parse_cpu_option(option)) {}
  CpuModel model;
  X86Translator translator{make_helper_table(), insn_features(model.features)};
  X86Cpu cpu{CpuConfig{.index = 0, .apic_id = 0, .topology = {}, .model = model}, translator};
};

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

/// A vCPU over the fake kernel, which takes whatever it is told.
struct FakeCpu {
  explicit FakeCpu(FakeKvm& fake) : kvm(fake) {
    for (const unsigned long request :
         {(unsigned long)KVM_SET_SREGS, (unsigned long)KVM_SET_REGS, (unsigned long)KVM_GET_SREGS, (unsigned long)KVM_GET_REGS,
          (unsigned long)KVM_SET_FPU, (unsigned long)KVM_GET_FPU, (unsigned long)KVM_SET_VCPU_EVENTS,
          (unsigned long)KVM_GET_VCPU_EVENTS, accel::kGetMsrs, (unsigned long)KVM_KVMCLOCK_CTRL}) {
      kvm.on(request, [](u64) { return 0; });
    }
    kvm.on(accel::kSetMsrs, [](u64 argument) { return int(reinterpret_cast<const accel::KvmMsrsHeader*>(argument)->nmsrs); });
  }
  FakeKvm& kvm;
  Cpu cpu{"qemu64"};
  accel::KvmFd fd{kvm, 102};
  std::vector<u64> area = std::vector<u64>(sizeof(kvm_run) / 8 + 1);
  KvmMachine machine;
};

TEST(KvmX86Cpu, AResetEndsWhatAGuestHypervisorLeft) {
  FakeKvm kvm;
  FakeCpu parts(kvm);
  parts.machine.features.nested_bytes = 4096 + 128;
  kvm.on(KVM_GET_NESTED_STATE, [](u64 argument) {
    auto& state = *reinterpret_cast<kvm_nested_state*>(argument);
    EXPECT_EQ(state.size, 4096u + 128);
    state.format = KVM_STATE_NESTED_FORMAT_VMX;
    state.flags = KVM_STATE_NESTED_GUEST_MODE;
    state.hdr.vmx.vmxon_pa = 0x5000;
    return 0;
  });
  kvm_nested_state put{};
  kvm.on(KVM_SET_NESTED_STATE, [&](u64 argument) {
    put = *reinterpret_cast<const kvm_nested_state*>(argument);
    return 0;
  });
  KvmX86Cpu cpu(parts.cpu.cpu, {parts.cpu.cpu, parts.fd, *reinterpret_cast<kvm_run*>(parts.area.data()), KernelChips::Off},
                parts.machine);
  ASSERT_TRUE(cpu.put_state());
  ASSERT_TRUE(cpu.get_state());
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(kvm.count(KVM_SET_NESTED_STATE), 0u) << "without a reset the kernel has what it had";
  parts.cpu.cpu.reset();
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(kvm.count(KVM_SET_NESTED_STATE), 1u);
  EXPECT_EQ(put.flags, 0u);
  EXPECT_EQ(put.size, 128u);
  EXPECT_EQ(put.hdr.vmx.vmxon_pa, ~u64(0));
}

TEST(KvmX86Cpu, TellsTheGuestsClockOfLostTimeWhereThereIsOne) {
  FakeKvm kvm;
  FakeCpu parts(kvm);
  KvmX86Cpu cpu(parts.cpu.cpu, {parts.cpu.cpu, parts.fd, *reinterpret_cast<kvm_run*>(parts.area.data()), KernelChips::Off},
                parts.machine);
  cpu.time_was_lost();
  EXPECT_EQ(kvm.count(KVM_KVMCLOCK_CTRL), 0u);
  parts.machine.features.clock_control = true;
  KvmX86Cpu with(parts.cpu.cpu, {parts.cpu.cpu, parts.fd, *reinterpret_cast<kvm_run*>(parts.area.data()), KernelChips::Off},
                 parts.machine);
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
