// SPDX-License-Identifier: Apache-2.0
#include "monitor/monitors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "monitor/commands.h"
#include "monitor/cpu_view.h"
#include "monitor/dump/dump_job.h"
#include "monitor/hmp/parse.h"
#include "monitor/qmp/session.h"
#include "monitor/time_travel.h"
#include "util/log.h"

namespace emu::monitor {

// ---- FdSets

Result<u64> FdSets::add(Fd fd, std::optional<i64> id, std::optional<std::string> opaque) {
  if (id && *id < 0) return error("Parameter 'fdset-id' expects a non-negative value");
  u64 chosen = 0;
  if (id) {
    chosen = u64(*id);
  } else {
    while (sets_.contains(chosen)) chosen++;
  }
  Set& set = sets_[chosen];
  set.id = chosen;
  set.members.push_back({std::move(fd), std::move(opaque)});
  return chosen;
}

Result<void> FdSets::remove(i64 id, std::optional<i64> fd) {
  const auto at = id < 0 ? sets_.end() : sets_.find(u64(id));
  const std::string name = fd ? fmt::format("fdset-id:{}, fd:{}", id, *fd) : fmt::format("fdset-id:{}", id);
  if (at == sets_.end()) return error("File descriptor named '{}' not found", name);
  auto& members = at->second.members;
  const std::size_t before = members.size();
  std::erase_if(members, [&](const Member& member) { return !fd || member.fd.get() == *fd; });
  if (members.size() == before) return error("File descriptor named '{}' not found", name);
  if (members.empty()) sets_.erase(at);
  return {};
}

Result<Fd> FdSets::open(u64 id, int flags) const {
  const auto at = sets_.find(id);
  if (at == sets_.end()) return error("there is no fdset {}", id);
  for (const Member& member : at->second.members) {
    const int have = ::fcntl(member.fd.get(), F_GETFL);
    if (have < 0 || ((have & O_ACCMODE) != (flags & O_ACCMODE) && (have & O_ACCMODE) != O_RDWR)) continue;
    Fd copy(::fcntl(member.fd.get(), F_DUPFD_CLOEXEC, 3));
    if (!copy) return error("cannot duplicate a descriptor of fdset {}: {}", id, std::strerror(errno));
    return copy;
  }
  return error("fdset {} has no descriptor that is open that way", id);
}

// ---- Yanks

void Yanks::add(const std::string& id, chardev::Chardev& stream) {
  if (!stream.can_yank()) return;
  const std::lock_guard lock(mutex_);
  streams_[id] = &stream;
}

void Yanks::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  streams_.erase(id);
}

std::vector<std::string> Yanks::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [id, stream] : streams_) names.push_back(id);
  return names;
}

bool Yanks::has(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  return streams_.contains(id);
}

void Yanks::yank(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (const auto at = streams_.find(id); at != streams_.end()) at->second->yank();
}

// ---- Monitors

Monitors::Monitors(MachineControl& control, EventLoop& loop)
    : control_(control), loop_(loop), dump_(std::make_unique<DumpJob>(*this)) {
  register_commands(registry_);
  if (auto attached = loop_.attach(clock_.main_queue())) {
    timers_ = std::move(*attached);
  } else {
    log::warn("events are not rate-limited: {}", attached.error().text());
  }
}

Monitors::~Monitors() {
  timers_.reset();
  dump_.reset();
}

void Monitors::send(const Json& event) {
  for (QmpSession* session : sessions_) session->send_event(event);
}

void Monitors::emit_json(const std::string& name, Json data, const std::string& key) {
  const QmpEvent* known = registry_.find_event(name);
  EMU_CHECK(known != nullptr);
  const i64 us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  Json event = {{"event", name}, {"timestamp", {{"seconds", us / 1'000'000}, {"microseconds", us % 1'000'000}}}};
  if (!data.is_null()) event["data"] = std::move(data);
  if (known->least_distance.count() == 0) {
    send(event);
    return;
  }
  // The first goes at once, the last of a burst when the time is over.
  Limited& limited = limited_[name + "/" + key];
  if (limited.timer.is_armed()) {
    limited.pending = std::move(event);
    return;
  }
  send(event);
  limited.timer = clock_.make_timer([this, &limited, distance = known->least_distance] {
    if (limited.pending.is_null()) return;
    send(std::exchange(limited.pending, Json()));
    limited.timer.arm_after(distance);
  });
  limited.timer.arm_after(known->least_distance);
}

void Monitors::after(ClockNs delay, std::function<void()> work) {
  std::erase_if(delayed_, [](const Timer& timer) { return !timer.is_armed(); });
  delayed_.push_back(clock_.make_timer(std::move(work)));
  delayed_.back().arm_after(delay);
}

std::string Monitors::run_line(Session& session, std::string_view line) {
  const RegisterLookup registers = [&](std::string_view name) -> std::optional<u64> {
    const auto cpus = control_.board().cpus();
    if (session.cpu >= cpus.size()) return std::nullopt;
    std::optional<u64> value;
    control_.with_cpus_stopped([&] { value = CpuView(cpus[session.cpu]).register_value(name); });
    return value;
  };
  const SymbolLookup symbols = [this](std::string_view name) { return symbols_.find(name); };
  const auto parsed = parse_line(line, registry_, session, {registers, symbols});
  if (!parsed) return parsed.error().text() + "\n";
  if (parsed->command == nullptr) return "";
  const bool may_run = parsed->command->before_machine || parsed->command->name.starts_with("info");
  if (control_.is_preconfig() && !may_run) {
    return fmt::format("Command '{}' not available with -preconfig until after exit_preconfig.\n",
                       parsed->command->name);
  }
  CommandContext here = context(session);
  note_command(parsed->command->name);
  auto reply = parsed->command->run(here, parsed->arguments);
  if (!reply) return fmt::format("Error: {}\n", reply.error().text());
  return std::move(reply->text);
}

std::string Monitors::run_line_alone(Session& session, std::string_view line) {
  if (command_runs_) return "Error: another command is still at work; try again\n";
  std::string said;
  run_alone([&] { said = run_line(session, line); });
  return said;
}

void Monitors::note_command(std::string_view name) {
  constexpr std::string_view kHarmless[] = {"cont", "cpu", "gdbserver", "help", "human-monitor-command", "log",
                                            "print", "quit", "stop", "symbol-add", "x", "qom-get"};
  constexpr std::string_view kFamilies[] = {"info", "query-", "qmp_", "qom-list", "device-list-", "trace-"};
  TimeTravel* const past = control_.time_travel();
  if (past == nullptr || std::find(std::begin(kHarmless), std::end(kHarmless), name) != std::end(kHarmless)) return;
  for (std::string_view family : kFamilies) {
    if (name.starts_with(family)) return;
  }
  past->touched();
}

Symbols::Reader Monitors::guest_symbols() {
  return [this] { return find_kallsyms(control_.machine().system_memory()); };
}

void Monitors::run_alone(UniqueFunction<void()> work) {
  if (command_runs_) {
    deferred_.push_back(std::move(work));
    return;
  }
  command_runs_ = true;
  work();
  command_runs_ = false;
  for (auto& later : std::exchange(deferred_, {})) {
    loop_.post([this, later = std::move(later)]() mutable { run_alone(std::move(later)); });
  }
}

}  // namespace emu::monitor
