// SPDX-License-Identifier: Apache-2.0
// A SCSI bus as a transport (virtio-scsi) makes it, and the disks and CD-ROMs that plug into it. SAM-5.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "block/disk_backend.h"
#include "hw/core/device.h"
#include "hw/core/io_thread.h"
#include "hw/scsi/scsi_session.h"

namespace emu::hw {

class ScsiBus;

/// Where a unit is.
struct ScsiAddress {
  u32 channel = 0, target = 0, lun = 0;
  auto operator<=>(const ScsiAddress&) const = default;
};

/// Base of "scsi-hd" and "scsi-cd". The transport runs commands, through session().
class ScsiDevice : public Device {
 public:
  static constexpr const char* kTypeName = "scsi-device";
  static void describe(TypeInfo<ScsiDevice>& type);
  ~ScsiDevice() override;

  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override { session_->unit().reset(); }

  /// After realize.
  ScsiSession& session() const { return *session_; }
  ScsiUnit& unit() const { return session_->unit(); }
  block::BlockBackend& backend() const { return *drive_; }
  const ScsiAddress& address() const { return address_; }
  std::optional<i32> boot_index() const { return boot_index_; }
  bool is_cd() const { return kind_ == ScsiUnitConfig::Kind::CdRom; }

 protected:
  explicit ScsiDevice(ScsiUnitConfig::Kind kind) : kind_(kind) {}

 private:
  friend class ScsiBus;
  friend class ScsiHd;
  class EmptyDrive;

  void fields(Archive& ar) { unit().fields(ar); }
  Result<void> after_load() { return unit().after_load(); }
  Result<void> check_config() const;
  Result<void> attach_drive(ScsiSession& session);
  ScsiUnitConfig unit_config() const;
  ScsiBus& scsi_bus() const;

  const ScsiUnitConfig::Kind kind_;
  block::BlockBackend* drive_ = nullptr;
  std::optional<u32> channel_, target_, lun_;
  std::optional<i32> boot_index_;
  qom::OnOffAuto write_cache_wish_ = qom::OnOffAuto::Auto;
  block::ErrorWish on_write_error_ = block::ErrorWish::Auto, on_read_error_ = block::ErrorWish::Auto;
  std::string vendor_ = "QEMU", product_, version_ = "2.5+", serial_, device_id_;
  u64 wwn_ = 0, port_wwn_ = 0, max_unmap_ = 1u << 30, max_io_ = 0x7fff'ffff;
  u16 port_index_ = 0, rotation_rate_ = 0, min_io_ = 0;
  u32 logical_block_ = 512, physical_block_ = 512, opt_io_ = 0, discard_granularity_ = ~0u;
  bool removable_ = false, dpofua_ = false, share_rw_ = false;
  ScsiAddress address_;
  std::shared_ptr<block::BlockBackend> empty_;  ///< of a CD-ROM drive without drive=
  std::shared_ptr<ScsiSession> session_;
  EventLoop* home_loop_ = nullptr;    ///< of the drive, without us
  IoThreadObject* thread_ = nullptr;  ///< where commands run, if not there
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

/// What a transport hears. Main loop, machine lock held, but for unit_attention.
class ScsiTransport {
 public:
  virtual ~ScsiTransport() = default;
  /// The thread where units are to work; null: where their drives are.
  virtual IoThreadObject* scsi_thread() { return nullptr; }
  /// The next command will be told of a change (capacity, medium), which drivers may be told of at once. Any thread.
  virtual void unit_attention(const ScsiAddress& address, bool is_cd, ScsiSense what) {
    static_cast<void>(address);
    static_cast<void>(is_cd);
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
  ScsiTransport* transport() const { return transport_; }

  // What is there for commands. Any thread. ------------------------------------------------------------------------
  /// Null when there is none.
  std::shared_ptr<ScsiSession> find(const ScsiAddress& address) const;
  bool has_target(u32 channel, u32 target) const;
  /// LUNs of one target in order; 0 is always among them, as SAM wants.
  std::vector<u32> luns(u32 channel, u32 target) const;
  /// All sessions, or those of one target.
  std::vector<std::shared_ptr<ScsiSession>> sessions() const;
  std::vector<std::shared_ptr<ScsiSession>> sessions(u32 channel, u32 target) const;
  /// What a target says of a unit that it does not have; SPC-4 6.6.2, 6.33.
  ScsiResult answer_without_unit(u32 channel, u32 target, std::span<const u8> cdb, block::IoVec data) const;

  Result<void> attach(Device& device) override;
  std::string device_address(const Device& device) const override;

 private:
  friend class ScsiDevice;
  void add(const ScsiAddress& address, std::shared_ptr<ScsiSession> session);
  void remove(const ScsiAddress& address);
  Result<ScsiAddress> place(const ScsiDevice& device) const;

  ScsiTransport* transport_ = nullptr;
  Limits limits_;
  mutable std::mutex mutex_;  ///< sessions_; nothing is called under it
  std::map<ScsiAddress, std::shared_ptr<ScsiSession>> sessions_;
};

/// Registers "SCSI", "scsi-device", "scsi-hd" and "scsi-cd".
void register_scsi_devices(TypeRegistry& registry);

}  // namespace emu::hw
