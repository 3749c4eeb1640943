// SPDX-License-Identifier: Apache-2.0
// AES, carry-less multiplication, SHA and GF(2^8), from FIPS 197, FIPS 180-4 and the SDM's definitions.
#include <bit>

#include "tcg/interp/vector.h"
#include "util/check.h"

namespace emu::ir {
namespace {

// ---- GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 -------------------------------------------------------------------------

constexpr u8 field_multiply(u8 a, u8 b) {
  u8 product = 0;
  for (unsigned i = 0; i < 8; ++i) {
    if (b >> i & 1) product = u8(product ^ a);
    a = u8(a << 1 ^ (a & 0x80 ? 0x1b : 0));
  }
  return product;
}

constexpr u8 field_inverse(u8 a) {  // a^254; 0 has none and stays 0
  u8 r = 1;
  for (unsigned i = 0; i < 254; ++i) r = field_multiply(r, a);
  return a == 0 ? u8(0) : r;
}

/// Bit i of the result: parity of row 7 - i of the matrix and x.
u8 affine(u64 matrix, u8 x, u8 constant) {
  u8 r = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const u8 row = u8(matrix >> 8 * (7 - i));
    r = u8(r | (std::popcount(u8(row & x)) & 1) << i);
  }
  return u8(r ^ constant);
}

// ---- AES ------------------------------------------------------------------------------------------------------------

struct SubstitutionBoxes {
  std::array<u8, 256> forward{}, inverse{};
  SubstitutionBoxes() {
    for (unsigned i = 0; i < 256; ++i) {
      const u8 x = field_inverse(u8(i));
      const u8 s = u8(x ^ std::rotl(x, 1) ^ std::rotl(x, 2) ^ std::rotl(x, 3) ^ std::rotl(x, 4) ^ 0x63);
      forward[i] = s;
      inverse[s] = u8(i);
    }
  }
};
const SubstitutionBoxes& boxes() {
  static const SubstitutionBoxes tables;
  return tables;
}

Vector128 substitute(const Vector128& a, const std::array<u8, 256>& box) {
  Vector128 r;
  for (unsigned i = 0; i < 16; ++i) r.bytes[i] = box[a.bytes[i]];
  return r;
}

/// Row r (bytes r, r + 4, ...) turns left by r columns, or right.
Vector128 shift_rows(const Vector128& a, bool inverse) {
  Vector128 r;
  for (unsigned column = 0; column < 4; ++column) {
    for (unsigned row = 0; row < 4; ++row) {
      const unsigned other = (column + row) % 4;
      if (inverse)
        r.bytes[4 * other + row] = a.bytes[4 * column + row];
      else
        r.bytes[4 * column + row] = a.bytes[4 * other + row];
    }
  }
  return r;
}

Vector128 mix_columns(const Vector128& a, const std::array<u8, 4>& first_row) {
  Vector128 r;
  for (unsigned column = 0; column < 4; ++column) {
    for (unsigned row = 0; row < 4; ++row) {
      u8 sum = 0;
      for (unsigned k = 0; k < 4; ++k)
        sum = u8(sum ^ field_multiply(first_row[(k + 4 - row) % 4], a.bytes[4 * column + k]));
      r.bytes[4 * column + row] = sum;
    }
  }
  return r;
}
constexpr std::array<u8, 4> kMix = {2, 3, 1, 1}, kUnmix = {14, 11, 13, 9};

Vector128 exclusive_or(const Vector128& a, const Vector128& b) {
  Vector128 r;
  for (unsigned i = 0; i < 16; ++i) r.bytes[i] = u8(a.bytes[i] ^ b.bytes[i]);
  return r;
}

u32 substitute_word(u32 v) {
  u32 r = 0;
  for (unsigned i = 0; i < 4; ++i) r |= u32(boxes().forward[u8(v >> 8 * i)]) << 8 * i;
  return r;
}

Vector128 keygen(const Vector128& a, u8 round) {
  const u32 x1 = substitute_word(a.lane<u32>(1)), x3 = substitute_word(a.lane<u32>(3));
  Vector128 r;
  r.set_lane<u32>(0, x1);
  r.set_lane<u32>(1, std::rotr(x1, 8) ^ round);
  r.set_lane<u32>(2, x3);
  r.set_lane<u32>(3, std::rotr(x3, 8) ^ round);
  return r;
}

Vector128 carryless_product(u64 x, u64 y) {
  u128 product = 0;
  for (unsigned i = 0; i < 64; ++i)
    if (y >> i & 1) product ^= u128(x) << i;
  Vector128 r;
  r.set_lane<u64>(0, u64(product));
  r.set_lane<u64>(1, u64(product >> 64));
  return r;
}

// ---- SHA ------------------------------------------------------------------------------------------------------------

u32 word(const Vector128& v, unsigned i) { return v.lane<u32>(i); }
Vector128 words(u32 w3, u32 w2, u32 w1, u32 w0) {
  Vector128 r;
  r.set_lane<u32>(3, w3);
  r.set_lane<u32>(2, w2);
  r.set_lane<u32>(1, w1);
  r.set_lane<u32>(0, w0);
  return r;
}

Vector128 sha1_rounds(const Vector128& a, const Vector128& b, u8 imm) {
  constexpr u32 kConstants[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
  u32 s[5] = {word(a, 3), word(a, 2), word(a, 1), word(a, 0), 0};
  for (unsigned i = 0; i < 4; ++i) {
    const u32 f = (imm & 3) == 0   ? (s[1] & s[2]) ^ (~s[1] & s[3])
                  : (imm & 3) == 2 ? (s[1] & s[2]) ^ (s[1] & s[3]) ^ (s[2] & s[3])
                                   : s[1] ^ s[2] ^ s[3];
    const u32 next = f + std::rotl(s[0], 5) + word(b, 3 - i) + s[4] + kConstants[imm & 3];
    s[4] = s[3];
    s[3] = s[2];
    s[2] = std::rotl(s[1], 30);
    s[1] = s[0];
    s[0] = next;
  }
  return words(s[0], s[1], s[2], s[3]);
}

Vector128 sha1_message2(const Vector128& a, const Vector128& b) {
  const u32 w16 = std::rotl(word(a, 3) ^ word(b, 2), 1), w17 = std::rotl(word(a, 2) ^ word(b, 1), 1),
            w18 = std::rotl(word(a, 1) ^ word(b, 0), 1), w19 = std::rotl(word(a, 0) ^ w16, 1);
  return words(w16, w17, w18, w19);
}

u32 sigma0(u32 x) { return std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3; }
u32 sigma1(u32 x) { return std::rotr(x, 17) ^ std::rotr(x, 19) ^ x >> 10; }

Vector128 sha256_message1(const Vector128& a, const Vector128& b) {
  return words(word(a, 3) + sigma0(word(b, 0)), word(a, 2) + sigma0(word(a, 3)), word(a, 1) + sigma0(word(a, 2)),
               word(a, 0) + sigma0(word(a, 1)));
}

Vector128 sha256_message2(const Vector128& a, const Vector128& b) {
  const u32 w16 = word(a, 0) + sigma1(word(b, 2)), w17 = word(a, 1) + sigma1(word(b, 3)),
            w18 = word(a, 2) + sigma1(w16), w19 = word(a, 3) + sigma1(w17);
  return words(w19, w18, w17, w16);
}

}  // namespace

Vector128 evaluate_vector_crypto(VecOp op, const Vector128& a, const Vector128& b, u8 imm) {
  switch (op) {
    case VecOp::VAesEnc:
      return exclusive_or(mix_columns(substitute(shift_rows(a, false), boxes().forward), kMix), b);
    case VecOp::VAesEncLast:
      return exclusive_or(substitute(shift_rows(a, false), boxes().forward), b);
    case VecOp::VAesDec:
      return exclusive_or(mix_columns(substitute(shift_rows(a, true), boxes().inverse), kUnmix), b);
    case VecOp::VAesDecLast:
      return exclusive_or(substitute(shift_rows(a, true), boxes().inverse), b);
    case VecOp::VAesImc:
      return mix_columns(a, kUnmix);
    case VecOp::VAesKeygen:
      return keygen(a, imm);
    case VecOp::VClmul:
      return carryless_product(a.lane<u64>(imm & 1), b.lane<u64>(imm >> 4 & 1));
    case VecOp::VSha1Next:
      return words(word(b, 3) + std::rotl(word(a, 3), 30), word(b, 2), word(b, 1), word(b, 0));
    case VecOp::VSha1Msg1:
      return words(word(a, 1) ^ word(a, 3), word(a, 0) ^ word(a, 2), word(b, 3) ^ word(a, 1), word(b, 2) ^ word(a, 0));
    case VecOp::VSha1Msg2:
      return sha1_message2(a, b);
    case VecOp::VSha1Rounds:
      return sha1_rounds(a, b, imm);
    case VecOp::VSha256Msg1:
      return sha256_message1(a, b);
    case VecOp::VSha256Msg2:
      return sha256_message2(a, b);
    default:
      break;
  }
  Vector128 r;
  for (unsigned i = 0; i < 16; ++i) {
    const u8 x = a.bytes[i];
    const u64 matrix = b.lane<u64>(i / 8);
    if (op == VecOp::VGf2p8Mul)
      r.bytes[i] = field_multiply(x, b.bytes[i]);
    else
      r.bytes[i] = affine(matrix, op == VecOp::VGf2p8AffineInv ? field_inverse(x) : x, imm);
  }
  return r;
}

}  // namespace emu::ir
