// SPDX-License-Identifier: Apache-2.0
// Memory for one guest CPU's state: the state at the top, room below it for return addresses and signal frames (the
// host stack pointer is the state's address while translated code runs), and a guard page at the bottom.
#pragma once

#include <memory>
#include <new>

#include "tcg/abi/env.h"

namespace emu::tcg {

class EnvStorage {
 public:
  static constexpr size_t kStackBytes = 64 * 1024;  ///< an AVX-512 signal frame is under 4 KiB; helpers never run here
  /// Allocates zeroed room for a state of `bytes`. Aborts only if the host is out of address space.
  explicit EnvStorage(size_t bytes);
  ~EnvStorage();
  EnvStorage(const EnvStorage&) = delete;
  EnvStorage& operator=(const EnvStorage&) = delete;
  void* state() const { return state_; }

 private:
  void* map_ = nullptr;
  size_t map_bytes_ = 0;
  void* state_ = nullptr;
};

}  // namespace emu::tcg
