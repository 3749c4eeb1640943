// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/perf_files.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace emu::accel {
namespace {

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
T get(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

TEST(PerfFiles, MapHasALineForEachBlock) {
  const std::string path = testing::TempDir() + "perf.map";
  const u8 code[3] = {0x90, 0x90, 0xc3};
  PerfFiles files;
  ASSERT_TRUE(files.open_map_at(path).has_value());
  files.add(0xffff'ffff'8100'0000, 0x10, code);
  EXPECT_EQ(contents(path), fmt::format("{:x} 3 guest_0xffffffff81000000_mode_0x10\n", reinterpret_cast<u64>(code)));
  std::filesystem::remove(path);
}

TEST(PerfFiles, DumpHasCodeAndName) {
  const std::string path = testing::TempDir() + "jit.dump";
  const u8 code[3] = {0x90, 0x90, 0xc3};
  {
    PerfFiles files;
    ASSERT_TRUE(files.open_dump_at(path).has_value());
    files.add(0x1000, 0x10, code);
    files.add(0x2000, 0x10, code);
  }
  const std::string bytes = contents(path);
  EXPECT_EQ(get<u32>(bytes, 0), 0x4a69'5444u);
  EXPECT_EQ(get<u32>(bytes, 8), 40u);
  EXPECT_EQ(get<u32>(bytes, 40), 0u);  // JIT_CODE_LOAD
  const u32 length = get<u32>(bytes, 44);
  EXPECT_EQ(length, 56 + sizeof "guest_0x1000_mode_0x10" + 3);
  EXPECT_EQ(get<u64>(bytes, 40 + 24), reinterpret_cast<u64>(code));
  EXPECT_STREQ(bytes.data() + 40 + 56, "guest_0x1000_mode_0x10");
  EXPECT_EQ(std::memcmp(bytes.data() + 40 + length - 3, code, 3), 0);
  EXPECT_EQ(get<u64>(bytes, 40 + length + 48), 1u);  // the second one's index
  EXPECT_EQ(bytes.size(), 40 + 2 * size_t(length));
  std::filesystem::remove(path);
}

TEST(PerfFiles, AFolderThatIsNotThereIsNamed) {
  PerfFiles files;
  const auto result = files.open_map_at("/nonexistent/perf.map");
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().text().find("/nonexistent/perf.map"), std::string::npos);
}

}  // namespace
}  // namespace emu::accel
