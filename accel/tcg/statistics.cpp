// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/statistics.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace emu::accel {
namespace {

void line(std::string& out, const char* name, const Counter& counter) {
  if (counter.get() != 0) fmt::format_to(std::back_inserter(out), "  {:<28} {}\n", name, counter.get());
}

double ratio(u64 a, u64 b) { return b == 0 ? 0.0 : double(a) / double(b); }

}  // namespace

std::string describe(const VcpuStatistics& s) {
  static constexpr const char* kReasons[kExitReasons] = {"exits: lookup", "exits: link miss", "exits: request",
                                                         "exits: trap",   "exits: fault",     "exits: leave",
                                                         "exits: system", "exits: checked",   "exits: x87 load",
                                                         "exits: to the run loop"};
  std::string out;
  for (unsigned i = 0; i < kExitReasons; ++i) line(out, kReasons[i], s.exits[i]);
  line(out, "blocks entered", s.blocks_entered);
  line(out, "blocks interpreted", s.interpreted_blocks);
  line(out, "translations", s.translations);
  line(out, "guest instructions", s.translated_insns);
  line(out, "guest bytes", s.translated_bytes);
  line(out, "host bytes hot", s.host_bytes_hot);
  line(out, "host bytes cold", s.host_bytes_cold);
  line(out, "host instructions", s.host_insns);
  line(out, "side table bytes", s.side_table_bytes);
  line(out, "relocation bytes", s.relocation_bytes);
  line(out, "stores to homes", s.home_stores);
  line(out, "helper calls emitted", s.helper_calls_emitted);
  line(out, "operations not needed", s.dropped_ops);
  line(out, "conditions fused", s.fused_conditions);
  line(out, "checks shared", s.shared_checks);
  line(out, "locks left out", s.plain_locks);
  line(out, "translation ns", s.translate_ns);
  line(out, "publishing ns", s.publish_ns);
  line(out, "publishing interrupted", s.publish_interrupted);
  line(out, "clones", s.clones);
  line(out, "cloning ns", s.clone_ns);
  line(out, "slow accesses", s.slow_accesses);
  line(out, "recovery points decoded", s.site_misses);
  line(out, "L1 TLB misses", s.l1_misses);
  line(out, "L2 TLB misses", s.l2_misses);
  line(out, "page walks", s.walks);
  line(out, "TLB flushes", s.tlb_flushes);
  line(out, "TLB page flushes", s.page_flushes);
  line(out, "TLB requests applied", s.flush_requests);
  line(out, "context switches", s.context_switches);
  line(out, "context switches, kept", s.kept_switches);
  line(out, "contexts made", s.contexts_made);
  line(out, "MMIO loads", s.mmio_loads);
  line(out, "MMIO stores", s.mmio_stores);
  line(out, "page-crossing accesses", s.page_crossings);
  line(out, "stores to code pages", s.code_stores);
  line(out, "restarted instructions", s.restarts);
  line(out, "restarted without sharing", s.unshared_restarts);
  line(out, "single steps", s.single_steps);
  line(out, "jump-cache misses", s.jump_cache_misses);
  line(out, "mode-record misses", s.mode_misses);
  line(out, "link misses", s.link_misses);
  line(out, "links made", s.links_made);
  line(out, "source comparisons", s.blocks_checked);
  line(out, "halts", s.halts);
  return out;
}

u64 huge_page_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  u64 kibibytes = 0;
  for (std::string line; std::getline(rollup, line);) {
    const std::string_view text = line;
    if (!text.starts_with("AnonHugePages:") && !text.starts_with("ShmemPmdMapped:")) continue;
    kibibytes += std::strtoull(line.c_str() + text.find(':') + 1, nullptr, 10);
  }
  return kibibytes << 10;
}

std::string describe_ratios(const VcpuStatistics& s) {
  const u64 insns = s.translated_insns.get();
  return fmt::format(
      "  per translated instruction   {:.0f} ns, {:.1f} host bytes, {:.2f} host instructions\n"
      "  per block                    {:.2f} instructions, {:.0f} hot + {:.0f} cold host bytes\n",
      ratio(s.translate_ns.get(), insns), ratio(s.host_bytes_hot.get() + s.host_bytes_cold.get(), insns),
      ratio(s.host_insns.get(), insns), ratio(insns, s.translations.get()),
      ratio(s.host_bytes_hot.get(), s.translations.get()), ratio(s.host_bytes_cold.get(), s.translations.get()));
}

std::string describe(const CacheStatistics& s) {
  std::string out;
  line(out, "blocks", s.blocks);
  line(out, "blocks cloned", s.clones);
  line(out, "code bytes", s.code_bytes);
  line(out, "publications", s.publications);
  out += fmt::format("  {:<28} {}\n", "cache lock found taken", s.lock_taken.load(std::memory_order_relaxed));
  line(out, "invalidations", s.invalidations);
  line(out, "blocks invalidated", s.invalidated_blocks);
  line(out, "blocks revived", s.revived_blocks);
  line(out, "pages put under checks", s.checked_pages);
  line(out, "links undone", s.unlinks);
  line(out, "segments evicted", s.evicted_segments);
  return out;
}

}  // namespace emu::accel
