// SPDX-License-Identifier: Apache-2.0
#include "hw/block/pflash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/device_bench.h"
#include "support/fake_block_backend.h"

namespace emu::hw {
namespace {

using test::FakeBlockBackend;
using testing::HasSubstr;

constexpr u64 kBytes = 64 * 1024, kAddress = 0x8000'0000;

class Bench {
 public:
  explicit Bench(bool read_only = false) : machine_(registry()) {
    disk_ = &test::add_disk(machine_.tree(), "d0", kBytes);
    disk_->read_only = read_only;
    flash_ = &place<Pflash>(machine_);
    Device& device = *flash_;
    EXPECT_TRUE(device.set("drive", "d0").has_value());
    auto realized = device.realize_on(&machine_.system_bus());
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
    machine_.system_memory().root()->add(kAddress, flash_->flash());
    reset_device(device);
  }
  u8 read(u64 offset) { return u8(read_wide(offset, 1)); }
  u64 read_wide(u64 offset, unsigned size) {
    u64 value = 0;
    EXPECT_EQ(machine_.system_memory().load(kAddress + offset, size, value), mem::MemTxResult::Ok);
    return value;
  }
  void write(u64 offset, u64 value, unsigned size = 1) {
    EXPECT_EQ(machine_.system_memory().store(kAddress + offset, size, value), mem::MemTxResult::Ok);
  }
  void run() {
    const mem::MachineLockScope guard(machine_.memory().lock());
    machine_.run_main_loop();
    disk_->poll();
  }
  FakeBlockBackend& disk() { return *disk_; }
  Device& device() { return *flash_; }
  test::BenchMachine& machine() { return machine_; }

 private:

  const qom::TypeRegistry& registry() {
    register_core_types(registry_);
    register_pflash(registry_);
    test::register_fake_backend(registry_);
    return registry_;
  }
  qom::TypeRegistry registry_;
  test::BenchMachine machine_;
  FakeBlockBackend* disk_;
  Pflash* flash_;
};

TEST(Pflash, ReadsAsMemory) {
  Bench bench;
  for (const u64 at : {u64(0), u64(4097), kBytes - 1}) EXPECT_EQ(bench.read(at), FakeBlockBackend::pattern(at));
}

TEST(Pflash, LooksToOvmfLikeFlash) {
  Bench bench;
  const u8 original = bench.read(5);
  bench.write(5, Pflash::CLEAR_STATUS);
  EXPECT_EQ(bench.read(5), original);
  bench.write(5, Pflash::READ_STATUS);
  EXPECT_EQ(bench.read(5), 0);
  bench.write(5, Pflash::READ_ARRAY);
  EXPECT_EQ(bench.read(5), original);
}

TEST(Pflash, ErasesAndProgramsAndTheDiskFollows) {
  Bench bench;
  bench.write(0x1234, Pflash::BLOCK_ERASE);
  bench.write(0x1234, Pflash::CONFIRM);
  EXPECT_EQ(bench.read(0), Pflash::kReady);
  bench.write(0x1001, Pflash::PROGRAM);
  bench.write(0x1001, 0xa5);
  bench.write(0x1001, Pflash::PROGRAM_ALT);
  bench.write(0x1001, 0x0f);
  bench.write(0x1001, Pflash::READ_ARRAY);
  EXPECT_EQ(bench.read(0x1000), 0xff);
  EXPECT_EQ(bench.read(0x1001), 0x05);  // bits are only cleared
  EXPECT_EQ(bench.read(0x0fff), FakeBlockBackend::pattern(0xfff));
  bench.run();
  EXPECT_EQ(bench.disk().contents[0x1001], 0x05);
  EXPECT_EQ(bench.disk().contents[0x1fff], 0xff);
  EXPECT_EQ(bench.disk().contents[0x2000], FakeBlockBackend::pattern(0x2000));
}

TEST(Pflash, WritesABuffer) {
  Bench bench;
  bench.write(0x2000, Pflash::BLOCK_ERASE);
  bench.write(0x2000, Pflash::CONFIRM);
  bench.write(0x2010, Pflash::WRITE_BUFFER);
  EXPECT_EQ(bench.read(0x2010), Pflash::kReady);
  bench.write(0x2010, 3);
  bench.write(0x2010, 0x11);
  bench.write(0x2011, 0x22);
  bench.write(0x2012, 0x4433, 2);
  bench.write(0x2010, Pflash::CONFIRM);
  bench.write(0x2010, Pflash::READ_ARRAY);
  EXPECT_EQ(bench.read_wide(0x2010, 4), 0x4433'2211u);
  EXPECT_EQ(bench.read(0x200f), 0xff);
}

TEST(Pflash, BufferOutsideItsStretchIsASequenceError) {
  Bench bench;
  bench.write(0x2010, Pflash::WRITE_BUFFER);
  bench.write(0x2010, 0);
  bench.write(0x9000, 0x11);
  bench.write(0x2010, Pflash::CONFIRM);
  EXPECT_EQ(bench.read(0), Pflash::kReady | Pflash::kEraseError | Pflash::kProgramError);
  bench.write(0, Pflash::CLEAR_STATUS);
  bench.write(0, Pflash::BLOCK_ERASE);
  bench.write(0, 0x12);
  EXPECT_EQ(bench.read(0), Pflash::kReady | Pflash::kEraseError | Pflash::kProgramError);
}

TEST(Pflash, QueryAndIds) {
  Bench bench;
  bench.write(0x55, Pflash::CFI_QUERY);
  EXPECT_EQ(bench.read(0x10), 'Q');
  EXPECT_EQ(bench.read(0x12), 'Y');
  EXPECT_EQ(bench.read(0x27), 16);
  EXPECT_EQ(bench.read(0x2d), 15);
  EXPECT_EQ(bench.read(0x2f), 16);
  bench.write(0, Pflash::READ_ID);
  EXPECT_EQ(bench.read(0), 0x89);
  EXPECT_EQ(bench.read(1), 0x18);
  bench.write(0, Pflash::READ_ARRAY);
}

TEST(Pflash, ReadOnlyDriveIsProtected) {
  Bench bench(true);
  bench.write(0, Pflash::PROGRAM);
  bench.write(0, 0);
  EXPECT_EQ(bench.read(0), Pflash::kReady | Pflash::kProgramError | Pflash::kProtected);
  bench.write(0, Pflash::READ_ARRAY);
  EXPECT_EQ(bench.read(0), FakeBlockBackend::pattern(0));
}

TEST(Pflash, ResetGoesBackToTheArray) {
  Bench bench;
  bench.write(0, Pflash::READ_STATUS);
  reset_device(bench.device());
  EXPECT_EQ(bench.read(0), FakeBlockBackend::pattern(0));
}

TEST(Pflash, WhatIsDirtyIsWrittenBeforeItGoes) {
  Bench bench;
  bench.write(0, Pflash::BLOCK_ERASE);
  bench.write(0, Pflash::CONFIRM);
  destroy(bench.device());
  EXPECT_EQ(bench.disk().contents[0], 0xff);
  EXPECT_EQ(bench.disk().frontend, nullptr);
}

TEST(Pflash, RefusesWhatItCannotBe) {
  Bench bench;
  const auto fails = [&](const char* property, qom::PropertyValue value) {
    Pflash& flash = place<Pflash>(bench.machine());
    Device& device = flash;
    test::add_disk(bench.machine().tree(), std::string("x") + property, kBytes + 512);
    EXPECT_TRUE(device.set("drive", std::string("x") + property).has_value());
    EXPECT_TRUE(device.set(property, value).has_value());
    auto realized = device.realize_on(&bench.machine().system_bus());
    EXPECT_FALSE(realized.has_value());
    return realized ? std::string() : realized.error().text();
  };
  EXPECT_THAT(fails("secure", true), HasSubstr("system management mode"));
  EXPECT_THAT(fails("width", u64(2)), HasSubstr("width=2"));
  EXPECT_THAT(fails("num-blocks", u64(3)), HasSubstr("the drive holds"));
}

TEST(Pflash, RoundTrip) {
  Bench bench;
  bench.write(0x2010, Pflash::WRITE_BUFFER);
  bench.write(0x2010, 1);
  bench.write(0x2010, 0x11);
  const auto saved = bench.device().save();
  reset_device(bench.device());
  ASSERT_TRUE(bench.device().load(saved).has_value());
  ASSERT_TRUE(bench.device().finish_load().has_value());
  EXPECT_EQ(saved.dump(), bench.device().save().dump());
  bench.write(0x2011, 0x00);
  bench.write(0x2010, Pflash::CONFIRM);
  EXPECT_EQ(bench.read(0), Pflash::kReady);
  bench.run();
}

}  // namespace
}  // namespace emu::hw
