// SPDX-License-Identifier: Apache-2.0
// What a debugger's packets mean. One process, number 1, whose threads are the vCPUs: thread N is vCPU N - 1. All vCPUs
// stop and go on together. GDB manual, appendix "GDB Remote Serial Protocol".
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/gdb/packets.h"
#include "monitor/gdb/target.h"

namespace emu::monitor::gdb {

/// Main thread. One debugger's connection at a time.
class Protocol {
 public:
  Protocol(Target& target, std::function<void(std::string_view)> send) : target_(target), send_(std::move(send)) {}

  /// A debugger has come: the machine stops for it, and nothing of an earlier one counts.
  void connected();
  /// It has gone: its break- and watchpoints go, too; the machine stays as it is.
  void disconnected();
  void receive(std::span<const u8> bytes);

  /// A vCPU stands where it was to stop.
  void debug_stopped(unsigned cpu, const accel::DebugStop& stop);
  /// The machine stopped for another reason, and is now in `status` ("paused").
  void machine_stopped(std::string_view status);
  /// The emulator ends.
  void exiting(int status);

 private:
  /// Threads that a packet names.
  struct ThreadId {
    enum class Kind : u8 { All, Any, One } kind = Kind::Any;
    unsigned cpu = 0;
  };
  // Bits of sstep, as QEMU's documentation has them.
  static constexpr u64 kStepEnabled = 1, kStepNoIrq = 2, kStepNoTimer = 4;
  static constexpr std::size_t kMostPoints = 4096;
  static constexpr int kSigTrap = 5;
  static constexpr const char* kOk = "OK";
  // Error numbers of errno, in decimal digits, as other stubs write them; debuggers only show them.
  static constexpr const char* kBadAddress = "E14";
  static constexpr const char* kInvalid = "E22";
  static constexpr const char* kFailed = "E05";

  void handle(std::string_view packet);
  /// Empty: unknown, as an unknown packet's answer is.
  std::string answer(std::string_view packet);
  std::string answer_v(std::string_view packet);
  std::string answer_query(std::string_view packet);
  std::string answer_set(std::string_view packet);
  std::string answer_emulator_query(std::string_view name);
  std::string supported(std::string_view features);
  std::string read_description(std::string_view request);
  static std::string read_part(std::string_view file, std::string_view request);
  std::string read_registers();
  std::string write_registers(std::string_view digits);
  std::string read_register(std::string_view text);
  std::string write_register(std::string_view text);
  std::string read_memory(std::string_view text);
  std::string write_memory(std::string_view text, bool is_binary);
  std::string change_point(std::string_view text, bool insert);
  std::string resume_old(char action, std::string_view text);
  std::string resume_each(std::string_view actions);
  std::string resume(std::span<const accel::DebugRun> runs);
  std::string go_back(std::string_view how);
  /// Through what was recorded; empty: to its end, and the machine is to run.
  std::string go_through_past(std::span<const accel::DebugRun> runs);
  void arrived(const TimeTravel::Arrival& arrival);
  std::string select_thread(std::string_view text);
  std::string monitor_command(std::string_view digits);
  std::string detach();

  void reply(std::string_view data);
  void note_stop(unsigned cpu, const accel::DebugStop& stop);
  std::string changed(bool done, const char* otherwise);
  void forget_points();
  /// False: the machine does not take them.
  bool apply_points();
  bool has_bytes(std::size_t feature) const;
  std::optional<ThreadId> take_thread(std::string_view& text) const;
  std::string thread_name(unsigned cpu) const;
  std::string stop_reply() const;
  unsigned register_count(unsigned cpu) const;
  unsigned register_bytes(unsigned cpu, unsigned number) const;

  Target& target_;
  const std::function<void(std::string_view)> send_;
  PacketReader reader_;
  std::string last_;          ///< as sent, for a debugger that did not get it
  bool acknowledges_ = true;
  bool ends_acks_ = false;    ///< after the reply that is being made
  bool multiprocess_ = false, wants_swbreak_ = false, wants_hwbreak_ = false;
  bool described_ = false;    ///< target.xml was read: `g` has all registers
  bool physical_ = false;
  bool waiting_ = false;      ///< the debugger waits for a stop
  u64 step_bits_ = kStepEnabled | kStepNoIrq | kStepNoTimer;
  unsigned cpu_ = 0;          ///< of registers and memory
  std::optional<unsigned> run_cpu_;  ///< Hc: of plain `c` and `s`; empty: all, or any
  struct {
    int signal = 5;
    unsigned cpu = 0;
    std::string reason;
  } last_stop_;  ///< what `?` says
  std::set<u64> software_, hardware_;
  std::vector<accel::Watchpoint> watchpoints_;
};

}  // namespace emu::monitor::gdb
