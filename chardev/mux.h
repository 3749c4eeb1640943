// SPDX-License-Identifier: Apache-2.0
// One byte stream for several front ends, with Ctrl-A to go from one to the next.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "chardev/byte_queue.h"
#include "chardev/chardev.h"
#include "util/event_loop.h"

namespace emu::chardev {

/// Output of all front ends is mixed; input goes to the one in focus, at first the first to attach. Input is read even
/// while that one takes none, so that Ctrl-A x works on a guest that hangs.
class MuxChardev final : public Chardev, private ChardevFrontend {
 public:
  static constexpr u8 kDefaultEscape = 0x01;  ///< Ctrl-A
  static constexpr std::size_t kInputLimit = 64 * 1024;

  MuxChardev(std::unique_ptr<Chardev> base, EventLoop& loop);
  ~MuxChardev() override;

  std::string description() const override { return "mux"; }
  const Chardev& base() const { return *base_; }
  MuxChardev* as_mux() override { return this; }
  bool is_open() const override { return base_->is_open(); }
  bool has_pending_output() const override { return base_->has_pending_output(); }

  Result<void> attach(ChardevFrontend& frontend) override;
  void detach(ChardevFrontend& frontend) override;
  bool is_attached() const override { return !ports_.empty(); }
  void accept_input() override;

  void focus_on(ChardevFrontend& frontend);
  bool has_focus(const ChardevFrontend& frontend) const;

  /// -echr: the escape character instead of Ctrl-A; 0 for none.
  void set_escape(u8 character) { escape_ = character; }
  /// Ctrl-A x and Ctrl-A s. Called on the loop's thread; must not destroy the mux before returning.
  void on_quit(std::function<void()> handler) { quit_ = std::move(handler); }
  void on_save(std::function<void()> handler) { save_ = std::move(handler); }
  /// "Ctrl-A", for hints to the user.
  std::string escape_name() const;

 protected:
  std::size_t do_write(std::span<const u8> data) override { return base_->write(data); }

 private:
  // As the only front end of base_.
  std::size_t can_receive() override;
  void receive(std::span<const u8> data) override;
  void event(ChardevEvent event) override;
  void writable() override;

  void take(u8 byte);
  void command(u8 byte);
  void print_help();
  void deliver();
  void move_focus(std::size_t index);
  std::optional<std::size_t> find(const ChardevFrontend& frontend) const;

  struct Port {
    ChardevFrontend* frontend;
    ByteQueue input;  ///< what it has not taken yet
  };
  EventLoop& loop_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
  std::unique_ptr<Chardev> base_;
  std::vector<Port> ports_;
  std::size_t focus_ = 0;
  std::atomic<bool> held_{false};  ///< a front end took no input; as FdChardev::input_held_
  u8 escape_ = kDefaultEscape;
  bool escaped_ = false;
  std::function<void()> quit_, save_;
};

}  // namespace emu::chardev
