// SPDX-License-Identifier: Apache-2.0
// Descriptions of nodes and drives as options: from JSON, and from -drive.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "block/disk_backend.h"
#include "util/options.h"

namespace emu::block {

/// A JSON object as flat pairs: members of members "a.b", items of lists "a.0", null as "null".
/// Errors: not an object; too deep.
Result<Options::Pairs> flatten_json(const nlohmann::json& object);

/// A drive that -drive describes, without where it is plugged in.
struct DriveSpec {
  BackendSettings settings;
  std::optional<Options> node;  ///< for NodeGraph::open(); without one the drive is empty
  ThrottleConfig limits;
  std::string throttle_group;   ///< empty: the drive's own
  bool copy_on_read = false;
  bool snapshot = false;        ///< changes are thrown away at the end
};

/// Takes what -drive says of image, cache and errors; the keys it does not know go to the node.
/// `is_cdrom`: media=cdrom.
Result<DriveSpec> take_drive_spec(Options& options, bool is_cdrom);

/// cache=: "writeback", "none", "writethrough", "directsync", "unsafe".
struct CacheMode {
  bool write_back = true, direct = false, no_flush = false;
};
Result<CacheMode> parse_cache_mode(std::string_view name);

}  // namespace emu::block
