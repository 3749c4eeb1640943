// SPDX-License-Identifier: Apache-2.0
// The commands and events there are. Each group is in a file of its own.
#pragma once

#include "monitor/command.h"

namespace emu::monitor {

/// All of them.
void register_commands(CommandRegistry& registry);

void register_control_commands(CommandRegistry& registry);  ///< stop, cont, system_reset, quit, human-monitor-command
void register_identity_commands(CommandRegistry& registry);    ///< version, schema, machines, CPU models, options
void register_machine_commands(CommandRegistry& registry);     ///< query-cpus-fast, query-pci, query-memdev...
void register_object_commands(CommandRegistry& registry);      ///< qom-*, device-*, object-*
void register_balloon_commands(CommandRegistry& registry);     ///< balloon, query-balloon
void register_chardev_commands(CommandRegistry& registry);     ///< chardev-*, query-chardev, ringbuf-*, yank
void register_block_commands(CommandRegistry& registry);       ///< blockdev-*, query-block*, eject, change...
void register_fd_commands(CommandRegistry& registry);          ///< getfd, add-fd...
void register_net_commands(CommandRegistry& registry);           ///< netdev_*, set_link, query-rx-filter, hostfwd_*
void register_dump_commands(CommandRegistry& registry);        ///< memsave, pmemsave, dump-guest-memory
void register_input_commands(CommandRegistry& registry);       ///< send-key
void register_screen_commands(CommandRegistry& registry);      ///< screendump
void register_statistics_commands(CommandRegistry& registry);  ///< query-stats
void register_info_commands(CommandRegistry& registry);        ///< info ... that only people ask for
void register_trace_commands(CommandRegistry& registry);       ///< trace-event-*, trace-event
void register_memory_commands(CommandRegistry& registry);      ///< x, xp, print
void register_events(CommandRegistry& registry);

}  // namespace emu::monitor
