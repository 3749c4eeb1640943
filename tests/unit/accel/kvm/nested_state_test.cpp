// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps for a guest that is a hypervisor: what goes there, when, and what is refused.
#include "target/x86/kvm/nested_state.h"

#include <gtest/gtest.h>

#include "unit/accel/kvm/fake_cpu.h"

namespace emu::x86 {
namespace {

using test::FakeCpu;
using test::FakeKvm;

constexpr u32 kMost = 128 + 4096;

kvm_nested_state in_vmx_guest(u32 bytes = kMost) {
  kvm_nested_state state{};
  state.flags = KVM_STATE_NESTED_GUEST_MODE;
  state.format = KVM_STATE_NESTED_FORMAT_VMX;
  state.size = bytes;
  state.hdr.vmx.vmxon_pa = 0x5000;
  state.hdr.vmx.vmcs12_pa = 0x6000;
  return state;
}

/// A kernel that answers with `state` and bytes behind it, and notes what it is given.
struct NestedKernel {
  NestedKernel() {
    kvm.on(KVM_GET_NESTED_STATE, [this](u64 argument) {
      auto* to = reinterpret_cast<kvm_nested_state*>(argument);
      EXPECT_EQ(to->size, kMost) << "as much as there is room for";
      *to = state;
      if (state.size > kMost) return -E2BIG;
      if (state.size > sizeof state)
        std::memset(reinterpret_cast<u8*>(to) + sizeof state, 0x5a, state.size - sizeof state);
      return 0;
    });
    kvm.on(KVM_SET_NESTED_STATE, [this](u64 argument) {
      const u8* from = reinterpret_cast<const u8*>(argument);
      put = *reinterpret_cast<const kvm_nested_state*>(argument);
      last_byte = put.size > sizeof put ? from[put.size - 1] : u8(0);
      return set_result;
    });
  }
  size_t puts() const { return kvm.count(KVM_SET_NESTED_STATE); }
  FakeKvm kvm;
  accel::KvmFd fd{kvm, 102};
  kvm_nested_state state = in_vmx_guest(), put{};
  u8 last_byte = 0;
  int set_result = 0;
};

TEST(NestedState, AResetLeavesVmxAndSvm) {
  NestedKernel kernel;
  NestedState nested(kMost);
  ASSERT_TRUE(nested.reset(kernel.fd));
  EXPECT_EQ(kernel.puts(), 0u) << "nothing is known of a new vCPU, and nothing is there";
  ASSERT_TRUE(nested.fetch(kernel.fd));
  ASSERT_TRUE(nested.reset(kernel.fd));
  EXPECT_EQ(kernel.put.flags, 0u);
  EXPECT_EQ(kernel.put.size, 128u);
  EXPECT_EQ(kernel.put.hdr.vmx.vmxon_pa, ~u64(0));
  EXPECT_EQ(kernel.put.hdr.vmx.vmcs12_pa, ~u64(0));
  kernel.state = {};
  kernel.state.format = KVM_STATE_NESTED_FORMAT_SVM;
  kernel.state.flags = KVM_STATE_NESTED_GUEST_MODE;
  kernel.state.size = kMost;
  ASSERT_TRUE(nested.fetch(kernel.fd));
  ASSERT_TRUE(nested.reset(kernel.fd));
  EXPECT_EQ(kernel.put.format, u32(KVM_STATE_NESTED_FORMAT_SVM));
  EXPECT_EQ(kernel.put.flags, u32(KVM_STATE_NESTED_GIF_SET));
  EXPECT_EQ(kernel.puts(), 2u);
  ASSERT_TRUE(nested.reset(kernel.fd));
  kernel.state.flags = KVM_STATE_NESTED_GIF_SET;
  kernel.state.size = 128;
  ASSERT_TRUE(nested.fetch(kernel.fd));
  ASSERT_TRUE(nested.reset(kernel.fd));
  EXPECT_EQ(kernel.puts(), 2u) << "it was so";
}

TEST(NestedState, WhatIsLoadedGoesThereOnceAndWhole) {
  NestedKernel from, to;
  NestedState saved(kMost), loaded(kMost);
  ASSERT_TRUE(saved.fetch(from.fd));
  ASSERT_EQ(saved.bytes().size(), kMost);
  ASSERT_TRUE(loaded.load(saved.bytes()));
  ASSERT_TRUE(loaded.put(to.fd));
  EXPECT_EQ(to.put.size, kMost);
  EXPECT_EQ(to.put.flags, u32(KVM_STATE_NESTED_GUEST_MODE));
  EXPECT_EQ(to.put.hdr.vmx.vmcs12_pa, 0x6000u);
  EXPECT_EQ(to.last_byte, 0x5a);
  ASSERT_TRUE(loaded.put(to.fd));
  EXPECT_EQ(to.puts(), 1u);
}

TEST(NestedState, SizesAreCheckedAgainstWhatTheKernelSaid) {
  NestedKernel kernel;
  NestedState nested(kMost);
  kernel.state.size = kMost + 1;
  const auto more = nested.fetch(kernel.fd);
  ASSERT_FALSE(more);
  EXPECT_NE(more.error().message().find("4225 bytes, more than the 4224"), std::string::npos) << more.error().message();
  kernel.state.size = 127;
  EXPECT_FALSE(nested.fetch(kernel.fd));
  EXPECT_TRUE(nested.bytes().empty()) << "what failed leaves nothing to be saved";

  std::vector<u8> bytes(kMost + 8);
  const auto claim = [&bytes](u32 size) {
    const kvm_nested_state header = in_vmx_guest(size);
    std::memcpy(bytes.data(), &header, sizeof header);
  };
  claim(kMost + 8);
  EXPECT_FALSE(nested.load(bytes)) << "more than this kernel takes";
  claim(kMost);
  EXPECT_FALSE(nested.load(std::span(bytes).first(200))) << "it says that there is more";
  EXPECT_FALSE(nested.load(std::span(bytes).first(127)));
  EXPECT_FALSE(nested.load({}));
  EXPECT_TRUE(nested.load(std::span(bytes).first(kMost)));

  NestedState none(0), too_small(64);
  EXPECT_FALSE(none.is_there() || too_small.is_there());
  EXPECT_FALSE(none.load(std::span(bytes).first(kMost)));
  EXPECT_TRUE(none.fetch(kernel.fd) && none.reset(kernel.fd) && none.put(kernel.fd));
  EXPECT_EQ(kernel.puts(), 0u);
}

TEST(NestedState, AnotherProcessorsFormatIsRefused) {
  NestedKernel kernel;
  NestedState nested(kMost);
  ASSERT_TRUE(nested.fetch(kernel.fd));
  kvm_nested_state other{};
  other.format = KVM_STATE_NESTED_FORMAT_SVM;
  other.size = sizeof other;
  EXPECT_FALSE(nested.load({reinterpret_cast<const u8*>(&other), sizeof other}));
  kernel.state.format = 7;
  ASSERT_TRUE(nested.fetch(kernel.fd));
  EXPECT_FALSE(nested.reset(kernel.fd)) << "we do not know what it has after a reset";
}

/// The kernel keeps bits of CR0, CR4 and EFER while a hypervisor is on: a reset ends it first, and what is loaded comes
/// after the registers that allow it.
TEST(NestedState, AVcpuHasItPutInTheRightOrder) {
  NestedKernel kernel;
  FakeCpu fake(kernel.kvm);
  fake.machine.features.nested_bytes = kMost;
  KvmX86Cpu cpu(fake.cpu.cpu, fake.parts(), fake.machine);
  const auto order = [&kernel] {
    std::string made;
    for (const auto& [fd, request] : std::exchange(kernel.kvm.calls, {})) {
      made += request == KVM_SET_NESTED_STATE ? "nested " : request == KVM_SET_SREGS ? "sregs " : "";
    }
    return made;
  };
  ASSERT_TRUE(cpu.put_state());
  ASSERT_TRUE(cpu.get_state());
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(order(), "sregs sregs ") << "without a reset the kernel has what it had";
  const std::vector<u8> saved(cpu.nested().bytes().begin(), cpu.nested().bytes().end());
  fake.cpu.cpu.reset();
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(order(), "nested sregs ");
  EXPECT_EQ(kernel.put.hdr.vmx.vmxon_pa, ~u64(0));
  ASSERT_TRUE(cpu.nested().load(saved));
  ASSERT_TRUE(cpu.put_state());
  EXPECT_EQ(order(), "sregs nested ");
  EXPECT_EQ(kernel.put.hdr.vmx.vmxon_pa, 0x5000u);
  ASSERT_TRUE(cpu.nested().load(saved));
  kernel.set_result = -EINVAL;
  const auto refused = cpu.put_state();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("KVM_SET_NESTED_STATE"), std::string::npos);
}

}  // namespace
}  // namespace emu::x86
