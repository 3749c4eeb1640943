// SPDX-License-Identifier: Apache-2.0
// Option strings as QEMU's users write them: "q35,accel=tcg,usb=off", or JSON.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu {

/// The key=value pairs of one option, in the order given; of a repeated key the last wins. Whoever consumes an option
/// takes each key it knows and calls finish(), which refuses whatever was not asked for.
class Options {
 public:
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  /// Flattens a JSON object ("a.b" for members of members). util links no JSON library; the command line brings one.
  using JsonReader = std::function<Result<Pairs>(std::string_view text)>;
  struct Syntax {
    std::string_view implied_key = {};  ///< the key of a first piece without '=': "type" for -machine
    JsonReader json = {};               ///< for text that begins with '{'; without it such text is refused
  };

  Options() = default;
  explicit Options(Pairs pairs);
  /// "a=b,c,d=x,,y": c is on, d is "x,y". Errors: an empty key, JSON where it is not taken.
  static Result<Options> parse(std::string_view text) { return parse(text, Syntax{}); }
  static Result<Options> parse(std::string_view text, const Syntax& syntax);

  void set(std::string key, std::string value);
  /// Adds the pairs of `later` behind ours, as when an option is given twice and merges.
  void merge(const Options& later);
  bool has(std::string_view key) const;
  bool empty() const { return entries_.empty(); }
  /// The value that counts for `key`, without taking it.
  std::optional<std::string> peek(std::string_view key) const;
  /// Any value is "help" or "?", or such a key stands alone: the user asks what there is.
  bool asks_help() const;
  /// All pairs in order, taken or not.
  Pairs pairs() const;

  // Each marks `key` as known. A value of the wrong kind is an error that names the key.
  std::optional<std::string> take(std::string_view key);
  std::vector<std::string> take_all(std::string_view key);  ///< every occurrence, for keys that repeat
  Result<std::string> take_required(std::string_view key);
  Result<std::optional<bool>> take_bool(std::string_view key);  ///< also "nokey" standing alone, for off
  Result<std::optional<u64>> take_u64(std::string_view key);
  Result<std::optional<i64>> take_i64(std::string_view key);
  Result<std::optional<u64>> take_size(std::string_view key, u64 default_unit = 1);
  /// Index of the value in `names`; did-you-mean otherwise.
  Result<std::optional<std::size_t>> take_enum(std::string_view key, const std::vector<std::string_view>& names);
  Result<bool> take_bool_or(std::string_view key, bool otherwise);
  Result<u64> take_u64_or(std::string_view key, u64 otherwise);

  /// Pairs that nobody has taken, in order, and takes them: properties that the caller looks up itself.
  Pairs take_rest();
  /// An error for the first key that nobody has taken, with the nearest key that somebody asked for.
  Result<void> finish() const;

 private:
  struct Entry {
    std::string key;
    std::string value;
    bool bare = false;  ///< came without '=': only an "on" for whoever wants a bool
    bool taken = false;
  };
  Entry* find_and_take(std::string_view key);

  std::vector<Entry> entries_;
  std::vector<std::string> known_;
};

/// Doubles commas, so that `value` survives Options::parse.
std::string escape_option_value(std::string_view value);

}  // namespace emu
