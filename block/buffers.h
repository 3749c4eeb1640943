// SPDX-License-Identifier: Apache-2.0
// Aligned memory, and copies between it and lists of buffers.
#pragma once

#include <cstdlib>
#include <memory>

#include "block/node.h"

namespace emu::block {

/// Aligned for direct I/O. Null when there is no memory.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(u64 bytes, u64 alignment = 4096)
      : bytes_(static_cast<u8*>(std::aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1)))),
        size_(bytes) {}
  u8* data() const { return bytes_.get(); }
  u64 size() const { return size_; }
  explicit operator bool() const { return bytes_ != nullptr; }

 private:
  struct Free {
    void operator()(u8* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<u8, Free> bytes_;
  u64 size_;
};

/// The parts' bytes from `from` on, `length` of them, one after the other.
void copy_out(IoVec parts, u64 from, u64 length, u8* to);
/// The other way.
void copy_in(const u8* from, u64 length, IoVec parts, u64 to);
/// The parts from byte `from` on, `length` bytes of them.
std::vector<iovec> slice(IoVec parts, u64 from, u64 length);
/// Whether all bytes are zero; stops at the first that is not.
bool is_zero(IoVec parts);
bool is_aligned(IoVec parts, u32 alignment);

}  // namespace emu::block
