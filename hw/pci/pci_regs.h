// SPDX-License-Identifier: Apache-2.0
// Names of PCI configuration space. PCI Local Bus specification 3.0, chapter 6; PCI Express base specification, 7.5.
#pragma once

#include "util/bits.h"
#include "util/types.h"

namespace emu::hw::pci {

inline constexpr unsigned kConfigBytes = 256, kExpressConfigBytes = 4096;
inline constexpr unsigned kSlots = 32, kFunctions = 8, kBars = 6;
/// Index of the expansion ROM where a BAR is expected.
inline constexpr unsigned kRomBar = 6;

enum Offset : unsigned {
  VENDOR_ID = 0x00,
  DEVICE_ID = 0x02,
  COMMAND = 0x04,
  STATUS = 0x06,
  REVISION_ID = 0x08,
  CLASS_PROG = 0x09,
  CLASS_DEVICE = 0x0a,
  CACHE_LINE_SIZE = 0x0c,
  LATENCY_TIMER = 0x0d,
  HEADER_TYPE = 0x0e,
  BIST = 0x0f,
  BAR0 = 0x10,
  SUBSYSTEM_VENDOR_ID = 0x2c,
  SUBSYSTEM_ID = 0x2e,
  ROM_ADDRESS = 0x30,
  CAPABILITY_LIST = 0x34,
  INTERRUPT_LINE = 0x3c,
  INTERRUPT_PIN = 0x3d,
  MIN_GNT = 0x3e,
  MAX_LAT = 0x3f,
};

/// Of a type 1 header, where it differs. PCI-to-PCI Bridge Architecture specification 1.2, 3.2.
enum BridgeOffset : unsigned {
  PRIMARY_BUS = 0x18,
  SECONDARY_BUS = 0x19,
  SUBORDINATE_BUS = 0x1a,
  SECONDARY_LATENCY = 0x1b,
  IO_BASE = 0x1c,
  IO_LIMIT = 0x1d,
  SECONDARY_STATUS = 0x1e,
  MEMORY_BASE = 0x20,
  MEMORY_LIMIT = 0x22,
  PREFETCH_BASE = 0x24,
  PREFETCH_LIMIT = 0x26,
  PREFETCH_BASE_HIGH = 0x28,
  PREFETCH_LIMIT_HIGH = 0x2c,
  BRIDGE_ROM_ADDRESS = 0x38,
  BRIDGE_CONTROL = 0x3e,
};
// BRIDGE_CONTROL, 3.2.5.18
inline constexpr u16 kBridgeVga = bit(3), kBridgeVga16 = bit(4), kBridgeReset = bit(6);

// COMMAND, 6.2.2
inline constexpr u16 kCommandIo = bit(0), kCommandMemory = bit(1), kCommandMaster = bit(2), kCommandParity = bit(6),
                     kCommandSerr = bit(8), kCommandIntxDisable = bit(10);
// STATUS, 6.2.3
inline constexpr u16 kStatusInterrupt = bit(3), kStatusCapabilities = bit(4), kStatusFastBackToBack = bit(7),
                     kStatusDevselMedium = bit(9), kStatusErrors = 0xf900;
inline constexpr u8 kMultifunction = 0x80, kBridgeHeader = 0x01;  // HEADER_TYPE
inline constexpr u32 kRomEnable = bit(0);   // ROM_ADDRESS

// Capability identifiers, appendix H
inline constexpr u8 kCapSlotId = 0x04, kCapMsi = 0x05, kCapVendor = 0x09, kCapExpress = 0x10, kCapMsix = 0x11;

// Class codes (base << 8 | sub), appendix D
inline constexpr u16 kClassHostBridge = 0x0600, kClassIsaBridge = 0x0601, kClassPciBridge = 0x0604,
                     kClassOtherBridge = 0x0680,
                     kClassVga = 0x0300;

}  // namespace emu::hw::pci
