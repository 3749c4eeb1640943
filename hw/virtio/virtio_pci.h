// SPDX-License-Identifier: Apache-2.0
// Virtio over PCI: modern, legacy, and transitional functions, which are both. Virtio 1.2, 4.1.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "hw/pci/pci_device.h"
#include "hw/virtio/virtio_device.h"
#include "target/acceleration.h"

namespace emu::hw {

/// What the type's name promises.
enum class VirtioPciVariant { Generic, Transitional, NonTransitional };

template <typename T>
class VirtioPciDescription;

/// A PCI function with a slot for one virtio device, which it makes itself: virtio-blk-pci is this one around a
/// virtio-blk-device, and shows its properties as its own.
///
///   BAR0  I/O     legacy registers               BAR1  MSI-X
///   BAR2  I/O     notification, modern-pio-notify
///   BAR4  memory  0x0000 common  0x1000 ISR  0x2000 device  0x3000 notification
class VirtioPci : public PciDevice, public VirtioTransport {
 public:
  static constexpr const char* kTypeName = "virtio-pci";
  template <typename T>
  using Description = VirtioPciDescription<T>;

  static void describe(TypeInfo<VirtioPci>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_hold() override;

  /// Null until the first property is set, and in objects made for help.
  VirtioDevice* backend() const { return backend_; }
  Result<void> make_backend();

  // VirtioTransport
  mem::AddressSpace& virtio_memory() override { return dma(); }
  void queue_interrupt(u16 vector) override { interrupt(vector, virtio::kIsrQueue); }
  std::optional<VirtioMessage> queue_message(u16 vector) const override;
  void config_interrupt() override { interrupt(config_vector_.load(), virtio::kIsrConfig); }
  u64 transport_features() const override { return has_modern() ? virtio::kFeatureVersion1 : 0; }
  void lower_interrupts() override;

 protected:
  VirtioPci(const char* backend_type, VirtioPciVariant variant);
  u32 read_config(unsigned offset, unsigned size) override;
  void config_written(unsigned offset, unsigned size) override;
  void message_vectors_changed() override;

 private:
  struct State {
    u32 device_feature_select = 0, driver_feature_select = 0;
    u16 queue_select = 0;
  };

  void drop_missing_rom();
  Result<void> settle_variant();
  Result<void> add_regions();
  void write_identity();
  void add_modern_bar();
  void add_legacy_bar();
  void add_doorbells(mem::Region& region, target::DeviceWrites::Doorbell first, bool by_value);
  unsigned add_vendor_capability(u8 kind, unsigned bytes, u8 bar, u32 offset, u32 length);
  bool has_modern() const { return !modern_off_; }
  bool has_legacy() const { return legacy_ == qom::OnOffAuto::Off; }  // the property is disable-legacy

  // Windows of BAR4.
  u64 read_common(u64 offset, unsigned size);
  u64 read_common_field(u64 offset);
  void write_common(u64 offset, u64 value, unsigned size);
  u64 read_isr(u64 offset, unsigned size);
  u64 read_device(u64 offset, unsigned size);
  void write_device(u64 offset, u64 value, unsigned size);
  void write_notify(u64 offset, u64 value, unsigned size);
  u64 read_window(u64 offset, unsigned size);
  void write_window(u64 offset, u64 value, unsigned size);
  // BAR0.
  u64 read_legacy(u64 offset, unsigned size);
  void write_legacy(u64 offset, u64 value, unsigned size);
  u32 legacy_header_bytes() const { return uses_msix() ? 24 : 20; }

  VirtQueue* selected() const { return backend_->queue(state_.queue_select); }
  u16 checked_vector(u64 vector) const { return vector < vectors_in_use_ ? u16(vector) : virtio::kNoVector; }
  void interrupt(u16 vector, u8 cause);

  void fields(Archive& ar);
  Result<void> after_load();

  const char* const backend_type_;
  const VirtioPciVariant variant_;
  qom::OnOffAuto disable_legacy_ = qom::OnOffAuto::Auto;
  bool modern_off_ = false, modern_pio_notify_ = false, page_per_vq_ = false, ioeventfd_ = true;
  std::optional<u32> vectors_;
  unsigned vectors_in_use_ = 0;
  bool behind_port_ = false;  ///< of PCI Express

  qom::OnOffAuto legacy_ = qom::OnOffAuto::Auto;  ///< disable_legacy_, once decided
  VirtioDevice* backend_ = nullptr;
  VirtioBus* slot_ = nullptr;
  State state_;
  unsigned window_capability_ = 0;
  std::atomic<u16> config_vector_{virtio::kNoVector};
  std::mutex isr_mutex_;  ///< isr_ and the pin; lock order: this → PCI bus → interrupt router
  u8 isr_ = 0;
};

/// Adds forward(): the properties of the device inside.
template <typename T>
class VirtioPciDescription : public DeviceDescription<T> {
 public:
  using DeviceDescription<T>::DeviceDescription;

  void forward(const qom::Type& backend) {
    for (const qom::Property* inner : backend.properties()) {
      if (this->type().find_property(inner->name()) != nullptr) continue;
      auto get = [inner, &backend](const qom::Object& object) {
        const VirtioDevice* device = static_cast<const T&>(object).backend();
        return device != nullptr ? inner->get(*device) : backend.default_value(*inner);
      };
      qom::Property::Setter set = [inner](qom::Object& object, const qom::PropertyValue& value) -> Result<void> {
        auto& function = static_cast<T&>(object);
        EMU_TRY(function.make_backend());
        return static_cast<qom::Object*>(function.backend())->set(inner->name(), value);
      };
      if (inner->is_read_only()) set = {};
      qom::Property& outer = this->add_property(inner->name(), inner->type_name(), inner->doc(), get, set);
      outer.choices(inner->choices());
      if (inner->is_link()) outer.mark_link();
      if (inner->is_hex()) outer.hex();
      if (inner->is_runtime_settable()) outer.settable_at_runtime();
    }
  }
};

template <typename Backend, VirtioPciVariant kVariant>
class VirtioPciOf final : public VirtioPci {
 public:
  VirtioPciOf() : VirtioPci(Backend::kDeviceType, kVariant) {}
};

/// Which names there are: QEMU gives devices without a legacy interface fewer.
enum class VirtioPciNames : u8 { All, PlainAndNonTransitional, Plain };

/// Adds `name`-pci, which `name` alone means, too, and its two variants around `name`-device, which is registered. `option_rom`: the file that is used if
/// it is installed and the user says nothing else.
template <typename Backend>
void register_virtio_pci(TypeRegistry& registry, const std::string& name, Category category,
                         const std::string& option_rom = {}, VirtioPciNames names = VirtioPciNames::All) {
  const qom::Type* backend = registry.find(Backend::kDeviceType);
  EMU_CHECK(backend != nullptr);
  const auto describe = [&](auto& info) {
    info.doc(backend->doc() + ", on PCI");
    info.category(category);
    info.forward(*backend);
    if (!option_rom.empty()) info.set_default("romfile", option_rom);
  };
  registry.add<VirtioPciOf<Backend, VirtioPciVariant::Generic>>(name + "-pci", describe);
  if (name.starts_with("virtio-")) registry.add_alias(name, name + "-pci");
  if (names == VirtioPciNames::All) {
    registry.add<VirtioPciOf<Backend, VirtioPciVariant::Transitional>>(name + "-pci-transitional", describe);
  }
  if (names == VirtioPciNames::Plain) return;
  registry.add<VirtioPciOf<Backend, VirtioPciVariant::NonTransitional>>(name + "-pci-non-transitional", describe);
}

/// Registers "virtio-pci", the abstract base.
void register_virtio_pci_base(TypeRegistry& registry);

}  // namespace emu::hw
