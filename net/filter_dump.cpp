// SPDX-License-Identifier: Apache-2.0
// The format is that of draft-ietf-opsawg-pcap: magic 0xa1b2c3d4 with microseconds, link type 1 (Ethernet).
#include "net/filter_dump.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "util/log.h"

namespace emu::net {
namespace {

struct FileHeader {  // native order: readers know by the magic
  u32 magic = 0xa1b2'c3d4;
  u16 major = 2, minor = 4;
  u32 reserved1 = 0, reserved2 = 0;
  u32 most_bytes = 0;
  u32 link_type = 1;
};
struct RecordHeader {
  u32 seconds = 0, microseconds = 0;
  u32 captured = 0, length = 0;
};

}  // namespace

void FilterDump::describe(qom::TypeInfo<FilterDump>& type) {
  type.doc("writes a network back end's packets to a pcap file");
  type.link("netdev", &FilterDump::client_, NetClient::kContainer, "id of the back end").required();
  type.property("file", &FilterDump::file_, "where to").required();
  type.property("maxlen", &FilterDump::most_bytes_, "bytes of each packet that are kept");
  type.choice("queue", &FilterDump::queue_, "NetFilterDirection",
              {{"all", Queue::All}, {"rx", Queue::Rx}, {"tx", Queue::Tx}},
              "rx: what the back end is sent; tx: what it sends");
  type.choice("status", &FilterDump::status_, "NetFilterStatus", {{"on", Status::On}, {"off", Status::Off}},
              "off: nothing is written")
      .settable_at_runtime();
  type.property("position", &FilterDump::position_, "has no effect: a dump changes nothing for other filters");
  type.choice("insert", &FilterDump::insert_, "NetfilterInsert", {{"before", Insert::Before}, {"behind", Insert::Behind}},
              "has no effect");
}

FilterDump::~FilterDump() {
  if (client_ != nullptr) client_->remove_observer(*this);
}

Result<void> FilterDump::complete() {
  NetClient* const client = client_;
  client_ = nullptr;  // it hears of the client's end only from below on
  if (client == nullptr) return error("'netdev' is missing");
  if (file_.empty()) return error("'file' is missing");
  if (most_bytes_ == 0) return error("maxlen=0 would keep nothing");
  fd_.reset(::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd_) return error("cannot write '{}': {}", file_, std::strerror(errno));
  const FileHeader header{.most_bytes = most_bytes_};
  if (::write(fd_.get(), &header, sizeof header) != ssize_t(sizeof header)) {
    return error("cannot write '{}': {}", file_, std::strerror(errno));
  }
  client_ = client;
  client_->add_observer(*this);
  return {};
}

void FilterDump::packet_sent(const Packet& packet) {
  if (queue_ != Queue::Rx) write(packet);
}

void FilterDump::packet_received(const Packet& packet) {
  if (queue_ != Queue::Tx) write(packet);
}

void FilterDump::write(const Packet& packet) {
  if (status_ == Status::Off || !fd_) return;
  using namespace std::chrono;
  const auto now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
  const std::size_t bytes = packet.bytes();
  std::size_t left = std::min<std::size_t>(bytes, most_bytes_);
  RecordHeader header{u32(now / 1'000'000), u32(now % 1'000'000), u32(left), u32(bytes)};
  std::vector<iovec> parts{{&header, sizeof header}};
  const ssize_t total = ssize_t(sizeof header + left);
  for (const iovec& part : packet.parts) {
    const std::size_t here = std::min(part.iov_len, left);
    if (here != 0) parts.push_back({part.iov_base, here});
    left -= here;
  }
  if (::writev(fd_.get(), parts.data(), int(parts.size())) == total) return;
  log::warn("filter-dump '{}': cannot write '{}': {}; nothing more is written", name(), file_, std::strerror(errno));
  fd_.reset();
}

}  // namespace emu::net
