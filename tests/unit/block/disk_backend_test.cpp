// SPDX-License-Identifier: Apache-2.0
#include "block/disk_backend.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "unit/block/block_bench.h"

namespace emu::block {
namespace {

struct FakeFrontend final : BlockFrontend {
  void resized() override { resizes++; }
  int resizes = 0;
};
struct FakeListener final : BlockErrorListener {
  void io_error(const BlockIoError& failure) override { failures.push_back(failure); }
  std::vector<BlockIoError> failures;
};

class Disk : public testing::Test {
 protected:
  Disk() { register_backend_types(types_); }
  ~Disk() override {
    if (frontend_attached_) disk_->detach(frontend_);
    if (disk_) {
      EXPECT_TRUE(bench_.run(disk_->remove()).has_value());
      disk_.reset();
    }
    for (const NodeRef& node : owned_) bench_.release(node);
  }
  DiskBackend& make(const std::string& node, BackendSettings settings = {}) {
    if (settings.id.empty()) settings.id = "d0";
    disk_ = tree_.make<DiskBackend>();
    disk_->set_up(bench_.graph(), settings, &listener_);
    NodeRef root = bench_.must_open(node);
    owned_.push_back(root);
    EXPECT_TRUE(bench_.run(disk_->insert(root)).has_value());
    const auto attached = disk_->attach(frontend_);
    EXPECT_TRUE(attached.has_value()) << (attached ? "" : attached.error().text());
    frontend_attached_ = attached.has_value();
    return *disk_;
  }
  IoStatus write(u64 offset, std::string text, IoFlags flags = IoFlags::None) {
    const iovec part{text.data(), text.size()};
    return bench_.run(disk_->write(offset, IoVec(&part, 1), flags));
  }
  std::string read(u64 offset, std::size_t length) {
    std::string text(length, '?');
    const iovec part{text.data(), length};
    const IoStatus failed = bench_.run(disk_->read(offset, IoVec(&part, 1)));
    return failed == 0 ? text : "error " + std::to_string(failed);
  }

  qom::TypeRegistry types_;
  qom::ObjectTree tree_{types_};
  BlockBench bench_;
  FakeFrontend frontend_;
  FakeListener listener_;
  bool frontend_attached_ = false;
  std::vector<NodeRef> owned_;
  std::unique_ptr<DiskBackend> disk_;
};

TEST_F(Disk, ReadsAndWritesAndCounts) {
  make("driver=raw,file.filename=" + bench_.file("a", 65536));
  EXPECT_EQ(write(512, std::string(512, 'x')), 0);
  EXPECT_EQ(read(510, 4), std::string("\0\0xx", 4));
  EXPECT_EQ(bench_.run(disk_->flush()), 0);
  EXPECT_EQ(disk_->counters(IoKind::Write).bytes, 512u);
  EXPECT_EQ(disk_->counters(IoKind::Read).operations, 1u);
  EXPECT_EQ(disk_->counters(IoKind::Flush).operations, 1u);
  EXPECT_EQ(disk_->highest_write(), 1024u);
}

TEST_F(Disk, RefusesWhatLiesOutside) {
  make("driver=null-co,size=65536");
  EXPECT_EQ(read(65536 - 511, 512), "error 5");
  EXPECT_EQ(read(~0ull - 100, 512), "error 5");
  EXPECT_EQ(write(1 << 20, "x"), EIO);
  EXPECT_TRUE(listener_.failures.empty());
}

TEST_F(Disk, UnalignedRequestsOnAnAlignedNode) {
  make("driver=blkdebug,align=4096,image.driver=file,image.filename=" +
       bench_.file("a", std::string(3 * 4096, 'a')));
  EXPECT_EQ(disk_->limits().request_alignment, 4096u);
  EXPECT_EQ(write(4095, "BB"), 0);
  EXPECT_EQ(write(10, "CCC"), 0);
  EXPECT_EQ(read(4094, 4), "aBBa");
  EXPECT_EQ(read(9, 5), "aCCCa");
  EXPECT_EQ(bench_.run(disk_->write_zeroes(4000, 4300, IoFlags::None)), 0);
  const std::string all = read(0, 3 * 4096);
  EXPECT_EQ(all.find('\0'), 4000u);
  EXPECT_EQ(all.rfind('\0'), 8299u);
  EXPECT_EQ(std::count(all.begin(), all.end(), '\0'), 4300);
}

TEST_F(Disk, DirectFilesTakeAnyBuffer) {
  const std::string path = bench_.file("a", 65536);
  const auto probe = bench_.open("driver=file,cache.direct=on,filename=" + path);
  if (!probe) GTEST_SKIP() << probe.error().message();
  bench_.release(*probe);
  make("driver=raw,cache.direct=on,file.driver=file,file.filename=" + path);
  EXPECT_EQ(write(1000, std::string(3000, 'y')), 0);
  EXPECT_EQ(read(999, 3002), std::string("\0", 1) + std::string(3000, 'y') + std::string("\0", 1));
}

TEST_F(Disk, LargeUnalignedWritesGoInPieces) {
  make("driver=blkdebug,align=512,image.driver=file,image.filename=" + bench_.file("a", 8 << 20));
  std::string text(5 << 20, '\0');
  for (std::size_t i = 0; i < text.size(); i++) text[i] = char(i * 7 >> 3);
  EXPECT_EQ(write(777, text), 0);
  EXPECT_EQ(read(777, text.size()), text);
}

TEST_F(Disk, DetectZeroesMakesHoles) {
  make("driver=raw,detect-zeroes=unmap,discard=unmap,file.filename=" + bench_.file("a", std::string(1 << 20, 'x')));
  EXPECT_EQ(write(0, std::string(65536, '\0')), 0);
  const auto extent = bench_.run(disk_->root()->status(0, 1 << 20));
  EXPECT_TRUE(extent->zero);
  EXPECT_EQ(extent->bytes, 65536u);
}

TEST_F(Disk, ReportsWriteErrors) {
  BackendSettings settings;
  settings.on_write_error = OnError::Report;
  make("driver=blkdebug,inject-error.0.event=none,inject-error.0.sector=2,inject-error.0.iotype=write,image.driver=null-"
       "co", settings);
  EXPECT_EQ(write(0, std::string(512, 'x')), 0);
  EXPECT_EQ(write(1024, std::string(512, 'x')), EIO);
  ASSERT_EQ(listener_.failures.size(), 1u);
  EXPECT_EQ(listener_.failures[0].action, OnError::Report);
  EXPECT_EQ(disk_->counters(IoKind::Write).failed, 1u);
}

TEST_F(Disk, IgnoresErrorsWhenTold) {
  BackendSettings settings;
  settings.on_read_error = OnError::Ignore;
  make("driver=blkdebug,inject-error.0.event=read_aio,image.driver=null-co", settings);
  EXPECT_NE(read(0, 512), "error 5");
}

TEST_F(Disk, FullHostStopsAndGoesOn) {
  make("driver=blkdebug,inject-error.0.event=write_aio,inject-error.0.errno=28,inject-error.0.once=on,image.driver=file,"
       "image.filename=" + bench_.file("a", 4096));
  IoStatus status = -1;
  std::string text(512, 'x');
  const iovec part{text.data(), text.size()};
  TaskOwner owner(bench_.loop());
  const auto run = [](DiskBackend& disk, const iovec* from, IoStatus* out) -> Task<void> {
    *out = co_await disk.write(0, IoVec(from, 1), IoFlags::None);
  };
  owner.start(run(*disk_, &part, &status));
  while (listener_.failures.empty()) bench_.loop().run_once(true);
  EXPECT_EQ(listener_.failures[0].action, OnError::Stop);
  EXPECT_TRUE(listener_.failures[0].no_space);
  EXPECT_STREQ(disk_->io_status(), "nospace");
  EXPECT_EQ(status, -1);
  bench_.run(disk_->drain_begin());  // what waits for the person is not under way
  disk_->drain_end();
  disk_->retry();
  owner.drain();
  EXPECT_EQ(status, 0);
  EXPECT_STREQ(disk_->io_status(), "ok");
  EXPECT_EQ(bench_.content("a")[0], 'x');
}

/// Its writes wait until they are let go.
class GatedNode final : public Node {
 public:
  explicit GatedNode(const OpenContext& context) : Node(context.loop, context.settings.name, false) {}
  std::string_view driver() const override { return "gated"; }
  std::string filename() const override { return "gated"; }
  u64 bytes() const override { return 1 << 20; }
  Task<IoStatus> read(u64, IoVec) override { co_return 0; }
  Task<IoStatus> write(u64, IoVec, IoFlags) override {
    const Completion<bool> open(loop());
    gate.push_back(open);
    co_await open;
    co_return 0;
  }
  Task<IoStatus> write_zeroes(u64, u64, IoFlags) override { co_return 0; }
  Task<IoStatus> discard(u64, u64) override { co_return 0; }
  Task<IoStatus> flush() override {
    flushes++;
    co_return 0;
  }
  Task<Result<Extent>> status(u64, u64) override { co_return Extent{}; }
  Task<Result<void>> truncate(u64, Preallocation) override { co_return Result<void>(); }
  std::vector<Completion<bool>> gate;
  int flushes = 0;
};

TEST_F(Disk, AWriteThatEndsAfterAFlushIsFlushedByTheNext) {
  GatedNode* node = nullptr;
  const auto open = [&node](OpenContext& context, Options) -> Task<Result<NodeRef>> {
    auto made = std::make_shared<GatedNode>(context);
    node = made.get();
    co_return NodeRef(made);
  };
  bench_.drivers().add({.name = "gated", .is_protocol = true, .open = open});
  make("driver=gated");
  IoStatus status = -1;
  char byte = 'x';
  const iovec part{&byte, 1};
  TaskOwner owner(bench_.loop());
  const auto run = [](DiskBackend& disk, const iovec* from, IoStatus* out) -> Task<void> {
    *out = co_await disk.write(0, IoVec(from, 1), IoFlags::None);
  };
  owner.start(run(*disk_, &part, &status));
  ASSERT_EQ(node->gate.size(), 1u);
  EXPECT_EQ(bench_.run(disk_->flush()), 0);  // of what was written before
  const int before = node->flushes;
  node->gate[0].complete(true);
  owner.drain();
  EXPECT_EQ(status, 0);
  EXPECT_EQ(bench_.run(disk_->flush()), 0);
  EXPECT_EQ(node->flushes, before + 1);
  EXPECT_EQ(bench_.run(disk_->flush()), 0);  // nothing new
  EXPECT_EQ(node->flushes, before + 1);
}

TEST_F(Disk, WhatWaitsForAPersonFailsAtAReset) {
  make("driver=blkdebug,inject-error.0.event=write_aio,inject-error.0.errno=28,image.driver=null-co");
  IoStatus status = -1;
  char byte = 'x';
  const iovec part{&byte, 1};
  TaskOwner owner(bench_.loop());
  const auto run = [](DiskBackend& disk, const iovec* from, IoStatus* out) -> Task<void> {
    *out = co_await disk.write(0, IoVec(from, 1), IoFlags::None);
  };
  owner.start(run(*disk_, &part, &status));
  EXPECT_EQ(status, -1);
  EXPECT_EQ(listener_.failures.at(0).filename, "null-co://");
  disk_->fail_waiting();
  owner.drain();
  EXPECT_EQ(status, ENOSPC);
  EXPECT_STREQ(disk_->io_status(), "ok");
}

TEST_F(Disk, ADeviceSaysWhatBecomesOfErrorsWhileItIsThere) {
  make("driver=blkdebug,inject-error.0.event=write_aio,image.driver=null-co");
  EXPECT_FALSE(disk_->set_wishes({.write_error = ErrorWish::Ignore}).has_value());  // of the device that has it
  disk_->detach(frontend_);
  EXPECT_FALSE(disk_->set_wishes({.read_error = ErrorWish::Enospc}).has_value());
  ASSERT_TRUE(disk_->set_wishes({.write_error = ErrorWish::Ignore}).has_value());
  ASSERT_TRUE(disk_->attach(frontend_).has_value());
  EXPECT_EQ(write(0, "x"), 0);
  EXPECT_EQ(listener_.failures.back().action, OnError::Ignore);
  disk_->detach(frontend_);
  ASSERT_TRUE(disk_->attach(frontend_).has_value());
  EXPECT_EQ(write(0, "x"), EIO);
}

TEST_F(Disk, DrainHoldsNewRequestsBack) {
  make("driver=null-co,latency-ns=20000000");
  int done = 0;
  TaskOwner owner(bench_.loop());
  const auto run = [](DiskBackend& disk, int* count) -> Task<void> {
    char byte = 0;
    const iovec part{&byte, 1};
    static_cast<void>(co_await disk.read(0, IoVec(&part, 1)));
    (*count)++;
  };
  owner.start(run(*disk_, &done));
  bench_.run(disk_->drain_begin());
  EXPECT_EQ(done, 1);
  owner.start(run(*disk_, &done));
  for (int i = 0; i < 10; i++) bench_.loop().run_once(false);
  EXPECT_EQ(done, 1);
  disk_->drain_end();
  owner.drain();
  EXPECT_EQ(done, 2);
}

Task<void> write_block(DiskBackend& disk, u64 block, int* left, IoStatus* worst) {
  std::string text(4096, 'w');
  const iovec part{text.data(), text.size()};
  const IoStatus failed = co_await disk.write(block * 4096, IoVec(&part, 1), IoFlags::None);
  if (failed != 0) *worst = failed;
  --*left;
}

TEST_F(Disk, ANodeIsSwappedUnderRequestsThatAreUnderWay) {
  constexpr int kBlocks = 400;
  NodeRef a = bench_.must_open("driver=file,node-name=a,filename=" + bench_.file("a", u64(2 * kBlocks) * 4096));
  NodeRef b = bench_.must_open("driver=file,node-name=b,filename=" + bench_.file("b", u64(2 * kBlocks) * 4096));
  make("driver=raw,node-name=top,file=a");
  int left = 2 * kBlocks;
  IoStatus worst = 0;
  TaskOwner owner(bench_.loop());
  for (int i = 0; i < kBlocks; i++) owner.start(write_block(*disk_, u64(i), &left, &worst));
  EXPECT_GT(left, kBlocks);
  EXPECT_TRUE(bench_.run(bench_.graph().replace_child(disk_->root(), "file", b)).has_value());
  for (int i = kBlocks; i < 2 * kBlocks; i++) owner.start(write_block(*disk_, u64(i), &left, &worst));
  owner.drain();
  EXPECT_EQ(left, 0);
  EXPECT_EQ(worst, 0);
  const std::string in_a = bench_.content("a"), in_b = bench_.content("b");
  for (int i = 0; i < 2 * kBlocks; i++) {
    const auto has = [&](const std::string& file) { return file[size_t(i) * 4096] == 'w'; };
    EXPECT_TRUE(i < kBlocks ? has(in_a) != has(in_b) : has(in_b) && !has(in_a)) << i;
  }
  owned_.push_back(b);
  owned_.push_back(a);
}

TEST_F(Disk, ResizeReachesTheDevice) {
  make("driver=raw,file.filename=" + bench_.file("a", 65536));
  EXPECT_TRUE(bench_.run(bench_.graph().truncate(disk_->root(), 1 << 20, Preallocation::Off)).has_value());
  EXPECT_EQ(frontend_.resizes, 1);
  EXPECT_EQ(disk_->bytes(), 1u << 20);
  EXPECT_EQ(read((1 << 20) - 1, 1), std::string(1, '\0'));
}

TEST_F(Disk, WithoutMediumThereIsNone) {
  make("driver=null-co");
  EXPECT_TRUE(bench_.run(disk_->remove()).has_value());
  EXPECT_FALSE(disk_->has_medium());
  EXPECT_EQ(read(0, 512), "error " + std::to_string(ENOMEDIUM));
  EXPECT_EQ(disk_->bytes(), 0u);
}

TEST_F(Disk, LimitsSlowDown) {
  make("driver=null-co");
  auto group = bench_.graph().own_throttle_group("g");
  ThrottleConfig config;
  config[Throttled::IopsTotal].average = 100;
  group->set_config(config);
  bench_.run(disk_->set_throttle("g", group));
  const ClockNs begin = Clock::monotonic_now();
  for (int i = 0; i < 30; i++) read(0, 512);
  const double took_s = double((Clock::monotonic_now() - begin).count()) / 1e9;
  EXPECT_GT(took_s, 0.15);  // 10 at once, then 100 a second
  EXPECT_LT(took_s, 5);
}

TEST_F(Disk, WorksOnAnotherThread) {
  make("driver=raw,file.filename=" + bench_.file("a", 1 << 20));
  EventLoop other;
  std::thread thread([&] { other.run(); });
  ASSERT_TRUE(disk_->move_to(other).has_value());
  EXPECT_EQ(&disk_->loop(), &other);
  std::string text(4096, 'z');
  const iovec part{text.data(), text.size()};
  std::atomic<int> status{-1};
  const auto run = [](DiskBackend& disk, const iovec* from, std::atomic<int>* out) -> Task<void> {
    const IoStatus result = co_await disk.write(4096, IoVec(from, 1), IoFlags::None);
    *out = result;
  };
  TaskOwner owner(other);
  other.post([&] { owner.start(run(*disk_, &part, &status)); });
  while (status == -1) std::this_thread::yield();
  EXPECT_EQ(status, 0);
  bench_.run(disk_->drain_begin());
  disk_->drain_end();
  ASSERT_TRUE(disk_->move_to(bench_.loop()).has_value());
  EXPECT_EQ(read(4096, 1), "z");
  other.quit();
  thread.join();
}

// ---- Filters

TEST(Blkdebug, FailsOnceAndByState) {
  BlockBench bench;
  NodeRef node = bench.must_open(
      "driver=blkdebug,image.driver=null-co,image.read-zeroes=on,inject-error.0.event=read_aio,inject-error.0.once=on,"
      "inject-error.0.errno=28,set-state.0.event=flush_to_disk,set-state.0.new_state=2,inject-error.1.event=write_aio,"
      "inject-error.1.state=2");
  EXPECT_EQ(bench.read(*node, 0, 1), "error 28");
  EXPECT_EQ(bench.read(*node, 0, 1), std::string(1, '\0'));
  EXPECT_EQ(bench.write(*node, 0, "x"), 0);
  EXPECT_EQ(bench.run(node->flush()), 0);
  EXPECT_EQ(bench.write(*node, 0, "x"), EIO);
  bench.release(node);
}

TEST(ThrottleConfig, RefusesNonsense) {
  const auto refused = [](const std::string& text) {
    Options options = *Options::parse(text);
    const auto config = take_throttle_config(options, "");
    return config ? std::string("taken") : config.error().message();
  };
  EXPECT_THAT(refused("iops-total=1,iops-read=1"), testing::HasSubstr("cannot be used at the same time"));
  EXPECT_THAT(refused("iops-total-max=1"), testing::HasSubstr("require corresponding"));
  EXPECT_THAT(refused("iops-total=10,iops-total-max=5"), testing::HasSubstr("cannot be lower"));
  EXPECT_THAT(refused("iops-size=512"), testing::HasSubstr("requires an iops value"));
  EXPECT_EQ(refused("bps-total=1000000,bps-total-max=2000000,bps-total-max-length=5"), "taken");
}

TEST(ThrottleGroup, ABurstIsAllowedAndThenTheAverageHolds) {
  ThrottleGroup group;
  ThrottleConfig config;
  config[Throttled::IopsRead] = {.average = 10, .most = 100, .length_s = 1};
  group.set_config(config);
  const ClockNs now = std::chrono::seconds(100);
  ClockNs wait{0};
  for (int i = 0; i < 100; i++) wait = std::max(wait, group.account(false, 512, now));
  EXPECT_EQ(wait.count(), 0);
  for (int i = 0; i < 11; i++) wait = group.account(false, 512, now);
  EXPECT_NEAR(double(wait.count()) / 1e9, 1.0, 0.01);
  EXPECT_EQ(group.account(true, 512, now).count(), 0);  // writes have no limit
  EXPECT_EQ(group.account(false, 512, now + std::chrono::seconds(60)).count(), 0);
}

/// A child with a hole where reads come from behind: what an overlay looks like from above.
class Overlay final : public Node {
 public:
  Overlay(EventLoop& loop) : Node(loop, "ov", false) {}
  std::string_view driver() const override { return "overlay"; }
  std::string filename() const override { return "overlay"; }
  u64 bytes() const override { return 1 << 20; }
  Task<IoStatus> read(u64 offset, IoVec to) override {
    std::memset(to[0].iov_base, own.contains(offset / 65536) ? 'o' : 'b', to[0].iov_len);
    co_return 0;
  }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags) override {
    for (u64 at = offset; at < offset + total_bytes(from); at += 65536) own.insert(at / 65536);
    co_return 0;
  }
  Task<IoStatus> write_zeroes(u64, u64, IoFlags) override { co_return 0; }
  Task<IoStatus> discard(u64, u64) override { co_return 0; }
  Task<IoStatus> flush() override { co_return 0; }
  BlockLimits limits() const override { return {.cluster = 65536}; }
  Task<Result<Extent>> status(u64 offset, u64 length) override {
    co_return Extent{.bytes = std::min(length, 65536 - offset % 65536), .data = true,
                     .allocated = own.contains(offset / 65536)};
  }
  Task<Result<void>> truncate(u64, Preallocation) override { co_return Result<void>(); }
  std::set<u64> own;
};

TEST(CopyOnRead, KeepsWhatItRead) {
  BlockBench bench;
  bench.drivers().add({.name = "overlay", .is_format = true,
                       .open = [](OpenContext& context, Options) -> Task<Result<NodeRef>> {
                         co_return std::make_shared<Overlay>(context.loop);
                       }});
  NodeRef node = bench.must_open("driver=copy-on-read,file.driver=overlay,file.node-name=ov");
  ASSERT_TRUE(node);
  const auto& overlay = static_cast<const Overlay&>(*node->children()[0].node);
  EXPECT_EQ(bench.read(*node, 65000, 1000), std::string(1000, 'b'));
  EXPECT_EQ(overlay.own, (std::set<u64>{0, 1}));
  EXPECT_EQ(bench.read(*node, 0, 4), "oooo");
  bench.release(node);
}

TEST(Throttle, NeedsItsGroup) {
  BlockBench bench;
  EXPECT_EQ(bench.open_error("driver=throttle,throttle-group=g,file.driver=null-co"),
            "Throttle group 'g' does not exist");
  const auto group = bench.graph().own_throttle_group("g");
  NodeRef node = bench.must_open("driver=throttle,throttle-group=g,file.driver=null-co");
  EXPECT_EQ(bench.write(*node, 0, "x"), 0);
  bench.release(node);
}

}  // namespace
}  // namespace emu::block
