// SPDX-License-Identifier: Apache-2.0
#include "hw/ide/ahci.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/hw/ide/ide_bench.h"

namespace emu::hw {
namespace {

using namespace ata;
using test::FakeBlockBackend;
using testing::ElementsAre;
using Bytes = std::vector<u8>;

constexpr u64 kMiB = 1 << 20;
constexpr u8 kDevfn = 2 << 3;
constexpr u64 kAbar = 0xf000'0000;
constexpr u64 kList = 0x1'0000, kFis = 0x1'1000, kTables = 0x2'0000, kBuffer = 0x10'0000;
constexpr unsigned kTableBytes = 0x400;

class Bench : public test::StorageBench {
 public:
  Bench()
      : StorageBench([](qom::TypeRegistry& registry) {
          register_ide_drives(registry);
          register_ahci(registry);
        }) {
    std::vector<IrqInput> inputs;
    for (auto& line : lines) inputs.push_back({&line, 0});
    bus().set_irqs([](u8, unsigned pin) { return pin; }, inputs);
    ahci_ = &place_function<Ahci>("02.0");
  }
  ~Bench() {
    for (auto& [id, disk] : disks) disk->release();
  }
  /// As a driver: the controller reset, port 0 with its lists, running.
  void start(unsigned port = 0) {
    reset();
    config_write(kDevfn, 0x24, kAbar, 4);
    config_write(kDevfn, 4, 6, 2);
    store(kAbar + Ahci::GHC, 1, 4);
    port_ = port;
    put(ahci::CLB, kList);
    put(ahci::FB, kFis);
    put(ahci::SERR, ~0u);
    put(ahci::IS, ~0u);
    put(ahci::IE, ~0u);
    store(kAbar + Ahci::IS, ~0u, 4);
    store(kAbar + Ahci::GHC, 2, 4);
    put(ahci::CMD, ahci::kFre);
    put(ahci::CMD, ahci::kFre | ahci::kSt);
  }
  Ahci& ahci() { return *ahci_; }
  FakeBlockBackend& disk() { return *disks.at("d0"); }
  u32 get(unsigned offset) { return u32(load(kAbar + 0x100 + 0x80 * port_ + offset, 4)); }
  void put(unsigned offset, u64 value) { store(kAbar + 0x100 + 0x80 * port_ + offset, value, 4); }

  struct Command {
    u8 command;
    u64 lba = 0;
    u16 count = 0, feature = 0;
    u8 device = 0x40;
    Bytes packet{};
    u8 control = 0;
    bool is_command = true;
    u32 flags = 0;
  };
  /// Slot `slot`: the command, and its memory as (address, bytes).
  void prepare(unsigned slot, const Command& c, std::vector<std::pair<u64, u32>> memory = {}) {
    const u64 table = kTables + kTableBytes * slot;
    Bytes fis(64);
    fis[0] = 0x27;
    fis[1] = c.is_command ? 0x80 : 0;
    fis[2] = c.command;
    fis[3] = u8(c.feature);
    fis[11] = u8(c.feature >> 8);
    for (unsigned i = 0; i < 3; i++) {
      fis[4 + i] = u8(c.lba >> (8 * i));
      fis[8 + i] = u8(c.lba >> (24 + 8 * i));
    }
    fis[7] = c.device;
    fis[12] = u8(c.count);
    fis[13] = u8(c.count >> 8);
    fis[15] = c.control;
    set_ram(table, fis);
    Bytes packet = c.packet;
    packet.resize(16);
    set_ram(table + 0x40, packet);
    for (size_t i = 0; i < memory.size(); i++) {
      store(table + 0x80 + 16 * i, memory[i].first, 8);
      store(table + 0x80 + 16 * i + 12, memory[i].second - 1, 4);
    }
    store(kList + 32 * slot, 5 | (c.packet.empty() ? 0 : 0x20) | c.flags | memory.size() << 16, 4);
    store(kList + 32 * slot + 4, 0xdead, 4);
    store(kList + 32 * slot + 8, table, 8);
  }
  void run_slot(unsigned slot, const Command& c, std::vector<std::pair<u64, u32>> memory = {}) {
    prepare(slot, c, std::move(memory));
    put(ahci::CI, 1u << slot);
    run();
  }
  u32 take_interrupts() {
    const u32 is = get(ahci::IS);
    put(ahci::IS, is);
    store(kAbar + Ahci::IS, ~0u, 4);
    return is;
  }

  test::IrqProbe lines[4];

 private:
  Ahci* ahci_;
  unsigned port_ = 0;
};

TEST(Ahci, ShowsItsPortsAndWhatIsThere) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(1), "d0", kMiB);
  bench.start(1);
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x2922'8086u);
  EXPECT_EQ(bench.config_read(kDevfn, 9, 2), 0x0601u);
  EXPECT_EQ(bench.load(kAbar + Ahci::PI, 4), 0x3fu);
  EXPECT_EQ(bench.load(kAbar + Ahci::VS, 4), 0x10300u);
  EXPECT_EQ(bench.load(kAbar + Ahci::CAP, 4) & 0x1f, 5u);
  EXPECT_EQ(bench.get(ahci::SSTS), 0x123u);
  EXPECT_EQ(bench.get(ahci::SIG), 0x101u);
  EXPECT_EQ(bench.get(ahci::TFD), 0x150u);
  EXPECT_EQ(bench.load(kFis + 0x40, 4) & 0xff00ffff, 0x0100'0034u);  // the signature came when FRE was set
  EXPECT_EQ(bench.load(kAbar + 0x100 + ahci::SSTS, 4), 0u);
}

TEST(Ahci, ReadsByDmaAndInterrupts) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.prepare(3, {.command = READ_DMA_EXT, .lba = 9, .count = 2}, {{kBuffer, 600}, {kBuffer + 0x1000, 424}});
  bench.put(ahci::CI, 8);
  EXPECT_EQ(bench.get(ahci::TFD), BSY);
  bench.run();
  EXPECT_EQ(bench.get(ahci::CI), 0u);
  EXPECT_EQ(bench.get(ahci::TFD), u32(DRDY | DSC));
  EXPECT_EQ(bench.load(kList + 32 * 3 + 4, 4), 1024u);
  EXPECT_EQ(bench.ram_bytes(kBuffer, 600), bench.pattern(9 * 512, 600));
  EXPECT_EQ(bench.ram_bytes(kBuffer + 0x1000, 424), bench.pattern(9 * 512 + 600, 424));
  EXPECT_TRUE(bench.lines[0].is_high());
  EXPECT_EQ(bench.load(kAbar + Ahci::IS, 4), 1u);
  EXPECT_EQ(bench.take_interrupts(), ahci::kDhrs);
  EXPECT_FALSE(bench.lines[0].is_high());
}

TEST(Ahci, WritesAndFlushes) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.set_ram(kBuffer, Bytes(512, 0x42));
  bench.run_slot(0, {.command = WRITE_DMA_EXT, .lba = 1, .count = 1}, {{kBuffer, 512}});
  bench.run_slot(0, {.command = FLUSH_CACHE_EXT});
  EXPECT_THAT(bench.disk().log, ElementsAre("write 0x200+0x200", "flush 0x0+0x0"));
  EXPECT_EQ(bench.disk().contents[512], 0x42);
}

TEST(Ahci, PioDataInEndsWithAPioSetup) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.run_slot(0, {.command = IDENTIFY_DEVICE}, {{kBuffer, 512}});
  EXPECT_EQ(bench.take_interrupts(), ahci::kPss);
  EXPECT_EQ(bench.load(kFis + 0x20, 1), 0x5fu);
  EXPECT_EQ(bench.load(kFis + 0x20 + 15, 1), u64(DRDY | DSC));
  EXPECT_EQ(bench.load(kBuffer + 2 * 75, 2), 31u);
  EXPECT_EQ(bench.load(kBuffer + 2 * 76, 2) & 0x100, 0x100u);
}

TEST(Ahci, QueuedCommandsRunTogether) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.disk().hold();
  bench.prepare(1, {.command = READ_FPDMA_QUEUED, .lba = 4, .count = 1 << 3, .feature = 1}, {{kBuffer, 512}});
  bench.prepare(2, {.command = WRITE_FPDMA_QUEUED, .lba = 6, .count = 2 << 3, .feature = 1, .device = 0xc0},
                {{kBuffer + 0x1000, 512}});
  bench.put(ahci::SACT, 6);
  bench.put(ahci::CI, 6);
  bench.run();
  EXPECT_EQ(bench.disk().waiting(), 2u);
  EXPECT_EQ(bench.get(ahci::CI), 0u);
  EXPECT_EQ(bench.get(ahci::SACT), 6u);
  // One that is not queued waits for them.
  bench.prepare(3, {.command = FLUSH_CACHE_EXT});
  bench.put(ahci::CI, 8);
  bench.run();
  EXPECT_EQ(bench.disk().waiting(), 2u);
  bench.disk().release();
  bench.run();
  EXPECT_EQ(bench.get(ahci::SACT), 0u);
  EXPECT_EQ(bench.get(ahci::CI), 0u);
  EXPECT_THAT(bench.disk().log, ElementsAre("read 0x800+0x200", "write-fua 0xc00+0x200", "flush 0x0+0x0"));
  EXPECT_EQ(bench.take_interrupts(), ahci::kSdbs | ahci::kDhrs);
  EXPECT_EQ(bench.ram_bytes(kBuffer, 512), bench.pattern(4 * 512, 512));
  EXPECT_EQ(bench.load(kFis + 0x58, 1), 0xa1u);
}

TEST(Ahci, QueuedFailureStopsThePortAndIsInTheLog) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.disk().fail_with = EIO;
  bench.prepare(5, {.command = READ_FPDMA_QUEUED, .lba = 0x123, .count = 5 << 3, .feature = 1}, {{kBuffer, 512}});
  bench.put(ahci::SACT, 1 << 5);
  bench.put(ahci::CI, 1 << 5);
  bench.run();
  EXPECT_EQ(bench.take_interrupts(), ahci::kSdbs | ahci::kTfes);
  EXPECT_EQ(bench.get(ahci::SACT), 1u << 5);
  EXPECT_EQ(bench.get(ahci::TFD), u32(UNC) << 8 | DRDY | DSC | ERR);
  bench.disk().fail_with = 0;
  bench.put(ahci::CMD, ahci::kFre);
  EXPECT_EQ(bench.get(ahci::CMD) & ahci::kCr, 0u);
  EXPECT_EQ(bench.get(ahci::SACT), 0u);
  bench.put(ahci::CMD, ahci::kFre | ahci::kSt);
  bench.run_slot(0, {.command = READ_LOG_EXT, .lba = 0x10, .count = 1}, {{kBuffer, 512}});
  EXPECT_EQ(bench.load(kBuffer, 1), 5u);
  EXPECT_EQ(bench.load(kBuffer + 3, 1), u64(UNC));
  EXPECT_EQ(bench.load(kBuffer + 4, 2), 0x123u);
}

TEST(Ahci, FailedCommandStopsThePort) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.prepare(1, {.command = FLUSH_CACHE});
  bench.prepare(0, {.command = READ_DMA_EXT, .lba = 2048, .count = 1}, {{kBuffer, 512}});
  bench.put(ahci::CI, 3);
  bench.run();
  EXPECT_EQ(bench.get(ahci::CI), 3u);
  EXPECT_EQ(bench.take_interrupts(), ahci::kTfes | ahci::kDhrs);
  EXPECT_EQ(bench.get(ahci::TFD) >> 8, u32(IDNF | ABRT));
  bench.put(ahci::CMD, ahci::kFre);
  bench.put(ahci::CMD, ahci::kFre | ahci::kSt);
  bench.put(ahci::CI, 2);
  bench.run();
  EXPECT_EQ(bench.get(ahci::CI), 0u);
}

TEST(Ahci, MemoryThatIsNotThereIsABusError) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.run_slot(0, {.command = READ_DMA_EXT, .lba = 0, .count = 1}, {{0x7000'0000, 512}});
  EXPECT_EQ(bench.take_interrupts(), ahci::kHbfs);
  EXPECT_EQ(bench.get(ahci::CI), 1u);
  bench.put(ahci::CMD, ahci::kFre);
  bench.put(ahci::CLB, 0x6000'0000);
  bench.put(ahci::CMD, ahci::kFre | ahci::kSt);
  bench.put(ahci::CI, 1);
  bench.run();
  EXPECT_EQ(bench.take_interrupts(), ahci::kHbfs);
}

TEST(Ahci, TableThatIsTooShortIsAnOverflow) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.run_slot(0, {.command = READ_DMA_EXT, .lba = 0, .count = 2}, {{kBuffer, 512}});
  EXPECT_EQ(bench.take_interrupts(), ahci::kOfs | ahci::kTfes | ahci::kDhrs);
  EXPECT_TRUE(bench.disk().log.empty());
}

TEST(Ahci, StoppingWaitsForWhatIsUnderWay) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.disk().hold();
  bench.run_slot(0, {.command = READ_DMA_EXT, .lba = 0, .count = 1}, {{kBuffer, 512}});
  bench.put(ahci::CMD, ahci::kFre);
  EXPECT_EQ(bench.get(ahci::CI), 0u);
  EXPECT_EQ(bench.get(ahci::CMD) & ahci::kCr, ahci::kCr);
  bench.put(ahci::SCTL, 1);
  bench.put(ahci::SCTL, 0);
  EXPECT_NE(bench.get(ahci::SSTS), 0x123u);
  bench.disk().release();
  bench.run();
  EXPECT_EQ(bench.get(ahci::CMD) & ahci::kCr, 0u);
  EXPECT_EQ(bench.get(ahci::SSTS), 0x123u);
  EXPECT_EQ(bench.get(ahci::TFD), 0x150u);
  EXPECT_EQ(bench.take_interrupts() & ~ahci::kPcs, 0u);
  bench.put(ahci::SERR, ~0u);
  EXPECT_EQ(bench.get(ahci::IS), 0u);
}

TEST(Ahci, SoftwareResetByFis) {
  Bench bench;
  bench.add_drive("ide-cd", bench.ahci().ide_bus(0), "d0", 600 * 2048);
  bench.start();
  EXPECT_EQ(bench.get(ahci::SIG), 0xeb14'0101u);
  bench.run_slot(0, {.command = 0, .control = 4, .is_command = false, .flags = 0x500});
  EXPECT_EQ(bench.get(ahci::CI), 0u);
  bench.store(kFis + 0x40, 0, 4);
  bench.run_slot(1, {.command = 0, .control = 0, .is_command = false});
  EXPECT_EQ(bench.load(kFis + 0x40, 1), 0x34u);
  EXPECT_EQ(bench.get(ahci::TFD), 0x100u);
}

TEST(Ahci, PacketCommands) {
  Bench bench;
  bench.add_drive("ide-cd", bench.ahci().ide_bus(0), "d0", 600 * 2048);
  bench.start();
  bench.run_slot(0, {.command = PACKET, .packet = {0}});
  EXPECT_EQ(bench.get(ahci::TFD) >> 8, 6u << 4 | ABRT);  // the power-on attention
  bench.put(ahci::CMD, ahci::kFre);
  bench.put(ahci::CMD, ahci::kFre | ahci::kSt);
  bench.run_slot(0, {.command = PACKET, .feature = 1, .packet = {scsi::READ_10, 0, 0, 0, 0, 3, 0, 0, 2, 0}},
                 {{kBuffer, 4096}});
  EXPECT_EQ(bench.ram_bytes(kBuffer, 4096), bench.pattern(3 * 2048, 4096));
  EXPECT_EQ(bench.load(kList + 4, 4), 4096u);
  bench.run_slot(0, {.command = PACKET, .packet = {scsi::INQUIRY, 0, 0, 0, 96, 0}}, {{kBuffer, 96}});
  EXPECT_EQ(bench.load(kList + 4, 4), 36u);
  EXPECT_EQ(bench.load(kBuffer, 1), 5u);
  EXPECT_EQ(bench.get(ahci::TFD), u32(DRDY));
}

TEST(Ahci, MessagesComeAgainWhileSomethingIsLeft) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  constexpr u64 kMessage = 0x3'0000;
  const unsigned msi = std::as_const(bench.ahci()).config().find_capability(5);
  ASSERT_NE(msi, 0u);
  const bool is_64bit = bench.config_read(kDevfn, msi + 2, 2) & 0x80;
  bench.config_write(kDevfn, msi + 4, kMessage, 4);
  bench.config_write(kDevfn, msi + (is_64bit ? 12 : 8), 0x4055, 2);
  bench.config_write(kDevfn, msi + 2, 1, 2);
  bench.run_slot(0, {.command = FLUSH_CACHE});
  EXPECT_EQ(bench.load(kMessage, 4), 0x4055u);
  EXPECT_FALSE(bench.lines[0].is_high());
  bench.store(kMessage, 0, 4);
  bench.store(kAbar + Ahci::IS, 1, 4);  // the port's own is still set
  EXPECT_EQ(bench.load(kMessage, 4), 0x4055u);
  bench.store(kMessage, 0, 4);
  bench.take_interrupts();
  EXPECT_EQ(bench.load(kMessage, 4), 0u);
}

TEST(Ahci, RoundTripBeginsAgainWhatWasUnderWay) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.start();
  bench.disk().hold();
  bench.prepare(2, {.command = READ_FPDMA_QUEUED, .lba = 4, .count = 2 << 3, .feature = 1}, {{kBuffer, 512}});
  bench.put(ahci::SACT, 4);
  bench.put(ahci::CI, 4);
  bench.run();
  Device& device = bench.ahci();
  const auto saved = device.save();
  bench.disk().release();
  bench.run();
  bench.reset();
  bench.set_ram(kBuffer, Bytes(512, 0));
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(saved.dump(), device.save().dump());
  bench.run();
  EXPECT_EQ(bench.ram_bytes(kBuffer, 512), bench.pattern(4 * 512, 512));
  EXPECT_EQ(bench.get(ahci::SACT), 0u);
}

TEST(Ahci, BusTakesOneDrive) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  EXPECT_TRUE(bench.ahci().ide_bus(0).is_full());
  test::add_disk(bench.machine().tree(), "x", kMiB);
  EXPECT_FALSE(plug_user_device(bench.machine(), "ide-hd", "", {{"drive", "x"}}, &bench.ahci().ide_bus(0)).has_value());
}

TEST(Ahci, AnyRegisterWritesDoNoHarm) {
  Bench bench;
  bench.add_drive("ide-hd", bench.ahci().ide_bus(0), "d0", kMiB);
  bench.add_drive("ide-cd", bench.ahci().ide_bus(1), "d1", kMiB);
  bench.start();
  u64 seed = 88172645463325252ull;
  const auto next = [&] { return seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; };
  for (unsigned i = 0; i < 20000; i++) {
    const u64 a = next(), b = next();
    const u64 port = a & 1;
    if (a & 0x10) {
      const u8 commands[] = {READ_DMA_EXT, READ_FPDMA_QUEUED, WRITE_FPDMA_QUEUED, PACKET, IDENTIFY_DEVICE, SMART,
                             DATA_SET_MANAGEMENT, READ_LOG_EXT, u8(b)};
      bench.prepare(a >> 8 & 31,
                    {.command = commands[b % 9], .lba = b >> 8 & 0xfff, .count = u16(b >> 20 & 0xff), .feature = u16(b >> 28 & 7),
                     .device = u8(b >> 32), .packet = a & 0x20 ? Bytes{u8(b >> 40), 0, 0, 0, 0, u8(a >> 50), 0, 0, 3} : Bytes{}},
                    {{kBuffer + (b >> 44 & 0xfff), 1 + u32(a >> 40 & 0xfff)}, {a & 0x40 ? kBuffer : b, 4096}});
    }
    const u64 address = kAbar + (a & 0x80 ? a >> 20 & 0xff : 0x100 + port * 0x80 + (a >> 20 & 0x7f));
    if (a & 0x100000000) bench.store(kAbar + 0x100 + port * 0x80 + ahci::CI, u32(b), 4);
    bench.store(address, (address & 0x7f) < 0x10 ? kList : u32(b >> 7), 4);
    bench.load(address, 4);
    if (i % 64 == 0) {
      bench.put(ahci::CMD, 0);
      bench.run();
      for (const u64 p : {0, 1}) {
        const u64 base = kAbar + 0x100 + p * 0x80;
        bench.store(base + ahci::CLB, kList, 4);
        bench.store(base + ahci::CLBU, 0, 4);
        bench.store(base + ahci::CMD, 0, 4);
        bench.store(base + ahci::CMD, ahci::kFre | ahci::kSt, 4);
      }
    }
    if (i % 5 == 0) bench.run();
  }
}

}  // namespace
}  // namespace emu::hw
