// SPDX-License-Identifier: Apache-2.0
#include "isa/native.h"

#include <cpuid.h>

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <algorithm>
#include <csignal>

#include <cstddef>

#include "util/check.h"

namespace emu::isa {
namespace {

/// At kControl: what the entry code loads from and the exit code stores to, by absolute address.
struct Control {
  u64 in[16], out[16];
  u64 flags_in, flags_out;
  u64 fs_in, gs_in, fs_out, gs_out;
  u64 host_sp, host_fs;
  u64 leave_faulted;  ///< where the signal handler returns to
  u32 image_bytes;    ///< of the signal frame's image
  u32 host_mxcsr;
  u32 far_offset;
  u16 far_selector;
  u16 running;
  u32 faulted;
  u64 trap, error, address, pc;
  u32 environment[7];  ///< as FNSTENV stores it; not after a fault
  Vectors vectors_in, vectors_out;
};
Control& control() { return *reinterpret_cast<Control*>(kControl); }
#define AT(field) u32(kControl + offsetof(Control, field))

// Linux' user segments: flat data, 32-bit code, 64-bit code.
constexpr int kData = 0x2b, kCode32 = 0x23, kCode64 = 0x33;

/// No TLS and no stack protector: FS still holds the guest's base when this begins.
__attribute__((no_stack_protector)) void on_signal(int number, siginfo_t*, void* context) {
  Control& c = control();
  if (!c.running) {
    signal(number, SIG_DFL);
    return;  // happens again, and ends the process
  }
  u64 fs, gs;
  asm volatile("rdfsbase %0\n\trdgsbase %1\n\twrfsbase %2" : "=&r"(fs), "=&r"(gs) : "r"(c.host_fs));
  ucontext_t& uc = *static_cast<ucontext_t*>(context);
  greg_t* regs = uc.uc_mcontext.gregs;
  constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  for (unsigned i = 0; i < 16; ++i) c.out[i] = u64(regs[kOrder[i]]);
  c.fs_out = fs;
  c.gs_out = gs;
  c.flags_out = u64(regs[REG_EFL]);
  c.trap = u64(regs[REG_TRAPNO]);
  c.error = u64(regs[REG_ERR]);
  c.address = u64(regs[REG_CR2]);
  c.pc = u64(regs[REG_RIP]);
  __builtin_memcpy(c.vectors_out.image, uc.uc_mcontext.fpregs, c.image_bytes);
  c.faulted = 1;
  regs[REG_RIP] = greg_t(c.leave_faulted);
  regs[REG_CSGSFS] = greg_t(u64(kCode64) | u64(kData) << 48);
  regs[REG_EFL] = 0x202;
}

/// Writes machine code at `at` that will run at `runs_at`.
class Assembler {
 public:
  Assembler(u8* at, u64 runs_at) : at_(at), pc_(runs_at) {}
  void bytes(std::initializer_list<int> list) {
    for (const int b : list) put(u8(b));
  }
  void word(u32 v) {
    for (unsigned i = 0; i < 4; ++i) put(u8(v >> 8 * i));
  }
  /// `opcode` with ModRM.reg = `reg` and an absolute 32-bit address.
  void absolute(std::initializer_list<int> opcode, unsigned reg, u32 address) {
    bytes(opcode);
    bytes({int(4 | (reg & 7) << 3), 0x25});
    word(address);
  }
  void load(unsigned reg, u32 address) { absolute({0x48 | int(reg >= 8) << 2, 0x8b}, reg, address); }
  void save(unsigned reg, u32 address) { absolute({0x48 | int(reg >= 8) << 2, 0x89}, reg, address); }
  void absolute_32(int opcode, unsigned reg, u32 address) {
    bytes({opcode, int(5 | reg << 3)});
    word(address);
  }
  void jump(u64 target) {
    put(0xe9);
    word(u32(target - (pc_ + 4)));
  }
  u64 pc() const { return pc_; }

 private:
  void put(u8 byte) {
    *at_++ = byte;
    ++pc_;
  }
  u8* at_;
  u64 pc_;
};

void* map_at(u64 address, size_t bytes, int protection, int flags, int fd) {
  void* p =
      mmap(reinterpret_cast<void*>(address), bytes, protection, flags | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, 0);
  return p == reinterpret_cast<void*>(address) ? p : nullptr;
}

/// Returns a view of all its pages that can be written.
Result<u8*> map_window() {
  const int fd = memfd_create("isa-window", 0);
  if (fd < 0 || ftruncate(fd, kWindowBytes) != 0) return error("no memory file for the window");
  void* view = mmap(nullptr, kWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  bool ok = view != MAP_FAILED;
  if (ok) std::memset(view, 0, kWindowBytes);
  for (u64 at = kWindow; at < kWindow + kWindowBytes; at += 4096) {
    if (page_kind(at) == PageKind::None) continue;
    const int protection = page_kind(at) == PageKind::ReadWrite ? PROT_READ | PROT_WRITE : PROT_READ;
    void* p = mmap(reinterpret_cast<void*>(at), 4096, protection, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd,
                   off_t(at - kWindow));
    ok = ok && p == reinterpret_cast<void*>(at);
  }
  close(fd);
  if (!ok) return error("the window at {:#x} cannot be mapped", kWindow);
  return static_cast<u8*>(view);
}

void install_signals() {
  constexpr size_t kStackBytes = 256 * 1024;
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  EMU_CHECK(memory != MAP_FAILED);
  stack_t stack = {};
  stack.ss_sp = memory;
  stack.ss_size = kStackBytes;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (const int number : {SIGFPE, SIGSEGV, SIGBUS, SIGILL, SIGTRAP}) sigaction(number, &action, nullptr);
}

}  // namespace

Result<NativeRunner> NativeRunner::create() {
  NativeRunner runner;
  const int fd = memfd_create("isa-code", 0);
  if (fd < 0 || ftruncate(fd, kCodeBytes) != 0) return error("no memory file for the code");
  void* writable = mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const bool ok = writable != MAP_FAILED && map_at(kCodePages, kCodeBytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd) &&
                  map_at(kControl, sizeof(Control), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  close(fd);
  if (!ok) return error("the fixed addresses of the code are taken or may not be mapped");
  runner.window_ = EMU_TRY(map_window());
  runner.code_ = static_cast<u8*>(writable);
  runner.assemble();
  install_signals();
  return runner;
}

/// Entry and exit code, on the first of the code pages.
void NativeRunner::assemble() {
  std::memset(code_, 0xcc, kCodeBytes);
  Assembler a(code_, kCodePages);
  // In 64-bit code the selectors of FS and GS do not matter, in 32-bit code a null one faults.
  const auto common_entry = [&](int fs_selector) {
    a.bytes({0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57});  // push rbx rbp r12..r15
    a.save(4, AT(host_sp));
    a.bytes({0xf3, 0x48, 0x0f, 0xae, 0xc0});  // rdfsbase rax
    a.save(0, AT(host_fs));
    a.bytes({0xb8, kData, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0});        // ds, es
    a.bytes({0xb8, fs_selector, 0, 0, 0, 0x8e, 0xe0, 0x8e, 0xe8});  // fs, gs
    a.bytes({0xb8, int(component_mask()), 0, 0, 0, 0x31, 0xd2});    // edx:eax
    a.absolute({0x48, 0x0f, 0xae}, 5, AT(vectors_in));              // xrstor64
    a.load(0, AT(fs_in));
    a.bytes({0xf3, 0x48, 0x0f, 0xae, 0xd0});  // wrfsbase rax
    a.load(0, AT(gs_in));
    a.bytes({0xf3, 0x48, 0x0f, 0xae, 0xd8});  // wrgsbase rax
    a.absolute({0xff}, 6, AT(flags_in));      // push
    a.bytes({0x9d});                          // popfq
  };
  enter_64_ = a.pc();
  common_entry(0);
  for (unsigned i = 0; i < 16; ++i) a.load(i, AT(in) + 8 * i);
  a.jump(kCodeAt);

  enter_32_ = a.pc();
  common_entry(kData);
  for (unsigned i = 8; i < 16; ++i) a.load(i, AT(in) + 8 * i);
  a.absolute({0xff}, 5, AT(far_offset));  // jmp far
  const u64 in_32 = a.pc();
  for (unsigned i = 0; i < 8; ++i) a.absolute_32(0x8b, i, AT(in) + 8 * i);
  a.jump(kCodeAt);

  leave_32_ = a.pc();
  for (unsigned i = 0; i < 8; ++i) a.absolute_32(0x89, i, AT(out) + 8 * i);
  a.bytes({0xea});  // jmp far
  a.word(u32(a.pc() + 6));
  a.bytes({kCode64, 0});
  for (unsigned i = 8; i < 16; ++i) a.save(i, AT(out) + 8 * i);
  a.bytes({0xe9});
  const u64 patch_at = a.pc();
  a.word(0);

  leave_64_ = a.pc();
  for (unsigned i = 0; i < 16; ++i) a.save(i, AT(out) + 8 * i);
  const u64 saved = a.pc();
  const u32 distance = u32(saved - (patch_at + 4));
  std::memcpy(code_ + (patch_at - kCodePages), &distance, 4);
  a.load(4, AT(host_sp));
  a.bytes({0x9c});                      // pushfq
  a.absolute({0x8f}, 0, AT(flags_out));  // pop
  a.bytes({0xf3, 0x48, 0x0f, 0xae, 0xc0});  // rdfsbase rax
  a.save(0, AT(fs_out));
  a.bytes({0xf3, 0x48, 0x0f, 0xae, 0xc8});  // rdgsbase rax
  a.save(0, AT(gs_out));
  a.bytes({0xb8, int(component_mask()), 0, 0, 0, 0x31, 0xd2});
  a.absolute({0x48, 0x0f, 0xae}, 4, AT(vectors_out));  // xsave64
  a.absolute({0xd9}, 6, AT(environment));              // fnstenv
  control().leave_faulted = a.pc();
  a.load(4, AT(host_sp));
  a.load(0, AT(host_fs));
  a.bytes({0xf3, 0x48, 0x0f, 0xae, 0xd0});  // wrfsbase rax
  a.bytes({0xdb, 0xe3});                    // fninit
  a.absolute({0x0f, 0xae}, 2, AT(host_mxcsr));  // ldmxcsr
  a.bytes({0xc5, 0xf8, 0x77});              // vzeroupper
  a.bytes({0x68, 0x02, 0x02, 0, 0, 0x9d});  // push 0x202; popfq
  a.bytes({0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3});

  Control& c = control();
  u32 bytes = 0, unused = 0;
  __cpuid_count(0xd, 0, unused, bytes, unused, unused);
  c.image_bytes = std::min(bytes, u32(Vectors::kBytes));
  c.host_mxcsr = 0x1f80;
  c.far_offset = u32(in_32);
  c.far_selector = kCode32;
}

namespace {

/// After a fault the signal's frame has them if an unmasked exception is pending: AMD's processors save none otherwise.
X87Pointers x87_pointers(const Control& c, const Vectors& v) {
  if (!c.faulted) {
    const u32* e = c.environment;
    return {true, true, e[3], e[5], u16(e[4]), u16(e[6]), u16(e[4] >> 16 & 0x7ff)};
  }
  constexpr u16 kErrorSummary = 0x80;
  X87Pointers p;
  p.are_known = v.get<u16>(Vectors::kStatus) & kErrorSummary;
  p.opcode = v.get<u16>(Vectors::kPointers);
  p.ip = v.get<u32>(Vectors::kPointers + 2);
  p.dp = v.get<u32>(Vectors::kPointers + 10);
  return p;
}

}  // namespace

void NativeRunner::set_code(std::span<const u8> code, Bits bits) {
  u8* at = code_ + (kCodeAt - kCodePages);
  std::memset(at, 0xcc, 256);
  std::memcpy(at, code.data(), code.size());
  bits_ = bits;
  end_ = kCodeAt + code.size();
  Assembler a(at + code.size(), end_);
  a.jump(bits == Bits::k64 ? leave_64_ : leave_32_);
}

Outcome NativeRunner::run(State& state) {
  Control& c = control();
  std::memcpy(c.in, state.gpr, sizeof(c.in));
  c.flags_in = state.flags;
  c.fs_in = state.fs_base;
  c.gs_in = state.gs_base;
  c.vectors_in = state.vectors;
  c.vectors_in.put<u64>(Vectors::kComponents, component_mask());
  c.faulted = 0;
  c.running = 1;
  asm volatile("" ::: "memory");
  reinterpret_cast<void (*)()>(bits_ == Bits::k64 ? enter_64_ : enter_32_)();
  asm volatile("" ::: "memory");
  c.running = 0;
  std::memcpy(state.gpr, c.out, sizeof(c.out));
  state.flags = c.flags_out;
  state.fs_base = c.fs_out;
  state.gs_base = c.gs_out;
  state.vectors = c.vectors_out;
  state.pointers = x87_pointers(c, state.vectors);
  if (!c.faulted) return {.pc = end_};
  // A jump that went elsewhere, and ran into the INT3s there.
  const bool elsewhere = c.trap == 3 && c.pc - 1 - kCodePages < kCodeBytes && code_[c.pc - 1 - kCodePages] == 0xcc;
  if (elsewhere && !(c.pc - 1 >= kCodeAt && c.pc - 1 < end_)) return {.pc = c.pc - 1};
  // A jump out of the code: the fetch faults, which the other side has not done yet.
  if (c.trap == 14 && (c.error & 16) && c.address == c.pc) return {.pc = c.pc};
  Outcome o{.faulted = true, .vector = u8(c.trap), .error = u32(c.error), .pc = c.pc};
  if (o.vector == 14) o.address = c.address;
  return o;
}

}  // namespace emu::isa
