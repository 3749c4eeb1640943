// SPDX-License-Identifier: Apache-2.0
#include "isa/guest_memory.h"

#include <algorithm>
#include <cstring>

#include "util/bits.h"
#include "util/check.h"

namespace emu::isa {

using target::Access;

namespace {

constexpr u64 kTableBytes = 0x20000;
constexpr u64 kPresent = 1, kWrite = 2, kUser = 4, kAccessed = 32, kDirty = 64, kNoExecute = u64(1) << 63;
constexpr u64 kWindowPhysical = 0x100000, kCodePhysical = 0x200000;

}  // namespace

GuestMemory::GuestMemory(u8* window, const u8* code) : window_(window), code_(code), tables_(kTableBytes) {
  for (u64 at = 0; at < kWindowBytes; at += 4096) {
    const PageKind kind = page_kind(kWindow + at);
    if (kind == PageKind::None) continue;
    map(kWindow + at, kWindowPhysical + at, kNoExecute | (kind == PageKind::ReadWrite ? kWrite : 0));
  }
  for (u64 at = 0; at < kCodeBytes; at += 4096) map(kCodePages + at, kCodePhysical + at, 0);
}

void GuestMemory::map(u64 va, u64 pa, u64 flags) {
  u64 table = kTables;
  for (unsigned level = 3; level > 0; --level) {
    const u64 at = table + (va >> (12 + 9 * level) & 511) * 8;
    u64 entry = 0;
    std::memcpy(&entry, &tables_[at - kTables], 8);
    if (!(entry & kPresent)) {
      EMU_CHECK(next_table_ + 0x1000 <= kTables + kTableBytes);
      entry = next_table_ | kPresent | kWrite | kUser | kAccessed;
      next_table_ += 0x1000;
      std::memcpy(&tables_[at - kTables], &entry, 8);
    }
    table = entry & 0xff'ffff'f000;
  }
  const u64 entry = pa | flags | kPresent | kUser | kAccessed | kDirty;
  std::memcpy(&tables_[table + (va >> 12 & 511) * 8 - kTables], &entry, 8);
}

u8* GuestMemory::resolve(u64 va, unsigned bytes, Access access, u8 view) {
  EMU_CHECK((va & 4095) + bytes <= 4096);
  target::TlbFill fill;
  if (!cpu_->walk(va, access, view == ir::kCurrentView ? cpu_->current_view() : view, fill)) return nullptr;
  const u64 pa = fill.physical | (va & 4095);
  if (pa - kWindowPhysical < kWindowBytes) return window_ + (pa - kWindowPhysical);
  EMU_CHECK(pa - kCodePhysical < kCodeBytes && access != Access::Store);
  return const_cast<u8*>(code_) + (pa - kCodePhysical);
}

bool GuestMemory::transfer(u64 va, u8* data, unsigned bytes, bool is_store, u8 view) {
  const Access access = is_store ? Access::Store : Access::Load;
  std::vector<std::pair<u8*, unsigned>> pieces;  // all are resolved before any is written
  for (unsigned done = 0; done < bytes;) {
    const unsigned size = std::min<unsigned>(bytes - done, 4096 - ((va + done) & 4095));
    u8* host = resolve(va + done, size, access, view);
    if (host == nullptr) return false;
    pieces.emplace_back(host, size);
    done += size;
  }
  for (const auto& [host, size] : pieces) {
    is_store ? std::memcpy(host, data, size) : std::memcpy(data, host, size);
    data += size;
  }
  return true;
}

// ---- For the interpreter

bool GuestMemory::is_aligned(u64 address, const ir::MemInfo& mem, Access access) {
  if (!mem.align_fault || (address & low_mask(mem.align_log2)) == 0) return true;
  cpu_->raise_alignment_fault(address, 1u << mem.log2_bytes, access);
  return false;
}

bool GuestMemory::done(bool ok, const ir::MemInfo& mem) {
  if (!ok && mem.stack) cpu_->stack_access_faulted();
  return ok;
}

bool GuestMemory::load(u64 address, const ir::MemInfo& mem, u8* data) {
  const unsigned bytes = 1u << mem.log2_bytes;
  if (!is_aligned(address, mem, Access::Load)) return done(false, mem);
  if (mem.write_intent && !probe(address, mem)) return false;
  return done(transfer(address, data, bytes, false, mem.view), mem);
}

bool GuestMemory::store(u64 address, const ir::MemInfo& mem, const u8* data) {
  if (!is_aligned(address, mem, Access::Store)) return done(false, mem);
  return done(transfer(address, const_cast<u8*>(data), 1u << mem.log2_bytes, true, mem.view), mem);
}

bool GuestMemory::probe(u64 address, const ir::MemInfo& mem) {
  const bool ok = is_aligned(address, mem, Access::Store) &&
                  probe(address, 1u << mem.log2_bytes, Access::Store, mem.view) == Status::Ok;
  return done(ok, mem);
}

bool GuestMemory::rmw(ir::RmwOp op, u64 address, const ir::MemInfo& mem, u64 operand, u64& old_value) {
  ir::MemInfo both = mem;
  both.write_intent = true;
  u64 old = 0;
  if (!load(address, both, reinterpret_cast<u8*>(&old))) return false;
  old_value = old;
  const u64 result = [&] {
    switch (op) {
      case ir::RmwOp::Add:
        return old + operand;
      case ir::RmwOp::Sub:
        return old - operand;
      case ir::RmwOp::And:
        return old & operand;
      case ir::RmwOp::Or:
        return old | operand;
      case ir::RmwOp::Xor:
        return old ^ operand;
      case ir::RmwOp::Xchg:
        break;
    }
    return operand;
  }();
  return store(address, mem, reinterpret_cast<const u8*>(&result));
}

bool GuestMemory::cas(u64 address, const ir::MemInfo& mem, u64 expected, u64 desired, u64& old_value) {
  ir::MemInfo both = mem;
  both.write_intent = true;
  u64 old = 0;
  if (!load(address, both, reinterpret_cast<u8*>(&old))) return false;
  old_value = old;
  if (((old ^ expected) & low_mask(8u << mem.log2_bytes)) != 0) return true;
  return store(address, mem, reinterpret_cast<const u8*>(&desired));
}

// ---- For helpers

GuestMemory::Status GuestMemory::status(bool ok) {
  if (ok) return Status::Ok;
  cpu_->env().leave = tcg::kLeaveAtInsn;
  return Status::Fault;
}

GuestMemory::Status GuestMemory::load_bytes(u64 va, std::span<u8> data, u8 view) {
  return status(transfer(va, data.data(), unsigned(data.size()), false, view));
}
GuestMemory::Status GuestMemory::store_bytes(u64 va, std::span<const u8> data, u8 view) {
  return status(transfer(va, const_cast<u8*>(data.data()), unsigned(data.size()), true, view));
}
GuestMemory::Status GuestMemory::load(u64 va, unsigned bytes, u8 view, u64& value) {
  value = 0;
  return status(transfer(va, reinterpret_cast<u8*>(&value), bytes, false, view));
}
GuestMemory::Status GuestMemory::store(u64 va, unsigned bytes, u8 view, u64 value) {
  return status(transfer(va, reinterpret_cast<u8*>(&value), bytes, true, view));
}

GuestMemory::Status GuestMemory::probe(u64 va, unsigned bytes, Access access, u8 view) {
  for (unsigned done = 0; done < bytes;) {
    const unsigned size = std::min<unsigned>(bytes - done, 4096 - ((va + done) & 4095));
    if (resolve(va + done, size, access, view) == nullptr) return status(false);
    done += size;
  }
  return Status::Ok;
}

GuestMemory::Status GuestMemory::compare_exchange(u64 va, unsigned bytes, u8 view, u128& expected, u128 desired) {
  u128 old = 0;
  if (probe(va, bytes, Access::Store, view) == Status::Fault) return Status::Fault;
  transfer(va, reinterpret_cast<u8*>(&old), bytes, false, view);
  if (old == expected) transfer(va, reinterpret_cast<u8*>(&desired), bytes, true, view);
  expected = old;
  return Status::Ok;
}

u64 GuestMemory::copy_run(u64 to, u64 from, u64 bytes, u8) {
  bytes = std::min({bytes, 4096 - (to & 4095), 4096 - (from & 4095)});
  if (page_kind(to) != PageKind::ReadWrite || page_kind(from) == PageKind::None) return 0;
  std::memmove(window_ + (to - kWindow), window_ + (from - kWindow), bytes);
  return bytes;
}

u64 GuestMemory::fill_run(u64 to, u8 value, u64 bytes, u8) {
  bytes = std::min(bytes, 4096 - (to & 4095));
  if (page_kind(to) != PageKind::ReadWrite) return 0;
  std::memset(window_ + (to - kWindow), value, bytes);
  return bytes;
}

bool GuestMemory::load_physical(u64 pa, unsigned bytes, u64& value) {
  value = 0;
  if (pa >= kCodePhysical && pa + bytes <= kCodePhysical + kCodeBytes) {  // X86Cpu::decode_at_pc()
    std::memcpy(&value, code_ + (pa - kCodePhysical), bytes);
    return true;
  }
  if (pa < kTables || pa + bytes > kTables + kTableBytes) return false;
  std::memcpy(&value, &tables_[pa - kTables], bytes);
  return true;
}

bool GuestMemory::update_physical(u64 pa, unsigned bytes, u64 expected, u64 desired) {
  u64 now = 0;
  if (!load_physical(pa, bytes, now) || now != expected) return false;
  std::memcpy(&tables_[pa - kTables], &desired, bytes);
  return true;
}

}  // namespace emu::isa
