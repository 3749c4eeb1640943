// SPDX-License-Identifier: Apache-2.0
// Protocols `file` and `host_device`: bytes of a host file or block device.
#pragma once

#include <memory>
#include <string>

#include "block/aio/engines.h"
#include "block/driver.h"
#include "block/file/file_locks.h"
#include "block/file/in_place.h"
#include "util/fd.h"

namespace emu::block {

class FileNode final : public Node {
 public:
  enum class Kind : u8 { File, HostDevice };
  static Task<Result<NodeRef>> open(Kind kind, OpenContext& context, Options options);

  std::string_view driver() const override { return kind_ == Kind::File ? "file" : "host_device"; }
  std::string filename() const override { return filename_; }
  u64 bytes() const override { return bytes_; }
  BlockLimits limits() const override { return limits_; }
  const char* engine_name() const { return engine_->name(); }

  Task<IoStatus> read(u64 offset, IoVec to) override;
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override;
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override;
  Task<IoStatus> discard(u64 offset, u64 length) override;
  Task<IoStatus> flush() override;
  Task<Result<Extent>> status(u64 offset, u64 length) override;
  Task<Result<void>> truncate(u64 bytes, Preallocation preallocation) override;
  Task<Result<void>> close() override;
  Task<Result<void>> set_read_only(bool read_only) override;
  Result<void> access_changed(Access access) override;
  void change_loop(EventLoop& loop) override;

 private:
  struct Setup;
  FileNode(EventLoop& loop, const NodeSettings& settings, Kind kind, IoEngines& engines, Setup setup);
  static Result<Fd> open_descriptor(const std::string& filename, bool read_only, bool direct);
  static Result<Setup> prepare(Kind kind, OpenContext& context, Options options);
  Task<IoStatus> allocate(int mode, u64 offset, u64 length);
  Task<IoStatus> write_plain_zeroes(u64 offset, u64 length);
  Task<Result<void>> preallocate(u64 from, u64 to, Preallocation preallocation);

  const Kind kind_;
  const std::string filename_;
  const bool direct_;
  const bool no_flush_;
  const bool unmap_;
  const bool takes_locks_;
  const AioMode aio_;
  IoEngines& engines_;
  std::shared_ptr<IoEngine> engine_;
  Fd fd_;
  InPlace in_place_;
  FileLocks locks_;
  BlockLimits limits_;
  u64 bytes_ = 0;
  bool can_punch_ = true;       ///< until the file system says otherwise
  bool can_zero_range_ = true;  ///< likewise
};

}  // namespace emu::block
