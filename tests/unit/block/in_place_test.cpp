// SPDX-License-Identifier: Apache-2.0
// Reads and writes that are only copies: which they are, and that the loop carries them out and has other turns.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "block/aio/engines.h"
#include "block/file/in_place.h"
#include "unit/block/block_bench.h"
#include "util/fd.h"

namespace emu::block {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr ClockNs kNow = seconds(1000);

TEST(InPlace, KnowsFilesInMemory) {
  const Fd memory(::memfd_create("in-place", MFD_CLOEXEC));
  EXPECT_EQ(InPlace::kind_of(memory.get()), InPlace::Kind::All);
  const Fd other(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(InPlace::kind_of(other.get()), InPlace::Kind::None);
  EXPECT_EQ(InPlace::kind_of(-1), InPlace::Kind::None);
}

TEST(InPlace, LeavesOthersToTheRing) {
  const InPlace none(InPlace::Kind::None);
  EXPECT_FALSE(none.may_read());
  EXPECT_FALSE(none.may_write(0, 4096, kNow));
  const InPlace writes(InPlace::Kind::Writes);
  EXPECT_FALSE(writes.may_read());
  EXPECT_TRUE(writes.may_write(8192, 4096, kNow));
  const InPlace all(InPlace::Kind::All);
  EXPECT_TRUE(all.may_read());
  EXPECT_TRUE(all.may_write(1, 1, kNow));
}

TEST(InPlace, PartsOfPagesMayHaveToBeRead) {
  const InPlace writes(InPlace::Kind::Writes);
  EXPECT_FALSE(writes.may_write(512, 4096, kNow));
  EXPECT_FALSE(writes.may_write(4096, 512, kNow));
}

TEST(InPlace, RestsAfterASlowWrite) {
  InPlace writes(InPlace::Kind::Writes);
  writes.note(milliseconds(8), kNow);
  EXPECT_TRUE(writes.may_write(0, 4096, kNow));
  writes.note(milliseconds(9), kNow);
  EXPECT_FALSE(writes.may_write(0, 4096, kNow + milliseconds(999)));
  EXPECT_TRUE(writes.may_write(0, 4096, kNow + seconds(1)));
}

TEST(InPlace, RestsLongerWhereItGoesOnAndForgets) {
  InPlace writes(InPlace::Kind::Writes);
  ClockNs now = kNow;
  for (const int expected : {1, 2, 4, 8, 16, 32, 64, 64}) {
    writes.note(milliseconds(200), now);
    EXPECT_FALSE(writes.may_write(0, 4096, now + seconds(expected) - milliseconds(1))) << expected;
    now += seconds(expected);
    EXPECT_TRUE(writes.may_write(0, 4096, now)) << expected;
  }
  now += seconds(64);
  writes.note(milliseconds(200), now);
  EXPECT_TRUE(writes.may_write(0, 4096, now + seconds(1)));
}

TEST(InPlace, FilesInMemoryNeedNoRest) {
  InPlace all(InPlace::Kind::All);
  all.note(milliseconds(200), kNow);
  EXPECT_TRUE(all.may_write(0, 4096, kNow));
}

TEST(InPlace, WritesDoNotWaitForLongLocks) {
  InPlace all(InPlace::Kind::All);
  {
    const InPlace::LongLock lock(all);
    EXPECT_FALSE(all.may_write(0, 4096, kNow));
    EXPECT_TRUE(all.may_read());
  }
  EXPECT_TRUE(all.may_write(0, 4096, kNow));
}

/// Requests to one engine; each adds its result to the list when it ends.
class EngineInPlace : public testing::Test {
 protected:
  EngineInPlace() : fd_(::memfd_create("in-place", MFD_CLOEXEC)) {
    EXPECT_EQ(::ftruncate(fd_.get(), 1 << 20), 0);
    auto engine = engines_.engine(bench_.loop(), AioMode::IoUring);
    if (engine) engine_ = *engine;
  }
  void SetUp() override { ASSERT_NE(engine_, nullptr) << "the host refuses io_uring"; }

  Task<void> request(IoRequest::Kind kind, int fd, u64 offset, bool in_place) {
    std::string text(4096, 'x');
    const iovec part{text.data(), text.size()};
    IoRequest request{.kind = kind, .in_place = in_place, .fd = fd, .offset = offset, .parts = &part, .part_count = 1};
    const i64 done = co_await engine_->run(request);
    results_.push_back(done);
    last_took_ = request.took;
  }

  BlockBench bench_;
  IoEngines engines_;
  std::shared_ptr<IoEngine> engine_;
  Fd fd_;
  std::vector<i64> results_;
  ClockNs last_took_{};
};

TEST_F(EngineInPlace, EndsAfterSubmitHasReturned) {
  TaskOwner owner(bench_.loop());
  owner.start(request(IoRequest::Kind::Write, fd_.get(), 4096, true));
  EXPECT_THAT(results_, testing::IsEmpty());
  owner.drain();
  EXPECT_THAT(results_, testing::ElementsAre(4096));
  EXPECT_GT(last_took_, ClockNs{});
  char moved = 0;
  EXPECT_EQ(::pread(fd_.get(), &moved, 1, 8191), 1);
  EXPECT_EQ(moved, 'x');
}

TEST_F(EngineInPlace, SaysWhatFailed) {
  bench_.run(request(IoRequest::Kind::Read, -1, 0, true));
  bench_.run(request(IoRequest::Kind::Read, fd_.get(), 1 << 20, true));
  EXPECT_THAT(results_, testing::ElementsAre(-EBADF, 0));
}

TEST_F(EngineInPlace, GoesTogetherWithTheRing) {
  TaskOwner owner(bench_.loop());
  for (int i = 0; i < 500; i++) owner.start(request(IoRequest::Kind::Write, fd_.get(), 0, i % 3 != 0));
  owner.drain();
  EXPECT_THAT(results_, testing::AllOf(testing::SizeIs(500), testing::Each(4096)));
}

TEST_F(EngineInPlace, AWaiterMayRunTheLoopUntilTheOthersEnd) {
  TaskOwner first(bench_.loop());
  TaskOwner others(bench_.loop());
  const auto then_drains = [&]() -> Task<void> {
    co_await request(IoRequest::Kind::Write, fd_.get(), 0, true);
    others.drain();
  };
  first.start(then_drains());
  for (int i = 0; i < 10; i++) others.start(request(IoRequest::Kind::Write, fd_.get(), 0, true));
  first.drain();
  EXPECT_EQ(results_.size(), 11u);
}

TEST_F(EngineInPlace, LetsOthersHaveTheirTurn) {
  TaskOwner owner(bench_.loop());
  for (int i = 0; i < 1000; i++) owner.start(request(IoRequest::Kind::Write, fd_.get(), 0, true));
  std::vector<std::size_t> seen;
  for (int i = 0; i < 3; i++) {
    bench_.loop().post([&] { seen.push_back(results_.size()); });
    bench_.loop().run_once(false);
  }
  EXPECT_LT(seen.back(), 1000u);
  owner.drain();
  EXPECT_EQ(results_.size(), 1000u);
}

/// Threads of io_uring in this process.
int workers() {
  int found = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(thread.path() / "comm"), name);
    if (name.starts_with("iou-wrk")) found++;
  }
  return found;
}

TEST(FileInPlace, InMemoryNeedsNoWorker) {
  const int before = workers();  // of an earlier test of the same process
  BlockBench bench;
  const Fd memory(::memfd_create("in-place", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), 1 << 20), 0);
  NodeRef node = bench.must_open(fmt::format("driver=file,locking=off,filename=/proc/self/fd/{}", memory.get()));
  EXPECT_EQ(bench.write(*node, 5000, "hello"), 0);
  EXPECT_EQ(bench.read(*node, 4999, 7), std::string("\0hello\0", 7));
  EXPECT_EQ(bench.read(*node, (1 << 20) - 2, 4), std::string(4, '\0'));
  EXPECT_EQ(workers(), before);
  bench.release(node);
}

Task<void> read_into(Node& node, u64 offset, std::string* text) {
  const iovec part{text->data(), text->size()};
  if (co_await node.read(offset, IoVec(&part, 1)) != 0) text->clear();
}

TEST(FileInPlace, AWorkerHelpsWithLargeReads) {
  BlockBench bench;
  const Fd memory(::memfd_create("in-place", MFD_CLOEXEC));
  std::string content(4 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); i += 4096) content[i] = char('a' + i / 4096 % 26);
  ASSERT_EQ(::write(memory.get(), content.data(), content.size()), ssize_t(content.size()));
  NodeRef node = bench.must_open(fmt::format("driver=file,locking=off,filename=/proc/self/fd/{}", memory.get()));
  std::string parts[4];
  TaskOwner owner(bench.loop());
  for (u64 i = 0; i < 4; i++) {
    parts[i].resize(1 << 20);
    owner.start(read_into(*node, i << 20, &parts[i]));
  }
  owner.drain();
  EXPECT_TRUE(parts[0] + parts[1] + parts[2] + parts[3] == content);
  EXPECT_GT(workers(), 0);
  bench.release(node);
}

}  // namespace
}  // namespace emu::block
