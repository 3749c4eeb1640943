// SPDX-License-Identifier: Apache-2.0
// A guest CPU of a dozen instructions, and a machine around it, for tests of the translator's run time.
//
// Instructions are four bytes {op, a, b, c}. Eight registers. Paging by one table of 512 entries at physical R-pt.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <vector>

#include "accel/tcg/tcg_accelerator.h"
#include "softmmu/memory/memory.h"
#include "target/cpu.h"
#include "tcg/abi/env_storage.h"

namespace emu::toy {

enum Op : u8 {
  kNop = 0,
  kLi = 1,      ///< ra = c << 8 | b, sign-extended
  kAdd = 2,     ///< ra = rb + rc
  kLd = 3,      ///< ra = [rb + c], 8 bytes
  kSt = 4,      ///< [rb + c] = ra, 8 bytes
  kBne = 5,     ///< if ra != rb: pc += c * 4 (from this instruction)
  kJr = 6,      ///< pc = ra
  kSys = 7,     ///< c = System
  kTrap = 8,    ///< trap c
  kAmoAdd = 9,  ///< ra = [rb]; [rb] += rc, atomic, 8 bytes
  kHelpSt = 10, ///< [rb] = ra by a helper
  kAddi = 11,   ///< ra = rb + c
  kSt32 = 12,   ///< [rb + c] = ra, 4 bytes
  kSlli = 13,   ///< ra = rb << c
  kJump = 14,    ///< jump: pc += c * 4
  kLd32 = 15,   ///< ra = [rb + c], 4 bytes, sign-extended
};
enum System : u8 {
  kHalt = 1, kStop, kReturn, kSwitch, kSetTable, kEnable, kFlushPage, kUser,
};

constexpr u32 insn(Op op, u8 a = 0, u8 b = 0, i8 c = 0) {
  return u32(op) | u32(a) << 8 | u32(b) << 16 | u32(u8(c)) << 24;
}
constexpr u32 li(u8 a, i16 v) { return u32(kLi) | u32(a) << 8 | u32(u16(v)) << 16; }

struct ToyState {
  tcg::EnvHeader hdr;
  u64 reg[8] = {};
  u64 table = 0;
  u64 handler = 0;
  u64 irq_handler = 0;
  u64 return_pc = 0;
};

class ToyTranslator final : public target::Translator {
 public:
  ToyTranslator() {
    for (u32 i = 0; i < 8; ++i) {
      layout_.fields.push_back({fmt::format("r{}", i), u32(offsetof(ToyState, reg) + 8 * i), ir::Type::I64,
                                i < 6 ? ir::Pin::General : ir::Pin::None});
    }
    layout_.size = sizeof(ToyState);
    store_ = helpers_.add({"store", &ToyTranslator::store_helper,
                           ir::kHelperReadsState | ir::kHelperMayFault | ir::kHelperMemory, 2});
  }
  static u64 store_helper(tcg::EnvHeader& env, const u64* args);

  const ir::StateLayout& layout() const override { return layout_; }
  const ir::HelperTable& helpers() const override { return helpers_; }
  std::string disassemble(std::span<const u8> bytes, u64, u32) const override {
    return fmt::format("{} instructions", bytes.size() / 4);
  }

  target::TranslateResult translate(const target::TranslateRequest& request, target::GuestCode& code,
                                    ir::Builder& b) override {
    b.begin(request.pc);
    b.block().movable = true;
    const std::span<const u8> first = code.first();
    u32 at = 0;
    for (unsigned n = 0; n < request.max_insns; ++n, at += 4) {
      const u64 pc = request.pc + at;
      if (n != 0 && pc == request.break_after) break;
      u8 i[4];
      if (at + 4 > first.size()) {
        if (n != 0) break;  // the straddling instruction gets a block of its own
        const std::span<const u8> second = code.second();
        if (second.empty() && first.size() < 4) {
          return {target::TranslateResult::Status::FetchFault, request.pc + first.size()};
        }
        for (u32 k = 0; k < 4; ++k) i[k] = k < first.size() ? first[k] : second[k - first.size()];
      } else {
        std::memcpy(i, first.data() + at, 4);
      }
      b.insn_start(at);
      finish(b, at + 4, n + 1);
      if (emit(b, i, pc) || at + 4 > first.size()) {
        if (!b.is_ended()) b.exit_direct(pc + 4);
        return {target::TranslateResult::Status::Ok, 0, at + 4 > first.size()};
      }
    }
    b.exit_direct(request.pc + at);
    return {};
  }

 private:
  static void finish(ir::Builder& b, u32 bytes, u32 insns) {
    b.block().guest_bytes = bytes;
    b.block().guest_insns = insns;
  }
  static ir::MemInfo mem(i8 disp, u8 log2_bytes) {
    ir::MemInfo m;
    m.disp = disp;
    m.log2_bytes = log2_bytes;
    return m;
  }
  /// Returns whether the block ends here.
  bool emit(ir::Builder& b, const u8* i, u64 pc) {
    const auto a = ir::FieldId(i[1] & 7), rb = ir::FieldId(i[2] & 7), rc = ir::FieldId(i[3] & 7);
    const i8 c = i8(i[3]);
    switch (Op(i[0])) {
      case kNop: return false;
      case kLi: b.set(a, b.i64(u64(i64(i16(u16(i[2] | i[3] << 8)))))); return false;
      case kAdd: b.set(a, b.add(b.get(rb), b.get(rc))); return false;
      case kAddi: b.set(a, b.add(b.get(rb), b.i64(u64(i64(c))))); return false;
      case kSlli: b.set(a, b.shl(b.get(rb), b.i8(u8(c)))); return false;
      case kLd: b.set(a, b.load(ir::Type::I64, b.get(rb), mem(c, 3))); return false;
      case kLd32: {
        ir::MemInfo m = mem(c, 2);
        m.extend = ir::Extend::Sign;
        b.set(a, b.load(ir::Type::I64, b.get(rb), m));
        return false;
      }
      case kSt: b.store(b.get(rb), b.get(a), mem(c, 3)); return false;
      case kSt32: b.store(b.get(rb), b.trunc(ir::Type::I32, b.get(a)), mem(c, 2)); return false;
      case kBne:
        b.side_exit(b.compare(ir::Cond::NotEqual, b.get(a), b.get(rb)), pc + u64(i64(c) * 4));
        return false;
      case kJr: b.exit_indirect(b.get(a)); return true;
      case kJump: b.exit_direct(pc + u64(i64(c) * 4)); return true;
      case kSys: b.exit_system(b.pc_constant(pc + 4), u32(c)); return true;
      case kAmoAdd: b.set(a, b.rmw(ir::RmwOp::Add, b.get(rb), b.get(rc), mem(0, 3))); return false;
      case kHelpSt: b.call(store_, {b.get(rb), b.get(a)}); return false;
      case kTrap:
      default: b.trap(i[0] == kTrap ? u8(c) : 0xff); return true;
    }
  }
  ir::StateLayout layout_;
  ir::HelperTable helpers_;
  u32 store_ = 0;
};

class ToyVcpu final : public target::Vcpu {
 public:
  static constexpr u64 kPresent = 1, kWritable = 2, kExecutable = 4, kGlobal = 8;

  ToyVcpu(unsigned index, ToyTranslator& translator)
      : index_(index), translator_(translator), storage_(sizeof(ToyState)), state_(*new (storage_.state()) ToyState) {
    state_.hdr.fp_control = 0x1f80;  // an x86 host's control word with every exception masked
  }
  static ToyVcpu& of(tcg::EnvHeader& env);

  ToyState& state() { return state_; }
  target::GuestAccess& memory() { return *memory_; }
  target::CpuServices& services() { return *services_; }
  std::atomic<u64> traps{0}, faults{0}, interrupts{0};
  std::function<void()> on_event;  ///< called by the vCPU's thread as it takes an interrupt

  unsigned index() const override { return index_; }
  tcg::EnvHeader& env() override { return state_.hdr; }
  target::Translator& translator() override { return translator_; }
  void attach(target::GuestAccess& memory, target::CpuServices& services) override {
    memory_ = &memory;
    services_ = &services;
  }
  void set_interrupt_port(target::CpuInterruptPort*) override {}
  void reset() override {}
  u32 mode_key() const override { return user_; }
  u8 current_view() const override { return user_ ? 0 : 1; }
  bool view_is_kernel(u8 view) const override { return view == 1; }
  unsigned view_count() const override { return 2; }
  u64 context_id() const override { return state_.table; }

  bool walk(u64 va, target::Access access, u8, target::TlbFill& fill) override {
    walks.fetch_add(1);
    if (state_.table == 0) {
      fill = {.physical = va & ~u64(0xfff), .readable = true, .writable = true, .executable = true};
      return true;
    }
    u64 entry = 0;
    const bool ok = va < 512 * 4096 && memory_->load_physical(state_.table + (va >> 12) * 8, 8, entry) &&
                    (entry & kPresent) && (access != target::Access::Store || (entry & kWritable)) &&
                    (access != target::Access::Fetch || (entry & kExecutable));
    if (!ok) {
      fault_ = true;
      fault_address_ = va;
      return false;
    }
    fill = {.physical = entry & ~u64(0xfff), .readable = true, .writable = (entry & kWritable) != 0,
            .executable = (entry & kExecutable) != 0, .global = (entry & kGlobal) != 0};
    return true;
  }
  std::optional<u64> debug_translate(u64 va) override { return va; }
  void handle_trap(u64 code) override {
    traps.fetch_add(1);
    if (code == 0xff) shutdown_ = true;
    state_.hdr.pc += 4;
  }
  void handle_system(u64 reason) override {
    switch (reason) {
      case kHalt: halted_ = true; break;
      case kStop: shutdown_ = true; break;
      case kReturn:
        state_.hdr.pc = state_.return_pc;
        enable();
        break;
      case kSwitch:
        state_.table = state_.reg[0];
        services_->switch_context(state_.table, true);
        break;
      case kSetTable:
        state_.table = state_.reg[0];
        services_->switch_context(state_.table, false);
        break;
      case kEnable: enable(); break;
      case kFlushPage: services_->flush_page(state_.reg[0]); break;
      case kUser: user_ = !user_; services_->mode_changed(); break;
      default: shutdown_ = true;
    }
  }
  void raise_alignment_fault(u64 va, unsigned, target::Access) override { fault_ = true; fault_address_ = va; }
  void deliver_pending() override {
    fault_ = false;
    faults.fetch_add(1);
    if (state_.handler == 0) {
      shutdown_ = true;
      return;
    }
    state_.reg[6] = fault_address_;
    state_.reg[7] = state_.hdr.pc;
    state_.hdr.pc = state_.handler;
  }
  bool has_pending_fault() const override { return fault_; }
  bool has_deliverable_event() override { return enabled_ && line_.load(); }
  bool take_event() override {
    line_ = false;
    if (on_event) on_event();
    interrupts.fetch_add(1);
    halted_ = false;
    enabled_ = false;
    state_.return_pc = state_.hdr.pc;
    state_.hdr.pc = state_.irq_handler;
    return true;
  }
  target::Halt halt_state() const override {
    return shutdown_ ? target::Halt::Shutdown : halted_ ? target::Halt::Halted : target::Halt::Running;
  }
  bool wakeup_pending() const override { return !shutdown_ && enabled_ && line_.load(); }
  std::string dump_registers() const override { return fmt::format("pc {:#x}", state_.hdr.pc); }
  u64 debug_pc() const override { return state_.hdr.pc; }
  u64 fingerprint() const override {
    u64 hash = state_.hdr.pc;
    for (u64 r : state_.reg) hash = hash * 0x100000001b3 + r;
    return hash;
  }
  qom::FieldTree save_state() override {
    qom::FieldTree out;
    qom::Archive ar = qom::Archive::saver(out, 1);
    fields(ar);
    return out;
  }
  Result<void> load_state(const qom::FieldTree& state) override {
    qom::Archive ar = qom::Archive::loader(state, 1);
    fields(ar);
    return ar.finish();
  }

  void set_interrupt(bool level) override {
    line_ = level;
    if (services_) services_->kick(tcg::kExitInterrupt);
  }
  void nmi() override {}
  void smi() override {}
  void init() override {}
  void startup(u8) override {}

  /// Ready to run again at `pc`.
  void restart(u64 pc) {
    shutdown_ = halted_ = fault_ = false;
    state_.hdr.pc = pc;
  }
  std::atomic<u64> walks{0};

 private:
  void fields(qom::Archive& ar) {
    ar("reg", state_.reg)("pc", state_.hdr.pc)("table", state_.table)("return_pc", state_.return_pc);
    ar("handler", state_.handler)("irq_handler", state_.irq_handler);
    ar("user", user_)("fault", fault_)("line", line_)("enabled", enabled_)("halted", halted_)("shutdown", shutdown_);
  }
  /// What becomes deliverable on this thread has to be asked for: generated code may go on without the run loop.
  void enable() {
    enabled_ = true;
    if (line_.load()) services_->kick(tcg::kExitInterrupt);
  }

  const unsigned index_;
  ToyTranslator& translator_;
  tcg::EnvStorage storage_;
  ToyState& state_;
  target::GuestAccess* memory_ = nullptr;
  target::CpuServices* services_ = nullptr;
  u32 user_ = 0;
  bool fault_ = false;
  u64 fault_address_ = 0;
  std::atomic<bool> line_{false};
  std::atomic<bool> enabled_{false}, halted_{false}, shutdown_{false};
};

inline ToyVcpu& ToyVcpu::of(tcg::EnvHeader& env) {
  return static_cast<ToyVcpu&>(env.runtime->cpu());
}

inline u64 ToyTranslator::store_helper(tcg::EnvHeader& env, const u64* args) {
  static_cast<void>(ToyVcpu::of(env).memory().store(args[0], 8, ir::kCurrentView, args[1]));
  return 0;
}

enum class Engine { Interpreter, Jit };

/// RAM at 0 (4 MiB), a counting device at kDevice, vCPUs; run() ends when all of them have stopped.
class ToyMachine : accel::AccelClient {
 public:
  static constexpr u64 kRamBytes = u64(4) << 20;
  static constexpr u64 kDevice = u64(8) << 20;

  explicit ToyMachine(Engine engine, unsigned cpus = 1, accel::AccelOptions options = {}) {
    options.interpreter = engine == Engine::Interpreter;
    auto made = memory_.make_ram("ram", kRamBytes);
    EXPECT_TRUE(made);
    ram = *made;
    {
      mem::MachineLockScope lock(memory_.lock());
      root_ = mem::Region::container(memory_, "root", mem::kWholeAddressSpace);
      mem::Transaction transaction(memory_);
      root_->add(0, mem::Region::ram(memory_, "ram", ram));
      device = mem::Region::mmio(
          memory_, "device", 0x1000,
          [this](u64 offset, unsigned) {
            if (on_read) return on_read(offset);
            return device_reads.fetch_add(1) + offset;
          },
          [this](u64 offset, u64 value, unsigned) {
            last_write = value;
            device_writes.fetch_add(1);
            if (on_write) on_write(offset, value);
          });
      root_->add(kDevice, device);
      space_ = std::make_unique<mem::AddressSpace>(memory_, "memory", root_);
    }
    auto accel = accel::make_tcg_accelerator(options, *this);
    EXPECT_TRUE(accel);
    accel_ = std::move(*accel);
    for (unsigned i = 0; i < cpus; ++i) {
      cpus_.push_back(std::make_unique<ToyVcpu>(i, translator_));
      mem::MachineLockScope lock(memory_.lock());
      EXPECT_TRUE(accel_->add_vcpu(*cpus_.back(), *space_, nullptr));
    }
  }
  ~ToyMachine() override {
    accel_->shut_down();
    mem::MachineLockScope lock(memory_.lock());
    accel_.reset();
    space_.reset();
    root_.reset();
    device.reset();
    ram.reset();
  }

  void load(u64 address, std::initializer_list<u32> code) {
    std::vector<u32> words(code);
    ram->write(address, words.data(), words.size() * 4);
  }
  u64 word(u64 address) {
    u64 v = 0;
    ram->read(address, &v, 8);
    return v;
  }
  void poke(u64 address, u64 v) { ram->write(address, &v, 8); }

  ToyVcpu& cpu(unsigned i = 0) { return *cpus_[i]; }
  u64 reg(unsigned r, unsigned i = 0) { return cpus_[i]->state().reg[r]; }
  accel::TcgAccelerator& accel() { return static_cast<accel::TcgAccelerator&>(*accel_); }
  const accel::VcpuStatistics& statistics(unsigned i = 0) { return accel().vcpu(i).statistics(); }
  mem::Memory& memory() { return memory_; }
  mem::RegionRef& root() { return root_; }

  void start() {
    stopped_ = 0;
    accel_->resume_all();
  }
  /// Waits until every vCPU has stopped; false after the limit.
  bool wait(std::chrono::seconds limit = std::chrono::seconds(10)) {
    std::unique_lock lock(mutex_);
    const bool ok = changed_.wait_for(lock, limit, [this] { return stopped_ == cpus_.size(); });
    lock.unlock();
    accel_->pause_all();
    return ok;
  }
  /// Goes on until a vCPU stops for the debugger; gives the first.
  std::optional<std::pair<unsigned, accel::DebugStop>> run_to_stop() {
    debug_stops_.clear();
    start();
    std::unique_lock lock(mutex_);
    const bool ok = changed_.wait_for(lock, std::chrono::seconds(10), [this] { return !debug_stops_.empty(); });
    lock.unlock();
    accel_->pause_all();
    if (!ok) return std::nullopt;
    return debug_stops_.front();
  }
  bool run(u64 pc) {
    for (auto& c : cpus_) c->restart(pc);
    start();
    return wait();
  }

  mem::RamRef ram;
  mem::RegionRef device;
  std::atomic<u64> device_reads{0}, device_writes{0}, last_write{0};
  std::function<void(u64, u64)> on_write;
  std::function<u64(u64)> on_read;
  std::optional<ClockNs> timer;    ///< -icount: when on_timer is due
  std::function<void()> on_timer;

 private:
  void vcpu_shut_down(target::Vcpu&, const std::string&) override {
    const std::lock_guard lock(mutex_);
    ++stopped_;
    changed_.notify_all();
  }
  u64 guest_ns() override { return 0; }
  std::optional<ClockNs> next_timer() override { return timer; }
  void run_timers() override {
    if (on_timer) on_timer();
  }
  void stopped_for_debugger(target::Vcpu& cpu, const accel::DebugStop& stop) override {
    accel_->request_pause_all();
    const std::lock_guard lock(mutex_);
    debug_stops_.emplace_back(cpu.index(), stop);
    changed_.notify_all();
  }

  mem::Memory memory_;
  mem::RegionRef root_;
  std::unique_ptr<mem::AddressSpace> space_;
  ToyTranslator translator_;
  std::vector<std::unique_ptr<ToyVcpu>> cpus_;
  std::unique_ptr<accel::Accelerator> accel_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t stopped_ = 0;
  std::vector<std::pair<unsigned, accel::DebugStop>> debug_stops_;
};

/// The engines that every test runs with.
#define TOY_ENGINES testing::Values(Engine::Interpreter, Engine::Jit)

}  // namespace emu::toy
