// SPDX-License-Identifier: Apache-2.0
#include "ui/image_file.h"

#include <gtest/gtest.h>
#include <png.h>

namespace emu::ui {
namespace {

Picture two_by_two() {
  Picture picture(2, 2);
  picture.rgb = {255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3};
  return picture;
}

TEST(ImageFile, PpmIsAHeaderAndBytes) {
  const auto bytes = encode_image(two_by_two(), ImageFormat::Ppm);
  ASSERT_TRUE(bytes.has_value());
  const std::string text(bytes->begin(), bytes->end());
  EXPECT_EQ(text.substr(0, 11), "P6\n2 2\n255\n");
  EXPECT_EQ(text.substr(11), std::string("\xff\0\0\0\xff\0\0\0\xff\1\2\3", 12));
}

TEST(ImageFile, PngReadsBackAsItWas) {
  const Picture picture = two_by_two();
  const auto bytes = encode_image(picture, ImageFormat::Png);
  ASSERT_TRUE(bytes.has_value());
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  ASSERT_NE(png_image_begin_read_from_memory(&image, bytes->data(), bytes->size()), 0);
  image.format = PNG_FORMAT_RGB;
  ASSERT_EQ(image.width, 2u);
  ASSERT_EQ(image.height, 2u);
  std::vector<u8> rgb(PNG_IMAGE_SIZE(image));
  ASSERT_NE(png_image_finish_read(&image, nullptr, rgb.data(), 0, nullptr), 0);
  EXPECT_EQ(rgb, picture.rgb);
}

}  // namespace
}  // namespace emu::ui
