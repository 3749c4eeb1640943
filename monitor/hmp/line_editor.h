// SPDX-License-Identifier: Apache-2.0
// A line being typed on a terminal: editing keys, history, completion. Knows bytes in and bytes out, nothing else.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "util/types.h"

namespace emu::monitor {

/// Emacs-like keys: Ctrl-A/E/B/F/D/H/K/U/W/L/P/N/C, arrows, Home, End, Delete, Tab. What is typed at the end of the
/// line is echoed as it is, so that scripts see their own text.
class LineEditor {
 public:
  struct Hooks {
    std::function<void(std::string_view)> output;  ///< bytes for the terminal
    /// All words that may stand for the text up to the cursor, as whole lines.
    std::function<std::vector<std::string>(std::string_view)> complete;
  };
  static constexpr std::size_t kLongestLine = 4095;
  static constexpr std::size_t kHistory = 64;

  LineEditor(std::string prompt, Hooks hooks) : prompt_(std::move(prompt)), hooks_(std::move(hooks)) {}

  /// Prints the prompt, and what has been typed.
  void show_prompt();
  /// Takes one byte; a finished line comes back.
  std::optional<std::string> take(u8 byte);
  const std::vector<std::string>& history() const { return history_; }

 private:
  enum class Escape : u8 { None, Started, Bracket };
  void insert(char c);
  void control(u8 byte);
  void escape(u8 byte);
  void move_to(std::size_t position);
  void erase(std::size_t from, std::size_t to);
  void replace_line(std::string line);
  void recall(int direction);
  void complete();
  void redraw();
  std::string finish();

  const std::string prompt_;
  Hooks hooks_;
  std::string line_;
  std::size_t cursor_ = 0;
  std::vector<std::string> history_;
  std::size_t recalled_ = 0;  ///< index in history_; its size when the new line is shown
  std::string unfinished_;    ///< the new line while an old one is shown
  Escape escape_ = Escape::None;
  unsigned escape_number_ = 0;
};

}  // namespace emu::monitor
