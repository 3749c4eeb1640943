// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/firmware_setup.h"

#include "hw/intc/local_apic.h"

namespace emu::hw {
namespace {

constexpr u16 kConfigAddress = 0xcf8, kConfigData = 0xcfc, kElcr = 0x4d0;
constexpr unsigned kCommand = 0x04;
constexpr u16 kIoEnable = 1;

u32 config_address(u16 function, unsigned reg) { return 0x8000'0000 | u32(function) << 8 | (reg & 0xfc); }

}  // namespace

u32 FirmwareSetup::read32(u16 function, unsigned reg) {
  u64 value = 0;
  static_cast<void>(ports_.store(kConfigAddress, 4, config_address(function, reg)));
  static_cast<void>(ports_.load(kConfigData, 4, value));
  return u32(value);
}

void FirmwareSetup::config_write(u16 function, unsigned reg, u32 value, unsigned bytes) {
  static_cast<void>(ports_.store(kConfigAddress, 4, config_address(function, reg)));
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

void FirmwareSetup::enable_interrupt_delivery(mem::AddressSpace* boot_cpu_memory, target::InterruptChips* chips) {
  if (chips != nullptr && chips->has_local_apics()) return chips->configure_as_firmware(level_triggered_);
  const u64 base = LocalApic::kDefaultBase;
  static_cast<void>(boot_cpu_memory->store(base + LocalApic::SVR, 4, 0x10f));
  static_cast<void>(boot_cpu_memory->store(base + LocalApic::LVT_LINT0, 4, 0x8700));
  static_cast<void>(boot_cpu_memory->store(base + LocalApic::LVT_LINT1, 4, 0x8400));
}

}  // namespace emu::hw
