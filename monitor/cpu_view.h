// SPDX-License-Identifier: Apache-2.0
// A stopped vCPU as a person looks at it: registers by name, memory by virtual or physical address.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "hw/machine/board.h"

namespace emu::monitor {

/// The value after "NAME=" in a register dump: "rax", "cr3", "efer"; case does not matter. The 64-, 32- and 16-bit
/// names of x86's general registers, instruction pointer and flags stand for each other, cut to their width.
std::optional<u64> find_register(std::string_view dump, std::string_view name);

enum class AddressKind : u8 { Virtual, Physical };

/// Valid while the vCPU is paused.
class CpuView {
 public:
  explicit CpuView(const hw::BoardCpu& cpu) : cpu_(cpu) {}
  /// "$rip" without the dollar. "pc" is the linear address of the next instruction on every guest.
  std::optional<u64> register_value(std::string_view name) const;
  /// False when any byte of it is not there. Registers of devices are not touched.
  bool read(u64 address, AddressKind kind, std::span<u8> to) const;
  target::Vcpu& vcpu() const { return *cpu_.cpu; }

 private:
  hw::BoardCpu cpu_;
};

}  // namespace emu::monitor
