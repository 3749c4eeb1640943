// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/shared.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace emu::accel {

void TcgShared::replace_debug_points(DebugPoints points) {
  EMU_CHECK(run.is_still());
  const std::vector<u64> before = debug.points().breakpoints;
  debug.set(std::move(points));
  const std::vector<u64>& now = debug.points().breakpoints;
  std::vector<u64> changed;
  std::set_symmetric_difference(before.begin(), before.end(), now.begin(), now.end(), std::back_inserter(changed));
  if (!blocks) return;
  for (const u64 address : changed) blocks->invalidate_at(address);
}

}  // namespace emu::accel
