// SPDX-License-Identifier: Apache-2.0
// A device through which a person asks the guest to give memory back: `balloon`, `query-balloon`.
#pragma once

#include "util/types.h"

namespace emu::hw {

/// Found in the object tree by dynamic_cast. Machine lock.
class Balloon {
 public:
  virtual ~Balloon() = default;
  /// The guest is asked to give back this much; it does so when and as far as it likes.
  virtual void set_target_bytes(u64 bytes) = 0;
  /// What it has given back.
  virtual u64 balloon_bytes() const = 0;
};

}  // namespace emu::hw
