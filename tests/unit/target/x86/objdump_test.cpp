// SPDX-License-Identifier: Apache-2.0
#include "unit/target/x86/objdump.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

namespace emu::x86::test {
namespace {

constexpr size_t kRoom = 16;  ///< of one instruction, filled up with NOP

struct Line {
  size_t bytes = 0;
  std::string text;
};

/// "  10:\t62 f5 ...\tvaddph zmm1,zmm2,zmm3".
bool parse(const char* from, u64& at, Line& line) {
  char* end = nullptr;
  at = std::strtoull(from, &end, 16);
  if (end == from || *end != ':') return false;
  const std::string rest(end + 1);
  const size_t tab = rest.find('\t', 1);
  if (rest.empty() || rest[0] != '\t' || tab == std::string::npos) return false;
  line.bytes = 0;
  for (size_t i = 1; i + 1 < tab; ++i)
    if (rest[i] != ' ' && rest[i + 1] != ' ') ++line.bytes, ++i;
  line.text.clear();
  for (size_t i = tab + 1; i < rest.size() && rest[i] != '\n' && rest[i] != '#'; ++i) {
    if (rest[i] == ' ' && (line.text.empty() || line.text.back() == ' ')) continue;
    line.text += rest[i];
  }
  while (!line.text.empty() && line.text.back() == ' ') line.text.pop_back();
  return true;
}

std::map<u64, Line> run(const std::vector<u8>& bytes, bool is_64, Syntax syntax) {
  std::map<u64, Line> lines;
  std::string path = testing::TempDir() + "objdump-XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd < 0) return lines;
  const bool is_written = write(fd, bytes.data(), bytes.size()) == ssize_t(bytes.size());
  close(fd);
  const std::string command =
      fmt::format("objdump -D -z -b binary -m {} -M {} --insn-width=16 {} 2>&1", is_64 ? "i386:x86-64" : "i386",
                  syntax == Syntax::Intel ? "intel" : "att", path);
  if (FILE* out = is_written ? popen(command.c_str(), "r") : nullptr) {
    char text[512];
    while (std::fgets(text, sizeof text, out) != nullptr) {
      u64 at = 0;
      Line line;
      if (parse(text, at, line)) lines[at] = line;
    }
    pclose(out);
  }
  unlink(path.c_str());
  return lines;
}

}  // namespace

std::vector<std::string> objdump(const std::vector<std::vector<u8>>& insns, bool is_64, Syntax syntax) {
  std::vector<u8> all;
  for (const std::vector<u8>& insn : insns) {
    all.insert(all.end(), insn.begin(), insn.end());
    all.resize((all.size() + kRoom - 1) / kRoom * kRoom, 0x90);
  }
  const std::map<u64, Line> lines = run(all, is_64, syntax);
  std::vector<std::string> texts(insns.size());
  for (size_t i = 0; i < insns.size(); ++i) {
    const auto found = lines.find(i * kRoom);
    if (found != lines.end() && found->second.bytes == insns[i].size()) texts[i] = found->second.text;
  }
  return texts;
}

std::vector<std::string> objdump(const std::vector<u8>& code) {
  std::vector<std::string> texts;
  for (const auto& [at, line] : run(code, true, Syntax::Intel)) texts.push_back(line.text);
  return texts;
}

bool has_objdump() {
  static const bool kHas =
      objdump({{0x62, 0xf5, 0x6c, 0x48, 0x58, 0xcb}}, true, Syntax::Intel)[0] == "vaddph zmm1,zmm2,zmm3";
  return kHas;
}

TEST(Objdump, ReadsWhatItIsGiven) {
  if (!has_objdump()) GTEST_SKIP() << "cannot run here: no objdump that knows AVX512-FP16";
  EXPECT_EQ(objdump({0x90, 0xc3}), (std::vector<std::string>{"nop", "ret"}));
  EXPECT_EQ(objdump({{0x48, 0x01, 0xd8}, {0x90, 0x90}}, true, Syntax::Intel),
            (std::vector<std::string>{"add rax,rbx", ""}));
  EXPECT_EQ(objdump({{0x01, 0xd8}}, false, Syntax::Att), (std::vector<std::string>{"add %ebx,%eax"}));
}

}  // namespace emu::x86::test
