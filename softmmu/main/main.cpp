// SPDX-License-Identifier: Apache-2.0
// The program: everything is in the libraries; see softmmu/startup.h.
#include <string>
#include <vector>

#include "softmmu/startup.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  return emu::softmmu::run_program(arguments, emu::softmmu::make_x86_64_parts());
}
