// SPDX-License-Identifier: Apache-2.0
// Names of virtio that all devices and transports share. Virtual I/O Device (VIRTIO) version 1.2.
#pragma once

#include "util/bits.h"
#include "util/types.h"

namespace emu::hw::virtio {

/// Device types, section 5.
enum class DeviceId : u16 {
  Net = 1, Block = 2, Console = 3, Entropy = 4, Balloon = 5, Scsi = 8, Plan9 = 9, Vsock = 19, FileSystem = 26
};

// Device status, 2.1
inline constexpr u8 kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8, kNeedsReset = 64, kFailed = 128;

// Feature bits of all devices, section 6; the first two are of legacy devices, 6.3
inline constexpr u64 kFeatureNotifyOnEmpty = bit64(24), kFeatureAnyLayout = bit64(27),
                     kFeatureIndirectDesc = bit64(28), kFeatureEventIdx = bit64(29), kFeatureVersion1 = bit64(32),
                     kFeatureAccessPlatform = bit64(33), kFeatureRingPacked = bit64(34), kFeatureInOrder = bit64(35);

// Descriptor flags, 2.7.5 and 2.8.1
inline constexpr u16 kDescNext = 1, kDescWrite = 2, kDescIndirect = 4, kDescAvail = bit(7), kDescUsed = bit(15);

/// Largest queue, 2.7 and 2.8; what our devices allow at most is less.
inline constexpr u32 kMaxQueueSize = 1024;
/// A queue without an MSI-X vector, 4.1.5.1.2.
inline constexpr u16 kNoVector = 0xffff;
/// Queues of one device.
inline constexpr unsigned kMaxQueues = 1024;

// Bits of the interrupt status register, 4.1.4.5 and 4.2.2
inline constexpr u8 kIsrQueue = 1, kIsrConfig = 2;

}  // namespace emu::hw::virtio
