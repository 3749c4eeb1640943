// SPDX-License-Identifier: Apache-2.0
// Registers, effective and linear addresses, operands. SDM Vol. 1 chapter 3, Vol. 3 chapter 3 and 5.3.
#include "target/x86/translate_emitter.h"
#include "util/check.h"

namespace emu::x86 {

using ir::Opcode;

// ---- Registers
// -------------------------------------------------------------------------------------------------------

Emitter::Value Emitter::fit(Type to, Value v) {
  if (v.type == to) return v;
  return width(v.type) > width(to) ? b_.trunc(to, v) : b_.zext(to, v);
}

Emitter::Value Emitter::get_byte(unsigned reg, bool high) {
  const Value whole = b_.get(gpr_field(reg));
  return high ? b_.extract(Type::I8, whole, 8) : b_.trunc(Type::I8, whole);
}

Emitter::Value Emitter::get_gpr(unsigned reg, unsigned log2) {
  const Value whole = b_.get(gpr_field(reg));
  return log2 == 3 ? whole : b_.trunc(type_of(log2), whole);
}

Emitter::Value Emitter::merged_gpr(unsigned reg, unsigned log2, Value v) {
  if (log2 == 3) return v;
  if (log2 == 2) return b_.zext(Type::I64, v);
  return b_.insert(b_.get(gpr_field(reg)), v, 0);
}

void Emitter::set_gpr(unsigned reg, unsigned log2, Value v) { b_.set(gpr_field(reg), merged_gpr(reg, log2, v)); }

// ---- Addresses
// -------------------------------------------------------------------------------------------------------

bool Emitter::is_flat(unsigned segment) const {
  if (code64()) return segment < FS;
  switch (segment) {
    case DS:
      return mode_.has(Mode::kFlatDS);
    case ES:
      return mode_.has(Mode::kFlatES);
    case SS:
      return mode_.has(Mode::kFlatSS);
    case CS:
      return mode_.has(Mode::kFlatCS);
    default:
      return false;
  }
}

Emitter::Value Emitter::wrap_offset(Value offset64, unsigned address_log2) {
  return address_log2 == 3 ? offset64 : b_.zext(Type::I64, b_.trunc(type_of(address_log2), offset64));
}

Emitter::Effective Emitter::effective(const Insn& insn) {
  Effective e;
  e.segment = insn.segment;
  e.is_stack = insn.base == RSP || insn.base == RBP;
  if (insn.base == kBaseRip) {
    const u64 target = next_pc(insn) + u64(i64(insn.disp));
    e.offset = insn.address == 3 ? b_.pc_constant(target) : b_.i64(u32(target));
    if (insn.address != 3) b_.block().movable = false;
    return e;
  }
  Value sum;
  if (insn.base != kNoReg) sum = b_.get(gpr_field(insn.base));
  if (insn.index != kNoReg) {
    const Value index = b_.get(gpr_field(insn.index));
    sum = sum.type == Type::Void ? b_.shl(index, b_.i8(insn.scale)) : b_.add_shl(sum, index, insn.scale);
  }
  if (sum.type == Type::Void) {
    e.offset = b_.i64(u64(i64(insn.disp)) & low_mask(8u << insn.address));
    return e;
  }
  if (insn.address == 3) {
    e.offset = sum;
    e.disp = insn.disp;
    return e;
  }
  if (insn.disp != 0) sum = b_.add(sum, b_.i64(u64(i64(insn.disp))));
  e.offset = wrap_offset(sum, insn.address);
  return e;
}

Emitter::Value Emitter::effective_value(const Effective& e) {
  return e.disp == 0 ? e.offset : b_.add(e.offset, b_.i64(u64(i64(e.disp))));
}

Emitter::Linear Emitter::linear(const Effective& e, u64 bytes, AccessKind kind) {
  Linear l{e.offset, e.disp, e.is_stack};
  if (code64()) {
    if (e.segment >= FS) {
      l.address = b_.add(b_.get(field_at(F_SEG_BASE, e.segment)), e.offset);
      l.is_stack = false;
    }
    return l;
  }
  const u32 fault = trap_code(e.segment == SS ? kSS : kGP, 0);
  const bool writes = kind != AccessKind::Read;
  if (e.segment == CS && writes && mode_.is_protected()) {
    raise_if(b_.constant(Type::I1, 1), fault);  // a code segment is never writable
    return l;
  }
  if (is_flat(e.segment)) return l;

  // Valid iff low <= offset && offset + bytes - 1 <= high: rights and limit at once (see SegmentRange).
  const Value offset = effective_value(e);
  const auto bound = [&](Field field) { return b_.zext(Type::I64, b_.get(field_at(field, e.segment))); };
  const Value high = bound(writes ? F_SEG_WRITE_HIGH : F_SEG_READ_HIGH);
  if (mode_.is_protected()) {  // elsewhere segments start at 0
    const Value low = bound(writes ? F_SEG_WRITE_LOW : F_SEG_READ_LOW);
    raise_if(b_.compare(ir::Cond::Below, offset, low), fault);
  }
  raise_if(b_.compare(ir::Cond::Above, b_.add(offset, b_.i64(bytes - 1)), high), fault);
  const Value sum = b_.add(b_.get(field_at(F_SEG_BASE, e.segment)), offset);
  return {b_.zext(Type::I64, b_.trunc(Type::I32, sum)), 0, e.is_stack};
}

Emitter::Value Emitter::element_base(const Insn& insn, const Effective& e, ElementBase& base) {
  const bool is_plain = is_flat(e.segment) && e.segment != CS && insn.address == 2;
  if (code64() || is_plain) return linear_value(linear(e, 1, AccessKind::Read));
  base = {e.segment, insn.address};
  return effective_value(e);
}

Emitter::Value Emitter::linear_value(const Linear& l) {
  return l.disp == 0 ? l.address : b_.add(l.address, b_.i64(u64(i64(l.disp))));
}

ir::MemInfo Emitter::mem_info(unsigned log2, const Linear& l) {
  ir::MemInfo mem;
  mem.disp = l.disp;
  mem.log2_bytes = u8(log2);
  mem.stack = l.is_stack;
  if (mode_.has(Mode::kAlignCheck)) {
    mem.align_log2 = u8(log2 > 4 ? 4 : log2);  // 256 bits need be aligned to 128 only
    mem.align_fault = true;
  }
  return mem;
}

Emitter::Value Emitter::load_at(const Linear& l, unsigned log2, AccessKind kind) {
  ir::MemInfo mem = mem_info(log2, l);
  mem.write_intent = kind == AccessKind::ReadWrite;
  return b_.load(type_of(log2), l.address, mem);
}

void Emitter::store_at(const Linear& l, Value v) { b_.store(l.address, v, mem_info(ir::log2_bytes(v.type), l)); }

// ---- Operands
// --------------------------------------------------------------------------------------------------------

Emitter::Place Emitter::memory_place(const Insn& insn, unsigned log2, AccessKind kind) {
  const Linear l = linear(effective(insn), u64(1) << log2, kind);
  Place p;
  p.where = Place::Where::Memory;
  p.log2 = u8(log2);
  p.value = l.address;
  p.mem = mem_info(log2, l);
  p.mem.write_intent = kind == AccessKind::ReadWrite;
  return p;
}

Emitter::Place Emitter::place(const Insn& insn, unsigned operand, AccessKind kind) {
  using enum Operand;
  const Operand code = insn.row->operands[operand];
  Place p;
  p.log2 = u8(operand_log2(code, insn));
  const auto in_register = [&](unsigned reg) {
    p.where = Place::Where::Register;
    p.is_high_byte = p.log2 == 0 && insn.rex == 0 && reg >= 4 && reg < 8;
    p.reg = u8(p.is_high_byte ? reg - 4 : reg);
    return p;
  };
  switch (code) {
    case Eb:
    case Ew:
    case Ed:
    case Eq:
    case Ev:
    case Ey:
      return insn.is_memory ? memory_place(insn, p.log2, kind) : in_register(insn.rm);
    case M:
    case Mb:
    case Mw:
    case Md:
    case Mq:
    case Mdq:
    case Mv:
      return memory_place(insn, p.log2, kind);
    case Gb:
    case Gw:
    case Gd:
    case Gv:
    case Gy:
      return in_register(insn.reg);
    case Ry:
      return in_register(insn.rm);
    case Zb:
    case Zv:
      return in_register((insn.opcode & 7u) | (insn.rex & 1u) << 3);
    case AL:
    case rAX:
    case CL:
    case DX:
      p.where = Place::Where::Register;
      p.reg = code == CL ? RCX : code == DX ? RDX : RAX;
      return p;
    case Ib:
    case Ibs:
    case Iw:
    case Iz:
    case Iv:
      if (code == Ib) p.log2 = 0;
      p.value = constant(code == Ib || code == Iw ? p.log2 : insn.size, insn.imm);
      return p;
    case One:
      p.log2 = 0;
      p.value = b_.i8(1);
      return p;
    case Ob:
    case Ov: {
      const Effective e{b_.i64(insn.imm), 0, insn.segment, false};
      const Linear l = linear(e, u64(1) << p.log2, kind);
      p.where = Place::Where::Memory;
      p.value = l.address;
      p.mem = mem_info(p.log2, l);
      return p;
    }
    default:
      break;
  }
  EMU_CHECK(false && "operand code without a place");
  return p;
}

Emitter::Value Emitter::load(const Place& p, bool write_intent) {
  switch (p.where) {
    case Place::Where::Immediate:
      return p.value;
    case Place::Where::Register:
      return p.log2 == 0 ? get_byte(p.reg, p.is_high_byte) : get_gpr(p.reg, p.log2);
    case Place::Where::Memory:
      break;
  }
  ir::MemInfo mem = p.mem;
  mem.write_intent |= write_intent;
  return b_.load(type_of(p.log2), p.value, mem);
}

void Emitter::store(const Place& p, Value v) {
  if (p.is_memory()) {
    ir::MemInfo mem = p.mem;
    mem.write_intent = false;
    b_.store(p.value, v, mem);
  } else if (p.is_high_byte) {
    b_.set(gpr_field(p.reg), b_.insert(b_.get(gpr_field(p.reg)), v, 8));
  } else {
    set_gpr(p.reg, p.log2, v);
  }
}

// ---- Flags
// -----------------------------------------------------------------------------------------------------------

Emitter::Value Emitter::flag_bit(Value i1, unsigned at_bit) {
  const Value wide = b_.zext(Type::I64, i1);
  return at_bit == 0 ? wide : b_.shl(wide, b_.i8(at_bit));
}

void Emitter::set_packed_bits(Value packed, FlagMask which, Value bits) {
  const Value kept = b_.and_(packed, b_.i64(kArithmetic & ~u64(which)));
  b_.set_flags(b_.fl_unpack(b_.or_(kept, bits)));
}

}  // namespace emu::x86
