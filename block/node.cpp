// SPDX-License-Identifier: Apache-2.0
#include "block/node.h"

namespace emu::block {

u64 total_bytes(IoVec parts) {
  u64 sum = 0;
  for (const iovec& part : parts) sum += part.iov_len;
  return sum;
}

Task<Result<void>> Node::set_read_only(bool read_only) {
  if (read_only == read_only_) co_return Result<void>();
  co_return error("node '{}' of driver {} cannot change between read-only and writable", name_, driver());
}

}  // namespace emu::block
