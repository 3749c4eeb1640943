// SPDX-License-Identifier: Apache-2.0
// How much memory the guest is asked to keep, and how much it has kept.
#include "hw/core/balloon.h"
#include "monitor/commands.h"
#include "monitor/monitors.h"

namespace emu::monitor {
namespace {

Result<hw::Balloon*> find_balloon(CommandContext& context) {
  hw::Balloon* found = nullptr;
  context.control.machine().tree().root().visit([&](qom::Object& object) {
    auto* balloon = dynamic_cast<hw::Balloon*>(&object);
    const auto* device = dynamic_cast<const hw::Device*>(&object);
    if (balloon != nullptr && device->is_realized()) found = balloon;
  });
  if (found != nullptr) return found;
  return error(Error("No balloon device has been activated", ErrorClass::DeviceNotActive));
}

struct BalloonArguments {
  static constexpr const char* kName = "BalloonArguments";
  i64 value = 0;
  void members(auto& m) { m("value", value); }
};
Result<void> balloon(CommandContext& context, const BalloonArguments& arguments) {
  hw::Balloon* found = EMU_TRY(find_balloon(context));
  if (arguments.value <= 0) return error("Parameter 'target' expects a size");
  const u64 all = context.control.ram_bytes();
  found->set_target_bytes(all - std::min<u64>(u64(arguments.value), all));
  return {};
}

struct BalloonInfo {
  static constexpr const char* kName = "BalloonInfo";
  u64 actual = 0;
  void members(auto& m) { m("actual", actual); }
};
Result<BalloonInfo> query_balloon(CommandContext& context) {
  const hw::Balloon* found = EMU_TRY(find_balloon(context));
  const u64 all = context.control.ram_bytes();
  return BalloonInfo{all - std::min(found->balloon_bytes(), all)};
}

Result<Reply> info_balloon(CommandContext& context, const Arguments&) {
  const BalloonInfo info = EMU_TRY(query_balloon(context));
  return Reply{fmt::format("balloon: actual={}\n", info.actual >> 20)};
}

}  // namespace

void register_balloon_commands(CommandRegistry& registry) {
  registry.add(qmp("balloon", balloon));
  registry.add(qmp("query-balloon", query_balloon));
  registry.add({.name = "info balloon", .help = "show balloon information", .run = info_balloon});
}

}  // namespace emu::monitor
