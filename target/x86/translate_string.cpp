// SPDX-License-Identifier: Apache-2.0
// String instructions: inline without a prefix, through helpers with one. SDM Vol. 1 section 7.3.9.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

Emitter::Value Emitter::index_register(const Insn& insn, unsigned reg) {
  return wrap_offset(b_.get(gpr_field(reg)), insn.address);
}

void Emitter::advance(const Insn& insn, unsigned reg, Value old_index) {
  const Value step = b_.shl(b_.get(F_DF), b_.i8(insn.size));
  set_gpr(reg, insn.address, fit(type_of(insn.address), b_.add(old_index, step)));
}

Emitter::Linear Emitter::source_index(const Insn& insn, Value si, AccessKind kind) {
  return linear(Effective{si, 0, insn.segment, false}, u64(1) << insn.size, kind);
}

Emitter::Linear Emitter::destination_index(const Insn& insn, Value di, AccessKind kind) {
  return linear(Effective{di, 0, ES, false}, u64(1) << insn.size, kind);  // never overridden
}

/// What rep_* helpers take: bytes | address bytes << 8 | Seg << 16.
Emitter::Value Emitter::string_mode(const Insn& insn) {
  return b_.i64((1u << insn.size) | (1u << insn.address) << 8 | u32(insn.segment) << 16);
}

void Emitter::movs(const Insn& insn) {
  if (is_repeated(insn)) {
    call(H_rep_movs, {string_mode(insn)});
    return;
  }
  const Value si = index_register(insn, RSI), di = index_register(insn, RDI);
  const Value v = load_at(source_index(insn, si, AccessKind::Read), insn.size);
  store_at(destination_index(insn, di, AccessKind::Write), v);
  advance(insn, RSI, si);
  advance(insn, RDI, di);
}

void Emitter::stos(const Insn& insn) {
  if (is_repeated(insn)) {
    call(H_rep_stos, {string_mode(insn)});
    return;
  }
  const Value di = index_register(insn, RDI);
  store_at(destination_index(insn, di, AccessKind::Write), get_gpr(RAX, insn.size));
  advance(insn, RDI, di);
}

void Emitter::lods(const Insn& insn) {
  if (is_repeated(insn)) {
    call(H_rep_lods, {string_mode(insn)});
    return;
  }
  const Value si = index_register(insn, RSI);
  const Value v = load_at(source_index(insn, si, AccessKind::Read), insn.size);
  set_gpr(RAX, insn.size, v);
  advance(insn, RSI, si);
}

void Emitter::cmps(const Insn& insn) {
  if (is_repeated(insn)) {
    call(H_rep_cmps, {string_mode(insn), b_.i64(insn.has(kHasRep) ? 1 : 0)});
    return;
  }
  const Value si = index_register(insn, RSI), di = index_register(insn, RDI);
  const Value a = load_at(source_index(insn, si, AccessKind::Read), insn.size);
  const Value b = load_at(destination_index(insn, di, AccessKind::Read), insn.size);
  advance(insn, RSI, si);
  advance(insn, RDI, di);
  if (wants_flags(insn)) b_.set_flags(b_.flags2(ir::Opcode::FlCmp, a, b));
}

void Emitter::scas(const Insn& insn) {
  if (is_repeated(insn)) {
    call(H_rep_scas, {string_mode(insn), b_.i64(insn.has(kHasRep) ? 1 : 0)});
    return;
  }
  const Value di = index_register(insn, RDI);
  const Value b = load_at(destination_index(insn, di, AccessKind::Read), insn.size);
  const Value a = get_gpr(RAX, insn.size);
  advance(insn, RDI, di);
  if (wants_flags(insn)) b_.set_flags(b_.flags2(ir::Opcode::FlCmp, a, b));
}

void Emitter::ins(const Insn& insn) {
  call(H_string_in, {b_.i64(1u << insn.size), b_.i64(1u << insn.address), b_.i64(is_repeated(insn) ? 1 : 0)});
}

void Emitter::outs(const Insn& insn) {
  call(H_string_out,
       {b_.i64(1u << insn.size), b_.i64(1u << insn.address), b_.i64(is_repeated(insn) ? 1 : 0), b_.i64(insn.segment)});
}

}  // namespace emu::x86
