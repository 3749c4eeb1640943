// SPDX-License-Identifier: Apache-2.0
// The mask of host features: which back end comes out, and what is refused.
#include <gtest/gtest.h>

#include "tcg/host/x86_64/backend.h"

namespace emu::ir {
namespace {

const tcg::x86_64::HostFeatures& features_of(const std::unique_ptr<HostBackend>& backend) {
  return static_cast<const tcg::x86_64::X64Backend&>(*backend).features();
}

TEST(MakeBackend, WithoutAvx512) {
  const auto backend = make_host_backend({.host_features = "-avx512"});
  ASSERT_TRUE(backend) << backend.error().text();
  EXPECT_FALSE(features_of(*backend).avx512vl);
}

TEST(MakeBackend, HostBelowTheBaselineIsRefusedByTheNamesOfWhatItLacks) {
  const auto refused = make_host_backend({.host_features = "-avx512:-avx2:-bmi2"});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text().find("below x86-64-v3"), std::string::npos);
  EXPECT_NE(refused.error().text().find("it has no avx2, bmi2"), std::string::npos) << refused.error().text();
}

TEST(MakeBackend, WrongMasksNameTheNearestSpelling) {
  EXPECT_NE(make_host_backend({.host_features = "-avx215"}).error().text().find("avx2"), std::string::npos);
  EXPECT_NE(make_host_backend({.host_features = "+avx2"}).error().text().find("'-'"), std::string::npos);
  EXPECT_FALSE(make_host_backend({.host_features = "-avx2:"}));
}

}  // namespace
}  // namespace emu::ir
