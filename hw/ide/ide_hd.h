// SPDX-License-Identifier: Apache-2.0
// ATA hard disk. ATA8-ACS (T13/1699-D), by command name.
#pragma once

#include <atomic>

#include "hw/ide/ide_device.h"

namespace emu::hw {

/// "ide-hd". Deviations: no security, host protected area or download of firmware; power modes are kept, nothing
/// sleeps.
class IdeHd final : public IdeDevice {
 public:
  static constexpr unsigned kMaxMultiple = 16;
  static void describe(TypeInfo<IdeHd>& type);

  Result<void> realize() override;
  void unrealize() override { detach_backend(); }
  void reset_enter() override { drive_reset(true); }

  bool is_atapi() const override { return false; }
  AtaPlan plan(const AtaTaskFile& registers) override;
  void drive_reset(bool hard) override;
  void resized() override { sectors_ = backend().bytes() / ata::kSector; }

 private:
  struct State {
    u16 heads = 16, sectors_per_track = 63;  ///< as INITIALIZE DEVICE PARAMETERS says
    u8 multiple = kMaxMultiple;              ///< sectors a block of READ MULTIPLE; 0: not allowed
    u8 multiword_dma = 0, ultra_dma = 5;     ///< mode
    bool uses_ultra_dma = true;
    bool write_cache = true, look_ahead = true, smart = true, smart_autosave = true;
    u8 power_mode = 0xff;  ///< as CHECK POWER MODE answers: active
    // The queued command that failed first, for log 10h.
    u8 failed_tag = 0x80, failed_error = 0;
    u64 failed_lba = 0;
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  AtaPlan transfer_plan(const AtaTaskFile& registers, AtaProtocol protocol, bool wide);
  AtaPlan queued_plan(const AtaTaskFile& registers);
  AtaPlan data_in(u32 bytes) const;
  std::optional<u64> address(const AtaTaskFile& registers, bool wide) const;
  AtaPlan smart_plan(const AtaTaskFile& registers);
  u8 set_features(const AtaTaskFile& registers);
  u8 set_transfer_mode(u8 mode);
  void answer_native_max(IdeRequest& request) const;
  std::vector<u8> reply(const IdeRequest& request) const;
  std::vector<u8> identify() const;
  std::vector<u8> smart_data(u8 feature, u8 log) const;
  std::vector<u8> log_page(const AtaTaskFile& registers) const;
  Task<u8> execute(IdeRequest& request) override;
  void note_queued_failure(const AtaTaskFile& registers, u8 failed);
  Task<u8> move(IdeRequest& request);
  Task<u8> trim(IdeRequest& request);

  State state_;
  std::atomic<u64> sectors_{0};
  u32 physical_block_ = 512;
  u16 rotation_rate_ = 0;
};

namespace ata {

// IDENTIFY's words.
inline void put_word(std::vector<u8>& d, unsigned word, u16 value) {
  d[2 * word] = u8(value);
  d[2 * word + 1] = u8(value >> 8);
}
/// Two characters a word, the first in its high byte.
void put_string(std::vector<u8>& d, unsigned word, unsigned words, const std::string& text);
/// What word 255 of IDENTIFY, and SMART's data, end in: the signature, and a byte that makes the sum zero.
void put_checksum(std::vector<u8>& d, std::optional<u8> signature);

}  // namespace ata

}  // namespace emu::hw
