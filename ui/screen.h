// SPDX-License-Identifier: Apache-2.0
// What a display shows, and who can be asked for it.
#pragma once

#include <string>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::ui {

/// Rows from the top, pixels from the left, three bytes a pixel: red, green, blue.
struct Picture {
  Picture() = default;
  Picture(unsigned columns, unsigned rows) : width(columns), height(rows), rgb(std::size_t(columns) * rows * 3) {}
  /// A row's bytes; `y` below the height.
  u8* row(unsigned y) { return rgb.data() + std::size_t(y) * width * 3; }
  const u8* row(unsigned y) const { return rgb.data() + std::size_t(y) * width * 3; }
  /// 0xrrggbb; for tests.
  u32 pixel(unsigned x, unsigned y) const {
    const u8* at = row(y) + std::size_t(x) * 3;
    return u32(at[0]) << 16 | u32(at[1]) << 8 | at[2];
  }

  unsigned width = 0, height = 0;
  std::vector<u8> rgb;
};

/// A device with a picture. Implemented by display devices, which are found in the object tree.
class Screen {
 public:
  virtual ~Screen() = default;
  /// As it is now. Machine lock held; changes nothing that the guest can see.
  virtual Picture picture() const = 0;
};

}  // namespace emu::ui
