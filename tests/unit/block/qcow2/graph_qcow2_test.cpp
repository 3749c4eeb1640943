// SPDX-License-Identifier: Apache-2.0
// qcow2 as a driver: probing, children by name and by header, reopening, resizing.
#include <gtest/gtest.h>

#include "block/qcow2/create.h"
#include "block/qcow2/image.h"
#include "unit/block/block_bench.h"

namespace emu::block {
namespace {

class Qcow2Driver : public testing::Test, public BlockBench {
 protected:
  std::string image(const std::string& name, qcow2::CreateOptions options) {
    file(name, u64(0));
    const NodeRef node = must_open("driver=file,filename=" + path(name));
    const Result<void> done = run(qcow2::create(node, std::move(options), nullptr));
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().text());
    release(node);
    return path(name);
  }
};

TEST_F(Qcow2Driver, IsProbedAndHoldsData) {
  const std::string a = image("a.qcow2", {.bytes = 1u << 20});
  NodeRef node = must_open("filename=" + a);
  EXPECT_EQ(node->driver(), "qcow2");
  EXPECT_EQ(node->bytes(), 1u << 20);
  EXPECT_EQ(write(*node, 70000, std::string(1000, 'x')), 0);
  release(node);
  node = must_open("driver=qcow2,file.driver=file,file.filename=" + a + ",read-only=on");
  EXPECT_EQ(read(*node, 70000, 1000), std::string(1000, 'x'));
  release(node);
}

TEST_F(Qcow2Driver, OpensTheBackingFileBesideTheImage) {
  file("base.raw", std::string(4096, 'b'));
  const std::string a = image("a.qcow2", {.bytes = 8192, .backing_file = "base.raw", .backing_format = "raw"});
  NodeRef node = must_open("driver=qcow2,file.driver=file,file.filename=" + a);
  EXPECT_EQ(read(*node, 0, 4), "bbbb");
  EXPECT_EQ(read(*node, 4096, 4), std::string(4, '\0'));
  release(node);
  node = must_open("driver=qcow2,backing=null,filename=" + a);
  EXPECT_EQ(read(*node, 0, 4), std::string(4, '\0'));
  release(node);
  std::filesystem::remove(path("base.raw"));
  EXPECT_NE(open_error("driver=qcow2,filename=" + a).find("Could not open backing file 'base.raw'"), std::string::npos);
}

TEST_F(Qcow2Driver, RefusesAnOptionItDoesNotKnow) {
  const std::string a = image("a.qcow2", {.bytes = 1u << 20});
  EXPECT_NE(open_error("driver=qcow2,foo=1,filename=" + a).find("foo"), std::string::npos);
  release(must_open("driver=qcow2,l2-cache-size=1M,lazy-refcounts=on,filename=" + a));
}

TEST_F(Qcow2Driver, GrowsAndShrinks) {
  const std::string a = image("a.qcow2", {.bytes = 1u << 20, .cluster = 4096});
  const NodeRef node = must_open("driver=qcow2,filename=" + a);
  EXPECT_EQ(write(*node, (1u << 20) - 4, "abcd"), 0);
  EXPECT_TRUE(run(graph().truncate(node, 3u << 20, Preallocation::Off)).has_value());
  EXPECT_EQ(read(*node, (1u << 20) - 4, 8), std::string("abcd\0\0\0\0", 8));
  EXPECT_TRUE(run(graph().truncate(node, 512u << 10, Preallocation::Off)).has_value());
  EXPECT_TRUE(run(graph().truncate(node, 64u << 20, Preallocation::Metadata)).has_value());
  EXPECT_EQ(read(*node, (1u << 20) - 4, 4), std::string(4, '\0'));
  release(node);
}

TEST_F(Qcow2Driver, BitmapsFollowWritesAfterATimeReadOnly) {
  const std::string a = path("a.qcow2");
  const std::string make = "qemu-img create -q -f qcow2 " + a + " 1M && qemu-img bitmap --add " + a + " b0";
  if (std::system((make + " 2>/dev/null").c_str()) != 0) GTEST_SKIP() << "no qemu-img";
  const auto is_in_use = [&] {  // the flags of the first row of the directory
    const std::string raw = content("a.qcow2");
    const auto* const bytes = reinterpret_cast<const u8*>(raw.data());
    for (u64 at = qcow2::load_be32(bytes + 100);;) {
      const u32 type = qcow2::load_be32(bytes + at);
      const u64 length = qcow2::load_be32(bytes + at + 4);
      if (type == 0x23852875) return (qcow2::load_be32(bytes + qcow2::load_be64(bytes + at + 24) + 12) & 1) != 0;
      at += 8 + (length + 7) / 8 * 8;
    }
  };
  const NodeRef node = must_open("driver=qcow2,filename=" + a);
  EXPECT_EQ(write(*node, 0, "data"), 0);
  EXPECT_TRUE(is_in_use());
  ASSERT_TRUE(run(node->set_read_only(true)).has_value());
  EXPECT_FALSE(is_in_use());
  ASSERT_TRUE(run(node->set_read_only(false)).has_value());
  EXPECT_EQ(write(*node, 512 << 10, "data"), 0);
  EXPECT_TRUE(is_in_use());
  release(node);
  EXPECT_FALSE(is_in_use());
}

TEST_F(Qcow2Driver, MayBecomeReadOnlyAndWritableAgain) {
  const std::string a = image("a.qcow2", {.bytes = 1u << 20, .lazy_refcounts = true});
  const NodeRef node = must_open("driver=qcow2,filename=" + a);
  EXPECT_EQ(write(*node, 0, "data"), 0);
  EXPECT_TRUE(run(node->set_read_only(true)).has_value());
  EXPECT_EQ(write(*node, 0, "more"), EPERM);
  EXPECT_EQ(read(*node, 0, 4), "data");
  EXPECT_TRUE(run(node->set_read_only(false)).has_value());
  EXPECT_EQ(write(*node, 0, "more"), 0);
  release(node);
}

}  // namespace
}  // namespace emu::block
