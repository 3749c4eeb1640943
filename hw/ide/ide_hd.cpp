// SPDX-License-Identifier: Apache-2.0
// Checking and carrying out the commands of a hard disk.
#include "hw/ide/ide_hd.h"

#include <algorithm>
#include <cerrno>

#include "util/endian.h"
#include "util/log.h"

namespace emu::hw {

using namespace ata;
using P = AtaProtocol;

namespace {

constexpr u64 kLba28End = u64(1) << 28;
constexpr u16 kMaxCylinders = 16383;

AtaPlan refuse(u8 error = ABRT) { return {.error = error}; }

u8 error_of(int status) {
  if (status == 0) return 0;
  return status == EIO || status == EBADMSG ? UNC : ABRT;
}

}  // namespace

void IdeHd::describe(TypeInfo<IdeHd>& type) {
  type.doc("IDE or SATA hard disk");
  type.property("physical_block_size", &IdeHd::physical_block_, "bytes, a power of two from 512");
  type.property("rotation_rate", &IdeHd::rotation_rate_, "revolutions per minute; 1: solid state; 0: not said");
  type.set_default("model", "QEMU HARDDISK");
  type.saved(1, &IdeHd::state_, &IdeHd::fields, &IdeHd::after_load);
}

Result<void> IdeHd::realize() {
  if (physical_block_ < 512 || (physical_block_ & (physical_block_ - 1)) != 0 || physical_block_ > (1u << 21)) {
    return error("ide-hd: physical_block_size={} is not a power of two from 512 to 2097152", physical_block_);
  }
  EMU_TRY(attach_backend(true));
  sectors_ = backend().bytes() / kSector;
  return {};
}

void IdeHd::drive_reset(bool hard) {
  const State before = state_;
  state_ = {};
  if (!hard) {  // SRST leaves what SET FEATURES chose, ATA8-ACS 7.43
    state_.write_cache = before.write_cache;
    state_.smart = before.smart;
    state_.look_ahead = before.look_ahead;
    state_.multiple = before.multiple;
    state_.uses_ultra_dma = before.uses_ultra_dma;
    state_.ultra_dma = before.ultra_dma;
    state_.multiword_dma = before.multiword_dma;
  } else {
    state_.write_cache = backend().has_write_cache();
  }
}

void IdeHd::fields(Archive& ar, State& s) {
  ar("heads", s.heads)("sectors_per_track", s.sectors_per_track)("multiple", s.multiple);
  ar("multiword_dma", s.multiword_dma)("ultra_dma", s.ultra_dma)("uses_ultra_dma", s.uses_ultra_dma);
  ar("write_cache", s.write_cache)("look_ahead", s.look_ahead)("smart", s.smart);
  ar("smart_autosave", s.smart_autosave)("power_mode", s.power_mode);
  ar("failed_tag", s.failed_tag)("failed_error", s.failed_error)("failed_lba", s.failed_lba);
}

Result<void> IdeHd::after_load() {
  const State& s = state_;
  if (s.heads == 0 || s.heads > 16 || s.sectors_per_track == 0 || s.sectors_per_track > 255 ||
      s.multiple > kMaxMultiple || s.ultra_dma > 6 || s.multiword_dma > 2) {
    return error("ide-hd: geometry or transfer mode out of range");
  }
  backend().set_write_cache(s.write_cache);
  return {};
}

// Checking. ----------------------------------------------------------------------------------------------------------

/// The first sector; nothing when the registers hold none.
std::optional<u64> IdeHd::address(const AtaTaskFile& r, bool wide) const {
  if (wide) return r.lba48();
  const u64 cylinder = (r.lba_mid & 0xff) | (r.lba_high & 0xff) << 8, head = r.device & 0xf, sector = r.lba_low & 0xff;
  if (r.device & kDeviceLba) return head << 24 | cylinder << 8 | sector;
  if (sector == 0 || sector > state_.sectors_per_track || head >= state_.heads) return std::nullopt;
  return (cylinder * state_.heads + head) * state_.sectors_per_track + sector - 1;
}

AtaPlan IdeHd::transfer_plan(const AtaTaskFile& r, P protocol, bool wide) {
  u64 count = wide ? r.count : r.count & 0xff;
  if (count == 0) count = wide ? 65536 : 256;
  const auto lba = address(r, wide);
  const u64 total = sectors_;
  if (!lba || *lba > total || count > total - *lba) return refuse(IDNF | ABRT);
  if ((protocol == P::PioOut || protocol == P::DmaOut) && backend().is_read_only()) return refuse();
  return {.protocol = protocol, .bytes = count * kSector, .lba = *lba};
}

AtaPlan IdeHd::queued_plan(const AtaTaskFile& r) {
  const u64 count = r.feature == 0 ? 65536 : r.feature;
  const u64 lba = r.lba48(), total = sectors_;
  if (lba > total || count > total - lba) return refuse(IDNF | ABRT);
  const bool writes = r.command == WRITE_FPDMA_QUEUED;
  if (writes && backend().is_read_only()) return refuse();
  return {.protocol = writes ? P::DmaOut : P::DmaIn, .bytes = count * kSector, .lba = lba, .queued = true,
          .forces_unit_access = writes && (r.device & 0x80) != 0};
}

AtaPlan IdeHd::data_in(u32 bytes) const { return {.protocol = P::PioIn, .bytes = bytes}; }

AtaPlan IdeHd::plan(const AtaTaskFile& r) {
  const auto multiple = [&](P protocol, bool wide) {
    if (state_.multiple == 0) return refuse();
    AtaPlan plan = transfer_plan(r, protocol, wide);
    plan.drq_bytes = state_.multiple * kSector;
    return plan;
  };
  const auto power = [&](u8 mode) {
    state_.power_mode = mode;
    return AtaPlan{};
  };
  if ((r.command & 0xf0) == RECALIBRATE) return {};
  switch (r.command) {
    case READ_SECTORS:
    case READ_SECTORS_NO_RETRY:
    case READ_SECTORS_EXT:
      return transfer_plan(r, P::PioIn, r.command == READ_SECTORS_EXT);
    case WRITE_SECTORS:
    case WRITE_SECTORS_NO_RETRY:
    case WRITE_VERIFY:
    case WRITE_SECTORS_EXT: {
      AtaPlan plan = transfer_plan(r, P::PioOut, r.command == WRITE_SECTORS_EXT);
      plan.forces_unit_access = r.command == WRITE_VERIFY;
      return plan;
    }
    case READ_MULTIPLE:
    case READ_MULTIPLE_EXT:
      return multiple(P::PioIn, r.command == READ_MULTIPLE_EXT);
    case WRITE_MULTIPLE:
    case WRITE_MULTIPLE_EXT:
    case WRITE_MULTIPLE_FUA_EXT: {
      AtaPlan plan = multiple(P::PioOut, r.command != WRITE_MULTIPLE);
      plan.forces_unit_access = r.command == WRITE_MULTIPLE_FUA_EXT;
      return plan;
    }
    case READ_DMA:
    case READ_DMA_NO_RETRY:
    case READ_DMA_EXT:
      return transfer_plan(r, P::DmaIn, r.command == READ_DMA_EXT);
    case WRITE_DMA:
    case WRITE_DMA_NO_RETRY:
    case WRITE_DMA_EXT:
    case WRITE_DMA_FUA_EXT: {
      AtaPlan plan = transfer_plan(r, P::DmaOut, r.command == WRITE_DMA_EXT || r.command == WRITE_DMA_FUA_EXT);
      plan.forces_unit_access = r.command == WRITE_DMA_FUA_EXT;
      return plan;
    }
    case READ_FPDMA_QUEUED:
    case WRITE_FPDMA_QUEUED:
      return ide_bus().is_serial() ? queued_plan(r) : refuse();
    case READ_VERIFY:
    case READ_VERIFY_NO_RETRY:
    case READ_VERIFY_EXT: {
      const AtaPlan range = transfer_plan(r, P::NonData, r.command == READ_VERIFY_EXT);
      return {.error = range.error};
    }
    case SEEK: {
      const auto lba = address(r, false);
      return lba && *lba < sectors_ ? AtaPlan{} : refuse(IDNF | ABRT);
    }
    case DATA_SET_MANAGEMENT:
      if (!(r.feature & 1) || !backend().can_discard() || backend().is_read_only()) return refuse();
      return {.protocol = P::DmaOut, .bytes = u64(r.count == 0 ? 65536 : r.count) * kSector};
    case IDENTIFY_DEVICE:
      return data_in(kSector);
    case READ_LOG_EXT: {
      const AtaPlan plan = data_in(u32(r.count) * kSector);
      return r.count == 0 || log_page(r).empty() ? refuse() : plan;
    }
    case SMART:
      return smart_plan(r);
    case READ_NATIVE_MAX:
    case READ_NATIVE_MAX_EXT:
    case CHECK_POWER_MODE:
    case CHECK_POWER_MODE_OLD:
    case FLUSH_CACHE:
    case FLUSH_CACHE_EXT:
      return {};
    case INITIALIZE_DEVICE_PARAMETERS: {
      const u8 sectors = u8(r.count);
      if (sectors == 0) return refuse();
      state_.heads = u16((r.device & 0xf) + 1);
      state_.sectors_per_track = sectors;
      return {};
    }
    case SET_MULTIPLE_MODE: {
      const u8 n = u8(r.count);
      if (n > kMaxMultiple || (n & (n - 1)) != 0) return refuse();
      state_.multiple = n;
      return {};
    }
    case SET_FEATURES:
      return {.error = set_features(r)};
    case STANDBY:
    case STANDBY_OLD:
    case STANDBY_IMMEDIATE:
    case STANDBY_IMMEDIATE_OLD:
    case SLEEP:
    case SLEEP_OLD:
      return power(0x00);
    case IDLE:
    case IDLE_OLD:
    case IDLE_IMMEDIATE:
    case IDLE_IMMEDIATE_OLD:
      return power(0xff);
    default:
      log::write_if(log::Mask::Unimp, "ide-hd: command {:#04x} is not implemented\n", r.command);
      return refuse();
  }
}

u8 IdeHd::set_features(const AtaTaskFile& r) {
  switch (r.feature & 0xff) {
    case 0x02:
    case 0x82:
      state_.write_cache = (r.feature & 0xff) == 0x02;
      return 0;
    case 0x03:
      return set_transfer_mode(u8(r.count));
    case 0xaa:
    case 0x55:
      state_.look_ahead = (r.feature & 0xff) == 0xaa;
      return 0;
    case 0x05:  // advanced power management; 0x85: off
    case 0x85:
    case 0x42:  // automatic acoustic management
    case 0xc2:
    case 0x66:  // defaults are not restored, or are, after SRST
    case 0xcc:
      return 0;
    default:
      return ABRT;
  }
}

u8 IdeHd::set_transfer_mode(u8 mode) {
  const u8 kind = mode >> 3, number = mode & 7;
  if (kind <= 1) return number <= 4 ? 0 : ABRT;  // PIO
  if (kind == 4 && number <= 2) {
    state_.multiword_dma = number;
    state_.uses_ultra_dma = false;
    return 0;
  }
  if (kind == 8 && number <= 5) {
    state_.ultra_dma = number;
    state_.uses_ultra_dma = true;
    return 0;
  }
  return ABRT;
}

AtaPlan IdeHd::smart_plan(const AtaTaskFile& r) {
  const u8 feature = u8(r.feature);
  if ((r.lba_mid & 0xff) != 0x4f || (r.lba_high & 0xff) != 0xc2) return refuse();
  if (feature == 0xd8 || feature == 0xd9) {
    state_.smart = feature == 0xd8;
    return {};
  }
  if (!state_.smart) return refuse();
  switch (feature) {
    case 0xd0:  // data
    case 0xd1:  // thresholds
      return data_in(kSector);
    case 0xd2:
      if ((r.count & 0xff) != 0x00 && (r.count & 0xff) != 0xf1) return refuse();
      state_.smart_autosave = (r.count & 0xff) == 0xf1;
      return {};
    case 0xd5:  // log
      return (r.count & 0xff) == 1 && !smart_data(feature, u8(r.lba_low)).empty() ? data_in(kSector) : refuse();
    case 0xda:  // status: mid and high stay as they are, nothing exceeds its threshold
      return {};
    default:
      return refuse();
  }
}

// Carrying out. ------------------------------------------------------------------------------------------------------

Task<u8> IdeHd::execute(IdeRequest& request) {
  const AtaPlan& plan = request.plan;
  AtaTaskFile& r = request.registers;
  if (r.command == READ_FPDMA_QUEUED || r.command == WRITE_FPDMA_QUEUED) {
    u8 failed = plan.error;
    if (failed == 0) failed = co_await move(request);
    if (failed != 0) note_queued_failure(r, failed);
    co_return failed;
  }
  if (plan.error != 0) co_return plan.error;
  switch (r.command) {
    case FLUSH_CACHE:
    case FLUSH_CACHE_EXT: {
      const int status = co_await backend().flush();
      co_return error_of(status);
    }
    case SET_FEATURES: {
      backend().set_write_cache(state_.write_cache);
      if ((r.feature & 0xff) != 0x82) co_return u8(0);
      const int status = co_await backend().flush();
      co_return error_of(status);
    }
    case STANDBY:
    case STANDBY_IMMEDIATE:
    case SLEEP: {
      const int status = co_await backend().flush();
      co_return error_of(status);
    }
    case READ_NATIVE_MAX:
    case READ_NATIVE_MAX_EXT:
      answer_native_max(request);
      co_return u8(0);
    case CHECK_POWER_MODE:
    case CHECK_POWER_MODE_OLD:
      r.count = u16((r.count & 0xff00) | state_.power_mode);
      co_return u8(0);
    case DATA_SET_MANAGEMENT: {
      const u8 error = co_await trim(request);
      co_return error;
    }
    case IDENTIFY_DEVICE:
    case SMART:
    case READ_LOG_EXT: {
      const std::vector<u8> bytes = reply(request);
      if (request.offset < bytes.size()) {
        scsi::copy_in(request.parts, std::span(bytes).subspan(request.offset));
      }
      if (r.command == READ_LOG_EXT && u8(r.lba_low) == 0x10) state_.failed_tag = 0x80;  // told
      co_return u8(0);
    }
    default:
      break;
  }
  if (plan.bytes == 0) co_return u8(0);
  const u8 error = co_await move(request);
  co_return error;
}

void IdeHd::note_queued_failure(const AtaTaskFile& r, u8 failed) {
  const mem::MachineLockScope guard(memory().lock());
  if (!(state_.failed_tag & 0x80)) return;
  state_.failed_tag = u8(r.count >> 3) & 31;
  state_.failed_error = failed;
  state_.failed_lba = r.lba48();
}

Task<u8> IdeHd::move(IdeRequest& request) {
  const AtaPlan& plan = request.plan;
  const u64 at = plan.lba * kSector + request.offset;
  int status = 0;
  if (is_in(plan.protocol)) {
    status = co_await backend().read(at, request.parts);
  } else {
    const auto flags = plan.forces_unit_access ? block::IoFlags::Fua : block::IoFlags::None;
    status = co_await backend().write(at, request.parts, flags);
  }
  co_return error_of(status);
}

/// DATA SET MANAGEMENT, TRIM: entries of 48 bits of address and 16 of count; a count of 0 is an unused one.
Task<u8> IdeHd::trim(IdeRequest& request) {
  const std::vector<u8> list = scsi::copy_out(request.parts, request.plan.bytes);
  const u64 total = sectors_;
  for (const bool carry_out : {false, true}) {
    for (size_t at = 0; at + 8 <= list.size(); at += 8) {
      Le64 stored;
      __builtin_memcpy(&stored, &list[at], 8);
      const u64 lba = stored.get() & low_mask(48), count = stored.get() >> 48;
      if (count == 0) continue;
      if (lba > total || count > total - lba) co_return u8(IDNF | ABRT);
      if (!carry_out) continue;
      const int status = co_await backend().discard(lba * kSector, count * kSector);
      if (status != 0) co_return error_of(status);
    }
  }
  co_return u8(0);
}

void IdeHd::answer_native_max(IdeRequest& request) const {
  AtaTaskFile& r = request.registers;
  const u64 last = sectors_ - 1;
  if (r.command == READ_NATIVE_MAX_EXT) {
    r.set_lba48(last);
    return;
  }
  const u64 shown = std::min(last, kLba28End - 1);
  r.set_lba48(shown & 0xff'ffff);
  r.device = u8((r.device & 0xf0) | (shown >> 24));
}

// Answers. -----------------------------------------------------------------------------------------------------------

std::vector<u8> IdeHd::reply(const IdeRequest& request) const {
  const AtaTaskFile& r = request.registers;
  if (r.command == SMART) return smart_data(u8(r.feature), u8(r.lba_low));
  return r.command == READ_LOG_EXT ? log_page(r) : identify();
}

std::vector<u8> IdeHd::smart_data(u8 feature, u8 log) const {
  std::vector<u8> d(kSector, 0);
  if (feature == 0xd0) {
    d[0] = 0x10;               // revision
    d[362] = state_.smart_autosave ? 0x02 : 0;
    d[368] = 0x03;             // saves before power modes, and by SMART's own
    d[370] = 0x01;             // error logging
    d[372] = 2, d[373] = 48;   // minutes for self-tests
  } else if (feature == 0xd1) {
    d[0] = 0x10;
  } else if (feature == 0xd5 && log == 0x00) {
    d[0] = 1;      // directory version
    d[2 * 1] = 1;  // log 1 has one sector
    d[2 * 6] = 1;
    return d;
  } else if (feature == 0xd5 && (log == 0x01 || log == 0x06)) {
    d[0] = 1;  // error log, self-test log: nothing was noted
  } else {
    return {};
  }
  put_checksum(d, std::nullopt);
  return d;
}

/// General purpose logs: the directory and the one of errors of queued commands.
std::vector<u8> IdeHd::log_page(const AtaTaskFile& r) const {
  const u8 log = u8(r.lba_low);
  std::vector<u8> d(kSector, 0);
  if (log == 0x00) {
    d[0] = 1;
    d[2 * 0x10] = 1;
    return d;
  }
  if (log != 0x10 || !ide_bus().is_serial()) return {};
  d[0] = state_.failed_tag;  // NQ, 0x80: none
  if (!(state_.failed_tag & 0x80)) {
    d[2] = DRDY | DSC | ERR;
    d[3] = state_.failed_error;
    for (unsigned i = 0; i < 3; i++) {
      d[4 + i] = u8(state_.failed_lba >> (8 * i));
      d[8 + i] = u8(state_.failed_lba >> (24 + 8 * i));
    }
    d[7] = kDeviceLba;
  }
  put_checksum(d, std::nullopt);
  return d;
}

std::vector<u8> IdeHd::identify() const {
  std::vector<u8> d(kSector, 0);
  const auto word = [&](unsigned n, u16 value) { put_word(d, n, value); };
  const u64 sectors = sectors_;
  const bool serial = ide_bus().is_serial();
  const u16 cylinders = u16(std::min<u64>(sectors / (16 * 63), kMaxCylinders));
  word(0, 0x0040);
  word(1, cylinders);
  word(3, 16);
  word(6, 63);
  put_string(d, 10, 10, serial_);
  put_string(d, 23, 4, version_);
  put_string(d, 27, 20, model_);
  word(47, 0x8000 | kMaxMultiple);
  word(48, 1);
  word(49, 0x0b00);  // IORDY, LBA, DMA
  word(50, 0x4000);
  word(51, 0x0200);
  word(53, 0x0007);  // 54 to 58, 64 to 70 and 88 are valid
  const u32 current = u32(state_.heads) * state_.sectors_per_track;
  const u16 current_cylinders = u16(std::min<u64>(sectors / current, 65535));
  word(54, current_cylinders);
  word(55, state_.heads);
  word(56, state_.sectors_per_track);
  word(57, u16(current_cylinders * current));
  word(58, u16(u32(current_cylinders * current) >> 16));
  word(59, u16(state_.multiple != 0 ? 0x0100 | state_.multiple : 0));
  const u64 lba28 = std::min(sectors, kLba28End - 1);
  word(60, u16(lba28));
  word(61, u16(lba28 >> 16));
  word(63, u16(0x0007 | (state_.uses_ultra_dma ? 0 : 0x100 << state_.multiword_dma)));
  word(64, 0x0003);  // PIO 3 and 4
  for (unsigned n = 65; n <= 68; n++) word(n, 120);
  const bool trims = backend().can_discard() && !backend().is_read_only();
  if (trims) word(105, 8);  // blocks of TRIM entries a command
  if (serial) {
    word(75, 31);      // queue depth, less one
    word(76, 0x0106);  // NCQ; 1.5 and 3 Gb/s
    word(222, 0x101f);  // serial, up to SATA 2.6
  }
  word(80, 0x01f0);                                     // ATA/ATAPI-4 to ATA8-ACS
  const u16 set1 = 0x4069;                              // NOP, look-ahead, write cache, power management, SMART
  const u16 set2 = 0x7400;                              // FLUSH CACHE, EXT, 48-bit addresses
  const u16 set3 = u16(0x4000 | (wwn_ != 0 ? 0x0100 : 0) | 0x0043);  // SMART self-test and log, FUA
  word(82, set1);
  word(83, set2);
  word(84, set3);
  word(85, u16((set1 & ~0x61) | (state_.look_ahead ? 0x40 : 0) | (state_.write_cache ? 0x20 : 0) |
               (state_.smart ? 0x01 : 0)));
  word(86, set2 & 0x3fff);
  word(87, set3);
  word(88, u16(0x003f | (state_.uses_ultra_dma ? 0x100 << state_.ultra_dma : 0)));
  if (!serial) word(93, u16(unit_number() == 0 ? 0x6009 : 0x6900));  // 80-wire cable; who is who
  for (unsigned n = 0; n < 4; n++) word(100 + n, u16(sectors >> (16 * n)));
  unsigned exponent = 0;
  while ((512u << exponent) < physical_block_) exponent++;
  if (exponent != 0) word(106, u16(0x6000 | exponent));
  for (unsigned n = 0; n < 4; n++) word(108 + n, u16(wwn_ >> (48 - 16 * n)));
  if (trims) word(169, 1);
  word(217, rotation_rate_);
  put_checksum(d, u8(0xa5));
  return d;
}

namespace ata {

void put_string(std::vector<u8>& d, unsigned word, unsigned words, const std::string& text) {
  for (unsigned i = 0; i < 2 * words; i++) d[2 * word + (i ^ 1)] = i < text.size() ? u8(text[i]) : u8(' ');
}

void put_checksum(std::vector<u8>& d, std::optional<u8> signature) {
  if (signature) d[510] = *signature;
  u8 sum = 0;
  for (unsigned i = 0; i < 511; i++) sum = u8(sum + d[i]);
  d[511] = u8(-sum);
}

}  // namespace ata

}  // namespace emu::hw
