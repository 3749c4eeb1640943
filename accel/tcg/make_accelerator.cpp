// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/tcg_accelerator.h"

namespace emu::ir {
// Weak until every host has its back end in the tree: without one, only the interpreter can be asked for.
Result<std::unique_ptr<HostBackend>> make_host_backend(const HostOptions& options) __attribute__((weak));
}  // namespace emu::ir

namespace emu::accel {

Result<std::unique_ptr<Accelerator>> make_tcg_accelerator(const AccelOptions& options, AccelClient& client) {
  std::unique_ptr<ir::HostBackend> backend;
  if (!options.interpreter) {
    if (&ir::make_host_backend == nullptr) return error("no code generator for this host");
    backend = EMU_TRY(ir::make_host_backend({}));
  }
  return std::unique_ptr<Accelerator>(EMU_TRY(TcgAccelerator::create(options, client, std::move(backend))));
}

}  // namespace emu::accel
