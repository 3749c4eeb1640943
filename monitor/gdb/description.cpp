// SPDX-License-Identifier: Apache-2.0
#include "monitor/gdb/description.h"

#include <fmt/format.h>

namespace emu::monitor::gdb {

std::optional<std::string> description_file(const target::DebugRegisters& registers, std::string_view name) {
  if (name == "target.xml") {
    std::string xml = "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target>\n";
    xml += fmt::format("<architecture>{}</architecture>\n", registers.architecture());
    for (const auto& feature : registers.features()) xml += fmt::format("<xi:include href=\"{}\"/>\n", feature.file);
    return xml + "</target>\n";
  }
  unsigned number = 0;
  for (const auto& feature : registers.features()) {
    if (feature.file != name) {
      number += unsigned(feature.registers.size());
      continue;
    }
    std::string xml =
        fmt::format("<?xml version=\"1.0\"?>\n<!DOCTYPE feature SYSTEM \"gdb-target.dtd\">\n<feature name=\"{}\">\n{}",
                    feature.name, feature.types);
    for (const auto& r : feature.registers) {
      xml += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\" regnum=\"{}\"{}/>\n", r.name, r.bits, r.type,
                         number++, r.group.empty() ? "" : fmt::format(" group=\"{}\"", r.group));
    }
    return xml + "</feature>\n";
  }
  return std::nullopt;
}

}  // namespace emu::monitor::gdb
