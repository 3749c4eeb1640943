// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/firmware_setup.h"

#include <algorithm>

#include "hw/intc/local_apic.h"

namespace emu::hw {
namespace {

constexpr u16 kConfigAddress = 0xcf8, kConfigData = 0xcfc, kElcr = 0x4d0;
constexpr unsigned kCommand = 0x04, kHeaderType = 0x0e, kBar0 = 0x10, kInterruptLine = 0x3c;
constexpr u16 kIoEnable = 1, kMemoryEnable = 2, kBusMaster = 4;

u32 config_address(u8 devfn, unsigned reg) { return 0x8000'0000 | u32(devfn) << 8 | (reg & 0xfc); }

/// One BAR that wants an address.
struct Request {
  u8 devfn;
  unsigned reg;
  u64 size;
  bool io, is_64bit;
};

}  // namespace

u32 FirmwareSetup::read32(u8 devfn, unsigned reg) {
  u64 value = 0;
  static_cast<void>(ports_.store(kConfigAddress, 4, config_address(devfn, reg)));
  static_cast<void>(ports_.load(kConfigData, 4, value));
  return u32(value);
}

void FirmwareSetup::config_write(u8 devfn, unsigned reg, u32 value, unsigned bytes) {
  static_cast<void>(ports_.store(kConfigAddress, 4, config_address(devfn, reg)));
  static_cast<void>(ports_.store(kConfigData + (reg & 3), bytes, value));
}

void FirmwareSetup::open_shadow_ram(u8 devfn, unsigned pam0) {
  write8(devfn, pam0, 0x30);
  for (unsigned i = 1; i < 7; i++) write8(devfn, pam0 + i, 0x33);
}

void FirmwareSetup::enable_io(u8 devfn) {
  write16(devfn, kCommand, u16(read32(devfn, kCommand) | kIoEnable));
}

void FirmwareSetup::set_up_keyboard() {
  constexpr u16 kKeyboardData = 0x60, kKeyboardCommand = 0x64;
  constexpr u8 kWriteMode = 0x60, kInterrupt = 0x01, kSystemFlag = 0x04, kMouseOff = 0x20, kTranslate = 0x40;
  static_cast<void>(ports_.store(kKeyboardCommand, 1, kWriteMode));
  static_cast<void>(ports_.store(kKeyboardData, 1, kInterrupt | kSystemFlag | kMouseOff | kTranslate));
}

void FirmwareSetup::set_level_triggered(std::initializer_list<unsigned> irqs) {
  u32 mask = 0;
  for (const unsigned irq : irqs) mask |= bit(irq);
  level_triggered_ = u16(mask);
  static_cast<void>(ports_.store(kElcr, 1, mask & 0xff));
  static_cast<void>(ports_.store(kElcr + 1, 1, mask >> 8));
}

void FirmwareSetup::assign_resources(const PciBus& bus, const Windows& windows,
                                     const std::function<u8(u8, unsigned)>& irq_of) {
  std::vector<Request> requests;
  for (unsigned devfn = 0; devfn < 256; devfn++) {
    if (bus.at(u8(devfn)) == nullptr) continue;
    const unsigned bars = (read32(u8(devfn), kHeaderType & ~3u) >> 16 & 0x7f) == 0 ? 6 : 2;
    for (unsigned bar = 0; bar < bars; bar++) {
      const unsigned reg = kBar0 + bar * 4;
      write32(u8(devfn), reg, ~u32(0));
      const u32 low = read32(u8(devfn), reg);
      if (low == 0) continue;
      Request r{u8(devfn), reg, 0, (low & 1) != 0, (low & 7) == 4};
      u64 mask = low & (r.io ? ~3u : ~15u);
      if (r.is_64bit) {
        write32(u8(devfn), reg + 4, ~u32(0));
        mask |= u64(read32(u8(devfn), reg + 4)) << 32;
        bar++;
      } else {
        mask |= r.io ? 0xffff'ffff'ffff'0000 : 0xffff'ffff'0000'0000;
      }
      r.size = ~mask + 1;
      requests.push_back(r);
    }
    const unsigned pin = read32(u8(devfn), kInterruptLine) >> 8 & 0xff;
    if (pin >= 1 && pin <= 4) write8(u8(devfn), kInterruptLine, irq_of(u8(devfn), pin - 1));
  }
  std::stable_sort(requests.begin(), requests.end(),
                   [](const Request& a, const Request& b) { return a.size > b.size; });
  u64 memory = windows.memory_base, io = windows.io_base;
  for (const Request& r : requests) {
    u64& next = r.io ? io : memory;
    const u64 address = align_up(next, r.size);
    const u64 end = r.io ? 0x10000 : windows.memory_end;
    if (r.size > end || address > end - r.size) continue;  // stays off, as with firmware that runs out of room
    next = address + r.size;
    write32(r.devfn, r.reg, u32(address));
    if (r.is_64bit) write32(r.devfn, r.reg + 4, u32(address >> 32));
    write16(r.devfn, kCommand, u16(read32(r.devfn, kCommand) | (r.io ? kIoEnable : kMemoryEnable) | kBusMaster));
  }
}

void FirmwareSetup::enable_interrupt_delivery(mem::AddressSpace* boot_cpu_memory, target::InterruptChips* chips) {
  if (chips != nullptr && chips->has_local_apics()) return chips->configure_as_firmware(level_triggered_);
  const u64 base = LocalApic::kDefaultBase;
  static_cast<void>(boot_cpu_memory->store(base + LocalApic::SVR, 4, 0x10f));
  static_cast<void>(boot_cpu_memory->store(base + LocalApic::LVT_LINT0, 4, 0x8700));
  static_cast<void>(boot_cpu_memory->store(base + LocalApic::LVT_LINT1, 4, 0x8400));
}

}  // namespace emu::hw
