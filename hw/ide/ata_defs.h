// SPDX-License-Identifier: Apache-2.0
// Names of ATA: registers, status bits, commands. ATA8-ACS (T13/1699-D), ATA/ATAPI-7.
#pragma once

#include "util/bits.h"
#include "util/types.h"

namespace emu::hw::ata {

// Status
inline constexpr u8 BSY = 0x80, DRDY = 0x40, DF = 0x20, DSC = 0x10, DRQ = 0x08, ERR = 0x01;
// Error
inline constexpr u8 ABRT = 0x04, IDNF = 0x10, UNC = 0x40, ICRC = 0x80;
// Device
inline constexpr u8 kDeviceLba = 0x40, kDevice1 = 0x10;
// Device control
inline constexpr u8 kControlNien = 0x02, kControlSrst = 0x04, kControlHob = 0x80;
// Interrupt reason (count register) of PACKET
inline constexpr u8 kReasonCommand = 0x01, kReasonIn = 0x02;

enum Command : u8 {
  NOP = 0x00,
  DATA_SET_MANAGEMENT = 0x06,
  DEVICE_RESET = 0x08,
  RECALIBRATE = 0x10,
  READ_SECTORS = 0x20,
  READ_SECTORS_NO_RETRY = 0x21,
  READ_SECTORS_EXT = 0x24,
  READ_DMA_EXT = 0x25,
  READ_NATIVE_MAX_EXT = 0x27,
  READ_MULTIPLE_EXT = 0x29,
  READ_LOG_EXT = 0x2f,
  WRITE_SECTORS = 0x30,
  WRITE_SECTORS_NO_RETRY = 0x31,
  WRITE_SECTORS_EXT = 0x34,
  WRITE_DMA_EXT = 0x35,
  WRITE_MULTIPLE_EXT = 0x39,
  WRITE_VERIFY = 0x3c,
  WRITE_DMA_FUA_EXT = 0x3d,
  READ_VERIFY = 0x40,
  READ_VERIFY_NO_RETRY = 0x41,
  READ_VERIFY_EXT = 0x42,
  READ_FPDMA_QUEUED = 0x60,
  WRITE_FPDMA_QUEUED = 0x61,
  SEEK = 0x70,
  EXECUTE_DEVICE_DIAGNOSTIC = 0x90,
  INITIALIZE_DEVICE_PARAMETERS = 0x91,
  STANDBY_IMMEDIATE_OLD = 0x94,
  IDLE_IMMEDIATE_OLD = 0x95,
  STANDBY_OLD = 0x96,
  IDLE_OLD = 0x97,
  CHECK_POWER_MODE_OLD = 0x98,
  SLEEP_OLD = 0x99,
  PACKET = 0xa0,
  IDENTIFY_PACKET_DEVICE = 0xa1,
  SMART = 0xb0,
  READ_MULTIPLE = 0xc4,
  WRITE_MULTIPLE = 0xc5,
  SET_MULTIPLE_MODE = 0xc6,
  READ_DMA = 0xc8,
  READ_DMA_NO_RETRY = 0xc9,
  WRITE_DMA = 0xca,
  WRITE_DMA_NO_RETRY = 0xcb,
  WRITE_MULTIPLE_FUA_EXT = 0xce,
  STANDBY_IMMEDIATE = 0xe0,
  IDLE_IMMEDIATE = 0xe1,
  STANDBY = 0xe2,
  IDLE = 0xe3,
  CHECK_POWER_MODE = 0xe5,
  SLEEP = 0xe6,
  FLUSH_CACHE = 0xe7,
  FLUSH_CACHE_EXT = 0xea,
  IDENTIFY_DEVICE = 0xec,
  SET_FEATURES = 0xef,
  READ_NATIVE_MAX = 0xf8,
};

inline constexpr unsigned kSector = 512;

}  // namespace emu::hw::ata
