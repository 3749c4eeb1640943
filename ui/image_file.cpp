// SPDX-License-Identifier: Apache-2.0
#include "ui/image_file.h"

#include <png.h>

#include <fmt/format.h>

namespace emu::ui {
namespace {

/// Netpbm's "raw PPM": a text header, then the bytes.
std::vector<u8> encode_ppm(const Picture& picture) {
  const std::string header = fmt::format("P6\n{} {}\n255\n", picture.width, picture.height);
  std::vector<u8> bytes;
  bytes.reserve(header.size() + picture.rgb.size());
  bytes.assign(header.begin(), header.end());
  bytes.insert(bytes.end(), picture.rgb.begin(), picture.rgb.end());
  return bytes;
}

/// By libpng's simplified interface, which reports errors instead of jumping.
Result<std::vector<u8>> encode_png(const Picture& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = picture.width;
  image.height = picture.height;
  image.format = PNG_FORMAT_RGB;
  image.flags = PNG_IMAGE_FLAG_FAST;  // the caller waits; screens compress well anyhow
  std::vector<u8> bytes(PNG_IMAGE_PNG_SIZE_MAX(image));
  png_alloc_size_t size = bytes.size();
  if (png_image_write_to_memory(&image, bytes.data(), &size, 0, picture.rgb.data(), 0, nullptr) == 0) {
    return error("the picture could not be made a PNG: {}", image.message);
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace

Result<std::vector<u8>> encode_image(const Picture& picture, ImageFormat format) {
  if (format == ImageFormat::Png) return encode_png(picture);
  return encode_ppm(picture);
}

}  // namespace emu::ui
