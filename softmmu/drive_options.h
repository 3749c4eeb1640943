// SPDX-License-Identifier: Apache-2.0
// -drive, -blockdev, -hda and -cdrom in typed form, and the devices they stand for.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "block/block_options.h"
#include "qom/property.h"
#include "util/options.h"

namespace emu::softmmu {

/// if=.
enum class DriveInterface : u8 { Default, None, Ide, Scsi, Virtio, Pflash };

struct DriveRequest {
  DriveInterface interface = DriveInterface::Default;
  std::optional<u64> index, bus, unit;
  bool is_cdrom = false;
  block::DriveSpec spec;  ///< its id may be empty: resolve_drives() makes one
  std::string option;     ///< as typed, for messages
};

/// The argument of -drive.
Result<DriveRequest> parse_drive(std::string_view text);
/// -hda to -hdd (index 0 to 3) and -cdrom.
DriveRequest drive_of_file(const std::string& file, u64 index, bool is_cdrom, std::string option);
/// The argument of -blockdev: key=value or JSON.
Result<Options> parse_blockdev(std::string_view text);

/// How a machine arranges drives that say no place of their own.
struct DriveLayout {
  DriveInterface interface = DriveInterface::None;  ///< for those without if=
  unsigned ide_buses = 0, ide_units = 0;
};

/// A drive and the device that shall use it; no device: -device names it later, or the board takes it (pflash).
struct PlacedDrive {
  DriveInterface interface = DriveInterface::None;
  unsigned bus = 0, unit = 0;
  bool is_cdrom = false;
  block::DriveSpec spec;
  std::string option;
  std::string driver;  ///< "ide-hd"; empty: none
  std::vector<std::pair<std::string, qom::PropertyValue>> properties;
};

/// Gives each drive a place and an id. `snapshot`: -snapshot. Errors: two in one place, no such place.
Result<std::vector<PlacedDrive>> place_drives(std::vector<DriveRequest> requests, const DriveLayout& layout,
                                              bool snapshot);

}  // namespace emu::softmmu
