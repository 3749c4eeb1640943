// SPDX-License-Identifier: Apache-2.0
#include "util/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace emu {
namespace {

TEST(ReadFile, FoldersMissingAndEndlessFilesAreErrors) {
  EXPECT_FALSE(read_file("/", 100));
  EXPECT_FALSE(read_file("/no/such/file", 100));
  EXPECT_FALSE(read_file("/dev/zero", 100000));
  EXPECT_EQ(read_file("/dev/null", 0).value(), "");
}

TEST(CheckCreatable, SaysWhatOpeningWouldAndMakesNothing) {
  const std::string path = testing::TempDir() + "creatable." + std::to_string(::getpid());
  EXPECT_TRUE(check_creatable(path));
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  EXPECT_TRUE(check_creatable("/dev/null"));
  for (const char* bad : {"", "/", "/tmp/", "/no/such/folder/file", "/dev/null/file"})
    EXPECT_FALSE(check_creatable(bad)) << bad;
}

TEST(FolderOf, IsWhereTheLastPartLies) {
  EXPECT_EQ(folder_of("a/b/c"), "a/b/");
  EXPECT_EQ(folder_of("/c"), "/");
  EXPECT_EQ(folder_of("c"), ".");
}

}  // namespace
}  // namespace emu
