// SPDX-License-Identifier: Apache-2.0
// Break- and watchpoints as the run loop, the translator and the slow path of memory ask for them. Changed only while
// all vCPUs are paused. Generated code knows nothing of them: no block begins or goes on at a breakpoint, and no entry
// of a watched page is in the tables that it searches.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "accel/accel.h"
#include "target/cpu.h"
#include "tcg/abi/tlb.h"

namespace emu::accel {

class DebugTable {
 public:
  void set(DebugPoints points) {
    points_ = std::move(points);
    std::sort(points_.breakpoints.begin(), points_.breakpoints.end());
    auto& all = points_.breakpoints;
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::erase_if(points_.watchpoints, [](const Watchpoint& w) { return w.bytes == 0; });
  }
  const DebugPoints& points() const { return points_; }

  bool breaks_at(u64 pc) const {
    return !points_.breakpoints.empty() &&
           std::binary_search(points_.breakpoints.begin(), points_.breakpoints.end(), pc);
  }
  /// The first breakpoint behind `pc` and before `end`.
  std::optional<u64> next_break(u64 pc, u64 end) const {
    if (points_.breakpoints.empty()) return std::nullopt;
    const auto at = std::upper_bound(points_.breakpoints.begin(), points_.breakpoints.end(), pc);
    if (at == points_.breakpoints.end() || *at >= end) return std::nullopt;
    return *at;
  }
  bool watches_page(u64 va) const {
    return !points_.watchpoints.empty() &&
           find(va & ~(tcg::kPageSize - 1), tcg::kPageSize, [](WatchKind) { return true; });
  }
  /// The watchpoint that an access hits; null: none.
  const Watchpoint* hit(u64 va, u64 bytes, target::Access access) const {
    return find(va, bytes, [access](WatchKind kind) {
      return kind == WatchKind::Access ||
             kind == (access == target::Access::Store ? WatchKind::Write : WatchKind::Read);
    });
  }

 private:
  template <typename Fits>
  const Watchpoint* find(u64 va, u64 bytes, Fits&& fits) const {
    for (const Watchpoint& w : points_.watchpoints) {
      // Neither begins behind the other's end; differences, as a range may end at the top of the address space.
      const bool overlaps = va >= w.address ? va - w.address < w.bytes : w.address - va < bytes;
      if (overlaps && fits(w.kind)) return &w;
    }
    return nullptr;
  }

  DebugPoints points_;
};

}  // namespace emu::accel
