// SPDX-License-Identifier: Apache-2.0
// HostBackend: turns an IR block into host code, and patches code that may be running. Implemented in tcg/host/<isa>.
#pragma once

#include <memory>
#include <string>

#include "tcg/abi/thunks.h"
#include "tcg/ir/relocation.h"
#include "tcg/ir/side_table.h"
#include "util/result.h"

namespace emu::ir {

/// Room for code. `write` and `exec` view the same memory (equal unless the host forbids RWX).
struct CodeSpan {
  u8* write = nullptr;
  const u8* exec = nullptr;
  size_t size = 0;
};

/// Places in a block's code are offsets that hold wherever its two parts lie: from the beginning of the hot part, or
/// this and what it is from the beginning of the cold part.
inline constexpr u32 kColdOffset = u32(1) << 19;

/// Where the parts of a block's code lie.
struct CodeParts {
  const u8* hot = nullptr;
  const u8* cold = nullptr;
  u32 hot_size = 0;
  const u8* at(u32 offset) const { return offset < kColdOffset ? hot + offset : cold + (offset - kColdOffset); }
  /// Of an address in one of the parts, or of the end of the hot part: return addresses.
  u32 offset_of(const u8* address) const {
    const u64 in_hot = u64(address - hot);
    return in_hot <= hot_size ? u32(in_hot) : kColdOffset + u32(address - cold);
  }
};

enum class LinkKind : u8 {
  SamePage,   ///< the target is in the block's own page: linked without a guard
  CrossPage,  ///< guarded by the exec TLB id of the target page
};

/// A direct exit. The site is 8-byte aligned and starts unlinked: a jump to its stub (env.pc := target, link_miss).
struct LinkSite {
  u32 offset = 0;         ///< as CodeParts counts
  u64 target_pc = 0;
  LinkKind kind = LinkKind::SamePage;
  i64 mode = -1;          ///< mode key of the target where it is not the block's own
  u32 key = 0;            ///< counted alike: what RuntimeCallbacks::link_miss is given for it
};

struct CompileRequest {
  const Block* block = nullptr;
  const StateLayout* layout = nullptr;
  const HelperTable* helpers = nullptr;
  const tcg::ThunkTable* thunks = nullptr;
  CodeSpan hot;    ///< block body; 16-byte aligned; at most kColdOffset bytes
  CodeSpan cold;   ///< stubs, anywhere within +-2 GiB of hot
  bool allow_same_page_links = true;  ///< false for page-straddling blocks
  bool share_checks = true;           ///< accesses off one base have one TLB check
  bool fuse_flags = true;             ///< conditions are used as host flags, not by way of a register
  bool loops_in_place = true;         ///< an exit to the block's own pc jumps to its entry, else it is a link
  bool count = false;                 ///< keep EnvHeader::executed_insns and its companions
  /// The block takes its instructions off EnvHeader::icount_budget, or leaves for ExitRequest before the first where
  /// that does not reach; links enter it at the exit check. Who leaves it in the middle gives back what was not
  /// executed.
  bool icount = false;
  bool relocatable = false;  ///< CompiledBlock::relocations are wanted
};

/// What compile() made. Offsets are as CodeParts counts, those of recovery points, too.
struct CompiledBlock {
  u32 hot_size = 0;
  u32 cold_size = 0;
  u32 entry = 0;          ///< with the exit check; 8-byte aligned; where jump caches, cross-page links and enter() go
  u32 body = 0;           ///< past the exit check; where forward same-page links go
  std::vector<LinkSite> links;
  std::vector<u8> relocations;  ///< packed; empty: not asked for, or the code fits no other pc
  std::vector<u8> side_table;
  u32 host_insns = 0;     ///< emitted in the hot part, for density counters
  u32 home_stores = 0;    ///< stores of pinned fields to their homes in the hot part (a design counter)
  u32 helper_calls = 0;
  u32 fused_conditions = 0;  ///< that are host flags and no register
  u32 shared_checks = 0;     ///< accesses that go by the TLB check of one before
};

enum class CompileStatus { Ok, NoRoom, TooComplex };  ///< TooComplex: the caller translates a shorter block

class HostBackend {
 public:
  virtual ~HostBackend() = default;
  virtual std::string name() const = 0;

  /// Fits the back end to a guest: assigns pinned fields to host registers. Error if the layout cannot be met.
  virtual Result<void> configure(const StateLayout& layout) = 0;

  /// Emits the thunks into `room` and returns their table; bytes used are stored in `used`.
  virtual Result<tcg::ThunkTable> emit_thunks(CodeSpan room, const StateLayout& layout,
                                              const tcg::RuntimeCallbacks& callbacks, size_t& used) = 0;

  /// Thread-safe for different spans and result objects.
  virtual CompileStatus compile(const CompileRequest& request, CompiledBlock& result) = 0;

  /// Activates a link: bytes behind the first 8 are written first, then one atomic 8-byte store. `page_id` is the
  /// exec-TLB id of the target page (CrossPage only). The caller holds the link lock. Returns the stub that the
  /// site led to, which unlink() wants back.
  virtual const u8* link(CodeSpan site, LinkKind kind, u64 target_pc, u32 page_id, const u8* target) = 0;
  /// Restores the jump to the stub with one atomic store (a site may be linked again only after quiescence).
  virtual void unlink(CodeSpan site, const u8* stub) = 0;
  /// Makes a copy of a block's code right for its place. `hot` and `cold` hold the bytes of a block at `from`, whose
  /// sites may be linked; its pc is `pc_moves` more now, by whole pages. Parts are aligned to 16 bytes. False: a pc is
  /// too large for its word, so the copy is of no use. Each link is to be reset then.
  virtual bool relocate(CodeSpan hot, CodeSpan cold, const CodeParts& from, u64 pc_moves,
                        std::span<const u8> relocations) const = 0;
  /// Makes a copied site lead to its stub; `key` is the address of its LinkSite::key.
  virtual void reset_link(CodeSpan site, const u8* key) const = 0;
  /// Overwrites the first bytes of a block's entry so that whoever enters goes to `stub`, with one atomic store;
  /// returns the bytes that were there. restore_entry() puts them back.
  virtual u64 redirect_entry(CodeSpan entry, const u8* stub) = 0;
  virtual void restore_entry(CodeSpan entry, u64 bytes) = 0;
  /// Emits a stub that calls `thunk` (ThunkTable::lookup) for `pc`; returns bytes used, 0 if no room.
  virtual size_t emit_pc_stub(CodeSpan room, u64 pc, const u8* thunk) = 0;
  /// Emits the comparison stub of a CHECKED block: compares `size` source bytes at host address `source` with `copy`
  /// (placed in the stub); equal: continues at `body`; different: sets env.pc and goes to `thunk`. 0 if no room.
  virtual size_t emit_checked_stub(CodeSpan room, u64 pc, const u8* source, std::span<const u8> copy, const u8* body,
                                   const u8* thunk) = 0;

  /// One line per instruction, for -d out_asm and test failures.
  virtual std::string disassemble(std::span<const u8> code, u64 address) const = 0;
};

/// What the back end may be told to leave alone (documented switches; CI runs both ways).
struct HostOptions {
  bool avx512 = true;  ///< use EVEX registers 16..31 as scratch when the host has AVX-512VL
  /// Takes host features away, as if the processor had not got them: "-avx512", "-avx512:-avx2".
  std::string host_features = {};
};

/// The back end for this host; implemented once per host library. Errors: the host lacks the baseline, or
/// host_features names what is no feature of it.
Result<std::unique_ptr<HostBackend>> make_host_backend(const HostOptions& options);

}  // namespace emu::ir
