// SPDX-License-Identifier: Apache-2.0
#include "softmmu/help.h"

#include <unistd.h>

#include <algorithm>

#include "hw/core/plug.h"
#include "monitor/version.h"
#include "net/register.h"
#include "softmmu/machine_options.h"
#include "softmmu/objects.h"
#include "softmmu/option_table.h"
#include "util/log.h"
#include "util/suggest.h"
#include "util/trace.h"

namespace emu::softmmu {
namespace {

/// `text` in lines of at most `width`, each but the first behind `indent` spaces.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::string out;
  std::size_t column = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (column + end + 1 > width && column > indent) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      out += ' ';
      column++;
    }
    out += text.substr(0, end);
    column += end;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string machines_help(const Parts& parts) {
  std::string text = "Supported machines are:\n";
  for (const hw::MachineTypeInfo& machine : parts.machine_types()) {
    if (!machine.alias.empty()) {
      text += fmt::format("{:<20} {} (alias of {})\n", machine.alias, machine.description, machine.name);
    }
    text += fmt::format("{:<20} {}{}\n", machine.name, machine.description, machine.is_default ? " (default)" : "");
  }
  return text;
}

std::string objects_help() {
  std::string text = "List of user creatable objects:\n";
  for (const ObjectKind& kind : object_kinds()) {
    if (kind.help.empty()) continue;
    text += fmt::format("  {:<19} id=ID{}{}: {}\n", kind.type, kind.syntax.empty() ? "" : ",", kind.syntax, kind.help);
  }
  return text;
}

Result<std::string> type_help(const HelpRequest& request, const Parts& parts) {
  qom::TypeRegistry registry;
  register_all_types(registry, parts);
  if (request.topic == HelpTopic::Device) return hw::device_help(registry);
  if (request.topic == HelpTopic::NicModels) return nic_models_help(registry);
  if (request.topic == HelpTopic::MachineProperties) {
    const std::string name = EMU_TRY(parts.find_machine_type(request.about), "-machine");
    const qom::Type* type = EMU_TRY(registry.require(name, "machine"));
    return fmt::format("{} options:\n{}{}", request.about, type->property_help(), common_machine_help(*type));
  }
  const qom::Type* type = registry.find(request.about);
  if (type == nullptr || !type->is_a(hw::Device::kTypeName)) {
    std::vector<std::string> names;
    for (const qom::Type* known : registry.list(hw::Device::kTypeName)) names.push_back(known->name());
    return error(
        Error(fmt::format("-device {}: no such driver", request.about)).with_hint(did_you_mean(request.about, names)));
  }
  return fmt::format("{} options:\n{}", type->name(), type->property_help());
}

}  // namespace

std::string options_help() {
  std::string text = fmt::format("{}\nusage: system-emu [OPTIONS]\n", kVersionLine);
  std::string_view title;
  for (const OptionRow& row : option_rows()) {
    if (section_title(row.section) != title) {
      title = section_title(row.section);
      text += fmt::format("\n{}:\n", title);
    }
    std::string head = fmt::format("-{}", row.name);
    if (!row.syntax.empty()) head += fmt::format(" {}", row.syntax);
    constexpr std::size_t kIndent = 16;
    if (head.size() < kIndent) {
      text += fmt::format("{:<{}}", head, kIndent);
    } else {
      text += head + "\n" + std::string(kIndent, ' ');
    }
    text += wrapped(row.help, kIndent, 100) + "\n";
  }
  text +=
      "\nOptions may begin with one dash or two. 'help' as a value lists what an option takes.\n"
      "With -nographic, Ctrl-A h shows the keys: x ends the program, c switches between guest and monitor.\n"
      "Example: system-emu -m 1G -smp 2 -nographic -kernel vmlinuz -initrd initrd.img -append console=ttyS0\n";
  return text;
}

std::string options_markdown() {
  std::string text =
      "# Command line\n\n<!-- Made by `system-emu -help-markdown`; a test compares. -->\n\n"
      "`system-emu [OPTIONS]`. Options may begin with one dash or two. Values are `KEY=VALUE` lists with commas "
      "between; "
      "a comma in a value is written twice. Options that are repeated merge or the last one counts, as in QEMU 7.2; a "
      "repeated `id=` is an error. `help` as a value lists what an option takes.\n\n"
      "Exit status: 0 after power-off, `quit`, Ctrl-A x or SIGTERM; 1 when the program refused to start; 3 after a "
      "guest "
      "panic (pvpanic); 124 when --timeout was over; what the guest asked for by isa-debug-exit, `(v << 1) | 1`.\n";
  std::string_view title;
  for (const OptionRow& row : option_rows()) {
    if (section_title(row.section) != title) {
      title = section_title(row.section);
      text += fmt::format("\n## {}\n\n", title);
    }
    text += row.syntax.empty() ? fmt::format("- `-{}`: {}\n", row.name, row.help)
                               : fmt::format("- `-{} {}`: {}\n", row.name, row.syntax, row.help);
  }
  text += "\n## Not supported yet\n\nThese options of QEMU 7.2 are refused by name: ";
  std::vector<std::string_view> names;
  for (const MissingRow& row : missing_rows()) names.push_back(row.name);
  std::sort(names.begin(), names.end());
  for (std::size_t i = 0; i < names.size(); i++) text += fmt::format("{}`-{}`", i == 0 ? "" : ", ", names[i]);
  text += ".\n";
  return text;
}

Result<std::string> help_text(const HelpRequest& request, const StartOptions& options, const Parts& parts) {
  switch (request.topic) {
    case HelpTopic::Options:
      return options_help();
    case HelpTopic::Markdown:
      return options_markdown();
    case HelpTopic::Version:
      return std::string(kVersionLine) + "\n";
    case HelpTopic::Target:
      return fmt::format("Guest architectures:\n{}\n", parts.target);
    case HelpTopic::Machine:
      return machines_help(parts);
    case HelpTopic::Cpu:
      return parts.cpu_help();
    case HelpTopic::Accel:
      return std::string(fmt::format("Accelerators supported:\ntcg\n{}qtest\n", parts.make_kvm ? "kvm\n" : ""));
    case HelpTopic::Chardev:
      return chardev::chardev_help();
    case HelpTopic::Netdev:
      return net::netdev_help();
    case HelpTopic::Trace: {
      std::string text;
      for (const std::string& name : trace::names()) text += name + "\n";
      return text;
    }
    case HelpTopic::Log:
      return log::help();
    case HelpTopic::Display:
      return std::string("Available display backend types:\nnone\n");
    case HelpTopic::Vga:
      return std::string("none                 no graphic card\nstd                  standard VGA (default)\n");
    case HelpTopic::Object:
      return objects_help();
    case HelpTopic::DataDir: {
      std::string text;
      for (const auto& dir : options.data_dirs) text += dir + "\n";
      for (const auto& dir : default_data_dirs()) text += dir + "\n";
      return text;
    }
    case HelpTopic::MachineProperties:
    case HelpTopic::NicModels:
    case HelpTopic::Device:
    case HelpTopic::DeviceProperties:
      return type_help(request, parts);
  }
  return error("no help on that");
}

std::vector<std::string> default_data_dirs() {
  std::vector<std::string> dirs;
  char self[4096];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  if (length > 0 && length < ssize_t(sizeof self)) {
    const std::string_view path(self, std::size_t(length));
    dirs.push_back(std::string(path.substr(0, path.rfind('/'))) + "/../share/system-emu");
  }
  for (const char* usual :
       {"/usr/share/seabios", "/usr/share/qemu", "/usr/share/ovmf", "/usr/share/OVMF", "/usr/lib/ipxe/qemu"})
    dirs.emplace_back(usual);
  return dirs;
}

}  // namespace emu::softmmu
