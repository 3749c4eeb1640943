// SPDX-License-Identifier: Apache-2.0
// The machine types: their names, aliases, and registration.
#include <algorithm>

#include "hw/machine/board.h"
#include "hw/machine/i440fx_board.h"
#include "hw/machine/q35_board.h"
#include "util/suggest.h"

namespace emu::hw {
namespace {

/// Machine "none": nothing but the monitor. What libvirt probes with.
class NoneBoard final : public Board {
 public:
  static void describe(qom::TypeInfo<NoneBoard>& type) { type.doc("empty machine"); }
  Result<void> build(Machine&, BoardConfig& config) override {
    if (config.boot.needs_firmware()) return error("-boot: machine 'none' has no firmware that would heed it");
    if (config.has_firmware_data()) return error("-fw_cfg, -smbios and -acpitable: machine 'none' has no firmware");
    return {};
  }
  void reset() override {}
  std::vector<BoardCpu> cpus() override { return {}; }
};

}  // namespace

const std::vector<MachineTypeInfo>& machine_types() {
  static const std::vector<MachineTypeInfo> kTypes = {
      {"pc-i440fx-7.2", "Standard PC (i440FX + PIIX, 1996)", "pc", true},
      {"pc-q35-7.2", "Standard PC (Q35 + ICH9, 2009)", "q35", false},
      {"none", "empty machine", "", false},
  };
  return kTypes;
}

Result<std::string> find_machine_type(std::string_view name) {
  std::vector<std::string> names;
  for (const MachineTypeInfo& type : machine_types()) {
    if (name == type.name || (!type.alias.empty() && name == type.alias)) return type.name + "-machine";
    names.push_back(type.name);
    if (!type.alias.empty()) names.push_back(type.alias);
  }
  Error e(fmt::format("machine type '{}' is not known", name));
  const std::string hint = did_you_mean(name, names);
  return error(std::move(e).with_hint(hint.empty() ? "Use -machine help to list the machine types." : hint));
}

void register_boards(qom::TypeRegistry& registry) {
  registry.add_abstract<Board, qom::Object>();
  registry.add_abstract<PcBoard, Board>();
  registry.add<I440FxBoard>("pc-i440fx-7.2-machine");
  registry.add<Q35Board>("pc-q35-7.2-machine");
  registry.add<NoneBoard>("none-machine");
}

}  // namespace emu::hw
