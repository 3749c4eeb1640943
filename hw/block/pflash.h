// SPDX-License-Identifier: Apache-2.0
// Parallel NOR flash with Intel's command set (CFI 0001h), one byte wide. Common Flash Interface (JEDEC JESD68.01,
// JEP137); Intel 28F640J5 datasheet (290606) for commands and status.
#pragma once

#include <array>
#include <memory>
#include <set>
#include <vector>

#include "block/block_backend.h"
#include "hw/core/sysbus.h"

namespace emu::hw {

/// "cfi.pflash01": firmware and its variables. Reads are memory until a command comes. What is programmed is in memory
/// at once, and on the disk soon after; unrealize() waits for that. Deviations: block locks are kept out of the way
/// (every block is unlocked); after CLEAR STATUS the status reads 0, ready bit and all, until the next operation,
/// because OVMF's driver recognises flash by that.
class Pflash final : public SysBusDevice, public block::BlockFrontend {
 public:
  static constexpr unsigned kBufferBytes = 2048;
  // Status register
  static constexpr u8 kReady = 0x80, kEraseError = 0x20, kProgramError = 0x10, kProtected = 0x02;
  enum Command : u8 {
    PROGRAM_ALT = 0x10,
    BLOCK_ERASE = 0x20,
    PROGRAM = 0x40,
    CLEAR_STATUS = 0x50,
    BLOCK_LOCK = 0x60,
    READ_STATUS = 0x70,
    READ_ID = 0x90,
    CFI_QUERY = 0x98,
    CONFIRM = 0xd0,
    WRITE_BUFFER = 0xe8,
    READ_ARRAY_ALT = 0xf0,
    READ_ARRAY = 0xff,
  };

  static void describe(TypeInfo<Pflash>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;
  void reset_hold() override { show(); }

  /// After realize: the board maps it.
  const mem::RegionRef& flash() const { return flash_; }
  u64 bytes() const { return u64(block_bytes_) * block_count_; }

 private:
  enum class Mode : u8 { Array, Status, Id, Query };
  enum class Step : u8 { Idle, Program, EraseConfirm, Lock, BufferCount, BufferData, BufferConfirm };
  struct State {
    Mode mode = Mode::Array;
    Step step = Step::Idle;
    u8 status = kReady;
    u32 buffer_left = 0;         ///< bytes of WRITE TO BUFFER to come
    u64 buffer_start = 0;        ///< of the aligned stretch that it is for
    bool buffer_failed = false;  ///< a byte lay outside
    std::array<u8, kBufferBytes> buffer{};
  };
  class Ops;

  static void fields(Archive& ar, State& s);
  Result<void> after_load();
  Result<void> load_contents();
  void make_query();

  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u8 read_byte(u64 offset) const;
  void start_command(u64 offset, u8 command);
  void program(u64 offset, std::span<const u8> bytes);
  void erase(u64 offset);
  void fill_buffer(u64 offset, u64 value, unsigned size);
  void end_step(u8 error);
  void show();

  void changed(u64 offset, u64 length);
  Task<void> write_out();
  bool take_dirty(u64& offset, std::vector<u8>& bytes);

  block::BlockBackend* drive_ = nullptr;
  u32 block_count_ = 0, block_bytes_ = 4096;
  u8 width_ = 1;
  bool big_endian_ = false, secure_ = false;
  std::array<u16, 4> ids_{0x89, 0x18, 0, 0};
  std::string name_ = "pflash";

  State state_;
  std::array<u8, 0x52> query_{};
  mem::RamRef ram_;
  mem::RegionRef flash_;
  bool read_only_ = false;
  std::unique_ptr<TaskOwner> owner_;
  std::shared_ptr<bool> alive_;
  std::set<u64> dirty_;  ///< blocks not yet on the disk
  bool writing_ = false, write_failed_ = false;
};

/// Registers "cfi.pflash01".
void register_pflash(TypeRegistry& registry);

}  // namespace emu::hw
