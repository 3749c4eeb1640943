// SPDX-License-Identifier: Apache-2.0
#include "monitor/expression.h"

#include <cctype>
#include <limits>

#include "util/string.h"

namespace emu::monitor {
namespace {

class Parser {
 public:
  Parser(std::string_view text, const ExpressionNames& names) : rest_(text), names_(names) {}

  Result<u64> parse() {
    const u64 value = EMU_TRY(sum());
    return value;
  }
  std::string_view rest() const { return rest_; }

 private:
  static constexpr unsigned kDeepest = 100;

  void skip_spaces() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0])) != 0) rest_.remove_prefix(1);
  }
  char peek() {
    skip_spaces();
    return rest_.empty() ? '\0' : rest_[0];
  }

  // As in QEMU's monitor, & | ^ bind as * does not: sums of products of unary terms, with the bit operators between.
  Result<u64> sum() {
    u64 value = EMU_TRY(bits());
    while (peek() == '+' || peek() == '-') {
      const char op = peek();
      rest_.remove_prefix(1);
      const u64 right = EMU_TRY(bits());
      value = op == '+' ? value + right : value - right;
    }
    return value;
  }
  Result<u64> bits() {
    u64 value = EMU_TRY(product());
    while (peek() == '&' || peek() == '|' || peek() == '^') {
      const char op = peek();
      rest_.remove_prefix(1);
      const u64 right = EMU_TRY(product());
      value = op == '&' ? value & right : op == '|' ? value | right : value ^ right;
    }
    return value;
  }
  Result<u64> product() {
    u64 value = EMU_TRY(unary());
    while (peek() == '*' || peek() == '/' || peek() == '%') {
      const char op = peek();
      rest_.remove_prefix(1);
      const u64 right = EMU_TRY(unary());
      if (op != '*' && right == 0) return error("division by zero");
      value = op == '*' ? value * right : op == '/' ? value / right : value % right;
    }
    return value;
  }
  Result<u64> unary() {
    if (++depth_ > kDeepest) return error("expression too deep");
    const Result<u64> value = unary_inside();
    --depth_;
    return value;
  }
  Result<u64> unary_inside() {
    const char c = peek();
    if (c == '\0') return error("unexpected end of expression");
    if (c == '+' || c == '-' || c == '~') {
      rest_.remove_prefix(1);
      const u64 value = EMU_TRY(unary());
      return c == '-' ? u64(0) - value : c == '~' ? ~value : value;
    }
    if (c == '(') {
      rest_.remove_prefix(1);
      const u64 value = EMU_TRY(sum());
      if (peek() != ')') return error("')' expected");
      rest_.remove_prefix(1);
      return value;
    }
    if (c == '\'') {
      if (rest_.size() < 3 || rest_[2] != '\'') return error("character constant expected");
      const u64 value = static_cast<unsigned char>(rest_[1]);
      rest_.remove_prefix(3);
      return value;
    }
    const bool is_register = c == '$';
    if (is_register) rest_.remove_prefix(1);
    std::size_t length = 0;
    while (length < rest_.size() &&
           (std::isalnum(static_cast<unsigned char>(rest_[length])) != 0 || rest_[length] == '_' ||
            (length > 0 && rest_[length] == '.')))
      length++;
    const std::string_view word = rest_.substr(0, length);
    if (word.empty()) return error("invalid char '{}' in expression", is_register ? '$' : c);
    rest_.remove_prefix(length);
    if (!is_register) {
      const auto number = parse_u64(word);
      if (number) return *number;
      const bool is_name = std::isdigit(static_cast<unsigned char>(word[0])) == 0;
      if (const auto address = is_name && names_.symbols ? names_.symbols(word) : std::nullopt) return *address;
      return error("{} '{}' in expression", is_name ? "unknown symbol" : "invalid number", word);
    }
    const auto value = names_.registers(word);
    if (!value) return error("unknown register '{}'", word);
    return *value;
  }

  std::string_view rest_;
  const ExpressionNames& names_;
  unsigned depth_ = 0;
};

}  // namespace

Result<u64> take_expression(std::string_view& text, const ExpressionNames& names) {
  Parser parser(text, names);
  const u64 value = EMU_TRY(parser.parse());
  text = parser.rest();
  return value;
}

}  // namespace emu::monitor
