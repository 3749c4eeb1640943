// SPDX-License-Identifier: Apache-2.0
// A translated block: its key, its code and its links.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "softmmu/memory/types.h"
#include "tcg/ir/backend.h"
#include "util/types.h"

namespace emu::accel {

struct CodeBlock;

/// A direct exit of a block. On the incoming list of its target while it is linked. Cache lock.
struct Link {
  u32 offset = 0;  ///< of the site, as ir::CodeParts counts
  ir::LinkKind kind = ir::LinkKind::SamePage;
  u64 target_pc = 0;
  i64 mode = -1;  ///< of the target, if not that of the block
  u32 key = 0;    ///< LinkSite::key
  CodeBlock* from = nullptr;
  CodeBlock* to = nullptr;
  const u8* stub = nullptr;  ///< where the site leads when it is not linked
  Link* next_incoming = nullptr;
  bool is_stale = false;  ///< of a dead block: the site still leads to where it was linked
  u64 free_epoch = 0;     ///< unlinked in this grace period: may be linked anew when it is over
};

/// What identifies a block. The page of a straddling block's second part is compared apart.
struct BlockKey {
  u64 pc = 0;  ///< linear
  u32 mode = 0;
  mem::RamPage page = mem::kNoRamPage;  ///< of pc
  bool unshared = false;  ///< each access has a check of its own; only blocks of this kind link to it
  /// Not 0: at most so many instructions, to stop after exactly that many under -icount. Only entered from C++.
  u32 limit = 0;
  bool operator==(const BlockKey&) const = default;
  u32 page_offset() const { return u32(pc & (mem::kPageSize - 1)); }
  size_t hash() const { return hash_at(pc); }
  /// The same for every virtual page.
  size_t place_hash() const { return hash_at(page_offset()); }

 private:
  size_t hash_at(u64 at) const {
    const u64 form = u64(unshared) << 63 | u64(limit) << 32 | mode;
    const u64 h = (at ^ (u64(page) << 32) ^ (form * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
    return size_t(h ^ (h >> 32));
  }
};

struct CodeBlock {
  enum class State : u8 {
    Checked,    ///< entered from C++ only, which compares the source bytes first
    Published,  ///< may be linked and cached
    Dead,       ///< invalidated: in the graveyard, or its memory waits for quiescence
  };

  // What a lookup reads, together.
  BlockKey key;
  std::atomic<CodeBlock*> hash_next{nullptr};
  mem::RamPage second_page = mem::kNoRamPage;  ///< of a block that straddles into the next page
  u32 guest_bytes = 0;
  u32 guest_insns = 0;
  std::atomic<State> state{State::Checked};
  bool uses_fpu = false;
  bool compares = false;  ///< it compares its source each time it is entered: its page is checked
  u32 page_id = 0;  ///< what the exec TLB holds for (virtual page, RAM page)

  // Host code; null when only interpreted.
  const u8* hot = nullptr;
  const u8* cold = nullptr;
  u32 hot_size = 0;
  u32 cold_size = 0;
  u32 entry_offset = 0;
  u32 body_offset = 0;
  const u8* stale_stub = nullptr;
  std::span<const u8> side_table;  ///< then the relocations, then the source
  std::unique_ptr<Link[]> links;
  u32 link_count = 0;
  Link* incoming = nullptr;
  CodeBlock* place_next = nullptr;  ///< of the blocks that can be cloned

  std::unique_ptr<ir::Block> ir;  ///< interpreter mode
  std::span<const u8> source;     ///< guest bytes it was made from: beside the stubs, or in own_source
  std::vector<u8> own_source;     ///< of a block without host code
  u64 entry_bytes = 0;            ///< Dead: what the entry began with
  u64 dead_since = 0;             ///< Dead: grace period after which nobody is inside or on the way to it
  u64 publish_epoch = 0;          ///< grace period after which no vCPU can write the source unseen

  bool straddles() const { return second_page != mem::kNoRamPage; }
  ir::CodeParts parts() const { return {hot, cold, hot_size}; }
  const u8* site_of(const Link& link) const { return parts().at(link.offset); }
  /// Of a block whose code can be moved to another pc; else empty.
  std::span<const u8> relocations() const {
    if (hot == nullptr || !own_source.empty()) return {};
    const u8* at = side_table.data() + side_table.size();
    return {at, size_t(source.data() - at)};
  }
  const u8* entry() const { return hot + entry_offset; }
  const u8* body() const { return hot + body_offset; }
  u32 page_offset() const { return key.page_offset(); }
  u32 first_bytes() const { return std::min<u32>(guest_bytes, u32(mem::kPageSize) - page_offset()); }
};

}  // namespace emu::accel
