// SPDX-License-Identifier: Apache-2.0
#include "block/block_store.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "block/qcow2/create.h"
#include "block/qcow2/format.h"
#include "qom/user_creatable.h"
#include "unit/block/block_bench.h"

namespace emu::block {
namespace {

struct QuietFrontend final : BlockFrontend {};

class Store : public testing::Test {
 protected:
  Store() {
    register_backend_types(types_);
    types_.add_abstract<qom::UserCreatable, qom::Object>();
    register_block_objects(types_);
  }
  ~Store() override { store_.close(); }

  Result<DiskBackend*> drive(const std::string& id, const std::string& text) {
    Options options = *Options::parse(text);
    auto spec = take_drive_spec(options, false);
    if (!spec) return error(std::move(spec).error());
    spec->settings.id = id;
    return store_.add_drive(std::move(*spec));
  }
  std::string drive_error(const std::string& id, const std::string& text) {
    auto made = drive(id, text);
    return made ? "made" : made.error().message();
  }
  Result<NodeRef> node(const std::string& text) { return store_.add_node(*Options::parse(text)); }
  DiskBackend& backend(const std::string& name) {
    return dynamic_cast<DiskBackend&>(*tree_.container("/backend").child(name));
  }
  std::string read(DiskBackend& disk, u64 offset, std::size_t length) {
    std::string text(length, '?');
    const iovec part{text.data(), length};
    const IoStatus failed = bench_.run(disk.read(offset, IoVec(&part, 1)));
    return failed == 0 ? text : "error " + std::to_string(failed);
  }
  IoStatus write(DiskBackend& disk, u64 offset, std::string text) {
    const iovec part{text.data(), text.size()};
    return bench_.run(disk.write(offset, IoVec(&part, 1), IoFlags::None));
  }

  BlockBench bench_;
  qom::TypeRegistry types_;
  qom::ObjectTree tree_{types_};
  BlockStore store_{tree_, bench_.loop()};
};

TEST_F(Store, ADriveIsFoundByItsId) {
  const std::string path = bench_.file("a", std::string(4096, 'a'));
  auto made = drive("d0", "format=raw,file=" + path);
  ASSERT_TRUE(made.has_value()) << made.error().text();
  EXPECT_EQ(store_.find_drive("d0"), *made);
  EXPECT_EQ(read(**made, 0, 4), "aaaa");
  EXPECT_EQ(drive_error("d0", "format=raw,file=" + path), "Device with id 'd0' already exists");
  EXPECT_TRUE(store_.remove_drive(**made).has_value());
  EXPECT_TRUE(store_.graph().nodes().empty());
}

TEST_F(Store, ABadImageLeavesNothing) {
  EXPECT_EQ(drive_error("d0", "file=/no/such"), "Could not open '/no/such': No such file or directory");
  EXPECT_TRUE(store_.backends().empty());
  EXPECT_EQ(drive_error("d0", "driver=null-co"), "made");
}

TEST_F(Store, SnapshotLeavesTheImageAlone) {
  const std::string path = bench_.file("a", std::string(200000, 'a'));
  auto made = drive("d0", "snapshot=on,format=raw,file=" + path);
  ASSERT_TRUE(made.has_value()) << made.error().text();
  DiskBackend& disk = **made;
  EXPECT_FALSE(disk.is_read_only());
  EXPECT_EQ(write(disk, 65530, std::string(20, 'b')), 0);
  EXPECT_EQ(read(disk, 65529, 22), "a" + std::string(20, 'b') + "a");
  EXPECT_EQ(read(disk, 131071, 2), "aa");
  EXPECT_EQ(bench_.run(disk.write_zeroes(100, 1000, IoFlags::None)), 0);
  EXPECT_EQ(read(disk, 99, 3), std::string("a\0\0", 3));
  EXPECT_EQ(read(disk, 199999, 3), std::string("a\0\0", 3));
  EXPECT_TRUE(store_.remove_drive(disk).has_value());
  EXPECT_EQ(bench_.content("a"), std::string(200000, 'a'));
}

TEST_F(Store, ANodeHasABackendOfItsName) {
  ASSERT_TRUE(node("driver=null-co,node-name=n").has_value());
  QuietFrontend frontend, second;
  ASSERT_TRUE(backend("n").attach(frontend).has_value());
  EXPECT_FALSE(backend("n").attach(second).has_value());
  EXPECT_THAT(store_.remove_node("n").error().message(), testing::HasSubstr("Node n is in use"));
  backend("n").detach(frontend);
  EXPECT_TRUE(store_.remove_node("n").has_value());
  EXPECT_EQ(tree_.container("/backend").child("n"), nullptr);
}

TEST_F(Store, ABackendThatGoesUsesNoNodeAnyMore) {
  ASSERT_TRUE(node("driver=null-co,node-name=n").has_value());
  auto other = node("driver=null-co,node-name=m");
  ASSERT_TRUE(other.has_value());
  ASSERT_TRUE(store_.eject(backend("n")).has_value());
  ASSERT_TRUE(store_.insert_node(backend("n"), *other).has_value());
  EXPECT_TRUE(store_.graph().is_used(**other));
  ASSERT_TRUE(store_.remove_node("n").has_value());
  EXPECT_FALSE(store_.graph().is_used(**other));
  EXPECT_TRUE(store_.remove_node("m").has_value());
  EXPECT_TRUE(store_.graph().nodes().empty());
}

TEST_F(Store, ADriveWhoseNameCannotBeLeavesNothing) {
  EXPECT_EQ(drive_error("a/b", "driver=null-co"), "Parameter 'id' expects an identifier, not 'a/b'");
  EXPECT_EQ(drive_error("", "driver=null-co"), "Parameter 'id' expects an identifier, not ''");
  EXPECT_TRUE(store_.graph().nodes().empty());
}

TEST_F(Store, ASnapshotHeedsWhatTheImageNeeds) {
  auto made = drive("d0", "snapshot=on,driver=blkdebug,align=4096,image.driver=null-co");
  ASSERT_TRUE(made.has_value()) << made.error().text();
  EXPECT_EQ((*made)->limits().request_alignment, 4096u);
}

TEST_F(Store, ADamagedImageIsReportedOnce) {
  struct Listener final : BlockErrorListener {
    void io_error(const BlockIoError&) override {}
    void image_corrupted(const BlockCorruption& found) override { corruptions.push_back(found); }
    std::vector<BlockCorruption> corruptions;
  };
  Listener listener;
  store_.set_error_listener(&listener);
  const std::string path = bench_.file("a.qcow2", u64(0));
  const NodeRef file = bench_.must_open("driver=file,filename=" + path);
  ASSERT_TRUE(bench_.run(qcow2::create(file, {.bytes = 1 << 20}, nullptr)).has_value());
  bench_.release(file);
  {  // an L2 table at an odd place
    std::fstream image(path, std::ios::binary | std::ios::in | std::ios::out);
    u8 raw[8];
    image.seekg(40);
    image.read(reinterpret_cast<char*>(raw), 8);
    const u64 l1 = qcow2::load_be64(raw);
    qcow2::store_be64(raw, 0x30200 | qcow2::kCopied);
    image.seekp(i64(l1));
    image.write(reinterpret_cast<const char*>(raw), 8);
  }
  auto made = drive("d0", "format=qcow2,node-name=q,file=" + path);
  ASSERT_TRUE(made.has_value()) << made.error().text();
  // status() finds it: the mark is in the image all the same.
  EXPECT_FALSE(bench_.run((*made)->root()->status(0, 512)).has_value());
  ASSERT_EQ(listener.corruptions.size(), 1u);
  EXPECT_EQ(listener.corruptions[0].node_name, "q");
  EXPECT_TRUE(listener.corruptions[0].fatal);
  EXPECT_EQ(read(**made, 0, 512), "error 5");
  EXPECT_EQ(listener.corruptions.size(), 1u);
  EXPECT_EQ(bench_.content("a.qcow2")[79] & qcow2::kCorrupt, qcow2::kCorrupt);
  store_.set_error_listener(nullptr);
}

TEST_F(Store, NodesBelowOthersStay) {
  ASSERT_TRUE(node("driver=null-co,node-name=f").has_value());
  ASSERT_TRUE(node("driver=raw,node-name=r,file=f").has_value());
  EXPECT_THAT(store_.remove_node("f").error().message(), testing::HasSubstr("in use: node 'r' as 'file'"));
  EXPECT_TRUE(store_.remove_node("r").has_value());
  EXPECT_TRUE(store_.remove_node("f").has_value());
}

TEST_F(Store, LimitsHaveAGroup) {
  auto made = drive("d0", "driver=null-co,throttling.iops-total=10");
  ASSERT_TRUE(made.has_value()) << made.error().text();
  EXPECT_EQ((*made)->throttle_group_name(), "d0");
  EXPECT_EQ((*made)->throttle_group()->config()[Throttled::IopsTotal].average, 10u);
  EXPECT_TRUE(store_.set_limits(**made, "", {}).has_value());
  EXPECT_EQ((*made)->throttle_group(), nullptr);
}

TEST_F(Store, GroupsAreObjects) {
  ASSERT_TRUE(qom::add_user_object(tree_, "throttle-group", "g", {{"x-iops-total", u64(5)}}).has_value());
  ASSERT_TRUE(node("driver=throttle,node-name=t,throttle-group=g,file.driver=null-co").has_value());
  EXPECT_FALSE(qom::delete_user_object(tree_, "g").has_value());
  EXPECT_TRUE(store_.remove_node("t").has_value());
  EXPECT_TRUE(qom::delete_user_object(tree_, "g").has_value());
}

TEST_F(Store, AutoReadOnlyIsTheDrivesDefault) {
  const std::string path = bench_.file("a", std::string(4096, 'a'));
  auto made = drive("d0", "read-only=on,format=raw,file=" + path);
  ASSERT_TRUE(made.has_value());
  EXPECT_TRUE((*made)->is_read_only());
  EXPECT_EQ(write(**made, 0, "x"), EPERM);
}

TEST_F(Store, FlushAllWritesOut) {
  auto made = drive("d0", "format=raw,file=" + bench_.file("a", 4096));
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(write(**made, 0, "x"), 0);
  EXPECT_TRUE(store_.flush_all().has_value());
}

TEST_F(Store, MediaComeAndGo) {
  auto made = drive("cd", "driver=null-co");
  ASSERT_TRUE(made.has_value());
  EXPECT_TRUE(store_.eject(**made).has_value());
  EXPECT_FALSE((*made)->has_medium());
  Options options = *Options::parse("driver=raw,read-only=on,filename=" + bench_.file("b", std::string(512, 'b')));
  EXPECT_TRUE(store_.insert_file(**made, std::move(options)).has_value());
  EXPECT_EQ(read(**made, 0, 2), "bb");
  EXPECT_EQ(store_.graph().nodes().size(), 2u);
}

TEST(BlockOptions, LimitsHaveOlderNames) {
  Options options = *Options::parse("file=x,bps_rd=1000,bps_rd_max=2000,iops=10,group=g");
  const auto spec = take_drive_spec(options, false);
  ASSERT_TRUE(spec.has_value()) << spec.error().text();
  EXPECT_EQ(spec->limits[Throttled::BpsRead].average, 1000u);
  EXPECT_EQ(spec->limits[Throttled::BpsRead].most, 2000u);
  EXPECT_EQ(spec->limits[Throttled::IopsTotal].average, 10u);
  EXPECT_EQ(spec->throttle_group, "g");
  EXPECT_FALSE(spec->node->has("bps_rd"));
}

TEST(BlockOptions, JsonBecomesPairs) {
  const auto pairs = flatten_json(nlohmann::json::parse(R"({"a":{"b":1,"c":true},"l":[{"x":"y"},null]})"));
  ASSERT_TRUE(pairs.has_value());
  EXPECT_EQ(*pairs, (Options::Pairs{{"a.b", "1"}, {"a.c", "on"}, {"l.0.x", "y"}, {"l.1", "null"}}));
  EXPECT_FALSE(flatten_json(nlohmann::json::parse("[1]")).has_value());
}

}  // namespace
}  // namespace emu::block
