// SPDX-License-Identifier: Apache-2.0
// The kernel's Documentation/networking/tuntap.rst and linux/if_tun.h.
#include "net/tap_net.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "util/log.h"
#include "util/string.h"

extern char** environ;

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace emu::net {
namespace {

constexpr unsigned kMostQueues = 256;

/// What stands before each packet with IFF_VNET_HDR, in the host's order (virtio 1.2, "Packet Transmission").
struct VnetHeader {
  u8 flags = 0, gso_type = 0;
  u16 header_bytes = 0, segment_bytes = 0, csum_start = 0, csum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);

/// Runs `path` with arguments and waits. Errors: it cannot be run, or fails.
Result<void> run_program(const std::string& path, std::vector<std::string> arguments) {
  std::vector<char*> argv{const_cast<char*>(path.c_str())};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (const int failure = ::posix_spawn(&pid, path.c_str(), nullptr, nullptr, argv.data(), environ); failure != 0) {
    return error("cannot run '{}': {}", path, std::strerror(failure));
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return error("'{}' failed with status {}", path, WIFEXITED(status) ? WEXITSTATUS(status) : status);
}

Result<Fd> open_interface(std::string& ifname, bool vnet_header, bool several) {
  Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    return error(Error(fmt::format("cannot open /dev/net/tun: {}", std::strerror(errno)))
                     .with_hint("load the kernel's module 'tun', and run with the right to use it; or use -netdev user"));
  }
  ifreq request{};
  if (ifname.size() >= IFNAMSIZ) return error("ifname: '{}' is longer than {} characters", ifname, IFNAMSIZ - 1);
  std::memcpy(request.ifr_name, ifname.empty() ? "tap%d" : ifname.c_str(), ifname.empty() ? 5 : ifname.size());
  request.ifr_flags = short(IFF_TAP | IFF_NO_PI | (vnet_header ? IFF_VNET_HDR : 0) | (several ? IFF_MULTI_QUEUE : 0));
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) {
    const int failure = errno;
    const std::string name = ifname.empty() ? "a new interface" : "interface '" + ifname + "'";
    Error why(fmt::format("cannot use {}: {}", name, std::strerror(failure)));
    if (failure == EINVAL) {
      return error(std::move(why).with_hint("it is there and no TAP interface, or made for another number of queues"));
    }
    if (failure == EBUSY) return error(std::move(why).with_hint("end the program that has it, or take another name"));
    if (failure != EPERM) return error(std::move(why));
    return error(std::move(why).with_hint(
        "make it beforehand for this user: ip tuntap add dev NAME mode tap user USER; or use -netdev user"));
  }
  ifname = request.ifr_name;
  return fd;
}

/// The descriptor of an interface that a helper opened and sends over a socket.
Result<Fd> open_by_helper(const std::string& helper, const std::string& bridge) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return error("cannot make a socket: {}", std::strerror(errno));
  Fd ours(pair[0]), theirs(pair[1]);
  ::fcntl(ours.get(), F_SETFD, FD_CLOEXEC);
  EMU_TRY(run_program(helper, {"--use-vnet", fmt::format("--fd={}", theirs.get()), "--br=" + bridge}));
  theirs.reset();
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(ours.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0) {
    return error("'{}' sent no interface: {}", helper, std::strerror(errno));
  }
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return error("'{}' sent no interface", helper);
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return Fd(fd);
}

Result<void> check_runnable(const std::string& path) {
  if (path.empty() || ::access(path.c_str(), X_OK) == 0) return {};
  return error("cannot run '{}': {}", path, std::strerror(errno));
}

/// The interface behind a descriptor.
Result<ifreq> interface_of(int fd) {
  if (::fcntl(fd, F_GETFD) < 0) return error("fd {}: no such descriptor was inherited", fd);
  ifreq request{};
  if (::ioctl(fd, TUNGETIFF, &request) < 0) return error("fd {} is not a TAP interface", fd);
  if ((request.ifr_flags & IFF_TAP) == 0) return error("fd {} is a TUN interface, which carries no Ethernet", fd);
  return request;
}

Result<int> parse_fd(std::string_view text) {
  const auto number = parse_u64(text);
  if (!number || *number > 0x7fff'ffff) return error("fd: '{}' is not a file descriptor", text);
  return int(*number);
}

}  // namespace

Result<TapOptions> take_tap_options(Options& options) {
  TapOptions tap;
  tap.ifname = options.take("ifname").value_or("");
  const auto fd = options.take("fd");
  const auto fds = options.take("fds");
  const auto script = options.take("script");
  const auto down = options.take("downscript");
  const auto helper = options.take("helper");
  const auto bridge = options.take("br");
  const auto queues = EMU_TRY(options.take_u64("queues"));
  tap.sndbuf = EMU_TRY(options.take_size("sndbuf")).value_or(0);
  tap.vnet_hdr = EMU_TRY(options.take_bool("vnet_hdr"));
  const auto vhost_fd = options.take("vhostfd");
  const auto vhost_fds = options.take("vhostfds");
  tap.vhost_force = EMU_TRY(options.take_bool_or("vhostforce", false));
  tap.vhost = EMU_TRY(options.take_bool_or("vhost", tap.vhost_force || vhost_fd || vhost_fds));
  if (vhost_fd && vhost_fds) return error("'vhostfd' and 'vhostfds' do not go together");
  if (!tap.vhost && (vhost_fd || vhost_fds)) return error("'vhostfd' and 'vhostfds' go with vhost=on only");
  if (vhost_fd) tap.vhost_fds.push_back(EMU_TRY(parse_fd(*vhost_fd)));
  if (vhost_fds) {
    for (std::string_view one : split(*vhost_fds, ':')) tap.vhost_fds.push_back(EMU_TRY(parse_fd(one)));
  }
  if (EMU_TRY(options.take_u64("poll-us")).value_or(0) != 0) return error("'poll-us' other than 0 is not supported");
  if (fd) tap.fds.push_back(EMU_TRY(parse_fd(*fd)));
  if (fds) {
    for (std::string_view one : split(*fds, ':')) tap.fds.push_back(EMU_TRY(parse_fd(one)));
  }
  if (fd && fds) return error("'fd' and 'fds' do not go together");
  for (auto one = tap.fds.begin(); one != tap.fds.end(); ++one) {
    if (std::count(one, tap.fds.end(), *one) > 1) return error("fds: {} is there twice", *one);
  }
  if (!tap.fds.empty() && (!tap.ifname.empty() || script || down || helper || queues || tap.vnet_hdr)) {
    return error("with 'fd' or 'fds' the interface is as whoever opened it wanted: "
                 "'ifname', 'script', 'downscript', 'helper', 'queues' and 'vnet_hdr' cannot be given");
  }
  if (helper && (!tap.ifname.empty() || script || down || queues || tap.vnet_hdr)) {
    return error("with 'helper' the interface is as the helper makes it: "
                 "'ifname', 'script', 'downscript', 'queues' and 'vnet_hdr' cannot be given");
  }
  if (bridge && !helper) return error("'br' is for the helper, and goes with 'helper' only");
  tap.bridge_helper = helper.value_or("");
  tap.bridge = bridge.value_or("br0");
  const auto path = [](const std::optional<std::string>& given, const char* otherwise) {
    const std::string chosen = given.value_or(::access(otherwise, X_OK) == 0 ? otherwise : "no");
    return chosen == "no" ? std::string() : chosen;
  };
  if (tap.fds.empty() && !helper) {
    tap.script = path(script, "/etc/qemu-ifup");
    tap.down_script = path(down, "/etc/qemu-ifdown");
  }
  if (queues && (*queues == 0 || *queues > kMostQueues)) return error("queues: {} is not 1 to {}", *queues, kMostQueues);
  tap.queues = tap.fds.empty() ? unsigned(queues.value_or(1)) : unsigned(tap.fds.size());
  if (tap.queues > kMostQueues) return error("fds: more than {} queues", kMostQueues);
  if (!tap.vhost_fds.empty() && tap.vhost_fds.size() != tap.queues) {
    return error("there are {} descriptors in 'vhostfds' for {} queues", tap.vhost_fds.size(), tap.queues);
  }
  return tap;
}

Result<void> check_tap(const TapOptions& options) {
  for (const int fd : options.fds) EMU_TRY(interface_of(fd));
  EMU_TRY(check_runnable(options.script), "script");
  EMU_TRY(check_runnable(options.down_script), "downscript");
  return check_runnable(options.bridge_helper);
}

TapOptions without_scripts(TapOptions options) {
  options.script.clear();
  options.down_script.clear();
  return options;
}

TapNet::~TapNet() {
  watch_.reset();
  fd_.reset();
  if (down_script_.empty()) return;
  if (auto ran = run_program(down_script_, {ifname_}); !ran) log::warn("netdev '{}': {}", name(), ran.error().text());
}

Result<void> TapNet::open(const TapOptions& options, EventLoop& loop) {
  set_loop(loop);
  ifname_ = options.ifname;
  for (unsigned i = 0; i < options.queues; i++) {
    Fd fd;
    if (!options.fds.empty()) {
      fd.reset(options.fds[i]);
    } else if (!options.bridge_helper.empty()) {
      fd = EMU_TRY(open_by_helper(options.bridge_helper, options.bridge));
    } else {
      fd = EMU_TRY(open_interface(ifname_, options.vnet_hdr.value_or(true), options.queues > 1));
    }
    TapNet* queue = this;
    if (i > 0) {
      others_.push_back(tree() != nullptr ? tree()->make<TapNet>() : std::make_unique<TapNet>());
      queue = others_.back().get();
      queue->set_loop(loop);
    }
    EMU_TRY(queue->adopt(std::move(fd), options));
  }
  if (!options.script.empty()) EMU_TRY(run_program(options.script, {ifname_}), "script");
  down_script_ = options.down_script;
  if (options.vhost) {
    vhost_.emplace();
    vhost_->required = options.vhost_force;
    for (const int fd : options.vhost_fds) vhost_->fds.emplace_back(fd);
  }
  return {};
}

Result<void> TapNet::adopt(Fd fd, const TapOptions& options) {
  if (::fcntl(fd.get(), F_GETFD) < 0) return error("fd {}: no such descriptor was inherited", fd.release());
  const ifreq request = EMU_TRY(interface_of(fd.get()));
  ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  ifname_ = request.ifr_name;
  vnet_header_ = (request.ifr_flags & IFF_VNET_HDR) != 0;
  if (vnet_header_) {
    int size = sizeof(VnetHeader);
    ::ioctl(fd.get(), TUNSETVNETHDRSZ, &size);
    can_uso_ = ::ioctl(fd.get(), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6) == 0;
    ::ioctl(fd.get(), TUNSETOFFLOAD, 0);
  }
  if (options.sndbuf != 0) {
    const int bytes = int(std::min<u64>(options.sndbuf, 0x7fff'ffff));
    if (::ioctl(fd.get(), TUNSETSNDBUF, &bytes) < 0) return error("sndbuf={}: {}", options.sndbuf, std::strerror(errno));
  }
  fd_ = std::move(fd);
  buffer_.resize(kMostPacketBytes + sizeof(VnetHeader));
  watch_ = loop().watch_fd(fd_.get(), FdEvents::Read, [this](FdEvents ready) { tap_ready(ready); });
  return {};
}

std::string TapNet::describe_state() const {
  return fmt::format("ifname={},vnet_hdr={},queues={}", ifname_, vnet_header_ ? "on" : "off", queues());
}

NetClient& TapNet::queue(unsigned number) {
  if (number == 0) return *this;
  EMU_CHECK(number <= others_.size());
  return *others_[number - 1];
}

OffloadSet TapNet::possible_offloads() const {
  if (!vnet_header_) return {};
  return {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true, .ufo = false, .uso = can_uso_};
}

/// What is written to the interface may come with any of these, whatever the guest takes.
OffloadSet TapNet::receive_offloads() const { return possible_offloads(); }

void TapNet::peer_takes(const OffloadSet& offloads) {
  if (!vnet_header_) return;
  unsigned flags = 0;
  if (offloads.checksum) {
    flags = TUN_F_CSUM;
    if (offloads.tso4) flags |= TUN_F_TSO4;
    if (offloads.tso6) flags |= TUN_F_TSO6;
    if (offloads.ecn && (offloads.tso4 || offloads.tso6)) flags |= TUN_F_TSO_ECN;
    if (offloads.uso && can_uso_) flags |= TUN_F_USO4 | TUN_F_USO6;
  }
  if (::ioctl(fd_.get(), TUNSETOFFLOAD, flags) < 0) {
    log::warn("netdev '{}': the interface refuses offloads {:#x}: {}", name(), flags, std::strerror(errno));
  }
  for (const auto& other : others_) other->peer_takes(offloads);
}

void TapNet::lend_interface(bool lent) {
  lent_ = lent;
  held_up_ = full_ = false;
  if (!lent) set_interface_header(sizeof(VnetHeader));
  update_events();
}

void TapNet::set_interface_header(std::size_t bytes) {
  int size = int(bytes);
  if (vnet_header_) ::ioctl(fd_.get(), TUNSETVNETHDRSZ, &size);
}

void TapNet::update_events() {
  if (!watch_.is_active()) return;  // the interface is gone
  if (lent_) return watch_.set_events(FdEvents::None);
  watch_.set_events((held_up_ ? FdEvents::None : FdEvents::Read) | (full_ ? FdEvents::Write : FdEvents::None));
}

void TapNet::tap_ready(FdEvents ready_events) {
  if (full_ && any(ready_events & FdEvents::Write)) {
    full_ = false;
    ready();
  }
  constexpr unsigned kMostAtOnce = 64;  // others on the loop want their turn
  for (unsigned i = 0; i < kMostAtOnce && !held_up_; i++) {
    const ssize_t count = ::read(fd_.get(), buffer_.data(), buffer_.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EBADFD) {  // poll() would say so for ever
      log::warn("netdev '{}': the interface {} is gone", name(), ifname_);
      return watch_.reset();
    }
    if (count <= 0) break;
    kept_ = std::size_t(count);
    held_up_ = !deliver();
  }
  update_events();
}

bool TapNet::deliver() {
  Packet packet;
  std::size_t skip = 0;
  if (vnet_header_) {
    VnetHeader header;
    skip = sizeof header;
    if (kept_ <= skip) return true;
    std::memcpy(&header, buffer_.data(), skip);
    packet.offload = {.flags = u8(header.flags & 3),
                      .gso_type = header.gso_type,
                      .header_bytes = header.header_bytes,
                      .segment_bytes = header.segment_bytes,
                      .csum_start = header.csum_start,
                      .csum_offset = header.csum_offset};
  }
  const iovec part{buffer_.data() + skip, kept_ - skip};
  packet.parts = {&part, 1};
  return send(packet);
}

void TapNet::peer_ready() {
  if (!held_up_) return;
  held_up_ = !deliver();
  update_events();
}

bool TapNet::receive(const Packet& packet) {
  if (lent_) return true;
  VnetHeader header;
  std::vector<iovec>& parts = parts_;
  parts.clear();
  if (vnet_header_) {
    const PacketOffload& offload = packet.offload;
    header.flags = u8(offload.flags & 3);
    header.gso_type = offload.gso_type;
    header.header_bytes = offload.header_bytes;
    header.segment_bytes = offload.segment_bytes;
    header.csum_start = offload.csum_start;
    header.csum_offset = offload.csum_offset;
    parts.push_back({&header, sizeof header});
  }
  parts.insert(parts.end(), packet.parts.begin(), packet.parts.end());
  ssize_t written;
  do {
    written = ::writev(fd_.get(), parts.data(), int(parts.size()));
  } while (written < 0 && errno == EINTR);
  if (written >= 0 || errno != EAGAIN) return true;  // e.g. EIO: the interface is down, and packets fall away
  full_ = true;
  update_events();
  return false;
}

}  // namespace emu::net
