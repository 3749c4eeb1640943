// SPDX-License-Identifier: Apache-2.0
// Locks on image files that QEMU and its tools understand: byte ranges that say what is done and what is allowed.
#pragma once

#include <string>

#include "block/node.h"
#include "util/result.h"

namespace emu::block {

/// For permission number p (0 consistent read, 1 write, 2 write unchanged, 3 resize) whoever uses it holds a shared
/// lock on byte 100+p, and whoever does not let others use it holds one on byte 200+p. A conflict is somebody else's
/// lock on 200+p for what is used, or on 100+p for what is not shared; F_OFD_GETLK finds it.
class FileLocks {
 public:
  /// Whether the host has open-file-description locks for this file at all.
  static bool is_supported(int fd);

  explicit FileLocks(std::string filename) : filename_(std::move(filename)) {}
  /// Takes and gives up what differs. On an error (QEMU's words, and who holds the lock) nothing has changed.
  Result<void> change(int fd, Access access);
  /// The same locks on a descriptor that takes the old one's place.
  Result<void> take_over(int new_fd);

 private:
  Result<void> check(int fd, Access access) const;
  std::string filename_;
  u8 used_ = 0;      ///< bits of locked bytes 100+p
  u8 unshared_ = 0;  ///< bits of locked bytes 200+p
};

/// "process 4711 (qemu-system-x86)": who has the file open, other than this descriptor; empty when nobody is seen.
std::string describe_holders(int fd);

}  // namespace emu::block
