// SPDX-License-Identifier: Apache-2.0
// X86Cpu: one guest x86 CPU. State and its helpers; memory, time and flushes come from the accelerator.
//
// Faults are statuses: a function that may fault returns false (or leaves the exception pending for a helper, which
// then returns anything) and has changed nothing that the guest could see, but for what the manual allows.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "target/cpu.h"
#include "target/x86/descriptor.h"
#include "target/x86/mode_key.h"
#include "target/x86/helpers.h"
#include "target/x86/models.h"
#include "target/x86/state.h"
#include "tcg/abi/env_storage.h"
#include "tcg/ir/vec_ops.h"

namespace emu::x86 {

struct CpuConfig {
  unsigned index = 0;
  u32 apic_id = 0;
  Topology topology;
  CpuModel model;
};

/// Where a boot loader enters: 32-bit protected mode, flat segments, paging and interrupts off.
struct FlatEntry {
  u32 eip = 0, eax = 0, ebx = 0, esi = 0;
  u32 gdt_base = 0;
  u16 gdt_limit = 0, cs = 0x10, ds = 0x18;
};

struct CpuidResult {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  bool operator==(const CpuidResult&) const = default;
};

/// A stack that is being pushed to or popped from; rsp follows when the instruction completes.
struct StackCursor {
  u64 base = 0;
  u64 sp = 0;
  u64 mask = ~u64(0);    ///< of the stack pointer
  bool is_long = false;  ///< no limit, canonical check instead
  SegmentRange range;
  u8 view = kViewKernel;
  u32 fault_code = 0;  ///< error code of #SS
};

/// What is delivered through the IDT.
struct Event {
  enum class Kind : u8 {
    External,          ///< interrupt line or NMI
    Fault,             ///< exception; the saved pc is the instruction's
    Trap,              ///< exception reported behind the instruction (#DB), too
    SoftwareInt,       ///< INT n: gate privilege is checked, IOPL in virtual-8086 mode
    SoftwareException  ///< INT3, INTO: gate privilege is checked; INT1 is a Trap
  };
  u8 vector = 0;
  Kind kind = Kind::Fault;
  bool has_error = false;
  u32 error = 0;
  u64 return_pc = 0;  ///< linear
};

/// How a page walk ended.
enum class WalkStatus : u8 { Mapped, NotPresent, Reserved };

struct PageMapping {
  struct Step {
    u64 pa, entry;
    unsigned bytes;
  };
  u64 physical = 0;
  u64 page_size = 4096;
  bool user = true, write = true, no_execute = false, global = false, dirty = false;
  u8 key = 0;  ///< protection key
  u64 last_table = 0;  ///< the table that the 4 KiB entry came from, and what those above it allow
  bool upper_user = true, upper_write = true, upper_no_execute = false;
  Step steps[5];  ///< the first `depth`; the rest is not even zero
  unsigned depth = 0;
};

struct Insn;

/// See the head of this file. Locks none; CpuSignals may be called from any thread, the rest as target/cpu.h says.
class X86Cpu final : public target::Vcpu {
 public:
  X86Cpu(const CpuConfig& config, target::Translator& translator);

  X86State& state() { return *s_; }
  const X86State& state() const { return *s_; }
  const CpuConfig& config() const { return config_; }
  bool has(Cpuid feature) const { return config_.model.features.has(feature); }

  unsigned index() const override { return config_.index; }
  tcg::EnvHeader& env() override { return s_->hdr; }
  target::Translator& translator() override { return translator_; }
  void attach(target::GuestAccess& memory, target::CpuServices& services) override;
  /// Pins for x87 errors while CR0.NE is clear; the functions take no machine lock. Without them it is #MF then, too.
  struct FpuErrorPins {
    std::function<void(bool)> set_ferr;
    std::function<bool()> ignne;
  };
  void connect_fpu_error(FpuErrorPins pins) { fpu_error_ = std::move(pins); }
  void set_interrupt_port(target::CpuInterruptPort* port) override { port_ = port; }
  void reset() override;

  u32 mode_key() const override;
  u8 current_view() const override { return view_for(s_->cpl()); }
  bool view_is_kernel(u8 view) const override { return view == kViewKernel; }
  unsigned view_count() const override { return kViewCount; }
  u64 context_id() const override;
  bool walk(u64 va, target::Access access, u8 view, target::TlbFill& fill) override;
  std::optional<u64> debug_translate(u64 va) override;
  u64 wrap_physical(u64 pa) const override { return pa & a20_mask_.load(std::memory_order_relaxed); }

  void handle_trap(u64 code) override;
  void handle_system(u64 reason) override;
  void raise_alignment_fault(u64 va, unsigned bytes, target::Access access) override;
  void stack_access_faulted() override;
  void deliver_pending() override;
  bool has_pending_fault() const override { return pending_.valid; }
  bool has_deliverable_event() override;
  bool take_event() override;
  u64 idle_poll_ns() const override;
  bool idle_poll() override;
  bool before_instruction() override;
  void set_stepping(bool on) override { is_stepped_ = on; }
  bool watches_data(u64 va) const override;
  void data_accessed(u64 va, u64 bytes, target::Access access) override;
  target::Halt halt_state() const override { return halt_; }
  std::string shutdown_reason() const override { return shutdown_reason_; }
  bool wakeup_pending() const override;
  std::string dump_registers() const override;
  u64 debug_pc() const override { return s_->hdr.pc; }
  qom::FieldTree save_state() override;
  Result<void> load_state(const qom::FieldTree& state) override;
  u64 fingerprint() const override;

  void set_interrupt(bool level) override;
  void nmi() override;
  void smi() override;
  void init() override;
  void startup(u8 vector) override;
  /// The A20 gate. Any thread; takes effect before the CPU's next instruction after an exit check.
  void set_a20(bool enabled);

  /// After reset(), instead of the reset vector. The GDT must hold what `cs` and `ds` say.
  void enter_flat32(const FlatEntry& entry);
  /// After reset(): in real mode at cs:ip, as firmware enters the waking vector.
  void enter_real(u16 cs, u16 ip);
  /// MTRRs as firmware leaves them: RAM is write-back, VGA memory and [uncached_base, 4 GiB) uncached. The base is a
  /// power of two below 4 GiB.
  void set_firmware_mtrrs(u32 uncached_base);

  CpuidResult cpuid(u32 leaf, u32 subleaf) const;
  u64 read_tsc() const;
  /// CR0.PG with EFER.LMA, and the current code segment's mode.
  bool is_long_mode() const { return x86::is_long_mode(*s_); }
  bool is_code64() const { return x86::is_code64(*s_); }
  bool is_vm86() const { return s_->rflags_system & kVM; }
  bool is_protected() const { return (s_->cr0 & kCr0PE) && !is_vm86(); }
  /// Linear address of `bytes` bytes at `offset`, after the segment's checks; false: #GP or #SS is pending.
  bool segment_linear(Seg seg, u64 offset, u64 bytes, bool is_write, u64& linear);
  /// What an -d int line and a shutdown report say: registers in a few lines.
  std::string summary() const;

  // The helpers of helpers.inc, one member each.
#define X86_HELPER(name, arguments, effects) u64 helper_##name(const u64* args);
#include "target/x86/helpers.inc"
#undef X86_HELPER

 private:
  friend struct CpuTestAccess;
  friend struct DebugRegisterAccess;
  friend struct KvmStateAccess;  // target/x86/kvm
  friend struct SavedState;      // saved_state.cpp
  struct Pending {
    bool valid = false;
    u8 vector = 0;
    bool has_error = false;
    u32 error = 0;
    u64 address = 0;  ///< #PF: for CR2
    bool is_canonical = true;  ///< the address whose access faulted
    bool is_in_segment = true;  ///< false: it reached behind one of 4 GiB
  };
  /// The state with a way back from the EnvHeader that helpers get.
  struct Block {
    X86State state;
    X86Cpu* cpu = nullptr;
  };
  static X86Cpu& from_env(tcg::EnvHeader& env) { return *reinterpret_cast<Block*>(&env)->cpu; }
  friend ir::HelperTable make_helper_table();

  // cpu.cpp
  enum Signal : u32 {
    kSignalInterrupt = 1,
    kSignalNmi = 2,
    kSignalSmi = 4,
    kSignalInit = 8,
    kSignalStartup = 16,
    kSignalA20 = 32,
    kSignalTaskJump = 64
  };
  void signal(Signal which);
  void reset_registers();
  void take_init();
  void take_startup();
  bool interrupts_enabled() const;
  void update_mode();
  void enter_avx512();
  void set_pkru(u32 value);
  bool evex_copy_whole(u64 linear, unsigned bytes, u8 view, u8* to) const;
  /// An event may have become deliverable: have the run loop look.
  void recheck_events();
  u64 transfer();  ///< the end of a helper that moved control: pc and state are set
  u8 view_for(unsigned cpl) const;
  u64 instruction_pointer() const { return is_code64() ? s_->hdr.pc : s_->hdr.pc - s_->seg_base[CS]; }
  void set_ip(u64 ip);
  void shut_down(const std::string& why);

  // Faults. Each returns false, so that a caller can return it on.
  bool raise(Vector vector);
  bool raise(Vector vector, u32 error);
  bool raise_gp(u32 error = 0) { return raise(kGP, error); }
  bool require_cpl0();

  // Linear memory, after segmentation.
  /// Misaligned operands raise #AC: AC is set, CR0.AM allows it, and the privilege is a user's. (Kernels set AC for
  /// SMAP.)
  bool checks_alignment() const { return (s_->rflags_system & kAC) && (s_->cr0 & kCr0AM) && s_->cpl() == 3; }
  bool check_alignment(u64 linear, unsigned bytes, u8 view);
  bool read(u64 linear, unsigned bytes, u8 view, u64& value);
  bool write(u64 linear, unsigned bytes, u8 view, u64 value);
  bool read_system(u64 linear, unsigned bytes, u64& value) { return read(linear, bytes, kViewKernel, value); }
  /// Of what the CPU reads and writes for itself, and of operands that begin at what their segment admits.
  u64 wrap_linear(u64 linear) const { return is_long_mode() ? linear : u32(linear); }
  /// Of parts of an operand: outside 64-bit mode they wrap at 4 GiB.
  u64 wrap_operand(u64 linear) const { return is_code64() ? linear : u32(linear); }
  bool is_canonical(u64 linear) const;

  // mmu.cpp
  bool physical_read(u64 pa, unsigned bytes, u64& value) const;
  WalkStatus walk_tables(u64 va, PageMapping& map) const;
  WalkStatus walk_32(u64 va, PageMapping& map) const;
  WalkStatus walk_64(u64 va, PageMapping& map) const;
  WalkStatus walk_levels(u64 va, u64 table, unsigned level, PageMapping& map) const;
  WalkStatus walk_cached(u64 va, PageMapping& map);
  bool set_accessed(const PageMapping& map, bool dirty);
  bool load_pdptes(u64 cr3);

  // segments.cpp
  void set_segment(Seg seg, u16 selector, u64 base, u32 limit, u32 attributes);
  void set_null_segment(Seg seg, u16 selector, unsigned dpl = 0);
  void set_real_segment(Seg seg, u16 selector);
  void set_descriptor_segment(Seg seg, u16 selector, const Descriptor& d);
  bool read_descriptor(u16 selector, Descriptor& d, Vector fault = kGP);
  bool read_upper_half(u16 selector, Descriptor& d);
  bool mark_accessed(u16 selector, Descriptor& d);
  bool set_descriptor_type(u16 selector, const Descriptor& d, unsigned type);
  bool descriptor_address(u16 selector, unsigned bytes, u64& linear) const;
  bool load_stack_segment(u16 selector, unsigned cpl, Vector fault, Descriptor& d);
  bool load_data_segment(Seg seg, u16 selector);
  bool is_visible(u16 selector, Descriptor& d, bool is_limit);
  void drop_outer_segments(unsigned cpl);

  // Stacks (gates.cpp).
  StackCursor current_stack() const;
  StackCursor make_stack(u64 base, const Descriptor& d, u64 sp, unsigned cpl, u32 fault_code) const;
  static StackCursor make_long_stack(u64 sp, u8 view);
  bool push(StackCursor& stack, unsigned bytes, u64 value);
  bool pop(StackCursor& stack, unsigned bytes, u64& value);
  bool pop16(StackCursor& stack, unsigned bytes, u16& value);
  void set_sp(const StackCursor& stack);

  // gates.cpp and returns.cpp
  bool check_target(u64 offset, const Descriptor& cs);
  void enter_code(u16 selector, const Descriptor& d, unsigned cpl, u64 ip);
  bool check_code(u16 selector, const Descriptor& d, unsigned rpl, unsigned cpl);
  bool far_jump_real(u16 selector, u64 offset);
  bool far_jump_protected(u16 selector, u64 offset);
  void take_task_jump();
  bool far_call_protected(u16 selector, u64 offset, unsigned bytes, u64 next);
  bool call_gate(u16 selector, Descriptor gate, bool is_call, u64 next);
  bool call_gate_inner(u16 cs_selector, Descriptor& cs, const Descriptor& gate, u64 next);
  bool far_return_real(unsigned bytes, u64 adjust);
  bool far_return_protected(unsigned bytes, u64 adjust);
  bool check_return_code(u16 selector, Descriptor& cs);
  bool iret_real(unsigned bytes);
  bool iret_vm86(unsigned bytes);
  bool iret_protected(unsigned bytes);
  bool iret_to_vm86(StackCursor& stack, u64 ip, u16 cs, u64 flags);
  bool return_outer(StackCursor& stack, unsigned bytes, u16 cs_selector, const Descriptor& cs, u64 ip, u64 adjust,
                    bool is_iret);
  u64 iret_flag_mask(unsigned bytes, unsigned cpl) const;
  void set_flat_code(u16 selector, unsigned dpl, bool is_long);
  void set_flat_stack(u16 selector, unsigned dpl);

  // exceptions.cpp
  bool deliver(const Event& event);
  void deliver_with_nesting(Event event);
  bool deliver_real(const Event& event);
  bool deliver_real_at(const Event& event, u64 table, u64 flags_image);
  bool deliver_protected(const Event& event);
  bool deliver_long(const Event& event);
  bool deliver_inner(const Event& event, const Descriptor& gate, u16 cs_selector, const Descriptor& cs);
  bool deliver_same(const Event& event, const Descriptor& gate, u16 cs_selector, const Descriptor& cs);
  bool read_gate(const Event& event, Descriptor& gate);
  bool vm86_software_int(u8 vector, u64 next);
  bool redirected_by_bitmap(u8 vector, bool& redirected);
  u64 pushed_flags(const Event& event) const;
  bool inner_stack_pointer(unsigned dpl, u16& ss, u64& esp);
  bool long_stack_pointer(unsigned slot, u64& rsp);
  void raise_now(u8 vector, bool has_error, u32 error, Event::Kind kind);
  bool operand_is_on_stack() const;
  void settle_pending();
  void log_event(const Event& event) const;

  // task_switch.cpp
  enum class TaskSwitch : u8 { Jump, Call, Iret, Interrupt };
  bool switch_task(u16 selector, Descriptor d, TaskSwitch kind, u64 next, bool push_error = false, u32 error = 0,
                   bool is_fault = false);
  bool load_task_segments(const u16 (&selectors)[6], u16 ldt, unsigned cpl);

  // control.cpp
  bool write_cr0(u64 value);
  bool write_cr3(u64 value);
  bool write_cr4(u64 value);
  bool write_efer(u64 value);
  u64 cr4_valid_bits() const;
  bool check_debug_access(unsigned& number);

  // msr.cpp
  bool read_msr(u32 index, u64& value);
  bool write_msr(u32 index, u64 value);
  u64* stored_msr(u32 index, u64& writable);

  // helpers_io.cpp
  bool check_port(u16 port, unsigned bytes);
  // helpers_string.cpp
  // breakpoints.cpp
  bool has_breakpoints() const;
  void set_guest_debug(u32 set, u32 clear);
  void debug_registers_written(bool was_armed);
  void debug_hits(u32 hits);
  void port_accessed(u16 port, unsigned bytes);
  u32 instruction_breakpoints() const;
  void raise_debug(u32 conditions, Event::Kind kind);
  bool instruction_stepped();
  void instruction_faulted();
  bool string_stops();
  /// String instructions go by elements.
  bool goes_by_elements() const { return s_->hdr.guest_debug != 0 || (s_->rflags_system & kTF) || is_stepped_; }
  bool exit_requested() const { return s_->hdr.exit_req.load(std::memory_order_relaxed) != 0; }
  void restart_instruction();

  // fpu_state.cpp
  u32 guest_mxcsr() const;
  void set_mxcsr(u32 value);
  void fp_masks_changed();
  u64 finish_simd(u32 flags, bool are_settled = false);
  bool report_through_ferr();
  void release_ferr();
  struct X87Run {
    u64 result;
    u16 raised;  ///< exceptions that are not masked
  };
  X87Run run_x87(ir::X87Op op, unsigned reg, u64 a, u64 b);
  void refuse_target();
  bool decode_at_pc(Insn& insn) const;
  u16 x87_pending() const;
  bool check_x87();
  bool check_fpu_image_address(u64 linear, u64 alignment);
  u16 fpu_status() const;
  bool is_amd() const { return config_.model.vendor == "AuthenticAMD"; }
  FpuPointers fpu_pointers() const;
  void set_fpu_pointers(const FpuPointers& pointers);
  bool leaves_fpu_pointers() const;
  void store_fx_x87(u8* image, bool wide) const;
  void load_fx_x87(const u8* image, bool wide);
  unsigned fxsave_x87(u8* image, bool wide) const;
  void fxrstor_x87(const u8* image, bool wide);
  void init_fpu();
  // xsave.cpp
  u64 xcr0_valid_bits() const;
  u32 xsave_area_bytes(u64 components, bool compact) const;
  CpuidResult cpuid_xsave(u32 subleaf) const;
  u64 xinuse() const;
  bool store_xsave_legacy(u64 address, u64 saved, bool mxcsr, bool wide, u8 view);
  bool is_valid_xsave_header(const u8* image, bool supervisor) const;
  void make_env_image(u8* out, unsigned bytes) const;
  void load_env_image(const u8* image, unsigned bytes);

  CpuConfig config_;
  target::Translator& translator_;
  tcg::EnvStorage storage_;
  X86State* s_ = nullptr;
  target::GuestAccess* memory_ = nullptr;
  target::CpuServices* services_ = nullptr;
  target::CpuInterruptPort* port_ = nullptr;
  FpuErrorPins fpu_error_;
  bool asserts_ferr_ = false;

  std::atomic<u8> startup_vector_{0};
  std::atomic<bool> a20_wanted_{true};
  std::atomic<u64> a20_mask_{~u64(0)};
  target::Halt halt_ = target::Halt::Running;
  u64 resets_ = 0;  ///< calls of reset(): who holds state for us drops it
  Pending pending_;
  /// MONITOR and MWAIT: the line, and what it held when it was armed.
  struct Monitor {
    bool armed = false, waiting = false, wakes_masked = false;
    u64 line = 0, slept_ns = 0;
    std::array<u64, 8> contents{};
  } monitor_;
  static constexpr u64 kMwaitPollNs = 50'000, kMwaitLimitNs = 1'000'000;
  bool read_monitored(std::array<u64, 8>& contents);
  u32 debug_pending_ = 0;  ///< bits of DR6 that the instruction boundary will report
  enum class SteppedFrom : u8 { Unknown, Free, Trapping } stepped_from_ = SteppedFrom::Unknown;  ///< TF at its begin
  bool is_stepped_ = false;  ///< by a debugger, which is not the guest's TF
  u16 task_jump_ = 0;  ///< of kSignalTaskJump
  u32 external_ = 0;   ///< the EXT bit of error codes while an event that is no INT n is delivered
  /// What the delivery under way has met so far, for a triple fault's report.
  struct FaultLink {
    Event event;
    Pending second;  ///< valid: what the event's delivery ended with
    u64 cr2 = 0;
  };
  std::vector<FaultLink> fault_chain_;
  std::string shutdown_reason_;

  /// Lowest-level page tables that walks came through, with the accessed bits on the way set: what processors keep in
  /// their paging-structure caches. Good until the next flush of any kind.
  struct WalkCacheEntry {
    u64 region = ~u64(0);  ///< address >> 21
    u64 table = 0;
    u32 generation = 0;    ///< EnvHeader::flush_generation
    bool user = false, write = false, no_execute = false;
  };
  std::array<WalkCacheEntry, 64> walk_cache_{};
  u16 keys_in_tlb_ = 0;  ///< protection keys of pages whose translations may be cached
  std::array<u64, 4> pdptes_{};  ///< PAE paging: as loaded with CR3
  struct Msrs {
    u64 tsc_adjust = 0, misc_enable = 1, spec_ctrl = 0, mcg_status = 0, mcg_ctl = ~u64(0), feature_control = 1;
    u64 debugctl = 0, mtrr_default = 0, xss = 0, bios_signature = 0, smi_base = 0x30000, syscfg = 0, hwcr = 0;
    std::array<u64, 16> mtrr_variable{};
    std::array<u64, 11> mtrr_fixed{};
    std::array<u64, 40> mc_banks{};
  } msr_;
};

}  // namespace emu::x86
