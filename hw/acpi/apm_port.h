// SPDX-License-Identifier: Apache-2.0
// The advanced power management ports, by which an OS speaks to firmware: 82371AB datasheet §7.2.6, ICH9 datasheet
// §13.8.1 ("APM_CNT", "APM_STS").
#pragma once

#include "hw/acpi/pm_block.h"

namespace emu::hw {

class ApmPort {
 public:
  static constexpr u16 kPort = 0xb2;  ///< commands; a status that nobody here looks at is behind it
  static constexpr u64 kBytes = 2;
  /// Which commands switch ACPI mode is between firmware and its tables.
  struct Commands {
    u8 acpi_enable, acpi_disable;
  };
  explicit ApmPort(Commands commands) : commands_(commands) {}

  u64 read(u64 offset) const { return offset == 0 ? command_ : status_; }
  /// Returns whether that was a command, for which the chip may interrupt. ACPI mode follows without firmware in SMM,
  /// too, so that the OS can always switch to it.
  bool write(u64 offset, u8 value, AcpiPmBlock& pm) {
    if (offset != 0) {
      status_ = value;
      return false;
    }
    command_ = value;
    if (value == commands_.acpi_enable) pm.set_acpi_mode(true);
    if (value == commands_.acpi_disable) pm.set_acpi_mode(false);
    return true;
  }
  void reset() { command_ = status_ = 0; }
  void fields(Archive& ar) { ar("apm_command", command_)("apm_status", status_); }

 private:
  const Commands commands_;
  u8 command_ = 0, status_ = 0;
};

}  // namespace emu::hw
