// SPDX-License-Identifier: Apache-2.0
#include "monitor/hmp/line_editor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace emu::monitor {
namespace {

constexpr u8 ctrl(char c) { return u8(c - '@'); }
std::string left(std::size_t n) { return n == 0 ? "" : fmt::format("\x1b[{}D", n); }

}  // namespace

void LineEditor::show_prompt() { hooks_.output(prompt_ + line_ + left(line_.size() - cursor_)); }

std::optional<std::string> LineEditor::take(u8 byte) {
  if (escape_ != Escape::None) {
    escape(byte);
  } else if (byte == '\r' || byte == '\n') {
    return finish();
  } else if (byte < 0x20 || byte == 0x7f) {
    control(byte);
  } else {
    insert(char(byte));
  }
  return std::nullopt;
}

std::string LineEditor::finish() {
  std::string line = std::move(line_);
  line_.clear();
  cursor_ = 0;
  hooks_.output("\r\n");
  if (!line.empty() && (history_.empty() || history_.back() != line)) {
    if (history_.size() == kHistory) history_.erase(history_.begin());
    history_.push_back(line);
  }
  recalled_ = history_.size();
  return line;
}

void LineEditor::insert(char c) {
  if (line_.size() >= kLongestLine) return;
  line_.insert(cursor_, 1, c);
  hooks_.output(line_.substr(cursor_));
  cursor_++;
  hooks_.output(left(line_.size() - cursor_));
}

void LineEditor::move_to(std::size_t position) {
  if (position < cursor_) {
    hooks_.output(left(cursor_ - position));
  } else {
    hooks_.output(line_.substr(cursor_, position - cursor_));
  }
  cursor_ = position;
}

void LineEditor::erase(std::size_t from, std::size_t to) {
  move_to(from);
  line_.erase(from, to - from);
  hooks_.output(line_.substr(from) + "\x1b[K" + left(line_.size() - from));
}

void LineEditor::replace_line(std::string line) {
  move_to(0);
  line_ = std::move(line);
  hooks_.output(line_ + "\x1b[K");
  cursor_ = line_.size();
}

void LineEditor::control(u8 byte) {
  switch (byte) {
    case ctrl('A'):
      move_to(0);
      break;
    case ctrl('B'):
      if (cursor_ > 0) move_to(cursor_ - 1);
      break;
    case ctrl('C'):
      hooks_.output("\r\n");
      line_.clear();
      cursor_ = 0;
      show_prompt();
      break;
    case ctrl('D'):
      if (cursor_ < line_.size()) erase(cursor_, cursor_ + 1);
      break;
    case ctrl('E'):
      move_to(line_.size());
      break;
    case ctrl('F'):
      if (cursor_ < line_.size()) move_to(cursor_ + 1);
      break;
    case ctrl('H'):
    case 0x7f:
      if (cursor_ > 0) erase(cursor_ - 1, cursor_);
      break;
    case ctrl('I'):
      complete();
      break;
    case ctrl('K'):
      erase(cursor_, line_.size());
      break;
    case ctrl('L'):
      redraw();
      break;
    case ctrl('N'):
      recall(+1);
      break;
    case ctrl('P'):
      recall(-1);
      break;
    case ctrl('U'):
      erase(0, cursor_);
      break;
    case ctrl('W'): {
      std::size_t from = cursor_;
      while (from > 0 && line_[from - 1] == ' ') from--;
      while (from > 0 && line_[from - 1] != ' ') from--;
      erase(from, cursor_);
      break;
    }
    case 0x1b:
      escape_ = Escape::Started;
      break;
    default:
      break;
  }
}

void LineEditor::escape(u8 byte) {
  if (escape_ == Escape::Started) {
    escape_ = byte == '[' || byte == 'O' ? Escape::Bracket : Escape::None;
    escape_number_ = 0;
    return;
  }
  if (byte >= '0' && byte <= '9') {
    escape_number_ = std::min(escape_number_ * 10 + (byte - '0'), 99u);
    return;
  }
  if (byte == ';') return;  // a modifier follows; the key counts without it
  escape_ = Escape::None;
  switch (byte) {
    case 'A':
      recall(-1);
      break;
    case 'B':
      recall(+1);
      break;
    case 'C':
      control(ctrl('F'));
      break;
    case 'D':
      control(ctrl('B'));
      break;
    case 'F':
      move_to(line_.size());
      break;
    case 'H':
      move_to(0);
      break;
    case '~':
      if (escape_number_ == 1 || escape_number_ == 7) move_to(0);
      if (escape_number_ == 4 || escape_number_ == 8) move_to(line_.size());
      if (escape_number_ == 3) control(ctrl('D'));
      break;
    default:
      break;
  }
}

void LineEditor::recall(int direction) {
  if (direction < 0 ? recalled_ == 0 : recalled_ >= history_.size()) return;
  if (recalled_ == history_.size()) unfinished_ = line_;
  recalled_ = direction < 0 ? recalled_ - 1 : recalled_ + 1;
  replace_line(recalled_ == history_.size() ? unfinished_ : history_[recalled_]);
}

void LineEditor::redraw() {
  hooks_.output("\x1b[2J\x1b[1;1H");
  show_prompt();
}

void LineEditor::complete() {
  const std::string before = line_.substr(0, cursor_);
  const std::vector<std::string> found = hooks_.complete ? hooks_.complete(before) : std::vector<std::string>();
  if (found.empty()) return;
  std::string common = found.front();
  for (const std::string& one : found) {
    const auto differ = std::mismatch(common.begin(), common.end(), one.begin(), one.end());
    common.erase(differ.first, common.end());
  }
  if (found.size() == 1) common += ' ';
  if (common.size() > before.size() && common.starts_with(before)) {
    for (const char c : common.substr(before.size())) insert(c);
    return;
  }
  if (found.size() == 1) return;
  constexpr std::size_t kColumn = 20;
  std::string list = "\r\n";
  std::size_t column = 0;
  for (const std::string& one : found) {
    // Of "info mtree" after "info m" only the last word is news.
    const std::string word = one.substr(one.rfind(' ') + 1);
    const std::size_t width = (word.size() / kColumn + 1) * kColumn;  // names of kernels are long
    list += fmt::format("{:<{}}", word, width);
    if ((column += width) >= 4 * kColumn) {
      list += "\r\n";
      column = 0;
    }
  }
  if (column != 0) list += "\r\n";
  hooks_.output(list);
  show_prompt();
}

}  // namespace emu::monitor
