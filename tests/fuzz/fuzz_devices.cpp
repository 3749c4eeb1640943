// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: registers, configuration space and rings of one device, named by FUZZ_DEVICE; without it the first
// byte of each input chooses. With FUZZ_STATES set, states are damaged before they are loaded. With --list it names all,
// with --check it shows that each is reached.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "fuzz/fuzz_machine.h"
#include "util/log.h"

namespace emu::fuzz {
namespace {

const std::vector<std::string>& names() {
  static const std::vector<std::string> all = fuzzed_devices();
  return all;
}

/// Sets bytes in RAM at reset, and has nothing that a guest could touch.
bool has_no_registers(std::string_view name) { return name == "loader"; }

/// Makes each device in each mode, and says how inputs get at it. Fails for those that cannot be made, and for those
/// that are not reached: no region answers, or one never does.
int check() {
  int failed = 0;
  for (const std::string& name : names()) {
    std::string wrong;
    Machine::Reach most;
    for (unsigned mode = 0; mode < 32 && wrong.empty(); mode++) {
      Machine machine(name, u8(mode));
      if (!machine.made()) {
        wrong = fmt::format("mode {}: {}", mode, machine.made().error().text());
        break;
      }
      const Machine::Reach now = machine.reach();
      if (!now.silent_regions.empty()) wrong = fmt::format("mode {}: never answers:{}", mode, now.silent_regions);
      if (now.regions >= most.regions) most = now;
    }
    if (wrong.empty() && most.regions + most.functions == 0 && !has_no_registers(name)) wrong = "is not reached";
    failed |= int(!wrong.empty());
    std::printf("%s: %u regions, %u functions, %u queues, %u wires%s%s\n", name.c_str(), most.regions, most.functions,
                most.queues, most.wires, wrong.empty() ? "" : ": FAILED: ", wrong.c_str());
  }
  return failed;
}

}  // namespace
}  // namespace emu::fuzz

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  using namespace emu::fuzz;
  if (*count == 2 && std::string_view((*arguments)[1]) == "--list") {
    for (const std::string& name : names()) std::puts(name.c_str());
    std::exit(0);
  }
  if (*count == 2 && std::string_view((*arguments)[1]) == "--check") std::exit(check());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const emu::u8* data, std::size_t size) {
  using namespace emu::fuzz;
  static const char* const asked = std::getenv("FUZZ_DEVICE");
  Input input({data, size});
  const emu::u8 mode = input.byte();
  const std::string& name = asked != nullptr ? std::string(asked) : names()[input.byte() % names().size()];
  Machine machine(name, mode);
  if (!machine.made()) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), machine.made().error().text().c_str());
    std::exit(1);
  }
  static const bool damages = std::getenv("FUZZ_STATES") != nullptr;
  if (damages) machine.damage_states();
  machine.fill_ram(input.rest());
  machine.run(input);
  return 0;
}
