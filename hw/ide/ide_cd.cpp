// SPDX-License-Identifier: Apache-2.0
#include "hw/ide/ide_cd.h"

#include "hw/ide/ide_hd.h"
#include "util/log.h"

namespace emu::hw {

using namespace ata;

void IdeCd::describe(TypeInfo<IdeCd>& type) {
  type.doc("IDE or SATA CD-ROM drive");
  type.set_default("model", "QEMU DVD-ROM");
  type.saved(1, &IdeCd::fields, &IdeCd::after_load);
}

Result<void> IdeCd::realize() {
  EMU_TRY(attach_backend(false));
  ScsiUnitConfig config{.kind = ScsiUnitConfig::Kind::CdRom, .atapi = true, .removable = true, .product = model_,
                        .version = version_, .serial = serial_, .wwn = wwn_, .logical_block = 2048,
                        .physical_block = 2048};
  scsi_ = std::make_unique<ScsiUnit>(backend(), std::move(config));
  return {};
}

void IdeCd::unrealize() {
  detach_backend();
  scsi_.reset();
}

void IdeCd::drive_reset(bool hard) {
  if (hard) state_ = {};
  scsi_->reset();
}

void IdeCd::fields(Archive& ar) {
  ar("multiword_dma", state_.multiword_dma)("ultra_dma", state_.ultra_dma)("uses_ultra_dma", state_.uses_ultra_dma);
  scsi_->fields(ar);
}

Result<void> IdeCd::after_load() {
  if (state_.ultra_dma > 6 || state_.multiword_dma > 2) return error("ide-cd: transfer mode out of range");
  return scsi_->after_load();
}

AtaPlan IdeCd::plan(const AtaTaskFile& r) {
  switch (r.command) {
    case PACKET:
      return {.protocol = AtaProtocol::Packet};
    case IDENTIFY_PACKET_DEVICE:
      return {.protocol = AtaProtocol::PioIn, .bytes = kSector};
    case SET_FEATURES:
      return {.error = set_features(r)};
    case STANDBY_IMMEDIATE:
    case IDLE_IMMEDIATE:
    case CHECK_POWER_MODE:
    case SLEEP:
    case FLUSH_CACHE:
    case FLUSH_CACHE_EXT:
      return {};
    default:
      // IDENTIFY DEVICE and READ SECTORS too: the channel puts the signature there, ATA/ATAPI-7 6.18.2.
      return {.error = ABRT};
  }
}

u8 IdeCd::set_features(const AtaTaskFile& r) {
  if ((r.feature & 0xff) != 0x03) return (r.feature & 0xff) == 0x66 || (r.feature & 0xff) == 0xcc ? 0 : ABRT;
  const u8 kind = u8(r.count & 0xff) >> 3, number = r.count & 7;
  if (kind <= 1) return number <= 4 ? 0 : ABRT;
  if (kind == 4 && number <= 2) {
    state_.multiword_dma = number;
    state_.uses_ultra_dma = false;
    return 0;
  }
  if (kind != 8 || number > 5) return ABRT;
  state_.ultra_dma = number;
  state_.uses_ultra_dma = true;
  return 0;
}

Task<u8> IdeCd::execute(IdeRequest& request) {
  if (request.is_packet) {
    request.packet_result = co_await scsi_->execute(request.packet, request.parts, request.offset);
    const ScsiSense& sense = request.packet_result.sense;
    co_return u8(sense ? sense.key << 4 | ABRT : 0);
  }
  if (request.plan.error != 0) co_return request.plan.error;
  if (request.registers.command == IDENTIFY_PACKET_DEVICE) scsi::copy_in(request.parts, identify());
  if (request.registers.command == CHECK_POWER_MODE) request.registers.count = 0xff;
  co_return u8(0);
}

std::vector<u8> IdeCd::identify() const {
  std::vector<u8> d(kSector, 0);
  const auto word = [&](unsigned n, u16 value) { put_word(d, n, value); };
  word(0, 0x85c0);  // ATAPI, CD-ROM, removable, DRQ within 50 us, 12-byte packets
  put_string(d, 10, 10, serial_);
  put_string(d, 23, 4, version_);
  put_string(d, 27, 20, model_);
  word(49, 0x0b00);  // IORDY, LBA, DMA
  word(53, 0x0006);
  word(63, u16(0x0007 | (state_.uses_ultra_dma ? 0 : 0x100 << state_.multiword_dma)));
  word(64, 0x0003);
  for (unsigned n = 65; n <= 68; n++) word(n, 120);
  word(71, 30);
  word(72, 30);
  word(80, 0x00f0);
  word(82, 0x4218);  // NOP, DEVICE RESET, PACKET, power management
  word(83, 0x4000);
  word(84, u16(0x4000 | (wwn_ != 0 ? 0x0100 : 0)));
  word(85, 0x4218);
  word(87, u16(0x4000 | (wwn_ != 0 ? 0x0100 : 0)));
  word(88, u16(0x003f | (state_.uses_ultra_dma ? 0x100 << state_.ultra_dma : 0)));
  if (ide_bus().is_serial()) {
    word(76, 0x0006);
    word(222, 0x101f);
  } else {
    word(93, u16(unit_number() == 0 ? 0x6009 : 0x6900));
  }
  for (unsigned n = 0; n < 4; n++) word(108 + n, u16(wwn_ >> (48 - 16 * n)));
  put_checksum(d, u8(0xa5));
  return d;
}

void register_ide_drives(TypeRegistry& registry) {
  registry.add_base<IdeBus, Bus>();
  registry.add_abstract<IdeDevice, Device>();
  registry.add<IdeHd>("ide-hd");
  registry.add<IdeCd>("ide-cd");
}

}  // namespace emu::hw
