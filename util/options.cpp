// SPDX-License-Identifier: Apache-2.0
#include "util/options.h"

#include <algorithm>

#include "util/string.h"
#include "util/suggest.h"

namespace emu {
namespace {

/// Cuts the text up to the next single comma off `rest`; doubled commas become one.
std::string next_piece(std::string_view& rest, bool& more) {
  std::string piece;
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == ',') {
      if (!rest.starts_with(',')) {
        more = true;
        return piece;
      }
      rest.remove_prefix(1);
    }
    piece += c;
  }
  more = false;
  return piece;
}

}  // namespace

Options::Options(Pairs pairs) {
  entries_.reserve(pairs.size());
  for (auto& pair : pairs) set(std::move(pair.first), std::move(pair.second));
}

Result<Options> Options::parse(std::string_view text, const Syntax& syntax) {
  if (text.starts_with('{')) {
    if (!syntax.json) return error("JSON is not accepted here; write key=value pairs");
    return Options(EMU_TRY(syntax.json(text)));
  }
  Options options;
  bool first = true;
  for (bool more = !text.empty(); more; first = false) {
    const std::string piece = next_piece(text, more);
    const auto equals = piece.find('=');
    if (equals != std::string::npos && equals != 0) {
      options.entries_.push_back({piece.substr(0, equals), piece.substr(equals + 1)});
    } else if (first && !syntax.implied_key.empty()) {
      options.entries_.push_back({std::string(syntax.implied_key), piece});
    } else if (equals == 0) {
      return error("'{}' has no name before '='", piece);
    } else if (!piece.empty()) {
      options.entries_.push_back({piece, "on", /*bare=*/true});
    } else if (more || first) {
      return error("empty option between commas");
    }  // else: one comma at the end is harmless
  }
  return options;
}

void Options::set(std::string key, std::string value) { entries_.push_back({std::move(key), std::move(value)}); }

void Options::merge(const Options& later) {
  entries_.insert(entries_.end(), later.entries_.begin(), later.entries_.end());
}

bool Options::has(std::string_view key) const { return peek(key).has_value(); }

std::optional<std::string> Options::peek(std::string_view key) const {
  const auto at = std::find_if(entries_.rbegin(), entries_.rend(), [&](const Entry& e) { return e.key == key; });
  if (at == entries_.rend()) return std::nullopt;
  return at->value;
}

bool Options::asks_help() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const Entry& e) {
    return e.bare ? e.key == "help" || e.key == "?" : e.value == "help" || e.value == "?";
  });
}

Options::Pairs Options::pairs() const {
  Pairs all;
  for (const Entry& entry : entries_) all.emplace_back(entry.key, entry.value);
  return all;
}

Options::Entry* Options::find_and_take(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  Entry* last = nullptr;
  for (Entry& entry : entries_) {
    if (entry.key != key) continue;
    entry.taken = true;
    last = &entry;
  }
  return last;
}

std::optional<std::string> Options::take(std::string_view key) {
  const Entry* entry = find_and_take(key);
  if (!entry) return std::nullopt;
  return entry->value;
}

std::vector<std::string> Options::take_all(std::string_view key) {
  find_and_take(key);
  std::vector<std::string> values;
  for (const Entry& entry : entries_) {
    if (entry.key == key) values.push_back(entry.value);
  }
  return values;
}

Result<std::string> Options::take_required(std::string_view key) {
  auto value = take(key);
  if (!value) return error("'{}=' is missing", key);
  return std::move(*value);
}

Result<std::optional<bool>> Options::take_bool(std::string_view key) {
  const Entry* entry = find_and_take(key);
  const std::string negated = "no" + std::string(key);
  for (Entry& other : entries_) {
    if (!other.bare || other.key != negated) continue;
    other.taken = true;
    if (!entry || &other > entry) return std::optional(false);
  }
  if (!entry) return std::optional<bool>();
  return std::optional(EMU_TRY(parse_bool(entry->value), std::string(key)));
}

Result<std::optional<u64>> Options::take_u64(std::string_view key) {
  const auto text = take(key);
  if (!text) return std::optional<u64>();
  return std::optional(EMU_TRY(parse_u64(*text), std::string(key)));
}

Result<std::optional<i64>> Options::take_i64(std::string_view key) {
  const auto text = take(key);
  if (!text) return std::optional<i64>();
  return std::optional(EMU_TRY(parse_i64(*text), std::string(key)));
}

Result<std::optional<u64>> Options::take_size(std::string_view key, u64 default_unit) {
  const auto text = take(key);
  if (!text) return std::optional<u64>();
  return std::optional(EMU_TRY(parse_size(*text, default_unit), std::string(key)));
}

Result<std::optional<std::size_t>> Options::take_enum(std::string_view key,
                                                      const std::vector<std::string_view>& names) {
  const auto text = take(key);
  if (!text) return std::optional<std::size_t>();
  const auto at = std::find(names.begin(), names.end(), *text);
  if (at != names.end()) return std::optional(std::size_t(at - names.begin()));
  std::string hint = did_you_mean(*text, names);
  if (hint.empty()) hint = fmt::format("it can be {}", fmt::join(names, ", "));
  return error(Error(fmt::format("{}: no value '{}'", key, *text)).with_hint(std::move(hint)));
}

Result<bool> Options::take_bool_or(std::string_view key, bool otherwise) {
  return EMU_TRY(take_bool(key)).value_or(otherwise);
}
Result<u64> Options::take_u64_or(std::string_view key, u64 otherwise) {
  return EMU_TRY(take_u64(key)).value_or(otherwise);
}

Options::Pairs Options::take_rest() {
  Pairs rest;
  for (Entry& entry : entries_) {
    if (entry.taken) continue;
    entry.taken = true;
    rest.emplace_back(entry.key, entry.value);
  }
  return rest;
}

Result<void> Options::finish() const {
  for (const Entry& entry : entries_) {
    if (entry.taken) continue;
    std::string hint = did_you_mean(entry.key, known_);
    return error(Error(fmt::format("unknown option '{}'", entry.key)).with_hint(std::move(hint)));
  }
  return {};
}

std::string escape_option_value(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    escaped += c;
    if (c == ',') escaped += c;
  }
  return escaped;
}

}  // namespace emu
