// SPDX-License-Identifier: Apache-2.0
// A TAP interface of the host.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "net/backend.h"
#include "util/fd.h"
#include "util/options.h"

namespace emu::net {

struct TapOptions {
  std::string ifname;               ///< empty: the kernel picks one
  std::vector<int> fds;             ///< opened by somebody else; then no name and no scripts
  std::string script, down_script;  ///< empty: none
  std::string bridge_helper, bridge;
  unsigned queues = 1;
  u64 sndbuf = 0;                    ///< bytes; 0: as the kernel likes
  std::optional<bool> vnet_hdr;      ///< empty: if the kernel has it
  bool vhost = false, vhost_force = false;
  std::vector<int> vhost_fds;        ///< opened by somebody else
};
Result<TapOptions> take_tap_options(Options& options);
/// What a start would find wrong besides the interface itself: descriptors, scripts and helper.
Result<void> check_tap(const TapOptions& options);
TapOptions without_scripts(TapOptions options);

class TapNet final : public BackendClient {
 public:
  static void describe(qom::TypeInfo<TapNet>& type) { type.doc("TAP interface of the host"); }
  ~TapNet() override;

  Result<void> open(const TapOptions& options, EventLoop& loop);
  std::string kind() const override { return "tap"; }
  std::string describe_state() const override;
  unsigned queues() const override { return unsigned(others_.size()) + 1; }
  NetClient& queue(unsigned number) override;

  OffloadSet receive_offloads() const override;
  OffloadSet possible_offloads() const override;
  void peer_takes(const OffloadSet& offloads) override;
  VhostOffer* vhost_offer() override { return vhost_ ? &*vhost_ : nullptr; }
  std::optional<HostInterface> host_interface() const override { return HostInterface{fd_.get(), vnet_header_}; }
  void lend_interface(bool lent) override;
  void set_interface_header(std::size_t bytes) override;

 protected:
  bool receive(const Packet& packet) override;
  void peer_ready() override;

 private:
  Result<void> adopt(Fd fd, const TapOptions& options);
  void tap_ready(FdEvents ready);
  bool deliver();
  void update_events();

  Fd fd_;
  FdWatch watch_;
  std::string ifname_, down_script_;
  bool vnet_header_ = false;
  bool can_uso_ = false;
  bool held_up_ = false;  ///< kept_ bytes of buffer_ wait for the peer
  bool full_ = false;     ///< the interface takes nothing now
  bool lent_ = false;
  std::optional<VhostOffer> vhost_;
  std::size_t kept_ = 0;
  std::vector<u8> buffer_;
  std::vector<iovec> parts_;  ///< of the packet that is being written
  std::vector<std::unique_ptr<TapNet>> others_;  ///< further queues
};

}  // namespace emu::net
