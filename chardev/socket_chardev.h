// SPDX-License-Identifier: Apache-2.0
// A stream socket, unix or TCP, as server of one client at a time or as client.
#pragma once

#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "chardev/chardev_options.h"
#include "chardev/fd_chardev.h"

namespace emu::chardev {

class SocketChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const SocketOptions& options, EventLoop& loop);
  ~SocketChardev() override;
  std::string description() const override;
  bool is_open() const override { return open_.load(std::memory_order_acquire); }
  std::vector<Fd> take_fds() override { return std::exchange(received_, {}); }
  bool can_yank() const override { return true; }
  void yank() override;
  /// Where a server listens ("127.0.0.1:45123"), with the port that was chosen for port 0.
  std::string address() const;

 private:
  SocketChardev(std::string id, const SocketOptions& options, EventLoop& loop);
  Result<void> start();
  Result<void> wait_for_client();
  void accept_client();
  void connected(Fd connection);
  ssize_t read_input(int fd, std::span<u8> to) override;
  void input_ended() override { disconnect(); }
  void output_broken() override { disconnect(); }
  void disconnect();

  const SocketOptions options_;
  Fd listener_;
  FdWatch listener_watch_;
  std::mutex connection_mutex_;  ///< for yank(), against closing
  Fd connection_;
  std::atomic<bool> open_{false};  ///< others than the loop's thread may ask
  std::vector<Fd> received_;
  bool made_path_ = false;
};

}  // namespace emu::chardev
