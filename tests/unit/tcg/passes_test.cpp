// SPDX-License-Identifier: Apache-2.0
// Passes and folding: golden texts, and random blocks that must mean the same before and after.
#include "tcg/passes/passes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tcg/ir/verify.h"
#include "unit/tcg/random_block.h"

namespace emu::test {
namespace {

using ir::Block;
using ir::PassOptions;

class PassTest : public testing::Test {
 protected:
  std::string optimized(std::string_view text, const PassOptions& options = {.verify = true}) {
    Block block;
    const auto parsed = ir::parse(text, layout_, helpers_, block);
    if (!parsed) return parsed.error().message();
    if (auto r = ir::verify(block, layout_, helpers_); !r) return r.error().message();
    ir::optimize(block, layout_, helpers_, options);
    return ir::print(block, layout_, helpers_);
  }

  ir::StateLayout layout_ = guest_layout();
  ir::HelperTable helpers_ = guest_helpers();
};

TEST_F(PassTest, overwritten_set_goes_when_nothing_sees_it) {
  EXPECT_EQ(optimized(R"(block 0x1000
 insn #0x0
   v2 = get.i64 r1
   v3 = add.i64 v2, 0x1
   set r0, v3
   set r0, v2
   exit_direct pc(0x1004)
)"),
            R"(block 0x1000 bytes=0 insns=1
 insn #0x0
   v2 = get.i64 r1
   set r0, v2
   exit_direct pc(0x1004)
)");
}

TEST_F(PassTest, set_before_a_load_stays_because_the_fault_shows_it) {
  EXPECT_EQ(optimized(R"(block 0x1000
 insn #0x0
   v2 = get.i64 r1
   set r0, v2
 insn #0x4
   v5 = ld.i64 [v2] 8
   set r0, v5
   exit_direct pc(0x1004)
)"),
            R"(block 0x1000 bytes=0 insns=2
 insn #0x0
   v2 = get.i64 r1
   set r0, v2
 insn #0x4
   v5 = ld.i64 [v2] 8
   set r0, v5
   exit_direct pc(0x1004)
)");
}

TEST_F(PassTest, flags_that_the_next_instruction_overwrites_are_not_made) {
  EXPECT_EQ(optimized(R"(block 0x1000
 insn #0x0
   v2 = get.i64 r1
   v3 = get.i64 r2
   v4 = add.i64 v2, v3
   v5 = fl.add.i64 v2, v3, v4
   set r1, v4
   set_flags v5
 insn #0x4
   v9 = fl.logic.i64 v4
   set_flags v9
   exit_direct pc(0x1004)
)"),
            R"(block 0x1000 bytes=0 insns=2
 insn #0x0
   v2 = get.i64 r1
   v3 = get.i64 r2
   v4 = add.i64 v2, v3
   set r1, v4
 insn #0x4
   v9 = fl.logic.i64 v4
   set_flags v9
   exit_direct pc(0x1004)
)");
}

TEST_F(PassTest, side_exit_keeps_the_flags_before_it) {
  const std::string text = optimized(R"(block 0x1000
 insn #0x0
   v2 = get.i64 r1
   v3 = fl.logic.i64 v2
   set_flags v3
   v5 = fl.is.i1 sign, v3
   side_exit v5, pc(0x2000)
 insn #0x4
   v8 = fl.cmp.i64 v2, 0x5
   set_flags v8
   exit_direct pc(0x1008)
)");
  EXPECT_NE(text.find("set_flags v3"), std::string::npos) << text;
}

TEST_F(PassTest, leaf_helper_does_not_keep_sets_alive_but_others_do) {
  const std::string text = optimized(R"(block 0x1000
 insn #0x0
   set r0, 0x1
   v3 = call.i64 count, 0x1
   set r0, 0x2
   v5 = call.i64 digest, 0x1
   set r0, 0x3
   v7 = call.i64 mix, 0x1, 0x2
   exit_direct pc(0x1008)
)");
  EXPECT_EQ(text, R"(block 0x1000 bytes=0 insns=1
 insn #0x0
   v3 = call.i64 count, 0x1
   set r0, 0x2
   v5 = call.i64 digest, 0x1
   set r0, 0x3
   exit_direct pc(0x1008)
)");
}

TEST_F(PassTest, unused_float_op_stays_because_it_sets_sticky_flags) {
  const std::string text = optimized(R"(block 0x1000
 insn #0x0
   v2 = get.v128 x0
   v3 = vec.v128 vdiv.f32, v2, v2
   v4 = vec.v128 vadd.i8, v2, v2
   exit_direct pc(0x1008)
)");
  EXPECT_NE(text.find("vdiv.f32"), std::string::npos) << text;
  EXPECT_EQ(text.find("vadd.i8"), std::string::npos) << text;
}

TEST_F(PassTest, block_ends_at_a_trap_that_is_always_taken) {
  EXPECT_EQ(optimized(R"(block 0x1000
 insn #0x0
   v2 = cmp.i64 equal, 0x0, 0x0
   trap_if v2, #0x7
   set r0, 0x1
   exit_direct pc(0x1008)
)"),
            R"(block 0x1000 bytes=0 insns=1
 insn #0x0
   trap #0x7
)");
}

/// What a run leaves behind.
struct Outcome {
  GuestState state;
  GuestMemory memory;
  ir::InterpretResult result;
};

std::string difference(const Outcome& x, const Outcome& y, const ir::StateLayout& layout) {
  const auto field = [](const GuestState& s, const ir::StateField& f) {
    return std::string(reinterpret_cast<const char*>(&s) + f.offset, size_t(1) << ir::log2_bytes(f.type));
  };
  for (const ir::StateField& f : layout.fields) {
    if (field(x.state, f) != field(y.state, f)) return "field " + f.name;
  }
  const auto packed = [](const GuestState& s) { return tcg::pack_flags(s.hdr.cc_op, s.hdr.cc_a, s.hdr.cc_b); };
  if (packed(x.state) != packed(y.state)) return fmt::format("flags {:#x} {:#x}", packed(x.state), packed(y.state));
  if (x.state.hdr.fp_control != y.state.hdr.fp_control) return "fp_control";
  if (x.state.hdr.fpu_control != y.state.hdr.fpu_control) return "fpu_control";
  if (std::memcmp(x.state.hdr.fpu_image, y.state.hdr.fpu_image, 512) != 0) return "x87 image";
  if (x.state.helper_calls != y.state.helper_calls) return "helper calls";
  if (x.state.hdr.pc != y.state.hdr.pc) return "pc";
  if (std::memcmp(x.memory.page, y.memory.page, sizeof(x.memory.page)) != 0) return "memory";
  if (x.result.reason != y.result.reason) return "reason";
  if (x.result.pc != y.result.pc) return "result pc";
  if (x.result.arg != y.result.arg) return "result arg";
  if (x.result.insns_done != y.result.insns_done) return "instructions done";
  return {};
}

class RandomPassTest : public PassTest, public testing::WithParamInterface<unsigned> {};

TEST_P(RandomPassTest, optimized_block_means_the_same) {
  const unsigned bits = GetParam();
  const PassOptions options{.dead_code = bool(bits & 1), .fold = bool(bits & 2), .verify = true};
  for (u64 seed = 0; seed < 1500; ++seed) {
    RandomBlock random(seed * 8 + bits);
    Block block;
    random.generate(block, {.insns = 1 + unsigned(seed % 12), .x87 = seed % 4 == 0});
    const auto valid = ir::verify(block, layout_, helpers_);
    ASSERT_TRUE(valid) << valid.error().message() << ir::print(block, layout_, helpers_);
    Block after = block;
    ir::optimize(after, layout_, helpers_, options);
    for (unsigned run = 0; run < 3; ++run) {
      auto x = std::make_unique<Outcome>();
      random.randomize(x->state, x->memory);
      auto y = std::make_unique<Outcome>();
      std::memcpy(static_cast<void*>(&y->state), &x->state, sizeof(GuestState));
      std::memcpy(y->memory.page, x->memory.page, sizeof(x->memory.page));
      std::memcpy(y->memory.read_only, x->memory.read_only, sizeof(x->memory.read_only));
      x->result = ir::interpret(block, layout_, helpers_, x->state.hdr, x->memory);
      y->result = ir::interpret(after, layout_, helpers_, y->state.hdr, y->memory);
      const std::string what = difference(*x, *y, layout_);
      ASSERT_EQ(what, "") << "seed " << seed << " run " << run << "\n"
                          << ir::print(block, layout_, helpers_) << "became\n"
                          << ir::print(after, layout_, helpers_);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(EachPassToggled, RandomPassTest, testing::Range(1u, 4u));

}  // namespace
}  // namespace emu::test
