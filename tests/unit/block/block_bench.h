// SPDX-License-Identifier: Apache-2.0
// A loop, a driver table and a graph; files in a folder that goes with the test.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "block/driver.h"
#include "block/graph.h"

namespace emu::block {

class BlockBench {
 public:
  BlockBench() {
    register_block_drivers(drivers_);
    char name[] = "/tmp/block_test_XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~BlockBench() { std::filesystem::remove_all(folder_); }

  EventLoop& loop() { return loop_; }
  NodeGraph& graph() { return graph_; }
  DriverRegistry& drivers() { return drivers_; }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string file(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  std::string file(const std::string& name, u64 bytes) const {
    std::ofstream(path(name), std::ios::binary).close();
    std::filesystem::resize_file(path(name), bytes);
    return path(name);
  }
  std::string content(const std::string& name) const {
    std::ifstream in(path(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  template <typename T>
  T run(Task<T> task) {
    return run_sync(loop_, std::move(task));
  }
  Result<NodeRef> open(const std::string& options) {
    auto parsed = Options::parse(options);
    EXPECT_TRUE(parsed.has_value());
    return run(graph_.open(std::move(*parsed)));
  }
  /// Opens what must open.
  NodeRef must_open(const std::string& options) {
    auto node = open(options);
    EXPECT_TRUE(node.has_value()) << (node ? "" : node.error().text());
    return node ? *node : nullptr;
  }
  std::string open_error(const std::string& options) {
    auto node = open(options);
    return node ? "opened" : node.error().message();
  }
  void release(NodeRef node) { EXPECT_TRUE(run(graph_.release(std::move(node))).has_value()); }

  std::string read(Node& node, u64 offset, std::size_t length) {
    std::string text(length, '?');
    const iovec part{text.data(), length};
    const IoStatus failed = run(node.read(offset, IoVec(&part, 1)));
    return failed == 0 ? text : "error " + std::to_string(failed);
  }
  IoStatus write(Node& node, u64 offset, std::string text, IoFlags flags = IoFlags::None) {
    const iovec part{text.data(), text.size()};
    return run(node.write(offset, IoVec(&part, 1), flags));
  }

 private:
  EventLoop loop_;
  DriverRegistry drivers_;
  NodeGraph graph_{loop_, drivers_};
  std::string folder_;
};

}  // namespace emu::block
