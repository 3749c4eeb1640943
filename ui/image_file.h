// SPDX-License-Identifier: Apache-2.0
// Pictures as files.
#pragma once

#include "ui/screen.h"

namespace emu::ui {

enum class ImageFormat : u8 { Ppm, Png };

/// The bytes of an image file. Errors: the encoder has no memory.
Result<std::vector<u8>> encode_image(const Picture& picture, ImageFormat format);

}  // namespace emu::ui
