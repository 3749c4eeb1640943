// SPDX-License-Identifier: Apache-2.0
// A monitor for programs on a machine that runs nothing: what its tests stand on.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitor/events.h"
#include "monitor/qmp/json_stream.h"
#include "monitor/qmp/session.h"
#include "support/fake_control.h"

namespace emu::monitor {

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

}  // namespace emu::monitor
