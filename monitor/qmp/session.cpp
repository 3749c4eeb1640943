// SPDX-License-Identifier: Apache-2.0
#include "monitor/qmp/session.h"

#include <cstdio>

#include "monitor/version.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::monitor {
namespace {

constexpr std::size_t kMostFds = 16;

std::string_view class_name(ErrorClass error_class) {
  switch (error_class) {
    case ErrorClass::CommandNotFound:
      return "CommandNotFound";
    case ErrorClass::DeviceNotActive:
      return "DeviceNotActive";
    case ErrorClass::DeviceNotFound:
      return "DeviceNotFound";
    case ErrorClass::KVMMissingCap:
      return "KVMMissingCap";
    default:
      return "GenericError";
  }
}

tl::unexpected<Error> not_found(const std::string& why) { return error(Error(why, ErrorClass::CommandNotFound)); }

}  // namespace

QmpSession::QmpSession(Chardev& stream, Monitors& monitors, QmpOptions options)
    : stream_(stream), monitors_(monitors), options_(options) {}

Result<std::unique_ptr<QmpSession>> QmpSession::create(Chardev& stream, Monitors& monitors, QmpOptions options) {
  std::unique_ptr<QmpSession> session(new QmpSession(stream, monitors, options));
  EMU_TRY(stream.attach(*session));
  if (stream.is_open() && !session->open_) session->event(ChardevEvent::Opened);
  monitors.add(*session);
  return session;
}

QmpSession::~QmpSession() {
  monitors_.remove(*this);
  stream_.detach(*this);
}

// ---- The stream's side

void QmpSession::event(ChardevEvent event) {
  const bool opened = event == ChardevEvent::Opened;
  if (!opened && event != ChardevEvent::Closed) return;
  input_.reset();
  arrived_.clear();
  {
    const std::lock_guard lock(mutex_);
    if (opened && open_) return;
    open_ = opened;
    connection_++;
    mode_ = Mode::Negotiating;
    oob_ = false;
    queue_.clear();
    output_.clear();
  }
  if (opened) greet();
}

void QmpSession::greet() {
  unsigned major = 0, minor = 0, micro = 0;
  std::sscanf(std::string(kCompatibleVersion).c_str(), "%u.%u.%u", &major, &minor, &micro);
  Json capabilities = Json::array();
  if (options_.offers_oob) capabilities.push_back("oob");
  write({{"QMP",
          {{"version",
            {{"qemu", {{"major", major}, {"minor", minor}, {"micro", micro}}},
             {"package", fmt::format("system-emu {}", kVersion)}}},
           {"capabilities", std::move(capabilities)}}}},
        connection_);
}

std::size_t QmpSession::can_receive() {
  const std::lock_guard lock(mutex_);
  return queue_.size() >= kMostQueued || output_.size() >= kOutputHigh ? 0 : 4096;
}

void QmpSession::receive(std::span<const u8> data) {
  for (Fd& fd : stream_.take_fds()) {
    if (arrived_.size() < kMostFds) arrived_.push_back(std::move(fd));
  }
  for (const u8 byte : data) {
    if (auto message = input_.take(char(byte))) take_message(std::move(*message));
  }
}

void QmpSession::take_message(Result<Json> message) {
  Request request;
  request.id = Json(Json::value_t::discarded);
  bool out_of_band = false;
  if (!message) {
    request.refused = std::move(message).error();
  } else if (auto good = read_request(*message, request, out_of_band); !good) {
    request.refused = std::move(good).error();
  }
  request.connection = connection_;
  if (!request.refused && (request.command == "getfd" || request.command == "add-fd") && !arrived_.empty()) {
    request.fds.push_back(std::move(arrived_.front()));
    arrived_.erase(arrived_.begin());
  }
  if (out_of_band && !request.refused) {
    run_out_of_band(std::move(request));
  } else {
    enqueue(std::move(request));
  }
}

/// Checks the envelope: {"execute": NAME, "arguments": {...}, "id": ANYTHING}.
Result<void> QmpSession::read_request(Json& message, Request& request, bool& out_of_band) {
  if (!message.is_object()) return error("QMP input must be a JSON object");
  if (const auto id = message.find("id"); id != message.end()) request.id = std::move(*id);
  bool may_oob = false;
  {
    const std::lock_guard lock(mutex_);
    may_oob = oob_;
  }
  const char* verb = nullptr;
  for (const auto& [key, value] : message.items()) {
    if (key == "execute" || (key == "exec-oob" && may_oob)) {
      if (!value.is_string()) return error("QMP input member '{}' must be a string", key);
      if (verb != nullptr) return error("QMP input member 'exec-oob' clashes with 'execute'");
      verb = key == "execute" ? "execute" : "exec-oob";
    } else if (key == "arguments") {
      if (!value.is_object()) return error("QMP input member 'arguments' must be an object");
    } else if (key != "id") {
      return error("QMP input member '{}' is unexpected", key);
    }
  }
  if (verb == nullptr) return error("QMP input lacks member 'execute'");
  request.command = message[verb].get<std::string>();
  const auto arguments = message.find("arguments");
  request.arguments = arguments == message.end() ? Json::object() : std::move(*arguments);
  out_of_band = verb[4] == '-';
  return {};
}

void QmpSession::run_out_of_band(Request request) {
  const QmpCommand* command = monitors_.registry().find_qmp(request.command);
  Result<Json> result = Json();
  if (command == nullptr) {
    result = not_found(fmt::format("The command {} has not been found", request.command));
  } else if (!command->traits.out_of_band) {
    result = error("The command {} does not support OOB", request.command);
  } else {
    Session scratch;  // session_ belongs to the main thread
    CommandContext context = monitors_.context(scratch);
    result = command->run(context, request.arguments);
  }
  reply(request, result);
}

void QmpSession::enqueue(Request request) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(request));
    if (std::exchange(serving_, true)) return;
  }
  serve_soon();
}

// ---- The main thread's side

/// A session that is gone by then has nothing to serve.
void QmpSession::serve_soon() {
  monitors_.loop().post([this, alive = std::weak_ptr<const int>(alive_)] {
    if (!alive.lock()) return;
    monitors_.run_alone([this, alive] {
      if (alive.lock()) serve_next();
    });
  });
}

/// One command a round, so that monitors take turns.
void QmpSession::serve_next() {
  std::optional<Request> request;
  bool was_full = false;
  {
    const std::lock_guard lock(mutex_);
    if (!queue_.empty()) {
      was_full = queue_.size() >= kMostQueued;
      request = std::move(queue_.front());
      queue_.pop_front();
    }
    if (queue_.empty()) serving_ = false;
  }
  if (request) reply(*request, run(*request));
  if (was_full) stream_.accept_input();
  bool more = false;
  {
    const std::lock_guard lock(mutex_);
    more = serving_;
  }
  if (!more) return;
  serve_soon();
}

Result<Json> QmpSession::run(Request& request) {
  EMU_TRACE("monitor_qmp_cmd", "stream {} command {} arguments {}", stream_.id(), request.command,
            request.arguments.is_null() ? "{}" : json_text(request.arguments, JsonLayout::Line));
  if (request.refused) return error(std::move(*request.refused));
  Mode mode;
  {
    const std::lock_guard lock(mutex_);
    mode = mode_;
  }
  if (mode == Mode::Negotiating) {
    if (request.command == "qmp_capabilities") return negotiate(request.arguments);
    return not_found("Expecting capabilities negotiation with 'qmp_capabilities'");
  }
  if (request.command == "qmp_capabilities") {
    return not_found("Capabilities negotiation is already complete, command ignored");
  }
  const QmpCommand* command = monitors_.registry().find_qmp(request.command);
  if (command == nullptr) return not_found(fmt::format("The command {} has not been found", request.command));
  if (monitors_.control().is_preconfig() && !command->traits.before_machine) {
    return error("The command is permitted only after machine initialization has completed");
  }
  session_.received_fds = std::move(request.fds);
  CommandContext context = monitors_.context(session_);
  monitors_.note_command(command->name);
  auto result = command->run(context, request.arguments);
  session_.received_fds.clear();
  return result;
}

Result<Json> QmpSession::negotiate(const Json& arguments) {
  const auto parsed = EMU_TRY(from_json<QmpCapabilitiesArguments>(arguments, ""));
  bool oob = false;
  for (const QmpCapability capability : parsed.enable.value_or(std::vector<QmpCapability>())) {
    if (capability != QmpCapability::Oob) continue;
    if (!options_.offers_oob) return error("Capability 'oob' is not available");
    oob = true;
  }
  const std::lock_guard lock(mutex_);
  oob_ = oob;
  mode_ = Mode::Commands;
  return Json::object();
}

void QmpSession::send_event(const Json& event) {
  EMU_TRACE("monitor_qmp_event", "stream {} event {}", stream_.id(), json_text(event, JsonLayout::Line));
  u64 connection = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!open_ || mode_ != Mode::Commands) return;
    if (output_.size() > kOutputLimit) return;
    connection = connection_;
  }
  write(event, connection);
}

// ---- Output, either thread

void QmpSession::reply(const Request& request, const Result<Json>& result) {
  Json answer;
  if (result) {
    answer["return"] = *result;
  } else {
    answer["error"] = {{"class", class_name(result.error().error_class())}, {"desc", result.error().message()}};
  }
  if (!request.id.is_discarded()) answer["id"] = request.id;
  write(answer, request.connection);
}

void QmpSession::write(const Json& value, u64 connection) {
  const std::string text = json_text(value, options_.layout) + "\r\n";
  const std::lock_guard lock(mutex_);
  if (!open_ || connection != connection_) return;
  output_.push(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
  flush_locked();
}

void QmpSession::flush_locked() {
  while (!output_.empty()) {
    const std::size_t taken = stream_.write(output_.front());
    if (taken == 0) return;
    output_.pop(taken);
  }
}

void QmpSession::writable() {
  bool room = false;
  {
    const std::lock_guard lock(mutex_);
    const bool was_high = output_.size() >= kOutputHigh;
    flush_locked();
    room = was_high && output_.size() < kOutputHigh;
  }
  if (room) stream_.accept_input();
}

}  // namespace emu::monitor
