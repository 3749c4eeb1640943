// SPDX-License-Identifier: Apache-2.0
// What opening a back end would find wrong, as far as it can be seen without leaving anything behind: --dry-run.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "chardev/backends.h"
#include "chardev/line_backends.h"
#include "chardev/socket_chardev.h"
#include "util/file.h"
#include "util/overloaded.h"

namespace emu::chardev {
namespace {

constexpr std::string_view kFdSet = "/dev/fdset/";  // a descriptor of -add-fd, which is checked there

Result<void> check_access(const std::string& path, int rights) {
  if (::access(path.c_str(), rights) == 0) return {};
  return error("cannot open '{}': {}", path, std::strerror(errno));
}

Result<void> check_file(const FileOptions& options) {
  if (!options.path.starts_with(kFdSet)) EMU_TRY(check_creatable(options.path));
  return options.input_path.empty() ? Result<void>() : check_access(options.input_path, R_OK);
}

Result<void> check_pipe(const PipeOptions& options) {
  constexpr int kBothWays = R_OK | W_OK;
  if (check_access(options.path + ".in", kBothWays) && check_access(options.path + ".out", kBothWays)) return {};
  if (::access(options.path.c_str(), kBothWays) == 0) return {};
  return error(no_pipe(options.path, errno));
}

/// It is not opened: that would raise its modem lines.
Result<void> check_tty(const TtyOptions& options) {
  EMU_TRY(check_access(options.path, R_OK | W_OK));
  struct stat status {};
  if (::stat(options.path.c_str(), &status) == 0 && S_ISCHR(status.st_mode)) return {};
  return error("'{}' is not a serial line", options.path);
}

/// One is free now; the kernel gives us its number only once it is opened.
Result<void> check_pty() {
  const Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master) return error("cannot make a pseudo-terminal: {}", std::strerror(errno));
  return {};
}

Result<Reservation> without_claim(Result<void> checked) {
  EMU_TRY(std::move(checked));
  return Reservation{};
}

Result<Reservation> reserve_socket(Result<Fd> socket) {
  return Reservation{.socket = EMU_TRY(std::move(socket)), .stdio = {}};
}

Result<Reservation> reserve_stdio() { return Reservation{.socket = {}, .stdio = EMU_TRY(StdioClaim::take())}; }

}  // namespace

Result<Reservation> check(const ChardevOptions& options) {
  const std::string name = "chardev '" + options.id + "'";
  using Checked = Result<Reservation>;
  Reservation taken =
      EMU_TRY(std::visit(Overloaded{[](const SocketOptions& socket) { return reserve_socket(check_backend(socket)); },
                                    [](const UdpOptions& udp) { return reserve_socket(open_udp(udp)); },
                                    [](const StdioOptions&) { return reserve_stdio(); },
                                    [](const FileOptions& file) { return without_claim(check_file(file)); },
                                    [](const PipeOptions& pipe) { return without_claim(check_pipe(pipe)); },
                                    [](const TtyOptions& tty) { return without_claim(check_tty(tty)); },
                                    [](const PtyOptions&) { return without_claim(check_pty()); },
                                    [](const NullOptions&) -> Checked { return Reservation{}; },
                                    [](const RingBufferOptions&) -> Checked { return Reservation{}; }},
                         options.backend),
              name);
  if (!options.logfile.empty()) EMU_TRY(check_creatable(options.logfile), name);
  return taken;
}

}  // namespace emu::chardev
