// SPDX-License-Identifier: Apache-2.0
// A SCSI bus as a transport (virtio-scsi) makes it, and the disks and CD-ROMs that plug into it. SAM-5.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hw/core/device.h"
#include "hw/scsi/scsi_unit.h"

namespace emu::hw {

class ScsiBus;

/// Where a unit is.
struct ScsiAddress {
  u32 channel = 0, target = 0, lun = 0;
  bool operator==(const ScsiAddress&) const = default;
};

/// Base of "scsi-hd" and "scsi-cd". The transport runs commands: on backend().loop(), through unit().
class ScsiDevice : public Device, public block::BlockFrontend {
 public:
  static constexpr const char* kTypeName = "scsi-device";
  static void describe(TypeInfo<ScsiDevice>& type);

  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override { unit_->reset(); }

  /// After realize.
  ScsiUnit& unit() const { return *unit_; }
  block::BlockBackend& backend() const { return *drive_; }
  const ScsiAddress& address() const { return address_; }
  std::optional<i32> boot_index() const { return boot_index_; }

  void resized() override;
  void medium_changed(bool present) override;
  void eject_requested(bool force) override;
  bool is_tray_open() const override { return unit_ != nullptr && unit_->is_tray_open(); }
  bool is_medium_locked() const override { return unit_ != nullptr && unit_->is_locked(); }

 protected:
  explicit ScsiDevice(ScsiUnitConfig::Kind kind) { config_.kind = kind; }

 private:
  friend class ScsiBus;
  friend class ScsiHd;

  void fields(Archive& ar) { unit_->fields(ar); }
  Result<void> after_load() { return unit_->after_load(); }
  Result<void> check_config() const;
  ScsiBus& scsi_bus() const;

  block::BlockBackend* drive_ = nullptr;
  std::optional<u32> channel_, target_, lun_;
  std::optional<i32> boot_index_;
  qom::OnOffAuto write_cache_wish_ = qom::OnOffAuto::Auto;
  std::string vendor_ = "QEMU", product_, version_ = "2.5+", serial_, device_id_;
  u64 wwn_ = 0, port_wwn_ = 0;
  u16 port_index_ = 0, rotation_rate_ = 0;
  u32 logical_block_ = 512, physical_block_ = 512;
  bool removable_ = false, dpofua_ = false;
  ScsiUnitConfig config_;
  ScsiAddress address_;
  std::unique_ptr<ScsiUnit> unit_;
};

class ScsiHd final : public ScsiDevice {
 public:
  ScsiHd() : ScsiDevice(ScsiUnitConfig::Kind::Disk) {}
  static void describe(TypeInfo<ScsiHd>& type);
};

class ScsiCd final : public ScsiDevice {
 public:
  ScsiCd() : ScsiDevice(ScsiUnitConfig::Kind::CdRom) {}
  static void describe(TypeInfo<ScsiCd>& type);
};

/// What a transport hears. Main loop, machine lock held, but for unit_attention (the unit's loop).
class ScsiTransport {
 public:
  virtual ~ScsiTransport() = default;
  virtual void device_added(ScsiDevice& device) { static_cast<void>(device); }
  /// It goes: no command is under way any more when this returns.
  virtual void device_removed(ScsiDevice& device) = 0;
  /// The next command will be told of a change (capacity, medium), which drivers may be told of at once.
  virtual void unit_attention(ScsiDevice& device, ScsiSense what) {
    static_cast<void>(device);
    static_cast<void>(what);
  }
};

class ScsiBus final : public Bus {
 public:
  static constexpr const char* kTypeName = "SCSI";
  struct Limits {
    u32 channels = 1, targets = 256, luns = 16384;
  };

  /// By the controller, after add_bus.
  void set_transport(ScsiTransport& transport, Limits limits) {
    transport_ = &transport;
    limits_ = limits;
  }
  /// Before the controller goes; its devices went already.
  void clear_transport() { transport_ = nullptr; }

  /// Null when there is none, or it is not realized.
  ScsiDevice* find(const ScsiAddress& address) const;
  bool has_target(u32 channel, u32 target) const;
  /// LUNs of one target in order; 0 is always among them, as SAM wants.
  std::vector<u32> luns(u32 channel, u32 target) const;
  /// What a target says of a unit that it does not have; SPC-4 6.6.2, 6.33.
  ScsiResult answer_without_unit(u32 channel, u32 target, std::span<const u8> cdb, block::IoVec data) const;

  Result<void> attach(Device& device) override;
  std::string device_address(const Device& device) const override;

 private:
  friend class ScsiDevice;
  ScsiTransport* transport_ = nullptr;
  Limits limits_;
};

/// Registers "SCSI", "scsi-device", "scsi-hd" and "scsi-cd".
void register_scsi_devices(TypeRegistry& registry);

}  // namespace emu::hw
