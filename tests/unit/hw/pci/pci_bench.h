// SPDX-License-Identifier: Apache-2.0
// A machine with a host bridge and a south bridge, and the two configuration ports to reach what is on the bus.
#pragma once

#include "hw/acpi/piix4_pm.h"
#include "hw/isa/piix3.h"
#include "hw/pci/i440fx.h"
#include "support/device_bench.h"

namespace emu::test {

/// A function with one BAR of each kind and a pin.
class TestFunction final : public hw::PciDevice {
 public:
  TestFunction() : PciDevice({.vendor = 0x1234, .device = 0x5678, .revision = 7, .class_code = 0x0780}) {}
  static void describe(hw::TypeInfo<TestFunction>& type) { type.doc("for tests"); }
  Result<void> realize() override {
    const auto make = [&](const char* name, u64 size, u64 answer) {
      return add_region(mem::Region::mmio(
          memory(), name, size, [answer](u64 offset, unsigned) { return answer + offset; },
          [this](u64, u64 value, unsigned) { last_write = value; }));
    };
    add_bar(0, hw::BarKind::Memory32, make("mem32", 0x1000, 0x100));
    add_bar(1, hw::BarKind::Io, make("io", 0x20, 0x20));
    add_bar(2, hw::BarKind::PrefetchableMemory64, make("mem64", 0x4000, 0x400));
    use_interrupt_pin(1);
    config().add_capability(0x05, 10);
    config().add_capability(0x01, 8);
    static_cast<void>(dma());
    return {};
  }
  void pin(bool level) { set_intx(level); }
  mem::AddressSpace& space() { return dma(); }
  u64 last_write = 0;
};

class I440FxBench {
 public:
  static constexpr u64 kRam = 16 << 20;

  I440FxBench() : machine_(registry()) {
    ram_ = machine_.add_ram_region(kRam);
    host_ = &hw::place<hw::I440FxHost>(machine_.machine);
    host_->set_board({.system = machine_.machine.system_memory().root(), .ram = ram_, .below_4g_bytes = kRam});
    realize(*host_, &machine_.machine.system_bus());
    piix3_ = &place_function<hw::Piix3>("01.0", true);
    for (unsigned i = 0; i < hw::IsaBus::kIrqs; i++) piix3_->isa_bus().set_irq(i, {&isa_irqs[i], 0});
    pm_ = &place_function<hw::Piix4Pm>("01.3");
    pm_->irq_out("sci").connect(piix3_->isa_bus().irq(9));
    pm_->irq_out("smi").connect({&smi, 0});
    hw::reset_all(*machine_.machine.tree().find("/machine"));
  }

  template <typename T>
  T& place_function(const char* address, bool multifunction = false) {
    T& device = hw::place<T>(machine_.machine);
    hw::Device& base = device;
    EXPECT_TRUE(base.set("addr", address).has_value());
    EXPECT_TRUE(base.set("multifunction", multifunction).has_value());
    realize(device, &host_->pci_bus());
    hw::reset_device(device);
    return device;
  }
  static void realize(hw::Device& device, hw::Bus* bus) {
    auto realized = device.realize_on(bus);
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
  }

  BenchMachine& machine() { return machine_.machine; }
  /// For tests with types of their own.
  qom::TypeRegistry& types() { return registry_; }
  hw::I440FxHost& host() { return *host_; }
  hw::PciBus& bus() { return host_->pci_bus(); }
  hw::Piix3& piix3() { return *piix3_; }
  hw::Piix4Pm& pm() { return *pm_; }
  mem::RamRef ram() { return ram_->ram_block(); }

  u64 in(u16 port, unsigned size) {
    u64 value = 0;
    status = machine().io_ports().load(port, size, value);
    return value;
  }
  void out(u16 port, u64 value, unsigned size) { status = machine().io_ports().store(port, size, value); }
  u64 load(u64 address, unsigned size) {
    u64 value = 0;
    status = machine().system_memory().load(address, size, value);
    return value;
  }
  void store(u64 address, u64 value, unsigned size) { status = machine().system_memory().store(address, size, value); }
  u32 config_read(u8 devfn, unsigned offset, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(devfn) << 8 | (offset & 0xfc), 4);
    return u32(in(u16(0xcfc + (offset & 3)), size));
  }
  void config_write(u8 devfn, unsigned offset, u32 value, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(devfn) << 8 | (offset & 0xfc), 4);
    out(u16(0xcfc + (offset & 3)), value, size);
  }

  IrqProbe isa_irqs[hw::IsaBus::kIrqs];
  IrqProbe smi;
  mem::MemTxResult status = mem::MemTxResult::Ok;

 private:
  struct Holder {
    explicit Holder(const qom::TypeRegistry& registry) : machine(registry) {}
    mem::RegionRef add_ram_region(u64 size) {
      auto ram = machine.memory().make_ram("pc.ram", size);
      EMU_CHECK(ram.has_value());
      auto region = mem::Region::ram(machine.memory(), "pc.ram", *ram);
      machine.system_memory().root()->add(0, region);
      return region;
    }
    BenchMachine machine;
  };
  qom::TypeRegistry& registry() {
    hw::register_core_types(registry_);
    hw::register_pci_core(registry_);
    hw::register_i440fx(registry_);
    hw::register_piix3(registry_);
    hw::register_piix4_pm(registry_);
    registry_.add<TestFunction>("test-function");
    return registry_;
  }

  qom::TypeRegistry registry_;
  Holder machine_;
  mem::RegionRef ram_;
  hw::I440FxHost* host_ = nullptr;
  hw::Piix3* piix3_ = nullptr;
  hw::Piix4Pm* pm_ = nullptr;
};

}  // namespace emu::test
