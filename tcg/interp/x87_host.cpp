// SPDX-License-Identifier: Apache-2.0
// x87 operations on the host's own x87 unit: the guest's image is loaded, one instruction runs, the image is saved.
// Instructions are given as their two bytes (Intel SDM vol. 2, appendix B): assembler names of the subtract and divide
// forms differ between syntaxes. Memory operands are at (%rax).
#if defined(__x86_64__)

#include <array>
#include <cstring>
#include <utility>

#include "tcg/interp/x87.h"
#include "util/check.h"

namespace emu::ir {
namespace {

constexpr u16 kExceptionMasks = 0x3f;

/// The FXSAVE image (Intel SDM vol. 1, 10.5.1): control word at 0, status word at 2, abridged tags at 4, ST(i) at
/// 32 + 16 i.
struct alignas(16) Image {
  u8 bytes[512];
  u16 word(unsigned at) const {
    u16 v;
    std::memcpy(&v, bytes + at, sizeof(v));
    return v;
  }
  void set_word(unsigned at, u16 v) { std::memcpy(bytes + at, &v, sizeof(v)); }
  u16 status() const { return word(2); }
  unsigned top() const { return status() >> 11 & 7; }
  void set_top(unsigned top) { set_word(2, u16((status() & ~0x3800u) | (top & 7) << 11)); }
  u8& tags() { return bytes[4]; }
  u8* st(unsigned i) { return bytes + 32 + 16 * i; }
};
constexpr size_t kStackAt = 32, kStackBytes = 128;

struct Run {
  Image guest;  ///< with the host's vectors and MXCSR in it
  Image host;
  alignas(16) u8 operand[16] = {};
  u64 carry_in = 0;  ///< bit 0 is the carry flag before the instruction
  u64 flags = 0;     ///< the low byte of the flags after it

  template <typename T>
  T operand_as() const {
    T v;
    std::memcpy(&v, operand, sizeof(v));
    return v;
  }
};

template <u8 kFirst, u8 kSecond>
void execute(Run& run) {
  u64 rax = reinterpret_cast<u64>(run.operand);
  asm volatile(
      "fxrstor64 %[guest]\n\t"
      "bt $0, %[carry]\n\t"
      ".byte %c[first], %c[second]\n\t"
      "lahf\n\t"
      "fxsave64 %[guest]\n\t"
      "fnclex\n\t"
      "fxrstor64 %[host]"
      : "+a"(rax), [guest] "+m"(run.guest)
      : [host] "m"(run.host), [carry] "r"(run.carry_in), [first] "i"(kFirst), [second] "i"(kSecond)
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  run.flags = rax >> 8 & 0xff;
}

/// The form with ST(reg), whose second byte is kSecond + reg.
template <u8 kFirst, u8 kSecond>
void execute_reg(Run& run, unsigned reg) {
  constexpr auto kForms = []<size_t... i>(std::index_sequence<i...>) {
    return std::array{&execute<kFirst, u8(kSecond + i)>...};
  }
  (std::make_index_sequence<8>());
  kForms[reg](run);
}

/// ST(0) becomes empty, TOP moves up. The register keeps its bits.
void pop(Image& image) {
  const unsigned top = image.top();
  u8 old[kStackBytes];
  std::memcpy(old, image.bytes + kStackAt, kStackBytes);
  image.tags() &= u8(~(1u << top));
  image.set_top(top + 1);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(image.st(i), old + 16 * ((i + 1) & 7), 16);
}

/// Takes a pop back: TOP moves down, and the register is as full or empty as `tags_before` says.
void undo_pop(Image& image, u8 tags_before) {
  u8 old[kStackBytes];
  std::memcpy(old, image.bytes + kStackAt, kStackBytes);
  image.set_top(image.top() - 1);
  image.tags() = tags_before;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(image.st((i + 1) & 7), old + 16 * i, 16);
}

/// Stores that exist only with a pop, which an unmasked exception keeps them from.
template <u8 kFirst, u8 kSecond>
void execute_without_pop(Run& run) {
  const u8 tags = run.guest.tags();
  const unsigned top = run.guest.top();
  execute<kFirst, kSecond>(run);
  if (run.guest.top() != top) undo_pop(run.guest, tags);
}

/// Arithmetic in its seven forms: kGroup is the number of the operation in the D8 row; kReverse that of the DC and DE
/// rows with a register, where subtract and divide change places with their reverses.
template <u8 kGroup, u8 kReverse>
bool run_arithmetic(Run& run, unsigned form, unsigned reg) {
  constexpr u8 kMemory = kGroup << 3, kReg = 0xc0 | kGroup << 3, kToReg = 0xc0 | kReverse << 3;
  switch (form) {
    case 0:
      execute_reg<0xd8, kReg>(run, reg);
      break;
    case 1:
      execute_reg<0xdc, kToReg>(run, reg);
      break;
    case 2:
      execute_reg<0xde, kToReg>(run, reg);
      break;
    case 3:
      execute<0xd8, kMemory>(run);
      break;
    case 4:
      execute<0xdc, kMemory>(run);
      break;
    case 5:
      execute<0xde, kMemory>(run);
      break;
    default:
      execute<0xda, kMemory>(run);
      break;
  }
  return true;
}

/// The rows stand in x87_ops.inc as Add, Sub, SubR, Mul, Div, DivR of seven forms each.
bool run_arithmetic(Run& run, X87Op op, unsigned reg) {
  const unsigned index = unsigned(op) - unsigned(X87Op::Add), form = index % 7;
  switch (index / 7) {
    case 0:
      return run_arithmetic<0, 0>(run, form, reg);
    case 1:
      return run_arithmetic<4, 5>(run, form, reg);
    case 2:
      return run_arithmetic<5, 4>(run, form, reg);
    case 3:
      return run_arithmetic<1, 1>(run, form, reg);
    case 4:
      return run_arithmetic<6, 7>(run, form, reg);
    default:
      return run_arithmetic<7, 6>(run, form, reg);
  }
}

bool run_push(Run& run, X87Op op, unsigned reg) {
  switch (op) {
    case X87Op::Push1:
      execute<0xd9, 0xe8>(run);
      return true;
    case X87Op::PushL2T:
      execute<0xd9, 0xe9>(run);
      return true;
    case X87Op::PushL2E:
      execute<0xd9, 0xea>(run);
      return true;
    case X87Op::PushPi:
      execute<0xd9, 0xeb>(run);
      return true;
    case X87Op::PushLg2:
      execute<0xd9, 0xec>(run);
      return true;
    case X87Op::PushLn2:
      execute<0xd9, 0xed>(run);
      return true;
    case X87Op::Push0:
      execute<0xd9, 0xee>(run);
      return true;
    case X87Op::PushF32:
      execute<0xd9, 0x00>(run);
      return true;
    case X87Op::PushF64:
      execute<0xdd, 0x00>(run);
      return true;
    case X87Op::PushF80:
      execute<0xdb, 0x28>(run);
      return true;
    case X87Op::PushI16:
      execute<0xdf, 0x00>(run);
      return true;
    case X87Op::PushI32:
      execute<0xdb, 0x00>(run);
      return true;
    case X87Op::PushI64:
      execute<0xdf, 0x28>(run);
      return true;
    case X87Op::PushReg:
      execute_reg<0xd9, 0xc0>(run, reg);
      return true;
    default:
      return false;
  }
}

bool run_store(Run& run, X87Op op, unsigned reg) {
  switch (op) {
    case X87Op::ToF32:
      execute<0xd9, 0x10>(run);
      return true;
    case X87Op::ToF64:
      execute<0xdd, 0x10>(run);
      return true;
    case X87Op::ToF80Low:
      std::memcpy(run.operand, run.guest.st(0), 8);
      return true;
    case X87Op::ToF80High:
      std::memcpy(run.operand, run.guest.st(0) + 8, 2);
      return true;
    case X87Op::ToI16:
      execute<0xdf, 0x10>(run);
      return true;
    case X87Op::ToI32:
      execute<0xdb, 0x10>(run);
      return true;
    case X87Op::ToI64:
      execute_without_pop<0xdf, 0x38>(run);
      return true;
    case X87Op::ToI16Trunc:
      execute_without_pop<0xdf, 0x08>(run);
      return true;
    case X87Op::ToI32Trunc:
      execute_without_pop<0xdb, 0x08>(run);
      return true;
    case X87Op::ToI64Trunc:
      execute_without_pop<0xdd, 0x08>(run);
      return true;
    case X87Op::Pop:
      pop(run.guest);
      return true;
    case X87Op::StoreReg:
      execute_reg<0xdd, 0xd0>(run, reg);
      return true;
    case X87Op::StoreRegPop:
      execute_reg<0xdd, 0xd8>(run, reg);
      return true;
    default:
      return false;
  }
}

bool run_function(Run& run, X87Op op) {
  switch (op) {
    case X87Op::Chs:
      execute<0xd9, 0xe0>(run);
      return true;
    case X87Op::Abs:
      execute<0xd9, 0xe1>(run);
      return true;
    case X87Op::Tst:
      execute<0xd9, 0xe4>(run);
      return true;
    case X87Op::Xam:
      execute<0xd9, 0xe5>(run);
      return true;
    case X87Op::F2xm1:
      execute<0xd9, 0xf0>(run);
      return true;
    case X87Op::Yl2x:
      execute<0xd9, 0xf1>(run);
      return true;
    case X87Op::Ptan:
      execute<0xd9, 0xf2>(run);
      return true;
    case X87Op::Patan:
      execute<0xd9, 0xf3>(run);
      return true;
    case X87Op::Xtract:
      execute<0xd9, 0xf4>(run);
      return true;
    case X87Op::Prem1:
      execute<0xd9, 0xf5>(run);
      return true;
    case X87Op::Prem:
      execute<0xd9, 0xf8>(run);
      return true;
    case X87Op::Yl2xp1:
      execute<0xd9, 0xf9>(run);
      return true;
    case X87Op::Sqrt:
      execute<0xd9, 0xfa>(run);
      return true;
    case X87Op::Sincos:
      execute<0xd9, 0xfb>(run);
      return true;
    case X87Op::Rndint:
      execute<0xd9, 0xfc>(run);
      return true;
    case X87Op::Scale:
      execute<0xd9, 0xfd>(run);
      return true;
    case X87Op::Sin:
      execute<0xd9, 0xfe>(run);
      return true;
    case X87Op::Cos:
      execute<0xd9, 0xff>(run);
      return true;
    default:
      return false;
  }
}

bool run_compare(Run& run, X87Op op, unsigned reg) {
  switch (op) {
    case X87Op::Com:
      execute_reg<0xd8, 0xd0>(run, reg);
      return true;
    case X87Op::ComPop:
      execute_reg<0xd8, 0xd8>(run, reg);
      return true;
    case X87Op::Ucom:
      execute_reg<0xdd, 0xe0>(run, reg);
      return true;
    case X87Op::UcomPop:
      execute_reg<0xdd, 0xe8>(run, reg);
      return true;
    case X87Op::ComPopPop:
      execute<0xde, 0xd9>(run);
      return true;
    case X87Op::UcomPopPop:
      execute<0xda, 0xe9>(run);
      return true;
    case X87Op::ComF32:
      execute<0xd8, 0x10>(run);
      return true;
    case X87Op::ComF64:
      execute<0xdc, 0x10>(run);
      return true;
    case X87Op::ComI16:
      execute<0xde, 0x10>(run);
      return true;
    case X87Op::ComI32:
      execute<0xda, 0x10>(run);
      return true;
    case X87Op::ComToFlags:
      execute_reg<0xdb, 0xf0>(run, reg);
      break;
    case X87Op::UcomToFlags:
      execute_reg<0xdb, 0xe8>(run, reg);
      break;
    default:
      return false;
  }
  const u64 packed = run.flags & (tcg::kFlagZero | tcg::kFlagParity | tcg::kFlagCarry);
  std::memcpy(run.operand, &packed, sizeof(packed));
  return true;
}

/// The guest's control word is kept beside the image, whose copy has the masks set.
bool run_control(Run& run, X87Op op, unsigned reg, u32& guest_control) {
  u64 result = 0;
  switch (op) {
    case X87Op::Exchange:
      execute_reg<0xd9, 0xc8>(run, reg);
      return true;
    case X87Op::Free:
      execute_reg<0xdd, 0xc0>(run, reg);
      return true;
    case X87Op::IncTop:
      execute<0xd9, 0xf7>(run);
      return true;
    case X87Op::DecTop:
      execute<0xd9, 0xf6>(run);
      return true;
    case X87Op::Init:
      execute<0xdb, 0xe3>(run);
      guest_control = 0x37f;
      return true;
    case X87Op::ClearExceptions:
      execute<0xdb, 0xe2>(run);
      return true;
    case X87Op::StatusWord:
      result = run.guest.status();
      break;
    case X87Op::ControlWord:
      result = u16(guest_control);
      break;
    case X87Op::LoadControl:
      // Reserved bits read back as on hardware: bit 6 one, 7 and 13..15 zero.
      guest_control = (run.operand_as<u16>() & 0x1f3fu) | 0x40;
      run.guest.set_word(0, u16(guest_control | kExceptionMasks));
      return true;
    case X87Op::Wait:
      return true;
    case X87Op::CmovIf:
      run.carry_in = run.operand[0] & 1;
      execute_reg<0xda, 0xc0>(run, reg);
      return true;
    default:
      return false;
  }
  std::memcpy(run.operand, &result, sizeof(result));
  return true;
}

u64 result_of(const Run& run, X87Op op) {
  switch (x87_result_type(op)) {
    case Type::I16:
      return run.operand_as<u16>();
    case Type::I32:
      return run.operand_as<u32>();
    case Type::I64:
      return run.operand_as<u64>();
    default:
      return 0;
  }
}

}  // namespace

bool host_has_x87() { return true; }

static u64 run_x87_masking(X87Op op, unsigned reg, u64 a, u64 b, tcg::EnvHeader& env, u16 masks) {
  reg &= 7;
  Run run;
  asm volatile("fxsave64 %0" : "=m"(run.host));
  run.guest = run.host;
  std::memcpy(run.guest.bytes, env.fpu_image, 24);  // up to MXCSR, which stays the host's
  std::memcpy(run.guest.bytes + kStackAt, env.fpu_image + kStackAt, kStackBytes);
  run.guest.set_word(0, u16(env.fpu_control | masks));
  run.guest.set_word(2, run.guest.status() & 0x7f7f);  // no summary bit: nothing unmasked is pending
  std::memcpy(run.operand, &a, 8);
  std::memcpy(run.operand + 8, &b, 8);

  const bool done = op >= X87Op::Add && op < X87Op::Chs
                        ? run_arithmetic(run, op, reg)
                        : run_push(run, op, reg) || run_store(run, op, reg) || run_function(run, op) ||
                              run_compare(run, op, reg) || run_control(run, op, reg, env.fpu_control);
  EMU_CHECK(done);

  run.guest.set_word(0, u16(env.fpu_control | kExceptionMasks));
  run.guest.set_word(2, run.guest.status() & 0x7f7f);
  // Instruction and data pointers stay the guest's; they mean host addresses here.
  std::memcpy(env.fpu_image, run.guest.bytes, 5);
  std::memcpy(env.fpu_image + kStackAt, run.guest.bytes + kStackAt, kStackBytes);
  return result_of(run, op);
}

u64 run_x87(X87Op op, unsigned reg, u64 a, u64 b, tcg::EnvHeader& env) {
  EMU_CHECK(env.fpu_live == 0);
  return run_x87_masking(op, reg, a, b, env, kExceptionMasks);
}

u64 run_x87_unmasked(X87Op op, unsigned reg, u64 a, u64 b, tcg::EnvHeader& env) {
  return run_x87_masking(op, reg, a, b, env, 0);
}

}  // namespace emu::ir

#endif
