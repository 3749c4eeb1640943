// SPDX-License-Identifier: Apache-2.0
#include "hw/scsi/scsi_unit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/fake_block_backend.h"
#include "util/bits.h"

namespace emu::hw {
namespace {

using namespace scsi;
using test::FakeBlockBackend;
using testing::ElementsAre;
using Bytes = std::vector<u8>;

constexpr u64 kMiB = 1 << 20;

class Bench {
 public:
  explicit Bench(ScsiUnitConfig config = {}, u64 bytes = kMiB) : tree_(registry()) {
    disk_ = &test::add_disk(tree_, "d0", bytes);
    unit_ = std::make_unique<ScsiUnit>(*disk_, std::move(config));
    run({TEST_UNIT_READY, 0, 0, 0, 0, 0});  // takes the power-on attention
  }
  /// In: what came back. The buffer has `room`.
  Bytes run(const Bytes& cdb, Bytes out = {}, size_t room = 65536) {
    command = unit_->prepare(cdb);
    Bytes buffer = command.direction == ScsiDirection::Out ? out : Bytes(std::min<u64>(room, command.bytes));
    // In two parts, so that lists of more than one are met.
    const size_t half = buffer.size() / 2;
    const iovec parts[] = {{buffer.data(), half}, {buffer.data() + half, buffer.size() - half}};
    result = run_sync(disk_->loop(), unit_->execute(command, parts));
    if (command.direction == ScsiDirection::In) buffer.resize(result.bytes);
    return buffer;
  }
  ScsiSense fail(const Bytes& cdb, Bytes out = {}) {
    run(cdb, std::move(out));
    EXPECT_EQ(result.status, result.sense ? CHECK_CONDITION : GOOD);
    return result.sense;
  }
  FakeBlockBackend& disk() { return *disk_; }
  ScsiUnit& unit() { return *unit_; }

  ScsiCommand command;
  ScsiResult result;

 private:
  const qom::TypeRegistry& registry() {
    test::register_fake_backend(registry_);
    return registry_;
  }
  qom::TypeRegistry registry_;
  qom::ObjectTree tree_;
  FakeBlockBackend* disk_;
  std::unique_ptr<ScsiUnit> unit_;
};

ScsiUnitConfig cd() {
  return {.kind = ScsiUnitConfig::Kind::CdRom, .atapi = true, .product = "QEMU DVD-ROM", .serial = "C1",
          .logical_block = 2048, .physical_block = 2048};
}

TEST(ScsiUnit, PowerOnIsToldOnceButInquiryPasses) {
  Bench bench;
  bench.unit().reset();
  bench.run({INQUIRY, 0, 0, 0, 36, 0});
  EXPECT_EQ(bench.result.status, GOOD);
  EXPECT_EQ(bench.fail({TEST_UNIT_READY, 0, 0, 0, 0, 0}), sense::kReset);
  EXPECT_EQ(bench.fail({TEST_UNIT_READY, 0, 0, 0, 0, 0}), sense::kNone);
}

TEST(ScsiUnit, RequestSenseGivesTheLastErrorOfAtapiOnce) {
  Bench bench(cd());
  EXPECT_EQ(bench.fail({0x99, 0, 0, 0, 0, 0}), sense::kInvalidOpcode);
  Bytes bytes = bench.run({REQUEST_SENSE, 0, 0, 0, 252, 0});
  ASSERT_EQ(bytes.size(), 18u);
  EXPECT_EQ(bytes[0], 0x70);
  EXPECT_EQ(bytes[2], 5);
  EXPECT_EQ(bytes[12], 0x20);
  bytes = bench.run({REQUEST_SENSE, 0, 0, 0, 252, 0});
  EXPECT_EQ(bytes[2], 0);
}

TEST(ScsiUnit, RequestSenseKnowsNothingOfWhatTheStatusBrought) {
  Bench bench;
  EXPECT_EQ(bench.fail({0x99, 0, 0, 0, 0, 0}), sense::kInvalidOpcode);
  const Bytes bytes = bench.run({REQUEST_SENSE, 0, 0, 0, 252, 0});
  ASSERT_EQ(bytes.size(), 18u);
  EXPECT_EQ(bytes[2], 0);
}

TEST(ScsiUnit, AResetBringsTheWriteCacheBack) {
  Bench bench;
  bench.run({MODE_SELECT_6, 0x10, 0, 0, 24, 0},
            {0, 0, 0, 0, 8, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_FALSE(bench.disk().write_cache);
  // The default is what it was at first, not what it is now.
  EXPECT_EQ(bench.run({MODE_SENSE_6, 8, 0x88, 0, 252, 0}).at(4 + 2), 4);
  EXPECT_EQ(bench.run({MODE_SENSE_6, 8, 0x08, 0, 252, 0}).at(4 + 2), 0);
  bench.unit().reset();
  EXPECT_TRUE(bench.disk().write_cache);
}

TEST(ScsiUnit, RangesAboveTheLimitsThatWereToldAreRefused) {
  Bench bench({.max_unmap_bytes = 4096}, 4 * kMiB);
  Bytes list(8 + 16);
  put_be<u16>(&list[2], 16);
  put_be<u32>(&list[16], 8);
  EXPECT_EQ(bench.fail({UNMAP, 0, 0, 0, 0, 0, 0, 0, 24, 0}, list), sense::kNone);
  put_be<u32>(&list[16], 9);
  EXPECT_EQ(bench.fail({UNMAP, 0, 0, 0, 0, 0, 0, 0, 24, 0}, list), sense::kInvalidParameter);
}

TEST(ScsiUnit, VerifyComparesLongDataPieceByPiece) {
  Bench bench({}, kMiB);
  Bytes same(300 * 512);
  for (size_t i = 0; i < same.size(); i++) same[i] = FakeBlockBackend::pattern(512 + i);
  const Bytes cdb = {VERIFY_10, 0x02, 0, 0, 0, 1, 0, 1, 44, 0};
  EXPECT_EQ(bench.fail(cdb, same), sense::kNone);
  same.back() ^= 1;
  EXPECT_EQ(bench.fail(cdb, same), sense::kMiscompare);
}

TEST(ScsiUnit, InquiryNamesTheDiskAndHeedsTheAllocationLength) {
  Bench bench({.product = "QEMU HARDDISK"});
  const Bytes bytes = bench.run({INQUIRY, 0, 0, 0, 96, 0});
  ASSERT_EQ(bytes.size(), 36u);
  EXPECT_EQ(std::string(bytes.begin() + 8, bytes.begin() + 32), "QEMU    QEMU HARDDISK   ");
  EXPECT_EQ(bench.run({INQUIRY, 0, 0, 0, 5, 0}).size(), 5u);
  EXPECT_TRUE(bench.run({INQUIRY, 0, 0, 0, 0, 0}).empty());
  EXPECT_EQ(bench.fail({INQUIRY, 0, 0x80, 0, 96, 0}), sense::kInvalidField);
  EXPECT_EQ(bench.run({INQUIRY, 1 << 5, 0, 0, 96, 0}), bytes);  // SCSI-2 repeats the unit's number there
  EXPECT_EQ(bench.fail({INQUIRY, 1 << 4, 0, 0, 96, 0}), sense::kInvalidField);
}

TEST(ScsiUnit, VitalProductData) {
  Bench bench({.serial = "SER1", .wwn = 0x5000'1234'5678'9abc, .rotation_rate = 1});
  EXPECT_THAT(bench.run({INQUIRY, 1, 0x00, 0, 252, 0}), ElementsAre(0, 0, 0, 6, 0, 0x80, 0x83, 0xb0, 0xb1, 0xb2));
  EXPECT_THAT(bench.run({INQUIRY, 1, 0x80, 0, 252, 0}), ElementsAre(0, 0x80, 0, 4, 'S', 'E', 'R', '1'));
  const Bytes id = bench.run({INQUIRY, 1, 0x83, 0, 252, 0});
  ASSERT_EQ(id.size(), 4u + 8 + 12);
  EXPECT_EQ(id[12 + 0], 1);
  EXPECT_EQ(id[12 + 1], 3);
  EXPECT_EQ(get_be<u64>(&id[16]), 0x5000'1234'5678'9abcu);
  const Bytes limits = bench.run({INQUIRY, 1, 0xb0, 0, 252, 0});
  ASSERT_EQ(limits.size(), 64u);
  EXPECT_EQ(get_be<u32>(&limits[20]), (1u << 30) / 512);
  EXPECT_EQ(bench.run({INQUIRY, 1, 0xb1, 0, 252, 0}).at(5), 1);
  EXPECT_EQ(bench.run({INQUIRY, 1, 0xb2, 0, 252, 0}).at(5), 0xe0);
  EXPECT_EQ(bench.fail({INQUIRY, 1, 0xb9, 0, 252, 0}), sense::kInvalidField);
}

TEST(ScsiUnit, CapacityIsTheLastBlock) {
  Bench bench;
  EXPECT_THAT(bench.run({READ_CAPACITY_10, 0, 0, 0, 0, 0, 0, 0, 0, 0}), ElementsAre(0, 0, 7, 0xff, 0, 0, 2, 0));
  const Bytes bytes = bench.run({SERVICE_ACTION_IN_16, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0});
  ASSERT_EQ(bytes.size(), 32u);
  EXPECT_EQ(get_be<u64>(&bytes[0]), 2047u);
  EXPECT_EQ(bytes[14], 0x80);
  EXPECT_EQ(bench.fail({SERVICE_ACTION_IN_16, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}), sense::kInvalidField);
}

TEST(ScsiUnit, EveryLengthOfReadReads) {
  Bench bench;
  const Bytes cdbs[] = {{READ_6, 0, 0, 3, 2, 0},
                        {READ_10, 0, 0, 0, 0, 3, 0, 0, 2, 0},
                        {READ_12, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0},
                        {READ_16, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0}};
  for (const Bytes& cdb : cdbs) {
    const Bytes data = bench.run(cdb);
    ASSERT_EQ(data.size(), 1024u);
    for (size_t i = 0; i < data.size(); i++) ASSERT_EQ(data[i], FakeBlockBackend::pattern(3 * 512 + i));
  }
  EXPECT_EQ(bench.run({READ_6, 0, 0, 0, 0, 0}, {}, 1 << 20).size(), 256 * 512u);  // 0 is 256
  EXPECT_TRUE(bench.run({READ_10, 0, 0, 0, 0, 3, 0, 0, 0, 0}).empty());           // 0 is none
  EXPECT_EQ(bench.result.status, GOOD);
}

TEST(ScsiUnit, BlocksBeyondTheEndAreRefused) {
  Bench bench;
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0x07, 0xff, 0, 0, 2, 0}), sense::kLbaOutOfRange);
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0x07, 0xff, 0, 0, 1, 0}), sense::kNone);
  EXPECT_EQ(bench.fail({READ_16, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0, 0}),
            sense::kLbaOutOfRange);
  EXPECT_EQ(bench.fail({WRITE_12, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0}), sense::kLbaOutOfRange);
  EXPECT_EQ(bench.fail({READ_10, 0x20, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kInvalidField);  // protection
  EXPECT_EQ(bench.fail({READ_10, 0, 0}), sense::kInvalidOpcode);                         // a truncated CDB
}

TEST(ScsiUnit, WritesAndForcesUnitAccess) {
  Bench bench;
  bench.run({WRITE_10, 0, 0, 0, 0, 1, 0, 0, 1, 0}, Bytes(512, 0x11));
  EXPECT_EQ(bench.disk().contents[512], 0x11);
  bench.run({WRITE_10, 8, 0, 0, 0, 1, 0, 0, 1, 0}, Bytes(512, 0x22));
  bench.run({SYNCHRONIZE_CACHE_10, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_THAT(bench.disk().log, ElementsAre("write 0x200+0x200", "write-fua 0x200+0x200", "flush 0x0+0x0"));
  bench.disk().read_only = true;
  EXPECT_EQ(bench.fail({WRITE_10, 0, 0, 0, 0, 1, 0, 0, 1, 0}), sense::kWriteProtected);
}

TEST(ScsiUnit, HostErrorsHaveSense) {
  Bench bench;
  bench.disk().fail_with = EIO;
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kReadError);
  EXPECT_EQ(bench.fail({WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}, Bytes(512)), sense::kWriteError);
  bench.disk().fail_with = ENOSPC;
  EXPECT_EQ(bench.fail({WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}, Bytes(512)), sense::kSpaceAllocationFailed);
}

TEST(ScsiUnit, PartsOfATransferAddUp) {
  Bench bench;
  const ScsiCommand command = bench.unit().prepare(Bytes{READ_10, 0, 0, 0, 0, 8, 0, 0, 4, 0});
  ASSERT_TRUE(command.is_splittable);
  Bytes buffer(512);
  const iovec part{buffer.data(), buffer.size()};
  for (u64 offset = 0; offset < command.bytes; offset += 512) {
    const ScsiResult result =
        run_sync(bench.disk().loop(), bench.unit().execute(command, block::IoVec(&part, 1), offset));
    EXPECT_EQ(result.bytes, 512u);
    EXPECT_EQ(buffer[0], FakeBlockBackend::pattern(8 * 512 + offset));
  }
}

TEST(ScsiUnit, VerifyComparesWhenAsked) {
  Bench bench;
  Bytes data(bench.disk().contents.begin(), bench.disk().contents.begin() + 512);
  EXPECT_EQ(bench.fail({VERIFY_10, 2, 0, 0, 0, 0, 0, 0, 1, 0}, data), sense::kNone);
  data[511] ^= 1;
  EXPECT_EQ(bench.fail({VERIFY_10, 2, 0, 0, 0, 0, 0, 0, 1, 0}, data), sense::kMiscompare);
  EXPECT_EQ(bench.fail({VERIFY_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kNone);
  EXPECT_EQ(bench.fail({VERIFY_10, 6, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kInvalidField);
}

TEST(ScsiUnit, UnmapChecksItsListFirst) {
  Bench bench;
  Bytes list(8 + 32);
  put_be<u16>(&list[0], 38);
  put_be<u16>(&list[2], 32);
  put_be<u64>(&list[8], 2);
  put_be<u32>(&list[16], 4);
  put_be<u64>(&list[24], 2040);
  put_be<u32>(&list[32], 9);
  const Bytes cdb = {UNMAP, 0, 0, 0, 0, 0, 0, 0, 40, 0};
  EXPECT_EQ(bench.fail(cdb, list), sense::kLbaOutOfRange);
  EXPECT_TRUE(bench.disk().log.empty());
  put_be<u32>(&list[32], 8);
  EXPECT_EQ(bench.fail(cdb, list), sense::kNone);
  EXPECT_THAT(bench.disk().log, ElementsAre("discard 0x400+0x800", "discard 0xff000+0x1000"));
  put_be<u16>(&list[2], 48);
  EXPECT_EQ(bench.fail(cdb, list), sense::kParameterListLength);
}

TEST(ScsiUnit, WriteSame) {
  Bench bench;
  EXPECT_EQ(bench.fail({WRITE_SAME_10, 8, 0, 0, 0, 4, 0, 0, 4, 0}, Bytes(512)), sense::kNone);
  EXPECT_EQ(bench.fail({WRITE_SAME_16, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0}), sense::kNone);
  EXPECT_THAT(bench.disk().log, ElementsAre("zero-unmap 0x800+0x800", "zero 0x1000+0x400"));
  Bytes pattern(512, 0);
  pattern[7] = 9;
  EXPECT_EQ(bench.fail({WRITE_SAME_10, 0, 0, 0, 0, 0, 0, 1, 0x2c, 0}, pattern), sense::kNone);
  EXPECT_EQ(bench.disk().contents[299 * 512 + 7], 9);
  EXPECT_NE(bench.disk().contents[300 * 512 + 7], 9);
  EXPECT_EQ(bench.fail({WRITE_SAME_10, 0, 0, 0, 0, 0, 0, 0, 0, 0}, pattern), sense::kInvalidField);
}

TEST(ScsiUnit, ModeSenseShowsTheWriteCacheAndModeSelectSwitchesIt) {
  Bench bench;
  Bytes bytes = bench.run({MODE_SENSE_6, 8, 0x08, 0, 255, 0});
  ASSERT_EQ(bytes.size(), 24u);
  EXPECT_EQ(bytes[0], 23);
  EXPECT_EQ(bytes[6], 4);
  bytes[0] = 0;
  bytes[6] = 0;
  EXPECT_EQ(bench.fail({MODE_SELECT_6, 0x10, 0, 0, 24, 0}, bytes), sense::kNone);
  EXPECT_FALSE(bench.disk().write_cache);
  EXPECT_THAT(bench.disk().log, ElementsAre("flush 0x0+0x0"));
  bytes[9] = 7;  // not changeable
  EXPECT_EQ(bench.fail({MODE_SELECT_6, 0x10, 0, 0, 24, 0}, bytes), sense::kInvalidParameter);
  EXPECT_EQ(bench.fail({MODE_SELECT_6, 0x10, 0, 0, 24, 0}, Bytes(9)), sense::kParameterListLength);
  EXPECT_EQ(bench.fail({MODE_SENSE_6, 8, 0xc8, 0, 255, 0}), sense::kSavingNotSupported);
  EXPECT_EQ(bench.fail({MODE_SENSE_6, 8, 0x17, 0, 255, 0}), sense::kInvalidField);
  EXPECT_EQ(bench.run({MODE_SENSE_10, 0, 0x3f, 0, 0, 0, 0, 1, 0, 0}).size(), 8u + 8 + 12 + 20 + 12);
}

TEST(ScsiUnit, ReportLunsNeedsRoomForOne) {
  Bench bench;
  const Bytes bytes = bench.run({REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0});
  EXPECT_EQ(bytes.size(), 16u);
  EXPECT_EQ(bytes[3], 8);
  EXPECT_EQ(bench.fail({REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0}), sense::kInvalidField);
}

TEST(ScsiUnitCd, TableOfContents) {
  Bench bench(cd(), 600 * 2048);
  EXPECT_THAT(bench.run({READ_TOC, 0, 0, 0, 0, 0, 0, 0, 20, 0}),
              ElementsAre(0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 2, 88));
  EXPECT_THAT(bench.run({READ_TOC, 2, 1, 0, 0, 0, 0, 0, 12, 0}),
              ElementsAre(0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0));
  EXPECT_EQ(bench.run({READ_TOC, 2, 2, 0, 0, 0, 0, 0, 100, 0}).size(), 4u + 44);
  EXPECT_EQ(bench.fail({READ_TOC, 0, 0, 0, 0, 0, 2, 0, 20, 0}), sense::kInvalidField);
  EXPECT_EQ(bench.fail({READ_TOC, 0, 5, 0, 0, 0, 0, 0, 20, 0}), sense::kInvalidField);
}

TEST(ScsiUnitCd, ReadsOnlyUserData) {
  Bench bench(cd(), 600 * 2048);
  EXPECT_EQ(bench.run({READ_CD, 0, 0, 0, 0, 16, 0, 0, 2, 0x10, 0, 0}).size(), 4096u);
  EXPECT_EQ(bench.disk().log.back(), "read 0x8000+0x1000");
  EXPECT_EQ(bench.fail({READ_CD, 0, 0, 0, 0, 16, 0, 0, 2, 0xf8, 0, 0}), sense::kInvalidField);
  EXPECT_EQ(bench.run({READ_CD_MSF, 0, 0, 0, 2, 16, 0, 2, 17, 0x10, 0, 0}).size(), 2048u);
  EXPECT_EQ(bench.disk().log.back(), "read 0x8000+0x800");
  EXPECT_EQ(bench.fail({READ_CD_MSF, 0, 0, 0, 0, 16, 0, 2, 17, 0x10, 0, 0}), sense::kInvalidField);
  EXPECT_EQ(bench.fail({WRITE_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kInvalidOpcode);
}

TEST(ScsiUnitCd, ConfigurationFollowsTheDisc) {
  Bench bench(cd(), 600 * 2048);
  Bytes bytes = bench.run({GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, 1, 0, 0});
  EXPECT_EQ(get_be<u16>(&bytes[6]), 0x0008);
  EXPECT_EQ(get_be<u32>(&bytes[0]), bytes.size() - 4);
  bytes = bench.run({GET_CONFIGURATION, 2, 0, 0x1f, 0, 0, 0, 1, 0, 0});
  EXPECT_EQ(bytes.size(), 8u + 8);
  bench.disk().medium = false;
  bytes = bench.run({GET_CONFIGURATION, 1, 0, 0, 0, 0, 0, 1, 0, 0});
  EXPECT_EQ(get_be<u16>(&bytes[6]), 0);
  EXPECT_EQ(bench.fail({READ_DVD_STRUCTURE, 0, 0, 0, 0, 0, 0, 0, 8, 4, 0, 0}), sense::kNoMediumTrayClosed);
}

TEST(ScsiUnitCd, MediumChangeIsAnAttentionAndAnEvent) {
  Bench bench(cd(), 600 * 2048);
  bench.disk().medium = false;
  bench.unit().medium_changed(false);
  const Bytes ask = {GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8, 0};
  EXPECT_THAT(bench.run(ask), ElementsAre(0, 6, 4, 0x10, 3, 1, 0, 0));
  EXPECT_EQ(bench.fail({TEST_UNIT_READY, 0, 0, 0, 0, 0}), sense::kMediumChanged);
  EXPECT_EQ(bench.fail({TEST_UNIT_READY, 0, 0, 0, 0, 0}), sense::kNoMediumTrayOpen);
  bench.disk().medium = true;
  bench.unit().medium_changed(true);
  EXPECT_THAT(bench.run(ask), ElementsAre(0, 6, 4, 0x10, 2, 2, 0, 0));
  EXPECT_THAT(bench.run(ask), ElementsAre(0, 6, 4, 0x10, 0, 2, 0, 0));
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kMediumChanged);
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kNone);
}

TEST(ScsiUnitCd, LockedTrayStaysClosedAndTheGuestIsAsked) {
  Bench bench(cd(), 600 * 2048);
  bench.run({PREVENT_ALLOW, 0, 0, 0, 1, 0});
  EXPECT_EQ(bench.fail({START_STOP_UNIT, 0, 0, 0, 2, 0}), sense::kRemovalPrevented);
  EXPECT_FALSE(bench.unit().eject_requested(false));
  EXPECT_EQ(bench.run({GET_EVENT_STATUS, 1, 0, 0, 0x10, 0, 0, 0, 8, 0}).at(4), 1);
  EXPECT_THAT(bench.disk().tray_moves, testing::IsEmpty());
  bench.run({PREVENT_ALLOW, 0, 0, 0, 0, 0});
  EXPECT_EQ(bench.fail({START_STOP_UNIT, 0, 0, 0, 2, 0}), sense::kNone);
  EXPECT_TRUE(bench.unit().is_tray_open());
  EXPECT_THAT(bench.disk().tray_moves, ElementsAre(1));
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kNoMediumTrayOpen);
  EXPECT_EQ(bench.fail({START_STOP_UNIT, 0, 0, 0, 3, 0}), sense::kNone);
  EXPECT_EQ(bench.fail({READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0}), sense::kMediumChanged);
}

TEST(ScsiUnit, NoCdbOfAnyBytesAndLengthGoesAstray) {
  for (const bool is_cd : {false, true}) {
    Bench bench(is_cd ? cd() : ScsiUnitConfig{}, 64 * 1024);
    u64 seed = 88172645463325252ull;
    for (unsigned i = 0; i < 20000; i++) {
      Bytes cdb(1 + i % 16);
      for (u8& byte : cdb) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        byte = seed & 0x100 ? u8(seed >> 16) : u8(seed >> 16 & 7);
      }
      bench.run(cdb, Bytes(512 * (seed & 1)), 4096);
    }
  }
}

TEST(ScsiUnit, RoundTrip) {
  Bench bench(cd(), 600 * 2048);
  bench.run({PREVENT_ALLOW, 0, 0, 0, 1, 0});
  bench.fail({READ_10, 0, 0xff, 0, 0, 0, 0, 0, 1, 0});
  qom::FieldTree saved;
  auto saver = qom::Archive::saver(saved, 1);
  bench.unit().fields(saver);
  bench.unit().reset();
  auto loader = qom::Archive::loader(saved, 1);
  bench.unit().fields(loader);
  ASSERT_TRUE(loader.finish().has_value());
  ASSERT_TRUE(bench.unit().after_load().has_value());
  EXPECT_TRUE(bench.unit().is_locked());
  EXPECT_EQ(bench.unit().last_sense(), sense::kLbaOutOfRange);
}

}  // namespace
}  // namespace emu::hw
