// SPDX-License-Identifier: Apache-2.0
// A folder of the host that a guest may use: files by their path below it, never outside it.
#pragma once

#include <sys/stat.h>
#include <sys/statfs.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "util/fd.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::hw::p9 {

/// Whose the guest's files are on the host.
enum class SecurityModel : u8 {
  None,         ///< as the guest says, where the host lets us
  Passthrough,  ///< as the guest says, or the request fails
  Mapped,       ///< ours; owner, mode and kind as the guest sees them are in extended attributes user.virtfs.*
};

/// What to do about files on other devices, whose inode numbers may be taken already.
enum class MultiDevs : u8 { Warn, Remap, Forbid };

struct ExportOptions {
  std::string path;
  SecurityModel security = SecurityModel::None;
  bool read_only = false;
  bool write_out = false;  ///< what is written goes to the disk at once
  MultiDevs multi_devs = MultiDevs::Warn;
  mode_t file_mode = 0600, dir_mode = 0700;  ///< Mapped: of files on the host
};

/// What a guest sets when it makes a file.
struct Owner {
  u32 mode = 0;  ///< permission bits
  u32 uid = 0, gid = 0;
};

/// A path below the root: names with '/' between them; empty for the root itself. Names were checked by check_name().
using Path = std::string;

/// 0, or the errno of Linux for the guest.
using Errno = int;

/// Any thread. Every path is walked from the root's descriptor, name by name, and no symbolic link is followed, so
/// that nothing outside can be reached whatever guest and host do meanwhile.
class Export {
 public:
  /// Errors: the folder is not there, or cannot carry what `options` want.
  static Result<std::unique_ptr<Export>> open(ExportOptions options);

  const ExportOptions& options() const { return options_; }

  /// A name that may be looked up: not empty, no '/', no NUL, not "." or "..".
  static Errno check_name(std::string_view name);
  static Path join(const Path& folder, std::string_view name);
  static Path parent_of(const Path& path);
  /// Whether `path` is `top`, or below it.
  static bool is_within(std::string_view path, std::string_view top);

  Errno stat(const Path& path, struct stat& status) const;
  Errno stat_open(int fd, struct stat& status) const;
  Errno stat_fs(const Path& path, struct statfs& status) const;
  /// What identifies a file for the guest.
  Errno inode_number(const struct stat& status, u64& number) const;

  /// `flags` are the host's; files that are neither regular nor folders are refused.
  Errno open_file(const Path& path, int flags, Fd& file) const;
  Errno create_file(const Path& folder, const std::string& name, int flags, const Owner& owner, Fd& file) const;
  Errno make_dir(const Path& folder, const std::string& name, const Owner& owner) const;
  Errno make_node(const Path& folder, const std::string& name, const Owner& owner, dev_t device) const;
  Errno make_symlink(const Path& folder, const std::string& name, const std::string& target, const Owner& owner) const;
  Errno read_link(const Path& path, std::string& target) const;
  Errno link(const Path& existing, const Path& folder, const std::string& name) const;
  Errno rename(const Path& from, const Path& to) const;
  /// `is_folder` empty: whatever it is.
  Errno remove(const Path& path, std::optional<bool> is_folder) const;

  // Attributes.
  Errno set_mode(const Path& path, u32 mode) const;
  Errno set_owner(const Path& path, std::optional<u32> uid, std::optional<u32> gid) const;
  /// `file`: the open file if there is one, else -1.
  Errno set_size(const Path& path, int file, u64 size) const;
  Errno set_times(const Path& path, const timespec (&times)[2]) const;

  // Extended attributes.
  Errno get_xattr(const Path& path, const std::string& name, std::vector<u8>& value) const;
  Errno list_xattrs(const Path& path, std::vector<u8>& names) const;
  Errno set_xattr(const Path& path, const std::string& name, std::span<const u8> value, int flags) const;
  Errno remove_xattr(const Path& path, const std::string& name) const;

  bool is_mapped() const { return options_.security == SecurityModel::Mapped; }

 private:
  Export(ExportOptions options, Fd root) : options_(std::move(options)), root_(std::move(root)) {}

  /// O_PATH descriptors.
  Errno open_folder(const Path& path, Fd& folder) const;
  Errno open_path(const Path& path, Fd& file) const;
  Errno open_parent(const Path& path, Fd& folder, std::string& name) const;
  /// Gives what was just made its owner; takes it away again when that fails.
  Errno settle(const Fd& folder, const std::string& name, u32 kind, const Owner& owner, u64 device) const;
  Errno give_owner(const Fd& made, u32 kind, const Owner& owner, u64 device) const;
  void map_status(int fd, struct stat& status) const;
  bool shows_xattr(std::string_view name) const;
  Errno open_for_xattr(const Path& path, std::string_view name, Fd& file) const;
  Errno open_for_xattrs(const Path& path, Fd& file) const;

  const ExportOptions options_;
  const Fd root_;
  dev_t root_device_ = 0;
  mutable std::atomic<bool> warned_{false};
  mutable std::mutex devices_mutex_;
  mutable std::map<dev_t, u64> devices_;  ///< Remap: numbers of devices seen
};

}  // namespace emu::hw::p9
