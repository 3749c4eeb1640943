// SPDX-License-Identifier: Apache-2.0
// A stream socket, unix or TCP, as server of one client at a time or as client.
#pragma once

#include "chardev/chardev_options.h"
#include "chardev/fd_chardev.h"

namespace emu::chardev {

class SocketChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const SocketOptions& options, EventLoop& loop);
  ~SocketChardev() override;
  std::string description() const override;
  bool is_open() const override { return connection_.is_valid(); }
  /// Where a server listens ("127.0.0.1:45123"), with the port that was chosen for port 0.
  std::string address() const;

 private:
  SocketChardev(std::string id, const SocketOptions& options, EventLoop& loop);
  Result<void> start();
  Result<void> wait_for_client();
  void accept_client();
  void connected(Fd connection);
  void input_ended() override { disconnect(); }
  void output_broken() override { disconnect(); }
  void disconnect();

  const SocketOptions options_;
  Fd listener_;
  FdWatch listener_watch_;
  Fd connection_;
  bool made_path_ = false;
};

}  // namespace emu::chardev
