// SPDX-License-Identifier: Apache-2.0
#include "monitor/hmp/session.h"

#include <algorithm>
#include <cctype>

#include "chardev/mux.h"
#include "monitor/version.h"
#include "util/trace.h"

namespace emu::monitor {
namespace {

/// Whether `text` is past the name of a command that takes addresses.
bool takes_expression(const CommandRegistry& registry, std::string_view text) {
  const std::size_t skip = text.starts_with("info ") ? 5 : 0;
  const std::size_t end = text.find_first_of(" /", skip);
  if (end == std::string_view::npos) return false;
  const Command* command = registry.find(text.substr(0, end));
  return command != nullptr && std::any_of(command->arguments.begin(), command->arguments.end(),
                                           [](const ArgSpec& one) { return one.kind == ArgKind::Expression; });
}

}  // namespace

HmpSession::HmpSession(Chardev& stream, Monitors& monitors)
    : stream_(stream),
      monitors_(monitors),
      editor_("(qemu) ", {[this](std::string_view bytes) { print_raw(bytes); },
                          [this](std::string_view text) { return complete(text); }}) {}

Result<std::unique_ptr<HmpSession>> HmpSession::create(Chardev& stream, Monitors& monitors) {
  std::unique_ptr<HmpSession> session(new HmpSession(stream, monitors));
  EMU_TRY(stream.attach(*session));
  // A stream of our own tells nothing of focus; if somebody is there already, it may not tell of that either.
  if (stream.as_mux() == nullptr && stream.is_open() && !session->greeted_) session->greet();
  return session;
}

HmpSession::~HmpSession() { stream_.detach(*this); }

void HmpSession::greet() {
  greeted_ = true;
  print(fmt::format("QEMU {} monitor ({}) - type 'help' for more information\n", kCompatibleVersion,
                    kVersionLine.substr(0, kVersionLine.find(" ("))));
  editor_.show_prompt();
}

void HmpSession::event(ChardevEvent event) {
  chardev::MuxChardev* mux = stream_.as_mux();
  switch (event) {
    case ChardevEvent::Opened:
      if (mux == nullptr || focused_) greet();  // on attach the focus comes after this
      break;
    case ChardevEvent::FocusIn:
      focused_ = true;
      if (greeted_) {
        print("\n");
        editor_.show_prompt();
      } else {
        greet();
      }
      break;
    case ChardevEvent::FocusOut:
      focused_ = false;
      print("\n");
      break;
    case ChardevEvent::Closed:
      output_.clear();
      break;
    default:
      break;
  }
}

void HmpSession::receive(std::span<const u8> data) {
  for (const u8 byte : data) {
    const auto line = editor_.take(byte);
    if (!line) continue;
    waiting_++;
    monitors_.run_alone([this, line = *line, alive = std::weak_ptr<const int>(alive_)] {
      if (!alive.lock()) return;
      print(execute(line));
      editor_.show_prompt();
      if (waiting_-- >= kMostWaiting) stream_.accept_input();
    });
  }
}

std::vector<std::string> HmpSession::complete(std::string_view text) const {
  // Arguments that are names of ours: of a command, of a trace event.
  for (const auto& [command, names] : {std::pair(std::string_view("help "), monitors_.registry().complete("")),
                                       std::pair(std::string_view("trace-event "), trace::names())}) {
    if (!text.starts_with(command)) continue;
    std::vector<std::string> lines;
    for (const std::string& name : names) {
      if (name.starts_with(text.substr(command.size()))) lines.push_back(std::string(command) + name);
    }
    return lines;
  }
  if (takes_expression(monitors_.registry(), text)) return complete_symbol(text);
  // "info" itself is a command, but its subcommands are what is meant once a space follows.
  std::vector<std::string> found;
  for (std::string& name : monitors_.registry().complete(text)) {
    if (text.starts_with("info ") || !name.starts_with("info ")) found.push_back(std::move(name));
  }
  return found;
}

/// The name that the text ends with.
std::vector<std::string> HmpSession::complete_symbol(std::string_view text) const {
  constexpr std::size_t kMost = 200;  // more nobody reads
  std::size_t begin = text.size();
  const auto is_of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
  };
  while (begin > 0 && is_of_name(text[begin - 1])) begin--;
  const std::string_view name = text.substr(begin);
  const bool is_register = begin > 0 && text[begin - 1] == '$';
  if (name.empty() || is_register || std::isdigit(static_cast<unsigned char>(name[0])) != 0) return {};
  std::vector<std::string> lines;
  for (const std::string& one : monitors_.symbols().names_with(name, kMost)) {
    lines.push_back(std::string(text.substr(0, begin)) + one);
  }
  return lines;
}

/// "\n" becomes "\r\n": the other end is a raw terminal.
void HmpSession::print(std::string_view text) {
  std::string bytes;
  for (const char c : text) {
    if (c == '\n') bytes += '\r';
    bytes += c;
  }
  print_raw(bytes);
}

void HmpSession::print_raw(std::string_view bytes) {
  if (output_.size() + bytes.size() > kOutputLimit) return;
  output_.push(std::span(reinterpret_cast<const u8*>(bytes.data()), bytes.size()));
  flush();
}

void HmpSession::flush() {
  while (!output_.empty()) {
    const std::size_t taken = stream_.write(output_.front());
    if (taken == 0) return;
    output_.pop(taken);
  }
}

}  // namespace emu::monitor
