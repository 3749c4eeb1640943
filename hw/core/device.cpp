// SPDX-License-Identifier: Apache-2.0
// The life of a device.
#include "hw/core/device.h"

#include <algorithm>

#include "hw/core/isa.h"
#include "hw/core/plug.h"
#include "hw/core/sysbus.h"

namespace emu::hw {

/// One named group of inputs of one device.
struct Device::Inputs final : IrqSink {
  Inputs(Device& owner, const DeviceClass::IrqIn& what) : device(owner), in(what) {}
  void set_irq(unsigned number, bool level) override {
    if (IrqSink* listener = instead.load(std::memory_order_acquire); listener != nullptr) [[unlikely]] {
      listener->set_irq(first + number, level);
    } else {
      in.handler(device, number, level);
    }
  }
  Device& device;
  const DeviceClass::IrqIn& in;
  std::atomic<IrqSink*> instead{nullptr};
  unsigned first = 0;  ///< number of the first of them, of all of the device's, for `instead`
};

namespace {
template <typename Visitor>
void for_each_class(const qom::Type& type, Visitor&& visitor) {
  if (type.parent() != nullptr) for_each_class(*type.parent(), visitor);
  if (const auto* known = type.extension<DeviceClass>()) visitor(*known);
}
}  // namespace

Device::Device() = default;

Device::~Device() {
  if (machine_ != nullptr) drop_regions();
}

void Device::prepare(MachineServices& machine) {
  EMU_CHECK(machine_ == nullptr);
  machine_ = &machine;
  entered_ = std::make_shared<bool>(false);
  for_each_class(type(), [&](const DeviceClass& known) {
    for (const auto& in : known.irq_ins) inputs_.push_back(std::make_unique<Inputs>(*this, in));
    for (const auto& spec : known.regions) add_region(spec.make(*this, machine.memory()));
  });
  described_regions_ = regions_.size();
}

const mem::RegionRef& Device::add_region(mem::RegionRef region) {
  if (region->options().locking == mem::Locking::Machine) region->share_entry_flag(entered_);
  return regions_.emplace_back(std::move(region));
}

Result<void> Device::realize_on(Bus* bus) {
  EMU_CHECK(is_prepared() && !realized_);
  const mem::Transaction transaction(memory());  // a failed device is never seen by the guest
  if (bus != nullptr) {
    EMU_TRY(bus->attach(*this));
    bus_ = bus;
  }
  auto done = realize_steps();
  if (!done) {
    undo_realize();
    return done;
  }
  realized_ = true;
  if (machine_->was_reset()) reset_device(*this);
  return {};
}

Result<void> Device::realize_steps() {
  const mem::Transaction transaction(memory());
  EMU_TRY(before_realize());
  if (auto done = realize(); !done) {
    after_unrealize();
    return done;
  }
  if (auto done = after_realize(); !done) {
    unrealize();
    after_unrealize();
    return done;
  }
  return {};
}

void Device::undo_realize() {
  const mem::Transaction transaction(memory());
  for (const auto& region : regions_) region->remove_from_parent();
  for (size_t i = described_regions_; i < regions_.size(); ++i) regions_[i]->revoke();
  regions_.resize(described_regions_);
  for (Bus* bus : std::exchange(child_buses_, {})) static_cast<void>(remove_child(*bus));
  if (bus_ != nullptr) std::exchange(bus_, nullptr)->detach(*this);
}

void Device::unrealize_all() {
  EMU_CHECK(realized_);
  const mem::Transaction transaction(memory());
  for (Bus* bus : child_buses_) {
    const std::vector<Device*> devices = bus->devices();
    for (auto device = devices.rbegin(); device != devices.rend(); ++device) (*device)->unrealize_all();
  }
  unrealize();
  after_unrealize();
  drop_regions();
  for_each_class(type(), [&](const DeviceClass& known) {
    for (const auto& out : known.irq_outs) {
      for (IrqLine& line : out.lines(*this)) line.disconnect();
    }
  });
  if (bus_ != nullptr) std::exchange(bus_, nullptr)->detach(*this);
  realized_ = false;
}

void Device::drop_regions() {
  const mem::Transaction transaction(memory());
  for (const auto& region : std::exchange(regions_, {})) {
    region->remove_from_parent();
    region->revoke();
  }
}

std::string Device::id() const {
  return parent() != nullptr && parent()->path() == "/machine/peripheral" ? name() : std::string();
}

IrqLine& Device::irq_out(std::string_view name, unsigned index) {
  IrqLine* found = nullptr;
  for_each_class(type(), [&](const DeviceClass& known) {
    for (const auto& out : known.irq_outs) {
      if (out.name != name) continue;
      const auto lines = out.lines(*this);
      EMU_CHECK(index < lines.size());
      found = &lines[index];
    }
  });
  EMU_CHECK(found != nullptr);
  return *found;
}

IrqInput Device::irq_in(std::string_view name, unsigned index) {
  for (const auto& inputs : inputs_) {
    if (inputs->in.name != name) continue;
    EMU_CHECK(index < inputs->in.count);
    return {inputs.get(), index};
  }
  EMU_CHECK(!"no such input");
  return {};
}

std::optional<IrqInput> Device::find_irq_in(std::string_view name, u64 index) {
  for (const auto& inputs : inputs_) {
    if (!name.empty() && inputs->in.name != name) continue;
    if (index >= inputs->in.count) return std::nullopt;
    return IrqInput{inputs.get(), unsigned(index)};
  }
  return std::nullopt;
}

void Device::intercept_irq_ins(IrqSink& listener) {
  unsigned number = 0;
  for (const auto& inputs : inputs_) {
    inputs->first = number;
    number += inputs->in.count;
    inputs->instead.store(&listener, std::memory_order_release);
  }
}

void Device::intercept_irq_outs(IrqSink& listener) {
  unsigned number = 0;
  for_each_class(type(), [&](const DeviceClass& known) {
    for (const auto& out : known.irq_outs) {
      for (IrqLine& line : out.lines(*this)) {
        cut_off_outs_.push_back({&line, line.input()});
        line.connect({&listener, number++});
      }
    }
  });
}

void Device::end_irq_interception() {
  for (const auto& inputs : inputs_) inputs->instead.store(nullptr, std::memory_order_release);
  for (const auto& [line, before] : std::exchange(cut_off_outs_, {})) line->connect(before);
}

bool Device::has_irq_in(std::string_view name) const {
  return std::any_of(inputs_.begin(), inputs_.end(), [&](const auto& inputs) { return inputs->in.name == name; });
}

const mem::RegionRef& Device::region(std::string_view name) const {
  const auto found = std::find_if(regions_.begin(), regions_.end(),
                                  [&](const auto& region) { return name.empty() || region->name() == name; });
  EMU_CHECK(found != regions_.end());
  return *found;
}

Bus& Device::add_bus_object(std::string name, std::unique_ptr<Bus> bus) {
  Bus& added = adopt(std::move(name), std::move(bus));
  child_buses_.push_back(&added);
  return added;
}

Device* Bus::owner() const { return dynamic_cast<Device*>(parent()); }

Result<void> Bus::attach(Device& device) {
  devices_.push_back(&device);
  return {};
}

void Bus::detach(Device& device) { std::erase(devices_, &device); }

// System bus -------------------------------------------------------------------------------------------------------

void SysBusDevice::describe(TypeInfo<SysBusDevice>& type) {
  type.plugs_into(SystemBus::kTypeName);
  type.not_user_creatable();
}

void SysBusDevice::map(std::string_view name, mem::GuestPhys address, int priority) {
  machine().system_memory().root()->add(address, region(name), priority);
}

void SysBusDevice::map_ports(std::string_view name, u16 port, int priority) {
  machine().io_ports().root()->add(port, region(name), priority);
}

// ISA --------------------------------------------------------------------------------------------------------------

void IsaDevice::describe(TypeInfo<IsaDevice>& type) { type.plugs_into(IsaBus::kTypeName); }

IsaBus& IsaDevice::isa_bus() const {
  auto* isa = dynamic_cast<IsaBus*>(bus());
  EMU_CHECK(isa != nullptr);
  return *isa;
}

void IsaDevice::map_ports(std::string_view name, u16 port) { isa_bus().ports().add(port, region(name)); }

void IsaDevice::map_memory(std::string_view name, u32 address) { isa_bus().memory().add(address, region(name)); }

Result<void> IsaDevice::connect_irq(IrqLine& line, unsigned number) {
  if (number >= IsaBus::kIrqs) return error("{}: there is no ISA interrupt {}, only 0 to 15", type().name(), number);
  line.connect(isa_bus().irq(number));
  return {};
}

void IsaBus::set_irq(unsigned number, IrqInput input) { lines_.at(number).connect(input); }

IrqInput IsaBus::irq(unsigned number) { return lines_.at(number).input(users_.at(number)++); }

void register_core_types(TypeRegistry& registry) {
  registry.add_abstract<Device, qom::Object>();
  registry.add_abstract<Bus, qom::Object>();
  registry.add_abstract<SysBusDevice, Device>();
  registry.add_base<SystemBus, Bus>();
  registry.add_abstract<IsaDevice, Device>();
  registry.add_base<IsaBus, Bus>();
}

}  // namespace emu::hw
