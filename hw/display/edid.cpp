// SPDX-License-Identifier: Apache-2.0
#include "hw/display/edid.h"

#include <algorithm>
#include <span>
#include <string_view>

namespace emu::hw {
namespace {

using Descriptor = std::span<u8, 18>;

constexpr unsigned kDotsPerInch = 100;

unsigned millimetres(unsigned pixels) { return pixels * 254 / (kDotsPerInch * 10); }

/// §3.10.2, with the reduced blanking of VESA's CVT 1.2: what a digital display needs.
void put_preferred_timing(Descriptor out, unsigned width, unsigned height) {
  constexpr unsigned kBlank = 160, kFront = 48, kSync = 32, kVerticalFront = 3, kVerticalSync = 6, kRefresh = 60;
  const unsigned vertical_blank = std::max(height / 32, 15u);
  const u64 clock_10khz = u64(width + kBlank) * (height + vertical_blank) * kRefresh / 10'000;
  const unsigned clock = unsigned(std::min<u64>(clock_10khz, 0xffff));
  out[0] = u8(clock);
  out[1] = u8(clock >> 8);
  out[2] = u8(width);
  out[3] = u8(kBlank);
  out[4] = u8(width >> 8 << 4 | kBlank >> 8);
  out[5] = u8(height);
  out[6] = u8(vertical_blank);
  out[7] = u8(height >> 8 << 4 | vertical_blank >> 8);
  out[8] = u8(kFront);
  out[9] = u8(kSync);
  out[10] = u8(kVerticalFront << 4 | kVerticalSync);
  out[12] = u8(millimetres(width));
  out[13] = u8(millimetres(height));
  out[14] = u8(millimetres(width) >> 8 << 4 | millimetres(height) >> 8);
  out[17] = 0x18;  // digital separate sync
}

/// §3.10.3.4.
void put_name(Descriptor out, std::string_view name) {
  out[3] = 0xfc;
  std::fill(out.begin() + 5, out.end(), u8(' '));
  std::copy(name.begin(), name.end(), out.begin() + 5);
  out[5 + name.size()] = '\n';
}

/// §3.10.3.3: 50 to 125 Hz, 30 to 160 kHz, any pixel clock.
void put_range_limits(Descriptor out) {
  constexpr std::array<u8, 18> kLimits = {0,    0,    0,    0xfd, 0,   50,  125, 30,  160,
                                          0xff, 0x01, '\n', ' ',  ' ', ' ', ' ', ' ', ' '};
  std::copy(kLimits.begin(), kLimits.end(), out.begin());
}

}  // namespace

std::array<u8, kEdidBytes> make_edid(unsigned width, unsigned height) {
  std::array<u8, kEdidBytes> edid = {
      0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00,  // header, §3.3
      0x15, 0xb5, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00,  // "EMU", product 1, §3.4
      1,    36,   1,    4,                             // first week of 2026; version 1.4
      0xa0, 0,    0,    120,  0x06,                    // digital, 8 bits a colour; gamma 2.2; sRGB
      0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54,  // sRGB's colours, §3.7
      0x21, 0x08, 0x00,                                            // 640x480, 800x600 and 1024x768 at 60 Hz, §3.8
      0x81, 0x00, 0x81, 0x80, 0xa9, 0x40, 0xd1, 0xc0,              // 1280x800, 1280x1024, 1600x1200, 1920x1080, §3.9
      0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
  };
  edid[21] = u8(std::min(millimetres(width) / 10, 255u));
  edid[22] = u8(std::min(millimetres(height) / 10, 255u));
  const std::span<u8, kEdidBytes> all(edid);
  put_preferred_timing(all.subspan<54, 18>(), width, height);
  put_range_limits(all.subspan<72, 18>());
  put_name(all.subspan<90, 18>(), "system-emu");
  edid[111] = 0x10;  // the last descriptor is unused
  u8 sum = 0;
  for (const u8 byte : edid) sum = u8(sum + byte);
  edid[127] = u8(-sum);
  return edid;
}

}  // namespace emu::hw
