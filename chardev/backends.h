// SPDX-License-Identifier: Apache-2.0
// The back ends: file, terminal, pseudo-terminal, memory. Sockets are in socket_chardev.h.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "chardev/chardev_options.h"
#include "chardev/fd_chardev.h"

namespace emu::chardev {

/// Makes what `options` describe, a mux around it if asked. On the thread of `loop`, which must outlive it. A server
/// with wait=on returns when somebody has connected. A pty says on standard output where it is.
Result<std::unique_ptr<Chardev>> create(const ChardevOptions& options, EventLoop& loop);

/// The right to this process's standard input and output, which one at a time has.
class StdioClaim {
 public:
  StdioClaim() = default;  ///< to nothing
  static Result<StdioClaim> take();
  ~StdioClaim() { give_back(); }
  StdioClaim(StdioClaim&& other) noexcept : has_(std::exchange(other.has_, false)) {}
  StdioClaim& operator=(StdioClaim&& other) noexcept;

 private:
  void give_back();
  bool has_ = false;
};

/// What only one can have, taken as long as this lives.
struct Reservation {
  Fd socket;
  StdioClaim stdio;
};

/// What create() would find wrong, as far as that can be seen without connecting to anybody or making a file. What it
/// would take stays taken with the result, so that two that want the same are found. Not seen: who listens at a TCP
/// address that a client names.
Result<Reservation> check(const ChardevOptions& options);

class FileChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const FileOptions& options, EventLoop& loop);
  ~FileChardev() override { close_streams(); }
  std::string description() const override { return "file"; }

 private:
  using FdChardev::FdChardev;
  Fd out_, in_;
};

/// Our own standard input and output; one at a time in a process. A terminal is raw while it lives. The end of input
/// ends nothing else.
class StdioChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const StdioOptions& options, EventLoop& loop);
  ~StdioChardev() override;
  std::string description() const override { return "stdio"; }

 private:
  using FdChardev::FdChardev;
  void take_output();
  StdioClaim claim_;
  Fd out_;                       ///< our own opening of standard output, so that its neighbours keep blocking writes
  bool clear_nonblock_ = false;  ///< that was not possible: the flag is theirs too until we are done
};

/// A new pseudo-terminal. Open while somebody has its other end open.
class PtyChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, EventLoop& loop);
  ~PtyChardev() override { close_streams(); }
  std::string description() const override { return "pty:" + path_; }
  bool is_open() const override { return open_; }
  const std::string& path() const { return path_; }

 private:
  using FdChardev::FdChardev;
  void input_ended() override { disconnect(); }
  void output_broken() override { disconnect(); }
  void disconnect();
  void other_end_opened();
  Fd master_, opened_;  ///< opened_: inotify on the other end, which costs nothing while nobody comes
  FdWatch opened_watch_;
  std::string path_;
  bool open_ = false;
};

/// Keeps the last bytes written, for a monitor command to read.
class RingBufferChardev final : public Chardev {
 public:
  /// `size` is a power of two.
  RingBufferChardev(std::string id, std::size_t size) : Chardev(std::move(id)), bytes_(size) {}
  std::string description() const override { return "ringbuf"; }
  RingBufferChardev* as_ring_buffer() override { return this; }
  /// Takes out the oldest bytes, up to `most`. Any thread.
  std::vector<u8> read(std::size_t most);
  std::size_t available() const;

 protected:
  std::size_t do_write(std::span<const u8> data) override;

 private:
  mutable std::mutex mutex_;
  std::vector<u8> bytes_;
  u64 written_ = 0, read_ = 0;  ///< positions since the start; written_ - read_ <= size
};

}  // namespace emu::chardev
