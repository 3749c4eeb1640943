// SPDX-License-Identifier: Apache-2.0
#include "monitor/symbols.h"

#include <gtest/gtest.h>

#include <random>

namespace emu::monitor {
namespace {

std::vector<u8> bytes(std::string_view text) { return {text.begin(), text.end()}; }

/// ELF64 with one table of symbols: offset 64 section headers (null, symtab, strtab), then symbols, then names.
std::vector<u8> elf() {
  std::vector<u8> data(64 + 3 * 64 + 3 * 24 + 16);
  const auto put = [&](u64 at, u64 value, unsigned n) {
    for (unsigned i = 0; i < n; i++) data[at + i] = u8(value >> (8 * i));
  };
  const std::string_view magic = "\x7f""ELF\2\1\1";
  std::copy(magic.begin(), magic.end(), data.begin());
  put(40, 64, 8), put(58, 64, 2), put(60, 3, 2);
  const u64 symbols = 64 + 3 * 64, names = symbols + 3 * 24;
  put(128 + 4, 2, 4), put(128 + 24, symbols, 8), put(128 + 32, 72, 8), put(128 + 40, 2, 4);
  put(192 + 4, 3, 4), put(192 + 24, names, 8), put(192 + 32, 16, 8);
  put(symbols + 24, 1, 4), data[symbols + 28] = 2, put(symbols + 30, 1, 2), put(symbols + 32, 0x1000, 8),
                                          put(symbols + 40, 16, 8);
  put(symbols + 48, 6, 4), data[symbols + 52] = 2, put(symbols + 54, 1, 2), put(symbols + 56, 0x2000, 8),
                                          put(symbols + 64, 0, 8);
  const std::string_view text("\0main\0tail\0", 11);
  std::copy(text.begin(), text.end(), data.begin() + std::ptrdiff_t(names));
  return data;
}

TEST(Symbols, ElfFilesKnowSizes) {
  Symbols symbols;
  ASSERT_TRUE(symbols.add(elf()));
  EXPECT_EQ(symbols.describe(0x1000), "main");
  EXPECT_EQ(symbols.describe(0x100f), "main+0xf");
  EXPECT_EQ(symbols.describe(0x1010), "");
  EXPECT_EQ(symbols.describe(0x2100), "tail+0x100");
  EXPECT_EQ(symbols.describe(0xfff), "");
  EXPECT_EQ(symbols.find("tail"), 0x2000u);
  EXPECT_EQ(symbols.find("nobody"), std::nullopt);
}

TEST(Symbols, MapsReachToTheNextSymbol) {
  Symbols symbols;
  ASSERT_TRUE(symbols.add(bytes("ffffffff81000000 T _text\nnonsense\nffffffff81000040 t next\n")));
  EXPECT_EQ(symbols.describe(0xffffffff8100003f), "_text+0x3f");
  EXPECT_EQ(symbols.describe(0xffffffff81000041), "next+0x1");
  EXPECT_EQ(symbols.describe(0xffffffffffffffff), "");
}

TEST(Symbols, NamesAreFoundByTheirBeginning) {
  Symbols symbols;
  ASSERT_TRUE(symbols.add(bytes("1000 T start\n2000 T stop\n3000 T other\n")));
  EXPECT_EQ(symbols.names_with("st", 10), (std::vector<std::string>{"start", "stop"}));
  EXPECT_EQ(symbols.names_with("st", 1), (std::vector<std::string>{"start"}));
  EXPECT_TRUE(symbols.names_with("x", 10).empty());
}

TEST(Symbols, OtherFilesAreRefused) {
  Symbols symbols;
  EXPECT_FALSE(symbols.add(bytes("")));
  EXPECT_FALSE(symbols.add(bytes("hello\n")));
  EXPECT_FALSE(symbols.add(bytes(std::string_view("a\0b", 3))));
  EXPECT_FALSE(symbols.add_file("/"));
}

TEST(Symbols, DamagedElfFilesDoNoHarm) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; round++) {
    std::vector<u8> data = elf();
    for (int n = 0; n < 4; n++) data[4 + random() % (data.size() - 4)] = u8(random());
    if (round % 3 == 0) data.resize(random() % data.size());
    Symbols symbols;
    static_cast<void>(symbols.add(data));
    symbols.describe(0x1000);
  }
}

}  // namespace
}  // namespace emu::monitor
