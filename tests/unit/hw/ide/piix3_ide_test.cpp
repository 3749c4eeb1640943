// SPDX-License-Identifier: Apache-2.0
#include "hw/ide/piix3_ide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/saved_fields.h"
#include "unit/hw/ide/ide_bench.h"

namespace emu::hw {
namespace {

using namespace ata;
using test::FakeBlockBackend;
using testing::ElementsAre;
using Bytes = std::vector<u8>;

constexpr u64 kMiB = 1 << 20;
constexpr u8 kDevfn = 1 << 3 | 1;
constexpr u16 kBusMaster = 0xc000;
constexpr u64 kTable = 0x1000, kBuffer = 0x10'0000;
enum : u16 { DATA = 0x1f0, FEATURE, COUNT, LOW, MID, HIGH, DEVICE, COMMAND, CONTROL = 0x3f6 };

class Bench : public test::StorageBench {
 public:
  Bench()
      : StorageBench([](qom::TypeRegistry& registry) {
          register_ide_drives(registry);
          register_piix3_ide(registry);
        }) {
    ide_ = &place_function<Piix3Ide>("01.1");
    for (unsigned n = 0; n < 2; n++) ide_->irq_out("irq", n).connect({&irqs[n], 0});
  }
  ~Bench() {
    for (auto& [id, disk] : disks) disk->release();
  }
  void start() {
    reset();
    config_write(kDevfn, 0x20, kBusMaster, 4);
    config_write(kDevfn, 4, 5, 2);
  }
  Piix3Ide& ide() { return *ide_; }
  FakeBlockBackend& disk(const char* id = "d0") { return *disks.at(id); }

  void lba28(u8 command, u64 lba, u8 count, u8 unit = 0) {
    out(DEVICE, 0xe0 | unit << 4 | (lba >> 24));
    out(COUNT, count);
    out(LOW, lba & 0xff);
    out(MID, lba >> 8 & 0xff);
    out(HIGH, lba >> 16 & 0xff);
    out(COMMAND, command);
  }
  void lba48(u8 command, u64 lba, u16 count) {
    out(DEVICE, 0x40);
    for (const unsigned shift : {8, 0}) {
      out(COUNT, count >> shift & 0xff);
      out(LOW, lba >> (shift * 3) & 0xff);
      out(MID, lba >> (shift * 3 + 8) & 0xff);
      out(HIGH, lba >> (shift * 3 + 16) & 0xff);
    }
    out(COMMAND, command);
  }
  Bytes pio_in(size_t bytes, unsigned width = 2) {
    Bytes data;
    while (data.size() < bytes) {
      const u64 value = in(DATA, width);
      for (unsigned i = 0; i < width; i++) data.push_back(u8(value >> (8 * i)));
    }
    return data;
  }
  void pio_out(const Bytes& data) {
    for (size_t i = 0; i < data.size(); i += 2) out(DATA, data[i] | data[i + 1] << 8, 2);
  }
  /// Descriptors at kTable: (address, bytes), the last marked.
  void descriptors(std::vector<std::pair<u32, u32>> entries) {
    for (size_t i = 0; i < entries.size(); i++) {
      store(kTable + 8 * i, entries[i].first, 4);
      store(kTable + 8 * i + 4, (entries[i].second & 0xffff) | (i + 1 == entries.size() ? 0x8000'0000 : 0), 4);
    }
    out(kBusMaster + 4, kTable, 4);
  }
  void start_bus_master(bool to_memory) {
    out(kBusMaster + 2, 6);
    out(kBusMaster, to_memory ? 9 : 1);
  }
  u8 status() { return u8(in(COMMAND)); }
  u8 alt_status() { return u8(in(CONTROL)); }

  test::IrqProbe irqs[2];

 private:
  Piix3Ide* ide_;
};

TEST(Piix3Ide, ShowsItselfAndWhatIsThere) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x7010'8086u);
  EXPECT_EQ(bench.config_read(kDevfn, 8, 4) >> 8, 0x01'0180u);
  EXPECT_EQ(bench.status(), DRDY | DSC);
  bench.out(DEVICE, 0xb0);
  EXPECT_EQ(bench.status(), 0);
  EXPECT_EQ(bench.in(0x177), 0u);
}

TEST(Piix3Ide, IdentifyByPio) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB, {{"serial", "ABC"}, {"wwn", u64(0x5001'2345'6789'abcd)}});
  bench.start();
  bench.out(DEVICE, 0xa0);
  bench.out(COMMAND, IDENTIFY_DEVICE);
  EXPECT_EQ(bench.alt_status(), BSY);
  bench.run();
  EXPECT_EQ(bench.alt_status(), DRDY | DSC | DRQ);
  EXPECT_TRUE(bench.irqs[0].is_high());
  EXPECT_EQ(bench.status(), DRDY | DSC | DRQ);
  EXPECT_FALSE(bench.irqs[0].is_high());
  const Bytes id = bench.pio_in(512);
  EXPECT_EQ(bench.status(), DRDY | DSC);
  EXPECT_EQ(std::string(id.begin() + 20, id.begin() + 24), "BA C");
  EXPECT_EQ(id[120] | id[121] << 8, 2048);
  EXPECT_EQ(id[200] | id[201] << 8, 2048);
  EXPECT_EQ(id[217] << 8 | id[216], 0x5001);
  u8 sum = 0;
  for (const u8 byte : id) sum = u8(sum + byte);
  EXPECT_EQ(sum, 0);
}

TEST(Piix3Ide, ReadsSectorsByPio) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(READ_SECTORS, 5, 2);
  bench.run();
  EXPECT_EQ(bench.pio_in(512), bench.pattern(5 * 512, 512));
  EXPECT_EQ(bench.alt_status(), BSY);
  bench.run();
  EXPECT_EQ(bench.irqs[0].rises(), 1u);  // its status was not read in between
  EXPECT_EQ(bench.pio_in(512, 4), bench.pattern(6 * 512, 512));
  EXPECT_EQ(bench.status(), DRDY | DSC);
}

TEST(Piix3Ide, MultipleMovesManySectorsABlock) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(SET_MULTIPLE_MODE, 0, 4);
  bench.run();
  bench.lba48(READ_MULTIPLE_EXT, 9, 6);
  bench.run();
  EXPECT_EQ(bench.pio_in(2048), bench.pattern(9 * 512, 2048));
  bench.run();
  EXPECT_EQ(bench.pio_in(1024), bench.pattern(13 * 512, 1024));
  EXPECT_EQ(bench.status(), DRDY | DSC);
  bench.lba28(SET_MULTIPLE_MODE, 0, 3);
  EXPECT_EQ(bench.status(), DRDY | DSC | ERR);
  EXPECT_EQ(bench.in(FEATURE), ABRT);
}

TEST(Piix3Ide, WritesSectorsByPio) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(WRITE_SECTORS, 3, 2);
  EXPECT_EQ(bench.alt_status(), DRDY | DSC | DRQ);
  EXPECT_FALSE(bench.irqs[0].is_high());
  bench.pio_out(Bytes(512, 0x11));
  EXPECT_EQ(bench.alt_status(), BSY);
  bench.run();
  EXPECT_TRUE(bench.irqs[0].is_high());
  EXPECT_EQ(bench.status(), DRDY | DSC | DRQ);
  bench.pio_out(Bytes(512, 0x22));
  bench.run();
  EXPECT_EQ(bench.status(), DRDY | DSC);
  EXPECT_EQ(bench.disk().contents[3 * 512], 0x11);
  EXPECT_EQ(bench.disk().contents[4 * 512 + 511], 0x22);
}

TEST(Piix3Ide, CylindersHeadsAndSectors) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", 2 * kMiB);
  bench.start();
  bench.out(DEVICE, 0xa2);  // head 2
  bench.out(COUNT, 1);
  bench.out(LOW, 4);  // sectors count from 1
  bench.out(MID, 1);
  bench.out(HIGH, 0);
  bench.out(COMMAND, READ_SECTORS);
  bench.run();
  EXPECT_EQ(bench.pio_in(512), bench.pattern(((1 * 16 + 2) * 63 + 3) * 512, 512));
  bench.out(LOW, 0);
  bench.out(COMMAND, READ_SECTORS);
  EXPECT_EQ(bench.status() & ERR, ERR);
}

TEST(Piix3Ide, SectorsBeyondTheEndAreNotFound) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(READ_SECTORS, 2047, 2);
  EXPECT_EQ(bench.status(), DRDY | DSC | ERR);
  EXPECT_EQ(bench.in(FEATURE), IDNF | ABRT);
  bench.lba48(READ_DMA_EXT, low_mask(48), 0);
  EXPECT_EQ(bench.status(), DRDY | DSC | ERR);
  bench.lba48(READ_NATIVE_MAX_EXT, 0, 0);
  bench.run();
  EXPECT_EQ(bench.in(LOW), 0xffu);
  EXPECT_EQ(bench.in(MID), 0x07u);
  bench.out(CONTROL, 0x80);
  EXPECT_EQ(bench.in(LOW), 0u);
}

TEST(Piix3Ide, BusMasterReadsAcrossDescriptors) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.descriptors({{kBuffer, 600}, {kBuffer + 0x1000, 424}});
  bench.lba28(READ_DMA, 7, 2);
  bench.run();
  EXPECT_TRUE(bench.disk().log.empty());  // not before the start bit
  bench.start_bus_master(true);
  EXPECT_EQ(bench.in(kBusMaster + 2) & 7, 1u);
  bench.run();
  EXPECT_EQ(bench.in(kBusMaster + 2) & 7, 4u);
  EXPECT_TRUE(bench.irqs[0].is_high());
  EXPECT_EQ(bench.ram_bytes(kBuffer, 600), bench.pattern(7 * 512, 600));
  EXPECT_EQ(bench.ram_bytes(kBuffer + 0x1000, 424), bench.pattern(7 * 512 + 600, 424));
  EXPECT_EQ(bench.status(), DRDY | DSC);
  EXPECT_THAT(bench.disk().log, ElementsAre("read 0xe00+0x400"));
}

TEST(Piix3Ide, BusMasterWritesAndForcesUnitAccess) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.set_ram(kBuffer, Bytes(1024, 0x77));
  bench.descriptors({{kBuffer, 0x2000}});
  bench.start_bus_master(false);
  bench.lba48(WRITE_DMA_FUA_EXT, 8, 2);
  bench.run();
  EXPECT_EQ(bench.in(kBusMaster + 2) & 7, 5u);  // more descriptors than data: still active
  EXPECT_THAT(bench.disk().log, ElementsAre("write-fua 0x1000+0x400"));
  EXPECT_EQ(bench.disk().contents[8 * 512 + 1023], 0x77);
}

TEST(Piix3Ide, BadDescriptorsEndTheCommand) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  const auto fails = [&] {
    bench.lba28(READ_DMA, 0, 2);
    bench.start_bus_master(true);
    bench.run();
    EXPECT_EQ(bench.in(COMMAND) & (BSY | ERR), ERR);
    bench.out(kBusMaster, 0);
  };
  bench.descriptors({{0x3000'0000, 1024}});  // no memory there
  fails();
  EXPECT_EQ(bench.in(kBusMaster + 2) & 3, 2u);
  bench.out(kBusMaster + 4, 0x7fff'fff0, 4);  // no table there
  fails();
  bench.descriptors({{kBuffer, 512}});  // too short
  fails();
  EXPECT_EQ(bench.ram_bytes(kBuffer, 512), bench.pattern(0, 512));
  bench.descriptors({{kBuffer, 1024}});
  bench.config_write(kDevfn, 4, 1, 2);  // no bus master
  fails();
}

TEST(Piix3Ide, HostErrorIsAnUncorrectableOne) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.disk().fail_with = EIO;
  bench.lba28(READ_SECTORS, 0, 1);
  bench.run();
  EXPECT_EQ(bench.status(), DRDY | DSC | ERR);
  EXPECT_EQ(bench.in(FEATURE), UNC);
}

TEST(Piix3Ide, TrimDiscards) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.store(kBuffer, u64(8) << 48 | 16, 8);
  bench.store(kBuffer + 8, u64(2) << 48 | 100, 8);
  bench.descriptors({{kBuffer, 512}});
  bench.start_bus_master(false);
  bench.out(FEATURE, 1);
  bench.lba48(DATA_SET_MANAGEMENT, 0, 1);
  bench.run();
  EXPECT_EQ(bench.status(), DRDY | DSC);
  EXPECT_THAT(bench.disk().log, ElementsAre("discard 0x2000+0x1000", "discard 0xc800+0x400"));
}

TEST(Piix3Ide, FlushAndWriteCache) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.out(DEVICE, 0xa0);
  bench.out(COMMAND, FLUSH_CACHE_EXT);
  bench.run();
  bench.out(FEATURE, 0x82);
  bench.out(COMMAND, SET_FEATURES);
  bench.run();
  EXPECT_FALSE(bench.disk().write_cache);
  EXPECT_THAT(bench.disk().log, ElementsAre("flush 0x0+0x0", "flush 0x0+0x0"));
}

TEST(Piix3Ide, SoftwareResetWaitsForWhatIsUnderWay) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.disk().hold();
  bench.descriptors({{kBuffer, 512}});
  bench.start_bus_master(true);
  bench.lba28(READ_DMA, 1, 1);
  bench.run();
  bench.out(CONTROL, 4);
  bench.out(CONTROL, 0);
  EXPECT_EQ(bench.alt_status(), BSY);
  bench.disk().release();
  bench.run();
  EXPECT_EQ(bench.alt_status(), DRDY | DSC);
  EXPECT_FALSE(bench.irqs[0].is_high());
  EXPECT_EQ(bench.in(FEATURE), 1u);
  EXPECT_EQ(bench.in(COUNT), 1u);
}

TEST(Piix3Ide, InterruptsCanBeSwitchedOff) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.out(CONTROL, 2);
  bench.lba28(READ_SECTORS, 0, 1);
  bench.run();
  EXPECT_FALSE(bench.irqs[0].is_high());
  bench.out(CONTROL, 0);
  EXPECT_TRUE(bench.irqs[0].is_high());
}

TEST(Piix3Ide, DriveOutIsNotFreedUnderARequest) {
  Bench bench;
  Device* drive = bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(READ_SECTORS, 0, 1);
  destroy(*drive);  // the request is still queued
  bench.run();
  EXPECT_EQ(bench.alt_status(), 0);
  EXPECT_EQ(bench.disk().frontend, nullptr);
}

class CdBench : public Bench {
 public:
  explicit CdBench(u64 bytes = 600 * 2048) {
    add_drive("ide-cd", ide().ide_bus(0), "d0", bytes);
    start();
    packet({0}, 0);  // takes the power-on attention
    status();
  }
  void packet(Bytes cdb, u16 limit, bool dma = false) {
    cdb.resize(12);
    out(DEVICE, 0xa0);
    out(FEATURE, dma);
    out(MID, limit & 0xff);
    out(HIGH, limit >> 8);
    out(COMMAND, PACKET);
    EXPECT_EQ(in(COUNT) & 3, 1u);
    EXPECT_EQ(alt_status(), DRDY | DRQ);
    pio_out(cdb);
    run();
  }
};

TEST(IdeCd, SignatureAndIdentify) {
  CdBench bench;
  bench.out(COMMAND, IDENTIFY_DEVICE);
  EXPECT_EQ(bench.status() & ERR, ERR);
  EXPECT_EQ(bench.in(MID), 0x14u);
  EXPECT_EQ(bench.in(HIGH), 0xebu);
  bench.out(COMMAND, IDENTIFY_PACKET_DEVICE);
  bench.run();
  const Bytes id = bench.pio_in(512);
  EXPECT_EQ(id[1] << 8 | id[0], 0x85c0);
  bench.out(COMMAND, DEVICE_RESET);
  EXPECT_EQ(bench.status(), 0);
  EXPECT_EQ(bench.in(HIGH), 0xebu);
}

TEST(IdeCd, ReadsInBlocksOfTheByteCount) {
  CdBench bench;
  bench.packet({scsi::READ_10, 0, 0, 0, 0, 4, 0, 0, 2, 0}, 2048);
  EXPECT_EQ(bench.in(COUNT) & 3, 2u);
  EXPECT_EQ(bench.in(HIGH) << 8 | bench.in(MID), 2048u);
  EXPECT_EQ(bench.status(), DRDY | DRQ);
  EXPECT_EQ(bench.pio_in(2048), bench.pattern(4 * 2048, 2048));
  EXPECT_TRUE(bench.irqs[0].is_high());
  EXPECT_EQ(bench.status(), DRDY | DRQ);
  EXPECT_EQ(bench.pio_in(2048), bench.pattern(5 * 2048, 2048));
  EXPECT_TRUE(bench.irqs[0].is_high());
  EXPECT_EQ(bench.in(COUNT) & 3, 3u);
  EXPECT_EQ(bench.status(), DRDY);
}

TEST(IdeCd, LongReadsComeInParts) {
  CdBench bench(2048 * 200);
  bench.packet({scsi::READ_10, 0, 0, 0, 0, 0, 0, 0, 100, 0}, 0xfffe);
  Bytes data;
  while ((bench.status() & DRQ) && data.size() < 2048 * 100) {
    const Bytes block = bench.pio_in(bench.in(HIGH) << 8 | bench.in(MID));
    data.insert(data.end(), block.begin(), block.end());
    bench.run();
  }
  EXPECT_EQ(data, bench.pattern(0, 2048 * 100));
}

TEST(IdeCd, ReadsByBusMaster) {
  CdBench bench;
  bench.descriptors({{kBuffer, 4096}});
  bench.packet({scsi::READ_10, 0, 0, 0, 0, 4, 0, 0, 2, 0}, 0, true);
  EXPECT_TRUE(bench.disk().log.empty());
  bench.start_bus_master(true);
  bench.run();
  EXPECT_EQ(bench.ram_bytes(kBuffer, 4096), bench.pattern(4 * 2048, 4096));
  EXPECT_EQ(bench.in(kBusMaster + 2) & 7, 4u);
  EXPECT_EQ(bench.in(COUNT) & 3, 3u);
  EXPECT_EQ(bench.status(), DRDY);
}

TEST(IdeCd, ErrorsShowTheSenseKey) {
  CdBench bench;
  bench.packet({scsi::READ_10, 0, 0, 0xff, 0, 4, 0, 0, 2, 0}, 2048);
  EXPECT_EQ(bench.status(), DRDY | ERR);
  EXPECT_EQ(bench.in(FEATURE) >> 4, 5u);
  bench.packet({scsi::REQUEST_SENSE, 0, 0, 0, 18, 0}, 18);
  const Bytes sense = bench.pio_in(18);
  EXPECT_EQ(sense[12], 0x21);
}

TEST(IdeCd, EmptyDriveHasNoMedium) {
  Bench bench;
  bench.add_drive("ide-cd", bench.ide().ide_bus(1), "cd", 0);
  bench.start();
  EXPECT_EQ(bench.in(0x174), 0x14u);
  for (const u8 key : {6, 2}) {  // power on, then what it is
    bench.out(0x176, 0xa0);
    bench.out(0x177, PACKET);
    for (unsigned i = 0; i < 6; i++) bench.out(0x170, 0, 2);
    bench.run();
    EXPECT_EQ(bench.in(0x171) >> 4, key);
  }
  EXPECT_TRUE(bench.irqs[1].is_high());
}

TEST(IdeCd, ModeSelectTakesItsListByPio) {
  CdBench bench;
  bench.packet({scsi::MODE_SELECT_10, 0x10, 0, 0, 0, 0, 0, 0, 16, 0}, 16);
  EXPECT_EQ(bench.in(COUNT) & 3, 0u);
  EXPECT_EQ(bench.status(), DRDY | DRQ);
  Bytes list(16);
  list[8] = 1, list[9] = 6;
  bench.pio_out(list);
  bench.run();
  EXPECT_EQ(bench.status(), DRDY);
}

TEST(Piix3Ide, RoundTripInTheMiddleOfABlock) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(READ_SECTORS, 5, 2);
  bench.run();
  bench.pio_in(100);
  Device& ide = bench.ide();
  const auto saved = ide.save();
  bench.reset();
  ASSERT_TRUE(ide.load(saved).has_value());
  ASSERT_TRUE(ide.finish_load().has_value());
  EXPECT_EQ(saved.dump(), ide.save().dump());
  EXPECT_EQ(bench.pio_in(412), bench.pattern(5 * 512 + 100, 412));
  bench.run();
  EXPECT_EQ(bench.pio_in(512), bench.pattern(6 * 512, 512));
  Device& drive = *bench.ide().ide_bus(0).at(0);
  const auto drive_saved = drive.save();
  EXPECT_TRUE(drive.load(drive_saved).has_value());
  EXPECT_TRUE(drive.finish_load().has_value());
}

/// The first channel's field of that name.
qom::FieldTree& channel_field(qom::FieldTree& saved, std::string_view name) {
  return *test::find_field(*test::find_field(saved, "channel0"), name);
}

TEST(Piix3Ide, SavedPacketsAreAsLongAsCdbsAndForDrivesThatTakeThem) {
  for (const char* type : {"ide-cd", "ide-hd"}) {
    Bench bench;
    bench.add_drive(type, bench.ide().ide_bus(0), "d0", kMiB);
    bench.start();
    Device& ide = bench.ide();
    qom::FieldTree saved = ide.save();
    channel_field(saved, "phase") = qom::FieldTree(i64(1));  // waits for a CDB
    channel_field(saved, "is_packet") = qom::FieldTree(true);
    const bool too_long = std::string_view(type) == "ide-cd";
    const u64 bytes = too_long ? 4096 : 12;
    channel_field(saved, "buffer") = qom::FieldTree(Bytes(bytes));
    channel_field(saved, "block_end") = qom::FieldTree(bytes);
    ASSERT_TRUE(ide.load(saved).has_value());
    ASSERT_TRUE(ide.finish_load().has_value());
    EXPECT_EQ(bench.alt_status() & (BSY | DRQ | ERR), ERR) << type;
    for (u64 i = 0; i < bytes; i += 2) bench.out(DATA, 0xa5a5, 2);
    bench.run();
  }
}

TEST(Piix3Ide, SavedTransfersEndWithTheirCommand) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.lba28(READ_SECTORS, 5, 2);
  bench.run();
  Device& ide = bench.ide();
  qom::FieldTree saved = ide.save();
  channel_field(saved, "done") = qom::FieldTree(u64(4096));  // of 1024
  ASSERT_TRUE(ide.load(saved).has_value());
  ASSERT_TRUE(ide.finish_load().has_value());
  EXPECT_EQ(bench.alt_status() & (BSY | DRQ | ERR), ERR);
}

TEST(Piix3Ide, RefusesWhatCannotBe) {
  Bench bench;
  test::add_disk(bench.machine().tree(), "x", kMiB);
  const auto plug = [&](std::vector<std::pair<std::string, qom::PropertyValue>> properties) {
    auto plugged = plug_user_device(bench.machine(), "ide-hd", "", properties, &bench.ide().ide_bus(0));
    EXPECT_FALSE(plugged.has_value());
    return plugged ? std::string() : plugged.error().text();
  };
  EXPECT_THAT(plug({}), testing::HasSubstr("needs drive="));
  EXPECT_THAT(plug({{"drive", "x"}, {"unit", u64(2)}}), testing::HasSubstr("unit=2"));
  EXPECT_THAT(plug({{"drive", "x"}, {"serial", std::string(21, 'x')}}), testing::HasSubstr("too long"));
}

TEST(Piix3Ide, AnyRegisterWritesDoNoHarm) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ide().ide_bus(0), "d0", kMiB);
  bench.add_drive("ide-cd", bench.ide().ide_bus(0), "d1", kMiB);
  bench.start();
  bench.descriptors({{kBuffer, 0}, {kBuffer + 0x10000, 512}});
  u64 seed = 88172645463325252ull;
  for (unsigned i = 0; i < 50000; i++) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    const u16 port = seed & 0x100 ? u16(0x1f0 + (seed >> 20 & 7)) : seed & 0x600 ? kBusMaster + (seed >> 20 & 3) : 0x3f6;
    const unsigned size = 1u << (seed >> 12 & 1);
    if (seed & 0x800)
      bench.in(port, size);
    else
      bench.out(port, seed >> 32, size);
    if (i % 7 == 0) bench.run();
  }
}

}  // namespace
}  // namespace emu::hw
