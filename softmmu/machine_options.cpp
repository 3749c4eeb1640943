// SPDX-License-Identifier: Apache-2.0
#include "softmmu/machine_options.h"

#include "util/string.h"
#include "util/suggest.h"

namespace emu::softmmu {
namespace {

enum class Takes : u8 { Any, OnlyOff, OffOrAuto, OnlyOn };

struct CommonProperty {
  std::string_view name;
  Takes takes;
  std::string_view doc;
};

// A board may have any of these as a property of its own, which then counts.
constexpr CommonProperty kCommon[] = {
    {"usb", Takes::OnlyOff, "no USB controller"},
    {"dump-guest-core", Takes::Any, "guest memory is never part of our core dumps"},
    {"mem-merge", Takes::Any, "guest memory is never merged"},
    {"kernel-irqchip", Takes::Any, "who has the interrupt controllers under -accel kvm: off, split, on"},
    {"kernel_irqchip", Takes::Any, "as kernel-irqchip"},
    {"suppress-vmdesc", Takes::Any, "for migration only"},
    {"enforce-config-section", Takes::OnlyOff, "for migration only"},
    {"graphics", Takes::Any, "whether firmware shows itself on a display"},
    {"smm", Takes::OffOrAuto, "no system management mode"},
    {"vmport", Takes::OffOrAuto, "no VMware port"},
    {"nvdimm", Takes::OnlyOff, "no NVDIMMs"},
    {"hmat", Takes::OnlyOff, "no memory attribute table"},
    {"igd-passthru", Takes::OnlyOff, "no passed-through graphics"},
    {"hpet", Takes::OnlyOff, "no HPET"},
};

Result<void> accept(const CommonProperty& property, const std::string& value) {
  if (property.takes == Takes::Any) return {};
  if (property.takes == Takes::OffOrAuto && value == "auto") return {};
  const bool on = EMU_TRY(parse_bool(value), std::string(property.name));
  if (on == (property.takes == Takes::OnlyOn)) return {};
  return error("{}={} is not supported yet by this machine", property.name, value);
}

}  // namespace

Result<void> set_machine_properties(hw::Board& board, const Options& properties) {
  for (const auto& [name, value] : properties.pairs()) {
    if (board.type().find_property(name) != nullptr) {
      EMU_TRY(board.set(name, value), "-machine");
      continue;
    }
    const CommonProperty* known = nullptr;
    std::vector<std::string> names = {"accel", "kernel", "initrd", "append", "memory-backend"};
    for (const CommonProperty& common : kCommon) {
      if (common.name == name) known = &common;
      names.emplace_back(common.name);
    }
    if (known != nullptr) {
      EMU_TRY(accept(*known, value), "-machine");
      continue;
    }
    for (const qom::Property* own : board.type().properties()) names.push_back(own->name());
    std::string hint = did_you_mean(name, names);
    if (hint.empty()) hint = "'-machine NAME,help' lists its properties";
    return error(Error(fmt::format("-machine: this machine has no property '{}'", name)).with_hint(std::move(hint)));
  }
  return {};
}

std::vector<std::string_view> common_machine_properties() {
  std::vector<std::string_view> names;
  for (const CommonProperty& property : kCommon) names.push_back(property.name);
  return names;
}

std::string common_machine_help(const qom::Type& type) {
  std::string text =
      "  accel=<str>            - accelerators to try, with ':' between\n"
      "  kernel=, initrd=, append=<str> - as the options of these names\n"
      "  memory-backend=<str>   - id of an -object memory-backend-ram or -memfd\n";
  for (const CommonProperty& common : kCommon) {
    if (type.find_property(common.name) != nullptr) continue;
    constexpr std::string_view kValues[] = {"on|off", "off", "off|auto", "on"};
    const std::string head = fmt::format("{}={}", common.name, kValues[std::size_t(common.takes)]);
    text += fmt::format("  {:<22} - {}\n", head, common.doc);
  }
  return text;
}

}  // namespace emu::softmmu
