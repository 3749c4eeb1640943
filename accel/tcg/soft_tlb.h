// SPDX-License-Identifier: Apache-2.0
// The software TLB of one vCPU: translation of guest addresses through contexts, second level, page walk and flat view,
// and all the ways of forgetting them. Own vCPU thread only, but for the request queue.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "accel/tcg/contexts.h"
#include "accel/tcg/debug_points.h"
#include "accel/tcg/statistics.h"
#include "softmmu/memory/address_space.h"
#include "target/cpu.h"

namespace emu::accel {

/// What other threads ask of a vCPU's tables. The vCPU applies them at its next quiescent point.
struct TlbRequest {
  enum class Kind : u8 {
    Everything,      ///< a flat view was published
    DropWrite,       ///< write permission of `count` pages of `ram` from `offset` (code or dirty tracking began)
    DropJumpCaches,  ///< code memory is about to be reused
  } kind = Kind::Everything;
  mem::RamRef ram = nullptr;
  u64 offset = 0;
  u64 count = 0;
};

class SoftTlb {
 public:
  /// `debug`: pages that are watched get into no table.
  SoftTlb(target::Vcpu& cpu, mem::AddressSpace& memory, const DebugTable& debug, VcpuStatistics& statistics);

  /// By a debugger of ours or by the guest itself.
  bool is_watched(u64 va) const {
    return debug_.watches_page(va) || (env_.guest_debug != 0 && cpu_.watches_data(va));
  }
  /// The translation of va's page for `access`, through tables or a walk. Null: the fault is pending in the Vcpu.
  /// Valid until the next call of any kind.
  const L2Entry* translate(u64 va, target::Access access, u8 view);

  /// Puts a RAM translation into the view's first level: for reading if the guest may, for writing if asked.
  void install(u64 va, u8 view, const L2Entry& entry, bool write);
  /// Takes write permission of one page back.
  void revoke_write(u64 va, u8 view);
  void install_exec(u64 va, u8 view, u32 id, bool global);
  tcg::TlbEntry& l1(u64 va, u8 view) { return tables_of(view).view(view).view()->l1[tcg::tlb_index(va)]; }

  /// Points env.view, env.views and env.jc at the tables of the vCPU's present mode.
  void load_mode(u32 mode, u8 current_view);
  JumpCacheTable& jump_cache();  ///< of the present mode

  void flush_all();
  void flush_non_global();
  void flush_page(u64 va);
  void flush_context(u64 id, std::optional<u64> va);
  void switch_context(u64 id, bool keep);

  /// Any thread; the caller kicks the vCPU with kExitFlush afterwards.
  void request(const TlbRequest& request);
  void apply_requests();
  /// A request of this very thread.
  void apply(const TlbRequest& request);
  std::string dump();

 private:
  TableSet& tables_of(u8 view) { return is_kernel_[view] ? kernel_ : *current_; }
  const L2Entry* walk(u64 va, target::Access access, u8 view);
  void drop_write(mem::RamBlock& ram, u64 offset, u64 count);
  void own_write(tcg::View& view, unsigned index, u64 host);
  bool take_write(tcg::WriteOwner& owner);
  void changed();
  void reload_context_modes();
  /// A stretch of the flat view that is RAM: most walks end in the one where the last did.
  struct RamStretch {
    u64 generation = ~u64(0);  ///< of the flat view
    u64 first = 0, bytes = 0;  ///< whole pages
    u8* host = nullptr;
    mem::RamBlock* ram = nullptr;
    u32 ram_page = 0;
    bool readonly = false;
  };
  const RamStretch* ram_stretch(u64 physical);

  target::Vcpu& cpu_;
  tcg::EnvHeader& env_;
  mem::AddressSpace& memory_;
  const DebugTable& debug_;
  VcpuStatistics& statistics_;
  std::array<bool, tcg::kMaxViews> is_kernel_{};
  std::vector<tcg::WriteOwner> write_owners_{tcg::kWriteOwners};  // never moves: views point at it
  TableSet kernel_{8, write_owners_.data()};
  Contexts contexts_{write_owners_.data()};
  u64 current_id_ = 0;
  RamStretch ram_stretch_;
  TableSet* current_ = nullptr;
  L2Entry watched_{};  ///< the translation of a watched page, until the next

  std::mutex queue_mutex_;  // leaf lock
  std::vector<TlbRequest> queue_;
};

}  // namespace emu::accel
