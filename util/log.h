// SPDX-License-Identifier: Apache-2.0
// The -d log for people who look inside a guest, and messages to the person who started us.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <string>
#include <string_view>
#include <utility>

#include "util/bits.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::log {

/// What -d can switch on; the spelling there is in log.cpp.
enum class Mask : u32 {
  None = 0,
  InAsm = bit(0),        ///< guest instructions of each translated block
  Op = bit(1),           ///< IR as translated
  OpOpt = bit(2),        ///< IR after the passes
  OutAsm = bit(3),       ///< emitted host code
  Int = bit(4),          ///< interrupts and exceptions
  Exec = bit(5),         ///< each block entered
  Cpu = bit(6),          ///< registers before each block
  Mmu = bit(7),          ///< page walks and TLB fills
  GuestErrors = bit(8),  ///< what the guest does against a specification
  Unimp = bit(9),        ///< what the guest asks for and we do not have
  CpuReset = bit(10),    ///< registers at each CPU reset
  Page = bit(11),        ///< memory map as it is published
  NoChain = bit(12),     ///< not a log: blocks are not linked, so that exec and cpu are complete
};
constexpr Mask operator|(Mask a, Mask b) { return Mask(u32(a) | u32(b)); }
constexpr Mask operator&(Mask a, Mask b) { return Mask(u32(a) & u32(b)); }
constexpr Mask operator~(Mask a) { return Mask(~u32(a)); }

namespace detail {
extern std::atomic<u32> g_mask;
extern std::atomic<bool> g_filtered;
bool in_filter_list(u64 address);
void vwrite(fmt::string_view format, fmt::format_args args);
void vlimited(const char* prefix, fmt::string_view format, fmt::format_args args);
void vsay(const char* prefix, fmt::string_view format, fmt::format_args args);
}  // namespace detail

/// Whether any of `mask` is switched on: one relaxed load.
inline bool enabled(Mask mask) { return (detail::g_mask.load(std::memory_order_relaxed) & u32(mask)) != 0; }
/// Whether -dfilter lets this guest address through; everything when there is no filter.
inline bool in_filter(u64 address) {
  return !detail::g_filtered.load(std::memory_order_acquire) || detail::in_filter_list(address);
}
inline bool enabled_at(Mask mask, u64 address) { return enabled(mask) && in_filter(address); }

Mask mask();
void set_mask(Mask mask);

/// "in_asm,int" as after -d. "all" is everything but nochain.
Result<Mask> parse_mask(std::string_view list);
/// The text of `-d help`.
std::string help();

/// -D: from now on the log goes to this file, which is truncated. An empty path is standard error again.
Result<void> open_file(const std::string& path);

/// -dfilter: comma list of START+SIZE, START-SIZE (SIZE bytes that end with START) and START..END (inclusive).
/// An empty list lets everything through.
Result<void> set_filter(std::string_view ranges);

/// Writes to the log as is, from any thread; the caller has asked enabled() and ends lines itself.
template <typename... Args>
void write(fmt::format_string<Args...> format, Args&&... args) {
  detail::vwrite(format, fmt::make_format_args(args...));
}
template <typename... Args>
void write_if(Mask mask, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(mask)) [[unlikely]]
    detail::vwrite(format, fmt::make_format_args(args...));
}

/// The guest went wrong. One line without "\n"; at most ten a second for each format text, and a count of the rest.
template <typename... Args>
void guest_error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Mask::GuestErrors)) [[unlikely]]
    detail::vlimited("guest error", format, fmt::make_format_args(args...));
}
/// The guest asked for what is not written yet; limited like guest_error.
template <typename... Args>
void unimplemented(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Mask::Unimp)) [[unlikely]]
    detail::vlimited("unimplemented", format, fmt::make_format_args(args...));
}

/// -msg timestamp=on: messages to the person begin with the time (UTC, ISO 8601).
void set_timestamps(bool on);

/// For the person at the terminal, always on standard error. One line without "\n".
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  detail::vsay("", format, fmt::make_format_args(args...));
}
void error(const Error& error);
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  detail::vsay("warning: ", format, fmt::make_format_args(args...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  detail::vsay("info: ", format, fmt::make_format_args(args...));
}

}  // namespace emu::log
