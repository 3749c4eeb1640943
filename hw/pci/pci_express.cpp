// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_express.h"

namespace emu::hw {

using namespace express;

unsigned add_express_capability(PciConfig& config, ExpressKind kind, u8 port) {
  constexpr u16 kVersion = 2;
  constexpr u32 kRoleBasedErrors = bit(15);
  constexpr u16 kRelaxedOrdering = bit(4), kNoSnoop = bit(11), kReadRequest512 = 2 << 12;
  constexpr u16 kSpeed2_5G = 1, kOneLane = 1 << 4;
  constexpr u32 kAspmL0s = bit(10);

  const unsigned at = config.add_capability(pci::kCapExpress, express::kBytes);
  const bool is_port = kind == ExpressKind::RootPort;
  config.set16(at + CAPABILITIES, u16(kVersion | unsigned(kind) << 4));
  config.set32(at + DEVICE_CAPABILITIES, kRoleBasedErrors);
  config.set16(at + DEVICE_CONTROL, kRelaxedOrdering | kNoSnoop | kReadRequest512);
  config.allow16(at + DEVICE_CONTROL, 0x7fff);  // all but the start of a function level reset
  config.clears16(at + DEVICE_STATUS, 0x000f);
  if (kind != ExpressKind::IntegratedEndpoint) {
    config.set32(at + LINK_CAPABILITIES, kSpeed2_5G | kOneLane | kAspmL0s | u32(port) << 24);
    config.allow16(at + LINK_CONTROL, is_port ? 0x00db : 0x00cb);  // ASPM, RCB, link disable, common clock, synch
    config.set16(at + LINK_STATUS, kSpeed2_5G | kOneLane);
    config.set32(at + LINK_CAPABILITIES_2, bit(1));  // 2.5 GT/s and no other
    config.set16(at + LINK_CONTROL_2, kSpeed2_5G);
    config.allow16(at + LINK_CONTROL_2, 0x000f);
  }
  if (is_port) {
    config.allow16(at + ROOT_CONTROL, 0x000f);
    config.clears16(at + ROOT_STATUS + 2, 1);  // PME status
  }
  return at;
}

}  // namespace emu::hw
