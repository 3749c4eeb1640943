// SPDX-License-Identifier: Apache-2.0
// -fsdev and -virtfs in typed form. Nothing is opened here.
#pragma once

#include <string>
#include <string_view>

#include "hw/9p/export.h"
#include "util/options.h"

namespace emu::softmmu {

/// A folder for a guest.
struct FsRequest {
  std::string option;  ///< as typed, for errors
  std::string id, mount_tag;  ///< the tag with -virtfs only
  hw::p9::ExportOptions folder;
  Options::Pairs pairs;  ///< as typed, without id and tag
};

Result<FsRequest> parse_fsdev_option(std::string_view text);
/// The folder, and the name under which a device of its own shows it; id= is that name if it is not given.
Result<FsRequest> parse_virtfs_option(std::string_view text);

}  // namespace emu::softmmu
