// SPDX-License-Identifier: Apache-2.0
// -device loader: puts a value or a file into the guest's memory at each reset.
#pragma once

#include <string>
#include <vector>

#include "hw/core/device.h"

namespace emu::hw {

/// Either data= with data-len= at addr=, or file=: an ELF file to where its headers say, anything else to addr=.
class GenericLoader final : public Device {
 public:
  static constexpr u64 kMostBytes = u64(1) << 32;
  static void describe(TypeInfo<GenericLoader>& type);
  Result<void> realize() override;
  void reset_hold() override;

  struct Piece {
    u64 address = 0;
    std::vector<u8> bytes;
  };
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  static constexpr u64 kNone = ~u64(0);
  Result<void> take_data();
  Result<void> take_file();

  u64 address_ = kNone, data_ = 0;
  u32 data_bytes_ = 0, cpu_ = ~0u;
  bool data_big_endian_ = false, force_raw_ = false;
  std::string file_;
  std::vector<Piece> pieces_;
};

void register_loader(TypeRegistry& registry);

/// Where the loadable segments of an ELF file go (System V ABI, "Program Loading"). Errors: not what it says it is.
Result<std::vector<GenericLoader::Piece>> read_elf_pieces(std::string_view file);

}  // namespace emu::hw
