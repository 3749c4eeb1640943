// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/soft_tlb.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "softmmu/memory/host_access.h"
#include "util/check.h"
#include "util/log.h"

namespace emu::accel {

using target::Access;
using tcg::kPageSize;

namespace {

// The refill thunks read mem::PageTracking by tcg::PageTracking's layout.
static_assert(offsetof(mem::PageTracking, flags_base) == offsetof(tcg::PageTracking, flags_base));
static_assert(offsetof(mem::PageTracking, logging) == offsetof(tcg::PageTracking, logging));
static_assert(sizeof(std::atomic<u8>) == 1 && mem::PageTracking::kCode == tcg::kPageHasCode);

u32 flag_for(Access access) {
  return access == Access::Load ? kL2Readable : access == Access::Store ? kL2Writable : kL2Executable;
}

}  // namespace

SoftTlb::SoftTlb(target::Vcpu& cpu, mem::AddressSpace& memory, const DebugTable& debug, VcpuStatistics& statistics)
    : cpu_(cpu), env_(cpu.env()), memory_(memory), debug_(debug), statistics_(statistics) {
  EMU_CHECK(cpu.view_count() <= tcg::kMaxViews);
  for (u8 v = 0; v < cpu.view_count(); ++v) is_kernel_[v] = cpu.view_is_kernel(v);
  current_ = &contexts_.use(current_id_).tables;
}

// --- Filling ---

const L2Entry* SoftTlb::translate(u64 va, Access access, u8 view) {
  const u64 page = align_down(va, kPageSize);
  const L2Entry* entry = tables_of(view).l2().find(page, view);
  if (entry != nullptr && entry->has(flag_for(access))) return entry;
  statistics_.l2_misses.add();
  return walk(va, access, view);
}

const L2Entry* SoftTlb::walk(u64 va, Access access, u8 view) {
  statistics_.walks.add();
  target::TlbFill found;
  if (!cpu_.walk(va, access, view, found)) {
    log::write_if(log::Mask::Mmu, "mmu: vcpu {} {} {:#x} view {}: fault\n", cpu_.index(),
                  access == Access::Load ? "load" : access == Access::Store ? "store" : "fetch", va, view);
    return nullptr;
  }
  const u64 page = align_down(va, kPageSize);
  u32 flags = flag_for(access);
  if (found.readable) flags |= kL2Readable;
  if (found.writable) flags |= kL2Writable;
  if (found.executable) flags |= kL2Executable;
  if (found.global) flags |= kL2Global;
  const u64 physical = align_down(cpu_.wrap_physical(found.physical), kPageSize);
  const RamStretch* ram = ram_stretch(physical);
  if (ram != nullptr) flags |= ram->readonly ? u32(kL2Ram) : u32(kL2Ram) | u32(kL2RamWrites);

  TableSet& tables = tables_of(view);
  const bool watched = is_watched(page);
  if (watched) [[unlikely]] watched_ = {page | (view + 1u), 0, 0, flags, 0};
  L2Entry& entry = watched ? watched_ : tables.l2().place(page, view, flags);
  if (ram != nullptr) {
    const u64 offset = physical - ram->first;
    entry.addend = reinterpret_cast<u64>(ram->host + offset) - page;
    entry.ram_page = ram->ram_page + u32(offset >> tcg::kPageBits);
  } else {
    entry.addend = 0;
    entry.ram_page = u32(mem::kNoRamPage);
  }
  entry.target = (flags & kL2RamWrites) ? reinterpret_cast<u64>(&ram->ram->tracking()) : physical;
  if (found.page_size > kPageSize) tables.note_large_page(va, found.page_size);
  log::write_if(log::Mask::Mmu, "mmu: vcpu {} {:#x} -> {:#x} view {} {}{}{}{}{}\n", cpu_.index(), page, physical, view,
                found.readable ? "r" : "-", found.writable ? "w" : "-", found.executable ? "x" : "-",
                found.global ? "g" : "-", ram != nullptr ? "" : " mmio");
  return &entry;
}

/// The stretch that the page at `physical` lies in; null if that is not RAM, or not for the whole page.
const SoftTlb::RamStretch* SoftTlb::ram_stretch(u64 physical) {
  const mem::FlatView& view = memory_.view();
  RamStretch& s = ram_stretch_;
  if (s.generation == view.generation() && physical - s.first < s.bytes) return &s;
  const mem::Section section = view.lookup(physical);
  if (!section.is_ram() || !section.covers_page_of(physical)) return nullptr;
  s = {.generation = view.generation(),
       .first = physical,
       .bytes = align_down(section.size, kPageSize),
       .host = mem::host_address(*section.ram, section.offset_in_ram),
       .ram = section.ram,
       .ram_page = u32(section.ram_page()),
       .readonly = section.readonly};
  return &s;
}

void SoftTlb::install(u64 va, u8 view, const L2Entry& entry, bool write) {
  const u64 page = align_down(va, kPageSize);
  if (is_watched(page)) [[unlikely]] return;
  ViewTable& table = tables_of(view).view(view);
  table.install(page, entry.addend, entry.has(kL2Readable), write, entry.has(kL2Global));
  if (write) own_write(*table.view(), tcg::tlb_index(page), page + entry.addend);
}

/// The refill thunk for stores does the same.
void SoftTlb::own_write(tcg::View& view, unsigned index, u64 host) {
  tcg::WriteOwner& owner = write_owners_[tcg::write_owner_slot(host)];
  const u64 host_and_index = host | index;
  if (owner.view == &view && owner.host_and_index == host_and_index) return;
  take_write(owner);
  owner = {&view, host_and_index};
}

/// Drops the owner's write permission; returns whether it still had it.
bool SoftTlb::take_write(tcg::WriteOwner& owner) {
  if (owner.view == nullptr) return false;
  const unsigned index = unsigned(owner.host_and_index & (kPageSize - 1));
  const u64 host = align_down(owner.host_and_index, kPageSize);
  tcg::TlbEntry& entry = owner.view->l1[index];
  const bool had = entry.wr != tcg::tlb_invalid(index) && entry.wr + entry.addend == host;
  if (had) entry.wr = tcg::tlb_invalid(index);
  owner = {};
  return had;
}

void SoftTlb::revoke_write(u64 va, u8 view) {
  const u64 page = align_down(va, kPageSize);
  ViewTable& table = tables_of(view).view(view);
  const unsigned index = tcg::tlb_index(page);
  if (table.view()->l1[index].wr == page) table.drop_write(index);
}

void SoftTlb::install_exec(u64 va, u8 view, u32 id, bool global) {
  tables_of(view).view(view).install_exec(align_down(va, kPageSize), id, global);
}

void SoftTlb::load_mode(u32 mode, u8 current_view) {
  for (u8 v = 0; v < cpu_.view_count(); ++v) env_.views[v] = tables_of(v).view(v).view();
  env_.view = env_.views[current_view];
  env_.jc = tables_of(current_view).jump_cache(mode).entries();
  env_.mode = mode;
  env_.view_index = current_view;
  for (tcg::ModeRecord& record : env_.modes) {
    if (record.jc == env_.jc) record = {};  // the array was another mode's
  }
  env_.modes[tcg::mode_record_index(mode)] = {u64(mode) + 1, env_.jc, env_.view, current_view};
}

JumpCacheTable& SoftTlb::jump_cache() {
  JumpCacheTable& table = tables_of(u8(env_.view_index)).jump_cache(env_.mode);
  EMU_CHECK(table.entries() == env_.jc);
  return table;
}

/// After a switch of context: the records of modes whose tables belong to contexts get those of the new one.
void SoftTlb::reload_context_modes() {
  for (tcg::ModeRecord& record : env_.modes) {
    if (record.key == 0 || is_kernel_[record.view_index]) continue;
    JumpCacheTable* table = current_->find_jump_cache(u32(record.key - 1));
    if (table == nullptr) {
      record = {};
      continue;
    }
    record.jc = table->entries();
    record.view = current_->view(u8(record.view_index)).view();
  }
}

// --- Forgetting ---

void SoftTlb::changed() { ++env_.flush_generation; }

void SoftTlb::flush_all() {
  statistics_.tlb_flushes.add();
  kernel_.flush();
  std::fill(write_owners_.begin(), write_owners_.end(), tcg::WriteOwner{});  // before their views go
  contexts_.forget_others(current_id_);
  current_->flush();
  changed();
}

void SoftTlb::flush_non_global() {
  statistics_.tlb_flushes.add();
  kernel_.drop_non_global();
  current_->drop_non_global();
  changed();
}

void SoftTlb::flush_page(u64 va) {
  statistics_.page_flushes.add();
  kernel_.drop_page(va);
  current_->drop_page(va);
  changed();
}

void SoftTlb::flush_context(u64 id, std::optional<u64> va) {
  if (id == current_id_) {
    if (va) {
      flush_page(*va);
    } else {
      flush_non_global();
    }
    return;
  }
  statistics_.tlb_flushes.add();
  if (TableSet* tables = contexts_.find(id)) {
    if (va) {
      tables->drop_page(*va);
    } else {
      tables->drop_non_global();
    }
  }
  changed();
}

void SoftTlb::switch_context(u64 id, bool keep) {
  statistics_.context_switches.add();
  kernel_.drop_non_global();
  const Contexts::Found found = contexts_.use(id);
  if (found.made) statistics_.contexts_made.add();
  current_ = &found.tables;
  current_id_ = id;
  reload_context_modes();
  if (keep) {
    statistics_.kept_switches.add();
  } else {
    current_->drop_non_global();
  }
  // The caller has the mode loaded afresh; until then env must not point at the tables of the old context.
  for (u8 v = 0; v < cpu_.view_count(); ++v) {
    tcg::View* const old = env_.views[v];
    env_.views[v] = tables_of(v).view(v).view();
    if (env_.view == old) env_.view = env_.views[v];
  }
  changed();
}

void SoftTlb::request(const TlbRequest& request) {
  const std::lock_guard lock(queue_mutex_);
  if (request.kind != TlbRequest::Kind::DropWrite) {
    for (const TlbRequest& r : queue_) {
      if (r.kind == request.kind) return;
    }
  }
  queue_.push_back(request);
}

void SoftTlb::apply_requests() {
  std::vector<TlbRequest> requests;
  {
    const std::lock_guard lock(queue_mutex_);
    requests.swap(queue_);
  }
  for (const TlbRequest& r : requests) apply(r);
}

void SoftTlb::apply(const TlbRequest& request) {
  statistics_.flush_requests.add();
  switch (request.kind) {
    case TlbRequest::Kind::Everything:
      flush_all();
      break;
    case TlbRequest::Kind::DropWrite:
      drop_write(*request.ram, request.offset, request.count);
      break;
    case TlbRequest::Kind::DropJumpCaches: {
      const auto flush = [](JumpCacheTable& jc) { jc.flush(); };
      kernel_.for_each_jump_cache(flush);
      contexts_.for_each([&](u64, TableSet& tables) { tables.for_each_jump_cache(flush); });
      break;
    }
  }
}

void SoftTlb::drop_write(mem::RamBlock& ram, u64 offset, u64 count) {
  const u64 base = reinterpret_cast<u64>(mem::host_address(ram, 0));
  const u64 first = base + offset;
  // A page may have been written between the clearing of its dirty bit and now.
  const auto take = [&](tcg::WriteOwner& owner) {
    const u64 host = align_down(owner.host_and_index, kPageSize);
    if (host < first || (host - first) / kPageSize >= count) return;
    if (take_write(owner)) ram.mark_dirty(ram.page_at(host - base));
  };
  if (count >= tcg::kWriteOwners) {
    for (tcg::WriteOwner& owner : write_owners_) take(owner);
  } else {
    for (u64 i = 0; i < count; ++i) take(write_owners_[tcg::write_owner_slot(first + i * kPageSize)]);
  }
  changed();
}

std::string SoftTlb::dump() {
  std::string out;
  const auto list = [&](const char* title, TableSet& tables) {
    std::string lines;
    tables.l2().for_each([&](const L2Entry& e) {
      const u64 page = align_down(e.tag, kPageSize);
      fmt::format_to(std::back_inserter(lines), "{:016x}: view {} {}{}{}{} {}\n", page,
                     unsigned(e.tag & (kPageSize - 1)) - 1, e.has(kL2Readable) ? 'r' : '-',
                     e.has(kL2Writable) ? 'w' : '-', e.has(kL2Executable) ? 'x' : '-', e.has(kL2Global) ? 'g' : '-',
                     e.has(kL2Ram) ? fmt::format("ram page {:#x}", e.ram_page) : fmt::format("mmio {:#x}", e.target));
    });
    if (!lines.empty()) out += std::string(title) + "\n" + lines;
  };
  list("kernel", kernel_);
  contexts_.for_each([&](u64 id, TableSet& tables) { list(fmt::format("context {:#x}", id).c_str(), tables); });
  return out.empty() ? "empty\n" : out;
}

}  // namespace emu::accel
