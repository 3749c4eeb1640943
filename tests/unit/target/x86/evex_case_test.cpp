// SPDX-License-Identifier: Apache-2.0
#include "unit/target/x86/evex_case.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <string_view>

namespace emu::x86::test {
namespace {

bool names(const Row& row, Operand wanted) { return std::ranges::find(row.operands, wanted) != std::end(row.operands); }

struct Choice {
  bool is_memory = false, w = false, b = false, zeroing = false, is_masked = false;
  unsigned ll = 0;
};

class Encoder {
 public:
  Encoder(const Row& row, bool is_64, std::mt19937_64& random) : row_(row), is_64_(is_64), random_(random) {}

  std::vector<u8> encode(const Choice& c) {
    const bool has_vvvv = names(row_, Operand::H), has_k = names(row_, Operand::KG);
    const bool has_general = names(row_, Operand::Gy) || names(row_, Operand::Gd);
    const unsigned limit = is_64_ ? 32 : 8;
    const unsigned reg = below(has_k         ? 8
                               : has_general ? std::min(limit, 16u)
                                             : limit),
                   vvvv = has_vvvv ? below(limit) : 0;
    const unsigned pp = row_.prefix == Prefix::P66   ? 1
                        : row_.prefix == Prefix::PF3 ? 2
                        : row_.prefix == Prefix::PF2 ? 3
                                                     : 0;
    const unsigned rm = below(!c.is_memory && !row_.names_general() ? limit : std::min(limit, 16u));
    const unsigned index = below(std::min(limit, 16u));
    const bool has_sib = c.is_memory && ((rm & 7) == 4 || below(3) == 0) && index != 4;
    const unsigned base = c.is_memory && (rm & 7) == 4 && !has_sib ? rm - 1 : rm;
    const bool x = c.is_memory ? has_sib && (index & 8) : rm & 16;
    std::vector<u8> code = {
        0x62, u8(!(reg & 8) << 7 | !x << 6 | !(base & 8) << 5 | !(reg & 16) << 4 | row_.map),
        u8(c.w << 7 | (~vvvv & 15) << 3 | 4 | pp),
        u8(c.zeroing << 7 | c.ll << 5 | c.b << 4 | !(vvvv & 16) << 3 | (c.is_masked ? 1 + below(7) : 0)), row_.opcode};
    const unsigned mod = !c.is_memory ? 3 : has_sib ? 2 : 1;
    code.push_back(u8(mod << 6 | (reg & 7) << 3 | (has_sib ? 4 : base & 7)));
    if (has_sib) code.push_back(u8(below(4) << 6 | (index & 7) << 3 | (base & 7)));
    if (c.is_memory) {
      for (unsigned i = 0; i < (has_sib ? 4 : 1); ++i) code.push_back(u8(i == 3 ? below(128) : 1 + below(255)));
    }
    if (names(row_, Operand::Ib)) code.push_back(u8(below(2) ? below(48) : below(256)));
    return code;
  }

 private:
  unsigned below(unsigned n) { return unsigned(random_() % n); }
  const Row& row_;
  bool is_64_;
  std::mt19937_64& random_;
};

std::vector<Choice> choices(const Row& row) {
  std::vector<Choice> all;
  for (const bool is_memory : {false, true}) {
    if (row.mod == (is_memory ? Mod::Register : Mod::Memory)) continue;
    for (unsigned kind = 0; kind < 7; ++kind) {  // three lengths; b: broadcast, {sae} or four modes of rounding
      const bool b = kind >= 3;
      const unsigned ll = b ? kind - 3 : kind;
      for (const bool w : {false, true}) {
        if (row.vex_width != VexWidth::Any && w != (row.vex_width == VexWidth::W1)) continue;
        for (unsigned mask = 0; mask < 3; ++mask) {
          const Choice c{is_memory, w, b, mask == 2, mask != 0, ll};
          const bool rounds = b && !is_memory && (row.is(kEmbeddedRounding) || (row.is(kSuppress) && ll == 2));
          const bool has_b = is_memory ? row.broadcasts() : rounds;
          if (b && !has_b) continue;
          if (!rounds && (ll == 3 || (row.lengths != 0 && !(row.lengths >> ll & 1)))) continue;
          if (b && is_memory && kind > 5) continue;
          if (c.is_masked && row.is(kNoMask)) continue;
          const bool to_memory = is_memory && (row.operands[0] == Operand::M || row.operands[0] == Operand::W);
          if (c.zeroing && (row.is(kNoZeroing) || to_memory)) continue;
          all.push_back(c);
        }
      }
    }
  }
  return all;
}

// ---- Text -----------------------------------------------------------------------------------------------------------

const char* general_name(unsigned reg, unsigned log2) {
  constexpr const char* kNames[2][16] = {
      {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d",
       "r15d"},
      {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}};
  return kNames[log2 - 2][reg];
}

std::string memory_text(const Insn& insn) {
  constexpr const char* kSizes[] = {"BYTE", "WORD", "DWORD", "QWORD", "XMMWORD", "YMMWORD", "ZMMWORD"};
  const unsigned bytes = evex_memory_bytes(insn);
  std::string text = fmt::format("{} {} [", kSizes[std::bit_width(bytes) - 1], insn.evex_b ? "BCST" : "PTR");
  text += general_name(insn.base, insn.address);
  if (insn.index != kNoReg) text += fmt::format("+{}*{}", general_name(insn.index, insn.address), 1 << insn.scale);
  if (insn.disp != 0 || insn.index != kNoReg)
    text += fmt::format("{}0x{:x}", insn.disp < 0 ? '-' : '+', std::abs(i64(insn.disp)));
  return text + "]";
}

/// log2 of the bytes of vector operand `o`: conversions have a short side.
unsigned vector_log2(const Insn& insn, Operand o) {
  const Row& row = *insn.row;
  if (row.lengths == 0 || row.lengths == 1) return 4;
  const bool has_short_source = row.tuple == Tuple::Half || row.tuple == Tuple::Quarter;
  const unsigned less = has_short_source ? (row.tuple == Tuple::Half ? 1 : 2)
                        : row.tuple == Tuple::Full && row.element > 1 && !row.is(kDistinctDest) ? row.element - 1u
                                                                                                : 0;
  const bool is_source = o == Operand::W;
  return is_source == has_short_source ? std::max(4u, insn.length_log2 - less) : insn.length_log2;
}

std::string operand_text(const Insn& insn, Operand o) {
  const auto vector = [&](unsigned reg) { return fmt::format("{}mm{}", "xyz"[vector_log2(insn, o) - 4], reg); };
  switch (o) {
    case Operand::V:
      return vector(insn.reg);
    case Operand::H:
      return vector(insn.vvvv);
    case Operand::KG:
      return fmt::format("k{}", insn.reg);
    case Operand::Gy:
      return general_name(insn.reg, insn.rex_w() ? 3 : 2);
    case Operand::Ib:
      return fmt::format("0x{:x}", u8(insn.imm));
    default:
      break;
  }
  if (insn.is_memory) return memory_text(insn);
  std::string text = o == Operand::Ed   ? general_name(insn.rm, 2)
                     : o == Operand::Ey ? general_name(insn.rm, insn.rex_w() ? 3 : 2)
                                        : vector(insn.rm);
  constexpr const char* kRounding[] = {"{rn-sae}", "{rd-sae}", "{ru-sae}", "{rz-sae}"};
  if (insn.evex_b) text += insn.row->is(kEmbeddedRounding) ? kRounding[insn.evex_ll] : "{sae}";
  return text;
}

/// VCMP with one of the first 32 immediates has it in its name.
bool name_predicate(const Insn& insn, std::string& name) {
  constexpr const char* kPredicates[] = {
      "eq",     "lt",     "le",    "unord",  "neq",    "nlt",      "nle",    "ord",   "eq_uq",   "nge",    "ngt",
      "false",  "neq_oq", "ge",    "gt",     "true",   "eq_os",    "lt_oq",  "le_oq", "unord_s", "neq_us", "nlt_uq",
      "nle_uq", "ord_s",  "eq_us", "nge_uq", "ngt_uq", "false_os", "neq_os", "ge_oq", "gt_oq",   "true_us"};
  if (!name.starts_with("vcmp") || (insn.imm & 0xff) >= 32) return false;
  name.insert(4, kPredicates[insn.imm & 31]);
  return true;
}

}  // namespace

std::vector<EvexCase> evex_cases(const Row& row, bool is_64, unsigned per_form, std::mt19937_64& random) {
  const Mode mode{1u << Mode::kPE | 1u << (is_64 ? Mode::kCode64 : Mode::kCode32)};
  std::vector<EvexCase> cases;
  Encoder encoder(row, is_64, random);
  for (const Choice& choice : choices(row)) {
    for (unsigned made = 0, tries = 0; made < per_form && tries < 8 * per_form; ++tries) {
      EvexCase c{encoder.encode(choice), {}};
      if (decode(c.code, mode, kAllFeatures, c.insn) != DecodeStatus::Ok) continue;
      if (row.is(kDistinctDest) && c.insn.row == &kUndefinedRow) continue;  // a source is the destination
      if (row.has(is_64 ? kNo64 : kOnly64)) continue;
      cases.push_back(std::move(c));
      ++made;
    }
  }
  return cases;
}

std::string evex_text(const Insn& insn) {
  const Row& row = *insn.row;
  std::string name = row.name;
  std::ranges::transform(name, name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  const bool has_predicate = name_predicate(insn, name);
  std::string text = name;
  for (unsigned i = 0; i < 4 && row.operands[i] != Operand::None; ++i) {
    if (row.operands[i] == Operand::Ib && has_predicate) break;
    text += (i == 0 ? " " : ",") + operand_text(insn, row.operands[i]);
    if (i == 0 && insn.mask != 0) text += fmt::format("{{k{}}}{}", insn.mask, insn.zeroing ? "{z}" : "");
  }
  return text;
}

unsigned evex_repeats(const Insn& insn) {
  if (!insn.is_memory || !insn.evex_b) return 0;
  const unsigned shorter = insn.row->tuple == Tuple::Half ? 1 : insn.row->tuple == Tuple::Quarter ? 2 : 0;
  return 1u << (insn.length_log2 - shorter - insn.row->element);
}

std::string without_repeats(std::string text, unsigned& repeats) {
  repeats = 0;
  const size_t at = text.find("{1to");
  if (at == std::string::npos) return text;
  repeats = unsigned(std::strtoul(text.c_str() + at + 4, nullptr, 10));
  return text.erase(at, text.find('}', at) + 1 - at);
}

}  // namespace emu::x86::test
