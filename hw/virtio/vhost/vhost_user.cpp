// SPDX-License-Identifier: Apache-2.0
// The back end's life and its rings. Vhost-user Protocol; the section of its document stands with what it rules.
#include "hw/virtio/vhost/vhost_user.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "util/log.h"

namespace emu::hw {

using namespace vhost_user;

namespace {

std::span<const u8> bytes_of(const auto& value) { return {reinterpret_cast<const u8*>(&value), sizeof value}; }

}  // namespace

// Life cycle. --------------------------------------------------------------------------------------------------------

VhostUser::VhostUser(ChardevObject& chardev, MachineServices& machine, u64 needed, Events events)
    : chardev_(chardev), machine_(machine), loop_(machine.main_event_loop()), needed_(needed),
      events_(std::move(events)) {}

Result<std::unique_ptr<VhostUser>> VhostUser::open(ChardevObject& chardev, MachineServices& machine, u64 needed,
                                                   Events events) {
  if (machine.main_event_loop() == nullptr) return error("there is no main loop");
  std::unique_ptr<VhostUser> made(new VhostUser(chardev, machine, needed, std::move(events)));
  EMU_TRY(chardev.stream().attach(*made));
  if (!chardev.stream().is_open()) {
    return error(Error(fmt::format("{}: nobody is connected", made->name()))
                     .with_hint("start the program that serves the device first, or let the chardev wait for it: "
                                "server=on,wait=on"));
  }
  EMU_TRY(made->take_connection());
  made->opening_ = false;
  return made;
}

VhostUser::~VhostUser() {
  slave_watch_.reset();
  connection_watch_.reset();
  chardev_.stream().detach(*this);
}

Result<void> VhostUser::take_connection() {
  const int socket = chardev_.stream().socket();
  int domain = 0;
  socklen_t size = sizeof domain;
  if (socket < 0 || ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX) {
    return error(Error(fmt::format("{}: vhost-user needs a unix socket", name()))
                     .with_hint("-chardev socket,id=ID,path=PATH"));
  }
  connection_.reset(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
  if (!connection_) return error("{}: {}", name(), std::strerror(errno));
  broken_ = hanging_up_ = false;
  auto done = shake_hands();
  if (!done) {
    slave_watch_.reset();
    slave_.reset();
    connection_.reset();
    return done;
  }
  watch_connection();
  return {};
}

/// "Communication", "Protocol features".
Result<void> VhostUser::shake_hands() {
  protocol_ = 0;
  queue_limit_.reset();
  features_ = EMU_TRY(ask_number(Request::GetFeatures));
  EMU_TRY(send(Request::SetOwner, {}, {}));
  if ((features_ & kFeatureProtocol) != 0) {
    const u64 offered = EMU_TRY(ask_number(Request::GetProtocolFeatures));
    u64 chosen = offered & (kProtocolMq | kProtocolReplyAck | kProtocolSlaveReq | kProtocolConfig);
    // Without the channel the back end could not say that its configuration changed; with it, it may rely on answers.
    if ((needed_ & kProtocolConfig) == 0) chosen &= ~(kProtocolConfig | kProtocolSlaveReq);
    EMU_TRY(order_number(Request::SetProtocolFeatures, chosen));
    protocol_ = chosen;
    if ((protocol_ & kProtocolMq) != 0) queue_limit_ = EMU_TRY(ask_number(Request::GetQueueNum));
    if ((protocol_ & kProtocolSlaveReq) != 0) EMU_TRY(open_slave_channel());
  }
  if ((needed_ & ~protocol_) != 0) {
    return error("{}: the back end lacks protocol features {:#x}, which this device cannot do without", name(),
                 needed_ & ~protocol_);
  }
  if (first_features_ && (*first_features_ & ~features_) != 0) {
    return error("{}: the back end has fewer features ({:#x}) than the one before ({:#x})", name(), features_,
                 *first_features_);
  }
  if (!first_features_) first_features_ = features_;
  return {};
}

/// "Slave communication".
Result<void> VhostUser::open_slave_channel() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return error("cannot make a socket: {}", std::strerror(errno));
  }
  slave_watch_.reset();
  slave_bytes_.clear();
  slave_.reset(pair[0]);
  const Fd theirs(pair[1]);
  const int fd = theirs.get();
  EMU_TRY(order(Request::SetSlaveReqFd, {}, {&fd, 1}));
  slave_watch_ = loop_->watch_fd(slave_.get(), FdEvents::Read, [this](FdEvents) { slave_ready(); });
  return {};
}

void VhostUser::watch_connection() {
  connection_watch_ = loop_->watch_fd(connection_.get(), FdEvents::Read, [this](FdEvents) {
    // An answer on its way to another thread is that thread's, which has the lock until it has taken it.
    const mem::MachineLockScope lock(machine_.memory().lock());
    u8 byte = 0;
    const ssize_t got = ::recv(connection_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got > 0) log::warn("{}: the back end says something that it was not asked for: the connection ends", name());
    drop_connection();
  });
}

/// The chardev hears of the end and goes on: it listens again, or tries to connect again.
void VhostUser::drop_connection() {
  if (!connection_) return;
  connection_watch_.reset();
  slave_watch_.reset();
  slave_.reset();
  connection_.reset();
  hanging_up_ = true;
  chardev_.stream().yank();
  chardev_.stream().accept_input();
  if (events_.lost) events_.lost();
}

void VhostUser::event(chardev::ChardevEvent what) {
  if (opening_) return;
  const mem::MachineLockScope lock(machine_.memory().lock());
  if (what == chardev::ChardevEvent::Closed) return drop_connection();
  if (what != chardev::ChardevEvent::Opened) return;
  if (auto taken = take_connection(); !taken) {
    log::warn("{}", taken.error().text());
    hanging_up_ = true;
    chardev_.stream().yank();
    chardev_.stream().accept_input();
    return;
  }
  if (events_.back) events_.back();
}

// Configuration space. -----------------------------------------------------------------------------------------------

Result<void> VhostUser::read_config(std::span<u8> to) {
  EMU_CHECK(to.size() <= kMostConfigBytes);
  std::vector<u8> message(sizeof(ConfigHeader) + to.size());
  const ConfigHeader asked{.size = u32(to.size())};
  std::memcpy(message.data(), &asked, sizeof asked);
  EMU_TRY(send(Request::GetConfig, message, {}));
  EMU_TRY(receive(Request::GetConfig, message));
  ConfigHeader given;
  std::memcpy(&given, message.data(), sizeof given);
  if (given.offset != 0 || given.size != to.size()) {
    return give_up(fmt::format("{} bytes of configuration at {} were not asked for", given.size, given.offset));
  }
  std::memcpy(to.data(), message.data() + sizeof given, to.size());
  return {};
}

Result<void> VhostUser::write_config(u32 offset, std::span<const u8> from) {
  EMU_CHECK(from.size() <= kMostConfigBytes);
  std::vector<u8> message(sizeof(ConfigHeader) + from.size());
  const ConfigHeader header{.offset = offset, .size = u32(from.size())};
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + sizeof header, from.data(), from.size());
  return order(Request::SetConfig, message);
}

// Rings. -------------------------------------------------------------------------------------------------------------

Result<void> VhostUser::set_features(u64 features) {
  return order_number(Request::SetFeatures, features | (features_ & kFeatureProtocol));
}

/// "Memory regions description".
Result<void> VhostUser::set_memory(const VhostMemory& memory) {
  if (memory.regions().size() > kMostRegions) {
    return error("the guest's memory has {} parts, and vhost-user knows {}", memory.regions().size(), kMostRegions);
  }
  MemoryTable table;
  std::vector<int> fds;
  for (const VhostRegion& region : memory.regions()) {
    table.regions[table.count++] = {region.guest, region.size, region.user, region.offset_in_ram};
    fds.push_back(region.ram->shared_fd());
  }
  const std::size_t size = 8 + table.count * sizeof(MemoryRegion);
  EMU_TRY(order(Request::SetMemTable, bytes_of(table).first(size), fds));
  // A back end that gives no answers to orders has carried out this one when it answers the next question.
  if ((protocol_ & kProtocolReplyAck) == 0) EMU_TRY(ask_number(Request::GetFeatures));
  return {};
}

/// "Starting and stopping rings".
Result<void> VhostUser::set_ring(const Ring& ring) {
  EMU_TRY(send(Request::SetVringNum, bytes_of(VringState{ring.index, ring.size}), {}));
  EMU_TRY(send(Request::SetVringBase, bytes_of(VringState{ring.index, ring.base}), {}));
  const VringAddress address{.index = ring.index, .descriptors = ring.descriptors, .used = ring.device_area,
                             .available = ring.driver_area};
  EMU_TRY(order(Request::SetVringAddr, bytes_of(address)));
  EMU_TRY(order_number(Request::SetVringCall, ring.index, {&ring.call_fd, 1}));
  return order_number(Request::SetVringKick, ring.index, {&ring.kick_fd, 1});
}

Result<void> VhostUser::enable_ring(unsigned index, bool on) {
  if ((features_ & kFeatureProtocol) == 0) return {};  // then they always are
  return send(Request::SetVringEnable, bytes_of(VringState{index, on}), {});
}

Result<u32> VhostUser::stop_ring(unsigned index) {
  VringState state{index, 0};
  EMU_TRY(send(Request::GetVringBase, bytes_of(state), {}));
  EMU_TRY(receive(Request::GetVringBase, {reinterpret_cast<u8*>(&state), sizeof state}));
  if (state.index != index) return give_up(fmt::format("ring {} answers for ring {}", state.index, index));
  return state.num;
}

}  // namespace emu::hw
