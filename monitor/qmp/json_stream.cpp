// SPDX-License-Identifier: Apache-2.0
#include "monitor/qmp/json_stream.h"

namespace emu::monitor {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_control(char c) { return u8(c) < 0x20 || u8(c) == 0xff; }

/// Only says what is wrong with a text.
class Complaint final : public nlohmann::json_sax<Json> {
 public:
  std::string why;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string& last, const nlohmann::detail::exception&) override {
    constexpr std::size_t kShown = 40;
    why =
        fmt::format("at byte {}, near '{}'", position, last.size() > kShown ? last.substr(last.size() - kShown) : last);
    return false;
  }
};

void append_text(std::string& out, const Json& value) {
  if (value.is_object()) {
    out += '{';
    bool first = true;
    for (const auto& [key, member] : value.items()) {
      if (!first) out += ", ";
      first = false;
      out += Json(key).dump(-1, ' ', false, Json::error_handler_t::replace);
      out += ": ";
      append_text(out, member);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (std::size_t i = 0; i < value.size(); i++) {
      if (i != 0) out += ", ";
      append_text(out, value[i]);
    }
    out += ']';
  } else {
    out += value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
}

}  // namespace

void JsonStream::reset() {
  state_ = State::Between;
  depth_ = 0;
  text_.clear();
}

Result<Json> JsonStream::fail(const char* why) {
  reset();
  return error("JSON parse error, {}", why);
}

Result<Json> JsonStream::finish() {
  const std::string text = std::move(text_);
  reset();
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_discarded()) return value;
  Complaint complaint;
  Json::sax_parse(text, &complaint);
  return error("JSON parse error, {}", complaint.why);
}

void JsonStream::begin_string(char quote) {
  quote_ = quote;
  text_ += '"';
  state_ = State::String;
}

std::optional<Result<Json>> JsonStream::take(char c) {
  if (state_ >= State::Skip) {
    skip(c);
    return std::nullopt;
  }
  if (text_.size() > kLongest) {
    state_ = state_ == State::String ? State::SkipString : state_ == State::Escape ? State::SkipEscape : State::Skip;
    if (depth_ == 0) reset();
    text_ = std::string();
    if (state_ != State::Between) skip(c);
    return error("JSON parse error, more than {} bytes in one value", kLongest);
  }
  switch (state_) {
    case State::Between:
      return between(c);
    case State::Inside:
      return inside(c);
    case State::String:
      return in_string(c);
    case State::Escape:
      return escaped(c);
    default:
      return scalar(c);
  }
}

std::optional<Result<Json>> JsonStream::between(char c) {
  if (is_space(c)) return std::nullopt;
  if (is_control(c)) return fail("stray control character");
  if (c == '{' || c == '[') {
    text_ = c;
    depth_ = 1;
    state_ = State::Inside;
  } else if (c == '"' || c == '\'') {
    begin_string(c);
  } else if (c == '}' || c == ']' || c == ',' || c == ':') {
    return fail("expecting value");
  } else {
    text_ = c;
    state_ = State::Scalar;
  }
  return std::nullopt;
}

std::optional<Result<Json>> JsonStream::scalar(char c) {
  const bool goes_on = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                       c == '+' || c == '-' || c == '_';
  if (goes_on) {
    text_ += c;
    return std::nullopt;
  }
  const std::string word = text_;
  auto value = finish();
  if (!value && word[0] >= 'a' && word[0] <= 'z') value = error("JSON parse error, invalid keyword '{}'", word);
  // What comes next begins a value of its own; of two mistakes at one byte the first is told.
  (void)between(c);
  return value;
}

std::optional<Result<Json>> JsonStream::inside(char c) {
  if (is_control(c) && !is_space(c)) return fail("stray control character");
  if (c == '"' || c == '\'') {
    begin_string(c);
    return std::nullopt;
  }
  text_ += c;
  if (c == '{' || c == '[') {
    if (++depth_ > kDeepest) {
      state_ = State::Skip;
      text_ = std::string();
      return error("JSON parse error, nested deeper than {}", kDeepest);
    }
  } else if ((c == '}' || c == ']') && --depth_ == 0) {
    return finish();
  }
  return std::nullopt;
}

std::optional<Result<Json>> JsonStream::in_string(char c) {
  if (is_control(c)) return fail("control character in a string");
  if (c == quote_) {
    text_ += '"';
    state_ = State::Inside;
    if (depth_ == 0) return finish();
  } else if (c == '\\') {
    state_ = State::Escape;
  } else if (c == '"') {
    text_ += "\\\"";
  } else {
    text_ += c;
  }
  return std::nullopt;
}

std::optional<Result<Json>> JsonStream::escaped(char c) {
  if (is_control(c)) return fail("control character in a string");
  if (c != '\'') text_ += '\\';
  text_ += c;
  state_ = State::String;
  return std::nullopt;
}

/// Follows a value that was given up, to its end.
void JsonStream::skip(char c) {
  if (is_control(c) && (!is_space(c) || state_ != State::Skip)) {
    reset();
    return;
  }
  switch (state_) {
    case State::SkipString:
      if (c == '\\') state_ = State::SkipEscape;
      if (c == quote_) state_ = State::Skip;
      break;
    case State::SkipEscape:
      state_ = State::SkipString;
      break;
    default:
      if (c == '"' || c == '\'') {
        quote_ = c;
        state_ = State::SkipString;
      } else if (c == '{' || c == '[') {
        depth_++;
      } else if ((c == '}' || c == ']') && --depth_ == 0) {
        reset();
      }
  }
}

std::string json_text(const Json& value, JsonLayout layout) {
  if (layout == JsonLayout::Pretty) return value.dump(4, ' ', false, Json::error_handler_t::replace);
  std::string out;
  append_text(out, value);
  return out;
}

}  // namespace emu::monitor
