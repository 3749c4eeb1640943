// SPDX-License-Identifier: Apache-2.0
// File requests through io_uring: one ring a loop, polled by it.
#include <glib.h>
#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <span>

#include "block/aio/engines.h"
#include "util/task.h"

namespace emu::block {
namespace {

constexpr unsigned kEntries = 128;
constexpr unsigned kCompletionEntries = 4096;
/// For how long, and how many, requests are carried out in place before their waiters and the loop's other sources go on.
constexpr ClockNs kTurn = std::chrono::microseconds(500);
constexpr unsigned kMostInTurn = 64;
/// A read of so many bytes is worth the hand-over to a worker that copies beside the loop's thread.
constexpr u64 kLarge = 512 << 10;

class UringEngine final : public IoEngine, public std::enable_shared_from_this<UringEngine> {
 public:
  static Result<std::shared_ptr<IoEngine>> create(EventLoop& loop);
  ~UringEngine() override;

  const char* name() const override { return "io_uring"; }
  void submit(IoRequest& request) override { (is_for_loop(request) ? in_place_ : waiting_).push_back(&request); }

 private:
  /// The loop's view of the ring: before it sleeps requests are handed over, and a ring with completions is ready.
  struct Source {
    GSource base;
    UringEngine* engine;
  };
  static gboolean prepare(GSource* source, gint* timeout);
  static gboolean check(GSource* source);
  static gboolean dispatch(GSource* source, GSourceFunc, gpointer);
  static GSourceFuncs functions_;

  UringEngine() = default;
  bool is_for_loop(const IoRequest& request) const;
  void hand_over();
  static void fill(io_uring_sqe& entry, const IoRequest& request);
  bool is_ready() { return io_uring_cq_ready(&ring_) > 0 || !in_place_.empty() || !ended_.empty(); }
  void reap();
  void carry_out_in_place();

  io_uring ring_{};
  bool has_ring_ = false;
  unsigned in_flight_ = 0;  ///< never more than the completion queue holds
  std::deque<IoRequest*> waiting_;
  std::deque<IoRequest*> in_place_;
  std::deque<IoRequest*> ended_;  ///< those of the turn whose waiters have not gone on yet
  Source* source_ = nullptr;
};

GSourceFuncs UringEngine::functions_ = {prepare, check, dispatch, nullptr, nullptr, nullptr};

Result<std::shared_ptr<IoEngine>> UringEngine::create(EventLoop& loop) {
  std::shared_ptr<UringEngine> engine(new UringEngine);
  io_uring_params params{};
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params.cq_entries = kCompletionEntries;
  const int failed = io_uring_queue_init_params(kEntries, &engine->ring_, &params);
  if (failed < 0) return error("the host refuses io_uring: {}", std::strerror(-failed));
  engine->has_ring_ = true;
  io_uring_ring_dontfork(&engine->ring_);

  GSource* const base = g_source_new(&functions_, sizeof(Source));
  // reap() may run inside itself; without this glib changes the poll set around each dispatch (event_loop.cpp).
  g_source_set_can_recurse(base, TRUE);
  engine->source_ = reinterpret_cast<Source*>(base);
  engine->source_->engine = engine.get();
  g_source_add_unix_fd(base, engine->ring_.ring_fd, G_IO_IN);
  g_source_attach(base, loop.context());
  return std::shared_ptr<IoEngine>(std::move(engine));
}

UringEngine::~UringEngine() {
  EMU_CHECK(in_flight_ == 0 && waiting_.empty() && in_place_.empty() && ended_.empty());
  if (source_ != nullptr) {
    g_source_destroy(&source_->base);
    g_source_unref(&source_->base);
  }
  if (has_ring_) io_uring_queue_exit(&ring_);
}

/// Of several large reads one is a worker's, so that two processors copy. Writes to one file take turns anyway.
bool UringEngine::is_for_loop(const IoRequest& request) const {
  if (!request.in_place || request.kind != IoRequest::Kind::Read) return request.in_place;
  if (in_place_.empty() || in_flight_ > 0 || !waiting_.empty()) return true;
  u64 bytes = 0;
  for (const iovec& part : std::span(request.parts, request.part_count)) bytes += part.iov_len;
  return bytes < kLarge;
}

void UringEngine::fill(io_uring_sqe& entry, const IoRequest& request) {
  switch (request.kind) {
    case IoRequest::Kind::Read:
      if (request.part_count == 1) {
        io_uring_prep_read(&entry, request.fd, request.parts->iov_base, unsigned(request.parts->iov_len),
                           request.offset);
      } else {
        io_uring_prep_readv(&entry, request.fd, request.parts, request.part_count, request.offset);
      }
      break;
    case IoRequest::Kind::Write:
      if (request.part_count == 1) {
        io_uring_prep_write(&entry, request.fd, request.parts->iov_base, unsigned(request.parts->iov_len),
                            request.offset);
      } else {
        io_uring_prep_writev(&entry, request.fd, request.parts, request.part_count, request.offset);
      }
      if (request.data_sync) entry.rw_flags = RWF_DSYNC;
      break;
    case IoRequest::Kind::Sync:
      io_uring_prep_fsync(&entry, request.fd, IORING_FSYNC_DATASYNC);
      break;
    case IoRequest::Kind::Allocate:
      io_uring_prep_fallocate(&entry, request.fd, request.mode, off_t(request.offset), off_t(request.length));
      break;
  }
}

void UringEngine::hand_over() {
  bool any_new = false;
  while (!waiting_.empty() && in_flight_ < kCompletionEntries) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) {
      if (io_uring_submit(&ring_) <= 0) break;  // EAGAIN, EBUSY: the next round tries again
      entry = io_uring_get_sqe(&ring_);
      if (entry == nullptr) break;
    }
    IoRequest& request = *waiting_.front();
    waiting_.pop_front();
    fill(*entry, request);
    io_uring_sqe_set_data(entry, &request);
    in_flight_++;
    any_new = true;
  }
  if (any_new || io_uring_sq_ready(&ring_) > 0) io_uring_submit(&ring_);
}

void UringEngine::reap() {
  io_uring_cqe* completed = nullptr;
  while (io_uring_peek_cqe(&ring_, &completed) == 0 && completed != nullptr) {
    auto* const request = static_cast<IoRequest*>(io_uring_cqe_get_data(completed));
    request->result = completed->res;
    io_uring_cqe_seen(&ring_, completed);
    in_flight_--;
    if (request->result == -EINTR || request->result == -EAGAIN) {
      waiting_.push_back(request);
    } else {
      emu::detail::resume_on_trampoline(request->waiter);
    }
  }
}

void UringEngine::carry_out_in_place() {
  const ClockNs turn_ends = Clock::monotonic_now() + kTurn;
  for (ClockNs now{}; ended_.size() < kMostInTurn && !in_place_.empty() && now < turn_ends;) {
    IoRequest& request = *in_place_.front();
    in_place_.pop_front();
    const ClockNs began = Clock::monotonic_now();
    request.result = carry_out(request);
    now = Clock::monotonic_now();
    request.took = now - began;
    ended_.push_back(&request);
  }
  // All together: the guest is interrupted once, and has less reason to sleep in between. A waiter may run the loop until
  // the others have ended: then they go on in there.
  while (!ended_.empty()) {
    const IoRequest& request = *ended_.front();
    ended_.pop_front();
    emu::detail::resume_on_trampoline(request.waiter);
  }
}

gboolean UringEngine::prepare(GSource* source, gint* timeout) {
  UringEngine& self = *reinterpret_cast<Source*>(source)->engine;
  self.hand_over();
  // What could not be handed over is tried again soon.
  *timeout = self.waiting_.empty() && io_uring_sq_ready(&self.ring_) == 0 ? -1 : 1;
  return self.is_ready();
}

gboolean UringEngine::check(GSource* source) { return reinterpret_cast<Source*>(source)->engine->is_ready(); }

gboolean UringEngine::dispatch(GSource* source, GSourceFunc, gpointer) {
  const auto keep = reinterpret_cast<Source*>(source)->engine->shared_from_this();  // whoever goes on may let go of it
  g_source_ref(source);
  keep->reap();
  keep->carry_out_in_place();
  g_source_unref(source);
  return G_SOURCE_CONTINUE;
}

}  // namespace

Result<std::shared_ptr<IoEngine>> make_uring_engine(EventLoop& loop) { return UringEngine::create(loop); }

}  // namespace emu::block
