// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: option strings. The first byte of an input chooses the option, the rest is its argument. What can
// be read of it is tried further: device properties are set, block nodes are opened, CPU models are put together.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "block/block_store.h"
#include "fuzz/fuzz_machine.h"
#include "fuzz/fuzz_seen.h"
#include "net/netdev.h"
#include "softmmu/start_options.h"
#include "target/x86/models.h"
#include "util/fd.h"

namespace emu::fuzz {
namespace {

constexpr const char* kOptions[] = {
    "-drive", "-device", "-netdev", "-chardev", "-machine", "-cpu",    "-blockdev", "-readconfig", "-nic",    "-object",
    "-smp",   "-m",      "-boot",   "-rtc",     "-global",  "-accel", "-smbios",   "-serial",     "-icount", "-uuid"};

/// Sets what was asked for, and makes nothing.
void set_properties(const softmmu::DeviceRequest& device) {
  qom::ObjectTree tree(device_types());
  auto object = tree.create(device.driver);
  if (!object) return;
  for (const auto& [name, value] : device.properties) static_cast<void>((*object)->set(name, value));
}

/// Only names in the empty folder that we are in; nothing of the host's is opened.
void open_node(const std::string& text, const Options& options) {
  if (text.find_first_of("/\\") != std::string::npos) return;
  EventLoop loop;
  qom::TypeRegistry registry;
  block::register_backend_types(registry);
  qom::ObjectTree tree(registry);
  block::BlockStore store(tree, loop);
  static_cast<void>(store.add_node(options));
  store.close();
}

std::string as_file(const std::string& text) {
  static Fd file;
  file = Fd(::memfd_create("config", 0));
  EMU_CHECK(::write(file.get(), text.data(), text.size()) == ssize_t(text.size()));
  return "/proc/self/fd/" + std::to_string(file.get());
}

void try_option(const std::string& option, const std::string& text) {
  const std::string argument = option == "-readconfig" ? as_file(text) : text;
  const auto read = softmmu::parse_command_line(std::vector<std::string>{option, argument});
  if (option == "-cpu") static_cast<void>(x86::parse_cpu_option(text));
  if (!read) {
    // Nobody is told nothing.
    EMU_CHECK(!read.error().text().empty());
    return note(read.error().text());
  }
  for (const auto& device : read->devices) set_properties(device);
  for (const Options& node : read->blockdevs) open_node(text, node);
}

}  // namespace
}  // namespace emu::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  char folder[] = "/tmp/fuzz-options-XXXXXX";
  if (::mkdtemp(folder) == nullptr || ::chdir(folder) != 0) std::abort();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const emu::u8* data, std::size_t size) {
  emu::fuzz::Input input({data, size});
  const std::string option = emu::fuzz::kOptions[input.byte() % std::size(emu::fuzz::kOptions)];
  const auto rest = input.rest();
  // An argument ends at its first zero byte, but for a file.
  std::string text(rest.begin(), rest.end());
  if (option != "-readconfig") text.resize(std::min(text.size(), text.find('\0')));
  emu::fuzz::try_option(option, text);
  return 0;
}
