// SPDX-License-Identifier: Apache-2.0
// Reads the command line, option by option. Start-up only.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "softmmu/json_options.h"
#include "softmmu/option_table.h"
#include "softmmu/start_options.h"
#include "softmmu/trace_options.h"

namespace emu::softmmu {

inline bool is_help(std::string_view text) { return text == "help" || text == "?"; }

/// Reads options one by one; those that merge are collected and looked at when all are in.
class OptionReader {
 public:
  Result<void> read(const GivenOption& given);
  Result<void> finish();
  StartOptions take() { return std::move(out_); }
  bool is_done() const { return out_.help.has_value(); }

 private:
  Result<void> read_machine_part(const GivenOption& given);
  Result<void> read_stream_part(const GivenOption& given);
  Result<void> read_running_part(const GivenOption& given);

  Result<void> machine(const std::string& text);
  Result<void> finish_machine();
  Result<void> accel(Options options);
  Result<void> device(const std::string& text);
  Result<void> global(const std::string& text);
  Result<void> object(const std::string& text);
  Result<void> chardev(const std::string& text);
  Result<void> disk(const GivenOption& given);
  Result<void> shared_folder(const GivenOption& given);
  Result<void> mon(const std::string& text);
  Result<void> add_fd(Options options);
  Result<void> display(const std::string& text);
  Result<void> audiodev(Options options);
  Result<void> vga(const std::string& text);
  Result<void> network(const GivenOption& given);
  Result<void> name(Options options);
  Result<void> rtc(Options options);
  Result<void> take_asked(Asked asked);
  Result<void> actions(Options options);
  Result<void> message(Options options);
  Result<void> overcommit(Options options);
  Result<void> claim_id(const char* group, const std::string& id);
  void ask(HelpTopic topic, std::string about = {}) { out_.help = HelpRequest{topic, std::move(about)}; }
  Result<void> merge(Options& into, const std::string& text, std::string_view implied) {
    into.merge(EMU_TRY(Options::parse(text, {.implied_key = implied, .json = json_pairs})));
    return {};
  }

  StartOptions out_;
  Options machine_, smp_, memory_;
  std::set<std::string> ids_;  ///< "group/id"
};

}  // namespace emu::softmmu
