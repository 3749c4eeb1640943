// SPDX-License-Identifier: Apache-2.0
// Addresses of sockets and descriptors by name, as commands of several kinds take them.
#pragma once

#include "monitor/command.h"
#include "monitor/schema/schema.h"

namespace emu::monitor {

enum class SocketAddressKind : u8 { Inet, Unix, Fd };
constexpr EnumNames enum_names(SocketAddressKind) { return {"SocketAddressType", {"inet", "unix", "fd"}}; }

struct InetSocketAddress {
  static constexpr const char* kName = "InetSocketAddress";
  std::string host, port;
  std::optional<bool> numeric, ipv4, ipv6, keep_alive, mptcp;
  std::optional<u16> to;
  void members(auto& m) {
    m("host", host);
    m("port", port);
    m("numeric", numeric);
    m("to", to);
    m("ipv4", ipv4);
    m("ipv6", ipv6);
    m("keep-alive", keep_alive);
    m("mptcp", mptcp);
  }
};
struct UnixSocketAddress {
  static constexpr const char* kName = "UnixSocketAddress";
  std::string path;
  std::optional<bool> abstract, tight;
  void members(auto& m) {
    m("path", path);
    m("abstract", abstract);
    m("tight", tight);
  }
};
/// The name of a descriptor (getfd), or another text.
struct NamedString {
  static constexpr const char* kName = "String";
  std::string str;
  void members(auto& m) { m("str", str); }
};

/// Any of them, its members beside the tag.
struct SocketAddressInfo {
  static constexpr const char* kName = "SocketAddress";
  SocketAddressKind type = SocketAddressKind::Inet;
  InetSocketAddress inet;
  UnixSocketAddress path;
  NamedString fd;
  void members(auto& m) {
    m.tag("type", type);
    m.when(SocketAddressKind::Inet, inet);
    m.when(SocketAddressKind::Unix, path);
    m.when(SocketAddressKind::Fd, fd);
  }
};

/// Takes a descriptor that the program has handed in under that name. Errors: there is none.
Result<Fd> take_named_fd(Session& session, const std::string& name);

}  // namespace emu::monitor
