// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/device_writes.h"

#include <gtest/gtest.h>

#include "softmmu/memory/memory.h"
#include "unit/accel/kvm/fake_kvm.h"

namespace emu::accel {
namespace {

using test::FakeKvm;
using Written = std::vector<std::pair<u64, u64>>;

/// A device at 0x1000, and a fake kernel that has the page of waiting writes as the second of a vCPU's area.
class DeviceWritesTest : public testing::Test {
 protected:
  DeviceWritesTest() {
    kvm.extensions[KVM_CAP_IOEVENTFD] = 1;
    kvm.extensions[KVM_CAP_IOEVENTFD_ANY_LENGTH] = 1;
    kvm.extensions[KVM_CAP_COALESCED_MMIO] = 1;
    kvm.on(KVM_IOEVENTFD, [this](u64 argument) {
      if (refuse) return -ENOSPC;
      bells.push_back(*reinterpret_cast<const kvm_ioeventfd*>(argument));
      return 0;
    });
    kvm.on(KVM_REGISTER_COALESCED_MMIO, [this](u64 argument) {
      zones.push_back(*reinterpret_cast<const kvm_coalesced_mmio_zone*>(argument));
      return 0;
    });
    const mem::MachineLockScope lock(memory.lock());
    root->add(0x1000, region);
  }
  KvmDeviceWrites& writes() {
    if (made == nullptr) {
      made = std::make_unique<KvmDeviceWrites>(*device, vm);
      const mem::MachineLockScope lock(memory.lock());
      made->attach(space, nullptr, area.data(), area.size());
    }
    return *made;
  }
  KvmWriteRing& ring() { return *reinterpret_cast<KvmWriteRing*>(area.data() + 4096); }
  ~DeviceWritesTest() override {
    const mem::MachineLockScope lock(memory.lock());
    made.reset();
  }

  FakeKvm kvm;
  Result<KvmDevice> device = KvmDevice::open(kvm);
  KvmFd vm{kvm, 101};
  bool refuse = false;
  std::vector<kvm_ioeventfd> bells;
  std::vector<kvm_coalesced_mmio_zone> zones;
  std::vector<u8> area = std::vector<u8>(3 * 4096);
  mem::Memory memory;
  mem::RegionRef root = mem::Region::container(memory, "root", mem::kWholeAddressSpace);
  Written written;
  mem::RegionRef region = mem::Region::mmio(
      memory, "device", 0x100, {}, [this](u64 offset, u64 value, unsigned) { written.emplace_back(offset, value); });
  mem::AddressSpace space{memory, "cpu", root};
  std::unique_ptr<KvmDeviceWrites> made;
};

TEST_F(DeviceWritesTest, ADoorbellFollowsItsRegion) {
  writes().add_doorbell(*region, {.offset = 8, .bytes = 0, .value = {}, .event_fd = 5});
  ASSERT_EQ(bells.size(), 1u);
  EXPECT_EQ(bells[0].addr, 0x1008u);
  EXPECT_EQ(bells[0].len, 0u);
  EXPECT_EQ(bells[0].fd, 1005) << "a descriptor of its own";
  const mem::MachineLockScope lock(memory.lock());
  region->set_address(0x2000);
  ASSERT_EQ(bells.size(), 3u);
  EXPECT_EQ(bells[1].addr, 0x1008u);
  EXPECT_EQ(bells[1].flags, u32(KVM_IOEVENTFD_FLAG_DEASSIGN));
  EXPECT_EQ(bells[2].addr, 0x2008u);
  root->remove(*region);
  EXPECT_EQ(bells.back().flags, u32(KVM_IOEVENTFD_FLAG_DEASSIGN));
  EXPECT_EQ(writes().doorbells(), 0u);
  EXPECT_TRUE(kvm.closed.empty()) << "it may come back";
}

TEST_F(DeviceWritesTest, ADoorbellOfARegionThatIsGoneClosesItsDescriptor) {
  writes().add_doorbell(*region, {.offset = 8, .event_fd = 5});
  const mem::MachineLockScope lock(memory.lock());
  root->remove(*region);
  region.reset();
  while (memory.grace().poll()) {}
  root->add(0x5000, mem::Region::mmio(memory, "other", 0x100, {}, mem::MmioFunctions::Write()));
  EXPECT_EQ(kvm.closed, std::vector<int>{1005});
}

TEST_F(DeviceWritesTest, WhatTheKernelHasNoRoomForIsTriedAgain) {
  refuse = true;
  writes().add_doorbell(*region, {.offset = 8, .event_fd = 5});
  EXPECT_EQ(writes().doorbells(), 0u);
  refuse = false;
  const mem::MachineLockScope lock(memory.lock());
  region->set_address(0x2000);
  EXPECT_EQ(writes().doorbells(), 1u);
  EXPECT_EQ(bells.size(), 1u) << "and what it never had is not taken back";
}

TEST_F(DeviceWritesTest, WaitingWritesAreCarriedOutInOrderAndRoundTheRing) {
  writes().coalesce(*region);
  ASSERT_EQ(zones.size(), 1u);
  EXPECT_EQ(zones[0].addr, 0x1000u);
  EXPECT_EQ(zones[0].size, 0x100u);
  const u32 end = u32(ring().entries.size());
  EXPECT_EQ(end, 170u);
  ring().first = end - 1;
  ring().entries[end - 1] = {.phys_addr = 0x1004, .len = 4, .pad = 0, .data = {0x78, 0x56, 0x34, 0x12}};
  ring().entries[0] = {.phys_addr = 0x1010, .len = 1, .pad = 0, .data = {0x9a}};
  ring().entries[1] = {.phys_addr = 0x1010, .len = 3, .pad = 0, .data = {}};  // the kernel has none of these
  ring().last = 2;
  EXPECT_TRUE(writes().has_waiting());
  writes().drain();
  EXPECT_EQ(written, (Written{{4, 0x12345678}, {0x10, 0x9a}}));
  EXPECT_EQ(ring().first, 2u);
  EXPECT_FALSE(writes().has_waiting());
}

TEST_F(DeviceWritesTest, WhoLooksAtWhatWasDrawnSeesTheWritesBefore) {
  writes().coalesce(*region);
  const mem::MachineLockScope lock(memory.lock());
  const mem::RamRef picture = *memory.make_ram("picture", 0x1000);
  ring().entries[0] = {.phys_addr = 0x1000, .len = 1, .pad = 0, .data = {1}};
  ring().last = 1;
  picture->set_logging(mem::DirtyClient::Display, true);
  picture->take_dirty(mem::DirtyClient::Display, 0, 0x1000, [](u64, u64) {});
  EXPECT_EQ(written, (Written{{0, 1}}));
}

}  // namespace
}  // namespace emu::accel
