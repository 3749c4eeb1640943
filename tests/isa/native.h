// SPDX-License-Identifier: Apache-2.0
// Runs instructions on the host's processor, with every exception they raise turned into an Outcome.
#pragma once

#include <span>

#include "isa/state.h"
#include "util/result.h"

namespace emu::isa {

/// One a process: it owns fixed addresses and the signals. Not thread-safe. The code runs in this very process, but
/// sees none of its addresses: registers, FS and GS hold what the State says, and low memory only what state.h lists.
class NativeRunner {
 public:
  static Result<NativeRunner> create();
  NativeRunner(NativeRunner&&) = default;
  NativeRunner(const NativeRunner&) = delete;

  /// Places the code to run at kCodeAt; jumps elsewhere in the code pages end in INT3, which is where they went.
  void set_code(std::span<const u8> code, Bits bits);
  Outcome run(State& state);
  /// The window's contents, in a place where all of it can be written.
  u8* window() { return window_; }
  const u8* code() const { return code_; }

 private:
  NativeRunner() = default;
  void assemble();
  u8* code_ = nullptr;  ///< writable view of the code pages
  u8* window_ = nullptr;
  Bits bits_ = Bits::k64;
  u64 end_ = 0;
  u64 enter_64_ = 0, enter_32_ = 0, leave_64_ = 0, leave_32_ = 0;
};

}  // namespace emu::isa
