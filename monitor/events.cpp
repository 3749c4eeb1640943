// SPDX-License-Identifier: Apache-2.0
#include "monitor/events.h"

#include "monitor/commands.h"

namespace emu::monitor {

void register_events(CommandRegistry& registry) {
  using namespace std::chrono_literals;
  registry.add_event<ShutdownEvent>("SHUTDOWN");
  registry.add_event<Empty>("POWERDOWN");
  registry.add_event<ShutdownEvent>("RESET");
  registry.add_event<Empty>("STOP");
  registry.add_event<Empty>("RESUME");
  registry.add_event<Empty>("SUSPEND");
  registry.add_event<Empty>("WAKEUP");
  registry.add_event<GuestPanickedEvent>("GUEST_PANICKED");
  registry.add_event<GuestPanickedEvent>("GUEST_CRASHLOADED");
  registry.add_event<RtcChangeEvent>("RTC_CHANGE", 1s);
  registry.add_event<BlockIoErrorEvent>("BLOCK_IO_ERROR", 1s);
  registry.add_event<BlockImageCorruptedEvent>("BLOCK_IMAGE_CORRUPTED");
  registry.add_event<TrayMovedEvent>("DEVICE_TRAY_MOVED");
  registry.add_event<DeviceDeletedEvent>("DEVICE_DELETED");
  registry.add_event<NicRxFilterChangedEvent>("NIC_RX_FILTER_CHANGED");
  registry.add_event<NetdevStreamConnectedEvent>("NETDEV_STREAM_CONNECTED");
  registry.add_event<NetdevStreamDisconnectedEvent>("NETDEV_STREAM_DISCONNECTED");
  registry.add_event<BalloonChangeEvent>("BALLOON_CHANGE", 1s);
  registry.add_event<DumpCompletedEvent>("DUMP_COMPLETED");
}

void register_commands(CommandRegistry& registry) {
  register_control_commands(registry);
  register_identity_commands(registry);
  register_machine_commands(registry);
  register_object_commands(registry);
  register_balloon_commands(registry);
  register_chardev_commands(registry);
  register_block_commands(registry);
  register_fd_commands(registry);
  register_net_commands(registry);
  register_dump_commands(registry);
  register_input_commands(registry);
  register_screen_commands(registry);
  register_statistics_commands(registry);
  register_memory_commands(registry);
  register_trace_commands(registry);
  register_info_commands(registry);
  register_events(registry);
}

}  // namespace emu::monitor
