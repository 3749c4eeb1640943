// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_blk.h"

#include <cerrno>
#include <random>
#include <thread>

#include "support/io_thread.h"
#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using block::IoFlags;
using block::IoStatus;
using block::IoVec;
using test::Buffer;

/// A disk in memory. With `hold`, requests wait for release().
class MemoryDrive final : public block::BlockBackend {
 public:
  static void describe(qom::TypeInfo<MemoryDrive>& type) { type.doc("for tests"); }

  Result<void> attach(block::BlockFrontend& f) override {
    if (frontend != nullptr) return error("in use");
    frontend = &f;
    return {};
  }
  void detach(block::BlockFrontend& f) override {
    EXPECT_EQ(frontend, &f);
    EXPECT_EQ(under_way, 0);
    frontend = nullptr;
  }
  bool has_medium() const override { return medium; }
  u64 bytes() const override { return disk.size(); }
  bool is_read_only() const override { return read_only; }
  bool has_write_cache() const override { return write_cache; }
  void set_write_cache(bool enabled) override { write_cache = enabled; }
  bool can_discard() const override { return true; }
  bool may_join(bool) const override { return joins; }
  void joined(bool is_write, u64 requests) override { log.push_back(fmt::format("joined {} {}", is_write, requests)); }
  block::BlockLimits limits() const override { return {}; }
  std::string filename() const override { return "memory"; }
  EventLoop& loop() const override { return *at; }
  Result<void> move_to(EventLoop& loop) override {
    at = &loop;
    return {};
  }

  Task<IoStatus> read(u64 offset, IoVec to) override {
    co_await enter("read", offset, block::total_bytes(to));
    if (is_bad(offset, block::total_bytes(to))) co_return leave(EIO);
    for (const iovec& part : to) {
      std::memcpy(part.iov_base, disk.data() + offset, part.iov_len);
      offset += part.iov_len;
    }
    co_return leave();
  }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override {
    co_await enter(has(flags, IoFlags::Fua) ? "write-fua" : "write", offset, block::total_bytes(from));
    if (is_bad(offset, block::total_bytes(from))) co_return leave(EIO);
    for (const iovec& part : from) {
      std::memcpy(disk.data() + offset, part.iov_base, part.iov_len);
      offset += part.iov_len;
    }
    co_return leave();
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override {
    co_await enter(has(flags, IoFlags::MayUnmap) ? "zero-unmap" : "zero", offset, length);
    std::memset(disk.data() + offset, 0, length);
    co_return leave();
  }
  Task<IoStatus> discard(u64 offset, u64 length) override {
    co_await enter("discard", offset, length);
    co_return leave();
  }
  Task<IoStatus> flush() override {
    co_await enter("flush", 0, 0);
    co_return leave();
  }

  void release(size_t which) {
    waiting.at(which).complete(true);
    waiting.erase(waiting.begin() + long(which));
  }

  std::vector<u8> disk = std::vector<u8>(64 * 512);
  bool medium = true, read_only = false, write_cache = true, hold = false, joins = true;
  std::optional<u64> bad;  ///< a byte that cannot be read or written
  IoStatus result = 0;
  int under_way = 0;
  std::vector<std::string> log;
  std::vector<Completion<bool>> waiting;
  block::BlockFrontend* frontend = nullptr;
  EventLoop* at = nullptr;

 private:
  Task<void> enter(const char* what, u64 offset, u64 length) {
    EXPECT_TRUE(at->is_loop_thread());
    ++under_way;
    log.push_back(fmt::format("{} {}+{}", what, offset, length));
    if (hold) {
      const Completion<bool> gate(*at);
      waiting.push_back(gate);
      co_await gate;
    }
  }
  bool is_bad(u64 offset, u64 length) const { return bad && offset <= *bad && *bad < offset + length; }
  IoStatus leave(std::optional<IoStatus> status = {}) {
    --under_way;
    return status.value_or(result);
  }
};

constexpr u8 kOk = 0, kIoError = 1, kUnsupported = 2;
constexpr u64 kHeader = 0x1000, kData = 0x10000, kStatus = 0x2000;

class Blk : public testing::Test {
 protected:
  using Bench = test::VirtioBench<VirtioBlk>;

  void make(std::initializer_list<std::pair<std::string, qom::PropertyValue>> properties = {},
            const std::function<void(MemoryDrive&)>& prepare = {}) {
    bench = std::make_unique<Bench>(
        properties,
        [&](VirtioBlk& device, test::BenchMachine& machine) {
          drive = &machine.tree().container("/backend").adopt("d0", machine.tree().make<MemoryDrive>());
          drive->at = &loop;
          if (prepare) prepare(*drive);
          if (with_thread) machine.tree().container("/objects").adopt("io0", machine.tree().make<test::ThreadObject>());
          ASSERT_TRUE(static_cast<qom::Object&>(device).set("drive", "d0").has_value());
        },
        [](qom::TypeRegistry& registry) {
          test::register_io_thread(registry);
          registry.add_abstract<block::BlockBackend, qom::Object>();
          registry.add<MemoryDrive>("memory-drive");
        });
    turn();
  }
  void start(u64 features = ~u64(0)) {
    bench->start(features);
    turn();
  }
  void turn() {
    bench->machine().run_main_loop();
    while (loop.run_once(false)) {}
    bench->machine().run_main_loop();
  }
  void put_header(u32 type, u64 sector, u64 at = kHeader) {
    auto& memory = bench->memory();
    ASSERT_EQ(memory.write<Le32>(at, type), mem::MemTxResult::Ok);
    ASSERT_EQ(memory.write<Le64>(at + 8, sector), mem::MemTxResult::Ok);
    ASSERT_EQ(memory.write<u8>(kStatus, 0xee), mem::MemTxResult::Ok);
  }
  /// One request, served; gives its status. `data` lies between header and status.
  u8 request(u32 type, u64 sector, std::vector<Buffer> data = {}, u32 queue = 0) {
    put_header(type, sector);
    std::vector<Buffer> chain = {{kHeader, 16}};
    chain.insert(chain.end(), data.begin(), data.end());
    chain.push_back({kStatus, 1, true});
    bench->queues[queue].add(chain);
    bench->device().kick(queue);
    turn();
    EXPECT_EQ(bench->queues[queue].take_used().size(), 1u);
    return status();
  }
  u8 status() { return u8(bench->read(kStatus, 1)[0]); }
  void put_segment(u64 sector, u32 sectors, u32 flags) {
    ASSERT_EQ(bench->memory().write<Le64>(kData, sector), mem::MemTxResult::Ok);
    ASSERT_EQ(bench->memory().write<Le32>(kData + 8, sectors), mem::MemTxResult::Ok);
    ASSERT_EQ(bench->memory().write<Le32>(kData + 12, flags), mem::MemTxResult::Ok);
  }
  ~Blk() override {
    if (bench == nullptr) return;
    Device& device = bench->device();
    if (device.is_realized()) device.unrealize_all();
    turn();
  }

  EventLoop loop;
  bool with_thread = false;
  MemoryDrive* drive = nullptr;
  std::unique_ptr<Bench> bench;
};

TEST_F(Blk, TheConfigurationSpaceDescribesTheDisk) {
  make({{"num-queues", 3}, {"logical_block_size", 512}, {"physical_block_size", 4096}, {"queue-size", 128}});
  EXPECT_EQ(bench->config(0, 8), 64u);
  EXPECT_EQ(bench->config(12, 4), 126u);
  EXPECT_EQ(bench->config(20, 4), 512u);
  EXPECT_EQ(bench->config(24, 1), 3u);
  EXPECT_EQ(bench->config(32, 1), 1u);
  EXPECT_EQ(bench->config(34, 2), 3u);
  EXPECT_EQ(bench->config(36, 4), 0x3fffffu);
  EXPECT_EQ(bench->config(40, 4), 1u);
  EXPECT_EQ(bench->virtio().queue_count(), 3u);
  EXPECT_TRUE(bench->virtio().offered_features() & bit64(12));
}

TEST_F(Blk, ReadsAndWritesGoStraightBetweenDiskAndMemory) {
  make();
  start(~kFeatureEventIdx);
  bench->write(kData, std::string(512, 'a') + std::string(512, 'b'));
  EXPECT_EQ(request(1, 3, {{kData, 700}, {kData + 700, 324}}), kOk);
  EXPECT_EQ(drive->disk[3 * 512], 'a');
  EXPECT_EQ(drive->disk[4 * 512 + 511], 'b');
  EXPECT_EQ(request(0, 4, {{kData + 0x1000, 100, true}, {kData + 0x2000, 412, true}}), kOk);
  EXPECT_EQ(bench->read(kData + 0x1000, 100), std::string(100, 'b'));
  EXPECT_EQ(bench->read(kData + 0x2000, 412), std::string(412, 'b'));
  EXPECT_EQ(drive->log, (std::vector<std::string>{"write 1536+1024", "read 2048+512"}));
  EXPECT_EQ(bench->transport().queue_interrupts, 2u);
}

TEST_F(Blk, RequestsOutsideTheDiskOrOffItsBlocksFail) {
  make({{"logical_block_size", 1024}, {"physical_block_size", 1024}});
  start();
  EXPECT_EQ(request(0, 64, {{kData, 1024, true}}), kIoError);
  EXPECT_EQ(request(0, 62, {{kData, 2048, true}}), kIoError);
  EXPECT_EQ(request(0, ~u64(0), {{kData, 1024, true}}), kIoError);
  EXPECT_EQ(request(0, u64(1) << 55, {{kData, 1024, true}}), kIoError);
  EXPECT_EQ(request(0, 1, {{kData, 1024, true}}), kIoError);
  EXPECT_EQ(request(0, 0, {{kData, 512, true}}), kIoError);
  EXPECT_EQ(request(0, 0, {{0xf000'0000, 1024, true}}), kIoError);
  EXPECT_TRUE(drive->log.empty());
  EXPECT_EQ(request(0, 62, {{kData, 1024, true}}), kOk);
}

TEST_F(Blk, FlushIdAndUnknownRequests) {
  make({{"serial", "disk-serial-number-too-long"}});
  start();
  EXPECT_EQ(request(4, 0), kOk);
  EXPECT_EQ(drive->log, (std::vector<std::string>{"flush 0+0"}));
  EXPECT_EQ(request(8, 0, {{kData, 20, true}}), kOk);
  EXPECT_EQ(bench->read(kData, 20), "disk-serial-number-t");
  EXPECT_EQ(request(2, 0), kUnsupported);
  EXPECT_EQ(request(0x8000'0000, 0), kUnsupported);
}

TEST_F(Blk, DiscardAndWriteZeroesTakeOneSegmentWithinLimits) {
  make({{"max-discard-sectors", 8}, {"max-write-zeroes-sectors", 16}});
  start();
  put_segment(8, 8, 0);
  EXPECT_EQ(request(11, 0, {{kData, 16}}), kOk);
  EXPECT_EQ(request(13, 0, {{kData, 16}}), kOk);
  put_segment(8, 16, 1);
  EXPECT_EQ(request(13, 0, {{kData, 16}}), kOk);
  EXPECT_EQ(request(11, 0, {{kData, 16}}), kUnsupported);  // discard has no flags
  EXPECT_EQ(drive->log, (std::vector<std::string>{"discard 4096+4096", "zero 4096+4096", "zero-unmap 4096+8192"}));
  put_segment(8, 9, 0);
  EXPECT_EQ(request(11, 0, {{kData, 16}}), kIoError);
  put_segment(60, 8, 0);
  EXPECT_EQ(request(13, 0, {{kData, 16}}), kIoError);
  put_segment(8, 8, 0);
  EXPECT_EQ(request(13, 0, {{kData, 15}}), kIoError);
  EXPECT_EQ(request(13, 0, {{kData, 32}}), kIoError);
  put_segment(8, 8, 2);
  EXPECT_EQ(request(13, 0, {{kData, 16}}), kUnsupported);
}

TEST_F(Blk, AReadOnlyDiskSaysSoAndTakesNoWrites) {
  make({}, [](MemoryDrive& d) { d.read_only = true; });
  EXPECT_TRUE(bench->virtio().offered_features() & bit64(5));
  EXPECT_FALSE(bench->virtio().offered_features() & (bit64(13) | bit64(14)));
  start();
  EXPECT_EQ(request(1, 0, {{kData, 512}}), kIoError);
  EXPECT_EQ(request(0, 0, {{kData, 512, true}}), kOk);
}

TEST_F(Blk, ErrorsOfTheBackEndReachTheGuest) {
  make();
  start();
  drive->result = EIO;
  EXPECT_EQ(request(1, 0, {{kData, 512}}), kIoError);
  drive->result = ENOTSUP;
  EXPECT_EQ(request(4, 0), kUnsupported);
}

TEST_F(Blk, TheGuestSwitchesTheWriteCacheOff) {
  make();
  start();
  EXPECT_EQ(request(1, 0, {{kData, 512}}), kOk);
  bench->virtio().write_config(32, 0, 1);
  turn();
  EXPECT_FALSE(drive->write_cache);
  EXPECT_EQ(bench->config(32, 1), 0u);
  EXPECT_EQ(request(1, 0, {{kData, 512}}), kOk);
  EXPECT_EQ(drive->log, (std::vector<std::string>{"write 0+512", "write-fua 0+512"}));
  bench->virtio().write_status(0);
  turn();
  EXPECT_TRUE(drive->write_cache);
}

TEST_F(Blk, ADriverWithoutFlushGetsNoWriteCache) {
  make();
  start(0);
  EXPECT_EQ(request(1, 0, {{kData, 512}}), kOk);
  EXPECT_EQ(drive->log, (std::vector<std::string>{"write-fua 0+512"}));
}

TEST_F(Blk, AResizeIsToldWithAnInterrupt) {
  make();
  start();
  drive->disk.resize(128 * 512);
  drive->frontend->resized();
  EXPECT_EQ(bench->config(0, 8), 128u);
  EXPECT_EQ(bench->transport().config_interrupts, 1u);
  EXPECT_EQ(request(0, 100, {{kData, 512, true}}), kOk);
}

TEST_F(Blk, RequestsEndInTheOrderOfTheBackEnd) {
  make();
  start();
  drive->hold = true;
  std::vector<u16> ids;
  for (u64 i = 0; i < 3; ++i) {
    put_header(0, 2 * i, kHeader + 32 * i);
    ids.push_back(bench->queues[0].add({{kHeader + 32 * i, 16}, {kData, 512, true}, {kStatus + i, 1, true}}));
  }
  bench->device().kick(0);
  turn();
  ASSERT_EQ(drive->waiting.size(), 3u);
  drive->release(2);
  drive->release(0);
  turn();
  const auto used = bench->queues[0].take_used();
  ASSERT_EQ(used.size(), 2u);
  EXPECT_EQ(used[0].id, ids[2]);
  EXPECT_EQ(used[1].id, ids[0]);
  drive->release(0);
  turn();
}

/// Several requests at once, each with a header, data and a status of its own.
class BlkSeveral : public Blk {
 protected:
  void add(u32 type, u64 sector, u32 bytes = 512) {
    const u64 number = statuses++;
    put_header(type, sector, kHeader + 32 * number);
    bench->queues[0].add({{kHeader + 32 * number, 16}, {kData + bytes * number, bytes, type == 0},
                          {kStatus + number, 1, true}});
  }
  std::vector<u8> serve() {
    bench->device().kick(0);
    turn();
    EXPECT_EQ(bench->queues[0].take_used().size(), statuses);
    const std::string read = bench->read(kStatus, std::exchange(statuses, 0));
    return {read.begin(), read.end()};
  }
  std::vector<std::string> take_log() { return std::exchange(drive->log, {}); }
  std::size_t statuses = 0;
};

TEST_F(BlkSeveral, ThoseThatFollowUponEachOtherAreMadeAsOne) {
  make();
  start();
  bench->write(kData, std::string(512, 'a') + std::string(512, 'b') + std::string(512, 'c'));
  for (const u64 sector : {1, 2, 3, 5}) add(1, sector);
  add(0, 6);
  add(0, 7);
  EXPECT_EQ(serve(), std::vector<u8>(6, kOk));
  EXPECT_EQ(take_log(), (std::vector<std::string>{"write 512+1536", "joined true 2", "write 2560+512", "read 3072+1024",
                                                  "joined false 1"}));
  EXPECT_EQ(drive->disk[511], 0);
  EXPECT_EQ(drive->disk[512], 'a');
  EXPECT_EQ(drive->disk[3 * 512 - 1], 'b');
  EXPECT_EQ(drive->disk[3 * 512], 'c');
}

TEST_F(BlkSeveral, OneThatFailsDoesNotTakeTheOthersWithIt) {
  make();
  start();
  drive->bad = 1024;
  for (const u64 sector : {1, 2, 3}) add(0, sector);
  EXPECT_EQ(serve(), (std::vector<u8>{kOk, kIoError, kOk}));
  EXPECT_EQ(take_log(), (std::vector<std::string>{"read 512+1536", "read 512+512", "read 1024+512", "read 1536+512"}));
}

TEST_F(BlkSeveral, OneThatEndsOutsideTheDiskFailsAlone) {
  make();
  start();
  for (const u64 sector : {62, 63, 64}) add(1, sector);
  EXPECT_EQ(serve(), (std::vector<u8>{kOk, kOk, kIoError}));
}

TEST_F(BlkSeveral, NoneIsLongerThanTwoMegabytes) {
  make({}, [](MemoryDrive& disk) { disk.disk.resize(4 << 20); });
  start();
  for (u64 i = 0; i < 3; ++i) add(0, 2048 * i, 1 << 20);
  EXPECT_EQ(serve(), std::vector<u8>(3, kOk));
  EXPECT_EQ(take_log(), (std::vector<std::string>{"read 0+2097152", "joined false 1", "read 2097152+1048576"}));
}

TEST_F(BlkSeveral, EachIsMadeAloneWhereThatIsAskedFor) {
  make({{"request-merging", false}});
  start();
  for (const u64 sector : {1, 2}) add(1, sector);
  serve();
  EXPECT_EQ(take_log(), (std::vector<std::string>{"write 512+512", "write 1024+512"}));
}

TEST_F(BlkSeveral, EachIsMadeAloneWhereErrorsAreIgnored) {
  make();
  start();
  drive->joins = false;
  for (const u64 sector : {1, 2}) add(1, sector);
  serve();
  EXPECT_EQ(take_log(), (std::vector<std::string>{"write 512+512", "write 1024+512"}));
}

TEST_F(Blk, RequestsOfABusyQueueAreFoundWithoutNotifications) {
  make();
  start(~kFeatureEventIdx);
  drive->hold = true;
  put_header(0, 0);
  const auto add = [&] { bench->queues[0].add({{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}}); };
  const auto end_one = [&] {
    drive->release(0);
    turn();
    bench->queues[0].take_used();
  };
  for (unsigned i = 0; i < 4; ++i) add();
  const auto is_asked = [&] { return *bench->memory().read<Le16>(bench->queues[0].device_area()) == 0; };
  do {  // until enough have ended between two ticks
    for (unsigned i = 0; i < 8; ++i) add();
    bench->device().kick(0);
    turn();
    ASSERT_EQ(drive->waiting.size(), 12u);
    for (unsigned i = 0; i < 8; ++i) end_one();
    loop.run_once(true);
  } while (is_asked());
  add();
  end_one();
  EXPECT_EQ(drive->waiting.size(), 4u) << "found when another one ended";
  while (!is_asked()) loop.run_once(true);
  EXPECT_EQ(drive->waiting.size(), 4u);
  for (unsigned i = 0; i < 4; ++i) end_one();
}

TEST_F(Blk, AResetWaitsForWhatIsUnderWayAndTheDriverHearsNothingOfIt) {
  make();
  start();
  drive->hold = true;
  put_header(0, 0);
  bench->queues[0].add({{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}});
  bench->device().kick(0);
  turn();
  bench->virtio().write_status(0);
  EXPECT_NE(bench->virtio().status(), 0u);
  drive->release(0);
  turn();
  EXPECT_EQ(bench->virtio().status(), 0u);
  EXPECT_EQ(status(), 0xeeu);
  EXPECT_TRUE(bench->queues[0].take_used().empty());
  EXPECT_EQ(bench->transport().queue_interrupts, 0u);
}

TEST_F(Blk, AnUnpluggedDeviceGivesTheDriveBackAfterItsLastRequest) {
  make();
  start();
  drive->hold = true;
  put_header(0, 0);
  bench->queues[0].add({{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}});
  bench->device().kick(0);
  turn();
  static_cast<Device&>(bench->device()).unrealize_all();
  turn();
  EXPECT_NE(drive->frontend, nullptr);
  drive->release(0);
  turn();
  EXPECT_EQ(drive->frontend, nullptr);
  EXPECT_EQ(status(), 0xeeu);
}

TEST_F(Blk, MalformedRequestsBreakTheDevice) {
  make();
  for (const std::vector<Buffer>& chain :
       {std::vector<Buffer>{{kHeader, 15}, {kStatus, 1, true}}, {{kHeader, 16}}, {{kStatus, 1, true}},
        {{0xf000'0000, 16}, {kStatus, 1, true}}}) {
    start();
    bench->queues[0].add(chain);
    bench->device().kick(0);
    turn();
    EXPECT_TRUE(bench->needs_reset());
  }
  start();
  EXPECT_EQ(request(0, 0, {{kData, 512, true}}), kOk);
}

TEST_F(Blk, BadPropertiesAreRefused) {
  make();
  for (const auto& [name, value] : {std::pair("queue-size", "3"), std::pair("queue-size", "2048"),
                                    std::pair("num-queues", "0"), std::pair("logical_block_size", "513"),
                                    std::pair("logical_block_size", "8192"), std::pair("max-discard-sectors", "0")}) {
    auto& device = hw::place<VirtioBlk>(bench->machine());
    Device& base = device;
    ASSERT_TRUE(base.set(name, value).has_value());
    auto& other = bench->machine().tree().container("/backend").adopt("x[*]", bench->machine().tree().make<MemoryDrive>());
    other.at = &loop;
    ASSERT_TRUE(base.set("drive", other.path()).has_value());
    auto& slot = hw::place<test::TestTransport>(bench->machine());
    ASSERT_TRUE(static_cast<Device&>(slot).realize_on(&bench->machine().system_bus()).has_value());
    EXPECT_FALSE(base.realize_on(&slot.slot()).has_value()) << name;
    EXPECT_EQ(other.frontend, nullptr);
  }
}

TEST_F(Blk, SavedStateGoesOn) {
  make();
  start();
  bench->virtio().write_config(32, 0, 1);
  turn();
  Device& device = bench->device();
  const auto saved = device.save();
  reset_device(device);
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(saved.dump(), device.save().dump());
  EXPECT_EQ(request(1, 0, {{kData, 512}}), kOk);
  EXPECT_EQ(drive->log, (std::vector<std::string>{"write-fua 0+512"}));
}

TEST_F(Blk, AnIoThreadServesTheQueuesWithoutTheMachineLock) {
  with_thread = true;
  make({{"iothread", "io0"}, {"num-queues", 2}});
  auto* thread = dynamic_cast<test::ThreadObject*>(bench->machine().tree().find("/objects/io0"));
  EXPECT_TRUE(thread->is_in_use());
  EXPECT_EQ(drive->at, &thread->loop());
  start();
  mem::MachineLockScope lock(bench->machine().memory().lock());  // nobody else can have it from here on
  for (unsigned i = 0; i < 200; ++i) {
    put_header(0, i % 64);
    const u32 queue = i % 2;
    bench->queues[queue].add({{kHeader, 16}, {kData, 512, true}, {kStatus, 1, true}});
    bench->device().kick(queue);
    ASSERT_EQ(test::wait_for_used(bench->queues[queue]).size(), 1u);
    ASSERT_EQ(status(), kOk);
  }
  static_cast<Device&>(bench->device()).unrealize_all();
  for (unsigned tries = 0; drive->frontend != nullptr && tries < 20000; ++tries) {
    turn();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  EXPECT_EQ(drive->frontend, nullptr);
  EXPECT_EQ(drive->at, &loop);
  EXPECT_FALSE(thread->is_in_use());
}

TEST_F(Blk, RandomRequestsDoNotHarm) {
  make();
  std::minstd_rand random(17);
  for (unsigned round = 0; round < 2000; ++round) {
    start();
    put_header(random() % 15, random() % 70);
    put_segment(random() % 70, random() % 70, random() % 3);
    std::vector<Buffer> chain;
    const unsigned readable = random() % 4, writable = random() % 4;
    const u64 places[] = {kHeader, kData, kStatus, 0xf000'0000};
    const u32 lengths[] = {0, 1, 16, 512, 4096, 0xffff'ffff};
    for (unsigned i = 0; i < readable + writable; ++i) {
      chain.push_back({i == 0 ? kHeader : places[random() % 4], lengths[random() % 6], i >= readable});
    }
    if (chain.empty()) continue;
    bench->queues[0].add(chain);
    bench->device().kick(0);
    turn();
  }
}

}  // namespace
}  // namespace emu::hw
