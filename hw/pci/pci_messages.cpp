// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_messages.h"

#include <algorithm>
#include <bit>

#include "util/check.h"

namespace emu::hw {
namespace {

// Message Control of MSI, §6.8.1.3
constexpr u16 kMsiEnable = bit(0), kMsi64 = bit(7), kMsiMaskable = bit(8), kMsiAllocated = 0x70;
// Message Control of MSI-X, §6.8.2.3
constexpr u16 kMsixEnable = bit(15), kMsixMaskAll = bit(14);

}  // namespace

// MSI. ---------------------------------------------------------------------------------------------------------------

MsiCapability::MsiCapability(PciConfig& config, unsigned vectors) : config_(config), vectors_(vectors) {
  EMU_CHECK(std::has_single_bit(vectors) && vectors <= 32);
  offset_ = config.add_capability(pci::kCapMsi, kBytes);
  config.set16(offset_ + CONTROL, u16(kMsi64 | kMsiMaskable | unsigned(std::countr_zero(vectors)) << 1));
  config.allow16(offset_ + CONTROL, kMsiEnable | kMsiAllocated);
  config.allow32(offset_ + ADDRESS, ~3u);
  config.allow32(offset_ + ADDRESS_HIGH, ~0u);
  config.allow16(offset_ + DATA, 0xffff);
  const u32 all = u32(low_mask(vectors));
  config.allow32(offset_ + MASK, all);
  for (unsigned i = 0; i < 4; i++) config.device_changes(offset_ + PENDING + i, u8(all >> (8 * i)));
}

void MsiCapability::read_registers_locked() {
  const u16 control = config_.get16(offset_ + CONTROL);
  // The guest may allocate fewer vectors than offered; more is reserved, and taken as all.
  allocated_ = std::min(vectors_, 1u << bits(control, 6, 4));
  address_ = config_.get32(offset_ + ADDRESS) | u64(config_.get32(offset_ + ADDRESS_HIGH)) << 32;
  data_ = config_.get16(offset_ + DATA);
  mask_ = config_.get32(offset_ + MASK);
  enabled_ = (control & kMsiEnable) != 0;
}

PciMessage MsiCapability::message_locked(unsigned vector) const {
  return {address_, (data_ & ~(allocated_ - 1)) | vector};
}

std::optional<PciMessage> MsiCapability::notify(unsigned vector) {
  EMU_CHECK(vector < vectors_);
  const std::lock_guard guard(mutex_);
  if (!enabled_) return std::nullopt;
  vector &= allocated_ - 1;
  if (mask_ & bit(vector)) {
    pending_ |= u32(bit(vector));
    return std::nullopt;
  }
  return message_locked(vector);
}

std::vector<PciMessage> MsiCapability::registers_changed() {
  std::vector<PciMessage> due;
  const std::lock_guard guard(mutex_);
  read_registers_locked();
  if (!enabled_) return due;
  for (unsigned vector = 0; vector < allocated_; vector++) {
    if (!(pending_ & ~mask_ & bit(vector))) continue;
    pending_ &= ~u32(bit(vector));
    due.push_back(message_locked(vector));
  }
  return due;
}

void MsiCapability::show_pending() {
  const std::lock_guard guard(mutex_);
  config_.set32(offset_ + PENDING, pending_);
}

void MsiCapability::take_registers() {
  const std::lock_guard guard(mutex_);
  read_registers_locked();
  pending_ = config_.get32(offset_ + PENDING);
}

// MSI-X. -------------------------------------------------------------------------------------------------------------

MsixTable::MsixTable(PciConfig& config, unsigned vectors, unsigned bar, u32 table_offset, u32 pending_offset)
    : config_(config), vectors_(vectors), table_(vectors * size_t(kWords)), pending_(align_up(vectors, 64) / 32) {
  EMU_CHECK(vectors >= 1 && vectors <= kMaxVectors && bar < pci::kBars);
  EMU_CHECK(table_offset % 8 == 0 && pending_offset % 8 == 0);
  offset_ = config.add_capability(pci::kCapMsix, kBytes);
  config.set16(offset_ + MESSAGE_CONTROL, u16(vectors - 1));
  config.allow16(offset_ + MESSAGE_CONTROL, kMsixEnable | kMsixMaskAll);
  config.set32(offset_ + TABLE, table_offset | bar);
  config.set32(offset_ + PENDING, pending_offset | bar);
  reset();
}

void MsixTable::reset() {
  const std::lock_guard guard(mutex_);
  std::fill(table_.begin(), table_.end(), 0);
  std::fill(pending_.begin(), pending_.end(), 0);
  for (unsigned vector = 0; vector < vectors_; vector++) table_[vector * kWords + CONTROL] = kMasked;
}

PciMessage MsixTable::message_locked(unsigned vector) const {
  const u32* entry = &table_[vector * size_t(kWords)];
  return {entry[ADDRESS] | u64(entry[ADDRESS_HIGH]) << 32, entry[DATA]};
}

std::optional<PciMessage> MsixTable::notify(unsigned vector) {
  EMU_CHECK(vector < vectors_);
  const std::lock_guard guard(mutex_);
  if (!enabled_) return std::nullopt;
  if (is_masked_locked(vector)) {
    pending_[vector / 32] |= u32(bit(vector % 32));
    return std::nullopt;
  }
  return message_locked(vector);
}

std::optional<PciMessage> MsixTable::message(unsigned vector) const {
  EMU_CHECK(vector < vectors_);
  const std::lock_guard guard(mutex_);
  if (!enabled_ || is_masked_locked(vector)) return std::nullopt;
  return message_locked(vector);
}

std::optional<PciMessage> MsixTable::take_due_locked(unsigned vector) {
  u32& word = pending_[vector / 32];
  if (!enabled_ || !(word & bit(vector % 32)) || is_masked_locked(vector)) return std::nullopt;
  word &= ~u32(bit(vector % 32));
  return message_locked(vector);
}

void MsixTable::take_registers() {
  const std::lock_guard guard(mutex_);
  const u16 control = config_.get16(offset_ + MESSAGE_CONTROL);
  all_masked_ = (control & kMsixMaskAll) != 0;
  enabled_ = (control & kMsixEnable) != 0;
}

std::vector<PciMessage> MsixTable::registers_changed() {
  take_registers();
  std::vector<PciMessage> due;
  const std::lock_guard guard(mutex_);
  for (unsigned vector = 0; vector < vectors_; vector++) {
    if (const auto message = take_due_locked(vector)) due.push_back(*message);
  }
  return due;
}

u32 MsixTable::read_table(u32 offset) const {
  EMU_CHECK(offset < table_bytes());
  const std::lock_guard guard(mutex_);
  return table_[offset / 4];
}

std::optional<PciMessage> MsixTable::write_table(u32 offset, u32 value) {
  EMU_CHECK(offset < table_bytes());
  const std::lock_guard guard(mutex_);
  const unsigned word = offset / 4 % kWords;
  const u32 writable = word == ADDRESS ? ~3u : word == CONTROL ? kMasked : ~0u;
  table_[offset / 4] = value & writable;
  return word == CONTROL ? take_due_locked(offset / kEntryBytes) : std::nullopt;
}

u32 MsixTable::read_pending(u32 offset) const {
  EMU_CHECK(offset < pending_bytes());
  const std::lock_guard guard(mutex_);
  return pending_[offset / 4];
}

MsixTable::State MsixTable::state() const {
  const std::lock_guard guard(mutex_);
  return {table_, pending_};
}

void MsixTable::set_state(const State& state) {
  EMU_CHECK(state.table.size() == table_.size() && state.pending.size() == pending_.size());
  const std::lock_guard guard(mutex_);
  table_ = state.table;
  pending_ = state.pending;
  for (unsigned vector = 0; vector < vectors_; vector++) {
    table_[vector * kWords + ADDRESS] &= ~3u;
    table_[vector * kWords + CONTROL] &= kMasked;
  }
  for (unsigned bit_index = vectors_; bit_index < pending_.size() * 32; bit_index++)
    pending_[bit_index / 32] &= ~u32(bit(bit_index % 32));
}

}  // namespace emu::hw
