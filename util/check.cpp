// SPDX-License-Identifier: Apache-2.0
#include "util/check.h"

#include <cstdio>
#include <cstdlib>

#include "util/sys/terminal.h"

namespace emu {

void check_failed(const char* condition, const char* file, int line) {
  sys::restore_terminal();
  std::fprintf(stderr, "system-emu: internal error: %s (%s:%d)\n", condition, file, line);
  std::abort();
}

}  // namespace emu
