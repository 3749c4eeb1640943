// SPDX-License-Identifier: Apache-2.0
// What the back ends have in common: a loop, given when they open.
#pragma once

#include "net/net_client.h"

namespace emu::net {

class BackendClient : public NetClient {
 public:
  static constexpr const char* kTypeName = "netdev";
  static void describe(qom::TypeInfo<BackendClient>& type) { type.doc("Host side of a network card"); }
  EventLoop& loop() const override { return *loop_; }

 protected:
  void set_loop(EventLoop& loop) { loop_ = &loop; }

 private:
  EventLoop* loop_ = nullptr;
};

}  // namespace emu::net
