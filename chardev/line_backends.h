// SPDX-License-Identifier: Apache-2.0
// Back ends that other programs or machines are behind without a connection: named pipes, a host's serial line, UDP.
#pragma once

#include <atomic>
#include <vector>

#include "chardev/chardev_options.h"
#include "chardev/fd_chardev.h"

namespace emu::chardev {

/// PATH.in is read and PATH.out written; where these are not there, PATH itself, both ways.
class PipeChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const PipeOptions& options, EventLoop& loop);
  ~PipeChardev() override { close_streams(); }
  std::string description() const override { return "pipe"; }

 private:
  using FdChardev::FdChardev;
  Fd in_, out_;
};

/// A serial line of the host: 115200 baud, 8 data bits, no parity. What the guest sets its UART to changes nothing.
class TtyChardev final : public FdChardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const TtyOptions& options, EventLoop& loop);
  ~TtyChardev() override { close_streams(); }
  std::string description() const override { return "serial"; }

 private:
  using FdChardev::FdChardev;
  Fd line_;
};

/// Each write is a datagram; one that cannot be sent is lost.
class UdpChardev final : public Chardev {
 public:
  static Result<std::unique_ptr<Chardev>> create(const std::string& id, const UdpOptions& options, EventLoop& loop);
  std::string description() const override { return "udp"; }
  void accept_input() override;
  /// The port that input comes in at.
  u16 local_port() const;

 protected:
  std::size_t do_write(std::span<const u8> data) override;

 private:
  UdpChardev(std::string id, EventLoop& loop) : Chardev(std::move(id)), loop_(loop) {}
  void pump();

  EventLoop& loop_;
  Fd socket_;
  FdWatch watch_;
  std::vector<u8> datagram_;  ///< the last that came, and how much of it the front end has
  std::size_t taken_ = 0;
  std::atomic<bool> held_{false};  ///< as FdChardev::input_held_
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
};

/// Why there is no pipe at `path`: `why` is an errno.
Error no_pipe(const std::string& path, int why);
/// A socket bound to the local address and sending to the other, of whose addresses the first counts that goes with it.
Result<Fd> open_udp(const UdpOptions& options);

}  // namespace emu::chardev
