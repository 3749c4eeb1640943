// SPDX-License-Identifier: Apache-2.0
// A SCSI logical unit, disk or CD-ROM, over a block backend. SPC-4, SBC-3, MMC-6, by command name.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "block/block_backend.h"
#include "hw/scsi/scsi_defs.h"
#include "qom/archive.h"
#include "util/endian.h"

namespace emu::hw {

enum class ScsiDirection : u8 { None, In, Out };  ///< In: to the initiator

/// A checked command: how much data it moves, and whether it can be carried out at all.
struct ScsiCommand {
  std::array<u8, 16> cdb{};
  ScsiDirection direction = ScsiDirection::None;
  u64 bytes = 0;  ///< at most so many
  /// The data are blocks of the medium and may be moved in parts; else all of it goes in one.
  bool is_splittable = false;
  u64 lba = 0, blocks = 0;
  ScsiSense refused;  ///< then there is no data, and execute() says just this
};

struct ScsiResult {
  u8 status = scsi::GOOD;
  u64 bytes = 0;  ///< moved
  ScsiSense sense;
};

struct ScsiUnitConfig {
  enum class Kind : u8 { Disk, CdRom };
  Kind kind = Kind::Disk;
  bool atapi = false;
  bool removable = false;  ///< a CD-ROM always is
  bool dpofua = false;
  std::string vendor = "QEMU", product, version = "2.5+", serial, device_id;
  u64 wwn = 0, port_wwn = 0;
  u16 port_index = 0;
  u32 logical_block = 512, physical_block = 512;
  u16 rotation_rate = 0;  ///< 0: not said; 1: solid state
  u32 min_io = 0, opt_io = 0;            ///< bytes; 0: not said
  u32 discard_granularity = 0;           ///< bytes; 0: the backend's
  u32 max_unmap_bytes = 1u << 30;        ///< of one command
  u64 max_io_bytes = 0;                  ///< of one transfer; 0: the backend's
};

/// Carries out commands for a transport, which brings the data's buffers. All calls on the backend's loop, but for
/// reset, medium_changed and its like (main loop, machine lock held). A guest's commands may overlap in time.
class ScsiUnit {
 public:
  /// `luns` gives the numbers of all units of the target, for REPORT LUNS; none: this one is 0 and alone.
  ScsiUnit(block::BlockBackend& backend, ScsiUnitConfig config, std::function<std::vector<u32>()> luns = {});

  const ScsiUnitConfig& config() const { return config_; }
  block::BlockBackend& backend() const { return backend_; }

  /// Power on, bus or device reset: mode pages are as at first, and the next command is told.
  void reset();
  /// Checks a CDB of which `cdb.size()` bytes are there. Takes a pending unit attention, which refuses the command.
  ScsiCommand prepare(std::span<const u8> cdb);
  /// Moves the part of the data from `offset` on that `data` has room for. `offset` is 0 unless is_splittable.
  Task<ScsiResult> execute(const ScsiCommand& command, block::IoVec data, u64 offset = 0);

  /// What a reset restores; before the first command.
  void set_default_write_cache(bool enabled);

  void resized() { attentions_ |= kCapacityChanged; }
  void medium_changed(bool present);
  /// True when the medium is free to go; otherwise the guest was asked.
  bool eject_requested(bool force);
  bool is_tray_open() const { return tray_open_; }
  bool is_locked() const { return locked_; }

  /// The last CHECK CONDITION's, for ATAPI, which has no autosense; other transports have told it with the status.
  ScsiSense last_sense() const { return sense_; }
  static std::array<u8, 18> fixed_sense(const ScsiSense& sense);

  void fields(qom::Archive& ar);
  Result<void> after_load();

  struct Reply {
    std::vector<u8> data;
    ScsiSense sense;
  };

 private:
  struct Row;
  struct Profile;
  static const Row* find_row(u8 opcode, bool is_cd);
  bool is_cd() const { return config_.kind == ScsiUnitConfig::Kind::CdRom; }
  bool is_ready() const { return backend_.has_medium() && !tray_open_; }
  ScsiSense not_ready() const;
  ScsiSense take_attention();
  void move_tray(bool open);
  u64 blocks() const { return backend_.bytes() / config_.logical_block; }
  ScsiSense from_errno(int status, bool writing) const;
  void prepare_transfer(ScsiCommand& command, const Row& row);

  // scsi_unit.cpp
  void nothing(const ScsiCommand& command, Reply& reply);
  void request_sense(const ScsiCommand& command, Reply& reply);
  void start_stop(const ScsiCommand& command, Reply& reply);
  void prevent_allow(const ScsiCommand& command, Reply& reply);
  // scsi_inquiry.cpp
  void inquiry(const ScsiCommand& command, Reply& reply);
  void vital_product_data(u8 page, Reply& reply);
  std::vector<u8> device_identification() const;
  std::vector<u8> block_limits() const;
  void report_luns(const ScsiCommand& command, Reply& reply);
  // scsi_mode.cpp
  enum class PageControl : u8 { Current, Changeable, Default, Saved };
  std::vector<u8> mode_page(u8 page, PageControl control) const;
  void mode_sense(const ScsiCommand& command, Reply& reply);
  ScsiSense mode_select(const ScsiCommand& command, std::span<const u8> list);
  ScsiSense apply_mode_page(std::span<const u8> page);
  // scsi_medium.cpp
  void read_capacity_10(const ScsiCommand& command, Reply& reply);
  void service_action_in(const ScsiCommand& command, Reply& reply);
  Task<ScsiSense> read(const ScsiCommand& command, block::IoVec data, u64 offset);
  Task<ScsiSense> write(const ScsiCommand& command, block::IoVec data, u64 offset);
  Task<ScsiSense> verify(const ScsiCommand& command, block::IoVec data, u64 offset);
  Task<ScsiSense> synchronize_cache(const ScsiCommand& command, block::IoVec data, u64 offset);
  Task<ScsiSense> unmap(const ScsiCommand& command, block::IoVec data, u64 offset);
  Task<ScsiSense> write_same(const ScsiCommand& command, block::IoVec data, u64 offset);
  Task<ScsiSense> mode_select_task(const ScsiCommand& command, block::IoVec data, u64 offset);
  // scsi_mmc.cpp
  bool is_dvd() const;
  void read_toc(const ScsiCommand& command, Reply& reply);
  void get_configuration(const ScsiCommand& command, Reply& reply);
  void get_event_status(const ScsiCommand& command, Reply& reply);
  void read_disc_information(const ScsiCommand& command, Reply& reply);
  void read_sub_channel(const ScsiCommand& command, Reply& reply);
  void read_dvd_structure(const ScsiCommand& command, Reply& reply);
  void mechanism_status(const ScsiCommand& command, Reply& reply);

  // Attentions, the one to be told first lowest.
  static constexpr u8 kReset = 1, kMediumChanged = 2, kCapacityChanged = 4;
  // Media events, MMC-6 GET EVENT STATUS NOTIFICATION
  static constexpr u32 kMaxUnmapDescriptors = 255;
  static constexpr u64 kMaxWriteSameBytes = 1u << 30;
  static constexpr u8 kNoEvent = 0, kEjectRequest = 1, kNewMedia = 2, kMediaRemoval = 3;

  block::BlockBackend& backend_;
  const ScsiUnitConfig config_;
  const std::function<std::vector<u32>()> luns_;
  std::atomic<ScsiSense> sense_{ScsiSense{}};
  bool default_write_cache_;
  std::atomic<bool> write_cache_;  ///< WCE, as the backend was told
  std::atomic<u8> attentions_{kReset};
  std::atomic<bool> tray_open_{false}, locked_{false};
  std::atomic<u8> event_{kNoEvent};
};

namespace scsi {

// Big-endian fields of CDBs, parameters and replies; the caller has checked the length.
template <typename T>
T get_be(const u8* from) {
  Ordered<T, std::endian::big> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v.get();
}
template <typename T>
void put_be(u8* to, T value) {
  const Ordered<T, std::endian::big> v(value);
  __builtin_memcpy(to, &v, sizeof v);
}
inline u32 get_be24(const u8* from) { return u32(from[0]) << 16 | u32(from[1]) << 8 | from[2]; }
/// ASCII, left-aligned, filled with blanks, in exactly `length` bytes.
void put_text(u8* to, unsigned length, const std::string& text);

/// What REPORT LUNS answers, SPC-4 6.33; numbers below 16384.
std::vector<u8> lun_list(std::span<const u32> luns);

/// Copies into the buffers, at most what they hold; returns how much.
u64 copy_in(block::IoVec to, std::span<const u8> from);
/// Copies out of the buffers once, so that what is checked is what is used.
std::vector<u8> copy_out(block::IoVec from, u64 bytes);
/// The same for the part at `offset`, as much of it as there is; returns how much.
u64 copy_out_at(block::IoVec from, u64 offset, std::span<u8> to);

}  // namespace scsi

}  // namespace emu::hw
