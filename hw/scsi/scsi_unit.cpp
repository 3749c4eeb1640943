// SPDX-License-Identifier: Apache-2.0
// Checking commands and handing them out; what concerns the unit as a whole.
#include "hw/scsi/scsi_unit.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "util/log.h"

namespace emu::hw {

using namespace scsi;
using block::IoVec;

namespace {

constexpr u64 kLongestReply = 64 * 1024;
constexpr u8 kDisk = 1, kCd = 2, kBoth = 3;

// What a row's data are.
enum class Shape : u8 {
  Nothing,
  Reply,       ///< in; the CDB has an allocation length
  Parameters,  ///< out; the CDB has a parameter list length
  Blocks,      ///< in or out; the CDB has an address and a number of blocks
  Range,       ///< the same, but no data
};

}  // namespace

struct ScsiUnit::Row {
  using Sync = void (ScsiUnit::*)(const ScsiCommand&, Reply&);
  using Async = Task<ScsiSense> (ScsiUnit::*)(const ScsiCommand&, IoVec, u64);
  u8 opcode, kinds;
  Shape shape;
  u8 at = 0, size = 0;  ///< of the length field
  Sync sync = nullptr;
  Async async = nullptr;
  ScsiDirection direction = ScsiDirection::None;  ///< of Blocks
  bool needs_medium = false;
  bool through_attention = false;  ///< not kept back by a unit attention, SPC-4 5.14
};

const ScsiUnit::Row* ScsiUnit::find_row(u8 opcode, bool is_cd) {
  using U = ScsiUnit;
  using D = ScsiDirection;
  using S = Shape;
  static constexpr Row kRows[] = {
      {TEST_UNIT_READY, kBoth, S::Nothing, 0, 0, &U::nothing, {}, D::None, true},
      {REQUEST_SENSE, kBoth, S::Reply, 4, 1, &U::request_sense, {}, D::In, false, true},
      {INQUIRY, kBoth, S::Reply, 3, 2, &U::inquiry, {}, D::In, false, true},
      {REPORT_LUNS, kBoth, S::Reply, 6, 4, &U::report_luns, {}, D::In, false, true},
      {MODE_SENSE_6, kBoth, S::Reply, 4, 1, &U::mode_sense},
      {MODE_SENSE_10, kBoth, S::Reply, 7, 2, &U::mode_sense},
      {MODE_SELECT_6, kBoth, S::Parameters, 4, 1, {}, &U::mode_select_task},
      {MODE_SELECT_10, kBoth, S::Parameters, 7, 2, {}, &U::mode_select_task},
      {START_STOP_UNIT, kBoth, S::Nothing, 0, 0, &U::start_stop},
      {PREVENT_ALLOW, kBoth, S::Nothing, 0, 0, &U::prevent_allow},
      {SEND_DIAGNOSTIC, kBoth, S::Parameters, 3, 2, {}, nullptr},
      {RESERVE_6, kDisk, S::Nothing, 0, 0, &U::nothing},
      {RELEASE_6, kDisk, S::Nothing, 0, 0, &U::nothing},
      {READ_CAPACITY_10, kBoth, S::Reply, 0, 0, &U::read_capacity_10, {}, D::In, true},
      {SERVICE_ACTION_IN_16, kDisk, S::Reply, 10, 4, &U::service_action_in, {}, D::In, true},
      {READ_6, kBoth, S::Blocks, 4, 1, {}, &U::read, D::In, true},
      {READ_10, kBoth, S::Blocks, 7, 2, {}, &U::read, D::In, true},
      {READ_12, kBoth, S::Blocks, 6, 4, {}, &U::read, D::In, true},
      {READ_16, kDisk, S::Blocks, 10, 4, {}, &U::read, D::In, true},
      {WRITE_6, kDisk, S::Blocks, 4, 1, {}, &U::write, D::Out, true},
      {WRITE_10, kDisk, S::Blocks, 7, 2, {}, &U::write, D::Out, true},
      {WRITE_12, kDisk, S::Blocks, 6, 4, {}, &U::write, D::Out, true},
      {WRITE_16, kDisk, S::Blocks, 10, 4, {}, &U::write, D::Out, true},
      {WRITE_VERIFY_10, kDisk, S::Blocks, 7, 2, {}, &U::write, D::Out, true},
      {WRITE_VERIFY_12, kDisk, S::Blocks, 6, 4, {}, &U::write, D::Out, true},
      {WRITE_VERIFY_16, kDisk, S::Blocks, 10, 4, {}, &U::write, D::Out, true},
      {VERIFY_10, kDisk, S::Range, 7, 2, {}, &U::verify, D::None, true},
      {VERIFY_12, kDisk, S::Range, 6, 4, {}, &U::verify, D::None, true},
      {VERIFY_16, kDisk, S::Range, 10, 4, {}, &U::verify, D::None, true},
      {SEEK_6, kDisk, S::Range, 0, 0, &U::nothing, {}, D::None, true},
      {SEEK_10, kBoth, S::Range, 0, 0, &U::nothing, {}, D::None, true},
      {PRE_FETCH_10, kDisk, S::Range, 7, 2, &U::nothing, {}, D::None, true},
      {PRE_FETCH_16, kDisk, S::Range, 10, 4, &U::nothing, {}, D::None, true},
      {SYNCHRONIZE_CACHE_10, kBoth, S::Range, 7, 2, {}, &U::synchronize_cache, D::None, true},
      {SYNCHRONIZE_CACHE_16, kDisk, S::Range, 10, 4, {}, &U::synchronize_cache, D::None, true},
      {UNMAP, kDisk, S::Parameters, 7, 2, {}, &U::unmap, D::Out, true},
      {WRITE_SAME_10, kDisk, S::Range, 7, 2, {}, &U::write_same, D::Out, true},
      {WRITE_SAME_16, kDisk, S::Range, 10, 4, {}, &U::write_same, D::Out, true},
      {READ_SUB_CHANNEL, kCd, S::Reply, 7, 2, &U::read_sub_channel, {}, D::In, true},
      {READ_TOC, kCd, S::Reply, 7, 2, &U::read_toc, {}, D::In, true},
      {GET_CONFIGURATION, kCd, S::Reply, 7, 2, &U::get_configuration, {}, D::In, false, true},
      {GET_EVENT_STATUS, kCd, S::Reply, 7, 2, &U::get_event_status, {}, D::In, false, true},
      {READ_DISC_INFORMATION, kCd, S::Reply, 7, 2, &U::read_disc_information, {}, D::In, true},
      {READ_DVD_STRUCTURE, kCd, S::Reply, 8, 2, &U::read_dvd_structure, {}, D::In, true},
      {MECHANISM_STATUS, kCd, S::Reply, 8, 2, &U::mechanism_status, {}, D::In, false},
      {SET_CD_SPEED, kCd, S::Nothing, 0, 0, &U::nothing},
      {READ_CD, kCd, S::Blocks, 6, 3, {}, &U::read, D::In, true},
      {READ_CD_MSF, kCd, S::Blocks, 0, 0, {}, &U::read, D::In, true},
  };
  for (const Row& row : kRows) {
    if (row.opcode == opcode && (row.kinds & (is_cd ? kCd : kDisk))) return &row;
  }
  return nullptr;
}

ScsiUnit::ScsiUnit(block::BlockBackend& backend, ScsiUnitConfig config, std::function<std::vector<u32>()> luns)
    : backend_(backend),
      config_(std::move(config)),
      luns_(std::move(luns)),
      default_write_cache_(backend.has_write_cache()),
      write_cache_(default_write_cache_) {}

void ScsiUnit::reset() {
  sense_ = ScsiSense();
  if (write_cache_.exchange(default_write_cache_) != default_write_cache_) {
    backend_.set_write_cache(default_write_cache_);
  }
  locked_ = false;
  event_ = kNoEvent;
  attentions_ = kReset;
}

void ScsiUnit::set_default_write_cache(bool enabled) {
  default_write_cache_ = write_cache_ = enabled;
  backend_.set_write_cache(enabled);
}

// Checking. ----------------------------------------------------------------------------------------------------------

namespace {

unsigned cdb_length(u8 opcode) {
  constexpr u8 kLengths[] = {6, 10, 10, 0, 16, 12, 0, 0};  // by group code, SPC-4 4.2.5.1
  return kLengths[opcode >> 5];
}

u64 field(const std::array<u8, 16>& cdb, unsigned at, unsigned size) {
  u64 value = 0;
  for (unsigned i = 0; i < size; i++) value = value << 8 | cdb[at + i];
  return value;
}

u64 msf_to_lba(const u8* msf, bool& valid) {
  const u64 frames = (u64(msf[0]) * 60 + msf[1]) * 75 + msf[2];
  valid = msf[1] < 60 && msf[2] < 75 && frames >= 150;
  return valid ? frames - 150 : 0;
}

}  // namespace

ScsiCommand ScsiUnit::prepare(std::span<const u8> cdb) {
  ScsiCommand command;
  const auto refuse = [&](ScsiSense why) {
    command.refused = why;
    command.direction = ScsiDirection::None;
    command.bytes = 0;
    return command;
  };
  if (cdb.empty()) return refuse(sense::kInvalidOpcode);
  std::copy_n(cdb.begin(), std::min(cdb.size(), command.cdb.size()), command.cdb.begin());
  const Row* row = find_row(command.cdb[0], is_cd());
  if (row == nullptr || cdb.size() < cdb_length(command.cdb[0])) {
    log::write_if(log::Mask::Unimp, "scsi: operation code {:#04x} is not implemented\n", command.cdb[0]);
    return refuse(sense::kInvalidOpcode);
  }
  if (!row->through_attention) {
    if (const ScsiSense attention = take_attention()) return refuse(attention);
  }
  if (row->needs_medium && !is_ready()) return refuse(not_ready());
  switch (row->shape) {
    case Shape::Nothing:
      break;
    case Shape::Reply:
      command.direction = ScsiDirection::In;
      command.bytes = row->size == 0 ? 8 : std::min(field(command.cdb, row->at, row->size), kLongestReply);
      break;
    case Shape::Parameters:
      command.direction = ScsiDirection::Out;
      command.bytes = field(command.cdb, row->at, row->size);
      break;
    case Shape::Blocks:
    case Shape::Range:
      prepare_transfer(command, *row);
      if (command.refused) return refuse(command.refused);
      break;
  }
  if (command.bytes == 0) command.direction = ScsiDirection::None;
  return command;
}

void ScsiUnit::prepare_transfer(ScsiCommand& command, const Row& row) {
  const auto& cdb = command.cdb;
  const u8 opcode = cdb[0];
  u64& lba = command.lba;
  u64& count = command.blocks;
  const unsigned length = cdb_length(opcode);
  lba = length == 6 ? field(cdb, 1, 3) & 0x1f'ffff : length == 16 ? field(cdb, 2, 8) : field(cdb, 2, 4);
  count = field(cdb, row.at, row.size);
  if (length == 6 && row.size != 0 && count == 0) count = 256;

  const auto refuse = [&](ScsiSense why) { command.refused = why; };
  if (opcode == READ_CD_MSF) {
    bool first_valid = false, last_valid = false;
    lba = msf_to_lba(&cdb[3], first_valid);
    const u64 end = msf_to_lba(&cdb[6], last_valid);
    if (!first_valid || !last_valid || end < lba) return refuse(sense::kInvalidField);
    count = end - lba;
  }
  if (opcode == READ_CD || opcode == READ_CD_MSF) {
    const u8 expected_type = (cdb[1] >> 2) & 7;
    if (expected_type != 0 && expected_type != 2 && expected_type != 4) return refuse(sense::kInvalidField);
    if (cdb[10] & 7) return refuse(sense::kInvalidField);  // sub-channel data
    if ((cdb[9] & 0xf8) == 0) count = 0;                   // nothing but the error flags, which were not asked for
    // Deviation: sync, headers and error correction are not made up; only the user data can be had.
    if ((cdb[9] & 0xfe) != 0x10 && cdb[9] != 0) return refuse(sense::kInvalidField);
  } else if (!is_cd() && length != 6 && (cdb[1] >> 5) != 0 && opcode != SEEK_10 && opcode != PRE_FETCH_10 &&
             opcode != PRE_FETCH_16 && opcode != SYNCHRONIZE_CACHE_10 && opcode != SYNCHRONIZE_CACHE_16) {
    return refuse(sense::kInvalidField);  // protection information, which we have not
  }

  const u64 total = blocks();
  if (lba > total || count > total - lba || (lba == total && row.shape == Shape::Range && row.size == 0)) {
    return refuse(sense::kLbaOutOfRange);
  }
  if (row.direction == ScsiDirection::Out && backend_.is_read_only()) return refuse(sense::kWriteProtected);
  if (row.shape == Shape::Blocks) {
    command.direction = row.direction;
    command.bytes = count * config_.logical_block;
    command.is_splittable = true;
  } else if (opcode == WRITE_SAME_10 || opcode == WRITE_SAME_16) {
    if (count == 0 || count > kMaxWriteSameBytes / config_.logical_block) {  // WSNZ; as block limits say
      return refuse(sense::kInvalidField);
    }
    if (cdb[1] & 0x10) return refuse(sense::kInvalidField);  // ANCHOR
    const bool no_data = opcode == WRITE_SAME_16 && (cdb[1] & 1);
    if (opcode == WRITE_SAME_10 && (cdb[1] & 7)) return refuse(sense::kInvalidField);
    command.direction = ScsiDirection::Out;
    command.bytes = no_data ? 0 : config_.logical_block;
  } else if (opcode == VERIFY_10 || opcode == VERIFY_12 || opcode == VERIFY_16) {
    const u8 compare = (cdb[1] >> 1) & 3;
    if (compare > 1) return refuse(sense::kInvalidField);
    if (compare == 1) {
      command.direction = ScsiDirection::Out;
      command.bytes = count * config_.logical_block;
      command.is_splittable = true;
    }
  }
}

ScsiSense ScsiUnit::not_ready() const {
  if (!is_cd()) return sense::kNoMedium;
  return tray_open_ ? sense::kNoMediumTrayOpen : sense::kNoMediumTrayClosed;
}

ScsiSense ScsiUnit::take_attention() {
  const u8 all = attentions_;
  if (all == 0) return {};
  const u8 first = u8(all & -all);
  attentions_ &= u8(~first);
  return first == kReset ? sense::kReset : first == kMediumChanged ? sense::kMediumChanged : sense::kCapacityChanged;
}

// Carrying out. ------------------------------------------------------------------------------------------------------

Task<ScsiResult> ScsiUnit::execute(const ScsiCommand& command, IoVec data, u64 offset) {
  ScsiResult result;
  const Row* row = find_row(command.cdb[0], is_cd());
  if (command.refused || row == nullptr) {
    result.sense = command.refused ? command.refused : sense::kInvalidOpcode;
  } else if (row->sync != nullptr) {
    Reply reply;
    (this->*row->sync)(command, reply);
    result.sense = reply.sense;
    if (!reply.sense && command.direction == ScsiDirection::In) {
      if (reply.data.size() > command.bytes) reply.data.resize(command.bytes);
      result.bytes = copy_in(data, reply.data);
    }
  } else if (row->async != nullptr) {
    result.sense = co_await (this->*row->async)(command, data, offset);
    if (!result.sense && command.bytes != 0) {
      result.bytes = std::min(block::total_bytes(data), command.bytes - std::min(offset, command.bytes));
    }
  }
  if (result.sense) result.status = CHECK_CONDITION;
  // Kept until the next command's; a GOOD one says there is none. Where the status brings the sense, SAM-5 5.13.4, it
  // has been told with that.
  if (config_.atapi && (command.cdb[0] != REQUEST_SENSE || command.refused)) sense_ = result.sense;
  co_return result;
}

ScsiSense ScsiUnit::from_errno(int status, bool writing) const {
  switch (status) {
    case 0:
      return {};
    case ENOMEDIUM:
      return not_ready();
    case ENOMEM:
      return sense::kTargetFailure;
    case EINVAL:
      return sense::kInvalidField;
    case ENOSPC:
    case EDQUOT:
      return sense::kSpaceAllocationFailed;
    case EROFS:
    case EACCES:
    case EPERM:
      return writing ? sense::kWriteProtected : sense::kReadError;
    default:
      return writing ? sense::kWriteError : sense::kReadError;
  }
}

void ScsiUnit::nothing(const ScsiCommand&, Reply&) {}

std::array<u8, 18> ScsiUnit::fixed_sense(const ScsiSense& sense) {
  std::array<u8, 18> bytes{};
  bytes[0] = 0x70;  // current, fixed format
  bytes[2] = sense.key;
  bytes[7] = 10;
  bytes[12] = sense.asc;
  bytes[13] = sense.ascq;
  return bytes;
}

void ScsiUnit::request_sense(const ScsiCommand& command, Reply& reply) {
  ScsiSense told = sense_.exchange(ScsiSense());
  if (!told) told = take_attention();
  const bool descriptors = command.cdb[1] & 1;
  if (descriptors) {
    reply.data = {0x72, told.key, told.asc, told.ascq, 0, 0, 0, 0};
  } else {
    const auto bytes = fixed_sense(told);
    reply.data.assign(bytes.begin(), bytes.end());
  }
}

void ScsiUnit::start_stop(const ScsiCommand& command, Reply& reply) {
  const u8 flags = command.cdb[4];
  const bool load_eject = flags & 2, start = flags & 1;
  if ((flags >> 4) != 0 || !load_eject) return;  // power conditions and the motor: always ready
  if (!is_cd() && !config_.removable) {
    reply.sense = sense::kInvalidField;
    return;
  }
  if (!start && locked_) {
    reply.sense = sense::kRemovalPrevented;
    return;
  }
  move_tray(!start);
}

void ScsiUnit::move_tray(bool open) {
  if (tray_open_.exchange(open) == open) return;
  if (!open && backend_.has_medium()) {
    attentions_ |= kMediumChanged;
    event_ = kNewMedia;
  }
  backend_.tray_moved(open);
}

void ScsiUnit::prevent_allow(const ScsiCommand& command, Reply& reply) {
  if (command.cdb[4] & ~3) {
    reply.sense = sense::kInvalidField;
    return;
  }
  locked_ = (command.cdb[4] & 1) && (is_cd() || config_.removable);
}

// From outside. ------------------------------------------------------------------------------------------------------

void ScsiUnit::medium_changed(bool present) {
  tray_open_ = !present && is_cd();
  event_ = present ? kNewMedia : kMediaRemoval;
  attentions_ |= kMediumChanged;
}

bool ScsiUnit::eject_requested(bool force) {
  if (locked_ && !force) {
    event_ = kEjectRequest;
    return false;
  }
  tray_open_ = true;
  locked_ = false;
  event_ = kMediaRemoval;
  return true;
}

void ScsiUnit::fields(qom::Archive& ar) {
  ScsiSense told = sense_;
  ar("sense_key", told.key)("sense_asc", told.asc)("sense_ascq", told.ascq)("write_cache", write_cache_);
  if (ar.is_loading()) sense_ = told;
  ar("attentions", attentions_)("tray_open", tray_open_)("locked", locked_)("event", event_);
}

Result<void> ScsiUnit::after_load() {
  if (attentions_ & ~(kReset | kMediumChanged | kCapacityChanged)) return error("SCSI unit: unknown unit attentions");
  if (event_ > kMediaRemoval || last_sense().key > 0xf) return error("SCSI unit: unknown event or sense");
  backend_.set_write_cache(write_cache_);
  return {};
}

namespace scsi {

void put_text(u8* to, unsigned length, const std::string& text) {
  for (unsigned i = 0; i < length; i++) to[i] = i < text.size() ? u8(text[i]) : u8(' ');
}

u64 copy_in(IoVec to, std::span<const u8> from) {
  u64 done = 0;
  for (const iovec& part : to) {
    const u64 n = std::min<u64>(part.iov_len, from.size() - done);
    if (n == 0) continue;
    std::memcpy(part.iov_base, from.data() + done, n);
    done += n;
  }
  return done;
}

u64 copy_out_at(IoVec from, u64 offset, std::span<u8> to) {
  u64 done = 0;
  for (const iovec& part : from) {
    if (offset >= part.iov_len) {
      offset -= part.iov_len;
      continue;
    }
    const u64 n = std::min<u64>(part.iov_len - offset, to.size() - done);
    if (n == 0) break;
    std::memcpy(to.data() + done, static_cast<const u8*>(part.iov_base) + offset, n);
    done += n;
    offset = 0;
  }
  return done;
}

std::vector<u8> copy_out(IoVec from, u64 bytes) {
  std::vector<u8> out;
  out.reserve(std::min(bytes, block::total_bytes(from)));
  for (const iovec& part : from) {
    const u64 n = std::min<u64>(part.iov_len, bytes - out.size());
    const u8* first = static_cast<const u8*>(part.iov_base);
    out.insert(out.end(), first, first + n);
  }
  return out;
}

}  // namespace scsi

}  // namespace emu::hw
