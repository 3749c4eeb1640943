// SPDX-License-Identifier: Apache-2.0
// Address spaces: how vCPUs and devices reach what the region tree describes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "softmmu/memory/flat_view.h"
#include "softmmu/memory/grace.h"
#include "util/endian.h"

namespace emu::mem {

class Memory;

/// Hears how an address space changes (KVM slots, TCG flushes, vhost). Called with the machine lock held, during a
/// commit: begin, region_del of all that went, region_add of all that came, commit. At registration it hears the
/// present ranges as added. `commit` comes after the new view is published, so a flush queued there covers all old
/// entries.
class MemoryListener {
 public:
  virtual ~MemoryListener() = default;
  virtual void begin() {}
  virtual void region_add(const FlatRange& range) { static_cast<void>(range); }
  virtual void region_del(const FlatRange& range) { static_cast<void>(range); }
  virtual void commit() {}
};

namespace detail {
template <typename T>
concept OrderedInteger = requires(T t) {
  typename T::value_type;
  t.get();
};
/// What a read<T> gives: the number itself for Le32 and its like, the struct for anything else.
template <typename T>
struct ReadValue {
  using Type = T;
};
template <OrderedInteger T>
struct ReadValue<T> {
  using Type = typename T::value_type;
};
template <typename T>
concept GuestLayout = std::is_trivially_copyable_v<T> &&
    (OrderedInteger<T> || std::is_same_v<T, u8> || std::is_class_v<T>);
}  // namespace detail

class PinnedSpan;

/// One view of the bus: a CPU's memory, the I/O ports, a PCI device's bus-master space. Reads and writes may come from
/// any thread; they take no lock except a region's own wish for the machine lock, and do not allocate.
/// Where nothing is mapped, reads give all ones and writes are ignored, with DecodeError; the rest of a longer access
/// is carried out all the same.
class AddressSpace {
 public:
  AddressSpace(Memory& memory, std::string name, RegionRef root);
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  const std::string& name() const { return name_; }
  Memory& memory() const { return memory_; }
  const RegionRef& root() const { return root_; }

  /// The present view, for a caller that holds a ReadGuard or is a Participant (a vCPU filling its TLB).
  const FlatView& view() const { return *current_.load(std::memory_order_seq_cst); }

  MemTxResult read(GuestPhys address, std::span<u8> to, MemTxAttrs attrs = {});
  MemTxResult write(GuestPhys address, std::span<const u8> from, MemTxAttrs attrs = {});
  MemTxResult fill(GuestPhys address, u8 value, u64 length, MemTxAttrs attrs = {});

  /// `read<Le32>(a)` gives a u32, `read<Descriptor>(a)` a copy of the struct (of ordered integers); nothing when any
  /// byte of it could not be read.
  template <detail::GuestLayout T>
  std::optional<typename detail::ReadValue<T>::Type> read(GuestPhys address, MemTxAttrs attrs = {}) {
    T stored;
    if (read(address, {reinterpret_cast<u8*>(&stored), sizeof(T)}, attrs) != MemTxResult::Ok) return std::nullopt;
    if constexpr (detail::OrderedInteger<T>) {
      return stored.get();
    } else {
      return stored;
    }
  }
  /// `write<Le32>(a, 5)`.
  template <detail::GuestLayout T>
  MemTxResult write(GuestPhys address, const std::type_identity_t<T>& value, MemTxAttrs attrs = {}) {
    return write(address, {reinterpret_cast<const u8*>(&value), sizeof(T)}, attrs);
  }

  /// One access of 1, 2, 4 or 8 bytes as a CPU makes it: to RAM as one piece when aligned, to a register in one
  /// callback when the region allows it. Little-endian. An I/O port `in`, a page walk, an MSI.
  MemTxResult load(GuestPhys address, unsigned size, u64& value, MemTxAttrs attrs = {});
  MemTxResult store(GuestPhys address, unsigned size, u64 value, MemTxAttrs attrs = {});
  /// Compare-and-swap on RAM, for page walkers that set accessed bits and such. `address` must be aligned to `size` (4
  /// or 8). DecodeError when it is not writable RAM. `seen` is what was there.
  MemTxResult compare_exchange(GuestPhys address, unsigned size, u64 expected, u64 desired, u64& seen);

  /// Pins [address, address + length) for bulk I/O. RAM is used in place; the rest goes through a buffer: filled now
  /// for FromGuest, written to the guest on release for ToGuest. At most `max_bounce` bytes may be of that kind.
  /// Nothing when any part is unmapped, or read-only for ToGuest, or too much would have to be bounced.
  std::optional<std::vector<PinnedSpan>> map(GuestPhys address, u64 length, Direction direction, MemTxAttrs attrs = {},
                                             u64 max_bounce = 64 * 1024);

  void add_listener(MemoryListener& listener);
  void remove_listener(MemoryListener& listener);

 private:
  friend class Memory;
  template <typename Piece>
  MemTxResult for_each_piece(GuestPhys address, u64 length, Piece&& piece);
  void publish(std::vector<FlatRange> ranges, u64 generation);

  Memory& memory_;
  const std::string name_;
  RegionRef root_;
  std::atomic<const FlatView*> current_;
  std::vector<MemoryListener*> listeners_;
};

/// A stretch of guest memory held for a back end. Move-only. A device may keep it and hand it on, and never looks
/// inside. Releasing a ToGuest span (destruction) makes its bytes visible: dirty bits, code pages; do so before the
/// used ring or status is written.
class PinnedSpan {
 public:
  PinnedSpan() = default;
  PinnedSpan(PinnedSpan&& other) noexcept;
  PinnedSpan& operator=(PinnedSpan&& other) noexcept;
  ~PinnedSpan() { release(); }

  /// For back ends and system calls (iovec).
  u8* data() const { return data_; }
  u64 size() const { return size_; }
  /// Of a ToGuest span only the first `bytes` were filled.
  void set_used(u64 bytes) { used_ = bytes < size_ ? bytes : size_; }
  void release();

 private:
  friend class AddressSpace;
  u8* data_ = nullptr;
  u64 size_ = 0;
  u64 used_ = 0;
  Direction direction_ = Direction::FromGuest;
  RamRef ram_;
  u64 offset_in_ram_ = 0;
  std::unique_ptr<u8[]> bounce_;
  AddressSpace* space_ = nullptr;
  GuestPhys address_ = 0;
  MemTxAttrs attrs_;
};

/// A bounded stretch of guest memory: offsets outside it fail, as unmapped addresses do. Cheap to copy.
class GuestSlice {
 public:
  GuestSlice() = default;
  GuestSlice(AddressSpace& space, GuestPhys address, u64 length, MemTxAttrs attrs = {})
      : space_(&space), address_(address), length_(length), attrs_(attrs) {}

  GuestPhys address() const { return address_; }
  u64 size() const { return length_; }
  /// A part of this one; empty when it does not lie inside.
  GuestSlice slice(u64 offset, u64 length) const {
    return contains(offset, length) ? GuestSlice(*space_, address_ + offset, length, attrs_) : GuestSlice();
  }

  template <detail::GuestLayout T>
  std::optional<typename detail::ReadValue<T>::Type> read(u64 offset = 0) const {
    if (!contains(offset, sizeof(T))) return std::nullopt;
    return space_->read<T>(address_ + offset, attrs_);
  }
  template <detail::GuestLayout T>
  MemTxResult write(u64 offset, const std::type_identity_t<T>& value) const {
    if (!contains(offset, sizeof(T))) return MemTxResult::DecodeError;
    return space_->write<T>(address_ + offset, value, attrs_);
  }
  MemTxResult read(u64 offset, std::span<u8> to) const {
    return contains(offset, to.size()) ? space_->read(address_ + offset, to, attrs_) : MemTxResult::DecodeError;
  }
  MemTxResult write(u64 offset, std::span<const u8> from) const {
    return contains(offset, from.size()) ? space_->write(address_ + offset, from, attrs_) : MemTxResult::DecodeError;
  }

 private:
  bool contains(u64 offset, u64 length) const {
    return space_ != nullptr && offset <= length_ && length <= length_ - offset;
  }
  AddressSpace* space_ = nullptr;
  GuestPhys address_ = 0;
  u64 length_ = 0;
  MemTxAttrs attrs_;
};

}  // namespace emu::mem
