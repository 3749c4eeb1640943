// SPDX-License-Identifier: Apache-2.0
#include "util/trace.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "util/file.h"
#include "util/log.h"
#include "util/string.h"
#include "util/suggest.h"

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define EMU_HAS_USDT 1
#endif

// The linker makes these for a section whose name is a C identifier. Weak: a program may be without events.
extern "C" {
[[gnu::weak]] extern emu::trace::Event* __start_emu_trace[];
[[gnu::weak]] extern emu::trace::Event* __stop_emu_trace[];
}

namespace emu::trace {
namespace {

// Beside the log's, the only process-wide state: events happen on any thread and in any layer.
std::atomic<Sink> g_sink{Sink::Log};
std::atomic<int> g_marker_fd{-1};

std::span<Event* const> events() { return {__start_emu_trace, __stop_emu_trace}; }

Result<int> open_marker() {
  for (const char* path : {"/sys/kernel/tracing/trace_marker", "/sys/kernel/debug/tracing/trace_marker"}) {
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) return fd;
    if (errno != ENOENT) return error("-trace: cannot open '{}': {}", path, std::strerror(errno));
  }
  return error(Error("-trace: the kernel's trace_marker is not there")
                   .with_hint("mount -t tracefs nodev /sys/kernel/tracing makes it appear"));
}

}  // namespace

Result<void> set_sink(std::string_view name) {
  if (name == "log") {
    g_sink = Sink::Log;
    return {};
  }
  if (name == "ftrace") {
    if (g_marker_fd.load() < 0) g_marker_fd = EMU_TRY(open_marker());
    g_sink = Sink::Ftrace;
    return {};
  }
  if (name == "usdt") {
#ifdef EMU_HAS_USDT
    g_sink = Sink::Usdt;
    return {};
#else
    return error(Error("-trace to=usdt: this program was built without sys/sdt.h")
                     .with_hint("install systemtap-sdt-dev and build again"));
#endif
  }
  return error(Error(fmt::format("-trace to={}: there is nothing of that name", name))
                   .with_hint("there are log, ftrace and usdt"));
}

std::vector<std::string> names() {
  std::vector<std::string> list;
  for (const Event* event : events()) list.emplace_back(event->name);
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

bool is_enabled(std::string_view name) {
  return std::any_of(events().begin(), events().end(),
                     [&](const Event* event) { return event->name == name && event->enabled.load(); });
}

bool matches(std::string_view pattern, std::string_view name) {
  // Where a * stood last, and how far it has been stretched.
  std::size_t p = 0, n = 0, star = std::string_view::npos, stretched = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      stretched = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      p++;
      n++;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++stretched;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') p++;
  return p == pattern.size();
}

unsigned enable(std::string_view pattern, bool on) {
  unsigned count = 0;
  for (Event* event : events()) {
    if (!matches(pattern, event->name)) continue;
    event->enabled = on;
    count++;
  }
  return count;
}

void apply(std::string_view pattern) {
  const bool on = !pattern.starts_with('-');
  if (!on) pattern.remove_prefix(1);
  if (enable(pattern, on) != 0) return;
  const std::vector<std::string> known = names();
  const std::string hint = did_you_mean(pattern, known);
  log::warn("trace event '{}' does not exist{}", pattern, hint.empty() ? "" : "; " + hint);
}

Result<void> apply_file(const std::string& path) {
  const std::string text = EMU_TRY(read_file(path, 1 << 20), "-trace events");
  for (const std::string_view line : split(text, '\n')) {
    const std::string_view pattern = trim(line);
    if (!pattern.empty() && pattern[0] != '#') apply(pattern);
  }
  return {};
}

namespace detail {

void write(const Event& event, fmt::string_view format, fmt::format_args args) {
  const std::string text = fmt::vformat(format, args);
  switch (g_sink.load(std::memory_order_relaxed)) {
    case Sink::Log:
      log::write("{} {}\n", event.name, text);
      break;
    case Sink::Ftrace: {
      const std::string line = fmt::format("{} {}\n", event.name, text);
      static_cast<void>(!::write(g_marker_fd.load(), line.data(), line.size()));  // a full trace loses events
      break;
    }
    case Sink::Usdt:
#ifdef EMU_HAS_USDT
      STAP_PROBE2(system_emu, event, event.name, text.c_str());
#endif
      break;
  }
}

}  // namespace detail

}  // namespace emu::trace
