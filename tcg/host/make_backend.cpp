// SPDX-License-Identifier: Apache-2.0
#include "tcg/host/x86_64/backend.h"

namespace emu::ir {

Result<std::unique_ptr<HostBackend>> make_host_backend(const HostOptions& options) {
  if (!__builtin_cpu_supports("x86-64-v3")) return error("this host's processor is below the x86-64-v3 baseline");
  tcg::x86_64::HostFeatures features;
  features.avx512vl = options.avx512 && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq");
  return std::unique_ptr<HostBackend>(std::make_unique<tcg::x86_64::X64Backend>(features));
}

}  // namespace emu::ir
