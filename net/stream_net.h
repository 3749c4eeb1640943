// SPDX-License-Identifier: Apache-2.0
// Packets over a stream socket, each behind its length (32 bits, big-endian): -netdev stream, -netdev socket.
#pragma once

#include <functional>
#include <optional>

#include "net/backend.h"
#include "net/packet_queue.h"
#include "net/socket_address.h"
#include "util/clock.h"

namespace emu::net {

struct StreamOptions {
  SocketAddress address;
  bool server = false;
  u64 reconnect_s = 0;  ///< client: seconds between attempts; 0: one attempt, at start
  bool is_socket = false;  ///< "-netdev socket", for info network
};

/// What a start would find wrong. A server's TCP address is taken, and given back with the descriptor.
Result<Fd> check_stream(const StreamOptions& options);

class StreamNet final : public BackendClient {
 public:
  static void describe(qom::TypeInfo<StreamNet>& type) { type.doc("packets over a stream socket"); }
  ~StreamNet() override;

  Result<void> open(const StreamOptions& options, EventLoop& loop);
  std::string kind() const override { return options_.is_socket ? "socket" : "stream"; }
  std::string describe_state() const override { return state_; }
  bool is_connected() const { return connection_.is_valid() && !connecting_; }
  /// Called when a connection comes (with its other end) and goes (with nothing).
  void on_change(std::function<void(const std::optional<SocketAddress>&)> changed) { changed_ = std::move(changed); }

 protected:
  bool receive(const Packet& packet) override;
  void peer_ready() override;

 private:
  void accept_client();
  void begin_connecting();
  void adopt(Fd connection);
  void established();
  void disconnected(const std::string& why);
  void update_events();
  void socket_ready(FdEvents ready);
  void read_input();
  bool take_frames();
  bool flush();

  StreamOptions options_;
  Fd listener_, connection_;
  FdWatch listener_watch_, watch_;
  bool connecting_ = false;
  bool held_up_ = false;       ///< the peer has no room: nothing is read
  std::vector<u8> input_;
  std::size_t input_used_ = 0;  ///< of input_, already given to the peer
  std::vector<u8> output_;      ///< the rest of a packet that the socket took in part
  std::string state_;
  std::function<void(const std::optional<SocketAddress>&)> changed_;
  Clock clock_{Clock::Kind::Realtime};
  TimerAttachment timers_;
  Timer retry_;
};

}  // namespace emu::net
