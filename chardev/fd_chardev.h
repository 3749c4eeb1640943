// SPDX-License-Identifier: Apache-2.0
// What all back ends on file descriptors share: buffered output that never blocks, input that respects its reader.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "util/event_loop.h"

namespace emu::chardev {

class FdChardev : public Chardev {
 public:
  /// What waits to be written while the outside is slow; after that the front end waits.
  static constexpr std::size_t kOutputLimit = 64 * 1024;

  void accept_input() override;
  bool has_pending_output() const override {
    const std::lock_guard lock(mutex_);
    return out_fd_ >= 0 && !pending_.empty();
  }

 protected:
  FdChardev(std::string id, EventLoop& loop);
  ~FdChardev() override;

  /// Either may be -1. The descriptors stay the derived class's, which calls close_streams() before it closes them.
  /// `out_fd` must be a socket, or not block (or only as a local disk does).
  void open_streams(int in_fd, int out_fd);
  void close_streams();
  /// read(2), for those whose input carries more than bytes.
  virtual ssize_t read_input(int fd, std::span<u8> to);
  /// The input is at its end or broken, and no longer watched. Output goes on.
  virtual void input_ended() {}
  /// Nobody reads our output any more; it is dropped from now on.
  virtual void output_broken() {}

  std::size_t do_write(std::span<const u8> data) override;
  EventLoop& loop() const { return loop_; }
  /// Runs `work` on the loop's thread unless we are gone by then.
  template <typename F>
  void post(F work) {
    loop_.post([alive = std::weak_ptr<const int>(alive_), work = std::move(work)]() mutable {
      if (alive.lock()) work();
    });
  }

 private:
  enum class Output { Fine, Broken };
  void on_readable();
  void on_writable(FdEvents ready);
  /// Writes what it can; adds to `done`.
  Output write_locked(std::span<const u8> data, std::size_t& done);
  void break_output_locked();

  EventLoop& loop_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);

  int in_fd_ = -1;
  FdWatch in_watch_;
  std::atomic<bool> input_held_{false};  ///< set before can_receive() is asked a last time, so that no call is lost

  FdWatch out_watch_;
  mutable std::mutex mutex_;  ///< for the rest; no front end is called under it
  int out_fd_ = -1;
  u64 out_epoch_ = 0;  ///< counts open_streams(), so that a late report does not hit the next connection
  bool out_is_socket_ = false;
  ByteQueue pending_;
  bool armed_ = false;    ///< out_watch_ waits for room, or a posted call will make it
  bool starved_ = false;  ///< the front end was refused and waits for writable()
};

}  // namespace emu::chardev
