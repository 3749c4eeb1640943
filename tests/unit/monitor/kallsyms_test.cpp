// SPDX-License-Identifier: Apache-2.0
#include "monitor/kallsyms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "monitor/symbols.h"

namespace emu::monitor {
namespace {

constexpr u64 kBase = 0xffffffff9a200000;
enum class Layout { UpTo61, Debian61, From64 };

/// A kernel's tables amid other memory, as scripts/kallsyms.c lays them out.
class Image {
 public:
  /// `offsets` as they lie in memory.
  Image(Layout layout, const std::vector<std::pair<i32, std::string>>& symbols, u64 base = kBase) {
    std::string tokens[256];
    for (unsigned c = 0x21; c < 0x7f; c++) tokens[c] = char(c);
    for (unsigned i = 0; i < 0x21; i++) tokens[i] = "tok" + std::string(i % 7, '_');
    for (unsigned i = 0x7f; i < 256; i++) tokens[i] = i == 200 ? "start_" : "x" + std::string(i % 5, 'y');
    bytes.assign(4096, 0xcc);
    if (layout != Layout::From64) put_offsets(symbols, base);
    put(symbols.size(), 4);
    align();
    const std::size_t names = bytes.size();
    std::vector<u32> markers;
    for (std::size_t i = 0; i < symbols.size(); i++) {
      if (i % 256 == 0) markers.push_back(u32(bytes.size() - names));
      std::vector<u8> coded = {'T'};
      const std::string& name = symbols[i].second;
      for (std::size_t at = 0; at < name.size();) {
        const bool is_start = name.compare(at, 6, "start_") == 0;
        coded.push_back(is_start ? 200 : u8(name[at]));
        at += is_start ? 6 : 1;
      }
      if (coded.size() < 0x80) {
        put(coded.size(), 1);
      } else {
        put((coded.size() & 0x7f) | 0x80, 1), put(coded.size() >> 7, 1);
      }
      bytes.insert(bytes.end(), coded.begin(), coded.end());
    }
    align();
    for (const u32 marker : markers) put(marker, 4);
    align();
    for (std::size_t i = 0; layout == Layout::Debian61 && i < symbols.size(); i++)
      put((i * 7919) & 0xffffff, 3);  // any order
    align();
    std::vector<u16> index;
    const std::size_t begin = bytes.size();
    for (unsigned i = 0; i < 256; i++) {
      index.push_back(u16(bytes.size() - begin));
      if (i == '0') digits = bytes.size();
      for (const char c : tokens[i]) put(u8(c), 1);
      put(0, 1);
    }
    align();
    for (const u16 offset : index) put(offset, 2);
    align();
    if (layout == Layout::From64) put_offsets(symbols, base);
    bytes.insert(bytes.end(), 4096, 0xcc);
  }

  std::vector<KernelSymbol> parse() const { return parse_kallsyms(bytes, digits); }

  std::vector<u8> bytes;
  std::size_t digits = 0;

 private:
  void put(u64 value, unsigned n) {
    for (unsigned i = 0; i < n; i++) bytes.push_back(u8(value >> (8 * i)));
  }
  void align() { bytes.resize((bytes.size() + 7) / 8 * 8); }
  void put_offsets(const std::vector<std::pair<i32, std::string>>& symbols, u64 base) {
    for (const auto& [offset, name] : symbols) put(u32(offset), 4);
    align();
    put(base, 8);
  }
};

/// Every 16 bytes one, for several CPUs: those of per-CPU data come first.
std::vector<std::pair<i32, std::string>> many(std::size_t count) {
  std::vector<std::pair<i32, std::string>> symbols = {{0, "fixed_percpu_data"}, {0x1000, "irq_stack"}};
  for (std::size_t i = 0; i < count; i++) {
    symbols.emplace_back(-1 - i32(16 * i), fmt::format("start_of_{}", i));
  }
  return symbols;
}

TEST(Kallsyms, TablesOfBothLayoutsAreRead) {
  for (const Layout layout : {Layout::UpTo61, Layout::Debian61, Layout::From64}) {
    for (const std::size_t count : {1, 200, 254, 255, 256, 510, 511, 1000, 5000}) {
      const std::vector<KernelSymbol> symbols = Image(layout, many(count)).parse();
      ASSERT_EQ(symbols.size(), count) << int(layout);
      EXPECT_EQ(symbols.front(), (KernelSymbol{kBase, "start_of_0"}));
      EXPECT_EQ(symbols.back(), (KernelSymbol{kBase + 16 * (count - 1), fmt::format("start_of_{}", count - 1)}));
    }
  }
}

TEST(Kallsyms, OffsetsMayBePlainAndNamesLong) {
  const std::string name = "rust_" + std::string(300, 'n');
  const std::vector<KernelSymbol> symbols =
      Image(Layout::UpTo61, {{0, "_text"}, {0x40, name}, {0x123456, "end"}}).parse();
  EXPECT_EQ(symbols, (std::vector<KernelSymbol>{{kBase, "_text"}, {kBase + 0x40, name}, {kBase + 0x123456, "end"}}));
}

TEST(Kallsyms, WhatIsNoKernelIsRefused) {
  EXPECT_TRUE(parse_kallsyms({}, 0).empty());
  EXPECT_TRUE(Image(Layout::UpTo61, many(300), 0x1000).parse().empty());  // the base is no kernel's
  EXPECT_TRUE(Image(Layout::UpTo61, {{-1, "a"}, {-100, "b"}, {-50, "c"}}).parse().empty());  // not sorted
  const Image image(Layout::UpTo61, many(300));
  EXPECT_TRUE(parse_kallsyms(image.bytes, image.digits + 2).empty());
  EXPECT_TRUE(parse_kallsyms(image.bytes, image.bytes.size()).empty());
}

TEST(Kallsyms, CutAndDamagedTablesDoNoHarm) {
  const Image image(Layout::UpTo61, many(700));
  for (std::size_t cut = 0; cut < image.bytes.size(); cut += 8) {
    static_cast<void>(parse_kallsyms(std::span(image.bytes).subspan(cut), image.digits - std::min(cut, image.digits)));
    static_cast<void>(parse_kallsyms(std::span(image.bytes).first(cut), image.digits));
  }
  std::mt19937 random(1);
  for (int i = 0; i < 3000; i++) {
    std::vector<u8> damaged = image.bytes;
    for (int n = 0; n < 4; n++) damaged[4096 + random() % (damaged.size() - 8192)] = u8(random());
    static_cast<void>(parse_kallsyms(damaged, image.digits));
  }
}

TEST(Symbols, TheGuestIsAskedAgainAfterItWasForgotten) {
  Symbols symbols;
  int asked = 0;
  symbols.add_guest_later([&]() -> Result<std::vector<KernelSymbol>> {
    asked++;
    return std::vector<KernelSymbol>{{kBase, "_text"}, {kBase + 0x100, "next"}};
  });
  EXPECT_EQ(symbols.describe(kBase + 8), "_text+0x8");
  EXPECT_EQ(symbols.find("next"), kBase + 0x100);
  EXPECT_EQ(asked, 1);
  symbols.forget_guest();
  EXPECT_EQ(symbols.find("next"), kBase + 0x100);
  EXPECT_EQ(asked, 2);
  int failed = 0;
  Symbols others;
  others.add_guest_later([&]() -> Result<std::vector<KernelSymbol>> {
    failed++;
    return error("none");
  });
  EXPECT_EQ(others.describe(kBase), "");
  EXPECT_EQ(others.describe(kBase), "");  // not so soon
  EXPECT_EQ(failed, 1);
  EXPECT_FALSE(others.add_guest([]() -> Result<std::vector<KernelSymbol>> { return error("none"); }));
}

}  // namespace
}  // namespace emu::monitor
