// SPDX-License-Identifier: Apache-2.0
#include "net/user_net.h"

#include <arpa/inet.h>
#include <glib.h>
#include <libslirp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/offload.h"
#include "net/smb_server.h"
#include "net/user_segments.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/sys/socket.h"

namespace emu::net {
namespace {

constexpr i64 kNsPerMs = 1'000'000;

i64 now_ms() { return Clock::monotonic_now().count() / kNsPerMs; }

std::string text_of(in_addr address) {
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &address, text, sizeof text);
}

/// As libslirp will run it: words as in a shell, the first looked for in PATH.
Result<void> check_command(const std::string& command) {
  gchar** words = nullptr;
  if (!g_shell_parse_argv(command.c_str(), nullptr, &words, nullptr)) return error("'{}' is no command", command);
  gchar* const program = g_find_program_in_path(words[0]);
  const std::string name = words[0];
  g_strfreev(words);
  if (program == nullptr) return error("there is no program '{}'", name);
  g_free(program);
  return {};
}

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

}  // namespace

/// libslirp's timer: it names them by address.
struct UserNet::Alarm {
  SlirpTimerId id = SLIRP_TIMER_RA;
  void* argument = nullptr;
  i64 due_ms = -1;  ///< not armed when negative
};

/// One guestfwd to a stream.
struct UserNet::Forward final : ForwardStream::Sink {
  Forward(UserNet& owner, const GuestForward& rule) : net(owner), server(rule.server), port(rule.port) {}
  ~Forward() override {
    if (stream) stream->set_sink(nullptr);
  }
  std::size_t room() override { return net.slirp_ ? slirp_socket_can_recv(net.slirp_, server, port) : 0; }
  void bytes(std::span<const u8> data) override {
    slirp_socket_recv(net.slirp_, server, port, data.data(), int(data.size()));
  }
  UserNet& net;
  in_addr server;
  int port;
  std::unique_ptr<ForwardStream> stream;
};

/// The descriptors and deadlines of libslirp in a GMainContext: asked anew before each poll, for that is how libslirp
/// wants to be asked, but registered only when they change.
struct UserNet::Source {
  struct Polled {
    int fd;
    gpointer tag;
    GIOCondition condition;
    bool seen;
  };
  struct Holder {
    GSource base;
    Source* source;
  };

  explicit Source(UserNet& owner) : net(owner) {
    static GSourceFuncs kFunctions = {prepare, check, dispatch, nullptr, nullptr, nullptr};
    source = g_source_new(&kFunctions, sizeof(Holder));
    // Without this glib changes the poll set around each dispatch (event_loop.cpp); none runs inside another.
    g_source_set_can_recurse(source, TRUE);
    reinterpret_cast<Holder*>(source)->source = this;
    g_source_attach(source, net.loop().context());
  }
  ~Source() {
    g_source_destroy(source);
    g_source_unref(source);
  }

  static Source& of(GSource* source) { return *reinterpret_cast<Holder*>(source)->source; }

  static gboolean prepare(GSource* source, gint* timeout) {
    Source& self = of(source);
    for (Polled& one : self.polled) one.seen = false;
    self.order.clear();
    u32 wait_ms = UINT32_MAX;
    slirp_pollfds_fill(self.net.slirp_, &wait_ms, add_poll, &self);
    for (std::size_t i = self.polled.size(); i-- > 0;) {
      if (self.polled[i].seen) continue;
      g_source_remove_unix_fd(source, self.polled[i].tag);
      self.polled[i] = self.polled.back();
      self.polled.pop_back();
    }
    for (const auto& alarm : self.net.alarms_) {
      if (alarm->due_ms >= 0) wait_ms = u32(std::clamp<i64>(alarm->due_ms - now_ms(), 0, wait_ms));
    }
    if (self.kicked) wait_ms = 0;
    self.due_ms = wait_ms == UINT32_MAX ? -1 : now_ms() + wait_ms;
    *timeout = wait_ms > INT32_MAX ? -1 : gint(wait_ms);
    return wait_ms == 0;
  }
  static int add_poll(int fd, int events, void* opaque) {
    Source& self = *static_cast<Source*>(opaque);
    int wanted = 0;
    // While the guest has no room nothing is read for it: the host's senders feel it.
    const bool reads = !self.net.is_held_up();
    if ((events & SLIRP_POLL_IN) != 0 && reads) wanted |= G_IO_IN;
    if ((events & SLIRP_POLL_OUT) != 0) wanted |= G_IO_OUT;
    if ((events & SLIRP_POLL_PRI) != 0 && reads) wanted |= G_IO_PRI;
    if (wanted != 0) wanted |= G_IO_ERR | G_IO_HUP;
    const auto condition = GIOCondition(wanted);
    self.order.push_back(fd);
    for (Polled& one : self.polled) {
      if (one.fd != fd) continue;
      if (one.condition != condition) g_source_modify_unix_fd(self.source, one.tag, condition);
      one.condition = condition;
      one.seen = true;
      return int(self.order.size()) - 1;
    }
    self.polled.push_back({fd, g_source_add_unix_fd(self.source, fd, condition), condition, true});
    return int(self.order.size()) - 1;
  }
  static gboolean check(GSource* source) {
    Source& self = of(source);
    if (self.kicked || (self.due_ms >= 0 && now_ms() >= self.due_ms)) return TRUE;
    return std::any_of(self.polled.begin(), self.polled.end(),
                       [&](const Polled& one) { return g_source_query_unix_fd(source, one.tag) != 0; });
  }
  static gboolean dispatch(GSource* source, GSourceFunc, gpointer) {
    Source& self = of(source);
    self.kicked = false;
    UserNet& net = self.net;
    net.inside_ = true;
    slirp_pollfds_poll(net.slirp_, 0, events_of, &self);
    for (std::size_t i = 0; i < net.alarms_.size(); i++) {
      Alarm& alarm = *net.alarms_[i];
      if (alarm.due_ms < 0 || alarm.due_ms > now_ms()) continue;
      alarm.due_ms = -1;
      slirp_handle_timer(net.slirp_, alarm.id, alarm.argument);
    }
    net.inside_ = false;
    net.drain_input();
    for (const auto& forward : net.forwards_) {
      if (forward->stream) forward->stream->room_grew();
    }
    return G_SOURCE_CONTINUE;
  }
  static int events_of(int index, void* opaque) {
    Source& self = *static_cast<Source*>(opaque);
    if (index < 0 || std::size_t(index) >= self.order.size()) return 0;
    const int fd = self.order[std::size_t(index)];
    for (const Polled& one : self.polled) {
      if (one.fd != fd) continue;
      const int ready = g_source_query_unix_fd(self.source, one.tag);
      return ((ready & G_IO_IN) ? SLIRP_POLL_IN : 0) | ((ready & G_IO_OUT) ? SLIRP_POLL_OUT : 0) |
             ((ready & G_IO_PRI) ? SLIRP_POLL_PRI : 0) | ((ready & G_IO_ERR) ? SLIRP_POLL_ERR : 0) |
             ((ready & G_IO_HUP) ? SLIRP_POLL_HUP : 0);
    }
    return 0;
  }

  UserNet& net;
  GSource* source;
  std::vector<Polled> polled;
  std::vector<int> order;  ///< descriptors by the index that libslirp knows them by
  i64 due_ms = -1;
  bool kicked = true;
};

/// What libslirp calls.
struct UserNet::Callbacks {
  static UserNet& of(void* opaque) { return *static_cast<UserNet*>(opaque); }
  static ssize_t send_packet(const void* frame, std::size_t bytes, void* opaque) {
    of(opaque).output({static_cast<const u8*>(frame), bytes});
    return ssize_t(bytes);
  }
  static void guest_error(const char* message, void*) { log::guest_error("user network: {}", message); }
  static i64 clock_get_ns(void*) { return Clock::monotonic_now().count(); }
  static void* timer_new(SlirpTimerId id, void* argument, void* opaque) {
    auto& alarms = of(opaque).alarms_;
    alarms.push_back(std::make_unique<Alarm>(Alarm{id, argument, -1}));
    return alarms.back().get();
  }
  static void timer_free(void* timer, void* opaque) {
    std::erase_if(of(opaque).alarms_, [timer](const auto& alarm) { return alarm.get() == timer; });
  }
  static void timer_mod(void* timer, i64 due_ms, void*) { static_cast<Alarm*>(timer)->due_ms = due_ms; }
  static void fd_known(int, void*) {}  // the poll set is asked anew each time
  static void notify(void* opaque) {
    UserNet& net = of(opaque);
    if (net.source_ == nullptr) return;
    net.source_->kicked = true;
    if (!net.loop().is_loop_thread()) g_main_context_wakeup(net.loop().context());
  }

  SlirpCb table = {.send_packet = send_packet,
                   .guest_error = guest_error,
                   .clock_get_ns = clock_get_ns,
                   .timer_new = nullptr,
                   .timer_free = timer_free,
                   .timer_mod = timer_mod,
                   .register_poll_fd = fd_known,
                   .unregister_poll_fd = fd_known,
                   .notify = notify,
                   .init_completed = nullptr,
                   .timer_new_opaque = timer_new};
};

UserNet::UserNet() = default;

UserNet::~UserNet() {
  disconnect();
  delete source_;
  source_ = nullptr;
  for (const auto& forward : forwards_) {
    if (slirp_ != nullptr) slirp_remove_guestfwd(slirp_, forward->server, forward->port);
  }
  forwards_.clear();
  if (slirp_ != nullptr) slirp_cleanup(slirp_);
}

Result<void> UserNet::open(const UserOptions& options, EventLoop& loop, const StreamOpener& open_stream) {
  set_loop(loop);
  options_ = options;
  std::vector<const char*> search;
  for (const std::string& domain : options_.dns_search) search.push_back(domain.c_str());
  search.push_back(nullptr);
  SlirpConfig config{};
  config.version = 4;
  config.restricted = options_.restricted ? 1 : 0;
  config.in_enabled = options_.ipv4;
  config.vnetwork = options_.network;
  config.vnetmask = options_.mask;
  config.vhost = options_.host;
  config.in6_enabled = options_.ipv6;
  config.vprefix_addr6 = options_.prefix6;
  config.vprefix_len = options_.prefix6_length;
  config.vhost6 = options_.host6;
  config.vhostname = text_or_null(options_.hostname);
  config.tftp_server_name = text_or_null(options_.tftp_server_name);
  config.tftp_path = text_or_null(options_.tftp);
  config.bootfile = text_or_null(options_.bootfile);
  config.vdhcp_start = options_.dhcp_start;
  config.vnameserver = options_.dns;
  config.vnameserver6 = options_.dns6;
  config.vdnssearch = search.size() > 1 ? search.data() : nullptr;
  config.vdomainname = text_or_null(options_.domain);
  // Segments of this size come only once the guest said in its SYN, or we for it, that it takes them.
  config.if_mtu = config.if_mru = kJoinedMtu;
  flat_.resize(kMostPacketBytes);
  callbacks_ = std::make_unique<Callbacks>();
  slirp_ = slirp_new(&config, &callbacks_->table, this);
  if (slirp_ == nullptr) return error("libslirp refuses this configuration");
  for (const HostForward& rule : options_.host_forwards) EMU_TRY(add_host_forward(rule));
  for (const GuestForward& rule : options_.guest_forwards) EMU_TRY(add_guest_forward(rule, open_stream));
  if (!options_.smb.empty()) EMU_TRY(share_folder());
  source_ = new Source(*this);
  return {};
}

std::string UserNet::describe_state() const {
  return fmt::format("net={},restrict={}", text_of(options_.network), options_.restricted ? "on" : "off");
}

Result<void> UserNet::add_host_forward(const HostForward& rule) {
  errno = 0;
  if (slirp_add_hostfwd(slirp_, rule.udp ? 1 : 0, rule.host, rule.host_port, rule.guest, rule.guest_port) == 0) {
    return {};
  }
  const int why = errno != 0 ? errno : EADDRINUSE;
  Error plain(fmt::format("could not set up host forwarding rule '{}:{}:{}-{}:{}': {}", rule.udp ? "udp" : "tcp",
                          rule.host.s_addr == 0 ? "" : text_of(rule.host), rule.host_port,
                          rule.guest.s_addr == 0 ? "" : text_of(rule.guest), rule.guest_port, std::strerror(why)));
  return error(std::move(plain).with_hint(sys::listen_error("", why).hint()));
}

bool UserNet::remove_host_forward(const HostForward& rule) {
  return slirp_remove_hostfwd(slirp_, rule.udp ? 1 : 0, rule.host, rule.host_port) == 0;
}

Result<void> UserNet::add_guest_forward(const GuestForward& rule, const StreamOpener& open_stream) {
  in_addr server = rule.server;
  const std::string where = fmt::format("guestfwd to {}:{}", text_of(server), rule.port);
  if (!rule.command.empty()) {
    EMU_TRY(check_command(rule.command), where);
    if (slirp_add_exec(slirp_, rule.command.c_str(), &server, rule.port) == 0) return {};
    return error("{}: the address is not in the guest's network, or is taken", where);
  }
  if (!open_stream) return error("{}: streams cannot be opened here", where);
  auto forward = std::make_unique<Forward>(*this, rule);
  forward->stream = EMU_TRY(open_stream(rule.stream), where);
  const auto write = [](const void* data, std::size_t bytes, void* opaque) {
    auto& self = *static_cast<Forward*>(opaque);
    return ssize_t(self.stream->write(std::span(static_cast<const u8*>(data), bytes)));
  };
  if (slirp_add_guestfwd(slirp_, write, forward.get(), &server, rule.port) != 0) {
    return error("{}: the address is not in the guest's network, or is taken", where);
  }
  forward->stream->set_sink(forward.get());
  forwards_.push_back(std::move(forward));
  return {};
}

Result<void> UserNet::share_folder() {
  smb_ = EMU_TRY(SmbServer::create(options_.smb), "smb");
  for (const u16 port : SmbServer::kPorts) {
    in_addr server = options_.smb_server;
    if (slirp_add_exec(slirp_, smb_->command().c_str(), &server, port) == 0) continue;
    return error("smb: {}:{} cannot be served", text_of(server), port);
  }
  return {};
}

std::string UserNet::connections() const {
  char* text = slirp_connection_info(slirp_);
  std::string copy = text != nullptr ? text : "";
  ::g_free(text);
  return copy;
}

OffloadSet UserNet::receive_offloads() const { return {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true}; }

OffloadSet UserNet::possible_offloads() const { return {.checksum = true, .tso4 = true, .tso6 = true}; }

bool UserNet::finish(std::span<u8> frame, const PacketOffload& offload) const {
  if (offload.is_needed() && !finish_for_libslirp(frame, offload)) {
    log::guest_error("user network: a packet whose headers do not fit its offload (type {})", offload.gso_type);
    return false;
  }
  if (is_syn(frame)) raise_segment_size(frame);
  return true;
}

bool UserNet::receive(const Packet& packet) {
  const std::size_t bytes = packet.bytes();
  if (bytes > flat_.size()) return true;
  if (inside_) {
    constexpr std::size_t kMost = 256;
    if (from_guest_.size() >= kMost) return false;
    std::vector<u8> frame = flatten(packet);
    if (finish(frame, packet.offload)) from_guest_.push_back(std::move(frame));
    return true;
  }
  const iovec& first = packet.parts.front();
  const std::span<const u8> direct(static_cast<const u8*>(first.iov_base), first.iov_len);
  const bool is_whole = packet.parts.size() == 1 && !packet.offload.is_needed();
  if (is_whole && !is_syn(direct)) {
    input(direct);
  } else {
    const auto frame = std::span(flat_).first(flatten(packet, flat_));
    if (finish(frame, packet.offload)) input(frame);
  }
  drain_input();
  return true;
}

void UserNet::input(std::span<const u8> frame) {
  inside_ = true;
  slirp_input(slirp_, frame.data(), int(frame.size()));
  inside_ = false;
  if (source_ != nullptr) source_->kicked = true;
}

void UserNet::drain_input() {
  while (!from_guest_.empty()) {
    const std::vector<u8> frame = std::move(from_guest_.front());
    from_guest_.pop_front();
    input(frame);
  }
  ready();
}

void UserNet::output(std::span<const u8> frame) {
  const auto part_of = [](std::span<const u8> bytes) { return iovec{const_cast<u8*>(bytes.data()), bytes.size()}; };
  constexpr std::size_t kEthernetHeader = 14;
  if (frame.size() <= kWireMtu + kEthernetHeader) {
    const iovec part = part_of(frame);
    return output(Packet{.parts = {&part, 1}});
  }
  if (auto joined = describe_joined(frame)) {
    const iovec parts[] = {part_of(frame.first(joined->sum_at)), part_of(joined->pseudo_sum),
                           part_of(frame.subspan(joined->sum_at + sizeof joined->pseudo_sum))};
    return output(Packet{.parts = parts, .offload = joined->offload});
  }
  const auto send_piece = [&](std::span<const u8> piece) {
    const iovec part = part_of(piece);
    output(Packet{.parts = {&part, 1}});
  };
  if (!fragment(frame, send_piece)) send_piece(frame);
}

void UserNet::output(const Packet& packet) {
  if (!to_guest_.empty() || !sender_.send(*this, packet)) to_guest_.push(packet);
}

void UserNet::peer_ready() {
  const bool sent = to_guest_.drain([this](const Packet& packet) { return sender_.send(*this, packet); });
  if (!sent || !sender_.flush(*this) || source_ == nullptr) return;
  source_->kicked = true;
  if (!loop().is_loop_thread()) g_main_context_wakeup(loop().context());
}

}  // namespace emu::net
