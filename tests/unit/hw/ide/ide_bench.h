// SPDX-License-Identifier: Apache-2.0
// A PCI machine with RAM and an IDE or AHCI controller, and drives over disks in memory.
#pragma once

#include "hw/pci/i440fx.h"
#include "support/device_bench.h"
#include "support/fake_block_backend.h"

namespace emu::test {

class StorageBench {
 public:
  static constexpr u64 kRam = 4 << 20;
  using Register = std::function<void(qom::TypeRegistry&)>;

  explicit StorageBench(const Register& more) : machine_(registry(more)) {
    auto ram = machine().memory().make_ram("pc.ram", kRam);
    EMU_CHECK(ram.has_value());
    ram_ = *ram;
    auto region = mem::Region::ram(machine().memory(), "pc.ram", ram_);
    machine().system_memory().root()->add(0, region);
    host_ = &hw::place<hw::I440FxHost>(machine());
    host_->set_board({.system = machine().system_memory().root(), .ram = region, .below_4g_bytes = kRam});
    realize(*host_, &machine().system_bus());
  }

  template <typename T>
  T& place_function(const char* address) {
    T& device = hw::place<T>(machine());
    hw::Device& base = device;
    EXPECT_TRUE(base.set("addr", address).has_value());
    realize(device, &host_->pci_bus());
    return device;
  }
  /// A drive of this type over the disk "ID", which is made too unless it has no bytes.
  hw::Device* add_drive(const char* type, hw::Bus& bus, const std::string& id, u64 bytes,
                        std::vector<std::pair<std::string, qom::PropertyValue>> properties = {}) {
    if (bytes != 0) {
      disks[id] = &add_disk(machine().tree(), id, bytes);
      properties.push_back({"drive", id});
    }
    auto plugged = hw::plug_user_device(machine(), type, id, properties, &bus);
    EXPECT_TRUE(plugged.has_value()) << plugged.error().text();
    return plugged ? *plugged : nullptr;
  }
  static void realize(hw::Device& device, hw::Bus* bus) {
    auto realized = device.realize_on(bus);
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
  }
  void reset() { hw::reset_all(*machine().tree().find("/machine")); }

  /// Runs what is queued for the main loop, and what is ready on the disks' own.
  void run() {
    while (!machine().main_loop.empty()) {
      const mem::MachineLockScope guard(machine().memory().lock());
      machine().run_main_loop();
    }
    for (auto& [id, disk] : disks) disk->poll();
  }

  BenchMachine& machine() { return machine_; }
  hw::PciBus& bus() { return host_->pci_bus(); }
  mem::MemTxResult status_of_access = mem::MemTxResult::Ok;
  u64 in(u16 port, unsigned size = 1) {
    u64 value = 0;
    status_of_access = machine().io_ports().load(port, size, value);
    return value;
  }
  void out(u16 port, u64 value, unsigned size = 1) { status_of_access = machine().io_ports().store(port, size, value); }
  u64 load(u64 address, unsigned size) {
    u64 value = 0;
    status_of_access = machine().system_memory().load(address, size, value);
    return value;
  }
  void store(u64 address, u64 value, unsigned size) { status_of_access = machine().system_memory().store(address, size, value); }
  u32 config_read(u8 devfn, unsigned offset, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(devfn) << 8 | (offset & 0xfc), 4);
    return u32(in(u16(0xcfc + (offset & 3)), size));
  }
  void config_write(u8 devfn, unsigned offset, u32 value, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(devfn) << 8 | (offset & 0xfc), 4);
    out(u16(0xcfc + (offset & 3)), value, size);
  }
  std::vector<u8> ram_bytes(u64 address, size_t size) {
    std::vector<u8> bytes(size);
    status_of_access = machine().system_memory().read(address, bytes);
    return bytes;
  }
  void set_ram(u64 address, const std::vector<u8>& bytes) { status_of_access = machine().system_memory().write(address, bytes); }

  /// What `size` bytes of an untouched disk are from `offset` on.
  static std::vector<u8> pattern(u64 offset, size_t size) {
    std::vector<u8> bytes(size);
    for (size_t i = 0; i < size; i++) bytes[i] = FakeBlockBackend::pattern(offset + i);
    return bytes;
  }

  std::map<std::string, FakeBlockBackend*> disks;

 private:
  const qom::TypeRegistry& registry(const Register& more) {
    hw::register_core_types(registry_);
    hw::register_pci_core(registry_);
    hw::register_i440fx(registry_);
    register_fake_backend(registry_);
    more(registry_);
    return registry_;
  }

  qom::TypeRegistry registry_;
  BenchMachine machine_;
  mem::RamRef ram_;
  hw::I440FxHost* host_ = nullptr;
};

}  // namespace emu::test
