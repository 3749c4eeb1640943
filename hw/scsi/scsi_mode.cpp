// SPDX-License-Identifier: Apache-2.0
// Mode pages: SPC-4 7.5, SBC-3 6.4, MMC-6 7.
#include <algorithm>

#include "hw/scsi/scsi_unit.h"

namespace emu::hw {

using namespace scsi;

namespace {

constexpr u8 kErrorRecovery = 0x01, kCaching = 0x08, kControl = 0x0a, kAudioControl = 0x0e, kPowerCondition = 0x1a,
             kCdCapabilities = 0x2a, kAllPages = 0x3f;
constexpr u8 kDiskPages[] = {kErrorRecovery, kCaching, kControl};
constexpr u8 kCdPages[] = {kErrorRecovery, kAudioControl, kPowerCondition, kCdCapabilities};
constexpr u8 kWriteCacheEnable = 0x04;
constexpr u8 kWriteProtect = 0x80, kDpoFua = 0x10;

}  // namespace

/// With its two header bytes; empty when there is no such page.
std::vector<u8> ScsiUnit::mode_page(u8 page, PageControl control) const {
  const bool changeable = control == PageControl::Changeable;
  std::vector<u8> d;
  const auto make = [&](unsigned size) {
    d.assign(size, 0);
    d[0] = page;
    d[1] = u8(size - 2);
  };
  if (!is_cd() && page == kErrorRecovery) {
    make(12);
    if (!changeable) d[2] = 0x80;  // AWRE
  } else if (!is_cd() && page == kCaching) {
    make(20);
    const bool enabled = control == PageControl::Default ? default_write_cache_ : write_cache_.load();
    if (changeable || enabled) d[2] = kWriteCacheEnable;
  } else if (!is_cd() && page == kControl) {
    make(12);
    if (!changeable) d[3] = 0x10;  // unrestricted reordering
  } else if (is_cd() && page == kErrorRecovery) {
    make(8);
    if (!changeable) d[3] = 0x20;  // read retry count
  } else if (is_cd() && page == kAudioControl) {
    make(16);
    if (!changeable) {
      d[2] = 0x04;  // immediate
      d[8] = 1, d[9] = 0xff, d[10] = 2, d[11] = 0xff;
    }
  } else if (is_cd() && page == kPowerCondition) {
    make(12);
  } else if (is_cd() && page == kCdCapabilities) {
    make(22);
    if (changeable) return d;
    d[2] = 0x3b;                                    // reads CD-R, CD-RW, DVD-ROM, DVD-R, DVD-RAM
    d[4] = 0x70;                                    // mode 2 form 1 and 2, multi-session
    d[6] = u8(0x29 | (locked_ ? 0x02 : 0));         // tray, eject, lock
    put_be<u16>(&d[8], 706);                        // 4x, in kB/s
    put_be<u16>(&d[10], 2);                         // volume levels
    put_be<u16>(&d[12], 512);                       // buffer, KiB
    put_be<u16>(&d[14], 706);
  }
  return d;
}

void ScsiUnit::mode_sense(const ScsiCommand& command, Reply& reply) {
  const auto& cdb = command.cdb;
  const bool is_long = cdb[0] == MODE_SENSE_10;
  const u8 page = cdb[2] & 0x3f, subpage = cdb[3];
  const auto control = PageControl(cdb[2] >> 6);
  if (control == PageControl::Saved) {
    reply.sense = sense::kSavingNotSupported;
    return;
  }
  std::vector<u8> pages;
  const auto add = [&](u8 number) {
    const std::vector<u8> bytes = mode_page(number, control);
    pages.insert(pages.end(), bytes.begin(), bytes.end());
  };
  if (page == kAllPages) {
    for (const u8 number : is_cd() ? std::span<const u8>(kCdPages) : std::span<const u8>(kDiskPages)) add(number);
  } else {
    add(page);
  }
  // Page 0 is "no page": the header alone.
  const bool subpage_ok = subpage == 0 || (page == kAllPages && subpage == 0xff);
  if ((pages.empty() && page != 0) || !subpage_ok) {
    reply.sense = sense::kInvalidField;
    return;
  }

  const bool long_lba = is_long && (cdb[1] & 0x10);
  std::vector<u8> descriptor;
  if (!is_cd() && !(cdb[1] & 0x08)) {
    const u64 count = is_ready() ? blocks() : 0;
    descriptor.assign(long_lba ? 16 : 8, 0);
    if (long_lba) {
      put_be<u64>(&descriptor[0], count);
      put_be<u32>(&descriptor[12], config_.logical_block);
    } else {
      put_be<u32>(&descriptor[0], u32(std::min<u64>(count, count > 0xff'ffff && !is_long ? 0 : 0xffff'ffff)));
      put_be<u32>(&descriptor[4], config_.logical_block & 0xff'ffff);
    }
  }
  u8 device_specific = 0;
  if (!is_cd()) {
    device_specific = u8((backend_.is_read_only() ? kWriteProtect : 0) | (config_.dpofua ? kDpoFua : 0));
  }
  std::vector<u8>& d = reply.data;
  const size_t total = (is_long ? 8 : 4) + descriptor.size() + pages.size();
  if (is_long) {
    d.assign(8, 0);
    put_be<u16>(&d[0], u16(total - 2));
    d[3] = device_specific;
    d[4] = long_lba ? 1 : 0;
    put_be<u16>(&d[6], u16(descriptor.size()));
  } else {
    d = {u8(total - 1), 0, device_specific, u8(descriptor.size())};
  }
  d.insert(d.end(), descriptor.begin(), descriptor.end());
  d.insert(d.end(), pages.begin(), pages.end());
}

ScsiSense ScsiUnit::mode_select(const ScsiCommand& command, std::span<const u8> list) {
  const bool is_long = command.cdb[0] == MODE_SELECT_10;
  if (command.cdb[1] & 0x01) return sense::kInvalidField;  // SP: nothing can be saved
  if (list.size() < command.bytes) return sense::kParameterListLength;
  if (list.empty()) return {};
  if (!(command.cdb[1] & 0x10)) return sense::kInvalidField;  // PF
  const size_t header = is_long ? 8 : 4;
  if (list.size() < header) return sense::kParameterListLength;
  const size_t descriptor = is_long ? get_be<u16>(&list[6]) : list[3];
  if (descriptor > list.size() - header) return sense::kParameterListLength;
  const bool long_lba = is_long && (list[4] & 1);
  if (descriptor != 0) {
    if (descriptor != (long_lba ? 16u : 8u)) return sense::kInvalidParameter;
    const u8* d = &list[header];
    const u32 block = long_lba ? get_be<u32>(d + 12) : get_be24(d + 5);
    if (block != config_.logical_block && !is_cd()) return sense::kInvalidParameter;
  }
  // All pages are checked before any is taken over.
  for (const bool apply : {false, true}) {
    std::span<const u8> rest = list.subspan(header + descriptor);
    while (!rest.empty()) {
      if (rest.size() < 2) return sense::kParameterListLength;
      const u8 number = rest[0] & 0x3f;
      if (rest[0] & 0x40) return sense::kInvalidParameter;  // subpages
      const std::vector<u8> present = mode_page(number, PageControl::Current);
      if (present.empty() || rest[1] != present.size() - 2) return sense::kInvalidParameter;
      if (rest.size() < present.size()) return sense::kParameterListLength;
      const std::vector<u8> mask = mode_page(number, PageControl::Changeable);
      const auto given = rest.first(present.size());
      if (!is_cd()) {
        for (size_t i = 2; i < present.size(); i++) {
          if ((given[i] ^ present[i]) & ~mask[i]) return sense::kInvalidParameter;
        }
      }
      if (apply) {
        if (const ScsiSense failed = apply_mode_page(given)) return failed;
      }
      rest = rest.subspan(present.size());
    }
  }
  return {};
}

ScsiSense ScsiUnit::apply_mode_page(std::span<const u8> page) {
  if (!is_cd() && (page[0] & 0x3f) == kCaching) {
    write_cache_ = page[2] & kWriteCacheEnable;
    backend_.set_write_cache(write_cache_);
  }
  return {};  // what a CD-ROM drive is told of retries and volume has no effect
}

Task<ScsiSense> ScsiUnit::mode_select_task(const ScsiCommand& command, block::IoVec data, u64) {
  const std::vector<u8> list = copy_out(data, command.bytes);
  const bool had_cache = write_cache_;
  const ScsiSense result = mode_select(command, list);
  // What is in the cache when it is switched off must not stay there.
  if (had_cache && !write_cache_ && backend_.has_medium()) static_cast<void>(co_await backend_.flush());
  co_return result;
}

}  // namespace emu::hw
