// SPDX-License-Identifier: Apache-2.0
// Open files: their bytes, entries and attributes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hw/9p/server.h"
#include "hw/9p/server_fids.h"

namespace emu::hw::p9 {
namespace {

/// Of Rread and Rreaddir, before the data.
constexpr u32 kDataAt = kHeaderBytes + 4;
constexpr u64 kMostXattr = 65536;

// Tgetattr: all that stat(2) tells.
constexpr u64 kAttrBasic = 0x7ff;
// Tsetattr
constexpr u32 kSetMode = 0x1, kSetUid = 0x2, kSetGid = 0x4, kSetSize = 0x8, kSetAccessed = 0x10, kSetModified = 0x20,
              kSetChanged = 0x40, kAccessedGiven = 0x80, kModifiedGiven = 0x100;
// Tlock, Tgetlock
constexpr u8 kLockGranted = 0, kUnlocked = 2;

/// As the kernel lays it out for getdents64(2).
struct DirEntry {
  u64 inode;
  i64 next;
  u16 bytes;
  u8 type;
  char name[];
};
constexpr size_t kEntryNameAt = 19;

}  // namespace

// Opening and moving data. -------------------------------------------------------------------------------------------

Errno Server::lopen(Reader& in, Writer& out) {
  const u32 number = in.get32(), flags = in.get32();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const int host_flags = host_open_flags(flags) & ~O_EXCL;
  if (is_read_only() && ((host_flags & O_ACCMODE) != O_RDONLY || (host_flags & O_TRUNC))) return EROFS;
  const std::shared_lock hold_names(names_);
  const std::lock_guard hold(fid->mutex);
  return open_as(*fid, out, [&](Fd& file) { return folder_->open_file(fid->path(), host_flags, file); });
}

/// Both ways to open, Tlopen and Tlcreate; the fid's lock is held.
Errno Server::open_as(Fid& fid, Writer& out, const std::function<Errno(Fd& file)>& how) {
  if (fid.kind != Fid::Kind::Name) return EINVAL;
  if (!fid.share.take(open_files_, 1, limits_.open_files)) return ENFILE;
  Fd file;
  struct stat status {};
  Qid qid;
  Errno failure = how(file);
  if (failure == 0) failure = folder_->stat_open(file.get(), status);
  if (failure == 0) failure = qid_of(status, qid);
  if (failure != 0) {
    fid.share.give_back();
    return failure;
  }
  fid.file = std::move(file);
  fid.kind = S_ISDIR(status.st_mode) ? Fid::Kind::Folder : Fid::Kind::File;
  out.put(qid);
  out.put32(0);  // no preferred size
  return 0;
}

Errno Server::read(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const u64 offset = in.get64();
  const u32 wanted = std::min(in.get32(), message_bytes() - kDataAt);
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  out.put32(0);
  u32 done = 0;
  switch (fid->what()) {
    case Fid::Kind::XattrRead: {
      const u64 first = std::min<u64>(offset, fid->xattr.size());  // whole and final since the fid was made
      done = u32(std::min<u64>(wanted, fid->xattr.size() - first));
      std::copy_n(fid->xattr.begin() + i64(first), done, out.room(done).begin());
      break;
    }
    case Fid::Kind::File: {
      if (offset > u64(INT64_MAX)) return EINVAL;
      const std::span<u8> room = out.room(wanted);
      while (done < wanted) {
        const ssize_t got = ::pread(fid->file.get(), room.data() + done, wanted - done, off_t(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && done == 0) return errno;
        if (got <= 0) break;
        done += u32(got);
      }
      out.shrink(wanted - done);
      break;
    }
    case Fid::Kind::Folder: return EISDIR;
    default: return EBADF;
  }
  out.set32(kHeaderBytes, done);
  return 0;
}

Errno Server::write(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const u64 offset = in.get64();
  const u32 count = in.get32();
  const std::span<const u8> bytes = in.raw(count);
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const Fid::Kind kind = fid->what();
  if (kind == Fid::Kind::XattrWrite) {
    const std::lock_guard hold(fid->mutex);
    if (offset > fid->xattr.size() || count > fid->xattr.size() - offset) return ENOSPC;
    std::copy(bytes.begin(), bytes.end(), fid->xattr.begin() + i64(offset));
    fid->xattr_done = std::max(fid->xattr_done, offset + count);
    out.put32(count);
    return 0;
  }
  if (kind != Fid::Kind::File) return EBADF;
  if (offset > u64(INT64_MAX)) return EFBIG;
  const int file = fid->file.get();
  u32 done = 0;
  while (done < count) {
    const ssize_t put = ::pwrite(file, bytes.data() + done, count - done, off_t(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && done == 0) return errno;
    if (put <= 0) break;
    done += u32(put);
  }
  if (folder_->options().write_out) ::sync_file_range(file, off_t(offset), done, SYNC_FILE_RANGE_WRITE);
  out.put32(done);
  return 0;
}

Errno Server::fsync(Reader& in) {
  const u32 number = in.get32(), data_only = in.get32();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const int file = fid->open_fd();
  if (file < 0) return EINVAL;
  return (data_only != 0 ? ::fdatasync(file) : ::fsync(file)) < 0 ? errno : 0;
}

Errno Server::readdir(Reader& in, Writer& out) {
  constexpr u32 kLeast = 4096, kMost = 64 << 10, kEntryBytes = 13 + 8 + 1 + 2;
  const u32 number = in.get32();
  const u64 offset = in.get64();
  const u32 wanted = std::min(in.get32(), message_bytes() - kDataAt);
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::lock_guard hold(fid->mutex);
  if (fid->kind != Fid::Kind::Folder) return fid->kind == Fid::Kind::File ? ENOTDIR : EBADF;
  struct stat folder {};
  if (::fstat(fid->file.get(), &folder) < 0) return errno;
  if (::lseek(fid->file.get(), off_t(offset), SEEK_SET) < 0) return errno;
  std::vector<u8> entries(std::clamp(wanted, kLeast, kMost));
  const i64 bytes = ::syscall(SYS_getdents64, fid->file.get(), entries.data(), entries.size());
  if (bytes < 0) return errno;
  out.put32(0);
  for (i64 at = 0; at < bytes;) {
    DirEntry entry;
    std::memcpy(&entry, entries.data() + at, kEntryNameAt);
    const char* name = reinterpret_cast<const char*>(entries.data()) + at + kEntryNameAt;
    const size_t length = std::strlen(name);
    if (out.size() - kDataAt + kEntryBytes + length > wanted) {
      if (at == 0) return EINVAL;  // not even one: an empty reply would be the end
      break;
    }
    at += entry.bytes;
    Qid qid;
    struct stat status {};
    status.st_dev = folder.st_dev;
    status.st_ino = entry.inode;
    if (folder_->inode_number(status, qid.path) != 0) continue;
    if (entry.type == DT_DIR) qid.type = Qid::kDir;
    if (entry.type == DT_LNK) qid.type = Qid::kSymlink;
    out.put(qid);
    out.put64(u64(entry.next));
    // What a mapped file is for the guest, only its attributes tell.
    out.put8(folder_->is_mapped() && entry.type == DT_REG ? u8(DT_UNKNOWN) : entry.type);
    out.put({name, length});
  }
  out.set32(kHeaderBytes, u32(out.size() - kDataAt));
  return 0;
}

// Attributes. --------------------------------------------------------------------------------------------------------

Errno Server::getattr(Reader& in, Writer& out) {
  const u32 number = in.get32();
  in.get64();  // which are wanted: stat(2) brings all
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  struct stat s {};
  const std::shared_lock hold(names_);
  const int file = fid->open_fd();  // what is open may have no name any more
  if (const Errno e = file >= 0 ? folder_->stat_open(file, s) : folder_->stat(fid->path(), s)) return e;
  Qid qid;
  if (const Errno e = qid_of(s, qid)) return e;
  out.put64(kAttrBasic);
  out.put(qid);
  for (const u32 value : {s.st_mode, s.st_uid, s.st_gid}) out.put32(value);
  for (const u64 value : {u64(s.st_nlink), u64(s.st_rdev), u64(s.st_size), u64(s.st_blksize), u64(s.st_blocks)}) {
    out.put64(value);
  }
  for (const timespec& time : {s.st_atim, s.st_mtim, s.st_ctim, timespec{}}) {  // the last: of birth
    out.put64(u64(time.tv_sec));
    out.put64(u64(time.tv_nsec));
  }
  out.put64(0);  // generation
  out.put64(0);  // version of the data
  return 0;
}

Errno Server::setattr(Reader& in) {
  const u32 number = in.get32(), valid = in.get32(), mode = in.get32(), uid = in.get32(), gid = in.get32();
  const u64 size = in.get64();
  timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  const auto time = [&](u32 set, u32 given) -> timespec {
    const u64 seconds = in.get64(), nanoseconds = in.get64();
    if (!(valid & set)) return {0, UTIME_OMIT};
    return valid & given ? timespec{i64(seconds), i64(nanoseconds)} : timespec{0, UTIME_NOW};
  };
  times[0] = time(kSetAccessed, kAccessedGiven);
  times[1] = time(kSetModified, kModifiedGiven);
  if (!in.is_good()) return EPROTO;
  constexpr i64 kSecond = 1'000'000'000;
  for (const timespec& one : times) {
    const bool special = one.tv_nsec == UTIME_OMIT || one.tv_nsec == UTIME_NOW;
    if (!special && (one.tv_nsec < 0 || one.tv_nsec >= kSecond)) return EINVAL;
  }
  if (is_read_only()) return EROFS;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::shared_lock hold(names_);
  // A new size changes the time, and a new owner takes set-user-id away: in this order the guest gets what it says.
  if (valid & kSetSize) {
    if (const Errno e = folder_->set_size(fid->path(), fid->open_fd(), size)) return e;
  }
  if (valid & (kSetUid | kSetGid)) {
    const auto if_valid = [&](u32 bit, u32 value) { return valid & bit ? std::optional(value) : std::nullopt; };
    if (const Errno e = folder_->set_owner(fid->path(), if_valid(kSetUid, uid), if_valid(kSetGid, gid))) return e;
  }
  if (valid & kSetMode) {
    if (const Errno e = folder_->set_mode(fid->path(), mode)) return e;
  }
  static_cast<void>(kSetChanged);  // the host's, with any of the others
  return valid & (kSetAccessed | kSetModified) ? folder_->set_times(fid->path(), times) : 0;
}

Errno Server::statfs(Reader& in, Writer& out) {
  const u32 number = in.get32();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  struct statfs s {};
  const std::shared_lock hold(names_);
  if (const Errno e = folder_->stat_fs(fid->path(), s)) return e;
  u64 id = 0;
  static_assert(sizeof s.f_fsid == sizeof id);
  std::memcpy(&id, &s.f_fsid, sizeof id);
  out.put32(u32(s.f_type));
  out.put32(u32(s.f_bsize));
  for (const u64 value : {u64(s.f_blocks), u64(s.f_bfree), u64(s.f_bavail), u64(s.f_files), u64(s.f_ffree), id}) {
    out.put64(value);
  }
  out.put32(u32(s.f_namelen));
  return 0;
}

// Extended attributes are read and written like files. ---------------------------------------------------------------

Errno Server::xattrwalk(Reader& in, Writer& out) {
  const u32 number = in.get32(), new_number = in.get32();
  const std::string name = in.string();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::shared_lock hold(names_);
  auto made = std::make_shared<Fid>(fid->path(), fid->uid);
  Errno failure = name.empty() ? folder_->list_xattrs(fid->path(), made->xattr)
                               : folder_->get_xattr(fid->path(), name, made->xattr);
  if (failure != 0) return failure;
  made->xattr.shrink_to_fit();
  if (!made->share.take(xattr_bytes_, made->xattr.size(), limits_.xattr_bytes)) return ENOSPC;
  made->kind = Fid::Kind::XattrRead;
  const u64 size = made->xattr.size();
  if (const Errno e = insert(new_number, std::move(made))) return e;
  out.put64(size);
  return 0;
}

Errno Server::xattrcreate(Reader& in) {
  const u32 number = in.get32();
  const std::string name = in.string();
  const u64 size = in.get64();
  const u32 flags = in.get32();
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (size > kMostXattr) return E2BIG;
  if (flags > 2) return EINVAL;  // none, XATTR_CREATE, XATTR_REPLACE
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::lock_guard hold(fid->mutex);
  if (fid->kind != Fid::Kind::Name) return EINVAL;
  if (!fid->share.take(xattr_bytes_, size, limits_.xattr_bytes)) return ENOSPC;
  fid->kind = Fid::Kind::XattrWrite;
  fid->xattr_name = name;
  fid->xattr.resize(size);
  fid->xattr_flags = flags;
  return 0;
}

/// At the fid's end. A length of zero is how clients remove one.
Errno Server::commit_xattr(Fid& fid) {
  const std::shared_lock hold_names(names_);
  const std::lock_guard hold(fid.mutex);
  if (fid.xattr_done != fid.xattr.size()) return EINVAL;
  if (fid.xattr.empty()) return folder_->remove_xattr(fid.path(), fid.xattr_name);
  return folder_->set_xattr(fid.path(), fid.xattr_name, fid.xattr, int(fid.xattr_flags));
}

// Locks. -------------------------------------------------------------------------------------------------------------

Errno Server::lock(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const u8 type = in.get8();
  in.get32();  // whether to wait
  in.get64();
  in.get64();
  in.get32();
  in.string();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  if (type > kUnlocked || fid->open_fd() < 0) return EINVAL;
  out.put8(kLockGranted);
  return 0;
}

Errno Server::getlock(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const u8 type = in.get8();
  const u64 start = in.get64(), length = in.get64();
  const u32 process = in.get32();
  const std::string client = in.string();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  if (type > kUnlocked || fid->open_fd() < 0) return EINVAL;
  out.put8(kUnlocked);  // nobody else is in the way
  out.put64(start);
  out.put64(length);
  out.put32(process);
  out.put(client);
  return 0;
}

}  // namespace emu::hw::p9
