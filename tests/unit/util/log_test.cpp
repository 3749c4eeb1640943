// SPDX-License-Identifier: Apache-2.0
#include "util/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace emu {
namespace {

class Log : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(log::open_file(path_)); }
  void TearDown() override {
    (void)log::open_file("");
    (void)log::set_filter("");
    log::set_mask(log::Mask::None);
    ::unlink(path_.c_str());
  }
  std::string written() const {
    std::stringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }
  std::string path_ = testing::TempDir() + "log_test." + std::to_string(::getpid());
};

TEST_F(Log, ListOfItemsBecomesTheirUnion) {
  EXPECT_EQ(*log::parse_mask("in_asm,int"), log::Mask::InAsm | log::Mask::Int);
  EXPECT_EQ(*log::parse_mask("all") & log::Mask::NoChain, log::Mask::None);
}

TEST_F(Log, UnknownItemNamesTheNearest) {
  const auto result = log::parse_mask("in_asn");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "-d: no log item 'in_asn'");
  EXPECT_EQ(result.error().hint(), "did you mean 'in_asm'?");
}

TEST_F(Log, HelpListsEveryItem) {
  for (const char* item : {"in_asm", "op_opt", "guest_errors", "nochain", "page"}) {
    EXPECT_NE(log::help().find(item), std::string::npos) << item;
  }
}

TEST_F(Log, GuestErrorIsSilentUnlessItsMaskIsOn) {
  log::guest_error("offset {:#x}", 4);
  EXPECT_EQ(written(), "");
  log::set_mask(log::Mask::GuestErrors);
  log::guest_error("offset {:#x}", 4);
  EXPECT_EQ(written(), "guest error: offset 0x4\n");
}

TEST_F(Log, RepeatedTextIsLimited) {
  log::set_mask(log::Mask::Unimp);
  for (int i = 0; i < 1000; i++) log::unimplemented("register {}", i);
  const std::string text = written();
  EXPECT_LT(std::count(text.begin(), text.end(), '\n'), 100);
  EXPECT_GE(std::count(text.begin(), text.end(), '\n'), 10);
}

TEST_F(Log, FilterTakesThreeSpellings) {
  ASSERT_TRUE(log::set_filter("0x1000+0x10,0x2fff-0x1000,0x4000..0x4001"));
  EXPECT_FALSE(log::in_filter(0xfff));
  EXPECT_TRUE(log::in_filter(0x1000));
  EXPECT_TRUE(log::in_filter(0x100f));
  EXPECT_FALSE(log::in_filter(0x1010));
  EXPECT_TRUE(log::in_filter(0x2000));
  EXPECT_TRUE(log::in_filter(0x2fff));
  EXPECT_FALSE(log::in_filter(0x3000));
  EXPECT_TRUE(log::in_filter(0x4001));
  EXPECT_FALSE(log::in_filter(0x4002));
}

TEST_F(Log, FilterReachesTheTopOfTheAddressSpace) {
  ASSERT_TRUE(log::set_filter("0xffffffffffff0000+0x10000"));
  EXPECT_TRUE(log::in_filter(~0ull));
}

TEST_F(Log, BadFiltersAreRefused) {
  for (const char* text : {"x", "1", "1+0", "2..1", "0xffffffffffffffff+2", "0-2", "1+", "+1"}) {
    EXPECT_FALSE(log::set_filter(text)) << text;
  }
  EXPECT_TRUE(log::in_filter(0));
}

TEST_F(Log, UnwritableFileIsAnError) { EXPECT_FALSE(log::open_file("/nonexistent/x")); }

}  // namespace
}  // namespace emu
