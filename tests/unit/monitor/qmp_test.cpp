// SPDX-License-Identifier: Apache-2.0
// The monitor for programs: protocol, events, out-of-band commands.
#include <set>

#include "unit/monitor/qmp_bench.h"

namespace emu::monitor {
namespace {

TEST_F(QmpTest, CommandThatComesWhileAnotherWaitsIsExecutedAfterIt) {
  std::string order;
  monitors.run_alone([&] {
    order += "a";
    monitors.run_alone([&] { order += "b"; });
    while (control.loop().run_once(/*wait=*/false)) {
    }
    order += "c";
  });
  EXPECT_EQ(order, "ac");
  while (control.loop().run_once(/*wait=*/false)) {
  }
  EXPECT_EQ(order, "acb");
}

TEST_F(QmpTest, LineOfWhoCannotWaitIsRefusedWhileACommandDoes) {
  Session other;
  EXPECT_EQ(monitors.run_line_alone(other, "print 1"), "0x1\n");
  monitors.run_alone([&] {
    EXPECT_EQ(monitors.run_line_alone(other, "print 1"), "Error: another command is still at work; try again\n");
  });
}

TEST_F(QmpTest, EachStateOfTheMachineHasItsName) {
  negotiate();
  for (const char* state : {"prelaunch", "running", "paused", "shutdown", "suspended", "guest-panicked",
                            "internal-error", "watchdog", "debug", "io-error"}) {
    control.state = state;
    EXPECT_EQ(call("query-status")["return"]["status"], state);
  }
}

TEST_F(QmpTest, SocketAddressesOfAllCommandsAreOneType) {
  negotiate();
  Json inet;
  const Json schema = call("query-qmp-schema");
  for (const Json& entity : schema["return"]) {
    if (entity["name"] == "InetSocketAddress") inet = entity;
  }
  std::set<std::string> names;
  for (const Json& member : inet["members"]) names.insert(member["name"]);
  EXPECT_EQ(names, (std::set<std::string>{"host", "ipv4", "ipv6", "keep-alive", "mptcp", "numeric", "port", "to"}));
  const auto add = [&](const Json& more) {
    Json address = {{"host", "127.0.0.1"}, {"port", "0"}};
    address.update(more);
    const Json legacy = {{"type", "inet"}, {"data", address}};
    const Json data = {{"addr", legacy}, {"server", true}};
    const Json backend = {{"type", "socket"}, {"data", data}};
    const Json arguments = {{"id", "c"}, {"backend", backend}};
    return call("chardev-add", arguments);
  };
  const Json alive = {{"keep-alive", true}}, neither = {{"ipv4", false}, {"ipv6", false}}, fourth = {{"ipv6", false}};
  EXPECT_EQ(why(add(alive)), "'keep-alive' is not supported: leave it out");
  EXPECT_EQ(why(add(neither)), "'ipv4' and 'ipv6' cannot both be off");
  EXPECT_TRUE(add(fourth).contains("return"));
}

TEST_F(QmpTest, GreetsWithVersionAndCapabilities) {
  const auto greeting = answers().at(0)["QMP"];
  EXPECT_EQ(greeting["version"]["qemu"], Json({{"major", 7}, {"minor", 2}, {"micro", 0}}));
  EXPECT_EQ(greeting["capabilities"], Json::array({"oob"}));
}

TEST_F(QmpTest, NothingButNegotiationIsTakenFirst) {
  const Json answer = ask("{\"execute\":\"query-status\"}");
  EXPECT_EQ(error_class(answer), "CommandNotFound");
  EXPECT_THAT(why(answer), HasSubstr("Expecting capabilities negotiation"));
  EXPECT_EQ(why(call("qmp_capabilities", {{"enable", {"zz"}}})), "Parameter 'enable[0]' does not accept value 'zz'");
  negotiate();
  EXPECT_EQ(error_class(call("qmp_capabilities")), "CommandNotFound");
}

TEST_F(QmpTest, WithoutAThreadOfItsOwnThereIsNoOob) {
  terminal.take();
  open({});
  EXPECT_EQ(answers().at(0)["QMP"]["capabilities"], Json::array());
  EXPECT_THAT(why(call("qmp_capabilities", {{"enable", {"oob"}}})), HasSubstr("oob"));
}

TEST_F(QmpTest, IdsOfAnyKindComeBackExactly) {
  negotiate();
  for (const char* id : {"1", "\"x\"", "null", "{\"a\":[1,2]}", "18446744073709551615", "-9223372036854775808"}) {
    EXPECT_EQ(ask(fmt::format(R"({{"execute":"query-name","id":{}}})", id))["id"].dump(), Json::parse(id).dump());
    EXPECT_EQ(ask(fmt::format(R"({{"execute":"nope","id":{}}})", id))["id"].dump(), Json::parse(id).dump());
  }
  EXPECT_FALSE(ask(R"({"execute":"query-name"})").contains("id"));
}

TEST_F(QmpTest, PipelinedCommandsAnswerInOrder) {
  negotiate();
  std::string text;
  for (int i = 0; i < 50; i++)
    text += fmt::format(R"({{"execute":"{}","id":{}}})", i % 7 == 3 ? "nope" : "query-name", i);
  terminal.type(text);
  const auto all = answers();
  ASSERT_EQ(all.size(), 50u);
  for (int i = 0; i < 50; i++) EXPECT_EQ(all[std::size_t(i)]["id"], i);
}

TEST_F(QmpTest, InputWaitsWhileManyCommandsDo) {
  negotiate();
  EXPECT_GT(session->can_receive(), 0u);
  for (std::size_t i = 0; i < QmpSession::kMostQueued; i++) terminal.type(R"({"execute":"query-name"})");
  EXPECT_EQ(session->can_receive(), 0u);
  EXPECT_EQ(answers().size(), QmpSession::kMostQueued);
  EXPECT_GT(session->can_receive(), 0u);
}

TEST_F(QmpTest, BadEnvelopesAreNamed) {
  negotiate();
  EXPECT_EQ(why(ask("[1,2]")), "QMP input must be a JSON object");
  EXPECT_EQ(why(ask("\"x\"")), "QMP input must be a JSON object");
  EXPECT_EQ(why(ask("{}")), "QMP input lacks member 'execute'");
  EXPECT_EQ(why(ask("{\"execute\":1}")), "QMP input member 'execute' must be a string");
  EXPECT_EQ(why(ask("{\"execute\":\"stop\",\"foo\":1}")), "QMP input member 'foo' is unexpected");
  EXPECT_EQ(why(ask("{\"execute\":\"stop\",\"arguments\":5}")), "QMP input member 'arguments' must be an object");
  EXPECT_EQ(why(ask("{\"exec-oob\":\"query-yank\"}")), "QMP input member 'exec-oob' is unexpected");
  EXPECT_EQ(why(ask("{\"execute\":\"nope\"}")), "The command nope has not been found");
}

TEST_F(QmpTest, BrokenJsonDoesNotEndTheSession) {
  negotiate();
  for (const char* broken : {"{\"execute\":}\n", "nope\n", "}\n", "{\"a\xff", "{\"execute\n", "{\"a\":\"\\q\"}", "\x01",
                             "{\"execute\":\"\x80\"}", "{\"a\":1e999999}", "[1,]"}) {
    EXPECT_THAT(why(ask(broken)), HasSubstr("JSON parse error")) << broken;
    ask("\xff");  // whatever is left open ends here
    EXPECT_TRUE(ask(R"({"execute":"query-status"})").contains("return")) << broken;
  }
}

TEST_F(QmpTest, SingleQuotesAreTaken) {
  negotiate();
  EXPECT_TRUE(ask("{'execute':'query-status'}").contains("return"));
  EXPECT_THAT(why(ask(R"({'execute':'it\'s "so"'})")), HasSubstr("command it's \"so\" has"));
}

TEST_F(QmpTest, ANewClientStartsAnew) {
  negotiate();
  terminal.type(R"({"execute":"query-name"}{"exec)");
  terminal.tell_event(ChardevEvent::Closed);
  EXPECT_TRUE(answers().empty());
  terminal.tell_event(ChardevEvent::Opened);
  EXPECT_TRUE(answers().at(0).contains("QMP"));
  EXPECT_EQ(error_class(ask(R"({"execute":"query-name"})")), "CommandNotFound");
}

TEST_F(QmpTest, ASlowReaderHoldsItsInputAndLosesOnlyEvents) {
  negotiate();
  terminal.room = 0;
  for (int i = 0; i < 2000 && session->can_receive() > 0; i++) {
    terminal.type(R"({"execute":"query-commands"})");
    while (control.loop().run_once(false)) {
    }
  }
  EXPECT_EQ(session->can_receive(), 0u);
  terminal.make_room();
  EXPECT_GT(session->can_receive(), 0u);
  EXPECT_TRUE(answers().back().contains("return"));
}

TEST(JsonStream, LongAndDeepInputIsRefusedOnceAndSkipped) {
  JsonStream stream;
  unsigned errors = 0, values = 0;
  const auto feed = [&](std::string_view text) {
    for (const char c : text) {
      if (auto value = stream.take(c)) (*value ? values : errors)++;
    }
  };
  feed(std::string(100'000, '['));
  EXPECT_EQ(errors, 1u);
  feed("\xff{}");
  EXPECT_EQ(values, 1u);
  feed("{\"a\":\"" + std::string(JsonStream::kLongest + 100, 'x'));
  EXPECT_EQ(errors, 2u);
  feed("\"} {}");
  EXPECT_EQ(values, 2u);
  feed(std::string(1000, '[') + std::string(1000, ']'));
  EXPECT_EQ(values, 3u);
  EXPECT_EQ(errors, 2u);
}

TEST(JsonStream, NumbersKeepAll64Bits) {
  JsonStream stream;
  std::optional<Result<Json>> value;
  for (const char c : std::string_view("[18446744073709551615,-9223372036854775808]")) value = stream.take(c);
  ASSERT_TRUE(value && *value);
  EXPECT_EQ((**value)[0].get<u64>(), ~u64(0));
  EXPECT_EQ((**value)[1].get<i64>(), std::numeric_limits<i64>::min());
  EXPECT_EQ(json_text(**value), "[18446744073709551615, -9223372036854775808]");
}

// ---- Out of band

TEST_F(QmpTest, OutOfBandCommandsOvertake) {
  negotiate(/*oob=*/true);
  terminal.type(R"({"execute":"query-name","id":1}{"exec-oob":"query-yank","id":2})");
  const auto all = answers();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["id"], 2);
  EXPECT_EQ(all[1]["id"], 1);
  EXPECT_EQ(why(ask(R"({"exec-oob":"query-status","id":3})")), "The command query-status does not support OOB");
  EXPECT_EQ(error_class(ask(R"({"exec-oob":"nope"})")), "CommandNotFound");
}

// ---- Events

TEST_F(QmpTest, EventsGoToThoseWhoNegotiated) {
  monitors.emit("STOP");
  EXPECT_EQ(answers().size(), 1u);  // the greeting
  negotiate();
  monitors.emit("SHUTDOWN", ShutdownEvent{true, CauseName::GuestShutdown});
  const Json event = answers().at(0);
  EXPECT_EQ(event["event"], "SHUTDOWN");
  EXPECT_EQ(event["data"], Json({{"guest", true}, {"reason", "guest-shutdown"}}));
  EXPECT_TRUE(event["timestamp"]["seconds"].is_number_integer() &&
              event["timestamp"]["microseconds"].is_number_integer());
}

TEST_F(QmpTest, FrequentEventsAreThinnedOut) {
  negotiate();
  for (i64 i = 0; i < 5; i++) monitors.emit("RTC_CHANGE", RtcChangeEvent{i, "/rtc"}, "/rtc");
  monitors.emit("RTC_CHANGE", RtcChangeEvent{7, "/other"}, "/other");
  const auto at_once = answers();
  ASSERT_EQ(at_once.size(), 2u);
  EXPECT_EQ(at_once[0]["data"]["offset"], 0);
  EXPECT_EQ(at_once[1]["data"]["offset"], 7);
  const auto end = Clock::monotonic_now() + std::chrono::seconds(5);
  std::vector<Json> late;
  while (late.empty() && Clock::monotonic_now() < end) late = answers();
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0]["data"]["offset"], 4);
}

}  // namespace
}  // namespace emu::monitor
