// SPDX-License-Identifier: Apache-2.0
// Emulation as monitors see it: what they ask for, and what they are told.
#include "chardev/backends.h"
#include "monitor/events.h"
#include "monitor/property_json.h"
#include "softmmu/cpu_objects.h"
#include "softmmu/emulation.h"
#include "softmmu/option_info.h"

namespace emu::softmmu {

/// Whoever asks: a monitor, a debugger.
Result<void> Emulation::cont() {
  if (preconfig_) return error("the machine waits for x-exit-preconfig: nothing has been reset yet");
  if (history_ != nullptr && !is_running() && run_state_.state() != State::Suspended) history_->about_to_run();
  return run_state_.cont();
}

Result<void> Emulation::wakeup() {
  if (run_state_.state() != State::Suspended) return error("Unable to wake up: guest is not in suspended state");
  run_state_.wakeup(hw::WakeupReason::Other);
  return {};
}

void Emulation::set_actions(const monitor::SetActionArguments& actions) {
  RunActions now = run_state_.actions();
  // The enums of both sides have the same order.
  if (actions.reboot) now.reboot = RebootAction(*actions.reboot);
  if (actions.shutdown) now.shutdown = ShutdownAction(*actions.shutdown);
  if (actions.panic) now.panic = PanicAction(*actions.panic);
  if (actions.watchdog) now.watchdog = WatchdogAction(*actions.watchdog);
  run_state_.set_actions(now);
}

Result<void> Emulation::exit_preconfig() {
  if (!preconfig_) return error("The command is permitted only before machine initialization");
  preconfig_ = false;
  run_state_.launch(/*start=*/!options_.freeze);
  return {};
}

std::string Emulation::cpu_path(unsigned index) const {
  return index < cpu_objects_.size() ? cpu_objects_[index]->path() : "";
}

Result<void> Emulation::make_cpu_objects() {
  if (board_->default_cpu().empty()) return {};
  const std::string& model = options_.cpu.empty() ? board_->default_cpu() : options_.cpu;
  const CpuDetails details = EMU_TRY(parts_.cpu_details(model, accelerator_->acceleration()));
  for (unsigned i = 0; i < options_.cpus.cpus; i++) {
    auto object = EMU_TRY(make_cpu_object(machine_->tree(), parts_, details));
    qom::Object& folder = machine_->tree().container("/machine/unattached");
    cpu_objects_.push_back(EMU_TRY(folder.add_child("device[*]", std::move(object))));
  }
  return {};
}

std::vector<std::string> Emulation::cpu_models() const {
  std::vector<std::string> models = parts_.cpu_models();
  if (accelerator_->acceleration() != nullptr) models.emplace_back(kHostCpu);
  return models;
}

std::vector<monitor::CpuDefinition> Emulation::cpu_definitions() const {
  std::vector<monitor::CpuDefinition> list;
  for (const std::string& name : cpu_models()) {
    monitor::CpuDefinition definition{.name = name, .type_name = cpu_type_name(parts_, name)};
    definition.migration_safe = name != "max" && name != kHostCpu;
    if (const auto details = parts_.cpu_details(name, accelerator_->acceleration())) definition.unavailable_features = details->unavailable;
    list.push_back(std::move(definition));
  }
  return list;
}

Result<monitor::CpuModelInfo> Emulation::expand_cpu_model(const monitor::CpuModelInfo& model, bool full) const {
  std::string option = model.name;
  bool known = false;
  for (const std::string& name : cpu_models()) known |= name == model.name;
  if (!known) return error("CPU model '{}' not found", model.name);
  if (model.props) {
    if (!model.props->is_object()) return monitor::wrong_type("model.props", "object");
    for (const auto& [name, value] : model.props->items()) {
      option += fmt::format(",{}={}", name, EMU_TRY(monitor::to_property_value(name, value)).text());
    }
  }
  const CpuDetails details = EMU_TRY(parts_.cpu_details(option, accelerator_->acceleration()));
  monitor::Json props = monitor::Json::object();
  for (const auto& [name, on] : details.features) props[name] = on;
  if (full) {
    for (const auto& [name, value] : details.properties) props[name] = monitor::to_json(value);
  }
  return monitor::CpuModelInfo{model.name, std::move(props)};
}

std::vector<monitor::OptionInfo> Emulation::command_line_options() const { return option_infos(registry_); }

Result<std::string> Emulation::add_chardev(const chardev::ChardevOptions& options) {
  chardev::Chardev* made = EMU_TRY(make_stream(options, loop_));
  if (options.mux) return std::string();
  const auto* pty = dynamic_cast<const chardev::PtyChardev*>(made);
  return pty == nullptr ? std::string() : pty->path();
}

Result<void> Emulation::make_debugger(const std::string& chardev) {
  hw::ChardevObject* object = stream(chardev);
  EMU_CHECK(object != nullptr);
  debugger_ = EMU_TRY(monitor::gdb::Server::create(object->stream(), *monitors_, parts_.make_debug_registers));
  return {};
}

Result<void> Emulation::set_debugger(const std::string& where) {
  const chardev::SerialSpec spec = EMU_TRY(parse_debugger_stream(where));
  using Kind = chardev::SerialSpec::Kind;
  if (spec.kind == Kind::Reference && stream(spec.reference) == nullptr) {
    return error("there is no chardev '{}'", spec.reference);
  }
  const std::string& id = spec.options.id;
  if (spec.kind == Kind::Inline && id != debugger_stream_ && stream(id) != nullptr) {
    return error("there is a chardev '{0}' already: write chardev:{0} to have the debugger there", id);
  }
  if (debugger_ != nullptr) {
    if (debugger_->is_receiving()) return error("a debugger cannot end its own connection that way: detach instead");
    debugger_->close();
    debugger_.reset();
    remove_debugger_stream();
  }
  if (spec.kind == Kind::None) return {};
  if (spec.kind == Kind::Reference) return make_debugger(spec.reference);
  EMU_TRY(make_stream(spec.options, loop_));
  debugger_stream_ = id;
  auto made = make_debugger(id);
  if (!made) remove_debugger_stream();
  return made;
}

/// If it was made for the debugger; one that was lent stays.
void Emulation::remove_debugger_stream() {
  const std::string id = std::exchange(debugger_stream_, {});
  hw::ChardevObject* own = id.empty() ? nullptr : stream(id);
  if (own == nullptr || own->stream().is_attached()) return;
  monitors_->yanks().remove(id);
  machine_->tree().container("/chardevs").remove_child(*own);
}

void Emulation::report(const RunEvent& event) {
  if (event.kind == RunEvent::Kind::Stop && debugger_ != nullptr && run_state_.state() != State::Debug) {
    debugger_->machine_stopped(status());
  }
  if (monitors_ == nullptr) return;
  if (event.kind == RunEvent::Kind::Reset) monitors_->symbols().forget_guest();
  const auto cause = [&] {
    return monitor::from_json<monitor::CauseName>(std::string(event.reason), "").value_or(monitor::CauseName::None);
  };
  const auto panic = [&] {
    return monitor::GuestPanickedEvent{monitor::from_json<monitor::GuestPanicAction>(std::string(event.reason), "")
                                           .value_or(monitor::GuestPanicAction::Run)};
  };
  using Kind = RunEvent::Kind;
  switch (event.kind) {
    case Kind::Stop:
      // Also when it stopped by itself. Later, as nobody waits for the disk here.
      loop_.post([this] {
        if (is_running()) return;
        if (auto flushed = disks_->flush_all(); !flushed) log::error(flushed.error());
      });
      return monitors_->emit("STOP");
    case Kind::Resume:
      disks_->retry_all();
      return monitors_->emit("RESUME");
    case Kind::Powerdown:
      return monitors_->emit("POWERDOWN");
    case Kind::Suspend:
      return monitors_->emit("SUSPEND");
    case Kind::Wakeup:
      return monitors_->emit("WAKEUP");
    case Kind::Reset:
      return monitors_->emit("RESET", monitor::ShutdownEvent{event.by_guest, cause()});
    case Kind::Shutdown:
      return monitors_->emit("SHUTDOWN", monitor::ShutdownEvent{event.by_guest, cause()});
    case Kind::GuestPanicked:
      return monitors_->emit("GUEST_PANICKED", panic());
    case Kind::GuestCrashloaded:
      return monitors_->emit("GUEST_CRASHLOADED", panic());
    case Kind::RtcChange:
      return monitors_->emit("RTC_CHANGE", monitor::RtcChangeEvent{event.offset_s, event.path}, event.path);
    case Kind::BalloonChange:
      return monitors_->emit("BALLOON_CHANGE",
                             monitor::BalloonChangeEvent{ram_bytes_ - std::min(ram_bytes_, event.bytes)});
    case Kind::DeviceDeleted:
      return monitors_->emit("DEVICE_DELETED",
                             monitor::DeviceDeletedEvent{
                                 event.id.empty() ? std::nullopt : std::optional(event.id), event.path});
  }
}

}  // namespace emu::softmmu
