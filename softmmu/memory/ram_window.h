// SPDX-License-Identifier: Apache-2.0
// A stretch of guest RAM that one device reads and writes often, such as a ring: looked up once, not at each access.
#pragma once

#include <algorithm>
#include <optional>
#include <span>

#include "softmmu/memory/address_space.h"

namespace emu::mem {

/// RAM only: what is not RAM is refused, so an access never enters a device and takes no lock. It is looked up anew
/// when the address space has changed. Naturally aligned pieces of up to 8 bytes are single accesses. One thread at a
/// time; offsets outside the window fail.
class RamWindow {
 public:
  RamWindow() = default;
  RamWindow(AddressSpace& space, GuestPhys address, u64 length)
      : space_(&space), address_(address), length_(length) {}

  GuestPhys address() const { return address_; }
  u64 size() const { return length_; }

  bool read(u64 offset, std::span<u8> to);
  bool write(u64 offset, std::span<const u8> from);
  template <detail::GuestLayout T>
  std::optional<typename detail::ReadValue<T>::Type> read(u64 offset) {
    T stored;
    if (!read(offset, {reinterpret_cast<u8*>(&stored), sizeof(T)})) return std::nullopt;
    if constexpr (detail::OrderedInteger<T>) {
      return stored.get();
    } else {
      return stored;
    }
  }
  template <detail::GuestLayout T>
  bool write(u64 offset, const std::type_identity_t<T>& value) {
    return write(offset, {reinterpret_cast<const u8*>(&value), sizeof(T)});
  }

 private:
  bool contains(u64 offset, u64 length) const { return offset <= length_ && length <= length_ - offset; }
  void look_up(const FlatView& view);

  AddressSpace* space_ = nullptr;
  GuestPhys address_ = 0;
  u64 length_ = 0;
  std::optional<u64> generation_;  ///< of the view that the rest was looked up in
  u8* host_ = nullptr;             ///< of the first byte; null when the window is not one stretch of RAM
  RamBlock* ram_ = nullptr;
  u64 offset_in_ram_ = 0;
  bool readonly_ = false;
};

/// Copies from and to RAM only: false, and perhaps a part copied, when any byte is something else (or, for a write,
/// write-protected). Never enters a device, takes no lock.
bool read_ram(AddressSpace& space, GuestPhys address, std::span<u8> to);
bool write_ram(AddressSpace& space, GuestPhys address, std::span<const u8> from);
/// Gives the whole pages of a stretch of writable RAM back to the host (RamBlock::discard); false when any is none.
bool discard_ram(AddressSpace& space, GuestPhys address, u64 length);

}  // namespace emu::mem
