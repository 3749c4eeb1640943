// SPDX-License-Identifier: Apache-2.0
// Host files: both engines, holes, sizes, and locks against Debian's qemu-io.
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include <cstdio>
#include <thread>

#include "block/buffers.h"
#include "block/file/file_node.h"
#include "unit/block/block_bench.h"

namespace emu::block {
namespace {

class FileEngines : public testing::TestWithParam<const char*> {
 protected:
  std::string options(const std::string& path) const {
    return fmt::format("driver=file,node-name=f,aio={},discard=unmap,filename={}", GetParam(), path);
  }
  BlockBench bench_;
};
INSTANTIATE_TEST_SUITE_P(Both, FileEngines, testing::Values("threads", "io_uring"),
                         [](const auto& engine) { return std::string(engine.param); });

TEST_P(FileEngines, ReadsWhatWasWritten) {
  NodeRef node = bench_.must_open(options(bench_.file("a", 1 << 20)));
  ASSERT_TRUE(node);
  EXPECT_STREQ(static_cast<FileNode&>(*node).engine_name(), GetParam());
  EXPECT_EQ(bench_.write(*node, 4096, "hello", IoFlags::Fua), 0);
  EXPECT_EQ(bench_.read(*node, 4095, 7), std::string("\0hello\0", 7));
  EXPECT_EQ(bench_.run(node->flush()), 0);
  bench_.release(node);
}

TEST_P(FileEngines, MovesListsOfBuffers) {
  NodeRef node = bench_.must_open(options(bench_.file("a", std::string("abcdefgh"))));
  char first[3], second[5];
  const iovec parts[] = {{first, 3}, {second, 5}};
  EXPECT_EQ(bench_.run(node->read(0, parts)), 0);
  EXPECT_EQ(std::string(first, 3) + "|" + std::string(second, 5), "abc|defgh");
  bench_.release(node);
}

TEST_P(FileEngines, ReadsZeroesPastTheEnd) {
  NodeRef node = bench_.must_open(options(bench_.file("a", std::string("abc"))));
  EXPECT_EQ(bench_.read(*node, 1, 4), std::string("bc\0\0", 4));
  bench_.release(node);
}

Task<void> write_and_count(Node& node, u64 offset, int* left, IoStatus* worst) {
  std::string text(4096, char('a' + offset / 4096 % 26));
  const iovec part{text.data(), text.size()};
  const IoStatus failed = co_await node.write(offset, IoVec(&part, 1), IoFlags::None);
  if (failed != 0) *worst = failed;
  (*left)--;
}

TEST_P(FileEngines, CarriesOutThousandsAtOnce) {
  constexpr int kCount = 6000;  // more than the ring holds
  NodeRef node = bench_.must_open(options(bench_.file("a", u64(kCount) * 4096)));
  TaskOwner owner(bench_.loop());
  int left = kCount;
  IoStatus worst = 0;
  for (int i = 0; i < kCount; i++) owner.start(write_and_count(*node, u64(i) * 4096, &left, &worst));
  owner.drain();
  EXPECT_EQ(left, 0);
  EXPECT_EQ(worst, 0);
  EXPECT_EQ(bench_.read(*node, u64(kCount - 1) * 4096, 1), std::string(1, char('a' + (kCount - 1) % 26)));
  bench_.release(node);
}

TEST_P(FileEngines, DiscardMakesAHole) {
  NodeRef node = bench_.must_open(options(bench_.file("a", std::string(1 << 20, 'x'))));
  EXPECT_EQ(bench_.run(node->discard(65536, 65536)), 0);
  EXPECT_EQ(bench_.read(*node, 65535, 2), std::string("x\0", 2));
  const auto before = bench_.run(node->status(0, 1 << 20));
  const auto hole = bench_.run(node->status(65536, 1 << 20));
  EXPECT_TRUE(before->data);
  EXPECT_EQ(before->bytes, 65536u);
  EXPECT_TRUE(hole->zero);
  EXPECT_EQ(hole->bytes, 65536u);
  bench_.release(node);
}

TEST_P(FileEngines, WriteZeroesZeroes) {
  NodeRef node = bench_.must_open(options(bench_.file("a", std::string(1 << 20, 'x'))));
  EXPECT_EQ(bench_.run(node->write_zeroes(1000, 10000, IoFlags::None)), 0);
  EXPECT_EQ(bench_.read(*node, 999, 2), std::string("x\0", 2));
  EXPECT_EQ(bench_.read(*node, 10999, 2), std::string("\0x", 2));
  EXPECT_EQ(bench_.run(node->write_zeroes(0, 8192, IoFlags::MayUnmap)), 0);
  EXPECT_EQ(bench_.read(*node, 8191, 1), std::string("\0", 1));
  bench_.release(node);
}

TEST_P(FileEngines, GrowsAndShrinks) {
  NodeRef node = bench_.must_open(options(bench_.file("a", 4096)));
  EXPECT_TRUE(bench_.run(node->truncate(1 << 20, Preallocation::Falloc)).has_value());
  struct stat file {};
  EXPECT_EQ(::stat(bench_.path("a").c_str(), &file), 0);
  EXPECT_GE(u64(file.st_blocks) * 512, (1u << 20) - 4096u);
  EXPECT_TRUE(bench_.run(node->truncate(512, Preallocation::Off)).has_value());
  EXPECT_EQ(std::filesystem::file_size(bench_.path("a")), 512u);
  EXPECT_FALSE(bench_.run(node->truncate(8192, Preallocation::Metadata)).has_value());
  bench_.release(node);
}

TEST(FileNode, DirectReadsTheLastBlockWhole) {
  BlockBench bench;
  const std::string path = bench.file("a", std::string(512, 'x') + "tail");
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT);
  if (fd < 0) GTEST_SKIP() << "no direct I/O in this folder";
  ::close(fd);
  NodeRef node = bench.must_open("driver=file,cache.direct=on,filename=" + path);
  const AlignedBuffer buffer(8192);
  const u64 unit = node->limits().request_alignment;
  std::memset(buffer.data(), 'z', 8192);
  const iovec part{buffer.data(), (516 + unit - 1) / unit * unit};
  EXPECT_EQ(bench.run(node->read(0, IoVec(&part, 1))), 0);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(buffer.data()) + 510, 8), std::string("xxtail\0\0", 8));
  EXPECT_EQ(buffer.data()[part.iov_len - 1], 0);
  bench.release(node);
}

TEST(FileNode, ThreadsDoWhatTheHostRefusesTheRing) {
  BlockBench bench;
  const std::string path = bench.file("a", 4096);
  const int next = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::close(next);
  rlimit all{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &all), 0);
  NodeRef node;
  // Descriptors for the file, and none for a ring.
  for (unsigned more = 1; !node && more < 8; ++more) {
    rlimit few = all;
    few.rlim_cur = rlim_t(next) + more;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    if (auto opened = bench.open("driver=file,locking=off,filename=" + path)) node = *opened;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &all), 0);
  ASSERT_TRUE(node);
  EXPECT_STREQ(static_cast<FileNode&>(*node).engine_name(), "threads");
  EXPECT_EQ(bench.write(*node, 0, "hello"), 0);
  EXPECT_EQ(bench.read(*node, 0, 5), "hello");
  bench.release(node);
}

/// Runs where loop devices may be made.
TEST(FileNode, AHostDeviceIsADevice) {
  BlockBench bench;
  EXPECT_NE(bench.open_error("driver=host_device,filename=" + bench.file("a", 4096)).find("requires '"), std::string::npos);
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  const int number = control ? ::ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
  if (number < 0) GTEST_SKIP() << "no loop devices";
  const std::string path = "/dev/loop" + std::to_string(number);
  const Fd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const Fd file(::open(bench.file("b", std::string(1 << 20, 'b')).c_str(), O_RDWR | O_CLOEXEC));
  if (!device || ::ioctl(device.get(), LOOP_SET_FD, file.get()) != 0) GTEST_SKIP() << "the loop device cannot be set up";
  for (const char* driver : {"host_device", "file"}) {
    NodeRef node = bench.must_open(std::string("driver=") + driver + ",filename=" + path);
    ASSERT_TRUE(node);
    EXPECT_EQ(node->driver(), "host_device");
    EXPECT_EQ(node->bytes(), 1u << 20);
    EXPECT_EQ(bench.write(*node, 4096, std::string(512, 'x'), IoFlags::Fua), 0);
    EXPECT_EQ(bench.read(*node, 4608 - 2, 4), "xxbb");
    bench.release(node);
  }
  EXPECT_EQ(::ioctl(device.get(), LOOP_CLR_FD, 0), 0);
}

TEST(FileNode, NativeNeedsDirect) {
  BlockBench bench;
  EXPECT_EQ(bench.open_error("driver=file,aio=native,filename=" + bench.file("a", 4096)),
            "aio=native was specified, but it requires cache.direct=on, which was not specified");
}

TEST(FileNode, ChangesToReadOnlyAndBack) {
  BlockBench bench;
  NodeRef node = bench.must_open("driver=file,node-name=f,filename=" + bench.file("a", 4096));
  EXPECT_TRUE(bench.run(bench.graph().set_read_only(node, true)).has_value());
  EXPECT_TRUE(node->is_read_only());
  EXPECT_EQ(bench.write(*node, 0, "x"), EBADF);
  EXPECT_TRUE(bench.run(bench.graph().set_read_only(node, false)).has_value());
  EXPECT_EQ(bench.write(*node, 0, "x"), 0);
  bench.release(node);
}

TEST(FileNode, MovesToAnotherLoop) {
  BlockBench bench;
  NodeRef node = bench.must_open("driver=raw,node-name=f,file.filename=" + bench.file("a", 4096));
  struct User final : GraphUser {
    std::string user_name() const override { return "u"; }
    Task<void> drain_begin() override { co_return; }
    void drain_end() override {}
  } user;
  EventLoop other;
  std::thread thread([&] { other.run(); });
  EXPECT_TRUE(bench.graph().move_to(node, other, user).has_value());
  EXPECT_EQ(&node->children()[0].node->loop(), &other);
  bench.release(node);  // closes over there
  other.quit();
  thread.join();
}

// ---- Locks that QEMU's tools see

bool has_qemu_io() { return ::access("/usr/bin/qemu-io", X_OK) == 0; }

std::string output_of(const std::string& command) {
  FILE* const pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::string text;
  char buffer[4096];
  while (const std::size_t got = ::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
  ::pclose(pipe);
  return text;
}

struct QuietUser final : GraphUser {
  std::string user_name() const override { return "disk"; }
  Task<void> drain_begin() override { co_return; }
  void drain_end() override {}
};
constexpr Access kWriter{.uses = Perm::ConsistentRead | Perm::Write, .shares = ~(Perm::Write | Perm::Resize)};

TEST(FileLocks, QemuSeesOurs) {
  if (!has_qemu_io()) GTEST_SKIP() << "no qemu-io";
  BlockBench bench;
  const auto path = bench.file("a", 65536);
  NodeRef node = bench.must_open("driver=raw,node-name=n,file.filename=" + path);
  const std::string write = "qemu-io -f raw -c 'write 0 512' " + path;
  EXPECT_THAT(output_of(write), testing::HasSubstr("wrote 512/512"));  // nobody uses it yet
  QuietUser user;
  ASSERT_TRUE(bench.graph().attach(node, user, kWriter).has_value());
  EXPECT_THAT(output_of(write), testing::HasSubstr("Failed to get \"write\" lock"));
  EXPECT_THAT(output_of("qemu-img info " + path), testing::HasSubstr("lock"));
  EXPECT_THAT(output_of("qemu-img info -U " + path), testing::HasSubstr("virtual size"));
  EXPECT_TRUE(bench.run(bench.graph().detach(node, user)).has_value());
  EXPECT_THAT(output_of(write), testing::HasSubstr("wrote 512/512"));
  bench.release(node);
}

TEST(FileLocks, WeSeeQemus) {
  if (!has_qemu_io()) GTEST_SKIP() << "no qemu-io";
  BlockBench bench;
  const auto path = bench.file("a", 65536);
  FILE* const qemu = ::popen(("qemu-io -f raw " + path + " >/dev/null").c_str(), "w");
  ::fputs("write 0 512\n", qemu);
  ::fflush(qemu);
  NodeRef node = bench.must_open("driver=raw,node-name=n,file.filename=" + path);
  QuietUser user;
  Result<void> refused;
  for (int tries = 0; tries < 100 && refused; tries++) {  // until it has started
    refused = bench.graph().attach(node, user, kWriter);
    if (!refused) break;
    EXPECT_TRUE(bench.run(bench.graph().detach(node, user)).has_value());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().message(), testing::HasSubstr("Failed to get"));
  EXPECT_THAT(refused.error().hint(), testing::HasSubstr("(qemu-io)"));
  EXPECT_FALSE(bench.graph().is_used(*node));
  ::pclose(qemu);
  EXPECT_TRUE(bench.graph().attach(node, user, kWriter).has_value());
  EXPECT_TRUE(bench.run(bench.graph().detach(node, user)).has_value());
  bench.release(node);
}

TEST(FileLocks, LockingOffLocksNothing) {
  if (!has_qemu_io()) GTEST_SKIP() << "no qemu-io";
  BlockBench bench;
  const auto path = bench.file("a", 65536);
  NodeRef node = bench.must_open("driver=raw,node-name=n,file.locking=off,file.filename=" + path);
  QuietUser user;
  ASSERT_TRUE(bench.graph().attach(node, user, kWriter).has_value());
  EXPECT_THAT(output_of("qemu-io -f raw -c 'write 0 512' " + path), testing::HasSubstr("wrote 512/512"));
  EXPECT_TRUE(bench.run(bench.graph().detach(node, user)).has_value());
  bench.release(node);
}

}  // namespace
}  // namespace emu::block
