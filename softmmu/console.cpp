// SPDX-License-Identifier: Apache-2.0
#include "softmmu/console.h"

#include <algorithm>

#include "util/suggest.h"

namespace emu::softmmu {
namespace {

class Planner {
 public:
  explicit Planner(const StartOptions& options) : options_(options) { plan_.chardevs = options.chardevs; }

  Result<ConsolePlan> plan() {
    EMU_TRY(add_serials());
    EMU_TRY(add_monitors());
    if (!options_.debugcon.empty()) plan_.debugcon = EMU_TRY(use(options_.debugcon, "debugcon", "-debugcon"));
    if (!options_.debugger.empty()) {
      chardev::SerialSpec spec = EMU_TRY(parse_debugger_stream(options_.debugger), "-gdb");
      plan_.made_for_debugger = spec.kind == chardev::SerialSpec::Kind::Inline;
      plan_.debugger = EMU_TRY(use(std::move(spec), "-gdb"));
    }
    if (!options_.qtest.empty()) plan_.qtest = EMU_TRY(use(options_.qtest, "qtest", "-qtest"));
    if (options_.default_devices) add_defaults();
    EMU_TRY(check_terminal());
    return std::move(plan_);
  }

 private:
  /// Adds the stream that `text` describes, or finds the one it names; returns its id, empty for none.
  Result<std::string> use(const std::string& text, std::string default_id, const std::string& option) {
    chardev::SerialSpec spec = EMU_TRY(chardev::parse_serial(text, std::move(default_id)), option);
    return use(std::move(spec), option);
  }
  Result<std::string> use(chardev::SerialSpec spec, const std::string& option) {
    std::string id = spec.reference;
    switch (spec.kind) {
      case chardev::SerialSpec::Kind::None:
        return std::string();
      case chardev::SerialSpec::Kind::Reference:
        EMU_TRY(find(id), option);
        break;
      case chardev::SerialSpec::Kind::Inline:
        id = spec.options.id;
        plan_.made_by[id] = option;
        plan_.chardevs.push_back(std::move(spec.options));
        break;
    }
    if (spec.with_monitor) plan_.monitors.push_back({id});
    return id;
  }

  Result<chardev::ChardevOptions*> find(const std::string& id) {
    std::vector<std::string> ids;
    for (auto& one : plan_.chardevs) {
      if (one.id == id) return &one;
      ids.push_back(one.id);
    }
    std::string hint = did_you_mean(id, ids);
    if (hint.empty()) hint = fmt::format("-chardev KIND,id={} makes one", id);
    return error(Error(fmt::format("there is no chardev '{}'", id)).with_hint(std::move(hint)));
  }

  Result<void> add_serials() {
    for (std::size_t i = 0; i < options_.serials.size(); i++) {
      plan_.serials[i].chardev = EMU_TRY(use(options_.serials[i], fmt::format("serial{}", i), "-serial"));
      plan_.serials[i].present = !plan_.serials[i].chardev.empty();
    }
    return {};
  }

  Result<void> add_monitors() {
    std::size_t typed = 0;
    for (const MonitorRequest& request : options_.monitors) {
      std::string id = request.chardev;
      if (!id.empty()) {
        EMU_TRY(find(id), "-mon");
      } else {
        const std::string option = request.for_programs ? "-qmp" : "-monitor";
        id = EMU_TRY(use(request.stream, fmt::format("compat_monitor{}", typed++), option));
      }
      // "mon:..." has made one there already.
      const auto same = [&](const ConsolePlan::Monitor& monitor) { return monitor.chardev == id; };
      const bool is_there = request.chardev.empty() && std::any_of(plan_.monitors.begin(), plan_.monitors.end(), same);
      if (!id.empty() && !is_there) plan_.monitors.push_back({id, request.for_programs, request.pretty});
    }
    return {};
  }

  chardev::ChardevOptions* terminal() {
    for (auto& one : plan_.chardevs) {
      if (std::holds_alternative<chardev::StdioOptions>(one.backend)) return &one;
    }
    return nullptr;
  }

  std::string add_stdio(std::string id, bool shared) {
    plan_.made_by[id] = "the terminal";
    plan_.chardevs.push_back({id, chardev::StdioOptions{.signal = !shared}, shared});
    plan_.chose_terminal = options_.display == DisplayChoice::Default;
    return id;
  }

  void add_defaults() {
    const bool has_serial = !options_.serials.empty() ||
                            std::any_of(options_.devices.begin(), options_.devices.end(), [](const DeviceRequest& d) {
                              return d.driver == "isa-serial" || d.driver == "pci-serial";
                            });
    const bool has_monitor = !options_.monitors.empty() || !plan_.monitors.empty();
    const bool may_use_terminal = options_.display != DisplayChoice::None && !options_.daemonize;
    chardev::ChardevOptions* taken = terminal();
    ConsolePlan::Serial& first = plan_.serials[0];
    if (!has_serial) first.present = true;
    if (!may_use_terminal) {
      // The port is there, and what the guest writes goes nowhere.
    } else if (!has_serial && !has_monitor && taken == nullptr) {
      first.chardev = add_stdio("serial0", /*shared=*/true);
      plan_.monitors.push_back({first.chardev});
    } else if (!has_serial && taken == nullptr) {
      first.chardev = add_stdio("serial0", /*shared=*/false);
    } else if (!has_serial && options_.display == DisplayChoice::Nographic && taken->id.starts_with("compat_monitor")) {
      // -nographic -monitor stdio: both are wanted here, so they share.
      taken->mux = true;
      std::get<chardev::StdioOptions>(taken->backend).signal = false;
      first.chardev = taken->id;
    } else if (has_serial && !has_monitor && taken == nullptr) {
      plan_.monitors.push_back({add_stdio("compat_monitor0", /*shared=*/false)});
    }
  }

  Result<void> check_terminal() {
    const chardev::ChardevOptions* taken = terminal();
    plan_.uses_terminal = taken != nullptr;
    plan_.shares_terminal = taken != nullptr && taken->mux;
    if (taken != nullptr && options_.daemonize) {
      return error(Error(fmt::format("-daemonize: chardev '{}' would use the terminal that is left behind", taken->id))
                       .with_hint("use a socket, a pty or a file instead of stdio"));
    }
    for (const auto& one : plan_.chardevs) {
      const auto same = [&](const chardev::ChardevOptions& other) { return other.id == one.id; };
      if (std::count_if(plan_.chardevs.begin(), plan_.chardevs.end(), same) > 1) {
        return error("chardev id '{}' is given twice", one.id);
      }
    }
    return {};
  }

  const StartOptions& options_;
  ConsolePlan plan_;
};

}  // namespace

bool is_for_programs_alone(const ConsolePlan& plan, const chardev::ChardevOptions& stream) {
  if (stream.mux) return false;
  return std::any_of(plan.monitors.begin(), plan.monitors.end(), [&](const ConsolePlan::Monitor& monitor) {
    return monitor.for_programs && monitor.chardev == stream.id;
  });
}

Result<chardev::SerialSpec> parse_debugger_stream(const std::string& text) {
  chardev::SerialSpec spec = EMU_TRY(chardev::parse_serial(text, "gdb"));
  if (spec.kind == chardev::SerialSpec::Kind::Inline) {
    if (auto* socket = std::get_if<chardev::SocketOptions>(&spec.options.backend); socket != nullptr) {
      socket->server = true;
      socket->wait = false;
      socket->no_delay = socket->path.empty();
    }
  }
  return spec;
}

Result<ConsolePlan> plan_consoles(const StartOptions& options) { return Planner(options).plan(); }

}  // namespace emu::softmmu
