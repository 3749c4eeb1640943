// SPDX-License-Identifier: Apache-2.0
#include "util/log.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "util/string.h"
#include "util/suggest.h"

namespace emu::log {
namespace {

struct MaskName {
  Mask mask;
  std::string_view name;
  std::string_view help;
};

constexpr MaskName kNames[] = {
    {Mask::OutAsm, "out_asm", "show generated host code for each translated block"},
    {Mask::InAsm, "in_asm", "show guest instructions for each translated block"},
    {Mask::Op, "op", "show the intermediate code of each block as translated"},
    {Mask::OpOpt, "op_opt", "show the intermediate code of each block after optimisation"},
    {Mask::Int, "int", "show interrupts and exceptions in short format"},
    {Mask::Exec, "exec", "show each block as it is entered (many lines; see nochain)"},
    {Mask::Cpu, "cpu", "show CPU registers before entering a block (many lines; see nochain)"},
    {Mask::Mmu, "mmu", "log MMU-related activity"},
    {Mask::CpuReset, "cpu_reset", "show CPU state before CPU resets"},
    {Mask::Unimp, "unimp", "log what the guest uses and this program does not have"},
    {Mask::GuestErrors, "guest_errors", "log what the guest does against the specification"},
    {Mask::Page, "page", "dump the memory map whenever it changes"},
    {Mask::NoChain, "nochain", "do not link translated blocks, so that exec and cpu show every one"},
};

struct Range {
  u64 first;
  u64 last;  // inclusive, so that a range may end at the top of the address space
};
using Ranges = std::vector<Range>;

/// How often one message text has been printed in the current second.
struct Limit {
  std::chrono::steady_clock::time_point window;
  unsigned printed = 0;
  u64 suppressed = 0;
};

constexpr unsigned kPerSecond = 10;
constexpr std::size_t kLimitTexts = 4096;  // call sites are finite; a run-time format text must not grow us forever

// The log is the one process-wide service: crashes, any thread and any layer write to it.
std::mutex g_output_mutex;
int g_output_fd = STDERR_FILENO;
std::atomic<bool> g_timestamps{false};
std::mutex g_limit_mutex;
std::unordered_map<std::string, Limit>& limits() {
  static auto* const kLimits = new std::unordered_map<std::string, Limit>;  // usable while statics are torn down
  return *kLimits;
}
std::mutex g_filter_mutex;
std::atomic<const Ranges*> g_ranges{nullptr};

/// Writes all of it, but gives up rather than hang on an output that nobody reads.
void write_all(int fd, std::string_view text) {
  int patience = 20;
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(std::size_t(n));
    } else if (n < 0 && errno == EAGAIN && patience-- > 0) {
      pollfd ready{fd, POLLOUT, 0};  // the terminal's file is non-blocking while a character device shares it
      ::poll(&ready, 1, 50);
    } else if (n >= 0 || errno != EINTR) {
      return;
    }
  }
}

/// What stands in front of a message to a person.
std::string message_head() {
  if (!g_timestamps.load(std::memory_order_relaxed)) return "system-emu: ";
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  return fmt::format("{}.{:06}Z system-emu: ", date, now.tv_nsec / 1000);
}

void append_line(const char* prefix, std::string_view text, std::string& out) {
  out += prefix;
  out += text;
  out += '\n';
}

Result<Range> parse_range(std::string_view text) {
  const auto refused = [text] {
    return emu::error(Error(fmt::format("-dfilter: '{}' is not an address range", text))
                          .with_hint("ranges look like START+SIZE, START-SIZE or START..END"));
  };
  const auto dots = text.find("..");
  const auto at = dots != std::string_view::npos ? dots : text.find_first_of("+-");
  if (at == std::string_view::npos) return refused();
  const auto first = parse_u64(text.substr(0, at));
  const auto second = parse_u64(text.substr(at + (dots != std::string_view::npos ? 2 : 1)));
  if (!first || !second) return refused();
  if (dots != std::string_view::npos) {
    if (*second < *first) return emu::error("-dfilter: '{}' ends before it starts", text);
    return Range{*first, *second};
  }
  if (*second == 0) return emu::error("-dfilter: '{}' is empty", text);
  if (text[at] == '+') {
    const u64 last = *first + (*second - 1);
    if (last < *first) return emu::error("-dfilter: '{}' runs past the end of the address space", text);
    return Range{*first, last};
  }
  if (*second - 1 > *first) return emu::error("-dfilter: '{}' begins before address 0", text);
  return Range{*first - (*second - 1), *first};
}

}  // namespace

namespace detail {

std::atomic<u32> g_mask{0};
std::atomic<bool> g_filtered{false};

bool in_filter_list(u64 address) {
  const Ranges* ranges = g_ranges.load(std::memory_order_acquire);
  if (!ranges) return true;
  for (const Range& range : *ranges) {
    if (address >= range.first && address <= range.last) return true;
  }
  return false;
}

void vwrite(fmt::string_view format, fmt::format_args args) {
  const std::string text = fmt::vformat(format, args);
  const std::lock_guard lock(g_output_mutex);
  write_all(g_output_fd, text);
}

void vlimited(const char* prefix, fmt::string_view format, fmt::format_args args) {
  const auto now = std::chrono::steady_clock::now();
  u64 suppressed = 0;
  {
    const std::lock_guard lock(g_limit_mutex);
    auto& table = limits();
    std::string key(format.data(), format.size());
    if (table.size() >= kLimitTexts && !table.contains(key)) table.clear();
    Limit& limit = table[std::move(key)];
    if (limit.printed == 0 || now - limit.window >= std::chrono::seconds(1)) {
      suppressed = std::exchange(limit.suppressed, 0);
      limit.window = now;
      limit.printed = 0;
    }
    if (limit.printed == kPerSecond) {
      limit.suppressed++;
      return;
    }
    limit.printed++;
  }
  std::string text = fmt::format("{}: ", prefix);
  text += fmt::vformat(format, args);
  if (suppressed) text += fmt::format(" ({} more like this were not shown)", suppressed);
  text += '\n';
  const std::lock_guard lock(g_output_mutex);
  write_all(g_output_fd, text);
}

void vsay(const char* prefix, fmt::string_view format, fmt::format_args args) {
  std::string text = message_head();
  append_line(prefix, fmt::vformat(format, args), text);
  const std::lock_guard lock(g_output_mutex);
  write_all(STDERR_FILENO, text);
}

}  // namespace detail

void set_timestamps(bool on) { g_timestamps.store(on, std::memory_order_relaxed); }

Mask mask() { return Mask(detail::g_mask.load(std::memory_order_relaxed)); }
void set_mask(Mask mask) { detail::g_mask.store(u32(mask), std::memory_order_relaxed); }

Result<Mask> parse_mask(std::string_view list) {
  Mask mask = Mask::None;
  for (const std::string_view item : split(list, ',')) {
    if (item.empty() || item == "none") continue;
    Mask found = Mask::None;
    if (item == "all") {
      for (const MaskName& name : kNames) found = found | name.mask;
      found = found & ~Mask::NoChain;
    }
    for (const MaskName& name : kNames) {
      if (name.name == item) found = name.mask;
    }
    if (found == Mask::None) {
      std::vector<std::string_view> names;
      for (const MaskName& name : kNames) names.push_back(name.name);
      std::string hint = did_you_mean(item, names);
      if (hint.empty()) hint = "'-d help' lists the log items";
      return emu::error(Error(fmt::format("-d: no log item '{}'", item)).with_hint(std::move(hint)));
    }
    mask = mask | found;
  }
  return mask;
}

std::string help() {
  std::string text = "Log items (comma separated):\n";
  for (const MaskName& name : kNames) text += fmt::format("{:<13} {}\n", name.name, name.help);
  text += fmt::format("{:<13} {}\n", "all", "everything above except nochain");
  return text;
}

Result<void> open_file(const std::string& path) {
  int fd = STDERR_FILENO;
  if (!path.empty()) {
    fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return emu::error("-D: cannot open '{}': {}", path, std::strerror(errno));
  }
  const std::lock_guard lock(g_output_mutex);
  if (g_output_fd != STDERR_FILENO) ::close(g_output_fd);
  g_output_fd = fd;
  return {};
}

Result<void> set_filter(std::string_view list) {
  auto ranges = std::make_unique<Ranges>();
  if (!list.empty()) {
    for (const std::string_view item : split(list, ',')) ranges->push_back(EMU_TRY(parse_range(item)));
  }
  // Readers hold no lock, so replaced lists are kept: a user changes the filter a handful of times.
  const std::lock_guard lock(g_filter_mutex);
  static auto* const kEver = new std::vector<std::unique_ptr<Ranges>>;
  const bool filtered = !ranges->empty();
  kEver->push_back(std::move(ranges));
  g_ranges.store(filtered ? kEver->back().get() : nullptr, std::memory_order_release);
  detail::g_filtered.store(filtered, std::memory_order_release);
  return {};
}

void error(const Error& error) {
  std::string text = message_head();
  append_line("", error.text(), text);
  const std::lock_guard lock(g_output_mutex);
  write_all(STDERR_FILENO, text);
}

}  // namespace emu::log
