// SPDX-License-Identifier: Apache-2.0
#include "monitor/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "monitor/monitors.h"

namespace emu::monitor {

Result<Fd> open_for_writing(CommandContext& context, const std::string& path) {
  constexpr std::string_view kSet = "/dev/fdset/";
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  if (path.starts_with(kSet)) {
    char* end = nullptr;
    const u64 id = std::strtoull(path.c_str() + kSet.size(), &end, 10);
    if (*end != '\0' || path.size() == kSet.size()) return error("'{}' names no fdset", path);
    return context.monitors.fd_sets().open(id, kFlags);
  }
  Fd fd(::open(path.c_str(), kFlags, 0666));
  if (!fd) return error("Could not open '{}': {}", path, std::strerror(errno));
  return fd;
}

Result<void> write_all(const Fd& out, std::span<const u8> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(out.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error("Could not write '{}': {}", path, std::strerror(n == 0 ? ENOSPC : errno));
    bytes = bytes.subspan(std::size_t(n));
  }
  return {};
}

}  // namespace emu::monitor
