// SPDX-License-Identifier: Apache-2.0
#include "softmmu/daemon.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

namespace emu::softmmu {

Result<Daemon> Daemon::fork_off() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return error("-daemonize: {}", std::strerror(errno));
  Fd ours(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return error("-daemonize: {}", std::strerror(errno));
  if (child > 0) {
    theirs.reset();
    char byte = 0;
    ssize_t n;
    do {
      n = ::read(ours.get(), &byte, 1);
    } while (n < 0 && errno == EINTR);
    ::waitpid(child, nullptr, 0);
    ::_exit(n == 1 ? 0 : 1);  // what the terminal and buffers need is the child's to do
  }
  ours.reset();
  ::setsid();
  // Forked once more, no terminal can become ours by being opened.
  const pid_t again = ::fork();
  if (again < 0) return error("-daemonize: {}", std::strerror(errno));
  if (again > 0) ::_exit(0);
  return Daemon(std::move(theirs));
}

Result<void> Daemon::ready() {
  const Fd nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nowhere || ::chdir("/") < 0) return error("-daemonize: {}", std::strerror(errno));
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::dup2(nowhere.get(), fd) < 0) return error("-daemonize: {}", std::strerror(errno));
  }
  const char byte = 0;
  if (::write(parent_.get(), &byte, 1) != 1) return error("-daemonize: the parent process is gone");
  parent_.reset();
  return {};
}

Result<PidFile> PidFile::create(const std::string& path) {
  Fd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!fd) return error("-pidfile: cannot create '{}': {}", path, std::strerror(errno));
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd.get(), F_SETLK, &lock) < 0) {
    struct flock holder = lock;
    const bool known = ::fcntl(fd.get(), F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK;
    return error(Error(fmt::format("-pidfile: '{}' is in use by {}", path,
                                   known ? fmt::format("process {}", holder.l_pid) : std::string("another process")))
                     .with_hint("end that one first, or choose another file"));
  }
  const std::string text = fmt::format("{}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) < 0 || ::write(fd.get(), text.data(), text.size()) != ssize_t(text.size())) {
    return error("-pidfile: cannot write '{}': {}", path, std::strerror(errno));
  }
  char* const absolute = ::realpath(path.c_str(), nullptr);
  std::string where = absolute != nullptr ? absolute : path;
  ::free(absolute);
  return PidFile(std::move(fd), std::move(where));
}

PidFile::~PidFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace emu::softmmu
