// SPDX-License-Identifier: Apache-2.0
#include "target/x86/quick_helpers.h"

#include "target/x86/eflags.h"
#include "target/x86/evex_access.h"
#include "target/x86/first_level.h"
#include "target/x86/mode_key.h"
#include "util/bits.h"

namespace emu::x86 {
namespace {

constexpr u32 kMxcsrDefined = 0xffff, kMxcsrMasks = 0x1f80, kMxcsrSticky = 0x3f;

X86State& state_of(tcg::EnvHeader& env) { return reinterpret_cast<X86State&>(env); }
u8 view_of(const X86State& s) { return u8(s.hdr.view_index); }

template <typename T>
struct [[gnu::packed, gnu::may_alias]] Unaligned {
  T value;
};
/// Volatile, or the compiler makes calls of memcpy, which uses vectors, of the loops below.
template <typename T>
void copy_one(u8* to, const u8* from) {
  reinterpret_cast<volatile Unaligned<T>*>(to)->value = reinterpret_cast<const volatile Unaligned<T>*>(from)->value;
}

/// From the lowest byte up, so that `to` may lie below `from`, on the same bytes.
void copy_up(u8* to, const u8* from, u64 bytes) {
  constexpr u64 kShort = 64;
#if defined(__x86_64__)
  if (bytes > kShort) {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return;
  }
#endif
  for (; bytes >= 8; bytes -= 8, to += 8, from += 8) copy_one<u64>(to, from);
  for (; bytes != 0; --bytes, ++to, ++from) copy_one<u8>(to, from);
}

/// What a repeated string instruction does at once: its bytes, or 0 if it must go another way.
u64 run_bytes(const X86State& s, u64 mode) {
  const u64 element = mode & 0xff, address = mode >> 8 & 0xff, count = s.gpr(RCX);
  const bool checks_alignment = (s.rflags_system & kAC) && (s.cr0 & kCr0AM) && s.cpl() == 3;
  if (s.hdr.no_string_runs != 0 || s.hdr.guest_debug != 0 || address != 8 || !is_code64(s) || s.df < 0 ||
      (s.rflags_system & kTF) || checks_alignment || count > tcg::kPageSize) {
    return 0;
  }
  return count * element;
}

}  // namespace

// ---- Strings --------------------------------------------------------------------------------------------------------

bool quick_rep_movs(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  const unsigned segment = args[0] >> 16 & 7;
  const u64 bytes = run_bytes(s, args[0]);
  if (bytes == 0 || bytes > tcg::kPageSize || segment == FS || segment == GS) return false;
  u64 &from = s.gpr(RSI), &to = s.gpr(RDI);
  const u8* in = host_memory(s, view_of(s), from, unsigned(bytes), false, 1);
  u8* out = host_memory(s, view_of(s), to, unsigned(bytes), true, 1);
  // A copy onto what is still to be read repeats a pattern.
  if (in == nullptr || out == nullptr || (out > in && u64(out - in) < bytes)) return false;
  copy_up(out, in, bytes);
  ++env.string_runs;
  from += bytes;
  to += bytes;
  s.gpr(RCX) = 0;
  return true;
}

bool quick_rep_stos(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  const u64 bytes = run_bytes(s, args[0]);
  if (bytes == 0 || bytes > tcg::kPageSize) return false;
  u64& to = s.gpr(RDI);
  u8* out = host_memory(s, view_of(s), to, unsigned(bytes), true, 1);
  if (out == nullptr) return false;
  ++env.string_runs;
  to += bytes;
  u64& count = s.gpr(RCX);
#if defined(__x86_64__)
  const u64 value = s.gpr(RAX);
  switch (args[0] & 0xff) {
    case 1:
      asm volatile("rep stosb" : "+D"(out), "+c"(count) : "a"(value) : "memory");
      break;
    case 2:
      asm volatile("rep stosw" : "+D"(out), "+c"(count) : "a"(value) : "memory");
      break;
    case 4:
      asm volatile("rep stosl" : "+D"(out), "+c"(count) : "a"(value) : "memory");
      break;
    default:
      asm volatile("rep stosq" : "+D"(out), "+c"(count) : "a"(value) : "memory");
      break;
  }
#else
  const u8* value = reinterpret_cast<const u8*>(&s.gpr(RAX));
  for (; count != 0; --count, out += args[0] & 0xff) copy_up(out, value, args[0] & 0xff);
#endif
  return true;
}

// ---- Integers -------------------------------------------------------------------------------------------------------

bool quick_cmpxchg16b(tcg::EnvHeader& env, const u64* args) {
#if defined(__x86_64__)
  X86State& s = state_of(env);
  u8* host = host_memory(s, view_of(s), args[0], 16, true, 16);
  if (host == nullptr) return false;
  u64 &low = s.gpr(RAX), &high = s.gpr(RDX);
  bool equal = false;
  asm volatile("lock cmpxchg16b %[memory]"
               : "+a"(low), "+d"(high), [memory] "+m"(*reinterpret_cast<u128*>(host)), "=@ccz"(equal)
               : "b"(s.gpr(RBX)), "c"(s.gpr(RCX))
               : "memory");
  const u64 flags = tcg::pack_flags(env.cc_op, env.cc_a, env.cc_b);
  set_arithmetic_flags(s, (flags & ~u64(kZF)) | (equal ? u64(kZF) : 0));
  return true;
#else
  return false;
#endif
}

bool quick_read_flags(tcg::EnvHeader& env, const u64*) {
  env.helper_result = read_rflags(state_of(env)) & ~u64(kVM | kRF);
  return true;
}

/// Between words that mask every exception, so that the mode stays. The host's register has the guest's here.
bool quick_load_mxcsr(tcg::EnvHeader& env, const u64* args) {
#if defined(__x86_64__)
  X86State& s = state_of(env);
  const u32 value = u32(args[0]);
  if ((value & ~kMxcsrDefined) || (~value & kMxcsrMasks) || (~s.mxcsr & kMxcsrMasks)) return false;
  s.mxcsr = value;
  env.fp_control = value;
  asm volatile("ldmxcsr %0" : : "m"(env.fp_control));
  return true;
#else
  return false;
#endif
}

bool quick_store_mxcsr(tcg::EnvHeader& env, const u64*) {
#if defined(__x86_64__)
  u32 live = 0;
  asm volatile("stmxcsr %0" : "=m"(live));
  env.helper_result = state_of(env).mxcsr | (live & kMxcsrSticky);
  return true;
#else
  return false;
#endif
}

/// MMi in the image of the x87 unit; null if that is not what holds it, or its registers would have to turn first.
static u8* mmx_register(tcg::EnvHeader& env, u64 reg) {
  constexpr unsigned kTopAt = 3, kTop = 0x38, kTagsAt = 4, kRegistersAt = 32;
  if (env.fpu_live != 0 || (env.fpu_image[kTopAt] & kTop) != 0) return nullptr;
  env.fpu_image[kTagsAt] = 0xff;
  return env.fpu_image + kRegistersAt + 16 * (reg & 7);
}

bool quick_mmx_read(tcg::EnvHeader& env, const u64* args) {
  const u8* from = mmx_register(env, args[0]);
  if (from == nullptr) return false;
  copy_one<u64>(reinterpret_cast<u8*>(&env.helper_result), from);
  return true;
}

bool quick_mmx_write(tcg::EnvHeader& env, const u64* args) {
  u8* to = mmx_register(env, args[0]);
  if (to == nullptr) return false;
  copy_one<u64>(to, reinterpret_cast<const u8*>(&args[1]));
  to[8] = to[9] = 0xff;  // what the exponent becomes
  return true;
}

u64 general_crc32(tcg::EnvHeader&, const u64* args) {
  u64 crc = args[0];
#if defined(__x86_64__)
  switch (args[2]) {
    case 1:
      asm("crc32b %b1, %k0" : "+r"(crc) : "r"(args[1]));
      break;
    case 2:
      asm("crc32w %w1, %k0" : "+r"(crc) : "r"(args[1]));
      break;
    case 4:
      asm("crc32l %k1, %k0" : "+r"(crc) : "r"(args[1]));
      break;
    default:
      asm("crc32q %1, %0" : "+r"(crc) : "r"(args[1]));
      break;
  }
#endif
  return u32(crc);
}

u64 general_pdep(tcg::EnvHeader&, const u64* args) {
  u64 result = 0;
#if defined(__x86_64__)
  asm("pdep %2, %1, %0" : "=r"(result) : "r"(args[0]), "r"(args[1]));
#endif
  return result;
}

u64 general_pext(tcg::EnvHeader&, const u64* args) {
  u64 result = 0;
#if defined(__x86_64__)
  asm("pext %2, %1, %0" : "=r"(result) : "r"(args[0]), "r"(args[1]));
#endif
  return result;
}

// ---- Masked operands of AVX-512 -------------------------------------------------------------------------------------

/// All of the operand: reading what the mask does not select has no effect in RAM.
bool quick_evex_load(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  const EvexAccess a = EvexAccess::unpack(args[1]);
  if (!a.base.is_linear()) return false;
  const u8* host = host_memory(s, view_of(s), is_code64(s) ? args[0] : u32(args[0]), a.bytes, false, 1);
  if (host == nullptr) return false;
  copy_up(s.vector_slot(a.slot).bytes, host, a.bytes);
  return true;
}

bool quick_evex_store(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  const EvexAccess a = EvexAccess::unpack(args[1]);
  if (!a.base.is_linear() || a.compact) return false;
  u8* host = host_memory(s, view_of(s), is_code64(s) ? args[0] : u32(args[0]), a.bytes, true, 1);
  if (host == nullptr) return false;
  if (a.probes) return true;
  const u8* source = s.vector_slot(a.slot).bytes;
  u64 mask = s.opmask[a.mask] & low_mask(a.bytes >> a.element_log2);
  while (mask != 0) {  // runs of selected elements
    const unsigned first = unsigned(__builtin_ctzll(mask));
    const u64 rest = ~(mask >> first);
    const unsigned count = rest == 0 ? 64 : unsigned(__builtin_ctzll(rest));
    copy_up(host + (first << a.element_log2), source + (first << a.element_log2), u64(count) << a.element_log2);
    mask &= ~(low_mask(count) << first);
  }
  return true;
}

}  // namespace emu::x86
