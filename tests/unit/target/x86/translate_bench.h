// SPDX-License-Identifier: Apache-2.0
// Guest code in, one block of IR out, and run by the interpreter.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "target/x86/translate.h"
#include "tcg/interp/interpreter.h"
#include "tcg/ir/verify.h"
#include "unit/target/x86/native_harness.h"

namespace emu::x86::test {

constexpr u32 m(Mode::Bit b) { return 1u << b; }
inline constexpr u32 kLong = m(Mode::kPE) | m(Mode::kCode64) | m(Mode::kFlatDS) | m(Mode::kFlatES) | m(Mode::kFlatSS) |
                      m(Mode::kFlatCS) | m(Mode::kOsFxsr) | m(Mode::kIopl);
inline constexpr u32 kLongUser = (kLong & ~m(Mode::kIopl)) | 3u << Mode::kCplShift;
inline constexpr u32 kFlat32 = (kLong & ~m(Mode::kCode64)) | m(Mode::kCode32) | m(Mode::kStack32);
inline constexpr u32 kReal = m(Mode::kIopl);
inline constexpr u32 kProtected16 = m(Mode::kPE) | m(Mode::kIopl);
inline constexpr u32 kVm86 = m(Mode::kPE) | m(Mode::kVM86) | 3u << Mode::kCplShift;

class Code final : public target::GuestCode {
 public:
  Code(std::span<const u8> first, std::span<const u8> second) : first_(first), second_(second) {}
  std::span<const u8> first() const override { return first_; }
  std::span<const u8> second() override { return second_; }

 private:
  std::span<const u8> first_, second_;
};

/// One 1 MiB memory from linear 0, one CPU state, one block at a time.
class Bench {
 public:
  Bench() : memory_(1 << 20), translator_(recording_helpers()) {
    for (SegmentRange& r : state_.seg_range) r = {0, 0xffff, 0, 0xffff};
    for (Segment& s : state_.seg) s.limit = 0xffff;
  }
  target::TranslateResult translate(std::vector<u8> code, u64 pc, u32 mode, std::vector<u8> second = {},
                                    target::TranslateRequest extra = {}) {
    Code guest(code, second);
    ir::Builder builder(block_, translator_.layout(), translator_.helpers());
    extra.pc = pc;
    extra.mode = mode;
    const auto result = translator_.translate(extra, guest, builder);
    if (result.status == target::TranslateResult::Status::Ok) {
      const auto verified = ir::verify(block_, translator_.layout(), translator_.helpers());
      EXPECT_TRUE(verified.has_value()) << (verified ? "" : verified.error().text());
    }
    return result;
  }
  ir::InterpretResult run(std::vector<u8> code, u64 pc, u32 mode) {
    translate(std::move(code), pc, mode);
    g_helper_called = -1;
    Memory memory(memory_);
    return ir::interpret(block_, translator_.layout(), translator_.helpers(), state_.hdr, memory);
  }
  X86State& state() { return state_; }
  const ir::HelperTable& helpers() const { return translator_.helpers(); }
  ir::Block& block() { return block_; }
  u64 peek(u64 at, unsigned bytes) {
    u64 v = 0;
    std::memcpy(&v, &memory_[at], bytes);
    return v;
  }
  void poke(u64 at, u64 v, unsigned bytes) { std::memcpy(&memory_[at], &v, bytes); }
  ir::Opcode last_opcode() const { return block_.ops.back().opcode; }
  u32 last_reason() const { return block_.ops.back().c.bits(); }

 private:
  class Memory final : public ir::InterpreterMemory {
   public:
    explicit Memory(std::vector<u8>& bytes) : bytes_(bytes) {}
    bool load(u64 at, const ir::MemInfo& mem, u8* data) override {
      const size_t n = size_t(1) << mem.log2_bytes;
      if (at + n > bytes_.size()) return false;
      std::memcpy(data, &bytes_[at], n);
      return true;
    }
    bool store(u64 at, const ir::MemInfo& mem, const u8* data) override {
      const size_t n = size_t(1) << mem.log2_bytes;
      if (at + n > bytes_.size()) return false;
      std::memcpy(&bytes_[at], data, n);
      return true;
    }
    bool probe(u64 at, const ir::MemInfo& mem) override { return at + (1u << mem.log2_bytes) <= bytes_.size(); }
    bool rmw(ir::RmwOp, u64, const ir::MemInfo&, u64, u64&) override { return false; }
    bool cas(u64, const ir::MemInfo&, u64, u64, u64&) override { return false; }

   private:
    std::vector<u8>& bytes_;
  };
  std::vector<u8> memory_;
  X86State state_;
  X86Translator translator_;
  ir::Block block_;
};

}  // namespace emu::x86::test
