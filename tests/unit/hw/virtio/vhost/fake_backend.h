// SPDX-License-Identifier: Apache-2.0
// A vhost-user back end in a thread: it maps guest memory, takes chains out of split rings, and puts what it read into
// their writable buffers in capitals.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "hw/virtio/vhost/vhost_user_protocol.h"
#include "hw/virtio/virtio_regs.h"
#include "util/fd.h"

namespace emu::test {

class FakeBackend {
 public:
  using Request = hw::vhost_user::Request;
  u64 features = hw::virtio::kFeatureVersion1 | hw::vhost_user::kFeatureProtocol | bit64(12);
  u64 protocol = hw::vhost_user::kProtocolMq | hw::vhost_user::kProtocolReplyAck | hw::vhost_user::kProtocolSlaveReq |
                 hw::vhost_user::kProtocolConfig;
  u64 queues = 4;
  std::array<u8, 60> config{};
  /// What goes wrong.
  std::optional<Request> hang_up_at, wrong_size_at, wrong_request_at, refuse;

  ~FakeBackend() { stop(); }

  void connect(const std::string& path) {
    stop();
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    wake_.reset(::eventfd(0, EFD_CLOEXEC));
    thread_ = std::thread([this] { run(); });
  }
  /// Ends as a process ends.
  void stop() {
    if (!thread_.joinable()) return;
    const u64 one = 1;
    EXPECT_EQ(::write(wake_.get(), &one, sizeof one), ssize_t(sizeof one));
    thread_.join();
    socket_.reset();
    slave_.reset();
    rings_.clear();
    for (const Region& region : regions_) ::munmap(region.memory, region.bytes);
    regions_.clear();
  }
  /// On the channel that the master gave us.
  void tell(const void* bytes, std::size_t size) {
    const std::lock_guard hold(mutex_);
    EXPECT_EQ(::send(slave_.get(), bytes, size, MSG_NOSIGNAL), ssize_t(size));
  }
  /// On the connection, unasked.
  void say(const void* bytes, std::size_t size) {
    EXPECT_EQ(::send(socket_.get(), bytes, size, MSG_NOSIGNAL), ssize_t(size));
  }
  std::vector<Request> seen() {
    const std::lock_guard hold(mutex_);
    return seen_;
  }
  unsigned count(Request request) {
    const auto all = seen();
    return unsigned(std::count(all.begin(), all.end(), request));
  }
  bool is_enabled(unsigned ring) {
    const std::lock_guard hold(mutex_);
    return rings_[ring].enabled;
  }
  u64 driver_features() {
    const std::lock_guard hold(mutex_);
    return driver_features_;
  }
  std::vector<u8> written_config() {
    const std::lock_guard hold(mutex_);
    return written_config_;
  }
  std::atomic<unsigned> served{0};

 private:
  struct Region {
    hw::vhost_user::MemoryRegion told;
    u8* memory;
    std::size_t bytes;
  };
  struct Ring {
    u32 size = 0, next = 0;
    u64 descriptors = 0, used = 0, available = 0;
    Fd kick, call;
    bool started = false, enabled = false;
  };

  u8* at(u64 address, u64 length, bool guest) {
    for (const Region& region : regions_) {
      const u64 start = guest ? region.told.guest : region.told.user;
      if (address < start || address - start > region.told.size || length > region.told.size - (address - start))
        continue;
      return region.memory + region.told.mmap_offset + (address - start);
    }
    ADD_FAILURE() << "no memory at " << address;
    return nullptr;
  }
  template <typename T>
  T get(u64 user) {
    T value{};
    if (const u8* place = at(user, sizeof(T), false)) std::memcpy(&value, place, sizeof value);
    return value;
  }

  void run() {
    while (true) {
      std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}, {socket_.get(), POLLIN, 0}};
      std::vector<unsigned> which;
      {
        const std::lock_guard hold(mutex_);
        for (auto& [index, ring] : rings_) {
          if (ring.started && ring.enabled && ring.kick)
            polled.push_back({ring.kick.get(), POLLIN, 0}), which.push_back(index);
        }
      }
      ::poll(polled.data(), polled.size(), -1);
      if (polled[0].revents != 0) return;
      if (polled[1].revents != 0 && !take_message()) {
        ::shutdown(socket_.get(), SHUT_RDWR);
        return;
      }
      if (polled[1].revents != 0) continue;
      for (std::size_t i = 0; i < which.size(); ++i) {
        if (polled[i + 2].revents == 0) continue;
        u64 kicks = 0;
        EXPECT_EQ(::read(polled[i + 2].fd, &kicks, sizeof kicks), ssize_t(sizeof kicks));
        const std::lock_guard hold(mutex_);
        serve(rings_[which[i]]);
      }
    }
  }

  void serve(Ring& ring) {
    while (u16(ring.next) != get<u16>(ring.available + 2)) {
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      const u16 head = get<u16>(ring.available + 4 + 2 * (ring.next % ring.size));
      std::string text;
      u32 written = 0;
      for (u16 i = head;;) {
        const u64 entry = ring.descriptors + 16 * i;
        const u64 address = get<u64>(entry);
        const u32 length = get<u32>(entry + 8);
        const u16 flags = get<u16>(entry + 12);
        u8* const memory = at(address, length, true);
        if (memory == nullptr) return;
        if ((flags & hw::virtio::kDescWrite) != 0) {
          const u32 size = u32(std::min<std::size_t>(length, text.size() - written));
          for (u32 k = 0; k < size; ++k) memory[k] = u8(std::toupper(text[written + k]));
          written += size;
        } else {
          text.append(reinterpret_cast<char*>(memory), length);
        }
        if ((flags & hw::virtio::kDescNext) == 0) break;
        i = get<u16>(entry + 14);
      }
      const u16 index = get<u16>(ring.used + 2);
      const u32 element[2] = {head, written};
      std::memcpy(at(ring.used + 4 + 8 * (index % ring.size), 8, false), element, 8);
      __atomic_store_n(reinterpret_cast<u16*>(at(ring.used + 2, 2, false)), u16(index + 1), __ATOMIC_RELEASE);
      ring.next = u16(ring.next + 1);
      ++served;
      const u64 one = 1;
      EXPECT_EQ(::write(ring.call.get(), &one, sizeof one), ssize_t(sizeof one));
    }
  }

  /// False when the connection is over.
  bool take_message() {
    hw::vhost_user::Header header;
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
    iovec part{&header, sizeof header};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    if (::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != ssize_t(sizeof header)) return false;
    std::vector<Fd> fds;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
        fds.emplace_back(fd);
      }
    }
    std::vector<u8> payload(header.size);
    if (header.size != 0 &&
        ::recv(socket_.get(), payload.data(), payload.size(), MSG_WAITALL) != ssize_t(header.size)) {
      return false;
    }
    EXPECT_EQ(header.flags & hw::vhost_user::kVersionMask, hw::vhost_user::kVersion);
    const std::lock_guard hold(mutex_);
    const auto request = Request(header.request);
    seen_.push_back(request);
    if (request == hang_up_at) return false;
    std::vector<u8> answer = carry_out(request, payload, fds);
    if (answer.empty() && (header.flags & hw::vhost_user::kNeedReply) != 0) answer = number(request == refuse ? 1 : 0);
    if (answer.empty()) return true;
    if (request == wrong_size_at) answer.push_back(0);
    const hw::vhost_user::Header back{header.request + (request == wrong_request_at ? 1 : 0),
                                      hw::vhost_user::kVersion | hw::vhost_user::kReply, u32(answer.size())};
    answer.insert(answer.begin(), reinterpret_cast<const u8*>(&back), reinterpret_cast<const u8*>(&back + 1));
    return ::send(socket_.get(), answer.data(), answer.size(), MSG_NOSIGNAL) == ssize_t(answer.size());
  }

  static std::vector<u8> number(u64 value) {
    const auto* bytes = reinterpret_cast<const u8*>(&value);
    return {bytes, bytes + sizeof value};
  }

  std::vector<u8> carry_out(Request request, const std::vector<u8>& payload, std::vector<Fd>& fds) {
    hw::vhost_user::VringState state;
    hw::vhost_user::VringAddress address;
    u64 value = 0;
    std::memcpy(&state, payload.data(), std::min(sizeof state, payload.size()));
    std::memcpy(&address, payload.data(), std::min(sizeof address, payload.size()));
    std::memcpy(&value, payload.data(), std::min(sizeof value, payload.size()));
    switch (request) {
      case Request::GetFeatures: return number(features);
      case Request::GetProtocolFeatures: return number(protocol);
      case Request::GetQueueNum: return number(queues);
      case Request::SetFeatures: driver_features_ = value; break;
      case Request::SetSlaveReqFd: slave_ = std::move(fds.at(0)); break;
      case Request::GetConfig: {
        std::vector<u8> answer = payload;
        std::memcpy(answer.data() + 12, config.data(), std::min(config.size(), answer.size() - 12));
        return answer;
      }
      case Request::SetConfig: written_config_ = payload; break;
      case Request::SetMemTable: {
        hw::vhost_user::MemoryTable table;
        std::memcpy(&table, payload.data(), std::min(sizeof table, payload.size()));
        EXPECT_EQ(fds.size(), table.count);
        for (const Region& region : regions_) ::munmap(region.memory, region.bytes);
        regions_.clear();
        for (u32 i = 0; i < table.count; ++i) {
          const std::size_t bytes = table.regions[i].size + table.regions[i].mmap_offset;
          void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i].get(), 0);
          EXPECT_NE(memory, MAP_FAILED);
          // A back end that would like us to fault cannot.
          EXPECT_NE(::ftruncate(fds[i].get(), 0), 0);
          regions_.push_back({table.regions[i], static_cast<u8*>(memory), bytes});
        }
        break;
      }
      case Request::SetVringNum: rings_[state.index].size = state.num; break;
      case Request::SetVringBase: rings_[state.index].next = state.num; break;
      case Request::SetVringAddr:
        rings_[address.index].descriptors = address.descriptors;
        rings_[address.index].used = address.used;
        rings_[address.index].available = address.available;
        break;
      case Request::SetVringKick:
        rings_[value & 0xff].kick = std::move(fds.at(0));
        rings_[value & 0xff].started = true;
        break;
      case Request::SetVringCall: rings_[value & 0xff].call = std::move(fds.at(0)); break;
      case Request::SetVringEnable: rings_[state.index].enabled = state.num != 0; break;
      case Request::GetVringBase: {
        rings_[state.index].started = false;
        state.num = rings_[state.index].next;
        const auto* bytes = reinterpret_cast<const u8*>(&state);
        return {bytes, bytes + sizeof state};
      }
      default: break;
    }
    return {};
  }

  std::mutex mutex_;  ///< what the test asks for
  Fd socket_, wake_, slave_;
  std::thread thread_;
  std::vector<Request> seen_;
  std::vector<u8> written_config_;
  u64 driver_features_ = 0;
  std::map<unsigned, Ring> rings_;
  std::vector<Region> regions_;
};

}  // namespace emu::test
