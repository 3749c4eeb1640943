// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/register.h"

#include "hw/virtio/vhost/vhost_user_blk.h"
#include "hw/virtio/vhost/vhost_user_fs.h"
#include "hw/virtio/vhost/vhost_vsock.h"
#include "hw/virtio/virtio_9p.h"
#include "hw/virtio/virtio_balloon.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_mmio.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_rng.h"
#include "hw/virtio/virtio_scsi.h"
#include "hw/virtio/virtio_serial.h"

namespace emu::hw {
namespace {

template <typename Backend>
void add(TypeRegistry& registry, const std::string& name, Category category, const std::string& option_rom = {},
         VirtioPciNames names = VirtioPciNames::All) {
  registry.add<Backend>(Backend::kDeviceType);
  register_virtio_pci<Backend>(registry, name, category, option_rom, names);
}

}  // namespace

void register_virtio(TypeRegistry& registry) {
  register_virtio_core(registry);
  register_virtio_mmio(registry);
  register_virtio_pci_base(registry);
  add<VirtioBlk>(registry, "virtio-blk", Category::Storage);
  add<VirtioScsi>(registry, "virtio-scsi", Category::Storage);
  add<VirtioNet>(registry, "virtio-net", Category::Network, "efi-virtio.rom");
  register_virtio_serial_ports(registry);
  add<VirtioSerial>(registry, "virtio-serial", Category::Input);
  add<VirtioBalloon>(registry, "virtio-balloon", Category::Misc);
  register_fsdev(registry);
  add<Virtio9p>(registry, "virtio-9p", Category::Storage);
  add<VirtioRng>(registry, "virtio-rng", Category::Misc);
  registry.add_abstract<VhostUserDevice, VirtioDevice>();
  add<VhostUserBlk>(registry, "vhost-user-blk", Category::Storage);
  add<VhostUserFs>(registry, "vhost-user-fs", Category::Storage, {}, VirtioPciNames::Plain);
  add<VhostVsock>(registry, "vhost-vsock", Category::Misc, {}, VirtioPciNames::PlainAndNonTransitional);
}

}  // namespace emu::hw
