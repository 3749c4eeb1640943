// SPDX-License-Identifier: Apache-2.0
// smbd(8), smb.conf(5).
#include "net/smb_server.h"

#include <glib.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "util/file.h"
#include "util/log.h"
#include "util/string.h"

namespace emu::net {
namespace {

/// A path as smbd needs it, which goes to a folder of its own.
std::string absolute(const std::string& path) { return std::filesystem::absolute(path).lexically_normal().string(); }

/// smb.conf has no quoting: '%' starts a variable, a line ends at its end or goes on after '\', and spaces around a
/// value fall away.
Result<void> check_writable_down(const std::string& path) {
  const bool has_control = std::any_of(path.begin(), path.end(), [](char c) { return u8(c) < 0x20 || c == 0x7f; });
  const bool is_plain = !has_control && path.find('%') == std::string::npos && !path.ends_with('\\') &&
                        !path.ends_with(' ') && path.find('"') == std::string::npos;
  if (is_plain) return {};
  return error(
      Error(fmt::format("smbd cannot be told a path like '{}'", path))
          .with_hint("give a symbolic link whose path has no '%', '\"' or control character, nor ends in ' ' or '\\'"));
}

/// Who the guest's users are on this host: whoever runs this program.
Result<std::string> user_name() {
  const passwd* const user = ::getpwuid(::geteuid());
  if (user == nullptr) return error("user {} of this host has no name, which smbd needs", ::geteuid());
  return std::string(user->pw_name);
}

std::string shell_word(const std::string& word) {
  char* const text = g_shell_quote(word.c_str());
  std::string copy = text;
  g_free(text);
  return copy;
}

}  // namespace

Result<std::string> find_smbd(const std::vector<std::string>& otherwise) {
  if (char* const found = g_find_program_in_path("smbd")) {
    std::string path = absolute(found);
    g_free(found);
    return path;
  }
  for (const std::string& path : otherwise) {
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return error(Error("there is no program 'smbd', which serves the folder").with_hint("apt-get install samba"));
}

Result<std::string> path_to_share(const std::string& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) < 0) return error("folder '{}': {}", folder, std::strerror(errno));
  if (!S_ISDIR(status.st_mode)) return error("'{}' is not a folder", folder);
  if (::access(folder.c_str(), R_OK | X_OK) < 0) return error("folder '{}': {}", folder, std::strerror(errno));
  std::string path = absolute(folder);
  EMU_TRY(check_writable_down(path));
  return path;
}

Result<void> SmbServer::check_program() {
  EMU_TRY(find_smbd());
  EMU_TRY(user_name());
  return {};
}

Result<std::unique_ptr<SmbServer>> SmbServer::create(const std::string& path) {
  const std::string smbd = EMU_TRY(find_smbd());
  std::unique_ptr<SmbServer> server(new SmbServer);
  std::string made = absolute(std::string(g_get_tmp_dir()) + "/system-emu-smb.XXXXXX");
  if (::mkdtemp(made.data()) == nullptr) return error("cannot make a folder '{}': {}", made, std::strerror(errno));
  server->state_folder_ = made;
  EMU_TRY(check_writable_down(made));
  EMU_TRY(server->configure(path));
  server->command_ = fmt::format("{} -l {} -s {}", shell_word(smbd), shell_word(made), shell_word(made + "/smb.conf"));
  return server;
}

Result<void> SmbServer::configure(const std::string& shared_path) const {
  const std::string user = EMU_TRY(user_name());
  const std::string path = state_folder_ + "/smb.conf";
  std::ofstream file(path);
  file << "[global]\n";
  // All that smbd keeps, which else lies in folders of root's.
  for (const char* what :
       {"private dir", "pid directory", "lock directory", "state directory", "cache directory", "ncalrpc dir"}) {
    file << what << " = " << state_folder_ << "\n";
  }
  file << "log file = " << state_folder_ << "/log.smbd\n";
  file << "smb passwd file = " << state_folder_ << "/smbpasswd\n";
  // Any name and password is the guest account, which the share then makes to whom it belongs.
  file << "security = user\nmap to guest = Bad User\n";
  file << "load printers = no\nprinting = bsd\ndisable spoolss = yes\n";
  file << "usershare max shares = 0\n";
  // Else smbd asks the kernel for quotas, and -sandbox ends a program for that.
  file << "get quota command = /bin/false\n";
  file << "[" << kShare << "]\n";
  file << "path = " << shared_path << "\n";
  file << "read only = no\nguest ok = yes\n";
  file << "force user = " << user << "\n";
  file.close();
  if (!file) return error("cannot write '{}': {}", path, std::strerror(errno));
  return {};
}

/// Answers what shares there are, for all connections; smbd starts it when it is first asked, and lets it run.
void SmbServer::end_helper() const {
  constexpr std::size_t kMostBytes = 4096;
  const std::string text = read_file(state_folder_ + "/samba-dcerpcd.pid", kMostBytes).value_or("");
  const auto pid = parse_u64(std::string_view(text).substr(0, text.find('\n')));
  if (!pid || *pid <= 1 || *pid > INT_MAX) return;
  const std::string line = read_file(fmt::format("/proc/{}/cmdline", *pid), kMostBytes).value_or("");
  // The number may be somebody else's by now.
  if (line.find(state_folder_) != std::string::npos) ::kill(pid_t(*pid), SIGTERM);
}

SmbServer::~SmbServer() {
  if (state_folder_.empty()) return;
  end_helper();
  std::error_code failure;
  constexpr unsigned kMostTries = 20;  // who has just been told to end may still put something there
  for (unsigned tries = 0; tries < kMostTries; ++tries) {
    std::filesystem::remove_all(state_folder_, failure);
    if (!failure) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  log::warn("smb: folder '{}' stays: {}", state_folder_, failure.message());
}

}  // namespace emu::net
