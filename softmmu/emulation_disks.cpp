// SPDX-License-Identifier: Apache-2.0
// The disks that the command line asks for.
#include "monitor/events.h"
#include "softmmu/emulation.h"
#include "util/log.h"

namespace emu::softmmu {
namespace {

DriveLayout layout_of(const std::string& machine_type) {
  if (machine_type.starts_with("pc-i440fx")) return {DriveInterface::Ide, 2, 2};
  if (machine_type.starts_with("pc-q35")) return {DriveInterface::Ide, 6, 1};
  return {};
}

}  // namespace

Result<void> Emulation::make_nodes() {
  for (const Options& options : options_.blockdevs) {
    EMU_TRY(disks_->add_node(options), fmt::format("-blockdev node-name={}", options.peek("node-name").value_or("")));
  }
  return {};
}

Result<void> Emulation::make_drives(hw::Board& board) {
  const std::string machine_type = board.type().name();
  const auto placed = EMU_TRY(place_drives(options_.drives, layout_of(machine_type), options_.snapshot));
  for (const PlacedDrive& drive : placed) {
    if (!drive.driver.empty() && registry_.find(drive.driver) == nullptr) {
      return error(Error(fmt::format("{}: device '{}' is not there yet", drive.option, drive.driver))
                       .with_hint("'-device help' lists what there is"));
    }
    EMU_TRY(disks_->add_drive(drive.spec), drive.option);
    if (drive.interface == DriveInterface::Pflash) {
      const std::string property = fmt::format("pflash{}", drive.unit);
      if (board.type().find_property(property) == nullptr) {
        return error("{}: machine '{}' has no flash memory number {}", drive.option, machine_type, drive.unit);
      }
      EMU_TRY(board.set(property, drive.spec.settings.id), drive.option);
    }
    if (drive.driver.empty()) continue;
    DeviceRequest device{.driver = drive.driver, .id = "", .bus = "", .properties = drive.properties};
    for (auto property = device.properties.begin(); property != device.properties.end(); ++property) {
      if (property->first != "bus") continue;
      device.bus = property->second.text();
      device.properties.erase(property);
      break;
    }
    drive_devices_.push_back(std::move(device));
  }
  return {};
}

void Emulation::io_error(const block::BlockIoError& failure) {
  loop_.post([this, failure] {
    using Action = monitor::IoErrorAction;
    const Action action = failure.action == block::OnError::Stop     ? Action::Stop
                          : failure.action == block::OnError::Ignore ? Action::Ignore
                                                                     : Action::Report;
    if (action == Action::Stop && run_state_.is_running()) {
      log::warn("drive '{}': {} '{}' failed: {}; the machine stops, and 'cont' tries again",
                failure.device.empty() ? failure.node_name : failure.device,
                failure.is_write ? "a write to" : "a read of", failure.filename, failure.reason);
    }
    if (monitors_ != nullptr) {
      monitor::BlockIoErrorEvent event{.device = failure.device, .node_name = {},
                                       .operation = failure.is_write ? monitor::IoOperation::Write
                                                                     : monitor::IoOperation::Read,
                                       .action = action, .nospace = failure.no_space, .reason = failure.reason};
      if (!failure.node_name.empty()) event.node_name = failure.node_name;
      monitors_->emit("BLOCK_IO_ERROR", event, failure.device + failure.node_name);
    }
    if (action == Action::Stop && !run_state_.is_ending()) run_state_.stop_as(State::IoError);
  });
}

void Emulation::image_corrupted(const block::BlockCorruption& corruption) {
  loop_.post([this, corruption] {
    if (monitors_ == nullptr) return;
    monitor::BlockImageCorruptedEvent event{.device = drive_over(corruption.node_name), .node_name = {},
                                            .msg = corruption.message, .offset = i64(corruption.offset),
                                            .size = i64(corruption.bytes), .fatal = corruption.fatal};
    if (!corruption.node_name.empty()) event.node_name = corruption.node_name;
    monitors_->emit("BLOCK_IMAGE_CORRUPTED", event);
  });
}

/// The id of the drive whose image a node is; empty when there is none.
std::string Emulation::drive_over(const std::string& node_name) const {
  const block::NodeRef node = disks_->graph().find(node_name);
  for (const block::DiskBackend* drive : disks_->backends()) {
    if (node && drive->root() == node) return drive->settings().id;
  }
  return {};
}

void Emulation::tray_moved(const std::string& drive, const std::string& device, bool open) {
  loop_.post([this, event = monitor::TrayMovedEvent{drive, device, open}] {
    if (monitors_ != nullptr) monitors_->emit("DEVICE_TRAY_MOVED", event);
  });
}

}  // namespace emu::softmmu
