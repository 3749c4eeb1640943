// SPDX-License-Identifier: Apache-2.0
#include "chardev/chardev_options.h"

#include <gtest/gtest.h>

namespace emu::chardev {
namespace {

std::string refusal(std::string_view text) {
  const auto result = parse_chardev(text);
  EXPECT_FALSE(result) << text;
  return result ? "" : result.error().text();
}
std::string serial_refusal(std::string_view text) {
  const auto result = parse_serial(text, "serial0");
  EXPECT_FALSE(result) << text;
  return result ? "" : result.error().text();
}
template <typename T>
T backend(const ChardevOptions& options) {
  EXPECT_TRUE(std::holds_alternative<T>(options.backend));
  const T* found = std::get_if<T>(&options.backend);
  return found ? *found : T();
}

TEST(ParseChardev, File) {
  const auto options = parse_chardev("file,id=f,path=/tmp/a,,b,append=on,logfile=l,mux=on");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->id, "f");
  EXPECT_TRUE(options->mux);
  EXPECT_EQ(options->logfile, "l");
  EXPECT_EQ(backend<FileOptions>(*options).path, "/tmp/a,b");
  EXPECT_TRUE(backend<FileOptions>(*options).append);
}

TEST(ParseChardev, StdioSignal) {
  EXPECT_TRUE(backend<StdioOptions>(*parse_chardev("stdio,id=s")).signal);
  EXPECT_FALSE(backend<StdioOptions>(*parse_chardev("stdio,id=s,signal=off")).signal);
}

TEST(ParseChardev, Sockets) {
  const auto unix_server = backend<SocketOptions>(*parse_chardev("socket,id=s,path=/tmp/s,server=on,wait=off"));
  EXPECT_EQ(unix_server.path, "/tmp/s");
  EXPECT_TRUE(unix_server.server);
  EXPECT_FALSE(unix_server.wait);
  const auto old_spelling = backend<SocketOptions>(*parse_chardev("socket,id=s,path=/tmp/s,server,nowait"));
  EXPECT_TRUE(old_spelling.server);
  EXPECT_FALSE(old_spelling.wait);
  const auto tcp = backend<SocketOptions>(*parse_chardev("socket,id=s,host=::1,port=99,ipv6=on,nodelay=on"));
  EXPECT_EQ(tcp.host, "::1");
  EXPECT_EQ(tcp.port, "99");
  EXPECT_TRUE(tcp.no_delay);
  EXPECT_FALSE(tcp.server);
  EXPECT_EQ(tcp.family, SocketOptions::Family::V6);
  EXPECT_EQ(backend<SocketOptions>(*parse_chardev("socket,id=s,port=9,server=on,ipv4=on,ipv6=on")).family,
            SocketOptions::Family::Any);
}

TEST(ParseChardev, RefusalsNameTheCause) {
  EXPECT_EQ(refusal("stdoi,id=x"), "-chardev x: no back end 'stdoi'\ndid you mean 'stdio'?");
  EXPECT_EQ(refusal("vc,id=x"), "-chardev x: back end 'vc' is not supported");
  EXPECT_EQ(refusal("udp,id=x"), "-chardev x: 'port=' is missing");
  EXPECT_EQ(refusal("stdio"), "-chardev stdio: 'id=' is missing");
  EXPECT_EQ(refusal("stdio,id=1x"), "-chardev: '1x' is not an id: a letter, then letters, digits, '-', '.', '_'");
  EXPECT_EQ(refusal("file,id=x"), "-chardev x: 'path=' is missing");
  EXPECT_EQ(refusal("file,id=x,pth=/a,path=b"), "-chardev x: unknown option 'pth'\ndid you mean 'path'?");
  EXPECT_EQ(refusal("socket,id=x,path=/a,reconnect=1,server=on"),
            "-chardev x: 'reconnect=' is for clients: leave server=on out");
  EXPECT_EQ(refusal("socket,id=x,path=/a,tn3270=on"),
            "-chardev x: 'tn3270' is not supported: sockets carry plain bytes or telnet");
  EXPECT_EQ(refusal("socket,id=x,port=1,abstract=on"), "-chardev x: 'abstract=' and 'tight=' need path=");
  EXPECT_EQ(refusal("socket,id=x,port=9,to=8,server=on"), "-chardev x: to=8: not between port=9 and 65535");
  EXPECT_EQ(refusal("socket,id=x,path=/a,wait=on"), "-chardev x: 'wait=' needs server=on");
  EXPECT_EQ(refusal("socket,id=x"), "-chardev x: exactly one of 'path=', 'host=' with 'port=', and 'fd=' is needed");
  EXPECT_EQ(refusal("ringbuf,id=x,size=1000"), "-chardev x: size: 1000 is not a power of two up to 1G");
  EXPECT_EQ(refusal("null,id=x,mux=maybe"), "-chardev x: mux: 'maybe' is neither 'on' nor 'off'");
}

TEST(ParseSerial, PlainSpellings) {
  EXPECT_EQ(parse_serial("none", "s")->kind, SerialSpec::Kind::None);
  const auto null = parse_serial("null", "serial0");
  EXPECT_EQ(null->kind, SerialSpec::Kind::Inline);
  EXPECT_EQ(null->options.id, "serial0");
  EXPECT_TRUE(backend<StdioOptions>(parse_serial("stdio", "s")->options).signal);
  backend<PtyOptions>(parse_serial("pty", "s")->options);
  EXPECT_EQ(backend<FileOptions>(parse_serial("file:/tmp/a,b", "s")->options).path, "/tmp/a,b");
  const auto reference = parse_serial("chardev:c0", "s");
  EXPECT_EQ(reference->kind, SerialSpec::Kind::Reference);
  EXPECT_EQ(reference->reference, "c0");
}

TEST(ParseSerial, Sockets) {
  const auto path = backend<SocketOptions>(parse_serial("unix:/tmp/s,server=on,wait=off", "s")->options);
  EXPECT_EQ(path.path, "/tmp/s");
  EXPECT_FALSE(path.wait);
  const auto tcp = backend<SocketOptions>(parse_serial("tcp:127.0.0.1:4555,server", "s")->options);
  EXPECT_EQ(tcp.host, "127.0.0.1");
  EXPECT_EQ(tcp.port, "4555");
  EXPECT_TRUE(tcp.wait);
  const auto any = backend<SocketOptions>(parse_serial("tcp::4555,server=on,wait=off", "s")->options);
  EXPECT_EQ(any.host, "");
  const auto v6 = backend<SocketOptions>(parse_serial("tcp:[::1]:4555", "s")->options);
  EXPECT_EQ(v6.host, "::1");
}

TEST(ParseSerial, OtherSpellings) {
  const auto telnet = backend<SocketOptions>(parse_serial("telnet::4444,server=on,wait=off", "s")->options);
  EXPECT_TRUE(telnet.telnet);
  EXPECT_TRUE(telnet.server);
  EXPECT_EQ(telnet.port, "4444");
  EXPECT_EQ(backend<PipeOptions>(parse_serial("pipe:/tmp/p", "s")->options).path, "/tmp/p");
  EXPECT_EQ(backend<TtyOptions>(parse_serial("/dev/ttyS0", "s")->options).path, "/dev/ttyS0");
  const auto udp = backend<UdpOptions>(parse_serial("udp:[::1]:7000@:7001", "s")->options);
  EXPECT_EQ(udp.host, "::1");
  EXPECT_EQ(udp.port, "7000");
  EXPECT_EQ(udp.local_host, "");
  EXPECT_EQ(udp.local_port, "7001");
  const auto client = backend<SocketOptions>(parse_serial("tcp:h:1,reconnect=5", "s")->options);
  EXPECT_EQ(client.reconnect_s, 5u);
}

TEST(ParseSerial, MonitorSharesItAndLeavesCtrlCToTheGuest) {
  const auto spec = parse_serial("mon:stdio", "serial0");
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->with_monitor);
  EXPECT_TRUE(spec->options.mux);
  EXPECT_FALSE(backend<StdioOptions>(spec->options).signal);
}

TEST(ParseSerial, RefusalsNameTheCause) {
  EXPECT_EQ(serial_refusal("stido"), "no back end 'stido'\ndid you mean 'stdio'?");
  EXPECT_EQ(
      serial_refusal("websocket::4444,server"),
      "'websocket:' is not supported: sockets carry plain bytes or telnet\nwrite tcp:HOST:PORT,server=on,wait=off");
  EXPECT_EQ(serial_refusal("file:"), "file: the path is missing");
  EXPECT_EQ(serial_refusal("tcp:4555"), "'4555' is not an address: write tcp:HOST:PORT");
  EXPECT_EQ(serial_refusal("unix:/a,severs=on"), "unix:/a,severs=on: unknown option 'severs'\ndid you mean 'server'?");
  EXPECT_EQ(serial_refusal("vc"), "back end 'vc' is not supported");
  EXPECT_EQ(serial_refusal("/dev/parport0"), "back end '/dev/parport0' is not supported: there is no parallel port");
  EXPECT_EQ(serial_refusal("udp:7000"), "'7000' is not an address: write udp:HOST:PORT@HOST:PORT");
  serial_refusal("");
  serial_refusal("mon:none");
  serial_refusal("mon:mon:stdio");
  serial_refusal("chardev:");
}

}  // namespace
}  // namespace emu::chardev
