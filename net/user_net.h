// SPDX-License-Identifier: Apache-2.0
// A network made by libslirp: the guest reaches what this process can, without any rights on the host.
#pragma once

#include <memory>
#include <deque>
#include <functional>
#include <vector>

#include "net/backend.h"
#include "net/offload.h"
#include "net/packet_queue.h"
#include "net/user_options.h"

struct Slirp;  // NOLINT: libslirp's name; its header stays out of ours

namespace emu::net {

class SmbServer;

/// A byte stream of the host behind guestfwd=...-STREAM. Loop's thread.
class ForwardStream {
 public:
  virtual ~ForwardStream() = default;
  struct Sink {
    virtual ~Sink() = default;
    virtual std::size_t room() = 0;
    virtual void bytes(std::span<const u8> data) = 0;
  };
  /// Where what comes from the host goes; room() is asked first.
  virtual void set_sink(Sink* sink) = 0;
  /// room() may have grown.
  virtual void room_grew() = 0;
  virtual std::size_t write(std::span<const u8> data) = 0;
};
using StreamOpener = std::function<Result<std::unique_ptr<ForwardStream>>(const std::string& spec)>;

class UserNet final : public BackendClient {
 public:
  UserNet();
  ~UserNet() override;
  static void describe(qom::TypeInfo<UserNet>& type) { type.doc("network without rights, by libslirp"); }

  /// `open_stream` may be empty; guestfwd to streams is refused then.
  Result<void> open(const UserOptions& options, EventLoop& loop, const StreamOpener& open_stream);
  std::string kind() const override { return "user"; }
  std::string describe_state() const override;

  Result<void> add_host_forward(const HostForward& rule);
  /// False: there was no such rule.
  bool remove_host_forward(const HostForward& rule);
  /// The table of `info usernet`.
  std::string connections() const;

  OffloadSet receive_offloads() const override;
  OffloadSet possible_offloads() const override;

 protected:
  bool receive(const Packet& packet) override;
  void peer_ready() override;

 private:
  struct Source;
  struct Callbacks;
  struct Forward;
  struct Alarm;

  Result<void> add_guest_forward(const GuestForward& rule, const StreamOpener& open_stream);
  Result<void> share_folder();
  /// Makes a copy of the guest's what libslirp wants; false: it cannot be, and is dropped.
  bool finish(std::span<u8> frame, const PacketOffload& offload) const;
  void input(std::span<const u8> frame);
  void drain_input();
  /// A frame for the guest.
  void output(std::span<const u8> frame);
  void output(const Packet& packet);
  bool is_held_up() const { return !to_guest_.empty() || sender_.is_waiting(); }

  UserOptions options_;
  Slirp* slirp_ = nullptr;
  std::unique_ptr<Callbacks> callbacks_;
  Source* source_ = nullptr;
  std::vector<std::unique_ptr<Forward>> forwards_;
  std::unique_ptr<SmbServer> smb_;
  std::vector<std::unique_ptr<Alarm>> alarms_;
  PacketQueue to_guest_;
  OffloadSender sender_;  ///< cuts what libslirp sends in long pieces for peers that want it as on the wire
  bool inside_ = false;                   ///< libslirp is at work and must not be entered again
  std::deque<std::vector<u8>> from_guest_;  ///< packets that came meanwhile
  std::vector<u8> flat_;  ///< kMostPacketBytes, where the guest's packets are put together
};

}  // namespace emu::net
