// SPDX-License-Identifier: Apache-2.0
// Guest memory as C++ on the vCPU thread reaches it: helpers (GuestAccess), the interpreter, and the slow path of
// generated code. RAM through the software TLB, devices through the address space.
#pragma once

#include <array>
#include <mutex>

#include "accel/tcg/block_cache.h"
#include "accel/tcg/debug_points.h"
#include "accel/tcg/soft_tlb.h"
#include "target/cpu.h"
#include "tcg/interp/interpreter.h"

namespace emu::accel {

/// Says which block the vCPU is in the middle of: a store that hits it makes its instruction start again by itself.
class RunningBlock {
 public:
  virtual ~RunningBlock() = default;
  virtual const CodeBlock* running_block() = 0;
  /// The access that is now refused, without a fault, is to be repeated with its instruction alone in a block.
  virtual void restart_alone() = 0;
  /// A watched access is about to be made. False: it is refused, and repeated with its instruction alone.
  virtual bool watch_hit(const Watchpoint& watchpoint) = 0;
};

/// Shared by the vCPUs of a machine: read-modify-writes that no host instruction does (across two pages) exclude each
/// other. FIXME: a plain access of another vCPU may still come in between; no known guest locks across pages.
struct SplitLocks {
  std::mutex mutex;
};

class GuestMemory final : public target::GuestAccess, public ir::InterpreterMemory {
 public:
  struct Parts {
    target::Vcpu& cpu;
    SoftTlb& tlb;
    mem::AddressSpace& memory;
    mem::AddressSpace* ports;
    BlockCache& blocks;
    RunningBlock& running;
    SplitLocks& split_locks;
    const DebugTable& debug;
    VcpuStatistics& statistics;
    const Quiescence::Participant& self;
    bool string_runs = true;  ///< false: copy_run and fill_run leave everything to single elements
  };
  explicit GuestMemory(const Parts& parts) : p_(parts), env_(parts.cpu.env()) {}

  // GuestAccess
  target::AccessStatus load(u64 va, unsigned bytes, u8 view, u64& value) override;
  target::AccessStatus store(u64 va, unsigned bytes, u8 view, u64 value) override;
  target::AccessStatus load_bytes(u64 va, std::span<u8> data, u8 view) override;
  target::AccessStatus store_bytes(u64 va, std::span<const u8> data, u8 view) override;
  target::AccessStatus probe(u64 va, unsigned bytes, target::Access access, u8 view) override;
  target::AccessStatus compare_exchange(u64 va, unsigned bytes, u8 view, u128& expected, u128 desired) override;
  u64 copy_run(u64 to, u64 from, u64 bytes, u8 view) override;
  u64 fill_run(u64 to, u8 value, u64 bytes, u8 view) override;
  bool load_physical(u64 pa, unsigned bytes, u64& value) override;
  bool update_physical(u64 pa, unsigned bytes, u64 expected, u64 desired) override;
  u32 port_read(u16 port, unsigned bytes) override;
  void port_write(u16 port, unsigned bytes, u32 value) override;

  // InterpreterMemory. False: a fault is pending, or the instruction is to be restarted (see RuntimeVcpu).
  bool load(u64 address, const ir::MemInfo& mem, u8* data) override;
  bool store(u64 address, const ir::MemInfo& mem, const u8* data) override;
  bool probe(u64 address, const ir::MemInfo& mem) override;
  bool rmw(ir::RmwOp op, u64 address, const ir::MemInfo& mem, u64 operand, u64& old_value) override;
  bool cas(u64 address, const ir::MemInfo& mem, u64 expected, u64 desired, u64& old_value) override;

  /// Makes a RAM page of an access present in the first level. Ready: generated code may do the access itself.
  enum class Refill : u8 { Ready, Perform, Fault };
  Refill refill(u64 va, unsigned bytes, target::Access access, u8 view);

 private:
  /// Where one piece of an access, within a page, goes.
  struct Target {
    u8* host = nullptr;   ///< null: a device, or nothing, at `physical`
    u64 physical = 0;
    mem::RamBlock* ram = nullptr;  ///< set with `tracked`
    mem::RamPage page = mem::kNoRamPage;
    bool tracked = false;  ///< a store that must be told of: code or dirty tracking
  };
  struct PhysicalPage {
    u64 page = ~u64(0);
    u8* host = nullptr;
    mem::RamBlock* ram = nullptr;
    mem::RamPage ram_page = mem::kNoRamPage;
    bool writable = false;
  };

  u8 view_number(u8 view) const { return view == ir::kCurrentView ? p_.cpu.current_view() : view; }
  bool resolve(u64 va, unsigned bytes, target::Access access, u8 view, Target& target);
  bool resolve_store(u64 va, unsigned bytes, u8 view, const L2Entry& entry, Target& target);
  void finish_store(const Target& target, u64 va, unsigned bytes);
  bool read(u64 va, u8* data, unsigned bytes, u8 view);
  bool write(u64 va, const u8* data, unsigned bytes, u8 view);
  void read_piece(const Target& target, u8* data, unsigned bytes);
  void write_piece(const Target& target, u64 va, const u8* data, unsigned bytes);
  bool check_alignment(u64 va, const ir::MemInfo& mem, target::Access access);
  bool modify(u64 va, unsigned bytes, u8 view, u64& old_value, ir::RmwOp op, u64 operand, const u64* expected);
  u64 mmio_load(u64 physical, unsigned bytes);
  void mmio_store(u64 physical, unsigned bytes, u64 value);
  void after_device();
  const PhysicalPage* physical_page(u64 pa);
  mem::MemTxAttrs attrs() const;
  target::AccessStatus status(bool ok);

  const Parts p_;
  tcg::EnvHeader& env_;
  std::array<PhysicalPage, 256> physical_{};
  u64 physical_generation_ = ~u64(0);
  bool is_probing_ = false;  ///< what is resolved is not accessed yet
};

}  // namespace emu::accel
