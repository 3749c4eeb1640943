// SPDX-License-Identifier: Apache-2.0
// Packets as datagrams: -netdev dgram, and socket with udp= or mcast=.
#pragma once

#include <optional>

#include "net/backend.h"
#include "net/socket_address.h"

namespace emu::net {

struct DgramOptions {
  std::optional<SocketAddress> local, remote;
  bool is_socket = false;  ///< "-netdev socket", for info network
};

/// What a start would find wrong with addresses that are no internet addresses; those DgramNet::open() binds.
Result<void> check_dgram(const DgramOptions& options);

class DgramNet final : public BackendClient {
 public:
  static void describe(qom::TypeInfo<DgramNet>& type) { type.doc("packets as datagrams"); }
  ~DgramNet() override;

  /// A remote that is a multicast group is joined, on the interface that has the local address.
  Result<void> open(const DgramOptions& options, EventLoop& loop);
  std::string kind() const override { return options_.is_socket ? "socket" : "dgram"; }
  std::string describe_state() const override { return state_; }

 protected:
  bool receive(const Packet& packet) override;
  void peer_ready() override;

 private:
  Result<void> open_group(const RawAddress& group);
  void socket_ready();

  DgramOptions options_;
  Fd socket_;
  FdWatch watch_;
  std::optional<RawAddress> remote_;
  std::vector<u8> buffer_;
  std::size_t kept_ = 0;  ///< bytes in buffer_ that the peer refused
  std::string state_;
};

}  // namespace emu::net
