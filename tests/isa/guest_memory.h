// SPDX-License-Identifier: Apache-2.0
// The window and the code pages as a guest CPU reaches them: through page tables of ours that it walks itself.
#pragma once

#include <vector>

#include "isa/state.h"
#include "target/cpu.h"
#include "tcg/interp/interpreter.h"

namespace emu::isa {

class GuestMemory final : public ir::InterpreterMemory, public target::GuestAccess {
 public:
  /// `window` and `code` are where this process has the contents.
  GuestMemory(u8* window, const u8* code);
  void attach(target::Vcpu& cpu) { cpu_ = &cpu; }
  static constexpr u64 kTables = 0x10000;  ///< CR3

  /// Host address of `bytes` bytes that lie in one page; null: the fault is pending.
  u8* resolve(u64 va, unsigned bytes, target::Access access, u8 view);

  // ir::InterpreterMemory
  bool load(u64 address, const ir::MemInfo& mem, u8* data) override;
  bool store(u64 address, const ir::MemInfo& mem, const u8* data) override;
  bool probe(u64 address, const ir::MemInfo& mem) override;
  bool rmw(ir::RmwOp op, u64 address, const ir::MemInfo& mem, u64 operand, u64& old_value) override;
  bool cas(u64 address, const ir::MemInfo& mem, u64 expected, u64 desired, u64& old_value) override;

  // target::GuestAccess
  using Status = target::AccessStatus;
  Status load(u64 va, unsigned bytes, u8 view, u64& value) override;
  Status store(u64 va, unsigned bytes, u8 view, u64 value) override;
  Status load_bytes(u64 va, std::span<u8> data, u8 view) override;
  Status store_bytes(u64 va, std::span<const u8> data, u8 view) override;
  Status probe(u64 va, unsigned bytes, target::Access access, u8 view) override;
  Status compare_exchange(u64 va, unsigned bytes, u8 view, u128& expected, u128 desired) override;
  u64 copy_run(u64 to, u64 from, u64 bytes, u8 view) override;
  u64 fill_run(u64 to, u8 value, u64 bytes, u8 view) override;
  bool load_physical(u64 pa, unsigned bytes, u64& value) override;
  bool update_physical(u64 pa, unsigned bytes, u64 expected, u64 desired) override;
  u32 port_read(u16, unsigned) override { return ~u32(0); }
  void port_write(u16, unsigned, u32) override {}

 private:
  bool is_aligned(u64 address, const ir::MemInfo& mem, target::Access access);
  bool done(bool ok, const ir::MemInfo& mem);
  bool transfer(u64 va, u8* data, unsigned bytes, bool is_store, u8 view);
  Status status(bool ok);
  void map(u64 va, u64 pa, u64 flags);
  u8* window_;
  const u8* code_;
  target::Vcpu* cpu_ = nullptr;
  std::vector<u8> tables_;
  u64 next_table_ = kTables + 0x1000;
};

}  // namespace emu::isa
