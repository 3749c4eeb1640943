// SPDX-License-Identifier: Apache-2.0
// Devices and buses. docs/devel/devices.md shows how to write one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hw/core/device_class.h"
#include "hw/core/hotplug.h"
#include "hw/core/irq.h"
#include "hw/core/register_table.h"
#include "hw/core/services.h"
#include "qom/type.h"
#include "util/clock.h"

namespace emu::hw {

using qom::Archive;
using qom::TypeInfo;
using qom::TypeRegistry;

class Bus;
template <typename T>
class DeviceDescription;

/// Base of all device models. Life: created, properties set, prepare() (regions and IRQ inputs exist and can be wired),
/// realize, reset, runs; unrealize, freed after a grace period. Machine lock for all of it.
class Device : public qom::Object {
 public:
  static constexpr const char* kTypeName = "device";
  template <typename T>
  using Description = DeviceDescription<T>;

  Device();
  ~Device() override;

  // What models override. ------------------------------------------------------------------------------------------
  /// Checks the properties, attaches to back ends, makes timers, maps itself. May fail, then without leaving a trace:
  /// unrealize() is not called for it.
  virtual Result<void> realize() { return {}; }
  virtual void unrealize() {}
  /// Reset in three phases, each over all devices before the next begins: own state only; then outputs and others;
  /// then what must see everybody's outputs settled.
  virtual void reset_enter() {}
  virtual void reset_hold() {}
  virtual void reset_exit() {}

  // For boards, buses and monitors. --------------------------------------------------------------------------------
  /// Gives the device its machine: from here on region() and irq_in() work. Done by the place/plug functions.
  void prepare(MachineServices& machine);
  bool is_prepared() const { return machine_ != nullptr; }
  /// After prepare().
  MachineServices& machine_services() const { return machine(); }
  /// Attaches to `bus` (null for none) and realizes. On failure it is as before. Child devices are their parent's
  /// business: it realizes them in its own realize(). A device realized later than its machine's first reset is reset.
  Result<void> realize_on(Bus* bus);
  /// The reverse: child buses' devices first; regions leave the map and are cut off. Free it by destroy().
  void unrealize_all();
  bool is_realized() const { return realized_; }
  Bus* bus() const { return bus_; }
  /// The user's id, or "" when it has none.
  std::string id() const;
  /// Buses that this device provides.
  const std::vector<Bus*>& child_buses() const { return child_buses_; }

  /// By the names of describe(); "" is the first region. Asking for one that is not there is a bug of ours.
  IrqLine& irq_out(std::string_view name, unsigned index = 0);
  IrqInput irq_in(std::string_view name, unsigned index = 0);
  bool has_irq_in(std::string_view name) const;
  /// The same, for a name that may not be there; "" is the first. Nothing when there is no such wire.
  std::optional<IrqInput> find_irq_in(std::string_view name, u64 index);
  /// For tests: from now on the device's inputs (or outputs) end at `listener`, numbered in the order of describe(),
  /// and nothing arrives where it went before.
  void intercept_irq_ins(IrqSink& listener);
  void intercept_irq_outs(IrqSink& listener);
  void end_irq_interception();
  const mem::RegionRef& region(std::string_view name) const;
  /// All regions, in the order of describe(), then of add_region().
  const std::vector<mem::RegionRef>& regions() const { return regions_; }

 protected:
  // Services. Not before prepare().
  MachineServices& machine() const {
    EMU_CHECK(machine_ != nullptr);
    return *machine_;
  }
  Clock& clock() const { return machine().clock(); }
  mem::Memory& memory() const { return machine().memory(); }
  /// Where the device's DMA goes: system memory, unless its bus says otherwise.
  virtual mem::AddressSpace& dma() const { return machine().system_memory(); }

  /// Adds a region whose size or callbacks are known at realize only. It is cut off at unrealize like the others.
  const mem::RegionRef& add_region(mem::RegionRef region);
  /// Creates a bus that belongs to this device and is named `name`; in realize().
  template <typename B>
  B& add_bus(std::string name) {
    return static_cast<B&>(add_bus_object(std::move(name), machine().tree().make<B>()));
  }

  // For base classes of one bus (PciDevice): around the model's own functions.
  virtual Result<void> before_realize() { return {}; }
  virtual Result<void> after_realize() { return {}; }
  virtual void after_unrealize() {}
  /// Before the model's reset_enter: what the bus keeps for the device, e.g. configuration space.
  virtual void before_reset_enter() {}

  bool is_sealed() const override { return realized_; }

 private:
  friend class Bus;
  friend class ResetList;
  struct Inputs;

  Bus& add_bus_object(std::string name, std::unique_ptr<Bus> bus);
  Result<void> realize_steps();
  void drop_regions();

  void undo_realize();

  MachineServices* machine_ = nullptr;
  size_t described_regions_ = 0;
  Bus* bus_ = nullptr;
  bool realized_ = false;
  std::vector<Bus*> child_buses_;
  std::vector<mem::RegionRef> regions_;
  std::vector<std::unique_ptr<Inputs>> inputs_;
  std::vector<std::pair<IrqLine*, IrqInput>> cut_off_outs_;  ///< and where they went
  std::shared_ptr<bool> entered_;  ///< see Region::share_entry_flag
};

/// Where devices plug in. Owned by the device that provides it (or /machine); keeps plain references to its devices.
class Bus : public qom::Object {
 public:
  static constexpr const char* kTypeName = "bus";

  const std::vector<Device*>& devices() const { return devices_; }
  /// The device that provides this bus, or null.
  Device* owner() const;

  /// May refuse (wrong kind, full, address taken). Overriders call this one last.
  virtual Result<void> attach(Device& device);
  virtual void detach(Device& device);
  /// The device's place as shown to people: "0000:00:02.0"; "" if the bus has no addresses.
  virtual std::string device_address(const Device& device) const {
    static_cast<void>(device);
    return {};
  }
  /// Whether -device may put another one here.
  virtual bool is_full() const { return false; }

  /// Who tells the guest of devices that come and go while it runs; null: they may not. By the owner, in realize().
  void set_hotplug(HotplugHandler* handler) { hotplug_ = handler; }
  HotplugHandler* hotplug() const { return hotplug_; }

 private:
  HotplugHandler* hotplug_ = nullptr;
  std::vector<Device*> devices_;
};

/// What `describe(TypeInfo<T>&)` can say about a device, besides properties and saved state.
template <typename T>
class DeviceDescription : public qom::ObjectDescription<T> {
 public:
  using qom::ObjectDescription<T>::ObjectDescription;

  /// The heading in `-device help`.
  void category(Category category) { device_class().category = category; }
  /// Made by boards only.
  void not_user_creatable() { device_class().user_creatable = false; }
  void user_creatable() { device_class().user_creatable = true; }
  /// Type name of the bus that devices of this type need.
  void plugs_into(std::string bus_type) { device_class().bus_type = std::move(bus_type); }

  template <typename C>
  void irq_out(std::string name, IrqLine C::*line) {
    add_irq_out(std::move(name), [line](T& d) { return std::span<IrqLine>(&(d.*line), 1); });
  }
  template <typename C, size_t N>
  void irq_out(std::string name, std::array<IrqLine, N> C::*lines) {
    add_irq_out(std::move(name), [lines](T& d) { return std::span<IrqLine>(d.*lines); });
  }
  template <typename C, size_t N>
  void irq_out(std::string name, IrqLine (C::*lines)[N]) {
    add_irq_out(std::move(name), [lines](T& d) { return std::span<IrqLine>(d.*lines); });
  }
  /// `count` inputs; `void handler(unsigned number, bool level)`, or `void handler(bool level)` for one. Any thread.
  template <typename C>
  void irq_in(std::string name, unsigned count, void (C::*handler)(unsigned, bool)) {
    device_class().irq_ins.push_back({std::move(name), count, [handler](Device& d, unsigned number, bool level) {
                                        (static_cast<T&>(d).*handler)(number, level);
                                      }});
  }
  template <typename C>
  void irq_in(std::string name, void (C::*handler)(bool)) {
    device_class().irq_ins.push_back(
        {std::move(name), 1, [handler](Device& d, unsigned, bool level) { (static_cast<T&>(d).*handler)(level); }});
  }

  /// A region of `size` bytes whose registers are the rows added to the result.
  template <typename C, typename S>
  RegisterTable<T, S>& registers(std::string name, u64 size, S C::*state) {
    auto table = std::make_unique<RegisterTable<T, S>>(name, size, state);
    RegisterTable<T, S>& rows = *table;
    device_class().regions.push_back(
        {std::move(name), [&rows](Device& d, mem::Memory& m) { return rows.make_region(static_cast<T&>(d), m); },
         &rows});
    device_class().tables.push_back(std::move(table));
    return rows;
  }
  /// A region handled by two functions: `u64 read(u64 offset, unsigned size)`, `void write(u64 offset, u64 value,
  /// unsigned size)`; for windows that are no register file.
  template <typename C, typename D>
  void region(std::string name, u64 size, u64 (C::*read)(u64, unsigned), void (D::*write)(u64, u64, unsigned),
              mem::MmioOptions options = {}) {
    device_class().regions.push_back(
        {name, [name, size, read, write, options](Device& d, mem::Memory& m) {
           T& device = static_cast<T&>(d);
           return mem::Region::mmio(
               m, name, size, [&device, read](u64 o, unsigned n) { return (device.*read)(o, n); },
               [&device, write](u64 o, u64 v, unsigned n) { (device.*write)(o, v, n); }, options);
         }});
  }

 protected:
  DeviceClass& device_class() { return this->type().template make_extension<DeviceClass>(); }

 private:
  template <typename Lines>
  void add_irq_out(std::string name, Lines lines) {
    device_class().irq_outs.push_back({std::move(name), [lines](Device& d) { return lines(static_cast<T&>(d)); }});
  }
};

/// Registers "device", "bus", "sys-bus-device", "isa-device" and their buses "System" and "ISA".
void register_core_types(TypeRegistry& registry);

}  // namespace emu::hw
