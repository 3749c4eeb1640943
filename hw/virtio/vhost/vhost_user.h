// SPDX-License-Identifier: Apache-2.0
// A back end in another process, over a unix socket: the vhost-user protocol, of which we are the master.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "hw/char/chardev_object.h"
#include "hw/core/services.h"
#include "hw/virtio/vhost/vhost_backend.h"
#include "hw/virtio/vhost/vhost_user_protocol.h"
#include "util/event_loop.h"
#include "util/fd.h"

namespace emu::hw {

/// What the other process says is checked: an answer that is late, of another kind or length ends the connection. The
/// chardev makes connections, and new ones when they end. Requests are made with the machine lock held, and wait for
/// their answers: kPatience at most.
class VhostUser final : public VhostBackend, private chardev::ChardevFrontend {
 public:
  static constexpr std::chrono::milliseconds kPatience{10'000};

  struct Events {
    std::function<void()> lost;            ///< there is nobody at the other end any more
    std::function<void()> back;            ///< a new one is, with at least the features of the first
    std::function<void()> config_changed;  ///< fetch it again
  };
  /// In realize(), on the main loop. Errors: nobody is there, or it is no vhost-user back end, or has not all of
  /// `needed`, which are protocol features.
  static Result<std::unique_ptr<VhostUser>> open(ChardevObject& chardev, MachineServices& machine, u64 needed,
                                                 Events events);
  /// On the main loop.
  ~VhostUser() override;

  bool is_connected() const { return connection_.is_valid() && !broken_; }
  /// Queues, or pairs of them, that the back end says it can have; empty: it does not say.
  std::optional<u64> queue_limit() const { return queue_limit_; }
  /// The device's configuration space from its start.
  Result<void> read_config(std::span<u8> to);
  Result<void> write_config(u32 offset, std::span<const u8> from);

  // VhostBackend
  std::string name() const override { return "chardev '" + chardev_.stream().id() + "'"; }
  u64 features() const override { return features_ & ~vhost_user::kFeatureProtocol; }
  unsigned most_rings() const override { return unsigned(vhost_user::kVringIndexMask) + 1; }
  bool maps_memory() const override { return true; }
  Result<void> set_features(u64 features) override;
  Result<void> set_memory(const VhostMemory& memory) override;
  Result<void> set_ring(const Ring& ring) override;
  Result<void> enable_ring(unsigned index, bool on) override;
  Result<u32> stop_ring(unsigned index) override;

 private:
  using Request = vhost_user::Request;
  VhostUser(ChardevObject& chardev, MachineServices& machine, u64 needed, Events events);

  // ChardevFrontend: the bytes are ours to read, but for the end of them.
  std::size_t can_receive() override { return hanging_up_ ? 1 : 0; }
  void receive(std::span<const u8>) override {}
  void event(chardev::ChardevEvent what) override;

  Result<void> take_connection();
  Result<void> shake_hands();
  Result<void> open_slave_channel();
  void watch_connection();
  void drop_connection();

  // One message, vhost_user_messages.cpp. After a failure the connection is no more.
  Result<void> send(Request request, std::span<const u8> payload, std::span<const int> fds, u32 flags = 0);
  Result<void> receive(Request request, std::span<u8> payload);
  Result<void> receive_bytes(std::span<u8> to);
  /// Sends, and waits for the word that it was done, where the back end gives one.
  Result<void> order(Request request, std::span<const u8> payload, std::span<const int> fds = {});
  Result<u64> ask_number(Request request);
  Result<void> order_number(Request request, u64 number, std::span<const int> fds = {});
  tl::unexpected<Error> give_up(std::string why);
  void slave_ready();
  bool take_slave_message();

  ChardevObject& chardev_;
  MachineServices& machine_;
  EventLoop* const loop_;
  const u64 needed_;
  Events events_;
  u64 features_ = 0, protocol_ = 0;
  std::optional<u64> first_features_;
  std::optional<u64> queue_limit_;
  bool opening_ = true, hanging_up_ = false, broken_ = false;
  Fd connection_;  ///< our own descriptor of it
  FdWatch connection_watch_;
  Fd slave_;  ///< where requests of the back end come
  FdWatch slave_watch_;
  std::vector<u8> slave_bytes_;
};

}  // namespace emu::hw
