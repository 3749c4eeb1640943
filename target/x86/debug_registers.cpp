// SPDX-License-Identifier: Apache-2.0
// Numbering: GDB manual, "i386 Features". Segment bases, control and debug registers are in a feature of our own.
#include "target/x86/debug_registers.h"

#include <cstring>
#include <optional>

#include "target/x86/cpu.h"
#include "target/x86/eflags.h"
#include "target/x86/fpu_image.h"
#include "target/x86/mode_key.h"
#include "util/check.h"

namespace emu::x86 {

using target::DebugFeature;
using target::DebugRegister;

namespace {

/// What a number stands for.
enum class Kind : u8 {
  Gpr,
  Ip,
  Flags,
  Selector,
  St,
  Fpu,
  Xmm,
  Mxcsr,
  YmmHigh,
  ZmmHigh,
  Opmask,
  Pkru,
  SegmentBase,
  KernelGsBase,
  Control,
  Cr8,
  Efer,
  Xcr0,
  Debug,
  TableBase,
  TableLimit
};
struct Row {
  Kind kind;
  u8 index = 0;
  u8 bytes = 8;
};

constexpr const char* kNames64[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
constexpr Gpr kOrder64[] = {RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15};
constexpr const char* kNames32[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
constexpr const char* kSelectors[] = {"cs", "ss", "ds", "es", "fs", "gs"};
constexpr Seg kSelectorOrder[] = {CS, SS, DS, ES, FS, GS};
enum FpuWord : u8 { kControl, kStatus, kTags, kCodeSegment, kCodeOffset, kDataSegment, kDataOffset, kOpcode };
constexpr const char* kFpuWords[] = {"fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"};

/// A bit, or a field of several. The highest comes first, as in the manual's drawings and as gdb then shows them.
struct FlagBits {
  const char* name;
  unsigned low;
  unsigned high = low;
};

std::string flags_type(const char* id, unsigned bytes, std::span<const FlagBits> bits) {
  std::string xml = fmt::format("<flags id=\"{}\" size=\"{}\">", id, bytes);
  for (const FlagBits& f : bits) {
    xml += fmt::format("<field name=\"{}\" start=\"{}\" end=\"{}\"{}/>", f.name, f.low, f.high,
                       f.low == f.high ? "" : " type=\"uint32\"");
  }
  return xml + "</flags>\n";
}

constexpr FlagBits kEflagsBits[] = {{"ID", 21}, {"VIP", 20}, {"VIF", 19}, {"AC", 18}, {"VM", 17},       {"RF", 16},
                                    {"NT", 14}, {"IOPL", 12, 13}, {"OF", 11}, {"DF", 10}, {"IF", 9},   {"TF", 8},
                                    {"SF", 7},  {"ZF", 6},   {"AF", 4},   {"PF", 2},  {"", 1},         {"CF", 0}};
constexpr FlagBits kMxcsrBits[] = {{"IE", 0}, {"DE", 1}, {"ZE", 2}, {"OE", 3},  {"UE", 4},  {"PE", 5},  {"DAZ", 6},
                                   {"IM", 7}, {"DM", 8}, {"ZM", 9}, {"OM", 10}, {"UM", 11}, {"PM", 12}, {"FZ", 15}};
constexpr FlagBits kCr0Bits[] = {{"PG", 31}, {"CD", 30}, {"NW", 29}, {"AM", 18}, {"WP", 16}, {"NE", 5},
                                 {"ET", 4},  {"TS", 3},  {"EM", 2},  {"MP", 1},  {"PE", 0}};
constexpr FlagBits kCr4Bits[] = {{"PKE", 22},      {"SMAP", 21}, {"SMEP", 20}, {"OSXSAVE", 18}, {"PCIDE", 17},
                                 {"FSGSBASE", 16}, {"VMXE", 13}, {"LA57", 12}, {"UMIP", 11},    {"OSXMMEXCPT", 10},
                                 {"OSFXSR", 9},    {"PCE", 8},   {"PGE", 7},   {"MCE", 6},      {"PAE", 5},
                                 {"PSE", 4},       {"DE", 3},    {"TSD", 2},   {"PVI", 1},      {"VME", 0}};
constexpr FlagBits kEferBits[] = {{"NXE", 11}, {"LMA", 10}, {"LME", 8}, {"SCE", 0}};

constexpr const char* kVectorTypes =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>\n"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>\n"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>\n"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>\n"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>\n"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>\n"
    "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
    "<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
    "<field name=\"uint128\" type=\"uint128\"/></union>\n";

}  // namespace

/// What of X86Cpu a debugger reaches. Fields as the manual has them, checks as the CPU makes them.
struct DebugRegisterAccess {
  X86Cpu& cpu;
  X86State& s = cpu.state();

  u64 ip() const { return cpu.instruction_pointer(); }
  void set_ip(u64 value) const {
    const u64 linear = value + (is_code64(s) ? 0 : s.segment_base(CS));
    if (linear == s.hdr.pc) return;
    s.hdr.pc = cpu.wrap_linear(linear);
    s.inhibit_interrupts = 0;
    if (cpu.halt_ == target::Halt::Halted) cpu.halt_ = target::Halt::Running;  // it was sent elsewhere
    cpu.update_mode();
  }
  void set_flags(u64 value) const {
    write_rflags(s, value, kAllFlags & ~u64(kVM));  // VM would need other segments
    cpu.update_mode();
  }
  bool set_selector(Seg seg, u16 selector) const {
    if (selector == s.seg[seg].selector) return true;
    if (seg >= LDTR || cpu.is_protected()) return false;  // what the descriptor says would have to fit the mode
    const u64 offset = ip();
    cpu.set_real_segment(seg, selector);
    if (seg == CS) set_ip(offset);
    cpu.update_mode();
    return true;
  }
  bool set_base(Seg seg, u64 base) const {
    if (cpu.is_long_mode() ? !cpu.is_canonical(base) : base >> 32 != 0) return false;
    if (base == s.segment_base(seg)) return true;
    const Segment& now = s.seg[seg];
    cpu.set_segment(seg, now.selector, base, now.limit, now.attributes);
    cpu.update_mode();
    return true;
  }
  /// The guest has enabled them; otherwise the CPU's own instructions would not keep them in order.
  bool has_avx512_state() const { return has_avx512(s); }
  /// From the first bit above the 255th on, instructions have to keep what is there.
  void set_zmm_high(unsigned i, std::span<const u8> value) const {
    std::memcpy(s.vec[i].bytes + 32, value.data(), 32);
    if (!s.avx512_live) cpu.enter_avx512();
  }
  void set_pkru(u32 value) const { cpu.set_pkru(value); }
  /// A refused write leaves a fault pending; the debugger's is not the guest's.
  bool checked(bool done) const {
    if (!done) cpu.pending_ = {};
    return done;
  }
  bool set_control(unsigned index, u64 value) const {
    switch (index) {
      case 0:
        return value == s.cr0 || checked(cpu.write_cr0(value));
      case 2:
        s.cr2 = value;
        return true;
      case 3:
        return value == s.cr3 || checked(cpu.write_cr3(value));
      default:
        return value == s.cr4 || checked(cpu.write_cr4(value));
    }
  }
  bool set_efer(u64 value) const { return value == s.efer || checked(cpu.write_efer(value)); }
  u32 mxcsr() const { return cpu.guest_mxcsr(); }
  void set_mxcsr(u32 value) const { cpu.set_mxcsr(value & 0xffff); }
  u64 cr8() const { return cpu.port_ == nullptr ? 0 : cpu.port_->task_priority(); }
  bool set_cr8(u64 value) const {
    if (value == cr8()) return true;
    if (value > 15 || cpu.port_ == nullptr) return false;
    cpu.port_->set_task_priority(u8(value));
    return true;
  }
  u32 fpu_word(unsigned word) const {
    FpuImage fpu(s.hdr);
    const FpuPointers pointers = cpu.fpu_pointers();
    switch (FpuWord(word)) {
      case kControl:
        return s.hdr.fpu_control & 0xffff;
      case kStatus:
        return fpu.guest_status();
      case kTags:
        return fpu.full_tags();
      case kCodeSegment:
        return has_selectors() ? pointers.cs : u32(pointers.ip >> 32);
      case kCodeOffset:
        return u32(pointers.ip);
      case kDataSegment:
        return has_selectors() ? pointers.ds : u32(pointers.dp >> 32);
      case kDataOffset:
        return u32(pointers.dp);
      case kOpcode:
        return pointers.opcode;
    }
    return 0;
  }
  void set_fpu_word(unsigned word, u32 value) const {
    FpuImage fpu(s.hdr);
    FpuPointers pointers = cpu.fpu_pointers();
    switch (FpuWord(word)) {
      case kControl:
        return fpu.set_control(u16(value));
      case kStatus:
        return fpu.set_status(u16(value));
      case kTags:
        return fpu.set_full_tags(u16(value));
      case kCodeSegment:
        if (has_selectors())
          pointers.cs = u16(value);
        else
          pointers.ip = u32(pointers.ip) | u64(value) << 32;
        break;
      case kCodeOffset:
        pointers.ip = (pointers.ip & ~low_mask(32)) | value;
        break;
      case kDataSegment:
        if (has_selectors())
          pointers.ds = u16(value);
        else
          pointers.dp = u32(pointers.dp) | u64(value) << 32;
        break;
      case kDataOffset:
        pointers.dp = (pointers.dp & ~low_mask(32)) | value;
        break;
      case kOpcode:
        pointers.opcode = u16(value & 0x7ff);
        break;
    }
    cpu.set_fpu_pointers(pointers);
  }
  /// As FXSAVE64 has it, the upper halves of addresses take the selectors' place.
  bool has_selectors() const { return !is_code64(s); }
  u8* st(unsigned i) const { return FpuImage(s.hdr).st(i); }
};

namespace {

class X86DebugRegisters final : public target::DebugRegisters {
 public:
  explicit X86DebugRegisters(X86Cpu& cpu) : cpu_(cpu), is_wide_(cpu.has(Cpuid::Lm)) {
    add_core();
    add_sse();
    if (cpu.has(Cpuid::Avx)) add_avx();
    add_bases();
    if (cpu.has(Cpuid::Avx) && cpu.has(Cpuid::Avx512f)) add_avx512();
    if (cpu.has(Cpuid::Pku)) add_pkeys();
    add_system();
  }

  const std::string& architecture() const override { return architecture_; }
  const std::vector<DebugFeature>& features() const override { return features_; }

  void read(unsigned number, std::span<u8> value) const override {
    EMU_CHECK(number < rows_.size() && value.size() == rows_[number].bytes);
    const Row row = rows_[number];
    const X86State& s = cpu_.state();
    if (row.kind == Kind::St) {
      std::memcpy(value.data(), access().st(row.index), 10);
    } else if (const std::optional<unsigned> at = vector_offset(row.kind)) {
      std::memcpy(value.data(), s.vec[row.index].bytes + *at, row.bytes);
    } else {
      const u64 word = read_word(row);
      std::memcpy(value.data(), &word, row.bytes);
    }
  }

  bool write(unsigned number, std::span<const u8> value) override {
    EMU_CHECK(number < rows_.size() && value.size() == rows_[number].bytes);
    const Row row = rows_[number];
    X86State& s = cpu_.state();
    if (row.kind == Kind::St) {
      std::memcpy(access().st(row.index), value.data(), 10);
      return true;
    }
    if (const std::optional<unsigned> at = vector_offset(row.kind)) {
      u8* const there = s.vec[row.index].bytes + *at;
      if (std::memcmp(there, value.data(), row.bytes) == 0) return true;
      const bool is_avx512 = row.kind == Kind::ZmmHigh || row.index >= 16;
      if (is_avx512 && !access().has_avx512_state()) return false;
      if (row.kind == Kind::ZmmHigh) {
        access().set_zmm_high(row.index, value);
      } else {
        std::memcpy(there, value.data(), row.bytes);
      }
      return true;
    }
    u64 word = 0;
    std::memcpy(&word, value.data(), row.bytes);
    return write_word(row, word);
  }

 private:
  DebugRegisterAccess access() const { return DebugRegisterAccess{cpu_}; }

  /// Where in its slot a part of a vector register is.
  static std::optional<unsigned> vector_offset(Kind kind) {
    switch (kind) {
      case Kind::Xmm:
        return 0;
      case Kind::YmmHigh:
        return 16;
      case Kind::ZmmHigh:
        return 32;
      default:
        return std::nullopt;
    }
  }

  u64 read_word(Row row) const {
    const X86State& s = cpu_.state();
    const DebugRegisterAccess a = access();
    switch (row.kind) {
      case Kind::Gpr:
        return s.gpr(row.index);
      case Kind::Ip:
        return a.ip();
      case Kind::Flags:
        return read_rflags(s);
      case Kind::Selector:
        return s.seg[row.index].selector;
      case Kind::Fpu:
        return a.fpu_word(row.index);
      case Kind::Mxcsr:
        return a.mxcsr();
      case Kind::SegmentBase:
        return s.segment_base(row.index);
      case Kind::KernelGsBase:
        return s.kernel_gs_base;
      case Kind::Control:
        return row.index == 0 ? s.cr0 : row.index == 2 ? s.cr2 : row.index == 3 ? s.cr3 : s.cr4;
      case Kind::Cr8:
        return a.cr8();
      case Kind::Efer:
        return s.efer;
      case Kind::Xcr0:
        return s.xcr0;
      case Kind::Debug:
        return s.dr[row.index];
      case Kind::TableBase:
        return row.index == 0 ? s.gdt.base : s.idt.base;
      case Kind::TableLimit:
        return row.index == 0 ? s.gdt.limit : s.idt.limit;
      case Kind::Opmask:
        return s.opmask[row.index];
      case Kind::Pkru:
        return s.pkru;
      case Kind::St:
      case Kind::Xmm:
      case Kind::YmmHigh:
      case Kind::ZmmHigh:
        break;
    }
    return 0;
  }

  bool write_word(Row row, u64 value) {
    X86State& s = cpu_.state();
    const DebugRegisterAccess a = access();
    switch (row.kind) {
      case Kind::Gpr:
        s.gpr(row.index) = value;
        return true;
      case Kind::Ip:
        a.set_ip(value);
        return true;
      case Kind::Flags:
        a.set_flags(value);
        return true;
      case Kind::Selector:
        return a.set_selector(Seg(row.index), u16(value));
      case Kind::Fpu:
        a.set_fpu_word(row.index, u32(value));
        return true;
      case Kind::Mxcsr:
        a.set_mxcsr(u32(value));
        return true;
      case Kind::Opmask:
        if (value != s.opmask[row.index] && !a.has_avx512_state()) return false;
        s.opmask[row.index] = value;
        return true;
      case Kind::Pkru:
        if (u32(value) != s.pkru) a.set_pkru(u32(value));
        return true;
      case Kind::SegmentBase:
        return a.set_base(Seg(row.index), value);
      case Kind::KernelGsBase:
        s.kernel_gs_base = value;
        return true;
      case Kind::Control:
        return a.set_control(row.index, value);
      case Kind::Cr8:
        return a.set_cr8(value);
      case Kind::Efer:
        return a.set_efer(value);
      default:
        return value == read_word(row);  // to be looked at only
    }
  }

  DebugFeature& feature(const char* name, std::string file, std::string types = {}) {
    features_.push_back({name, std::move(file), std::move(types), {}});
    return features_.back();
  }
  void add(DebugFeature& to, std::string name, unsigned bits, const char* type, Row row, const char* group = "") {
    row.bytes = u8(bits / 8);
    to.registers.push_back({std::move(name), bits, type, group});
    rows_.push_back(row);
  }
  std::string file(const char* part) const { return fmt::format("{}bit-{}.xml", is_wide_ ? 64 : 32, part); }

  void add_core() {
    architecture_ = is_wide_ ? "i386:x86-64" : "i386";
    DebugFeature& f = feature("org.gnu.gdb.i386.core", file("core"), flags_type("i386_eflags", 4, kEflagsBits));
    const unsigned bits = is_wide_ ? 64 : 32;
    for (unsigned i = 0; i < (is_wide_ ? 16u : 8u); ++i) {
      const Gpr r = is_wide_ ? kOrder64[i] : Gpr(i);
      const char* type = r == RSP || r == RBP ? "data_ptr" : is_wide_ ? "int64" : "int32";
      add(f, is_wide_ ? kNames64[i] : kNames32[i], bits, type, {Kind::Gpr, r});
    }
    add(f, is_wide_ ? "rip" : "eip", bits, "code_ptr", {Kind::Ip});
    add(f, "eflags", 32, "i386_eflags", {Kind::Flags});
    for (unsigned i = 0; i < 6; ++i) add(f, kSelectors[i], 32, "int32", {Kind::Selector, kSelectorOrder[i]});
    for (unsigned i = 0; i < 8; ++i) add(f, fmt::format("st{}", i), 80, "i387_ext", {Kind::St, u8(i)});
    for (unsigned i = 0; i < 8; ++i) add(f, kFpuWords[i], 32, "int", {Kind::Fpu, u8(i)}, "float");
  }
  void add_sse() {
    DebugFeature& f =
        feature("org.gnu.gdb.i386.sse", file("sse"), kVectorTypes + flags_type("i386_mxcsr", 4, kMxcsrBits));
    for (unsigned i = 0; i < vectors(); ++i) add(f, fmt::format("xmm{}", i), 128, "vec128", {Kind::Xmm, u8(i)});
    add(f, "mxcsr", 32, "i386_mxcsr", {Kind::Mxcsr}, "vector");
  }
  void add_avx() {
    DebugFeature& f = feature("org.gnu.gdb.i386.avx", file("avx"));
    for (unsigned i = 0; i < vectors(); ++i) add(f, fmt::format("ymm{}h", i), 128, "uint128", {Kind::YmmHigh, u8(i)});
  }
  void add_avx512() {
    DebugFeature& f = feature("org.gnu.gdb.i386.avx512", file("avx512"),
                              std::string(kVectorTypes) + "<vector id=\"v2ui128\" type=\"uint128\" count=\"2\"/>\n");
    for (unsigned i = 16; is_wide_ && i < 32; ++i) add(f, fmt::format("xmm{}", i), 128, "vec128", {Kind::Xmm, u8(i)});
    for (unsigned i = 16; is_wide_ && i < 32; ++i)
      add(f, fmt::format("ymm{}h", i), 128, "uint128", {Kind::YmmHigh, u8(i)});
    for (unsigned i = 0; i < 8; ++i) add(f, fmt::format("k{}", i), 64, "uint64", {Kind::Opmask, u8(i)});
    for (unsigned i = 0; i < 2 * vectors(); ++i) {
      if (is_wide_ || i < 8) add(f, fmt::format("zmm{}h", i), 256, "v2ui128", {Kind::ZmmHigh, u8(i)});
    }
  }
  void add_pkeys() {
    DebugFeature& f = feature("org.gnu.gdb.i386.pkeys", file("pkeys"));
    add(f, "pkru", 32, "uint32", {Kind::Pkru});
  }
  void add_bases() {
    if (!is_wide_) return;
    DebugFeature& f = feature("org.gnu.gdb.i386.segments", file("segments"));
    add(f, "fs_base", 64, "int", {Kind::SegmentBase, FS});
    add(f, "gs_base", 64, "int", {Kind::SegmentBase, GS});
  }
  void add_system() {
    DebugFeature& f = feature("org.system-emu.x86.system", file("system"),
                              flags_type("x86_cr0", 8, kCr0Bits) + flags_type("x86_cr4", 8, kCr4Bits) +
                                  flags_type("x86_efer", 8, kEferBits));
    add(f, "k_gs_base", 64, "int64", {Kind::KernelGsBase}, "system");
    add(f, "cr0", 64, "x86_cr0", {Kind::Control, 0}, "system");
    add(f, "cr2", 64, "int64", {Kind::Control, 2}, "system");
    add(f, "cr3", 64, "int64", {Kind::Control, 3}, "system");
    add(f, "cr4", 64, "x86_cr4", {Kind::Control, 4}, "system");
    add(f, "cr8", 64, "int64", {Kind::Cr8}, "system");
    add(f, "efer", 64, "x86_efer", {Kind::Efer}, "system");
    add(f, "xcr0", 64, "int64", {Kind::Xcr0}, "system");
    add(f, "es_base", 64, "int64", {Kind::SegmentBase, ES}, "system");
    add(f, "cs_base", 64, "int64", {Kind::SegmentBase, CS}, "system");
    add(f, "ss_base", 64, "int64", {Kind::SegmentBase, SS}, "system");
    add(f, "ds_base", 64, "int64", {Kind::SegmentBase, DS}, "system");
    add(f, "tr", 32, "int32", {Kind::Selector, TR}, "system");
    add(f, "tr_base", 64, "int64", {Kind::SegmentBase, TR}, "system");
    add(f, "ldtr", 32, "int32", {Kind::Selector, LDTR}, "system");
    add(f, "ldtr_base", 64, "int64", {Kind::SegmentBase, LDTR}, "system");
    add(f, "gdt_base", 64, "int64", {Kind::TableBase, 0}, "system");
    add(f, "gdt_limit", 32, "int32", {Kind::TableLimit, 0}, "system");
    add(f, "idt_base", 64, "int64", {Kind::TableBase, 1}, "system");
    add(f, "idt_limit", 32, "int32", {Kind::TableLimit, 1}, "system");
    for (const u8 i : {0, 1, 2, 3, 6, 7}) add(f, fmt::format("dr{}", i), 64, "int64", {Kind::Debug, i}, "system");
  }
  unsigned vectors() const { return is_wide_ ? 16 : 8; }

  X86Cpu& cpu_;
  const bool is_wide_;
  std::string architecture_;
  std::vector<DebugFeature> features_;
  std::vector<Row> rows_;
};

}  // namespace

std::unique_ptr<target::DebugRegisters> make_debug_registers(target::Vcpu& cpu) {
  return std::make_unique<X86DebugRegisters>(static_cast<X86Cpu&>(cpu));
}

}  // namespace emu::x86
