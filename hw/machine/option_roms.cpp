// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/option_roms.h"

#include <numeric>

#include "util/check.h"

// Defined by hw/machine/roms/embed.S.in.
extern "C" const emu::u8 emu_rom_kernel_boot[], emu_rom_kernel_boot_end[];

namespace emu::hw {
namespace {

/// Makes bytes [start, end) sum to zero through the byte at `at`.
void fix_checksum(std::vector<u8>& rom, size_t start, size_t end, size_t at) {
  EMU_CHECK(start < end && end <= rom.size() && at < rom.size());
  rom[at] = 0;
  rom[at] = u8(-std::accumulate(rom.begin() + i64(start), rom.begin() + i64(end), 0));
}

}  // namespace

std::vector<u8> kernel_boot_rom() {
  constexpr size_t kPnpPointer = 0x1a, kPnpBytes = 32, kPnpChecksum = 9;
  std::vector<u8> rom(emu_rom_kernel_boot, emu_rom_kernel_boot_end);
  const size_t pnp = rom[kPnpPointer] | size_t(rom[kPnpPointer + 1]) << 8;
  fix_checksum(rom, pnp, pnp + kPnpBytes, pnp + kPnpChecksum);
  fix_checksum(rom, 0, rom.size(), rom.size() - 1);  // the last byte is padding
  return rom;
}

}  // namespace emu::hw
