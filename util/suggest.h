// SPDX-License-Identifier: Apache-2.0
// The nearest valid spelling of what a user typed.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace emu {

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`; upper and lower case count as equal.
unsigned edit_distance(std::string_view a, std::string_view b);

/// The candidate that `typed` most likely meant, or nothing when none is close. Of equally close ones the first.
std::optional<std::string> nearest(std::string_view typed, std::span<const std::string> candidates);
std::optional<std::string> nearest(std::string_view typed, std::span<const std::string_view> candidates);

/// "did you mean 'q35'?", or empty when no candidate is close: fits Error::with_hint.
std::string did_you_mean(std::string_view typed, std::span<const std::string> candidates);
std::string did_you_mean(std::string_view typed, std::span<const std::string_view> candidates);

}  // namespace emu
