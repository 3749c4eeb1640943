// SPDX-License-Identifier: Apache-2.0
// XSAVE and its relatives, XCR0 and the components. SDM vol. 1, chapter 13.
//
// XINUSE is found by looking: a component is in use if it is not in its initial configuration. XMODIFIED is not
// tracked, which the manual allows: what is in use counts as modified.
#include <algorithm>
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/fpu_image.h"

namespace emu::x86 {

using target::AccessStatus;

namespace {

constexpr u32 kMxcsrMask = 0xffff, kMxcsrInitial = 0x1f80;
constexpr u64 kXstateBv = 512, kXcompBv = 520, kLegacyEnd = 512, kHeaderEnd = 576;
constexpr u64 kCompact = bit64(63);
constexpr u64 kX87 = 1, kSse = 2, kAvx = 4, kOpmask = 0x20, kZmmHigh = 0x40, kHigh16 = 0x80, kPkru = 0x200;
constexpr u64 kAvx512 = kOpmask | kZmmHigh | kHigh16;

/// Components beyond the legacy region.
struct Component {
  unsigned number;
  u32 size;
  u32 offset;     ///< in the standard format
  Cpuid feature;  ///< what brings it
};
constexpr Component kComponents[] = {{2, 256, 576, Cpuid::Avx},
                                     {5, 64, 1088, Cpuid::Avx512f},
                                     {6, 512, 1152, Cpuid::Avx512f},
                                     {7, 1024, 1664, Cpuid::Avx512f},
                                     {9, 8, 2688, Cpuid::Pku}};
constexpr u32 kLargest = 1024;

enum Kind : u64 { kXsave = 0, kXsaveopt = 1, kXsavec = 2, kXsaves = 3 };

/// Where components lie: as in the standard format, or one after the other as XCOMP_BV says.
u64 offset_of(const Component& component, u64 layout) {
  if (!(layout & kCompact)) return component.offset;
  u64 offset = kHeaderEnd;
  for (const Component& c : kComponents) {
    if (c.number == component.number) break;
    if (layout >> c.number & 1) offset += c.size;
  }
  return offset;
}

/// A component's registers: so many pieces of so many bytes, `stride` apart.
struct Pieces {
  u8* first;
  u32 count, bytes, stride;
};
Pieces pieces_of(X86State& s, unsigned component, bool code64) {
  const u32 low = code64 ? 16 : 8;
  switch (component) {
    case 2:
      return {s.vec[0].bytes + 16, low, 16, 64};
    case 5:
      return {reinterpret_cast<u8*>(s.opmask), 8, 8, 8};
    case 6:
      return {s.vec[0].bytes + 32, low, 32, 64};
    case 9:
      return {reinterpret_cast<u8*>(&s.pkru), 1, 4, 8};
    default:
      return {s.vec[16].bytes, code64 ? 16u : 0u, 64, 64};
  }
}

bool is_zero(const u8* bytes, size_t n) {
  return std::all_of(bytes, bytes + n, [](u8 b) { return b == 0; });
}

}  // namespace

// ---- XCR0 and sizes -------------------------------------------------------------------------------------------------

u64 X86Cpu::xcr0_valid_bits() const {
  u64 valid = kX87 | kSse;
  for (const Component& c : kComponents)
    if (has(c.feature)) valid |= bit64(c.number);
  return valid;
}

/// Bytes of an area for these components.
u32 X86Cpu::xsave_area_bytes(u64 components, bool compact) const {
  u64 end = kHeaderEnd;
  for (const Component& c : kComponents) {
    if (components >> c.number & 1) end = offset_of(c, compact ? components | kCompact : 0) + c.size;
  }
  return u32(end);
}

CpuidResult X86Cpu::cpuid_xsave(u32 subleaf) const {
  if (!has(Cpuid::Xsave)) return {};
  const u64 valid = xcr0_valid_bits();
  const u32 features = config_.model.features.word(FeatureWord::LeafD1Eax);
  if (subleaf == 0) return {u32(valid), xsave_area_bytes(s_->xcr0, false), xsave_area_bytes(valid, false), 0};
  if (subleaf == 1) return {features, has(Cpuid::Xsavec) ? xsave_area_bytes(s_->xcr0, true) : 0u, 0, 0};
  for (const Component& c : kComponents) {
    if (c.number == subleaf && (valid >> subleaf & 1)) return {c.size, c.offset, 0, 0};
  }
  return {};
}

u64 X86Cpu::helper_xgetbv(const u64*) {
  const u32 index = u32(s_->gpr(RCX));
  if (!(s_->cr4 & kCr4OSXSAVE)) return raise(kUD);
  if (index > 1 || (index == 1 && !has(Cpuid::Xgetbv1))) return raise_gp();
  const u64 value = index == 0 ? s_->xcr0 : s_->xcr0 & xinuse();
  s_->gpr(RAX) = u32(value);
  s_->gpr(RDX) = value >> 32;
  return value;
}

u64 X86Cpu::helper_xsetbv(const u64*) {
  const u64 value = u64(u32(s_->gpr(RDX))) << 32 | u32(s_->gpr(RAX));
  if (!(s_->cr4 & kCr4OSXSAVE)) return raise(kUD);
  if (!require_cpl0()) return 0;
  if (u32(s_->gpr(RCX)) != 0 || !(value & kX87) || (value & ~xcr0_valid_bits())) return raise_gp();
  if ((value & kAvx) && !(value & kSse)) return raise_gp();
  if ((value & kAvx512) && (value & (kAvx512 | kAvx)) != (kAvx512 | kAvx)) return raise_gp();
  s_->xcr0 = value;
  update_mode();
  return 0;
}

// ---- Components -----------------------------------------------------------------------------------------------------

u64 X86Cpu::xinuse() const {
  u64 used = 0;
  const FpuImage fpu(s_->hdr);
  const bool pointers = fpu_pointers() != FpuPointers{};
  bool registers = false;
  for (unsigned i = 0; i < 8; ++i) registers |= !is_zero(s_->hdr.fpu_image + 32 + i * 16, 10);
  if (u16(s_->hdr.fpu_control) != 0x37f || fpu.status() != 0 || fpu.tags() != 0 || pointers || registers) used |= kX87;
  for (unsigned i = 0; i < 16; ++i) {
    if (!is_zero(s_->vec[i].bytes, 16)) used |= kSse;
  }
  for (const Component& c : kComponents) {
    if (!(s_->xcr0 >> c.number & 1) && c.number != 2) continue;
    const Pieces p = pieces_of(*s_, c.number, true);
    for (u32 i = 0; i < p.count; ++i)
      if (!is_zero(p.first + i * p.stride, p.bytes)) used |= bit64(c.number);
  }
  return used;
}

// ---- XSAVE ----------------------------------------------------------------------------------------------------------

/// The legacy region's parts. MXCSR goes with SSE, and in the standard format also with AVX.
bool X86Cpu::store_xsave_legacy(u64 address, u64 saved, bool mxcsr, bool wide, u8 view) {
  const unsigned vectors = is_code64() ? 16 : 8;
  u8 image[416] = {};
  const unsigned x87_bytes = fxsave_x87(image, wide);
  image_put<u32>(image, 24, guest_mxcsr());
  image_put<u32>(image, 28, kMxcsrMask);
  for (unsigned i = 0; i < vectors; ++i) std::memcpy(image + 160 + i * 16, s_->vec[i].bytes, 16);
  const auto store = [&](unsigned from, unsigned to) {
    return memory_->store_bytes(wrap_operand(address + from), std::span<const u8>(image + from, to - from), view) ==
           AccessStatus::Ok;
  };
  if ((saved & kX87) && (!store(0, x87_bytes) || !store(32, 160))) return false;
  if (mxcsr && !store(24, 32)) return false;
  return !(saved & kSse) || store(160, 160 + vectors * 16);
}

u64 X86Cpu::helper_xsave(const u64* args) {
  const u64 address = args[0], kind = args[2];
  const bool compact = kind >= kXsavec, optimises = kind != kXsave;
  if (kind == kXsaves && !require_cpl0()) return 0;
  if (!check_fpu_image_address(address, 64)) return 0;
  const u64 wanted = (u64(u32(s_->gpr(RDX))) << 32 | u32(s_->gpr(RAX))) & s_->xcr0;
  u64 used = xinuse();
  if (guest_mxcsr() != kMxcsrInitial) used |= kSse;
  const u64 saved = optimises ? wanted & used : wanted;
  const u64 layout = compact ? wanted | kCompact : 0;
  const u8 view = current_view();
  u64 present = 0;
  if (!compact && !read(wrap_operand(address + kXstateBv), 8, view, present)) return 0;
  // Everything must be writable before anything is written.
  const u32 bytes = xsave_area_bytes(wanted, compact);
  if (memory_->probe(wrap_operand(address), bytes, target::Access::Store, view) != AccessStatus::Ok) return 0;
  const bool mxcsr = compact ? (saved & kSse) != 0 : (wanted & (kSse | kAvx)) != 0;
  if (!store_xsave_legacy(address, saved, mxcsr, args[1] != 0, view)) return 0;
  for (const Component& c : kComponents) {
    if (!(saved >> c.number & 1)) continue;
    const Pieces p = pieces_of(*s_, c.number, is_code64());
    if (p.count == 0) continue;
    u8 bytes_of[kLargest] = {};
    for (u32 i = 0; i < p.count; ++i) std::memcpy(bytes_of + i * p.bytes, p.first + i * p.stride, p.bytes);
    const u64 to = wrap_operand(address + offset_of(c, layout));
    const std::span<const u8> image(bytes_of, std::max(p.count * p.bytes, 8u));  // PKRU's upper half is zero
    if (memory_->store_bytes(to, image, view) != AccessStatus::Ok) return 0;
  }
  const u64 now = wanted & used;
  if (!write(wrap_operand(address + kXstateBv), 8, view, compact ? now : (present & ~wanted) | now)) return 0;
  if (compact) write(wrap_operand(address + kXcompBv), 8, view, layout);
  return 0;
}

// ---- XRSTOR ---------------------------------------------------------------------------------------------------------

/// The header's rules: 13.8 and 13.12. `image` holds the first 576 bytes.
bool X86Cpu::is_valid_xsave_header(const u8* image, bool supervisor) const {
  const u64 present = image_get<u64>(image, kXstateBv), layout = image_get<u64>(image, kXcompBv);
  const bool compact = layout & kCompact;
  if (supervisor && !compact) return false;
  if (present & ~s_->xcr0) return false;
  if (!compact) return layout == 0 && is_zero(image + 528, 8);
  if ((layout & ~kCompact & ~s_->xcr0) || (present & ~layout)) return false;
  return has(Cpuid::Xsavec) && is_zero(image + 528, 48);
}

u64 X86Cpu::helper_xrstor(const u64* args) {
  const u64 address = args[0];
  const bool supervisor = args[2] != 0;
  if (supervisor && !require_cpl0()) return 0;
  if (!check_fpu_image_address(address, 64)) return 0;
  const u64 wanted = (u64(u32(s_->gpr(RDX))) << 32 | u32(s_->gpr(RAX))) & s_->xcr0;
  const unsigned vectors = is_code64() ? 16 : 8;
  const u8 view = current_view();
  u8 image[kHeaderEnd];
  if (memory_->load_bytes(wrap_operand(address), image, view) != AccessStatus::Ok) return 0;
  if (!is_valid_xsave_header(image, supervisor)) return raise_gp();
  const u64 present = image_get<u64>(image, kXstateBv), layout = image_get<u64>(image, kXcompBv);
  const bool compact = layout & kCompact;
  u8 loaded[std::size(kComponents)][kLargest];  // all of them before anything changes
  for (size_t n = 0; n < std::size(kComponents); ++n) {
    const Component& c = kComponents[n];
    const Pieces p = pieces_of(*s_, c.number, is_code64());
    if (!(wanted >> c.number & 1) || p.count == 0) continue;
    if (!(present >> c.number & 1)) {
      std::memset(loaded[n], 0, p.count * p.bytes);
      continue;
    }
    const u64 from = wrap_operand(address + offset_of(c, layout));
    if (memory_->load_bytes(from, std::span(loaded[n], p.count * p.bytes), view) != AccessStatus::Ok) return 0;
  }
  const u32 mxcsr = image_get<u32>(image, 24);
  const bool loads_mxcsr = compact ? (wanted & present & kSse) != 0 : (wanted & (kSse | kAvx)) != 0;
  if (loads_mxcsr && (mxcsr & ~kMxcsrMask)) return raise_gp();

  if (wanted & present & kX87) {
    fxrstor_x87(image, args[1] != 0);
  } else if (wanted & kX87) {
    init_fpu();
  }
  if (loads_mxcsr)
    set_mxcsr(mxcsr);
  else if (wanted & kSse)
    set_mxcsr(kMxcsrInitial);
  for (unsigned i = 0; i < vectors; ++i) {
    u8* vector = s_->vec[i].bytes;
    if (wanted & present & kSse)
      std::memcpy(vector, image + 160 + i * 16, 16);
    else if (wanted & kSse)
      std::memset(vector, 0, 16);
  }
  for (size_t n = 0; n < std::size(kComponents); ++n) {
    const unsigned number = kComponents[n].number;
    const Pieces p = pieces_of(*s_, number, is_code64());
    if (number == 9 && (wanted & kPkru)) {
      set_pkru(image_get<u32>(loaded[n], 0));
      continue;
    }
    if (!(wanted >> number & 1)) continue;
    for (u32 i = 0; i < p.count; ++i) std::memcpy(p.first + i * p.stride, loaded[n] + i * p.bytes, p.bytes);
  }
  // What has no upper halves runs as if there were none, until it uses them.
  if ((wanted & kZmmHigh) && is_code64()) s_->avx512_live = (present & kZmmHigh) != 0;
  fp_masks_changed();
  return 0;
}

}  // namespace emu::x86
