// SPDX-License-Identifier: Apache-2.0
// Trace events: declared where they happen, switched on by name, and one relaxed load while they are off.
//
//   EMU_TRACE("memory_region_read", "region {} offset {:#x} value {:#x}", region.name(), offset, value);
//
// docs/user/tracing.md is for those who read traces. Not inside inline functions or templates.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::trace {

struct Event {
  const char* name;
  std::atomic<bool> enabled{false};
};

/// Where what events say goes; any of them.
enum class Sink : u8 {
  Log,     ///< the -d log: one line an event
  Ftrace,  ///< the kernel's trace, among its own events
  Usdt,    ///< the probe system_emu:event(name, text), for perf, bpftrace and SystemTap
};

/// "log", "ftrace", "usdt". Errors: no such one, not to be opened, not in this build.
Result<void> set_sink(std::string_view name);

/// Names of all events, sorted, each once.
std::vector<std::string> names();
bool is_enabled(std::string_view name);
/// Events that `pattern` ("timer_*", "*") matches; gives how many.
unsigned enable(std::string_view pattern, bool on);
/// -trace: a pattern, or one that is switched off by "-" before it. A name that is none is worth a warning only.
void apply(std::string_view pattern);
/// One pattern a line; "#" begins a comment. Errors: the file cannot be read.
Result<void> apply_file(const std::string& path);
/// Whether `name` is matched by `pattern` with * and ? in it.
bool matches(std::string_view pattern, std::string_view name);

namespace detail {
void write(const Event& event, fmt::string_view format, fmt::format_args args);
template <typename... Args>
void write_event(const Event& event, fmt::format_string<Args...> format, Args&&... args) {
  write(event, format, fmt::make_format_args(args...));
}
}  // namespace detail

}  // namespace emu::trace

/// The pointer in section emu_trace is how the event is found by its name, without work before main.
#define EMU_TRACE(name_text, ...)                                                                     \
  do {                                                                                                \
    static constinit ::emu::trace::Event emu_trace_event{name_text};                                  \
    [[gnu::section("emu_trace"), gnu::used]] static constinit ::emu::trace::Event* emu_trace_entry =  \
        &emu_trace_event;                                                                             \
    if (emu_trace_event.enabled.load(std::memory_order_relaxed)) [[unlikely]]                         \
      ::emu::trace::detail::write_event(emu_trace_event, __VA_ARGS__);                                \
  } while (false)
