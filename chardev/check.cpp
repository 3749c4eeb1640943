// SPDX-License-Identifier: Apache-2.0
// What opening a back end would find wrong, as far as it can be seen without opening or making anything: --dry-run.
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "chardev/address_list.h"
#include "chardev/backends.h"
#include "util/file.h"
#include "util/overloaded.h"

namespace emu::chardev {
namespace {

constexpr std::string_view kFdSet = "/dev/fdset/";  // a descriptor of -add-fd, which is checked there

Result<void> check_readable(const std::string& path) {
  if (::access(path.c_str(), R_OK) == 0) return {};
  return error("cannot open '{}': {}", path, std::strerror(errno));
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

Result<void> check_unix(const SocketOptions& options) {
  constexpr std::size_t kMost = sizeof(sockaddr_un::sun_path) - 1;
  const std::string& path = options.path;
  if (path.size() > kMost) {
    return error("'{}' is longer than the {} characters a socket's path may have", path, kMost);
  }
  if (options.abstract || options.reconnect_s != 0) return {};
  if (is_socket(path)) return {};
  if (!options.server) {
    const int why = ::access(path.c_str(), F_OK) == 0 ? ECONNREFUSED : errno;
    return error("cannot connect to '{}': {}", path, std::strerror(why));
  }
  if (::access(path.c_str(), F_OK) == 0) return error("cannot listen on '{}': {}", path, std::strerror(EADDRINUSE));
  EMU_TRY(check_creatable(path), "cannot listen there");
  return {};
}

Result<void> check_backend(const SocketOptions& options) {
  if (!options.path.empty()) return check_unix(options);
  if (options.fd) return check_socket(int(*options.fd), options.server);
  if (options.reconnect_s == 0) EMU_TRY(resolve(options));
  return {};
}

Result<void> check_backend(const FileOptions& options) {
  if (!options.path.starts_with(kFdSet)) EMU_TRY(check_creatable(options.path));
  return options.input_path.empty() ? Result<void>() : check_readable(options.input_path);
}

Result<void> check_backend(const PipeOptions& options) {
  if (check_readable(options.path + ".in") && check_readable(options.path + ".out")) return {};
  return check_readable(options.path);
}

Result<void> check_backend(const TtyOptions& options) {
  EMU_TRY(check_readable(options.path));
  struct stat status {};
  if (::stat(options.path.c_str(), &status) == 0 && S_ISCHR(status.st_mode)) return {};
  return error("'{}' is not a serial line", options.path);
}

Result<void> check_backend(const UdpOptions& options) {
  EMU_TRY(resolve(options));
  return {};
}

}  // namespace

Result<void> check(const ChardevOptions& options) {
  const std::string name = "chardev '" + options.id + "'";
  EMU_TRY(std::visit(Overloaded{[](const auto& known) -> Result<void> { return check_backend(known); },
                                [](const NullOptions&) -> Result<void> { return {}; },
                                [](const StdioOptions&) -> Result<void> { return {}; },
                                [](const PtyOptions&) -> Result<void> { return {}; },
                                [](const RingBufferOptions&) -> Result<void> { return {}; }},
                     options.backend),
          name);
  if (!options.logfile.empty()) EMU_TRY(check_creatable(options.logfile), name);
  return {};
}

}  // namespace emu::chardev
