// SPDX-License-Identifier: Apache-2.0
// Pages with so many stores beside their code that it is cheaper to let the stores go unseen, and to have each block of
// the page compare its source when it is entered.
#include <chrono>

#include "accel/tcg/block_cache.h"

namespace emu::accel {
namespace {

/// A page is checked for so long; if the stores go on, it soon is again.
constexpr ClockNs kCheckedFor = std::chrono::milliseconds(100);

}  // namespace

/// Whether the block compares its source as its pages want. One that straddles has no such form.
bool BlockCache::fits_pages_locked(const CodeBlock& block) {
  if (block.straddles() && page_locked(block.second_page).is_checked()) return false;
  return block.compares == page_locked(block.key.page).is_checked();
}

/// From now on stores to the page are seen.
void BlockCache::protect_locked(PageCode& code, Self except) {
  if (code.ram().set_code(code.page())) return;
  // Order: code bit, requests, epoch. A vCPU that passes a quiescent point of this epoch has seen the request; one that
  // fills a write entry later sees the bit.
  broadcast_.request_others({TlbRequest::Kind::DropWrite, code.ram_ref(), code.ram().offset_of(code.page()), 1},
                            except);
  code.write_epoch = quiescence_.advance();
}

/// Blocks of the page made from here on compare. Stores are still seen until no other block can be running.
void BlockCache::begin_checking_locked(PageCode& code) {
  const std::vector<CodeBlock*> blocks = code.blocks();
  for (CodeBlock* b : blocks) kill_locked(*b, Fate::Buried);
  code.set_checked(true);
  code.checked_at = host_now_();
  code.checked_since = quiescence_.advance();
  checked_pages_.push_back(&code);
  statistics_.checked_pages.add();
}

/// A vCPU that is inside a block of a page that ceases to be checked may still write it unseen: blocks made from here
/// on wait for it to come out, as those of any page that comes to hold code.
void BlockCache::end_old_checks_locked() {
  const ClockNs now = host_now_();
  std::erase_if(checked_pages_, [&](PageCode* code) {
    if (now - code->checked_at < kCheckedFor) return false;
    const std::vector<CodeBlock*> blocks = code->blocks();
    for (CodeBlock* b : blocks) kill_locked(*b, Fate::Buried);
    code->set_checked(false);
    protect_locked(*code, nullptr);
    return true;
  });
}

}  // namespace emu::accel
