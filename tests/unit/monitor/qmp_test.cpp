// SPDX-License-Identifier: Apache-2.0
// The monitor for programs: protocol, schema against handlers, events, out-of-band commands, descriptors.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <set>

#include "monitor/events.h"
#include "monitor/qmp/json_stream.h"
#include "monitor/qmp/session.h"
#include "support/fake_control.h"

namespace emu::monitor {
namespace {

using testing::HasSubstr;

class QmpTest : public ::testing::Test {
 protected:
  QmpTest() { open({.layout = JsonLayout::Line, .offers_oob = true}); }
  void open(QmpOptions options) {
    session.reset();
    auto made = QmpSession::create(terminal, monitors, options);
    ASSERT_TRUE(made.has_value());
    session = std::move(*made);
  }
  /// All answers and events since the last call, once nothing is left to do.
  std::vector<Json> answers() {
    while (control.loop().run_once(/*wait=*/false)) {
    }
    std::vector<Json> list;
    std::string text = terminal.take();
    for (std::size_t end; (end = text.find("\r\n")) != std::string::npos; text.erase(0, end + 2)) {
      list.push_back(Json::parse(text.substr(0, end)));
    }
    return list;
  }
  Json ask(std::string_view text) {
    terminal.type(text);
    const auto all = answers();
    return all.empty() ? Json() : all.back();
  }
  Json call(const std::string& command, const Json& arguments = Json::object()) {
    return ask(Json{{"execute", command}, {"arguments", arguments}}.dump() + "\n");
  }
  void negotiate(bool oob = false) {
    answers();
    const Json enable = oob ? Json::array({"oob"}) : Json::array();
    EXPECT_EQ(call("qmp_capabilities", {{"enable", enable}}), Json({{"return", Json::object()}}));
  }
  static std::string why(const Json& answer) {
    return answer.contains("error") ? answer["error"]["desc"].get<std::string>() : "no error: " + answer.dump();
  }
  static std::string error_class(const Json& answer) { return answer["error"]["class"].get<std::string>(); }

  FakeControl control;
  Monitors monitors{control, control.loop()};
  FakeTerminal terminal;
  std::unique_ptr<QmpSession> session;
};

// ---- Protocol

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
  for (const char* state : {"prelaunch", "running", "paused", "shutdown", "suspended", "guest-panicked", "internal-error",
                            "watchdog", "debug", "io-error"}) {
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
  for (int i = 0; i < 50; i++) text += fmt::format(R"({{"execute":"{}","id":{}}})", i % 7 == 3 ? "nope" : "query-name", i);
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
  EXPECT_TRUE(event["timestamp"]["seconds"].is_number_integer() && event["timestamp"]["microseconds"].is_number_integer());
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

// ---- The schema and the handlers

/// What the schema says, by name.
class SchemaReader {
 public:
  explicit SchemaReader(const Json& entities) {
    for (const Json& entity : entities) {
      EXPECT_TRUE(entities_.emplace(entity["name"].get<std::string>(), entity).second) << entity["name"];
    }
  }
  const Json& entity(const std::string& name) const {
    const auto at = entities_.find(name);
    EXPECT_NE(at, entities_.end()) << "type not described: " << name;
    return at == entities_.end() ? kNone : at->second;
  }
  const std::map<std::string, Json>& all() const { return entities_; }
  /// A value of that type, with all members, or only those that must be there.
  Json example(const std::string& name, bool optional, int depth = 0) const {
    const Json& type = entity(name);
    const std::string meta = type.value("meta-type", "");
    if (meta == "builtin") {
      const std::string kind = type["json-type"];
      if (kind == "int") return 1;
      if (kind == "boolean") return true;
      if (kind == "number") return 1.5;
      if (kind == "string") return "x1";
      return "any";
    }
    if (meta == "enum") return type["values"].empty() ? Json("none") : type["values"][0];
    if (meta == "array") return depth > 6 ? Json::array() : Json::array({example(type["element-type"], optional, depth + 1)});
    if (meta == "alternate") {  // the plain one of them: the others may contain such a thing again
      for (const Json& member : type["members"]) {
        if (entity(member["type"]).value("meta-type", "") == "builtin") return example(member["type"], optional, depth + 1);
      }
      return example(type["members"][0]["type"], optional, depth + 1);
    }
    Json object = Json::object();
    add_members(type, object, optional, depth);
    if (type.contains("tag")) {
      for (const Json& variant : type["variants"]) {
        if (variant["case"] == object[type["tag"].get<std::string>()]) {
          add_members(entity(variant["type"]), object, optional, depth);
        }
      }
    }
    return object;
  }
  /// A value that the type does not take.
  Json wrong(const std::string& name) const {
    const Json& type = entity(name);
    const std::string meta = type.value("meta-type", "");
    if (meta == "enum") return "no such value";
    if (meta == "array" || meta == "object" || meta == "alternate") return 5;
    return type["json-type"] == "value" ? Json() : Json::array();
  }

 private:
  void add_members(const Json& type, Json& object, bool optional, int depth) const {
    for (const Json& member : type["members"]) {
      if (member.contains("default") && !optional) continue;
      object[member["name"].get<std::string>()] = example(member["type"], optional, depth + 1);
    }
  }
  inline static const Json kNone = Json::object();
  std::map<std::string, Json> entities_;
};

class QmpSchemaTest : public QmpTest {
 protected:
  QmpSchemaTest() {
    EXPECT_EQ(::chdir(testing::TempDir().c_str()), 0);  // files that examples name
    negotiate();
    schema = std::make_unique<SchemaReader>(call("query-qmp-schema")["return"]);
  }
  /// Refused for its arguments' shape, not for what they mean.
  static bool is_shape_error(const Json& answer) {
    if (!answer.contains("error")) return false;
    const std::string text = answer["error"]["desc"];
    return text.ends_with("is missing") || text.ends_with("is unexpected") ||
           text.starts_with("Invalid parameter type") || text.find("does not accept value") != std::string::npos;
  }
  std::unique_ptr<SchemaReader> schema;
};

TEST_F(QmpSchemaTest, EveryTypeThatIsNamedIsDescribed) {
  for (const auto& [name, entity] : schema->all()) {
    const std::string meta = entity["meta-type"];
    if (meta == "command") {
      schema->example(entity["arg-type"], true);
      schema->example(entity["ret-type"], true);
    }
    if (meta == "event") schema->example(entity["arg-type"], true);
  }
}

TEST_F(QmpSchemaTest, ListsExactlyTheCommandsThereAre) {
  std::set<std::string> listed, described;
  const Json answer = call("query-commands");
  for (const Json& info : answer["return"]) listed.insert(info["name"].get<std::string>());
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] == "command") described.insert(name);
  }
  EXPECT_EQ(listed, described);
}

TEST_F(QmpSchemaTest, HandlersTakeWhatTheSchemaSays) {
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] != "command" || name == "qmp_capabilities") continue;
    const std::string type = entity["arg-type"];
    for (const bool optional : {false, true}) {
      const Json arguments = schema->example(type, optional);
      const Json answer = call(name, arguments);
      EXPECT_FALSE(is_shape_error(answer)) << name << " " << arguments << " " << answer;
    }
  }
}

TEST_F(QmpSchemaTest, HandlersRefuseWhatTheSchemaDoesNotSay) {
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] != "command" || name == "qmp_capabilities") continue;
    const std::string type = entity["arg-type"];
    const Json good = schema->example(type, false);
    if (name != "device_add" && name != "blockdev-add") {  // take what their drivers have
      Json surplus = good;
      surplus["no-such-argument"] = 1;
      EXPECT_EQ(why(call(name, surplus)), "Parameter 'no-such-argument' is unexpected") << name;
    }
    for (const Json& member : schema->entity(type)["members"]) {
      const std::string key = member["name"];
      if (!member.contains("default")) {
        Json lacking = good;
        lacking.erase(key);
        EXPECT_EQ(why(call(name, lacking)), fmt::format("Parameter '{}' is missing", key)) << name;
      }
      const Json bad = schema->wrong(member["type"]);
      if (bad.is_null()) continue;
      Json mistaken = good;
      mistaken[key] = bad;
      const Json answer = call(name, mistaken);
      EXPECT_TRUE(is_shape_error(answer)) << name << " " << mistaken << " " << answer;
      EXPECT_THAT(why(answer), HasSubstr("'" + key + "'")) << name;
    }
  }
}

TEST_F(QmpSchemaTest, RepliesAreAsDescribed) {
  for (const auto& [name, entity] : schema->all()) {
    if (entity["meta-type"] != "command" || !name.starts_with("query-")) continue;
    const Json answer = call(name);
    if (!answer.contains("return")) continue;
    const Json& type = schema->entity(entity["ret-type"]);
    EXPECT_EQ(answer["return"].is_array(), type["meta-type"] == "array") << name;
    if (type["meta-type"] != "object") continue;
    std::set<std::string> known;
    for (const Json& member : type["members"]) {
      known.insert(member["name"].get<std::string>());
      const bool is_there = member.contains("default") || answer["return"].contains(member["name"]);
      EXPECT_TRUE(is_there) << name << " " << member;
    }
    for (const auto& [key, value] : answer["return"].items()) EXPECT_TRUE(known.contains(key)) << name << " " << key;
  }
}

// ---- Commands

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
  EXPECT_EQ(why(call("object-add", {{"qom-type", "nope"}, {"id", "o"}})), "Parameter 'qom-type' does not accept value 'nope'");
  EXPECT_EQ(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}})), "Parameter 'size' is missing");
  EXPECT_EQ(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "9"}, {"size", 1}})),
            "Parameter 'id' expects an identifier");
  EXPECT_EQ(why(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}, {"size", "4K"}})),
            "Invalid parameter type for 'size', expected: integer");
  const u64 large = u64(1) << 63;
  EXPECT_TRUE(call("object-add", {{"qom-type", "fake-object"}, {"id", "o"}, {"size", large}}).contains("return"));
  EXPECT_EQ(call("qom-get", {{"path", "/objects/o"}, {"property", "size"}})["return"].get<u64>(), large);
  EXPECT_EQ(call("qom-get", {{"path", "o"}, {"property", "type"}})["return"], "fake-object");
  EXPECT_THAT(why(call("qom-set", {{"path", "/objects/o"}, {"property", "size"}, {"value", 1}})), HasSubstr("after it was"));
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
  EXPECT_THAT(why(call("memsave", {{"val", 0}, {"size", 1}, {"filename", path}, {"cpu-index", 7}})), HasSubstr("CPU number"));
  EXPECT_TRUE(call("pmemsave", {{"val", 0x1000}, {"size", 2}, {"filename", path}}).contains("return"));
  EXPECT_THAT(why(call("pmemsave", {{"val", 0}, {"size", 2}, {"filename", "/no/such"}})), HasSubstr("Could not open"));
  ::unlink(path.c_str());
}

TEST_F(QmpTest, DumpIsAnElfCore) {
  negotiate();
  const std::string path = testing::TempDir() + "qmp-dump";
  EXPECT_EQ(why(call("dump-guest-memory", {{"paging", false}, {"protocol", "xx"}})), "Invalid parameter 'protocol'");
  terminal.type(Json{{"execute", "dump-guest-memory"}, {"arguments", {{"paging", false}, {"protocol", "file:" + path}}}}.dump());
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
  EXPECT_TRUE(call("dump-guest-memory", {{"paging", false}, {"protocol", "fd:dump"}, {"detach", true}}).contains("return"));
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
