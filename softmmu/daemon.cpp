// SPDX-License-Identifier: Apache-2.0
#include "softmmu/daemon.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "util/file.h"

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

namespace {

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

tl::unexpected<Error> in_use(const std::string& path, pid_t holder) {
  return error(Error(fmt::format("-pidfile: '{}' is in use by {}", path,
                                 holder > 0 ? fmt::format("process {}", holder) : std::string("another process")))
                   .with_hint("end that one first, or choose another file"));
}

/// The process that has the file locked; 0: nobody, or it cannot be told.
pid_t holder_of(int fd) {
  struct flock holder = whole_file();
  return ::fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK ? holder.l_pid : 0;
}

}  // namespace

Result<void> PidFile::check(const std::string& path) {
  EMU_TRY(check_creatable(path), "-pidfile");
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return {};
  if (const pid_t holder = holder_of(fd.get()); holder != 0) return in_use(path, holder);
  return {};
}

Result<PidFile> PidFile::create(const std::string& path) {
  Fd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!fd) return error("-pidfile: cannot open '{}': {}", path, std::strerror(errno));
  const struct flock lock = whole_file();
  if (::fcntl(fd.get(), F_SETLK, &lock) < 0) return in_use(path, holder_of(fd.get()));
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
