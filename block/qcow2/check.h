// SPDX-License-Identifier: Apache-2.0
// Whether an image's reference counts agree with its references; and making them agree.
#pragma once

#include <functional>

#include "block/node.h"

namespace emu::block::qcow2 {

class Image;

enum class Repair : u8 { None, Leaks, All };

struct CheckReport {
  u64 errors = 0;          ///< left after repair
  u64 leaks = 0;
  u64 errors_fixed = 0;
  u64 leaks_fixed = 0;
  u64 failures = 0;        ///< tables that could not be read
  u64 total_clusters = 0;  ///< of the guest's disk
  u64 allocated_clusters = 0;
  u64 fragmented_clusters = 0;
  u64 compressed_clusters = 0;
  u64 end_offset = 0;
  bool is_usable() const { return errors == 0 && failures == 0; }
};

/// The image is open, nothing is under way and nothing dirty. For repair it must be writable; then the dirty and
/// corrupt bits go when nothing is wrong any more. `say` hears one line for each finding.
Task<Result<CheckReport>> check(Image& image, Repair repair, std::function<void(const std::string&)> say);

}  // namespace emu::block::qcow2
