// SPDX-License-Identifier: Apache-2.0
// AVX-512 in C++: one instruction on the state (the interpreter's way, and where MXCSR unmasks exceptions), and memory
// of which masks select elements. An element that is not selected is not accessed and cannot fault.
#include <bit>
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/evex_access.h"
#include "target/x86/half_exceptions.h"
#include "target/x86/simd_exceptions.h"
#include "tcg/abi/host_vector.h"
#include "util/bits.h"

namespace emu::x86 {

using target::AccessStatus;

namespace {
constexpr u32 kSticky = 0x3f, kFlushToZero = 0x8000;  ///< of MXCSR
}

u64 X86Cpu::helper_evex(const u64* args) {
  tcg::run_host_vector(tcg::HostVector::unpack(args[0]), s_->vec[0].bytes, s_->opmask, s_->hdr.fp_control);
  return 0;
}

/// The same with #XM before anything is written.
u64 X86Cpu::helper_evex_trapping(const u64* args) {
  using Dest = tcg::HostVector::Dest;
  using Kind = tcg::HostVector::Kind;
  const tcg::HostVector v = tcg::HostVector::unpack(args[0]);
  const tcg::HostVector::Operand o = v.dest == Dest::Reg ? v.reg : v.dest == Dest::Vvvv ? v.vvvv : v.rm;
  const VectorSlot vector = s_->vec[o.kind == Kind::Vector ? o.index : 0];
  const u64 mask = s_->opmask[o.index & 7];
  helper_simd_begin(nullptr);
  const SimdExceptions exceptions(v, s_->vec[0].bytes, s_->opmask);
  const bool decides = exceptions.decide(s_->mxcsr);
  const u32 flags = decides ? exceptions.flags(s_->mxcsr) : 0;  // before operands are overwritten
  const HalfExceptions halves(v, s_->vec[0].bytes, s_->opmask);
  const bool halves_decide = halves.decide(s_->mxcsr);
  const u32 range_flags = halves_decide ? halves.flags(s_->mxcsr) : 0;
  // An instruction that suppresses exceptions masks them, so that its underflows are flushed again.
  const bool is_estimate = v.map == 2 && (v.opcode & 0xfc) == 0x4c;
  const bool suppresses = is_estimate || (v.b && v.rm.kind != Kind::Memory);
  const u32 control = s_->hdr.fp_control;
  if (suppresses) s_->hdr.fp_control |= s_->mxcsr & kFlushToZero;
  helper_evex(args);
  if (suppresses) s_->hdr.fp_control = (s_->hdr.fp_control & ~kFlushToZero) | (control & kFlushToZero);
  const u32 computed = s_->hdr.fp_control & kSticky;
  finish_simd(decides ? flags : halves_decide ? (computed & ~HalfExceptions::kRangeFlags) | range_flags : computed);
  if (s_->hdr.leave == tcg::kLeaveNot || v.dest == Dest::None) return 0;
  if (o.kind == Kind::Vector) s_->vec[o.index] = vector;
  if (o.kind == Kind::Mask) s_->opmask[o.index & 7] = mask;
  return 0;
}

// ---- Masked operands ------------------------------------------------------------------------------------------------

/// Copies `bytes` bytes of RAM that lie in one page and are in the first level of the TLB: nothing can fault there, and
/// reading what a mask does not select has no effect. False if they are not.
bool X86Cpu::evex_copy_whole(u64 linear, unsigned bytes, u8 view, u8* to) const {
  const tcg::View* table = s_->hdr.views[view];
  const u64 va = wrap_operand(linear), offset = va & (tcg::kPageSize - 1);
  if (table == nullptr || offset + bytes > tcg::kPageSize) return false;
  const tcg::TlbEntry& entry = table->l1[tcg::tlb_index(va)];
  if (entry.rd != va - offset) return false;
  std::memcpy(to, reinterpret_cast<const u8*>(va + entry.addend), bytes);
  return true;
}

u64 X86Cpu::helper_evex_load(const u64* args) {
  const EvexAccess a = EvexAccess::unpack(args[1]);
  const bool is_linear = a.base.is_linear();
  if (is_linear && evex_copy_whole(args[0], a.bytes, current_view(), s_->vector_slot(a.slot).bytes)) return 0;
  u64 mask = s_->opmask[a.mask];
  const unsigned size = 1u << a.element_log2, elements = a.bytes >> a.element_log2;
  for (unsigned i = elements; i < a.repeated; i += elements) mask |= (s_->opmask[a.mask] & low_mask(a.repeated)) >> i;
  mask &= low_mask(elements);
  const u8 view = current_view();
  alignas(64) u8 result[64] = {};
  const auto load = [&](unsigned at, unsigned bytes) {
    u64 linear = 0;
    return a.base.linear(*this, args[0], at, bytes, false, linear) &&
           memory_->load_bytes(linear, std::span(result + at, bytes), view) == AccessStatus::Ok;
  };
  if (a.compact) {
    const unsigned bytes = unsigned(std::popcount(mask)) * size;
    if (bytes != 0 && !load(0, bytes)) return 0;
  } else if (mask == low_mask(elements)) {
    if (!load(0, a.bytes)) return 0;
  } else {
    for (unsigned i = 0; i < elements; ++i)
      if ((mask >> i & 1) && !load(i * size, size)) return 0;
  }
  std::memcpy(s_->vector_slot(a.slot).bytes, result, sizeof result);
  return 0;
}

u64 X86Cpu::helper_evex_store(const u64* args) {
  const EvexAccess a = EvexAccess::unpack(args[1]);
  const unsigned size = 1u << a.element_log2, elements = a.bytes >> a.element_log2;
  u64 mask = s_->opmask[a.mask] & low_mask(elements);
  if (a.compact) mask = low_mask(unsigned(std::popcount(mask)));
  const u8 view = current_view();
  const u8* source = s_->vector_slot(a.slot).bytes;
  // Runs of selected elements, as long as they are: all may be written before any is.
  const auto for_each_run = [&](auto&& visit) {
    for (unsigned i = 0; i < elements;) {
      if (!(mask >> i & 1)) {
        ++i;
        continue;
      }
      const unsigned count = unsigned(std::countr_one(mask >> i));
      if (!visit(i * size, count * size)) return false;
      i += count;
    }
    return true;
  };
  u64 linear = 0;
  const auto is_admitted = [&](unsigned at, unsigned bytes) {
    return a.base.linear(*this, args[0], at, bytes, true, linear);
  };
  if (!a.base.is_linear() && !for_each_run(is_admitted)) return 0;
  const bool may = for_each_run([&](unsigned at, unsigned bytes) {
    return is_admitted(at, bytes) && memory_->probe(linear, bytes, target::Access::Store, view) == AccessStatus::Ok;
  });
  if (!may || a.probes) return 0;
  for_each_run([&](unsigned at, unsigned bytes) {
    return a.base.linear(*this, args[0], at, bytes, true, linear) &&
           memory_->store_bytes(linear, std::span(source + at, bytes), view) == AccessStatus::Ok;
  });
  return 0;
}

/// From the lowest element up. A fault leaves those before it done and their mask bits clear, so that the instruction
/// continues where it was.
u64 X86Cpu::helper_evex_gather(const u64* args) {
  const EvexGather g = EvexGather::unpack(args[1]);
  u8* vector = s_->vec[g.reg].bytes;
  const VectorSlot indexes = s_->vec[g.index];
  u64& mask = s_->opmask[g.mask];
  const unsigned size = 1u << g.element_log2, lanes = (1u << g.length_log2) >> std::max(g.index_log2, g.element_log2);
  const u8 view = current_view();
  for (unsigned i = 0; i < lanes; ++i) {
    if (!(mask >> i & 1)) continue;
    i64 index = 0;
    std::memcpy(&index, indexes.bytes + (i << g.index_log2), size_t(1) << g.index_log2);
    if (g.index_log2 == 2) index = i32(index);
    u64 offset = args[0] + (u64(index) << g.scale);
    if (g.address_log2 == 2) offset = u32(offset);
    if (!is_code64()) {
      const SegmentRange& range = s_->seg_range[g.segment];
      const u32 low = g.scatters ? range.write_low : range.read_low;
      const u32 high = g.scatters ? range.write_high : range.read_high;
      if (offset < low || offset + size - 1 > high) {
        raise(g.segment == SS ? Vector::kSS : Vector::kGP, 0);
        return 0;
      }
    }
    const bool has_base = !is_code64() || g.segment == FS || g.segment == GS;
    const u64 linear = wrap_operand(offset + (has_base ? s_->segment_base(g.segment) : 0));
    u8 element[8];
    if (g.scatters) {
      if (memory_->store_bytes(linear, std::span<const u8>(vector + i * size, size), view) != AccessStatus::Ok)
        return 0;
    } else {
      if (memory_->load_bytes(linear, std::span(element, size), view) != AccessStatus::Ok) return 0;
      std::memcpy(vector + i * size, element, size);
      const size_t length = size_t(1) << g.length_log2;
      std::memset(vector + length, 0, 64 - length);  // also if a later one faults
    }
    mask &= ~bit64(i);
  }
  mask = 0;
  if (!g.scatters) std::memset(vector + lanes * size, 0, 64 - lanes * size);
  return 0;
}

}  // namespace emu::x86
