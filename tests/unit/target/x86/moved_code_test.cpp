// SPDX-License-Identifier: Apache-2.0
// Host code that is copied for another page of the guest: of every opcode, in many forms, the copy has to be what
// translation makes there. Nothing is run.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "target/x86/helpers.h"
#include "target/x86/translate.h"
#include "tcg/ir/backend.h"
#include "tcg/passes/passes.h"

namespace emu::x86::test {
namespace {

constexpr u32 m(Mode::Bit b) { return 1u << b; }
constexpr u32 kKernel = m(Mode::kPE) | m(Mode::kCode64) | m(Mode::kFlatDS) | m(Mode::kFlatES) | m(Mode::kFlatSS) |
                        m(Mode::kFlatCS) | m(Mode::kOsFxsr) | m(Mode::kOsXsave) | m(Mode::kAvx) | m(Mode::kAvx512) |
                        m(Mode::kFsGsBase) | m(Mode::kIopl);
constexpr u32 kUser = (kKernel & ~m(Mode::kIopl)) | 3u << Mode::kCplShift;

class Code final : public target::GuestCode {
 public:
  explicit Code(std::span<const u8> bytes) : bytes_(bytes) {}
  std::span<const u8> first() const override { return bytes_; }
  std::span<const u8> second() override { return {}; }

 private:
  std::span<const u8> bytes_;
};

/// Two places for a block's code, its parts differently far from each other.
class Bench {
 public:
  explicit Bench(bool avx512) : translator_(make_helper_table()), room_(kRoom) {
    backend_ = std::move(*ir::make_host_backend({.avx512 = avx512}));
    EXPECT_TRUE(backend_->configure(translator_.layout()).has_value());
    size_t used = 0;
    thunks_ = *backend_->emit_thunks({room_.data(), room_.data(), kPart}, translator_.layout(), {}, used);
  }

  enum class Result { NotMovable, Same, Different, DoesNotFit };
  Result move(std::span<const u8> code, u32 mode, u64 from, u64 to) {
    const ir::CodeParts at{part(1), part(2)}, then{part(4), part(3)};
    if (!compile(code, mode, from, at, here_) || here_.relocations.empty()) return Result::NotMovable;
    if (!compile(code, mode, to, then, there_)) return Result::Different;
    const std::vector<u8> hot(then.hot, then.hot + there_.hot_size), cold(then.cold, then.cold + there_.cold_size);
    if (here_.hot_size != there_.hot_size || here_.cold_size != there_.cold_size) return Result::Different;
    if (here_.side_table != there_.side_table || here_.relocations != there_.relocations) return Result::Different;
    std::copy_n(at.hot, here_.hot_size, part(4));
    std::copy_n(at.cold, here_.cold_size, part(3));
    const ir::CodeSpan hot_span{part(4), part(4), kPart}, cold_span{part(3), part(3), kPart};
    if (!backend_->relocate(hot_span, cold_span, {at.hot, at.cold, here_.hot_size}, to - from, here_.relocations))
      return Result::DoesNotFit;
    if (!move_links(then, to - from)) return Result::Different;
    const bool same = std::equal(hot.begin(), hot.end(), then.hot) && std::equal(cold.begin(), cold.end(), then.cold);
    return same ? Result::Same : Result::Different;
  }

 private:
  static constexpr size_t kPart = 32 * 1024, kRoom = 5 * kPart;
  u8* part(size_t i) { return room_.data() + i * kPart + (i % 2) * 0x710; }

  bool compile(std::span<const u8> code, u32 mode, u64 pc, const ir::CodeParts& at, ir::CompiledBlock& compiled) {
    Code guest(code);
    ir::Builder builder(block_, translator_.layout(), translator_.helpers());
    const auto result = translator_.translate({.pc = pc, .mode = mode}, guest, builder);
    if (result.status != target::TranslateResult::Status::Ok) return false;
    ir::optimize(block_, translator_.layout(), translator_.helpers(), {});
    u8 *hot = const_cast<u8*>(at.hot), *cold = const_cast<u8*>(at.cold);
    const ir::CompileRequest request{.block = &block_,
                                     .layout = &translator_.layout(),
                                     .helpers = &translator_.helpers(),
                                     .thunks = &thunks_,
                                     .hot = {hot, hot, kPart / 2},
                                     .cold = {cold, cold, kPart / 2},
                                     .relocatable = true};
    return backend_->compile(request, compiled) == ir::CompileStatus::Ok;
  }

  bool move_links(const ir::CodeParts& then, u64 moves) {
    if (here_.links.size() != there_.links.size()) return false;
    for (size_t i = 0; i < here_.links.size(); ++i) {
      const ir::LinkSite &x = here_.links[i], &y = there_.links[i];
      if (x.offset != y.offset || x.key != y.key || x.kind != y.kind || x.mode != y.mode) return false;
      if (x.target_pc + moves != y.target_pc) return false;
      u8* site = const_cast<u8*>(then.at(x.offset));
      backend_->link({site, site, 22}, x.kind, y.target_pc, 7, then.hot);  // as the original's may be
      backend_->reset_link({site, site, 22}, then.at(x.key));
      if (x.kind == ir::LinkKind::CrossPage) std::fill(site + 5, site + 22, 0xcc);  // never reached
    }
    return true;
  }

  X86Translator translator_;
  std::unique_ptr<ir::HostBackend> backend_;
  std::vector<u8> room_;
  tcg::ThunkTable thunks_;
  ir::Block block_;
  ir::CompiledBlock here_, there_;
};

/// Every opcode with each prefix and each ModRM.reg. What follows it is random code; what precedes it makes registers
/// hold pcs, in every second block.
class Blocks {
 public:
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (unsigned map = 0; map < 8; ++map) {
      for (unsigned n = 0; n < 256 * 4 * 8 * 3; ++n) {
        const unsigned opcode = n & 255, prefix = n >> 8 & 3, reg = n >> 10 & 7, form = n >> 13;
        bytes_.clear();
        if (random_() % 2) put_pcs();
        if (map < 4) {
          legacy(map, prefix);
        } else {
          vex(1 + unsigned(random_() % 3), prefix, map >= 6);
        }
        bytes_.push_back(u8(opcode));
        operands(reg, form);
        visit(std::span<const u8>(bytes_));
      }
    }
  }

 private:
  void put(std::initializer_list<int> bytes) {
    for (const int b : bytes) bytes_.push_back(u8(b));
  }
  /// Less than 64 KiB away, so that it fits what the pc itself fits.
  void put_near() { put({int(random_() & 0xff), int(random_() & 0xff), 0, 0}); }
  void put_pcs() {
    for (const int reg : {0, 1, 2, 6}) {  // rax rcx rdx rsi
      if (random_() % 3 == 0) continue;
      put({0x48, 0x8d, reg << 3 | 5});
      put_near();
    }
  }
  void legacy(unsigned map, unsigned prefix) {
    constexpr u8 kPrefixes[] = {0, 0x66, 0xf2, 0xf3};
    if (prefix != 0) bytes_.push_back(kPrefixes[prefix]);
    if (random_() % 8 == 0) bytes_.push_back(0x64);
    if (random_() % 16 == 0) bytes_.push_back(0xf0);
    if (random_() % 2) bytes_.push_back(u8(0x40 | (random_() & 0xf)));
    if (map >= 1) bytes_.push_back(0x0f);
    if (map >= 2) bytes_.push_back(map == 2 ? 0x38 : 0x3a);
  }
  void vex(unsigned map, unsigned pp, bool is_evex) {
    const int rxb = int(random_() % 8 << 5), w = int(random_() % 2 << 7), vvvv = int(random_() % 16 << 3);
    if (is_evex) {
      put({0x62, rxb | 0x10 | int(map), w | vvvv | 4 | int(pp), int(random_() % 3 << 5) | 8 | int(random_() % 8)});
    } else {
      put({0xc4, rxb | int(map), w | vvvv | int(random_() % 2 << 2) | int(pp)});
    }
  }
  void operands(unsigned reg, unsigned form) {
    const int r = int(reg << 3);
    if (form == 0) {
      put({r | 5});  // [rip + disp32]
      put_near();
    } else if (form == 1) {
      put({0xc0 | r | int(random_() % 8)});
    } else {
      put({0x80 | r | int(random_() % 4)});  // [rax, rcx, rdx or rbx + disp32]
      put_near();
    }
    put_near();  // an immediate, or the beginning of what follows
    for (unsigned i = 0; i < 12; ++i) bytes_.push_back(u8(random_()));
    put({0xe8, 0x10, 0, 0, 0});
  }

  std::vector<u8> bytes_;
  std::mt19937_64 random_{5};
};

class MovedCode : public testing::TestWithParam<bool> {};

TEST_P(MovedCode, IsWhatTranslationMakesThere) {
  Bench bench(GetParam());
  constexpr u64 kPairs[][2] = {{0x5555'5555'4230, 0x7f12'3456'7230},
                               {0x40'0230, 0x1234'5230},
                               {0x7f12'3456'7230, 0x5555'5555'4230},
                               {0xffff'ffff'8100'0230, 0xffff'ffff'c012'3230}};
  unsigned blocks = 0, movable = 0, failures = 0;
  Blocks().for_each([&](std::span<const u8> code) {
    const auto& [from, to] = kPairs[blocks % 4];
    const Bench::Result result = bench.move(code, blocks / 4 % 2 ? kUser : kKernel, from, to);
    ++blocks;
    movable += result != Bench::Result::NotMovable;
    // Random code further on may jump far away, where a pc is too large.
    if (result == Bench::Result::DoesNotFit || result == Bench::Result::NotMovable) return;
    if (result == Bench::Result::Same || ++failures > 20) return;
    std::string text;
    for (const u8 b : code) text += fmt::format("{:02x} ", b);
    ADD_FAILURE() << fmt::format("{:#x} to {:#x}: {}", from, to, text);
  });
  EXPECT_EQ(failures, 0u);
  EXPECT_GT(movable, blocks * 8 / 10);
}

TEST_P(MovedCode, DoesNotFitWhereAPcIsTooLarge) {
  Bench bench(GetParam());
  const std::vector<u8> call = {0xe8, 0x10, 0, 0, 0};
  EXPECT_EQ(bench.move(call, kUser, 0x7f12'3456'7230, 0x5555'5555'4230), Bench::Result::Same);
  EXPECT_EQ(bench.move(call, kUser, 0x40'0230, 0x5000'0230), Bench::Result::Same);
  EXPECT_NE(bench.move(call, kUser, 0x40'0230, 0x5555'5555'4230), Bench::Result::Same);
}

TEST_P(MovedCode, IsNotMadeOfBlocksThatArePinnedToTheirPc) {
  Bench bench(GetParam());
  const auto move = [&](std::vector<u8> code, u32 mode = kUser, u64 from = 0x5555'5555'4230) {
    return bench.move(code, mode, from, 0x7f12'3456'7230);
  };
  constexpr auto kPinned = Bench::Result::NotMovable;
  EXPECT_EQ(move({0x8b, 0x05, 0, 1, 0, 0, 0xc3}), Bench::Result::Same);                         // mov eax, [rip]
  EXPECT_EQ(move({0x67, 0x8b, 0x05, 0, 1, 0, 0, 0xc3}), kPinned);                               // [eip]
  EXPECT_EQ(move({0x8d, 0x05, 0, 1, 0, 0, 0xc3}), kPinned);                                     // lea eax, [rip]
  EXPECT_EQ(move({0xe8, 0, 0, 0, 0x60}, kUser, 0x7fff'ffff'e230), kPinned);                     // a wild call
  EXPECT_EQ(move({0xe8, 0, 1, 0, 0}, kUser | m(Mode::kTF)), kPinned);
  EXPECT_EQ(move({0xe8, 0, 1, 0, 0}, (kUser & ~m(Mode::kCode64)) | m(Mode::kCode32)), kPinned);
}

INSTANTIATE_TEST_SUITE_P(Hosts, MovedCode, testing::Bool(),
                         [](const auto& p) { return p.param ? "Avx512" : "Avx2"; });

}  // namespace
}  // namespace emu::x86::test
