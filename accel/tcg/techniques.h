// SPDX-License-Identifier: Apache-2.0
// What makes translated code fast and can be switched off, to measure what each part earns.
#pragma once

#include <string_view>

#include "util/result.h"

namespace emu::accel {

struct Techniques {
  bool links = true;          ///< a block jumps to its successor
  bool jump_cache = true;     ///< indirect jumps find their targets without C++
  bool check_sharing = true;  ///< accesses off one base share a TLB check
  bool dead_code = true;      ///< values and flags that nothing sees are not computed
  bool refill = true;         ///< first-level TLB misses are served from the second level in assembly
  bool direct_entry = true;   ///< events, SYSCALL and returns go on without the run loop
  bool quick_helpers = true;  ///< the usual case of some helpers is a leaf that spills no vector
  bool string_runs = true;    ///< REP MOVS and STOS copy and fill what lies on a page at once
  bool granules = true;       ///< a store to a page with code ends only the blocks whose bytes it touches
  bool graveyard = true;      ///< blocks whose source was overwritten come back with their bytes
  bool checked_pages = true;  ///< a page with many stores beside its code is written unseen; its blocks compare
  bool huge_pages = true;     ///< the host is asked for huge pages, for RAM and for code
  bool flag_fusion = true;    ///< a condition is used as host flags where it is made, not by way of a register
  bool segments = true;       ///< code memory is evicted in parts; else all of it, when it is full
  bool kept_contexts = true;  ///< address-space switches with a PCID keep what the TLB knows
  bool clones = true;         ///< code that is met at another virtual page is copied, not translated again
  bool plain_locks = true;    ///< on the only CPU, user code's atomic instructions are loads and stores
};

/// All but those that `without` names, "links:refill". Unknown names are errors.
Result<Techniques> parse_techniques(std::string_view without);

}  // namespace emu::accel
