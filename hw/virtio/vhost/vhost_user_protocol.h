// SPDX-License-Identifier: Apache-2.0
// Messages of the vhost-user protocol: its document, "Message Specification" and after. All in the host's byte order.
#pragma once

#include "util/bits.h"
#include "util/types.h"

namespace emu::hw::vhost_user {

/// Beside virtio's feature bits: the back end knows protocol features.
inline constexpr u64 kFeatureProtocol = bit64(30);

// Protocol features
inline constexpr u64 kProtocolMq = bit64(0), kProtocolReplyAck = bit64(3), kProtocolSlaveReq = bit64(5),
                     kProtocolConfig = bit64(9);

enum class Request : u32 {
  GetFeatures = 1,
  SetFeatures = 2,
  SetOwner = 3,
  SetMemTable = 5,
  SetVringNum = 8,
  SetVringAddr = 9,
  SetVringBase = 10,
  GetVringBase = 11,
  SetVringKick = 12,
  SetVringCall = 13,
  GetProtocolFeatures = 15,
  SetProtocolFeatures = 16,
  GetQueueNum = 17,
  SetVringEnable = 18,
  SetSlaveReqFd = 21,
  GetConfig = 24,
  SetConfig = 25,
};
enum class SlaveRequest : u32 { ConfigChange = 2 };

// Header flags
inline constexpr u32 kVersionMask = 3, kVersion = 1, kReply = 4, kNeedReply = 8;
struct Header {
  u32 request = 0, flags = kVersion, size = 0;
};
static_assert(sizeof(Header) == 12);

struct VringState {
  u32 index = 0, num = 0;
};
struct VringAddress {
  u32 index = 0, flags = 0;
  u64 descriptors = 0, used = 0, available = 0, log = 0;
};
static_assert(sizeof(VringAddress) == 40);
struct MemoryRegion {
  u64 guest = 0, size = 0, user = 0, mmap_offset = 0;
};
inline constexpr unsigned kMostRegions = 8;
struct MemoryTable {
  u32 count = 0, padding = 0;
  MemoryRegion regions[kMostRegions];
};
static_assert(sizeof(MemoryTable) == 8 + 32 * kMostRegions);
struct ConfigHeader {
  u32 offset = 0, size = 0, flags = 0;
};
inline constexpr u32 kMostConfigBytes = 256;
/// In the number that comes with a vring's descriptor.
inline constexpr u64 kVringIndexMask = 0xff;

}  // namespace emu::hw::vhost_user
