// SPDX-License-Identifier: Apache-2.0
// EnvHeader::fpu_image, the guest's x87 unit as the host's FXSAVE64 lays it out, by field.
#pragma once

#include <cstring>

#include "tcg/abi/env.h"

namespace emu::x86 {

/// Little-endian fields of an image in host memory; offsets are constants of the formats.
template <typename T>
T image_get(const u8* image, u64 offset) {
  T value;
  std::memcpy(&value, image + offset, sizeof value);
  return value;
}
template <typename T>
void image_put(u8* image, u64 offset, T value) {
  std::memcpy(image + offset, &value, sizeof value);
}

/// A view of the image and the guest's control word. Valid while the host's unit does not hold the state.
class FpuImage {
 public:
  explicit FpuImage(tcg::EnvHeader& header);

  void init();                  ///< FNINIT; leaves the registers' contents
  void set_control(u16 value);  ///< the guest's; the image gets it with all exceptions masked
  u16 status() const;           ///< without the error summary
  u16 guest_status() const;     ///< with it
  void set_status(u16 value);   ///< TOP moves without the registers: FXRSTOR's way
  unsigned top() const { return status() >> 11 & 7; }
  void set_top(unsigned top);  ///< registers keep their physical places
  u8 tags() const;             ///< abridged: bit = physical register in use
  void set_tags(u8 value);
  u16 full_tags();
  void set_full_tags(u16 word);
  u8* st(unsigned i);  ///< ten bytes

 private:
  tcg::EnvHeader& header_;
};

}  // namespace emu::x86
