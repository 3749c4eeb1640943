// SPDX-License-Identifier: Apache-2.0
#include "tcg/abi/host_vector.h"

#include <sys/mman.h>

#include <cstring>

#include "util/check.h"

namespace emu::tcg {

namespace {

using Kind = HostVector::Kind;
using Dest = HostVector::Dest;

/// Scratch of HostVectorCode.
constexpr unsigned kReg = 20, kVvvv = 21, kRm = 22, kZero = 23;
constexpr unsigned kMaskWrite = 1, kMaskReg = 2, kMaskVvvv = 3, kMaskRm = 4;
constexpr unsigned kGeneral = 11;  // r11

class Bits {
 public:
  explicit Bits(u64 word) : word_(word) {}
  template <typename T>
  T take(unsigned width) {
    const u64 value = word_ >> at_ & ((u64(1) << width) - 1);
    at_ += width;
    return T(value);
  }
  template <typename T>
  void put(T value, unsigned width) {
    word_ |= u64(value) << at_;
    at_ += width;
  }
  u64 word() const { return word_; }

 private:
  u64 word_;
  unsigned at_ = 0;
};

}  // namespace

u64 HostVector::pack() const {
  Bits out(0);
  out.put(map, 3);
  out.put(pp, 2);
  out.put(opcode, 8);
  out.put(imm, 8);
  for (const bool flag : {has_imm, w, b, z}) out.put(flag, 1);
  out.put(ll, 2);
  out.put(mask, 3);
  out.put(length, 2);
  for (const Operand& o : {reg, vvvv, rm}) {
    out.put(u8(o.kind), 3);
    out.put(o.index, 6);
  }
  out.put(u8(dest), 2);
  out.put(reads_dest, 1);
  out.put(makes_flags, 1);
  return out.word();
}

HostVector HostVector::unpack(u64 packed) {
  Bits in(packed);
  HostVector v;
  v.map = in.take<u8>(3);
  v.pp = in.take<u8>(2);
  v.opcode = in.take<u8>(8);
  v.imm = in.take<u8>(8);
  for (bool* flag : {&v.has_imm, &v.w, &v.b, &v.z}) *flag = in.take<bool>(1);
  v.ll = in.take<u8>(2);
  v.mask = in.take<u8>(3);
  v.length = in.take<u8>(2);
  for (Operand* o : {&v.reg, &v.vvvv, &v.rm}) {
    o->kind = in.take<Kind>(3);
    o->index = in.take<u8>(6);
  }
  v.dest = in.take<Dest>(2);
  v.reads_dest = in.take<bool>(1);
  v.makes_flags = in.take<bool>(1);
  return v;
}

// ---- Encoding -------------------------------------------------------------------------------------------------------

void HostVectorCode::put32(u32 value) {
  std::memcpy(bytes_.data() + size_, &value, 4);
  size_ += 4;
}

void HostVectorCode::prefix(const Form& f, unsigned reg, bool x, bool b, unsigned vvvv) {
  put(0x62);
  put(u8(!(reg & 8) << 7 | !x << 6 | !b << 5 | !(reg & 16) << 4 | f.map));
  put(u8(f.w << 7 | (~vvvv & 15) << 3 | 4 | f.pp));
  put(u8(f.z << 7 | f.ll << 5 | f.b << 4 | !(vvvv & 16) << 3 | f.mask));
  put(f.opcode);
}

void HostVectorCode::evex(const Form& f, unsigned reg, unsigned vvvv, unsigned rm) {
  prefix(f, reg, rm & 16, rm & 8, vvvv);
  put(u8(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

/// [base + displacement], with 32 bits of it: shorter ones are scaled.
void HostVectorCode::evex_memory(const Form& f, unsigned reg, unsigned vvvv, i32 displacement) {
  prefix(f, reg, false, base_ & 8, vvvv);
  put(u8(0x80 | (reg & 7) << 3 | (base_ & 7)));
  if ((base_ & 7) == 4) put(0x24);
  put32(u32(displacement));
}

/// KMOVQ between a mask register and the mask's home.
void HostVectorCode::kmov(bool to_memory, unsigned k, unsigned mask) {
  put(0xc4);
  put(u8(0xc1 | !(base_ & 8) << 5));
  put(0xf8);
  put(to_memory ? 0x91 : 0x90);
  put(u8(0x80 | k << 3 | (base_ & 7)));
  if ((base_ & 7) == 4) put(0x24);
  put32(u32(homes_.masks + i32(mask) * 8));
}

void HostVectorCode::mov_general(bool to_memory) {
  put(u8(0x4c | (base_ & 8 ? 1 : 0)));
  put(to_memory ? 0x89 : 0x8b);
  put(u8(0x80 | (kGeneral & 7) << 3 | (base_ & 7)));
  if ((base_ & 7) == 4) put(0x24);
  put32(u32(slot(HostVector::kGeneralSlot)));
}

// ---- Operands -------------------------------------------------------------------------------------------------------

constexpr u8 kMovups = 0x10, kMovupsStore = 0x11;

/// A vector's register: its own, or a scratch one that now has it. Long ones come in halves, as they often were stored.
unsigned HostVectorCode::load(const HostVector::Operand& o, unsigned length, unsigned scratch) {
  const u8 own = pinned_[o.index];
  if (own != kNotPinned && length < 2) return own;
  if (own == kNotPinned) evex_memory({.opcode = kMovups, .ll = u8(length < 2 ? length : 1)}, scratch, 0, slot(o.index));
  if (length == 2) {  // VINSERTF64X4
    const Form insert{.map = 3, .pp = 1, .opcode = 0x1a, .w = true, .ll = 2};
    evex_memory(insert, scratch, own == kNotPinned ? scratch : own, slot(o.index) + 32);
    put(1);
  }
  return scratch;
}

/// The host's register for an operand that may be written. `is_read`: with its old value.
unsigned HostVectorCode::place(const HostVector::Operand& o, const HostVector& v, unsigned scratch, unsigned mask,
                               bool is_read) {
  switch (o.kind) {
    case Kind::Vector:
      if (is_read) return load(o, v.length, scratch);
      return pinned_[o.index] != kNotPinned && v.length < 2 ? pinned_[o.index] : scratch;
    case Kind::Mask:
      if (is_read) kmov(false, mask, o.index);
      return mask;
    case Kind::General:
      if (is_read) mov_general(false);
      return kGeneral;
    default:
      return o.index;
  }
}

/// A vector result: what is above it is zero.
void HostVectorCode::store(const HostVector::Operand& o, unsigned length, unsigned host) {
  const u8 own = pinned_[o.index];
  if (own == kNotPinned) {
    evex_memory({.opcode = kMovupsStore, .ll = 2}, host, 0, slot(o.index));
  } else if (length < 2) {
    evex({.pp = 1, .opcode = 0xef}, kZero, kZero, kZero);
    evex_memory({.opcode = kMovupsStore, .ll = 1}, kZero, 0, slot(o.index) + 32);
  } else {
    evex({.opcode = 0x28, .ll = 1}, own, 0, host);
    evex_memory({.map = 3, .pp = 1, .opcode = 0x1b, .w = true, .ll = 2}, host, 0, slot(o.index) + 32);
    put(1);
  }
}

void HostVectorCode::emit(const HostVector& v) {
  const bool merges = v.mask != 0 && !v.z;
  const auto is_read = [&](Dest which) { return v.dest != which || merges || v.reads_dest; };
  if (v.mask != 0) kmov(false, kMaskWrite, v.mask);
  const unsigned reg = place(v.reg, v, kReg, kMaskReg, is_read(Dest::Reg));
  const unsigned vvvv = place(v.vvvv, v, kVvvv, kMaskVvvv, is_read(Dest::Vvvv));
  const Form form{v.map, v.pp, v.opcode, v.w, v.ll, v.b, v.z, u8(v.mask != 0 ? kMaskWrite : 0)};
  unsigned rm = 0;
  if (v.rm.kind == Kind::Memory) {
    evex_memory(form, reg, vvvv, slot(v.rm.index));
  } else {
    rm = place(v.rm, v, kRm, kMaskRm, is_read(Dest::Rm));
    evex(form, reg, vvvv, rm);
  }
  if (v.has_imm) put(v.imm);
  if (v.makes_flags) {
    put(0x9c);  // pushfq
    put(0x41);
    put(0x5b);  // pop r11
    mov_general(true);
  }
  if (v.dest == Dest::None) return;
  const HostVector::Operand& o = v.dest == Dest::Reg ? v.reg : v.dest == Dest::Vvvv ? v.vvvv : v.rm;
  const unsigned host = v.dest == Dest::Reg ? reg : v.dest == Dest::Vvvv ? vvvv : rm;
  if (o.kind == Kind::Vector) store(o, v.length, host);
  if (o.kind == Kind::Mask) kmov(true, host, o.index);
  if (o.kind == Kind::General) mov_general(true);
}

// ---- From C++ -------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
namespace {

/// A page that code is written to and run from; one a thread.
class CodePage {
 public:
  CodePage() {
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EMU_CHECK(at != MAP_FAILED);
    page_ = static_cast<u8*>(at);
  }
  ~CodePage() { munmap(page_, kBytes); }
  CodePage(const CodePage&) = delete;
  CodePage& operator=(const CodePage&) = delete;

  using Function = void (*)(u8* slots, u64 unused, u32* guest_control, u32* host_control);

  Function write(std::span<const u8> body) {
    // ldmxcsr [rdx] ... stmxcsr [rdx]; ldmxcsr [rcx]; vzeroupper; ret
    constexpr u8 kBegin[] = {0x0f, 0xae, 0x12};
    constexpr u8 kEnd[] = {0x0f, 0xae, 0x1a, 0x0f, 0xae, 0x11, 0xc5, 0xf8, 0x77, 0xc3};
    EMU_CHECK(sizeof kBegin + body.size() + sizeof kEnd <= kBytes);
    u8* to = page_;
    std::memcpy(to, kBegin, sizeof kBegin);
    to += sizeof kBegin;
    std::memcpy(to, body.data(), body.size());
    to += body.size();
    std::memcpy(to, kEnd, sizeof kEnd);
    __builtin___clear_cache(reinterpret_cast<char*>(page_), reinterpret_cast<char*>(to + sizeof kEnd));
    return reinterpret_cast<Function>(reinterpret_cast<uintptr_t>(page_));
  }

 private:
  static constexpr size_t kBytes = 4096;
  u8* page_ = nullptr;
};

}  // namespace

bool run_host_vector(const HostVector& v, u8* slots, u64* masks, u32& fp_control) {
  static const bool kCan = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!kCan) return false;
  constexpr u8 kRdi = 7;
  const i64 masks_at = reinterpret_cast<u8*>(masks) - slots;
  EMU_CHECK(masks_at == i32(masks_at));
  HostVectorCode code(kRdi, {.vectors = 0, .masks = i32(masks_at)});
  code.emit(v);
  thread_local CodePage page;
  constexpr u32 kControl = 0xffff, kMasks = 0x1f80, kSticky = 0x3f;
  u32 guest_control = (fp_control & kControl) | kMasks, host_control = __builtin_ia32_stmxcsr();
  page.write(code.bytes())(slots, 0, &guest_control, &host_control);
  fp_control |= guest_control & kSticky;
  return true;
}
#else
bool run_host_vector(const HostVector&, u8*, u64*, u32&) { return false; }
#endif

}  // namespace emu::tcg
