// SPDX-License-Identifier: Apache-2.0
#include "monitor/hmp/parse.h"

#include <algorithm>
#include <cctype>

#include "util/string.h"
#include "util/suggest.h"

namespace emu::monitor {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t'; }

void skip_spaces(std::string_view& text) {
  while (!text.empty() && is_space(text[0])) text.remove_prefix(1);
}

std::string_view take_word(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && !is_space(text[length])) length++;
  const std::string_view word = text.substr(0, length);
  text.remove_prefix(length);
  return word;
}

/// A word, or text in double quotes with \" and \\ inside.
Result<std::string> take_string(std::string_view& text) {
  if (!text.starts_with('"')) return std::string(take_word(text));
  text.remove_prefix(1);
  std::string out;
  while (!text.empty() && text[0] != '"') {
    if (text[0] == '\\' && text.size() > 1) text.remove_prefix(1);
    out += text[0];
    text.remove_prefix(1);
  }
  if (text.empty()) return error("'\"' is missing at the end");
  text.remove_prefix(1);
  return out;
}

Result<DisplayFormat> parse_format(std::string_view text, Session& session) {
  DisplayFormat format{1, session.format, session.unit};
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) digits++;
  if (digits > 0) {
    // "/010xb" is ten, not octal.
    const std::size_t first = std::min(text.find_first_not_of('0'), digits - 1);
    format.count = EMU_TRY(parse_u64(text.substr(first, digits - first)));
  }
  for (const char c : text.substr(digits)) {
    switch (c) {
      case 'x':
      case 'd':
      case 'u':
      case 'o':
      case 'c':
      case 'i':
      case 's':
        format.format = c;
        break;
      case 'b':
      case 'h':
      case 'w':
      case 'g':
        format.unit = c;
        break;
      default:
        return error("invalid char in format: '{}'", c);
    }
  }
  session.format = format.format;
  session.unit = format.unit;
  return format;
}

tl::unexpected<Error> unknown(std::string_view name, const CommandRegistry& registry) {
  std::vector<std::string> names;
  for (const Command& command : registry.commands()) names.push_back(command.name);
  return error(Error(fmt::format("unknown command: '{}'", name)).with_hint(did_you_mean(name, names)));
}

/// The command at the start of `text`, taken off: one word, or "info" and another.
Result<const Command*> take_command(std::string_view& text, std::string_view& format, const CommandRegistry& registry) {
  std::string_view word = take_word(text);
  if (const std::size_t slash = word.find('/'); slash != std::string_view::npos && slash > 0) {
    format = word.substr(slash);
    word = word.substr(0, slash);
  }
  const Command* command = registry.find(word);
  if (command == nullptr) return unknown(word, registry);
  if (command->name != "info") return command;
  skip_spaces(text);
  if (text.empty()) return command;
  const std::string full = "info " + std::string(take_word(text));
  command = registry.find(full);
  if (command == nullptr) return unknown(full, registry);
  return command;
}

class ArgumentReader {
 public:
  ArgumentReader(std::string_view rest, std::string_view format, Session& session, const ExpressionNames& names)
      : rest_(rest), format_(format), session_(session), names_(names) {}

  Result<void> read(const ArgSpec& spec, Arguments& out) {
    skip_spaces(rest_);
    switch (spec.kind) {
      case ArgKind::Flag:
        return read_flag(spec, out);
      case ArgKind::Format:
        return read_format(out);
      default:
        break;
    }
    if (rest_.empty()) {
      if (spec.need == Need::Optional) return {};
      return error("{}", spec.kind == ArgKind::Expression ? "unexpected end of expression"
                                                          : "argument '" + spec.name + "' is missing");
    }
    switch (spec.kind) {
      case ArgKind::Rest:
        out.set(spec.name, std::string(trim(rest_)));
        rest_ = {};
        break;
      case ArgKind::Expression:
        out.set(spec.name, EMU_TRY(take_expression(rest_, names_)));
        break;
      default:
        out.set(spec.name, EMU_TRY(take_string(rest_)));
        break;
    }
    return {};
  }

  Result<void> finish() {
    skip_spaces(rest_);
    if (!format_.empty()) return error("this command takes no format");
    if (!rest_.empty()) return error("extraneous characters at the end of line: '{}'", rest_);
    return {};
  }

 private:
  Result<void> read_flag(const ArgSpec& spec, Arguments& out) {
    const std::string flag = "-" + spec.name;
    if (!rest_.starts_with(flag) || (rest_.size() > flag.size() && !is_space(rest_[flag.size()]))) return {};
    rest_.remove_prefix(flag.size());
    out.set(spec.name, u64(1));
    return {};
  }
  Result<void> read_format(Arguments& out) {
    // "x/4i" and "x /4i" are the same.
    if (format_.empty() && rest_.starts_with('/')) format_ = take_word(rest_);
    out.set_format(format_.empty() ? DisplayFormat{1, session_.format, session_.unit}
                                   : EMU_TRY(parse_format(format_.substr(1), session_)));
    format_ = {};
    return {};
  }

  std::string_view rest_, format_;
  Session& session_;
  const ExpressionNames& names_;
};

}  // namespace

Result<ParsedLine> parse_line(std::string_view line, const CommandRegistry& registry, Session& session,
                              const ExpressionNames& names) {
  ParsedLine parsed;
  skip_spaces(line);
  if (line.empty() || line[0] == '#') return parsed;
  std::string_view format;
  parsed.command = EMU_TRY(take_command(line, format, registry));
  // print shares no format with memory dumps: each starts at x.
  const bool is_print = parsed.command->name == "print";
  const char format_before = session.format, unit_before = session.unit;
  if (is_print) session.format = 'x';
  ArgumentReader reader(line, format, session, names);
  const auto read_all = [&]() -> Result<void> {
    for (const ArgSpec& spec : parsed.command->arguments) EMU_TRY(reader.read(spec, parsed.arguments));
    return reader.finish();
  };
  auto done = read_all();
  if (!done || is_print) {
    session.format = format_before;
    session.unit = unit_before;
  }
  if (!done) {
    return error(
        std::move(done).error().with_hint(fmt::format("Try \"help {}\" for more information", parsed.command->name)));
  }
  return parsed;
}

}  // namespace emu::monitor
