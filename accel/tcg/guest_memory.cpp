// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/guest_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "accel/tcg/host_ops.h"
#include "softmmu/memory/host_access.h"
#include "util/log.h"

namespace emu::accel {

using target::Access;
using target::AccessStatus;
using tcg::kPageSize;

namespace {

unsigned rest_of_page(u64 va) { return unsigned(kPageSize - (va & (kPageSize - 1))); }

u64 low_bytes(const u8* data, unsigned bytes) {
  u64 v = 0;
  std::memcpy(&v, data, std::min(bytes, 8u));
  return v;
}

struct ProbeScope {
  explicit ProbeScope(bool& is_probing) : flag(is_probing) { flag = true; }
  ~ProbeScope() { flag = false; }
  ProbeScope(const ProbeScope&) = delete;
  ProbeScope& operator=(const ProbeScope&) = delete;
  bool& flag;
};

u64 swap_bytes(u64 value, unsigned bytes) { return __builtin_bswap64(value) >> (64 - 8 * bytes); }

}  // namespace

mem::MemTxAttrs GuestMemory::attrs() const {
  return {.requester = mem::MemTxAttrs::Requester::Cpu, .requester_id = u16(p_.cpu.index())};
}

AccessStatus GuestMemory::status(bool ok) {
  if (ok) return AccessStatus::Ok;
  env_.leave = tcg::kLeaveAtInsn;
  return AccessStatus::Fault;
}

// --- Where an access goes ---

bool GuestMemory::resolve(u64 va, unsigned bytes, Access access, u8 view, Target& target) {
  const u64 page = align_down(va, kPageSize);
  const tcg::TlbEntry& l1 = env_.views[view]->l1[tcg::tlb_index(va)];
  if ((access == Access::Store ? l1.wr : l1.rd) == page) {
    target.host = reinterpret_cast<u8*>(va + l1.addend);
    return true;
  }
  p_.statistics.l1_misses.add();
  if (p_.debug.watches_page(va) && !is_probing_) [[unlikely]] {
    const Watchpoint* hit = p_.debug.hit(va, bytes, access);
    if (hit != nullptr && !p_.running.watch_hit(*hit)) {
      // Unless the access faults: then that is what happens.
      return static_cast<void>(p_.tlb.translate(va, access, view)), false;
    }
  }
  const L2Entry* entry = p_.tlb.translate(va, access, view);
  if (entry == nullptr) return false;
  if (env_.guest_debug != 0 && !is_probing_) [[unlikely]] p_.cpu.data_accessed(va, bytes, access);
  if (access == Access::Store) return resolve_store(va, bytes, view, *entry, target);
  if (entry->has(kL2Ram)) {
    p_.tlb.install(va, view, *entry, false);
    target.host = reinterpret_cast<u8*>(va + entry->addend);
  } else {
    target.physical = entry->target | (va & (kPageSize - 1));
  }
  return true;
}

bool GuestMemory::resolve_store(u64 va, unsigned bytes, u8 view, const L2Entry& entry, Target& target) {
  if (!entry.has(kL2RamWrites)) {
    target.physical = entry.target | (va & (kPageSize - 1));
    return true;
  }
  mem::RamBlock& ram = *reinterpret_cast<mem::PageTracking*>(entry.target)->block;
  const mem::RamPage page{entry.ram_page};
  target.host = reinterpret_cast<u8*>(va + entry.addend);
  if (ram.has_code(page)) {
    p_.statistics.code_stores.add();
    switch (p_.blocks.judge_store(page, u32(va & (kPageSize - 1)), bytes, p_.running.running_block(), &p_.self)) {
      case BlockCache::StoreVerdict::HitsRunning:
        p_.statistics.restarts.add();
        p_.running.restart_alone();
        return false;
      case BlockCache::StoreVerdict::Free:
      case BlockCache::StoreVerdict::Code:
        break;
    }
  }
  ram.mark_dirty(page);
  if (!ram.needs_write_tracking(page)) {
    p_.tlb.install(va, view, entry, true);
    // A translator that sets the code bit now may have asked for our write permission just before it was there.
    if (!ram.needs_write_tracking(page)) return true;
    p_.tlb.revoke_write(va, view);
  } else if (entry.has(kL2Readable)) {
    p_.tlb.install(va, view, entry, false);
  }
  target.tracked = true;
  target.ram = &ram;
  target.page = page;
  return true;
}

void GuestMemory::finish_store(const Target& target, u64 va, unsigned bytes) {
  if (!target.tracked) return;
  target.ram->mark_dirty(target.page);
  if (target.ram->has_code(target.page)) p_.blocks.invalidate(target.page, u32(va & (kPageSize - 1)), bytes);
}

GuestMemory::Refill GuestMemory::refill(u64 va, unsigned bytes, Access access, u8 view) {
  Target target;
  if (!resolve(va, bytes, access, view_number(view), target)) return Refill::Fault;
  return target.host != nullptr && !target.tracked && !p_.tlb.is_watched(va) ? Refill::Ready : Refill::Perform;
}

// --- Devices ---

void GuestMemory::after_device() {
  // The access may have moved a mapping: later accesses of this block must not go by the old one.
  if (env_.exit_req.load(std::memory_order_relaxed) & tcg::kExitFlush) p_.tlb.apply_requests();
}

u64 GuestMemory::mmio_load(u64 physical, unsigned bytes) {
  p_.statistics.mmio_loads.add();
  u64 value = ~u64(0);
  if (p_.memory.load(physical, bytes, value, attrs()) != mem::MemTxResult::Ok) {
    log::guest_error("vcpu {}: load of {} bytes at physical {:#x}: nothing answers", p_.cpu.index(), bytes, physical);
    p_.cpu.bus_error(physical, Access::Load);
  }
  after_device();
  return value;
}

void GuestMemory::mmio_store(u64 physical, unsigned bytes, u64 value) {
  p_.statistics.mmio_stores.add();
  if (p_.memory.store(physical, bytes, value, attrs()) != mem::MemTxResult::Ok) {
    log::guest_error("vcpu {}: store of {} bytes at physical {:#x}: nothing answers", p_.cpu.index(), bytes, physical);
    p_.cpu.bus_error(physical, Access::Store);
  }
  after_device();
}

void GuestMemory::read_piece(const Target& target, u8* data, unsigned bytes) {
  if (target.host != nullptr) {
    mem::copy_from_ram(data, target.host, bytes);
    return;
  }
  for (unsigned done = 0; done < bytes;) {
    const unsigned size = std::bit_floor(std::min(bytes - done, 8u));
    const u64 value = mmio_load(target.physical + done, size);
    std::memcpy(data + done, &value, size);
    done += size;
  }
}

void GuestMemory::write_piece(const Target& target, u64 va, const u8* data, unsigned bytes) {
  if (target.host != nullptr) {
    mem::copy_to_ram(target.host, data, bytes);
    finish_store(target, va, bytes);
    return;
  }
  for (unsigned done = 0; done < bytes;) {
    const unsigned size = std::bit_floor(std::min(bytes - done, 8u));
    mmio_store(target.physical + done, size, low_bytes(data + done, size));
    done += size;
  }
}

// --- Plain accesses of up to a page ---

bool GuestMemory::read(u64 va, u8* data, unsigned bytes, u8 view) {
  const unsigned first = std::min(bytes, rest_of_page(va));
  Target a, b;
  if (!resolve(va, first, Access::Load, view, a)) return false;
  if (first < bytes) {
    p_.statistics.page_crossings.add();
    if (!resolve(va + first, bytes - first, Access::Load, view, b)) return false;
  }
  read_piece(a, data, first);
  if (first < bytes) read_piece(b, data + first, bytes - first);
  return true;
}

bool GuestMemory::write(u64 va, const u8* data, unsigned bytes, u8 view) {
  const unsigned first = std::min(bytes, rest_of_page(va));
  Target a, b;
  if (!resolve(va, first, Access::Store, view, a)) return false;
  if (first < bytes) {
    p_.statistics.page_crossings.add();
    if (!resolve(va + first, bytes - first, Access::Store, view, b)) return false;
  }
  write_piece(a, va, data, first);
  if (first < bytes) write_piece(b, va + first, data + first, bytes - first);
  return true;
}

// --- GuestAccess ---

AccessStatus GuestMemory::load(u64 va, unsigned bytes, u8 view, u64& value) {
  u8 data[8] = {};
  if (!read(va, data, std::min(bytes, 8u), view_number(view))) return status(false);
  std::memcpy(&value, data, 8);
  return AccessStatus::Ok;
}

AccessStatus GuestMemory::store(u64 va, unsigned bytes, u8 view, u64 value) {
  u8 data[8];
  std::memcpy(data, &value, 8);
  return status(write(va, data, std::min(bytes, 8u), view_number(view)));
}

AccessStatus GuestMemory::load_bytes(u64 va, std::span<u8> data, u8 view) {
  // Longer stretches (FXSAVE images, descriptor tables) never span more than two pages; others go page by page.
  while (!data.empty()) {
    const size_t n = std::min<size_t>(data.size(), kPageSize);
    if (!read(va, data.data(), unsigned(n), view_number(view))) return status(false);
    va += n;
    data = data.subspan(n);
  }
  return AccessStatus::Ok;
}

AccessStatus GuestMemory::store_bytes(u64 va, std::span<const u8> data, u8 view) {
  while (!data.empty()) {
    const size_t n = std::min<size_t>(data.size(), kPageSize);
    if (!write(va, data.data(), unsigned(n), view_number(view))) return status(false);
    va += n;
    data = data.subspan(n);
  }
  return AccessStatus::Ok;
}

AccessStatus GuestMemory::probe(u64 va, unsigned bytes, Access access, u8 view) {
  const u8 number = view_number(view);
  const ProbeScope probing(is_probing_);
  for (u64 at = va, left = std::max(bytes, 1u); left != 0;) {
    const unsigned n = unsigned(std::min<u64>(left, rest_of_page(at)));
    if (access == Access::Fetch) {
      if (p_.tlb.translate(at, access, number) == nullptr) return status(false);
    } else {
      Target target;
      if (!resolve(at, n, access, number, target)) return status(false);
    }
    at += n;
    left -= n;
  }
  return AccessStatus::Ok;
}

AccessStatus GuestMemory::compare_exchange(u64 va, unsigned bytes, u8 view, u128& expected, u128 desired) {
  const u8 number = view_number(view);
  if (bytes <= 8) {
    const u64 wanted = u64(expected);
    u64 old = 0;
    const bool ok = modify(va, bytes, number, old, ir::RmwOp::Xchg, u64(desired), &wanted);
    if (ok) expected = old;
    return status(ok);
  }
  const unsigned head = std::min(16u, rest_of_page(va));
  Target first, second;
  if (!resolve(va, head, Access::Store, number, first)) return status(false);
  if (head < 16 && !resolve(va + head, 16 - head, Access::Store, number, second)) return status(false);
  if (first.host != nullptr && is_aligned(va, 16)) {
    expected = atomic_cas16(first.host, expected, desired);
    finish_store(first, va, 16);
    return AccessStatus::Ok;
  }
  std::unique_lock lock(p_.split_locks.mutex, std::defer_lock);
  if (first.host != nullptr && (head == 16 || second.host != nullptr)) lock.lock();  // not around devices: see modify()
  u8 data[16];
  read_piece(first, data, head);
  if (head < 16) read_piece(second, data + head, 16 - head);
  u128 old;
  std::memcpy(&old, data, 16);
  const u128 stored = old == expected ? desired : old;
  std::memcpy(data, &stored, 16);
  write_piece(first, va, data, head);
  if (head < 16) write_piece(second, va + head, data + head, 16 - head);
  expected = old;
  return AccessStatus::Ok;
}

u64 GuestMemory::copy_run(u64 to, u64 from, u64 bytes, u8 view) {
  if (!p_.string_runs) return 0;
  const tcg::View& table = *env_.views[view_number(view)];
  const tcg::TlbEntry& source = table.l1[tcg::tlb_index(from)];
  const tcg::TlbEntry& target = table.l1[tcg::tlb_index(to)];
  if (source.rd != align_down(from, kPageSize) || target.wr != align_down(to, kPageSize)) return 0;
  u64 n = std::min<u64>({bytes, rest_of_page(from), rest_of_page(to)});
  const u8* in = reinterpret_cast<const u8*>(from + source.addend);
  u8* out = reinterpret_cast<u8*>(to + target.addend);
  // Forward copies onto themselves repeat a pattern: go no further than what was not yet written.
  const u64 distance = u64(out - in);
  if (distance != 0 && distance < n) n = distance;
  if (distance < 8 && distance != 0) return 0;
  u8 buffer[kPageSize];
  mem::copy_from_ram(buffer, in, n);
  mem::copy_to_ram(out, buffer, n);
  ++env_.string_runs;
  return n;
}

u64 GuestMemory::fill_run(u64 to, u8 value, u64 bytes, u8 view) {
  if (!p_.string_runs) return 0;
  const tcg::TlbEntry& target = env_.views[view_number(view)]->l1[tcg::tlb_index(to)];
  if (target.wr != align_down(to, kPageSize)) return 0;
  const u64 n = std::min<u64>(bytes, rest_of_page(to));
  u8 buffer[kPageSize];
  std::memset(buffer, value, n);
  mem::copy_to_ram(reinterpret_cast<u8*>(to + target.addend), buffer, n);
  ++env_.string_runs;
  return n;
}

// --- Physical memory and ports ---

const GuestMemory::PhysicalPage* GuestMemory::physical_page(u64 pa) {
  const mem::FlatView& view = p_.memory.view();
  if (view.generation() != physical_generation_) {
    physical_.fill({});
    physical_generation_ = view.generation();
  }
  const u64 page = align_down(pa, kPageSize);
  PhysicalPage& cached = physical_[(page >> 12) % physical_.size()];
  if (cached.page == page) return &cached;
  const mem::Section section = view.lookup(page);
  if (!section.is_ram() || !section.covers_page_of(page)) return nullptr;
  cached = {page, mem::host_address(*section.ram, section.offset_in_ram), section.ram, section.ram_page(),
            !section.readonly};
  return &cached;
}

bool GuestMemory::load_physical(u64 pa, unsigned bytes, u64& value) {
  const PhysicalPage* page = is_aligned(pa, bytes) ? physical_page(pa) : nullptr;
  if (page == nullptr) return p_.memory.load(pa, bytes, value, attrs()) == mem::MemTxResult::Ok;
  const u8* host = page->host + (pa & (kPageSize - 1));
  if (bytes == 8) {  // page table entries
    value = mem::load_word(host);
    return true;
  }
  value = 0;
  mem::copy_from_ram(&value, host, bytes);
  return true;
}

bool GuestMemory::update_physical(u64 pa, unsigned bytes, u64 expected, u64 desired) {
  const PhysicalPage* page = is_aligned(pa, bytes) ? physical_page(pa) : nullptr;
  if (page == nullptr || !page->writable) return true;  // tables in ROM stay as they are
  const u32 offset = u32(pa & (kPageSize - 1));
  if (atomic_cas(page->host + offset, bytes, expected, desired) != expected) return false;
  page->ram->mark_dirty(page->ram_page);
  if (page->ram->has_code(page->ram_page)) p_.blocks.invalidate(page->ram_page, offset, bytes);
  return true;
}

u32 GuestMemory::port_read(u16 port, unsigned bytes) {
  u64 value = ~u64(0);
  if (p_.ports != nullptr && p_.ports->load(port, bytes, value, attrs()) != mem::MemTxResult::Ok) {
    log::guest_error("vcpu {}: in of {} bytes at port {:#x}: nothing answers", p_.cpu.index(), bytes, port);
  }
  after_device();
  return u32(value);
}

void GuestMemory::port_write(u16 port, unsigned bytes, u32 value) {
  if (p_.ports != nullptr && p_.ports->store(port, bytes, value, attrs()) != mem::MemTxResult::Ok) {
    log::guest_error("vcpu {}: out of {} bytes at port {:#x}: nothing answers", p_.cpu.index(), bytes, port);
  }
  after_device();
}

// --- InterpreterMemory ---

bool GuestMemory::check_alignment(u64 va, const ir::MemInfo& mem, Access access) {
  if (!mem.align_fault || (va & low_mask(mem.align_log2)) == 0) return true;
  p_.cpu.raise_alignment_fault(va, 1u << mem.log2_bytes, access);
  return false;
}

bool GuestMemory::load(u64 address, const ir::MemInfo& mem, u8* data) {
  if (!check_alignment(address, mem, Access::Load)) return false;
  const unsigned bytes = 1u << mem.log2_bytes;
  if (mem.write_intent && !probe(address, mem)) return false;
  return read(address, data, bytes, view_number(mem.view));
}

bool GuestMemory::store(u64 address, const ir::MemInfo& mem, const u8* data) {
  if (!check_alignment(address, mem, Access::Store)) return false;
  return write(address, data, 1u << mem.log2_bytes, view_number(mem.view));
}

bool GuestMemory::probe(u64 address, const ir::MemInfo& mem) {
  if (!check_alignment(address, mem, Access::Store)) return false;
  const unsigned bytes = 1u << mem.log2_bytes;
  const unsigned first = std::min(bytes, rest_of_page(address));
  const u8 view = view_number(mem.view);
  const ProbeScope probing(is_probing_);
  Target target;
  return resolve(address, first, Access::Store, view, target) &&
         (first == bytes || resolve(address + first, bytes - first, Access::Store, view, target));
}

/// Read-modify-write; a compare and exchange if `expected` is given, which then stores `operand`.
bool GuestMemory::modify(u64 va, unsigned bytes, u8 view, u64& old_value, ir::RmwOp op, u64 operand,
                         const u64* expected) {
  const u64 mask = low_mask(bytes * 8);
  if (bytes <= rest_of_page(va)) {
    Target target;
    if (!resolve(va, bytes, Access::Store, view, target)) return false;
    if (target.host != nullptr) {
      old_value = expected != nullptr ? atomic_cas(target.host, bytes, *expected, operand)
                                      : atomic_rmw(op, target.host, bytes, operand);
      finish_store(target, va, bytes);
      return true;
    }
    old_value = mmio_load(target.physical, bytes);
    const u64 result = expected == nullptr ? rmw_result(op, old_value, operand)
                       : (old_value & mask) == (*expected & mask) ? operand : old_value;
    mmio_store(target.physical, bytes, result & mask);
    old_value &= mask;
    return true;
  }
  p_.statistics.page_crossings.add();
  u8 data[8] = {};
  Target first, second;
  const unsigned head = rest_of_page(va);
  if (!resolve(va, head, Access::Store, view, first)) return false;
  if (!resolve(va + head, bytes - head, Access::Store, view, second)) return false;
  // Not around devices: their callbacks may take the machine lock, which comes before every other.
  std::unique_lock lock(p_.split_locks.mutex, std::defer_lock);
  if (first.host != nullptr && second.host != nullptr) lock.lock();
  read_piece(first, data, head);
  read_piece(second, data + head, bytes - head);
  old_value = low_bytes(data, bytes);
  const u64 result = expected == nullptr ? rmw_result(op, old_value, operand)
                     : old_value == (*expected & mask) ? operand : old_value;
  std::memcpy(data, &result, 8);
  write_piece(first, va, data, head);
  write_piece(second, va + head, data + head, bytes - head);
  return true;
}

bool GuestMemory::rmw(ir::RmwOp op, u64 address, const ir::MemInfo& mem, u64 operand, u64& old_value) {
  if (!check_alignment(address, mem, Access::Store)) return false;
  const unsigned bytes = std::min(1u << mem.log2_bytes, 8u);
  const u8 view = view_number(mem.view);
  if (!mem.big_endian) return modify(address, bytes, view, old_value, op, operand, nullptr);
  // Sums do not commute with byte swapping: compare and exchange until it holds.
  u64 seen = 0;
  if (u8 data[8] = {}; read(address, data, bytes, view)) {
    seen = low_bytes(data, bytes);
  } else {
    return false;
  }
  for (;;) {
    const u64 expected = seen;
    old_value = swap_bytes(seen, bytes);
    const u64 desired = swap_bytes(rmw_result(op, old_value, operand), bytes);
    if (!modify(address, bytes, view, seen, ir::RmwOp::Xchg, desired, &expected)) return false;
    if (seen == expected) return true;
  }
}

bool GuestMemory::cas(u64 address, const ir::MemInfo& mem, u64 expected, u64 desired, u64& old_value) {
  if (!check_alignment(address, mem, Access::Store)) return false;
  const unsigned bytes = std::min(1u << mem.log2_bytes, 8u);
  if (mem.big_endian) {
    expected = swap_bytes(expected, bytes);
    desired = swap_bytes(desired, bytes);
  }
  if (!modify(address, bytes, view_number(mem.view), old_value, ir::RmwOp::Xchg, desired, &expected)) return false;
  if (mem.big_endian) old_value = swap_bytes(old_value, bytes);
  return true;
}

}  // namespace emu::accel
