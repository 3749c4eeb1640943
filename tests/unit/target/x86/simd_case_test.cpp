// SPDX-License-Identifier: Apache-2.0
#include "unit/target/x86/simd_case.h"

#include <gtest/gtest.h>

namespace emu::x86::test {

using E = Emitter;

u64 SimdCaseMaker::awkward_integer() {
  static constexpr u64 kValues[] = {0,         1,      2,  0x7f,        0x80,        0xff,        0x7fff,
                                    0x8000,    0xffff, 63, 0x7fff'ffff, 0x8000'0000, 0xffff'ffff, ~u64(0) >> 1,
                                    bit64(63), ~u64(0)};
  return random_() % 2 ? kValues[random_() % std::size(kValues)] : random_() >> (random_() % 64);
}

u32 SimdCaseMaker::awkward_f32() {
  static constexpr u32 kValues[] = {
      0,           0x3f80'0000, 0x4000'0000, 0x3f00'0000, 0x3fc0'0000, 0x4020'0000,  // 0 1 2 .5 1.5 2.5
      0x7f80'0000, 0x7fc0'0000, 0x7fc1'2345, 0x7f81'2345, 0x7fbf'ffff,  // infinity, quiet and signalling NaN
      1,           0x007f'ffff, 0x0080'0000, 0x0080'0001, 0x7f7f'ffff, 0x3f7f'ffff,  // denormal, least, greatest
      0x4f00'0000, 0x4eff'ffff, 0x5f00'0000, 0x4f80'0000, 0x4700'0000};              // round 2^31, 2^63, 2^32, 2^15
  const u32 sign = random_() % 2 ? 0x8000'0000 : 0;
  switch (random_() % 4) {
    case 0:
      return u32(random_());
    case 1:
      return sign | (0x3e00'0000 + u32(random_() % 0x0200'0000));
    default:
      return sign | kValues[random_() % std::size(kValues)];
  }
}

u64 SimdCaseMaker::awkward_f64() {
  static constexpr u64 kValues[] = {
      0,
      0x3ff0'0000'0000'0000,
      0x3fe0'0000'0000'0000,
      0x3ff8'0000'0000'0000,
      0x4004'0000'0000'0000,
      0x7ff0'0000'0000'0000,
      0x7ff8'0000'0000'0000,
      0x7ff8'0000'1234'5678,
      0x7ff0'0000'1234'5678,
      1,
      0x000f'ffff'ffff'ffff,
      0x0010'0000'0000'0000,
      0x7fef'ffff'ffff'ffff,
      0x41e0'0000'0000'0000,  // 2^31
      0x41df'ffff'ffe0'0000,
      0x43e0'0000'0000'0000,  // 2^63
      0x36a0'0000'0000'0000,  // least f32 denormal
      0x380f'ffff'ffff'ffff,
      0x47ef'ffff'f000'0000,  // rounds beyond the greatest f32
  };
  const u64 sign = random_() % 2 ? bit64(63) : 0;
  switch (random_() % 4) {
    case 0:
      return random_();
    case 1:
      return sign | (0x3fd0'0000'0000'0000 + random_() % 0x0080'0000'0000'0000);
    default:
      return sign | kValues[random_() % std::size(kValues)];
  }
}

void SimdCaseMaker::awkward_f80(u8* ten_bytes) {
  static constexpr u64 kSignificands[] = {0,
                                          bit64(63),
                                          ~u64(0),
                                          0xc000'0000'0000'0000,
                                          0x8000'0000'0000'0001,
                                          0xc90f'daa2'2168'c235,  // pi
                                          0xa000'0000'0000'0000,
                                          1,
                                          0x4000'0000'0000'0000};
  static constexpr u16 kExponents[] = {0,      1,      0x3fff, 0x3ffe, 0x4000, 0x7fff, 0x7ffe, 0x401e,
                                       0x403e, 0x400e, 0x43fe, 0x3c01, 0x407e, 0x3f81, 0x3fbf, 0x4005};
  u64 significand = random_() % 2 ? kSignificands[random_() % std::size(kSignificands)] : random_();
  if (random_() % 4 != 0) significand |= bit64(63);  // else unnormals, which are invalid operands, or denormals
  u16 exponent = kExponents[random_() % std::size(kExponents)];
  if (random_() % 2) exponent = u16(0x3ff0 + random_() % 0x60);
  exponent |= random_() % 2 ? 0x8000 : 0;
  std::memcpy(ten_bytes, &significand, 8);
  std::memcpy(ten_bytes + 8, &exponent, 2);
}

void SimdCaseMaker::awkward_vector(u8* sixteen_bytes) {
  const unsigned kind = unsigned(random_() % 3);
  for (unsigned lane = 0; lane < 2; ++lane) {
    u64 v = kind == 0 ? awkward_f64() : kind == 1 ? awkward_f32() | u64(awkward_f32()) << 32 : awkward_integer();
    if (random_() % 8 == 0) v = random_();
    std::memcpy(sixteen_bytes + 8 * lane, &v, 8);
  }
}

void SimdCaseMaker::awkward_fpu(FpuState& fpu) {
  for (unsigned i = 0; i < 16; ++i) awkward_vector(fpu.xmm(i));
  for (unsigned i = 0; i < 8; ++i) awkward_f80(fpu.st(i));
  const u32 rounding = u32(random_() % 4) << 13, flush = random_() % 4 == 0 ? 0x8000 : 0;
  const u32 denormals_are_zero = random_() % 4 == 0 ? 0x40 : 0, sticky = random_() % 4 == 0 ? u32(random_() & 0x3f) : 0;
  fpu.put<u32>(FpuState::kMxcsr, 0x1f80 | rounding | flush | denormals_are_zero | sticky);
  static constexpr u16 kPrecision[] = {0x300, 0x300, 0x200, 0};
  fpu.put<u16>(FpuState::kControl, u16(0x7f | kPrecision[random_() % 4] | (random_() % 2 ? random_() % 4 << 10 : 0)));
  fpu.put<u16>(FpuState::kStatus, u16(random_() & (random_() % 4 == 0 ? 0x7f7f : 0x7f00)));
  static constexpr u8 kTags[] = {0xff, 0xff, 0};
  fpu.put<u8>(FpuState::kTags, random_() % 2 ? kTags[random_() % 3] : u8(random_()));
}

void SimdCaseMaker::fill_memory(const SimdCase& c, std::vector<u8>& memory) {
  const Emit handler = c.insn.row->emitter;
  const bool is_decimal = handler == &E::x87_image && c.insn.row->arg == H_fbld;
  for (size_t i = 0; i + 16 <= memory.size(); i += 16) awkward_vector(&memory[i]);
  if (!c.insn.is_memory) return;
  if (c.address + 32 > u64(native_.buffer()) + memory.size()) return;
  u8* operand = &memory[c.address - u64(native_.buffer())];
  if (handler == &E::x87_load80) return awkward_f80(operand);
  if (is_decimal) {
    for (unsigned i = 0; i < 9; ++i) operand[i] = u8(random_() % 10 << 4 | random_() % 10);
    operand[9] = random_() % 2 ? 0x80 : 0;
  } else if (c.insn.row->feature == InsnFeature::kFpu && random_() % 2) {
    const u64 v = random_() % 2 ? awkward_f64() : u64(awkward_f32());
    std::memcpy(operand, &v, 8);
  } else {
    awkward_vector(operand);
  }
}

/// The VEX prefix; what a row leaves open is random.
void SimdCaseMaker::encode_vex(const Row& row, std::vector<u8>& code) {
  bool names_vvvv = false;
  for (const Operand o : row.operands) names_vvvv |= o == Operand::H;
  const bool is_64 = native_.is_64();
  const bool w = row.vex_width == VexWidth::Any ? random_() % 2 : row.vex_width == VexWidth::W1;
  const bool l = row.length == VexLength::L0   ? false
                 : row.length == VexLength::L1 ? true
                                               : random_() % 2;
  const unsigned vvvv = names_vvvv ? unsigned(random_() & (is_64 ? 15 : 7)) : 0;
  const unsigned rxb = is_64 ? unsigned(random_() & 7) : 7;
  const unsigned pp = row.prefix == Prefix::P66 ? 1 : row.prefix == Prefix::PF3 ? 2 : row.prefix == Prefix::PF2 ? 3 : 0;
  if (row.map == kMap0F && row.vex_width != VexWidth::W1 && random_() % 2) {
    code.push_back(0xc5);
    code.push_back(u8((is_64 ? rxb >> 2 & 1 : 1) << 7 | (~vvvv & 15) << 3 | unsigned(l) << 2 | pp));
    return;
  }
  code.push_back(0xc4);
  code.push_back(u8(rxb << 5 | row.map));
  code.push_back(u8(unsigned(w) << 7 | (~vvvv & 15) << 3 | unsigned(l) << 2 | pp));
}

std::vector<u8> SimdCaseMaker::encode(const Row& row) {
  std::vector<u8> code;
  const bool has_memory = row.mod == Mod::Memory || (row.mod == Mod::Any && random_() % 2);
  if (row.is_vex) {
    encode_vex(row, code);
    code.push_back(row.opcode);
    if (row.opcode == 0x77 && row.map == kMap0F) return code;
    const u8 form = has_memory ? u8(random_() % 3) : 3;
    const u8 digit = row.reg_field == kAnyField ? u8(random_() & 7) : row.reg_field;
    code.push_back(u8(form << 6 | digit << 3 | (row.emitter == &E::avx_gather ? 4 : random_() & 7)));
    for (unsigned i = 0; i < 12; ++i) code.push_back(u8(random_()));
    return code;
  }
  if (row.prefix == Prefix::P66 || (row.map == kMapOne && random_() % 8 == 0)) code.push_back(0x66);
  if (row.prefix == Prefix::PF3) code.push_back(0xf3);
  if (row.prefix == Prefix::PF2) code.push_back(0xf2);
  if (native_.is_64() && random_() % 2) code.push_back(u8(0x40 | (random_() & 15)));
  if (row.map != kMapOne) code.push_back(0x0f);
  if (row.map == kMap38) code.push_back(0x38);
  if (row.map == kMap3A) code.push_back(0x3a);
  code.push_back(row.opcode);
  const u8 mod = has_memory ? u8(random_() % 3) : 3;
  const u8 reg = row.reg_field == kAnyField ? u8(random_() & 7) : row.reg_field;
  const u8 rm = row.rm_field == kAnyField ? u8(random_() & 7) : row.rm_field;
  code.push_back(u8(mod << 6 | reg << 3 | rm));
  for (unsigned i = 0; i < 12; ++i) code.push_back(u8(random_()));
  return code;
}

SimdCase SimdCaseMaker::make(const Row& row) {
  SimdCase c;
  c.code = encode(row);
  if (decode(c.code, Mode{mode()}, kAllFeatures, c.insn) != DecodeStatus::Ok || c.insn.row != &row) return c;
  c.code.resize(c.insn.length);
  for (u64& r : c.registers.gpr) r = awkward_integer();
  c.registers.flags = 2 | (random_() & kArithmetic);
  c.registers.gpr[RSP] = u64(native_.buffer()) + 2048;
  awkward_fpu(c.registers.fpu);
  for (auto& half : c.registers.upper) awkward_vector(half);
  // D9 D8+i stores without looking whether ST(0) is empty; ours is FSTP in every respect.
  const bool is_alias = row.opcode == 0xd9 && row.reg_field == 3 && row.mod == Mod::Register;
  if (is_alias) c.registers.fpu.put<u8>(FpuState::kTags, 0xff);
  c.is_usable = aim(c);
  if (!native_.is_64()) {
    for (u64& r : c.registers.gpr) r = u32(r);
    std::memset(c.registers.fpu.xmm(8), 0, 8 * 16);
    std::memset(c.registers.upper[8], 0, 8 * 16);
  }
  return c;
}

/// Indexes of a gather: near the operand's address.
void SimdCaseMaker::spread_indexes(SimdCase& c) {
  if (c.insn.sib_index == kNoReg) return;
  u8* halves[] = {c.registers.fpu.xmm(c.insn.sib_index), c.registers.upper[c.insn.sib_index]};
  for (u8* half : halves) {
    for (unsigned at = 0; at < 16; at += 1u << (c.insn.row->arg & 15)) {
      const i64 index = i64(random_() % 60) - 20;
      std::memcpy(half + at, &index, size_t(1) << (c.insn.row->arg & 15));
    }
  }
}

/// Registers and displacement such that the operand falls into the buffer, aligned more often than not.
bool SimdCaseMaker::aim(SimdCase& c) {
  const Insn& i = c.insn;
  u64* gpr = c.registers.gpr;
  c.address = u64(native_.buffer()) + 512 + random_() % 3000;
  if (random_() % 8 != 0) c.address &= ~u64(i.row->is_vex ? 31 : 15);
  if (i.row->is_vex && random_() % 16 == 0) c.address = u64(native_.buffer()) + 4096 - random_() % 48;
  if (i.row->emitter == &E::sse_maskmov || i.row->emitter == &E::mmx_maskmov) gpr[RDI] = c.address;
  if (!i.is_memory) return true;
  const auto patch_disp32 = [&](i64 disp) {
    if (disp != i32(disp)) return false;
    bool has_immediate = false;
    for (const Operand o : i.row->operands) has_immediate |= o == Operand::Ib || o == Operand::L;
    const i32 value = i32(disp);
    std::memcpy(c.code.data() + c.code.size() - has_immediate - 4, &value, 4);
    return true;
  };
  if (i.address != (native_.is_64() ? 3 : 2)) return false;
  if (i.base == kBaseRip) return patch_disp32(i64(c.address - (native_.code_address() + i.length)));
  u64 target = c.address;
  if (i.row->emitter == &E::avx_gather) {
    spread_indexes(c);
  } else if (i.index != kNoReg) {
    if (i.index == i.base || i.index == RSP) return false;
    gpr[i.index] = random_() % 32;
    target -= gpr[i.index] << i.scale;
  }
  if (i.base == kNoReg) return patch_disp32(i64(target));
  if (i.base == RSP) return false;
  gpr[i.base] = target - u64(i64(i.disp));
  return true;
}

}  // namespace emu::x86::test
