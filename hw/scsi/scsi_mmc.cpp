// SPDX-License-Identifier: Apache-2.0
// What a CD-ROM drive says of its disc. MMC-6, by command name. The disc has one session with one data track.
#include <algorithm>

#include "hw/scsi/scsi_unit.h"

namespace emu::hw {

using namespace scsi;

namespace {

constexpr u64 kLongestCdBlocks = 80 * 60 * 75;
constexpr u16 kProfileNone = 0x0000, kProfileCdRom = 0x0008, kProfileDvdRom = 0x0010;
constexpr u8 kDataTrack = 0x14;  // ADR 1: position; control 4: data
constexpr u8 kLeadOut = 0xaa;

void put_msf(u8* to, u64 lba) {
  const u64 frames = lba + 150;
  to[0] = 0;
  to[1] = u8(std::min<u64>(frames / 75 / 60, 255));
  to[2] = u8(frames / 75 % 60);
  to[3] = u8(frames % 75);
}

void put_address(u8* to, u64 lba, bool msf) {
  if (msf)
    put_msf(to, lba);
  else
    put_be<u32>(to, u32(lba));
}

}  // namespace

bool ScsiUnit::is_dvd() const { return blocks() > kLongestCdBlocks; }

void ScsiUnit::read_toc(const ScsiCommand& command, Reply& reply) {
  const auto& cdb = command.cdb;
  const bool msf = cdb[1] & 2;
  const u8 format = (cdb[2] & 0xf) != 0 ? cdb[2] & 0xf : cdb[9] >> 6;  // SFF-8020 had it in the last byte
  const u8 start = cdb[6];
  const u64 end = blocks();
  std::vector<u8>& d = reply.data;
  d = {0, 0, 1, 1};  // first and last track, or session
  const auto track = [&](u8 number, u64 lba) {
    const size_t at = d.size();
    d.resize(at + 8);
    d[at + 1] = kDataTrack;
    d[at + 2] = number;
    put_address(&d[at + 4], lba, msf);
  };
  if (format == 0) {
    if (start > 1 && start != kLeadOut) {
      reply.sense = sense::kInvalidField;
      return;
    }
    if (start <= 1) track(1, 0);
    track(kLeadOut, end);
  } else if (format == 1) {
    track(1, 0);
  } else if (format == 2) {
    const auto point = [&](u8 number, u8 minute, u8 second, u8 frame) {
      d.insert(d.end(), {1, kDataTrack, 0, number, 0, 0, 0, 0, minute, second, frame});
    };
    point(0xa0, 1, 0, 0);  // first track; disc type CD-ROM
    point(0xa1, 1, 0, 0);
    u8 address[4];
    put_msf(address, end);
    point(0xa2, address[1], address[2], address[3]);
    put_msf(address, 0);
    point(1, address[1], address[2], address[3]);
  } else {
    reply.sense = sense::kInvalidField;
    return;
  }
  put_be<u16>(&d[0], u16(d.size() - 2));
}

void ScsiUnit::get_configuration(const ScsiCommand& command, Reply& reply) {
  const u8 wanted = command.cdb[1] & 3;  // 0: all, 1: current, 2: one
  const u16 first = get_be<u16>(&command.cdb[2]);
  if (wanted == 3) {
    reply.sense = sense::kInvalidField;
    return;
  }
  const u16 profile = !is_ready() ? kProfileNone : is_dvd() ? kProfileDvdRom : kProfileCdRom;
  std::vector<u8>& d = reply.data;
  d.assign(8, 0);
  put_be<u16>(&d[6], profile);
  const auto feature = [&](u16 code, u8 version, bool persistent, bool current, std::vector<u8> data) {
    if (wanted == 2 ? code != first : code < first) return;
    if (wanted == 1 && !current) return;
    d.insert(d.end(), {u8(code >> 8), u8(code), u8(version << 2 | (persistent ? 2 : 0) | (current ? 1 : 0)),
                       u8(data.size())});
    d.insert(d.end(), data.begin(), data.end());
  };
  const bool is_cd = profile == kProfileCdRom, is_dvd = profile == kProfileDvdRom;
  feature(0x0000, 0, true, true, {0, kProfileDvdRom, u8(is_dvd), 0, 0, kProfileCdRom, u8(is_cd), 0});
  feature(0x0001, 2, true, true, {0, 0, 0, u8(config_.atapi ? 2 : 1), 1, 0, 0, 0});  // core: interface, DBE
  feature(0x0002, 1, true, true, {2, 0, 0, 0});                                      // morphing: polled events
  feature(0x0003, 1, true, true, {0x29, 0, 0, 0});                                   // removable: tray, eject, lock
  feature(0x0010, 0, false, is_cd || is_dvd, {0, 0, 8, 0, 0, 16, 1, 0});             // random readable, 2048 bytes
  feature(0x001d, 0, false, is_cd, {});                                              // multi-read
  feature(0x001e, 2, false, is_cd, {0, 0, 0, 0});                                    // CD read
  feature(0x001f, 1, false, is_dvd, {0, 0, 0, 0});                                   // DVD read
  feature(0x0100, 0, true, true, {});                                                // power management
  feature(0x0105, 0, true, true, {0, 0, 0, 0});                                      // timeout
  put_be<u32>(&d[0], u32(d.size() - 4));
}

void ScsiUnit::get_event_status(const ScsiCommand& command, Reply& reply) {
  constexpr u8 kMediaClass = 4, kSupported = 1 << kMediaClass, kNoEventAvailable = 0x80;
  if (!(command.cdb[1] & 1)) {  // asynchronous
    reply.sense = sense::kInvalidField;
    return;
  }
  std::vector<u8>& d = reply.data;
  if (!(command.cdb[4] & kSupported)) {
    d = {0, 2, kNoEventAvailable, kSupported};
    return;
  }
  const u8 state = u8((tray_open_ ? 1 : 0) | (is_ready() ? 2 : 0));
  // An event that does not fit into the reply has not been told.
  const u8 event = command.bytes > 4 ? event_.exchange(kNoEvent) : u8(event_);
  d = {0, 6, kMediaClass, kSupported, event, state, 0, 0};
}

void ScsiUnit::read_disc_information(const ScsiCommand& command, Reply& reply) {
  if ((command.cdb[1] & 7) != 0) {
    reply.sense = sense::kInvalidField;
    return;
  }
  std::vector<u8>& d = reply.data;
  d.assign(34, 0);
  put_be<u16>(&d[0], 32);
  d[2] = 0x0e;  // complete disc, last session complete
  d[3] = d[4] = d[5] = d[6] = 1;
  d[7] = 0x20;  // unrestricted use
  std::fill_n(&d[16], 8, u8(0xff));  // no lead-in for another session
}

void ScsiUnit::read_sub_channel(const ScsiCommand& command, Reply& reply) {
  constexpr u8 kNoAudioStatus = 0x15;
  if (command.cdb[2] & 0x40) {  // SUBQ: the disc has no audio to be anywhere in
    reply.sense = sense::kInvalidField;
    return;
  }
  reply.data = {0, kNoAudioStatus, 0, 0};
}

void ScsiUnit::read_dvd_structure(const ScsiCommand& command, Reply& reply) {
  const auto& cdb = command.cdb;
  const u8 media = cdb[1] & 0xf, layer = cdb[6], format = cdb[7];
  if (media != 0 || layer != 0) {
    reply.sense = sense::kInvalidField;
    return;
  }
  if (format != 0xff && !is_dvd()) {
    reply.sense = sense::kIncompatibleFormat;
    return;
  }
  constexpr u32 kDataStart = 0x30000;
  std::vector<u8>& d = reply.data;
  d.assign(4, 0);
  if (format == 0x00) {  // physical format
    d.resize(4 + 2048);
    d[4] = 0x01;  // DVD-ROM, version 1
    d[5] = 0x0f;  // 120 mm, no maximum rate
    d[6] = 0x01;  // one layer, embossed
    put_be<u32>(&d[8], kDataStart);
    put_be<u32>(&d[12], u32(kDataStart + blocks() - 1));
    put_be<u32>(&d[16], u32(kDataStart + blocks() - 1));
  } else if (format == 0x01) {  // copyright: none
    d.resize(8);
  } else if (format == 0x04) {  // manufacturer
    d.resize(4 + 2048);
  } else if (format == 0xff) {  // what is here
    const auto entry = [&](u8 code, u16 size) {
      d.insert(d.end(), {code, 0x40, u8(size >> 8), u8(size)});
    };
    entry(0x00, 2052);
    entry(0x01, 8);
    entry(0x04, 2052);
    entry(0xff, 20);
  } else {
    reply.sense = sense::kInvalidField;
    return;
  }
  put_be<u16>(&d[0], u16(d.size() - 2));
}

void ScsiUnit::mechanism_status(const ScsiCommand&, Reply& reply) {
  reply.data.assign(8, 0);
  if (tray_open_) reply.data[1] = 0x10;
}

}  // namespace emu::hw
