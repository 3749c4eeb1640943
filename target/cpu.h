// SPDX-License-Identifier: Apache-2.0
// What the rest of the program knows of a guest CPU, and what a guest CPU may ask of the rest.
//
//   Vcpu              a guest CPU: state, modes, page walk, events. Implemented in target/<isa>.
//   Translator        guest code to IR. Implemented in target/<isa>; stateless but for tables.
//   GuestAccess       guest memory for helpers, through the software TLB. Implemented by the accelerator.
//   CpuServices       flush, kick, leave. Implemented by the accelerator.
//   CpuSignals        what an interrupt controller does to a CPU, from any thread. Implemented by Vcpu.
//   CpuInterruptPort  what a CPU asks of its interrupt controller, on the vCPU thread. Implemented in hw/intc.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "qom/archive.h"
#include "tcg/abi/env.h"
#include "tcg/ir/builder.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::mem {
class AddressSpace;
}

namespace emu::target {

class Vcpu;

enum class Access : u8 { Load, Store, Fetch };

/// What a page walk found, for the software TLB.
struct TlbFill {
  u64 physical = 0;        ///< of the 4 KiB page that holds the address
  u64 page_size = 4096;    ///< of the mapping, for flushes of large pages
  bool readable = false;   ///< in the view asked for
  bool writable = false;   ///< false until the guest's dirty bit is set, too
  bool executable = false;
  bool global = false;     ///< survives an address-space switch
  u8 protection_key = 0;
};

/// What a guest-memory access did.
enum class AccessStatus : u8 {
  Ok,
  Fault,  ///< a guest exception is pending in the Vcpu: the helper returns at once, with env.leave set by the accelerator
};

/// Guest virtual memory for helpers. vCPU thread only. `view` indexes EnvHeader::views; kCurrentView = the current one.
/// Values are little-endian in the low bytes. Accesses that cross pages fault before anything is written.
class GuestAccess {
 public:
  virtual ~GuestAccess() = default;
  virtual AccessStatus load(u64 va, unsigned bytes, u8 view, u64& value) = 0;
  virtual AccessStatus store(u64 va, unsigned bytes, u8 view, u64 value) = 0;
  virtual AccessStatus load_bytes(u64 va, std::span<u8> data, u8 view) = 0;
  virtual AccessStatus store_bytes(u64 va, std::span<const u8> data, u8 view) = 0;
  /// Faults as an access would, without making it.
  virtual AccessStatus probe(u64 va, unsigned bytes, Access access, u8 view) = 0;
  /// Atomic compare and exchange of 1..16 bytes; `expected` receives the old value.
  virtual AccessStatus compare_exchange(u64 va, unsigned bytes, u8 view, u128& expected, u128 desired) = 0;

  /// rep movs/stos fast path: copies (or fills) up to `bytes` forward within one source and one destination page that
  /// are plain RAM, and returns how many bytes were done; 0 if the slow element loop must do it (MMIO, watch, code).
  virtual u64 copy_run(u64 to, u64 from, u64 bytes, u8 view) = 0;
  virtual u64 fill_run(u64 to, u8 value, u64 bytes, u8 view) = 0;

  /// Guest-physical access for page walks: atomic, little-endian, 4 or 8 bytes. False: no memory there.
  virtual bool load_physical(u64 pa, unsigned bytes, u64& value) = 0;
  /// Sets bits in a page-table entry if it still reads `expected`; false if it changed (walk again) .
  virtual bool update_physical(u64 pa, unsigned bytes, u64 expected, u64 desired) = 0;
  /// 8-, 16- or 32-bit access to the I/O port space, for guests that have one.
  virtual u32 port_read(u16 port, unsigned bytes) = 0;
  virtual void port_write(u16 port, unsigned bytes, u32 value) = 0;
};

/// What a CPU asks of its accelerator. vCPU thread, but for kick().
class CpuServices {
 public:
  virtual ~CpuServices() = default;
  /// Sets bits in exit_req (seq_cst) and wakes the CPU if it sleeps. Any thread.
  virtual void kick(u32 exit_request_bits) = 0;
  /// Makes the current block end after this helper or access: sets env.leave.
  virtual void leave_block() = 0;

  // Each of the next five moves env.flush_generation on: caches of walks that the CPU keeps itself go by it.
  /// Drops every translation of every context of this CPU (paging mode, NXE, SMEP... changed).
  virtual void flush_all() = 0;
  /// Drops the current context's non-global translations (address-space register written without no-flush).
  virtual void flush_non_global() = 0;
  /// Drops every translation of the page (and of the large page around it), global ones too, in the current context
  /// and the kernel view.
  virtual void flush_page(u64 va) = 0;
  /// Drops one page or all non-global pages of context `id` (INVPCID and its like).
  virtual void flush_context(u64 id, std::optional<u64> va) = 0;
  /// The address-space id changed to `id`; its cached translations may be used unless flushed.
  virtual void switch_context(u64 id, bool keep) = 0;
  /// Mode key or current view may have changed: views and jump cache are reloaded before the next block.
  virtual void mode_changed() = 0;
  /// The machine's virtual clock in nanoseconds, the base of guest time-stamp counters and of their deadlines: it
  /// stands still while the machine is stopped.
  virtual u64 ticks() = 0;
  /// The guest spins: others may go first where vCPUs run in turn.
  virtual void yield() {}
};

/// Events that an interrupt controller (or the machine) sends to a CPU. Any thread; each kicks the CPU.
class CpuSignals {
 public:
  virtual ~CpuSignals() = default;
  virtual void set_interrupt(bool level) = 0;   ///< the external-interrupt request line
  virtual void nmi() = 0;
  virtual void smi() = 0;
  virtual void init() = 0;                      ///< INIT: reset to wait-for-start (or to the reset vector if the boot CPU)
  virtual void startup(u8 vector) = 0;          ///< start at vector << 12, if waiting
};

/// What a CPU asks of its own interrupt controller. vCPU thread; implementations take no machine lock.
class CpuInterruptPort {
 public:
  virtual ~CpuInterruptPort() = default;
  /// Takes the highest pending interrupt that priorities allow; empty if none (then nothing is injected).
  virtual std::optional<u8> acknowledge() = 0;
  virtual u8 task_priority() = 0;               ///< CR8: bits 7:4 of the TPR
  virtual void set_task_priority(u8 cr8) = 0;
  /// System-register window onto the controller (x2APIC MSRs 0x800.., IA32_APIC_BASE 0x1b, TSC deadline 0x6e0).
  /// False: no such register or reserved bits: the CPU raises its fault.
  virtual bool read_register(u32 index, u64& value) = 0;
  virtual bool write_register(u32 index, u64 value) = 0;
};

/// Guest code bytes for a Translator. Positions are linear addresses.
class GuestCode {
 public:
  virtual ~GuestCode() = default;
  /// The bytes from the block's pc to the end of its page. Stable while translating (a copy or a locked page).
  virtual std::span<const u8> first() const = 0;
  /// The bytes of the following page, for an instruction that straddles; empty: fetching there faults (the fault is
  /// then raised by the run loop at that address, and translate() returns FetchFault).
  virtual std::span<const u8> second() = 0;
};

struct TranslateRequest {
  u64 pc = 0;          ///< linear
  u32 mode = 0;        ///< mode key, see translator.md section 1
  unsigned max_insns = 64;
  u64 break_after = 0; ///< non-zero: end the block before this pc (breakpoint)
  bool is_only_cpu = false;  ///< and no other process shares the guest's RAM
  const Vcpu* cpu = nullptr;  ///< for what is constant per CPU model (CPUID, features); never for anything not in `mode`
};

struct TranslateResult {
  enum class Status : u8 { Ok, FetchFault } status = Status::Ok;
  u64 fault_address = 0;   ///< FetchFault: the first byte that could not be fetched
  bool straddles = false;  ///< the one instruction crosses into the next page
};

class Translator {
 public:
  virtual ~Translator() = default;
  virtual const ir::StateLayout& layout() const = 0;
  virtual const ir::HelperTable& helpers() const = 0;
  /// Translates one extended block into `builder` (begun here). Any thread.
  virtual TranslateResult translate(const TranslateRequest& request, GuestCode& code, ir::Builder& builder) = 0;
  /// Whether translate() makes of a branch to that pc no more than an exit: where a movable block (ir::Block) is moved
  /// to, all its exits must be so.
  virtual bool may_branch_to(u64) const { return true; }
  /// Guest listing of the block's bytes for -d in_asm.
  virtual std::string disassemble(std::span<const u8> bytes, u64 pc, u32 mode) const = 0;
};

/// What a Vcpu wants after an event was looked at.
enum class Halt : u8 { Running, Halted, WaitForStartup, Shutdown };

/// One guest CPU. Owned by the machine; its EnvHeader lives in memory that the Vcpu allocates with EnvStorage. All
/// methods on the vCPU thread, or with the vCPU paused, unless said otherwise.
class Vcpu : public CpuSignals {
 public:
  virtual unsigned index() const = 0;
  virtual tcg::EnvHeader& env() = 0;
  virtual Translator& translator() = 0;

  /// Given once by the accelerator before the first run.
  virtual void attach(GuestAccess& memory, CpuServices& services) = 0;
  /// Given once by the board; may be null for a board without interrupt controller.
  virtual void set_interrupt_port(CpuInterruptPort* port) = 0;
  virtual void reset() = 0;

  /// Everything that translation treats as constant; two blocks at one pc with different keys are different blocks.
  virtual u32 mode_key() const = 0;
  /// EnvHeader::views index of the current privilege, and of a given mode key.
  virtual u8 current_view() const = 0;
  /// Views of kernel privilege share one table across contexts (translator.md section 4); user views belong to contexts.
  virtual bool view_is_kernel(u8 view) const = 0;
  virtual unsigned view_count() const = 0;
  /// Identity of the current address space (x86: CR3 page | PCID).
  virtual u64 context_id() const = 0;

  /// Walks the page tables for `va`. True: `fill` holds the mapping, accessed/dirty bits are set as the access needs.
  /// False: the fault is pending in this CPU (delivered by deliver_pending), nothing was filled.
  virtual bool walk(u64 va, Access access, u8 view, TlbFill& fill) = 0;
  /// As walk, without faults, side effects, or permission checks: for debuggers. Empty: not mapped. Any thread if paused.
  virtual std::optional<u64> debug_translate(u64 va) = 0;
  /// Alters a physical address for A20 and the like.
  virtual u64 wrap_physical(u64 pa) const { return pa; }

  /// Called when code stopped with ExitReason::Trap / System; env.pc and all state are exact. May raise exceptions
  /// (delivering them), change modes, halt.
  virtual void handle_trap(u64 code) = 0;
  virtual void handle_system(u64 reason) = 0;
  /// Records an alignment fault for `va` as pending (MemInfo::align_fault).
  virtual void raise_alignment_fault(u64 va, unsigned bytes, Access access) = 0;
  /// The fault that is pending is of an access with MemInfo::stack: for targets that tell those apart.
  virtual void stack_access_faulted() {}
  /// A failed bus access (no device, no memory) as the guest sees it; default: nothing, reads give ones.
  virtual void bus_error(u64, Access) {}
  /// Delivers the exception that a walk, helper or alignment check left pending: state, env.pc and mode change.
  virtual void deliver_pending() = 0;
  virtual bool has_pending_fault() const = 0;

  // Only while EnvHeader::guest_debug is not 0, which the target changes together with the mode key: blocks are one
  // instruction long then.
  /// Before the instruction at env.pc. True: an exception was delivered instead.
  virtual bool before_instruction() { return false; }
  /// Whether the guest watches data in the page of `va`: then data_accessed() is told of each access there.
  virtual bool watches_data(u64) const { return false; }
  virtual void data_accessed(u64, u64, Access) {}

  /// True if an interrupt, NMI, INIT... could be taken now (exit_req bits were seen).
  virtual bool has_deliverable_event() = 0;
  /// Takes one event if there is one; returns whether state changed.
  virtual bool take_event() = 0;
  virtual Halt halt_state() const = 0;
  /// Halt::Shutdown: how it came to that, in words and with registers, for AccelClient::vcpu_shut_down.
  virtual std::string shutdown_reason() const { return {}; }
  /// Any thread: would an event wake this halted CPU?
  virtual bool wakeup_pending() const = 0;

  /// Halted, and to be asked again after this many nanoseconds even if nobody kicks: MWAIT. 0: no.
  virtual u64 idle_poll_ns() const { return 0; }
  /// That time has passed. True: the CPU runs again.
  virtual bool idle_poll() { return false; }

  /// Register dump as `info registers` prints it, and a one-line summary for logs. Paused or own thread.
  virtual std::string dump_registers() const = 0;
  virtual u64 debug_pc() const = 0;
  /// A debugger goes step by step: of an instruction that repeats itself one round is a step. Own thread.
  virtual void set_stepping(bool) {}

  /// All of its state: registers, what it waits for, what it has pending. Paused.
  virtual qom::FieldTree save_state() { return {}; }
  /// Errors: the CPU's state cannot be loaded, or this is none of such a CPU; then it must be reset. Paused.
  virtual Result<void> load_state(const qom::FieldTree&) { return error("the state of this CPU cannot be loaded"); }
  /// A hash of pc and general registers: tells moments apart between which no instruction was completed (rounds of a
  /// repeated one, a fault and its delivery).
  virtual u64 fingerprint() const { return debug_pc(); }
};

}  // namespace emu::target
