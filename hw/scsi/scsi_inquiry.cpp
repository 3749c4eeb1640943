// SPDX-License-Identifier: Apache-2.0
// What a unit says of itself: SPC-4 INQUIRY, vital product data (7.8; SBC-3 6.6), REPORT LUNS.
#include "hw/scsi/scsi_unit.h"

namespace emu::hw {

using namespace scsi;

namespace {

constexpr u8 kTypeDisk = 0x00, kTypeCdRom = 0x05, kRemovable = 0x80;

}  // namespace

void ScsiUnit::inquiry(const ScsiCommand& command, Reply& reply) {
  // Before it knows better, Linux talks SCSI-2: the unit's number stands in the upper three bits.
  const u8 evpd = command.cdb[1] & 0x1f, page = command.cdb[2];
  if (evpd & ~1 || (evpd == 0 && page != 0)) {
    reply.sense = sense::kInvalidField;
    return;
  }
  if (evpd) return vital_product_data(page, reply);
  std::vector<u8>& d = reply.data;
  d.assign(36, 0);
  d[0] = is_cd() ? kTypeCdRom : kTypeDisk;
  d[1] = is_cd() || config_.removable ? kRemovable : 0;
  d[2] = config_.atapi ? 0 : 5;     // SPC-3
  d[3] = config_.atapi ? 0x21 : 0x12;  // response format; HISUP, or ATAPI version 2
  d[4] = u8(d.size() - 5);
  d[7] = config_.atapi ? 0 : 2;  // CMDQUE
  put_text(&d[8], 8, config_.vendor);
  put_text(&d[16], 16, config_.product);
  put_text(&d[32], 4, config_.version);
}

void ScsiUnit::vital_product_data(u8 page, Reply& reply) {
  std::vector<u8>& d = reply.data;
  d = {u8(is_cd() ? kTypeCdRom : kTypeDisk), page, 0, 0};
  const auto add = [&](const std::vector<u8>& bytes) { d.insert(d.end(), bytes.begin(), bytes.end()); };
  const bool is_disk = !is_cd();
  if (page == 0x00) {
    add({0x00});
    if (!config_.serial.empty()) add({0x80});
    add({0x83});
    if (is_disk) add({0xb0, 0xb1, 0xb2});
  } else if (page == 0x80 && !config_.serial.empty()) {
    const std::string serial = config_.serial.substr(0, 36);
    d.insert(d.end(), serial.begin(), serial.end());
  } else if (page == 0x83) {
    add(device_identification());
  } else if (page == 0xb0 && is_disk) {
    add(block_limits());
  } else if (page == 0xb1 && is_disk) {
    std::vector<u8> bytes(60, 0);
    put_be<u16>(&bytes[0], config_.rotation_rate);
    add(bytes);
  } else if (page == 0xb2 && is_disk) {
    const bool thin = backend_.can_discard();
    add({0, u8(thin ? 0xe0 : 0), u8(thin ? 2 : 0), 0});  // LBPU, LBPWS, LBPWS10; thin provisioned
  } else {
    reply.sense = sense::kInvalidField;
    return;
  }
  put_be<u16>(&d[2], u16(d.size() - 4));
}

std::vector<u8> ScsiUnit::device_identification() const {
  std::vector<u8> d;
  const auto designator = [&](u8 code_set, u8 kind, std::span<const u8> bytes) {
    d.insert(d.end(), {code_set, kind, 0, u8(bytes.size())});
    d.insert(d.end(), bytes.begin(), bytes.end());
  };
  const std::string& id = config_.device_id.empty() ? config_.serial : config_.device_id;
  if (!id.empty()) {
    const std::string text = id.substr(0, 255 - 8);
    designator(2, 0, std::span(reinterpret_cast<const u8*>(text.data()), text.size()));  // ASCII, vendor specific
  }
  const auto name = [&](u8 association_and_type, u64 value) {
    u8 bytes[8];
    put_be<u64>(bytes, value);
    designator(1, association_and_type, bytes);  // binary
  };
  if (config_.wwn != 0) name(0x03, config_.wwn);  // logical unit, NAA
  if (config_.port_wwn != 0) name(0x93, config_.port_wwn);
  if (config_.port_index != 0) {
    const u8 port[4] = {0, 0, u8(config_.port_index >> 8), u8(config_.port_index)};
    designator(1, 0x94, port);  // relative target port
  }
  return d;
}

std::vector<u8> ScsiUnit::block_limits() const {
  std::vector<u8> d(60, 0);
  const u32 block = config_.logical_block;
  const block::BlockLimits limits = backend_.limits();
  d[0] = 1;  // WSNZ: WRITE SAME needs a number of blocks
  const u64 most = std::min(config_.max_io_bytes != 0 ? config_.max_io_bytes : ~u64(0), limits.max_transfer);
  put_be<u16>(&d[2], u16(std::min<u32>(config_.min_io / block, 0xffff)));
  put_be<u32>(&d[4], u32(std::min<u64>(most / block, 0xffff'ffff)));
  put_be<u32>(&d[8], config_.opt_io / block);
  if (backend_.can_discard()) {
    const u32 granularity =
        config_.discard_granularity != 0 ? config_.discard_granularity : std::max(u32(limits.cluster), 4096u);
    put_be<u32>(&d[16], config_.max_unmap_bytes / block);
    put_be<u32>(&d[20], kMaxUnmapDescriptors);
    put_be<u32>(&d[24], std::max<u32>(granularity / block, 1));
  }
  put_be<u64>(&d[32], kMaxWriteSameBytes / block);
  return d;
}

void ScsiUnit::report_luns(const ScsiCommand& command, Reply& reply) {
  if (command.bytes < 16 || command.cdb[2] > 2) {
    reply.sense = sense::kInvalidField;
    return;
  }
  std::vector<u32> luns;
  if (command.cdb[2] != 1) luns = luns_ ? luns_() : std::vector<u32>{0};  // 1: well-known ones only
  reply.data = lun_list(luns);
}

std::vector<u8> scsi::lun_list(std::span<const u32> luns) {
  std::vector<u8> d(8 + 8 * luns.size());
  put_be<u32>(d.data(), u32(8 * luns.size()));
  for (size_t i = 0; i < luns.size(); i++) {
    u8* entry = &d[8 + 8 * i];
    if (luns[i] < 256)
      entry[1] = u8(luns[i]);  // peripheral device addressing
    else
      put_be<u16>(entry, u16(0x4000 | luns[i]));  // flat
  }
  return d;
}

}  // namespace emu::hw
