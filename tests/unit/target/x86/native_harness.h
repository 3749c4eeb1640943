// SPDX-License-Identifier: Apache-2.0
// Runs x86-64 user instructions on the host CPU, and the same bytes through translator and IR interpreter.
#pragma once

#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "target/x86/cpu.h"
#include "target/x86/translate.h"
#include "target/x86/translate_emitter.h"
#include "tcg/interp/interpreter.h"

namespace emu::x86::test {

/// x87, MXCSR and xmm registers as FXSAVE64 lays them out; the unit's state after FNINIT.
struct FpuState {
  FpuState() {
    put<u16>(kControl, 0x37f);
    put<u32>(kMxcsr, 0x1f80);
  }
  static constexpr size_t kControl = 0, kStatus = 2, kTags = 4, kMxcsr = 24, kStack = 32, kXmm = 160;
  template <typename T>
  T get(size_t at) const {
    T v;
    std::memcpy(&v, image + at, sizeof(v));
    return v;
  }
  template <typename T>
  void put(size_t at, T v) {
    std::memcpy(image + at, &v, sizeof(v));
  }
  u8* st(unsigned i) { return image + kStack + 16 * i; }
  const u8* st(unsigned i) const { return image + kStack + 16 * i; }
  u8* xmm(unsigned i) { return image + kXmm + 16 * i; }
  const u8* xmm(unsigned i) const { return image + kXmm + 16 * i; }
  u8 image[512] = {};
};

struct Registers {
  u64 gpr[16] = {};
  u64 flags = 2;  ///< RFLAGS as PUSHF stores it
  FpuState fpu;
  u8 upper[16][16] = {};  ///< bits 255:128 of the ymm registers
};

enum class Outcome { Done, DivideError, Trap, Fault, HelperCalled, Elsewhere };

/// One page of code (with the register block behind it) and one buffer for memory operands and the stack, both in the
/// low 2 GiB so that every addressing form reaches the buffer.
class NativeHarness {
 public:
  static constexpr size_t kBufferSize = 4096;
  enum class Bits { k32, k64 };
  explicit NativeHarness(Bits bits = Bits::k64);
  ~NativeHarness();
  NativeHarness(const NativeHarness&) = delete;
  NativeHarness& operator=(const NativeHarness&) = delete;

  u8* buffer() const { return buffer_; }
  /// Where the instruction under test lies: RIP-relative operands count from here.
  u64 code_address() const;
  Outcome run(std::span<const u8> code, Registers& registers);
  bool is_64() const { return bits_ == Bits::k64; }

 private:
  size_t assemble(std::span<const u8> code);
  Bits bits_;
  u8* code_ = nullptr;
  u8* buffer_ = nullptr;
  size_t prologue_ = 0;
};

/// Translates and interprets, with the real helpers; memory is the process's own within [low, low + size).
class TranslatedRun {
 public:
  TranslatedRun(u64 memory_low, size_t memory_size);
  ~TranslatedRun();
  /// Runs one block of exactly these bytes.
  Outcome run(std::span<const u8> code, u64 pc, Registers& registers, u32 mode);
  const ir::Block& block() const { return block_; }
  u64 next_pc() const { return next_pc_; }
  u64 arg() const { return arg_; }
  static constexpr u32 kUserMode64 = 1u << Mode::kPE | 1u << Mode::kCode64 | 3u << Mode::kCplShift |
                                     1u << Mode::kFlatDS | 1u << Mode::kFlatES | 1u << Mode::kFlatSS |
                                     1u << Mode::kFlatCS | 1u << Mode::kOsFxsr | 1u << Mode::kOsXsave |
                                     1u << Mode::kAvx;
  static constexpr u32 kUserMode32 =
      (kUserMode64 & ~(1u << Mode::kCode64)) | 1u << Mode::kCode32 | 1u << Mode::kStack32;

 private:
  class Memory;
  class Services;
  void reset_cpu(u32 mode);
  void load_fpu(const FpuState& fpu);
  void store_fpu(FpuState& fpu);
  X86Translator translator_;
  X86Cpu cpu_;
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Services> services_;
  ir::Block block_;
  u64 next_pc_ = 0, arg_ = 0;
};

/// A helper table whose every entry records that it was called and leaves.
ir::HelperTable recording_helpers();
extern thread_local int g_helper_called;  ///< index, or -1

}  // namespace emu::x86::test
