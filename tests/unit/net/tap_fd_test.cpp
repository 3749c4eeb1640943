// SPDX-License-Identifier: Apache-2.0
// -netdev tap,fd=...: interfaces that somebody else opened, here in a network namespace of the test's own.
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "unit/net/net_bench.h"
#include "util/fd.h"

namespace emu::test {
namespace {

using net::NetClient;
using ::testing::HasSubstr;

const std::vector<u8> kToHost = from_hex("525400123456 525400fedcba 88b5 0102030405060708");
const std::vector<u8> kToGuest = from_hex("525400fedcba 525400123456 88b5 1112131415161718 19");

/// An interface that is up, its queues as descriptors, and a socket that sees its packets from the host's side.
class Interface {
 public:
  Interface(int flags, unsigned queues) {
    // Only this thread enters the namespace, which lives as long as the descriptors.
    std::thread([&] { failure = make(flags, queues); }).join();
  }
  /// "fd=7", "fds=7:8", for a back end that owns them from then on.
  std::string pass() {
    std::string text = queues_.size() == 1 ? "fd=" : "fds=";
    for (Fd& fd : queues_) text += (text.back() == '=' ? "" : ":") + std::to_string(fd.release());
    return text;
  }
  const std::vector<Fd>& queues() const { return queues_; }
  bool send(const std::vector<u8>& frame) const { return ::write(host_.get(), frame.data(), frame.size()) >= 0; }
  /// Whether such a frame has come to the host; others (IPv6 says something of its own) are left out.
  bool has(const std::vector<u8>& frame) const {
    std::vector<u8> got(2000);
    ssize_t bytes;
    while ((bytes = ::recv(host_.get(), got.data(), got.size(), MSG_DONTWAIT)) >= 0) {
      if (std::size_t(bytes) == frame.size() && std::memcmp(got.data(), frame.data(), frame.size()) == 0) return true;
    }
    return false;
  }
  std::string failure;

 private:
  std::string make(int flags, unsigned queues) {
    const auto failed = [](const char* what) { return fmt::format("{}: {}", what, std::strerror(errno)); };
    if (::unshare(CLONE_NEWNET) < 0) return failed("no network namespace");
    ifreq request{};
    std::strcpy(request.ifr_name, "test0");
    request.ifr_flags = short(flags | IFF_NO_PI | (queues > 1 ? IFF_MULTI_QUEUE : 0));
    for (unsigned i = 0; i < queues; i++) {
      queues_.emplace_back(::open("/dev/net/tun", O_RDWR));
      if (!queues_.back()) return failed("/dev/net/tun");
      if (::ioctl(queues_.back().get(), TUNSETIFF, &request) < 0) return failed("TUNSETIFF");
    }
    host_.reset(::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
    if (!host_ || ::ioctl(host_.get(), SIOCGIFFLAGS, &request) < 0) return failed("packet socket");
    request.ifr_flags |= IFF_UP;
    if (::ioctl(host_.get(), SIOCSIFFLAGS, &request) < 0 || ::ioctl(host_.get(), SIOCGIFINDEX, &request) < 0) {
      return failed("the interface cannot be set up");
    }
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = request.ifr_ifindex;
    if (::bind(host_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return failed("bind");
    return "";
  }

  std::vector<Fd> queues_;
  Fd host_;
};

bool has(const FakePeer& peer, const std::vector<u8>& frame) {
  return std::find(peer.got.begin(), peer.got.end(), frame) != peer.got.end();
}

class TapFd : public ::testing::TestWithParam<bool> {};

TEST_P(TapFd, CarriesPacketsAsTheInterfaceWasOpened) {
  const bool vnet_header = GetParam();
  Interface interface(IFF_TAP | (vnet_header ? IFF_VNET_HDR : 0), 1);
  if (!interface.failure.empty()) GTEST_SKIP() << interface.failure;
  if (vnet_header) {  // as virtio 1's driver before us left it
    const int longer = 12;
    ASSERT_EQ(::ioctl(interface.queues()[0].get(), TUNSETVNETHDRSZ, &longer), 0);
  }
  NetBench bench;
  FakePeer peer(bench.loop);
  NetClient& tap = bench.made("tap,id=n," + interface.pass());
  ASSERT_TRUE(NetClient::connect(peer, tap));
  EXPECT_EQ(tap.describe_state(), fmt::format("ifname=test0,vnet_hdr={},queues=1", vnet_header ? "on" : "off"));
  EXPECT_EQ(tap.possible_offloads().checksum, vnet_header);
  EXPECT_TRUE(peer.give(kToHost));
  EXPECT_TRUE(bench.wait_for([&] { return interface.has(kToHost); }));
  ASSERT_TRUE(interface.send(kToGuest));
  EXPECT_TRUE(bench.wait_for([&] { return has(peer, kToGuest); }));
}

INSTANTIATE_TEST_SUITE_P(VnetHeader, TapFd, ::testing::Bool());

TEST(TapFd, TheDescriptorIsTheBackEndsOwn) {
  Interface interface(IFF_TAP, 1);
  if (!interface.failure.empty()) GTEST_SKIP() << interface.failure;
  const int fd = interface.queues()[0].get();
  NetBench bench;
  bench.made("tap,id=n," + interface.pass());
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  ASSERT_TRUE(net::remove_netdev(bench.tree, "n"));
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST(TapFd, EachDescriptorIsAQueue) {
  Interface interface(IFF_TAP | IFF_VNET_HDR, 2);
  if (!interface.failure.empty()) GTEST_SKIP() << interface.failure;
  NetBench bench;
  NetClient& tap = bench.made("tap,id=n," + interface.pass());
  ASSERT_EQ(tap.queues(), 2u);
  EXPECT_EQ(tap.describe_state(), "ifname=test0,vnet_hdr=on,queues=2");
  FakePeer first(bench.loop), second(bench.loop);
  ASSERT_TRUE(NetClient::connect(first, tap.queue(0)));
  ASSERT_TRUE(NetClient::connect(second, tap.queue(1)));
  for (FakePeer* peer : {&first, &second}) {
    EXPECT_TRUE(peer->give(kToHost));
    EXPECT_TRUE(bench.wait_for([&] { return interface.has(kToHost); }));
  }
  // The kernel chooses the queue.
  ASSERT_TRUE(interface.send(kToGuest));
  EXPECT_TRUE(bench.wait_for([&] { return has(first, kToGuest) != has(second, kToGuest); }));
}

TEST(TapFd, AnInterfaceWithoutEthernetIsRefused) {
  Interface interface(IFF_TUN, 1);
  if (!interface.failure.empty()) GTEST_SKIP() << interface.failure;
  const std::string passed = interface.pass();
  EXPECT_THAT(NetBench().refusal("tap,id=n," + passed), HasSubstr("is a TUN interface, which carries no Ethernet"));
  ::close(std::stoi(passed.substr(3)));
}

TEST(TapFd, OneDescriptorThatIsNoInterfaceIsNamed) {
  Interface interface(IFF_TAP, 1);
  if (!interface.failure.empty()) GTEST_SKIP() << interface.failure;
  const Fd none(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const std::string line = fmt::format("tap,id=n,fds={}:{}", interface.queues()[0].get(), none.get());
  EXPECT_THAT(NetBench().refusal(line), HasSubstr(fmt::format("fd {} is not a TAP interface", none.get())));
  EXPECT_NE(::fcntl(interface.queues()[0].get(), F_GETFD), -1);
}

}  // namespace
}  // namespace emu::test
