// SPDX-License-Identifier: Apache-2.0
#include "fuzz/fuzz_machine.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "hw/9p/fsdev.h"
#include "hw/char/chardev_object.h"
#include "hw/intc/local_apic.h"
#include "hw/isa/ich9_lpc.h"
#include "hw/isa/piix3.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/q35.h"
#include "hw/register.h"
#include "net/register.h"
#include "qom/user_creatable.h"

namespace emu::fuzz {
namespace {

namespace pci = hw::pci;

constexpr u8 kModeQ35 = 1, kModePacked = 2, kModeInOrder = 4, kModeModern = 8, kModeEvents = 16;

void register_all(qom::TypeRegistry& registry) {
  hw::register_core_types(registry);
  hw::register_chardev_object(registry);
  net::register_net_types(registry);
  test::register_fake_backend(registry);
  hw::register_devices(registry);
}

/// Made by their host bridge, which is what is asked for.
bool is_part_of_another(const std::string& name) { return name == "i440FX" || name == "mch"; }

/// Its rings are worked on by another process or the kernel, which has to be there: not what an input can drive.
bool is_worked_on_elsewhere(const std::string& name) { return name.starts_with("vhost-"); }

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
    if (is_part_of_another(type->name()) || is_worked_on_elsewhere(type->name())) continue;
    names.push_back(type->name());
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
  const bool is_board = name.find("-pcihost") != std::string::npos || name == "PIIX3";
  const std::size_t board = is_board ? 0 : devices_.size();
  if (!is_board) {
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
  for (std::size_t i = 0; i < devices_.size(); i++) {
    if (i == board) {
      board_regions_ = regions_.size();
      board_functions_ = functions_.size();
    }
    collect(*devices_[i]);
  }
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
  if (device.type().find_property("fsdev") != nullptr) {
    shared_ = std::make_unique<test::TemporaryFolder>();
    EMU_CHECK(::mkdir((shared_->path + "/folder").c_str(), 0700) == 0);
    EMU_CHECK(::close(::open((shared_->path + "/file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
    EMU_CHECK(hw::add_fsdev(machine_->tree(), "f0", {.path = shared_->path, .security = hw::p9::SecurityModel::Mapped})
                  .has_value());
    folder_ = dynamic_cast<hw::Fsdev*>(machine_->tree().find("/fsdevs/f0"));
    set_if_there(device, "fsdev", std::string("f0"));
    set_if_there(device, "mount_tag", std::string("share"));
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

Machine::Reach Machine::reach() {
  constexpr u64 kLooked = 4096;
  Reach found;
  for (std::size_t i = board_regions_; i < regions_.size(); i++) {
    mem::Region& region = *regions_[i];
    bool answers = false;
    for (u64 offset = 0; offset < std::min<u64>(u64(region.size()), kLooked) && !answers; offset++) {
      for (const unsigned size : {1u, 2u, 4u}) {
        u64 seen = 0;
        answers = answers || region.mmio_read(offset, size, {}, seen) == mem::MemTxResult::Ok;
      }
    }
    if (answers) found.regions++;
    else found.silent_regions += " " + region.name();
  }
  found.functions = unsigned(functions_.size() - board_functions_);
  for (hw::VirtioDevice* device : virtio_) found.queues += device->queue_count();
  found.wires = unsigned(wires_in_.size());
  return found;
}

}  // namespace emu::fuzz
