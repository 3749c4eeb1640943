// SPDX-License-Identifier: Apache-2.0
#include "util/check.h"

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "util/sys/terminal.h"

namespace emu {

void check_failed(const char* condition, const char* file, int line) {
  sys::restore_terminal();
  std::fprintf(stderr, "system-emu: internal error: %s (%s:%d)\n", condition, file, line);
  // Nothing of ours throws, but the library does when there is no memory.
  if (const auto thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& exception) {
      std::fprintf(stderr, "system-emu: the exception was: %s\n", exception.what());
    } catch (...) {
    }
  }
  std::abort();
}

}  // namespace emu
