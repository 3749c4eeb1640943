// SPDX-License-Identifier: Apache-2.0
// Base of all PCI functions. PCI Local Bus specification 3.0 (sections as §).
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "hw/core/device.h"
#include "hw/pci/pci_config.h"
#include "hw/pci/pci_messages.h"

namespace emu::hw {

class PciBus;

/// What a function says it is. Constant for a type.
struct PciIdentity {
  u16 vendor = 0, device = 0;
  u8 revision = 0;
  u16 class_code = 0;  ///< base class << 8 | sub-class
  u8 prog_if = 0;
  u16 subsystem_vendor = 0x1af4, subsystem = 0x1100;  ///< what QEMU's guests see where nothing else is said
  bool express = false;  ///< 4 KiB of configuration space, when the bus is PCI Express
  bool bridge = false;   ///< type 1 header; see PciBridge
};

/// Place on a bus, "slot.function" in hexadecimal: the `addr` property.
struct PciAddress {
  u8 devfn = 0;
  bool operator==(const PciAddress&) const = default;
};
constexpr u8 pci_devfn(unsigned slot, unsigned function) { return u8(slot << 3 | function); }

enum class BarKind { Io, Memory32, Memory64, PrefetchableMemory32, PrefetchableMemory64 };

struct PciBar {
  BarKind kind = BarKind::Memory32;
  mem::RegionRef region;  ///< null: no such BAR
  u64 size = 0;
  std::optional<u64> address;  ///< where it is mapped now
};

/// A model adds its BARs and capabilities in realize(). Machine lock, except set_intx(), uses_msi*() and notify_msi*().
class PciDevice : public Device {
 public:
  static constexpr const char* kTypeName = "pci-device";
  static void describe(TypeInfo<PciDevice>& type);
  ~PciDevice() override;

  const PciIdentity& identity() const { return identity_; }
  u8 devfn() const { return devfn_; }
  unsigned slot() const { return devfn_ >> 3; }
  unsigned function() const { return devfn_ & 7; }
  bool is_multifunction() const { return multifunction_; }
  PciBus& pci_bus() const;
  const PciConfig& config() const { return config_; }
  const std::array<PciBar, pci::kBars + 1>& bars() const { return bars_; }

  // Configuration accesses by the guest; any offset, `size` 1, 2 or 4, naturally aligned.
  u32 config_read(unsigned offset, unsigned size);
  void config_write(unsigned offset, unsigned size, u32 value);

 protected:
  explicit PciDevice(const PciIdentity& identity);

  PciConfig& config() { return config_; }
  /// Region's size must be a power of two, at least 16 bytes (4 for I/O). 64-bit kinds take two indices.
  void add_bar(unsigned index, BarKind kind, mem::RegionRef region);
  /// In realize(), by functions that may be PCI Express: the capability of an endpoint, of the kind that the bus calls
  /// for. Nothing on a conventional bus. Returns whether there is one.
  bool add_express_endpoint();
  /// INTA# by default; 0 for a function without a pin. In realize().
  void use_interrupt_pin(unsigned pin) { config_.set8(pci::INTERRUPT_PIN, u8(pin)); }
  /// The level of the function's interrupt pin. Any thread; the device orders its own sets.
  void set_intx(bool level);
  bool is_bus_master() const { return (config_.get16(pci::COMMAND) & pci::kCommandMaster) != 0; }

  // Messages in place of the pin, PCI 3.0 §6.8. A model with both tries MSI-X first.
  /// In realize(). `vectors`: a power of two, at most 32.
  void add_msi(unsigned vectors);
  /// In realize(). Table and pending bits get BAR `bar` (32-bit memory) for themselves. At most 2048 vectors.
  void add_msix(unsigned vectors, unsigned bar);
  /// The same inside `bar_container`, the region that is or becomes BAR `bar_index`; it hides what is below. Offsets
  /// are multiples of 8.
  void add_msix_in(unsigned vectors, unsigned bar_index, mem::RegionRef bar_container, u32 table_offset,
                   u32 pending_offset);
  /// Whether the guest has switched it on; then set_intx() does not drive the pin. Any thread.
  bool uses_msi() const { return msi_ != nullptr && msi_->is_enabled(); }
  bool uses_msix() const { return msix_ != nullptr && msix_->is_enabled(); }
  /// Sends the vector's message, or makes it pending while the guest masks it; nothing while the function may not write
  /// to memory or messages are off. Any thread, with or without the machine lock; never takes it.
  void notify_msi(unsigned vector);
  void notify_msix(unsigned vector);
  /// What notify_msix() sends now; nothing while it would not send at once.
  std::optional<PciMessage> msix_message(unsigned vector) const {
    return msix_ == nullptr ? std::nullopt : msix_->message(vector);
  }
  /// The guest changed enables, masks or messages. Machine lock.
  virtual void message_vectors_changed() {}

  /// Gives a read from configuration space, and hears of writes after they took effect (and, after a
  /// load, of the whole space).
  virtual u32 read_config(unsigned offset, unsigned size) { return config_.read(offset, size); }
  virtual void config_written(unsigned offset, unsigned size) {
    static_cast<void>(offset);
    static_cast<void>(size);
  }

  /// What the bus says (an IOMMU's view, or system memory) while the guest lets the function be bus master, else
  /// nothing; nothing either once the function has left its bus. First called in realize().
  mem::AddressSpace& dma() const override;

  Result<void> before_realize() override;
  Result<void> after_realize() override;
  void after_unrealize() override;
  void before_reset_enter() override;

 private:
  friend class PciBus;

  void fields(Archive& ar);
  Result<void> after_load();
  void write_standard_header();
  Result<void> add_rom();
  /// Moves the BARs to where configuration space says.
  void update_mappings();
  std::optional<u64> bar_address(unsigned index) const;
  unsigned bar_offset(unsigned index) const {
    if (index != pci::kRomBar) return unsigned(pci::BAR0) + 4 * index;
    return identity_.bridge ? unsigned(pci::BRIDGE_ROM_ADDRESS) : unsigned(pci::ROM_ADDRESS);
  }
  void update_bus_master();
  void update_intx();
  void show_changing_bits(unsigned offset, unsigned size);
  void message_registers_written(unsigned offset, unsigned size);
  void write_msix_table(u32 offset, u32 value);
  void send(const PciMessage& message);

  const PciIdentity identity_;
  PciConfig config_;
  std::optional<PciAddress> address_;  ///< as asked for
  u8 devfn_ = 0;
  bool multifunction_ = false;
  std::string rom_file_;
  bool rom_bar_ = true;
  std::array<PciBar, pci::kBars + 1> bars_;
  std::atomic<bool> intx_level_{false};
  std::atomic<bool> intx_disabled_{false};
  std::mutex pin_mutex_;  ///< what is told to the bus is what was true last. Lock order: device → this → bus
  std::unique_ptr<MsiCapability> msi_;
  std::unique_ptr<MsixTable> msix_;
  bool has_left_ = false;
  mutable mem::RegionRef dma_root_, dma_window_;
  mutable std::unique_ptr<mem::AddressSpace> dma_space_;
};

}  // namespace emu::hw

namespace emu::qom {
template <>
struct PropertyCodec<hw::PciAddress> {
  static std::string type_name() { return "str"; }
  static Result<hw::PciAddress> from(const PropertyValue& value);
  static PropertyValue to(hw::PciAddress address);
};
}  // namespace emu::qom
