// SPDX-License-Identifier: Apache-2.0
// Commands of programs, with what they do: machine, objects, streams, descriptors, dumps.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/monitor/qmp_bench.h"

namespace emu::monitor {
namespace {

TEST_F(QmpTest, RunCommandsReachTheMachine) {
  negotiate();
  call("stop");
  EXPECT_FALSE(control.running);
  call("cont");
  EXPECT_TRUE(control.running);
  control.refuse_cont = true;
  EXPECT_EQ(why(call("cont")), "Resetting the Virtual Machine is required");
  call("system_reset");
  call("system_powerdown");
  call("quit");
  EXPECT_EQ(control.log, "reset powerdown quit ");
  call("inject-nmi");
  EXPECT_EQ(control.fake_board.nmis, 1u);
  call("set-action", {{"panic", "exit-failure"}});
  EXPECT_EQ(control.actions.panic, PanicChoice::ExitFailure);
  EXPECT_FALSE(control.actions.reboot);
}

TEST_F(QmpTest, PreconfigTakesOnlyWhatNeedsNoMachine) {
  control.preconfig = true;
  negotiate();
  EXPECT_TRUE(call("query-version").contains("return"));
  EXPECT_THAT(why(call("cont")), HasSubstr("only after machine initialization"));
  EXPECT_TRUE(call("x-exit-preconfig").contains("return"));
  EXPECT_TRUE(call("cont").contains("return"));
  EXPECT_THAT(why(call("x-exit-preconfig")), HasSubstr("only before machine initialization"));
}

TEST_F(QmpTest, HumanCommandsAreAnsweredInText) {
  negotiate();
  EXPECT_EQ(call("human-monitor-command", {{"command-line", "info status"}})["return"], "VM status: running\r\n");
  EXPECT_EQ(why(call("human-monitor-command", {{"command-line", ""}, {"cpu-index", 5}})),
            "Parameter 'cpu-index' expects a CPU number");
}

TEST_F(QmpTest, CpusAndMemoryAreDescribed) {
  negotiate();
  const Json cpus = call("query-cpus-fast")["return"];
  ASSERT_EQ(cpus.size(), 2u);
  EXPECT_EQ(cpus[1]["props"], Json({{"socket-id", 0}, {"core-id", 1}, {"thread-id", 0}}));
  EXPECT_EQ(cpus[1]["target"], "x86_64");
  EXPECT_EQ(call("query-memory-size-summary")["return"]["base-memory"], 0x10000);
  EXPECT_EQ(call("query-target")["return"]["arch"], "x86_64");
  EXPECT_EQ(why(call("query-cpu-model-expansion", {{"type", "static"}, {"model", {{"name", "host"}}}})),
            "CPU model 'host' not found");
}

TEST_F(QmpTest, ObjectsComeAndGo) {
  negotiate();
  EXPECT_EQ(why(call("object-add", {{"qom-type", "nope"}, {"id", "o"}})),
            "Parameter 'qom-type' does not accept value 'nope'");
  EXPECT_EQ(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}})), "Parameter 'size' is missing");
  EXPECT_EQ(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "9"}, {"size", 1}})),
            "Parameter 'id' expects an identifier");
  EXPECT_EQ(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}, {"size", "4K"}})),
            "Invalid parameter type for 'size', expected: integer");
  const u64 large = u64(1) << 63;
  EXPECT_TRUE(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}, {"size", large}}).contains("return"));
  EXPECT_EQ(call("qom-get", {{"path", "/objects/o"}, {"property", "size"}})["return"].get<u64>(), large);
  EXPECT_EQ(call("qom-get", {{"path", "o"}, {"property", "type"}})["return"], "fake-object");
  EXPECT_THAT(why(call("qom-set", {{"path", "/objects/o"}, {"property", "size"}, {"value", 1}})),
              HasSubstr("after it was"));
  EXPECT_TRUE(call("qom-set", {{"path", "/objects/o"}, {"property", "fast"}, {"value", true}}).contains("return"));
  EXPECT_EQ(call("qom-get", {{"path", "/objects/o"}, {"property", "fast"}})["return"], true);
  EXPECT_EQ(why(call("qom-set", {{"path", "/objects/o"}, {"property", "fast"}, {"value", "on"}})),
            "Invalid parameter type for 'fast', expected: boolean");
  EXPECT_THAT(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}, {"size", 1}})), HasSubstr("duplicate"));
  EXPECT_TRUE(call("object-del", {{"id", "o"}}).contains("return"));
  EXPECT_EQ(why(call("object-del", {{"id", "o"}})), "object 'o' not found");
  EXPECT_EQ(error_class(call("qom-list", {{"path", "/nope"}})), "DeviceNotFound");
  EXPECT_EQ(error_class(call("device-list-properties", {{"typename", "nope"}})), "DeviceNotFound");
  EXPECT_EQ(error_class(call("device_del", {{"id", "nope"}})), "DeviceNotFound");
  EXPECT_EQ(why(call("device_add", {{"driver", "nope"}})), "'nope' is not a valid device model name");
}

TEST_F(QmpTest, ChardevsComeAndGo) {
  negotiate();
  const Json null = {{"type", "null"}, {"data", Json::object()}};
  EXPECT_TRUE(call("chardev-add", {{"id", "c"}, {"backend", null}}).contains("return"));
  EXPECT_EQ(why(call("chardev-add", {{"id", "c"}, {"backend", null}})), "Chardev with id 'c' already exists");
  EXPECT_EQ(call("query-chardev")["return"][0], Json({{"label", "c"}, {"filename", "null"}, {"frontend-open", false}}));
  const Json ring = {{"type", "ringbuf"}, {"data", {{"size", 64}}}};
  EXPECT_TRUE(call("chardev-change", {{"id", "c"}, {"backend", ring}}).contains("return"));
  EXPECT_TRUE(call("ringbuf-write", {{"device", "c"}, {"data", "aGVs"}, {"format", "base64"}}).contains("return"));
  EXPECT_EQ(call("ringbuf-read", {{"device", "c"}, {"size", 10}})["return"], "hel");
  EXPECT_TRUE(call("chardev-send-break", {{"id", "c"}}).contains("return"));
  EXPECT_TRUE(call("chardev-remove", {{"id", "c"}}).contains("return"));
  EXPECT_EQ(why(call("chardev-remove", {{"id", "c"}})), "Chardev 'c' not found");
  const Json bad = {{"type", "ringbuf"}, {"data", {{"size", 63}}}};
  EXPECT_EQ(why(call("chardev-add", {{"id", "c"}, {"backend", bad}})), "size of ringbuf chardev must be power of two");
}

TEST_F(QmpTest, DescriptorsArePassedAndNamed) {
  negotiate();
  EXPECT_EQ(why(call("getfd", {{"fdname", "a"}})), "No file descriptor supplied via SCM_RIGHTS");
  const auto null_fd = [] { return Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)); };
  terminal.pass(null_fd());
  EXPECT_TRUE(call("getfd", {{"fdname", "a"}}).contains("return"));
  EXPECT_TRUE(call("closefd", {{"fdname", "a"}}).contains("return"));
  EXPECT_EQ(why(call("closefd", {{"fdname", "a"}})), "File descriptor named 'a' not found");

  terminal.pass(null_fd());
  const Json added = call("add-fd", {{"fdset-id", 2}, {"opaque", "mine"}})["return"];
  EXPECT_EQ(added["fdset-id"], 2);
  const Json sets = call("query-fdsets")["return"];
  EXPECT_EQ(sets[0]["fds"][0], Json({{"fd", added["fd"]}, {"opaque", "mine"}}));
  EXPECT_THAT(why(call("remove-fd", {{"fdset-id", 2}, {"fd", 9999}})), HasSubstr("not found"));
  EXPECT_TRUE(call("remove-fd", {{"fdset-id", 2}}).contains("return"));
  EXPECT_EQ(call("query-fdsets")["return"], Json::array());
}

TEST_F(QmpTest, MemoryIsSavedToFiles) {
  negotiate();
  const std::string path = testing::TempDir() + "qmp-memsave";
  const u8 bytes[4] = {1, 2, 3, 4};
  control.fake_board.ram().write(0xffe, bytes, 4);
  EXPECT_TRUE(call("memsave", {{"val", 0x10ffe}, {"size", 4}, {"filename", path}}).contains("return"));
  u8 read[8] = {};
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::read(file.get(), read, 8), 4);
  EXPECT_EQ(0, std::memcmp(read, bytes, 4));
  EXPECT_THAT(why(call("memsave", {{"val", 0x30000}, {"size", 4}, {"filename", path}})), HasSubstr("Invalid addr"));
  EXPECT_THAT(why(call("memsave", {{"val", 0}, {"size", 1}, {"filename", path}, {"cpu-index", 7}})),
              HasSubstr("CPU number"));
  EXPECT_TRUE(call("pmemsave", {{"val", 0x1000}, {"size", 2}, {"filename", path}}).contains("return"));
  EXPECT_THAT(why(call("pmemsave", {{"val", 0}, {"size", 2}, {"filename", "/no/such"}})), HasSubstr("Could not open"));
  ::unlink(path.c_str());
}

TEST_F(QmpTest, StreamsOfNetworksTellWhoCameAndWhoWent) {
  negotiate();
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  Fd other(pair[1]);
  terminal.pass(Fd(pair[0]));
  call("getfd", {{"fdname", "wire"}});
  const Json address = {{"type", "fd"}, {"str", "wire"}};
  const Json arguments = {{"type", "stream"}, {"id", "n"}, {"addr", address}};
  terminal.type(Json{{"execute", "netdev_add"}, {"arguments", arguments}}.dump() + "\n");
  auto told = answers();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0]["event"], "NETDEV_STREAM_CONNECTED");
  EXPECT_EQ(told[0]["data"]["netdev-id"], "n");
  EXPECT_EQ(told[0]["data"]["addr"]["type"], "fd");
  EXPECT_TRUE(told[1].contains("return"));
  other.reset();
  told = answers();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0]["event"], "NETDEV_STREAM_DISCONNECTED");
  EXPECT_EQ(told[0]["data"], Json({{"netdev-id", "n"}}));
}

TEST_F(QmpTest, DescriptorOfANetworkThatCannotBeMadeIsClosed) {
  negotiate();
  // No TAP interface; no such option; the second name is nobody's.
  const Json lines[] = {{{"type", "tap"}, {"id", "t"}, {"fd", "wire"}},
                        {{"type", "tap"}, {"id", "t"}, {"fd", "wire"}, {"ifname", "x"}},
                        {{"type", "tap"}, {"id", "t"}, {"fds", "wire:nobody"}},
                        {{"type", "dgram"}, {"id", "t"}, {"local", {{"type", "fd"}, {"str", "wire"}}}}};
  for (const Json& arguments : lines) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    const Fd other(pair[1]);
    terminal.pass(Fd(pair[0]));
    call("getfd", {{"fdname", "wire"}});
    EXPECT_TRUE(call("netdev_add", arguments).contains("error")) << arguments;
    char byte = 0;
    EXPECT_EQ(::read(other.get(), &byte, 1), 0) << arguments;  // nobody holds the other end
    EXPECT_THAT(why(call("closefd", {{"fdname", "wire"}})), HasSubstr("not found"));
  }
}

TEST_F(QmpTest, DumpIsAnElfCore) {
  negotiate();
  const std::string path = testing::TempDir() + "qmp-dump";
  EXPECT_EQ(why(call("dump-guest-memory", {{"paging", false}, {"protocol", "xx"}})), "Invalid parameter 'protocol'");
  terminal.type(
      Json{{"execute", "dump-guest-memory"}, {"arguments", {{"paging", false}, {"protocol", "file:" + path}}}}.dump());
  const auto all = answers();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["event"], "DUMP_COMPLETED");
  EXPECT_EQ(all[0]["data"]["result"], Json({{"status", "completed"}, {"completed", 0x10000}, {"total", 0x10000}}));
  EXPECT_EQ(call("query-dump")["return"]["status"], "completed");
  EXPECT_TRUE(control.running);
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char head[5] = {};
  EXPECT_EQ(::read(file.get(), head, 4), 4);
  EXPECT_STREQ(head, "\177ELF");
  ::unlink(path.c_str());
}

TEST_F(QmpTest, DumpInTheBackgroundTellsWhenItIsDone) {
  negotiate();
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const Fd reader(ends[0]);
  terminal.pass(Fd(ends[1]));
  call("getfd", {{"fdname", "dump"}});
  EXPECT_TRUE(
      call("dump-guest-memory", {{"paging", false}, {"protocol", "fd:dump"}, {"detach", true}}).contains("return"));
  std::size_t total = 0;
  char buffer[4096];
  for (ssize_t n; (n = ::read(reader.get(), buffer, sizeof buffer)) > 0;) total += std::size_t(n);
  EXPECT_GT(total, 0x10000u);
  std::vector<Json> events;
  const auto end = Clock::monotonic_now() + std::chrono::seconds(5);
  while (events.empty() && Clock::monotonic_now() < end) events = answers();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0]["event"], "DUMP_COMPLETED");
}

TEST_F(QmpTest, PrettyHasOneMemberALine) {
  terminal.take();
  open({.layout = JsonLayout::Pretty});
  EXPECT_THAT(terminal.take(), HasSubstr("{\n    \"QMP\": {\n        \"capabilities\": []"));
}

}  // namespace
}  // namespace emu::monitor
