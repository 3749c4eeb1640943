// SPDX-License-Identifier: Apache-2.0
#include "util/suggest.h"

#include <algorithm>

#include "util/types.h"

namespace emu {
namespace {

char folded(char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : (c == '_' ? '-' : c); }

template <typename Text>
std::optional<std::string> nearest_of(std::string_view typed, std::span<const Text> candidates) {
  constexpr std::size_t kLongest = 256;  // a typing error in something longer is not worth quadratic work
  if (typed.empty() || typed.size() > kLongest) return std::nullopt;
  std::optional<std::string> best;
  // A third of the letters wrong is still a typing error; more is another word.
  unsigned best_distance = unsigned(std::max<std::size_t>(1, (typed.size() + 1) / 3)) + 1;
  for (const Text& candidate : candidates) {
    if (candidate.size() > kLongest) continue;
    const unsigned distance = edit_distance(typed, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = std::string(candidate);
    }
  }
  if (best || typed.size() < 3) return best;
  // "pc-q35" for "pc-q35-7.2": the shortest candidate that continues what was typed.
  for (const Text& candidate : candidates) {
    const std::string_view text = candidate;
    if (text.starts_with(typed) && (!best || text.size() < best->size())) best = std::string(text);
  }
  return best;
}

template <typename Text>
std::string hint_of(std::string_view typed, std::span<const Text> candidates) {
  const auto found = nearest_of(typed, candidates);
  return found ? "did you mean '" + *found + "'?" : std::string();
}

}  // namespace

unsigned edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment over three rows.
  std::vector<unsigned> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); j++) above[j] = unsigned(j);
  for (std::size_t i = 1; i <= a.size(); i++) {
    row[0] = unsigned(i);
    for (std::size_t j = 1; j <= b.size(); j++) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (same ? 0u : 1u)});
      if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

std::optional<std::string> nearest(std::string_view typed, std::span<const std::string> candidates) {
  return nearest_of(typed, candidates);
}
std::optional<std::string> nearest(std::string_view typed, std::span<const std::string_view> candidates) {
  return nearest_of(typed, candidates);
}
std::string did_you_mean(std::string_view typed, std::span<const std::string> candidates) {
  return hint_of(typed, candidates);
}
std::string did_you_mean(std::string_view typed, std::span<const std::string_view> candidates) {
  return hint_of(typed, candidates);
}

}  // namespace emu
