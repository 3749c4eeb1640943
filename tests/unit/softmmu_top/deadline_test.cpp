// SPDX-License-Identifier: Apache-2.0
#include "softmmu/deadline.h"

#include <gtest/gtest.h>

#include <atomic>

namespace emu::softmmu {
namespace {

TEST(Deadline, CancelledInTimeItDoesNothing) {
  std::atomic<int> calls{0};
  { const Deadline deadline(std::chrono::seconds(1000), [&] { calls++; }, [&] { calls++; }); }
  EXPECT_EQ(calls, 0);
}

TEST(Deadline, ExpiresOnceAndLeavesTimeForAnOrderlyEnd) {
  std::atomic<int> expired{0}, given_up{0};
  {
    const Deadline deadline(std::chrono::seconds(0), [&] { expired++; expired.notify_all(); }, [&] { given_up++; });
    expired.wait(0);
  }
  EXPECT_EQ(expired, 1);
  EXPECT_EQ(given_up, 0);
}

}  // namespace
}  // namespace emu::softmmu
