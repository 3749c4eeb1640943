// SPDX-License-Identifier: Apache-2.0
#include "softmmu/fs_options.h"

#include "hw/9p/fsdev.h"
#include "qom/user_creatable.h"

namespace emu::softmmu {
namespace {

Result<void> finish(FsRequest& request, Options& options) {
  if (!qom::is_object_id(request.id)) {
    return error(Error(fmt::format("id={} cannot be an identifier", request.id))
                     .with_hint("it begins with a letter; letters, digits, '-', '.' and '_' may follow"));
  }
  for (auto& [key, value] : options.pairs()) {
    if (key != "id" && key != "mount_tag") request.pairs.emplace_back(key, value);
  }
  request.folder = EMU_TRY(hw::parse_fsdev(options));
  return {};
}

}  // namespace

Result<FsRequest> parse_fsdev_option(std::string_view text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "fsdriver"}));
  FsRequest request{.option = fmt::format("-fsdev {}", text)};
  request.id = EMU_TRY(options.take_required("id"));
  EMU_TRY(finish(request, options));
  return request;
}

Result<FsRequest> parse_virtfs_option(std::string_view text) {
  Options options = EMU_TRY(Options::parse(text, {.implied_key = "fsdriver"}));
  FsRequest request{.option = fmt::format("-virtfs {}", text)};
  const std::string driver = options.peek("fsdriver").value_or("");
  if (driver == "local") request.mount_tag = EMU_TRY(options.take_required("mount_tag"));
  request.id = options.take("id").value_or(request.mount_tag);
  if (request.id.empty()) request.id = "fs0";
  EMU_TRY(finish(request, options));
  return request;
}

}  // namespace emu::softmmu
