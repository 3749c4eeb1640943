// SPDX-License-Identifier: Apache-2.0
// HostVector: one EVEX instruction for x86-64 hosts whose operands are slots of memory: 64-byte vectors, 64-bit masks.
//
// Front ends whose guest instruction is the host's own, one to one, describe it so in a word; generated code has it
// inline (HelperDesc::vectors), C++ runs it through run_host_vector().
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "util/types.h"

namespace emu::tcg {

struct HostVector {
  enum class Kind : u8 {
    None,     ///< index is an opcode extension (reg), or nothing
    Vector,   ///< slot `index` in a vector register, as long as the instruction
    Mask,     ///< mask `index` in a mask register
    General,  ///< the first eight bytes of slot kGeneralSlot in a general register
    Memory,   ///< slot `index` as memory operand
  };
  struct Operand {
    Kind kind = Kind::None;
    u8 index = 0;
  };
  enum class Dest : u8 { None, Reg, Vvvv, Rm };

  /// Slots 0..31 are the guest's registers, the others are scratch.
  static constexpr unsigned kMemorySlot = 32, kGeneralSlot = 33, kSlots = 34;
  static constexpr unsigned kMasks = 8;

  u8 map = 0, pp = 0, opcode = 0, imm = 0;
  bool has_imm = false;
  bool w = false, b = false, z = false;
  u8 ll = 0;      ///< what stands in L'L: the length or a rounding mode
  u8 mask = 0;    ///< aaa
  u8 length = 0;  ///< 0, 1, 2: 16, 32, 64 bytes
  Operand reg, vvvv, rm;
  Dest dest = Dest::None;
  bool reads_dest = false;   ///< besides what merging masks read
  bool makes_flags = false;  ///< CF, PF, ZF and what else it sets, to slot kGeneralSlot as in RFLAGS

  u64 pack() const;
  static HostVector unpack(u64 packed);
};

/// Where slots are: offsets from a base register.
struct HostVectorHomes {
  i32 vectors = 0, masks = 0;
};

/// The instruction with what brings its operands into registers and its result back, for an x86-64 host with AVX-512 F,
/// CD, BW, DQ and VL. Uses xmm20 to xmm23, mask registers, r11, 8 bytes of stack and, if it makes flags, the flags.
class HostVectorCode {
 public:
  static constexpr u8 kNotPinned = 0xff;
  HostVectorCode(u8 base_register, HostVectorHomes homes) : base_(base_register), homes_(homes) {
    pinned_.fill(kNotPinned);
  }
  /// The low 32 bytes of a slot are in this register (below 16), not at home.
  void pin(unsigned slot, u8 host_register) { pinned_[slot] = host_register; }
  void emit(const HostVector& v);
  std::span<const u8> bytes() const { return {bytes_.data(), size_}; }

 private:
  struct Form {
    u8 map = 1, pp = 0, opcode = 0;
    bool w = false;
    u8 ll = 0;
    bool b = false, z = false;
    u8 mask = 0;
  };
  void put(u8 byte) { bytes_[size_++] = byte; }
  void put32(u32 value);
  void evex(const Form& f, unsigned reg, unsigned vvvv, unsigned rm);
  void evex_memory(const Form& f, unsigned reg, unsigned vvvv, i32 displacement);
  void prefix(const Form& f, unsigned reg, bool x, bool b, unsigned vvvv);
  void kmov(bool to_memory, unsigned k, unsigned mask);
  void mov_general(bool to_memory);
  unsigned load(const HostVector::Operand& o, unsigned length, unsigned scratch);
  unsigned place(const HostVector::Operand& o, const HostVector& v, unsigned scratch, unsigned mask, bool is_read);
  void store(const HostVector::Operand& o, unsigned length, unsigned host);
  i32 slot(unsigned index) const { return homes_.vectors + i32(index) * 64; }

  u8 base_;
  HostVectorHomes homes_;
  std::array<u8, HostVector::kSlots> pinned_;
  std::array<u8, 256> bytes_ = {};
  size_t size_ = 0;
};

/// Runs it on `slots` (kSlots of 64 bytes, aligned) and `masks` with the floating-point control word `fp_control` (x86:
/// MXCSR), which gets its sticky flags. False: this host cannot.
bool run_host_vector(const HostVector& v, u8* slots, u64* masks, u32& fp_control);

}  // namespace emu::tcg
