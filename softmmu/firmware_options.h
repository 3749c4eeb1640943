// SPDX-License-Identifier: Apache-2.0
// -fw_cfg, -smbios and -acpitable: what a user adds to what firmware and guest find in tables and files.
#pragma once

#include <string>
#include <vector>

#include "hw/machine/board.h"
#include "util/options.h"

namespace emu::softmmu {

/// One of these options as typed.
struct FirmwareOption {
  enum class Kind : u8 { FwCfg, Smbios, AcpiTable } kind;
  std::string text;
};

/// Reads the files they name. Errors name the option.
Result<void> apply_firmware_options(const std::vector<FirmwareOption>& options, hw::BoardConfig& config);

/// name=,file=|string=
Result<hw::FirmwareFile> parse_fw_cfg(Options& options);
/// file=, or type= and fields, into what earlier ones said.
Result<void> parse_smbios(Options& options, hw::SmbiosOverrides& smbios);
/// A whole table. Errors: fields too long, no contents.
Result<std::vector<u8>> parse_acpi_table(Options& options);

}  // namespace emu::softmmu
