// SPDX-License-Identifier: Apache-2.0
// Types, operands and memory descriptors of the intermediate representation. See docs/devel/ir.md.
#pragma once

#include "tcg/abi/flags.h"
#include "util/types.h"

namespace emu::ir {

using tcg::Cond;

enum class Type : u8 { Void, I1, I8, I16, I32, I64, V128, V256, Flags };

constexpr bool is_int(Type t) { return t >= Type::I1 && t <= Type::I64; }
constexpr bool is_vector(Type t) { return t == Type::V128 || t == Type::V256; }
/// Width in bits; I1 is 1, Flags and Void 0.
constexpr unsigned width(Type t) {
  constexpr unsigned kWidth[] = {0, 1, 8, 16, 32, 64, 128, 256, 0};
  return kWidth[unsigned(t)];
}
constexpr unsigned log2_bytes(Type t) {
  constexpr unsigned kLog[] = {0, 0, 0, 1, 2, 3, 4, 5, 0};
  return kLog[unsigned(t)];
}

/// An operand: nothing, a value (index of the op that makes it) or a constant (inline, or in the block's pool).
/// A constant takes the type that its place asks for; its bits above that type are ignored.
class Ref {
 public:
  constexpr Ref() = default;
  static constexpr Ref value(u32 op) { return Ref(op); }
  static constexpr Ref raw(u32 bits) { return Ref(bits); }
  static constexpr bool fits_inline(i64 v) { return v >= -(i64(1) << 29) && v < (i64(1) << 29); }
  static constexpr Ref inline_constant(i64 v) { return Ref(kConst | (u32(v) & 0x3fff'ffff)); }
  static constexpr Ref pool_constant(u32 index) { return Ref(kConst | kPool | index); }

  constexpr bool is_none() const { return bits_ == 0; }
  constexpr bool is_value() const { return bits_ != 0 && !(bits_ & kConst); }
  constexpr bool is_constant() const { return bits_ & kConst; }
  constexpr bool is_pool() const { return (bits_ & (kConst | kPool)) == (kConst | kPool); }
  constexpr u32 id() const { return bits_; }
  constexpr u32 pool_index() const { return bits_ & 0x3fff'ffff; }
  constexpr i64 inline_value() const { return i64(u64(bits_) << 34) >> 34; }
  constexpr u32 bits() const { return bits_; }
  constexpr bool operator==(const Ref&) const = default;

 private:
  static constexpr u32 kConst = 1u << 31, kPool = 1u << 30;
  explicit constexpr Ref(u32 bits) : bits_(bits) {}
  u32 bits_ = 0;
};

/// Which state field (index into StateLayout::fields).
using FieldId = u16;

enum class Order : u8 { Relaxed, Acquire, Release, Tso, SeqCst };
enum class Extend : u8 { Zero, Sign };

inline constexpr u8 kCurrentView = 0xff;

/// A guest memory access. The address is op.a (I64, or none) + disp, modulo 2^64: already linear, already wrapped by
/// the front end to the guest's address width. Little-endian unless big_endian.
struct MemInfo {
  i32 disp = 0;
  u8 log2_bytes = 0;          ///< 0..4 (1..16 bytes); 5 for V256
  Extend extend = Extend::Zero;
  u8 view = kCurrentView;     ///< index into EnvHeader::views, for accesses with another privilege
  u8 align_log2 = 0;          ///< addresses not so aligned take the slow path
  bool align_fault = false;   ///< and there raise the target's alignment fault (else: are done, slowly)
  bool atomic = false;        ///< Rmw and Cas always are; here: a 16-byte access that must be single-copy
  bool big_endian = false;
  bool stack = false;         ///< relative to the guest's stack pointer: prefer check sharing
  bool write_intent = false;  ///< a load that also needs write permission (read-modify-write without lock)
  Order order = Order::Tso;
};

enum class RmwOp : u8 { Add, Sub, And, Or, Xor, Xchg };

/// Rounding of float-to-int conversions.
enum class Round : u8 { Current, Truncate };

}  // namespace emu::ir
