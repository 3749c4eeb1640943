// SPDX-License-Identifier: Apache-2.0
#include "isa/random.h"

namespace emu::isa {

u64 Random::integer() {
  constexpr u8 kWidths[] = {7, 8, 15, 16, 31, 32, 63, 64};
  switch (below(8)) {
    case 0: {  // a limit of some width, or next to it
      const u64 limit = (u64(2) << (kWidths[below(8)] - 1)) - 1;
      return limit + below(5) - 2;
    }
    case 1:
      return below(64);
    case 2:
      return ~below(64);
    case 3:
      return u64(1) << below(64);
    case 4:  // the same awkward byte everywhere
      return pick<u64>({0, 1, 0x7f, 0x80, 0xff, 0x55}) * 0x0101010101010101;
    case 5:
      return next() >> below(64);
    default:
      return next();
  }
}

u64 Random::floating() {
  const auto single = [this]() -> u64 {
    switch (below(6)) {
      case 0:
        return pick<u32>({0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001,
                          0x7f800001, 0xff812345, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff,
                          0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0xdf000000, 0x46fffe00, 0x3effffff});
      case 1:  // a small whole or half number
        return std::bit_cast<u32>(float(i64(below(2001)) - 1000) * 0.5f);
      case 2:  // near 1
        return u32(0x3f800000 + below(64) - 32) ^ u32(below(2) << 31);
      default:
        return u32(next());
    }
  };
  const auto twice = [this]() -> u64 {
    switch (below(6)) {
      case 0:
        return pick<u64>({0, u64(1) << 63, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000,
                          0xfff0000000000000, 0x7ff8000000000000, 0xfff8000000000001, 0x7ff0000000000001,
                          0xfff4000000000000, 1, 0x800fffffffffffff, 0x000fffffffffffff, 0x0010000000000000,
                          0x7fefffffffffffff, 0x41dfffffffc00000, 0xc1e0000000000000, 0x43e0000000000000,
                          0xc3e0000000000000, 0x41e0000000000000, 0x36a0000000000000, 0x47efffffe0000000,
                          0x47effffff0000000, 0x3810000000000000, 0x380fffffffffffff});
      case 1:
        return std::bit_cast<u64>(double(i64(below(20001)) - 10000) * 0.25);
      case 2:
        return (0x3ff0000000000000 + below(64) - 32) ^ below(2) << 63;
      case 3:  // within the range of a single
        return std::bit_cast<u64>(double(std::bit_cast<float>(u32(next()))));
      default:
        return next();
    }
  };
  const auto half = [this]() -> u64 {
    if (one_in(2)) return u16(next());
    return pick<u16>({0, 0x8000, 0x3c00, 0xbc00, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7c01, 0xfd23, 1, 0x83ff, 0x0400,
                      0x8400, 0x7bff, 0xfbff, 0x3bff, 0x4900});
  };
  if (one_in(8)) return half() | half() << 16 | half() << 32 | half() << 48;
  return one_in(2) ? twice() : single() | single() << 32;
}

}  // namespace emu::isa
