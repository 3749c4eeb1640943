// SPDX-License-Identifier: Apache-2.0
// Message-signalled interrupts of one PCI function: what the MSI and MSI-X structures hold, and which messages are due.
// PCI Local Bus specification 3.0, section 6.8.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "hw/pci/pci_config.h"

namespace emu::hw {

/// A 32-bit write that is an interrupt.
struct PciMessage {
  u64 address = 0;
  u32 data = 0;
};

/// The MSI capability: 64-bit address, per-vector masks and pending bits (§6.8.1). Configuration space is read under
/// the machine lock only; what notify() needs of it is kept here under a lock of its own.
class MsiCapability {
 public:
  /// `vectors` is a power of two, at most 32.
  MsiCapability(PciConfig& config, unsigned vectors);

  bool is_enabled() const { return enabled_; }
  unsigned vectors() const { return vectors_; }
  bool covers(unsigned offset, unsigned size) const { return offset < offset_ + kBytes && offset_ < offset + size; }

  /// What to send for `vector` now; nothing when it is masked (then it is pending) or MSI is off. Any thread.
  std::optional<PciMessage> notify(unsigned vector);
  /// After configuration space changed: takes the registers over, and returns what has become due.
  std::vector<PciMessage> registers_changed();
  /// Brings the pending bits in configuration space up to date. Machine lock.
  void show_pending();
  /// Pending bits from configuration space, after a load or reset. Machine lock.
  void take_registers();

 private:
  enum Reg : unsigned { CONTROL = 2, ADDRESS = 4, ADDRESS_HIGH = 8, DATA = 12, MASK = 16, PENDING = 20 };
  static constexpr unsigned kBytes = 24;

  PciMessage message_locked(unsigned vector) const;
  void read_registers_locked();

  PciConfig& config_;
  const unsigned vectors_;
  unsigned offset_;
  std::atomic<bool> enabled_{false};
  std::mutex mutex_;  ///< the rest
  unsigned allocated_ = 1;
  u64 address_ = 0;
  u16 data_ = 0;
  u32 mask_ = 0, pending_ = 0;
};

/// The MSI-X capability with its table and pending bits (§6.8.2). Table accesses are 32 bits wide here.
class MsixTable {
 public:
  static constexpr unsigned kMaxVectors = 2048, kEntryBytes = 16;
  /// `bar` is the index of the BAR that `table_offset` and `pending_offset` (multiples of 8) are in.
  MsixTable(PciConfig& config, unsigned vectors, unsigned bar, u32 table_offset, u32 pending_offset);

  bool is_enabled() const { return enabled_; }
  unsigned vectors() const { return vectors_; }
  u32 table_bytes() const { return vectors_ * kEntryBytes; }
  u32 pending_bytes() const { return u32(pending_.size()) * 4; }
  bool covers(unsigned offset, unsigned size) const { return offset < offset_ + kBytes && offset_ < offset + size; }

  /// As MsiCapability::notify.
  std::optional<PciMessage> notify(unsigned vector);
  /// What notify() gives now, without a trace.
  std::optional<PciMessage> message(unsigned vector) const;
  /// After configuration space changed.
  std::vector<PciMessage> registers_changed();
  void take_registers();

  // Any thread; offsets are inside, multiples of 4.
  u32 read_table(u32 offset) const;
  /// Returns what has become due.
  std::optional<PciMessage> write_table(u32 offset, u32 value);
  u32 read_pending(u32 offset) const;

  void reset();
  // For saved state.
  struct State {
    std::vector<u32> table, pending;
  };
  State state() const;
  void set_state(const State& state);

 private:
  enum Word : unsigned { ADDRESS, ADDRESS_HIGH, DATA, CONTROL, kWords };
  static constexpr u32 kMasked = 1;
  enum Reg : unsigned { MESSAGE_CONTROL = 2, TABLE = 4, PENDING = 8 };
  static constexpr unsigned kBytes = 12;

  bool is_masked_locked(unsigned vector) const { return all_masked_ || (table_[vector * kWords + CONTROL] & kMasked); }
  PciMessage message_locked(unsigned vector) const;
  /// Takes the pending bit of a vector that may be sent.
  std::optional<PciMessage> take_due_locked(unsigned vector);

  PciConfig& config_;
  const unsigned vectors_;
  unsigned offset_;
  std::atomic<bool> enabled_{false};
  mutable std::mutex mutex_;  ///< the rest
  bool all_masked_ = false;
  std::vector<u32> table_;    ///< four words a vector
  std::vector<u32> pending_;  ///< one bit a vector; an even number of words, since drivers read 64 bits
};

}  // namespace emu::hw
