// SPDX-License-Identifier: Apache-2.0
// EMU_CHECK: an invariant of ours. What a guest, an image, a user or saved state can cause is an Error instead.
#pragma once

namespace emu {

/// Prints the broken invariant and aborts. The terminal is restored by the abort hook of util/sys.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace emu

#define EMU_CHECK(condition) \
  (__builtin_expect(!!(condition), 1) ? void(0) : ::emu::check_failed(#condition, __FILE__, __LINE__))
