// SPDX-License-Identifier: Apache-2.0
// JSON values out of a stream of bytes that may be broken, huge or deep; and JSON as text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "monitor/schema/schema.h"

namespace emu::monitor {

/// Cuts a stream into values. A broken piece is an error of its own and the next one counts again; the byte 0xff and
/// other control characters start anew in any state, so that a client can always resynchronise. Strings may stand in
/// single quotes, which people type inside a shell's double ones.
class JsonStream {
 public:
  static constexpr std::size_t kLongest = 16 << 20;
  static constexpr unsigned kDeepest = 1024;

  /// Takes one byte. A value that ends here comes back, or what was wrong with it.
  std::optional<Result<Json>> take(char byte);
  void reset();

 private:
  enum class State : u8 { Between, Scalar, Inside, String, Escape, Skip, SkipString, SkipEscape };
  Result<Json> finish();
  Result<Json> fail(const char* why);
  std::optional<Result<Json>> between(char c);
  std::optional<Result<Json>> inside(char c);
  std::optional<Result<Json>> in_string(char c);
  std::optional<Result<Json>> escaped(char c);
  std::optional<Result<Json>> scalar(char c);
  void skip(char c);
  void begin_string(char quote);

  State state_ = State::Between;
  unsigned depth_ = 0;
  char quote_ = 0;
  std::string text_;
};

enum class JsonLayout : u8 { Line, Pretty };
/// As QEMU writes it: a space behind ':' and ','; never a line end inside a Line. Bytes that are not UTF-8 become
/// U+FFFD.
std::string json_text(const Json& value, JsonLayout layout = JsonLayout::Line);

}  // namespace emu::monitor
