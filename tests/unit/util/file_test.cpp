// SPDX-License-Identifier: Apache-2.0
#include "util/file.h"

#include <gtest/gtest.h>

namespace emu {
namespace {

TEST(ReadFile, FoldersMissingAndEndlessFilesAreErrors) {
  EXPECT_FALSE(read_file("/", 100));
  EXPECT_FALSE(read_file("/no/such/file", 100));
  EXPECT_FALSE(read_file("/dev/zero", 100000));
  EXPECT_EQ(read_file("/dev/null", 0).value(), "");
}

}  // namespace
}  // namespace emu
