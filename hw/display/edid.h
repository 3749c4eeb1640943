// SPDX-License-Identifier: Apache-2.0
// What a monitor says about itself: VESA E-EDID release A revision 2, structure version 1.4 (sections as §).
#pragma once

#include <array>

#include "util/types.h"

namespace emu::hw {

constexpr unsigned kEdidBytes = 128, kEdidMostPixels = 4095;

/// The block of a monitor that likes `width` by `height` best; both at most kEdidMostPixels.
std::array<u8, kEdidBytes> make_edid(unsigned width, unsigned height);

}  // namespace emu::hw
