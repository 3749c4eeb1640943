// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pci_bridge.h"

#include "hw/core/plug.h"

namespace emu::hw {

using namespace pci;

namespace {

constexpr u64 kVgaFirst = 0xa'0000, kVgaLast = 0xb'ffff;
constexpr u16 kMemoryRegister = 0xfff0;
constexpr u8 kIoRegister = 0xf0;
constexpr u16 kPrefetch64 = 1;
/// All of BRIDGE_CONTROL but what belongs to discard timers and is read-only here.
constexpr u16 kBridgeControlBits = 0x00ff;

}  // namespace

void PciBridge::describe(TypeInfo<PciBridge>& type) { type.category(Category::Bridge); }

std::string PciBridge::bus_name(std::string_view kind) const {
  if (!id().empty()) return id();
  for (unsigned n = 1;; n++) {
    std::string name = fmt::format("{}.{}", kind, n);
    if (find_bus(machine().tree().root(), name) == nullptr) return name;
  }
}

void PciBridge::connect(PciBus& bus) {
  secondary_ = &bus;
  primary_ = &pci_bus();
  own_devfn_ = devfn();
  in_reset_ = false;

  PciConfig& c = config();
  c.allow8(PRIMARY_BUS, 0xff);
  c.allow8(SECONDARY_BUS, 0xff);
  c.allow8(SUBORDINATE_BUS, 0xff);
  c.allow8(SECONDARY_LATENCY, 0xff);
  c.allow8(IO_BASE, kIoRegister);
  c.allow8(IO_LIMIT, kIoRegister);
  c.clears16(SECONDARY_STATUS, kStatusErrors);
  c.allow16(MEMORY_BASE, kMemoryRegister);
  c.allow16(MEMORY_LIMIT, kMemoryRegister);
  c.set16(PREFETCH_BASE, kPrefetch64);
  c.set16(PREFETCH_LIMIT, kPrefetch64);
  c.allow16(PREFETCH_BASE, kMemoryRegister);
  c.allow16(PREFETCH_LIMIT, kMemoryRegister);
  c.allow32(PREFETCH_BASE_HIGH, ~0u);
  c.allow32(PREFETCH_LIMIT_HIGH, ~0u);
  c.allow16(BRIDGE_CONTROL, kBridgeControlBits);

  memory_space_ = mem::Region::container(memory(), bus.name() + "-memory", mem::kWholeAddressSpace);
  port_space_ = mem::Region::container(memory(), bus.name() + "-io", 0x10000);
  static constexpr std::array<const char*, kWindows> kNames = {
      "bridge-io", "bridge-memory", "bridge-prefetch", "bridge-vga", "bridge-vga-io-lo", "bridge-vga-io-hi"};
  for (unsigned i = 0; i < kWindows; i++) {
    const bool io = i == kIo || i == kVgaIoLow || i == kVgaIoHigh;
    windows_[i] = mem::Region::alias(memory(), kNames[i], io ? port_space_ : memory_space_, 0, 0x1000);
  }
  bus.set_spaces(memory_space_, port_space_);
  bus.set_numbers(0, 0);
  // §9.1: what a device behind drives as INTA arrives as the pin that its slot number says.
  bus.set_irqs([](u8 behind, unsigned pin) { return ((behind >> 3) + pin) & 3; },
               {pins_.input(0), pins_.input(1), pins_.input(2), pins_.input(3)});
}

void PciBridge::unrealize() {
  for (mem::RegionRef& window : windows_) {
    window->remove_from_parent();
    window.reset();
  }
  memory_space_.reset();
  port_space_.reset();
  secondary_ = nullptr;
}

/// What passes from the primary to the secondary side, §3.2.5.6 to 3.2.5.10 and §4.
std::optional<PciBridge::Range> PciBridge::range_of(Window window) const {
  const PciConfig& c = config();
  const u16 command = c.get16(COMMAND), control = c.get16(BRIDGE_CONTROL);
  const bool io = window == kIo || window == kVgaIoLow || window == kVgaIoHigh;
  if (!(command & (io ? kCommandIo : kCommandMemory))) return std::nullopt;
  const auto megabytes = [&](unsigned base, unsigned limit, u64 base_high, u64 limit_high) {
    return Range{base_high << 32 | u64(c.get16(base) & kMemoryRegister) << 16,
                 limit_high << 32 | u64(c.get16(limit) & kMemoryRegister) << 16 | 0xf'ffff};
  };
  Range range{};
  switch (window) {
    case kIo:
      range = {u64(c.get8(IO_BASE) & kIoRegister) << 8, u64(c.get8(IO_LIMIT) & kIoRegister) << 8 | 0xfff};
      break;
    case kMemory:
      range = megabytes(MEMORY_BASE, MEMORY_LIMIT, 0, 0);
      break;
    case kPrefetch:
      range = megabytes(PREFETCH_BASE, PREFETCH_LIMIT, c.get32(PREFETCH_BASE_HIGH), c.get32(PREFETCH_LIMIT_HIGH));
      break;
    default:
      if (!(control & kBridgeVga)) return std::nullopt;
      if (window == kVgaMemory) return Range{kVgaFirst, kVgaLast};
      return window == kVgaIoLow ? Range{0x3b0, 0x3bb} : Range{0x3c0, 0x3df};
  }
  if (range.first > range.last) return std::nullopt;
  return range;
}

void PciBridge::place_window(Window window) {
  mem::Region& alias = *windows_[window];
  const auto range = range_of(window);
  const bool io = window == kIo || window == kVgaIoLow || window == kVgaIoHigh;
  if (!range) return alias.remove_from_parent();
  const mem::Size size = mem::Size(range->last) - range->first + 1;
  if (alias.parent() != nullptr && alias.address() == range->first && alias.size() == size) return;
  alias.remove_from_parent();
  alias.set_alias_offset(range->first);
  alias.set_size(size);
  (io ? primary_->ports() : primary_->memory_space()).add(range->first, windows_[window], 1);
}

void PciBridge::refresh() {
  const mem::Transaction transaction(memory());
  for (unsigned i = 0; i < kWindows; i++) place_window(Window(i));
  secondary_->set_numbers(config().get8(SECONDARY_BUS), config().get8(SUBORDINATE_BUS));
}

void PciBridge::config_written(unsigned offset, unsigned size) {
  const bool loaded = offset == 0 && size == config().size();
  refresh();
  const bool reset = (config().get16(BRIDGE_CONTROL) & kBridgeReset) != 0;
  const bool begins = reset && !in_reset_ && !loaded;
  in_reset_ = reset;
  if (begins) reset_bus(*secondary_);
}

namespace {

/// The plain bridge of QEMU's guests, with a chassis number. Deviation: no standard hot-plug controller.
class ChassisBridge final : public PciBridge {
 public:
  ChassisBridge()
      : PciBridge({.vendor = 0x1b36, .device = 0x0001, .class_code = kClassPciBridge, .bridge = true}) {}
  static void describe(TypeInfo<ChassisBridge>& type) {
    type.doc("Standard PCI Bridge");
    type.property("chassis_nr", &ChassisBridge::chassis_, "number of the chassis, 1 to 255");
    type.property("msi", &ChassisBridge::msi_, "message-signalled interrupts");
    type.property("shpc", &ChassisBridge::shpc_, "standard hot-plug controller; there is none");
  }
  Result<void> realize() override {
    if (chassis_ == 0) {
      return error("Bridge chassis not specified. Each bridge is required to be assigned a unique chassis id > 0.");
    }
    if (shpc_ == qom::OnOffAuto::On) return error("pci-bridge: there is no standard hot-plug controller; use shpc=off");
    add_secondary_bus<PciBus>();
    if (msi_ != qom::OnOffAuto::Off) add_msi(1);
    const unsigned slot_id = config().add_capability(kCapSlotId, 4);  // §13: expansion slot, then chassis
    config().set8(slot_id + 3, chassis_);
    return {};
  }

 private:
  u8 chassis_ = 0;
  qom::OnOffAuto msi_ = qom::OnOffAuto::Auto, shpc_ = qom::OnOffAuto::Auto;
};

/// The bridge of ICH chips below the root complex.
class DmiBridge final : public PciBridge {
 public:
  DmiBridge()
      : PciBridge({.vendor = 0x8086, .device = 0x244e, .revision = 0x92, .class_code = kClassPciBridge, .prog_if = 1,
                   .bridge = true}) {}
  static void describe(TypeInfo<DmiBridge>& type) { type.doc("i82801b11 DMI-to-PCI bridge"); }
  Result<void> realize() override {
    add_secondary_bus<PciBus>();
    return {};
  }
};

}  // namespace

void register_pci_bridges(TypeRegistry& registry) {
  registry.add_abstract<PciBridge, PciDevice>();
  registry.add<ChassisBridge>("pci-bridge");
  registry.add<DmiBridge>("i82801b11-bridge");
  register_pcie_ports(registry);
}

}  // namespace emu::hw
