// SPDX-License-Identifier: Apache-2.0
// ATAPI CD-ROM drive: PACKET commands go to a SCSI unit. ATA/ATAPI-7 (T13/1532D), chapters 6 and 9.
#pragma once

#include "hw/ide/ide_device.h"

namespace emu::hw {

/// "ide-cd".
class IdeCd final : public IdeDevice {
 public:
  static void describe(TypeInfo<IdeCd>& type);

  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override { drive_reset(true); }

  bool is_atapi() const override { return true; }
  AtaPlan plan(const AtaTaskFile& registers) override;
  ScsiUnit* unit() override { return scsi_.get(); }
  void drive_reset(bool hard) override;

  void resized() override { scsi_->medium_changed(backend().has_medium()); }
  void medium_changed(bool present) override { scsi_->medium_changed(present); }
  void eject_requested(bool force) override { scsi_->eject_requested(force); }
  bool is_removable() const override { return true; }
  bool is_tray_open() const override { return scsi_ != nullptr && scsi_->is_tray_open(); }
  bool is_medium_locked() const override { return scsi_ != nullptr && scsi_->is_locked(); }

 private:
  struct State {
    u8 multiword_dma = 0, ultra_dma = 5;
    bool uses_ultra_dma = true;
  };
  void fields(Archive& ar);
  Result<void> after_load();
  u8 set_features(const AtaTaskFile& registers);
  std::vector<u8> identify() const;
  Task<u8> execute(IdeRequest& request) override;

  State state_;
  std::unique_ptr<ScsiUnit> scsi_;
};

}  // namespace emu::hw
