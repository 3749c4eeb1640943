// SPDX-License-Identifier: Apache-2.0
#include "unit/target/x86/cpu_bench.h"
#include "unit/target/x86/native_harness.h"

#include <gtest/gtest.h>
#include <setjmp.h>
#include <sys/mman.h>

#include <utility>

#include "target/x86/fpu_image.h"

namespace emu::x86::test {
namespace {

// Offsets in the register block, which is the second page of the code mapping.
constexpr size_t kPage = 4096;
constexpr size_t kIn = 0, kOut = 128, kFlagsIn = 256, kFlagsOut = 264, kHostSp = 272, kFarPointer = 280,
                 kHostMxcsr = 296, kFpuIn = 512, kFpuOut = 1024, kUpperIn = 1536, kUpperOut = 1792;

thread_local sigjmp_buf g_escape;

thread_local bool g_is_running = false;

extern "C" void on_signal(int signal, siginfo_t*, void*) {
  if (!g_is_running) {
    std::signal(signal, SIG_DFL);
    raise(signal);
    return;
  }
  siglongjmp(g_escape, signal);
}

/// Appends bytes; RIP-relative operands are given as offsets into the register block.
class Assembler {
 public:
  explicit Assembler(u8* at) : base_(at), at_(at) {}
  void bytes(std::initializer_list<int> list) {
    for (const int b : list) *at_++ = u8(b);
  }
  void raw(std::span<const u8> code) {
    std::copy(code.begin(), code.end(), at_);
    at_ += code.size();
  }
  /// `opcode` with a RIP-relative operand in the register block.
  void at_block(std::initializer_list<int> opcode, size_t offset) {
    bytes(opcode);
    const i32 disp = i32((base_ + kPage + offset) - (at_ + 4));
    std::memcpy(at_, &disp, 4);
    at_ += 4;
  }
  /// VINSERTF128 (18) or VEXTRACTF128 (19) of the upper half of a ymm register.
  void upper_half(int opcode, unsigned reg, size_t offset) {
    const int vvvv = opcode == 0x18 ? int(~reg & 15) : 15;
    bytes({0xc4, reg < 8 ? 0xe3 : 0x63, vvvv << 3 | 5});
    at_block({opcode, 5 | int(reg & 7) << 3}, offset - 1);  // an immediate follows the displacement
    bytes({1});
  }
  void load(unsigned reg, size_t offset) { at_block({0x48 | int(reg >= 8) << 2, 0x8b, 5 | int(reg & 7) << 3}, offset); }
  void save(unsigned reg, size_t offset) { at_block({0x48 | int(reg >= 8) << 2, 0x89, 5 | int(reg & 7) << 3}, offset); }
  /// `opcode` with a 32-bit absolute operand in the register block (32-bit code).
  void absolute(std::initializer_list<int> opcode, size_t offset) {
    bytes(opcode);
    word(u32(u64(base_ + kPage + offset)));
  }
  /// From 64-bit code to what follows, in `selector`.
  void far_jump_memory(size_t offset, int selector) {
    at_block({0xff, 0x2d}, offset);
    const u32 target = u32(u64(at_));
    std::memcpy(base_ + kPage + offset, &target, 4);
    base_[kPage + offset + 4] = u8(selector);
    base_[kPage + offset + 5] = 0;
  }
  void far_jump_direct(int selector) {
    bytes({0xea});
    word(u32(u64(at_ + 6)));
    bytes({selector, 0});
  }
  size_t size() const { return size_t(at_ - base_); }

 private:
  void word(u32 v) {
    std::memcpy(at_, &v, 4);
    at_ += 4;
  }
  u8* base_;
  u8* at_;
};

// Linux' user segments: flat data, 32-bit code, 64-bit code.
constexpr int kData = 0x2b, kCode32 = 0x23, kCode64 = 0x33;

void assemble_prologue(Assembler& a, bool is_64) {
  a.bytes({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push rbx rbp r12..r15
  a.save(RSP, kHostSp);
  if (!is_64) a.bytes({0xb8, kData, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0});  // mov eax, data; mov ds, eax; mov es, eax
  a.at_block({0x48, 0x0f, 0xae, 0x0d}, kFpuIn);                         // fxrstor64
  for (unsigned i = 0; i < 16; ++i) a.upper_half(0x18, i, kUpperIn + 16 * i);
  a.at_block({0xff, 0x35}, kFlagsIn);                                   // push flags
  a.bytes({0x9d});                                                      // popfq
  if (is_64) {
    for (unsigned i = 0; i < 16; ++i) a.load(i, kIn + 8 * i);
    return;
  }
  a.far_jump_memory(kFarPointer, kCode32);
  for (unsigned i = 0; i < 8; ++i) a.absolute({0x8b, 5 | int(i) << 3}, kIn + 8 * i);
}

void assemble_epilogue(Assembler& a, bool is_64) {
  if (is_64) {
    for (unsigned i = 0; i < 16; ++i) a.save(i, kOut + 8 * i);
  } else {
    for (unsigned i = 0; i < 8; ++i) a.absolute({0x89, 5 | int(i) << 3}, kOut + 8 * i);
    a.far_jump_direct(kCode64);
  }
  a.at_block({0x48, 0x0f, 0xae, 0x05}, kFpuOut);  // fxsave64
  for (unsigned i = 0; i < 16; ++i) a.upper_half(0x19, i, kUpperOut + 16 * i);
  a.bytes({0xc5, 0xf8, 0x77});  // vzeroupper
  a.bytes({0xdb, 0xe3});                          // fninit
  a.at_block({0x0f, 0xae, 0x15}, kHostMxcsr);     // ldmxcsr
  a.load(RSP, kHostSp);
  a.bytes({0x9c});                      // pushfq
  a.at_block({0x8f, 0x05}, kFlagsOut);  // pop
  a.bytes({0xfc});                      // cld
  a.bytes({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});
}

}  // namespace

thread_local int g_helper_called = -1;

NativeHarness::NativeHarness(Bits bits) : bits_(bits) {
  const auto map = [](size_t size, int protection) {
    void* p = mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    return p == MAP_FAILED ? nullptr : static_cast<u8*>(p);
  };
  code_ = map(2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
  // Between pages that fault.
  buffer_ = map(kBufferSize + 2 * kPage, PROT_NONE) + kPage;
  mprotect(buffer_, kBufferSize, PROT_READ | PROT_WRITE);
  static u8 signal_stack[64 * 1024];
  stack_t stack = {};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof(signal_stack);
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int signal : {SIGFPE, SIGSEGV, SIGBUS, SIGILL}) sigaction(signal, &action, nullptr);
  prologue_ = assemble({});
}

size_t NativeHarness::assemble(std::span<const u8> code) {
  Assembler a(code_);
  assemble_prologue(a, is_64());
  const size_t at = a.size();
  a.raw(code);
  assemble_epilogue(a, is_64());
  return at;
}

NativeHarness::~NativeHarness() {
  munmap(code_, 2 * kPage);
  munmap(buffer_ - kPage, kBufferSize + 2 * kPage);
}

u64 NativeHarness::code_address() const { return u64(code_ + prologue_); }

Outcome NativeHarness::run(std::span<const u8> code, Registers& r) {
  assemble(code);
  u8* block = code_ + kPage;
  std::memcpy(block + kIn, r.gpr, sizeof(r.gpr));
  std::memcpy(block + kFlagsIn, &r.flags, 8);
  std::memcpy(block + kFpuIn, r.fpu.image, sizeof(r.fpu.image));
  std::memcpy(block + kUpperIn, r.upper, sizeof(r.upper));
  constexpr u32 kDefaultMxcsr = 0x1f80;
  std::memcpy(block + kHostMxcsr, &kDefaultMxcsr, 4);
  g_is_running = true;
  if (const int signal = sigsetjmp(g_escape, 1)) {
    g_is_running = false;
    asm volatile("fninit\n\tldmxcsr %0" : : "m"(kDefaultMxcsr));
    return signal == SIGFPE ? Outcome::DivideError : signal == SIGILL ? Outcome::Trap : Outcome::Fault;
  }
  reinterpret_cast<void (*)()>(code_)();
  g_is_running = false;
  std::memcpy(r.gpr, block + kOut, is_64() ? sizeof(r.gpr) : 64);
  std::memcpy(&r.flags, block + kFlagsOut, 8);
  std::memcpy(r.fpu.image, block + kFpuOut, sizeof(r.fpu.image));
  std::memcpy(r.upper, block + kUpperOut, sizeof(r.upper));
  return Outcome::Done;
}

// ---- Translated
// ----------------------------------------------------------------------------------------------------------

namespace {

template <size_t kIndex>
u64 record_call(tcg::EnvHeader& env, const u64*) {
  g_helper_called = int(kIndex);
  env.leave = tcg::kLeaveTransferred;
  return 0;
}

template <size_t... kIndexes>
void add_helpers(ir::HelperTable& table, std::index_sequence<kIndexes...>) {
  using namespace ir;  // the effect names in helpers.inc
  struct Entry {
    const char* name;
    unsigned arguments;
    u32 effects;
  };
  constexpr Entry kEntries[] = {
#define X86_HELPER(name, arguments, effects) {#name, arguments, u32(effects)},
#include "target/x86/helpers.inc"
#undef X86_HELPER
  };
  (table.add(
       {kEntries[kIndexes].name, &record_call<kIndexes>, kEntries[kIndexes].effects, kEntries[kIndexes].arguments}),
   ...);
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

ir::HelperTable recording_helpers() {
  ir::HelperTable table;
  add_helpers(table, std::make_index_sequence<kHelperCount>());
  return table;
}

class TranslatedRun::Memory final : public ir::InterpreterMemory, public target::GuestAccess {
 public:
  Memory(u64 low, size_t size, tcg::EnvHeader& env) : low_(low), size_(size), env_(env) {}
  bool load(u64 address, const ir::MemInfo& mem, u8* data) override {
    const size_t n = size_t(1) << mem.log2_bytes;
    if (!is_inside(address, n) || is_misaligned(address, mem)) return false;
    std::memcpy(data, pointer(address), n);
    return true;
  }
  bool store(u64 address, const ir::MemInfo& mem, const u8* data) override {
    const size_t n = size_t(1) << mem.log2_bytes;
    if (!is_inside(address, n) || is_misaligned(address, mem)) return false;
    std::memcpy(pointer(address), data, n);
    return true;
  }
  bool probe(u64 address, const ir::MemInfo& mem) override { return is_inside(address, size_t(1) << mem.log2_bytes); }
  bool rmw(ir::RmwOp op, u64 address, const ir::MemInfo& mem, u64 operand, u64& old_value) override {
    u64 old = 0;
    if (!load(address, mem, reinterpret_cast<u8*>(&old))) return false;
    old_value = old;
    u64 v = operand;
    switch (op) {
      case ir::RmwOp::Add:
        v = old + operand;
        break;
      case ir::RmwOp::Sub:
        v = old - operand;
        break;
      case ir::RmwOp::And:
        v = old & operand;
        break;
      case ir::RmwOp::Or:
        v = old | operand;
        break;
      case ir::RmwOp::Xor:
        v = old ^ operand;
        break;
      case ir::RmwOp::Xchg:
        break;
    }
    return store(address, mem, reinterpret_cast<const u8*>(&v));
  }
  bool cas(u64 address, const ir::MemInfo& mem, u64 expected, u64 desired, u64& old_value) override {
    u64 old = 0;
    if (!load(address, mem, reinterpret_cast<u8*>(&old))) return false;
    old_value = old;
    return old != expected || store(address, mem, reinterpret_cast<const u8*>(&desired));
  }

  using Status = target::AccessStatus;
  Status load(u64 va, unsigned bytes, u8, u64& value) override {
    value = 0;
    return load_bytes(va, {reinterpret_cast<u8*>(&value), bytes}, 0);
  }
  Status store(u64 va, unsigned bytes, u8, u64 value) override {
    return store_bytes(va, {reinterpret_cast<const u8*>(&value), bytes}, 0);
  }
  Status load_bytes(u64 va, std::span<u8> data, u8) override {
    if (!is_inside(va, data.size())) return fault();
    std::memcpy(data.data(), pointer(va), data.size());
    return Status::Ok;
  }
  Status store_bytes(u64 va, std::span<const u8> data, u8) override {
    if (!is_inside(va, data.size())) return fault();
    std::memcpy(pointer(va), data.data(), data.size());
    return Status::Ok;
  }
  Status probe(u64 va, unsigned bytes, target::Access, u8) override {
    return is_inside(va, bytes) ? Status::Ok : fault();
  }
  Status compare_exchange(u64 va, unsigned bytes, u8, u128& expected, u128 desired) override {
    if (!is_inside(va, bytes)) return Status::Fault;
    u128 old = 0;
    std::memcpy(&old, pointer(va), bytes);
    if (old == expected) std::memcpy(pointer(va), &desired, bytes);
    expected = old;
    return Status::Ok;
  }
  u64 copy_run(u64, u64, u64, u8) override { return 0; }
  u64 fill_run(u64, u8, u64, u8) override { return 0; }
  bool load_physical(u64, unsigned, u64&) override { return false; }
  bool update_physical(u64, unsigned, u64, u64) override { return false; }
  u32 port_read(u16, unsigned) override { return 0; }
  void port_write(u16, unsigned, u32) override {}

 private:
  Status fault() {
    env_.leave = tcg::kLeaveAtInsn;
    return Status::Fault;
  }
  static bool is_misaligned(u64 address, const ir::MemInfo& mem) {
    return mem.align_fault && (address & low_mask(mem.align_log2)) != 0;
  }
  bool is_inside(u64 address, size_t n) const { return address >= low_ && address + n <= low_ + size_; }
  static u8* pointer(u64 address) { return reinterpret_cast<u8*>(address); }  // NOLINT: the test's own buffer
  u64 low_;
  size_t size_;
  tcg::EnvHeader& env_;
};

/// An accelerator that has nothing to flush.
class TranslatedRun::Services final : public target::CpuServices {
 public:
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

TranslatedRun::TranslatedRun(u64 memory_low, size_t memory_size)
    : translator_(make_helper_table()),
      cpu_(CpuConfig{.model = *parse_cpu_option("max")}, translator_),
      memory_(std::make_unique<Memory>(memory_low, memory_size, cpu_.state().hdr)),
      services_(std::make_unique<Services>()) {
  cpu_.attach(*memory_, *services_);
}
TranslatedRun::~TranslatedRun() = default;

/// Ring 3 with flat segments, as Linux runs user code.
void TranslatedRun::reset_cpu(u32 mode) {
  cpu_.reset();
  X86State& s = cpu_.state();
  const bool is_64 = Mode{mode}.has(Mode::kCode64);
  s.cr0 = kCr0PE | kCr0PG | kCr0NE | kCr0WP;
  s.cr4 = kCr4OSFXSR | kCr4OSXSAVE | kCr4PAE;
  s.xcr0 = 7;
  s.efer = kEferLME | kEferLMA | kEferSCE;
  s.rflags_system = 2 | kIF;
  for (unsigned i = 0; i < 6; ++i) {
    const u32 type = i == CS ? 0xfb00 : 0xf300;
    s.segment_base(i) = 0;
    s.seg[i] = {u16(i == CS ? 0x33 : 0x2b), type | u32(bit(23)) | u32(i == CS && is_64 ? bit(21) : bit(22)), ~u32(0)};
    s.seg_range[i] = make_range(s.seg[i].limit, s.seg[i].attributes);
  }
}

void TranslatedRun::load_fpu(const FpuState& fpu) {
  X86State& s = cpu_.state();
  FpuImage image(s.hdr);
  image.set_control(fpu.get<u16>(FpuState::kControl));
  image.set_status(fpu.get<u16>(FpuState::kStatus));
  image.set_tags(fpu.get<u8>(FpuState::kTags));
  for (unsigned i = 0; i < 8; ++i) std::memcpy(image.st(i), fpu.st(i), 10);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(s.vec[i].bytes, fpu.xmm(i), 16);
  s.mxcsr = fpu.get<u32>(FpuState::kMxcsr);
  s.hdr.fp_control = s.mxcsr | 0x1f80;
}

void TranslatedRun::store_fpu(FpuState& fpu) {
  X86State& s = cpu_.state();
  FpuImage image(s.hdr);
  fpu.put<u16>(FpuState::kControl, u16(s.hdr.fpu_control));
  fpu.put<u16>(FpuState::kStatus, image.guest_status());
  fpu.put<u8>(FpuState::kTags, image.tags());
  for (unsigned i = 0; i < 8; ++i) std::memcpy(fpu.st(i), image.st(i), 10);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(fpu.xmm(i), s.vec[i].bytes, 16);
  fpu.put<u32>(FpuState::kMxcsr, s.mxcsr | (s.hdr.fp_control & 0x3f));
}

Outcome TranslatedRun::run(std::span<const u8> code, u64 pc, Registers& r, u32 mode) {
  reset_cpu(mode);
  X86State& s = cpu_.state();
  for (unsigned i = 0; i < 16; ++i) s.gpr(i) = r.gpr[i];
  s.hdr.cc_op = 0;
  s.hdr.cc_a = r.flags & kArithmetic;
  s.hdr.cc_b = 0;
  s.df = r.flags & kDF ? -1 : 1;
  load_fpu(r.fpu);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(s.vec[i].bytes + 16, r.upper[i], 16);

  if (~s.hdr.fpu_control & 0x3f) mode |= 1u << Mode::kX87Traps;

  Bytes bytes(code);
  ir::Builder builder(block_, translator_.layout(), translator_.helpers());
  const auto translated = translator_.translate({.pc = pc, .mode = mode}, bytes, builder);
  if (translated.status != target::TranslateResult::Status::Ok) return Outcome::Elsewhere;
  const auto result = ir::interpret(block_, translator_.layout(), translator_.helpers(), s.hdr, *memory_);
  if (result.reason == tcg::ExitReason::Trap && result.arg == kTrapX87Unmasks) {
    return run(code, pc, r, mode | 1u << Mode::kX87Traps);
  }
  next_pc_ = result.pc;
  arg_ = result.arg;

  for (unsigned i = 0; i < 16; ++i) r.gpr[i] = s.gpr(i);
  store_fpu(r.fpu);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(r.upper[i], s.vec[i].bytes + 16, 16);
  const u64 packed = tcg::pack_flags(s.hdr.cc_op, s.hdr.cc_a, s.hdr.cc_b);
  r.flags = (r.flags & ~u64(kArithmetic | kDF)) | packed | (s.df < 0 ? u64(kDF) : 0);
  switch (result.reason) {
    case tcg::ExitReason::Trap:
      return result.arg == kDE ? Outcome::DivideError : Outcome::Trap;
    case tcg::ExitReason::Fault:
      if (cpu_.has_pending_fault() && CpuTestAccess::pending(cpu_).first == kMF) {
        arg_ = kMF;
        return Outcome::Trap;
      }
      return cpu_.has_pending_fault() ? Outcome::DivideError : Outcome::Fault;
    default:
      return result.pc == pc + code.size() ? Outcome::Done : Outcome::Elsewhere;
  }
}

TEST(NativeHarness, RunsAnAddOnBothSides) {
  NativeHarness native;
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  const u8 code[] = {0x48, 0x01, 0xd8};  // add rax, rbx
  Registers a;
  a.gpr[RAX] = ~u64(0);
  a.gpr[RBX] = 1;
  a.gpr[RSP] = u64(native.buffer()) + 2048;
  Registers b = a;
  ASSERT_EQ(native.run(code, a), Outcome::Done);
  ASSERT_EQ(translated.run(code, native.code_address(), b, TranslatedRun::kUserMode64), Outcome::Done);
  EXPECT_EQ(a.gpr[RAX], 0u);
  EXPECT_EQ(b.gpr[RAX], 0u);
  EXPECT_EQ(a.flags & kArithmetic, u64(kCF | kPF | kAF | kZF));
  EXPECT_EQ(b.flags & kArithmetic, u64(kCF | kPF | kAF | kZF));
}

}  // namespace emu::x86::test
