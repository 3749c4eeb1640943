// SPDX-License-Identifier: Apache-2.0
#include "hw/scsi/scsi_bus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "support/device_bench.h"
#include "support/fake_block_backend.h"

namespace emu::hw {
namespace {

using namespace scsi;
using testing::ElementsAre;
using testing::HasSubstr;
using Properties = std::vector<std::pair<std::string, qom::PropertyValue>>;

class Controller final : public SysBusDevice, public ScsiTransport {
 public:
  static void describe(TypeInfo<Controller>& type) { type.doc("for tests"); }
  Result<void> realize() override {
    scsi = &add_bus<ScsiBus>("scsi0.0");
    scsi->set_transport(*this, {.channels = 1, .targets = 4, .luns = 512});
    return {};
  }
  void unit_attention(const ScsiAddress& at, bool, ScsiSense what) override {
    log.push_back(fmt::format("{}:{}:{} {:02x}/{:02x}", at.channel, at.target, at.lun, what.asc, what.ascq));
  }
  ScsiBus* scsi = nullptr;
  std::vector<std::string> log;
};

class Bench {
 public:
  Bench() : machine_(registry()) {
    controller_ = &place<Controller>(machine_);
    EXPECT_TRUE(static_cast<Device&>(*controller_).realize_on(&machine_.system_bus()).has_value());
  }
  Result<Device*> plug(const char* type, const std::string& disk, Properties properties = {}) {
    test::add_disk(machine_.tree(), disk, 1 << 20);
    properties.push_back({"drive", disk});
    return plug_user_device(machine_, type, "dev-" + disk, properties, controller_->scsi);
  }
  Result<Device*> plug_bare(const char* type) { return plug_user_device(machine_, type, "", {}, controller_->scsi); }
  test::BenchMachine& machine() { return machine_; }
  Controller& controller() { return *controller_; }
  ScsiBus& bus() { return *controller_->scsi; }

 private:
  const qom::TypeRegistry& registry() {
    register_core_types(registry_);
    register_scsi_devices(registry_);
    registry_.add<Controller>("controller");
    test::register_fake_backend(registry_);
    return registry_;
  }
  qom::TypeRegistry registry_;
  test::BenchMachine machine_;
  Controller* controller_;
};

TEST(ScsiBus, GivesTheFirstFreeTarget) {
  Bench bench;
  ASSERT_TRUE(bench.plug("scsi-hd", "a", {{"scsi-id", u64(0)}}).has_value());
  ASSERT_TRUE(bench.plug("scsi-cd", "b").has_value());
  ASSERT_TRUE(bench.plug("scsi-hd", "c", {{"scsi-id", u64(1)}, {"lun", u64(300)}}).has_value());
  EXPECT_THAT(bench.bus().luns(0, 1), ElementsAre(0, 300));
  EXPECT_NE(bench.bus().find({0, 1, 300}), nullptr);
  EXPECT_EQ(bench.bus().find({0, 1, 1}), nullptr);
  EXPECT_TRUE(bench.bus().has_target(0, 1));
  EXPECT_FALSE(bench.bus().has_target(0, 2));
}

TEST(ScsiBus, RefusesPlacesThatAreTakenOrNotThere) {
  Bench bench;
  ASSERT_TRUE(bench.plug("scsi-hd", "a", {{"scsi-id", u64(2)}}).has_value());
  const auto fails = [&](const std::string& disk, Properties properties) {
    auto plugged = bench.plug("scsi-hd", disk, std::move(properties));
    EXPECT_FALSE(plugged.has_value());
    return plugged ? std::string() : plugged.error().text();
  };
  EXPECT_THAT(fails("b", {{"scsi-id", u64(2)}, {"lun", u64(0)}}), HasSubstr("is in use"));
  EXPECT_THAT(fails("c", {{"scsi-id", u64(4)}}), HasSubstr("no target 4"));
  EXPECT_THAT(fails("d", {{"lun", u64(512)}}), HasSubstr("no logical unit 512"));
  EXPECT_THAT(fails("e", {{"channel", u64(1)}}), HasSubstr("no channel 1"));
  EXPECT_THAT(fails("f", {{"logical_block_size", u64(1000)}}), HasSubstr("powers of two"));
  EXPECT_THAT(fails("g", {{"product", std::string(17, 'x')}}), HasSubstr("too long"));
}

TEST(ScsiBus, UnitsSayWhoTheyAreAndWhoElseIsThere) {
  Bench bench;
  auto plugged = bench.plug("scsi-hd", "a", {{"scsi-id", u64(1)}, {"lun", u64(3)}, {"serial", "S1"}});
  ASSERT_TRUE(plugged.has_value());
  auto& disk = static_cast<ScsiDevice&>(**plugged);
  std::vector<u8> buffer(64);
  const iovec part{buffer.data(), buffer.size()};
  const std::vector<u8> cdb = {REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0};
  const ScsiCommand command = disk.unit().prepare(cdb);
  const ScsiResult result = run_sync(disk.backend().loop(), disk.unit().execute(command, block::IoVec(&part, 1)));
  EXPECT_EQ(result.bytes, 24u);
  EXPECT_EQ(buffer[8 + 1], 0);
  EXPECT_EQ(buffer[16 + 1], 3);
}

TEST(ScsiBus, AnswersForUnitsThatAreNotThere) {
  Bench bench;
  ASSERT_TRUE(bench.plug("scsi-hd", "a", {{"scsi-id", u64(1)}, {"lun", u64(3)}}).has_value());
  std::vector<u8> buffer(64);
  const iovec part{buffer.data(), buffer.size()};
  const auto ask = [&](const std::vector<u8>& cdb) {
    return bench.bus().answer_without_unit(0, 1, cdb, block::IoVec(&part, 1));
  };
  EXPECT_EQ(ask({INQUIRY, 0, 0, 0, 36, 0}).bytes, 36u);
  EXPECT_EQ(buffer[0], 0x7f);
  EXPECT_EQ(ask({REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0}).bytes, 24u);
  EXPECT_EQ(ask({READ_6, 0, 0, 0, 1, 0}).sense, sense::kLunNotSupported);
  EXPECT_EQ(ask({}).sense, sense::kLunNotSupported);
}

TEST(ScsiBus, TransportHearsOfChangesAndOfTheEnd) {
  Bench bench;
  auto plugged = bench.plug("scsi-cd", "a");
  ASSERT_TRUE(plugged.has_value());
  auto& cd = static_cast<ScsiCd&>(**plugged);
  EXPECT_TRUE(cd.session().is_removable());
  cd.session().medium_changed(false);
  cd.session().resized();
  EXPECT_TRUE(cd.session().is_tray_open());
  EXPECT_NE(bench.bus().find({0, 0, 0}), nullptr);
  destroy(cd);
  EXPECT_EQ(bench.bus().find({0, 0, 0}), nullptr);
  EXPECT_THAT(bench.controller().log, ElementsAre("0:0:0 28/00", "0:0:0 2a/09"));
}

TEST(ScsiBus, TheFirstFreeUnitOfATargetThatIsAskedFor) {
  Bench bench;
  ASSERT_TRUE(bench.plug("scsi-hd", "a", {{"scsi-id", u64(1)}}).has_value());
  ASSERT_TRUE(bench.plug("scsi-hd", "b", {{"scsi-id", u64(1)}}).has_value());
  ASSERT_TRUE(bench.plug("scsi-hd", "c", {{"lun", u64(0)}}).has_value());
  ASSERT_TRUE(bench.plug("scsi-hd", "d", {{"lun", u64(0)}}).has_value());
  EXPECT_THAT(bench.bus().luns(0, 1), ElementsAre(0, 1));
  EXPECT_NE(bench.bus().find({0, 0, 0}), nullptr);
  EXPECT_NE(bench.bus().find({0, 2, 0}), nullptr);
}

TEST(ScsiBus, ACdRomDriveNeedsNoDrive) {
  Bench bench;
  auto plugged = bench.plug_bare("scsi-cd");
  ASSERT_TRUE(plugged.has_value()) << plugged.error().text();
  ScsiUnit& unit = static_cast<ScsiDevice&>(**plugged).unit();
  unit.prepare(std::vector<u8>{TEST_UNIT_READY, 0, 0, 0, 0, 0});  // the attention of the power-on
  EXPECT_EQ(unit.prepare(std::vector<u8>{TEST_UNIT_READY, 0, 0, 0, 0, 0}).refused, sense::kNoMediumTrayClosed);
  auto disk = bench.plug_bare("scsi-hd");
  ASSERT_FALSE(disk.has_value());
  EXPECT_THAT(disk.error().text(), HasSubstr("drive property not set"));
}

TEST(ScsiBus, TheDriveStaysAttachedUntilTheLastCommandIsDone) {
  Bench bench;
  auto plugged = bench.plug("scsi-hd", "a");
  ASSERT_TRUE(plugged.has_value());
  auto& drive = static_cast<test::FakeBlockBackend&>(static_cast<ScsiDevice&>(**plugged).backend());
  drive.hold();
  std::vector<std::string> log;
  class Read final : public ScsiJob {
   public:
    explicit Read(std::vector<std::string>& log) : log_(log) {}
    std::span<const u8> cdb() const override { return cdb_; }
    u64 tag() const override { return 7; }
    bool open(const ScsiCommand& command, std::vector<iovec>& data) override {
      buffer_.resize(command.bytes);
      data = {{buffer_.data(), buffer_.size()}};
      return true;
    }
    void finish(const ScsiResult& result, ScsiEnd end) override {
      log_.push_back(fmt::format("status {} end {}", result.status, unsigned(end)));
    }

   private:
    std::vector<std::string>& log_;
    const std::array<u8, 10> cdb_ = {READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0};
    std::vector<u8> buffer_;
  };
  const std::shared_ptr<ScsiSession> session = bench.bus().find({0, 0, 0});
  session->start(std::make_unique<Read>(log));  // told of the power-on
  session->start(std::make_unique<Read>(log));
  EXPECT_THAT(log, ElementsAre("status 2 end 0"));
  destroy(**plugged);
  session->start(std::make_unique<Read>(log));
  EXPECT_THAT(log, ElementsAre("status 2 end 0", fmt::format("status 0 end {}", unsigned(ScsiEnd::Gone))));
  EXPECT_NE(drive.frontend, nullptr);
  drive.release();
  drive.poll();
  EXPECT_EQ(log.size(), 3u);
  bench.machine().run_main_loop();
  EXPECT_EQ(drive.frontend, nullptr);
}

TEST(ScsiBus, RoundTrip) {
  Bench bench;
  auto plugged = bench.plug("scsi-hd", "a");
  ASSERT_TRUE(plugged.has_value());
  Device& device = **plugged;
  const auto saved = device.save();
  reset_device(device);
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(saved.dump(), device.save().dump());
}

}  // namespace
}  // namespace emu::hw
