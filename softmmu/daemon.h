// SPDX-License-Identifier: Apache-2.0
// -daemonize and -pidfile.
#pragma once

#include <string>

#include "util/fd.h"
#include "util/result.h"

namespace emu::softmmu {

/// Goes on in a background process, before any thread exists. The process that was started waits, and exits with
/// status 0 after ready() or 1 if the background one ends first.
class Daemon {
 public:
  static Result<Daemon> fork_off();
  /// Everything listens: leaves terminal and working folder, and lets the parent go.
  Result<void> ready();

 private:
  explicit Daemon(Fd parent) : parent_(std::move(parent)) {}
  Fd parent_;
};

/// A file with our process id; locked while we run, removed at the end.
class PidFile {
 public:
  /// Errors: cannot be written, or another running process has it.
  static Result<PidFile> create(const std::string& path);
  /// The same errors, and no file.
  static Result<void> check(const std::string& path);
  PidFile(PidFile&& other) noexcept : fd_(std::move(other.fd_)), path_(std::move(other.path_)) { other.path_.clear(); }
  PidFile& operator=(PidFile&&) = delete;
  ~PidFile();

 private:
  PidFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::string path_;  ///< absolute; empty once moved from
};

}  // namespace emu::softmmu
