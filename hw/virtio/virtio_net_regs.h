// SPDX-License-Identifier: Apache-2.0
// Feature bits and layouts of network cards. Virtio 1.2, 5.1.
#pragma once

#include "util/bits.h"
#include "util/endian.h"
#include "util/types.h"

namespace emu::hw::virtio_net {

// 5.1.3
inline constexpr u64 kCsum = bit64(0), kGuestCsum = bit64(1), kCtrlGuestOffloads = bit64(2), kMtu = bit64(3),
                     kMac = bit64(5), kGuestTso4 = bit64(7), kGuestTso6 = bit64(8), kGuestEcn = bit64(9),
                     kGuestUfo = bit64(10), kHostTso4 = bit64(11), kHostTso6 = bit64(12), kHostEcn = bit64(13),
                     kHostUfo = bit64(14), kMrgRxbuf = bit64(15), kStatus = bit64(16), kCtrlVq = bit64(17),
                     kCtrlRx = bit64(18), kCtrlVlan = bit64(19), kCtrlRxExtra = bit64(20), kGuestAnnounce = bit64(21),
                     kMq = bit64(22), kCtrlMacAddr = bit64(23), kGuestUso4 = bit64(54), kGuestUso6 = bit64(55),
                     kHostUso = bit64(56), kSpeedDuplex = bit64(63);
/// What CTRL_GUEST_OFFLOADS_SET can turn on and off, 5.1.6.5.6.
inline constexpr u64 kGuestOffloads =
    kGuestCsum | kGuestTso4 | kGuestTso6 | kGuestEcn | kGuestUfo | kGuestUso4 | kGuestUso6;

// Status field of the configuration space, 5.1.4
inline constexpr u16 kLinkUp = 1, kAnnounce = 2;

struct Header {  // 5.1.6
  u8 flags = 0, gso_type = 0;
  Le16 header_bytes, segment_bytes, csum_start, csum_offset;
  Le16 buffers;  ///< not there for legacy drivers without MRG_RXBUF
};
static_assert(sizeof(Header) == 12);
inline constexpr std::size_t kShortHeader = 10;
inline constexpr u8 kNeedsCsum = 1, kDataValid = 2;
inline constexpr u8 kGsoNone = 0, kGsoTcp4 = 1, kGsoUdp = 3, kGsoTcp6 = 4, kGsoUdpL4 = 5, kGsoEcn = 0x80;

}  // namespace emu::hw::virtio_net
