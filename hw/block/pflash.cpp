// SPDX-License-Identifier: Apache-2.0
#include "hw/block/pflash.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "util/log.h"

namespace emu::hw {

namespace {

constexpr u64 kMaxBytes = 64 << 20;

}  // namespace

class Pflash::Ops final : public mem::MmioOps {
 public:
  explicit Ops(Pflash& device) : device_(device) {}
  u64 read(u64 offset, unsigned size) override { return device_.read(offset, size); }
  void write(u64 offset, u64 value, unsigned size) override { device_.write(offset, value, size); }

 private:
  Pflash& device_;
};

void Pflash::describe(TypeInfo<Pflash>& type) {
  type.doc("Parallel flash with Intel's command set");
  type.category(Category::Storage);
  type.link("drive", &Pflash::drive_, block::BlockBackend::kContainer, "block device with the contents");
  type.property("num-blocks", &Pflash::block_count_, "number of erase blocks; 0: as many as the drive holds");
  type.property("sector-length", &Pflash::block_bytes_, "bytes of an erase block");
  type.property("width", &Pflash::width_, "bytes of the data bus: 1");
  type.property("big-endian", &Pflash::big_endian_, "byte order; of no effect at this width");
  type.property("secure", &Pflash::secure_, "writable in system management mode only: not supported");
  type.property("name", &Pflash::name_, "name of the memory region");
  type.saved(1, &Pflash::state_, &Pflash::fields, &Pflash::after_load);
}

Result<void> Pflash::realize() {
  if (secure_) {
    return error(Error("cfi.pflash01: secure=on is not supported: there is no system management mode to write from")
                     .with_hint("Use a build of OVMF without SMM, and leave secure out."));
  }
  if (width_ != 1) return error("cfi.pflash01: width={} is not supported, only 1", width_);
  if (drive_ == nullptr) return error("cfi.pflash01: needs drive=, the block device with the contents");
  if (block_bytes_ < 4096 || !std::has_single_bit(block_bytes_) || block_bytes_ > (1u << 20)) {
    return error("cfi.pflash01: sector-length={} is not a power of two from 4096 to 1048576", block_bytes_);
  }
  const u64 have = drive_->bytes();
  if (block_count_ == 0) block_count_ = u32(std::min<u64>(have / block_bytes_, 0xffff'ffff));
  if (have == 0 || have % block_bytes_ != 0 || have != bytes() || bytes() > kMaxBytes || block_count_ > 65536) {
    return error("cfi.pflash01: the drive holds {} bytes, but needs {} blocks of {} (at most 64 MiB)", have,
                 block_count_, block_bytes_);
  }
  ram_ = EMU_TRY(memory().make_ram(name_, bytes()), "cfi.pflash01");
  flash_ = add_region(mem::Region::rom_device(memory(), name_, ram_, std::make_unique<Ops>(*this),
                                              {.valid = {1, 8}, .impl = {1, 8}}));
  EMU_TRY(drive_->attach(*this), "cfi.pflash01");
  read_only_ = drive_->is_read_only();
  if (auto loaded = load_contents(); !loaded) {
    drive_->detach(*this);
    return loaded;
  }
  owner_ = std::make_unique<TaskOwner>(drive_->loop());
  alive_ = std::make_shared<bool>(true);
  make_query();
  return {};
}

Result<void> Pflash::load_contents() {
  std::vector<u8> contents(bytes());
  const iovec part{contents.data(), contents.size()};
  const int status = run_sync(drive_->loop(), drive_->read(0, block::IoVec(&part, 1)));
  if (status != 0) {
    return error("cfi.pflash01: {} cannot be read: {}", drive_->filename(), std::string(std::strerror(status)));
  }
  ram_->write(0, contents.data(), contents.size());
  return {};
}

void Pflash::unrealize() {
  alive_.reset();
  owner_->drain();
  writing_ = false;
  if (!dirty_.empty()) {
    owner_->start(write_out());
    owner_->drain();
  }
  owner_.reset();
  drive_->detach(*this);
  flash_.reset();
  ram_.reset();
}

/// The table that CFI QUERY shows, from 10h on: JESD68.01 and Intel's extended query.
void Pflash::make_query() {
  const auto put16 = [&](unsigned at, u32 value) {
    query_[at] = u8(value);
    query_[at + 1] = u8(value >> 8);
  };
  query_ = {};
  query_[0x10] = 'Q', query_[0x11] = 'R', query_[0x12] = 'Y';
  put16(0x13, 0x0001);  // Intel's command set
  put16(0x15, 0x0031);  // extended query
  query_[0x1b] = 0x45, query_[0x1c] = 0x55;  // 4.5 to 5.5 V
  query_[0x1f] = 0x07, query_[0x20] = 0x07, query_[0x21] = 0x0a;  // typical times
  query_[0x23] = 0x04, query_[0x24] = 0x04, query_[0x25] = 0x04;  // most times
  query_[0x27] = u8(std::bit_width(bytes() - 1));
  put16(0x28, 0x0000);  // byte wide
  put16(0x2a, std::countr_zero(kBufferBytes));
  query_[0x2c] = 1;  // erase regions
  put16(0x2d, block_count_ - 1);
  put16(0x2f, block_bytes_ / 256);
  query_[0x31] = 'P', query_[0x32] = 'R', query_[0x33] = 'I', query_[0x34] = '1', query_[0x35] = '0';
}

// Reset and saving. --------------------------------------------------------------------------------------------------

void Pflash::reset_enter() { state_ = {}; }

void Pflash::show() { flash_->set_rom_mode(state_.mode == Mode::Array && state_.step == Step::Idle); }

void Pflash::fields(Archive& ar, State& s) {
  ar("mode", s.mode)("step", s.step)("status", s.status)("buffer_left", s.buffer_left);
  ar("buffer_start", s.buffer_start)("buffer_failed", s.buffer_failed)("buffer", s.buffer);
}

Result<void> Pflash::after_load() {
  if (state_.mode > Mode::Query || state_.step > Step::BufferConfirm || state_.buffer_left > kBufferBytes ||
      state_.buffer_start % kBufferBytes != 0 || state_.buffer_start >= bytes()) {
    return error("cfi.pflash01: the command under way is out of range");
  }
  show();
  if (!read_only_) changed(0, bytes());  // memory came with the state; the disk may be older
  return {};
}

// Accesses. ----------------------------------------------------------------------------------------------------------

u64 Pflash::read(u64 offset, unsigned size) {
  u64 value = 0;
  for (unsigned i = 0; i < size; i++) value |= u64(read_byte(offset + i)) << (8 * i);
  return value;
}

u8 Pflash::read_byte(u64 offset) const {
  switch (state_.mode) {
    case Mode::Status:
      return state_.status;
    case Mode::Id: {
      const u64 index = offset & 0xff;
      return index < 2 ? u8(ids_[index]) : 0;  // 2: not locked
    }
    case Mode::Query: {
      const u64 index = offset & 0xff;
      return index < query_.size() ? query_[index] : 0;
    }
    case Mode::Array:
      break;
  }
  u8 byte = 0;
  ram_->read(offset, &byte, 1);
  return byte;
}

void Pflash::write(u64 offset, u64 value, unsigned size) {
  State& s = state_;
  const u8 command = u8(value);
  switch (s.step) {
    case Step::Idle:
      start_command(offset, command);
      break;
    case Step::Program: {
      u8 bytes[8];
      for (unsigned i = 0; i < size; i++) bytes[i] = u8(value >> (8 * i));
      s.step = Step::Idle;
      program(offset, std::span(bytes, size));
      break;
    }
    case Step::EraseConfirm:
      if (command == CONFIRM)
        erase(offset);
      else
        end_step(kEraseError | kProgramError);  // a command sequence error
      break;
    case Step::Lock:
      end_step(command == 0x01 || command == CONFIRM || command == 0x03 || command == 0x2f
                   ? 0
                   : kEraseError | kProgramError);
      break;
    case Step::BufferCount:
      s.buffer.fill(0xff);
      s.buffer_failed = false;
      s.buffer_start = align_down(offset, kBufferBytes);
      s.buffer_left = u32(command) + 1;
      s.step = Step::BufferData;
      break;
    case Step::BufferData:
      fill_buffer(offset, value, size);
      break;
    case Step::BufferConfirm:
      s.step = Step::Idle;
      if (command != CONFIRM || s.buffer_failed)
        end_step(kEraseError | kProgramError);
      else
        program(s.buffer_start, std::span<const u8>(s.buffer).first(std::min<u64>(kBufferBytes, bytes() - s.buffer_start)));
      break;
  }
  show();
}

void Pflash::start_command(u64 offset, u8 command) {
  State& s = state_;
  switch (command) {
    case PROGRAM:
    case PROGRAM_ALT:
      s.step = Step::Program;
      s.mode = Mode::Status;
      break;
    case BLOCK_ERASE:
      s.step = Step::EraseConfirm;
      s.mode = Mode::Status;
      break;
    case BLOCK_LOCK:
      s.step = Step::Lock;
      s.mode = Mode::Status;
      break;
    case WRITE_BUFFER:
      s.step = Step::BufferCount;
      s.mode = Mode::Status;
      s.status |= kReady;  // a buffer is free
      break;
    case CLEAR_STATUS:
      s.status = 0;
      s.mode = Mode::Array;
      break;
    case READ_STATUS:
      s.mode = Mode::Status;
      break;
    case READ_ID:
      s.mode = Mode::Id;
      break;
    case CFI_QUERY:
      s.mode = Mode::Query;
      break;
    case READ_ARRAY:
    case READ_ARRAY_ALT:
    case 0x00:
      s.mode = Mode::Array;
      break;
    default:
      log::write_if(log::Mask::Unimp, "pflash: command {:#04x} at {:#x} is not implemented\n", command, offset);
      s.mode = Mode::Array;
      break;
  }
}

void Pflash::end_step(u8 errors) {
  state_.step = Step::Idle;
  state_.mode = Mode::Status;
  state_.status = u8(state_.status | kReady | errors);
}

/// Programming only clears bits; erasing sets them.
void Pflash::program(u64 offset, std::span<const u8> data) {
  if (read_only_) return end_step(kProgramError | kProtected);
  if (offset > bytes() || data.size() > bytes() - offset) return end_step(kProgramError);
  std::array<u8, kBufferBytes> merged;
  ram_->read(offset, merged.data(), data.size());
  for (size_t i = 0; i < data.size(); i++) merged[i] &= data[i];
  ram_->write(offset, merged.data(), data.size());
  changed(offset, data.size());
  end_step(0);
}

void Pflash::erase(u64 offset) {
  if (read_only_) return end_step(kEraseError | kProtected);
  const u64 start = align_down(offset, block_bytes_);
  ram_->fill(start, 0xff, block_bytes_);
  changed(start, block_bytes_);
  end_step(0);
}

void Pflash::fill_buffer(u64 offset, u64 value, unsigned size) {
  State& s = state_;
  for (unsigned i = 0; i < size && s.buffer_left != 0; i++, s.buffer_left--) {
    const u64 at = offset + i;
    if (at < s.buffer_start || at - s.buffer_start >= kBufferBytes)
      s.buffer_failed = true;
    else
      s.buffer[at - s.buffer_start] = u8(value >> (8 * i));
  }
  if (s.buffer_left == 0) s.step = Step::BufferConfirm;
}

// To the disk. -------------------------------------------------------------------------------------------------------

void Pflash::changed(u64 offset, u64 length) {
  for (u64 block = offset / block_bytes_; block * block_bytes_ < offset + length; block++) dirty_.insert(block);
  if (writing_) return;
  writing_ = true;
  machine().run_on_main_loop([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) owner_->start(write_out());
  });
}

/// Copies a run of blocks that are to go out; nothing when there is none.
bool Pflash::take_dirty(u64& offset, std::vector<u8>& bytes) {
  const mem::MachineLockScope guard(memory().lock());
  if (dirty_.empty()) {
    writing_ = false;
    return false;
  }
  const u64 first = *dirty_.begin();
  u64 count = 0;
  while (dirty_.erase(first + count) != 0) count++;
  offset = first * block_bytes_;
  bytes.resize(count * block_bytes_);
  ram_->read(offset, bytes.data(), bytes.size());
  return true;
}

Task<void> Pflash::write_out() {
  u64 offset = 0;
  std::vector<u8> contents;
  while (take_dirty(offset, contents)) {
    const iovec part{contents.data(), contents.size()};
    const int status = co_await drive_->write(offset, block::IoVec(&part, 1));
    if (status != 0 && !write_failed_) {
      write_failed_ = true;  // said once
      log::warn("flash {}: {} cannot be written: {}", name_, drive_->filename(), std::strerror(status));
    }
  }
}

void register_pflash(TypeRegistry& registry) { registry.add<Pflash>("cfi.pflash01"); }

}  // namespace emu::hw
