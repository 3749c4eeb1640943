// SPDX-License-Identifier: Apache-2.0
// AVX-512. An EVEX instruction runs on the host as it is, on the guest's registers (tcg::HostVector); what is done here
// is its memory: loads and stores through the TLB to and from a scratch slot, element by element in C++ where masks
// choose. Instructions on mask registers are integer operations. Exception classes: SDM vol. 2, 2.7 and 2.8.
#include <algorithm>
#include <bit>

#include "target/x86/evex_access.h"
#include "target/x86/translate_emitter.h"
#include "util/bits.h"

namespace emu::x86 {

using Kind = tcg::HostVector::Kind;
using Dest = tcg::HostVector::Dest;

namespace {

bool names_vector(Operand o) { return o == Operand::V || o == Operand::W || o == Operand::U || o == Operand::H; }

/// The operand in ModRM.rm may be in memory.
bool is_rm(Operand o) {
  return o == Operand::W || o == Operand::U || o == Operand::M || o == Operand::KR ||
         (o >= Operand::Eb && o <= Operand::Ey);
}

}  // namespace

/// What works on 512 bits runs where the state may have some above bit 255; elsewhere it asks for the mode that has.
bool Emitter::can_avx512(const Insn& insn) {
  if (!mode_.has(Mode::kAvx512)) return raise(kUD), false;
  if (mode_.has(Mode::kCr0TS)) return raise(kNM), false;
  if (insn.uses_zmm() && !mode_.has(Mode::kZmm)) return raise(kTrapAvx512), false;
  return true;
}

// ---- Registers ------------------------------------------------------------------------------------------------------

Emitter::Value Emitter::vector_zero() { return b_.vec_widen(b_.vec_from_int(b_.i64(0))); }

Emitter::Value Emitter::zmm_low(unsigned reg) { return reg < 16 ? ymm(reg) : b_.get(field_at(F_ZMM16_LOW, reg - 16)); }

void Emitter::set_zmm(unsigned reg, Value low, Value high) {
  b_.set(reg < 16 ? field_at(F_XMM0, reg) : field_at(F_ZMM16_LOW, reg - 16), low);
  b_.set(field_at(F_ZMM_HIGH0, reg), high);
}

// ---- Memory without masks -------------------------------------------------------------------------------------------

/// Whether masks decide which elements are accessed.
bool Emitter::evex_is_masked(const Insn& insn) { return insn.mask != 0 && !insn.row->is(kAllElements); }

Emitter::EvexPlace Emitter::evex_place(const Insn& insn, AccessKind kind) {
  const unsigned bytes = insn.row->is(kCompacts) ? 1u << insn.length_log2 : evex_memory_bytes(insn);
  const unsigned log2 = unsigned(std::countr_zero(bytes));
  const Linear l = linear(effective(insn), bytes, kind);
  EvexPlace p{linear_value(l), mem_info(std::min(log2, 5u), {l.address, 0, l.is_stack}), log2};
  if (insn.row->is(kAligned)) {
    const Value low = b_.and_(p.address, b_.i64(bytes - 1)), zero = b_.i64(0);
    Value wrong = b_.compare(ir::Cond::NotEqual, low, zero);
    if (insn.mask != 0) {
      const Value selected = b_.and_(b_.get(field_at(F_K0, insn.mask)), b_.i64(low_mask(bytes >> insn.row->element)));
      wrong = b_.select(wrong, b_.compare(ir::Cond::NotEqual, selected, zero), b_.constant(Type::I1, 0));
    }
    raise_if(wrong, trap_code(kGP, 0));
  }
  return p;
}

/// The operand as two halves of a register; zero above its length.
std::pair<Emitter::Value, Emitter::Value> Emitter::evex_load(const EvexPlace& p) {
  ir::MemInfo mem = p.mem;
  if (p.log2 < 2) {
    const Value v = b_.load(type_of(p.log2), p.address, mem);
    return {b_.vec_widen(b_.vec_from_int(b_.zext(Type::I64, v))), vector_zero()};
  }
  const Value low = b_.load(Type::V256, p.address, mem);
  if (p.log2 < 6) return {low, vector_zero()};
  mem.disp += 32;
  return {low, b_.load(Type::V256, p.address, mem)};
}

void Emitter::evex_store(const EvexPlace& p, Value low, Value high) {
  if (p.log2 < 2) return b_.store(p.address, b_.vec_to_int(type_of(p.log2), low, 0), p.mem);
  if (p.log2 < 6) return b_.store(p.address, low, p.mem);
  ir::MemInfo upper = p.mem;
  upper.disp += 32;
  b_.probe(p.address, p.mem);
  b_.probe(p.address, upper);
  b_.store(p.address, low, p.mem);
  b_.store(p.address, high, upper);
}

// ---- Memory with masks ----------------------------------------------------------------------------------------------

u64 Emitter::evex_access(const Insn& insn, unsigned slot) {
  const unsigned vector = 1u << insn.length_log2, element = insn.row->element;
  const Tuple tuple = insn.row->tuple;
  const bool is_group = tuple >= Tuple::T2 && tuple <= Tuple::T8 && insn.row->operands[0] == Operand::V;
  const bool repeats = insn.evex_b || (tuple == Tuple::Scalar && insn.row->lengths != 0) || is_group;
  EvexAccess a{.slot = u8(slot), .mask = insn.mask, .element_log2 = u8(element), .bytes = u8(evex_memory_bytes(insn))};
  a.compact = insn.row->is(kCompacts);
  if (a.compact) {
    a.bytes = u8(vector);
  } else if (repeats) {
    const unsigned wide = tuple == Tuple::Half ? vector / 2 : tuple == Tuple::Quarter ? vector / 4 : vector;
    a.repeated = u8(wide >> element);
  }
  return a.pack();
}

void Emitter::evex_masked(const Insn& insn, bool stores, bool probes, unsigned slot) {
  EvexAccess a = EvexAccess::unpack(evex_access(insn, slot));
  a.probes = probes;
  const Value address = element_base(insn, effective(insn), a.base);
  call(stores ? H_evex_store : H_evex_load, {address, b_.i64(a.pack())});
}

// ---- The instruction ------------------------------------------------------------------------------------------------

tcg::HostVector Emitter::host_vector(const Insn& insn) {
  const Row& row = *insn.row;
  tcg::HostVector v{.map = row.map,
                    .pp = u8(insn.has(kHas66) ? 1 : 0),
                    .opcode = insn.opcode,
                    .w = insn.vex_w,
                    .b = insn.evex_b,
                    .z = insn.zeroing,
                    .ll = insn.evex_ll,
                    .mask = insn.mask,
                    .length = u8(insn.length_log2 - 4),
                    .reads_dest = row.is(kReadsDest)};
  if (row.prefix == Prefix::PF3) v.pp = 2;
  if (row.prefix == Prefix::PF2) v.pp = 3;
  if (row.lengths == 0 && !insn.evex_b) v.ll = 0;
  if (row.reg_field != kAnyField) v.reg.index = row.reg_field;
  const auto set = [&](Operand o, bool is_first) {
    Dest here = Dest::None;
    switch (o) {
      case Operand::V:
        v.reg = {Kind::Vector, insn.reg};
        here = Dest::Reg;
        break;
      case Operand::KG:
        v.reg = {Kind::Mask, insn.reg};
        here = Dest::Reg;
        break;
      case Operand::Gd:
      case Operand::Gy:
        v.reg = {Kind::General, 0};
        v.w = o == Operand::Gy && insn.rex_w();
        here = Dest::Reg;
        break;
      case Operand::H:
        v.vvvv = {Kind::Vector, insn.vvvv};
        here = Dest::Vvvv;
        break;
      case Operand::Ib:
        v.has_imm = true;
        v.imm = u8(insn.imm);
        break;
      default:
        if (!is_rm(o)) break;
        here = Dest::Rm;
        if (insn.is_memory)
          v.rm = {Kind::Memory, tcg::HostVector::kMemorySlot};
        else if (o == Operand::KR)
          v.rm = {Kind::Mask, u8(insn.rm & 7)};
        else if (names_vector(o))
          v.rm = {Kind::Vector, insn.rm};
        else
          v.rm = {Kind::General, 0};
        if (o == Operand::Ey) v.w = insn.rex_w();
        break;
    }
    if (is_first && !(here == Dest::Rm && insn.is_memory)) v.dest = here;
  };
  for (unsigned i = 0; i < 4; ++i) set(row.operands[i], i == 0);
  return v;
}

void Emitter::run_host_vector(const Insn& insn, const tcg::HostVector& v) {
  // VRCP14 and VRSQRT14 raise nothing, but flush whether or not underflow is masked, which the helper sees to.
  const bool is_estimate = insn.row->map == kMap38 && (insn.opcode & 0xfc) == 0x4c;
  const bool may_trap = (insn.row->is(kFloatOp) || is_estimate) && mode_.has(Mode::kSimdTraps);
  call(may_trap ? H_evex_trapping : H_evex, {b_.i64(v.pack())});
}

void Emitter::evex_op(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const Row& row = *insn.row;
  const tcg::HostVector v = host_vector(insn);
  constexpr unsigned kSlot = tcg::HostVector::kMemorySlot;
  const bool stores = insn.is_memory && is_rm(row.operands[0]);
  const bool masked = evex_is_masked(insn);
  EvexPlace p;
  if (insn.is_memory && !masked) {
    p = evex_place(insn, stores ? AccessKind::Write : AccessKind::Read);
    if (stores && (row.is(kFloatOp) || insn.mask != 0)) b_.probe(p.address, p.mem);
    if (!stores) {
      const auto [low, high] = evex_load(p);
      b_.set(F_EVEX_MEM_LOW, low);
      if (p.log2 == 6) b_.set(F_EVEX_MEM_HIGH, high);
    }
  } else if (insn.is_memory && (!stores || row.is(kFloatOp))) {
    evex_masked(insn, stores, stores, kSlot);
  }
  for (const Operand o : row.operands) {  // general registers go through their slot
    const bool is_source = o >= Operand::Eb && o <= Operand::Ey && !insn.is_memory && o != row.operands[0];
    if (is_source) b_.set(F_EVEX_GENERAL, b_.get(gpr_field(insn.rm)));
  }
  run_host_vector(insn, v);
  if (stores && insn.mask != 0) return evex_masked(insn, true, false, kSlot);
  if (stores) return evex_store(p, b_.get(F_EVEX_MEM_LOW), b_.get(F_EVEX_MEM_HIGH));
  if (v.dest != Dest::None && (v.dest == Dest::Reg ? v.reg.kind : v.rm.kind) == Kind::General) {
    const Value result = b_.get(F_EVEX_GENERAL);
    const unsigned to = v.dest == Dest::Reg ? insn.reg : insn.rm;
    set_gpr(to, v.w ? 3 : 2, v.w ? result : b_.trunc(Type::I32, result));
  }
}

/// Whole vectors. Without a mask nothing is left but the moves.
void Emitter::evex_mov(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const bool loads = insn.row->operands[0] == Operand::V;
  if (insn.mask != 0) {
    if (!insn.is_memory || !insn.row->is(kAligned)) return evex_op(insn);
    evex_place(insn, loads ? AccessKind::Read : AccessKind::Write);  // misaligned, whatever elements the mask selects
    return evex_op(insn);
  }
  const unsigned to = loads ? insn.reg : insn.rm, from = loads ? insn.rm : insn.reg;
  if (insn.is_memory && loads) {
    const auto [low, high] = evex_load(evex_place(insn, AccessKind::Read));
    return set_zmm(to, low, high);
  }
  const Value low = zmm_low(from), high = b_.get(field_at(F_ZMM_HIGH0, from));
  if (insn.is_memory) return evex_store(evex_place(insn, AccessKind::Write), low, high);
  const auto low_128 = [&] {
    return b_.vec_widen(b_.get_low(from < 16 ? field_at(F_XMM0, from) : field_at(F_ZMM16_LOW, from - 16)));
  };
  set_zmm(to, insn.length_log2 == 4 ? low_128() : low, insn.length_log2 == 6 ? high : vector_zero());
}

/// VUCOMIS, VCOMIS.
void Emitter::evex_compare_flags(const Insn& insn) {
  if (!can_avx512(insn)) return;
  if (insn.is_memory) {
    const auto [low, high] = evex_load(evex_place(insn, AccessKind::Read));
    b_.set(F_EVEX_MEM_LOW, low);
  }
  tcg::HostVector v = host_vector(insn);
  v.dest = Dest::None;
  v.makes_flags = true;
  run_host_vector(insn, v);
  if (wants_flags(insn)) b_.set_flags(b_.fl_unpack(b_.and_(b_.get(F_EVEX_GENERAL), b_.i64(kArithmetic))));
}

/// Gathers and scatters; arg: log2 of an index.
void Emitter::evex_gather(const Insn& insn) {
  const bool scatters = insn.row->operands[0] == Operand::M;
  const bool is_valid = insn.sib_index != kNoReg && insn.address != 1 && (scatters || insn.reg != insn.sib_index);
  if (!is_valid) return raise(kUD);
  if (!can_avx512(insn)) return;
  Insn scalar = insn;
  scalar.index = kNoReg;
  const Value base = effective_value(effective(scalar));
  EvexGather g{.reg = insn.reg, .index = insn.sib_index, .mask = insn.mask, .scale = insn.scale};
  g.index_log2 = u8(insn.row->arg);
  g.element_log2 = insn.row->element;
  g.length_log2 = insn.length_log2;
  g.segment = insn.segment;
  g.address_log2 = insn.address;
  g.scatters = scatters;
  call(H_evex_gather, {base, b_.i64(g.pack())});
}

// ---- Mask registers -------------------------------------------------------------------------------------------------

Emitter::Value Emitter::opmask(unsigned k, unsigned log2) {
  const Value v = b_.get(field_at(F_K0, k));
  return log2 == 3 ? v : b_.and_(v, b_.i64(low_mask(8u << log2)));
}

void Emitter::opmask_logic(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const unsigned log2 = insn.row->arg & 15, kind = insn.row->arg >> 4;
  const Value b = opmask(insn.rm & 7, log2), a = kind == 6 ? b : opmask(insn.vvvv & 7, log2);
  const Value all = b_.i64(low_mask(8u << log2));
  const auto result = [&] {
    switch (kind) {
      case 0:
        return b_.and_(a, b);
      case 1:
        return b_.and_(b_.xor_(a, all), b);
      case 2:
        return b_.or_(a, b);
      case 3:
        return b_.xor_(b_.xor_(a, b), all);
      case 4:
        return b_.xor_(a, b);
      case 5:
        return b_.and_(b_.add(a, b), all);
      case 6:
        return b_.xor_(b, all);
      default:  // KUNPCK
        return b_.or_(b_.shl(a, b_.i8(8u << log2)), b);
    }
  };
  b_.set(field_at(F_K0, insn.reg), result());
}

void Emitter::opmask_mov(const Insn& insn) {
  if (!can_avx512(insn)) return;
  b_.set(field_at(F_K0, insn.reg), opmask(insn.rm & 7, insn.row->arg));
}

void Emitter::opmask_load(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const Place p = memory_place(insn, insn.row->arg, AccessKind::Read);
  b_.set(field_at(F_K0, insn.reg), to_i64(load(p)));
}

void Emitter::opmask_store(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const unsigned log2 = insn.row->arg;
  const Place p = memory_place(insn, log2, AccessKind::Write);
  store(p, fit(type_of(log2), b_.get(field_at(F_K0, insn.reg))));
}

void Emitter::opmask_from_gpr(const Insn& insn) {
  if (!can_avx512(insn)) return;
  b_.set(field_at(F_K0, insn.reg), to_i64(get_gpr(insn.rm, insn.row->arg)));
}

void Emitter::opmask_to_gpr(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const Value v = opmask(insn.rm & 7, insn.row->arg);
  insn.row->arg == 3 ? set_gpr(insn.reg, 3, v) : set_gpr(insn.reg, 2, b_.trunc(Type::I32, v));
}

/// KORTEST (0), KTEST (1).
void Emitter::opmask_test(const Insn& insn) {
  if (!can_avx512(insn)) return;
  if (!wants_flags(insn)) return;
  const unsigned log2 = insn.row->arg & 15;
  const Value a = opmask(insn.reg, log2), b = opmask(insn.rm & 7, log2);
  const Value all = b_.i64(low_mask(8u << log2)), zero = b_.i64(0);
  const bool tests = insn.row->arg >> 4;
  const Value z = tests ? b_.and_(a, b) : b_.or_(a, b);
  const Value c = tests ? b_.and_(b_.xor_(a, all), b) : b_.xor_(z, all);
  const Value is_zero = b_.compare(ir::Cond::Equal, z, zero), is_carry = b_.compare(ir::Cond::Equal, c, zero);
  b_.set_flags(b_.fl_unpack(b_.or_(flag_bit(is_zero, 6), flag_bit(is_carry, 0))));
}

/// KSHIFTL (0), KSHIFTR (1).
void Emitter::opmask_shift(const Insn& insn) {
  if (!can_avx512(insn)) return;
  const unsigned log2 = insn.row->arg & 15, bits = 8u << log2, count = unsigned(insn.imm & 0xff);
  const Value v = opmask(insn.rm & 7, log2);
  const auto result = [&] {
    if (count >= bits) return b_.i64(0);
    if (insn.row->arg >> 4) return b_.shr(v, b_.i8(count));
    return b_.and_(b_.shl(v, b_.i8(count)), b_.i64(low_mask(bits)));
  };
  b_.set(field_at(F_K0, insn.reg), result());
}

}  // namespace emu::x86
