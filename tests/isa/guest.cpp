// SPDX-License-Identifier: Apache-2.0
#include "isa/guest.h"

#include <cpuid.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "target/x86/eflags.h"
#include "target/x86/fpu_image.h"
#include "tcg/ir/verify.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::x86 {

/// What the oracle needs of a CPU's inside.
struct CpuTestAccess {
  static Vector vector(const X86Cpu& cpu) { return Vector(cpu.pending_.vector); }
  static u32 error(const X86Cpu& cpu) { return cpu.pending_.has_error ? cpu.pending_.error : 0; }
  static u64 address(const X86Cpu& cpu) { return cpu.pending_.address; }
  static void drop(X86Cpu& cpu) { cpu.pending_ = {}; }
  static void settle(X86Cpu& cpu) { cpu.settle_pending(); }
  static void update_mode(X86Cpu& cpu) { cpu.update_mode(); }
  static FpuPointers pointers(const X86Cpu& cpu) { return cpu.fpu_pointers(); }
  static void clear_pointers(X86Cpu& cpu) { cpu.set_fpu_pointers({}); }
  static bool decode_at_pc(const X86Cpu& cpu, Insn& insn) { return cpu.decode_at_pc(insn); }
};

}  // namespace emu::x86

namespace emu::isa {

using namespace x86;
using tcg::EnvHeader;
using tcg::ExitReason;

namespace {

constexpr size_t kThunkBytes = 16 * 1024, kHotBytes = 128 * 1024, kColdBytes = 256 * 1024;
constexpr size_t kRoomBytes = kThunkBytes + 2 * (kHotBytes + kColdBytes);
constexpr u32 kMxcsrUnderflowMask = 0x800, kMxcsrFlush = 0x8000;
constexpr u32 kMxcsrMasks = 0x1f80, kMxcsrSticky = 0x3f;

/// All there is, and the x87 unit's pointers as this host keeps them.
std::string model_of_host() {
  u32 a = 0, b = 0, c = 0, d = 0;
  char vendor[13] = {};
  __cpuid(0, a, b, c, d);
  std::memcpy(vendor, &b, 4);
  std::memcpy(vendor + 4, &d, 4);
  std::memcpy(vendor + 8, &c, 4);
  std::string option = std::string("max,vendor=") + vendor;
  __cpuid_count(7, 0, a, b, c, d);
  if (!(b & bit(6))) option += ",-fdp-excptn-only";
  if (!(b & bit(13))) option += ",-zero-fcs-fds";
  __cpuid(0x80000008, a, b, c, d);
  if (!(b & bit(2))) option += ",-xsaveerptr";
  return option;
}

class Bytes final : public target::GuestCode {
 public:
  explicit Bytes(std::span<const u8> bytes) : bytes_(bytes) {}
  std::span<const u8> first() const override { return bytes_; }
  std::span<const u8> second() override { return {}; }

 private:
  std::span<const u8> bytes_;
};

}  // namespace

struct GuestRunner::Services final : target::CpuServices {
  void kick(u32) override {}
  void leave_block() override {}
  void flush_all() override {}
  void flush_non_global() override {}
  void flush_page(u64) override {}
  void flush_context(u64, std::optional<u64>) override {}
  void switch_context(u64, bool) override {}
  void mode_changed() override {}
  u64 ticks() override { return 0; }
};

GuestRunner::GuestRunner(u8* window, const u8* code)
    : window_(window),
      translator_(make_helper_table()),
      memory_(window, code),
      services_(std::make_unique<Services>()),
      cpu_(std::make_unique<X86Cpu>(CpuConfig{.model = *parse_cpu_option(model_of_host())}, translator_)),
      view_(std::make_unique<tcg::View>()),
      jump_cache_(std::make_unique<tcg::JumpCacheEntry[]>(tcg::kJumpCacheSlots)) {
  memory_.attach(*cpu_);
  cpu_->attach(memory_, *services_);
  cpu_->reset();
  for (const unsigned slot : {0u, tcg::kJumpCacheEntries}) jump_cache_[slot].pc = tcg::jump_cache_empty(slot);
  for (unsigned i = 0; i < tcg::kTlbEntries; ++i) view_->l1[i] = {tcg::tlb_invalid(i), tcg::tlb_invalid(i), 0, 0};
}

GuestRunner::~GuestRunner() {
  if (room_ != nullptr) munmap(room_, kRoomBytes);
}

Result<std::unique_ptr<GuestRunner>> GuestRunner::create(u8* window, const u8* code, bool avx512) {
  std::unique_ptr<GuestRunner> runner(new GuestRunner(window, code));
  EMU_TRY(runner->make_code(avx512));
  return runner;
}

Result<void> GuestRunner::make_code(bool avx512) {
  backend_ = EMU_TRY(ir::make_host_backend({.avx512 = avx512}));
  EMU_TRY(backend_->configure(translator_.layout()));
  void* room = mmap(nullptr, kRoomBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return error("no executable memory");
  room_ = static_cast<u8*>(room);
  tcg::RuntimeCallbacks callbacks;
  callbacks.slow_access = &on_slow_access;
  callbacks.helper_left = &on_helper_left;
  callbacks.indirect_miss = &to_lookup;
  callbacks.link_miss = &to_lookup;
  callbacks.exit_request = &on_exit_request;
  callbacks.trap = &on_trap;
  size_t used = 0;
  thunks_ = EMU_TRY(backend_->emit_thunks({room_, room_, kThunkBytes}, translator_.layout(), callbacks, used));
  return {};
}

// ---- State

/// User mode as Linux has it: flat segments, SSE and x87 on, long mode with the tables of GuestMemory.
void GuestRunner::set_mode(Bits bits, bool align_check) {
  X86State& s = cpu_->state();
  s.cr0 = kCr0PE | kCr0PG | kCr0NE | kCr0WP | kCr0MP | kCr0ET | kCr0AM;
  s.cr4 = kCr4PAE | kCr4OSFXSR | kCr4OSXMMEXCPT | kCr4OSXSAVE | kCr4FSGSBASE | kCr4UMIP;
  s.cr3 = GuestMemory::kTables;
  s.efer = kEferLME | kEferLMA | kEferSCE | kEferNXE;
  s.xcr0 = component_mask();
  s.avx512_live = avx512_;
  for (unsigned i = 0; i < 6; ++i) {
    const bool is_code = i == CS, is_null = bits == Bits::k64 && (i == FS || i == GS);
    const u32 size = is_code && bits == Bits::k64 ? u32(bit(21)) : u32(bit(22));
    s.segment_base(i) = 0;
    s.seg[i] = {u16(is_code ? (bits == Bits::k64 ? 0x33 : 0x23) : is_null ? 0 : 0x2b),
                (is_code ? 0xfb00 : 0xf300) | size | u32(bit(23)), ~u32(0)};
    s.seg_range[i] = make_range(s.seg[i].limit, s.seg[i].attributes);
  }
  s.gdt = s.idt = {};
  s.seg[TR] = {};  // no port may be used
  s.rflags_system = 2 | kIF | (align_check ? u64(kAC) : 0);
  s.inhibit_interrupts = 0;
  s.mxcsr = simd_traps_ ? 0 : kMxcsrMasks;
  s.hdr.fpu_control = x87_traps_ ? 0x40 : 0x37f;
  CpuTestAccess::update_mode(*cpu_);
  mode_ = Mode{cpu_->mode_key()};
}

void GuestRunner::load(const State& from) {
  X86State& s = cpu_->state();
  std::copy_n(from.gpr, 8, s.gpr_low);
  std::copy_n(from.gpr + 8, 8, s.hdr.hot);
  write_rflags(s, from.flags | kIF, kArithmetic | kDF | kNT | kAC | kID | kIF);
  s.segment_base(FS) = from.fs_base;
  s.segment_base(GS) = from.gs_base;
  FpuImage image(s.hdr);
  s.hdr.fpu_live = 0;
  image.set_control(from.vectors.get<u16>(Vectors::kControlWord));
  image.set_status(from.vectors.get<u16>(Vectors::kStatus));
  image.set_tags(from.vectors.get<u8>(Vectors::kTags));
  for (unsigned i = 0; i < 8; ++i) std::memcpy(image.st(i), from.vectors.st(i), 10);
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(s.vec[i].bytes, from.vectors.xmm(i), 16);
    std::memcpy(s.vec[i].bytes + 16, from.vectors.ymm_high(i), 16);
    if (host_has_avx512()) std::memcpy(s.vec[i].bytes + 32, from.vectors.zmm_high(i), 32);
    if (host_has_avx512()) std::memcpy(s.vec[16 + i].bytes, from.vectors.zmm16(i), 64);
  }
  for (unsigned i = 0; i < 8 && host_has_avx512(); ++i) std::memcpy(&s.opmask[i], from.vectors.opmask(i), 8);
  s.mxcsr = from.vectors.get<u32>(Vectors::kMxcsr);
  const bool flushes = s.mxcsr & kMxcsrUnderflowMask;
  s.hdr.fp_control = (flushes ? s.mxcsr : s.mxcsr & ~kMxcsrFlush) | kMxcsrMasks;
  s.hdr.fp_control_host = kMxcsrMasks;
  CpuTestAccess::update_mode(*cpu_);
  CpuTestAccess::clear_pointers(*cpu_);
  s.hdr.pc = kCodeAt;
  s.hdr.leave = tcg::kLeaveNot;
}

void GuestRunner::store(State& to) {
  X86State& s = cpu_->state();
  std::copy_n(s.gpr_low, 8, to.gpr);
  std::copy_n(s.hdr.hot, 8, to.gpr + 8);
  to.flags = read_rflags(s);
  to.fs_base = s.segment_base(FS);
  to.gs_base = s.segment_base(GS);
  FpuImage image(s.hdr);
  to.vectors.put<u16>(Vectors::kControlWord, u16(s.hdr.fpu_control));
  to.vectors.put<u16>(Vectors::kStatus, image.guest_status());
  to.vectors.put<u8>(Vectors::kTags, image.tags());
  for (unsigned i = 0; i < 8; ++i) std::memcpy(to.vectors.st(i), image.st(i), 10);
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(to.vectors.xmm(i), s.vec[i].bytes, 16);
    std::memcpy(to.vectors.ymm_high(i), s.vec[i].bytes + 16, 16);
    if (host_has_avx512()) std::memcpy(to.vectors.zmm_high(i), s.vec[i].bytes + 32, 32);
    if (host_has_avx512()) std::memcpy(to.vectors.zmm16(i), s.vec[16 + i].bytes, 64);
  }
  for (unsigned i = 0; i < 8 && host_has_avx512(); ++i) std::memcpy(to.vectors.opmask(i), &s.opmask[i], 8);
  to.vectors.put<u32>(Vectors::kMxcsr, s.mxcsr | (s.hdr.fp_control & kMxcsrSticky));
  const FpuPointers p = CpuTestAccess::pointers(*cpu_);
  to.pointers = {true, true, u32(p.ip), u32(p.dp), p.cs, p.ds, p.opcode};
}

// ---- Running

void GuestRunner::optimize(ir::Block& block) const {
  if (passes_ == Passes::FoldTwice) block.folded = false;  // Builder's own folding cannot be had apart
  const ir::PassOptions options{.dead_code = passes_ != Passes::NoDeadCode, .verify = true};
  ir::optimize(block, translator_.layout(), translator_.helpers(), options);
}

bool GuestRunner::set_code(std::span<const u8> code, unsigned insns, Bits bits, u64 flags, Passes passes) {
  bits_ = bits;
  set_mode(bits, flags & kAC);
  source_.assign(code.begin(), code.end());
  Bytes bytes(source_);
  ir::Builder builder(before_, translator_.layout(), translator_.helpers());
  const auto result =
      translator_.translate({.pc = kCodeAt, .mode = mode_.key, .max_insns = insns, .cpu = cpu_.get()}, bytes, builder);
  EMU_CHECK(result.status == target::TranslateResult::Status::Ok);
  after_ = before_;
  passes_ = passes;
  optimize(after_);
  insns_ = insns;
  whole_.pc = kCodeAt;
  return compile(whole_, after_, kThunkBytes, passes != Passes::NoSharedChecks);
}

bool GuestRunner::compile(Code& code, const ir::Block& block, size_t room_at, bool share_checks) {
  u8* hot = room_ + room_at;
  u8* cold = hot + kHotBytes;
  code.hot = hot;
  code.cold = cold;
  const ir::CompileRequest request{.block = &block,
                                   .layout = &translator_.layout(),
                                   .helpers = &translator_.helpers(),
                                   .thunks = &thunks_,
                                   .hot = {hot, hot, kHotBytes},
                                   .cold = {cold, cold, kColdBytes},
                                   .share_checks = share_checks};
  return backend_->compile(request, code.compiled) == ir::CompileStatus::Ok;
}

/// The instructions from `from` on, without shared checks.
void GuestRunner::compile_rest(const ir::RecoveryPoint& from) {
  Bytes bytes({source_.data() + from.pc_delta, source_.size() - from.pc_delta});
  ir::Block block;
  ir::Builder builder(block, translator_.layout(), translator_.helpers());
  rest_.pc = kCodeAt + from.pc_delta;
  const auto result = translator_.translate(
      {.pc = rest_.pc, .mode = mode_.key, .max_insns = insns_ - from.insn_index, .cpu = cpu_.get()}, bytes, builder);
  EMU_CHECK(result.status == target::TranslateResult::Status::Ok);
  optimize(block);
  EMU_CHECK(compile(rest_, block, kThunkBytes + kHotBytes + kColdBytes, /*share_checks=*/false));
}

Outcome GuestRunner::run(State& state, Engine engine, Tlb tlb) {
  CpuTestAccess::drop(*cpu_);
  load(state);
  Outcome o;
  if (engine == Engine::Interpreter) {
    const auto r = ir::interpret(before_, translator_.layout(), translator_.helpers(), cpu_->env(), memory_);
    o = outcome(r.reason, r.pc, r.arg);
  } else {
    fill_tlb(tlb);
    const ExitReason reason = run_host_code();
    o = outcome(reason, cpu_->env().pc, cpu_->env().exit_arg);
  }
  store(state);
  return o;
}

ExitReason GuestRunner::run_host_code() {
  EnvHeader& env = cpu_->env();
  env.runtime = reinterpret_cast<tcg::RuntimeVcpu*>(this);
  env.view = view_.get();
  for (auto*& v : env.views) v = view_.get();
  env.jc = jump_cache_.get();
  unshares_at_.reset();
  ExitReason reason = enter(whole_);
  if (unshares_at_) {
    compile_rest(*unshares_at_);
    unshares_at_.reset();
    reason = enter(rest_);
    EMU_CHECK(!unshares_at_);
  }
  return reason;
}

ExitReason GuestRunner::enter(const Code& code) {
  EnvHeader& env = cpu_->env();
  running_ = &code;
  for (;;) {
    thunks_.enter(&env, code.hot + code.compiled.entry);
    if (ExitReason(env.exit_reason) != ExitReason::FpuLoad) break;
    env.fpu_live = 1;
  }
  env.fpu_live = 0;
  return ExitReason(env.exit_reason);
}

Outcome GuestRunner::outcome(ExitReason reason, u64 pc, u64 arg) {
  if (cpu_->has_pending_fault()) {
    cpu_->env().pc = pc;
    CpuTestAccess::settle(*cpu_);
    return {.faulted = true,
            .vector = CpuTestAccess::vector(*cpu_),
            .error = CpuTestAccess::error(*cpu_),
            .address = CpuTestAccess::address(*cpu_),
            .pc = pc};
  }
  // kTrapCodeLimit: the instruction goes on by itself, as it does in the cases of one instruction.
  if (reason == ExitReason::Trap && (arg == kTrapX87Unmasks || arg == kTrapAvx512 || arg == kTrapCodeLimit))
    return {.pc = pc, .changes_mode = true};
  if (reason == ExitReason::Trap && arg == kTrapBadTarget) {
    cpu_->env().pc = pc;
    Insn insn;
    if (CpuTestAccess::decode_at_pc(*cpu_, insn)) cpu_->state().gpr(RSP) -= near_branch_stack_change(insn);
    return {.faulted = true, .vector = kGP, .pc = pc};
  }
  if (reason == ExitReason::Trap) {
    return {.faulted = true, .vector = u8(arg), .error = arg & 0x100 ? u32(arg >> 16 & 0xffff) : 0, .pc = pc};
  }
  return {.pc = pc};
}

void GuestRunner::fill_tlb(Tlb tlb) {
  for (unsigned g = 0; g < 2; ++g) {
    view_->live_for_load[g] = (1 + g) << tcg::kL2GenerationShift | tcg::kLoadFlags;
    view_->live_for_store[g] = (1 + g) << tcg::kL2GenerationShift | tcg::kStoreFlags;
  }
  view_->l2 = l2_.data();
  view_->l2_tag = 1;
  view_->write_owners = owners_.data();
  tracking_ = {reinterpret_cast<u64>(&page_flags_), 0};
  page_flags_ = 0;
  for (u64 page = kWindow; page < kWindow + kWindowBytes; page += 4096) {
    tcg::TlbEntry& e = view_->l1[tcg::tlb_index(page)];
    const u64 none = tcg::tlb_invalid(tcg::tlb_index(page));
    const bool there = tlb == Tlb::Full && page_kind(page) != PageKind::None;
    const bool writes = there && page_kind(page) == PageKind::ReadWrite;
    e = {there ? page : none, writes ? page : none, reinterpret_cast<u64>(window_) - kWindow, 0};
    tcg::L2Entry* set = &l2_[tcg::l2_set(page) * tcg::kL2Ways];
    std::fill_n(set, tcg::kL2Ways, tcg::L2Entry{});
    if (tlb != Tlb::SecondLevel || page_kind(page) == PageKind::None) continue;
    const u32 flags = tcg::kL2Ram | tcg::kL2Readable | (page_kind(page) == PageKind::ReadWrite ? tcg::kStoreFlags : 0u);
    *set = {page | 1, reinterpret_cast<u64>(window_) - kWindow, reinterpret_cast<u64>(&tracking_),
            1u << tcg::kL2GenerationShift | flags, 0};
  }
}

// ---- Callbacks of host code

const u8* GuestRunner::leave(ExitReason reason) {
  cpu_->env().exit_reason = u32(reason);
  cpu_->env().leave = tcg::kLeaveNot;
  return thunks_.exit_from_callback;
}

ir::RecoveryPoint GuestRunner::point() {
  const u32 key = running_->parts().offset_of(reinterpret_cast<const u8*>(cpu_->env().return_site));
  auto found = ir::find_recovery_point(running_->compiled.side_table, key, running_->pc);
  EMU_CHECK(found.has_value());
  return *found;
}

const u8* GuestRunner::leave_at(const ir::RecoveryPoint& p, u32 delta, ExitReason reason) {
  ir::apply_recovery(p, translator_.layout(), cpu_->env());
  cpu_->env().pc = running_->pc + delta;
  return leave(reason);
}

const u8* GuestRunner::on_exit_request(EnvHeader& env) {
  env.pc = of(env).running_->pc;
  return of(env).leave(ExitReason::ExitRequest);
}

const u8* GuestRunner::on_trap(EnvHeader& env) {
  const ir::RecoveryPoint p = of(env).point();
  return of(env).leave_at(p, p.pc_delta, ExitReason::Trap);
}

const u8* GuestRunner::on_helper_left(EnvHeader& env) {
  GuestRunner& self = of(env);
  if (env.leave == tcg::kLeaveTransferred) return self.leave(ExitReason::Leave);
  const ir::RecoveryPoint p = self.point();
  if (env.leave == tcg::kLeaveAfterInsn) return self.leave_at(p, p.next_pc_delta, ExitReason::Leave);
  return self.leave_at(p, p.pc_delta, ExitReason::Fault);
}

const u8* GuestRunner::access() {
  const ir::RecoveryPoint p = point();
  const ir::AccessRecord& r = p.access;
  EnvHeader& env = cpu_->env();
  const u64 va = env.slow_address;
  const unsigned bytes = 1u << r.mem.log2_bytes;
  const bool atomic = r.opcode == ir::Opcode::Rmw || r.opcode == ir::Opcode::Cas;
  const u64 align = low_mask(atomic ? r.mem.log2_bytes : r.mem.align_log2);
  const bool inside = (va & 4095) + bytes <= 4096 && (va & align) == 0;
  const bool writes = r.opcode != ir::Opcode::Ld || r.mem.write_intent;
  const PageKind kind = page_kind(va);
  const tcg::TlbEntry& known = view_->l1[tcg::tlb_index(va)];
  const bool is_there = (writes ? known.wr : known.rd) == (va & ~u64(4095));
  if (p.retry && inside && !is_there && (kind == PageKind::ReadWrite || (kind == PageKind::ReadOnly && !writes))) {
    const u64 page = va & ~u64(4095);
    tcg::TlbEntry& e = view_->l1[tcg::tlb_index(va)];
    e.rd = page;
    if (kind == PageKind::ReadWrite) e.wr = page;
    return running_->parts().at(p.retry);
  }
  if (r.unshares) {
    unshares_at_ = p;
    return leave_at(p, p.pc_delta, ExitReason::Handled);
  }
  if (!perform(r, va)) return leave_at(p, p.pc_delta, ExitReason::Fault);
  EMU_CHECK(p.resume != 0);
  return running_->parts().at(p.resume);
}

bool GuestRunner::perform(const ir::AccessRecord& r, u64 va) {
  constexpr unsigned kMaxAccess = 32;
  const unsigned bytes = 1u << r.mem.log2_bytes;
  u8* env = reinterpret_cast<u8*>(&cpu_->env());
  alignas(32) u8 data[kMaxAccess] = {};
  const auto read = [&](const ir::Location& at, u8* to) {
    if (at.where == ir::Location::Where::State) std::memcpy(to, env + at.value, bytes);
    if (at.where == ir::Location::Where::Constant) std::memcpy(to, &at.value, std::min(bytes, 8u));
  };
  const auto value = [&](const ir::Location& at) {
    u8 copy[kMaxAccess] = {};
    read(at, copy);
    u64 v;
    std::memcpy(&v, copy, 8);
    return v;
  };
  u64 old = 0;
  switch (r.opcode) {
    case ir::Opcode::Ld:
      if (!memory_.load(va, r.mem, data)) return false;
      break;
    case ir::Opcode::St:
      read(r.value, data);
      return memory_.store(va, r.mem, data);
    case ir::Opcode::Probe:
      return memory_.probe(va, r.mem);
    case ir::Opcode::Rmw:
      if (!memory_.rmw(r.rmw, va, r.mem, value(r.value), old)) return false;
      std::memcpy(data, &old, 8);
      break;
    default:
      EMU_CHECK(r.opcode == ir::Opcode::Cas);
      if (!memory_.cas(va, r.mem, value(r.expected), value(r.value), old)) return false;
      std::memcpy(data, &old, 8);
  }
  if (r.result.where != ir::Location::Where::State) return true;
  if (ir::is_vector(r.type)) {
    std::memcpy(env + r.result.value, data, ir::width(r.type) / 8);
    return true;
  }
  u64 v;
  std::memcpy(&v, data, 8);
  v &= low_mask(bytes * 8);
  if (r.mem.extend == ir::Extend::Sign) v = u64(sign_extend(v, bytes * 8));
  v &= low_mask(std::max(ir::width(r.type), 8u));
  std::memcpy(env + r.result.value, &v, 8);
  return true;
}

std::string GuestRunner::listing() const {
  const u8* hot = whole_.hot;
  const u8* cold = hot + kHotBytes;
  const auto& layout = translator_.layout();
  const auto& helpers = translator_.helpers();
  return "guest:\n" + translator_.disassemble(source_, kCodeAt, mode_.key) + "IR:\n" +
         ir::print(before_, layout, helpers) + "IR after the passes:\n" + ir::print(after_, layout, helpers) +
         "host:\n" + backend_->disassemble({hot, whole_.compiled.hot_size}, reinterpret_cast<u64>(hot)) + "cold:\n" +
         backend_->disassemble({cold, whole_.compiled.cold_size}, reinterpret_cast<u64>(cold));
}

}  // namespace emu::isa
