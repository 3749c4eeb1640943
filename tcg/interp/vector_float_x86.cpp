// SPDX-License-Identifier: Apache-2.0
// Floating-point vector operations on an x86 host: each in one asm statement that switches MXCSR around the
// instruction, because a compiler may move its own arithmetic across a change of the control word.
#if defined(__x86_64__)

#include <emmintrin.h>

#include <array>
#include <utility>

#include "tcg/abi/flags.h"
#include "tcg/interp/vector.h"
#include "util/check.h"

namespace emu::ir {
namespace {

constexpr u32 kControlBits = 0xffff, kMasks = 0x1f80, kSticky = 0x3f;

// A macro, since an asm text must be a literal. %[a] is source and result, %[b] the second source.
#define EMU_UNDER_CONTROL(text)                                                    \
  asm volatile("ldmxcsr %[word]\n\t" text "\n\tstmxcsr %[word]\n\tldmxcsr %[host]" \
               : [a] "+x"(run.a), [word] "+m"(run.word), [r] "+r"(run.integer)     \
               : [b] "x"(run.b), [host] "m"(run.host)                              \
               : "cc")

struct Run {
  __m128i a, b;
  u32 word, host;
  u64 integer = 0;
  u32& control;

  Run(const Vector128& x, const Vector128& y, u32& guest)
      : a(_mm_load_si128(reinterpret_cast<const __m128i*>(x.bytes.data()))),
        b(_mm_load_si128(reinterpret_cast<const __m128i*>(y.bytes.data()))),
        word((guest & kControlBits) | kMasks),
        host(_mm_getcsr()),
        control(guest) {}
  void keep_sticky() { control |= word & kSticky; }
  Vector128 result() {
    keep_sticky();
    Vector128 r;
    _mm_store_si128(reinterpret_cast<__m128i*>(r.bytes.data()), a);
    return r;
  }
};

void run_arithmetic(Run& run, VecOp op) {
  switch (op) {
    case VecOp::VAddF32:
      EMU_UNDER_CONTROL("addps %[b], %[a]");
      break;
    case VecOp::VAddF64:
      EMU_UNDER_CONTROL("addpd %[b], %[a]");
      break;
    case VecOp::VAddSF32:
      EMU_UNDER_CONTROL("addss %[b], %[a]");
      break;
    case VecOp::VAddSF64:
      EMU_UNDER_CONTROL("addsd %[b], %[a]");
      break;
    case VecOp::VSubF32:
      EMU_UNDER_CONTROL("subps %[b], %[a]");
      break;
    case VecOp::VSubF64:
      EMU_UNDER_CONTROL("subpd %[b], %[a]");
      break;
    case VecOp::VSubSF32:
      EMU_UNDER_CONTROL("subss %[b], %[a]");
      break;
    case VecOp::VSubSF64:
      EMU_UNDER_CONTROL("subsd %[b], %[a]");
      break;
    case VecOp::VMulF32:
      EMU_UNDER_CONTROL("mulps %[b], %[a]");
      break;
    case VecOp::VMulF64:
      EMU_UNDER_CONTROL("mulpd %[b], %[a]");
      break;
    case VecOp::VMulSF32:
      EMU_UNDER_CONTROL("mulss %[b], %[a]");
      break;
    case VecOp::VMulSF64:
      EMU_UNDER_CONTROL("mulsd %[b], %[a]");
      break;
    case VecOp::VDivF32:
      EMU_UNDER_CONTROL("divps %[b], %[a]");
      break;
    case VecOp::VDivF64:
      EMU_UNDER_CONTROL("divpd %[b], %[a]");
      break;
    case VecOp::VDivSF32:
      EMU_UNDER_CONTROL("divss %[b], %[a]");
      break;
    case VecOp::VDivSF64:
      EMU_UNDER_CONTROL("divsd %[b], %[a]");
      break;
    case VecOp::VMinF32:
      EMU_UNDER_CONTROL("minps %[b], %[a]");
      break;
    case VecOp::VMinF64:
      EMU_UNDER_CONTROL("minpd %[b], %[a]");
      break;
    case VecOp::VMinSF32:
      EMU_UNDER_CONTROL("minss %[b], %[a]");
      break;
    case VecOp::VMinSF64:
      EMU_UNDER_CONTROL("minsd %[b], %[a]");
      break;
    case VecOp::VMaxF32:
      EMU_UNDER_CONTROL("maxps %[b], %[a]");
      break;
    case VecOp::VMaxF64:
      EMU_UNDER_CONTROL("maxpd %[b], %[a]");
      break;
    case VecOp::VMaxSF32:
      EMU_UNDER_CONTROL("maxss %[b], %[a]");
      break;
    case VecOp::VMaxSF64:
      EMU_UNDER_CONTROL("maxsd %[b], %[a]");
      break;
    case VecOp::VSqrtF32:
      EMU_UNDER_CONTROL("sqrtps %[a], %[a]");
      break;
    case VecOp::VSqrtF64:
      EMU_UNDER_CONTROL("sqrtpd %[a], %[a]");
      break;
    case VecOp::VSqrtSF32:
      EMU_UNDER_CONTROL("sqrtss %[b], %[a]");
      break;
    case VecOp::VSqrtSF64:
      EMU_UNDER_CONTROL("sqrtsd %[b], %[a]");
      break;
    case VecOp::VRcpF32:
      EMU_UNDER_CONTROL("rcpps %[a], %[a]");
      break;
    case VecOp::VRsqrtF32:
      EMU_UNDER_CONTROL("rsqrtps %[a], %[a]");
      break;
    case VecOp::VRcpSF32:
      EMU_UNDER_CONTROL("rcpss %[b], %[a]");
      break;
    case VecOp::VRsqrtSF32:
      EMU_UNDER_CONTROL("rsqrtss %[b], %[a]");
      break;
    case VecOp::VAddSubF32:
      EMU_UNDER_CONTROL("addsubps %[b], %[a]");
      break;
    case VecOp::VAddSubF64:
      EMU_UNDER_CONTROL("addsubpd %[b], %[a]");
      break;
    case VecOp::VHAddF32:
      EMU_UNDER_CONTROL("haddps %[b], %[a]");
      break;
    case VecOp::VHAddF64:
      EMU_UNDER_CONTROL("haddpd %[b], %[a]");
      break;
    case VecOp::VHSubF32:
      EMU_UNDER_CONTROL("hsubps %[b], %[a]");
      break;
    case VecOp::VHSubF64:
      EMU_UNDER_CONTROL("hsubpd %[b], %[a]");
      break;
    default:
      EMU_CHECK(!"a floating-point operation without a row");
      break;
  }
}

// Rounding and dot products choose by an immediate, of which `kBits` count.
#define EMU_IMMEDIATE(name, kBits, text)                                                                             \
  template <u8 kImm>                                                                                                 \
  void name##_imm(Run& run) {                                                                                        \
    asm volatile("ldmxcsr %[word]\n\t" text " %[imm], %[b], %[a]\n\tstmxcsr %[word]\n\tldmxcsr %[host]"              \
                 : [a] "+x"(run.a), [word] "+m"(run.word)                                                            \
                 : [b] "x"(run.b), [host] "m"(run.host), [imm] "i"(kImm)                                             \
                 : "cc");                                                                                            \
  }                                                                                                                  \
  void name(Run& run, u8 imm) {                                                                                      \
    constexpr auto kForms = []<size_t... i>(std::index_sequence<i...>) { return std::array{&name##_imm<u8(i)>...}; } \
    (std::make_index_sequence<1 << kBits>());                                                                        \
    kForms[imm & ((1 << kBits) - 1)](run);                                                                           \
  }
EMU_IMMEDIATE(round_ps, 4, "roundps")
EMU_IMMEDIATE(round_pd, 4, "roundpd")
EMU_IMMEDIATE(round_ss, 4, "roundss")
EMU_IMMEDIATE(round_sd, 4, "roundsd")
EMU_IMMEDIATE(dot_ps, 8, "dpps")
EMU_IMMEDIATE(dot_pd, 6, "dppd")
#undef EMU_IMMEDIATE

// Comparisons have 32 predicates with VEX; the first eight are those of SSE.
#define EMU_COMPARE(name, text)                                                                                       \
  template <u8 kImm>                                                                                                  \
  void name##_imm(Run& run) {                                                                                         \
    asm volatile("ldmxcsr %[word]\n\t" text " %[imm], %[b], %[a], %[a]\n\tstmxcsr %[word]\n\tldmxcsr %[host]"         \
                 : [a] "+x"(run.a), [word] "+m"(run.word)                                                             \
                 : [b] "x"(run.b), [host] "m"(run.host), [imm] "i"(kImm)                                              \
                 : "cc");                                                                                             \
  }                                                                                                                   \
  void name(Run& run, u8 imm) {                                                                                       \
    constexpr auto kForms = []<size_t... i>(std::index_sequence<i...>) { return std::array{&name##_imm<u8(i)>...}; }  \
    (std::make_index_sequence<32>());                                                                                 \
    kForms[imm & 31](run);                                                                                            \
  }
EMU_COMPARE(compare_ps, "vcmpps")
EMU_COMPARE(compare_pd, "vcmppd")
EMU_COMPARE(compare_ss, "vcmpss")
EMU_COMPARE(compare_sd, "vcmpsd")

template <u8 kImm>
void narrow_half(Run& run) {
  asm volatile("ldmxcsr %[word]\n\tvcvtps2ph %[imm], %[a], %[a]\n\tstmxcsr %[word]\n\tldmxcsr %[host]"
               : [a] "+x"(run.a), [word] "+m"(run.word)
               : [host] "m"(run.host), [imm] "i"(kImm)
               : "cc");
}
void run_narrow_half(Run& run, u8 imm) {
  constexpr std::array kForms = {&narrow_half<0>, &narrow_half<1>, &narrow_half<2>, &narrow_half<3>, &narrow_half<4>};
  kForms[imm & 4 ? 4 : imm & 3](run);
}
#undef EMU_COMPARE

void run_compare(Run& run, VecOp op, u8 imm) {
  switch (op) {
    case VecOp::VCmpF32:
      return compare_ps(run, imm);
    case VecOp::VCmpF64:
      return compare_pd(run, imm);
    case VecOp::VCmpSF32:
      return compare_ss(run, imm);
    default:
      return compare_sd(run, imm);
  }
}

void run_immediate(Run& run, VecOp op, u8 imm) {
  switch (op) {
    case VecOp::VRoundF32:
      run.b = run.a;
      return round_ps(run, imm);
    case VecOp::VRoundF64:
      run.b = run.a;
      return round_pd(run, imm);
    case VecOp::VRoundSF32:
      return round_ss(run, imm);
    case VecOp::VRoundSF64:
      return round_sd(run, imm);
    case VecOp::VDotF32:
      return dot_ps(run, imm);
    default:
      return dot_pd(run, imm);
  }
}

void run_conversion(Run& run, VecOp op) {
  switch (op) {
    case VecOp::VCvtF32F64:
      EMU_UNDER_CONTROL("cvtps2pd %[a], %[a]");
      break;
    case VecOp::VCvtF64F32:
      EMU_UNDER_CONTROL("cvtpd2ps %[a], %[a]");
      break;
    case VecOp::VCvtSF32F64:
      EMU_UNDER_CONTROL("cvtss2sd %[b], %[a]");
      break;
    case VecOp::VCvtSF64F32:
      EMU_UNDER_CONTROL("cvtsd2ss %[b], %[a]");
      break;
    case VecOp::VCvtI32F32:
      EMU_UNDER_CONTROL("cvtdq2ps %[a], %[a]");
      break;
    case VecOp::VCvtI32F64:
      EMU_UNDER_CONTROL("cvtdq2pd %[a], %[a]");
      break;
    case VecOp::VCvtF32I32:
      EMU_UNDER_CONTROL("cvtps2dq %[a], %[a]");
      break;
    case VecOp::VCvttF32I32:
      EMU_UNDER_CONTROL("cvttps2dq %[a], %[a]");
      break;
    case VecOp::VCvtF16F32:
      EMU_UNDER_CONTROL("vcvtph2ps %[a], %[a]");
      break;
    case VecOp::VCvtF64I32:
      EMU_UNDER_CONTROL("cvtpd2dq %[a], %[a]");
      break;
    default:
      EMU_UNDER_CONTROL("cvttpd2dq %[a], %[a]");
      break;
  }
}

}  // namespace

bool host_has_vector_float() { return true; }

Vector128 evaluate_vector_float(VecOp op, const Vector128& a, const Vector128& b, u8 imm, u32& control) {
  Run run(a, b, control);
  if (op >= VecOp::VCmpF32 && op <= VecOp::VCmpSF64) {
    run_compare(run, op, imm);
  } else if (op >= VecOp::VRoundF32 && op <= VecOp::VDotF64) {
    run_immediate(run, op, imm);
  } else if (op == VecOp::VCvtF32F16) {
    run_narrow_half(run, imm);
  } else if (op == VecOp::VCvtF16F32 || (op >= VecOp::VCvtF32F64 && op <= VecOp::VCvttF64I32)) {
    run_conversion(run, op);
  } else {
    run_arithmetic(run, op);
  }
  return run.result();
}

// %[c] = %[a] * %[b] + %[c]; a NaN comes from the first of a, b, c that is one.
#define EMU_FUSED(text)                                                                            \
  asm volatile("ldmxcsr %[word]\n\t" text " %[b], %[a], %[c]\n\tstmxcsr %[word]\n\tldmxcsr %[host]" \
               : [c] "+x"(sum), [word] "+m"(run.word)                                              \
               : [a] "x"(run.a), [b] "x"(run.b), [host] "m"(run.host)                              \
               : "cc")

Vector128 evaluate_vector_fused(VecOp op, const Vector128& a, const Vector128& b, const Vector128& c, u8 imm,
                                u32& control) {
  Run run(a, b, control);
  __m128i sum = _mm_load_si128(reinterpret_cast<const __m128i*>(c.bytes.data()));
  switch (op) {
    case VecOp::VFmaddF32:
      EMU_FUSED("vfmadd231ps");
      break;
    case VecOp::VFmaddF64:
      EMU_FUSED("vfmadd231pd");
      break;
    case VecOp::VFmaddSF32:
      EMU_FUSED("vfmadd231ss");
      break;
    case VecOp::VFmaddSF64:
      EMU_FUSED("vfmadd231sd");
      break;
    case VecOp::VFmsubF32:
      EMU_FUSED("vfmsub231ps");
      break;
    case VecOp::VFmsubF64:
      EMU_FUSED("vfmsub231pd");
      break;
    case VecOp::VFmsubSF32:
      EMU_FUSED("vfmsub231ss");
      break;
    case VecOp::VFmsubSF64:
      EMU_FUSED("vfmsub231sd");
      break;
    case VecOp::VFnmaddF32:
      EMU_FUSED("vfnmadd231ps");
      break;
    case VecOp::VFnmaddF64:
      EMU_FUSED("vfnmadd231pd");
      break;
    case VecOp::VFnmaddSF32:
      EMU_FUSED("vfnmadd231ss");
      break;
    case VecOp::VFnmaddSF64:
      EMU_FUSED("vfnmadd231sd");
      break;
    case VecOp::VFnmsubF32:
      EMU_FUSED("vfnmsub231ps");
      break;
    case VecOp::VFnmsubF64:
      EMU_FUSED("vfnmsub231pd");
      break;
    case VecOp::VFnmsubSF32:
      EMU_FUSED("vfnmsub231ss");
      break;
    case VecOp::VFnmsubSF64:
      EMU_FUSED("vfnmsub231sd");
      break;
    case VecOp::VFmaddsubF32:
      EMU_FUSED("vfmaddsub231ps");
      break;
    case VecOp::VFmaddsubF64:
      EMU_FUSED("vfmaddsub231pd");
      break;
    case VecOp::VFmsubaddF32:
      EMU_FUSED("vfmsubadd231ps");
      break;
    case VecOp::VFmsubaddF64:
      EMU_FUSED("vfmsubadd231pd");
      break;
    default:
      EMU_CHECK(!"a fused operation without a row");
  }
  run.a = sum;
  const Vector128 all = run.result();
  const bool is_f32 = op == VecOp::VFmaddSF32 || op == VecOp::VFmsubSF32 || op == VecOp::VFnmaddSF32 ||
                      op == VecOp::VFnmsubSF32;
  const bool is_f64 = op == VecOp::VFmaddSF64 || op == VecOp::VFmsubSF64 || op == VecOp::VFnmaddSF64 ||
                      op == VecOp::VFnmsubSF64;
  if (!is_f32 && !is_f64) return all;
  Vector128 r = imm == 0 ? a : imm == 1 ? b : c;
  if (is_f32)
    r.set_lane<u32>(0, all.lane<u32>(0));
  else
    r.set_lane<u64>(0, all.lane<u64>(0));
  return r;
}

Vector128 convert_from_int(const Vector128& into, Type from, u64 value, bool to_f64, u32& control) {
  Run run(into, into, control);
  run.integer = value;
  if (from == Type::I64) {
    if (to_f64) {
      EMU_UNDER_CONTROL("cvtsi2sdq %[r], %[a]");
    } else {
      EMU_UNDER_CONTROL("cvtsi2ssq %[r], %[a]");
    }
  } else if (to_f64) {
    EMU_UNDER_CONTROL("cvtsi2sdl %k[r], %[a]");
  } else {
    EMU_UNDER_CONTROL("cvtsi2ssl %k[r], %[a]");
  }
  return run.result();
}

u64 convert_to_int(Type to, const Vector128& v, bool from_f64, Round round, u32& control) {
  Run run(v, v, control);
  const bool truncate = round == Round::Truncate;
  if (to == Type::I64) {
    if (from_f64 && truncate) {
      EMU_UNDER_CONTROL("cvttsd2siq %[a], %[r]");
    } else if (from_f64) {
      EMU_UNDER_CONTROL("cvtsd2siq %[a], %[r]");
    } else if (truncate) {
      EMU_UNDER_CONTROL("cvttss2siq %[a], %[r]");
    } else {
      EMU_UNDER_CONTROL("cvtss2siq %[a], %[r]");
    }
  } else if (from_f64 && truncate) {
    EMU_UNDER_CONTROL("cvttsd2sil %[a], %k[r]");
  } else if (from_f64) {
    EMU_UNDER_CONTROL("cvtsd2sil %[a], %k[r]");
  } else if (truncate) {
    EMU_UNDER_CONTROL("cvttss2sil %[a], %k[r]");
  } else {
    EMU_UNDER_CONTROL("cvtss2sil %[a], %k[r]");
  }
  run.keep_sticky();
  return run.integer;
}

u64 compare_float(const Vector128& a, const Vector128& b, bool is_f64, bool signal_quiet, u32& control) {
  Run run(a, b, control);
  // Zero, parity and carry, gathered without touching the stack.
#define EMU_COMPARE_FLAGS(text)                                                              \
  asm volatile("ldmxcsr %[word]\n\t" text                                                    \
               " %[b], %[a]\n\tsetz %[z]\n\tsetp %[p]\n\tsetc %[c]\n\t"                      \
               "stmxcsr %[word]\n\tldmxcsr %[host]"                                          \
               : [word] "+m"(run.word), [z] "=&q"(zero), [p] "=&q"(parity), [c] "=&q"(carry) \
               : [a] "x"(run.a), [b] "x"(run.b), [host] "m"(run.host)                        \
               : "cc")
  u8 zero = 0, parity = 0, carry = 0;
  if (is_f64 && signal_quiet) {
    EMU_COMPARE_FLAGS("comisd");
  } else if (is_f64) {
    EMU_COMPARE_FLAGS("ucomisd");
  } else if (signal_quiet) {
    EMU_COMPARE_FLAGS("comiss");
  } else {
    EMU_COMPARE_FLAGS("ucomiss");
  }
  run.keep_sticky();
  return (zero ? u64(tcg::kFlagZero) : 0) | (parity ? u64(tcg::kFlagParity) : 0) | carry;
#undef EMU_COMPARE_FLAGS
}

#undef EMU_FUSED
#undef EMU_UNDER_CONTROL

}  // namespace emu::ir

#endif
