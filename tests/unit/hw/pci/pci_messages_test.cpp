// SPDX-License-Identifier: Apache-2.0
// MSI and MSI-X of PCI functions, seen by the guest and by models.
#include <gtest/gtest.h>

#include "hw/intc/local_apic.h"
#include "unit/hw/pci/pci_bench.h"

namespace emu::hw {
namespace {

using test::I440FxBench;

constexpr u8 kDevfn = 3 << 3;
constexpr u64 kTable = 0xe000'0000, kPending = kTable + 0x800;
constexpr u64 kMailbox = 0x1000;  // RAM: messages are writes
constexpr unsigned kMsi = 0x40, kMsix = 0x58;

class MessageFunction final : public PciDevice {
 public:
  MessageFunction() : PciDevice({.vendor = 0x1234, .device = 0x5679, .class_code = 0x0780}) {}
  static void describe(TypeInfo<MessageFunction>& type) { type.doc("for tests"); }
  Result<void> realize() override {
    use_interrupt_pin(1);
    add_msi(4);
    add_msix(40, 0);
    return {};
  }
  void message_vectors_changed() override { changes++; }
  using PciDevice::notify_msi;
  using PciDevice::notify_msix;
  using PciDevice::set_intx;
  using PciDevice::uses_msi;
  using PciDevice::uses_msix;
  unsigned changes = 0;
};

class MessageBench : public I440FxBench {
 public:
  MessageBench() {
    types().add<MessageFunction>("message-function");
    function_ = &place_function<MessageFunction>("03.0");
    config_write(kDevfn, 0x10, u32(kTable), 4);
    config_write(kDevfn, 4, pci::kCommandMemory | pci::kCommandMaster, 2);
  }
  void enable_msi(unsigned log2_vectors = 0) {
    config_write(kDevfn, kMsi + 4, kMailbox, 4);
    config_write(kDevfn, kMsi + 12, 0x60, 2);
    config_write(kDevfn, kMsi + 2, 1 | log2_vectors << 4, 2);
  }
  void enable_msix(u32 control = 0x8000) { config_write(kDevfn, kMsix + 2, control, 2); }
  void set_entry(unsigned vector, u64 address, u32 data, u32 control) {
    store(kTable + vector * 16, u32(address), 4);
    store(kTable + vector * 16 + 4, address >> 32, 4);
    store(kTable + vector * 16 + 8, data, 4);
    store(kTable + vector * 16 + 12, control, 4);
  }
  u32 take_mail() {
    const u32 value = u32(load(kMailbox, 4));
    store(kMailbox, 0, 4);
    return value;
  }
  MessageFunction& function() { return *function_; }

 private:
  MessageFunction* function_ = nullptr;
};

TEST(Msi, CapabilityDescribesItself) {
  MessageBench bench;
  EXPECT_EQ(bench.config_read(kDevfn, kMsi, 1), 0x05u);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 2, 2), 0x0184u);  // per-vector masks, 64 bits, four vectors
  bench.config_write(kDevfn, kMsi + 2, 0xffff, 2);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 2, 2), 0x01f5u);
  bench.config_write(kDevfn, kMsi + 16, ~0u, 4);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 16, 4), 0xfu);
  bench.config_write(kDevfn, kMsi + 20, ~0u, 4);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 20, 4), 0u);
  bench.config_write(kDevfn, kMsi + 4, ~0u, 4);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 4, 4), ~3u);
}

TEST(Msi, SendsNothingUntilEnabled) {
  MessageBench bench;
  bench.function().notify_msi(0);
  EXPECT_FALSE(bench.function().uses_msi());
  EXPECT_EQ(bench.take_mail(), 0u);
}

TEST(Msi, VectorIsInTheLowBitsThatTheGuestAllocated) {
  MessageBench bench;
  bench.enable_msi(2);
  EXPECT_TRUE(bench.function().uses_msi());
  bench.function().notify_msi(3);
  EXPECT_EQ(bench.take_mail(), 0x63u);
  bench.enable_msi(0);
  bench.function().notify_msi(3);
  EXPECT_EQ(bench.take_mail(), 0x60u);
}

TEST(Msi, MaskedVectorIsPendingUntilUnmasked) {
  MessageBench bench;
  bench.enable_msi(2);
  bench.config_write(kDevfn, kMsi + 16, 2, 4);
  bench.function().notify_msi(1);
  EXPECT_EQ(bench.take_mail(), 0u);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 20, 4), 2u);
  bench.config_write(kDevfn, kMsi + 16, 0, 4);
  EXPECT_EQ(bench.take_mail(), 0x61u);
  EXPECT_EQ(bench.config_read(kDevfn, kMsi + 20, 4), 0u);
}

TEST(Msi, NeedsBusMastering) {
  MessageBench bench;
  bench.enable_msi();
  bench.config_write(kDevfn, 4, pci::kCommandMemory, 2);
  bench.function().notify_msi(0);
  EXPECT_EQ(bench.take_mail(), 0u);
}

TEST(Msi, ReleasesThePin) {
  MessageBench bench;
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 11, 1);
  bench.function().set_intx(true);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
  EXPECT_TRUE(bench.config_read(kDevfn, 6, 2) & pci::kStatusInterrupt);
  bench.enable_msi();
  EXPECT_FALSE(bench.isa_irqs[11].is_high());
  bench.config_write(kDevfn, kMsi + 2, 0, 2);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
}

TEST(Msi, MessageToADeviceIsDropped) {
  MessageBench bench;
  bench.enable_msi();
  bench.config_write(kDevfn, kMsi + 4, u32(kTable), 4);
  bench.function().notify_msi(0);
  EXPECT_EQ(bench.load(kTable, 4), 0u);
}

TEST(Msi, StateSurvivesARoundTrip) {
  MessageBench bench;
  bench.enable_msi(2);
  bench.config_write(kDevfn, kMsi + 16, 2, 4);
  bench.function().notify_msi(1);
  Device& device = bench.function();
  const qom::FieldTree saved = device.save();
  reset_device(device);
  EXPECT_FALSE(bench.function().uses_msi());
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(device.save().dump(), saved.dump());
  EXPECT_TRUE(bench.function().uses_msi());
  bench.config_write(kDevfn, kMsi + 16, 0, 4);
  EXPECT_EQ(bench.take_mail(), 0x61u);
}

TEST(Msix, CapabilityAndBarDescribeThemselves) {
  MessageBench bench;
  EXPECT_EQ(bench.config_read(kDevfn, kMsix, 1), 0x11u);
  EXPECT_EQ(bench.config_read(kDevfn, kMsix + 2, 2), 39u);
  EXPECT_EQ(bench.config_read(kDevfn, kMsix + 4, 4), 0u);
  EXPECT_EQ(bench.config_read(kDevfn, kMsix + 8, 4), 0x800u);
  bench.config_write(kDevfn, 0x10, ~0u, 4);
  EXPECT_EQ(bench.config_read(kDevfn, 0x10, 4), 0xffff'f000u);
}

TEST(Msix, EntriesStartMasked) {
  MessageBench bench;
  EXPECT_EQ(bench.load(kTable + 12, 4), 1u);
  bench.set_entry(39, 0x1'2345'6789, 0xabcd, ~0u);
  EXPECT_EQ(bench.load(kTable + 39 * 16, 8), 0x1'2345'6788u);
  EXPECT_EQ(bench.load(kTable + 39 * 16 + 8, 8), 0x1'0000'abcdu);
  EXPECT_EQ(bench.load(kTable + 40 * 16, 4), ~0u);  // behind the table
}

TEST(Msix, SendsItsEntry) {
  MessageBench bench;
  bench.enable_msix();
  bench.set_entry(5, kMailbox, 0x1234'5678, 0);
  EXPECT_TRUE(bench.function().uses_msix());
  EXPECT_GT(bench.function().changes, 0u);
  bench.function().notify_msix(5);
  EXPECT_EQ(bench.take_mail(), 0x1234'5678u);
}

TEST(Msix, MaskedVectorIsPendingUntilUnmasked) {
  MessageBench bench;
  bench.enable_msix();
  bench.set_entry(33, kMailbox, 0x77, 1);
  bench.function().notify_msix(33);
  EXPECT_EQ(bench.take_mail(), 0u);
  EXPECT_EQ(bench.load(kPending + 4, 4), 2u);
  bench.set_entry(33, kMailbox, 0x77, 0);
  EXPECT_EQ(bench.take_mail(), 0x77u);
  EXPECT_EQ(bench.load(kPending, 8), 0u);
}

TEST(Msix, MaskOfTheFunctionHoldsAll) {
  MessageBench bench;
  bench.enable_msix(0xc000);
  bench.set_entry(1, kMailbox, 0x99, 0);
  bench.function().notify_msix(1);
  EXPECT_EQ(bench.take_mail(), 0u);
  bench.enable_msix(0x8000);
  EXPECT_EQ(bench.take_mail(), 0x99u);
}

TEST(Msix, StateSurvivesARoundTrip) {
  MessageBench bench;
  bench.enable_msix();
  bench.set_entry(2, kMailbox, 0x42, 1);
  bench.function().notify_msix(2);
  Device& device = bench.function();
  const qom::FieldTree saved = device.save();
  reset_device(device);
  EXPECT_FALSE(bench.function().uses_msix());
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(device.save().dump(), saved.dump());
  bench.set_entry(2, kMailbox, 0x42, 0);
  EXPECT_EQ(bench.take_mail(), 0x42u);
}

TEST(Msix, LargeTableGetsAPageForItsPendingBits) {
  PciConfig config;
  const MsixTable table(config, 2048, 1, 0, 0x8000);
  EXPECT_EQ(table.table_bytes(), 0x8000u);
  EXPECT_EQ(table.pending_bytes(), 256u);
  EXPECT_EQ(config.get32(0x44), 1u);
  EXPECT_EQ(config.get32(0x48), 0x8001u);
}

/// As boards wire it: what devices write to 0xfee00000..0xfeefffff goes to the APIC bus.
void take_messages(I440FxBench& bench, ApicBus& bus) {
  bench.machine().system_memory().root()->add(
      0xfee0'0000, mem::Region::mmio(bench.machine().memory(), "apic-msi", 0x10'0000, {},
                                     [&bus](u64 offset, u64 value, unsigned) {
                                       bus.deliver_msi(0xfee0'0000 + offset, u32(value));
                                     },
                                     {.valid = {4, 4}, .impl = {4, 4}, .locking = mem::Locking::None}));
}

struct QuietCpu final : target::CpuSignals {
  void set_interrupt(bool level) override { interrupt = level; }
  void nmi() override { nmis++; }
  void smi() override {}
  void init() override {}
  void startup(u8) override {}
  bool interrupt = false;
  unsigned nmis = 0;
};

TEST(Msix, MessageReachesTheLocalApicItNames) {
  ApicBus bus;
  QuietCpu cpus[2];
  MessageBench bench;
  take_messages(bench, bus);
  LocalApic* apics[2];
  bench.types().add<LocalApic>("apic");
  for (unsigned i = 0; i < 2; i++) {
    apics[i] = &place<LocalApic>(bench.machine());
    auto root = mem::Region::container(bench.machine().memory(), "cpu", mem::kWholeAddressSpace);
    apics[i]->wire(bus, cpus[i], i, i == 0, root, nullptr);
    I440FxBench::realize(*apics[i], &bench.machine().system_bus());
    reset_device(*apics[i]);
    bus.add(*apics[i]);
    static_cast<void>(apics[i]->region("").get()->mmio_write(LocalApic::SVR, 0x1ff, 4, {}));
  }
  bench.enable_msix();
  bench.set_entry(0, 0xfee0'1000, 0x0045, 0);  // fixed, physical, CPU 1
  bench.set_entry(1, 0xfee0'0000, 0x0400, 0);  // NMI to CPU 0
  bench.function().notify_msix(0);
  EXPECT_FALSE(cpus[0].interrupt);
  EXPECT_TRUE(cpus[1].interrupt);
  EXPECT_EQ(apics[1]->acknowledge(), 0x45);
  bench.function().notify_msix(1);
  EXPECT_EQ(cpus[0].nmis, 1u);
  EXPECT_EQ(cpus[1].nmis, 0u);
}

}  // namespace
}  // namespace emu::hw
