// SPDX-License-Identifier: Apache-2.0
// A byte stream to the outside (terminal, file, socket) and whoever in the machine uses it.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/fd.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::chardev {

class MuxChardev;
class RingBufferChardev;

enum class ChardevEvent {
  Opened,    ///< somebody is at the other end; also on attach, if so already
  Closed,    ///< nobody is: what is written goes nowhere
  Break,     ///< a break condition on the line
  FocusIn,   ///< of several front ends, input now comes to this one
  FocusOut,  ///< and no longer
};

/// A UART, a monitor, a virtio port. All calls come on the thread of the back end's loop, without a lock of ours held.
class ChardevFrontend {
 public:
  using Event = ChardevEvent;
  virtual ~ChardevFrontend() = default;

  /// How many bytes receive() may bring now. After 0, call Chardev::accept_input() once there is room.
  virtual std::size_t can_receive() = 0;
  /// At most can_receive() bytes.
  virtual void receive(std::span<const u8> data) = 0;
  virtual void event(ChardevEvent) {}
  /// After a write() that took less than everything: there is room again.
  virtual void writable() {}
};

/// The back end. Created, attached, detached and destroyed on its loop's thread.
class Chardev {
 public:
  virtual ~Chardev() = default;
  Chardev(const Chardev&) = delete;
  Chardev& operator=(const Chardev&) = delete;

  const std::string& id() const { return id_; }
  /// For "info chardev" and query-chardev: "file", "pty:/dev/pts/3", "disconnected:unix:/tmp/s,server=on".
  virtual std::string description() const = 0;

  /// Any thread; never blocks. Returns how many bytes were taken: less than all when the outside is slow and the
  /// bounded buffer is full; then writable() follows. Takes everything when nobody is at the other end.
  std::size_t write(std::span<const u8> data);
  std::size_t write(std::string_view text) {
    return write(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
  }

  /// Lends the stream to `frontend`, until detach(). An error if somebody has it (a mux lends to several).
  virtual Result<void> attach(ChardevFrontend& frontend);
  virtual void detach(ChardevFrontend& frontend);
  virtual bool is_attached() const { return frontend_ != nullptr; }

  /// The front end has room again. Any thread; cheap when input was not held up.
  virtual void accept_input() {}
  /// Whether bytes that were taken still wait for a slow outside: the program's end waits a moment for them.
  virtual bool has_pending_output() const { return false; }
  /// Whether somebody is at the other end.
  virtual bool is_open() const { return true; }

  /// Descriptors that the other end sent along with what was received since the last call. Loop's thread.
  virtual std::vector<Fd> take_fds() { return {}; }
  /// The connected socket, for a front end that takes nothing by receive(), because what it speaks carries descriptors
  /// both ways; stays ours. -1: there is none. Loop's thread.
  virtual int socket() const { return -1; }
  /// Cuts the connection, as if the other end had. Any thread; for those that can.
  virtual bool can_yank() const { return false; }
  virtual void yank() {}
  /// A break condition arrives.
  void send_break() { tell(ChardevEvent::Break); }

  virtual MuxChardev* as_mux() { return nullptr; }
  virtual RingBufferChardev* as_ring_buffer() { return nullptr; }

  /// While a machine writes again what it wrote before: it is taken, and goes nowhere. Nobody writes meanwhile.
  void set_muted(bool muted) { muted_ = muted; }

  /// logfile=: everything that is written also goes here. Before the first write.
  Result<void> log_to(const std::string& path, bool append);

 protected:
  explicit Chardev(std::string id) : id_(std::move(id)) {}
  virtual std::size_t do_write(std::span<const u8> data) = 0;
  ChardevFrontend* frontend() const { return frontend_; }
  void tell(ChardevEvent event);

 private:
  const std::string id_;
  ChardevFrontend* frontend_ = nullptr;
  Fd log_;
  std::atomic<bool> muted_{false};
};

/// Takes everything, brings nothing.
class NullChardev final : public Chardev {
 public:
  explicit NullChardev(std::string id) : Chardev(std::move(id)) {}
  std::string description() const override { return "null"; }

 protected:
  std::size_t do_write(std::span<const u8> data) override { return data.size(); }
};

}  // namespace emu::chardev

namespace emu {
using chardev::Chardev;
using chardev::ChardevEvent;
using chardev::ChardevFrontend;
}  // namespace emu
