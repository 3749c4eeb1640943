// SPDX-License-Identifier: Apache-2.0
#include "util/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "util/fd.h"

namespace emu {

Result<std::string> read_file(const std::string& path, std::size_t most_bytes) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return error("'{}' cannot be opened: {}", path, std::strerror(errno));
  std::string data;
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(file.get(), block, sizeof block);
    if (n == 0) return data;
    if (n < 0) {
      if (errno == EINTR) continue;
      return error("'{}' cannot be read: {}", path, std::strerror(errno));
    }
    if (data.size() + std::size_t(n) > most_bytes) return error("'{}' has more than {} bytes", path, most_bytes);
    data.append(block, std::size_t(n));
  }
}

Result<void> check_creatable(const std::string& path) {
  const auto refused = [&path](int why) { return error("cannot open '{}': {}", path, std::strerror(why)); };
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return refused(EISDIR);
    return ::access(path.c_str(), W_OK) == 0 ? Result<void>() : refused(errno);
  }
  if (errno != ENOENT || path.empty()) return refused(path.empty() ? ENOENT : errno);
  if (path.ends_with('/')) return refused(EISDIR);
  return ::access(folder_of(path).c_str(), W_OK | X_OK) == 0 ? Result<void>() : refused(errno);
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

}  // namespace emu
