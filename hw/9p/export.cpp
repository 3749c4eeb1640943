// SPDX-License-Identifier: Apache-2.0
#include "hw/9p/export.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "util/endian.h"
#include "util/log.h"
#include "util/string.h"

namespace emu::hw::p9 {
namespace {

constexpr size_t kMostNameBytes = 255, kMostPathBytes = 4095, kMostXattrBytes = 65536;
constexpr int kLookUp = O_PATH | O_NOFOLLOW | O_CLOEXEC;

// How mapped attributes are stored: little-endian numbers, as QEMU's users have them in their folders.
constexpr const char* kUidKey = "user.virtfs.uid";
constexpr const char* kGidKey = "user.virtfs.gid";
constexpr const char* kModeKey = "user.virtfs.mode";
constexpr const char* kDeviceKey = "user.virtfs.rdev";
constexpr std::string_view kHiddenKeys = "user.virtfs.";
constexpr const char* kProbeKey = "user.virtfs.probe";

Errno check(i64 status) { return status < 0 ? errno : 0; }

/// A name for the file that a descriptor without access (O_PATH) stands for.
std::string by_descriptor(const Fd& file) { return fmt::format("/proc/self/fd/{}", file.get()); }
std::string by_descriptor(int file) { return fmt::format("/proc/self/fd/{}", file); }

template <typename T>
std::optional<typename T::value_type> stored(int fd, const char* key) {
  T value;
  if (::getxattr(by_descriptor(fd).c_str(), key, &value, sizeof value) != ssize_t(sizeof value)) return std::nullopt;
  return value.get();
}

template <typename T>
Errno store(const Fd& file, const char* key, typename T::value_type value) {
  const T bytes = value;
  return check(::setxattr(by_descriptor(file).c_str(), key, &bytes, sizeof bytes, 0));
}

Errno write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno;
    bytes.remove_prefix(size_t(done));
  }
  return 0;
}

/// One descriptor for a path below `root`, with every name looked up by itself: for kernels without openat2(2).
Errno open_by_steps(int root, const Path& path, int flags, Fd& file) {
  Fd folder(::openat(root, ".", kLookUp | O_DIRECTORY));
  if (!folder) return errno;
  size_t at = 0;
  for (size_t slash = path.find('/'); slash != Path::npos; at = slash + 1, slash = path.find('/', at)) {
    folder.reset(::openat(folder.get(), path.substr(at, slash - at).c_str(), kLookUp | O_DIRECTORY));
    if (!folder) return errno;
  }
  file.reset(::openat(folder.get(), path.c_str() + at, flags | O_NOFOLLOW | O_CLOEXEC));
  return file ? 0 : errno;
}

/// Below `root`, no link followed; the file itself may be one if `flags` has O_PATH.
Errno open_below(int root, const Path& path, int flags, Fd& file) {
  if (path.empty()) {
    file.reset(::openat(root, ".", flags | O_CLOEXEC));
    return file ? 0 : errno;
  }
  open_how how{};
  how.flags = u64(flags | O_NOFOLLOW | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  file.reset(int(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
  if (file) return 0;
  // EAGAIN: somebody renames on the way. EPERM: a sandbox of a container does not know the call.
  if (errno != ENOSYS && errno != EAGAIN && errno != EPERM) return errno;
  return open_by_steps(root, path, flags, file);
}

}  // namespace

Result<std::unique_ptr<Export>> Export::open(ExportOptions options) {
  Fd root(::open(options.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return error("path={}: {}", options.path, std::strerror(errno));
  struct stat status {};
  if (::fstat(root.get(), &status) < 0) return error("path={}: {}", options.path, std::strerror(errno));
  if (::access(by_descriptor(root).c_str(), F_OK) < 0) {
    return error("path={}: it takes /proc, which is not mounted here", options.path);
  }
  if (options.security == SecurityModel::Mapped && !options.read_only) {
    const std::string file = by_descriptor(root);
    const u8 probe = 1;
    if (::setxattr(file.c_str(), kProbeKey, &probe, 1, 0) == 0) {
      ::removexattr(file.c_str(), kProbeKey);
    } else if (errno == EOPNOTSUPP) {
      return error(Error(fmt::format("path={}: its filesystem keeps no extended attributes of users", options.path))
                       .with_hint("security_model=mapped-xattr takes them: use another folder, or another model"));
    }
  }
  std::unique_ptr<Export> made(new Export(std::move(options), std::move(root)));
  made->root_device_ = status.st_dev;
  return made;
}

// Paths. -------------------------------------------------------------------------------------------------------------

Errno Export::check_name(std::string_view name) {
  if (name.size() > kMostNameBytes) return ENAMETOOLONG;
  if (name.empty() || name == "." || name == "..") return EINVAL;
  return name.find('/') != name.npos || name.find('\0') != name.npos ? EINVAL : 0;
}

Path Export::join(const Path& folder, std::string_view name) {
  return folder.empty() ? Path(name) : fmt::format("{}/{}", folder, name);
}

Path Export::parent_of(const Path& path) {
  const size_t slash = path.rfind('/');
  return slash == Path::npos ? Path() : path.substr(0, slash);
}

bool Export::is_within(std::string_view path, std::string_view top) {
  if (top.empty()) return true;
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/');
}

Errno Export::open_path(const Path& path, Fd& file) const {
  if (path.size() > kMostPathBytes) return ENAMETOOLONG;
  return open_below(root_.get(), path, O_PATH, file);
}

Errno Export::open_folder(const Path& path, Fd& folder) const {
  if (path.size() > kMostPathBytes) return ENAMETOOLONG;
  return open_below(root_.get(), path, O_PATH | O_DIRECTORY, folder);
}

/// The folder that `path` is in, and its name there. The root is in none that we would touch.
Errno Export::open_parent(const Path& path, Fd& folder, std::string& name) const {
  if (path.empty()) return EBUSY;
  const size_t slash = path.rfind('/');
  name = slash == Path::npos ? path : path.substr(slash + 1);
  return open_folder(parent_of(path), folder);
}

// What files are. ----------------------------------------------------------------------------------------------------

/// Puts in what the guest set, where that is kept beside the file.
void Export::map_status(int fd, struct stat& status) const {
  if (!is_mapped() || S_ISLNK(status.st_mode)) return;
  if (const auto uid = stored<Le32>(fd, kUidKey)) status.st_uid = *uid;
  if (const auto gid = stored<Le32>(fd, kGidKey)) status.st_gid = *gid;
  const auto mode = stored<Le32>(fd, kModeKey);
  if (!mode) return;
  // A folder is one whatever the attribute says: somebody may have copied it from elsewhere.
  const bool folder = S_ISDIR(status.st_mode);
  if ((*mode & S_IFMT) == 0 || S_ISDIR(*mode) != folder) {
    status.st_mode = (status.st_mode & S_IFMT) | (*mode & 07777);
    return;
  }
  status.st_mode = *mode & (S_IFMT | 07777);
  if (!S_ISCHR(*mode) && !S_ISBLK(*mode)) return;
  if (const auto device = stored<Le64>(fd, kDeviceKey)) status.st_rdev = *device;
}

Errno Export::stat_open(int fd, struct stat& status) const {
  if (::fstat(fd, &status) < 0) return errno;
  map_status(fd, status);
  return 0;
}

Errno Export::stat(const Path& path, struct stat& status) const {
  Fd file;
  if (const Errno e = open_path(path, file)) return e;
  return stat_open(file.get(), status);
}

Errno Export::stat_fs(const Path& path, struct statfs& status) const {
  Fd file;
  if (const Errno e = open_path(path, file)) return e;
  return check(::fstatfs(file.get(), &status));
}

Errno Export::inode_number(const struct stat& status, u64& number) const {
  number = status.st_ino;
  if (status.st_dev == root_device_) return 0;
  switch (options_.multi_devs) {
    case MultiDevs::Forbid:
      return ENODEV;
    case MultiDevs::Warn:
      if (!warned_.exchange(true)) {
        log::warn("9p: {} holds files of several devices, whose inode numbers may be the same: add multidevs=remap",
                  options_.path);
      }
      return 0;
    case MultiDevs::Remap:
      break;
  }
  // The device's number goes above the inode's, which hardly ever has that many bits; else both are mixed.
  constexpr unsigned kInodeBits = 48;
  const std::lock_guard hold(devices_mutex_);
  const u64 device = devices_.try_emplace(status.st_dev, devices_.size() + 1).first->second;
  if (number >> kInodeBits == 0 && device >> (64 - kInodeBits) == 0) {
    number |= device << kInodeBits;
  } else {
    number = (number ^ device * 0x9e37'79b9'7f4a'7c15) | bit64(63);
  }
  return 0;
}

// Opening. -----------------------------------------------------------------------------------------------------------

Errno Export::open_file(const Path& path, int flags, Fd& file) const {
  Fd found;
  if (const Errno e = open_path(path, found)) return e;
  struct stat status {};
  if (::fstat(found.get(), &status) < 0) return errno;
  if (S_ISLNK(status.st_mode)) return ELOOP;
  // What else there is has a driver behind it that may wait, or do something when it is opened.
  if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return ENXIO;
  const int kept = flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW);
  file.reset(::open(by_descriptor(found).c_str(), kept | O_CLOEXEC | O_NONBLOCK));
  return file ? 0 : errno;
}

Errno Export::create_file(const Path& folder, const std::string& name, int flags, const Owner& owner, Fd& file) const {
  Fd parent;
  if (const Errno e = open_folder(folder, parent)) return e;
  const mode_t mode = is_mapped() ? options_.file_mode : owner.mode & 0777;
  const int fresh = flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  file.reset(::openat(parent.get(), name.c_str(), fresh, mode));
  if (file) return settle(parent, name, S_IFREG, owner, 0);
  if (errno != EEXIST || (flags & O_EXCL)) return errno;
  return open_file(join(folder, name), flags, file);
}

Errno Export::make_dir(const Path& folder, const std::string& name, const Owner& owner) const {
  Fd parent;
  if (const Errno e = open_folder(folder, parent)) return e;
  const mode_t mode = is_mapped() ? options_.dir_mode : owner.mode & 0777;
  if (::mkdirat(parent.get(), name.c_str(), mode) < 0) return errno;
  return settle(parent, name, S_IFDIR, owner, 0);
}

Errno Export::make_node(const Path& folder, const std::string& name, const Owner& owner, dev_t device) const {
  const u32 kind = owner.mode & S_IFMT;
  if (kind != S_IFREG && kind != S_IFIFO && kind != S_IFSOCK && kind != S_IFCHR && kind != S_IFBLK) return EINVAL;
  Fd parent;
  if (const Errno e = open_folder(folder, parent)) return e;
  if (is_mapped()) {
    if (::mknodat(parent.get(), name.c_str(), S_IFREG | options_.file_mode, 0) < 0) return errno;
  } else if (::mknodat(parent.get(), name.c_str(), kind | (owner.mode & 0777), device) < 0) {
    return errno;
  }
  return settle(parent, name, kind, owner, device);
}

Errno Export::make_symlink(const Path& folder, const std::string& name, const std::string& target,
                           const Owner& owner) const {
  if (target.empty() || target.find('\0') != target.npos) return EINVAL;
  if (target.size() > kMostPathBytes) return ENAMETOOLONG;
  Fd parent;
  if (const Errno e = open_folder(folder, parent)) return e;
  if (!is_mapped()) {
    if (::symlinkat(target.c_str(), parent.get(), name.c_str()) < 0) return errno;
    return settle(parent, name, S_IFLNK, owner, 0);
  }
  const Fd file(::openat(parent.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         options_.file_mode));
  if (!file) return errno;
  if (const Errno e = write_all(file.get(), target)) {
    ::unlinkat(parent.get(), name.c_str(), 0);
    return e;
  }
  return settle(parent, name, S_IFLNK, {.mode = 0777, .uid = owner.uid, .gid = owner.gid}, 0);
}

Errno Export::settle(const Fd& folder, const std::string& name, u32 kind, const Owner& owner, u64 device) const {
  const Fd made(::openat(folder.get(), name.c_str(), kLookUp));
  Errno failure = made ? give_owner(made, kind, owner, device) : errno;
  if (failure != 0) ::unlinkat(folder.get(), name.c_str(), kind == S_IFDIR ? AT_REMOVEDIR : 0);
  return failure;
}

Errno Export::give_owner(const Fd& made, u32 kind, const Owner& owner, u64 device) const {
  const u32 mode = owner.mode & 07777;
  if (is_mapped()) {
    if (const Errno e = store<Le32>(made, kModeKey, kind | mode)) return e;
    if (const Errno e = store<Le32>(made, kUidKey, owner.uid)) return e;
    if (const Errno e = store<Le32>(made, kGidKey, owner.gid)) return e;
    return kind == S_IFCHR || kind == S_IFBLK ? store<Le64>(made, kDeviceKey, device) : 0;
  }
  const bool may_fail = options_.security == SecurityModel::None;
  if (::fchownat(made.get(), "", owner.uid, owner.gid, AT_EMPTY_PATH) < 0 && !may_fail) return errno;
  if (kind == S_IFLNK) return 0;
  // Also against the umask, and after the owner, whose change takes the set-user-id bit away.
  if (::chmod(by_descriptor(made).c_str(), mode) < 0 && !may_fail) return errno;
  return 0;
}

Errno Export::read_link(const Path& path, std::string& target) const {
  Fd file;
  if (const Errno e = open_path(path, file)) return e;
  struct stat status {};
  if (::fstat(file.get(), &status) < 0) return errno;
  target.resize(kMostPathBytes + 1);
  ssize_t size = 0;
  if (S_ISLNK(status.st_mode)) {
    size = ::readlinkat(file.get(), "", target.data(), target.size());
  } else {
    const bool regular = S_ISREG(status.st_mode);
    map_status(file.get(), status);
    if (!regular || !S_ISLNK(status.st_mode)) return EINVAL;
    const Fd open_file(::open(by_descriptor(file).c_str(), O_RDONLY | O_CLOEXEC));
    if (!open_file) return errno;
    size = ::pread(open_file.get(), target.data(), target.size(), 0);
  }
  if (size < 0) return errno;
  target.resize(size_t(size));
  return target.size() > kMostPathBytes ? ENAMETOOLONG : 0;
}

// Names. -------------------------------------------------------------------------------------------------------------

Errno Export::link(const Path& existing, const Path& folder, const std::string& name) const {
  Fd from, to;
  std::string old_name;
  if (const Errno e = open_parent(existing, from, old_name)) return e;
  if (const Errno e = open_folder(folder, to)) return e;
  return check(::linkat(from.get(), old_name.c_str(), to.get(), name.c_str(), 0));
}

Errno Export::rename(const Path& from, const Path& to) const {
  Fd old_folder, new_folder;
  std::string old_name, new_name;
  if (const Errno e = open_parent(from, old_folder, old_name)) return e;
  if (const Errno e = open_parent(to, new_folder, new_name)) return e;
  return check(::renameat(old_folder.get(), old_name.c_str(), new_folder.get(), new_name.c_str()));
}

Errno Export::remove(const Path& path, std::optional<bool> is_folder) const {
  Fd folder;
  std::string name;
  if (const Errno e = open_parent(path, folder, name)) return e;
  if (!is_folder.value_or(false)) {
    if (::unlinkat(folder.get(), name.c_str(), 0) == 0) return 0;
    if (is_folder || errno != EISDIR) return errno;
  }
  return check(::unlinkat(folder.get(), name.c_str(), AT_REMOVEDIR));
}

// Attributes. --------------------------------------------------------------------------------------------------------

Errno Export::set_mode(const Path& path, u32 mode) const {
  Fd file;
  struct stat status {};
  if (const Errno e = open_path(path, file)) return e;
  if (const Errno e = stat_open(file.get(), status)) return e;
  if (is_mapped() && !S_ISLNK(status.st_mode)) {
    return store<Le32>(file, kModeKey, (status.st_mode & S_IFMT) | (mode & 07777));
  }
  if (S_ISLNK(status.st_mode)) return EOPNOTSUPP;
  return check(::chmod(by_descriptor(file).c_str(), mode & 07777));
}

Errno Export::set_owner(const Path& path, std::optional<u32> uid, std::optional<u32> gid) const {
  Fd file;
  if (const Errno e = open_path(path, file)) return e;
  if (is_mapped()) {
    if (uid) {
      if (const Errno e = store<Le32>(file, kUidKey, *uid)) return e;
    }
    return gid ? store<Le32>(file, kGidKey, *gid) : 0;
  }
  const Errno e = check(::fchownat(file.get(), "", uid.value_or(~0u), gid.value_or(~0u), AT_EMPTY_PATH));
  return options_.security == SecurityModel::None && e == EPERM ? 0 : e;
}

Errno Export::set_size(const Path& path, int file, u64 size) const {
  if (size > u64(INT64_MAX)) return EFBIG;
  if (file >= 0 && ::ftruncate(file, off_t(size)) == 0) return 0;
  Fd writable;  // what was open may have been so for reading only
  if (const Errno e = open_file(path, O_WRONLY, writable)) return e;
  return check(::ftruncate(writable.get(), off_t(size)));
}

Errno Export::set_times(const Path& path, const timespec (&times)[2]) const {
  if (path.empty()) return check(::utimensat(AT_FDCWD, by_descriptor(root_).c_str(), times, 0));
  Fd folder;
  std::string name;
  if (const Errno e = open_parent(path, folder, name)) return e;
  return check(::utimensat(folder.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW));
}

// Extended attributes. -----------------------------------------------------------------------------------------------

bool Export::shows_xattr(std::string_view name) const {
  if (name.starts_with(kHiddenKeys)) return false;
  // The host would take the others for its own: the access control list of a file that is not even the guest's.
  return !is_mapped() || name.starts_with("user.");
}

Errno Export::open_for_xattr(const Path& path, std::string_view name, Fd& file) const {
  if (name.empty() || name.find('\0') != name.npos) return EINVAL;
  if (name.size() > kMostNameBytes) return ERANGE;
  if (!shows_xattr(name)) return EOPNOTSUPP;
  return open_for_xattrs(path, file);
}

Errno Export::open_for_xattrs(const Path& path, Fd& file) const {
  if (const Errno e = open_path(path, file)) return e;
  struct stat status {};
  if (::fstat(file.get(), &status) < 0) return errno;
  return S_ISLNK(status.st_mode) ? EOPNOTSUPP : 0;
}

Errno Export::get_xattr(const Path& path, const std::string& name, std::vector<u8>& value) const {
  Fd file;
  if (const Errno e = open_for_xattr(path, name, file)) return e;
  value.resize(kMostXattrBytes);
  const ssize_t size = ::getxattr(by_descriptor(file).c_str(), name.c_str(), value.data(), value.size());
  if (size < 0) return errno;
  value.resize(size_t(size));
  return 0;
}

Errno Export::list_xattrs(const Path& path, std::vector<u8>& names) const {
  Fd file;
  if (const Errno e = open_for_xattrs(path, file)) return e;
  std::string all(kMostXattrBytes, '\0');
  const ssize_t size = ::listxattr(by_descriptor(file).c_str(), all.data(), all.size());
  if (size < 0) return errno;
  names.clear();
  for (const std::string_view name : split(std::string_view(all).substr(0, size_t(size)), '\0')) {
    if (name.empty() || !shows_xattr(name)) continue;
    names.insert(names.end(), name.begin(), name.end());
    names.push_back(0);
  }
  return 0;
}

Errno Export::set_xattr(const Path& path, const std::string& name, std::span<const u8> value, int flags) const {
  Fd file;
  if (const Errno e = open_for_xattr(path, name, file)) return e;
  return check(::setxattr(by_descriptor(file).c_str(), name.c_str(), value.data(), value.size(), flags));
}

Errno Export::remove_xattr(const Path& path, const std::string& name) const {
  Fd file;
  if (const Errno e = open_for_xattr(path, name, file)) return e;
  return check(::removexattr(by_descriptor(file).c_str(), name.c_str()));
}

}  // namespace emu::hw::p9
