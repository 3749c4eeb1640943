// SPDX-License-Identifier: Apache-2.0
// The human monitor on a byte stream.
#pragma once

#include <memory>

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "monitor/monitors.h"
#include "monitor/hmp/line_editor.h"

namespace emu::monitor {

/// One person's connection. Prompt and echo are as QEMU's, for scripts that wait for "(qemu) ". On a mux it is silent
/// until it gets the focus. Thread of the chardev's loop, which is the main loop.
class HmpSession final : public ChardevFrontend {
 public:
  /// Both must outlive the session. Errors: the stream is in use.
  static Result<std::unique_ptr<HmpSession>> create(Chardev& stream, Monitors& monitors);
  ~HmpSession() override;

  /// Runs one line and gives what a person would see.
  std::string execute(std::string_view line) { return monitors_.run_line(session_, line); }

  std::size_t can_receive() override { return waiting_ < kMostWaiting ? kChunk : 0; }
  void receive(std::span<const u8> data) override;
  void event(ChardevEvent event) override;
  void writable() override { flush(); }

 private:
  static constexpr std::size_t kChunk = 256;
  /// Lines that wait until another command is done: then input does, too.
  static constexpr unsigned kMostWaiting = 16;
  /// What waits for a reader that does not read; the rest of a longer output is lost.
  static constexpr std::size_t kOutputLimit = 16 << 20;

  HmpSession(Chardev& stream, Monitors& monitors);
  void greet();
  void print(std::string_view text);
  void print_raw(std::string_view bytes);
  void flush();
  std::vector<std::string> complete(std::string_view text) const;
  std::vector<std::string> complete_symbol(std::string_view text) const;

  Chardev& stream_;
  Monitors& monitors_;
  Session session_;
  LineEditor editor_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
  chardev::ByteQueue output_;
  bool greeted_ = false, focused_ = false;
  unsigned waiting_ = 0;  ///< lines that were typed and have not been executed
};

}  // namespace emu::monitor
