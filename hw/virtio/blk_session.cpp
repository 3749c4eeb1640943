// SPDX-License-Identifier: Apache-2.0
// Requests, virtio 1.2, 5.2.6.
#include "hw/virtio/blk_session.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {
namespace {

constexpr u32 kSectorBytes = 512;

struct RequestHeader {
  Le32 type;
  Le32 reserved;
  Le64 sector;
};
static_assert(sizeof(RequestHeader) == 16);

struct RangeSegment {  // of discard and write zeroes
  Le64 sector;
  Le32 sectors;
  Le32 flags;
};
constexpr u32 kUnmap = 1;

enum Type : u32 { kIn = 0, kOut = 1, kFlush = 4, kGetId = 8, kDiscard = 11, kWriteZeroes = 13 };
enum Status : u8 { kOk = 0, kIoError = 1, kUnsupported = 2 };
constexpr std::size_t kIdBytes = 20;

// What is carried out as one. With more the driver has nothing to do meanwhile: 4 MiB at once wrote no faster than
// requests of 1 MiB alone, 2 MiB an eighth.
constexpr u64 kMostBytesInOne = 2 << 20;
constexpr std::size_t kMostPiecesInOne = 1024;  ///< IOV_MAX

u8 status_of(block::IoStatus status) {
  if (status == 0) return kOk;
  return status == ENOTSUP ? kUnsupported : kIoError;
}

}  // namespace

/// Checked as far as it can be without knowing the type.
struct BlkSession::Request {
  VirtElementPtr element;
  u32 type = 0;
  u64 sector = 0;
  u64 in_bytes = 0, out_bytes = 0;  ///< data to the guest, and from it

  bool is_transfer() const { return type == kIn || type == kOut; }
  u64 bytes() const { return type == kIn ? in_bytes : out_bytes; }
  std::size_t pieces() const { return (type == kIn ? element->writable() : element->readable()).size(); }
};

BlkSession::BlkSession(block::BlockBackend& backend, EventLoop& loop, BlkLimits limits,
                       std::function<void()> on_resize, std::string device_name)
    : backend_(backend),
      loop_(loop),
      limits_(std::move(limits)),
      device_name_(std::move(device_name)),
      bytes_(backend.bytes()),
      write_cache_(backend.has_write_cache()),
      tasks_(loop),
      on_resize_(std::move(on_resize)) {}

BlkSession::~BlkSession() = default;

void BlkSession::take(const std::shared_ptr<VirtQueue>& queue, VirtElementPtr element) {
  const auto header = element->read<RequestHeader>(0);
  if (!header || element->writable_bytes() == 0) {
    queue->fail(std::move(element), "a block request without header or status");
    return;
  }
  Request request{.type = header->type.get(), .sector = header->sector.get()};
  request.out_bytes = element->readable_bytes() - sizeof(RequestHeader);
  request.in_bytes = element->writable_bytes() - 1;
  request.element = std::move(element);
  {
    const std::lock_guard hold(mutex_);
    if (closing_) return queue->push(std::move(request.element), 0);
    ++under_way_;
  }
  if (!taken_.empty() && !goes_on(request)) start_taken(queue);
  taken_bytes_ += request.bytes();
  taken_pieces_ += request.pieces();
  taken_.push_back(std::move(request));
}

/// Whether it begins where the one taken last ends, as when a driver that reads or writes one thing after the other has
/// several requests under way: they become one then, which costs the host little more than each of them.
bool BlkSession::goes_on(const Request& request) const {
  const Request& last = taken_.back();
  if (!limits_.merging || !request.is_transfer() || request.type != last.type) return false;
  const u64 last_bytes = last.bytes();
  if (last_bytes == 0 || last_bytes % kSectorBytes != 0) return false;
  if (request.sector != last.sector + last_bytes / kSectorBytes) return false;
  return taken_bytes_ + request.bytes() <= kMostBytesInOne && taken_pieces_ + request.pieces() <= kMostPiecesInOne &&
         backend_.may_join(request.type == kOut);
}

void BlkSession::start_taken(const std::shared_ptr<VirtQueue>& queue) {
  if (taken_.empty()) return;
  taken_bytes_ = 0;
  taken_pieces_ = 0;
  tasks_.start(serve(shared_from_this(), queue, std::exchange(taken_, {})));
}

Task<void> BlkSession::serve(std::shared_ptr<BlkSession> self, std::shared_ptr<VirtQueue> queue, Requests requests) {
  bool is_done = false;
  if (requests.size() > 1) {
    const u8 status = co_await self->transfer(requests);
    is_done = status == kOk;
    if (is_done) self->backend_.joined(requests.front().type == kOut, requests.size() - 1);
  }
  for (Request& request : requests) {
    u8 status = kOk;
    if (!is_done) status = co_await self->carry_out(request);  // one that fails does not take the others with it
    EMU_TRACE("virtio_blk_req_complete", "queue {} type {} sector {} status {}", queue->index(), request.type,
              request.sector, status);
    const u64 status_at = request.element->writable_bytes() - 1;
    queue->while_current(*request.element,
                         [&] { static_cast<void>(request.element->write<u8>(status_at, status)); });
    const u32 written = u32(std::min<u64>(request.element->writable_bytes(), ~0u));
    queue->push(std::move(request.element), written);
  }
  queue->notify();
  self->ended(u32(requests.size()));
}

Task<u8> BlkSession::carry_out(Request& request) {
  switch (request.type) {
    case kIn:
    case kOut: {
      const u8 status = co_await transfer({&request, 1});
      co_return status;
    }
    case kFlush: {
      const block::IoStatus status = co_await backend_.flush();
      co_return status_of(status);
    }
    case kGetId: co_return give_id(request);
    case kDiscard:
    case kWriteZeroes: {
      const u8 status = co_await discard_or_zero(request);
      co_return status;
    }
    default: co_return u8(kUnsupported);
  }
}

bool BlkSession::is_inside(u64 sector, u64 bytes) const {
  const u64 all = capacity_bytes();
  return sector <= all / kSectorBytes && bytes <= all - sector * kSectorBytes &&
         is_aligned(sector * kSectorBytes, limits_.logical_block) && is_aligned(bytes, limits_.logical_block);
}

Task<u8> BlkSession::transfer(std::span<Request> requests) {
  const bool in = requests.front().type == kIn;
  if (!in && limits_.read_only) co_return u8(kIoError);
  // Released at the end of this function, and so before anything tells the driver.
  std::vector<mem::PinnedSpan> spans;
  const mem::Direction direction = in ? mem::Direction::ToGuest : mem::Direction::FromGuest;
  for (const Request& request : requests) {
    if (!is_inside(request.sector, request.bytes())) co_return u8(kIoError);
    if (request.bytes() == 0) continue;
    if (request.element->map(direction, in ? 0 : sizeof(RequestHeader), request.bytes(), spans)) continue;
    log::guest_error("virtio-blk: a buffer is not in RAM");
    co_return u8(kIoError);
  }
  if (spans.empty()) co_return u8(kOk);
  const std::vector<iovec> parts = to_iovecs(spans);
  const u64 offset = requests.front().sector * kSectorBytes;
  block::IoStatus status = 0;
  if (in) {
    status = co_await backend_.read(offset, parts);
  } else {
    status = co_await backend_.write(offset, parts, is_write_cached() ? block::IoFlags::None : block::IoFlags::Fua);
  }
  co_return status_of(status);
}

u8 BlkSession::give_id(Request& request) {
  std::array<u8, kIdBytes> id{};
  std::memcpy(id.data(), limits_.serial.data(), std::min(limits_.serial.size(), id.size()));
  const std::size_t size = std::min<u64>(id.size(), request.in_bytes);
  return request.element->write(0, std::span<const u8>(id).first(size)) ? kOk : kIoError;
}

/// One segment each: that is what the configuration space offers.
Task<u8> BlkSession::discard_or_zero(Request& request) {
  const bool zero = request.type == kWriteZeroes;
  if (zero ? !limits_.write_zeroes : !limits_.discard) co_return u8(kUnsupported);
  if (limits_.read_only || request.out_bytes != sizeof(RangeSegment)) co_return u8(kIoError);
  const auto segment = request.element->read<RangeSegment>(sizeof(RequestHeader));
  if (!segment) co_return u8(kIoError);
  const u32 flags = segment->flags.get();
  if (flags & ~(zero ? kUnmap : 0)) co_return u8(kUnsupported);
  const u32 sectors = segment->sectors.get();
  const u64 bytes = u64(sectors) * kSectorBytes, sector = segment->sector.get();
  if (sectors > (zero ? limits_.max_write_zeroes_sectors : limits_.max_discard_sectors)) co_return u8(kIoError);
  if (!is_inside(sector, bytes)) co_return u8(kIoError);
  if (bytes == 0) co_return u8(kOk);
  block::IoStatus status = 0;
  if (zero) {
    block::IoFlags how = (flags & kUnmap) != 0 ? block::IoFlags::MayUnmap : block::IoFlags::None;
    if (!is_write_cached()) how = how | block::IoFlags::Fua;
    status = co_await backend_.write_zeroes(sector * kSectorBytes, bytes, how);
  } else {
    status = co_await backend_.discard(sector * kSectorBytes, bytes);
    if (status == ENOTSUP) status = 0;  // a hint that nobody takes
  }
  co_return status_of(status);
}

void BlkSession::ended(u32 requests) {
  std::function<void()> idle;
  {
    const std::lock_guard hold(mutex_);
    under_way_ -= requests;
    if (under_way_ == 0 && closing_) idle = std::exchange(idle_, {});
  }
  // Later: the task that calls this is to be over, and the owner of all tasks goes with the session.
  if (idle) loop_.post([self = shared_from_this(), idle = std::move(idle)] { idle(); });
}

void BlkSession::cancel() {
  loop_.post([self = shared_from_this()] { self->tasks_.cancel(); });
}

bool BlkSession::close(std::function<void()> idle) {
  // The last task may be on its very last steps: the session stays until the loop has been through them.
  loop_.post([self = shared_from_this()] { self->tasks_.cancel(); });
  const std::lock_guard hold(mutex_);
  closing_ = true;
  on_resize_ = {};
  if (under_way_ == 0) return true;
  idle_ = std::move(idle);
  return false;
}

void BlkSession::set_write_cache(bool enabled) {
  if (write_cache_.exchange(enabled) == enabled) return;
  {
    const std::lock_guard hold(mutex_);
    if (closing_) return;
    ++under_way_;
  }
  loop_.post([self = shared_from_this(), enabled] {
    self->backend_.set_write_cache(enabled);
    self->ended();
  });
}

void BlkSession::resized() {
  bytes_ = backend_.bytes();
  const std::lock_guard hold(mutex_);
  if (on_resize_) on_resize_();
}

}  // namespace emu::hw
