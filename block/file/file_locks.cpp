// SPDX-License-Identifier: Apache-2.0
#include "block/file/file_locks.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "util/file.h"
#include "util/string.h"

namespace emu::block {
namespace {

constexpr off_t kUsedBase = 100;
constexpr off_t kUnsharedBase = 200;
constexpr unsigned kPermCount = 4;
constexpr const char* kPermNames[kPermCount] = {"consistent read", "write", "write unchanged", "resize"};

int set_lock(int fd, off_t byte, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

/// Whether another open file holds any lock on that byte.
bool is_locked_by_other(int fd, off_t byte) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/// Locks and unlocks bytes so that those of `wanted` are held. On an error what was newly locked is unlocked.
int change_bytes(int fd, off_t base, u8 held, u8 wanted) {
  for (unsigned p = 0; p < kPermCount; p++) {
    const u8 mask = u8(1u << p);
    if (!(wanted & mask) || (held & mask)) continue;
    if (const int failed = set_lock(fd, base + p, F_RDLCK)) {
      for (unsigned undo = 0; undo < p; undo++) {
        const u8 undone = u8(1u << undo);
        if ((wanted & undone) && !(held & undone)) set_lock(fd, base + undo, F_UNLCK);
      }
      return failed;
    }
  }
  return 0;
}

void drop_bytes(int fd, off_t base, u8 held, u8 wanted) {
  for (unsigned p = 0; p < kPermCount; p++) {
    const u8 mask = u8(1u << p);
    if ((held & mask) && !(wanted & mask)) set_lock(fd, base + p, F_UNLCK);
  }
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

bool is_number(const char* text) { return *text != 0 && std::strspn(text, "0123456789") == std::strlen(text); }

/// Whether one of the process's descriptors is this file, with a lock on it.
bool holds_lock(const std::string& process, const struct stat& file) {
  const Folder descriptors(::opendir((process + "/fd").c_str()));
  if (!descriptors) return false;
  while (const dirent* entry = ::readdir(descriptors.get())) {
    if (!is_number(entry->d_name)) continue;
    struct stat target {};
    if (::stat((process + "/fd/" + entry->d_name).c_str(), &target) != 0) continue;
    if (target.st_dev != file.st_dev || target.st_ino != file.st_ino) continue;
    const auto info = read_file(process + "/fdinfo/" + entry->d_name, 1 << 16);
    if (info && info->find("lock:") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::string describe_holders(int fd) {
  struct stat file {};
  if (::fstat(fd, &file) != 0) return {};
  const Folder processes(::opendir("/proc"));
  if (!processes) return {};
  std::string holders;
  while (const dirent* entry = ::readdir(processes.get())) {
    if (!is_number(entry->d_name)) continue;
    const std::string process = std::string("/proc/") + entry->d_name;
    if (std::to_string(::getpid()) == entry->d_name) continue;
    if (!holds_lock(process, file)) continue;
    const auto name = read_file(process + "/comm", 256);
    holders += fmt::format("{}process {} ({})", holders.empty() ? "" : ", ", entry->d_name,
                           name ? trim(*name) : std::string_view("unknown"));
  }
  return holders;
}

bool FileLocks::is_supported(int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0;
}

Result<void> FileLocks::check(int fd, Access access) const {
  const auto refuse = [&](const char* kind, unsigned p) {
    const std::string holders = describe_holders(fd);
    // This process's own second use of an image has no other process to name.
    const std::string who = holders.empty() ? "Is another process using the image"
                                            : fmt::format("The image is in use by {}", holders);
    return error(Error(fmt::format("Failed to get {}\"{}\" lock", kind, kPermNames[p]))
                     .with_hint(fmt::format("{}{} [{}]{}", who, holders.empty() ? "" : ":", filename_,
                                            holders.empty() ? "?" : "")));
  };
  for (unsigned p = 0; p < kPermCount; p++) {
    if ((u8(access.uses) >> p & 1) && is_locked_by_other(fd, kUnsharedBase + p)) return refuse("", p);
    if (!(u8(access.shares) >> p & 1) && is_locked_by_other(fd, kUsedBase + p)) return refuse("shared ", p);
  }
  return {};
}

Result<void> FileLocks::change(int fd, Access access) {
  const u8 used = u8(access.uses);
  const u8 unshared = u8(~access.shares);
  // Ours first, so that of two who try at once at least one sees the other.
  if (const int failed = change_bytes(fd, kUsedBase, used_, used)) {
    return error("Failed to lock '{}': {}", filename_, std::strerror(failed));
  }
  if (const int failed = change_bytes(fd, kUnsharedBase, unshared_, unshared)) {
    drop_bytes(fd, kUsedBase, used, used_);
    return error("Failed to lock '{}': {}", filename_, std::strerror(failed));
  }
  if (auto free = check(fd, access); !free) {
    drop_bytes(fd, kUsedBase, used, used_);
    drop_bytes(fd, kUnsharedBase, unshared, unshared_);
    return free;
  }
  drop_bytes(fd, kUsedBase, used_, used);
  drop_bytes(fd, kUnsharedBase, unshared_, unshared);
  used_ = used;
  unshared_ = unshared;
  return {};
}

Result<void> FileLocks::take_over(int new_fd) {
  if (const int failed = change_bytes(new_fd, kUsedBase, 0, used_)) {
    return error("Failed to lock '{}': {}", filename_, std::strerror(failed));
  }
  if (const int failed = change_bytes(new_fd, kUnsharedBase, 0, unshared_)) {
    return error("Failed to lock '{}': {}", filename_, std::strerror(failed));
  }
  return {};
}

}  // namespace emu::block
