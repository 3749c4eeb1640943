// SPDX-License-Identifier: Apache-2.0
// The debugger's protocol against a machine that is not there.
#include "monitor/gdb/protocol.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace emu::monitor::gdb {
namespace {

using accel::DebugRun;
using accel::DebugStop;

class FakeRegisters final : public target::DebugRegisters {
 public:
  FakeRegisters() {
    features_.push_back(
        {"org.fake.core", "core.xml", "<flags id=\"f\" size=\"4\"/>\n", {{"a", 64}, {"pc", 64, "code_ptr"}}});
    features_.push_back({"org.fake.vector", "vector.xml", "", {{"v0", 128, "uint128"}}});
    features_.push_back({"org.fake.system", "system.xml", "", {{"c0", 32, "int32", "system"}}});
  }
  const std::string& architecture() const override { return architecture_; }
  const std::vector<target::DebugFeature>& features() const override { return features_; }
  void read(unsigned number, std::span<u8> value) const override {
    ASSERT_LT(number, 4u);
    ASSERT_EQ(value.size(), sizes[number]);
    std::memcpy(value.data(), values[number], value.size());
  }
  bool write(unsigned number, std::span<const u8> value) override {
    EXPECT_EQ(value.size(), sizes[number]);
    if (number == 3 && value[0] == 0xff) return false;
    std::memcpy(values[number], value.data(), value.size());
    return true;
  }
  u8 values[4][16] = {{0x11}, {0x22}, {0x33}, {0x44}};
  static constexpr std::size_t sizes[4] = {8, 8, 16, 4};

 private:
  const std::string architecture_ = "fake";
  std::vector<target::DebugFeature> features_;
};

/// Ten moments of CPU 1; the debugger arrives where `next` says.
struct FakePast final : TimeTravel {
  std::optional<std::string> obstacle() const override { return std::nullopt; }
  std::string describe() const override { return ""; }
  void begin() override { done += "begin "; }
  void end() override { done += "end "; }
  void about_to_run() override { done += "run "; }
  void touched() override { done += "touched "; }
  Result<Arrival> step_back(unsigned cpu) override { return went(fmt::format("step{} ", cpu)); }
  Result<Arrival> run_back() override { return went("back "); }
  bool is_in_past() const override { return in_past; }
  Result<std::optional<Arrival>> run_forward(std::optional<unsigned> step) override {
    done += step ? fmt::format("over{} ", *step) : "forward ";
    if (fails) return error("the guest ran another way");
    in_past = next.has_value();
    return next;
  }
  Result<Arrival> went(const std::string& how) {
    done += how;
    if (fails) return error("the guest ran another way");
    in_past = true;
    return *next;
  }

  std::optional<Arrival> next;
  bool in_past = false, fails = false;
  std::string done;
};

class FakeTarget final : public Target {
 public:
  explicit FakeTarget(unsigned count) : cpus(count) {}
  unsigned cpu_count() const override { return unsigned(cpus.size()); }
  target::DebugRegisters& registers(unsigned cpu) override { return cpus.at(cpu); }
  std::string cpu_state(unsigned cpu) const override { return cpu == 0 ? "running" : "halted "; }
  bool read_memory(unsigned, u64 address, AddressKind kind, std::span<u8> to) override {
    if (kind == AddressKind::Physical) address += kPhysicalAt;
    if (address + to.size() > sizeof memory || address + to.size() < address) return false;
    std::memcpy(to.data(), memory + address, to.size());
    return true;
  }
  bool write_memory(unsigned, u64 address, AddressKind, std::span<const u8> from) override {
    if (address + from.size() > sizeof memory || address + from.size() < address) return false;
    std::memcpy(memory + address, from.data(), from.size());
    return true;
  }
  Result<void> set_points(const accel::DebugPoints& now) override {
    EXPECT_FALSE(running);
    if (now.breakpoints.size() + now.watchpoints.size() > most_points) return error("no more of them");
    points = now;
    return {};
  }
  bool is_running() const override { return running; }
  Result<void> resume(std::span<const DebugRun> how, accel::StepEvents e) override {
    if (refuses) return error("shut down");
    runs.assign(how.begin(), how.end());
    events = e;
    running = true;
    return {};
  }
  void stop() override {
    running = false;
    if (on_stop) on_stop();
  }
  std::string run_line(std::string_view line) override {
    return line == "long" ? std::string(20000, 'x') : "said " + std::string(line);
  }
  void quit() override { quits++; }
  TimeTravel* time_travel() override { return past; }

  TimeTravel* past = nullptr;
  static constexpr u64 kPhysicalAt = 0x1800;
  std::vector<FakeRegisters> cpus;
  u8 memory[0x2000] = {};
  accel::DebugPoints points;
  bool running = false, refuses = false;
  std::size_t most_points = 1000;
  std::vector<DebugRun> runs;
  accel::StepEvents events = accel::StepEvents::Taken;
  int quits = 0;
  std::function<void()> on_stop;
};

class GdbProtocol : public testing::Test {
 protected:
  GdbProtocol() {
    target_.on_stop = [this] { protocol_.machine_stopped("paused"); };
    protocol_.connected();
    sent_.clear();
  }
  void raw(std::string_view bytes) {
    protocol_.receive({reinterpret_cast<const u8*>(bytes.data()), bytes.size()});
  }
  /// Sends a packet, gives the answer's data.
  std::string ask(std::string_view data) {
    sent_.clear();
    raw(frame(data));
    EXPECT_TRUE(sent_.starts_with("+")) << sent_;
    return data_of(sent_.substr(1));
  }
  /// The data of the last packet in `bytes`.
  static std::string data_of(std::string_view bytes) {
    PacketReader reader;
    std::string last = "(none)";
    for (const char c : bytes) {
      if (reader.take(u8(c)) == PacketReader::What::Packet) last = reader.packet();
    }
    return last;
  }
  std::string said() { return data_of(std::exchange(sent_, {})); }

  FakeTarget target_{2};
  std::string sent_;
  Protocol protocol_{target_, [this](std::string_view bytes) { sent_ += bytes; }};
};

TEST_F(GdbProtocol, SupportedOffersWhatIsThere) {
  const std::string offered = ask("qSupported:multiprocess+;swbreak+;hwbreak+;xmlRegisters=i386");
  for (const char* one : {"PacketSize=4000", "qXfer:features:read+", "qXfer:memory-map:read+", "QStartNoAckMode+",
                          "multiprocess+", "vContSupported+"}) {
    EXPECT_NE(offered.find(one), std::string::npos) << one;
  }
}

TEST_F(GdbProtocol, UnknownPacketsAreAnsweredEmpty) {
  for (const char* packet : {"vMustReplyEmpty", "qTStatus", "!", "QThreadEvents:1", "Z9,0,1", "_", "bs", "vRun;x"}) {
    EXPECT_EQ(ask(packet), "") << packet;
  }
}

TEST_F(GdbProtocol, ThreadsAreVcpus) {
  ask("qSupported:multiprocess+");
  EXPECT_EQ(ask("?"), "T05thread:p01.01;");
  EXPECT_EQ(ask("qfThreadInfo"), "mp01.01,p01.02");
  EXPECT_EQ(ask("qsThreadInfo"), "l");
  EXPECT_EQ(ask("Tp1.2"), "OK");
  EXPECT_EQ(ask("Tp1.3"), "E22");
  EXPECT_EQ(ask("Hgp1.2"), "OK");
  EXPECT_EQ(ask("qC"), "QCp01.02");
  EXPECT_EQ(ask("Hgp1.9"), "E22");
  EXPECT_EQ(ask("Hgp0.0"), "OK");
  EXPECT_EQ(ask("qThreadExtraInfo,p1.2"), to_hex("CPU#1 [halted ]"));
  EXPECT_EQ(ask("qAttached:1"), "1");
}

TEST_F(GdbProtocol, WithoutMultiprocessThreadsArePlainNumbers) {
  EXPECT_EQ(ask("?"), "T05thread:01;");
  EXPECT_EQ(ask("qfThreadInfo"), "m01,02");
  EXPECT_EQ(ask("Hg2"), "OK");
  EXPECT_EQ(ask("qC"), "QC02");
}

TEST_F(GdbProtocol, DescriptionComesInPieces) {
  EXPECT_NE(ask("qXfer:features:read:target.xml:0,ffb").find("<xi:include href=\"system.xml\"/>"), std::string::npos);
  const std::string whole = ask("qXfer:features:read:system.xml:0,ffb");
  ASSERT_EQ(whole[0], 'l');
  EXPECT_NE(whole.find("<reg name=\"c0\" bitsize=\"32\" type=\"int32\" regnum=\"3\" group=\"system\"/>"),
            std::string::npos);
  const std::string first = ask("qXfer:features:read:system.xml:0,10");
  const std::string rest = ask("qXfer:features:read:system.xml:10,1000");
  EXPECT_EQ(first[0], 'm');
  EXPECT_EQ(first.substr(1) + rest.substr(1), whole.substr(1));
  EXPECT_EQ(ask("qXfer:features:read:nothing.xml:0,10"), "E00");
  EXPECT_EQ(ask("qXfer:features:read:target.xml:ffffff,10"), "E22");
  EXPECT_EQ(ask("qXfer:features:read:target.xml:0"), "E22");
}

TEST_F(GdbProtocol, MapOfMemoryCoversEveryAddress) {
  const std::string map = ask("qXfer:memory-map:read::0,1000");
  ASSERT_EQ(map[0], 'l');
  EXPECT_NE(map.find("<memory type=\"ram\" start=\"0x0\" length=\"0x8000000000000000\"/>"), std::string::npos);
  EXPECT_NE(map.find("<memory type=\"ram\" start=\"0x8000000000000000\" length=\"0x8000000000000000\"/>"),
            std::string::npos);
  EXPECT_EQ(ask("qXfer:memory-map:read::0,20").substr(1) + ask("qXfer:memory-map:read::20,1000").substr(1),
            map.substr(1));
  EXPECT_EQ(ask("qXfer:memory-map:read::ffff,10"), "E22");
  EXPECT_EQ(ask("qXfer:memory-map:read:x:0,10"), "") << "it has no parts";
}

TEST_F(GdbProtocol, RegistersAreAllThereOnceTheDescriptionWasRead) {
  const std::string two = "1100000000000000" "2200000000000000" "33000000000000000000000000000000";
  EXPECT_EQ(ask("g"), two);
  ask("qXfer:features:read:target.xml:0,ffb");
  EXPECT_EQ(ask("g"), two + "44000000");
  EXPECT_EQ(ask("p3"), "44000000");
  EXPECT_EQ(ask("p4"), "E22");
  EXPECT_EQ(ask("P0=3412000000000000"), "OK");
  EXPECT_EQ(ask("p0"), "3412000000000000");
  EXPECT_EQ(ask("P0=3412"), "E22");
  EXPECT_EQ(ask("P3=ff000000"), "E22");
  EXPECT_EQ(ask("G0100000000000000" "0200000000000000"), "OK");
  EXPECT_EQ(ask("p1"), "0200000000000000");
  EXPECT_EQ(ask("Gxy"), "E22");
}

TEST_F(GdbProtocol, MemoryIsReadAndWritten) {
  EXPECT_EQ(ask("M10,4:deadbeef"), "OK");
  EXPECT_EQ(ask("m10,4"), "deadbeef");
  EXPECT_EQ(ask("X20,4:a#$}"), "OK");
  EXPECT_EQ(ask("m20,4"), "6123247d");
  EXPECT_EQ(ask("X20,0:"), "OK");
  EXPECT_EQ(ask("m5000,4"), "E14");
  EXPECT_EQ(ask("mffffffffffffffff,4"), "E14");
  EXPECT_EQ(ask("M5000,1:00"), "E14");
  EXPECT_EQ(ask("M10,4:dead"), "E22");
  EXPECT_EQ(ask("M10,fffffffffffffff:dead"), "E22");
  EXPECT_EQ(ask("m1ff0,20"), std::string(32, '0')) << "as far as there is memory";
}

TEST_F(GdbProtocol, PhysicalMemoryModeReadsPhysicalMemory) {
  target_.memory[FakeTarget::kPhysicalAt] = 0xaa;
  EXPECT_EQ(ask("qqemu.PhyMemMode"), "0");
  EXPECT_EQ(ask("m0,1"), "00");
  EXPECT_EQ(ask("Qqemu.PhyMemMode:1"), "OK");
  EXPECT_EQ(ask("qqemu.PhyMemMode"), "1");
  EXPECT_EQ(ask("m0,1"), "aa");
}

TEST_F(GdbProtocol, ContinueIsAnsweredByTheStop) {
  ask("qSupported:multiprocess+;swbreak+;hwbreak+");
  EXPECT_EQ(ask("Z0,1000,1"), "OK");
  EXPECT_EQ(target_.points.breakpoints, std::vector<u64>{0x1000});
  EXPECT_EQ(ask("vCont;c:p1.-1"), "(none)");
  EXPECT_EQ(target_.runs, (std::vector{DebugRun::Continue, DebugRun::Continue}));
  target_.running = false;
  sent_.clear();
  protocol_.debug_stopped(1, {.why = accel::DebugStop::Why::Breakpoint, .address = 0x1000});
  EXPECT_EQ(said(), "T05thread:p01.02;swbreak:;");
  EXPECT_EQ(ask("qC"), "QCp01.02");
  EXPECT_EQ(ask("z0,1000,1"), "OK");
  EXPECT_TRUE(target_.points.breakpoints.empty());
  EXPECT_EQ(ask("?"), "T05thread:p01.02;swbreak:;");
}

TEST_F(GdbProtocol, PointThatTheMachineDoesNotTakeIsRefusedAndForgotten) {
  target_.most_points = 1;
  EXPECT_EQ(ask("Z1,1000,1"), "OK");
  EXPECT_EQ(ask("Z1,2000,1"), "E22");
  EXPECT_EQ(ask("Z2,3000,4"), "E22");
  EXPECT_EQ(target_.points.breakpoints, std::vector<u64>{0x1000});
  EXPECT_EQ(ask("z1,1000,1"), "OK");
  EXPECT_EQ(ask("Z2,3000,4"), "OK");
  EXPECT_TRUE(target_.points.breakpoints.empty());
  EXPECT_EQ(target_.points.watchpoints.size(), 1u);
}

TEST_F(GdbProtocol, OneStepsWhileOthersGoOnOrAreHeld) {
  EXPECT_EQ(ask("vCont?"), "vCont;c;C;s;S");
  ask("vCont;s:p1.2;c:p1.-1");
  EXPECT_EQ(target_.runs, (std::vector{DebugRun::Continue, DebugRun::Step}));
  EXPECT_EQ(target_.events, accel::StepEvents::Deferred);
  target_.running = false;
  protocol_.debug_stopped(1, {.why = accel::DebugStop::Why::Step});
  ask("vCont;s:p1.1");
  EXPECT_EQ(target_.runs, (std::vector{DebugRun::Step, DebugRun::Hold}));
  target_.running = false;
  ask("Hc2");
  ask("s");
  EXPECT_EQ(target_.runs, (std::vector{DebugRun::Hold, DebugRun::Step}));
  target_.running = false;
  ask("C05");
  EXPECT_EQ(target_.runs, (std::vector{DebugRun::Continue, DebugRun::Continue}));
  target_.running = false;
  for (const char* bad : {"vCont;x", "vCont;", "vCont;c:p1.7", "vCont;C", "vCont;s:", "c1000", "Sx"}) {
    EXPECT_EQ(ask(bad), "E22") << bad;
  }
}

TEST_F(GdbProtocol, StepBitsRuleInterruptsDuringSteps) {
  EXPECT_EQ(ask("qqemu.sstepbits"), "ENABLE=1,NOIRQ=2,NOTIMER=4");
  EXPECT_EQ(ask("qqemu.sstep"), "0x7");
  EXPECT_EQ(ask("Qqemu.sstep=1"), "OK");
  EXPECT_EQ(ask("qqemu.sstep"), "0x1");
  ask("vCont;s:1");
  EXPECT_EQ(target_.events, accel::StepEvents::Taken);
  target_.running = false;
  EXPECT_EQ(ask("Qqemu.sstep=ff"), "E22");
}

TEST_F(GdbProtocol, WatchpointsNameTheirKind) {
  EXPECT_EQ(ask("Z2,10,4"), "OK");
  EXPECT_EQ(ask("Z4,20,8"), "OK");
  EXPECT_EQ(ask("Z4,20,8"), "OK");
  EXPECT_EQ(target_.points.watchpoints.size(), 2u);
  EXPECT_EQ(ask("Z3,10,0"), "E22");
  EXPECT_EQ(ask("Z3,ffffffffffffffff,2"), "E22");
  ask("vCont;c");
  target_.running = false;
  sent_.clear();
  protocol_.debug_stopped(
      0, {.why = accel::DebugStop::Why::Watchpoint, .address = 0x20, .kind = accel::WatchKind::Access});
  EXPECT_EQ(said(), "T05thread:01;awatch:20;");
  EXPECT_EQ(ask("z4,20,8"), "OK");
  EXPECT_EQ(ask("z2,10,4"), "OK");
  EXPECT_TRUE(target_.points.watchpoints.empty());
}

TEST_F(GdbProtocol, InterruptStopsTheMachine) {
  ask("vCont;c");
  sent_.clear();
  raw("\x03");
  EXPECT_FALSE(target_.running);
  EXPECT_EQ(said(), "T02thread:01;");
  raw("\x03");
  EXPECT_EQ(sent_, "") << "it stands already";
}

TEST_F(GdbProtocol, StopsForOtherReasonsAreTold) {
  ask("c");
  target_.running = false;
  sent_.clear();
  protocol_.machine_stopped("guest-panicked");
  EXPECT_EQ(said(), "T06thread:01;");
  protocol_.machine_stopped("paused");
  EXPECT_EQ(sent_, "") << "nobody waits";
}

TEST_F(GdbProtocol, ARunningMachineIsStoppedByAnyPacket) {
  target_.running = true;
  EXPECT_EQ(ask("m10,1"), "00");
  EXPECT_FALSE(target_.running);
}

TEST_F(GdbProtocol, RefusalToGoOnIsAnError) {
  target_.refuses = true;
  EXPECT_EQ(ask("c"), "E22");
}

TEST_F(GdbProtocol, DetachRemovesPointsAndGoesOn) {
  ask("Z0,1000,1");
  EXPECT_EQ(ask("D;1"), "OK");
  EXPECT_TRUE(target_.points.breakpoints.empty());
  EXPECT_TRUE(target_.running);
}

TEST_F(GdbProtocol, LostConnectionRemovesPointsOfARunningMachine) {
  ask("Z1,1000,1");
  ask("c");
  protocol_.disconnected();
  EXPECT_TRUE(target_.points.breakpoints.empty());
  EXPECT_TRUE(target_.running);
}

TEST_F(GdbProtocol, KillEndsTheEmulator) {
  EXPECT_EQ(ask("vKill;1"), "OK");
  ask("k");
  EXPECT_EQ(target_.quits, 2);
}

TEST_F(GdbProtocol, MonitorCommandsAnswerInPieces) {
  sent_.clear();
  raw(frame("qRcmd," + to_hex("info status")));
  EXPECT_NE(sent_.find("$O" + to_hex("said info status") + "#"), std::string::npos);
  EXPECT_EQ(data_of(sent_), "OK");
  sent_.clear();
  raw(frame("qRcmd," + to_hex("long")));
  EXPECT_EQ(std::count(sent_.begin(), sent_.end(), '$'), 4);
  EXPECT_EQ(ask("qRcmd,5"), "E22");
}

TEST_F(GdbProtocol, AcksEndWhenAskedTo) {
  sent_.clear();
  raw(frame("QStartNoAckMode"));
  EXPECT_EQ(sent_, "+" + frame("OK"));
  sent_.clear();
  raw(frame("qC"));
  EXPECT_EQ(sent_, frame("QC01"));
}

TEST_F(GdbProtocol, LostAnswersAreSentAgain) {
  const std::string first = frame(ask("qC"));
  sent_.clear();
  raw("-");
  EXPECT_EQ(sent_, first);
  raw("+");
  sent_.clear();
  raw("-");
  EXPECT_EQ(sent_, "");
}

TEST_F(GdbProtocol, DamagedPacketsAreAskedForAgain) {
  sent_.clear();
  raw("$qC#00");
  EXPECT_EQ(sent_, "-");
  raw("$qC#zz");
  EXPECT_EQ(sent_, "--");
  sent_.clear();
  raw("noise$half a pack" + frame("qC"));
  EXPECT_EQ(data_of(sent_), "QC01");
}

TEST_F(GdbProtocol, TooLongPacketsAreRefused) {
  sent_.clear();
  raw(frame(std::string(100000, 'm')));
  EXPECT_EQ(data_of(sent_), "E22");
  EXPECT_EQ(ask("qC"), "QC01");
}

TEST_F(GdbProtocol, NoiseDoesNoHarm) {
  std::mt19937 random(1);
  const std::string_view starts = "?gGpPmMXZzcsCSHTDvqQk";
  const std::string_view alphabet = "0123456789abcdef,;:.-=p{}*#$\x03 vContqSupportedXfer";
  for (int i = 0; i < 20000; ++i) {
    std::string packet(1, starts[random() % starts.size()]);
    for (unsigned n = random() % 24; n > 0; --n) packet += alphabet[random() % alphabet.size()];
    raw(frame(packet));
    if (i % 5 == 0) raw(packet);  // unframed, too
    sent_.clear();
    target_.running = target_.running && i % 3 != 0;
  }
  protocol_.connected();
  EXPECT_EQ(ask("qC"), "QC01");
}

TEST(GdbPackets, FramesEscapeAndReadersUndoIt) {
  const std::string data = "a#b$c}d*e";
  PacketReader reader;
  PacketReader::What last = PacketReader::What::None;
  for (const char c : frame(data)) last = reader.take(u8(c));
  EXPECT_EQ(last, PacketReader::What::Packet);
  EXPECT_EQ(reader.packet(), data);
}

TEST(GdbPackets, NumbersHave64Bits) {
  std::string_view text = "ffffffffffffffff,";
  EXPECT_EQ(take_number(text), ~u64(0));
  EXPECT_EQ(text, ",");
  text = "10000000000000000";
  EXPECT_EQ(take_number(text), std::nullopt);
  text = "x";
  EXPECT_EQ(take_number(text), std::nullopt);
}

TEST_F(GdbProtocol, GoingBackIsOfferedWhereThereIsAWay) {
  EXPECT_EQ(ask("qSupported").find("Reverse"), std::string::npos);
  EXPECT_EQ(ask("bs"), "");
  EXPECT_EQ(ask("bc"), "");
  FakePast past;
  target_.past = &past;
  EXPECT_NE(ask("qSupported").find(";ReverseStep+;ReverseContinue+"), std::string::npos);
  EXPECT_EQ(ask("b"), "");
  EXPECT_EQ(ask("bx"), "");
  EXPECT_EQ(past.done, "");
}

TEST_F(GdbProtocol, GoingBackArrivesWithAStop) {
  FakePast past;
  target_.past = &past;
  protocol_.connected();
  past.next = TimeTravel::Arrival{1, DebugStop{.why = DebugStop::Why::Step}};
  EXPECT_EQ(ask("Hc2"), "OK");
  EXPECT_EQ(ask("bs"), "T05thread:02;");
  EXPECT_EQ(ask("Z2,1000,8"), "OK");
  past.next = TimeTravel::Arrival{0, DebugStop{.why = DebugStop::Why::Watchpoint, .address = 0x1000}};
  EXPECT_EQ(ask("bc"), "T05thread:01;watch:1000;");
  EXPECT_EQ(ask("?"), "T05thread:01;watch:1000;");
  past.next = TimeTravel::Arrival{};
  EXPECT_EQ(ask("bc"), "T05thread:01;replaylog:begin;");
  past.fails = true;
  EXPECT_EQ(ask("bs"), "E05");
  EXPECT_EQ(past.done, "begin step1 back back step0 ");
  EXPECT_FALSE(target_.running);
}

TEST_F(GdbProtocol, GoingOnInThePastTakesTheRecordedWay) {
  FakePast past;
  target_.past = &past;
  past.in_past = true;
  past.next = TimeTravel::Arrival{1, DebugStop{.why = DebugStop::Why::Step}};
  EXPECT_EQ(ask("vCont;s:2;c"), "T05thread:02;");
  past.next = TimeTravel::Arrival{1, DebugStop{.why = DebugStop::Why::Breakpoint, .address = 0x20}};
  EXPECT_EQ(ask("vCont;c"), "T05thread:02;");
  EXPECT_FALSE(target_.running);
  past.next = std::nullopt;  // the present comes first
  raw(frame("vCont;c"));
  EXPECT_TRUE(target_.running);
  EXPECT_EQ(past.done, "over1 forward forward ");
}

TEST_F(GdbProtocol, ThePastOfAMachineThatHasShutDownEndsThere) {
  FakePast past;
  target_.past = &past;
  past.in_past = true;
  target_.refuses = true;
  EXPECT_EQ(ask("vCont;c"), "T05thread:01;replaylog:end;");
  EXPECT_EQ(ask("vCont;c"), "E22");
}

TEST_F(GdbProtocol, ChangesEndTheRecordedFuture) {
  FakePast past;
  target_.past = &past;
  ask("M10,1:55");
  EXPECT_EQ(std::exchange(past.done, ""), "touched ");
  ask("P0=0100000000000000");
  EXPECT_EQ(std::exchange(past.done, ""), "touched ");
  ask("m10,1");
  ask("g");
  EXPECT_EQ(past.done, "");
  EXPECT_EQ(ask("D"), "OK");
  EXPECT_EQ(past.done, "end ");
}

}  // namespace
}  // namespace emu::monitor::gdb
