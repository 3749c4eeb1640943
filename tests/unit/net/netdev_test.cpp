// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fstream>

#include "unit/net/net_bench.h"
#include "util/file.h"

namespace emu::test {
namespace {

using net::NetClient;

const std::vector<u8> kFrame = from_hex("525400123456 525400fedcba 88b5 0102030405060708");
const std::vector<u8> kOther = from_hex("525400fedcba 525400123456 88b5 1112131415161718 19");

std::string temporary(const char* name) { return ::testing::TempDir() + "net_" + std::to_string(::getpid()) + name; }

TEST(NetClient, TakesTurnsAndLosesWhatNobodyHears) {
  EventLoop loop;
  FakePeer a(loop), b(loop);
  EXPECT_TRUE(a.give(kFrame));
  ASSERT_TRUE(NetClient::connect(a, b));
  FakePeer c(loop);
  EXPECT_FALSE(NetClient::connect(a, c));
  b.refuses = true;
  EXPECT_FALSE(a.give(kFrame));
  b.go_on();
  EXPECT_EQ(a.readies, 1u);
  EXPECT_TRUE(a.give(kFrame));
  b.set_link(false);
  EXPECT_EQ(a.links, 1u);
  EXPECT_TRUE(a.give(kFrame));
  EXPECT_EQ(b.got.size(), 1u);
}

TEST(MacAddress, ReadsWhatUsersWrite) {
  EXPECT_EQ(net::to_text(*net::parse_mac("52:54:00:AB:cd:1")), "52:54:00:ab:cd:01");
  EXPECT_TRUE(net::parse_mac("52-54-00-12-34-56"));
  for (const char* bad : {"", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5g", "525400123456", "53:54:00:12:34:56"}) {
    EXPECT_FALSE(net::parse_mac(bad)) << bad;
  }
}

TEST(Netdev, RefusesInOneSentence) {
  NetBench bench;
  EXPECT_THAT(bench.refusal("usr,id=n"), ::testing::HasSubstr("did you mean 'user'?"));
  EXPECT_THAT(bench.refusal("user,id=n,hostfw=tcp::1-:2"), ::testing::HasSubstr("did you mean 'hostfwd'?"));
  EXPECT_THAT(bench.refusal("user"), ::testing::HasSubstr("'id=' is missing"));
  EXPECT_THAT(bench.refusal("user,id=4"), ::testing::HasSubstr("is not an id"));
  EXPECT_THAT(bench.refusal("vhost-user,id=n"), ::testing::HasSubstr("'chardev' is missing"));
  EXPECT_THAT(bench.refusal("vhost-user,id=n,chardev=c,queues=200"), ::testing::HasSubstr("is not 1 to 127"));
  EXPECT_THAT(bench.refusal("tap,id=n,vhost=off,vhostfd=9"), ::testing::HasSubstr("go with vhost=on only"));
  EXPECT_THAT(bench.refusal("socket,id=n"), ::testing::HasSubstr("exactly one of"));
  EXPECT_THAT(bench.refusal("hubport,id=n"), ::testing::HasSubstr("'hubid' is missing"));
  EXPECT_THAT(bench.refusal("user,id=n,net=10.0.2.0/24,host=10.0.3.2"), ::testing::HasSubstr("not an address in the guest's"));
  EXPECT_THAT(bench.refusal("user,id=n,net=fish"), ::testing::HasSubstr("not an IPv4 address"));
  EXPECT_THAT(bench.refusal("user,id=n,hostfwd=tcp:22"), ::testing::HasSubstr("is no forwarding rule"));
  EXPECT_THAT(bench.refusal("user,id=n,ipv4=off,ipv6=off"), ::testing::HasSubstr("cannot both be off"));
  EXPECT_THAT(bench.refusal("tap,id=n,fd=3,ifname=tap0"), ::testing::HasSubstr("cannot be given"));
  EXPECT_THAT(bench.refusal("tap,id=n,fds=4:5:4"), ::testing::HasSubstr("4 is there twice"));
  EXPECT_THAT(bench.refusal("tap,id=n,br=br0"), ::testing::HasSubstr("goes with 'helper' only"));
  EXPECT_THAT(bench.refusal("tap,id=n,vhost=on,poll-us=50"), ::testing::HasSubstr("not supported"));
  EXPECT_THAT(bench.refusal("tap,id=n,fd=/dev/null"), ::testing::HasSubstr("is not a file descriptor"));
  EXPECT_THAT(bench.refusal("stream,id=n,addr.type=unix,addr.path=/nowhere/at/all"), ::testing::HasSubstr("cannot connect to"));
  EXPECT_THAT(bench.refusal("stream,id=n,addr.type=unix,addr.path=/x,addr.abstract=on,addr.tight=off"),
              ::testing::HasSubstr("tight=off' is not supported"));
  EXPECT_THAT(bench.refusal("stream,id=n,addr.type=inet,addr.host=localhost,addr.port=9,addr.numeric=on"),
              ::testing::HasSubstr("localhost"));
  bench.made("hubport,id=n,hubid=0");
  EXPECT_THAT(bench.refusal("hubport,id=n,hubid=0"), ::testing::HasSubstr("already"));
  EXPECT_TRUE(net::remove_netdev(bench.tree, "n"));
  EXPECT_FALSE(net::remove_netdev(bench.tree, "n"));
}

TEST(Hub, CopiesToAllOtherPorts) {
  NetBench bench;
  FakePeer a(bench.loop), b(bench.loop), c(bench.loop), d(bench.loop);
  ASSERT_TRUE(NetClient::connect(a, bench.made("hubport,id=a,hubid=0")));
  ASSERT_TRUE(NetClient::connect(b, bench.made("hubport,id=b,hubid=0")));
  ASSERT_TRUE(NetClient::connect(c, bench.made("hubport,id=c,hubid=0")));
  ASSERT_TRUE(NetClient::connect(d, bench.made("hubport,id=d,hubid=1")));
  c.refuses = true;
  EXPECT_TRUE(a.give(kFrame));
  EXPECT_EQ(b.got.size(), 1u);
  c.go_on();
  EXPECT_EQ(c.got.size(), 1u);
  EXPECT_TRUE(a.got.empty());
  EXPECT_TRUE(d.got.empty());
}

TEST(StreamNet, CarriesPacketsBothWaysOverAUnixSocket) {
  NetBench bench;
  const std::string path = temporary("stream");
  auto& server = bench.made("stream,id=s,server=on,addr.type=unix,addr.path=" + path);
  auto& client = bench.made("stream,id=c,addr.type=unix,addr.path=" + path);
  FakePeer a(bench.loop), b(bench.loop);
  ASSERT_TRUE(NetClient::connect(a, server));
  ASSERT_TRUE(NetClient::connect(b, client));
  ASSERT_TRUE(bench.wait_for([&] { return server.describe_state().starts_with("connection"); }));
  EXPECT_TRUE(a.give(kFrame));
  EXPECT_TRUE(b.give(kOther));
  EXPECT_TRUE(bench.wait_for([&] { return a.got.size() == 1 && b.got.size() == 1; }));
  EXPECT_EQ(b.got[0], kFrame);
  EXPECT_EQ(a.got[0], kOther);
}

TEST(StreamNet, AReceiverWithoutRoomStopsTheSender) {
  NetBench bench;
  auto& server = bench.made("socket,id=s,listen=127.0.0.1:45871");
  auto& client = bench.made("socket,id=c,connect=127.0.0.1:45871");
  FakePeer a(bench.loop), b(bench.loop);
  ASSERT_TRUE(NetClient::connect(a, server));
  ASSERT_TRUE(NetClient::connect(b, client));
  ASSERT_TRUE(bench.wait_for([&] { return server.describe_state().starts_with("connection"); }));
  a.refuses = true;
  std::vector<u8> big(60000);
  unsigned sent = 0;
  while (sent < 1000 && b.give(big)) {
    big[100] = u8(++sent);
    bench.loop.run_once(false);
  }
  EXPECT_LT(sent, 1000u);
  a.go_on();
  ASSERT_TRUE(bench.wait_for([&] { return a.got.size() == sent; }));
  for (unsigned i = 0; i < sent; i++) EXPECT_EQ(a.got[i][100], u8(i));
  EXPECT_TRUE(bench.wait_for([&] { return b.readies > 0; }));
}

TEST(StreamNet, ReconnectsWhenTheServerComes) {
  NetBench bench;
  const std::string path = temporary("late");
  auto& client = bench.made("stream,id=c,reconnect=1,addr.type=unix,addr.path=" + path);
  EXPECT_FALSE(client.describe_state().starts_with("connected"));
  bench.made("stream,id=s,server=on,addr.type=unix,addr.path=" + path);
  EXPECT_TRUE(bench.wait_for([&] { return client.describe_state().starts_with("connected"); }));
  ASSERT_TRUE(net::remove_netdev(bench.tree, "s"));
  EXPECT_TRUE(bench.wait_for([&] { return client.describe_state() == "disconnected"; }));
}

TEST(StreamNet, AnAbsurdLengthEndsTheConnection) {
  NetBench bench;
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  auto& client = bench.made(fmt::format("stream,id=c,addr.type=fd,addr.str={}", pair[0]));
  const u8 length[] = {0xff, 0xff, 0xff, 0xff};
  ASSERT_EQ(::write(pair[1], length, 4), 4);
  EXPECT_TRUE(bench.wait_for([&] { return client.describe_state() == "disconnected"; }));
  ::close(pair[1]);
}

TEST(DgramNet, CarriesPacketsOverUnixAndUdpAndMulticast) {
  const std::string a = temporary("a"), b = temporary("b");
  const std::pair<std::string, std::string> pairs[] = {
      {"dgram,id=a,local.type=unix,local.path=" + a + ",remote.type=unix,remote.path=" + b,
       "dgram,id=b,local.type=unix,local.path=" + b + ",remote.type=unix,remote.path=" + a},
      {"socket,id=a,udp=127.0.0.1:45873,localaddr=127.0.0.1:45872",
       "socket,id=b,udp=127.0.0.1:45872,localaddr=127.0.0.1:45873"},
      {"socket,id=a,mcast=230.0.0.1:45874,localaddr=127.0.0.1", "socket,id=b,mcast=230.0.0.1:45874,localaddr=127.0.0.1"},
  };
  for (const auto& [first, second] : pairs) {
    SCOPED_TRACE(first);
    NetBench bench;
    FakePeer left(bench.loop), right(bench.loop);
    ASSERT_TRUE(NetClient::connect(left, bench.made(first)));
    ASSERT_TRUE(NetClient::connect(right, bench.made(second)));
    EXPECT_TRUE(left.give(kFrame));
    ASSERT_TRUE(bench.wait_for([&] { return right.got.size() == 1; }));
    EXPECT_EQ(right.got[0], kFrame);
    right.refuses = true;
    EXPECT_TRUE(left.give(kOther));
    for (int i = 0; i < 20; i++) bench.loop.run_once(false);
    right.go_on();
    EXPECT_TRUE(bench.wait_for([&] { return right.got.size() == 2; }));
  }
}

TEST(DgramNet, LeavesFilesAloneThatAreNoSockets) {
  const std::string path = ::testing::TempDir() + "/dgram-test-file";
  { std::ofstream(path) << "mine"; }
  NetBench bench;
  EXPECT_THAT(bench.refusal("dgram,id=a,local.type=unix,local.path=" + path + ",remote.type=unix,remote.path=/no"),
              ::testing::HasSubstr("Address already in use"));
  EXPECT_EQ(::access(path.c_str(), F_OK), 0);
  ::unlink(path.c_str());
}

TEST(FilterDump, WritesAPcapFile) {
  NetBench bench;
  FakePeer peer(bench.loop), far(bench.loop);
  ASSERT_TRUE(NetClient::connect(peer, bench.made("hubport,id=n0,hubid=0")));
  ASSERT_TRUE(NetClient::connect(far, bench.made("hubport,id=n1,hubid=0")));
  const std::string path = temporary(".pcap");
  auto made = qom::add_user_object(bench.tree, "filter-dump", "f0",
                                   {{"netdev", std::string("n0")}, {"file", path}, {"maxlen", u64(20)}});
  ASSERT_TRUE(made.has_value()) << made.error().text();
  peer.give(kFrame);
  far.give(kOther);
  auto text = read_file(path, 1000);
  ASSERT_TRUE(text);
  ASSERT_EQ(text->size(), 24u + 2 * (16 + 20));
  EXPECT_EQ(u8((*text)[0]), 0xd4);
  EXPECT_EQ((*text)[24 + 8], 20);   // kept
  EXPECT_EQ((*text)[24 + 12], 22);  // long
  EXPECT_TRUE(std::equal(kFrame.begin(), kFrame.begin() + 20, text->begin() + 40,
                         [](u8 a, char b) { return a == u8(b); }));
  ASSERT_TRUE(net::remove_netdev(bench.tree, "n0"));
  EXPECT_TRUE(qom::delete_user_object(bench.tree, "f0"));
  ::unlink(path.c_str());
}

TEST(TapNet, WantsATapInterface) {
  NetBench bench;
  const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_THAT(bench.refusal(fmt::format("tap,id=n,fd={}", fd)), ::testing::HasSubstr("is not a TAP interface"));
}

/// Runs where interfaces may be made.
TEST(TapNet, CarriesPacketsOverAnInterface) {
  NetBench bench;
  auto tap = bench.add("tap,id=n,ifname=emutest0,script=no,downscript=no");
  if (!tap) GTEST_SKIP() << tap.error().text();
  EXPECT_THAT((*tap)->describe_state(), ::testing::HasSubstr("ifname=emutest0"));
  FakePeer peer(bench.loop);
  ASSERT_TRUE(NetClient::connect(peer, **tap));
  if (std::system("ip link set emutest0 up >/dev/null 2>&1") != 0) GTEST_SKIP() << "the interface cannot be set up";
  (*tap)->peer_takes({.checksum = true, .tso4 = true});
  // The host says something about itself (IPv6 neighbours) when an interface comes up.
  EXPECT_TRUE(bench.wait_for([&] { return !peer.got.empty(); }));
  EXPECT_TRUE(peer.give(kFrame));
}

/// The same.
TEST(TapNet, ScriptsHearOfTheInterfaceAndQueuesAreItsOwn) {
  NetBench bench;
  const std::string script = temporary("script"), heard = temporary("heard");
  std::ofstream(script) << "#!/bin/sh\necho $1 >>" << heard << "\n";
  ASSERT_EQ(::chmod(script.c_str(), 0700), 0);
  auto tap = bench.add("tap,id=n,ifname=emutest1,vnet_hdr=off,queues=2,script=" + script + ",downscript=" + script);
  if (!tap) GTEST_SKIP() << tap.error().text();
  EXPECT_EQ((*tap)->describe_state(), "ifname=emutest1,vnet_hdr=off,queues=2");
  EXPECT_NE(&(*tap)->queue(0), &(*tap)->queue(1));
  EXPECT_EQ(*read_file(heard, 100), "emutest1\n");
  ASSERT_TRUE(net::remove_netdev(bench.tree, "n"));
  EXPECT_EQ(*read_file(heard, 100), "emutest1\nemutest1\n");
  ::unlink(script.c_str());
  ::unlink(heard.c_str());
}

}  // namespace
}  // namespace emu::test
