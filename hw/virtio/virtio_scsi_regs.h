// SPDX-License-Identifier: Apache-2.0
// What the files of virtio-scsi share. Virtio 1.2, 5.6.6.
#pragma once

#include <optional>

#include "hw/scsi/scsi_bus.h"

namespace emu::hw::virtio_scsi {

enum Response : u8 {
  kResponseOk = 0,
  kResponseOverrun = 1,
  kResponseAborted = 2,
  kResponseBadTarget = 3,
  kResponseReset = 4,
  kResponseTransportFailure = 6,
  kResponseFailure = 9,
  kResponseFunctionSucceeded = 10,
  kResponseFunctionRejected = 11,
  kResponseIncorrectLun = 12,
};

/// 5.6.6.1: byte 0 is 1, then the target, then a single-level LUN. Nothing for what is no place on our bus.
inline std::optional<ScsiAddress> address_of(const u8 (&lun)[8]) {
  if (lun[0] != 1) return std::nullopt;
  return ScsiAddress{0, lun[1], u32(lun[2] << 8 | lun[3]) & 0x3fff};
}

}  // namespace emu::hw::virtio_scsi
