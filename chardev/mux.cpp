// SPDX-License-Identifier: Apache-2.0
#include "chardev/mux.h"

#include <algorithm>

namespace emu::chardev {

MuxChardev::MuxChardev(std::unique_ptr<Chardev> base, EventLoop& loop)
    : Chardev(base->id()), loop_(loop), base_(std::move(base)) {
  const auto attached = base_->attach(*this);
  EMU_CHECK(attached.has_value());  // nobody else has seen it yet
}

MuxChardev::~MuxChardev() { base_->detach(*this); }

std::optional<std::size_t> MuxChardev::find(const ChardevFrontend& frontend) const {
  const auto at = std::find_if(ports_.begin(), ports_.end(), [&](const Port& p) { return p.frontend == &frontend; });
  if (at == ports_.end()) return std::nullopt;
  return std::size_t(at - ports_.begin());
}

Result<void> MuxChardev::attach(ChardevFrontend& frontend) {
  if (find(frontend)) return error("chardev '{}' is already in use by the same front end", id());
  ports_.push_back({&frontend, {}});
  if (is_open()) frontend.event(ChardevEvent::Opened);
  if (ports_.size() == 1) {
    focus_ = 0;
    frontend.event(ChardevEvent::FocusIn);
  }
  base_->accept_input();
  return {};
}

void MuxChardev::detach(ChardevFrontend& frontend) {
  const auto index = find(frontend);
  if (!index) return;
  ports_.erase(ports_.begin() + std::ptrdiff_t(*index));
  const bool lost_focus = *index == focus_;
  if (*index < focus_ || focus_ >= ports_.size()) focus_ = focus_ > 0 ? focus_ - 1 : 0;
  if (lost_focus && !ports_.empty()) ports_[focus_].frontend->event(ChardevEvent::FocusIn);
  base_->accept_input();
}

void MuxChardev::accept_input() {
  if (!held_.exchange(false)) return;
  loop_.post([this, alive = std::weak_ptr<const int>(alive_)] {
    if (alive.lock()) deliver();
  });
}

void MuxChardev::focus_on(ChardevFrontend& frontend) {
  if (const auto index = find(frontend)) move_focus(*index);
}

bool MuxChardev::has_focus(const ChardevFrontend& frontend) const {
  return !ports_.empty() && ports_[focus_].frontend == &frontend;
}

void MuxChardev::move_focus(std::size_t index) {
  if (index == focus_) return;
  ChardevFrontend& before = *ports_[std::exchange(focus_, index)].frontend;
  before.event(ChardevEvent::FocusOut);
  ports_[focus_].frontend->event(ChardevEvent::FocusIn);
}

std::size_t MuxChardev::can_receive() {
  return ports_.empty() ? 0 : kInputLimit - std::min(kInputLimit, ports_[focus_].input.size());
}

void MuxChardev::receive(std::span<const u8> data) {
  for (const u8 byte : data) take(byte);
  deliver();
}

void MuxChardev::event(ChardevEvent event) {
  // A break on the real line is for whoever has the input; the rest concerns all.
  if (event == ChardevEvent::Break) {
    if (!ports_.empty()) ports_[focus_].frontend->event(event);
    return;
  }
  for (std::size_t i = 0; i < ports_.size(); i++) ports_[i].frontend->event(event);
}

void MuxChardev::writable() {
  for (std::size_t i = 0; i < ports_.size(); i++) ports_[i].frontend->writable();
}

void MuxChardev::take(u8 byte) {
  if (ports_.empty()) return;  // the last one left in the middle of this input
  if (escaped_) {
    escaped_ = false;
    command(byte);
  } else if (escape_ != 0 && byte == escape_) {
    escaped_ = true;
  } else {
    ports_[focus_].input.push(byte);
  }
}

void MuxChardev::command(u8 byte) {
  if (byte == escape_) {
    ports_[focus_].input.push(byte);
    return;
  }
  switch (byte) {
    case 'h':
    case '?':
      print_help();
      break;
    case 'x':
      base_->write("\r\nsystem-emu: terminated\r\n");
      if (quit_) quit_();
      break;
    case 's':
      if (save_)
        save_();
      else
        base_->write("\r\nsystem-emu: there is nothing to save\r\n");
      break;
    case 'b':
      deliver();  // in the order typed; the last one may leave meanwhile
      if (!ports_.empty()) ports_[focus_].frontend->event(ChardevEvent::Break);
      break;
    case 'c':
      deliver();
      if (!ports_.empty()) move_focus((focus_ + 1) % ports_.size());
      break;
    default:
      break;
  }
}

std::string MuxChardev::escape_name() const {
  return escape_ < 0x20 ? fmt::format("Ctrl-{}", char(escape_ + 0x40)) : fmt::format("'{}'", char(escape_));
}

void MuxChardev::print_help() {
  const std::string name = escape_ < 0x20 ? fmt::format("C-{}", char(escape_ + 0x60)) : std::string(1, char(escape_));
  std::string text = "\r\n";
  const auto line = [&](std::string_view key, std::string_view what) {
    text += fmt::format("{} {:<6} {}\r\n", name, key, what);
  };
  line("h", "print this help");
  line("x", "exit emulator");
  line("s", "save disk data back to file (if -snapshot)");
  line("b", "send break (magic sysrq)");
  line("c", "switch between console and monitor");
  line(name, "sends " + name);
  base_->write(text);
}

void MuxChardev::deliver() {
  for (std::size_t i = 0; i < ports_.size(); i++) {
    ChardevFrontend& frontend = *ports_[i].frontend;
    // The front end may attach or detach others meanwhile, so nothing is kept across its calls.
    while (i < ports_.size() && ports_[i].frontend == &frontend && !ports_[i].input.empty()) {
      std::size_t room = frontend.can_receive();
      if (room == 0) {
        held_ = true;
        room = frontend.can_receive();  // see FdChardev::on_readable
        if (room == 0) break;
      }
      const auto front = ports_[i].input.front();
      const std::vector<u8> chunk(front.begin(), front.begin() + std::ptrdiff_t(std::min(room, front.size())));
      ports_[i].input.pop(chunk.size());
      frontend.receive(chunk);
    }
  }
  base_->accept_input();
}

}  // namespace emu::chardev
