// SPDX-License-Identifier: Apache-2.0
// Attaching, media, draining and errors; the requests are in disk_requests.cpp.
#include "block/disk_backend.h"

#include <cerrno>
#include <cstring>

#include "block/on_loop.h"
#include "util/check.h"

namespace emu::block {

const char* on_error_name(OnError what) {
  static constexpr const char* kNames[] = {"report", "ignore", "enospc", "stop"};
  return kNames[unsigned(what)];
}

void DiskBackend::set_up(NodeGraph& graph, BackendSettings settings, BlockErrorListener* errors) {
  EMU_CHECK(graph_ == nullptr);
  graph_ = &graph;
  loop_ = &graph.main_loop();
  settings_ = std::move(settings);
  given_write_error_ = settings_.on_write_error;
  given_read_error_ = settings_.on_read_error;
  errors_ = errors;
  write_cache_.store(settings_.write_cache);
}

DiskBackend::~DiskBackend() { EMU_CHECK(in_flight_ == 0); }

std::string DiskBackend::user_name() const {
  if (!settings_.id.empty()) return settings_.id;
  const std::string device = device_name();
  return device.empty() ? "block device" : fmt::format("block device '{}'", device);
}

std::string DiskBackend::device_name() const {
  if (frontend_ == nullptr) return {};
  if (std::string given = frontend_->device_name(); !given.empty()) return given;
  const auto* object = dynamic_cast<const qom::Object*>(frontend_);
  if (object == nullptr) return {};
  const std::string path = object->path();
  constexpr std::string_view kUsers = "/machine/peripheral/";
  return path.starts_with(kUsers) ? path.substr(kUsers.size()) : path;
}

// ---- Front end and medium

Access DiskBackend::wanted_access() const {
  if (frontend_ == nullptr) return {};
  const Perm writes = is_read_only() ? Perm::None : Perm::Write;
  const Perm others = share_writes_ ? Perm::Write : Perm::None;
  return {.uses = Perm::ConsistentRead | writes, .shares = Perm::ConsistentRead | Perm::WriteUnchanged | others};
}

Result<void> DiskBackend::attach(BlockFrontend& frontend) {
  if (frontend_ != nullptr) return error("Drive '{}' is already in use by another block device", name());
  frontend_ = &frontend;
  if (root_) {
    if (auto attached = graph_->attach(root_, *this, wanted_access()); !attached) {
      frontend_ = nullptr;
      return attached;
    }
    refresh();
  }
  return {};
}

Result<void> DiskBackend::set_wishes(const DeviceWishes& wishes) {
  const auto action = [](ErrorWish wish) -> std::optional<OnError> {
    switch (wish) {
      case ErrorWish::Auto: return std::nullopt;
      case ErrorWish::Report: return OnError::Report;
      case ErrorWish::Ignore: return OnError::Ignore;
      case ErrorWish::Enospc: return OnError::Enospc;
      case ErrorWish::Stop: return OnError::Stop;
    }
    return std::nullopt;
  };
  if (wishes.read_error == ErrorWish::Enospc) {
    return error(Error("rerror=enospc: reads need no space").with_hint("auto, report, ignore or stop"));
  }
  if (frontend_ != nullptr) return error("Drive '{}' is already in use by another block device", name());
  set_error_actions(action(wishes.write_error), action(wishes.read_error));
  set_share_writes(wishes.share_writes);
  return {};
}

void DiskBackend::detach(BlockFrontend& frontend) {
  EMU_CHECK(frontend_ == &frontend && in_flight_ == 0);
  frontend_ = nullptr;
  // What the device wished goes with it.
  share_writes_ = false;
  settings_.on_write_error = given_write_error_;
  settings_.on_read_error = given_read_error_;
  if (!root_) return;
  if (stands_for_node_) {
    graph_->drop(root_, *this);
  } else {
    static_cast<void>(graph_->attach(root_, *this, Access{}));  // less than before
  }
}

void DiskBackend::stand_for(NodeRef node) {
  stands_for_node_ = true;
  loop_ = &node->loop();
  medium_is(std::move(node));
}

void DiskBackend::medium_is(NodeRef node) {
  root_ = std::move(node);
  refresh();
}

void DiskBackend::refresh() {
  limits_ = root_ ? root_->limits() : BlockLimits{};
  bytes_.store(root_ ? root_->bytes() : 0);
  unmaps_ = root_ && graph_->settings(*root_).unmap;
  detect_zeroes_ = root_ ? graph_->settings(*root_).detect_zeroes : DetectZeroes::Off;
}

Task<Result<void>> DiskBackend::insert(NodeRef node) {
  EMU_CHECK(root_ == nullptr);
  if (&node->loop() != loop_) {
    auto moved = graph_->move_to(node, *loop_, *this);
    EMU_CO_TRY(moved);
  }
  medium_is(node);
  auto attached = graph_->attach(node, *this, wanted_access());
  if (!attached) medium_is(nullptr);
  co_return attached;
}

Task<Result<void>> DiskBackend::remove() {
  if (!root_) co_return Result<void>();
  co_await drain_begin();
  NodeRef node = root_;
  medium_is(nullptr);
  drain_end();
  Result<void> detached;
  if (stands_for_node_) {
    stands_for_node_ = false;  // from now on media come and go
    graph_->drop(node, *this);
  } else {
    detached = co_await graph_->detach(node, *this);
  }
  graph_->bring_home(*node);
  co_return detached;
}

Result<void> DiskBackend::move_to(EventLoop& loop) {
  if (&loop == loop_) return {};
  EMU_CHECK(in_flight_ == 0 && held_back_.empty() && parked_.empty());
  if (root_) EMU_TRY(graph_->move_to(root_, loop, *this));
  loop_ = &loop;
  return {};
}

void DiskBackend::resized() {
  bytes_.store(root_ ? root_->bytes() : 0);
  if (frontend_ == nullptr) return;
  if (loop_ == &graph_->main_loop()) {
    frontend_->resized();
  } else {
    loop_->post([this] {
      if (frontend_ != nullptr) frontend_->resized();
    });
  }
}

Task<void> DiskBackend::set_throttle(std::string name, std::shared_ptr<ThrottleGroup> group) {
  co_await drain_begin();
  group_name_ = group ? std::move(name) : std::string();
  group_ = std::move(group);
  drain_end();
}

// ---- Draining

Task<void> DiskBackend::enter() {
  while (holds_ > 0) {
    const Completion<bool> released(*loop_);
    held_back_.push_back(released);
    co_await released;
  }
  in_flight_++;
}

void DiskBackend::leave() {
  if (--in_flight_ > 0 || idle_waiters_.empty()) return;
  const auto waiters = std::exchange(idle_waiters_, {});
  for (const auto& waiter : waiters) waiter.complete(true);
}

Task<void> DiskBackend::wait_idle() {
  holds_++;
  while (in_flight_ > 0) {
    const Completion<bool> idle(*loop_);
    idle_waiters_.push_back(idle);
    co_await idle;
  }
}

namespace {
/// on_loop wants a value.
Task<bool> then_true(Task<void> task) {
  co_await std::move(task);
  co_return true;
}
}  // namespace

Task<void> DiskBackend::drain_begin() {
  draining_.store(true);
  co_await on_loop(graph_->main_loop(), *loop_, then_true(wait_idle()));
}

void DiskBackend::drain_end() {
  const auto release = [this] {
    EMU_CHECK(holds_ > 0);
    if (--holds_ > 0) return;
    draining_.store(gave_up_.load());
    const auto held = std::exchange(held_back_, {});
    for (const auto& request : held) request.complete(true);
  };
  if (loop_->is_loop_thread()) {
    release();
  } else {
    loop_->post(release);
  }
}

// ---- Errors

/// Parks the request when the user wants the machine stopped; true when it is to be made again.
Task<bool> DiskBackend::wants_retry(IoStatus failed, bool is_write) {
  // Without a medium, and against the rules, asking again changes nothing.
  if (failed == ENOMEDIUM || failed == ECANCELED) co_return false;
  OnError action = on_error(is_write);
  if (action == OnError::Enospc) action = failed == ENOSPC ? OnError::Stop : OnError::Report;
  if (action == OnError::Stop) io_status_.store(failed);
  if (errors_ != nullptr) {
    errors_->io_error({.device = settings_.id, .node_name = root_ ? root_->name() : std::string(),
                       .filename = filename(), .is_write = is_write, .action = action, .no_space = failed == ENOSPC,
                       .reason = std::strerror(failed)});
  }
  if (action != OnError::Stop || errors_ == nullptr || gave_up_.load()) co_return false;
  const auto stop = co_await this_task_stop();
  const Completion<bool> again(*loop_);
  parked_.push_back(again);
  bool retried = false;
  {
    const std::stop_callback cancelled(stop, [&again] { again.complete(false); });  // a device that is reset
    retried = co_await again;
  }
  co_return retried;
}

void DiskBackend::end_waiting(bool again) {
  const auto wake = [this, again] {
    io_status_.store(0);
    const auto parked = std::exchange(parked_, {});
    for (const auto& request : parked) request.complete(again);
  };
  if (loop_->is_loop_thread()) {
    wake();
  } else {
    loop_->post(wake);
  }
}

void DiskBackend::give_up() {
  gave_up_.store(true);
  draining_.store(true);
  end_waiting(false);
}

void DiskBackend::fail_waiting() { end_waiting(false); }

void DiskBackend::retry() { end_waiting(true); }

const char* DiskBackend::io_status() const {
  const int failed = io_status_.load();
  return failed == 0 ? "ok" : failed == ENOSPC ? "nospace" : "failed";
}

namespace {

/// One writer, so plain loads and stores do.
void add(std::atomic<u64>& number, u64 more) {
  number.store(number.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

}  // namespace

void DiskBackend::joined(bool is_write, u64 requests) {
  IoCounters& counters = counters_[unsigned(is_write ? IoKind::Write : IoKind::Read)];
  add(counters.operations, requests);
  add(counters.joined, requests);
}

void DiskBackend::finish(IoKind kind, u64 bytes, ClockNs begin, IoStatus status) {
  const ClockNs end = Clock::monotonic_now();
  IoCounters& counters = counters_[unsigned(kind)];
  if (status == 0) {
    add(counters.operations, 1);
    add(counters.bytes, bytes);
    add(counters.time_ns, u64((end - begin).count()));
  } else {
    add(counters.failed, 1);
  }
  last_end_ns_.store(end.count(), std::memory_order_relaxed);
}

std::optional<u64> DiskBackend::idle_ns() const {
  const i64 last = last_end_ns_.load(std::memory_order_relaxed);
  if (last == 0) return std::nullopt;
  return u64(std::max<i64>(0, Clock::monotonic_now().count() - last));
}

void register_backend_types(qom::TypeRegistry& registry) {
  registry.add_abstract<BlockBackend, qom::Object>();
  registry.add<DiskBackend>("disk-backend");
}

}  // namespace emu::block
