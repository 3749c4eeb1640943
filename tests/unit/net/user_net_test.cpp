// SPDX-License-Identifier: Apache-2.0
// Plays a guest on a user network: ARP, DHCP, and TCP through forwarded ports in both directions.
#include "net/user_net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "unit/net/user_guest.h"
#include "util/fd.h"

namespace emu::test {
namespace {

/// A program of the host that waits for one connection.
class HostServer {
 public:
  HostServer() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_.get(), 1), 0);
    EXPECT_EQ(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(address.sin_port);
  }
  /// The connection, once it is there.
  Fd accept() const { return Fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK)); }
  u16 port = 0;

 private:
  Fd fd_;
};

TEST(UserNet, AnswersArpAndSaysWhereItIs) {
  Guest guest("");
  ASSERT_TRUE(guest.bench.wait_for([&] {
    return find(guest.card, [](const auto& f) { return get16(f, 12) == 0x0806 && get16(f, 20) == 2; }) != nullptr;
  }));
  EXPECT_EQ(guest.net().describe_state(), "net=10.0.2.0,restrict=off");
  EXPECT_THAT(guest.net().connections(), ::testing::HasSubstr("Protocol"));
}

TEST(UserNet, GivesAnAddressByDhcp) {
  Guest guest(",net=192.168.76.0/24,dhcpstart=192.168.76.9,hostname=box,domainname=example.org,dns=192.168.76.7,"
              "dnssearch=lab.example.org,bootfile=pxe.0,tftp-server-name=files.example.org");
  std::vector<u8> boot(240, 0);
  boot[0] = 1;
  boot[1] = 1;
  boot[2] = 6;
  boot[4] = 0x77;
  std::copy(kGuestMac.begin(), kGuestMac.end(), boot.begin() + 28);
  const std::vector<u8> cookie = from_hex("63825363");
  std::copy(cookie.begin(), cookie.end(), boot.begin() + 236);
  const std::vector<u8> discover = from_hex("350101 3704 0103060f ff");
  boot.insert(boot.end(), discover.begin(), discover.end());
  boot.resize(300);
  std::vector<u8> udp;
  put16(udp, 68);
  put16(udp, 67);
  put16(udp, u16(8 + boot.size()));
  put16(udp, 0);
  udp.insert(udp.end(), boot.begin(), boot.end());
  guest.card.give(ip_frame(17, 0, 0xffff'ffff, udp, from_hex("ffffffffffff")));
  const std::vector<u8>* offer = nullptr;
  ASSERT_TRUE(guest.bench.wait_for([&] {
    offer = find(guest.card, [](const auto& f) { return f.size() > 282 && f[23] == 17 && get16(f, 34) == 67; });
    return offer != nullptr;
  }));
  EXPECT_EQ(get32(*offer, 42 + 16), 0xc0a8'4c09u);
  const std::string text(offer->begin(), offer->end());
  EXPECT_THAT(text, ::testing::HasSubstr("box"));
  EXPECT_THAT(text, ::testing::HasSubstr("\x0b" "example.org"));
  EXPECT_THAT(text, ::testing::HasSubstr("\x06\x04\xc0\xa8\x4c\x07"));
  EXPECT_THAT(text, ::testing::HasSubstr("\x03" "lab"));
  EXPECT_THAT(text, ::testing::HasSubstr("pxe.0"));
  EXPECT_THAT(text, ::testing::HasSubstr("files.example.org"));
}

TEST(UserNet, ServesTheFilesOfAFolderByTftp) {
  const std::filesystem::path folder = ::testing::TempDir() + "tftp_" + std::to_string(::getpid());
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "pxe.0") << "boot me";
  Guest guest(",tftp=" + folder.string());
  const std::string request("\0\1pxe.0\0octet\0", 14);
  std::vector<u8> udp;
  put16(udp, 1069);
  put16(udp, 69);
  put16(udp, u16(8 + request.size()));
  put16(udp, 0);
  udp.insert(udp.end(), request.begin(), request.end());
  guest.card.give(ip_frame(17, kGuest, kGateway, udp, kGatewayMac));
  const std::vector<u8>* data = nullptr;
  ASSERT_TRUE(guest.bench.wait_for([&] {
    data = find(guest.card, [](const auto& f) { return f.size() > 46 && f[23] == 17 && get16(f, 36) == 1069; });
    return data != nullptr;
  }));
  EXPECT_EQ(std::string(data->begin() + 42, data->begin() + 53), std::string("\0\3\0\1boot me", 11));
  std::filesystem::remove_all(folder);
}

/// The guest connects to a server on the host, through the gateway's address.
TEST(UserNet, GuestReachesAServerOfTheHost) {
  const HostServer server;

  Guest guest("");
  FakePeer& card = guest.card;
  card.give(tcp_frame(4000, server.port, kGateway, 100, 0, 0x02));
  const u32 theirs = guest.answered_syn();
  ASSERT_NE(theirs, 0u);
  card.give(tcp_frame(4000, server.port, kGateway, 101, theirs, 0x10));
  card.give(tcp_frame(4000, server.port, kGateway, 101, theirs, 0x18, "hello"));
  Fd connection;
  ASSERT_TRUE(guest.bench.wait_for([&] {
    if (!connection) connection = server.accept();
    char text[6] = "";
    return connection && ::recv(connection.get(), text, 5, 0) == 5 && std::string(text) == "hello";
  }));
  ASSERT_EQ(::send(connection.get(), "world", 5, 0), 5);
  EXPECT_TRUE(guest.bench.wait_for([&] {
    return find(card, [](const auto& f) {
             return is_tcp(f, 0x10) && std::string(f.begin() + 54, f.end()).starts_with("world");
           }) != nullptr;
  }));
}

TEST(UserNet, HostReachesAServerOfTheGuest) {
  Guest guest(",hostfwd=tcp:127.0.0.1:45880-:80");
  EXPECT_THAT(guest.bench.refusal("user,id=n1,hostfwd=tcp:127.0.0.1:45880-:80"),
              ::testing::HasSubstr("could not set up host forwarding rule 'tcp:127.0.0.1:45880-:80': Address already in use"));
  EXPECT_THAT(guest.net().connections(), ::testing::HasSubstr("45880"));
  const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(45880);
  static_cast<void>(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
  ASSERT_TRUE(guest.bench.wait_for([&] {
    return find(guest.card, [](const auto& f) { return is_tcp(f, 0x02) && get16(f, 36) == 80; }) != nullptr;
  }));
  EXPECT_TRUE(guest.net().remove_host_forward(*net::parse_host_end("tcp:127.0.0.1:45880")));
  EXPECT_FALSE(guest.net().remove_host_forward(*net::parse_host_end("tcp:127.0.0.1:45880")));
}

TEST(UserNet, RunsACommandForTheGuest) {
  Guest guest(",guestfwd=tcp:10.0.2.100:7-cmd:cat");
  FakePeer& card = guest.card;
  constexpr u32 kServer = 0x0a00'0264;
  card.give(tcp_frame(4001, 7, kServer, 500, 0, 0x02));
  const u32 theirs = guest.answered_syn();
  ASSERT_NE(theirs, 0u);
  card.give(tcp_frame(4001, 7, kServer, 501, theirs, 0x10));
  card.give(tcp_frame(4001, 7, kServer, 501, theirs, 0x18, "echo this"));
  EXPECT_TRUE(guest.bench.wait_for([&] {
    return find(card, [](const auto& f) {
             return is_tcp(f, 0x10) && std::string(f.begin() + 54, f.end()).starts_with("echo this");
           }) != nullptr;
  }));
}

/// A SYN that says 1460, as Ethernet's drivers do.
std::vector<u8> syn_with_size(u16 source, u16 destination, u32 to) {
  std::vector<u8> frame = tcp_frame(source, destination, to, 100, 0, 0x02, std::string_view("\x02\x04\x05\xb4", 4));
  frame[46] = 0x60;
  const auto layout = net::parse_frame(frame);
  const u16 pseudo = net::checksum_fold(net::pseudo_header_sum(frame, *layout, 24));
  frame[50] = u8(pseudo >> 8);
  frame[51] = u8(pseudo);
  net::fill_checksum(frame, 34, 16);
  return frame;
}

/// Sends `count` bytes from the host to a guest, which acknowledges each frame; gives the longest frame's size.
std::size_t longest_frame(const net::OffloadSet& takes, std::size_t count) {
  const HostServer server;

  Guest guest("");
  FakePeer& card = guest.card;
  card.takes = takes;
  guest.net().peer_takes(takes);
  card.give(syn_with_size(4000, server.port, kGateway));
  u32 theirs = guest.answered_syn();
  if (theirs == 0) return 0;
  card.got.clear();
  card.offloads.clear();
  std::string heard;
  std::size_t longest = 0, seen = 0;
  card.give(tcp_frame(4000, server.port, kGateway, 101, theirs, 0x10));
  Fd connection;
  EXPECT_TRUE(guest.bench.wait_for([&] {
    connection = server.accept();
    return connection.is_valid();
  }));
  std::string data(count, ' ');
  for (std::size_t i = 0; i < count; i++) data[i] = char(i * 31 >> 3);
  std::size_t given = 0;
  EXPECT_TRUE(guest.bench.wait_for([&] {
    const ssize_t sent = ::send(connection.get(), data.data() + given, count - given, MSG_DONTWAIT);
    if (sent > 0) given += std::size_t(sent);
    for (; seen < card.got.size(); seen++) {
      const std::vector<u8> frame = card.got[seen];
      if (!is_tcp(frame, 0x10) || frame.size() <= 54 || get32(frame, 38) != theirs) continue;
      const std::size_t bytes = std::size_t(get16(frame, 16)) - 40;
      longest = std::max(longest, frame.size());
      EXPECT_EQ(card.offloads[seen].gso_type != 0, frame.size() > 1514);
      heard.append(frame.begin() + 54, frame.begin() + std::ptrdiff_t(54 + bytes));
      theirs += u32(bytes);
      card.give(tcp_frame(4000, server.port, kGateway, 101, theirs, 0x10));
    }
    return heard.size() >= count;
  }));
  EXPECT_TRUE(heard == data);
  return longest;
}

TEST(UserNet, AGuestThatTakesSegmentsJoinedGetsThemSo) {
  EXPECT_GT(longest_frame({.checksum = true, .tso4 = true}, 300'000), 10'000u);
}

TEST(UserNet, OtherGuestsGetFramesThatFitTheirWire) { EXPECT_EQ(longest_frame({}, 100'000), 1514u); }

/// A guest's segment of any length reaches the host in one piece.
TEST(UserNet, TakesAGuestsLongSegments) {
  const HostServer server;
  Guest guest("");
  FakePeer& card = guest.card;
  card.give(tcp_frame(4000, server.port, kGateway, 100, 0, 0x02));
  const u32 theirs = guest.answered_syn();
  ASSERT_NE(theirs, 0u);
  card.give(tcp_frame(4000, server.port, kGateway, 101, theirs, 0x10));
  const std::string data(40'000, 'x');
  std::vector<u8> frame = tcp_frame(4000, server.port, kGateway, 101, theirs, 0x18, data);
  frame[16] = frame[17] = frame[50] = frame[51] = 0;  // left to the card
  card.give(frame, {.flags = 1, .gso_type = 1, .header_bytes = 54, .segment_bytes = 1460, .csum_start = 34,
                    .csum_offset = 16});
  Fd connection;
  std::size_t heard = 0;
  EXPECT_TRUE(guest.bench.wait_for([&] {
    if (!connection) connection = server.accept();
    std::string text(data.size(), ' ');
    const ssize_t count = connection ? ::recv(connection.get(), text.data(), text.size(), 0) : -1;
    if (count > 0) heard += std::size_t(count);
    return heard == data.size();
  })) << heard;
}

TEST(UserNet, AGuestWithoutRoomGetsItsPacketsLater) {
  Guest guest("");
  guest.card.got.clear();
  guest.card.refuses = true;
  for (int i = 0; i < 10; i++) guest.card.give(kArpRequest);
  EXPECT_TRUE(guest.card.got.empty());
  guest.card.go_on();
  EXPECT_EQ(std::count_if(guest.card.got.begin(), guest.card.got.end(),
                          [](const auto& f) { return get16(f, 12) == 0x0806 && get16(f, 20) == 2; }),
            10);
}

}  // namespace
}  // namespace emu::test
