// SPDX-License-Identifier: Apache-2.0
// Guest instructions that are the host's own, with AVX-512: tcg/abi/host_vector.h.
#include "tcg/host/x86_64/compiler.h"

namespace emu::tcg::x86_64 {

/// A call of a helper that has an inline form here, with a constant argument. The guest's registers are where they
/// always are; nothing but the flags moves.
bool Compiler::emit_host_vector(const ir::HelperDesc& helper, const Op& op) {
  if (helper.vectors == nullptr || !map_.has_avx512) return false;
  const std::span<const Ref> args = block_->call_args(op);
  if (args.size() != 1 || !args[0].is_constant()) return false;
  const HostVector v = HostVector::unpack(block_->constant_value(args[0]));
  flags_home();
  take(kFunction);
  forget_state();
  HostVectorCode code(u8(kEnv), *helper.vectors);
  for (unsigned x = 0; x < 16; ++x) {
    if (map_.xmm_field[x] != kNoField) code.pin(unsigned(map_.xmm_home[x] - helper.vectors->vectors) / 64, u8(x));
  }
  code.emit(v);
  hot_.bytes(code.bytes());
  home_flags_.clear();
  held_ = 0;
  return true;
}

}  // namespace emu::tcg::x86_64
