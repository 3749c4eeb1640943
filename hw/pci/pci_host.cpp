// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_host.h"

#include "util/log.h"

namespace emu::hw {
namespace {
constexpr u32 kEnable = bit(31);
constexpr u64 kResetPortOffset = 1;  // 0xcf9
}  // namespace

void PciHostBridge::describe(TypeInfo<PciHostBridge>& type) {
  type.category(Category::Bridge);
  type.region("pci-conf-idx", 4, &PciHostBridge::read_address, &PciHostBridge::write_address,
              {.valid = {1, 4}, .impl = {1, 4}});
  type.region("pci-conf-data", 4, &PciHostBridge::read_data, &PciHostBridge::write_data,
              {.valid = {1, 4}, .impl = {1, 4}});
  type.saved(1, &PciHostBridge::state_, &PciHostBridge::fields);
}

void PciHostBridge::map_config_ports() {
  map_ports("pci-conf-idx", kAddressPort);
  map_ports("pci-conf-data", kDataPort);
}

PciDevice* PciHostBridge::target(u8 bus, u8 devfn) const {
  PciBus* found = root_bus_->find(bus);
  return found == nullptr ? nullptr : found->at(devfn);
}

u64 PciHostBridge::read_address(u64 offset, unsigned size) {
  if (offset == 0 && size == 4) return state_.address;
  if (offset == kResetPortOffset && size == 1 && reset_port_.read) return reset_port_.read();
  return ~u64(0);  // only a dword access reaches the register, §3.2.2.3.2
}

void PciHostBridge::write_address(u64 offset, u64 value, unsigned size) {
  if (offset == 0 && size == 4)
    state_.address = u32(value) & (kEnable | 0x00ff'fffc);
  else if (offset == kResetPortOffset && size == 1 && reset_port_.write)
    reset_port_.write(u8(value));
}

u64 PciHostBridge::read_data(u64 offset, unsigned size) {
  if (!(state_.address & kEnable)) return ~u64(0);
  PciDevice* device = target(u8(state_.address >> 16), u8(state_.address >> 8));
  return device == nullptr ? ~u64(0) : device->config_read((state_.address & 0xfc) + unsigned(offset), size);
}

void PciHostBridge::write_data(u64 offset, u64 value, unsigned size) {
  if (!(state_.address & kEnable)) return;
  PciDevice* device = target(u8(state_.address >> 16), u8(state_.address >> 8));
  if (device != nullptr) device->config_write((state_.address & 0xfc) + unsigned(offset), size, u32(value));
}

mem::RegionRef PciHostBridge::make_ecam(unsigned buses) {
  const auto device_at = [this](u64 offset) { return target(u8(offset >> 20), u8(offset >> 12)); };
  return mem::Region::mmio(
      memory(), "pcie-mmcfg-mmio", u64(buses) << 20,
      [device_at](u64 offset, unsigned size) -> u64 {
        PciDevice* device = device_at(offset);
        return device == nullptr ? ~u64(0) : device->config_read(unsigned(offset & 0xfff), size);
      },
      [device_at](u64 offset, u64 value, unsigned size) {
        if (PciDevice* device = device_at(offset)) device->config_write(unsigned(offset & 0xfff), size, u32(value));
      },
      {.valid = {1, 4}, .impl = {1, 4}});
}

}  // namespace emu::hw
