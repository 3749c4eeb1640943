// SPDX-License-Identifier: Apache-2.0
// What the trace count needs to know about one guest instruction.
#pragma once

#include <cstdint>
#include <span>

namespace trace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;

enum class Mode : u8 { k16, k32, k64 };

/// How an instruction ends a block, if it does.
enum class Kind : u8 { Sequential, Conditional, Jump, Call, IndirectJump, IndirectCall, Return, System };

constexpr u8 kNoRegister = 0xff;
constexpr int kRsp = 4;

struct Memory {
  bool present = false, load = false, store = false;
  bool segment_base = false;  // FS or GS: its base comes from env
  bool constant = false;      // RIP-relative or absolute
  bool stack = false;         // push, pop, call, return
  u8 base = kNoRegister, index = kNoRegister, scale = 1, size = 0;
  i64 displacement = 0;  // the address itself when `constant`
};

/// GPR sets are masks in encoding order: bit 0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, 5 rbp, 6 rsi, 7 rdi, 8.. r8..r15.
struct Insn {
  u8 length = 0, immediate_bytes = 0;
  Kind kind = Kind::Sequential;
  bool unknown = false;  // the disassembler does not have it: counted as inline code of its own length
  bool helper = false;   // string operation, system instruction: leaves inline code
  bool string = false;   // may be repeated: the emulator shows each element as a block of its own
  bool writes_cr3 = false, is_invlpg = false;
  u16 mentioned = 0;  // in explicit operands
  u16 implied = 0;    // rsp of push, rax and rdx of mul, ...
  u16 read = 0, written = 0;
  bool reads_flags = false, writes_flags = false, keeps_some_flags = false;
  bool rsp_constant_step = false;  // add/sub/lea/push/pop: rsp moves by a constant
  u8 stepped = kNoRegister;        // register moved by a constant, rsp or another
  i64 step = 0;
  Memory memory;
  u64 target = 0;  // of direct branches
};

/// Decodes at `address`; false when the bytes are no instruction that the disassembler knows.
class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  bool decode(std::span<const u8> bytes, u64 address, Mode mode, Insn& out);

 private:
  std::size_t handles_[3] = {};
};

}  // namespace trace
