// SPDX-License-Identifier: Apache-2.0
// What translating a program costs, without a guest: the code of an ELF file from its first byte to its last, block
// after block, each translated once. Prints nanoseconds for one instruction of the guest, by phase.
//   translation FILE [ROUNDS] [MAX_BYTES]
// MAX_BYTES: only so many, from the middle. Under a profiler that counts instructions the result does not depend on how
// busy the machine is; and two versions of the translator that print the same sum emit the same code.
#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <vector>

#include "target/x86/cpu.h"
#include "target/x86/state.h"
#include "target/x86/translate.h"
#include "tcg/ir/backend.h"
#include "tcg/passes/passes.h"

namespace emu {
namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kThunkBytes = 64 * 1024, kRoomBytes = 64 << 20, kLeast = 64 * 1024;

/// Code of a page, and of what follows it, as a front end asks for them.
class Bytes final : public target::GuestCode {
 public:
  Bytes(std::span<const u8> all, size_t at) : all_(all), at_(at) {}
  std::span<const u8> first() const override { return part(at_, 4096 - at_ % 4096); }
  std::span<const u8> second() override { return part((at_ / 4096 + 1) * 4096, 4096); }

 private:
  std::span<const u8> part(size_t at, size_t size) const {
    return at >= all_.size() ? std::span<const u8>() : all_.subspan(at, std::min(size, all_.size() - at));
  }
  std::span<const u8> all_;
  size_t at_;
};

/// The bytes of an ELF file's .text.
std::vector<u8> text_of(const char* path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return {};
  std::vector<char> all(size_t(file.tellg()));
  file.seekg(0).read(all.data(), long(all.size()));
  Elf64_Ehdr header;
  if (all.size() < sizeof(header)) return {};
  std::memcpy(&header, all.data(), sizeof(header));
  Elf64_Shdr best{};
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    const size_t at = header.e_shoff + i * sizeof(section);
    if (at > all.size() || all.size() - at < sizeof(section)) break;
    std::memcpy(&section, all.data() + at, sizeof(section));
    const bool is_inside = section.sh_offset <= all.size() && section.sh_size <= all.size() - section.sh_offset;
    if (section.sh_type == SHT_PROGBITS && (section.sh_flags & SHF_EXECINSTR) && is_inside &&
        section.sh_size > best.sh_size) {
      best = section;
    }
  }
  return {all.begin() + long(best.sh_offset), all.begin() + long(best.sh_offset + best.sh_size)};
}

u32 mode_of_programs() {
  u32 mode = 3u << x86::Mode::kCplShift;
  for (const auto bit : {x86::Mode::kCode64, x86::Mode::kFlatDS, x86::Mode::kFlatES, x86::Mode::kFlatSS,
                         x86::Mode::kFlatCS, x86::Mode::kPE, x86::Mode::kOsFxsr, x86::Mode::kOsXsave, x86::Mode::kAvx,
                         x86::Mode::kCr0MP, x86::Mode::kSmap}) {
    mode |= 1u << bit;
  }
  return mode;
}

/// FNV-1a, over words of the program's own addresses as if they were zero: those differ from build to build.
u64 add_code(u64 sum, std::span<const u8> code) {
  for (size_t i = 0; i < code.size(); ++i) {
    sum = (sum ^ code[i]) * 0x100000001b3;
    u64 word = 0;
    if (i + 8 < code.size()) std::memcpy(&word, code.data() + i + 1, sizeof(word));
    if ((code[i] & 0xf8) == 0xb8 && word >> 40 >= 0x55 && word >> 40 < 0x80) i += 8;
  }
  return sum;
}

struct Cost {
  u64 insns = 0, blocks = 0, hot_bytes = 0, cold_bytes = 0, side_bytes = 0, host_insns = 0, sum = 0xcbf29ce484222325;
  Clock::duration build{}, passes{}, emit{};
};

int run(const char* path, unsigned rounds, size_t most) {
  std::vector<u8> text = text_of(path);
  if (text.empty()) return fmt::print(stderr, "translation: {} has no code\n", path), 1;
  if (text.size() > most) {
    text.erase(text.begin(), text.begin() + long((text.size() - most) / 2));
    text.resize(most);
  }
  x86::X86Translator translator(x86::make_helper_table());
  auto backend = ir::make_host_backend({});
  if (!backend || !(*backend)->configure(translator.layout())) {
    return fmt::print(stderr, "translation: no host code\n"), 1;
  }
  void* map = mmap(nullptr, 2 * kRoomBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return fmt::print(stderr, "translation: no memory\n"), 1;
  u8* room = static_cast<u8*>(map);
  size_t used = 0;
  const auto thunks = (*backend)->emit_thunks({room, room, kThunkBytes}, translator.layout(), {}, used);
  if (!thunks) return fmt::print(stderr, "translation: {}\n", thunks.error().message()), 1;

  ir::Block block;
  ir::Builder builder(block, translator.layout(), translator.helpers());
  ir::CompiledBlock compiled;
  for (unsigned round = 0; round < rounds; ++round) {
    Cost cost;
    const std::clock_t began = std::clock();
    size_t hot = kThunkBytes, cold = kRoomBytes;
    for (size_t at = 0; at + 16 < text.size();) {
      if (hot + kLeast > kRoomBytes || cold + kLeast > 2 * kRoomBytes) hot = kThunkBytes, cold = kRoomBytes;
      Bytes bytes(text, at);
      unsigned most_insns = 64;
      for (;;) {
        const auto begin = Clock::now();
        const auto result = translator.translate(
            {.pc = 0x400000 + at, .mode = mode_of_programs(), .max_insns = most_insns}, bytes, builder);
        const auto built = Clock::now();
        if (result.status != target::TranslateResult::Status::Ok) return 1;
        ir::optimize(block, translator.layout(), translator.helpers(), {});
        const auto passed = Clock::now();
        const auto status = (*backend)->compile({.block = &block,
                                                 .layout = &translator.layout(),
                                                 .helpers = &translator.helpers(),
                                                 .thunks = &*thunks,
                                                 .hot = {room + hot, room + hot, kLeast},
                                                 .cold = {room + cold, room + cold, kLeast},
                                                 .allow_same_page_links = !result.straddles},
                                                compiled);
        cost.build += built - begin;
        cost.passes += passed - built;
        cost.emit += Clock::now() - passed;
        if (status == ir::CompileStatus::Ok) break;
        most_insns /= 2;
      }
      cost.insns += block.guest_insns;
      ++cost.blocks;
      cost.hot_bytes += compiled.hot_size;
      cost.cold_bytes += compiled.cold_size;
      cost.side_bytes += compiled.side_table.size();
      cost.host_insns += compiled.host_insns;
      cost.sum = add_code(cost.sum, {room + hot, compiled.hot_size});
      cost.sum = add_code(cost.sum, {room + cold, compiled.cold_size});
      cost.sum = add_code(cost.sum, compiled.side_table);
      hot = (hot + compiled.hot_size + 15) & ~size_t(15);
      cold = (cold + compiled.cold_size + 15) & ~size_t(15);
      at += std::max(block.guest_bytes, 1u);
    }
    const auto each = [&](Clock::duration d) {
      return std::chrono::duration<double, std::nano>(d).count() / double(cost.insns);
    };
    fmt::print("{} blocks, {} instructions: {:.1f} + {:.1f} + {:.1f} = {:.1f} ns to build, pass and emit one, {:.0f} ns "
               "of processor time; hot {} cold {} side {} host instructions {}, sum {:016x}\n",
               cost.blocks, cost.insns, each(cost.build), each(cost.passes), each(cost.emit),
               each(cost.build + cost.passes + cost.emit),
               double(std::clock() - began) / CLOCKS_PER_SEC * 1e9 / double(cost.insns), cost.hot_bytes,
               cost.cold_bytes, cost.side_bytes, cost.host_insns, cost.sum);
  }
  munmap(map, 2 * kRoomBytes);
  return 0;
}

}  // namespace
}  // namespace emu

int main(int argc, char** argv) {
  if (argc < 2) return fmt::print(stderr, "translation FILE [ROUNDS] [MAX_BYTES]\n"), 2;
  return emu::run(argv[1], argc > 2 ? unsigned(std::atoi(argv[2])) : 3,
                  argc > 3 ? size_t(std::atoll(argv[3])) : size_t(-1));
}
