// SPDX-License-Identifier: Apache-2.0
// The monitor for programs on a byte stream: QMP, as QEMU's docs/interop/qmp-spec.txt describes it.
//
// Two threads. The stream's (the monitors' own, or the main one) cuts the input into commands and runs those that are
// out of band at once. The others wait in a queue, and the main thread runs them one by one in the order they came.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "monitor/monitors.h"
#include "monitor/qmp/json_stream.h"

namespace emu::monitor {

struct QmpOptions {
  JsonLayout layout = JsonLayout::Line;
  bool offers_oob = false;  ///< the stream has a thread of its own
};

/// One program's connection at a time. Made and destroyed on the main thread, while the stream's thread stands still.
class QmpSession final : public ChardevFrontend {
 public:
  /// Commands that wait: then input does, too.
  static constexpr std::size_t kMostQueued = 8;
  /// What waits for a reader that does not read: then its input waits, and beyond the second events are dropped.
  static constexpr std::size_t kOutputHigh = 1 << 20, kOutputLimit = 16 << 20;

  /// Errors: the stream is in use.
  static Result<std::unique_ptr<QmpSession>> create(Chardev& stream, Monitors& monitors, QmpOptions options);
  ~QmpSession() override;

  /// To a program that has negotiated. Main thread.
  void send_event(const Json& event);

  // Stream's thread.
  std::size_t can_receive() override;
  void receive(std::span<const u8> data) override;
  void event(ChardevEvent event) override;
  void writable() override;

 private:
  struct Request {
    Json id;  ///< discarded: none was given
    std::string command;
    Json arguments;
    std::optional<Error> refused;  ///< answered with this, in its turn
    std::vector<Fd> fds;
    u64 connection = 0;
  };
  enum class Mode : u8 { Negotiating, Commands };

  QmpSession(Chardev& stream, Monitors& monitors, QmpOptions options);
  void greet();
  void take_message(Result<Json> message);
  Result<void> read_request(Json& message, Request& request, bool& out_of_band);
  void run_out_of_band(Request request);
  void enqueue(Request request);
  void serve_soon();
  void serve_next();
  Result<Json> run(Request& request);
  Result<Json> negotiate(const Json& arguments);
  void reply(const Request& request, const Result<Json>& result);
  void write(const Json& value, u64 connection);
  void flush_locked();

  Chardev& stream_;
  Monitors& monitors_;
  const QmpOptions options_;
  JsonStream input_;         ///< stream's thread
  std::vector<Fd> arrived_;  ///< stream's thread: descriptors that no command has taken yet
  Session session_;          ///< main thread

  std::mutex mutex_;  ///< the rest
  std::deque<Request> queue_;
  bool serving_ = false;  ///< a call of serve_next() is on its way
  Mode mode_ = Mode::Negotiating;
  bool oob_ = false, open_ = false;
  u64 connection_ = 0;  ///< counts clients: answers to one that left go nowhere
  chardev::ByteQueue output_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
};

}  // namespace emu::monitor
