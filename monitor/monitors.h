// SPDX-License-Identifier: Apache-2.0
// All monitors of a machine: the commands they share, whom events go to, and what outlives one connection.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "monitor/command.h"
#include "monitor/symbols.h"
#include "util/clock.h"
#include "util/event_loop.h"

namespace emu::monitor {

class DumpJob;
class QmpSession;

/// Sets of file descriptors that programs hand in (add-fd), for paths "/dev/fdset/N".
class FdSets {
 public:
  struct Member {
    Fd fd;
    std::optional<std::string> opaque;
  };
  struct Set {
    u64 id = 0;
    std::vector<Member> members;
  };
  /// Into the set `id`, or into a new one. Gives the set's id.
  Result<u64> add(Fd fd, std::optional<i64> id, std::optional<std::string> opaque);
  /// One descriptor of a set, or all of them.
  Result<void> remove(i64 id, std::optional<i64> fd);
  const std::map<u64, Set>& sets() const { return sets_; }
  /// A duplicate of a descriptor of that set whose access mode fits `flags` (open(2)).
  Result<Fd> open(u64 id, int flags) const;

 private:
  std::map<u64, Set> sets_;
};

/// Streams whose connection may be cut from outside, also when the main thread waits for it. Any thread.
class Yanks {
 public:
  void add(const std::string& id, chardev::Chardev& stream);
  void remove(const std::string& id);
  std::vector<std::string> names() const;
  bool has(const std::string& id) const;
  void yank(const std::string& id);

 private:
  mutable std::mutex mutex_;
  std::map<std::string, chardev::Chardev*> streams_;
};

/// Main thread, except where said. Outlives its sessions.
class Monitors {
 public:
  Monitors(MachineControl& control, EventLoop& loop);
  ~Monitors();
  Monitors(const Monitors&) = delete;
  Monitors& operator=(const Monitors&) = delete;

  MachineControl& control() { return control_; }
  const CommandRegistry& registry() const { return registry_; }
  EventLoop& loop() { return loop_; }
  FdSets& fd_sets() { return fd_sets_; }
  Yanks& yanks() { return yanks_; }
  DumpJob& dump() { return *dump_; }
  Symbols& symbols() { return symbols_; }
  /// What looks for a Linux kernel's own symbols in guest memory.
  Symbols::Reader guest_symbols();

  /// Runs `work`, which executes a command, at once; or, when called while another command waits for something and runs
  /// the loop meanwhile, once that one is done: no command sees what another has half done.
  void run_alone(UniqueFunction<void()> work);

  CommandContext context(Session& session) { return {control_, session, registry_, *this}; }

  /// Tells every program that listens. `data` is what the event was registered with; `key` tells apart what is limited
  /// by itself (events of one device).
  template <typename Data>
  void emit(const std::string& name, const Data& data, const std::string& key = "") {
    emit_json(name, to_json_value(data), key);
  }
  void emit(const std::string& name) { emit_json(name, Json(), ""); }

  void add(QmpSession& session) { sessions_.push_back(&session); }
  void remove(QmpSession& session) { std::erase(sessions_, &session); }

  /// Ends with us: for callbacks that may outlive us.
  std::weak_ptr<const int> alive() const { return alive_; }

  /// Runs `work` on the main thread after that time, machine lock not held.
  void after(ClockNs delay, std::function<void()> work);

  /// A command is about to be executed, which may change the guest: then what is recorded of it ends.
  void note_command(std::string_view name);
  /// One line of the human monitor; gives what a person would see ("\n" line ends).
  std::string run_line(Session& session, std::string_view line);
  /// The same for who cannot wait: while another command does, all that is said is that it does.
  std::string run_line_alone(Session& session, std::string_view line);

  /// What migrate-set-capabilities was told.
  bool migration_events = false;

 private:
  bool command_runs_ = false;
  std::vector<UniqueFunction<void()>> deferred_;  ///< of run_alone
  struct Limited {
    Timer timer;
    Json pending;  ///< null: none
  };
  void emit_json(const std::string& name, Json data, const std::string& key);
  void send(const Json& event);

  MachineControl& control_;
  EventLoop& loop_;
  CommandRegistry registry_;
  std::vector<QmpSession*> sessions_;
  FdSets fd_sets_;
  Symbols symbols_;
  Yanks yanks_;
  std::unique_ptr<DumpJob> dump_;
  Clock clock_{Clock::Kind::Realtime};
  TimerAttachment timers_;
  std::map<std::string, Limited> limited_;
  std::list<Timer> delayed_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
};

}  // namespace emu::monitor
