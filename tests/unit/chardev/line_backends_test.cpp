// SPDX-License-Identifier: Apache-2.0
#include "chardev/line_backends.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <thread>

#include "chardev/backends.h"
#include "chardev/socket_chardev.h"
#include "chardev/telnet.h"

namespace emu::chardev {
namespace {

struct Recorder : ChardevFrontend {
  std::size_t room = 1 << 20;
  std::string text;
  std::vector<ChardevEvent> events;
  std::size_t can_receive() override { return room; }
  void receive(std::span<const u8> data) override {
    ASSERT_LE(data.size(), room);
    room -= data.size();
    text.append(data.begin(), data.end());
  }
  void event(ChardevEvent event) override { events.push_back(event); }
};

class LineTest : public testing::Test {
 protected:
  std::unique_ptr<Chardev> make(const std::string& text) {
    auto options = parse_chardev(text);
    EXPECT_TRUE(options) << options.error().text();
    auto made = create(*options, loop_);
    EXPECT_TRUE(made) << made.error().text();
    return made ? std::move(*made) : nullptr;
  }
  template <typename Condition>
  void run_until(Condition condition) {
    const ClockNs end = Clock::monotonic_now() + std::chrono::seconds(10);
    while (!condition() && Clock::monotonic_now() < end) {
      if (!loop_.run_once(false)) std::this_thread::yield();
    }
    EXPECT_TRUE(condition());
  }
  std::string path(const std::string& name) const {
    return testing::TempDir() + name + "." + std::to_string(::getpid());
  }
  static Fd connect_to(const std::string& name, bool abstract) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path + (abstract ? 1 : 0), sizeof address.sun_path - 2);
    const std::size_t length = offsetof(sockaddr_un, sun_path) + 1 + name.size();
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), socklen_t(length)), 0) << strerror(errno);
    return fd;
  }
  static std::string read_some(int fd) {
    char data[4096];
    const ssize_t n = ::read(fd, data, sizeof data);
    return n > 0 ? std::string(data, std::size_t(n)) : "";
  }
  EventLoop loop_;
};

TEST_F(LineTest, PipeUsesOneFifoEachWay) {
  const std::string name = path("pipe");
  ASSERT_EQ(::mkfifo((name + ".in").c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo((name + ".out").c_str(), 0600), 0);
  auto pipe = make("pipe,id=p,path=" + name);
  Recorder uart;
  ASSERT_TRUE(pipe->attach(uart));
  const Fd in(::open((name + ".in").c_str(), O_WRONLY | O_CLOEXEC));
  const Fd out(::open((name + ".out").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_EQ(::write(in.get(), "to guest", 8), 8);
  run_until([&] { return uart.text == "to guest"; });
  EXPECT_EQ(pipe->write("from guest"), 10u);
  EXPECT_EQ(read_some(out.get()), "from guest");
  ::unlink((name + ".in").c_str());
  ::unlink((name + ".out").c_str());
}

TEST_F(LineTest, PipeThatIsNotThereIsAnError) {
  const auto made = create(*parse_chardev("pipe,id=p,path=/nonexistent/p"), loop_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message(), "chardev 'p': cannot open the pipe '/nonexistent/p': No such file or directory");
}

TEST_F(LineTest, SerialLineIsRaw) {
  const Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  ASSERT_TRUE(master);
  ::grantpt(master.get());
  ::unlockpt(master.get());
  auto line = make(fmt::format("serial,id=t,path={}", ::ptsname(master.get())));
  Recorder uart;
  ASSERT_TRUE(line->attach(uart));
  ASSERT_EQ(::write(master.get(), "a\rb\x03", 4), 4);
  run_until([&] { return uart.text == "a\rb\x03"; });
  EXPECT_EQ(line->write("x\ny"), 3u);
  std::string got;
  run_until([&] { return (got += read_some(master.get())) == "x\ny"; });
}

TEST_F(LineTest, FileIsNoSerialLine) {
  const auto made = create(*parse_chardev("tty,id=t,path=/dev/null"), loop_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message(), "chardev 't': '/dev/null' is not a serial line");
}

TEST_F(LineTest, DatagramThatNobodyTakesIsLost) {
  auto udp = make("udp,id=a,host=127.0.0.1,port=9");
  EXPECT_EQ(udp->write("nobody listens at port 9"), 24u);
  EXPECT_EQ(udp->write("and nothing breaks"), 18u);
}

TEST_F(LineTest, DatagramIsDeliveredInPieces) {
  auto first = make("udp,id=f,host=127.0.0.1,port=9,localaddr=127.0.0.1,localport=0");
  const u16 port = static_cast<UdpChardev&>(*first).local_port();
  first.reset();
  auto a = make(fmt::format("udp,id=a,host=127.0.0.1,port={},localaddr=127.0.0.1,localport=0", port));
  auto b = make(fmt::format("udp,id=b,host=127.0.0.1,port={},localaddr=127.0.0.1,localport={}",
                            static_cast<UdpChardev&>(*a).local_port(), port));
  Recorder uart;
  uart.room = 3;
  ASSERT_TRUE(b->attach(uart));
  a->write("datagram");
  run_until([&] { return uart.text == "dat"; });
  for (int i = 0; i < 10; i++) loop_.run_once(false);
  uart.room = 100;
  b->accept_input();
  run_until([&] { return uart.text == "datagram"; });
}

TEST_F(LineTest, LocalAddressChoosesAmongThoseOfTheOtherEnd) {
  // Nobody's name stands for this host, first of all for its IPv6 address.
  auto udp = make("udp,id=u,port=9,localaddr=127.0.0.1");
  ASSERT_NE(udp, nullptr);
  EXPECT_NE(static_cast<UdpChardev&>(*udp).local_port(), 0);
}

TEST_F(LineTest, ClientThatTriesAgainDoesNotWaitForAFullServer) {
  const std::string name = path("full");
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  std::vector<Fd> waiting;
  do {
    waiting.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  } while (::connect(waiting.back().get(), generic, sizeof address) == 0);
  ASSERT_EQ(errno, EAGAIN);
  auto client = make("socket,id=c,reconnect=1,path=" + name);
  EXPECT_FALSE(client->is_open());
  for (std::size_t i = 0; i + 1 < waiting.size(); i++) Fd(::accept(listener.get(), nullptr, nullptr));
  run_until([&] { return client->is_open(); });
  ::unlink(name.c_str());
}

TEST_F(LineTest, WhatOpeningWouldFindIsFoundWithoutIt) {
  const std::string socket = path("check"), absent = path("absent");
  const auto refused = [](const std::string& text) {
    const auto options = parse_chardev(text);
    EXPECT_TRUE(options) << text;
    const auto checked = check(*options);
    return checked ? "" : checked.error().message();
  };
  const auto fine = [&](const std::string& text) { EXPECT_EQ(refused(text), "") << text; };
  fine("file,id=c,path=" + absent);
  fine("file,id=c,path=/dev/null,logfile=" + absent);
  fine("socket,id=c,server=on,wait=off,path=" + socket);
  fine("socket,id=c,reconnect=1,path=" + socket);
  fine("socket,id=c,server=on,wait=off,host=127.0.0.1,port=0");
  fine("udp,id=c,host=127.0.0.1,port=9");
  for (const char* kind : {"null", "pty", "stdio", "ringbuf"}) fine(fmt::format("{},id=c", kind));
  EXPECT_NE(::access(absent.c_str(), F_OK), 0);
  EXPECT_NE(::access(socket.c_str(), F_OK), 0);
  const Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  for (const std::string& bad :
       {std::string("file,id=c,path=/no/such/folder/f"), "file,id=c,path=/dev/null,input-path=" + absent,
        std::string("null,id=c,logfile=/no/such/folder/f"), "socket,id=c,path=" + absent,
        std::string("socket,id=c,server=on,wait=off,path=/no/such/folder/s"),
        std::string("socket,id=c,server=on,wait=off,path=/dev/null"), std::string("socket,id=c,path=/dev/null"),
        "socket,id=c,server=on,wait=off,path=/" + std::string(200, 'x'), "pipe,id=c,path=" + absent,
        "serial,id=c,path=" + absent, std::string("socket,id=c,host=127.0.0.1,port=nonsense"),
        fmt::format("socket,id=c,fd={}", file.get())}) {
    EXPECT_TRUE(refused(bad).starts_with("chardev 'c': ")) << bad << ": " << refused(bad);
  }
  EXPECT_GE(::fcntl(file.get(), F_GETFD), 0);  // looked at, not taken
}

TEST_F(LineTest, AbstractSocketHasNoFile) {
  const std::string name = "system-emu-test." + std::to_string(::getpid());
  auto server = make("socket,id=s,server=on,wait=off,abstract=on,path=" + name);
  EXPECT_EQ(server->description(), "disconnected:unix:@" + name + ",server=on");
  const Fd client = connect_to(name, /*abstract=*/true);
  run_until([&] { return server->is_open(); });
}

TEST_F(LineTest, ServerTakesTheNextFreePort) {
  auto first = make("socket,id=a,host=127.0.0.1,port=0,server=on,wait=off");
  const std::string address = static_cast<SocketChardev&>(*first).address();
  const int port = std::stoi(address.substr(address.rfind(':') + 1));
  if (port > 65000) GTEST_SKIP();
  auto second =
      make(fmt::format("socket,id=b,host=127.0.0.1,port={},to={},server=on,wait=off", port, port + 100));
  EXPECT_NE(static_cast<SocketChardev&>(*second).address(), address);
}

TEST_F(LineTest, ClientComesBackWhenTheServerDoes) {
  const std::string name = path("reconnect");
  auto client = make("socket,id=c,reconnect=1,path=" + name);
  Recorder uart;
  ASSERT_TRUE(client->attach(uart));
  EXPECT_FALSE(client->is_open());
  EXPECT_EQ(client->write("lost"), 4u);
  auto server = make("socket,id=s,server=on,wait=off,path=" + name);
  run_until([&] { return client->is_open() && server->is_open(); });
  server.reset();
  run_until([&] { return !client->is_open(); });
  server = make("socket,id=s,server=on,wait=off,path=" + name);
  run_until([&] { return client->is_open(); });
}

TEST_F(LineTest, TcpClientComesBackWithoutHoldingUpTheLoop) {
  auto server = make("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off");
  const std::string address = static_cast<SocketChardev&>(*server).address();
  const std::string port = address.substr(address.rfind(':') + 1);
  auto client = make("socket,id=c,reconnect=1,host=localhost,port=" + port);
  Recorder uart;
  ASSERT_TRUE(client->attach(uart));
  run_until([&] { return client->is_open() && server->is_open(); });
  server.reset();
  run_until([&] { return !client->is_open(); });
  server = make("socket,id=s,host=127.0.0.1,server=on,wait=off,port=" + port);
  run_until([&] { return client->is_open(); });
}

TEST_F(LineTest, TelnetNegotiatesAndEscapes) {
  const std::string name = path("telnet");
  auto server = make("socket,id=s,server=on,wait=off,telnet=on,path=" + name);
  Recorder uart;
  ASSERT_TRUE(server->attach(uart));
  Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  run_until([&] { return server->is_open(); });
  EXPECT_EQ(read_some(client.get()), "\xff\xfb\x01\xff\xfb\x03\xff\xfb" + std::string(1, '\0') + "\xff\xfd" +
                                         std::string(1, '\0'));
  EXPECT_EQ(server->write("a\xff"
                          "b\xff"),
            4u);
  EXPECT_EQ(read_some(client.get()), "a\xff\xff"
                                     "b\xff\xff");
  const std::string input = "x\xff\xff\xff\xf3y\r" + std::string(1, '\0') + "\xff\xfa\x18zz\xff\xf0z";
  ASSERT_EQ(::write(client.get(), input.data(), input.size()), ssize_t(input.size()));
  run_until([&] { return uart.text == "x\xffy\rz"; });
  EXPECT_EQ(uart.events, (std::vector{ChardevEvent::Opened, ChardevEvent::Break}));
}

TEST(TelnetReader, KeepsItsPlaceBetweenReads) {
  TelnetReader reader;
  const auto filter = [&](std::string text) {
    const auto found = reader.filter(std::span(reinterpret_cast<u8*>(text.data()), text.size()));
    return text.substr(0, found.bytes);
  };
  EXPECT_EQ(filter("a\xff"), "a");
  EXPECT_EQ(filter("\xfb"), "");
  EXPECT_EQ(filter(std::string(1, '\0')), "");  // WILL BINARY
  EXPECT_EQ(filter("\r" + std::string(1, '\0') + "b"), "\r" + std::string(1, '\0') + "b");
}

}  // namespace
}  // namespace emu::chardev
