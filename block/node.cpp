// SPDX-License-Identifier: Apache-2.0
#include "block/node.h"

namespace emu::block {

u64 total_bytes(IoVec parts) {
  u64 sum = 0;
  for (const iovec& part : parts) sum += part.iov_len;
  return sum;
}

Access storage_access(Access own, bool read_only) {
  const Perm writes = read_only ? Perm::None : Perm::Write | Perm::Resize;
  // The metadata is ours alone, whatever our users share among themselves.
  return {.uses = own.uses | Perm::ConsistentRead | writes,
          .shares = (own.shares & ~(Perm::Write | Perm::Resize)) | Perm::WriteUnchanged};
}

Access backing_access(Access own) {
  const Perm others = any(own.shares & Perm::Write) ? Perm::Write | Perm::Resize : Perm::None;
  return {.uses = own.uses & Perm::ConsistentRead,
          .shares = Perm::ConsistentRead | Perm::WriteUnchanged | others};
}

Access Node::child_access(std::string_view role, Access own) const {
  return role == "backing" ? backing_access(own) : own;
}

Result<void> Node::access_changed(Access) { return {}; }

Result<void> Node::replace_child(std::string_view role, NodeRef) {
  return error("driver {} of node '{}' cannot have its child '{}' replaced", driver(), name_, role);
}

Task<Result<void>> Node::set_read_only(bool read_only) {
  if (read_only == read_only_) co_return Result<void>();
  co_return error("node '{}' of driver {} cannot change between read-only and writable", name_, driver());
}

}  // namespace emu::block
