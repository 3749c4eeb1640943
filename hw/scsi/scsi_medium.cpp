// SPDX-License-Identifier: Apache-2.0
// Commands that touch the medium. SBC-3, by command name.
#include <algorithm>
#include <cstring>
#include <memory>

#include "hw/scsi/scsi_unit.h"

namespace emu::hw {

using namespace scsi;
using block::IoFlags;
using block::IoVec;

namespace {

constexpr u64 kChunk = 64 * 1024;

bool is_write_verify(u8 opcode) {
  return opcode == WRITE_VERIFY_10 || opcode == WRITE_VERIFY_12 || opcode == WRITE_VERIFY_16;
}

/// The first `bytes` of `data`, when it is longer than the command: a copy of the list, not of the data.
std::vector<iovec> first_bytes(IoVec data, u64 bytes) {
  std::vector<iovec> out;
  for (const iovec& part : data) {
    if (bytes == 0) break;
    const u64 n = std::min<u64>(part.iov_len, bytes);
    if (n != 0) out.push_back({part.iov_base, n});
    bytes -= n;
  }
  return out;
}

}  // namespace

void ScsiUnit::read_capacity_10(const ScsiCommand& command, Reply& reply) {
  const u64 count = blocks();
  if (count == 0) {
    reply.sense = not_ready();
    return;
  }
  if (command.cdb[8] & 1 ? false : get_be<u32>(&command.cdb[2]) != 0) {  // address without PMI
    reply.sense = sense::kInvalidField;
    return;
  }
  reply.data.assign(8, 0);
  put_be<u32>(&reply.data[0], u32(std::min<u64>(count - 1, 0xffff'ffff)));
  put_be<u32>(&reply.data[4], config_.logical_block);
}

void ScsiUnit::service_action_in(const ScsiCommand& command, Reply& reply) {
  if ((command.cdb[1] & 0x1f) != kReadCapacity16) {
    reply.sense = sense::kInvalidField;
    return;
  }
  const u64 count = blocks();
  if (count == 0) {
    reply.sense = not_ready();
    return;
  }
  std::vector<u8>& d = reply.data;
  d.assign(32, 0);
  put_be<u64>(&d[0], count - 1);
  put_be<u32>(&d[8], config_.logical_block);
  u8 exponent = 0;
  while (exponent < 15 && (config_.logical_block << (exponent + 1)) <= config_.physical_block) exponent++;
  d[13] = exponent;
  if (backend_.can_discard()) d[14] = 0x80;  // LBPME
}

Task<ScsiSense> ScsiUnit::read(const ScsiCommand& command, IoVec data, u64 offset) {
  if (command.bytes == 0) co_return ScsiSense();
  const u64 bytes = std::min(block::total_bytes(data), command.bytes - std::min(offset, command.bytes));
  const std::vector<iovec> to = first_bytes(data, bytes);
  const int status = co_await backend_.read(command.lba * config_.logical_block + offset, to);
  co_return from_errno(status, false);
}

Task<ScsiSense> ScsiUnit::write(const ScsiCommand& command, IoVec data, u64 offset) {
  if (command.bytes == 0) co_return ScsiSense();
  const u64 bytes = std::min(block::total_bytes(data), command.bytes - std::min(offset, command.bytes));
  const std::vector<iovec> from = first_bytes(data, bytes);
  const bool fua = command.cdb[0] != WRITE_6 && (command.cdb[1] & 8);
  // What was verified must not be in a cache only, SBC-3 4.11.
  const IoFlags flags = fua || is_write_verify(command.cdb[0]) ? IoFlags::Fua : IoFlags::None;
  const int status = co_await backend_.write(command.lba * config_.logical_block + offset, from, flags);
  co_return from_errno(status, true);
}

/// Without data to compare with, blocks that exist are good: what the host cannot read is found when it is read.
Task<ScsiSense> ScsiUnit::verify(const ScsiCommand& command, IoVec data, u64 offset) {
  const u64 bytes = std::min(block::total_bytes(data), command.bytes - std::min(offset, command.bytes));
  if (bytes == 0) co_return ScsiSense();
  // A piece at a time: how much there is, is the driver's choice.
  std::vector<u8> expected(std::min(bytes, kChunk));
  const auto found = std::make_unique<u8[]>(expected.size());
  for (u64 done = 0; done < bytes; done += kChunk) {
    const iovec part{found.get(), std::min(kChunk, bytes - done)};
    copy_out_at(data, done, std::span(expected).first(part.iov_len));
    const int status = co_await backend_.read(command.lba * config_.logical_block + offset + done, IoVec(&part, 1));
    if (status != 0) co_return from_errno(status, false);
    if (std::memcmp(found.get(), expected.data(), part.iov_len) != 0) co_return sense::kMiscompare;
  }
  co_return ScsiSense();
}

Task<ScsiSense> ScsiUnit::synchronize_cache(const ScsiCommand&, IoVec, u64) {
  const int status = co_await backend_.flush();
  co_return from_errno(status, true);
}

Task<ScsiSense> ScsiUnit::unmap(const ScsiCommand& command, IoVec data, u64) {
  if (command.bytes == 0) co_return ScsiSense();
  if (command.cdb[1] & 1) co_return sense::kInvalidField;  // ANCHOR
  const std::vector<u8> list = copy_out(data, command.bytes);
  if (list.size() < command.bytes || list.size() < 8) co_return sense::kParameterListLength;
  const size_t length = get_be<u16>(&list[2]);
  if (length % 16 != 0 || length > list.size() - 8) co_return sense::kParameterListLength;
  if (backend_.is_read_only()) co_return sense::kWriteProtected;
  if (length / 16 > kMaxUnmapDescriptors) co_return sense::kInvalidParameter;
  const u64 total = blocks();
  u64 all = 0;
  // All of them are checked before the first is carried out.
  for (size_t at = 8; at < 8 + length; at += 16) {
    const u64 lba = get_be<u64>(&list[at]), count = get_be<u32>(&list[at + 8]);
    if (lba > total || count > total - lba) co_return sense::kLbaOutOfRange;
    all += count;
  }
  if (all > config_.max_unmap_bytes / config_.logical_block) co_return sense::kInvalidParameter;
  for (size_t at = 8; at < 8 + length; at += 16) {
    const u64 lba = get_be<u64>(&list[at]), count = get_be<u32>(&list[at + 8]);
    if (count == 0 || !backend_.can_discard()) continue;
    const int status = co_await backend_.discard(lba * config_.logical_block, count * config_.logical_block);
    if (status != 0) co_return from_errno(status, true);
  }
  co_return ScsiSense();
}

Task<ScsiSense> ScsiUnit::write_same(const ScsiCommand& command, IoVec data, u64) {
  const u32 block = config_.logical_block;
  const std::vector<u8> pattern = copy_out(data, command.bytes);
  if (pattern.size() < command.bytes) co_return sense::kParameterListLength;
  const u64 start = command.lba * block, bytes = command.blocks * block;
  const bool zeroes = std::all_of(pattern.begin(), pattern.end(), [](u8 b) { return b == 0; });
  if (zeroes) {
    const bool may_unmap = command.cdb[1] & 8;
    const int status =
        co_await backend_.write_zeroes(start, bytes, may_unmap ? IoFlags::MayUnmap : IoFlags::None);
    co_return from_errno(status, true);
  }
  std::vector<u8> buffer(std::min<u64>(std::max<u64>(kChunk, block), bytes));
  for (size_t at = 0; at < buffer.size(); at += block) std::memcpy(&buffer[at], pattern.data(), block);
  for (u64 done = 0; done < bytes; done += buffer.size()) {
    const iovec part{buffer.data(), std::min<u64>(buffer.size(), bytes - done)};
    const int status = co_await backend_.write(start + done, IoVec(&part, 1), IoFlags::None);
    if (status != 0) co_return from_errno(status, true);
  }
  co_return ScsiSense();
}

}  // namespace emu::hw
