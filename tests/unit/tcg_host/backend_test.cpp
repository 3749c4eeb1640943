// SPDX-License-Identifier: Apache-2.0
// What random blocks do not reach: room, loops, links, jump cache, x87 stores that pop.
#include "unit/tcg_host/jit_bench.h"

namespace emu::test {
namespace {

class Backend : public testing::TestWithParam<bool> {
 protected:
  Backend() : bench_(GetParam()) {}
  void compile(const std::string& body, bool fpu = false) {
    const auto parsed = ir::parse(fmt::format("block 0x1000 bytes=8{}\n insn #0x0\n{}", fpu ? " fpu" : "", body),
                                  bench_.layout, bench_.helpers, block_);
    ASSERT_TRUE(parsed) << parsed.error().message();
    block_.movable = true;
    const auto valid = ir::verify(block_, bench_.layout, bench_.helpers);
    ASSERT_TRUE(valid) << valid.error().message();
    ASSERT_EQ(bench_.compile(block_), ir::CompileStatus::Ok);
  }
  ir::InterpretResult run() { return bench_.run(memory_, 1); }
  ir::CodeSpan site(size_t i) {
    u8* at = const_cast<u8*>(bench_.parts().at(bench_.compiled.links[i].offset));
    return {at, at, 32};
  }

  JitBench bench_;
  ir::Block block_;
  GuestMemory memory_;
};

TEST_P(Backend, SaysNoRoomAndWritesNothingBehindItsSpan) {
  RandomBlock random(3);
  RandomBlockOptions options;
  options.insns = 6;
  random.generate(block_, options);
  ASSERT_EQ(bench_.compile(block_), ir::CompileStatus::Ok);
  const size_t hot = bench_.compiled.hot_size, cold = bench_.compiled.cold_size;
  for (size_t room = 1; room < hot; ++room) {
    bench_.hot()[room] = 0x5a;
    ASSERT_EQ(bench_.compile(block_, room), ir::CompileStatus::NoRoom) << room;
    ASSERT_EQ(bench_.hot()[room], 0x5a) << room;
  }
  for (size_t room = 1; room < cold; ++room) {
    bench_.cold()[room] = 0x5a;
    ASSERT_EQ(bench_.compile(block_, hot + 64, room), ir::CompileStatus::NoRoom) << room;
    ASSERT_EQ(bench_.cold()[room], 0x5a) << room;
  }
}

TEST_P(Backend, LoopToItsOwnHeadRunsUntilTheCountIsZero) {
  compile(R"(
   v2 = get.i64 r2
   v3 = get.i64 r3
   v4 = add.i64 v3, 0x5
   set r3, v4
   v6 = get_flags
   v7 = sub.i64 v2, 0x1
   v8 = fl.dec.i64 v7, v6
   set r2, v7
   set_flags v8
   v11 = fl.is.i1 not_equal, v8
   side_exit v11, pc(0x1000)
   exit_direct pc(0x1100)
)");
  bench_.state().regs[2] = 1000;
  bench_.state().hdr.cc_a = tcg::kFlagCarry;
  EXPECT_EQ(run().pc, 0x1100u);
  EXPECT_EQ(bench_.state().regs[3], 5000u);
  const auto& env = bench_.state().hdr;
  EXPECT_EQ(tcg::pack_flags(env.cc_op, env.cc_a, env.cc_b), tcg::kFlagCarry | tcg::kFlagZero | tcg::kFlagParity);
}

TEST_P(Backend, LinksWithinAPageJumpStraightToTheTarget) {
  compile("   set r3, 0x7\n   exit_direct pc(0x1100)\n");
  ASSERT_EQ(bench_.compiled.links.size(), 1u);
  EXPECT_EQ(bench_.compiled.links[0].kind, ir::LinkKind::SamePage);
  EXPECT_EQ(bench_.compiled.links[0].target_pc, 0x1100u);
  EXPECT_EQ(run().pc, 0x1100u);
  EXPECT_EQ(bench_.state().hdr.exit_arg, reinterpret_cast<u64>(bench_.parts().at(bench_.compiled.links[0].key)));
  const u8* stub = bench_.backend->link(site(0), ir::LinkKind::SamePage, 0x1100, 0, bench_.thunks.checked);
  EXPECT_EQ(run().reason, ExitReason::Checked);
  bench_.backend->unlink(site(0), stub);
  EXPECT_EQ(run().reason, ExitReason::Lookup);
}

TEST_P(Backend, LinksAcrossPagesAreGuardedByTheExecTlb) {
  compile("   exit_direct pc(0x7100)\n");
  ASSERT_EQ(bench_.compiled.links.size(), 1u);
  EXPECT_EQ(bench_.compiled.links[0].kind, ir::LinkKind::CrossPage);
  bench_.backend->link(site(0), ir::LinkKind::CrossPage, 0x7100, 55, bench_.thunks.checked);
  EXPECT_EQ(run().reason, ExitReason::Lookup);
  bench_.view().exec[tcg::exec_tlb_index(0x7100)] = 55;
  EXPECT_EQ(run().reason, ExitReason::Checked);
}

TEST_P(Backend, IndirectExitsFindTheirTargetInTheJumpCache) {
  compile("   v2 = get.i64 r3\n   exit_indirect v2, #0x0\n");
  for (const u64 pc : {u64(0x1234), u64(0xffffffff81000120), u64(0x1000)}) {
    bench_.state().regs[3] = pc;
    auto result = run();
    EXPECT_EQ(result.reason, ExitReason::Lookup);
    EXPECT_EQ(result.pc, pc);
    auto& entry = bench_.jump_cache()[tcg::jump_cache_index(pc)];
    const auto old = entry;
    entry = {pc, bench_.thunks.checked};
    EXPECT_EQ(run().reason, ExitReason::Checked);
    entry = old;
  }
}

TEST_P(Backend, IndirectExitsFindTheirTargetAmongTheVictims) {
  compile("   v2 = get.i64 r3\n   exit_indirect v2, #0x0\n");
  for (const u64 pc : {u64(0x1234), u64(0xffffffff81000120), u64(0x2080), u64(0x7f8812345678)}) {
    bench_.state().regs[3] = pc;
    ASSERT_EQ(run().reason, ExitReason::Lookup);
    auto& entry = bench_.jump_cache()[tcg::jump_cache_victim(pc)];
    const auto old = entry;
    const u64 before = bench_.state().hdr.victim_jumps;
    entry = {pc, bench_.thunks.checked};
    EXPECT_EQ(run().reason, ExitReason::Checked);
    EXPECT_EQ(bench_.state().hdr.victim_jumps, before + 1);
    entry = old;
  }
}

TEST_P(Backend, ExitRequestIsSeenAtTheEntryAndNotAtTheBody) {
  compile("   set r3, 0x7\n   exit_direct pc(0x1100)\n");
  bench_.state().hdr.exit_req = 1;
  EXPECT_EQ(run().reason, ExitReason::ExitRequest);
  EXPECT_EQ(bench_.state().hdr.pc, 0x1000u);
  EXPECT_EQ(bench_.state().regs[3], 0u);
  EXPECT_EQ(bench_.compiled.entry % 8, 0u);
  EXPECT_EQ(bench_.compiled.body - bench_.compiled.entry, 11u);
}

TEST_P(Backend, EntryCanBeRedirectedAndRestored) {
  compile("   exit_direct pc(0x1100)\n");
  u8* entry = bench_.hot() + bench_.compiled.entry;
  const u64 old = bench_.backend->redirect_entry({entry, entry, 8}, bench_.thunks.checked);
  EXPECT_EQ(run().reason, ExitReason::Checked);
  bench_.backend->restore_entry({entry, entry, 8}, old);
  EXPECT_EQ(run().reason, ExitReason::Lookup);
}

TEST_P(Backend, RelocationsNameEveryPc) {
  compile("   v2 = call.i64 digest, 0x1\n   st.i64 [0x40000000] 8, pc(0x1008)\n   exit_direct pc(0x1100)\n");
  std::vector<u64> words;
  ir::for_each_relocation(bench_.compiled.relocations, [&](const ir::Relocation& r) {
    if (r.form != ir::Relocation::Form::Pc64 && r.form != ir::Relocation::Form::Pc32) return;
    u64 word = 0;
    std::memcpy(&word, bench_.parts().at(r.offset), r.end() - r.offset);
    words.push_back(word);
  });
  EXPECT_EQ(words, (std::vector<u64>{0x1000, 0x1008, 0x1100}));  // call, store, link
}

TEST_P(Backend, ABlockThatUsesAPartOfAPcFitsNoOther) {
  compile("   v2 = trunc.i32 pc(0x1008)\n   set d0, v2\n   exit_direct pc(0x1100)\n");
  EXPECT_TRUE(bench_.compiled.relocations.empty());
  compile("   exit_direct pc(0x1100)\n");
  EXPECT_FALSE(bench_.compiled.relocations.empty());
  block_.movable = false;
  ASSERT_EQ(bench_.compile(block_), ir::CompileStatus::Ok);
  EXPECT_TRUE(bench_.compiled.relocations.empty());
}

TEST_P(Backend, NothingButCodeDependsOnWhereTheCodeLies) {
  compile("   v2 = get.i64 r3\n   v3 = call.i64 digest, 0x1\n   st.i64 [v2] 8, pc(0x1008)\n   v5 = ld.i64 [v3] 8\n"
          "   set r3, v5\n   exit_direct pc(0x1100)\n");
  ir::CompiledBlock elsewhere;
  u8 *hot = bench_.hot() + 0x4000, *cold = bench_.cold() + 0x5010;
  const ir::CompileRequest request{.block = &block_,
                                   .layout = &bench_.layout,
                                   .helpers = &bench_.helpers,
                                   .thunks = &bench_.thunks,
                                   .hot = {hot, hot, 0x1000},
                                   .cold = {cold, cold, 0x1000}};
  ASSERT_EQ(bench_.backend->compile(request, elsewhere), ir::CompileStatus::Ok);
  EXPECT_EQ(elsewhere.side_table, bench_.compiled.side_table);
  ASSERT_EQ(elsewhere.links.size(), 1u);
  EXPECT_EQ(elsewhere.links[0].offset, bench_.compiled.links[0].offset);
  EXPECT_EQ(elsewhere.links[0].key, bench_.compiled.links[0].key);
}

TEST_P(Backend, X87StoresWithoutPopKeepTheStack) {
  bench_.state().hdr.fpu_live = 1;
  const u16 control = 0x37f, mxcsr = 0x1f80;
  std::memcpy(bench_.state().hdr.fpu_image, &control, 2);
  std::memcpy(bench_.state().hdr.fpu_image + 24, &mxcsr, 2);
  compile(R"(
   x87 PushI32, 0xfffffff9, #0x0
   v3 = x87.i64 ToI64, #0x0
   v4 = x87.i32 ToI32Trunc, #0x0
   v5 = x87.i64 ToF80Low, #0x0
   set r3, v3
   set r5, v5
   set d0, v4
   exit_direct pc(0x1100)
)",
          true);
  run();
  EXPECT_EQ(bench_.state().regs[3], u64(-7));
  EXPECT_EQ(u32(bench_.state().d0), u32(-7));
  EXPECT_EQ(bench_.state().regs[5], 0xe000000000000000u);
  EXPECT_EQ(bench_.state().hdr.fpu_image[4], 0x80);
}

TEST_P(Backend, ABlockWithX87CodeAsksForTheUnit) {
  bench_.state().hdr.fpu_live = 0;
  compile("   x87 Push1, #0x0\n   exit_direct pc(0x1100)\n", true);
  EXPECT_EQ(run().reason, ExitReason::FpuLoad);
  EXPECT_EQ(bench_.state().hdr.pc, 0x1000u);
}

INSTANTIATE_TEST_SUITE_P(Hosts, Backend, testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "Avx512" : "Avx2"; });

}  // namespace
}  // namespace emu::test
