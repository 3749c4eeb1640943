// SPDX-License-Identifier: Apache-2.0
#include "softmmu/drive_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "softmmu/start_options.h"

namespace emu::softmmu {
namespace {

constexpr DriveLayout kPc{DriveInterface::Ide, 2, 2};
constexpr DriveLayout kQ35{DriveInterface::Ide, 6, 1};

std::vector<PlacedDrive> placed(std::vector<std::string> words, const DriveLayout& layout = kPc) {
  auto options = parse_command_line(words);
  EXPECT_TRUE(options.has_value()) << (options ? "" : options.error().text());
  if (!options) return {};
  auto drives = place_drives(options->drives, layout, options->snapshot);
  EXPECT_TRUE(drives.has_value()) << (drives ? "" : drives.error().text());
  return drives ? std::move(*drives) : std::vector<PlacedDrive>();
}
std::string refused(std::vector<std::string> words, const DriveLayout& layout = kPc) {
  auto options = parse_command_line(words);
  if (!options) return options.error().text();
  auto drives = place_drives(options->drives, layout, options->snapshot);
  return drives ? "taken" : drives.error().text();
}
std::string node_value(const PlacedDrive& drive, const char* key) {
  return drive.spec.node->peek(key).value_or("none");
}
std::string property(const PlacedDrive& drive, const std::string& name) {
  for (const auto& [key, value] : drive.properties) {
    if (key == name) return value.text();
  }
  return "none";
}

TEST(DriveOptions, AFileAloneIsTheFirstDisk) {
  const auto drives = placed({"disk.img"});
  ASSERT_EQ(drives.size(), 1u);
  EXPECT_EQ(drives[0].driver, "ide-hd");
  EXPECT_EQ(drives[0].spec.settings.id, "ide0-hd0");
  EXPECT_EQ(node_value(drives[0], "filename"), "disk.img");
  EXPECT_EQ(property(drives[0], "bus"), "ide.0");
  EXPECT_EQ(property(drives[0], "unit"), "0");
}

TEST(DriveOptions, HdbAndCdromHaveTheirPlaces) {
  const auto drives = placed({"-hdb", "b", "-cdrom", "c"});
  EXPECT_EQ(drives[0].spec.settings.id, "ide0-hd1");
  EXPECT_EQ(drives[1].spec.settings.id, "ide1-cd0");
  EXPECT_EQ(drives[1].driver, "ide-cd");
  EXPECT_EQ(node_value(drives[1], "read-only"), "on");
  EXPECT_EQ(placed({"-cdrom", "c"}, kQ35)[0].spec.settings.id, "ide2-cd0");
}

TEST(DriveOptions, NextFreePlace) {
  const auto drives = placed({"-drive", "file=a", "-drive", "file=b", "-drive", "file=c,if=virtio", "-drive",
                              "file=d,if=none,id=x", "-drive", "file=e"});
  EXPECT_EQ(drives[1].spec.settings.id, "ide0-hd1");
  EXPECT_EQ(drives[2].spec.settings.id, "virtio0");
  EXPECT_EQ(drives[2].driver, "virtio-blk-pci");
  EXPECT_EQ(drives[3].driver, "");
  EXPECT_EQ(drives[4].spec.settings.id, "ide1-hd0");
}

TEST(DriveOptions, RefusesWhatHasNoPlace) {
  EXPECT_THAT(refused({"-hda", "a", "-hda", "b"}), testing::HasSubstr("drive with bus=0, unit=0 (index=0) exists"));
  EXPECT_THAT(refused({"-drive", "file=a,index=9"}), testing::HasSubstr("no place for this drive"));
  EXPECT_THAT(refused({"-drive", "file=a,if=scsi"}), testing::HasSubstr("virtio-scsi-pci"));
  EXPECT_THAT(refused({"-drive", "file=a"}, {}), testing::HasSubstr("if=none"));
  EXPECT_THAT(refused({"-drive", "file=a,index=1,unit=0"}),
              testing::HasSubstr("index cannot be used with bus and unit"));
  EXPECT_THAT(refused({"-drive", "file=a,id=x,if=none", "-drive", "file=b,id=x,if=none"}),
              testing::HasSubstr("given twice"));
}

TEST(DriveOptions, CacheModes) {
  const auto none = placed({"-drive", "if=none,file=a,cache=none"});
  EXPECT_EQ(node_value(none[0], "cache.direct"), "on");
  EXPECT_TRUE(none[0].spec.settings.write_cache);
  const auto through = placed({"-drive", "if=none,file=a,cache=writethrough"});
  EXPECT_EQ(node_value(through[0], "cache.direct"), "off");
  EXPECT_FALSE(through[0].spec.settings.write_cache);
  EXPECT_EQ(node_value(placed({"-drive", "if=none,file=a,cache=unsafe"})[0], "cache.no-flush"), "on");
}

TEST(DriveOptions, ErrorsAndLimits) {
  const auto drives =
      placed({"-drive", "if=none,file=a,werror=stop,rerror=ignore,throttling.iops-total=7,aio=threads"});
  EXPECT_EQ(drives[0].spec.settings.on_write_error, block::OnError::Stop);
  EXPECT_EQ(drives[0].spec.settings.on_read_error, block::OnError::Ignore);
  EXPECT_EQ(drives[0].spec.limits[block::Throttled::IopsTotal].average, 7u);
  EXPECT_EQ(node_value(drives[0], "file.aio"), "threads");
  EXPECT_EQ(node_value(drives[0], "file.filename"), "a");
}

TEST(DriveOptions, SnapshotForAll) {
  const auto drives = placed({"-hda", "a", "-cdrom", "c", "-snapshot"});
  EXPECT_TRUE(drives[0].spec.snapshot);
  EXPECT_EQ(node_value(drives[0], "read-only"), "on");
  EXPECT_FALSE(drives[1].spec.snapshot);
}

TEST(DriveOptions, AnEmptyCdromHasNoNode) {
  const auto drives = placed({"-drive", "if=none,id=cd,media=cdrom"});
  EXPECT_FALSE(drives[0].spec.node);
  EXPECT_TRUE(drives[0].spec.settings.is_removable);
}

TEST(DriveOptions, BlockdevMayBeginWithItsDriver) {
  const auto options = parse_blockdev("null-co,node-name=n,size=1M");
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->peek("driver"), "null-co");
  EXPECT_FALSE(parse_blockdev("node-name=n,size=1M"));
  EXPECT_FALSE(parse_blockdev("null-co,size=1M"));
}

TEST(DriveOptions, BlockdevAsJson) {
  const auto options = parse_blockdev(
      R"({"driver":"raw","node-name":"n","cache":{"direct":true},"backing":null,"file":{"driver":"file","filename":"a,b"},)"
      R"("inject-error":[{"event":"none"}]})");
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->peek("file.filename"), "a,b");
  EXPECT_EQ(options->peek("cache.direct"), "on");
  EXPECT_EQ(options->peek("backing"), "null");
  EXPECT_EQ(options->peek("inject-error.0.event"), "none");
}

}  // namespace
}  // namespace emu::softmmu
