// SPDX-License-Identifier: Apache-2.0
// One chain of descriptors as a device sees it: buffers to read, then buffers to write. Virtio 1.2, 2.6 and 2.7.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "softmmu/memory/address_space.h"

namespace emu::hw {

class VirtQueue;

struct VirtBuffer {
  mem::GuestPhys address = 0;
  u32 length = 0;
};

/// Popped from a queue, filled, and pushed back to it. Descriptors were read once and are not looked at again.
/// Offsets count over all buffers of one direction. What is not RAM cannot be a buffer: accesses there fail.
class VirtElement {
 public:
  std::span<const VirtBuffer> readable() const { return readable_; }
  std::span<const VirtBuffer> writable() const { return writable_; }
  u64 readable_bytes() const { return readable_bytes_; }
  u64 writable_bytes() const { return writable_bytes_; }

  /// From the readable buffers; false when the range is not inside them or not RAM.
  bool read(u64 offset, std::span<u8> to) const;
  /// To the writable buffers.
  bool write(u64 offset, std::span<const u8> from) const;
  template <mem::detail::GuestLayout T>
  std::optional<typename mem::detail::ReadValue<T>::Type> read(u64 offset) const {
    T stored;
    if (!read(offset, {reinterpret_cast<u8*>(&stored), sizeof(T)})) return std::nullopt;
    if constexpr (mem::detail::OrderedInteger<T>) {
      return stored.get();
    } else {
      return stored;
    }
  }
  template <mem::detail::GuestLayout T>
  bool write(u64 offset, const std::type_identity_t<T>& value) const {
    return write(offset, {reinterpret_cast<const u8*>(&value), sizeof(T)});
  }

  /// Pins [offset, offset + length) of the readable (FromGuest) or writable (ToGuest) buffers and appends it; false
  /// when it is not inside them or not RAM.
  bool map(mem::Direction direction, u64 offset, u64 length, std::vector<mem::PinnedSpan>& spans) const;

 private:
  friend class VirtQueue;
  friend class SplitRing;
  friend class PackedRing;

  void clear(mem::AddressSpace& space);
  /// False when readable buffers follow writable ones, or there are too many.
  bool add(mem::GuestPhys address, u32 length, bool writable);
  template <typename Piece>
  static bool for_each_piece(std::span<const VirtBuffer> buffers, u64 offset, u64 length, Piece&& piece);

  mem::AddressSpace* space_ = nullptr;
  std::vector<VirtBuffer> readable_, writable_;
  u64 readable_bytes_ = 0, writable_bytes_ = 0;
  u16 id_ = 0;           ///< head (split), buffer id (packed)
  u16 descriptors_ = 0;  ///< slots of the ring that it takes (packed); 1 (split)
  u32 sequence_ = 0;     ///< in the order of popping
  u32 life_ = 0;         ///< of the queue, that it was popped in
};

using VirtElementPtr = std::unique_ptr<VirtElement>;

/// What a back end takes.
std::vector<iovec> to_iovecs(std::span<const mem::PinnedSpan> spans);

}  // namespace emu::hw
