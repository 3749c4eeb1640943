// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_scsi.h"

#include <gmock/gmock.h>

#include <sys/resource.h>

#include <atomic>
#include <cerrno>
#include <random>
#include <thread>

#include "support/fake_block_backend.h"
#include "support/io_thread.h"
#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace scsi;
using namespace virtio;
using test::Buffer;
using test::FakeBlockBackend;
using testing::ElementsAre;
using testing::HasSubstr;
using Bytes = std::vector<u8>;
using Properties = std::vector<std::pair<std::string, qom::PropertyValue>>;

constexpr unsigned kControl = 0, kEvents = 1, kRequests = 2;
constexpr u64 kRequest = 0x1000, kResponse = 0x2000, kDataOut = 0x10000, kDataIn = 0x20000, kTmf = 0x3000;
constexpr u32 kCdbBytes = 32, kSenseBytes = 96, kRequestBytes = 19 + kCdbBytes, kResponseBytes = 12 + kSenseBytes;
enum Response : u8 { kOk = 0, kOverrun = 1, kAborted = 2, kBadTarget = 3, kReset = 4, kFailure = 9, kSucceeded = 10,
                     kRejected = 11, kIncorrectLun = 12 };

struct Answer {
  u32 sense_bytes, residual;
  u8 status, response;
  ScsiSense sense;
};

const Bytes kReady = {TEST_UNIT_READY, 0, 0, 0, 0, 0};
const Bytes kReadOne = {READ_10, 0, 0, 0, 0, 3, 0, 0, 1, 0};

class VirtioScsiTest : public testing::Test {
 protected:
  using Bench = test::VirtioBench<VirtioScsi>;

  void make(std::initializer_list<std::pair<std::string, qom::PropertyValue>> properties = {}) {
    bench = std::make_unique<Bench>(properties, std::function<void(VirtioScsi&, test::BenchMachine&)>(),
                                    [](qom::TypeRegistry& registry) {
                                      register_scsi_devices(registry);
                                      test::register_fake_backend(registry);
                                    });
  }
  void start(u64 features = ~u64(0)) {
    bench->start(features);
    bench->machine().run_main_loop();
  }
  FakeBlockBackend& plug(const char* type, const std::string& id, Properties properties = {}) {
    auto& drive = test::add_disk(bench->machine().tree(), id, 1 << 20);
    properties.push_back({"drive", id});
    auto plugged = plug_user_device(bench->machine(), type, "dev-" + id, properties, &bench->device().scsi_bus());
    EXPECT_TRUE(plugged.has_value()) << (plugged ? "" : plugged.error().text());
    if (plugged) reset_device(**plugged);
    return drive;
  }
  Device& device(const std::string& id) {
    return dynamic_cast<Device&>(*bench->machine().tree().find("/machine/peripheral/dev-" + id));
  }
  void put_request(const Bytes& cdb, u32 target, u32 lun, u64 tag, u64 at = kRequest) {
    Bytes bytes(kRequestBytes);
    bytes[0] = 1;
    bytes[1] = u8(target);
    bytes[2] = u8(0x40 | lun >> 8);
    bytes[3] = u8(lun);
    std::memcpy(&bytes[8], &tag, 8);
    std::copy(cdb.begin(), cdb.end(), bytes.begin() + 19);
    ASSERT_EQ(bench->memory().write(at, bytes), mem::MemTxResult::Ok);
  }
  /// Offers a command; the answer is at kResponse + 0x100 * slot.
  void submit(const Bytes& cdb, u32 in = 0, u32 out = 0, u32 target = 0, u32 lun = 0, u64 tag = 1, u32 slot = 0) {
    put_request(cdb, target, lun, tag, kRequest + 0x100 * slot);
    std::vector<Buffer> chain = {{kRequest + 0x100 * slot, kRequestBytes}};
    if (out != 0) chain.push_back({kDataOut, out});
    chain.push_back({kResponse + 0x100 * slot, kResponseBytes, true});
    if (in != 0) chain.push_back({kDataIn, in, true});
    bench->submit(kRequests, chain);
  }
  Answer answer(u32 slot = 0) {
    const std::string r = bench->read(kResponse + 0x100 * slot, kResponseBytes);
    const auto word = [&](size_t at) {
      Le32 value;
      std::memcpy(&value, r.data() + at, 4);
      return value.get();
    };
    return {word(0), word(4), u8(r[10]), u8(r[11]), {u8(r[12 + 2] & 0xf), u8(r[12 + 12]), u8(r[12 + 13])}};
  }
  Answer run(const Bytes& cdb, u32 in = 0, u32 out = 0, u32 target = 0, u32 lun = 0) {
    submit(cdb, in, out, target, lun);
    EXPECT_EQ(bench->queues[kRequests].take_used().size(), 1u);
    return answer();
  }
  /// A task management function; its response, or 0xee when it is not there yet.
  u8 manage(u32 function, u32 target, u32 lun, u64 tag) {
    auto& memory = bench->memory();
    EXPECT_EQ(memory.write<Le32>(kTmf, 0), mem::MemTxResult::Ok);
    EXPECT_EQ(memory.write<Le32>(kTmf + 4, function), mem::MemTxResult::Ok);
    const Bytes place = {1, u8(target), u8(0x40 | lun >> 8), u8(lun), 0, 0, 0, 0};
    EXPECT_EQ(memory.write(kTmf + 8, place), mem::MemTxResult::Ok);
    EXPECT_EQ(memory.write<Le64>(kTmf + 16, tag), mem::MemTxResult::Ok);
    EXPECT_EQ(memory.write<u8>(kTmf + 0x100, 0xee), mem::MemTxResult::Ok);
    bench->submit(kControl, {{kTmf, 24}, {kTmf + 0x100, 1, true}});
    return managed();
  }
  u8 managed() { return u8(bench->read(kTmf + 0x100, 1)[0]); }
  /// Gives the driver's event buffers, 16 bytes each from 0x5000.
  void offer_events(unsigned count) {
    for (unsigned i = 0; i < count; ++i) bench->submit(kEvents, {{0x5000 + 16 * i, 16, true}});
  }
  std::string event(unsigned number) {
    const std::string bytes = bench->read(0x5000 + 16 * number, 16);
    Le32 what, reason;
    std::memcpy(&what, bytes.data(), 4);
    std::memcpy(&reason, bytes.data() + 12, 4);
    return fmt::format("{:x} {}:{}:{} {:x}", what.get(), u8(bytes[4]), u8(bytes[5]),
                       (u8(bytes[6]) << 8 | u8(bytes[7])) & 0x3fff, reason.get());
  }

  std::unique_ptr<Bench> bench;
};

TEST_F(VirtioScsiTest, TheConfigurationSpaceDescribesTheController) {
  make({{"num_queues", u64(4)}, {"virtqueue_size", u64(64)}, {"max_sectors", u64(128)}, {"cmd_per_lun", u64(7)}});
  EXPECT_EQ(bench->config(0, 4), 4u);
  EXPECT_EQ(bench->config(4, 4), 62u);
  EXPECT_EQ(bench->config(8, 4), 128u);
  EXPECT_EQ(bench->config(12, 4), 7u);
  EXPECT_EQ(bench->config(16, 4), 16u);
  EXPECT_EQ(bench->config(20, 4), 96u);
  EXPECT_EQ(bench->config(24, 4), 32u);
  EXPECT_EQ(bench->config(28, 2), 0u);
  EXPECT_EQ(bench->config(30, 2), 255u);
  EXPECT_EQ(bench->config(32, 4), 16383u);
  EXPECT_EQ(bench->virtio().queue_count(), 6u);
  EXPECT_EQ(bench->virtio().default_vectors(), 7u);
  EXPECT_EQ(bench->virtio().offered_features() & 0xf, 6u);
}

TEST_F(VirtioScsiTest, ADiskIsFoundReadAndWritten) {
  make();
  FakeBlockBackend& drive = plug("scsi-hd", "d0");
  start();
  EXPECT_EQ(run(kReady).sense, sense::kReset);
  EXPECT_EQ(run(kReady).status, GOOD);

  Answer a = run({INQUIRY, 0, 0, 0, 36, 0}, 64);
  EXPECT_EQ(a.response, kOk);
  EXPECT_EQ(a.residual, 28u);
  EXPECT_EQ(bench->read(kDataIn + 8, 24), "QEMU    QEMU HARDDISK   ");

  a = run(kReadOne, 512);
  EXPECT_EQ(a.status, GOOD);
  EXPECT_EQ(a.residual, 0u);
  EXPECT_EQ(u8(bench->read(kDataIn, 1)[0]), FakeBlockBackend::pattern(3 * 512));

  bench->write(kDataOut, std::string(512, 'w'));
  a = run({WRITE_10, 0, 0, 0, 0, 5, 0, 0, 1, 0}, 0, 512);
  EXPECT_EQ(a.status, GOOD);
  EXPECT_EQ(drive.contents[5 * 512 + 511], 'w');
  EXPECT_GE(bench->transport().queue_interrupts, 1u);
}

TEST_F(VirtioScsiTest, UsedLengthIsResponseAndData) {
  make();
  plug("scsi-hd", "d0");
  start();
  run(kReady);
  submit({INQUIRY, 0, 0, 0, 36, 0}, 64);
  const auto used = bench->queues[kRequests].take_used();
  ASSERT_EQ(used.size(), 1u);
  EXPECT_EQ(used[0].length, kResponseBytes + 36);
}

TEST_F(VirtioScsiTest, SenseComesWithTheStatus) {
  make();
  plug("scsi-hd", "d0").fail_with = EIO;
  start();
  run(kReady);
  const Answer a = run(kReadOne, 512);
  EXPECT_EQ(a.response, kOk);
  EXPECT_EQ(a.status, CHECK_CONDITION);
  EXPECT_EQ(a.sense_bytes, 18u);
  EXPECT_EQ(a.sense, sense::kReadError);
  EXPECT_EQ(a.residual, 512u);
}

TEST_F(VirtioScsiTest, TheDriverChoosesTheSizesOfSenseAndCdb) {
  make();
  plug("scsi-hd", "d0");
  start();
  bench->virtio().write_config(20, 4, 4);
  bench->virtio().write_config(24, 16, 4);
  EXPECT_EQ(bench->config(20, 4), 4u);
  EXPECT_EQ(bench->config(24, 4), 16u);
  put_request(kReady, 0, 0, 1);
  bench->write(kResponse, std::string(32, '\x77'));
  bench->submit(kRequests, {{kRequest, 19 + 16}, {kResponse, 12 + 4, true}});
  EXPECT_EQ(answer().sense_bytes, 4u);
  EXPECT_EQ(bench->read(kResponse + 16, 1), "\x77");
  bench->virtio().write_config(24, 0, 4);
  bench->virtio().write_config(20, 0x10000, 4);
  EXPECT_EQ(bench->config(24, 4), 16u);
  EXPECT_EQ(bench->config(20, 4), 4u);
  start();
  EXPECT_EQ(bench->config(20, 4), kSenseBytes);
}

TEST_F(VirtioScsiTest, PlacesWhereNobodyIs) {
  make();
  plug("scsi-hd", "d0", {{"scsi-id", u64(2)}, {"lun", u64(300)}});
  start();
  EXPECT_EQ(run(kReady, 0, 0, 1).response, kBadTarget);
  EXPECT_EQ(run(kReady, 0, 0, 2, 300).response, kOk);
  // The target is there, this unit of it is not.
  Answer a = run({INQUIRY, 0, 0, 0, 36, 0}, 36, 0, 2, 0);
  EXPECT_EQ(a.response, kOk);
  EXPECT_EQ(u8(bench->read(kDataIn, 1)[0]), 0x7f);
  a = run(kReady, 0, 0, 2, 1);
  EXPECT_EQ(a.status, CHECK_CONDITION);
  EXPECT_EQ(a.sense, sense::kLunNotSupported);
  a = run({REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0}, 64, 0, 2, 300);
  EXPECT_EQ(a.residual, 64u - 24);
  EXPECT_EQ(bench->read(kDataIn + 16, 2), std::string("\x41\x2c"));  // flat addressing, 300
  a = run({REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0}, 64, 0, 2, 0);
  EXPECT_EQ(a.residual, 64u - 24);
}

TEST_F(VirtioScsiTest, BuffersThatDoNotFitTheCommand) {
  make();
  FakeBlockBackend& drive = plug("scsi-hd", "d0");
  start();
  run(kReady);
  drive.log.clear();
  EXPECT_EQ(run({READ_10, 0, 0, 0, 0, 0, 0, 0, 2, 0}, 1023).response, kOverrun);
  EXPECT_EQ(run({WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 512).response, kOverrun);  // the wrong way
  EXPECT_EQ(run(kReadOne, 512, 512).response, kFailure);                         // both ways
  EXPECT_TRUE(drive.log.empty());
  EXPECT_EQ(run(kReadOne, 1024).residual, 512u);
  // Not in RAM.
  put_request(kReadOne, 0, 0, 1);
  bench->submit(kRequests, {{kRequest, kRequestBytes}, {kResponse, kResponseBytes, true}, {u64(1) << 40, 512, true}});
  EXPECT_EQ(answer().response, 6);
  EXPECT_FALSE(bench->needs_reset());
}

TEST_F(VirtioScsiTest, AMalformedRequestBreaksTheDeviceUntilItIsReset) {
  make();
  plug("scsi-hd", "d0");
  const auto breaks = [&](unsigned queue, const std::vector<Buffer>& chain) {
    start();
    const unsigned before = bench->transport().config_interrupts;
    bench->submit(queue, chain);
    EXPECT_TRUE(bench->needs_reset());
    EXPECT_EQ(bench->transport().config_interrupts, before + 1);
  };
  breaks(kRequests, {{kRequest, kRequestBytes - 1}, {kResponse, kResponseBytes, true}});
  breaks(kRequests, {{kRequest, kRequestBytes}, {kResponse, kResponseBytes - 1, true}});
  breaks(kRequests, {{kRequest, kRequestBytes}});
  breaks(kRequests, {{u64(1) << 40, kRequestBytes}, {kResponse, kResponseBytes, true}});
  breaks(kControl, {{kRequest, 4}, {kResponse, 1, true}});
  start();
  EXPECT_FALSE(bench->needs_reset());
  EXPECT_EQ(run(kReady).response, kOk);
}

TEST_F(VirtioScsiTest, CommandsOverlapAndEndWhenTheyAreDone) {
  make();
  FakeBlockBackend& drive = plug("scsi-hd", "d0");
  start();
  run(kReady);
  drive.hold();
  for (u32 i = 0; i < 3; ++i) submit(kReadOne, 512, 0, 0, 0, i, i);
  EXPECT_EQ(drive.waiting(), 3u);
  EXPECT_TRUE(bench->queues[kRequests].take_used().empty());
  drive.release();
  drive.poll();
  EXPECT_EQ(bench->queues[kRequests].take_used().size(), 3u);
}

TEST_F(VirtioScsiTest, AbortTaskWaitsForTheOneAndLeavesTheOthers) {
  make();
  FakeBlockBackend& drive = plug("scsi-hd", "d0");
  start();
  run(kReady);
  drive.hold();
  submit(kReadOne, 512, 0, 0, 0, 11, 0);
  submit(kReadOne, 512, 0, 0, 0, 12, 1);
  EXPECT_EQ(manage(6, 0, 0, 11), kSucceeded);  // QUERY TASK
  EXPECT_EQ(manage(6, 0, 0, 99), kOk);
  EXPECT_EQ(manage(7, 0, 0, 0), kSucceeded);  // QUERY TASK SET
  EXPECT_EQ(manage(0, 0, 0, 11), 0xee);       // ABORT TASK
  drive.release();
  drive.poll();
  EXPECT_EQ(managed(), kOk);
  EXPECT_EQ(answer(0).response, kAborted);
  EXPECT_EQ(answer(1).response, kOk);
  EXPECT_EQ(manage(6, 0, 0, 11), kOk);
  EXPECT_EQ(manage(0, 0, 0, 11), kOk);  // gone is as good as aborted
}

TEST_F(VirtioScsiTest, ResetsOfUnitAndNexus) {
  make();
  FakeBlockBackend& first = plug("scsi-hd", "d0", {{"scsi-id", u64(0)}, {"lun", u64(0)}});
  FakeBlockBackend& second = plug("scsi-hd", "d1", {{"scsi-id", u64(0)}, {"lun", u64(1)}});
  start();
  run(kReady, 0, 0, 0, 0);
  run(kReady, 0, 0, 0, 1);
  first.hold();
  second.hold();
  submit(kReadOne, 512, 0, 0, 0, 1, 0);
  submit(kReadOne, 512, 0, 0, 1, 2, 1);
  EXPECT_EQ(manage(5, 0, 0, 0), 0xee);  // LOGICAL UNIT RESET
  first.release();
  first.poll();
  EXPECT_EQ(managed(), kOk);
  EXPECT_EQ(answer(0).response, kReset);
  EXPECT_EQ(manage(4, 0, 0, 0), 0xee);  // I_T NEXUS RESET
  second.release();
  second.poll();
  EXPECT_EQ(managed(), kOk);
  EXPECT_EQ(answer(1).response, kReset);
  bench->queues[kRequests].take_used();
  EXPECT_EQ(run(kReady, 0, 0, 0, 1).sense, sense::kReset);
}

TEST_F(VirtioScsiTest, TaskManagementOfWhatIsNotThere) {
  make();
  plug("scsi-hd", "d0");
  start();
  EXPECT_EQ(manage(5, 3, 0, 0), kBadTarget);
  EXPECT_EQ(manage(5, 0, 9, 0), kIncorrectLun);
  EXPECT_EQ(manage(2, 0, 0, 0), kRejected);  // CLEAR ACA
  EXPECT_EQ(manage(99, 0, 0, 0), kRejected);
}

TEST_F(VirtioScsiTest, AsynchronousNotificationsAreNone) {
  make();
  start();
  ASSERT_EQ(bench->memory().write<Le32>(kTmf, 2), mem::MemTxResult::Ok);
  bench->write(kTmf + 0x100, std::string(5, '\x77'));
  bench->submit(kControl, {{kTmf, 16}, {kTmf + 0x100, 5, true}});
  EXPECT_EQ(bench->read(kTmf + 0x100, 5), std::string(5, '\0'));
}

TEST_F(VirtioScsiTest, ADeviceResetTakesRequestsUnderWayWithIt) {
  make();
  FakeBlockBackend& drive = plug("scsi-hd", "d0");
  start();
  run(kReady);
  drive.hold();
  submit(kReadOne, 512);
  const u8 status = bench->virtio().status();
  bench->virtio().write_status(0);
  EXPECT_EQ(bench->virtio().status(), status);  // not before the last has come back
  bench->write(kResponse, std::string(16, '\x55'));
  drive.release();
  drive.poll();
  EXPECT_EQ(bench->virtio().status(), 0);
  EXPECT_EQ(bench->read(kResponse, 16), std::string(16, '\x55'));
  start();
  EXPECT_EQ(run(kReady).sense, sense::kReset);
}

TEST_F(VirtioScsiTest, TheDriverHearsOfUnitsThatComeAndGo) {
  make();
  start();
  offer_events(2);
  plug("scsi-hd", "d0", {{"scsi-id", u64(3)}, {"lun", u64(1)}});
  Bus& bus = bench->device().scsi_bus();
  bus.hotplug()->device_plugged(device("d0"));
  bench->machine().run_main_loop();
  EXPECT_EQ(bench->queues[kEvents].take_used().size(), 1u);
  EXPECT_EQ(event(0), "1 1:3:1 1");
  ASSERT_TRUE(bus.hotplug()->request_unplug(device("d0")).has_value());
  bench->machine().run_main_loop();
  bench->machine().run_main_loop();
  EXPECT_EQ(event(1), "1 1:3:1 2");
  while (bench->machine().memory().grace().poll()) {}
  EXPECT_THAT(bench->machine().deleted, ElementsAre("dev-d0"));
  EXPECT_EQ(run(kReady, 0, 0, 3, 1).response, kBadTarget);
}

TEST_F(VirtioScsiTest, EventsWaitForBuffersAndLossesAreTold) {
  make();
  plug("scsi-hd", "d0");
  start();
  const auto session = bench->device().scsi_bus().find({0, 0, 0});
  for (unsigned i = 0; i < 65; ++i) session->resized();
  offer_events(66);
  EXPECT_EQ(bench->queues[kEvents].take_used().size(), 64u);
  EXPECT_EQ(event(0), "80000003 1:0:0 92a");
  EXPECT_EQ(event(1), "3 1:0:0 92a");
  EXPECT_EQ(run(kReady).sense, sense::kReset);
  EXPECT_EQ(run(kReady).sense, sense::kCapacityChanged);
}

TEST_F(VirtioScsiTest, NoEventsWithoutTheFeatures) {
  make({{"hotplug", false}, {"param_change", false}});
  plug("scsi-hd", "d0");
  start();
  offer_events(1);
  bench->device().scsi_bus().find({0, 0, 0})->resized();
  bench->device().scsi_bus().hotplug()->device_plugged(device("d0"));
  bench->machine().run_main_loop();
  EXPECT_TRUE(bench->queues[kEvents].take_used().empty());
  EXPECT_EQ(bench->virtio().offered_features() & 0xf, 0u);
}

TEST_F(VirtioScsiTest, AnIoThreadServesTheQueuesWithoutTheMachineLock) {
  const auto add_thread = [](VirtioScsi&, test::BenchMachine& machine) {
    machine.tree().container("/objects").adopt("io0", machine.tree().make<test::ThreadObject>());
  };
  const std::initializer_list<std::pair<std::string, qom::PropertyValue>> properties = {
      {"iothread", "io0"}, {"num_queues", u64(2)}};
  bench = std::make_unique<Bench>(properties, add_thread, [](qom::TypeRegistry& registry) {
    test::register_io_thread(registry);
    register_scsi_devices(registry);
    test::register_fake_backend(registry);
  });
  auto* thread = dynamic_cast<test::ThreadObject*>(bench->machine().tree().find("/objects/io0"));
  ASSERT_NE(thread, nullptr);
  auto& drive = test::add_disk(bench->machine().tree(), "d0", 1 << 20);
  drive.moves = true;
  ASSERT_TRUE(plug_user_device(bench->machine(), "scsi-hd", "dev-d0", {{"drive", "d0"}}, &bench->device().scsi_bus())
                  .has_value());
  EXPECT_EQ(drive.at, &thread->loop());
  start();
  const mem::MachineLockScope lock(bench->machine().memory().lock());  // nobody else can have it from here on
  for (unsigned i = 0; i < 200; ++i) {
    const unsigned queue = kRequests + i % 2;
    put_request(kReadOne, 0, 0, i);
    bench->queues[queue].add({{kRequest, kRequestBytes}, {kResponse, kResponseBytes, true}, {kDataIn, 512, true}});
    bench->device().kick(queue);
    ASSERT_EQ(test::wait_for_used(bench->queues[queue]).size(), 1u);
    EXPECT_EQ(answer().status, i == 0 ? CHECK_CONDITION : GOOD);  // the first is told of the power-on
  }
  std::atomic<bool> settled = false;  // the last command is over, and not only answered
  thread->loop().post([&settled] { settled = true; });
  while (!settled) std::this_thread::sleep_for(std::chrono::microseconds(50));
  device("d0").unrealize_all();
  bench->machine().run_main_loop();
  EXPECT_EQ(drive.frontend, nullptr);
  static_cast<Device&>(bench->device()).unrealize_all();
  EXPECT_FALSE(thread->is_in_use());
}

TEST_F(VirtioScsiTest, PropertiesThatCannotBe) {
  make();
  const auto refused = [&](Properties properties) {
    bench->machine().tree();
    auto device = plug_user_device(bench->machine(), "bench-device", "", properties, &bench->transport().slot());
    EXPECT_FALSE(device.has_value());
    return device ? std::string() : device.error().text();
  };
  destroy(bench->device());
  EXPECT_THAT(refused({{"num_queues", u64(0)}}), HasSubstr("Invalid number of queues (= 0)"));
  EXPECT_THAT(refused({{"virtqueue_size", u64(100)}}), HasSubstr("invalid virtqueue_size (= 100)"));
  EXPECT_THAT(refused({{"t10_pi", true}}), HasSubstr("not supported"));
}

TEST_F(VirtioScsiTest, WithoutDescriptorsForItsQueuesItIsRefused) {
  bench = std::make_unique<Bench>(
      std::initializer_list<std::pair<std::string, qom::PropertyValue>>{},
      [](VirtioScsi&, test::BenchMachine& machine) {
        machine.tree().container("/objects").adopt("io0", machine.tree().make<test::ThreadObject>());
      },
      [](qom::TypeRegistry& registry) {
        register_scsi_devices(registry);
        test::register_fake_backend(registry);
        test::register_io_thread(registry);
      });
  destroy(bench->device());
  const auto plug_it = [&] {
    return plug_user_device(bench->machine(), "bench-device", "", {{"iothread", "io0"}}, &bench->transport().slot());
  };
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none{3, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto refused = plug_it();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().text(), HasSubstr("Too many open files"));
  auto made = plug_it();
  ASSERT_TRUE(made.has_value()) << made.error().text();
  destroy(**made);
}

TEST_F(VirtioScsiTest, NoRequestHarms) {
  make();
  plug("scsi-hd", "d0");
  plug("scsi-cd", "c0");
  start();
  std::minstd_rand random(5);
  for (unsigned i = 0; i < 20000; ++i) {
    Bytes bytes(kRequestBytes);
    for (u8& byte : bytes) byte = u8(random() % 3 == 0 ? random() : random() % 4);
    bytes[0] = 1;
    bytes[1] = u8(random() % 3);
    bytes[2] = bytes[3] = 0;
    bytes[19] = u8(random());
    ASSERT_EQ(bench->memory().write(kRequest, bytes), mem::MemTxResult::Ok);
    std::vector<Buffer> chain = {{kRequest, kRequestBytes}};
    if (random() % 2 != 0) chain.push_back({kDataOut, u32(random() % 5000)});
    chain.push_back({kResponse, kResponseBytes, true});
    if (random() % 2 != 0) chain.push_back({kDataIn, u32(random() % 70000), true});
    bench->submit(random() % 8 == 0 ? kControl : kRequests, chain);
    if (bench->needs_reset()) start();
    bench->queues[kRequests].take_used();
    bench->queues[kControl].take_used();
  }
}

TEST_F(VirtioScsiTest, SavedStateComesBack) {
  make();
  start();
  bench->virtio().write_config(20, 64, 4);
  Device& device = bench->device();
  const auto saved = device.save();
  reset_device(device);
  ASSERT_TRUE(device.load(saved).has_value());
  auto finished = device.finish_load();
  ASSERT_TRUE(finished.has_value()) << finished.error().text();
  EXPECT_EQ(bench->config(20, 4), 64u);
  EXPECT_EQ(saved.dump(), device.save().dump());
}

}  // namespace
}  // namespace emu::hw
