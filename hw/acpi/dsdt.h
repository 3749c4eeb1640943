// SPDX-License-Identifier: Apache-2.0
// The code part of the DSDT: devices and interrupt routing of machines pc and q35.
#pragma once

#include "hw/acpi/aml.h"
#include "hw/acpi/tables.h"

namespace emu::hw {

aml::Aml build_dsdt_body(const AcpiConfig& config);

}  // namespace emu::hw
