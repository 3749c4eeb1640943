// SPDX-License-Identifier: Apache-2.0
// Names of SCSI: operation codes, status and sense. SPC-4, SBC-3, MMC-6.
#pragma once

#include "util/types.h"

namespace emu::hw::scsi {

enum Op : u8 {
  TEST_UNIT_READY = 0x00,
  REQUEST_SENSE = 0x03,
  READ_6 = 0x08,
  WRITE_6 = 0x0a,
  SEEK_6 = 0x0b,
  INQUIRY = 0x12,
  MODE_SELECT_6 = 0x15,
  RESERVE_6 = 0x16,
  RELEASE_6 = 0x17,
  MODE_SENSE_6 = 0x1a,
  START_STOP_UNIT = 0x1b,
  SEND_DIAGNOSTIC = 0x1d,
  PREVENT_ALLOW = 0x1e,
  READ_CAPACITY_10 = 0x25,
  READ_10 = 0x28,
  WRITE_10 = 0x2a,
  SEEK_10 = 0x2b,
  WRITE_VERIFY_10 = 0x2e,
  VERIFY_10 = 0x2f,
  PRE_FETCH_10 = 0x34,
  SYNCHRONIZE_CACHE_10 = 0x35,
  WRITE_SAME_10 = 0x41,
  UNMAP = 0x42,
  READ_SUB_CHANNEL = 0x42,  // MMC
  READ_TOC = 0x43,
  GET_CONFIGURATION = 0x46,
  GET_EVENT_STATUS = 0x4a,
  READ_DISC_INFORMATION = 0x51,
  MODE_SELECT_10 = 0x55,
  MODE_SENSE_10 = 0x5a,
  READ_16 = 0x88,
  WRITE_16 = 0x8a,
  WRITE_VERIFY_16 = 0x8e,
  VERIFY_16 = 0x8f,
  PRE_FETCH_16 = 0x90,
  SYNCHRONIZE_CACHE_16 = 0x91,
  WRITE_SAME_16 = 0x93,
  SERVICE_ACTION_IN_16 = 0x9e,
  REPORT_LUNS = 0xa0,
  READ_12 = 0xa8,
  WRITE_12 = 0xaa,
  READ_DVD_STRUCTURE = 0xad,
  WRITE_VERIFY_12 = 0xae,
  VERIFY_12 = 0xaf,
  READ_CD_MSF = 0xb9,
  SET_CD_SPEED = 0xbb,
  MECHANISM_STATUS = 0xbd,
  READ_CD = 0xbe,
};
inline constexpr u8 kReadCapacity16 = 0x10;  // service action

enum Status : u8 { GOOD = 0x00, CHECK_CONDITION = 0x02, BUSY = 0x08, TASK_SET_FULL = 0x28, TASK_ABORTED = 0x40 };

// Sense keys, SPC-4 4.5.6
inline constexpr u8 kNoSense = 0, kNotReady = 2, kMediumError = 3, kHardwareError = 4, kIllegalRequest = 5,
                    kUnitAttention = 6, kDataProtect = 7, kAbortedCommand = 0xb, kMiscompare = 0xe;

}  // namespace emu::hw::scsi

namespace emu::hw {

/// What went wrong: sense key, additional sense code and its qualifier. All zero: nothing.
struct alignas(4) ScsiSense {  // in an atomic without a lock
  u8 key = 0, asc = 0, ascq = 0, unused = 0;
  bool operator==(const ScsiSense&) const = default;
  explicit operator bool() const { return key != 0; }
};

namespace sense {
inline constexpr ScsiSense kNone{};
inline constexpr ScsiSense kNoMedium{scsi::kNotReady, 0x3a, 0x00};
inline constexpr ScsiSense kNoMediumTrayClosed{scsi::kNotReady, 0x3a, 0x01};
inline constexpr ScsiSense kNoMediumTrayOpen{scsi::kNotReady, 0x3a, 0x02};
inline constexpr ScsiSense kReadError{scsi::kMediumError, 0x11, 0x00};
inline constexpr ScsiSense kWriteError{scsi::kMediumError, 0x0c, 0x00};
inline constexpr ScsiSense kTargetFailure{scsi::kHardwareError, 0x44, 0x00};
inline constexpr ScsiSense kParameterListLength{scsi::kIllegalRequest, 0x1a, 0x00};
inline constexpr ScsiSense kInvalidOpcode{scsi::kIllegalRequest, 0x20, 0x00};
inline constexpr ScsiSense kLbaOutOfRange{scsi::kIllegalRequest, 0x21, 0x00};
inline constexpr ScsiSense kInvalidField{scsi::kIllegalRequest, 0x24, 0x00};
inline constexpr ScsiSense kLunNotSupported{scsi::kIllegalRequest, 0x25, 0x00};
inline constexpr ScsiSense kInvalidParameter{scsi::kIllegalRequest, 0x26, 0x00};
inline constexpr ScsiSense kIncompatibleFormat{scsi::kIllegalRequest, 0x30, 0x02};
inline constexpr ScsiSense kSavingNotSupported{scsi::kIllegalRequest, 0x39, 0x00};
inline constexpr ScsiSense kRemovalPrevented{scsi::kIllegalRequest, 0x53, 0x02};
inline constexpr ScsiSense kMediumChanged{scsi::kUnitAttention, 0x28, 0x00};
inline constexpr ScsiSense kReset{scsi::kUnitAttention, 0x29, 0x00};
inline constexpr ScsiSense kCapacityChanged{scsi::kUnitAttention, 0x2a, 0x09};
inline constexpr ScsiSense kWriteProtected{scsi::kDataProtect, 0x27, 0x00};
inline constexpr ScsiSense kSpaceAllocationFailed{scsi::kDataProtect, 0x27, 0x07};
inline constexpr ScsiSense kMiscompare{scsi::kMiscompare, 0x1d, 0x00};
}  // namespace sense

}  // namespace emu::hw
