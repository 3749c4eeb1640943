// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_config.h"

#include "util/check.h"

namespace emu::hw {

PciConfig::PciConfig(unsigned size)
    : bytes_(size), writable_(size), clears_(size), changes_(size), reset_values_(size), reset_writable_(size) {}

u32 PciConfig::get(unsigned offset, unsigned size) const {
  EMU_CHECK(offset + size <= bytes_.size());
  u32 value = 0;
  for (unsigned i = 0; i < size; i++) value |= u32(bytes_[offset + i]) << (8 * i);
  return value;
}

void PciConfig::set(std::vector<u8>& bytes, unsigned offset, unsigned size, u32 value) {
  EMU_CHECK(offset + size <= bytes.size());
  for (unsigned i = 0; i < size; i++) bytes[offset + i] = u8(value >> (8 * i));
}

void PciConfig::widen(std::vector<u8>& bytes, unsigned offset, unsigned size, u32 mask) {
  EMU_CHECK(offset + size <= bytes.size());
  for (unsigned i = 0; i < size; i++) bytes[offset + i] |= u8(mask >> (8 * i));
}

void PciConfig::deny(unsigned offset, unsigned length) {
  EMU_CHECK(offset + length <= bytes_.size());
  for (unsigned i = 0; i < length; i++) writable_[offset + i] = 0;
}

u32 PciConfig::read(unsigned offset, unsigned size) const {
  return offset + size <= bytes_.size() ? get(offset, size) : mask_of(size);
}

void PciConfig::write(unsigned offset, unsigned size, u32 value) {
  if (offset + size > bytes_.size()) return;
  for (unsigned i = 0; i < size; i++) {
    const u8 written = u8(value >> (8 * i));
    u8& byte = bytes_[offset + i];
    const u8 writable = writable_[offset + i];
    byte = u8((byte & ~writable) | (written & writable));
    byte &= u8(~(written & clears_[offset + i]));
  }
}

unsigned PciConfig::add_capability(u8 id, unsigned size) {
  const unsigned offset = next_capability_;
  EMU_CHECK(size >= 2 && offset + size <= pci::kConfigBytes);
  next_capability_ = unsigned(align_up(offset + size, 4));
  set8(offset, id);
  set8(offset + 1, get8(pci::CAPABILITY_LIST));
  set8(pci::CAPABILITY_LIST, u8(offset));
  set16(pci::STATUS, u16(get16(pci::STATUS) | pci::kStatusCapabilities));
  return offset;
}

unsigned PciConfig::find_capability(u8 id) const {
  unsigned offset = get8(pci::CAPABILITY_LIST);
  for (unsigned steps = 0; offset != 0 && steps < 48; steps++) {
    if (get8(offset) == id) return offset;
    offset = get8(offset + 1) & 0xfc;
  }
  return 0;
}

unsigned PciConfig::add_extended_capability(u16 id, u8 version, unsigned size) {
  const unsigned offset = next_extended_;
  EMU_CHECK(size >= 4 && offset + size <= bytes_.size());
  next_extended_ = unsigned(align_up(offset + size, 4));
  set32(offset, u32(id) | u32(version & 15) << 16);
  if (last_extended_ != 0) set32(last_extended_, (get32(last_extended_) & 0xf'ffff) | u32(offset) << 20);
  last_extended_ = offset;
  return offset;
}

bool PciConfig::is_plausible() const {
  for (size_t i = 0; i < bytes_.size(); i++) {
    const u8 fixed = u8(~(reset_writable_[i] | clears_[i] | changes_[i]));
    if ((bytes_[i] ^ reset_values_[i]) & fixed) return false;
  }
  return true;
}

}  // namespace emu::hw
