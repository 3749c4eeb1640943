// SPDX-License-Identifier: Apache-2.0
#include "softmmu/trace_options.h"

#include "softmmu/option_reader.h"
#include "util/string.h"

namespace emu::softmmu {

Result<Asked> read_log_items(std::string_view text, StartOptions& options) {
  if (is_help(text)) return Asked::LogHelp;
  options.log_items += (options.log_items.empty() ? "" : ",") + std::string(text);
  for (const std::string_view item : split(text, ',')) {
    constexpr std::string_view kTrace = "trace:";
    if (item == "trace:help") return Asked::TraceHelp;
    if (item.starts_with(kTrace)) {
      options.trace_patterns.emplace_back(item.substr(kTrace.size()));
    } else {
      options.log_mask = options.log_mask | EMU_TRY(log::parse_mask(item));
    }
  }
  return Asked::Nothing;
}

Result<Asked> read_trace(std::string_view text, StartOptions& options) {
  if (is_help(text)) return Asked::TraceHelp;
  Options given = EMU_TRY(Options::parse(text, {.implied_key = "enable"}));
  if (auto pattern = given.take("enable")) {
    if (is_help(*pattern)) return Asked::TraceHelp;
    options.trace_patterns.push_back(std::move(*pattern));
  }
  if (auto file = given.take("events")) options.trace_files.push_back(std::move(*file));
  if (auto file = given.take("file")) options.log_file = std::move(*file);
  options.trace_sink = given.take("to").value_or(options.trace_sink);
  EMU_TRY(given.finish());
  return Asked::Nothing;
}

}  // namespace emu::softmmu
