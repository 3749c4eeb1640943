// SPDX-License-Identifier: Apache-2.0
// Page walks: SDM vol. 3, chapter 5, "Paging".
#include "target/x86/cpu.h"
#include "util/log.h"

namespace emu::x86 {

using target::Access;

namespace {

enum Pte : u64 {
  kPresent = bit64(0),
  kWrite = bit64(1),
  kUser = bit64(2),
  kAccessed = bit64(5),
  kDirty = bit64(6),
  kLarge = bit64(7),
  kGlobal = bit64(8),
  kNoExecute = bit64(63),
};
enum PfError : u32 { kPfPresent = 1, kPfWrite = 2, kPfUser = 4, kPfReserved = 8, kPfFetch = 16, kPfKey = 32 };

constexpr u64 kAddressMask = 0x000ffffffffff000;

}  // namespace

bool X86Cpu::physical_read(u64 pa, unsigned bytes, u64& value) const {
  return memory_->load_physical(wrap_physical(pa), bytes, value);
}

WalkStatus X86Cpu::walk_32(u64 va, PageMapping& map) const {
  u64 entry = 0;
  const u64 pde_address = (s_->cr3 & 0xfffff000) + bits(va, 31, 22) * 4;
  if (!physical_read(pde_address, 4, entry)) return WalkStatus::NotPresent;
  map.steps[map.depth++] = {pde_address, entry, 4};
  if (!(entry & kPresent)) return WalkStatus::NotPresent;
  map.user = entry & kUser;
  map.write = entry & kWrite;
  if ((entry & kLarge) && (s_->cr4 & kCr4PSE)) {
    // PSE-36: bits 20:13 are address bits 39:32.
    if (entry & bit64(21)) return WalkStatus::Reserved;
    const u64 high = bits(entry, 20, 13) << 32;
    if (high >> config_.model.phys_bits) return WalkStatus::Reserved;
    map.page_size = u64(4) << 20;
    map.physical = high | (entry & 0xffc00000) | (va & 0x3ff000);
  } else {
    const u64 pte_address = (entry & 0xfffff000) + bits(va, 21, 12) * 4;
    if (!physical_read(pte_address, 4, entry)) return WalkStatus::NotPresent;
    map.steps[map.depth++] = {pte_address, entry, 4};
    if (!(entry & kPresent)) return WalkStatus::NotPresent;
    map.user = map.user && (entry & kUser);
    map.write = map.write && (entry & kWrite);
    map.physical = entry & 0xfffff000;
  }
  map.dirty = entry & kDirty;
  map.global = (entry & kGlobal) && (s_->cr4 & kCr4PGE);
  return WalkStatus::Mapped;
}

WalkStatus X86Cpu::walk_64(u64 va, PageMapping& map) const {
  if (is_long_mode()) return walk_levels(va, s_->cr3 & kAddressMask, s_->cr4 & kCr4LA57 ? 5 : 4, map);
  const u64 pdpte = pdptes_[bits(va, 31, 30)];
  if (!(pdpte & kPresent)) return WalkStatus::NotPresent;
  return walk_levels(va, pdpte & kAddressMask, 2, map);
}

/// From the table of `level` on; what the tables above it allow is in `map`.
WalkStatus X86Cpu::walk_levels(u64 va, u64 table, unsigned level, PageMapping& map) const {
  u64 reserved = low_mask(52) & ~low_mask(config_.model.phys_bits);
  if (!is_long_mode()) reserved |= low_mask(63) & ~low_mask(52);
  if (!(s_->efer & kEferNXE)) reserved |= kNoExecute;
  for (;; --level) {
    if (level == 1) {
      map.last_table = table;
      map.upper_user = map.user;
      map.upper_write = map.write;
      map.upper_no_execute = map.no_execute;
    }
    const unsigned shift = 12 + 9 * (level - 1);
    const u64 address = table + bits(va, shift + 8, shift) * 8;
    u64 entry = 0;
    if (!physical_read(address, 8, entry)) return WalkStatus::NotPresent;
    map.steps[map.depth++] = {address, entry, 8};
    if (!(entry & kPresent)) return WalkStatus::NotPresent;
    const bool may_be_large = level == 2 || (level == 3 && has(Cpuid::Pdpe1gb));
    const bool leaf = level == 1 || (may_be_large && (entry & kLarge));
    u64 bad = reserved;
    if (level > 1 && !leaf && !may_be_large) bad |= kLarge;
    if (leaf && level > 1) bad |= low_mask(shift) & ~low_mask(13);  // bit 12 is PAT
    if (entry & bad) return WalkStatus::Reserved;
    map.user = map.user && (entry & kUser);
    map.write = map.write && (entry & kWrite);
    map.no_execute = map.no_execute || (entry & kNoExecute);
    table = entry & kAddressMask;
    if (leaf) {
      map.page_size = bit64(shift);
      map.physical = align_down(table, map.page_size) | (va & low_mask(shift) & ~low_mask(12));
      map.dirty = entry & kDirty;
      map.key = u8(bits(entry, 62, 59));
      map.global = (entry & kGlobal) && (s_->cr4 & kCr4PGE);
      return WalkStatus::Mapped;
    }
  }
}

/// With PAE or long-mode paging: from the lowest table, if a walk since the last flush has come through it.
WalkStatus X86Cpu::walk_cached(u64 va, PageMapping& map) {
  if (!(s_->cr4 & kCr4PAE)) return walk_32(va, map);
  const WalkCacheEntry& cached = walk_cache_[va >> 21 & (walk_cache_.size() - 1)];
  if (cached.region != va >> 21 || cached.generation != s_->hdr.flush_generation) return walk_64(va, map);
  map.user = cached.user;
  map.write = cached.write;
  map.no_execute = cached.no_execute;
  return walk_levels(va, cached.table, 1, map);
}

WalkStatus X86Cpu::walk_tables(u64 va, PageMapping& map) const {
  return s_->cr4 & kCr4PAE ? walk_64(va, map) : walk_32(va, map);
}

/// False: an entry changed meanwhile, and the walk must start again.
bool X86Cpu::set_accessed(const PageMapping& map, bool dirty) {
  for (unsigned i = 0; i < map.depth; ++i) {
    const PageMapping::Step& step = map.steps[i];
    const bool leaf = i + 1 == map.depth;
    const u64 wanted = step.entry | kAccessed | (leaf && dirty ? u64(kDirty) : 0);
    if (wanted != step.entry && !memory_->update_physical(wrap_physical(step.pa), step.bytes, step.entry, wanted)) {
      return false;
    }
  }
  return true;
}

bool X86Cpu::walk(u64 va, Access access, u8 view, target::TlbFill& fill) {
  if (!is_long_mode()) va = u32(va);
  if (!(s_->cr0 & kCr0PG)) {
    fill = {.physical = wrap_physical(align_down(va, 4096)),
            .readable = true,
            .writable = true,
            .executable = true,
            .global = true};
    return true;
  }
  if (is_long_mode() && !is_code64() && view == kViewUser && va >> 32 != 0) {
    // The rest of an operand, or of an instruction, that begins below 4 GiB: compatibility mode reaches no further.
    pending_ = {.valid = true, .vector = kGP, .has_error = true, .error = external_, .is_in_segment = false};
    return false;
  }
  if (is_long_mode() && !is_canonical(va)) {
    // An access through SS gives #SS(0): see operand_is_on_stack().
    pending_ = {
        .valid = true, .vector = kGP, .has_error = true, .error = external_, .is_canonical = access == Access::Fetch};
    return false;
  }
  const bool is_user = view == kViewUser;
  const bool store = access == Access::Store;
  const bool fetch = access == Access::Fetch;
  // Tables in memory that takes no writes never gain their accessed bits; after a few attempts we go on without.
  constexpr unsigned kAttempts = 16;
  for (unsigned attempt = 1;; ++attempt) {
    PageMapping map;
    const WalkStatus status = walk_cached(va, map);
    u32 error = (store ? kPfWrite : 0u) | (is_user ? kPfUser : 0u) |
                (fetch && (s_->efer & kEferNXE || s_->cr4 & kCr4SMEP) ? kPfFetch : 0u);
    bool ok = status == WalkStatus::Mapped;
    if (status == WalkStatus::Reserved) error |= kPfReserved | kPfPresent;
    if (ok) {
      const bool allowed = !is_user || map.user;
      fill.readable = allowed && !(view == kViewKernel && map.user && (s_->cr4 & kCr4SMAP));
      fill.writable = fill.readable && (map.write || (!is_user && !(s_->cr0 & kCr0WP)));
      fill.executable = allowed && !map.no_execute && !(!is_user && map.user && (s_->cr4 & kCr4SMEP));
      if (map.user && (s_->cr4 & kCr4PKE) && is_long_mode()) {
        const u32 rights = s_->pkru >> 2 * map.key;  // bit 0: no access, bit 1: no writing
        const bool may_write = !(rights & 3) || (!(rights & 1) && !is_user && !(s_->cr0 & kCr0WP));
        if (store ? !may_write : !fetch && (rights & 1)) error |= kPfKey;
        fill.readable = fill.readable && !(rights & 1);
        fill.writable = fill.writable && may_write;
        keys_in_tlb_ |= u16(bit(map.key));
      }
      ok = store ? fill.writable : fetch ? fill.executable : fill.readable;
      error |= kPfPresent;
    }
    if (!ok) {
      pending_ = {.valid = true, .vector = kPFv, .has_error = true, .error = error, .address = va};
      log::write_if(log::Mask::Mmu, "walk {:#x} view {}: fault {:#x}\n", va, view, error);
      return false;
    }
    if (!set_accessed(map, store)) {
      if (attempt < kAttempts) continue;
    } else if (map.last_table != 0) {
      walk_cache_[va >> 21 & (walk_cache_.size() - 1)] = {.region = va >> 21,
                                                          .table = map.last_table,
                                                          .generation = s_->hdr.flush_generation,
                                                          .user = map.upper_user,
                                                          .write = map.upper_write,
                                                          .no_execute = map.upper_no_execute};
    }
    fill.physical = wrap_physical(map.physical);
    fill.page_size = map.page_size;
    fill.global = map.global;
    fill.writable = fill.writable && (map.dirty || store);
    fill.protection_key = 0;
    return true;
  }
}

/// Protection keys' rights: SDM vol. 3, 5.6.2. Translations that are cached know the rights that they were made with;
/// they go if those of a key that they may have change.
void X86Cpu::set_pkru(u32 value) {
  const u32 changed = s_->pkru ^ value;
  s_->pkru = value;
  if (!(s_->cr4 & kCr4PKE)) return;
  bool in_tlb = false;
  for (unsigned key = 0; key < 16; ++key) in_tlb |= (changed >> 2 * key & 3) && (keys_in_tlb_ >> key & 1);
  if (!in_tlb) return;
  keys_in_tlb_ = 0;
  services_->flush_all();
  if (s_->hdr.leave == tcg::kLeaveNot) s_->hdr.leave = tcg::kLeaveAfterInsn;
}

u64 X86Cpu::helper_rdpkru(const u64*) {
  if (!(s_->cr4 & kCr4PKE)) return raise(kUD);
  if (u32(s_->gpr(RCX)) != 0) return raise_gp();
  s_->gpr(RAX) = s_->pkru;
  s_->gpr(RDX) = 0;
  return 0;
}

u64 X86Cpu::helper_wrpkru(const u64*) {
  if (!(s_->cr4 & kCr4PKE)) return raise(kUD);
  if (u32(s_->gpr(RCX)) != 0 || u32(s_->gpr(RDX)) != 0) return raise_gp();
  set_pkru(u32(s_->gpr(RAX)));
  return 0;
}

std::optional<u64> X86Cpu::debug_translate(u64 va) {
  if (!is_long_mode()) va = u32(va);
  if (!(s_->cr0 & kCr0PG)) return wrap_physical(va);
  if (!memory_ || (is_long_mode() && !is_canonical(va))) return std::nullopt;
  PageMapping map;
  if (walk_tables(va, map) != WalkStatus::Mapped) return std::nullopt;
  return wrap_physical(map.physical) | (va & 0xfff);
}

bool X86Cpu::load_pdptes(u64 cr3) {
  std::array<u64, 4> loaded{};
  // Bits 2:1, 8:5 and those above the physical address width are reserved in a present entry.
  const u64 reserved = ~low_mask(config_.model.phys_bits) | 0x1e6;
  for (unsigned i = 0; i < 4; ++i) {
    if (!physical_read((cr3 & 0xffffffe0) + i * 8, 8, loaded[i])) loaded[i] = 0;
    if ((loaded[i] & kPresent) && (loaded[i] & reserved)) return raise_gp();
  }
  pdptes_ = loaded;
  return true;
}

u64 X86Cpu::helper_invlpg(const u64* args) {
  if (!require_cpl0()) return 0;
  if (!is_long_mode()) {
    services_->flush_page(u32(args[0]));
  } else if (is_canonical(args[0])) {
    services_->flush_page(args[0]);
  }
  return 0;
}

u64 X86Cpu::helper_invpcid(const u64* args) {
  const u64 type = args[0], low = args[1], address = args[2];
  if (!require_cpl0()) return 0;
  const u64 pcid = low & 0xfff;
  if (type > 3 || low >> 12 || (type <= 1 && pcid != 0 && !(s_->cr4 & kCr4PCIDE)) ||
      (type == 0 && !is_canonical(address))) {
    raise_gp();
    return 0;
  }
  // Contexts are known by CR3 page and PCID together; a PCID alone names the current context only if it is ours, and
  // else whatever pages it was used with, so those forms drop everything.
  const bool current = pcid == (s_->cr4 & kCr4PCIDE ? s_->cr3 & 0xfff : 0);
  if (type == 0 && current) {
    services_->flush_page(address);
  } else if (type == 1 && current) {
    services_->flush_non_global();
  } else {
    services_->flush_all();
  }
  return 0;
}

}  // namespace emu::x86
