// SPDX-License-Identifier: Apache-2.0
#include "tcg/abi/env_storage.h"

#include <sys/mman.h>

#include "util/bits.h"
#include "util/check.h"

namespace emu::tcg {

EnvStorage::EnvStorage(size_t bytes) {
  const size_t guard = kPageSize;
  const size_t state_bytes = align_up(bytes, kPageSize);
  map_bytes_ = guard + kStackBytes + state_bytes;
  map_ = mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EMU_CHECK(map_ != MAP_FAILED);
  EMU_CHECK(mprotect(map_, guard, PROT_NONE) == 0);
  state_ = static_cast<u8*>(map_) + guard + kStackBytes;
}

EnvStorage::~EnvStorage() { munmap(map_, map_bytes_); }

}  // namespace emu::tcg
