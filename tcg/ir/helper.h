// SPDX-License-Identifier: Apache-2.0
// Descriptions of the C++ functions that IR may call.
#pragma once

#include <string>
#include <vector>

#include "tcg/abi/host_vector.h"
#include "tcg/abi/thunks.h"

namespace emu::ir {

/// What a helper does beyond computing its result. Decides what is synchronised around the call.
enum HelperEffect : u32 {
  kHelperPure = 0,        ///< result depends on arguments alone; may be merged or removed; a leaf
  kHelperLeaf = 1u << 0,  ///< touches no vector or x87 state, does not allocate, lock or log; reads/writes only the
                          ///< non-pinned state it says by the bits below
  kHelperReadsState = 1u << 1,   ///< all guest registers and flags must be at home
  kHelperWritesState = 1u << 2,  ///< may change any guest register or the flags
  kHelperMayFault = 1u << 3,     ///< may set env.leave with a guest exception pending; needs a recovery point
  kHelperMemory = 1u << 4,       ///< touches guest memory: shared TLB checks end here
  kHelperEndsBlock = 1u << 5,    ///< an ExitSystem/ExitIndirect must follow
};

struct HelperDesc {
  std::string name;
  tcg::HelperFn function = nullptr;
  u32 effects = 0;
  unsigned arguments = 0;  ///< at most kHelperArgs
  /// A helper whose only argument is a packed tcg::HostVector, which it runs on the state at these places: x86-64 hosts
  /// with AVX-512 have the instruction inline where the argument is a constant.
  const tcg::HostVectorHomes* vectors = nullptr;
  const tcg::TransferHelper* transfer = nullptr;  ///< of a helper with a direct form; its `full` is `function`
  const tcg::QuickHelper* quick = nullptr;        ///< of one whose usual case is a leaf; its `full` is `function`
  tcg::HelperFn general = nullptr;  ///< of a leaf: what generated code calls, which uses general registers only
};

/// A target's helpers; index = what Call carries. Filled once, before translation; then read without a lock.
struct HelperTable {
  std::vector<HelperDesc> helpers;
  u32 add(HelperDesc desc) {
    helpers.push_back(std::move(desc));
    return u32(helpers.size() - 1);
  }
};

}  // namespace emu::ir
