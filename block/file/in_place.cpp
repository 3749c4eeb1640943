// SPDX-License-Identifier: Apache-2.0
#include "block/file/in_place.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>

#include "util/trace.h"

namespace emu::block {

InPlace::Kind InPlace::kind_of(int fd) {
  struct statfs system {};
  if (::fstatfs(fd, &system) != 0) return Kind::None;
  switch (u32(system.f_type)) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
      return Kind::All;
    case EXT4_SUPER_MAGIC:
      return Kind::Writes;
    default:
      return Kind::None;
  }
}

bool InPlace::may_write(u64 offset, u64 length, ClockNs now) const {
  if (kind_ == Kind::None || long_locks_ > 0) return false;
  if (kind_ == Kind::All) return true;
  // The rest of a page that is not in memory would have to be read first.
  constexpr u64 kPage = 4096;
  return offset % kPage == 0 && length % kPage == 0 && now >= rests_until_;
}

void InPlace::note(ClockNs took, ClockNs now) {
  if (kind_ != Kind::Writes || took <= kSlow) return;
  const bool is_soon = now < rests_until_ + rest_;
  rest_ = is_soon ? std::min(rest_ * 2, kLongestRest) : kFirstRest;
  rests_until_ = now + rest_;
  EMU_TRACE("file_in_place_rests", "a write took {} us, workers make them for {} s",
            std::chrono::duration_cast<std::chrono::microseconds>(took).count(),
            std::chrono::duration_cast<std::chrono::seconds>(rest_).count());
}

}  // namespace emu::block
