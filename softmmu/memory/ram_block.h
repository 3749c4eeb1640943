// SPDX-License-Identifier: Apache-2.0
// Host memory that backs guest RAM, ROM or video memory, and what is known about each of its pages.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "softmmu/memory/types.h"
#include "util/fd.h"
#include "util/result.h"

namespace emu::mem {

class Memory;
class RamBlock;

/// Clients that want to know which pages were written. Their bits are kept only while they log (set_logging).
enum class DirtyClient : u8 { Display, Migration };

/// Hears of RAM writes that do not come through a vCPU's TLB, and of tracking that starts anew. Registered with Memory
/// by the accelerator. Called on the writer's thread, with any locks held: queue, do not wait.
class RamListener {
 public:
  virtual ~RamListener() = default;
  /// `length` bytes from `offset` (in the page) were written by somebody other than a vCPU, and the page's code bit is
  /// set. The bytes are already there.
  virtual void code_page_written(RamPage page, u32 offset, u32 length) = 0;
  /// Dirty bits of these pages were cleared, or logging was switched on: TLBs must not keep write permission that was
  /// granted because the pages were dirty already. A vCPU that drops such a permission later, when it applies the
  /// queued request, calls mark_dirty() for the page: stores since the bit was cleared went unseen.
  virtual void write_tracking_restarted(RamPage first, u64 count) = 0;
  /// Dirty bits of the block are about to be read: who learns of stores by asking somebody else (KVM's log) sets them
  /// now.
  virtual void dirty_wanted(RamBlock& block) { static_cast<void>(block); }
};

/// What is known about the pages of a block. Generated code reads it (by accel/tcg, which checks the layout).
struct PageTracking {
  static constexpr u8 kCode = 1;
  u64 flags_base = 0;              ///< address of a page's byte (kCode and the clients' dirty bits) less its RamPage
  std::atomic<u8> logging{0};      ///< bits of the clients that log
  RamBlock* block = nullptr;
};

/// One block of RAM. Shared: regions, flat views and pinned spans count it. Contents start as zeros.
class RamBlock {
 public:
  ~RamBlock();
  RamBlock(const RamBlock&) = delete;
  RamBlock& operator=(const RamBlock&) = delete;

  /// "pc.ram", "0000:00:02.0/vga.vram": unique in the machine.
  const std::string& id() const { return id_; }
  /// In bytes, a multiple of the page size.
  u64 size() const { return size_; }
  u64 page_count() const { return size_ >> kPageShift; }
  /// Maps the block in another process, from offset 0; -1: it is private.
  int shared_fd() const { return shared_.get(); }
  RamPage first_page() const { return first_page_; }
  RamPage page_at(u64 offset) const { return RamPage(u32(first_page_) + u32(offset >> kPageShift)); }
  u64 offset_of(RamPage page) const { return u64(u32(page) - u32(first_page_)) << kPageShift; }

  // Code bits. Atomic, seq_cst; any thread.
  /// The translator sets the bit *before* it reads the bytes. Returns whether it was set before.
  bool set_code(RamPage page) { return (flags(page).fetch_or(kCode) & kCode) != 0; }
  void clear_code(RamPage page) { flags(page).fetch_and(u8(~kCode)); }
  bool has_code(RamPage page) const { return (flags(page).load() & kCode) != 0; }

  // Dirty bits. Atomic; any thread.
  /// True when a vCPU's store to the page must be seen first: the page has code, or a logging client's bit is clear.
  /// A TLB grants write access only when this is false, and asks again after having installed the entry.
  bool needs_write_tracking(RamPage page) const {
    const u8 state = flags(page).load();
    return (~state & tracking_.logging.load()) != 0 || (state & kCode) != 0;
  }
  PageTracking& tracking() { return tracking_; }
  /// A vCPU is about to store, or has stored, to the page: sets the logging clients' bits.
  void mark_dirty(RamPage page) { flags(page).fetch_or(tracking_.logging.load()); }
  /// Switches a client's logging. When it starts, its bits are as they were last: clear them, or set them, first.
  void set_logging(DirtyClient client, bool on);
  bool is_logging(DirtyClient client) const { return (tracking_.logging.load() & bit_of(client)) != 0; }
  bool is_dirty(DirtyClient client, RamPage page) const { return (flags(page).load() & bit_of(client)) != 0; }
  /// Clears the client's bits of pages [offset, offset + length) and calls `visitor(offset, length)` for each run of
  /// pages that were dirty. TLBs are told before the visitor is called; see write_tracking_restarted().
  void take_dirty(DirtyClient client, u64 offset, u64 length, const std::function<void(u64, u64)>& visitor);
  void set_dirty(DirtyClient client, u64 offset, u64 length);

  // Contents, for writers and readers that are no vCPU: loaders, firmware, display, migration. Range checked by
  // EMU_CHECK: offsets are the caller's own, never the guest's.
  void read(u64 offset, void* to, u64 length) const;
  void write(u64 offset, const void* from, u64 length);
  void fill(u64 offset, u8 value, u64 length);
  /// Gives the whole pages of [offset, offset + length) back to the host: they read as zeroes, and take memory again
  /// once written. Nothing happens while any of the block is pinned for DMA. Range checked by EMU_CHECK.
  void discard(u64 offset, u64 length);
  /// Says that [offset, offset + length) was just written through a raw address: sets dirty bits, tells of code pages.
  void note_write(u64 offset, u64 length);

  /// Pins keep the block from being resized or given back while DMA is under way.
  u32 pin_count() const { return pins_.load(); }

 private:
  friend class Memory;
  friend class AddressSpace;
  friend class PinnedSpan;
  friend u8* host_address(const RamBlock& block, u64 offset);
  static constexpr u8 kCode = PageTracking::kCode;
  static constexpr u8 bit_of(DirtyClient client) { return u8(2u << unsigned(client)); }

  RamBlock(Memory& memory, std::string id, u64 size, RamPage first_page, u8* host, std::atomic<u8>* flags, Fd shared);
  std::atomic<u8>& flags(RamPage page) const { return flags_[u32(page) - u32(first_page_)]; }

  Memory& memory_;
  const std::string id_;
  const u64 size_;
  const RamPage first_page_;
  u8* const host_;
  std::atomic<u8>* const flags_;  ///< one byte a page: kCode and the clients' dirty bits
  const Fd shared_;
  PageTracking tracking_;
  std::atomic<u32> pins_{0};
};

using RamRef = std::shared_ptr<RamBlock>;

}  // namespace emu::mem
