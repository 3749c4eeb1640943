// SPDX-License-Identifier: Apache-2.0
// The human monitor over a byte stream, on a machine that runs nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/expression.h"
#include "monitor/hmp/session.h"
#include "monitor/page_tables.h"
#include "support/fake_control.h"

namespace emu::monitor {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

class HmpTest : public ::testing::Test {
 protected:
  HmpTest() {
    auto made = HmpSession::create(terminal, monitors);
    EXPECT_TRUE(made.has_value());
    session = std::move(*made);
  }
  std::string run(std::string_view line) { return session->execute(line); }

  FakeControl control;
  Monitors monitors{control, control.loop()};
  const CommandRegistry& registry = monitors.registry();
  FakeTerminal terminal;
  std::unique_ptr<HmpSession> session;
};

TEST_F(HmpTest, GreetsAndPrompts) {
  EXPECT_THAT(terminal.take(), EndsWith("type 'help' for more information\r\n(qemu) "));
}

TEST_F(HmpTest, PreconfigTakesOnlyWhatNeedsNoMachine) {
  control.preconfig = true;
  control.running = false;
  for (const char* line : {"cont", "system_reset", "x /1xb 0", "device_add edu", "eject cd0"}) {
    EXPECT_THAT(run(line), HasSubstr("not available with -preconfig until after exit_preconfig")) << line;
  }
  EXPECT_FALSE(control.running);
  EXPECT_THAT(run("info status"), HasSubstr("VM status: paused"));
  EXPECT_THAT(run("help stop"), HasSubstr("stop emulation"));
  EXPECT_EQ(run("exit_preconfig"), "");
  EXPECT_EQ(run("cont"), "");
  EXPECT_TRUE(control.running);
}

TEST_F(HmpTest, InputWaitsWhileManyLinesDo) {
  monitors.run_alone([&] {
    for (int i = 0; i < 20; i++) terminal.type("print 1\n");
    EXPECT_EQ(session->can_receive(), 0u);
  });
  terminal.take();
  while (control.loop().run_once(/*wait=*/false)) {
  }
  EXPECT_GT(session->can_receive(), 0u);
  const std::string said = terminal.take();
  std::size_t answers = 0;
  for (std::size_t at = 0; (at = said.find("0x1\r\n", at)) != std::string::npos; at++) answers++;
  EXPECT_EQ(answers, 20u);
}

TEST_F(HmpTest, EchoesAndAnswers) {
  terminal.take();
  terminal.type("info status\r");
  EXPECT_EQ(terminal.take(), "info status\r\nVM status: running\r\n(qemu) ");
}

TEST_F(HmpTest, EditsTheLine) {
  terminal.take();
  terminal.type("inffo status\x01\x06\x06\x06\x04\x05\n");  // home, right x3, delete, end
  EXPECT_THAT(terminal.take(), EndsWith("\r\nVM status: running\r\n(qemu) "));
  terminal.type("garbage\x15\x1b[A\r");  // kill line, up
  EXPECT_THAT(terminal.take(), EndsWith("\r\nVM status: running\r\n(qemu) "));
  terminal.type("stoq\x7fp\n");
  EXPECT_FALSE(control.running);
}

TEST_F(HmpTest, CompletesCommandsAndSubcommands) {
  terminal.take();
  terminal.type("system_r\t\r");
  EXPECT_EQ(control.log, "reset ");
  terminal.take();
  terminal.type("info reg\t");
  EXPECT_EQ(terminal.take(), "info registers ");
  terminal.type("\x15info m\t");
  EXPECT_THAT(terminal.take(), testing::AllOf(HasSubstr("mem "), HasSubstr("mtree"), EndsWith("(qemu) info m")));
}

TEST_F(HmpTest, LongNamesOfACompletionStayApart) {
  const std::string_view map = "1000 T secondary_startup_64\n2000 T secondary_startup_64_no_verify\n";
  ASSERT_TRUE(monitors.symbols().add(std::span(reinterpret_cast<const u8*>(map.data()), map.size())));
  terminal.take();
  terminal.type("p sec\t");
  EXPECT_EQ(terminal.take(), "p secondary_startup_64");
  terminal.type("\t");
  const std::string gap(20, ' ');
  EXPECT_THAT(terminal.take(), HasSubstr("secondary_startup_64" + gap + "secondary_startup_64_no_verify"));
}

TEST_F(HmpTest, SlowTerminalLosesNothing) {
  terminal.take();
  terminal.room = 10;
  terminal.type("info status\r");
  EXPECT_EQ(terminal.screen.size(), 10u);
  terminal.make_room();
  EXPECT_EQ(terminal.take(), "info status\r\nVM status: running\r\n(qemu) ");
}

TEST_F(HmpTest, RunCommandsReachTheMachine) {
  EXPECT_EQ(run("stop"), "");
  EXPECT_EQ(run("info status"), "VM status: paused (prelaunch)\n");
  EXPECT_EQ(run("c"), "");
  EXPECT_TRUE(control.running);
  control.refuse_cont = true;
  EXPECT_EQ(run("cont"), "Error: Resetting the Virtual Machine is required\n");
  run("system_reset");
  run("system_powerdown");
  run("q");
  EXPECT_EQ(control.log, "reset powerdown quit ");
  run("nmi");
  EXPECT_EQ(control.fake_board.nmis, 1u);
}

TEST_F(HmpTest, UnknownCommandsAreNamed) {
  EXPECT_EQ(run("stpo"), "unknown command: 'stpo'\ndid you mean 'stop'?\n");
  EXPECT_THAT(run("info registres"), HasSubstr("did you mean 'info registers'?"));
  EXPECT_THAT(run("stop now"), HasSubstr("extraneous characters"));
  EXPECT_EQ(run("x"), "unexpected end of expression\nTry \"help x\" for more information\n");
  EXPECT_EQ(run("   "), "");
}

TEST_F(HmpTest, RegistersOfOneCpuOrAll) {
  EXPECT_THAT(run("info registers"), testing::StartsWith("CPU#0\nRAX="));
  const std::string all = run("info registers -a");
  EXPECT_THAT(all, testing::AllOf(HasSubstr("CPU#0\n"), HasSubstr("\nCPU#1\n")));
  EXPECT_EQ(run("cpu 1"), "");
  EXPECT_THAT(run("info registers"), HasSubstr("RBX=0000000000000001"));
  EXPECT_EQ(run("cpu 5"), "Error: invalid CPU index\n");
  EXPECT_THAT(run("info registers 9"), HasSubstr("CPU not available"));
}

TEST_F(HmpTest, RunningCpusAreHeldWhileLookedAt) {
  control.fake_accelerator.paused = false;
  run("info registers");
  EXPECT_EQ(control.fake_accelerator.log, "exclusive ");
}

TEST_F(HmpTest, PrintHasQemusForms) {
  EXPECT_EQ(run("p 16"), "0x10\n");
  EXPECT_EQ(run("p/d 16"), "16\n");
  EXPECT_EQ(run("p/u -1"), "18446744073709551615\n");
  EXPECT_EQ(run("p/o 8"), "010\n");
  EXPECT_EQ(run("p/c 65"), "'A'\n");
  EXPECT_EQ(run("p $eax + 2*(3+4)"), "0x12345686\n");
  EXPECT_EQ(run("print/x $rip"), "0x10004\n");
  EXPECT_EQ(run("p $cs"), "0x10\n");
  EXPECT_THAT(run("p $foo"), HasSubstr("unknown register 'foo'"));
  EXPECT_THAT(run("p 1/0"), HasSubstr("division by zero"));
}

TEST_F(HmpTest, MemoryIsShownAsQemuDoes) {
  const u8 bytes[] = {0xea, 0x5b, 0xe0, 0x00, 0xf0, 0x30, 0x36, 0x2f, 0x32, 0};
  control.fake_board.ram().write(0x100, bytes, sizeof bytes);
  EXPECT_EQ(run("xp/9xb 0x100"), "0000000000000100: 0xea 0x5b 0xe0 0x00 0xf0 0x30 0x36 0x2f\n0000000000000108: 0x32\n");
  EXPECT_EQ(run("xp /2xh 0x100"), "0000000000000100: 0x5bea 0x00e0\n");
  EXPECT_EQ(run("xp/1xg 0x100"), "0000000000000100: 0x2f3630f000e05bea\n");
  EXPECT_EQ(run("xp/2dw 0x100"), "0000000000000100:   14703594  792080624\n");
  EXPECT_EQ(run("xp/2ob 0x100"), "0000000000000100: 0352 0133\n");
  EXPECT_EQ(run("xp/2c 0x100"), "0000000000000100: '\\xea' '['\n");
  EXPECT_EQ(run("xp/s 0x105"), "\"06/2\"\n");
  EXPECT_EQ(run("x/2xb 0x10100"), "0000000000010100: 0xea 0x5b\n") << "virtual";
  EXPECT_EQ(run("x/1xw 0x30000"), "0000000000030000: Cannot access memory\n");
  EXPECT_EQ(run("xp/1xw 0x7fffffff"), "000000007fffffff: Cannot access memory\n");
  EXPECT_EQ(run("x/2i $pc"), "0x0000000000010004:  0000 insn\n0x0000000000010006:  0000 insn\n");
  EXPECT_THAT(run("x/5z 0"), HasSubstr("invalid char in format"));
}

TEST_F(HmpTest, FormatIsRemembered) {
  run("xp/4xb 0");
  EXPECT_EQ(run("xp 0"), "0000000000000000: 0x00\n");
}

TEST_F(HmpTest, InfoTextsComeFromTheirOwners) {
  EXPECT_EQ(run("info pic"), "pic0: quiet\n");
  EXPECT_EQ(run("info lapic 1"), "lapic 1\n");
  EXPECT_EQ(run("info tlb"), "tlb of 0\n");
  EXPECT_EQ(run("info jit"), "Accelerator fake\n  translations 7\n");
  EXPECT_EQ(run("info mem"), "PG disabled\n");
  EXPECT_EQ(run("info name"), "test\n");
  EXPECT_EQ(run("info uuid"), "00000000-0000-0000-0000-000000000000\n");
  EXPECT_THAT(run("info mtree -f"), HasSubstr("fake.ram"));
  EXPECT_THAT(run("info qtree"), HasSubstr("type System"));
  EXPECT_THAT(run("info cpus"), HasSubstr("* CPU #0"));
  EXPECT_THAT(run("info ramblock"), HasSubstr("fake.ram"));
}

TEST_F(HmpTest, HelpListsEveryCommand) {
  const std::string help = run("help");
  for (const Command& command : registry.commands()) {
    if (command.name.starts_with("info ")) continue;
    EXPECT_THAT(help, HasSubstr(help_line(command)));
  }
  EXPECT_EQ(run("help stop"), "stop|s  -- stop emulation\n");
  EXPECT_THAT(run("info"), HasSubstr("info mtree [-f] -- "));
}

TEST(PageTables, JoinsPagesWithEqualRights) {
  std::map<u64, u64> memory;
  memory[0x1000 + 8 * 511] = 0x2000 | 3;  // top of a four-level space
  memory[0x2000] = 0x3000 | 3;
  memory[0x3000] = 0x40'0000 | 0x83;  // 2 MiB
  memory[0x3008] = 0x60'0000 | 0x83;
  memory[0x3010] = 0x4000 | 7;
  memory[0x4000] = 0x9000 | 5;
  const auto read = [&](u64 address, unsigned) -> std::optional<u64> {
    return memory.contains(address) ? memory[address] : 0;
  };
  EXPECT_EQ(describe_x86_mappings({.cr0 = 0x8000'0001, .cr3 = 0x1000, .cr4 = 0x20, .efer = 0x500}, read),
            "ffffff8000000000-ffffff8000400000 0000000000400000 -rw\n"
            "ffffff8000400000-ffffff8000401000 0000000000001000 -r-\n");
}

TEST(PageTables, GivesUpOnTablesThatPointAtThemselves) {
  // Each entry of the one table there is points at that table: 2^36 pages, all alike.
  const auto read = [&](u64, unsigned) -> std::optional<u64> { return 0x1007; };
  const std::string text = describe_x86_mappings({.cr0 = 0x8000'0001, .cr3 = 0x1000, .cr4 = 0x20, .efer = 0x500}, read);
  EXPECT_THAT(text, testing::StartsWith("0000000000000000-0000000"));
  EXPECT_THAT(text, EndsWith(" urw\n(more ranges are not shown)\n"));
}

TEST(PageTables, ReadsTwoLevelTablesWithLargePages) {
  std::map<u64, u64> memory;
  memory[0x1000] = 0x87;
  memory[0x1004] = 0x2000 | 7;
  memory[0x2004] = 0x5000 | 5;
  const auto read = [&](u64 address, unsigned) -> std::optional<u64> {
    return memory.contains(address) ? memory[address] : 0;
  };
  EXPECT_EQ(describe_x86_mappings({.cr0 = 0x8000'0001, .cr3 = 0x1000, .cr4 = 0x10}, read),
            "00000000-00400000 00400000 urw\n00401000-00402000 00001000 ur-\n");
}

}  // namespace
}  // namespace emu::monitor
