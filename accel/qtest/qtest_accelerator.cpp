// SPDX-License-Identifier: Apache-2.0
#include "accel/qtest/qtest_accelerator.h"

namespace emu::accel {

Result<std::unique_ptr<Accelerator>> QtestAccelerator::create(AccelClient& client) {
  auto idle = EMU_TRY(make_tcg_accelerator({.interpreter = true}, client));  // reserves no memory for code
  return std::unique_ptr<Accelerator>(new QtestAccelerator(std::move(idle)));
}

Result<std::unique_ptr<Accelerator>> make_qtest_accelerator(AccelClient& client) {
  return QtestAccelerator::create(client);
}

}  // namespace emu::accel
