// SPDX-License-Identifier: Apache-2.0
#include "fuzz/fuzz_machine.h"

#include "fuzz/fuzz_seen.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/block/pflash.h"
#include "hw/char/chardev_object.h"
#include "hw/char/debugcon.h"
#include "hw/char/serial_16550.h"
#include "hw/char/serial_pci.h"
#include "hw/core/loader.h"
#include "hw/display/vga.h"
#include "hw/ide/ahci.h"
#include "hw/ide/piix3_ide.h"
#include "hw/input/i8042.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/ich9_lpc.h"
#include "hw/isa/piix3.h"
#include "hw/misc/debug_exit.h"
#include "hw/misc/edu.h"
#include "hw/misc/fpu_error.h"
#include "hw/misc/port92.h"
#include "hw/misc/pvpanic.h"
#include "hw/net/e1000.h"
#include "hw/net/e1000e.h"
#include "hw/net/rtl8139.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/pcie_port.h"
#include "hw/pci/q35.h"
#include "hw/rtc/mc146818.h"
#include "hw/scsi/scsi_bus.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/virtio/register.h"
#include "hw/virtio/virtio_mmio.h"
#include "hw/virtio/virtio_serial.h"
#include "net/register.h"
#include "qom/user_creatable.h"

namespace emu::fuzz {
namespace {

namespace pci = hw::pci;

constexpr unsigned kMostConfigBytes = 4096;
constexpr u8 kModeQ35 = 1, kModePacked = 2, kModeInOrder = 4, kModeModern = 8, kModeEvents = 16;

void register_all(qom::TypeRegistry& registry) {
  hw::register_core_types(registry);
  hw::register_chardev_object(registry);
  net::register_net_types(registry);
  test::register_fake_backend(registry);
  hw::register_pci_core(registry);
  hw::register_i440fx(registry);
  hw::register_piix3(registry);
  hw::register_piix4_pm(registry);
  hw::register_q35(registry);
  hw::register_ich9_lpc(registry);
  hw::register_pflash(registry);
  hw::register_ide_drives(registry);
  hw::register_piix3_ide(registry);
  hw::register_ahci(registry);
  hw::register_scsi_devices(registry);
  hw::register_vga(registry);
  hw::register_fw_cfg(registry);
  hw::register_i8259(registry);
  hw::register_ioapic(registry);
  hw::register_local_apic(registry);
  hw::register_i8254(registry);
  hw::register_hpet(registry);
  hw::register_mc146818(registry);
  hw::register_i8042(registry);
  hw::register_port92(registry);
  hw::register_fpu_error(registry);
  hw::register_serial(registry);
  hw::register_pci_serial(registry);
  hw::register_loader(registry);
  hw::register_debugcon(registry);
  hw::register_debug_exit(registry);
  hw::register_pvpanic(registry);
  hw::register_nic_core(registry);
  hw::register_e1000(registry);
  hw::register_e1000e(registry);
  hw::register_rtl8139(registry);
  hw::register_edu(registry);
  hw::register_virtio(registry);
}

/// Made by their host bridge, which is what is asked for.
bool is_part_of_another(const std::string& name) { return name == "i440FX" || name == "mch"; }

/// The device that a bus of this kind needs around it.
std::string host_for(const std::string& bus_type) {
  if (bus_type == "IDE") return "piix3-ide";
  if (bus_type == "SCSI") return "virtio-scsi-pci";
  if (bus_type == "virtio-serial-bus") return "virtio-serial-pci";
  if (bus_type == "virtio-bus") return "virtio-mmio";
  return {};
}

/// A bus of that kind of the device, or of the one inside it (a virtio function's).
hw::Bus* child_bus(hw::Device& device, const std::string& type) {
  for (hw::Bus* bus : device.child_buses()) {
    if (bus->type().is_a(type)) return bus;
    for (hw::Device* inside : bus->devices()) {
      if (hw::Bus* found = child_bus(*inside, type)) return found;
    }
  }
  return nullptr;
}

/// A guest's accesses may fail as they like.
void ignore(mem::MemTxResult) {}

/// What a CPU would be told.
class Signals final : public target::CpuSignals {
 public:
  void set_interrupt(bool) override {}
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void startup(u8) override {}
};

}  // namespace

const qom::TypeRegistry& device_types() {
  static const auto* types = [] {
    auto* made = new qom::TypeRegistry;
    register_all(*made);
    return made;
  }();
  return *types;
}

std::vector<std::string> fuzzed_devices() {
  std::vector<std::string> names;
  for (const qom::Type* type : device_types().list(hw::Device::kTypeName)) {
    // There is no host adapter for them yet; target fuzz_scsi has what is behind them.
    if (hw::bus_type_of(*type) == "SCSI" && device_types().find(host_for("SCSI")) == nullptr) continue;
    if (!is_part_of_another(type->name())) names.push_back(type->name());
  }
  return names;
}

// Making it. ---------------------------------------------------------------------------------------------------------

/// What boards wire up and the device keeps references to: goes after the devices.
struct Machine::Wired {
  hw::ApicBus apics;
  Signals cpu;
};

Machine::Machine(const std::string& device, u8 mode)
    : wired_(std::make_unique<Wired>()), machine_(std::make_unique<test::BenchMachine>(device_types())) {
  made_ = make(device, mode);
}

Machine::~Machine() {
  run_loops();
  for (test::FakeBlockBackend* disk : disks_) {
    disk->release();
    disk->poll();
  }
  run_loops();
  {
    const mem::MachineLockScope guard(machine_->memory().lock());
    // Children were plugged last.
    for (auto device = devices_.rbegin(); device != devices_.rend(); ++device) {
      if ((*device)->is_realized()) (*device)->unrealize_all();
    }
  }
  run_loops();
  ram_.reset();
  regions_.clear();
  machine_.reset();
}

Result<void> Machine::make(const std::string& name, u8 mode) {
  const mem::MachineLockScope guard(machine_->memory().lock());
  const qom::Type* type = EMU_TRY(device_types().require(name));
  const std::string bus = hw::bus_type_of(*type);
  const bool chipset = name == "PIIX3" || name == "PIIX4_PM" || name == "piix3-ide" || name == "i440FX-pcihost";
  const bool express = bus == "PCIE" || name == "ICH9-LPC" || name == "q35-pcihost";
  make_boards(express || ((mode & kModeQ35) != 0 && !chipset));
  if (name.find("-pcihost") == std::string::npos && name != "PIIX3") {
    hw::Bus* place = EMU_TRY(bus_for(*type, mode));
    EMU_TRY(plug(name, place, mode));
  }
  if (devices_.empty()) return error("nothing was made");
  // What hangs on a controller is a part of what a guest reaches through it.
  hw::Device& last = *devices_.back();
  if (hw::Bus* drives = child_bus(last, "IDE")) {
    EMU_TRY(plug("ide-hd", drives, mode));
    EMU_TRY(plug("ide-cd", last.child_buses().back() == drives ? drives : last.child_buses()[1], mode));
  } else if (hw::Bus* ports = child_bus(last, "virtio-serial-bus")) {
    EMU_TRY(plug("virtconsole", ports, mode));
    EMU_TRY(plug("virtserialport", ports, mode));
  } else if (hw::Bus* units = child_bus(last, "SCSI")) {
    EMU_TRY(plug("scsi-hd", units, mode));
    EMU_TRY(plug("scsi-cd", units, mode));
  }
  hw::reset_all(*machine_->tree().find("/machine"));
  for (hw::Device* device : devices_) collect(*device);
  for (hw::PciDevice* function : functions_) map_bars(*function);
  return {};
}

void Machine::make_boards(bool q35) {
  auto ram = machine_->memory().make_ram("pc.ram", kRamBytes);
  EMU_CHECK(ram.has_value());
  ram_ = mem::Region::ram(machine_->memory(), "pc.ram", *ram);
  machine_->system_memory().root()->add(0, ram_);
  const hw::HostBridgeMemory board{
      .system = machine_->system_memory().root(), .ram = ram_, .below_4g_bytes = kRamBytes};
  const auto realize = [this](hw::Device& device, hw::Bus* bus) {
    connect_outputs(device);
    EMU_CHECK(device.realize_on(bus).has_value());
    devices_.push_back(&device);
  };
  if (q35) {
    auto& host = hw::place<hw::Q35Host>(*machine_);
    host.set_board(board);
    realize(host, &machine_->system_bus());
    pci_ = &host.pci_bus();
    auto& lpc = hw::place<hw::Ich9Lpc>(*machine_);
    EMU_CHECK(static_cast<hw::Device&>(lpc).set("addr", std::string("1f.0")).has_value());
    realize(lpc, pci_);
    isa_ = &lpc.isa_bus();
  } else {
    auto& host = hw::place<hw::I440FxHost>(*machine_);
    host.set_board(board);
    realize(host, &machine_->system_bus());
    pci_ = &host.pci_bus();
    auto& piix3 = hw::place<hw::Piix3>(*machine_);
    EMU_CHECK(static_cast<hw::Device&>(piix3).set("addr", std::string("01.0")).has_value());
    EMU_CHECK(static_cast<hw::Device&>(piix3).set("multifunction", true).has_value());
    realize(piix3, pci_);
    isa_ = &piix3.isa_bus();
  }
  for (unsigned i = 0; i < hw::IsaBus::kIrqs; i++) isa_->set_irq(i, {&sink_, i});
}

Result<hw::Bus*> Machine::bus_for(const qom::Type& type, u8 mode) {
  const std::string bus = hw::bus_type_of(type);
  if (bus.empty()) return nullptr;
  if (bus == "System") return &machine_->system_bus();
  if (bus == "ISA") return isa_;
  if (bus == "PCI" || bus == "PCIE") return pci_;
  const std::string host = host_for(bus);
  if (host.empty()) return error("no device is known that has a bus of type {}", bus);
  const qom::Type* host_type = EMU_TRY(device_types().require(host));
  hw::Bus* place = EMU_TRY(bus_for(*host_type, mode));
  EMU_TRY(plug(host, place, mode));
  hw::Bus* found = child_bus(*devices_.back(), bus);
  if (found == nullptr) return error("{} has no bus of type {}", host, bus);
  return found;
}

Result<void> Machine::plug(const std::string& type, hw::Bus* bus, u8 mode) {
  hw::Device& device = *EMU_TRY(hw::place(*machine_, type));
  set_if_there(device, "romfile", std::string());
  set_if_there(device, "packed", (mode & kModePacked) != 0);
  set_if_there(device, "in_order", (mode & kModeInOrder) != 0);
  set_if_there(device, "event_idx", (mode & kModeEvents) != 0);
  set_if_there(device, "force-legacy", (mode & kModeModern) == 0);
  set_if_there(device, "chassis_nr", u64(1));
  set_if_there(device, "guest-stats-polling-interval", u64(1));
  if (type == "mc146818rtc") set_if_there(device, "clock", std::string("vm"));
  if (type == "cfi.pflash01") set_if_there(device, "sector-length", u64(4096));
  if (type == "loader") {
    set_if_there(device, "addr", u64(0x1000));
    set_if_there(device, "data", u64(1));
    set_if_there(device, "data-len", u64(4));
  }
  give_back_ends(device);
  if (auto* apic = dynamic_cast<hw::LocalApic*>(&device)) {
    apic->wire(wired_->apics, wired_->cpu, 0, true, machine_->system_memory().root(), nullptr);
  }
  connect_outputs(device);
  EMU_TRY(device.realize_on(bus), type);
  if (auto* store = dynamic_cast<hw::FwCfg*>(&device)) {
    store->add_file("etc/read", std::vector<u8>(300, 0x5a));
    store->add_writable_file("etc/write", std::vector<u8>(64));
  }
  devices_.push_back(&device);
  return {};
}

void Machine::set_if_there(hw::Device& device, const char* property, const qom::PropertyValue& value) {
  if (device.type().find_property(property) == nullptr) return;
  EMU_CHECK(device.set(property, value).has_value());
}

void Machine::give_back_ends(hw::Device& device) {
  if (device.type().find_property("drive") != nullptr) {
    const std::string id = fmt::format("d{}", disks_.size());
    disks_.push_back(&test::add_disk(machine_->tree(), id, kDiskBytes));
    set_if_there(device, "drive", id);
  }
  if (device.type().find_property("netdev") != nullptr) {
    wire_ = &machine_->tree().container("/netdevs").adopt("n0", std::make_unique<Wire>(loop_));
    set_if_there(device, "netdev", std::string("n0"));
  }
  for (const char* property : {"chardev", "chardev1", "chardev2", "chardev3", "chardev4"}) {
    if (device.type().find_property(property) == nullptr) continue;
    const std::string id = fmt::format("c{}", streams_.size());
    auto stream = std::make_unique<Stream>();
    streams_.push_back(stream.get());
    auto& object = machine_->tree().container("/chardevs").adopt(id, machine_->tree().make<hw::ChardevObject>());
    object.hold(std::move(stream));
    set_if_there(device, property, id);
  }
}

void Machine::connect_outputs(hw::Device& device) {
  for (const qom::Type* type = &device.type(); type != nullptr; type = type->parent()) {
    const auto* known = type->extension<hw::DeviceClass>();
    if (known == nullptr) continue;
    for (const auto& out : known->irq_outs) {
      const std::size_t count = out.lines(device).size();
      for (unsigned i = 0; i < count; i++) {
        if (!device.irq_out(out.name, i).input().is_connected()) device.irq_out(out.name, i).connect({&sink_, 0});
      }
    }
  }
}

void Machine::collect(hw::Device& device) {
  for (const mem::RegionRef& region : device.regions()) collect_region(region);
  if (auto* function = dynamic_cast<hw::PciDevice*>(&device)) functions_.push_back(function);
  if (auto* virtio = dynamic_cast<hw::VirtioDevice*>(&device)) virtio_.push_back(virtio);
  // A virtio function has its device inside.
  for (hw::Bus* bus : device.child_buses()) {
    for (hw::Device* child : bus->devices()) {
      if (std::find(devices_.begin(), devices_.end(), child) == devices_.end()) collect(*child);
    }
  }
  for (const qom::Type* type = &device.type(); type != nullptr; type = type->parent()) {
    const auto* known = type->extension<hw::DeviceClass>();
    if (known == nullptr) continue;
    for (const auto& in : known->irq_ins) {
      for (unsigned i = 0; i < in.count; i++) wires_in_.push_back(device.irq_in(in.name, i));
    }
  }
}

void Machine::collect_region(const mem::RegionRef& region) {
  const auto kind = region->kind();
  if (kind == mem::Region::Kind::Mmio || kind == mem::Region::Kind::RomDevice) {
    if (std::find(regions_.begin(), regions_.end(), region) == regions_.end()) regions_.push_back(region);
  }
  for (const mem::RegionRef& child : region->children()) collect_region(child);
  if (kind == mem::Region::Kind::Alias && region->alias_target() != machine_->system_memory().root()) {
    collect_region(region->alias_target());
  }
}

void Machine::map_bars(hw::PciDevice& function) {
  for (unsigned i = 0; i < pci::kBars; i++) {
    const hw::PciBar& bar = function.bars()[i];
    if (bar.region == nullptr) continue;
    if (bar.kind == hw::BarKind::Io) {
      next_port_ = u16(align_up(u64(next_port_), bar.size));
      function.config_write(pci::BAR0 + 4 * i, 4, next_port_);
      next_port_ = u16(next_port_ + bar.size);
    } else {
      next_bar_ = align_up(next_bar_, bar.size);
      function.config_write(pci::BAR0 + 4 * i, 4, u32(next_bar_));
      next_bar_ += bar.size;
    }
  }
  function.config_write(pci::COMMAND, 2, pci::kCommandIo | pci::kCommandMemory | pci::kCommandMaster);
}

// Driving it. --------------------------------------------------------------------------------------------------------

void Machine::fill_ram(std::span<const u8> bytes) {
  if (bytes.empty()) return;
  constexpr u64 kFilled = 0x4000;
  std::vector<u8> pattern(kFilled);
  for (std::size_t i = 0; i < pattern.size(); i++) pattern[i] = bytes[i % bytes.size()];
  ram_->ram_block()->write(0x1000, pattern.data(), pattern.size());
}

void Machine::run(Input& input) {
  while (!input.is_empty()) step(input);
  run_loops();
}

void Machine::step(Input& input) {
  const u8 what = input.byte();
  // Accesses most often.
  switch (what >> 3) {
    case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7: return access_region(input, true);
    case 8: case 9: case 10: case 11: return access_region(input, false);
    case 12: return access_config(input, true);
    case 13: return access_config(input, false);
    case 14: return access_space(input, true);
    case 15: return access_space(input, false);
    case 16: case 17: return write_ram(input);
    case 18: return pass_time(input);
    case 19: return pull_wire(input);
    case 20: case 21: return happen_outside(input);
    case 22: return trouble_disks(input);
    case 23: return start_virtio(input);
    case 24: case 25: return offer_split(input);
    case 26: case 27: return offer_packed(input);
    case 28: case 29: return kick(input);
    case 30: return run_loops();
    default: return reset(input);
  }
}

/// Numbers as registers like them: small ones, addresses in RAM, and any.
u64 Machine::value(Input& input, u8 style) {
  switch (style & 7) {
    case 0: case 1: return input.byte();
    case 2: return input.half();
    case 3: return u64(input.half() & 0x1ff) << 12;
    case 4: return 0x1000 + (input.half() & 0xffff);
    case 5: return u64(1) << (input.byte() & 63);
    case 6: return input.word();
    default: return input.take(8);
  }
}

void Machine::access_region(Input& input, bool write) {
  if (regions_.empty()) return;
  const u8 how = input.byte();
  mem::Region& region = *regions_[input.byte() % regions_.size()];
  const unsigned size = 1u << (how & 3);
  const u64 last = u64(region.size()) - std::min<u64>(u64(region.size()), size);
  const u64 place = (how & 4) != 0 ? input.half() : input.byte();
  // Most registers are aligned; some accesses are not.
  const u64 offset = std::min((how & 8) != 0 ? place : place * ((how & 4) != 0 ? 1 : size), last);
  u64 seen = 0;
  if (write) {
    ignore(region.mmio_write(offset, value(input, how >> 4) & low_mask(size * 8), size, {}));
  } else {
    ignore(region.mmio_read(offset, size, {}, seen));
    note(offset + size, seen & 0xffff);
  }
}

void Machine::access_config(Input& input, bool write) {
  const u8 how = input.byte();
  const unsigned size = 1u << (how % 3);
  const unsigned offset = ((how & 8) != 0 ? input.half() & (kMostConfigBytes - 1) : input.byte()) & ~(size - 1);
  if (functions_.empty()) return;
  hw::PciDevice& function = *functions_[(how & 4) != 0 ? input.byte() % functions_.size() : functions_.size() - 1];
  const mem::MachineLockScope guard(machine_->memory().lock());
  if (write) {
    function.config_write(offset, size, u32(value(input, how >> 4) & low_mask(size * 8)));
  } else {
    static_cast<void>(function.config_read(offset, size));
  }
}

/// As a CPU has it: wherever BARs, windows and shadow memory are by now.
void Machine::access_space(Input& input, bool write) {
  const u8 how = input.byte();
  const bool ports = (how & 4) != 0;
  mem::AddressSpace& space = ports ? machine_->io_ports() : machine_->system_memory();
  const u64 address = ports ? input.half() : (how & 8) != 0 ? kBars + input.word() % 0x100'0000 : input.word();
  const unsigned size = 1u << (how & 3);
  u64 seen = 0;
  if (write) {
    ignore(space.store(address, size, value(input, how >> 4) & low_mask(size * 8)));
  } else {
    ignore(space.load(address, size, seen));
  }
}

void Machine::write_ram(Input& input) {
  const u64 address = 0x1000 + u64(input.half()) * 4;
  const auto bytes = input.bytes(std::min<unsigned>(input.byte(), 64) + 1u);
  ignore(machine_->system_memory().write(address, bytes));
}

void Machine::pass_time(Input& input) {
  run_loops();
  const mem::MachineLockScope guard(machine_->memory().lock());
  // Up to a second: a periodic timer of a microsecond would take too long otherwise.
  const u8 how = input.byte();
  machine_->clock().advance(ClockNs(i64(1) << (how % 24)));
}

void Machine::pull_wire(Input& input) {
  const u16 which = input.half();
  if (!wires_in_.empty()) wires_in_[(which >> 1) % wires_in_.size()].set((which & 1) != 0);
}

void Machine::happen_outside(Input& input) {
  const u8 how = input.byte();
  const auto bytes = input.bytes(how & 4 ? input.half() & 0x7ff : input.byte() & 0x3f);
  for (Stream* stream : streams_) {
    if ((how & 3) == 0) stream->type(bytes);
    if ((how & 3) == 1) {
      stream->happen(how & 8 ? ChardevEvent::Break : how & 16 ? ChardevEvent::Opened : ChardevEvent::Closed);
    }
    if ((how & 3) == 2) stream->set_room(how & 8 ? how >> 4 : ~std::size_t(0));
  }
  if (wire_ != nullptr) {
    if ((how & 3) == 0 || (how & 3) == 3) {
      net::PacketOffload offload;
      if ((how & 32) != 0) offload = {u8(how >> 6), u8(how >> 5), 54, 100, 34, 16};
      wire_->give(bytes, offload);
    }
    if ((how & 3) == 1) wire_->set_link((how & 8) != 0);
    if ((how & 3) == 2) wire_->set_refusing((how & 8) != 0);
  }
  for (hw::Device* device : devices_) {
    const mem::MachineLockScope guard(machine_->memory().lock());
    if (auto* keyboard = dynamic_cast<hw::I8042*>(device)) {
      for (const u8 byte : bytes) {
        if ((how & 1) != 0) keyboard->keyboard().key(byte & 0x7f, (how & 16) != 0, byte >= 0x80);
        else keyboard->mouse().move(i8(byte), i8(how), how >> 5);
      }
      keyboard->pump();
    }
    if (auto* apic = dynamic_cast<hw::LocalApic*>(device)) {
      u64 seen = 0;
      const u32 index = (how & 8) != 0 ? 0x1b : (how & 16) != 0 ? 0x6e0 : 0x800 + (how >> 1 & 0x3f);
      Input rest(bytes);
      if ((how & 1) != 0) static_cast<void>(apic->write_register(index, rest.take(8)));
      else static_cast<void>(apic->read_register(index, seen));
      if ((how & 6) == 6) static_cast<void>(apic->acknowledge());
      if ((how & 6) == 4) apic->set_task_priority(how >> 4);
    }
    if (const auto* screen = dynamic_cast<ui::Screen*>(device); screen != nullptr && (how & 7) == 7) {
      static_cast<void>(screen->picture());
    }
    if (const auto* screen = dynamic_cast<hw::VgaCore*>(device)) static_cast<void>(screen->text_screen());
    if (auto* pic = dynamic_cast<hw::I8259Pair*>(device); pic != nullptr && (how & 1) != 0) pic->acknowledge();
  }
}

void Machine::trouble_disks(Input& input) {
  const u8 how = input.byte();
  if (disks_.empty()) return;
  test::FakeBlockBackend& disk = *disks_[(how >> 4) % disks_.size()];
  switch (how & 7) {
    case 0: disk.hold(); break;
    case 1: disk.release(); break;
    case 2: disk.fail_with = how & 8 ? EIO : ENOSPC; break;
    case 3: disk.fail_with = 0; break;
    case 4: disk.read_only = (how & 8) != 0; break;
    default: {
      const mem::MachineLockScope guard(machine_->memory().lock());
      if (disk.frontend == nullptr) break;
      if ((how & 7) == 5 && disk.frontend->is_removable()) {
        disk.medium = (how & 8) != 0;
        disk.frontend->medium_changed(disk.medium);
      }
      if ((how & 7) == 6) disk.frontend->eject_requested((how & 8) != 0);
      if ((how & 7) == 7) {
        disk.contents.resize(how & 8 ? kDiskBytes / 2 : kDiskBytes);
        disk.frontend->resized();
      }
    }
  }
  run_loops();
}

// Rings. -------------------------------------------------------------------------------------------------------------

/// What a driver does at first, 3.1.1: the fuzzer would take long to find it.
void Machine::start_virtio(Input& input) {
  const u64 refused = input.word();
  const u8 how = input.byte();
  if (virtio_.empty()) return;
  const mem::MachineLockScope guard(machine_->memory().lock());
  hw::VirtioDevice& v = *virtio_.back();
  v.write_status(0);
  const u8 greeted = hw::virtio::kAcknowledge | hw::virtio::kDriver;
  v.write_status(greeted);
  const u64 features = v.offered_features() & ~((how & 1) != 0 ? refused : 0);
  v.accept_word(0, u32(features));
  v.accept_word(1, u32(features >> 32));
  v.write_status(greeted | hw::virtio::kFeaturesOk);
  rings_.assign(v.queue_count(), {});
  for (u32 i = 0; i < v.queue_count(); i++) {
    auto& setup = v.queue(i)->setup();
    const bool packed = (features & hw::virtio::kFeatureRingPacked) != 0;
    setup.size = std::min<u16>(setup.size, u16(u16(8) << (how >> 1 & 3)));
    setup.descriptors = kRings + i * kRingBytes;
    setup.driver_area = setup.descriptors + kDriverArea;
    setup.device_area = setup.descriptors + kDeviceArea;
    v.queue(i)->set_vector(u16(i));
    rings_[i] = {.avail = 0, .size = setup.size, .wrap = true, .packed = packed};
    ignore(machine_->system_memory().fill(setup.descriptors, 0, kRingBytes));
    v.enable_queue(i);
  }
  v.write_status(u8(greeted | hw::virtio::kFeaturesOk | hw::virtio::kDriverOk));
}

/// A chain in a split ring: descriptors one after the other, flags and lengths as the fuzzer says.
void Machine::offer_split(Input& input) {
  const u8 how = input.byte();
  if (rings_.empty()) return;
  RingState& ring = rings_[(how & 15) % rings_.size()];
  if (ring.size == 0) return;
  const u64 base = kRings + u64(&ring - rings_.data()) * kRingBytes;
  auto& space = machine_->system_memory();
  const unsigned count = 1 + (how >> 4 & 7);
  const u16 head = input.byte() % ring.size;
  for (unsigned i = 0; i < count; i++) {
    const u64 entry = base + 16 * ((head + i) % ring.size);
    const u8 shape = input.byte();
    ignore(space.write<Le64>(entry, (shape & 1) != 0 ? value(input, 7) : 0x1000 + u64(input.half())));
    ignore(space.write<Le32>(entry + 8, (shape & 2) != 0 ? input.word() : input.half() & 0xfff));
    // Usually the next one follows; a rare one is writable, indirect, or ends too early.
    const u16 flags = u16((i + 1 < count ? hw::virtio::kDescNext : 0) ^ (shape >> 4));
    ignore(space.write<Le16>(entry + 12, flags));
    ignore(space.write<Le16>(entry + 14, (shape & 4) != 0 ? u16(input.half()) : u16((head + i + 1) % ring.size)));
  }
  const u64 slot = base + kDriverArea + 4 + 2 * (ring.avail % ring.size);
  ignore(space.write<Le16>(slot, (how & 0x80) != 0 ? input.half() : head));
  ring.avail = u16(ring.avail + 1);
  ignore(space.write<Le16>(base + kDriverArea + 2, ring.avail));
}

void Machine::offer_packed(Input& input) {
  const u8 how = input.byte();
  if (rings_.empty()) return;
  RingState& ring = rings_[(how & 15) % rings_.size()];
  if (ring.size == 0) return;
  const u64 base = kRings + u64(&ring - rings_.data()) * kRingBytes;
  auto& space = machine_->system_memory();
  const unsigned count = 1 + (how >> 4 & 7);
  for (unsigned i = 0; i < count; i++) {
    const u64 entry = base + 16 * ring.avail;
    const u8 shape = input.byte();
    ignore(space.write<Le64>(entry, (shape & 1) != 0 ? value(input, 7) : 0x1000 + u64(input.half())));
    ignore(space.write<Le32>(entry + 8, (shape & 2) != 0 ? input.word() : input.half() & 0xfff));
    ignore(space.write<Le16>(entry + 12, (shape & 4) != 0 ? input.half() : input.byte()));
    const u16 turn = ring.wrap ? hw::virtio::kDescAvail : hw::virtio::kDescUsed;
    const u16 flags = u16((i + 1 < count ? hw::virtio::kDescNext : 0) ^ (shape >> 4));
    ignore(space.write<Le16>(entry + 14, u16(flags | turn)));
    if (++ring.avail >= ring.size) {
      ring.avail = 0;
      ring.wrap = !ring.wrap;
    }
  }
}

void Machine::kick(Input& input) {
  const u8 how = input.byte();
  if (virtio_.empty()) return;
  {
    const mem::MachineLockScope guard(machine_->memory().lock());
    virtio_.back()->kick((how & 0x80) != 0 ? input.half() : how & 15);
  }
  if ((how & 0x40) == 0) run_loops();
}

// Time and what is queued. -------------------------------------------------------------------------------------------

void Machine::run_loops() {
  for (unsigned round = 0; round < kMostRounds; round++) {
    bool busy = !machine_->main_loop.empty();
    {
      const mem::MachineLockScope guard(machine_->memory().lock());
      machine_->run_main_loop();
    }
    for (test::FakeBlockBackend* disk : disks_) {
      while (disk->loop().run_once(false)) busy = true;
    }
    while (loop_.run_once(false)) busy = true;
    if (!busy) return;
  }
}

void Machine::reset(Input& input) {
  const u8 how = input.byte();
  const mem::MachineLockScope guard(machine_->memory().lock());
  if ((how & 3) == 0) {
    hw::reset_all(*machine_->tree().find("/machine"));
  } else if ((how & 3) == 1 && !devices_.empty()) {
    hw::reset_device(*devices_[(how >> 2) % devices_.size()]);
  } else {
    save_and_load(*devices_[(how >> 2) % devices_.size()]);
  }
}

/// What a device saved it must load again, whatever the guest had done to it.
void Machine::save_and_load(hw::Device& device) {
  if (!device.has_saved_state()) return;
  const qom::FieldTree before = device.save();
  auto loaded = device.load(before);
  if (loaded) loaded = device.finish_load();
  if (!loaded) {
    fmt::print(stderr, "{}: {}\n", device.type().name(), loaded.error().text());
    EMU_CHECK(loaded.has_value());
  }
}

}  // namespace emu::fuzz
