// SPDX-License-Identifier: Apache-2.0
#include "chardev/chardev.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>

#include <deque>
#include <fstream>
#include <sstream>
#include <thread>

#include "chardev/backends.h"
#include "chardev/mux.h"
#include "chardev/socket_chardev.h"
#include "util/thread.h"

namespace emu::chardev {
namespace {

/// Remembers what came; takes as much as `room` says.
struct Recorder : ChardevFrontend {
  std::size_t room = 1 << 20;
  std::string text;
  std::vector<ChardevEvent> events;
  int writable_calls = 0;

  std::size_t can_receive() override { return room; }
  void receive(std::span<const u8> data) override {
    ASSERT_LE(data.size(), room);
    room -= data.size();
    text.append(data.begin(), data.end());
  }
  void event(ChardevEvent event) override { events.push_back(event); }
  void writable() override { writable_calls++; }
};

class ChardevTest : public testing::Test {
 protected:
  std::unique_ptr<Chardev> make(const std::string& text) {
    auto options = parse_chardev(text);
    EXPECT_TRUE(options) << options.error().text();
    auto made = create(*options, loop_);
    EXPECT_TRUE(made) << made.error().text();
    return made ? std::move(*made) : nullptr;
  }
  /// Rounds of the loop until `condition`, or too long.
  template <typename Condition>
  void run_until(Condition condition) {
    const ClockNs end = Clock::monotonic_now() + std::chrono::seconds(10);
    while (!condition() && Clock::monotonic_now() < end) {
      if (!loop_.run_once(false)) std::this_thread::yield();
    }
    EXPECT_TRUE(condition());
  }
  static std::string contents(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  std::string path(const std::string& name) const {
    return testing::TempDir() + name + "." + std::to_string(::getpid());
  }
  Fd connect_to(const std::string& socket_path) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  static std::string read_some(int fd) {
    char data[65536];
    const ssize_t n = ::read(fd, data, sizeof data);
    return n > 0 ? std::string(data, std::size_t(n)) : "";
  }
  EventLoop loop_;
};

TEST_F(ChardevTest, NullTakesEverything) {
  auto null = make("null,id=n");
  EXPECT_EQ(null->write("hello"), 5u);
}

TEST_F(ChardevTest, LentToOneFrontEndAtATime) {
  auto null = make("null,id=n");
  Recorder a, b;
  ASSERT_TRUE(null->attach(a));
  EXPECT_EQ(a.events, std::vector{ChardevEvent::Opened});
  EXPECT_FALSE(null->attach(b));
  null->detach(a);
  EXPECT_TRUE(null->attach(b));
}

TEST_F(ChardevTest, FileIsTruncatedOrAppendedTo) {
  const std::string name = path("file");
  make("file,id=f,path=" + name)->write("one");
  make("file,id=f,path=" + name + ",append=on")->write("two");
  EXPECT_EQ(contents(name), "onetwo");
  make("file,id=f,path=" + name)->write("3");
  EXPECT_EQ(contents(name), "3");
  ::unlink(name.c_str());
}

TEST_F(ChardevTest, UnwritableFileIsAnError) {
  const auto made = create(*parse_chardev("file,id=f,path=/nonexistent/x"), loop_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message(), "chardev 'f': cannot open '/nonexistent/x': No such file or directory");
}

TEST_F(ChardevTest, LogFileGetsWhatIsWritten) {
  const std::string name = path("log");
  make("null,id=n,logfile=" + name)->write("logged");
  EXPECT_EQ(contents(name), "logged");
  ::unlink(name.c_str());
}

TEST_F(ChardevTest, RingBufferKeepsTheLastBytes) {
  auto chardev = make("ringbuf,id=r,size=8");
  chardev->write("0123456789");
  auto taken = chardev->as_ring_buffer()->read(5);
  EXPECT_EQ(std::string(taken.begin(), taken.end()), "23456");
  EXPECT_EQ(chardev->as_ring_buffer()->available(), 3u);
}

TEST_F(ChardevTest, ServerTakesOneClientAfterAnother) {
  const std::string name = path("sock");
  auto server = make("socket,id=s,server=on,wait=off,path=" + name);
  Recorder uart;
  ASSERT_TRUE(server->attach(uart));
  EXPECT_TRUE(uart.events.empty());
  EXPECT_EQ(server->write("nobody hears this"), 17u);
  EXPECT_EQ(server->description(), "disconnected:unix:" + name + ",server=on");

  Fd client = connect_to(name);
  run_until([&] { return server->is_open(); });
  EXPECT_EQ(server->write("hello"), 5u);
  EXPECT_EQ(read_some(client.get()), "hello");
  ASSERT_EQ(::write(client.get(), "abc", 3), 3);
  run_until([&] { return uart.text == "abc"; });

  client.reset();
  run_until([&] { return !server->is_open(); });
  client = connect_to(name);
  run_until([&] { return server->is_open(); });
  EXPECT_EQ(uart.events, (std::vector{ChardevEvent::Opened, ChardevEvent::Closed, ChardevEvent::Opened}));
  server.reset();
  EXPECT_NE(::access(name.c_str(), F_OK), 0);
}

TEST_F(ChardevTest, ServerThatWaitsReturnsConnected) {
  const std::string name = path("wait");
  Fd client;
  std::thread other = start_thread("client", [&] {
    while (::access(name.c_str(), F_OK) != 0) std::this_thread::yield();
    for (;;) {  // bound, but perhaps not listening yet
      client.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      name.copy(address.sun_path, sizeof address.sun_path - 1);
      if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return;
    }
  });
  auto server = make("socket,id=s,server=on,path=" + name);
  other.join();
  EXPECT_TRUE(server->is_open());
}

TEST_F(ChardevTest, TcpClientReachesTcpServer) {
  auto server = make("socket,id=s,host=127.0.0.1,port=0,server=on,wait=off");
  const std::string address = static_cast<SocketChardev&>(*server).address();
  auto client = make("socket,id=c,nodelay=on,host=127.0.0.1,port=" + address.substr(address.rfind(':') + 1));
  Recorder at_server, at_client;
  ASSERT_TRUE(server->attach(at_server));
  ASSERT_TRUE(client->attach(at_client));
  EXPECT_EQ(at_client.events, std::vector{ChardevEvent::Opened});
  client->write("ping");
  run_until([&] { return at_server.text == "ping"; });
  server->write("pong");
  run_until([&] { return at_client.text == "pong"; });
  server.reset();
  run_until([&] { return !client->is_open(); });
  EXPECT_EQ(client->write("into the void"), 13u);
}

TEST_F(ChardevTest, RefusedConnectionIsAnError) {
  const auto made = create(*parse_chardev("socket,id=c,path=/nonexistent/s"), loop_);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message(), "chardev 'c': cannot connect to '/nonexistent/s': No such file or directory");
}

TEST_F(ChardevTest, SlowReaderHoldsUpTheWriterWithoutLosingAByte) {
  const std::string name = path("slow");
  auto server = make("socket,id=s,server=on,wait=off,path=" + name);
  Recorder uart;
  ASSERT_TRUE(server->attach(uart));
  Fd client = connect_to(name);
  run_until([&] { return server->is_open(); });

  std::string sent;
  const std::string line(1000, 'x');
  for (int i = 0;; i++) {
    ASSERT_LT(i, 10'000) << "the buffer has no bound";
    std::string text = std::to_string(i) + line;
    const std::size_t taken = server->write(text);
    sent += text.substr(0, taken);
    if (taken < text.size()) break;
  }
  EXPECT_EQ(server->write("more"), 0u);
  EXPECT_EQ(uart.writable_calls, 0);
  std::string received;
  run_until([&] {
    received += read_some(client.get());
    return received.size() == sent.size();
  });
  EXPECT_EQ(received, sent);
  run_until([&] { return uart.writable_calls == 1; });
  EXPECT_EQ(server->write("more"), 4u);
}

TEST_F(ChardevTest, WriterIsReleasedWhenTheSlowReaderLeaves) {
  const std::string name = path("leave");
  auto server = make("socket,id=s,server=on,wait=off,path=" + name);
  Recorder uart;
  uart.room = 0;  // nor does it read
  ASSERT_TRUE(server->attach(uart));
  Fd client = connect_to(name);
  run_until([&] { return server->is_open(); });
  const std::string block(4096, 'x');
  while (server->write(block) == block.size()) {
  }
  loop_.run_once(false);
  client.reset();
  run_until([&] { return uart.writable_calls == 1; });
  EXPECT_EQ(server->write(block), block.size());
}

TEST_F(ChardevTest, FrontEndThatTakesNothingStopsTheReading) {
  const std::string name = path("full");
  auto server = make("socket,id=s,server=on,wait=off,path=" + name);
  Recorder uart;
  uart.room = 2;
  ASSERT_TRUE(server->attach(uart));
  Fd client = connect_to(name);
  ASSERT_EQ(::write(client.get(), "abcd", 4), 4);
  run_until([&] { return uart.text == "ab"; });
  while (loop_.run_once(false)) {
  }
  EXPECT_EQ(uart.text, "ab");
  uart.room = 2;
  std::thread vcpu = start_thread("vcpu", [&] { server->accept_input(); });
  vcpu.join();
  run_until([&] { return uart.text == "abcd"; });
}

TEST_F(ChardevTest, PtyConnectsWhenOpenedAndDropsWhatNobodyReads) {
  auto chardev = make("pty,id=p");
  auto& pty = static_cast<PtyChardev&>(*chardev);
  Recorder uart;
  ASSERT_TRUE(pty.attach(uart));
  const std::string block(4096, 'x');
  for (int i = 0; i < 100; i++) EXPECT_EQ(pty.write(block), block.size());

  for (int round = 0; round < 2; round++) {
    Fd other(::open(pty.path().c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
    ASSERT_TRUE(other);
    run_until([&] { return pty.is_open(); });
    pty.write("out\r\n");
    std::string seen;
    run_until([&] { return (seen += read_some(other.get())).size() >= 5; });
    EXPECT_EQ(seen, "out\r\n");
    uart.text.clear();
    ASSERT_EQ(::write(other.get(), "in\x03", 3), 3);
    run_until([&] { return uart.text == "in\x03"; });
    other.reset();
    run_until([&] { return !pty.is_open(); });
  }
}

/// Runs `body` in a child with these as standard input and output; its exit status.
template <typename Body>
int with_stdio(int in, int out, Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    EventLoop loop;
    ::_exit(body(loop));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

struct Pipe {
  Fd read, write;
  Pipe() {
    int fds[2];
    EXPECT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
};

TEST_F(ChardevTest, StdioPassesInputUntilItsEndAndWritesOn) {
  Pipe in, out;
  ASSERT_EQ(::write(in.write.get(), "typed", 5), 5);
  in.write.reset();
  const int status = with_stdio(in.read.get(), out.write.get(), [](EventLoop& loop) {
    auto stdio = create(*parse_chardev("stdio,id=s"), loop);
    if (!stdio) return 1;
    Recorder uart;
    if (!(*stdio)->attach(uart)) return 2;
    for (int i = 0; i < 10; i++) loop.run_once(false);
    if (uart.text != "typed") return 3;
    if (loop.run_once(false)) return 4;  // the end of input must not keep the loop busy
    if ((*stdio)->write("printed") != 7) return 5;
    return 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_some(out.read.get()), "printed");
}

TEST_F(ChardevTest, StdioOutputThatNobodyReadsBlocksNothing) {
  Pipe in, out;
  const int status = with_stdio(in.read.get(), out.write.get(), [&out](EventLoop& loop) {
    auto stdio = create(*parse_chardev("stdio,id=s"), loop);
    if (!stdio) return 1;
    if (::fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK) return 2;  // shared with others
    const std::string block(4096, 'x');
    std::size_t total = 0;
    while (total < (1 << 20)) {
      const std::size_t taken = (*stdio)->write(block);
      total += taken;
      if (taken < block.size()) break;
    }
    if (total >= (1 << 20)) return 3;
    out.read.reset();  // our copy; the parent's is still open
    return 0;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(ChardevTest, StdioOutputThatIsClosedBlocksNothing) {
  Pipe in, out;
  out.read.reset();
  const int status = with_stdio(in.read.get(), out.write.get(), [](EventLoop& loop) {
    auto stdio = create(*parse_chardev("stdio,id=s"), loop);
    if (!stdio) return 1;
    for (int i = 0; i < 1000; i++) {
      if ((*stdio)->write(std::string(4096, 'x')) != 4096) return 2;
      loop.run_once(false);
    }
    return loop.run_once(false) ? 3 : 0;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(ChardevTest, StdioTerminalIsRawWhileInUse) {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(master && ::grantpt(master.get()) == 0 && ::unlockpt(master.get()) == 0);
  Fd terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(terminal);
  const int status = with_stdio(terminal.get(), terminal.get(), [](EventLoop& loop) {
    termios before{}, raw{}, after{};
    ::tcgetattr(STDIN_FILENO, &before);
    auto stdio = create(*parse_chardev("stdio,id=s,signal=off"), loop);
    ::tcgetattr(STDIN_FILENO, &raw);
    if (!stdio || (raw.c_lflag & (ICANON | ECHO | ISIG)) || !(raw.c_oflag & OPOST)) return 1;
    stdio->reset();
    ::tcgetattr(STDIN_FILENO, &after);
    return after.c_lflag == before.c_lflag && after.c_iflag == before.c_iflag ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

TEST_F(ChardevTest, StdioExistsOnce) {
  Pipe in, out;
  const int status = with_stdio(in.read.get(), out.write.get(), [](EventLoop& loop) {
    auto first = create(*parse_chardev("stdio,id=a"), loop);
    auto second = create(*parse_chardev("stdio,id=b"), loop);
    if (!first || second) return 1;
    first->reset();
    return create(*parse_chardev("stdio,id=c"), loop) ? 0 : 2;
  });
  EXPECT_EQ(status, 0);
}

/// Feeds a mux by hand and collects its output.
class ScriptedBase final : public Chardev {
 public:
  ScriptedBase() : Chardev("base") {}
  std::string description() const override { return "scripted"; }
  void type(std::string_view text) {
    for (const char c : text) {
      const u8 byte = u8(c);
      if (frontend()->can_receive() > 0) frontend()->receive(std::span(&byte, 1));
    }
  }
  std::string output;

 protected:
  std::size_t do_write(std::span<const u8> data) override {
    output.append(data.begin(), data.end());
    return data.size();
  }
};

class MuxTest : public testing::Test {
 protected:
  MuxTest() {
    auto base = std::make_unique<ScriptedBase>();
    base_ = base.get();
    mux_ = std::make_unique<MuxChardev>(std::move(base), loop_);
    EXPECT_TRUE(mux_->attach(uart_));
    EXPECT_TRUE(mux_->attach(monitor_));
    uart_.events.clear();
    monitor_.events.clear();
  }
  EventLoop loop_;
  ScriptedBase* base_;
  std::unique_ptr<MuxChardev> mux_;
  Recorder uart_, monitor_;
};

TEST_F(MuxTest, FirstFrontEndHasTheFocus) {
  base_->type("abc");
  EXPECT_EQ(uart_.text, "abc");
  EXPECT_EQ(monitor_.text, "");
}

TEST_F(MuxTest, CtrlACGoesToTheNext) {
  base_->type(
      "a\x01"
      "cb\x01"
      "cc");
  EXPECT_EQ(uart_.text, "ac");
  EXPECT_EQ(monitor_.text, "b");
  EXPECT_EQ(uart_.events, (std::vector{ChardevEvent::FocusOut, ChardevEvent::FocusIn}));
  EXPECT_EQ(monitor_.events, (std::vector{ChardevEvent::FocusIn, ChardevEvent::FocusOut}));
}

TEST_F(MuxTest, CtrlATwiceSendsOne) {
  base_->type("\x01\x01");
  EXPECT_EQ(uart_.text, "\x01");
}

TEST_F(MuxTest, CtrlABSendsABreak) {
  base_->type(
      "\x01"
      "b");
  EXPECT_EQ(uart_.events, std::vector{ChardevEvent::Break});
  EXPECT_EQ(uart_.text, "");
}

TEST_F(MuxTest, CtrlAHExplains) {
  base_->type("\x01h");
  EXPECT_NE(base_->output.find("C-a x"), std::string::npos);
  EXPECT_NE(base_->output.find("exit emulator"), std::string::npos);
  EXPECT_EQ(uart_.text, "");
}

TEST_F(MuxTest, CtrlAXQuitsEvenWhenTheGuestTakesNothing) {
  int quits = 0;
  mux_->on_quit([&] { quits++; });
  uart_.room = 0;
  base_->type("typed ahead\x01x");
  EXPECT_EQ(quits, 1);
  EXPECT_EQ(uart_.text, "");
  uart_.room = 100;
  mux_->accept_input();
  loop_.run_once(false);
  EXPECT_EQ(uart_.text, "typed ahead");
}

TEST_F(MuxTest, OtherEscapeCharacter) {
  mux_->set_escape(0x14);
  EXPECT_EQ(mux_->escape_name(), "Ctrl-T");
  base_->type(
      "\x01\x14"
      "cx");
  EXPECT_EQ(uart_.text, "\x01");
  EXPECT_EQ(monitor_.text, "x");
}

TEST_F(MuxTest, OutputOfAllIsMixed) {
  mux_->write("uart ");
  mux_->write("monitor");
  EXPECT_EQ(base_->output, "uart monitor");
}

TEST_F(MuxTest, DetachHandsTheFocusOn) {
  mux_->detach(uart_);
  base_->type("m");
  EXPECT_EQ(monitor_.text, "m");
  mux_->detach(monitor_);
  base_->type("lost");
}

}  // namespace
}  // namespace emu::chardev
