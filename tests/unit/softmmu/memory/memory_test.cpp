// SPDX-License-Identifier: Apache-2.0
#include "softmmu/memory/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "softmmu/memory/host_access.h"

namespace emu::mem {
namespace {

using testing::ElementsAre;

class MemoryTest : public testing::Test {
 protected:
  RamRef ram(std::string id, u64 size) {
    auto made = memory_.make_ram(std::move(id), size);
    EMU_CHECK(made.has_value());
    return *made;
  }
  RegionRef ram_region(const std::string& id, u64 size) { return Region::ram(memory_, id, ram(id, size)); }
  /// An MMIO region that records its accesses and reads as `value`.
  RegionRef device(std::string name, u64 size, MmioOptions options = {}) {
    return Region::mmio(
        memory_, std::move(name), size,
        [this](u64 offset, unsigned n) {
          log_.push_back(fmt::format("r{}@{:x}", n, offset));
          return value_;
        },
        [this](u64 offset, u64 value, unsigned n) { log_.push_back(fmt::format("w{}@{:x}={:x}", n, offset, value)); },
        options);
  }
  std::vector<std::string> map() {
    std::vector<std::string> out;
    for (const FlatRange& r : space_->view().ranges()) {
      out.push_back(fmt::format("{:x}-{:x} {}+{:x}{}", r.first, r.last, r.region->name(), r.offset_in_region,
                                r.readonly ? " ro" : ""));
    }
    return out;
  }

  Memory memory_;
  RegionRef root_ = Region::container(memory_, "system", kWholeAddressSpace);
  std::unique_ptr<AddressSpace> space_ = std::make_unique<AddressSpace>(memory_, "memory", root_);
  std::vector<std::string> log_;
  u64 value_ = 0x8877665544332211;
};

TEST_F(MemoryTest, HigherPriorityCutsAHoleInLower) {
  root_->add(0, ram_region("ram", 0x10000));
  root_->add(0x4000, device("dev", 0x1000), 1);
  EXPECT_THAT(map(), ElementsAre("0-3fff ram+0", "4000-4fff dev+0", "5000-ffff ram+5000"));
}

TEST_F(MemoryTest, LaterOfEqualPriorityWins) {
  auto first = device("first", 0x2000);
  root_->add(0, first);
  root_->add(0x1000, device("second", 0x2000));
  EXPECT_THAT(map(), ElementsAre("0-fff first+0", "1000-2fff second+0"));
}

TEST_F(MemoryTest, AsManyBridgesAsThereAreBusesMayStandOneBehindTheOther) {
  RegionRef bus = root_;
  for (unsigned number = 1; number < 256; number++) {
    auto behind = Region::container(memory_, "bus", kWholeAddressSpace);
    bus->add(0x1000, Region::alias(memory_, "window", behind, 0x1000, 0x1000));
    bus = behind;
  }
  bus->add(0x1800, device("bar", 0x100));
  EXPECT_THAT(map(), ElementsAre("1800-18ff bar+0"));
}

TEST_F(MemoryTest, LowerContainerShowsThroughTheHolesOfAHigherOne) {
  auto pci = Region::container(memory_, "pci", 0x10000);
  pci->add(0x2000, device("bar", 0x1000));
  root_->add(0, pci, 1);
  root_->add(0, ram_region("ram", 0x8000), 0);
  EXPECT_THAT(map(), ElementsAre("0-1fff ram+0", "2000-2fff bar+0", "3000-7fff ram+3000"));
}

TEST_F(MemoryTest, AliasesSplitRamAroundTheHoleBelow4G) {
  auto ram = ram_region("pc.ram", 0x3000);
  root_->add(0, Region::alias(memory_, "low", ram, 0, 0x1000));
  root_->add(0x100000000, Region::alias(memory_, "high", ram, 0x1000, 0x2000));
  EXPECT_THAT(map(), ElementsAre("0-fff pc.ram+0", "100000000-100001fff pc.ram+1000"));
}

TEST_F(MemoryTest, AliasOfAContainerMovesWhatIsInIt) {
  auto pci = Region::container(memory_, "pci", kWholeAddressSpace);
  pci->add(0xe0000000, device("bar", 0x1000));
  root_->add(0xe0000000, Region::alias(memory_, "hole", pci, 0xe0000000, 0x10000000));
  EXPECT_THAT(map(), ElementsAre("e0000000-e0000fff bar+0"));
}

TEST_F(MemoryTest, EnableMoveResizeAndReadonlyAreSeen) {
  auto ram = ram_region("ram", 0x4000);
  auto window = Region::alias(memory_, "pam", ram, 0x1000, 0x1000);
  root_->add(0x1000, window);
  window->set_readonly(true);
  EXPECT_THAT(map(), ElementsAre("1000-1fff ram+1000 ro"));
  window->set_address(0x8000);
  window->set_size(0x2000);
  window->set_alias_offset(0x2000);
  EXPECT_THAT(map(), ElementsAre("8000-9fff ram+2000 ro"));
  window->set_enabled(false);
  EXPECT_THAT(map(), ElementsAre());
}

TEST_F(MemoryTest, RegionAtTheVeryTopIsFound) {
  root_->add(~u64(0) - 0xfff, device("top", 0x1000));
  EXPECT_THAT(map(), ElementsAre("fffffffffffff000-ffffffffffffffff top+0"));
  const Section section = space_->view().lookup(~u64(0));
  EXPECT_EQ(section.offset_in_region, 0xfffu);
  EXPECT_EQ(section.size, 1u);
}

TEST_F(MemoryTest, TransactionPublishesOnce) {
  struct Counter final : MemoryListener {
    void commit() override { ++commits; }
    void region_add(const FlatRange& r) override { added.push_back(r.region->name()); }
    void region_del(const FlatRange& r) override { removed.push_back(r.region->name()); }
    int commits = 0;
    std::vector<std::string> added, removed;
  } counter;
  space_->add_listener(counter);
  auto a = device("a", 0x1000), b = device("b", 0x1000);
  {
    Transaction transaction(memory_);
    root_->add(0, a);
    root_->add(0x1000, b);
  }
  EXPECT_EQ(counter.commits, 2);  // one for the registration
  root_->remove(*a);
  EXPECT_THAT(counter.added, ElementsAre("a", "b"));
  EXPECT_THAT(counter.removed, ElementsAre("a"));
  b->set_priority(3);  // changes nothing that can be seen
  EXPECT_EQ(counter.commits, 3);
  space_->remove_listener(counter);
}

TEST_F(MemoryTest, UnmappedReadsGiveAllOnes) {
  root_->add(0x1000, ram_region("ram", 0x1000));
  u64 value = 0;
  EXPECT_EQ(space_->load(0, 4, value), MemTxResult::DecodeError);
  EXPECT_EQ(value, 0xffffffffu);
  EXPECT_EQ(space_->store(0, 4, 1), MemTxResult::DecodeError);
  u8 bytes[4];
  EXPECT_EQ(space_->read(0x1ffe, bytes), MemTxResult::DecodeError);
  EXPECT_THAT(bytes, ElementsAre(0, 0, 0xff, 0xff));
  EXPECT_EQ(space_->read(~u64(0) - 1, bytes), MemTxResult::DecodeError);
}

TEST_F(MemoryTest, TypedReadsAndWritesKeepTheirByteOrder) {
  root_->add(0, ram_region("ram", 0x1000));
  EXPECT_EQ(space_->write<Le32>(8, 0x11223344), MemTxResult::Ok);
  EXPECT_EQ(space_->read<Le32>(8), 0x11223344u);
  EXPECT_EQ(space_->read<Be32>(8), 0x44332211u);
  EXPECT_EQ(space_->read<Le16>(0xfff), std::nullopt);
  struct Pair {
    Le16 a;
    Be16 b;
  };
  EXPECT_EQ(space_->read<Pair>(8)->b.get(), 0x2211);
}

TEST_F(MemoryTest, SliceRefusesWhatIsOutside) {
  root_->add(0, ram_region("ram", 0x1000));
  const GuestSlice slice(*space_, 0x100, 8);
  EXPECT_EQ(slice.write<Le32>(4, 7), MemTxResult::Ok);
  EXPECT_EQ(slice.read<Le32>(4), 7u);
  EXPECT_EQ(slice.read<Le32>(5), std::nullopt);
  EXPECT_EQ(slice.read<Le32>(~u64(0)), std::nullopt);
  EXPECT_EQ(slice.write<Le32>(~u64(0) - 1, 7), MemTxResult::DecodeError);
  EXPECT_EQ(slice.slice(4, 5).size(), 0u);
}

TEST_F(MemoryTest, AccessIsSplitToWhatTheDeviceTakes) {
  root_->add(0, device("dev", 0x100, {.impl = {1, 2}}));
  u64 value = 0;
  EXPECT_EQ(space_->load(0, 4, value), MemTxResult::Ok);
  EXPECT_EQ(value, 0x22112211u);
  EXPECT_EQ(space_->store(4, 4, 0xaabbccdd), MemTxResult::Ok);
  EXPECT_THAT(log_, ElementsAre("r2@0", "r2@2", "w2@4=ccdd", "w2@6=aabb"));
}

TEST_F(MemoryTest, NarrowAccessIsWidenedForTheDevice) {
  root_->add(0, device("dev", 0x100, {.impl = {4, 4}}));
  u64 value = 0;
  EXPECT_EQ(space_->load(5, 1, value), MemTxResult::Ok);
  EXPECT_EQ(value, 0x22u);  // byte 1 of 0x44332211
  EXPECT_EQ(space_->store(6, 2, 0xabcd), MemTxResult::Ok);
  EXPECT_THAT(log_, ElementsAre("r4@4", "w4@4=abcd0000"));
}

TEST_F(MemoryTest, UnalignedAccessIsSplitUnlessAllowed) {
  root_->add(0, device("dev", 0x100));
  root_->add(0x100, device("odd", 0x100, {.unaligned = true}));
  u64 value = 0;
  EXPECT_EQ(space_->load(1, 4, value), MemTxResult::Ok);
  EXPECT_EQ(space_->load(0x101, 4, value), MemTxResult::Ok);
  EXPECT_THAT(log_, ElementsAre("r1@1", "r2@2", "r1@4", "r4@1"));
}

TEST_F(MemoryTest, BigEndianRegionIsSwapped) {
  root_->add(0, device("dev", 0x100, {.endian = Endian::Big}));
  value_ = 0x11223344;
  u64 value = 0;
  EXPECT_EQ(space_->load(0, 4, value), MemTxResult::Ok);
  EXPECT_EQ(value, 0x44332211u);
  EXPECT_EQ(space_->store(0, 2, 0x1234), MemTxResult::Ok);
  EXPECT_EQ(log_.back(), "w2@0=3412");
}

TEST_F(MemoryTest, TooNarrowAccessIsRefused) {
  root_->add(0, device("dev", 0x100, {.valid = {4, 4}, .impl = {4, 4}}));
  u64 value = 0;
  EXPECT_EQ(space_->load(0, 2, value), MemTxResult::DecodeError);
  EXPECT_EQ(value, 0xffffu);
  EXPECT_EQ(space_->store(0, 1, 0), MemTxResult::DecodeError);
  EXPECT_THAT(log_, ElementsAre());
}

TEST_F(MemoryTest, AccessAcrossRamAndDeviceIsSplit) {
  root_->add(0, ram_region("ram", 0x1000));
  root_->add(0x1000, device("dev", 0x100));
  EXPECT_EQ(space_->store(0xffe, 4, 0x44332211), MemTxResult::Ok);
  EXPECT_EQ(space_->read<Le16>(0xffe), 0x2211);
  EXPECT_THAT(log_, ElementsAre("w2@0=4433"));
}

TEST_F(MemoryTest, RomIgnoresGuestWritesButNotDebugOnes) {
  auto block = ram("rom", 0x1000);
  root_->add(0, Region::rom(memory_, "rom", block));
  EXPECT_EQ(space_->write<Le32>(0, 5), MemTxResult::Ok);
  EXPECT_EQ(space_->read<Le32>(0), 0u);
  EXPECT_EQ(space_->write<Le32>(0, 5, {.debug = true}), MemTxResult::Ok);
  EXPECT_EQ(space_->read<Le32>(0), 5u);
}

TEST_F(MemoryTest, RomDeviceReadsMemoryAndWritesCallbacks) {
  auto flash = Region::rom_device(memory_, "flash", ram("flash", 0x1000),
                                  std::make_unique<MmioFunctions>([](u64, unsigned) { return 0x80; },
                                                                  [this](u64 offset, u64, unsigned) {
                                                                    log_.push_back(fmt::format("w@{:x}", offset));
                                                                  }));
  root_->add(0, flash);
  EXPECT_EQ(space_->read<u8>(0x10), 0);
  EXPECT_EQ(space_->write<u8>(0x10, 0x90), MemTxResult::Ok);
  flash->set_rom_mode(false);
  EXPECT_EQ(space_->read<u8>(0x10), 0x80);
  EXPECT_THAT(log_, ElementsAre("w@10"));
}

TEST_F(MemoryTest, RevokedRegionIsADecodeError) {
  auto dev = device("dev", 0x100);
  root_->add(0, dev);
  dev->revoke();
  EXPECT_EQ(space_->read<Le32>(0), std::nullopt);
  EXPECT_THAT(log_, ElementsAre());
}

TEST_F(MemoryTest, DeviceCannotEnterItself) {
  MemTxResult inner = MemTxResult::Ok;
  auto dev = Region::mmio(memory_, "dev", 0x100, {}, [&](u64, u64, unsigned) { inner = space_->write<Le32>(0, 1); });
  root_->add(0, dev);
  EXPECT_EQ(space_->write<Le32>(0, 1), MemTxResult::Ok);
  EXPECT_EQ(inner, MemTxResult::DeviceError);
}

TEST_F(MemoryTest, MachineLockIsTakenUnlessTheRegionDeclines) {
  bool held = false;
  const auto look = [&](u64, unsigned) -> u64 {
    held = memory_.lock().held_by_me();
    return 0;
  };
  root_->add(0, Region::mmio(memory_, "locked", 0x100, look, {}));
  root_->add(0x100, Region::mmio(memory_, "free", 0x100, look, {}, {.locking = Locking::None}));
  static_cast<void>(space_->read<Le32>(0));
  EXPECT_TRUE(held);
  static_cast<void>(space_->read<Le32>(0x100));
  EXPECT_FALSE(held);
  EXPECT_FALSE(memory_.lock().held_by_me());
}

TEST_F(MemoryTest, SectionDescribesThePage) {
  auto block = ram("ram", 0x3000);
  root_->add(0, Region::ram(memory_, "ram", block));
  root_->add(0x1800, device("dev", 0x100), 1);
  const FlatView& view = space_->view();
  EXPECT_TRUE(view.lookup(0x123).covers_page_of(0x123));
  EXPECT_FALSE(view.lookup(0x1004).covers_page_of(0x1004));
  EXPECT_FALSE(view.lookup(0x1ff0).covers_page_of(0x1ff0));
  EXPECT_TRUE(view.lookup(0x2000).covers_page_of(0x2000));
  EXPECT_EQ(view.lookup(0x2004).ram_page(), RamPage(u32(block->first_page()) + 2));
  EXPECT_EQ(host_address(*block, 0x2004), host_address(*view.lookup(0x2004).ram, view.lookup(0x2004).offset_in_ram));
  EXPECT_FALSE(view.lookup(0x9000).is_mapped());
}

TEST_F(MemoryTest, RamPagesAreNeverGivenOutTwice) {
  auto a = ram("a", 0x2000);
  const RamPage first = a->first_page();
  EXPECT_EQ(memory_.ram_block_of(first), a);
  EXPECT_FALSE(memory_.make_ram("a", 0x1000).has_value());
  a.reset();
  EXPECT_EQ(memory_.ram_block_of(first), nullptr);
  auto again = ram("a", 0x1000);
  EXPECT_GE(u32(again->first_page()), u32(first) + 2);
}

TEST_F(MemoryTest, HugeRamIsLazyAndZero) {
  auto big = ram("big", u64(8) << 30);
  EXPECT_TRUE(is_aligned(u64(host_address(*big, 0)), u64(2) << 20));
  u8 byte = 1;
  big->read((u64(8) << 30) - 1, &byte, 1);
  EXPECT_EQ(byte, 0);
}

struct RamEvents final : RamListener {
  void code_page_written(RamPage page, u32 offset, u32 length) override {
    events.push_back(fmt::format("code {}:{:x}+{:x}", u32(page), offset, length));
  }
  void write_tracking_restarted(RamPage first, u64 count) override {
    events.push_back(fmt::format("restart {}+{}", u32(first), count));
  }
  std::vector<std::string> events;
};

TEST_F(MemoryTest, DmaIntoCodeTellsTheTranslator) {
  RamEvents listener;
  memory_.add_ram_listener(listener);
  auto block = ram("ram", 0x4000);
  root_->add(0, Region::ram(memory_, "ram", block));
  EXPECT_FALSE(block->set_code(block->page_at(0x1000)));
  EXPECT_TRUE(block->needs_write_tracking(block->page_at(0x1000)));
  const u32 base = u32(block->first_page());

  EXPECT_EQ(space_->write<Le32>(0x3000, 1), MemTxResult::Ok);
  const std::vector<u8> bytes(0x1800);
  EXPECT_EQ(space_->write(0xff0, bytes), MemTxResult::Ok);

  EXPECT_THAT(listener.events, ElementsAre(fmt::format("code {}:0+1000", base + 1)));
  block->clear_code(block->page_at(0x1000));
  EXPECT_EQ(space_->write<Le32>(0x1000, 1), MemTxResult::Ok);
  EXPECT_EQ(listener.events.size(), 1u);
  memory_.remove_ram_listener(listener);
}

TEST_F(MemoryTest, DirtyPagesAreReportedOnceAndTlbsToldFirst) {
  RamEvents listener;
  memory_.add_ram_listener(listener);
  auto block = ram("vram", 0x8000);
  const u32 base = u32(block->first_page());
  EXPECT_FALSE(block->needs_write_tracking(block->first_page()));
  block->set_logging(DirtyClient::Display, true);
  EXPECT_TRUE(block->needs_write_tracking(block->first_page()));
  block->fill(0x1ff0, 7, 0x20);
  block->mark_dirty(block->page_at(0x6000));
  EXPECT_FALSE(block->needs_write_tracking(block->page_at(0x6000)));

  std::vector<std::pair<u64, u64>> runs;
  const auto collect = [&](u64 offset, u64 length) { runs.emplace_back(offset, length); };
  block->take_dirty(DirtyClient::Display, 0, 0x8000, collect);
  EXPECT_THAT(runs, ElementsAre(std::pair(0x1000, 0x2000), std::pair(0x6000, 0x1000)));
  EXPECT_THAT(listener.events, ElementsAre(fmt::format("restart {}+8", base), fmt::format("restart {}+2", base + 1),
                                           fmt::format("restart {}+1", base + 6)));
  runs.clear();
  block->take_dirty(DirtyClient::Display, 0, 0x8000, collect);
  EXPECT_TRUE(runs.empty());
  memory_.remove_ram_listener(listener);
}

TEST_F(MemoryTest, MapPinsRamAndBouncesTheRest) {
  auto block = ram("ram", 0x1000);
  root_->add(0, Region::ram(memory_, "ram", block));
  root_->add(0x1000, device("dev", 0x10));
  {
    auto spans = space_->map(0xff8, 16, Direction::ToGuest);
    ASSERT_TRUE(spans.has_value());
    ASSERT_EQ(spans->size(), 2u);
    EXPECT_EQ(block->pin_count(), 1u);
    std::fill_n((*spans)[0].data(), 8, u8(0xaa));
    std::fill_n((*spans)[1].data(), 8, u8(0xbb));
    EXPECT_TRUE(log_.empty());
  }
  EXPECT_EQ(block->pin_count(), 0u);
  EXPECT_EQ(space_->read<Le64>(0xff8), 0xaaaaaaaaaaaaaaaau);
  EXPECT_THAT(log_, ElementsAre("w8@0=bbbbbbbbbbbbbbbb"));
  EXPECT_FALSE(space_->map(0x2000, 16, Direction::FromGuest).has_value());
  EXPECT_FALSE(space_->map(0x1000, 16, Direction::FromGuest, {}, 8).has_value());
  EXPECT_FALSE(space_->map(~u64(0) - 3, 16, Direction::FromGuest).has_value());
}

TEST_F(MemoryTest, CompareExchangeWorksOnRamOnly) {
  root_->add(0, ram_region("ram", 0x1000));
  root_->add(0x1000, device("dev", 0x10));
  u64 seen = 0;
  EXPECT_EQ(space_->compare_exchange(8, 8, 0, 5, seen), MemTxResult::Ok);
  EXPECT_EQ(seen, 0u);
  EXPECT_EQ(space_->compare_exchange(8, 4, 0, 6, seen), MemTxResult::Ok);
  EXPECT_EQ(seen, 5u);
  EXPECT_EQ(space_->read<Le64>(8), 5u);
  EXPECT_EQ(space_->compare_exchange(0x1000, 4, 0, 6, seen), MemTxResult::DecodeError);
}

TEST_F(MemoryTest, TreeAndFlatDumpsNameTheRegions) {
  root_->add(0, Region::alias(memory_, "ram-below-4g", ram_region("pc.ram", 0x1000), 0, 0x1000));
  EXPECT_EQ(memory_.describe_tree(),
            "address-space: memory\n"
            "  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
            "    0000000000000000-0000000000000fff (prio 0, i/o): alias ram-below-4g @pc.ram "
            "0000000000000000-0000000000000fff\n\n");
  EXPECT_EQ(memory_.describe_flat(),
            "FlatView #0\n AS \"memory\", root: system\n"
            "  0000000000000000-0000000000000fff (prio 0, ram): pc.ram\n\n");
}

TEST_F(MemoryTest, OldViewLivesUntilTheVcpuIsQuiescent) {
  GracePeriods::Participant vcpu(memory_.grace());
  auto dev = device("dev", 0x100);
  std::weak_ptr<Region> watch = dev;
  root_->add(0, dev);
  while (memory_.grace().poll()) {}
  vcpu.online();
  const FlatView& held = space_->view();
  root_->remove(*dev);
  dev.reset();
  EXPECT_TRUE(memory_.grace().poll());
  EXPECT_FALSE(watch.expired());
  EXPECT_EQ(held.lookup(0).region, watch.lock().get());
  vcpu.quiescent();
  EXPECT_FALSE(memory_.grace().poll());
  EXPECT_TRUE(watch.expired());
  vcpu.offline();
}

TEST_F(MemoryTest, GuardDelaysDeferredWork) {
  bool ran = false;
  {
    const GracePeriods::ReadGuard guard(memory_.grace());
    memory_.defer([&] { ran = true; });
    EXPECT_TRUE(memory_.grace().poll());
    EXPECT_FALSE(ran);
  }
  EXPECT_FALSE(memory_.grace().poll());
  EXPECT_TRUE(ran);
}

TEST_F(MemoryTest, ReadersSurviveConcurrentRemapping) {
  // One thread maps and unmaps; others read. Under the sanitizers this shows a view freed too early.
  root_->add(0, ram_region("ram", 0x4000));
  auto window = ram_region("window", 0x1000);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        EXPECT_TRUE(space_->read<Le32>(0x1000).has_value());
        std::this_thread::yield();
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    root_->add(0x1000, window, 1);
    memory_.grace().poll();
    root_->remove(*window);
    memory_.grace().poll();
  }
  stop = true;
  for (auto& reader : readers) reader.join();
}

}  // namespace
}  // namespace emu::mem
