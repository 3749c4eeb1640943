// SPDX-License-Identifier: Apache-2.0
// Random blocks: the interpreter and host code must leave the same state, memory and reason.
#include <cstdlib>

#include "tcg/passes/passes.h"
#include "unit/tcg_host/jit_bench.h"

namespace emu::test {
namespace {

constexpr u16 kRoundedUp = 0x200;  // C1, see emit_x87.cpp

/// What differs between two guests, or nothing.
std::string difference(const GuestState& a, const GuestState& b) {
  std::string text;
  const auto check = [&](const std::string& name, u64 x, u64 y) {
    if (x != y) text += fmt::format("  {}: interpreter {:#x}, host code {:#x}\n", name, x, y);
  };
  for (unsigned i = 0; i < 8; ++i) check(fmt::format("r{}", i), a.regs[i], b.regs[i]);
  for (unsigned i = 0; i < 4; ++i) check(fmt::format("r{}", i + 8), a.hdr.hot[i], b.hdr.hot[i]);
  for (unsigned i = 0; i < 6; ++i) {
    for (unsigned half = 0; half < 4; ++half) {
      u64 x, y;
      std::memcpy(&x, a.vec[i].bytes + 8 * half, 8);
      std::memcpy(&y, b.vec[i].bytes + 8 * half, 8);
      check(fmt::format("x{}[{}]", i, half), x, y);
    }
  }
  check("b0", u8(a.b0), u8(b.b0));
  check("w0", u16(a.w0), u16(b.w0));
  check("d0", u32(a.d0), u32(b.d0));
  check("d1", u32(a.d1), u32(b.d1));
  check("q0", a.q0, b.q0);
  check("helper calls", a.helper_calls, b.helper_calls);
  check("flags", tcg::pack_flags(a.hdr.cc_op, a.hdr.cc_a, a.hdr.cc_b),
        tcg::pack_flags(b.hdr.cc_op, b.hdr.cc_a, b.hdr.cc_b));
  check("fp control", a.hdr.fp_control, b.hdr.fp_control);
  return text;
}

std::string fpu_difference(const GuestState& a, const GuestState& b) {
  std::string text;
  const auto word = [](const GuestState& s, unsigned at) {
    u16 v;
    std::memcpy(&v, s.hdr.fpu_image + at, 2);
    return v;
  };
  if ((word(a, 2) ^ word(b, 2)) & u16(~kRoundedUp))
    text += fmt::format("  fpu status {:#x} {:#x}\n", word(a, 2), word(b, 2));
  if (a.hdr.fpu_image[4] != b.hdr.fpu_image[4])
    text += fmt::format("  fpu tags {:#x} {:#x}\n", a.hdr.fpu_image[4], b.hdr.fpu_image[4]);
  if (a.hdr.fpu_control != b.hdr.fpu_control)
    text += fmt::format("  fpu control {:#x} {:#x}\n", a.hdr.fpu_control, b.hdr.fpu_control);
  for (unsigned i = 0; i < 8; ++i) {
    if (!(a.hdr.fpu_image[4] >> ((((word(a, 2) >> 11) & 7) + i) & 7) & 1)) continue;
    if (std::memcmp(a.hdr.fpu_image + 32 + 16 * i, b.hdr.fpu_image + 32 + 16 * i, 10))
      text += fmt::format("  st{} differs\n", i);
  }
  return text;
}

/// Stores without pop leave an empty ST(0) tagged as full; guests pop it next.
bool stores_without_pop(const ir::Block& block) {
  for (const ir::Op& op : block.ops) {
    if (op.opcode != ir::Opcode::X87) continue;
    const ir::X87Op x = ir::x87_op_of(op.c.bits());
    if (x >= ir::X87Op::ToF80Low && x <= ir::X87Op::ToI64Trunc && x != ir::X87Op::ToI16 && x != ir::X87Op::ToI32)
      return true;
  }
  return false;
}

bool loops(const ir::Block& block) {
  for (const ir::Op& op : block.ops) {
    if (op.opcode == ir::Opcode::SideExit && block.constant_value(op.b) == block.pc) return true;
    if (op.opcode == ir::Opcode::ExitDirect && block.constant_value(op.a) == block.pc) return true;
  }
  return false;
}

/// Makes most accesses start from the base of an earlier one, a little further, so that they share checks.
void share_bases(ir::Block& block, RandomBlock& random) {
  ir::Ref base;
  i32 disp = 0;
  for (ir::Op& op : block.ops) {
    if (op.opcode != ir::Opcode::Ld && op.opcode != ir::Opcode::St) continue;
    ir::MemInfo& mem = block.mems[op.c.bits()];
    if (base.is_value() && random.chance(80)) {
      op.a = base;
      mem.disp = disp + i32(random.below(100)) - 20;
      if (mem.align_log2) mem.align_log2 = u8(random.below(2));
    } else {
      base = op.a;
      disp = mem.disp;
    }
  }
}

struct Variant {
  const char* name;
  RandomBlockOptions options;
  bool optimize = false;
  bool share = false;
  bool fuse_flags = true;
};

class RandomBlocks : public testing::TestWithParam<std::tuple<bool, Variant>> {
 protected:
  void run_one(JitBench& bench, u64 seed, const Variant& variant) {
    RandomBlock random(seed);
    ir::Block block;
    RandomBlockOptions options = variant.options;
    options.insns = 1 + unsigned(seed % 10);
    random.generate(block, options);
    if (loops(block) || stores_without_pop(block)) return;
    if (variant.share) share_bases(block, random);
    if (variant.optimize) ir::optimize(block, bench.layout, bench.helpers, {});
    const auto valid = ir::verify(block, bench.layout, bench.helpers);
    ASSERT_TRUE(valid) << valid.error().message();

    auto memory = std::make_unique<GuestMemory>(), jit_memory = std::make_unique<GuestMemory>();
    auto state = std::make_unique<GuestState>();
    random.randomize(*state, *memory);
    if (options.x87) {
      const u16 control = 0x37f, mxcsr[2] = {0x1f80, 0};
      std::memcpy(state->hdr.fpu_image, &control, 2);
      std::memcpy(state->hdr.fpu_image + 24, mxcsr, 4);
    }
    std::memcpy(jit_memory->page, memory->page, sizeof memory->page);
    std::memcpy(jit_memory->read_only, memory->read_only, sizeof memory->read_only);
    std::memcpy(static_cast<void*>(&bench.state()), static_cast<const void*>(state.get()), sizeof(GuestState));
    bench.state().hdr.fpu_live = options.x87;
    bench.state().hdr.wide_vectors = options.wide;

    bench.fuse_flags = variant.fuse_flags;
    const ir::CompileStatus status = bench.compile(block);
    if (status == ir::CompileStatus::TooComplex) {
      ++too_complex_;
      return;
    }
    ASSERT_EQ(status, ir::CompileStatus::Ok);
    if (getenv("JIT_TRACE")) {
      fprintf(stderr, "seed %lu\n%s\n%s\n", seed, ir::print(block, bench.layout, bench.helpers).c_str(),
              bench.listing().c_str());
    }
    const auto expected = ir::interpret(block, bench.layout, bench.helpers, state->hdr, *memory);
    const auto result = bench.run(*jit_memory, seed);
    std::string wrong = difference(*state, bench.state());
    if (options.x87) wrong += fpu_difference(*state, bench.state());
    if (expected.reason != result.reason || expected.pc != result.pc || expected.arg != result.arg) {
      wrong += fmt::format("  leaves with {} {:#x} {:#x}, host code with {} {:#x} {:#x}\n", u32(expected.reason),
                           expected.pc, expected.arg, u32(result.reason), result.pc, result.arg);
    }
    if (std::memcmp(memory->page, jit_memory->page, sizeof memory->page)) wrong += "  memory differs\n";
    if (!wrong.empty()) {
      ++failures_;
      ADD_FAILURE() << "seed " << seed << "\n"
                    << wrong << ir::print(block, bench.layout, bench.helpers) << bench.listing();
    }
  }
  unsigned failures_ = 0, too_complex_ = 0;
};

TEST_P(RandomBlocks, HostCodeDoesWhatTheInterpreterDoes) {
  const auto& [avx512, variant] = GetParam();
  JitBench bench(avx512);
  const char* one = getenv("JIT_SEED");
  const char* many = getenv("JIT_COUNT");
  const u64 count = many ? strtoull(many, nullptr, 0) : 1500;
  for (u64 seed = one ? strtoull(one, nullptr, 0) : 1; seed <= count || one; ++seed) {
    run_one(bench, seed, variant);
    if (failures_ >= 1 || HasFatalFailure() || one) break;
  }
  EXPECT_LT(too_complex_, count / 20);
}

constexpr RandomBlockOptions plain() {
  RandomBlockOptions o;
  o.memory = o.atomics = o.calls = o.exits = o.vectors = o.floats = o.x87 = false;
  return o;
}
constexpr RandomBlockOptions with(RandomBlockOptions o, bool RandomBlockOptions::*option) {
  o.*option = true;
  return o;
}
constexpr RandomBlockOptions all() { return RandomBlockOptions{}; }

INSTANTIATE_TEST_SUITE_P(
    Hosts, RandomBlocks,
    testing::Combine(testing::Bool(),
                     testing::Values(Variant{"Integers", plain()},
                                     Variant{"Exits", with(plain(), &RandomBlockOptions::exits)},
                                     Variant{"Memory", with(plain(), &RandomBlockOptions::memory)},
                                     Variant{"Atomics", with(with(plain(), &RandomBlockOptions::memory),
                                                             &RandomBlockOptions::atomics)},
                                     Variant{"Calls", with(plain(), &RandomBlockOptions::calls)},
                                     Variant{"Vectors", with(plain(), &RandomBlockOptions::vectors)},
                                     Variant{"Floats", with(with(plain(), &RandomBlockOptions::vectors),
                                                            &RandomBlockOptions::floats)},
                                     Variant{"Wide", with(with(plain(), &RandomBlockOptions::vectors),
                                                          &RandomBlockOptions::wide)},
                                     Variant{"WideAll", with(all(), &RandomBlockOptions::wide)},
                                     Variant{"WideOptimized", with(all(), &RandomBlockOptions::wide), true, true},
                                     Variant{"X87", with(plain(), &RandomBlockOptions::x87)}, Variant{"All", all()},
                                     Variant{"AllOptimized", all(), true},
                                     Variant{"AllUnfused", all(), true, false, false},
                                     Variant{"SharedMemory", with(plain(), &RandomBlockOptions::memory), true, true},
                                     Variant{"SharedAll", all(), true, true})),
    [](const auto& parameter) {
      return std::string(std::get<0>(parameter.param) ? "Avx512" : "Avx2") + std::get<1>(parameter.param).name;
    });

}  // namespace
}  // namespace emu::test
