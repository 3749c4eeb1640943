// SPDX-License-Identifier: Apache-2.0
#include "softmmu/startup.h"

#include <unistd.h>

#include <cstdio>
#include <optional>

#include "softmmu/daemon.h"
#include "softmmu/emulation.h"
#include "softmmu/explain.h"
#include "softmmu/help.h"
#include "softmmu/start_options.h"
#include "util/file.h"
#include "util/log.h"
#include "util/random.h"
#include "util/sys/fatal_signals.h"
#include "util/thread.h"
#include "util/trace.h"

namespace emu::softmmu {
namespace {

Result<void> check_target(const StartOptions& options, std::string_view argv0, const Parts& parts) {
  const std::string named = target_of_program(argv0);
  const std::string& target = options.target.empty() ? named : options.target;
  const bool asks = options.help && options.help->topic == HelpTopic::Target;
  if (target.empty() || target == parts.target || asks) return {};
  const std::string where = options.target.empty() ? fmt::format("the program's name asks for guest '{}'", target)
                                                   : fmt::format("-target {}", target);
  return error(Error(where + ": no such guest architecture here").with_hint(fmt::format("there is {}", parts.target)));
}

Result<void> set_traces(const StartOptions& options) {
  if (!options.trace_sink.empty()) EMU_TRY(trace::set_sink(options.trace_sink));
  for (const std::string& file : options.trace_files) EMU_TRY(trace::apply_file(file));
  for (const std::string& pattern : options.trace_patterns) trace::apply(pattern);
  return {};
}

/// What a start would write, of which a dry run makes nothing.
Result<void> check_files(const StartOptions& options) {
  if (!options.log_file.empty()) EMU_TRY(check_creatable(options.log_file), "-D");
  if (!options.pidfile.empty()) EMU_TRY(PidFile::check(options.pidfile));
  if (options.perf_map) EMU_TRY(check_creatable(fmt::format("/tmp/perf-{}.map", ::getpid())), "-perfmap");
  if (options.jit_dump) EMU_TRY(check_creatable(fmt::format("jit-{}.dump", ::getpid())), "-jitdump");
  const bool has_qtest_log = !options.qtest_log.empty() && options.qtest_log != "none";
  if (has_qtest_log) EMU_TRY(check_creatable(options.qtest_log), "-qtest-log");
  return {};
}

Result<int> run_checked(std::span<const std::string> arguments, const Parts& parts) {
  const StartOptions options = EMU_TRY(parse_command_line(arguments.subspan(arguments.empty() ? 0 : 1)));
  EMU_TRY(check_target(options, arguments.empty() ? "" : arguments[0], parts));
  if (options.help) {
    const std::string text = EMU_TRY(help_text(*options.help, options, parts));
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0 ? 0 : 1;
  }
  if (options.explain) {
    const std::string text = EMU_TRY(explain(options, parts));
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0 ? 0 : 1;
  }
  log::set_timestamps(options.message_timestamps);
  EMU_TRY(log::set_filter(options.log_filter));
  EMU_TRY(set_traces(options));
  if (options.dry_run) {
    EMU_TRY(check_files(options));
    EMU_TRY(enter_sandbox(options.sandbox));
    Emulation emulation(options, parts);
    EMU_TRY(emulation.build());
    for (const std::string& note : emulation.notes()) log::info("{}", note);
    return kExitNormal;
  }
  std::optional<Daemon> daemon;
  if (options.daemonize) daemon = EMU_TRY(Daemon::fork_off());
  if (!options.process_name.empty()) set_this_thread_name(options.process_name);
  if (!options.log_file.empty()) EMU_TRY(log::open_file(options.log_file));
  log::set_mask(options.log_mask);
  if (options.seed) seed_random(*options.seed);
  EMU_TRY(enter_sandbox(options.sandbox));

  Emulation emulation(options, parts);
  EMU_TRY(emulation.build());
  std::optional<PidFile> pidfile;
  if (!options.pidfile.empty()) pidfile.emplace(EMU_TRY(PidFile::create(options.pidfile)));
  for (const std::string& note : emulation.notes()) log::info("{}", note);
  if (daemon) EMU_TRY(daemon->ready());
  return emulation.run();
}

}  // namespace

int run_program(std::span<const std::string> arguments, const Parts& parts) {
  sys::install_fatal_signals();
  auto status = run_checked(arguments, parts);
  if (status) return *status;
  log::error(status.error());
  return kExitRefused;
}

}  // namespace emu::softmmu
