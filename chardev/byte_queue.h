// SPDX-License-Identifier: Apache-2.0
// Bytes in the order they came.
#pragma once

#include <span>
#include <vector>

#include "util/types.h"

namespace emu::chardev {

class ByteQueue {
 public:
  std::size_t size() const { return bytes_.size() - head_; }
  bool empty() const { return size() == 0; }
  std::span<const u8> front() const { return std::span(bytes_).subspan(head_); }
  void push(std::span<const u8> data) { bytes_.insert(bytes_.end(), data.begin(), data.end()); }
  void push(u8 byte) { bytes_.push_back(byte); }
  /// `count` is at most size().
  void pop(std::size_t count) {
    head_ += count;
    if (head_ == bytes_.size()) {
      clear();
    } else if (head_ >= 4096 && head_ * 2 >= bytes_.size()) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + std::ptrdiff_t(head_));
      head_ = 0;
    }
  }
  void clear() {
    bytes_.clear();
    head_ = 0;
  }

 private:
  std::vector<u8> bytes_;
  std::size_t head_ = 0;
};

}  // namespace emu::chardev
