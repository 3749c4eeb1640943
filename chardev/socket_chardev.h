// SPDX-License-Identifier: Apache-2.0
// A stream socket, unix or TCP, as server of one client at a time or as client.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "chardev/chardev_options.h"
#include "chardev/fd_chardev.h"
#include "chardev/telnet.h"

namespace emu::chardev {

class SocketChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const SocketOptions& options, EventLoop& loop);
  ~SocketChardev() override;
  std::string description() const override;
  bool is_open() const override { return open_.load(std::memory_order_acquire); }
  std::vector<Fd> take_fds() override { return std::exchange(received_, {}); }
  int socket() const override { return options_.telnet ? -1 : connection_.get(); }
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
  std::size_t do_write(std::span<const u8> data) override;
  void begin_connecting();
  void connecting_ended();
  void try_again_later();

  const SocketOptions options_;
  Fd listener_;
  FdWatch listener_watch_;
  std::mutex connection_mutex_;  ///< for yank(), against closing
  Fd connection_;
  std::atomic<bool> open_{false};  ///< others than the loop's thread may ask
  std::vector<Fd> received_;
  /// Device and inode of the socket that we made at the path.
  using FileId = std::pair<u64, u64>;
  static FileId file_at(const std::string& path);
  std::optional<FileId> made_path_;

  // A client with reconnect=
  Fd attempt_;  ///< a connection that is being made
  FdWatch attempt_watch_;
  std::size_t attempt_number_ = 0;  ///< of the addresses that the name has
  Fd retry_timer_;
  FdWatch retry_watch_;

  // telnet=on
  TelnetReader telnet_;
  std::mutex escape_mutex_;
  bool owes_escape_ = false;  ///< the first half of IAC IAC is on its way
};

/// What a start would find wrong. A server's address is taken, and given back with the descriptor; nobody is connected
/// to, and no file is made.
Result<Fd> check_backend(const SocketOptions& options);

}  // namespace emu::chardev
