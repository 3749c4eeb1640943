// SPDX-License-Identifier: Apache-2.0
// An I/O thread for tests of devices that have iothread=.
#pragma once

#include <thread>

#include "hw/core/io_thread.h"
#include "util/thread.h"

namespace emu::test {

class ThreadObject final : public hw::IoThreadObject {
 public:
  static void describe(qom::TypeInfo<ThreadObject>& type) { type.doc("for tests"); }
  ThreadObject() {
    thread_ = start_thread("io", [this] { loop_.run(); });
  }
  ~ThreadObject() override {
    loop_.quit();
    thread_.join();
  }
  EventLoop& loop() override { return loop_; }

 private:
  EventLoop loop_;
  std::thread thread_;
};

/// Registers it as "iothread", with what it is derived from.
inline void register_io_thread(qom::TypeRegistry& registry) {
  registry.add_abstract<qom::UserCreatable, qom::Object>();
  registry.add_abstract<hw::IoThreadObject, qom::UserCreatable>();
  registry.add<ThreadObject>("iothread");
}

}  // namespace emu::test
