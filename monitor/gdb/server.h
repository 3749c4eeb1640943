// SPDX-License-Identifier: Apache-2.0
// A debugger's connection: the protocol on a byte stream.
#pragma once

#include <memory>
#include <string>

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "monitor/gdb/machine_target.h"
#include "monitor/gdb/protocol.h"

namespace emu::monitor::gdb {

/// Thread of the chardev's loop, which is the main loop.
class Server final : public ChardevFrontend {
 public:
  /// Both must outlive the server. Errors: the stream is in use; no CPU.
  static Result<std::unique_ptr<Server>> create(Chardev& stream, Monitors& monitors,
                                                const MakeRegisters& make_registers);
  ~Server() override;

  void debug_stopped(unsigned cpu, const accel::DebugStop& stop);
  void machine_stopped(std::string_view status);
  /// As if the debugger had gone.
  void close() { event(ChardevEvent::Closed); }
  /// A command that came from the debugger runs.
  bool is_receiving() const { return is_receiving_; }
  void exiting(int status) { if (is_connected_) protocol_.exiting(status); }

  std::size_t can_receive() override { return kChunk; }
  void receive(std::span<const u8> data) override;
  void event(ChardevEvent event) override;
  void writable() override { flush(); }

 private:
  static constexpr std::size_t kChunk = 4096;
  /// What waits for a reader that does not read.
  static constexpr std::size_t kOutputLimit = 4 << 20;

  Server(Chardev& stream, std::unique_ptr<MachineTarget> target);
  void send(std::string_view bytes);
  void flush();

  Chardev& stream_;
  std::unique_ptr<MachineTarget> target_;
  Protocol protocol_;
  chardev::ByteQueue output_;
  bool is_connected_ = false, is_receiving_ = false;
};

}  // namespace emu::monitor::gdb
