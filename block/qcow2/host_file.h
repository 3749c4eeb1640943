// SPDX-License-Identifier: Apache-2.0
// The file under an image, without its edges: reads past the end are zeroes, writes there make it grow.
#pragma once

#include "block/node.h"
#include "block/qcow2/format.h"
#include "block/qcow2/locks.h"

namespace emu::block::qcow2 {

/// A stretch of buffers: parts [skip, skip + bytes) of `parts`. The result refers to the same memory.
std::vector<iovec> slice_of(IoVec parts, u64 skip, u64 bytes);
void fill_zero(IoVec parts, u64 skip, u64 bytes);
void copy_out(IoVec parts, u64 skip, const u8* from, u64 bytes);  ///< from memory into buffers
void copy_in(u8* to, IoVec parts, u64 skip, u64 bytes);           ///< from buffers into memory

class HostFile {
 public:
  HostFile() = default;
  explicit HostFile(NodeRef node) : node_(std::move(node)) {}
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;

  bool is_open() const { return node_ != nullptr; }
  Node& node() const { return *node_; }
  const NodeRef& ref() const { return node_; }
  /// Nothing is under way.
  void replace(NodeRef node) { node_ = std::move(node); }
  u64 bytes() const { return node_->bytes(); }
  /// What metadata is written in units of.
  u64 sector() const { return std::max<u64>(kSector, node_->limits().request_alignment); }

  Task<IoStatus> read(u64 offset, u8* to, u64 bytes);
  Task<IoStatus> read(u64 offset, IoVec to);
  /// Unaligned ends are read and merged: the caller sees to it that nobody else writes them at the same time.
  Task<IoStatus> write(u64 offset, const u8* from, u64 bytes);
  Task<IoStatus> write(u64 offset, IoVec from);
  Task<IoStatus> flush() { return node_->flush(); }
  /// Grows the file, in large steps, so that it has bytes up to `end`. New space reads as zeroes.
  Task<IoStatus> ensure(u64 end);
  /// Whether ensure() has made the file longer than anybody asked for.
  bool has_grown() const { return has_grown_; }

 private:
  u64 alignment() const { return node_->limits().request_alignment; }
  Task<IoStatus> read_aligned(u64 offset, IoVec to);

  NodeRef node_;
  AsyncMutex growing_;
  bool has_grown_ = false;
};

}  // namespace emu::block::qcow2
