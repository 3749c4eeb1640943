// SPDX-License-Identifier: Apache-2.0
// Changing code that other threads may be running: each change is one aligned 8-byte store that turns one valid
// instruction sequence into another (Intel SDM volume 3, "Handling Self- and Cross-Modifying Code"; the bytes an
// instruction fetch may see are those before or those after).
#include <atomic>
#include <cstring>

#include "tcg/host/x86_64/backend.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr u8 kJmp32 = 0xe9;
constexpr size_t kCrossLinkBytes = 22;
constexpr size_t kCallBytes = 5;

u64 load_word(const u8* at) {
  return std::atomic_ref(*reinterpret_cast<u64*>(const_cast<u8*>(at))).load(std::memory_order_relaxed);
}
void store_word(u8* at, u64 word) {
  EMU_CHECK((reinterpret_cast<uintptr_t>(at) & 7) == 0);
  std::atomic_ref(*reinterpret_cast<u64*>(at)).store(word, std::memory_order_release);
}

i32 distance(const u8* behind, const u8* target) {
  const i64 d = target - behind;
  EMU_CHECK(d == i32(d));
  return i32(d);
}

/// `word` with its first five bytes replaced by a jump to `target`; `exec` is where the word runs.
u64 with_jump(u64 word, const u8* exec, const u8* target) {
  u8 bytes[8];
  std::memcpy(bytes, &word, 8);
  bytes[0] = kJmp32;
  const i32 d = distance(exec + 5, target);
  std::memcpy(bytes + 1, &d, 4);
  std::memcpy(&word, bytes, 8);
  return word;
}

}  // namespace

/// CrossPage, 22 bytes: cmp dword [r15 + exec tlb of the page], id (11); jne stub (6); jmp target (5).
const u8* X64Backend::link(ir::CodeSpan site, ir::LinkKind kind, u64 target_pc, u32 page_id, const u8* target) {
  const u64 old = load_word(site.write);
  i32 to_stub;
  std::memcpy(&to_stub, site.write + 1, 4);
  const u8* stub = site.exec + 5 + to_stub;
  if (kind == ir::LinkKind::SamePage) {
    store_word(site.write, with_jump(old, site.exec, target));
    return stub;
  }
  u8 code[64];  // the assembler wants room for the longest instruction behind each
  Assembler a(code, site.exec, sizeof code);
  a.alu_imm32(Alu::Cmp, Width::d, ptr(r15, offsetof(View, exec) + 4 * exec_tlb_index(target_pc)), i32(page_id));
  a.jcc(Cond::NotEqual, stub);
  a.jmp(target);
  EMU_CHECK(a.position() == kCrossLinkBytes);
  std::memcpy(site.write + 8, code + 8, kCrossLinkBytes - 8);
  u64 head;
  std::memcpy(&head, code, 8);
  store_word(site.write, head);
  return stub;
}

void X64Backend::unlink(ir::CodeSpan site, const u8* stub) {
  store_word(site.write, with_jump(load_word(site.write), site.exec, stub));
}

/// The stub is a call, and the key what follows it.
void X64Backend::reset_link(ir::CodeSpan site, const u8* key) const {
  store_word(site.write, with_jump(load_word(site.write), site.exec, key - kCallBytes));
}

u64 X64Backend::redirect_entry(ir::CodeSpan entry, const u8* stub) {
  const u64 old = load_word(entry.write);
  store_word(entry.write, with_jump(old, entry.exec, stub));
  return old;
}

void X64Backend::restore_entry(ir::CodeSpan entry, u64 bytes) { store_word(entry.write, bytes); }

namespace {

void emit_set_pc(Assembler& a, u64 pc) {
  if (pc == u64(i64(i32(pc)))) {
    a.mov_imm(Width::q, ptr(rsp, offsetof(EnvHeader, pc)), i32(pc));
  } else {
    a.mov_imm(r11, pc);
    a.mov(Width::q, ptr(rsp, offsetof(EnvHeader, pc)), r11);
  }
}

}  // namespace

size_t X64Backend::emit_pc_stub(ir::CodeSpan room, u64 pc, const u8* thunk) {
  Assembler a(room.write, room.exec, room.size);
  a.call(thunk);
  a.bytes(reinterpret_cast<const u8*>(&pc), sizeof pc);
  return a.overflowed() ? 0 : a.position();
}

/// At a block's entry nothing but the pinned registers is live, so the scratch registers and flags are free.
size_t X64Backend::emit_checked_stub(ir::CodeSpan room, u64 pc, const u8* source, std::span<const u8> copy,
                                     const u8* body, const u8* thunk) {
  Assembler a(room.write, room.exec, room.size);
  const Label differs = a.new_label(), bytes = a.new_label();
  a.alu_imm32(Alu::Cmp, Width::d, ptr(rsp, offsetof(EnvHeader, exit_req)), 0);  // the entry's exit check is overwritten
  a.jcc(Cond::NotEqual, differs);
  a.mov_imm64(r10, reinterpret_cast<u64>(source));
  // The copy follows the code; its address is known once the code's length is, so it is loaded by a patched constant.
  a.mov_imm64(r11, 0);
  const size_t copy_word = a.position() - 8;
  size_t done = 0;
  for (const Width w : {Width::q, Width::d, Width::w, Width::b}) {
    const size_t step = size_t(1) << unsigned(w);
    while (copy.size() - done >= step) {
      a.movzx(w, r9, ptr(r11, i64(done)));
      a.alu(Alu::Cmp, w, r9, ptr(r10, i64(done)));
      a.jcc(Cond::NotEqual, differs);
      done += step;
    }
  }
  a.jmp(body);
  a.bind(differs);
  emit_set_pc(a, pc);
  a.jmp(thunk);
  a.align(8);
  a.bind(bytes);
  if (!a.overflowed()) a.u64_at(copy_word, reinterpret_cast<u64>(a.here()));
  a.bytes(copy.data(), copy.size());
  return a.overflowed() ? 0 : a.position();
}

}  // namespace emu::tcg::x86_64
