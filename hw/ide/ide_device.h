// SPDX-License-Identifier: Apache-2.0
// What IDE channels and AHCI ports see of a drive, and the bus it is on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/block_backend.h"
#include "hw/core/device.h"
#include "hw/ide/ata_defs.h"
#include "hw/scsi/scsi_unit.h"

namespace emu::hw {

/// The command block registers. Each of the 16-bit ones is two deep for 48-bit commands: the byte written last is low.
struct AtaTaskFile {
  u8 command = 0, device = 0;
  u16 feature = 0, count = 0, lba_low = 0, lba_mid = 0, lba_high = 0;

  u64 lba48() const {
    const auto three = [](u16 low, u16 mid, u16 high) {
      return u64(low & 0xff) | (mid & 0xff) << 8 | (high & 0xff) << 16;
    };
    return three(lba_low, lba_mid, lba_high) |
           three(u16(lba_low >> 8), u16(lba_mid >> 8), u16(lba_high >> 8)) << 24;
  }
  void set_lba48(u64 lba) {
    lba_low = u16((lba & 0xff) | (lba >> 24 & 0xff) << 8);
    lba_mid = u16((lba >> 8 & 0xff) | (lba >> 32 & 0xff) << 8);
    lba_high = u16((lba >> 16 & 0xff) | (lba >> 40 & 0xff) << 8);
  }
  void fields(qom::Archive& ar) {
    ar("command", command)("device", device)("feature", feature)("count", count);
    ar("lba_low", lba_low)("lba_mid", lba_mid)("lba_high", lba_high);
  }
};

enum class AtaProtocol : u8 { NonData, PioIn, PioOut, DmaIn, DmaOut, Packet };
constexpr bool is_dma(AtaProtocol p) { return p == AtaProtocol::DmaIn || p == AtaProtocol::DmaOut; }
constexpr bool is_in(AtaProtocol p) { return p == AtaProtocol::PioIn || p == AtaProtocol::DmaIn; }

/// A checked command.
struct AtaPlan {
  AtaProtocol protocol = AtaProtocol::NonData;
  u8 error = 0;              ///< error register; then nothing is carried out
  u64 bytes = 0;             ///< of data
  u32 drq_bytes = ata::kSector;  ///< of each PIO block
  u64 lba = 0;
  bool queued = false;       ///< NCQ
  bool forces_unit_access = false;
};

/// One transfer (a command, or a part of its data) on its way. The device fills in the results.
struct IdeRequest {
  AtaTaskFile registers;  ///< as given; as changed by the command
  AtaPlan plan;
  bool is_packet = false;
  ScsiCommand packet;
  u64 offset = 0;                         ///< in the command's data
  std::vector<u8> buffer;                 ///< data here (PIO),
  std::vector<mem::PinnedSpan> pins;      ///< or there (DMA)
  std::vector<iovec> parts;

  u8 error = 0;  ///< error register
  ScsiResult packet_result;

  /// Fills `parts` from what is there.
  void collect();
  u64 room() const { return block::total_bytes(parts); }
};

class IdeBus;

/// A drive. Machine lock for all of it.
class IdeDevice : public Device, public block::BlockFrontend {
 public:
  static constexpr const char* kTypeName = "ide-device";
  static void describe(TypeInfo<IdeDevice>& type);
  IdeDevice();
  ~IdeDevice() override;

  virtual bool is_atapi() const = 0;
  /// Checks a command, and carries out what concerns only the drive's own registers and settings.
  virtual AtaPlan plan(const AtaTaskFile& registers) = 0;
  /// Checks a CDB; on the backend's loop, so from a request's `prepare`.
  virtual ScsiUnit* unit() { return nullptr; }
  /// As after power on, SRST, COMRESET; `hard` forgets SET FEATURES, too.
  virtual void drive_reset(bool hard) = 0;
  /// What the registers say after a reset or EXECUTE DEVICE DIAGNOSTIC.
  AtaTaskFile signature() const;

  using Done = std::function<void(IdeRequest&)>;
  /// Carries `request` out on the main loop; then `done` with the machine lock held. `prepare`, when given, runs there
  /// first, and may say (false) that there is nothing to do: then `done` comes at once.
  void submit(std::shared_ptr<IdeRequest> request, Done done, std::function<bool(IdeRequest&)> prepare = {});
  unsigned requests_under_way() const { return under_way_; }

  unsigned unit_number() const { return place_; }
  block::BlockBackend& backend() const { return *backend_; }
  std::optional<i32> boot_index() const { return boot_index_; }

 protected:
  friend class IdeBus;
  /// Carries a request out; on the backend's loop, no lock held after the first wait.
  virtual Task<u8> execute(IdeRequest& request) = 0;
  Result<void> attach_backend(bool needs_medium);
  void detach_backend();
  IdeBus& ide_bus() const;

  block::BlockBackend* drive_ = nullptr;  ///< as given
  std::optional<u32> unit_;
  std::optional<i32> boot_index_;
  std::string serial_, model_, version_ = "2.5+";
  u64 wwn_ = 0;
  qom::OnOffAuto write_cache_wish_ = qom::OnOffAuto::Auto;

 private:
  struct Empty;
  Task<void> run(std::shared_ptr<IdeRequest> request, Done done);

  block::BlockBackend* backend_ = nullptr;  ///< that, or an empty one
  std::unique_ptr<Empty> empty_;
  std::unique_ptr<TaskOwner> owner_;
  std::shared_ptr<bool> alive_;
  unsigned under_way_ = 0;
  unsigned place_ = 0;
  block::ErrorWish on_write_error_ = block::ErrorWish::Auto, on_read_error_ = block::ErrorWish::Auto;
  bool share_rw_ = false;
};

/// A cable: two drives on parallel ATA, one on serial. Made by the controller.
class IdeBus final : public Bus {
 public:
  static constexpr const char* kTypeName = "IDE";
  static constexpr unsigned kUnits = 2;

  void set_serial(bool serial) { serial_ = serial; }
  bool is_serial() const { return serial_; }
  IdeDevice* at(unsigned unit) const { return drives_[unit]; }
  unsigned capacity() const { return serial_ ? 1 : kUnits; }

  /// Told when a drive comes or goes.
  void set_listener(std::function<void(unsigned unit)> listener) { listener_ = std::move(listener); }
  Result<void> attach(Device& device) override;
  void detach(Device& device) override;
  bool is_full() const override;

 private:
  std::array<IdeDevice*, kUnits> drives_{};
  bool serial_ = false;
  std::function<void(unsigned)> listener_;
};

/// Registers "IDE", "ide-device", "ide-hd" and "ide-cd".
void register_ide_drives(TypeRegistry& registry);

}  // namespace emu::hw
