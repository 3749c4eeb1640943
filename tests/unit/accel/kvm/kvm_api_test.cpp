// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "unit/accel/kvm/fake_kvm.h"

namespace emu::accel {
namespace {

using test::FakeKvm;

TEST(KvmApi, RequestNumbersAreThoseOfC) {
  EXPECT_EQ(kGetSupportedCpuid, 0xc008ae05u);
  EXPECT_EQ(kSetCpuid2, 0x4008ae90u);
  EXPECT_EQ(kGetMsrs, 0xc008ae88u);
  EXPECT_EQ(kSetMsrs, 0x4008ae89u);
  EXPECT_EQ(kSetGsiRouting, 0x4008ae6au);
  EXPECT_EQ(kGetXsave, 0x9000aea4u);
  EXPECT_EQ(kSetXsave, 0x5000aea5u);
}

TEST(KvmApi, ListsLieBehindTheirHeader) {
  KvmList<KvmMsrsHeader, kvm_msr_entry> list(2);
  list.header().nmsrs = 2;
  list.set(1, {.index = 0x10, .reserved = 0, .data = 7});
  u64 words[5];
  std::memcpy(words, list.data(), sizeof words);
  EXPECT_EQ(words[0], 2u);
  EXPECT_EQ(words[3], 0x10u);
  EXPECT_EQ(words[4], 7u);
  EXPECT_EQ(list.get(1).data, 7u);
}

TEST(KvmDevice, SaysThatThereIsNoneAndWhatToDo) {
  FakeKvm kvm;
  kvm.open_result = -ENOENT;
  const auto device = KvmDevice::open(kvm);
  ASSERT_FALSE(device);
  EXPECT_NE(device.error().message().find("no KVM on this host: /dev/kvm"), std::string::npos);
  EXPECT_NE(device.error().hint().find("-accel tcg"), std::string::npos);
}

TEST(KvmDevice, SaysThatRightsAreMissingAndWhoHasThem) {
  FakeKvm kvm;
  kvm.open_result = -EACCES;
  const auto device = KvmDevice::open(kvm);
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().message(), "no rights to use /dev/kvm");
  EXPECT_NE(device.error().hint().find("group"), std::string::npos);
}

TEST(KvmDevice, RefusesAnotherInterface) {
  FakeKvm kvm;
  kvm.on(KVM_GET_API_VERSION, [](u64) { return 11; });
  const auto device = KvmDevice::open(kvm);
  ASSERT_FALSE(device);
  EXPECT_NE(device.error().message().find("version 11"), std::string::npos);
  EXPECT_EQ(kvm.closed, std::vector<int>{100});
}

TEST(KvmDevice, NamesTheCapabilityThatIsMissing) {
  FakeKvm kvm;
  kvm.extensions.erase(KVM_CAP_IMMEDIATE_EXIT);
  const auto device = KvmDevice::open(kvm);
  ASSERT_FALSE(device);
  EXPECT_NE(device.error().message().find("KVM_CAP_IMMEDIATE_EXIT"), std::string::npos);
  EXPECT_EQ(device.error().error_class(), ErrorClass::KVMMissingCap);
}

TEST(KvmDevice, ClosesWhatItOpened) {
  FakeKvm kvm;
  {
    const auto device = KvmDevice::open(kvm);
    ASSERT_TRUE(device);
    const auto vm = device->create_vm();
    ASSERT_TRUE(vm);
    EXPECT_EQ(vm->fd(), 101);
  }
  EXPECT_EQ(kvm.closed, (std::vector<int>{101, 100}));
}

TEST(KvmDevice, TriesAgainWhenAVmIsInterrupted) {
  FakeKvm kvm;
  const auto device = KvmDevice::open(kvm);
  ASSERT_TRUE(device);
  int tries = 0;
  kvm.on(KVM_CREATE_VM, [&](u64) { return ++tries < 3 ? -EINTR : 7; });
  EXPECT_EQ(device->create_vm()->fd(), 7);
}

}  // namespace
}  // namespace emu::accel
