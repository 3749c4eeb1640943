// SPDX-License-Identifier: Apache-2.0
// Guest memory as a vhost back end is told of it: which guest addresses lie where in our own address space.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "softmmu/memory/address_space.h"

namespace emu::hw {

struct VhostRegion {
  u64 guest = 0, size = 0;
  u64 user = 0;           ///< our address of the first byte: a number for the back end, never looked through here
  mem::RamRef ram;        ///< stays as long as the back end may write to it
  u64 offset_in_ram = 0;  ///< of the first byte, which is also where it stands behind ram->shared_fd()

  u64 last() const { return guest + (size - 1); }
  bool operator==(const VhostRegion&) const = default;
};

/// A table that does not change. A block of RAM that the address space shows in pieces (with firmware and old video
/// memory between them) is one region from the first piece to the last, so that the table stays the same while firmware
/// switches these pieces; a back end could reach all of the block anyway.
class VhostMemory {
 public:
  VhostMemory() = default;
  /// What devices see of RAM in `space`; without video memory, whose changes must be noticed. `shared`: only what other
  /// processes can map. Machine lock.
  static VhostMemory of(const mem::AddressSpace& space, bool shared);

  std::span<const VhostRegion> regions() const { return regions_; }
  bool is_empty() const { return regions_.empty(); }
  /// Our address of [guest, guest + length); nothing when it does not lie in one region.
  std::optional<u64> user_address(u64 guest, u64 length) const;
  bool operator==(const VhostMemory&) const = default;

 private:
  std::vector<VhostRegion> regions_;  ///< by guest address; they do not overlap
};

}  // namespace emu::hw
