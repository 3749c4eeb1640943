// SPDX-License-Identifier: Apache-2.0
// A thread with an event loop of its own that devices can give their queues to: -object iothread, iothread=ID.
#pragma once

#include "qom/user_creatable.h"
#include "util/event_loop.h"

namespace emu::hw {

/// What `iothread=` links to. The thread runs as long as somebody uses it, and longer. Machine lock, except loop().
class IoThreadObject : public qom::UserCreatable {
 public:
  static constexpr const char* kTypeName = "io-thread";
  static void describe(qom::TypeInfo<IoThreadObject>& type) { type.doc("Thread for the queues of devices"); }

  virtual EventLoop& loop() = 0;

  bool is_in_use() const override { return users_ != 0; }
  void add_user() { ++users_; }
  void remove_user() { --users_; }

 private:
  unsigned users_ = 0;
};

}  // namespace emu::hw
