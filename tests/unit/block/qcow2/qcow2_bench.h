// SPDX-License-Identifier: Apache-2.0
// Images in memory for the tests of qcow2.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "block/qcow2/check.h"
#include "block/qcow2/create.h"
#include "block/qcow2/image.h"
#include "unit/block/qcow2/memory_node.h"

namespace emu::block::qcow2 {

class Qcow2Bench {
 public:
  EventLoop loop;

  template <typename T>
  T run(Task<T> task) {
    return run_sync(loop, std::move(task));
  }
  std::shared_ptr<MemoryNode> memory(std::vector<u8> content = {}, bool read_only = false) {
    return std::make_shared<MemoryNode>(loop, "m" + std::to_string(count_++), std::move(content), read_only);
  }
  std::shared_ptr<MemoryNode> made(CreateOptions options, NodeRef data_file = nullptr) {
    auto file = memory();
    const Result<void> done = run(create(file, std::move(options), std::move(data_file)));
    EXPECT_TRUE(done.has_value()) << (done ? "" : done.error().text());
    return file;
  }
  Result<std::shared_ptr<Image>> try_open(NodeRef file, ImageOptions options = {}) {
    return run(Image::open(loop, "image", std::move(file), std::move(options)));
  }
  std::shared_ptr<Image> open(NodeRef file, ImageOptions options = {}) {
    auto image = try_open(std::move(file), std::move(options));
    EXPECT_TRUE(image.has_value()) << (image ? "" : image.error().text());
    return image ? *image : nullptr;
  }
  std::string open_error(NodeRef file, ImageOptions options = {}) {
    auto image = try_open(std::move(file), std::move(options));
    return image ? "opened" : image.error().message();
  }
  void close(Image& image) {
    const Result<void> closed = run(image.close());
    EXPECT_TRUE(closed.has_value()) << (closed ? "" : closed.error().text());
  }
  std::vector<u8> read(Node& node, u64 offset, u64 bytes) {
    std::vector<u8> out(bytes, 0xcc);
    const iovec part = {out.data(), bytes};
    EXPECT_EQ(run(node.read(offset, {&part, 1})), 0);
    return out;
  }
  IoStatus write(Node& node, u64 offset, std::vector<u8> data, IoFlags flags = IoFlags::None) {
    const iovec part = {data.data(), data.size()};
    return run(node.write(offset, {&part, 1}, flags));
  }
  /// Of a file that nobody has open.
  CheckReport checked(NodeRef file, Repair repair = Repair::None, std::string* lines = nullptr) {
    ImageOptions options;
    options.for_check = true;
    options.without_children = true;
    options.read_only = repair == Repair::None;
    auto image = try_open(std::move(file), std::move(options));
    if (!image) {
      ADD_FAILURE() << image.error().text();
      return {};
    }
    std::string text;
    std::function<void(const std::string&)> say = [&](const std::string& line) { text += line + "\n"; };
    auto report = run(check(**image, repair, std::move(say)));
    if (lines) *lines = text;
    if (!report) {
      ADD_FAILURE() << report.error().text();
      return {};
    }
    if (repair != Repair::None) close(**image);
    return *report;
  }
  void expect_clean(NodeRef file, const char* what = "") {
    std::string lines;
    const CheckReport report = checked(std::move(file), Repair::None, &lines);
    EXPECT_EQ(report.errors, 0u) << what << "\n" << lines;
    EXPECT_EQ(report.leaks, 0u) << what << "\n" << lines;
    EXPECT_EQ(report.failures, 0u) << what << "\n" << lines;
  }

 private:
  int count_ = 0;
};

inline std::vector<u8> pattern(u64 bytes, u8 seed) {
  std::vector<u8> data(bytes);
  for (u64 i = 0; i < bytes; ++i) data[i] = u8(seed + i * 7 + (i >> 8));
  return data;
}

}  // namespace emu::block::qcow2
