// SPDX-License-Identifier: Apache-2.0
// Every translated integer row, random forms and awkward values: IR interpreter against the host CPU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "unit/target/x86/native_harness.h"

namespace emu::x86::test {
namespace {

using E = Emitter;

/// Handlers whose rows user code may execute freely, and which fall through to the next instruction.
bool is_testable(const Row& row, bool is_64) {
  static const Emit kHandlers[] = {
      &E::alu,    &E::test,    &E::not_,         &E::neg,      &E::inc_dec,      &E::mul,   &E::imul_reg, &E::div,
      &E::idiv,   &E::cmpxchg, &E::cmpxchg8b,    &E::xadd,     &E::adcx,         &E::mov,   &E::movzx,    &E::movsx,
      &E::movbe,  &E::lea,     &E::xchg,         &E::bswap,    &E::cmovcc,       &E::setcc, &E::cbw,      &E::cwd,
      &E::xlat,   &E::lahf,    &E::sahf,         &E::carry_op, &E::direction_op, &E::push,  &E::pop,      &E::enter,
      &E::leave,  &E::shift,   &E::double_shift, &E::bit_test, &E::bsf,          &E::bsr,   &E::tzcnt,    &E::lzcnt,
      &E::popcnt, &E::movs,    &E::stos,         &E::lods,     &E::cmps,         &E::scas,  &E::nop,      &E::mfence,
      &E::pusha,  &E::popa,    &E::salc,         &E::crc32,    &E::bcd,          &E::pushf, &E::popf};
  if (row.is_missing() || row.has(is_64 ? kNo64 : kOnly64) || row.is_vex) return false;
  if (row.feature == InsnFeature::kMovdiri) return false;  // not on every host
  // Prefetches with a register are #UD on AMD; cache-line flushes fault, which ours do not.
  if (row.emitter == &E::nop && (row.opcode == 0x0d || row.opcode == 0xae) && row.mod != Mod::Register) return false;
  if (row.feature == InsnFeature::kMovdiri) return false;  // few hosts have it
  return std::find(std::begin(kHandlers), std::end(kHandlers), row.emitter) != std::end(kHandlers);
}

u64 awkward(std::mt19937_64& random) {
  static constexpr u64 kValues[] = {0,
                                    1,
                                    2,
                                    3,
                                    0x7f,
                                    0x80,
                                    0x81,
                                    0xff,
                                    0x100,
                                    0x7fff,
                                    0x8000,
                                    0xffff,
                                    0x10000,
                                    0x7fff'ffff,
                                    0x8000'0000,
                                    0xffff'ffff,
                                    0x1'0000'0000,
                                    0x7fff'ffff'ffff'ffff,
                                    0x8000'0000'0000'0000,
                                    ~u64(0),
                                    ~u64(1),
                                    0x5555'5555'5555'5555,
                                    31,
                                    32,
                                    33,
                                    63,
                                    64};
  if (random() % 2) return kValues[random() % std::size(kValues)];
  return random() % 3 ? random() : random() >> (random() % 64);
}

struct Case {
  std::vector<u8> code;
  Insn insn;
  Registers registers;
  bool is_usable = false;
};

/// Builds one random encoding of `row`, and registers that put its memory operand into the buffer.
class CaseMaker {
 public:
  CaseMaker(std::mt19937_64& random, NativeHarness& native) : random_(random), native_(native) {}
  u32 mode() const { return native_.is_64() ? TranslatedRun::kUserMode64 : TranslatedRun::kUserMode32; }

  Case make(const Row& row) {
    Case c;
    const u8 opcode = u8(row.opcode + random_() % row.count);
    const bool has_memory = pick_mod(row);
    std::vector<u8>& code = c.code;
    const bool may_lock = row.has(kLockable) && has_memory;
    if (may_lock && random_() % 3 == 0) code.push_back(0xf0);
    if (row.prefix == Prefix::P66 || (random_() % 4 == 0 && row.prefix != Prefix::None)) code.push_back(0x66);
    if (native_.is_64() && random_() % 8 == 0 && row.emitter != &E::bcd) code.push_back(0x67);
    const bool is_repeated = is_string(row.emitter) && random_() % 2;
    if (is_repeated) code.push_back(random_() % 2 ? 0xf3 : 0xf2);
    if (row.prefix == Prefix::PF3) code.push_back(0xf3);
    if (row.prefix == Prefix::PF2) code.push_back(0xf2);
    if (native_.is_64() && random_() % 2) code.push_back(u8(0x40 | (random_() & 15)));
    if (row.map != kMapOne) code.push_back(0x0f);
    if (row.map == kMap38) code.push_back(0x38);
    if (row.map == kMap3A) code.push_back(0x3a);
    code.push_back(opcode);
    const size_t modrm_at = code.size();
    code.push_back(make_modrm(row, has_memory));
    if (has_memory && (code.back() & 7) == 4 && code.back() < 0xc0) {
      u8 sib = u8(random_());
      code.push_back(sib);
    }
    for (unsigned i = 0; i < 12; ++i) code.push_back(u8(random_()));
    (void)modrm_at;

    if (decode(code, Mode{mode()}, kAllFeatures, c.insn) != DecodeStatus::Ok) return c;
    if (c.insn.row != &row) return c;
    code.resize(c.insn.length);
    for (u64& r : c.registers.gpr) r = awkward(random_) & (native_.is_64() ? ~u64(0) : 0xffff'ffff);
    c.registers.flags = 2 | (random_() & kArithmetic) | (random_() % 4 == 0 ? u64(kDF) : 0);
    c.registers.gpr[RSP] = place_in_buffer() & ~u64(7);
    if (is_repeated)
      c.registers.gpr[RCX] = (random_() % 24) | (c.insn.address == 2 && native_.is_64() ? random_() << 32 : 0);
    c.is_usable = fix_up(c);
    if (!native_.is_64())
      for (u64& r : c.registers.gpr) r = u32(r);
    return c;
  }

 private:
  bool pick_mod(const Row& row) {
    if (row.mod == Mod::Memory) return true;
    if (row.mod == Mod::Register) return false;
    return random_() % 2;
  }
  u8 make_modrm(const Row& row, bool memory) {
    const u8 mod = memory ? u8(random_() % 3) : 3;
    const u8 reg = row.reg_field == kAnyField ? u8(random_() & 7) : row.reg_field;
    const u8 rm = row.rm_field == kAnyField ? u8(random_() & 7) : row.rm_field;
    return u8(mod << 6 | reg << 3 | rm);
  }
  u64 place_in_buffer() { return u64(native_.buffer()) + 1024 + random_() % 2048; }

  /// Registers and displacement such that accesses fall into the buffer.
  bool fix_up(Case& c) {
    Insn& i = c.insn;
    u64* gpr = c.registers.gpr;
    const Emit handler = i.row->emitter;
    if (handler == &E::xlat) {
      gpr[RBX] = place_in_buffer();
      return true;
    }
    if (handler == &E::leave) {
      gpr[RBP] = place_in_buffer();
      return true;
    }
    if (handler == &E::enter) {
      gpr[RBP] = place_in_buffer();
      c.code[c.code.size() - 2] &= 1;  // at most 511 bytes
      if (random_() % 2) c.code.back() = 0;
      return true;
    }
    if (handler == &E::popf) {  // only flags that a test may change
      const u64 flags = 2 | (random_() & (kArithmetic | kDF)) | kIF;
      popped_flags_ = flags;
    }
    if (i.row->operands[0] >= Operand::AL || i.row->operands[1] >= Operand::Xb) {
      if (is_string(handler)) {
        gpr[RSI] = place_in_buffer();
        gpr[RDI] = place_in_buffer();
        return true;
      }
    }
    if (i.row->operands[0] == Operand::Ob || i.row->operands[0] == Operand::Ov || i.row->operands[1] == Operand::Ob ||
        i.row->operands[1] == Operand::Ov) {
      const u64 where = place_in_buffer();
      if (i.address != (native_.is_64() ? 3 : 2)) return false;
      const size_t bytes = native_.is_64() ? 8 : 4;
      std::memcpy(c.code.data() + c.code.size() - bytes, &where, bytes);
      return true;
    }
    if (!i.is_memory || i.row->has(kNoMemory)) return true;
    if (i.row->emitter == &E::bit_test && i.row->operands[1] == Operand::Gv) {
      if (i.reg == i.base || i.reg == i.index || i.reg == RSP) return false;
      gpr[i.reg] = u64(i64(random_() % 8000) - 4000);  // a bit offset of at most 500 bytes either way
    }
    u64 target = place_in_buffer();
    if (i.row->emitter == &E::cmpxchg8b) target &= ~u64(15);
    const auto patch_disp32 = [&](i64 disp) {
      if (disp != i32(disp)) return false;
      // The displacement is followed by the immediate: find it from the end.
      const unsigned imm = immediate_bytes(i);
      const i32 value = i32(disp);
      std::memcpy(c.code.data() + c.code.size() - imm - 4, &value, 4);
      return true;
    };
    if (i.index != kNoReg) {
      if (i.index == i.base || i.index == RSP) return false;
      gpr[i.index] = random_() % 32;
      target -= gpr[i.index] << i.scale;
    }
    if (i.address == 2 && native_.is_64() && i.base == kNoReg) return false;
    if (i.base == kBaseRip) return patch_disp32(i64(target - (native_.code_address() + i.length)));
    if (i.base == kNoReg) return patch_disp32(i64(target));
    if (i.base == RSP) {
      const u64 at = gpr[RSP] + u64(i64(i.disp)) + (i.index != kNoReg ? gpr[i.index] << i.scale : 0);
      return at > u64(native_.buffer()) + 600 && at < u64(native_.buffer()) + 3400;
    }
    gpr[i.base] = target - u64(i64(i.disp));
    if (i.address == 2 && native_.is_64()) gpr[i.base] = u32(gpr[i.base]) | random_() << 32;
    return true;
  }
  static bool is_string(Emit handler) {
    return handler == &E::movs || handler == &E::stos || handler == &E::lods || handler == &E::cmps ||
           handler == &E::scas;
  }
  static unsigned immediate_bytes(const Insn& i) {
    unsigned n = 0;
    for (const Operand o : i.row->operands) {
      if (o == Operand::Ib || o == Operand::Ibs) n += 1;
      if (o == Operand::Iw) n += 2;
      if (o == Operand::Iz) n += i.size == 1 ? 2 : 4;
    }
    return n;
  }

  std::mt19937_64& random_;
  NativeHarness& native_;

 public:
  u64 popped_flags_ = 0;  ///< what POPF must find on the stack
};

/// Flags that the manual leaves undefined for this instruction with these operands.
u64 undefined_flags(const Case& c, const Registers& before) {
  const Insn& i = c.insn;
  u64 undefined = i.row->undefined;
  if (!i.row->has(kMaybeZero) || i.row->operands[0] >= Operand::AL) return undefined;
  u64 count = 1;
  for (const Operand o : i.row->operands) {
    if (o == Operand::Ib) count = i.imm;
    if (o == Operand::CL) count = before.gpr[RCX];
  }
  count &= i.size == 3 ? 63 : 31;
  if (count == 0) return 0;
  if (count == 1) undefined &= ~u64(kOF);
  const bool is_rotate = i.row->emitter == &E::shift && i.row->arg < 4;
  if (!is_rotate && count >= (8u << i.size)) undefined |= kCF | kOF;
  return undefined;
}

bool is_result_undefined(const Case& c, const Registers& before) {
  const Insn& i = c.insn;
  if (i.row->emitter == &E::bswap && i.size == 1) return true;
  if (i.row->emitter == &E::double_shift && i.size == 1)
    return ((i.row->operands[2] == Operand::Ib ? i.imm : before.gpr[RCX]) & 31) > 16;
  return false;
}

void compare_every_row(NativeHarness& native) {
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  std::mt19937_64 random(3);
  CaseMaker maker(random, native);
  std::vector<u8> memory_before(NativeHarness::kBufferSize), memory_native(NativeHarness::kBufferSize);
  const unsigned registers = native.is_64() ? 16 : 8, address = native.is_64() ? 3 : 2;
  int rows = 0, compared = 0, by_helper = 0;
  std::map<std::string, int> failures;
  std::set<std::string> never;
  const bool has_adx = __builtin_cpu_supports("adx");

  for (const Row& row : all_rows()) {
    if (!is_testable(row, native.is_64()) || (row.feature == InsnFeature::kAdx && !has_adx)) continue;
    int done = 0;
    for (int attempt = 0; attempt < 600 && done < 60; ++attempt) {
      const Case c = maker.make(row);
      if (!c.is_usable ||
          (c.insn.is_memory && !c.insn.row->has(kNoMemory) && c.insn.address != address && !native.is_64()))
        continue;
      if (is_result_undefined(c, c.registers)) continue;
      for (u8& b : memory_before) b = u8(random() % 4 ? random() : 0);
      if (row.emitter == &E::popf)
        std::memcpy(&memory_before[c.registers.gpr[RSP] - u64(native.buffer())], &maker.popped_flags_, 8);
      std::memcpy(native.buffer(), memory_before.data(), memory_before.size());
      Registers expect = c.registers, got = c.registers;
      const Outcome host = native.run(c.code, expect);
      std::memcpy(memory_native.data(), native.buffer(), memory_native.size());
      std::memcpy(native.buffer(), memory_before.data(), memory_before.size());
      const Outcome ours = translated.run(c.code, native.code_address(), got, maker.mode());
      ++done;
      for (const ir::Op& op : translated.block().ops) {
        if (op.opcode == ir::Opcode::Call) {
          ++by_helper;
          break;
        }
      }
      ++compared;
      const u64 mask = (kArithmetic | kDF) & ~undefined_flags(c, c.registers);
      std::string wrong;
      if (host != ours) wrong += fmt::format(" outcome {} for {}", int(ours), int(host));
      if (host == Outcome::Done && ours == Outcome::Done) {
        for (unsigned r = 0; r < registers; ++r)
          if (expect.gpr[r] != got.gpr[r]) wrong += fmt::format(" r{}: {:#x} for {:#x}", r, got.gpr[r], expect.gpr[r]);
        if ((expect.flags ^ got.flags) & mask)
          wrong += fmt::format(" flags: {:#x} for {:#x} mask {:#x}", got.flags, expect.flags, mask);
        if (std::memcmp(memory_native.data(), native.buffer(), memory_native.size()) != 0) wrong += " memory";
      }
      if (!wrong.empty() && failures[row.name]++ < 2) {
        std::string bytes;
        for (const u8 b : c.code) bytes += fmt::format("{:02x} ", b);
        std::string before;
        for (unsigned r = 0; r < 16; ++r) before += fmt::format(" {:#x}", c.registers.gpr[r]);
        ADD_FAILURE() << row.name << ": " << bytes << wrong << "\n  before:" << before
                      << fmt::format(" flags {:#x}", c.registers.flags);
      }
    }
    ++rows;
    if (done == 0) never.insert(fmt::format("{} {:02x}", row.name, row.opcode));
  }
  fmt::print("{} rows, {} comparisons, {} of them through helpers\n", rows, compared, by_helper);
  for (const std::string& name : never) fmt::print("no case made for {}\n", name);
  EXPECT_GT(compared, 10'000);
}

TEST(TranslateNative, EveryIntegerRowAgreesWithTheHost) {
  NativeHarness native;
  compare_every_row(native);
}

TEST(TranslateNative, EveryIntegerRowAgreesWithTheHostIn32BitCode) {
  NativeHarness native(NativeHarness::Bits::k32);
  compare_every_row(native);
}

/// Runs of register instructions in one block: flags that a later instruction overwrites are not computed, and those
/// that it reads are.
TEST(TranslateNative, SequencesAgreeWithTheHost) {
  NativeHarness native;
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  std::mt19937_64 random(4);
  CaseMaker maker(random, native);
  std::vector<const Row*> rows;
  for (const Row& row : all_rows()) {
    static const Emit kHandlers[] = {&E::alu,  &E::test,   &E::neg,   &E::inc_dec,  &E::mov,    &E::movzx, &E::movsx,
                                     &E::lea,  &E::cmovcc, &E::setcc, &E::carry_op, &E::lahf,   &E::sahf,  &E::xadd,
                                     &E::xchg, &E::cbw,    &E::cwd,   &E::bit_test, &E::cmpxchg};
    if (is_testable(row, true) &&
        std::find(std::begin(kHandlers), std::end(kHandlers), row.emitter) != std::end(kHandlers))
      rows.push_back(&row);
  }
  for (int round = 0; round < 5000; ++round) {
    std::vector<u8> code;
    Registers start;
    const size_t want = 2 + random() % 8;
    for (size_t n = 0; n < want;) {
      const Case c = maker.make(*rows[random() % rows.size()]);
      const bool touches_memory = c.insn.row && c.insn.is_memory && !c.insn.row->has(kNoMemory);
      if (!c.is_usable || touches_memory || observes_flags(c.insn) || c.insn.base == kBaseRip) continue;
      // The host stack pointer must stay valid.
      if (c.insn.rm == RSP || c.insn.reg == RSP || (c.insn.opcode & 7) == RSP) continue;
      start = c.registers;
      code.insert(code.end(), c.code.begin(), c.code.end());
      ++n;
    }
    if (code.size() > 200) continue;
    start.flags &= ~u64(kDF);
    Registers expect = start, got = start;
    ASSERT_EQ(native.run(code, expect), Outcome::Done);
    ASSERT_EQ(translated.run(code, native.code_address(), got, TranslatedRun::kUserMode64), Outcome::Done);
    std::string bytes;
    for (const u8 b : code) bytes += fmt::format("{:02x} ", b);
    for (unsigned r = 0; r < 16; ++r) ASSERT_EQ(expect.gpr[r], got.gpr[r]) << bytes << " r" << r;
    ASSERT_EQ(expect.flags & kArithmetic, got.flags & kArithmetic) << bytes;
  }
}

/// Jcc against SETcc on the host, for every condition and every combination of flags.
TEST(TranslateNative, EveryConditionBranchesAsSetccSays) {
  NativeHarness native;
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  constexpr u64 kBits[] = {kCF, kPF, kAF, kZF, kSF, kOF};
  for (unsigned cc = 0; cc < 16; ++cc) {
    for (unsigned combination = 0; combination < 64; ++combination) {
      Registers r;
      r.gpr[RSP] = u64(native.buffer()) + 2048;
      for (unsigned i = 0; i < 6; ++i) r.flags |= combination >> i & 1 ? kBits[i] : 0;
      Registers host = r, ours = r;
      const u8 setcc[] = {0x0f, u8(0x90 | cc), 0xc0};
      native.run(setcc, host);
      const u8 jcc[] = {u8(0x70 | cc), 0x20};
      translated.run(jcc, 0x4000'0000, ours, TranslatedRun::kUserMode64);
      ASSERT_EQ(translated.next_pc(), host.gpr[RAX] & 1 ? 0x4000'0022u : 0x4000'0002u) << cc << " " << combination;
    }
  }
}

}  // namespace
}  // namespace emu::x86::test
