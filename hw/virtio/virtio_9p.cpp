// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_9p.h"

#include <cerrno>
#include <map>
#include <shared_mutex>

#include "hw/9p/server.h"

namespace emu::hw {

using namespace virtio;

namespace {

constexpr u16 kQueueSize = 128;
constexpr size_t kMostTagBytes = 32;
constexpr u32 kTagAt = 2;
/// Room for what every request may be answered with, Rlerror.
constexpr u64 kLeastReply = p9::kHeaderBytes + 4;

std::vector<u8> short_reply(u8 type, u16 tag, std::optional<u32> value = {}) {
  p9::Writer out(type, tag);
  if (value) out.put32(*value);
  return out.finish();
}

}  // namespace

/// What is answered while the device is there, and not after: answers of one that goes are waited for, for the few
/// instructions that they take.
class P9Gate {
 public:
  template <typename Work>
  void pass(Work&& work) {
    const std::shared_lock hold(mutex_);
    if (open_) work();
  }
  void close() {
    const std::unique_lock hold(mutex_);
    open_ = false;
  }

 private:
  std::shared_mutex mutex_;  ///< lock order: this → VirtQueue → interrupt pin and controllers
  bool open_ = true;
};

/// Requests between two resets. Tflush is answered behind the request that it is about.
class P9Session : public std::enable_shared_from_this<P9Session> {
 public:
  P9Session(Fsdev& fsdev, std::shared_ptr<P9Gate> gate)
      : fsdev_(fsdev), gate_(std::move(gate)), server_(fsdev.folder()) {}

  /// The loop's thread.
  void take(const std::shared_ptr<VirtQueue>& queue, VirtElementPtr element) {
    std::array<u8, p9::kHeaderBytes> bytes;
    if (!element->read(0, bytes) || element->writable_bytes() < kLeastReply) {
      return queue->fail(std::move(element), "a 9p request without header or room for an answer");
    }
    const p9::Header header = p9::parse_header(bytes);
    if (header.size < p9::kHeaderBytes || header.size > element->readable_bytes() || header.size > p9::kMostMessage) {
      return queue->fail(std::move(element), fmt::format("a 9p request of {} bytes in {}", header.size,
                                                         element->readable_bytes()));
    }
    auto request = std::make_shared<Request>();
    request->element = std::move(element);
    request->header = header;
    request->is_flush = header.type == u8(p9::Type::Flush);
    if (waits_for_another(request)) return;
    if (request->is_flush) return answer(*queue, *request, short_reply(u8(p9::Type::Flush) + 1, header.tag));
    fsdev_.submit([self = shared_from_this(), queue, request] { self->carry_out(*queue, *request); });
  }

 private:
  struct Request {
    VirtElementPtr element;
    p9::Header header;
    bool is_flush = false;
    std::vector<std::shared_ptr<Request>> flushes;  ///< are answered after this one
  };

  bool waits_for_another(const std::shared_ptr<Request>& request) {
    const std::lock_guard hold(mutex_);
    bool waits = false;
    if (request->is_flush) {
      const auto old_tag = request->element->read<Le16>(p9::kHeaderBytes);
      const auto old = old_tag ? under_way_.find(*old_tag) : under_way_.end();
      waits = old != under_way_.end();
      if (waits) old->second->flushes.push_back(request);
    }
    // A tag in use twice is the client's mistake; then flushes go by the first.
    under_way_.try_emplace(request->header.tag, request);
    return waits;
  }

  void carry_out(VirtQueue& queue, Request& request) {
    std::vector<u8> message(request.header.size);
    bool good = false;
    gate_->pass([&] {
      queue.while_current(*request.element, [&] { good = request.element->read(0, message); });
    });
    // What was made available before a reset is not begun after it.
    answer(queue, request, good ? server_.handle(message) : short_reply(kError, request.header.tag, EIO));
  }

  void answer(VirtQueue& queue, Request& request, std::vector<u8> reply) {
    if (reply.size() > request.element->writable_bytes()) reply = short_reply(kError, request.header.tag, ENOBUFS);
    std::vector<std::shared_ptr<Request>> next;
    {
      const std::lock_guard hold(mutex_);
      const auto own = under_way_.find(request.header.tag);
      if (own != under_way_.end() && own->second.get() == &request) under_way_.erase(own);
      next = std::move(request.flushes);
    }
    gate_->pass([&] {
      const bool current =
          queue.while_current(*request.element, [&] { static_cast<void>(request.element->write(0, reply)); });
      static_cast<void>(current);  // push() knows, too
      queue.push_and_notify(std::move(request.element), u32(reply.size()));
    });
    for (const auto& flush : next) answer(queue, *flush, short_reply(u8(p9::Type::Flush) + 1, flush->header.tag));
  }

  static constexpr u8 kError = u8(p9::Type::Lerror) + 1;

  Fsdev& fsdev_;
  const std::shared_ptr<P9Gate> gate_;
  p9::Server server_;
  std::mutex mutex_;
  std::map<u16, std::shared_ptr<Request>> under_way_;  ///< by tag
};

Virtio9p::Virtio9p() : VirtioDevice(DeviceId::Plan9, kTagAt) {}
Virtio9p::~Virtio9p() = default;

void Virtio9p::describe(TypeInfo<Virtio9p>& type) {
  type.doc("Folder of the host");
  type.category(Category::Storage);
  type.property("mount_tag", &Virtio9p::mount_tag_, "name by which the guest mounts it, 32 bytes at most");
  type.link("fsdev", &Virtio9p::fsdev_, Fsdev::kContainer, "id of the -fsdev");
}

Result<void> Virtio9p::realize() {
  if (fsdev_ == nullptr) {
    return error(Error(fmt::format("{}: 'fsdev' is missing", type().name()))
                     .with_hint("add -fsdev local,id=ID,path=FOLDER,security_model=mapped-xattr, and fsdev=ID"));
  }
  if (mount_tag_.empty()) return error("{}: 'mount_tag' is missing", type().name());
  if (mount_tag_.size() > kMostTagBytes) {
    return error("{}: mount_tag={} has more than {} bytes", type().name(), mount_tag_, kMostTagBytes);
  }
  set_config_bytes(kTagAt + u32(mount_tag_.size()));
  fsdev_->start();
  gate_ = std::make_shared<P9Gate>();
  session_ = std::make_shared<P9Session>(*fsdev_, gate_);
  add_queue(kQueueSize, &fsdev_->loop());
  return {};
}

void Virtio9p::unrealize() {
  stop_queues();
  gate_->close();
  const std::lock_guard hold(session_mutex_);
  session_.reset();
}

/// Files of the driver before are closed when the last of its requests is done.
void Virtio9p::virtio_reset() {
  auto fresh = std::make_shared<P9Session>(*fsdev_, gate_);
  const std::lock_guard hold(session_mutex_);
  session_.swap(fresh);
}

std::shared_ptr<P9Session> Virtio9p::session() {
  const std::lock_guard hold(session_mutex_);
  return session_;
}

void Virtio9p::fill_config(std::span<u8> config) const {
  const Le16 length = u16(mount_tag_.size());
  if (config.size() < kTagAt + mount_tag_.size()) return;
  std::memcpy(config.data(), &length, sizeof length);
  std::memcpy(config.data() + kTagAt, mount_tag_.data(), mount_tag_.size());
}

void Virtio9p::handle_queue(unsigned index) {
  const std::shared_ptr<VirtQueue> queue = shared_queue(index);
  queue->process([&](VirtElementPtr element) {
    const std::shared_ptr<P9Session> current = session();
    if (current == nullptr) return queue->push(std::move(element), 0), false;
    current->take(queue, std::move(element));
    return true;
  });
}

}  // namespace emu::hw
