// SPDX-License-Identifier: Apache-2.0
// x87, MXCSR and vector state between X86State and the guest's memory images. SDM vol. 1, chapters 8, 10 and 13.
//
// X86State keeps the x87 unit as the host's FXSAVE64 wrote it: registers in stack order, all exceptions masked in its
// control word (the guest's own is in hdr.fpu_control), and host addresses in the instruction pointers, which nobody
// looks at: the guest's own are in X86State, see "Pointers".
#include <algorithm>
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/evex_access.h"
#include "target/x86/fpu_image.h"

namespace emu::x86 {

using target::Access;
using target::AccessStatus;

namespace {

constexpr u32 kMxcsrMask = 0xffff, kMxcsrUnderflowMask = 0x800, kMxcsrFlush = 0x8000;
constexpr u16 kExceptionFlags = 0x3f;
constexpr u16 kErrorSummary = 0x80, kBusy = 0x8000;
constexpr unsigned kFxPointers = 6, kFxPointersEnd = 24;  ///< opcode and both pointers, in FXSAVE's image

}  // namespace

// --- The image ------------------------------------------------------------------------------------------------------

FpuImage::FpuImage(tcg::EnvHeader& header) : header_(header) {}

u16 FpuImage::status() const { return image_get<u16>(header_.fpu_image, 2); }
void FpuImage::set_status(u16 value) { image_put<u16>(header_.fpu_image, 2, u16(value & ~(kErrorSummary | kBusy))); }
u8 FpuImage::tags() const { return header_.fpu_image[4]; }
void FpuImage::set_tags(u8 value) { header_.fpu_image[4] = value; }
u8* FpuImage::st(unsigned i) { return header_.fpu_image + 32 + (i & 7) * 16; }

void FpuImage::set_control(u16 value) {
  header_.fpu_control = u32(value & 0x1f7f) | 0x40;
  image_put<u16>(header_.fpu_image, 0, u16(header_.fpu_control | kExceptionFlags));
}

void FpuImage::init() {
  set_control(0x37f);
  set_top(0);
  set_status(0);
  set_tags(0);
}

/// The guest's status word: the error summary follows from flags and masks, which the host's unit has all set.
u16 FpuImage::guest_status() const {
  const u16 raw = u16(status() & ~(kErrorSummary | kBusy));
  return raw & ~header_.fpu_control & kExceptionFlags ? u16(raw | kErrorSummary | kBusy) : raw;
}

void FpuImage::set_top(unsigned top) {
  // Registers stay where they are physically; ST(i) = R(top + i).
  const unsigned turn = (top - this->top()) & 7;
  u8 turned[128];
  for (unsigned i = 0; i < 8; ++i) std::memcpy(turned + i * 16, st(i + turn), 16);
  std::memcpy(header_.fpu_image + 32, turned, sizeof turned);
  set_status(u16((status() & ~0x3800) | (top & 7) << 11));
}

/// Tag word with two bits a physical register, as FSAVE writes it.
u16 FpuImage::full_tags() {
  u16 word = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    unsigned tag = 3;
    if (tags() >> physical & 1) {
      const u8* reg = st(physical - top());
      const u64 significand = image_get<u64>(reg, 0);
      const u16 exponent = image_get<u16>(reg, 8) & 0x7fff;
      if (exponent == 0 && significand == 0) {
        tag = 1;
      } else {
        tag = exponent == 0 || exponent == 0x7fff || !(significand >> 63) ? 2 : 0;
      }
    }
    word = u16(word | tag << (physical * 2));
  }
  return word;
}

void FpuImage::set_full_tags(u16 word) {
  u8 abridged = 0;
  for (unsigned physical = 0; physical < 8; ++physical) {
    if ((word >> (physical * 2) & 3) != 3) abridged = u8(abridged | 1 << physical);
  }
  set_tags(abridged);
}

// --- Pointers -------------------------------------------------------------------------------------------------------

/// As this model has them. Intel's processors since Pentium 4 keep the opcode of an instruction with an unmasked
/// exception only (8.1.9.1; its compatibility mode is off), and some the operand, too; AMD's keep every one.
FpuPointers X86Cpu::fpu_pointers() const {
  settle_fpu_pointers(*s_);
  FpuPointers p = s_->fpu_pointers;
  if (!is_amd()) p.opcode = s_->fpu_trapped.opcode;
  if (has(Cpuid::FdpExcptnOnly)) {
    p.dp = s_->fpu_trapped.dp;
    p.ds = s_->fpu_trapped.ds;
  }
  if (has(Cpuid::ZeroFcsFds)) p.cs = p.ds = 0;
  return p;
}

void X86Cpu::set_fpu_pointers(const FpuPointers& pointers) {
  s_->fpu_ip = kFpuSettled;
  s_->fpu_data_segment = kFpuNoData;
  s_->fpu_pointers = s_->fpu_trapped = pointers;
}

/// Whether FXSAVE and its kin leave the pointers' place in memory alone, and FXRSTOR those of the unit: AMD's processors
/// without RstrFpErrPtrs (APM vol. 3, CPUID Fn8000_0008_EBX), unless an unmasked exception is pending.
bool X86Cpu::leaves_fpu_pointers() const {
  return is_amd() && !has(Cpuid::Xsaveerptr) && !(fpu_status() & kErrorSummary);
}

// --- MXCSR ----------------------------------------------------------------------------------------------------------

u32 X86Cpu::guest_mxcsr() const { return s_->mxcsr | (s_->hdr.fp_control & kExceptionFlags); }

void X86Cpu::set_mxcsr(u32 value) {
  s_->mxcsr = value;
  // The host runs with every exception masked. Unmasked underflow leaves nothing to flush (SDM vol. 1, 10.2.3.3).
  const u32 kept = value & kMxcsrUnderflowMask ? value : value & ~kMxcsrFlush;
  s_->hdr.fp_control = kept | 0x1f80;
}

u64 X86Cpu::helper_load_mxcsr(const u64* args) {
  if (u32(args[0]) & ~kMxcsrMask) return raise_gp();
  set_mxcsr(u32(args[0]));
  fp_masks_changed();
  return 0;
}

u64 X86Cpu::helper_store_mxcsr(const u64*) { return guest_mxcsr(); }

void X86Cpu::init_fpu() {
  FpuImage(s_->hdr).init();
  std::memset(s_->hdr.fpu_image + 32, 0, 128);
  image_put<u32>(s_->hdr.fpu_image, 24, 0x1f80);
  set_fpu_pointers({});
}

u16 X86Cpu::fpu_status() const { return FpuImage(s_->hdr).guest_status(); }

bool X86Cpu::check_fpu_image_address(u64 linear, u64 alignment) {
  if (is_aligned(linear, alignment)) return true;
  raise_gp();
  pending_.is_canonical = !is_long_mode() || is_canonical(linear);
  return false;
}

/// The x87 half of an FXSAVE or XSAVE image; `wide` is the format of REX.W.
void X86Cpu::store_fx_x87(u8* image, bool wide) const {
  image_put<u16>(image, 0, u16(s_->hdr.fpu_control));
  image_put<u16>(image, 2, fpu_status());
  image_put<u16>(image, 4, s_->hdr.fpu_image[4]);
  const FpuPointers p = fpu_pointers();
  image_put<u16>(image, 6, p.opcode);
  image_put<u64>(image, 8, wide ? p.ip : u32(p.ip) | u64(p.cs) << 32);
  image_put<u64>(image, 16, wide ? p.dp : u32(p.dp) | u64(p.ds) << 32);
  for (unsigned i = 0; i < 8; ++i) {
    std::memcpy(image + 32 + i * 16, s_->hdr.fpu_image + 32 + i * 16, 10);
    std::memset(image + 32 + i * 16 + 10, 0, 6);
  }
}

void X86Cpu::load_fx_x87(const u8* image, bool wide) {
  FpuImage fpu(s_->hdr);
  fpu.set_control(image_get<u16>(image, 0));
  fpu.set_status(image_get<u16>(image, 2));
  fpu.set_tags(image[4]);
  FpuPointers p{.opcode = u16(image_get<u16>(image, 6) & 0x7ff)};
  if (wide) {
    p.ip = image_get<u64>(image, 8);
    p.dp = image_get<u64>(image, 16);
  } else {
    p.ip = image_get<u32>(image, 8);
    p.cs = image_get<u16>(image, 12);
    p.dp = image_get<u32>(image, 16);
    p.ds = image_get<u16>(image, 20);
  }
  set_fpu_pointers(p);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(fpu.st(i), image + 32 + i * 16, 10);
}

/// The same as FXSAVE and XSAVE write it, of which so many bytes up to MXCSR are stored: where nothing is pending, AMD's
/// processors give zeros for the pointers, or leave them out.
unsigned X86Cpu::fxsave_x87(u8* image, bool wide) const {
  store_fx_x87(image, wide);
  if (is_amd() && !(fpu_status() & kErrorSummary)) std::memset(image + kFxPointers, 0, kFxPointersEnd - kFxPointers);
  return leaves_fpu_pointers() ? kFxPointers : kFxPointersEnd;
}

void X86Cpu::fxrstor_x87(const u8* image, bool wide) {
  const FpuPointers before = fpu_pointers();
  load_fx_x87(image, wide);
  if (leaves_fpu_pointers()) set_fpu_pointers(before);
}

// --- FXSAVE ---------------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_fxsave(const u64* args) {
  const u64 address = args[0];
  if (!check_fpu_image_address(address, 16)) return 0;
  const unsigned vectors = is_code64() ? 16 : 8;
  // The last bytes are not written, but are part of the operand.
  if (memory_->probe(wrap_operand(address), 512, Access::Store, current_view()) != AccessStatus::Ok) return 0;
  u8 image[416] = {};
  const unsigned x87_bytes = fxsave_x87(image, args[1] != 0);
  image_put<u32>(image, kFxPointersEnd, guest_mxcsr());
  image_put<u32>(image, 28, kMxcsrMask);
  for (unsigned i = 0; i < vectors; ++i) std::memcpy(image + 160 + i * 16, s_->vec[i].bytes, 16);
  const auto store = [&](unsigned from, unsigned to) {
    memory_->store_bytes(wrap_operand(address + from), std::span<const u8>(image + from, to - from), current_view());
  };
  if (x87_bytes != kFxPointersEnd) store(0, x87_bytes);
  store(x87_bytes != kFxPointersEnd ? kFxPointersEnd : 0, 160 + vectors * 16);
  return 0;
}

u64 X86Cpu::helper_fxrstor(const u64* args) {
  const u64 address = args[0];
  if (!check_fpu_image_address(address, 16)) return 0;
  const unsigned vectors = is_code64() ? 16 : 8;
  if (memory_->probe(wrap_operand(address), 512, Access::Load, current_view()) != AccessStatus::Ok) return 0;
  u8 image[416];
  if (memory_->load_bytes(wrap_operand(address), std::span(image, 160 + vectors * 16), current_view()) !=
      AccessStatus::Ok)
    return 0;
  const u32 mxcsr = image_get<u32>(image, 24);
  if (mxcsr & ~kMxcsrMask) return raise_gp();
  set_mxcsr(mxcsr);
  fxrstor_x87(image, args[1] != 0);
  for (unsigned i = 0; i < vectors; ++i) std::memcpy(s_->vec[i].bytes, image + 160 + i * 16, 16);
  fp_masks_changed();
  return 0;
}

// --- FSAVE and FSTENV -----------------------------------------------------------------------------------------------

/// The environment: 28 bytes in the 32-bit format, 14 in the 16-bit one. SDM vol. 1, figures 8-9 to 8-12: in real and
/// virtual-8086 mode the pointers are linear, and the opcode shares a word with the upper bits of the first.
void X86Cpu::make_env_image(u8* out, unsigned bytes) const {
  FpuImage fpu(s_->hdr);
  const FpuPointers p = fpu_pointers();
  const bool is_linear = !is_protected();
  const u32 ip = u32(p.ip) + (is_linear ? u32(p.cs) << 4 : 0), dp = u32(p.dp) + (is_linear ? u32(p.ds) << 4 : 0);
  const u32 ip_high = (ip >> 16) << 12 | p.opcode, dp_high = (dp >> 16) << 12;
  if (bytes == 2) {
    image_put<u16>(out, 0, u16(s_->hdr.fpu_control));
    image_put<u16>(out, 2, fpu_status());
    image_put<u16>(out, 4, fpu.full_tags());
    image_put<u16>(out, 6, u16(ip));
    image_put<u16>(out, 8, is_linear ? u16(ip_high) : p.cs);
    image_put<u16>(out, 10, u16(dp));
    image_put<u16>(out, 12, is_linear ? u16(dp_high) : p.ds);
    return;
  }
  image_put<u32>(out, 0, 0xffff0000 | s_->hdr.fpu_control);
  image_put<u32>(out, 4, 0xffff0000 | fpu_status());
  image_put<u32>(out, 8, 0xffff0000 | fpu.full_tags());
  if (is_linear) {
    image_put<u32>(out, 12, 0xffff0000 | u16(ip));
    image_put<u32>(out, 16, ip_high & 0x0fffffff);
    image_put<u32>(out, 20, 0xffff0000 | u16(dp));
    image_put<u32>(out, 24, dp_high & 0x0fffffff);
    return;
  }
  image_put<u32>(out, 12, ip);
  image_put<u32>(out, 16, u32(p.opcode) << 16 | p.cs);
  image_put<u32>(out, 20, dp);
  image_put<u32>(out, 24, 0xffff0000 | p.ds);
}

void X86Cpu::load_env_image(const u8* image, unsigned bytes) {
  const unsigned stride = bytes == 2 ? 2 : 4;
  FpuImage fpu(s_->hdr);
  const u16 status = image_get<u16>(image, stride);
  fpu.set_control(image_get<u16>(image, 0));
  fpu.set_top(status >> 11 & 7);
  fpu.set_status(status);
  fpu.set_full_tags(image_get<u16>(image, stride * 2));
  FpuPointers p;
  if (!is_protected()) {
    const u32 ip_high = stride == 2 ? image_get<u16>(image, 8) : image_get<u32>(image, 16);
    const u32 dp_high = stride == 2 ? image_get<u16>(image, 12) : image_get<u32>(image, 24);
    p.ip = image_get<u16>(image, stride * 3) | (ip_high >> 12 & 0xffff) << 16;
    p.opcode = u16(ip_high & 0x7ff);
    p.dp = image_get<u16>(image, stride * 5) | (dp_high >> 12 & 0xffff) << 16;
  } else if (stride == 2) {
    p = {.ip = image_get<u16>(image, 6), .dp = image_get<u16>(image, 10), .cs = image_get<u16>(image, 8),
         .ds = image_get<u16>(image, 12)};
  } else {
    p = {.ip = image_get<u32>(image, 12), .dp = image_get<u32>(image, 20), .cs = image_get<u16>(image, 16),
         .ds = image_get<u16>(image, 24), .opcode = u16(image_get<u16>(image, 18) & 0x7ff)};
  }
  set_fpu_pointers(p);
}

u64 X86Cpu::helper_fstenv(const u64* args) {
  const unsigned bytes = unsigned(args[1]), size = bytes == 2 ? 14 : 28;
  u8 image[28];
  make_env_image(image, bytes);
  if (memory_->store_bytes(wrap_operand(args[0]), std::span<const u8>(image, size), current_view()) ==
      AccessStatus::Ok) {
    FpuImage(s_->hdr).set_control(u16(s_->hdr.fpu_control | kExceptionFlags));
    fp_masks_changed();
  }
  return 0;
}

u64 X86Cpu::helper_fldenv(const u64* args) {
  const unsigned bytes = unsigned(args[1]), size = bytes == 2 ? 14 : 28;
  u8 image[28];
  if (memory_->load_bytes(wrap_operand(args[0]), std::span(image, size), current_view()) == AccessStatus::Ok) {
    load_env_image(image, bytes);
    fp_masks_changed();
  }
  return 0;
}

u64 X86Cpu::helper_fsave(const u64* args) {
  const unsigned bytes = unsigned(args[1]), size = bytes == 2 ? 14 : 28;
  u8 image[28 + 80];
  make_env_image(image, bytes);
  FpuImage fpu(s_->hdr);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(image + size + i * 10, fpu.st(i), 10);
  if (memory_->store_bytes(wrap_operand(args[0]), std::span<const u8>(image, size + 80), current_view()) ==
      AccessStatus::Ok) {
    fpu.init();
    set_fpu_pointers({});
    fp_masks_changed();
  }
  return 0;
}

u64 X86Cpu::helper_frstor(const u64* args) {
  const unsigned bytes = unsigned(args[1]), size = bytes == 2 ? 14 : 28;
  u8 image[28 + 80];
  if (memory_->load_bytes(wrap_operand(args[0]), std::span(image, size + 80), current_view()) != AccessStatus::Ok)
    return 0;
  load_env_image(image, bytes);
  FpuImage fpu(s_->hdr);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(fpu.st(i), image + size + i * 10, 10);
  fp_masks_changed();
  return 0;
}

// --- Packed decimal -------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_fbld(const u64* args) {
  u8 digits[10];
  if (memory_->load_bytes(wrap_operand(args[0]), digits, current_view()) != AccessStatus::Ok) return 0;
  u64 value = 0;
  for (int i = 8; i >= 0; --i) value = value * 100 + (digits[i] >> 4) * 10u + (digits[i] & 15u);
  u16 exponent = 0;
  if (value != 0) {
    const int shift = std::countl_zero(value);
    exponent = u16(16383 + 63 - shift);
    value <<= shift;
  }
  FpuImage fpu(s_->hdr);
  const unsigned top = (fpu.top() - 1) & 7;
  u16 sign = digits[9] & 0x80 ? 0x8000 : 0;
  u16 status = u16(fpu.status() & ~0x200);
  if (fpu.tags() >> top & 1) {  // stack overflow
    status |= 0x241;            // C1, SF, IE
    fpu.set_status(status);
    if (!(s_->hdr.fpu_control & 1)) return 0;
    value = 0xc000000000000000;
    exponent = 0x7fff;
    sign = 0x8000;
  }
  fpu.set_status(status);
  fpu.set_top(top);
  fpu.set_tags(u8(fpu.tags() | 1 << top));
  image_put<u64>(fpu.st(0), 0, value);
  image_put<u16>(fpu.st(0), 8, u16(exponent | sign));
  return 0;
}

namespace {

struct Rounded {
  u64 value = 0;
  bool inexact = false, up = false, valid = true;
};

/// The register as an integer in rounding mode `rc` (SDM vol. 1, table 4-8).
Rounded round_to_integer(u64 significand, u16 sign_exponent, unsigned rc) {
  const bool negative = sign_exponent & 0x8000;
  const int exponent = (sign_exponent & 0x7fff) - 16383;
  if (exponent >= 63) return {.valid = false};
  if (!(significand >> 63) && (sign_exponent & 0x7fff) != 0) return {.valid = false};  // unnormal
  if (significand == 0) return {};
  Rounded r;
  u64 fraction = 0;  // scaled so that one half is 2^63
  bool sticky = false;
  if (exponent >= 0) {
    r.value = significand >> (63 - exponent);
    fraction = significand << (exponent + 1);
  } else if (exponent == -1) {
    fraction = significand;
  } else {
    sticky = true;
  }
  r.inexact = fraction != 0 || sticky;
  const u64 half = bit64(63);
  switch (rc) {
    case 0:
      r.up = fraction > half || (fraction == half && (r.value & 1));
      break;
    case 1:
      r.up = negative && r.inexact;
      break;
    case 2:
      r.up = !negative && r.inexact;
      break;
    default:
      break;
  }
  r.value += r.up;
  r.valid = r.value <= 999'999'999'999'999'999;
  return r;
}

}  // namespace

u64 X86Cpu::helper_fbstp(const u64* args) {
  FpuImage fpu(s_->hdr);
  const unsigned top = fpu.top();
  const u16 sign_exponent = image_get<u16>(fpu.st(0), 8);
  const bool empty = !(fpu.tags() >> top & 1);
  const Rounded rounded =
      empty ? Rounded{.valid = false}
            : round_to_integer(image_get<u64>(fpu.st(0), 0), sign_exponent, s_->hdr.fpu_control >> 10 & 3);
  u16 status = u16(fpu.status() & ~0x200);
  u8 digits[10] = {0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff};  // the indefinite
  if (!rounded.valid) {
    status = u16(status | 1 | (empty ? 0x40 : 0));
    if (!(s_->hdr.fpu_control & 1)) {
      if (memory_->probe(wrap_operand(args[0]), 10, Access::Store, current_view()) != AccessStatus::Ok) return 0;
      fpu.set_status(status);
      return 0;
    }
  } else {
    u64 rest = rounded.value;
    for (int i = 0; i < 9; ++i, rest /= 100) digits[i] = u8(rest / 10 % 10 << 4 | rest % 10);
    digits[9] = sign_exponent & 0x8000 ? 0x80 : 0;
    if (rounded.inexact) status = u16(status | 0x20 | (rounded.up ? 0x200 : 0));
  }
  if (memory_->store_bytes(wrap_operand(args[0]), digits, current_view()) != AccessStatus::Ok) return 0;
  fpu.set_status(status);
  fpu.set_tags(u8(fpu.tags() & ~(1 << top)));
  fpu.set_top((top + 1) & 7);
  return 0;
}

// --- MASKMOVDQU -----------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_maskmov(const u64* args) {
  const u8* source = s_->vec[args[1] & 15].bytes;
  const u8* mask = s_->vec[args[2] & 15].bytes;
  const u8 view = current_view();
  const ElementBase base = ElementBase::unpack(args[1] >> 8);
  u64 to[16] = {};
  // Whatever the mask says, and of eight bytes: what the processors at hand do. The manual leaves it open.
  if (!base.linear(*this, args[0], 0, 1, true, to[0]) || !check_alignment(to[0], 8, view)) return 0;
  for (unsigned i = 0; i < 16; ++i) {
    if (!(mask[i] & 0x80)) continue;
    if (!base.linear(*this, args[0], i, 1, true, to[i])) return 0;
    if (memory_->probe(to[i], 1, target::Access::Store, view) != AccessStatus::Ok) return 0;
  }
  for (unsigned i = 0; i < 16; ++i) {
    if ((mask[i] & 0x80) && !write(to[i], 1, view, source[i])) return 0;
  }
  return 0;
}

}  // namespace emu::x86
