// SPDX-License-Identifier: Apache-2.0
// The PCI Express capability structure. PCI Express Base specification 3.0, section 7.8.
#pragma once

#include "hw/pci/pci_config.h"

namespace emu::hw {

/// Device/Port Type of the capabilities register.
enum class ExpressKind : u8 { Endpoint = 0, RootPort = 4, PcieToPciBridge = 7, IntegratedEndpoint = 9 };

namespace express {
/// Offsets from the capability.
enum Reg : unsigned {
  CAPABILITIES = 0x02,
  DEVICE_CAPABILITIES = 0x04,
  DEVICE_CONTROL = 0x08,
  DEVICE_STATUS = 0x0a,
  LINK_CAPABILITIES = 0x0c,
  LINK_CONTROL = 0x10,
  LINK_STATUS = 0x12,
  SLOT_CAPABILITIES = 0x14,
  SLOT_CONTROL = 0x18,
  SLOT_STATUS = 0x1a,
  ROOT_CONTROL = 0x1c,
  ROOT_STATUS = 0x20,
  LINK_CAPABILITIES_2 = 0x2c,
  LINK_CONTROL_2 = 0x30,
};
inline constexpr unsigned kBytes = 0x3c;

inline constexpr u16 kSlotImplemented = bit(8);                                            // CAPABILITIES
inline constexpr u32 kLinkActiveReporting = bit(20);                                       // LINK_CAPABILITIES
inline constexpr u16 kLinkActive = bit(13);                                                // LINK_STATUS
inline constexpr u32 kSlotButton = bit(0), kSlotPowerController = bit(1), kSlotAttentionIndicator = bit(3),
                     kSlotPowerIndicator = bit(4), kSlotHotplug = bit(6);                  // SLOT_CAPABILITIES
inline constexpr u16 kButtonPressed = bit(0), kPresenceChanged = bit(3), kCommandCompleted = bit(4),
                     kPresent = bit(6), kLinkChanged = bit(8);                             // SLOT_STATUS
inline constexpr u16 kHotplugInterrupt = bit(5), kPowerOff = bit(10), kLinkChangedEnable = bit(12),
                     kAttentionOff = 0x00c0, kPowerIndicatorOn = 0x0100, kPowerIndicatorOff = 0x0300;  // SLOT_CONTROL
}  // namespace express

/// Adds the structure (version 2, a link of one lane at 2.5 GT/s) and returns its offset. `port` is the number of a
/// port.
unsigned add_express_capability(PciConfig& config, ExpressKind kind, u8 port = 0);

}  // namespace emu::hw
