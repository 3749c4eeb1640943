// SPDX-License-Identifier: Apache-2.0
// Where values are: scratch registers, pinned registers as long as they still hold the value, spill slots, homes.
#include <algorithm>

#include "tcg/host/x86_64/compiler.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr unsigned kSpillsForValues = kSpillSlots - 4;  ///< the last four are for saving fixed registers
constexpr unsigned kVectorSpillsForValues = kVectorSpillSlots / 2;

bool is_scratch(Reg r) { return r == r9 || r == r10 || r == r11; }

}  // namespace

u32& Compiler::head(Where where, u8 reg) {
  switch (where) {
    case Where::Gpr:
      return gpr_head_[reg];
    case Where::Vec:
      return xmm_head_[reg];
    case Where::Spill:
      return spill_head_[reg];
    default:
      return vec_spill_head_[reg];
  }
}

void Compiler::attach(u32 id, Where where, u8 reg) {
  Value& v = values_[id];
  v.where = where;
  v.reg = reg;
  u32& first = head(where, reg);
  v.next = first;
  first = id;
}

void Compiler::detach(u32 id) {
  Value& v = values_[id];
  if (v.where != Where::Nowhere && v.where != Where::Home) {
    u32* link = &head(v.where, v.reg);
    while (*link && *link != id) link = &values_[*link].next;
    if (*link) *link = v.next;
  }
  v.where = Where::Nowhere;
}

/// Whether no value in r is used after op `after`.
bool Compiler::is_free(Reg r, u32 after) {
  for (u32 id = gpr_head_[r]; id; id = values_[id].next) {
    if (values_[id].last_use > after) return false;
  }
  return true;
}
bool Compiler::is_free_xmm(Xmm x, u32 after) {
  for (u32 id = xmm_head_[x]; id; id = values_[id].next) {
    if (values_[id].last_use > after) return false;
  }
  return true;
}

u32 Compiler::furthest_use(u32 first) const {
  u32 furthest = 0;
  for (u32 id = first; id; id = values_[id].next) furthest = std::max(furthest, values_[id].last_use);
  return furthest;
}

unsigned Compiler::new_spill() {
  for (unsigned i = 0; i < kSpillsForValues; ++i) {
    if (furthest_use(spill_head_[i]) < now_ && !(spills_of_op_ >> i & 1)) {
      spill_head_[i] = 0;
      spills_of_op_ |= 1u << i;
      return i;
    }
  }
  too_complex_ = true;
  return 0;
}
unsigned Compiler::new_vector_spill() {
  for (unsigned i = 0; i < kVectorSpillsForValues; ++i) {
    if (furthest_use(vec_spill_head_[i]) < now_ && !(vector_spills_of_op_ >> i & 1)) {
      vec_spill_head_[i] = 0;
      vector_spills_of_op_ |= 1u << i;
      return i;
    }
  }
  too_complex_ = true;
  return 0;
}

/// The register was overwritten: whatever else it held is dead or was evicted.
void Compiler::define(u32 id, Reg r, bool clean) {
  gpr_head_[r] = 0;
  attach(id, Where::Gpr, r);
  values_[id].clean = clean;
}
void Compiler::define_xmm(u32 id, Xmm x) {
  xmm_head_[x] = 0;
  attach(id, Where::Vec, x);
}
void Compiler::define_spill(u32 id, unsigned index, bool clean) {
  attach(id, Where::Spill, u8(index));
  values_[id].clean = clean;
}
void Compiler::define_home(u32 id, i32 offset, bool clean) {
  Value& v = values_[id];
  v.where = Where::Home;
  v.home = offset;
  v.clean = clean;
  home_values_.push_back(id);
}
void Compiler::alias(u32 id, Ref of, bool clean) {
  const Value& from = values_[of.id()];
  if (from.where == Where::Home) {
    define_home(id, from.home, clean);
    return;
  }
  attach(id, from.where, from.reg);
  values_[id].clean = clean;
}

/// Moves the values of r that are used after op `after` to a home that still has them, a free scratch register or a
/// spill slot. They are equal bits, so one move serves all.
void Compiler::evict(Reg r, u32 after, u32 except) {
  u32 live[64], count = 0;
  bool all_at_home = true;
  for (u32 id = gpr_head_[r]; id; id = values_[id].next) {
    if (id == except || values_[id].last_use <= after) continue;
    if (count == std::size(live)) {
      too_complex_ = true;
      return;
    }
    live[count++] = id;
    all_at_home = all_at_home && values_[id].home >= 0;
  }
  if (count == 0) return;
  if (all_at_home) {
    for (u32 i = 0; i < count; ++i) {
      detach(live[i]);
      values_[live[i]].where = Where::Home;
    }
    return;
  }
  Reg free_reg = kNoReg;
  for (const Reg s : kScratch) {
    if (s != r && !(held_ >> s & 1) && !holds_window(s) && is_free(s, now_ - 1)) free_reg = s;
  }
  if (free_reg != kNoReg && !is_scratch(r)) {  // from scratch to scratch would only delay the spill
    hot_.mov(Width::q, free_reg, r);
    gpr_head_[free_reg] = 0;
    for (u32 i = 0; i < count; ++i) {
      detach(live[i]);
      attach(live[i], Where::Gpr, free_reg);
    }
    return;
  }
  const unsigned spill = new_spill();
  hot_.mov(Width::q, slot(offset_of_spill(spill)), r);
  for (u32 i = 0; i < count; ++i) {
    detach(live[i]);
    attach(live[i], Where::Spill, u8(spill));
  }
}

void Compiler::evict_xmm(Xmm x, u32 after, u32 except) {
  u32 live[64], count = 0;
  for (u32 id = xmm_head_[x]; id; id = values_[id].next) {
    if (id == except || values_[id].last_use <= after) continue;
    if (count == std::size(live)) {
      too_complex_ = true;
      return;
    }
    live[count++] = id;
  }
  if (count == 0) return;
  const unsigned spill = new_vector_spill();
  const Mem to = slot(offset_of_vector_spill(spill));
  if (block_->wide_vectors)
    hot_.vmovups(5, to, x);
  else
    hot_.movaps(to, x);
  for (u32 i = 0; i < count; ++i) {
    detach(live[i]);
    attach(live[i], Where::VecSpill, u8(spill));
  }
}

/// Before bytes [offset, offset + size) of the state change: values that are read from there go elsewhere, copies
/// elsewhere no longer count as copies.
void Compiler::move_home_values(i32 offset, u32 size, u32 after, u32 except) {
  size_t kept = 0;
  for (size_t i = 0; i < home_values_.size(); ++i) {
    const u32 id = home_values_[i];
    Value& v = values_[id];
    if (v.last_use <= after) continue;
    if (v.home < offset || v.home >= offset + i32(size)) {
      home_values_[kept++] = id;
      continue;
    }
    if (v.where == Where::Home && id != except) {
      const Type type = ir::result_type(block_->ops[id]);
      if (ir::is_vector(type)) {
        const unsigned spill = new_vector_spill();
        const Xmm x = map_.vector_scratch[0];
        evict_xmm(x, now_ - 1);
        const Mem to = slot(offset_of_vector_spill(spill));
        if (type == Type::V256) {
          hot_.vmovups(5, x, slot(v.home));
          hot_.vmovups(5, to, x);
        } else {
          hot_.movups(x, slot(v.home));
          hot_.movaps(to, x);
        }
        attach(id, Where::VecSpill, u8(spill));
      } else {
        const u32 held = held_;
        const Reg r = temp();
        load(r, operand(Ref::value(id), type), width_of(type));
        attach(id, Where::Gpr, r);
        held_ = held;
      }
    }
    v.home = -1;
  }
  home_values_.resize(kept);
}

Operand Compiler::operand(Ref r, Type type) {
  Operand o;
  if (r.is_constant()) {
    o.kind = Operand::Constant;
    o.value = block_->constant_value(r);
    o.pc_relative = r.is_pool() && block_->pool[r.pool_index()].pc_relative;
    if (type == Type::I1)
      o.value &= 1;
    else if (ir::is_int(type) && !o.pc_relative)
      o.value = u64(sign_extend(o.value, ir::width(type)));
    return o;
  }
  if (!r.is_value()) return o;
  const Value& v = values_[r.id()];
  o.clean = v.clean;
  switch (v.where) {
    case Where::Gpr:
      o.kind = Operand::Gpr;
      o.reg = Reg(v.reg);
      break;
    case Where::Vec:
      o.kind = Operand::Vec;
      o.xmm = Xmm(v.reg);
      break;
    case Where::Spill:
      o.kind = Operand::Slot;
      o.offset = offset_of_spill(v.reg);
      break;
    case Where::VecSpill:
      o.kind = Operand::Slot;
      o.offset = offset_of_vector_spill(v.reg);
      break;
    case Where::Home:
      o.kind = Operand::Slot;
      o.offset = v.home;
      break;
    case Where::Nowhere:
      EMU_CHECK(too_complex_);
      break;
  }
  return o;
}

void Compiler::load_constant(Reg dst, const Operand& constant) {
  if (constant.pc_relative) {
    hot_.mov_imm64(dst, constant.value);
    relocate(hot_, hot_.position() - 8, ir::Relocation::Form::Pc64);
  } else {
    hot_.mov_imm(dst, constant.value);
  }
}

void Compiler::load(Reg dst, const Operand& from, Width w, bool clean) {
  switch (from.kind) {
    case Operand::Gpr:
      if (clean && !from.clean && w != Width::q)
        hot_.movzx(w, dst, from.reg);
      else if (dst != from.reg)
        hot_.mov(w == Width::q || from.clean ? Width::q : Width::d, dst, from.reg);
      break;
    case Operand::Slot:
      hot_.movzx(w, dst, slot(from.offset));
      break;
    case Operand::Constant: {
      Operand c = from;
      if (w != Width::q) {
        if (c.pc_relative) movable_ = false;  // a part of a pc does not move by whole pages
        c.pc_relative = false;
        c.value &= low_mask(bits(w));
      }
      load_constant(dst, c);
      break;
    }
    default:
      EMU_CHECK(too_complex_);
      break;
  }
}

/// A scratch register for the running op. Values it held that this op or a later one uses are moved away.
Reg Compiler::temp(u32 avoid) {
  Reg best = kNoReg;
  u32 best_use = 0;
  for (const Reg r : kScratch) {
    if ((held_ | avoid | window_regs_) >> r & 1) continue;
    const u32 use = furthest_use(gpr_head_[r]);
    if (use < now_) {
      gpr_head_[r] = 0;
      hold(r);
      return r;
    }
    if (best == kNoReg || use > best_use) {
      best = r;
      best_use = use;
    }
  }
  for (const Reg r : kScratch) {
    if (best != kNoReg || !holds_window(r) || ((held_ | avoid) >> r & 1)) continue;
    drop_window(r);
    best = r;
  }
  if (best == kNoReg) {
    too_complex_ = true;
    return kScratch[0];
  }
  take(best);
  return best;
}

void Compiler::take(Reg r) {
  if (holds_window(r)) drop_window(r);
  hold(r);
  evict(r, now_ - 1);
  if (is_scratch(r)) gpr_head_[r] = 0;
}

Reg Compiler::dest(u32 id, Ref reuse) {
  const u8 hint = values_[id].hint;
  if (hint != kNoHostRegister && !(held_ >> hint & 1) && is_free(Reg(hint), now_)) {
    hold(Reg(hint));
    return Reg(hint);
  }
  if (reuse.is_value()) {
    const Value& v = values_[reuse.id()];
    if (v.where == Where::Gpr && is_scratch(Reg(v.reg)) && is_free(Reg(v.reg), now_)) {
      hold(Reg(v.reg));
      return Reg(v.reg);
    }
  }
  return temp();
}

Reg Compiler::use_reg(Ref r, Type type) {
  const Operand o = operand(r, type);
  if (o.kind == Operand::Gpr) {
    hold(o.reg);
    return o.reg;
  }
  const Reg t = temp();
  load(t, o, width_of(type));
  if (r.is_value() && values_[r.id()].last_use > now_ && !in_branch_) {  // keep it here
    detach(r.id());
    attach(r.id(), Where::Gpr, t);
    values_[r.id()].clean = true;
  }
  return t;
}

Reg Compiler::use_clean(Ref r, Type type) {
  const Operand o = operand(r, type);
  if (o.kind == Operand::Gpr && (o.clean || type == Type::I64)) {
    hold(o.reg);
    return o.reg;
  }
  if (o.kind == Operand::Slot) return use_reg(r, type);
  const Reg t = temp();
  load(t, o, width_of(type), true);
  return t;
}

/// Writes a zero-extended 64-bit word.
void Compiler::store_word(const Mem& to, const Operand& from, Type type) {
  const Width w = width_of(type);
  if (from.kind == Operand::Constant && !from.pc_relative) {
    const u64 v = type == Type::I1 ? from.value & 1 : from.value & low_mask(bits(w));
    if (i64(v) == i64(i32(v))) return hot_.mov_imm(Width::q, to, i32(v));
  }
  if (from.kind == Operand::Gpr && (from.clean || w == Width::q)) return hot_.mov(Width::q, to, from.reg);
  const u32 held = held_;
  const Reg t = temp();
  load(t, from, w, true);
  hot_.mov(Width::q, to, t);
  held_ = held;
}

ir::Location Compiler::location(const Operand& o) const {
  using W = ir::Location::Where;
  switch (o.kind) {
    case Operand::Gpr:
      return {W::State, u64(map_.gpr_home[o.reg])};
    case Operand::Vec:
      return {W::State, u64(map_.xmm_home[o.xmm])};
    case Operand::Slot:
      return {W::State, u64(o.offset)};
    case Operand::Constant:
      return o.pc_relative ? ir::Location{W::Pc, o.value - block_->pc} : ir::Location{W::Constant, o.value};
    default:
      return {};
  }
}

// Vectors

Xmm Compiler::vec_temp() {
  Xmm best = kNoXmm;
  u32 best_use = 0;
  for (const Xmm x : map_.vector_scratch) {
    if (held_xmm_ >> x & 1) continue;
    const u32 use = furthest_use(xmm_head_[x]);
    if (use < now_) {
      xmm_head_[x] = 0;
      held_xmm_ |= 1u << x;
      return x;
    }
    if (best == kNoXmm || use > best_use) {
      best = x;
      best_use = use;
    }
  }
  if (best == kNoXmm) {
    too_complex_ = true;
    return map_.vector_scratch[0];
  }
  evict_xmm(best, now_ - 1);
  xmm_head_[best] = 0;
  held_xmm_ |= 1u << best;
  return best;
}

Xmm Compiler::vec_dest(u32 id, Ref reuse) {
  const u8 hint = values_[id].hint;
  if (hint != kNoHostRegister && !(held_xmm_ >> hint & 1) && is_free_xmm(Xmm(hint), now_)) return Xmm(hint);
  if (reuse.is_value()) {
    const Value& v = values_[reuse.id()];
    if (v.where == Where::Vec && map_.xmm_field[v.reg] == kNoField && is_free_xmm(Xmm(v.reg), now_)) return Xmm(v.reg);
  }
  return vec_temp();
}

void Compiler::load_xmm(Xmm dst, const Operand& from) {
  if (from.kind == Operand::Slot)
    hot_.movups(dst, slot(from.offset));
  else if (from.kind == Operand::Vec && from.xmm >= xmm16 && dst < xmm16 && block_->wide_vectors)
    insert_low(dst, from.xmm);
  else if (from.kind == Operand::Vec && from.xmm != dst)
    hot_.movaps(dst, from.xmm);
}

/// VINSERTI32X4: the upper half of dst stays.
void Compiler::insert_low(Xmm dst, Xmm from) {
  hot_.vector({.map = 3, .pp = 1, .opcode = 0x38, .is_256 = true}, dst, dst, from);
  hot_.immediate(0);
}

void Compiler::load_vector(Xmm dst, const Operand& from, Type type) {
  if (type == Type::V128) return load_xmm(dst, from);
  if (from.kind == Operand::Slot)
    hot_.vmovups(5, dst, slot(from.offset));
  else if (from.kind == Operand::Vec && from.xmm != dst)
    hot_.vmovaps(true, dst, from.xmm);
}

void Compiler::move_whole(Xmm dst, Xmm src) {
  if (block_->wide_vectors)
    hot_.vmovaps(true, dst, src);
  else
    hot_.movaps(dst, src);
}

Xmm Compiler::use_xmm(Ref r) {
  const Operand o = operand(r, Type::V128);
  if (o.kind == Operand::Vec) return o.xmm;
  const Xmm x = vec_temp();
  load_vector(x, o, vector_type(r));
  return x;
}

}  // namespace emu::tcg::x86_64
