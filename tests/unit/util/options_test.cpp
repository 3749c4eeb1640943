// SPDX-License-Identifier: Apache-2.0
#include "util/options.h"

#include <gtest/gtest.h>

#include "util/string.h"
#include "util/suggest.h"

namespace emu {
namespace {

Options parsed(std::string_view text, std::string_view implied = {}) {
  auto options = Options::parse(text, {.implied_key = implied});
  EXPECT_TRUE(options) << text;
  return options ? *options : Options();
}

TEST(Options, PairsFlagsAndEscapedCommas) {
  Options options = parsed("a=b,c,d=x,,y,e=,f==");
  EXPECT_EQ(options.take("a"), "b");
  EXPECT_EQ(*options.take_bool("c"), true);
  EXPECT_EQ(options.take("d"), "x,y");
  EXPECT_EQ(options.take("e"), "");
  EXPECT_EQ(options.take("f"), "=");
  EXPECT_TRUE(options.finish());
}

TEST(Options, FirstPieceMayLeaveItsKeyOut) {
  Options options = parsed("q35,accel=tcg", "type");
  EXPECT_EQ(options.take("type"), "q35");
  EXPECT_EQ(options.take("accel"), "tcg");
  EXPECT_EQ(parsed("accel=tcg,type=pc", "type").take("type"), "pc");
  EXPECT_EQ(parsed("a,,b", "type").take("type"), "a,b");
}

TEST(Options, LastOfARepeatedKeyWins) {
  Options options = parsed("a=1,a=2");
  EXPECT_EQ(options.peek("a"), "2");
  EXPECT_EQ(options.take_all("a"), (std::vector<std::string>{"1", "2"}));
  EXPECT_TRUE(options.finish());
}

TEST(Options, NegatedFlagIsOff) {
  Options options = parsed("server,nowait");
  EXPECT_EQ(*options.take_bool("server"), true);
  EXPECT_EQ(*options.take_bool("wait"), false);
  EXPECT_TRUE(options.finish());
  EXPECT_EQ(*parsed("nowait,wait=on").take_bool("wait"), true);
}

TEST(Options, UnknownKeyNamesTheNearest) {
  Options options = parsed("pathh=x");
  (void)options.take("path");
  (void)options.take("append");
  const auto result = options.finish();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "unknown option 'pathh'");
  EXPECT_EQ(result.error().hint(), "did you mean 'path'?");
}

TEST(Options, WrongKindNamesTheKey) {
  EXPECT_EQ(parsed("n=x").take_u64("n").error().message(), "n: 'x' is not a number");
  EXPECT_EQ(parsed("n=x").take_bool("n").error().message(), "n: 'x' is neither 'on' nor 'off'");
  EXPECT_EQ(parsed("n=x").take_size("n").error().message(), "n: 'x' is not a size");
  EXPECT_EQ(parsed("mode=reedline").take_enum("mode", {"readline", "control"}).error().hint(),
            "did you mean 'readline'?");
}

TEST(Options, EmptyKeysAreRefused) {
  EXPECT_FALSE(Options::parse("=x"));
  EXPECT_FALSE(Options::parse("a=b,=x"));
  EXPECT_TRUE(Options::parse("a=b,"));
  EXPECT_TRUE(Options::parse(""));
}

TEST(Options, JsonNeedsAReader) {
  EXPECT_FALSE(Options::parse("{\"a\": 1}"));
  const auto reader = [](std::string_view) -> Result<Options::Pairs> { return Options::Pairs{{"a", "1"}}; };
  auto options = Options::parse("{\"a\": 1}", {.json = reader});
  ASSERT_TRUE(options);
  EXPECT_EQ(*options->take_u64("a"), 1u);
}

TEST(Options, HelpIsSeenWhereverItStands) {
  EXPECT_TRUE(parsed("help", "type").asks_help());
  EXPECT_TRUE(parsed("pc,help", "type").asks_help());
  EXPECT_TRUE(parsed("?").asks_help());
  EXPECT_FALSE(parsed("pc", "type").asks_help());
}

TEST(Options, EscapingSurvivesParsing) { EXPECT_EQ(parsed("a=" + escape_option_value("x,y,,z")).take("a"), "x,y,,z"); }

TEST(Numbers, Bases) {
  EXPECT_EQ(*parse_u64("10"), 10u);
  EXPECT_EQ(*parse_u64("0x1F"), 31u);
  EXPECT_EQ(*parse_u64("010"), 8u);
  EXPECT_EQ(*parse_u64("0"), 0u);
  EXPECT_EQ(*parse_u64("18446744073709551615"), ~u64(0));
  EXPECT_EQ(*parse_i64("-0x10"), -16);
  EXPECT_EQ(*parse_i64("-9223372036854775808"), INT64_MIN);
  for (const char* bad : {"", "x", "0x", "1x", "-1", "18446744073709551616", " 1", "+1", "09"}) {
    EXPECT_FALSE(parse_u64(bad)) << bad;
  }
  EXPECT_FALSE(parse_i64("9223372036854775808"));
}

TEST(Numbers, Sizes) {
  EXPECT_EQ(*parse_size("512"), 512u);
  EXPECT_EQ(*parse_size("512", 1 << 20), u64(512) << 20);
  EXPECT_EQ(*parse_size("4G", 1 << 20), u64(4) << 30);
  EXPECT_EQ(*parse_size("4k"), 4096u);
  EXPECT_EQ(*parse_size("1.5G"), u64(3) << 29);
  EXPECT_EQ(*parse_size("0x1000"), 4096u);
  EXPECT_EQ(*parse_size("7B", 1 << 20), 7u);
  for (const char* bad : {"", "-1", "x", "1Q", "1.", "1.x", ".5G", "1..5", "16E", "99999999999999999999", "1 G"}) {
    EXPECT_FALSE(parse_size(bad)) << bad;
  }
}

TEST(Suggest, NearestSpelling) {
  const std::vector<std::string> names = {"pc", "q35", "none", "microvm"};
  EXPECT_EQ(nearest("q53", names), "q35");
  EXPECT_EQ(nearest("Q35", names), "q35");
  EXPECT_EQ(nearest("mircovm", names), "microvm");
  EXPECT_EQ(nearest("zzzzzz", names), std::nullopt);
  EXPECT_EQ(nearest("micro", names), "microvm");
  EXPECT_EQ(did_you_mean("nonne", names), "did you mean 'none'?");
  EXPECT_EQ(edit_distance("abcd", "acbd"), 1u);
}

}  // namespace
}  // namespace emu
