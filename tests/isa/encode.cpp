// SPDX-License-Identifier: Apache-2.0
// Rows to instruction bytes. What comes out is decoded again: the decoder has the last word on what it is.
#include <algorithm>

#include "isa/generate.h"
#include "target/x86/decode_tables.h"
#include "util/bits.h"

namespace emu::isa {

using namespace x86;

const char* name(PrefixClass c) {
  constexpr const char* kNames[] = {"plain", "fs", "gs", "segment", "67", "f2", "f3", "lock", "redundant"};
  return kNames[unsigned(c)];
}

namespace {

Mode mode_of(Bits bits) {
  constexpr u32 kCommon = 1u << Mode::kPE | 3u << Mode::kCplShift;
  return Mode{bits == Bits::k64 ? kCommon | 1u << Mode::kCode64 : kCommon | 1u << Mode::kCode32};
}

}  // namespace

u64 target_address(Random& r) {
  const auto near = [&](u64 page_end) { return kWindow + page_end - 1 - r.below(34); };
  switch (r.below(32)) {
    case 0:
    case 1:
    case 2:
      return near(0x1000);
    case 3:
    case 4:
      return near(0x2000) + 2;  // into the page that is read-only
    case 5:
      return near(0x3000) + 1;  // and from there into the hole
    case 6:
      return kWindow + 0x4000 - 17 + r.below(20);
    case 7:
    case 8:
      return near(0x5000) + 1;
    case 9:
      return kWindow + 0x2000 + r.below(0x1000);
    case 10:
      return kWindow + r.below(kWindowBytes);
    case 11:
    case 12:
    case 13:
    case 14:
      return kWindow + 64 + r.below(0xf00);
    default:
      return kWindow + 64 + r.below(0xf0) * 16 + 0x1000 * r.below(2);
  }
}

namespace {

class Encoder {
 public:
  Encoder(Bits bits, Random& random, bool in_block, u16& bases)
      : bits_(bits), r_(random), in_block_(in_block), bases_(bases) {}

  std::vector<u8> encode(const Form& form, u64 at) {
    row_ = &all_rows()[form.row];
    form_ = &form;
    prefixes();
    opcode();
    const u8 op = u8(row_->opcode + delta_);
    if (opcode_has_modrm(Map(row_->map), op)) modrm(at);
    const size_t head = bytes_.size();
    bytes_.resize(head + 16);  // room for the immediate
    Insn insn;
    decode(bytes_, mode_of(bits_), kAllFeatures, insn);
    bytes_.resize(std::max<size_t>(head, insn.length));
    if (rip_disp_at_ != 0) {  // now the length is known
      const u32 disp = u32(rip_target_ - (at + insn.length));
      std::memcpy(&bytes_[rip_disp_at_], &disp, 4);
    }
    immediates(insn, head);
    return std::move(bytes_);
  }

 private:
  bool is_64() const { return bits_ == Bits::k64; }
  void put(u8 byte) { bytes_.push_back(byte); }
  void put_value(u64 value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) put(u8(value >> 8 * i));
  }

  void prefixes() {
    std::vector<u8> list;
    if (!row_->is_vex) {
      if (form_->size == 1 || row_->prefix == Prefix::P66) list.push_back(0x66);
      if (row_->prefix == Prefix::PF3) list.push_back(0xf3);
      if (row_->prefix == Prefix::PF2) list.push_back(0xf2);
    }
    switch (form_->prefix) {
      case PrefixClass::Fs:
        list.push_back(0x64);
        break;
      case PrefixClass::Gs:
        list.push_back(0x65);
        break;
      case PrefixClass::OtherSegment:
        list.push_back(r_.pick<u8>({0x26, 0x2e, 0x36, 0x3e}));
        break;
      case PrefixClass::AddressSize:
        list.push_back(0x67);
        break;
      case PrefixClass::Repne:
        list.push_back(0xf2);
        break;
      case PrefixClass::Rep:
        list.push_back(0xf3);
        break;
      case PrefixClass::Lock:
        list.push_back(0xf0);
        break;
      case PrefixClass::Redundant:
        list.push_back(r_.pick<u8>({0x66, 0x3e, 0x26, 0x66}));
        if (is_64() && r_.one_in(3)) list.push_back(u8(0x40 | r_.below(16)));  // has no effect before a prefix
        if (!list.empty() && r_.one_in(2)) list.push_back(list[0] < 0x40 || list[0] > 0x4f ? list[0] : 0x66);
        break;
      default:
        break;
    }
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[r_.below(i)]);
    for (const u8 p : list) put(p);
  }

  void opcode() {
    if (row_->count > 1) delta_ = unsigned(r_.below(row_->count));
    if (row_->is_evex) return evex();
    if (row_->is_vex) return vex();
    if (is_64()) {
      rex_ = u8(form_->size == 3 ? 8 : 0);
      if (r_.one_in(2)) rex_ |= u8(r_.below(8));
      if (rex_ != 0 || r_.one_in(4)) rex_ |= 0x40;
      rex_at_ = bytes_.size();
      if (rex_) put(rex_);
    }
    if (row_->map != kMapOne) put(0x0f);
    if (row_->map == kMap38) put(0x38);
    if (row_->map == kMap3A) put(0x3a);
    put(u8(row_->opcode + delta_));
  }

  void vex() {
    bool uses_vvvv = false;
    for (const Operand o : row_->operands) uses_vvvv |= o == Operand::H || o == Operand::KH;
    u8 vvvv = uses_vvvv || r_.one_in(16) ? u8(r_.below(16)) : u8(0);
    const u8 pp = row_->prefix == Prefix::P66   ? 1
                  : row_->prefix == Prefix::PF3 ? 2
                  : row_->prefix == Prefix::PF2 ? 3
                                                : 0;
    if (is_64()) rex_ = u8(r_.below(8));
    if (row_->is_opmask && !r_.one_in(16)) {
      vvvv &= 7;
      if (has(Operand::KG)) rex_ &= 0xfb;
    }
    bool w = form_->size == 3 || (row_->size_rule != SizeRule::Y && r_.one_in(4));
    // Not the other one: AMD's processors take VPERMQ and its like with W = 0, too, where the manuals say #UD.
    if (row_->vex_width != VexWidth::Any) w = row_->vex_width == VexWidth::W1;
    bool l = row_->length == VexLength::L1 || (row_->length == VexLength::Any && r_.one_in(2));
    if (r_.one_in(24)) l = !l;
    put(0xc4);
    rex_at_ = bytes_.size();
    is_vex_ = true;
    put(u8((~rex_ & 7) << 5 | row_->map));
    put(u8((w ? 0x80 : 0) | (~vvvv & 15) << 3 | (l ? 4 : 0) | pp));
    put(u8(row_->opcode + delta_));
  }

  bool has(Operand wanted) const {
    for (const Operand o : row_->operands)
      if (o == wanted) return true;
    return false;
  }

  void evex() {
    const bool rarely = r_.one_in(24), uses_vvvv = has(Operand::H);
    const bool is_register = row_->mod == Mod::Register || (row_->mod == Mod::Any && !form_->is_memory);
    unsigned vvvv = uses_vvvv || rarely ? unsigned(r_.below(32)) : 0;
    if (row_->is(kVsib)) vvvv = r_.one_in(2) ? 16 : 0;
    bool reg_high = r_.one_in(2);
    if (is_64()) rex_ = u8(r_.below(8));
    if (!is_64() && !r_.one_in(24)) vvvv &= 15;
    if ((has(Operand::KG) && !r_.one_in(24)) || (!is_64() && !r_.one_in(24))) reg_high = false;
    if (has(Operand::KG) && !r_.one_in(24)) rex_ &= 0xfb;
    if ((has(Operand::Gd) || has(Operand::Gy)) && !r_.one_in(24)) reg_high = false;
    const u8 pp = row_->prefix == Prefix::P66   ? 1
                  : row_->prefix == Prefix::PF3 ? 2
                  : row_->prefix == Prefix::PF2 ? 3
                                                : 0;
    bool w = form_->size == 3 || (row_->size_rule != SizeRule::Y && r_.one_in(4));
    if (row_->vex_width != VexWidth::Any) w = row_->vex_width == VexWidth::W1;
    unsigned length = unsigned(r_.below(3));
    while (row_->lengths != 0 && !(row_->lengths >> length & 1)) length = unsigned(r_.below(3));
    if (r_.one_in(32)) length = unsigned(r_.below(4));
    unsigned mask = r_.one_in(3) ? 0 : unsigned(r_.below(8));
    if (row_->is(kNoMask) && !r_.one_in(24)) mask = 0;
    while (row_->is(kNeedsMask) && mask == 0 && !r_.one_in(24)) mask = unsigned(r_.below(8));
    bool zeroing = r_.one_in(2) && mask != 0;
    if ((row_->is(kNoZeroing) || (!is_register && row_->operands[0] != Operand::V)) && !r_.one_in(24)) zeroing = false;
    if (rarely && r_.one_in(2)) zeroing = !zeroing;
    const bool may_b = is_register ? row_->is(kEmbeddedRounding) || row_->is(kSuppress)
                                   : row_->broadcasts();
    const bool b = may_b ? r_.one_in(3) : r_.one_in(32);
    if (is_register && b && may_b && (row_->lengths == 0 || (row_->lengths & 4))) {
      const bool any = row_->is(kEmbeddedRounding) || r_.one_in(8);
      length = any ? unsigned(r_.below(row_->is(kEmbeddedRounding) ? 4 : 3)) : 2;
    }
    put(0x62);
    rex_at_ = bytes_.size();
    is_vex_ = true;
    put(u8((~rex_ & 7) << 5 | !reg_high << 4 | row_->map));
    put(u8(w << 7 | (~vvvv & 15) << 3 | 4 | pp));
    put(u8(zeroing << 7 | length << 5 | b << 4 | !(vvvv & 16) << 3 | mask));
    put(u8(row_->opcode + delta_));
  }

  void modrm(u64 at) {
    const u8 reg = row_->reg_field != kAnyField ? row_->reg_field : u8(r_.below(8));
    const bool register_form = row_->mod == Mod::Register || (row_->mod == Mod::Any && !form_->is_memory);
    if (register_form) {
      const u8 rm = row_->rm_field != kAnyField ? row_->rm_field : u8(r_.below(8));
      put(u8(0xc0 | reg << 3 | rm));
      return;
    }
    const bool has_67 = form_->prefix == PrefixClass::AddressSize;
    if (!is_64() && has_67) return address_16(reg);
    address_32(reg, at);
  }

  void address_16(u8 reg) {
    const u8 mod = u8(r_.below(3)), rm = u8(r_.below(8));
    put(u8(mod << 6 | reg << 3 | rm));
    if (mod == 2 || (mod == 0 && rm == 6)) put_value(r_.next(), 2);
    if (mod == 1) put_value(r_.next(), 1);
  }

  /// Whether the register may carry an address of this instruction; in a block, one of its own.
  bool take_base(unsigned number) {
    if (!in_block_) return true;
    if (bases_ >> number & 1) return false;
    bases_ |= u16(1u << number);
    return true;
  }

  void absolute(u8 reg, u64 at) {
    const u32 target = u32(target_address(r_));
    if (is_64() && r_.one_in(2)) {  // RIP-relative
      put(u8(reg << 3 | 5));
      rip_disp_at_ = bytes_.size();
      rip_target_ = target;
      static_cast<void>(at);
    } else {
      put(u8(reg << 3 | (is_64() ? 4 : 5)));
      if (is_64()) {
        put(0x25);
        if (rex_ & 2) {  // else R12 is an index
          rex_ &= 0xfd;
          bytes_[rex_at_] = is_vex_ ? u8(bytes_[rex_at_] | 0x40) : rex_;
        }
      }
    }
    put_value(target, 4);
  }

  void address_32(u8 reg, u64 at) {
    const unsigned b = rex_ & 1 ? 8 : 0, x = rex_ & 2 ? 8 : 0;
    const bool is_vsib = has_vector_index(*row_) && !r_.one_in(24);
    const u8 rm = is_vsib ? 4 : u8(r_.below(8));
    const u8 mod = u8(r_.below(3));
    const bool no_base = (rm == 5 && mod == 0) || (in_block_ && !is_vsib && r_.below(10) < 6);
    if (no_base) return absolute(reg, at);
    if (rm != 4) {
      if (!take_base(rm + b)) return absolute(reg, at);
      put(u8(mod << 6 | reg << 3 | rm));
    } else {
      const u8 base = u8(r_.below(8)), index = u8(r_.below(8)), scale = u8(r_.below(4));
      if (base == 5 && mod == 0) {
        if (!take_base(index + x)) return absolute(reg, at);
      } else if (!take_base(base + b)) {
        return absolute(reg, at);
      }
      put(u8(mod << 6 | reg << 3 | 4));
      put(u8(scale << 6 | index << 3 | base));
      if (base == 5 && mod == 0) return put_value(r_.one_in(2) ? r_.next() >> 33 : r_.below(256), 4);
    }
    if (mod == 1) put_value(r_.next(), 1);
    if (mod == 2) put_value(r_.one_in(2) ? r_.next() : r_.below(4096), 4);
  }

  void immediates(const Insn& insn, size_t at) {
    const unsigned count = unsigned(bytes_.size() - at);
    u64 value = r_.integer();
    for (const Operand o : insn.row->operands) {
      if (o == Operand::Jb) value = r_.one_in(2) ? 105 + r_.below(23) : u64(-40) - r_.below(80);
      if (o == Operand::Jz) value = r_.one_in(2) ? 105 + r_.below(0x1000) : u64(-200) - r_.below(0xe00);
      if (o == Operand::Ob || o == Operand::Ov) value = target_address(r_);
    }
    if (insn.row->operands[0] == Operand::Iw && insn.row->operands[1] == Operand::Ib) {  // ENTER
      value = r_.below(128) | r_.below(8) << 16;
    }
    for (unsigned i = 0; i < count && i < 8; ++i) bytes_[at + i] = u8(value >> 8 * i);
  }

  const Bits bits_;
  Random& r_;
  const bool in_block_;
  u16& bases_;  ///< registers that carry an address in this block already
  const Row* row_ = nullptr;
  const Form* form_ = nullptr;
  std::vector<u8> bytes_;
  unsigned delta_ = 0;
  u8 rex_ = 0;
  bool is_vex_ = false;
  size_t rex_at_ = 0, rip_disp_at_ = 0;
  u64 rip_target_ = 0;
};

/// Whether a branch `code_before` bytes into the code goes back into it.
bool branches_into_code(const Insn& insn, size_t code_before) {
  for (const Operand o : insn.row->operands) {
    const i64 target = i64(code_before + insn.length) + i64(insn.imm);
    if ((o == Operand::Jb || o == Operand::Jz) && target > -16 && i64(insn.imm) < 100) return true;
  }
  return false;
}

/// Decodes what was written for a form; false if it ran out of bytes or is not all of them.
bool add_insn(Case& c, const Form& form, const std::vector<u8>& bytes) {
  Insn insn;
  if (decode(bytes, mode_of(c.bits), kAllFeatures, insn) != DecodeStatus::Ok || insn.length != bytes.size())
    return false;
  if (cannot_compare(*insn.row, c.bits) || cannot_compare(insn, all_rows()[form.row], c.bits)) return false;
  if (branches_into_code(insn, c.code.size())) return false;
  insn.offset = u16(c.code.size());
  c.code.insert(c.code.end(), bytes.begin(), bytes.end());
  c.insns.push_back(insn);
  return true;
}

bool has_size(const Row& row, unsigned size, Bits bits) {
  if (size == 3 && bits == Bits::k32) return false;
  switch (row.size_rule) {
    case SizeRule::Byte:
    case SizeRule::W:
    case SizeRule::D:
    case SizeRule::Q:
    case SizeRule::Mode:
      return size == 2;
    default:
      break;
  }
  if (row.size_rule == SizeRule::Y) return size >= 2;
  if (row.prefix == Prefix::P66 || row.prefix == Prefix::None) return size >= 2;
  return true;
}

bool uses_size(const Row& row) {
  if (row.size_rule == SizeRule::V || row.size_rule == SizeRule::Y || row.size_rule == SizeRule::D64 ||
      row.size_rule == SizeRule::F64)
    return true;
  if (row.size_rule != SizeRule::Auto) return false;
  for (const Operand o : row.operands) {
    switch (o) {
      case Operand::Ev:
      case Operand::Ey:
      case Operand::Gv:
      case Operand::Gy:
      case Operand::Zv:
      case Operand::rAX:
      case Operand::Xv:
      case Operand::Yv:
      case Operand::Ov:
      case Operand::Mv:
        return true;
      default:
        break;
    }
  }
  return row.operands[0] == Operand::None || row.operands[0] == Operand::M;
}

bool has_memory(const Row& row) {
  for (const Operand o : row.operands) {
    if (o >= Operand::Eb && o <= Operand::Ey) return true;
    if (o >= Operand::M && o <= Operand::Ma) return true;
    if (o == Operand::W || o == Operand::Q) return true;
  }
  return row.mod == Mod::Memory;
}

/// Whether what AVX-512 adds is in use: it must be if the instructions use it.
void choose_avx512(Case& c, Random& random) {
  const auto uses = [](const Insn& insn) { return insn.uses_zmm(); };
  c.avx512 = host_has_avx512() && (std::any_of(c.insns.begin(), c.insns.end(), uses) || random.one_in(2));
}

}  // namespace

std::vector<Form> all_forms() {
  std::vector<Form> forms;
  for (u16 i = 0; i < all_rows().size(); ++i) {
    const Row& row = all_rows()[i];
    if (row.is_missing()) continue;
    for (const Bits bits : {Bits::k64, Bits::k32}) {
      if (cannot_compare(row, bits)) continue;
      if (row.has(bits == Bits::k64 ? kNo64 : kOnly64)) continue;
      for (u8 size = 1; size <= 3; ++size) {
        if (!has_size(row, size, bits) || (size != 2 && !uses_size(row))) continue;
        for (const bool is_memory : {false, true}) {
          if (is_memory ? row.mod == Mod::Register || !has_memory(row) : row.mod == Mod::Memory) continue;
          for (unsigned p = 0; p < unsigned(PrefixClass::kCount); ++p) {
            forms.push_back({i, bits, size, is_memory, PrefixClass(p)});
          }
        }
      }
    }
  }
  return forms;
}

Case make_case(const Form& form, Random& random) {
  Case c{.bits = form.bits, .align_check = random.one_in(12)};
  c.simd_traps = random.one_in(3);
  c.x87_traps = random.one_in(3);
  u16 bases = 0;
  Encoder encoder(form.bits, random, false, bases);
  if (!add_insn(c, form, encoder.encode(form, kCodeAt))) c.code.clear();
  choose_avx512(c, random);
  return c;
}

Case make_block(const std::vector<Form>& forms, Bits bits, unsigned count, Random& random) {
  Case c{.bits = bits, .align_check = random.one_in(16)};
  c.simd_traps = random.one_in(6);
  c.x87_traps = random.one_in(6);
  u16 bases = 1u << RSP;
  FlagMask undefined = 0;
  bool has_pops = false;
  for (unsigned tries = 0; c.insns.size() < count && c.code.size() < 60 && tries < 8 * count; ++tries) {
    Form form = forms[random.below(forms.size())];
    if (form.bits != bits || (form.prefix != PrefixClass::Plain && !random.one_in(4))) continue;
    const u16 bases_before = bases;
    Case one{.bits = bits};
    Encoder encoder(bits, random, true, bases);
    if (!add_insn(one, form, encoder.encode(form, kCodeAt + c.code.size()))) {
      bases = bases_before;
      continue;
    }
    Insn& insn = one.insns[0];
    const Row& row = *insn.row;
    const bool ends = row.has(kEnds) || row.has(kCpl0) || row.is_missing();
    // Where a store of an empty register pops it, ours leaves something else in there: MMX makes it valid, and FXAM
    // shows the sign even of what is empty.
    const bool is_mmx = std::any_of(std::begin(row.operands), std::end(row.operands),
                                    [](Operand o) { return o == Operand::P || o == Operand::Q || o == Operand::N; });
    const bool pops = row.feature == InsnFeature::kFpu && insn.is_memory && std::string_view(row.name).ends_with("TP");
    const bool shows_empty = is_mmx || std::string_view(row.name) == "FXAM";
    const bool fits = !(shows_empty && has_pops) && !branches_into_code(insn, c.code.size()) &&
                      !cannot_be_in_block(insn) && !(row.read & undefined) && !(ends && c.insns.size() + 1 < count);
    if (!fits) {
      bases = bases_before;
      continue;
    }
    has_pops |= pops || std::string_view(row.name) == "FISTTP";
    undefined = FlagMask((row.has(kMaybeZero) ? undefined : undefined & ~row.written) | row.undefined);
    insn.offset = u16(c.code.size());
    c.code.insert(c.code.end(), one.code.begin(), one.code.end());
    c.insns.push_back(insn);
    if (ends) break;
  }
  choose_avx512(c, random);
  return c;
}

}  // namespace emu::isa
