// SPDX-License-Identifier: Apache-2.0
// A folder of the host as Samba serves it: smbd with a configuration of its own, for one user network (smb=FOLDER).
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::net {

/// The path by which smbd can serve that folder. Errors: it is not there, may not be read, or cannot be written down in
/// smb.conf.
Result<std::string> path_to_share(const std::string& folder);

/// smbd in PATH, or at one of these places, which only root's PATH has.
Result<std::string> find_smbd(const std::vector<std::string>& otherwise = {"/usr/sbin/smbd", "/usr/local/sbin/smbd"});

/// The private folder with smbd's configuration and state; gone with this object. smbd is a program of its own per
/// connection, and ends with it; it must lead a session, for it ends its process group, too (libslirp sees to that).
class SmbServer {
 public:
  /// The share's name.
  static constexpr const char* kShare = "qemu";
  /// Over NetBIOS, and directly.
  static constexpr std::array<u16, 2> kPorts = {139, 445};

  /// Errors: smbd is not installed.
  static Result<void> check_program();
  /// `path` is from path_to_share(). Errors: smbd is not installed; no folder can be made where temporary files go.
  static Result<std::unique_ptr<SmbServer>> create(const std::string& path);
  ~SmbServer();
  SmbServer(const SmbServer&) = delete;
  SmbServer& operator=(const SmbServer&) = delete;

  /// What serves the connection that is its standard input, quoted as for a shell.
  const std::string& command() const { return command_; }

 private:
  SmbServer() = default;
  Result<void> configure(const std::string& shared_path) const;
  void end_helper() const;

  std::string state_folder_, command_;
};

}  // namespace emu::net
