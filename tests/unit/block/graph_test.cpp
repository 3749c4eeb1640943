// SPDX-License-Identifier: Apache-2.0
#include "block/graph.h"

#include <thread>

#include "unit/block/block_bench.h"

namespace emu::block {
namespace {

class FakeUser final : public GraphUser {
 public:
  std::string user_name() const override { return "drive0"; }
  Task<void> drain_begin() override {
    drained++;
    co_return;
  }
  void drain_end() override { drained--; }
  void resized() override { resizes++; }
  int drained = 0, resizes = 0;
};

TEST(NodeGraph, OpensNestedChildren) {
  BlockBench bench;
  const auto path = bench.file("a.img", std::string("hello") + std::string(507, 'x'));
  NodeRef node = bench.must_open("driver=raw,node-name=top,file.driver=file,file.filename=" + path);
  ASSERT_TRUE(node);
  EXPECT_EQ(node->name(), "top");
  EXPECT_EQ(node->bytes(), 512u);
  EXPECT_EQ(bench.read(*node, 0, 5), "hello");
  EXPECT_TRUE(bench.graph().find("#block100"));
  bench.release(node);
  EXPECT_TRUE(bench.graph().nodes().empty());
}

TEST(NodeGraph, RefersToANodeByName) {
  BlockBench bench;
  const auto path = bench.file("a.img", 4096);
  NodeRef file = bench.must_open("driver=file,node-name=f0,filename=" + path);
  NodeRef node = bench.must_open("driver=raw,node-name=r0,file=f0");
  EXPECT_EQ(node->children()[0].node, file);
  EXPECT_FALSE(bench.run(bench.graph().remove("f0")).has_value());
  EXPECT_TRUE(bench.run(bench.graph().remove("r0")).has_value());
  EXPECT_TRUE(bench.run(bench.graph().remove("f0")).has_value());
}

TEST(NodeGraph, NamesWhatIsWrong) {
  BlockBench bench;
  const auto path = bench.file("a.img", 4096);
  EXPECT_EQ(bench.open_error("driver=file,filename=/nowhere/x"),
            "Could not open '/nowhere/x': No such file or directory");
  EXPECT_EQ(bench.open_error("driver=raw,file=nobody"), "Cannot find device='nobody' nor node-name='nobody'");
  EXPECT_EQ(bench.open_error("driver=raw"), "A block device must be specified for \"file\"");
  EXPECT_EQ(bench.open_error("driver=rae,file.filename=" + path), "Unknown driver 'rae'");
  EXPECT_EQ(bench.open_error("driver=file,node-name=0a,filename=" + path), "Invalid node-name: '0a'");
  EXPECT_EQ(bench.open_error("driver=file,filename=/tmp"), "Could not open '/tmp': Is a directory");
  EXPECT_TRUE(bench.graph().nodes().empty());
}

TEST(NodeGraph, RefusesADuplicateName) {
  BlockBench bench;
  NodeRef first = bench.must_open("driver=null-co,node-name=n");
  EXPECT_EQ(bench.open_error("driver=null-co,node-name=n"), "Duplicate nodes with node-name='n'");
  bench.release(first);
}

TEST(NodeGraph, ProbingGuessesRaw) {
  BlockBench bench;
  const auto path = bench.file("a.img", std::string(1000, 'x'));
  NodeRef node = bench.must_open("filename=" + path);
  EXPECT_EQ(node->driver(), "raw");
  EXPECT_EQ(node->bytes(), 1024u);
  EXPECT_EQ(bench.read(*node, 998, 4), std::string("xx\0\0", 4));
  bench.release(node);
}

TEST(NodeGraph, ProbingAsksFormats) {
  BlockBench bench;
  bench.drivers().add({.name = "magic", .is_format = true,
                       .open = [](OpenContext&, Options) -> Task<Result<NodeRef>> { co_return error("opened magic"); },
                       .probe = [](std::span<const u8> first) { return first.size() > 2 && first[0] == 'M' ? 100 : 0; }});
  const auto path = bench.file("a.img", std::string(1000, 'M'));
  EXPECT_EQ(bench.open_error("filename=" + path), "opened magic");
  EXPECT_TRUE(bench.graph().nodes().empty());
}

TEST(NodeGraph, ProbedRawMayNotBecomeAnotherFormat) {
  BlockBench bench;
  bench.drivers().add({.name = "magic", .is_format = true,
                       .open = [](OpenContext&, Options) -> Task<Result<NodeRef>> { co_return error("opened magic"); },
                       .probe = [](std::span<const u8> first) { return first.size() > 2 && first[0] == 'M' ? 100 : 0; }});
  NodeRef node = bench.must_open("filename=" + bench.file("a.img", 4096));
  EXPECT_EQ(bench.write(*node, 0, std::string(512, 'M')), EPERM);
  EXPECT_EQ(bench.write(*node, 512, std::string(512, 'M')), 0);
  bench.release(node);
}

TEST(NodeGraph, TwoWritersConflict) {
  BlockBench bench;
  NodeRef node = bench.must_open("driver=null-co,node-name=n");
  FakeUser first, second;
  const Access writes{.uses = Perm::ConsistentRead | Perm::Write, .shares = ~Perm::Write};
  ASSERT_TRUE(bench.graph().attach(node, first, writes).has_value());
  const auto refused = bench.graph().attach(node, second, writes);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message(), "Conflicts with use by drive0 as 'root', which does not allow 'write' on n");
  EXPECT_TRUE(bench.graph().attach(node, second, {.uses = Perm::None, .shares = Perm::All}).has_value());
  EXPECT_TRUE(bench.run(bench.graph().detach(node, first)).has_value());
  EXPECT_TRUE(bench.run(bench.graph().detach(node, second)).has_value());
  bench.release(node);
}

TEST(NodeGraph, NobodyWritesAReadOnlyNode) {
  BlockBench bench;
  NodeRef node = bench.must_open("driver=null-co,node-name=n,read-only=on");
  FakeUser user;
  EXPECT_FALSE(bench.graph().attach(node, user, {.uses = Perm::Write, .shares = Perm::All}).has_value());
  bench.release(node);
}

TEST(NodeGraph, AUsedNodeOutlivesItsOwner) {
  BlockBench bench;
  NodeRef node = bench.must_open("driver=null-co,node-name=n");
  FakeUser user;
  ASSERT_TRUE(bench.graph().attach(node, user, {}).has_value());
  bench.release(node);
  EXPECT_TRUE(bench.graph().find("n"));
  EXPECT_TRUE(bench.run(bench.graph().detach(node, user)).has_value());
  EXPECT_FALSE(bench.graph().find("n"));
}

TEST(NodeGraph, ReplacesAChildWhileDrained) {
  BlockBench bench;
  NodeRef a = bench.must_open("driver=file,node-name=a,filename=" + bench.file("a", std::string(512, 'a')));
  NodeRef b = bench.must_open("driver=file,node-name=b,filename=" + bench.file("b", std::string(512, 'b')));
  NodeRef top = bench.must_open("driver=raw,node-name=top,file=a");
  FakeUser user;
  ASSERT_TRUE(bench.graph().attach(top, user, {.uses = Perm::ConsistentRead, .shares = Perm::All}).has_value());
  EXPECT_TRUE(bench.run(bench.graph().replace_child(top, "file", b)).has_value());
  EXPECT_EQ(bench.read(*top, 0, 3), "bbb");
  EXPECT_EQ(user.drained, 0);
  EXPECT_TRUE(bench.run(bench.graph().remove("a")).has_value());
  EXPECT_FALSE(bench.run(bench.graph().remove("b")).has_value());
  EXPECT_TRUE(bench.run(bench.graph().detach(top, user)).has_value());
  bench.release(top);
  bench.release(b);
}

TEST(NodeGraph, WhatIsPutUnderANodeWorksOnItsThread) {
  BlockBench bench;
  NodeRef a = bench.must_open("driver=null-co,node-name=a");
  NodeRef top = bench.must_open("driver=raw,node-name=top,file=a");
  NodeRef b = bench.must_open("driver=raw,node-name=b,file.driver=null-co,file.node-name=below");
  FakeUser user;
  ASSERT_TRUE(bench.graph().attach(top, user, {}).has_value());
  EventLoop other;
  std::thread thread([&] { other.run(); });
  ASSERT_TRUE(bench.graph().move_to(top, other, user).has_value());
  // A node over one that works there follows it; an image cannot be looked into.
  NodeRef over = bench.must_open("driver=raw,node-name=over,file=a");
  EXPECT_EQ(&over->loop(), &other);
  EXPECT_NE(bench.open_error("driver=qcow2,file=a").find("works on an I/O thread"), std::string::npos);
  bench.release(over);
  ASSERT_TRUE(bench.run(bench.graph().replace_child(top, "file", b)).has_value());
  EXPECT_EQ(&b->loop(), &other);
  EXPECT_EQ(&bench.graph().find("below")->loop(), &other);
  EXPECT_EQ(&a->loop(), &bench.loop());  // nobody's now
  ASSERT_TRUE(bench.graph().move_to(top, bench.loop(), user).has_value());
  EXPECT_TRUE(bench.run(bench.graph().detach(top, user)).has_value());
  for (const NodeRef& node : {top, b, a}) bench.release(node);
  other.quit();
  thread.join();
}

TEST(NodeGraph, TruncateTellsTheUsers) {
  BlockBench bench;
  NodeRef node = bench.must_open("driver=raw,node-name=n,file.filename=" + bench.file("a", 512));
  FakeUser user;
  ASSERT_TRUE(bench.graph().attach(node, user, {}).has_value());
  EXPECT_TRUE(bench.run(bench.graph().truncate(node, 1 << 20, Preallocation::Off)).has_value());
  EXPECT_EQ(user.resizes, 1);
  EXPECT_EQ(node->bytes(), 1u << 20);
  EXPECT_TRUE(bench.run(bench.graph().detach(node, user)).has_value());
  bench.release(node);
}

TEST(RawNode, ShowsAWindow) {
  BlockBench bench;
  const auto path = bench.file("a", std::string(512, 'a') + std::string(512, 'b') + std::string(512, 'c'));
  NodeRef node = bench.must_open("driver=raw,offset=512,size=512,file.filename=" + path);
  EXPECT_EQ(node->bytes(), 512u);
  EXPECT_EQ(bench.read(*node, 510, 2), "bb");
  EXPECT_EQ(bench.write(*node, 0, "B"), 0);
  bench.release(node);
  EXPECT_EQ(bench.content("a").substr(511, 3), "aBb");
  EXPECT_EQ(bench.open_error("driver=raw,offset=2048,file.filename=" + path),
            "Offset (2048) cannot be greater than size of the containing file (1536)");
}

}  // namespace
}  // namespace emu::block
