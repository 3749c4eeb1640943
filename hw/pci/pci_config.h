// SPDX-License-Identifier: Apache-2.0
// The configuration space of one PCI function: bytes, and which bits the guest may change.
#pragma once

#include <vector>

#include "hw/pci/pci_regs.h"

namespace emu::hw {

/// Little-endian bytes with a write mask and a write-one-to-clear mask. A bit in neither is read-only for the guest.
/// Offsets passed by models are their own (EMU_CHECK); those of guests are checked and fall away.
class PciConfig {
 public:
  explicit PciConfig(unsigned size = pci::kConfigBytes);

  unsigned size() const { return unsigned(bytes_.size()); }

  // The guest's side: `size` is 1, 2 or 4. Beyond the end: all ones, ignored.
  u32 read(unsigned offset, unsigned size) const;
  void write(unsigned offset, unsigned size, u32 value);

  // The model's side: no masks.
  u8 get8(unsigned offset) const { return u8(get(offset, 1)); }
  u16 get16(unsigned offset) const { return u16(get(offset, 2)); }
  u32 get32(unsigned offset) const { return get(offset, 4); }
  void set8(unsigned offset, u8 value) { set(bytes_, offset, 1, value); }
  void set16(unsigned offset, u16 value) { set(bytes_, offset, 2, value); }
  void set32(unsigned offset, u32 value) { set(bytes_, offset, 4, value); }

  /// Bits that the guest may write, added to those already writable; take them away with deny().
  void allow8(unsigned offset, u8 mask) { widen(writable_, offset, 1, mask); }
  void allow16(unsigned offset, u16 mask) { widen(writable_, offset, 2, mask); }
  void allow32(unsigned offset, u32 mask) { widen(writable_, offset, 4, mask); }
  void deny(unsigned offset, unsigned length);
  /// Bits that the guest clears by writing one.
  void clears16(unsigned offset, u16 mask) { widen(clears_, offset, 2, mask); }
  /// Read-only bits that the device itself changes while it runs, so that saved state may differ there.
  void device_changes(unsigned offset, u8 mask) { widen(changes_, offset, 1, mask); }

  /// Makes room for a capability of `size` bytes (its two header bytes included) and links it in front of the list.
  /// Returns its offset.
  unsigned add_capability(u8 id, unsigned size);
  /// The offset of a capability, or 0.
  unsigned find_capability(u8 id) const;
  /// PCI Express extended capability, in the order of adding; at 0x100 and up.
  unsigned add_extended_capability(u16 id, u8 version, unsigned size);

  /// From now on reset() goes back to the present values and masks.
  void remember_reset_values() {
    reset_values_ = bytes_;
    reset_writable_ = writable_;
  }
  void reset() {
    bytes_ = reset_values_;
    writable_ = reset_writable_;
  }

  std::vector<u8>& bytes() { return bytes_; }
  /// Whether loaded `bytes` differ from what reset gives only where guest or device can make them differ.
  bool is_plausible() const;

 private:
  static u32 mask_of(unsigned size) { return u32(low_mask(size * 8)); }
  u32 get(unsigned offset, unsigned size) const;
  static void set(std::vector<u8>& bytes, unsigned offset, unsigned size, u32 value);
  static void widen(std::vector<u8>& bytes, unsigned offset, unsigned size, u32 mask);

  std::vector<u8> bytes_, writable_, clears_, changes_;
  std::vector<u8> reset_values_, reset_writable_;
  unsigned next_capability_ = 0x40;
  unsigned next_extended_ = 0x100, last_extended_ = 0;
};

}  // namespace emu::hw
