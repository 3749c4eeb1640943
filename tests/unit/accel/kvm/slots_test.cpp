// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/slots.h"

#include <gtest/gtest.h>

#include "softmmu/memory/host_access.h"
#include "unit/accel/kvm/fake_kvm.h"

namespace emu::accel {
namespace {

using test::FakeKvm;

/// An address space, and what the fake kernel has of it.
class SlotTest : public testing::Test {
 protected:
  SlotTest() {
    kvm.on(KVM_SET_USER_MEMORY_REGION, [this](u64 argument) {
      const auto region = *reinterpret_cast<const kvm_userspace_memory_region*>(argument);
      if (region.memory_size == 0) {
        kernel.erase(region.slot);
      } else {
        kernel[region.slot] = region;
      }
      return 0;
    });
    const mem::MachineLockScope lock(memory.lock());
    ram = *memory.make_ram("ram", 0x10000);
    root->add(0x1000, mem::Region::ram(memory, "ram", ram));
    memory.add_ram_listener(table);
    space.add_listener(table);
  }
  ~SlotTest() override {
    const mem::MachineLockScope lock(memory.lock());
    space.remove_listener(table);
    memory.remove_ram_listener(table);
  }
  const kvm_userspace_memory_region* at(u64 address) const {
    for (const auto& [number, region] : kernel) {
      if (region.guest_phys_addr == address) return &region;
    }
    return nullptr;
  }

  FakeKvm kvm;
  KvmFd vm{kvm, 101};
  std::map<u32, kvm_userspace_memory_region> kernel;
  unsigned exclusions = 0;
  mem::Memory memory;
  mem::RegionRef root = mem::Region::container(memory, "root", mem::kWholeAddressSpace);
  mem::AddressSpace space{memory, "cpu", root};
  mem::RamRef ram;
  SlotTable table{vm, 4, [this](const std::function<void()>& work) {
                    ++exclusions;
                    work();
                  }};
};

TEST_F(SlotTest, RamIsAWritableSlotAtItsHostAddress) {
  ASSERT_NE(at(0x1000), nullptr);
  EXPECT_EQ(at(0x1000)->memory_size, 0x10000u);
  EXPECT_EQ(at(0x1000)->flags, 0u);
  EXPECT_EQ(at(0x1000)->userspace_addr, reinterpret_cast<u64>(mem::host_address(*ram, 0)));
  EXPECT_EQ(exclusions, 0u) << "nothing went";
}

TEST_F(SlotTest, RomIsReadOnlyAndDevicesHaveNone) {
  const mem::MachineLockScope lock(memory.lock());
  root->add(0x100000, mem::Region::rom(memory, "rom", *memory.make_ram("rom", 0x2000)));
  root->add(0x200000,
            mem::Region::mmio(memory, "device", 0x1000, mem::MmioFunctions::Read(), mem::MmioFunctions::Write()));
  ASSERT_NE(at(0x100000), nullptr);
  EXPECT_EQ(at(0x100000)->flags, u32(KVM_MEM_READONLY));
  EXPECT_EQ(kernel.size(), 2u);
}

TEST_F(SlotTest, ADeviceOverRamSplitsItAndPartsOfPagesAreLeftOut) {
  const mem::MachineLockScope lock(memory.lock());
  root->add(0x4800, mem::Region::mmio(memory, "device", 0x100, mem::MmioFunctions::Read(), mem::MmioFunctions::Write()),
            1);
  ASSERT_NE(at(0x1000), nullptr);
  EXPECT_EQ(at(0x1000)->memory_size, 0x3000u);
  ASSERT_NE(at(0x5000), nullptr);
  EXPECT_EQ(at(0x5000)->memory_size, 0xc000u);
  EXPECT_EQ(at(0x5000)->userspace_addr, reinterpret_cast<u64>(mem::host_address(*ram, 0x4000)));
  EXPECT_EQ(exclusions, 1u) << "the old slot went while no vCPU ran";
}

TEST_F(SlotTest, WriteProtectionReplacesTheSlotAndNumbersAreUsedAgain) {
  const mem::MachineLockScope lock(memory.lock());
  mem::Region& region = *root->children().front();
  for (int i = 0; i < 10; ++i) region.set_readonly(i % 2 == 0);
  EXPECT_EQ(at(0x1000)->flags, 0u);
  region.set_readonly(true);
  EXPECT_EQ(at(0x1000)->flags, u32(KVM_MEM_READONLY));
  EXPECT_TRUE(table.failure().empty());
  EXPECT_EQ(kernel.size(), 1u);
}

TEST_F(SlotTest, SaysWhichSlotTheKernelRefuses) {
  kvm.on(KVM_SET_USER_MEMORY_REGION, [](u64) { return -ENOMEM; });
  const mem::MachineLockScope lock(memory.lock());
  root->add(0x100000, mem::Region::ram(memory, "more", *memory.make_ram("more", 0x1000)));
  EXPECT_NE(table.failure().find("0x100000..0x100fff (more)"), std::string::npos) << table.failure();
}

TEST_F(SlotTest, DirtyPagesComeFromTheKernelsLog) {
  ram->set_logging(mem::DirtyClient::Display, true);
  table.write_tracking_restarted(ram->first_page(), ram->page_count());
  EXPECT_EQ(at(0x1000)->flags, u32(KVM_MEM_LOG_DIRTY_PAGES));
  ram->take_dirty(mem::DirtyClient::Display, 0, ram->size(), [](u64, u64) {});
  kvm.on(KVM_GET_DIRTY_LOG, [](u64 argument) {
    const auto& log = *reinterpret_cast<const kvm_dirty_log*>(argument);
    *static_cast<u64*>(log.dirty_bitmap) = 0b110;
    return 0;
  });
  std::vector<std::pair<u64, u64>> runs;
  ram->take_dirty(mem::DirtyClient::Display, 0, ram->size(),
                  [&](u64 offset, u64 length) { runs.emplace_back(offset, length); });
  EXPECT_EQ(runs, (std::vector<std::pair<u64, u64>>{{0x1000, 0x2000}}));
}

TEST_F(SlotTest, DirtyPagesComeFromRingsWhereThereAreSome) {
  std::vector<kvm_dirty_gfn> ring(4);
  table.add_ring(ring);
  ram->set_logging(mem::DirtyClient::Display, true);
  table.write_tracking_restarted(ram->first_page(), ram->page_count());
  ram->take_dirty(mem::DirtyClient::Display, 0, ram->size(), [](u64, u64) {});
  const unsigned before = exclusions;
  const u32 slot = at(0x1000)->slot;
  ring[0] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot, .offset = 2};
  ring[1] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot, .offset = 0x10};      // beyond it: the kernel would not
  ring[2] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot | 1 << 16, .offset = 5};  // of another address space
  kvm.on(KVM_RESET_DIRTY_RINGS, [&](u64) {
    EXPECT_TRUE(ram->is_dirty(mem::DirtyClient::Display, ram->page_at(0x2000))) << "before its next write can be noted";
    return 3;
  });
  std::vector<std::pair<u64, u64>> runs;
  ram->take_dirty(mem::DirtyClient::Display, 0, ram->size(),
                  [&](u64 offset, u64 length) { runs.emplace_back(offset, length); });
  EXPECT_EQ(runs, (std::vector<std::pair<u64, u64>>{{0x2000, 0x1000}}));
  EXPECT_EQ(ring[0].flags, u32(KVM_DIRTY_GFN_F_RESET));
  EXPECT_EQ(kvm.count(KVM_RESET_DIRTY_RINGS), 1u);
  EXPECT_GT(exclusions, before) << "vCPUs come out, so that none keeps pages to itself";
  kvm.on(KVM_RESET_DIRTY_RINGS, [](u64) { return 2; });
  ring[3] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot, .offset = 3};
  ring[0] = {.flags = KVM_DIRTY_GFN_F_DIRTY, .slot = slot, .offset = 4};
  table.collect_rings();
  EXPECT_TRUE(ram->is_dirty(mem::DirtyClient::Display, ram->page_at(0x3000)));
  EXPECT_TRUE(ram->is_dirty(mem::DirtyClient::Display, ram->page_at(0x4000))) << "round it goes";
}

}  // namespace
}  // namespace emu::accel
