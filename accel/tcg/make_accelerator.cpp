// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/tcg_accelerator.h"

namespace emu::accel {

Result<std::unique_ptr<Accelerator>> make_tcg_accelerator(const AccelOptions& options, AccelClient& client) {
  std::unique_ptr<ir::HostBackend> backend;
  if (!options.interpreter) backend = EMU_TRY(ir::make_host_backend({.host_features = options.host_features}));
  return std::unique_ptr<Accelerator>(EMU_TRY(TcgAccelerator::create(options, client, std::move(backend))));
}

}  // namespace emu::accel
