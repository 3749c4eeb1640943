// SPDX-License-Identifier: Apache-2.0
#include "hw/9p/server.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "hw/9p/server_fids.h"
#include "util/trace.h"

namespace emu::hw::p9 {
namespace {

constexpr const char* kVersion = "9P2000.L";
constexpr u32 kRemoveFolder = 0x200;  // AT_REMOVEDIR
constexpr u8 kReplyError = 7;

std::vector<u8> error_reply(u16 tag, Errno why) {
  Writer out(kReplyError, tag);
  out.put32(u32(why));
  return out.finish();
}

}  // namespace

int host_open_flags(u32 flags) {
  constexpr u32 kAccess = 3, kExclusive = 0200, kTruncate = 01000, kAppend = 02000, kDataSync = 010000,
                kFolder = 0200000, kSync = 04000000;
  int host = (flags & kAccess) == 1 ? O_WRONLY : (flags & kAccess) == 0 ? O_RDONLY : O_RDWR;
  if (flags & kExclusive) host |= O_EXCL;
  if (flags & kTruncate) host |= O_TRUNC;
  if (flags & kAppend) host |= O_APPEND;
  if (flags & kDataSync) host |= O_DSYNC;
  if (flags & kFolder) host |= O_DIRECTORY;
  if ((flags & kSync) && (flags & kDataSync)) host |= O_SYNC;
  return host;
}

Server::Server(std::shared_ptr<const Export> folder, Limits limits) : folder_(std::move(folder)), limits_(limits) {}
Server::~Server() = default;

std::vector<u8> Server::handle(std::span<const u8> request) {
  if (request.size() < kHeaderBytes) return error_reply(kNoTag, EPROTO);
  const Header header = parse_header(request.first<kHeaderBytes>());
  if (header.size < kHeaderBytes || header.size > request.size()) return error_reply(header.tag, EPROTO);
  const Type type = Type(header.type);
  if (message_bytes_ == 0 && type != Type::Version) return error_reply(header.tag, EPROTO);
  Reader in(request.subspan(kHeaderBytes, header.size - kHeaderBytes));
  Writer out(u8(header.type + 1), header.tag);
  Errno failure = serve(type, in, out);
  if (failure == 0 && out.size() > message_bytes()) failure = EMSGSIZE;
  EMU_TRACE("v9fs_request", "tag {} type {} result {}", header.tag, header.type, failure);
  return failure != 0 ? error_reply(header.tag, failure) : out.finish();
}

Errno Server::serve(Type type, Reader& in, Writer& out) {
  switch (type) {
    case Type::Version: return version(in, out);
    case Type::Attach: return attach(in, out);
    case Type::Walk: return walk(in, out);
    case Type::Clunk: return clunk(in);
    case Type::Flush: return 0;
    default: break;
  }
  if (const Errno e = serve_names(type, in, out); e >= 0) return e;
  if (const Errno e = serve_attributes(type, in, out); e >= 0) return e;
  const Errno e = serve_data(type, in, out);
  // Tauth, and the messages of 9P2000 that this dialect replaces.
  return e >= 0 ? e : EOPNOTSUPP;
}

// Each of the three gives -1 for what is not its own.

Errno Server::serve_names(Type type, Reader& in, Writer& out) {
  switch (type) {
    case Type::Lcreate: return lcreate(in, out);
    case Type::Symlink: return symlink(in, out);
    case Type::Mkdir: return mkdir(in, out);
    case Type::Mknod: return mknod(in, out);
    case Type::Link: return link(in);
    case Type::Readlink: return readlink(in, out);
    case Type::Rename: return rename(in);
    case Type::Renameat: return renameat(in);
    case Type::Unlinkat: return unlinkat(in);
    case Type::Remove: return remove(in);
    default: return -1;
  }
}

Errno Server::serve_attributes(Type type, Reader& in, Writer& out) {
  switch (type) {
    case Type::Getattr: return getattr(in, out);
    case Type::Setattr: return setattr(in);
    case Type::Statfs: return statfs(in, out);
    case Type::Xattrwalk: return xattrwalk(in, out);
    case Type::Xattrcreate: return xattrcreate(in);
    default: return -1;
  }
}

Errno Server::serve_data(Type type, Reader& in, Writer& out) {
  switch (type) {
    case Type::Lopen: return lopen(in, out);
    case Type::Read: return read(in, out);
    case Type::Write: return write(in, out);
    case Type::Readdir: return readdir(in, out);
    case Type::Fsync: return fsync(in);
    case Type::Lock: return lock(in, out);
    case Type::Getlock: return getlock(in, out);
    default: return -1;
  }
}

// Fids. --------------------------------------------------------------------------------------------------------------

size_t Server::fid_count() {
  const std::lock_guard hold(table_mutex_);
  return fids_.size();
}

Server::FidRef Server::find(u32 number) {
  const std::lock_guard hold(table_mutex_);
  const auto at = fids_.find(number);
  return at != fids_.end() ? at->second : nullptr;
}

Server::FidRef Server::take(u32 number) {
  const std::lock_guard hold(table_mutex_);
  const auto at = fids_.find(number);
  if (at == fids_.end()) return nullptr;
  FidRef fid = std::move(at->second);
  fids_.erase(at);
  return fid;
}

Errno Server::insert(u32 number, FidRef fid) {
  if (number == kNoFid) return EINVAL;
  const std::lock_guard hold(table_mutex_);
  if (fids_.size() >= limits_.fids) return ENFILE;
  return fids_.try_emplace(number, std::move(fid)).second ? 0 : EBADF;
}

Errno Server::qid_of(const struct stat& status, Qid& qid) const {
  qid = {};
  if (S_ISDIR(status.st_mode)) qid.type = Qid::kDir;
  if (S_ISLNK(status.st_mode)) qid.type = Qid::kSymlink;
  // Changes with the contents, for clients that cache by it.
  qid.version = u32(status.st_mtim.tv_sec) ^ u32(status.st_mtim.tv_nsec) << 8 ^ u32(status.st_size);
  return folder_->inode_number(status, qid.path);
}

Errno Server::qid_of(const Path& path, Qid& qid) const {
  struct stat status {};
  if (const Errno e = folder_->stat(path, status)) return e;
  return qid_of(status, qid);
}

// Session. -----------------------------------------------------------------------------------------------------------

Errno Server::version(Reader& in, Writer& out) {
  const u32 wanted = in.get32();
  const std::string name = in.string();
  if (!in.is_good()) return EPROTO;
  {
    const std::lock_guard hold(table_mutex_);
    fids_.clear();
  }
  message_bytes_ = 0;
  if (name == kVersion && wanted < kLeastMessage) return EMSGSIZE;
  const u32 agreed = std::min(wanted, kMostMessage);
  out.put32(agreed);
  if (name != kVersion) {
    out.put("unknown");
    return 0;
  }
  message_bytes_ = agreed;
  out.put(kVersion);
  return 0;
}

Errno Server::attach(Reader& in, Writer& out) {
  const u32 number = in.get32(), auth = in.get32();
  in.string();  // the user's name: n_uname counts in this dialect
  in.string();
  const u32 uid = in.get32();
  if (!in.is_good()) return EPROTO;
  if (auth != kNoFid) return EOPNOTSUPP;
  Qid qid;
  if (const Errno e = qid_of(Path(), qid)) return e;
  if (const Errno e = insert(number, std::make_shared<Fid>(Path(), uid == ~0u ? 0 : uid))) return e;
  out.put(qid);
  return 0;
}

Errno Server::walk(Reader& in, Writer& out) {
  const u32 number = in.get32(), new_number = in.get32();
  const unsigned count = in.get16();
  if (count > kMostNames) return EINVAL;
  std::vector<std::string> names(count);
  for (std::string& name : names) name = in.string();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  if (number == new_number && fid->what() != Fid::Kind::Name) return EINVAL;

  const std::shared_lock hold(names_);
  Path path = fid->path();
  std::vector<Qid> found;
  for (const std::string& name : names) {
    Errno failure = 0;
    Qid qid;
    if (name == "..") {
      path = Export::parent_of(path);
    } else if (Export::check_name(name) != 0) {
      failure = name.size() > 255 ? ENAMETOOLONG : ENOENT;
    } else {
      path = Export::join(path, name);
    }
    if (failure == 0) failure = qid_of(path, qid);
    if (failure != 0 && found.empty()) return failure;
    if (failure != 0) break;
    found.push_back(qid);
  }
  if (found.size() == names.size()) {
    auto walked = std::make_shared<Fid>(std::move(path), fid->uid);
    if (number == new_number) take(number);
    if (const Errno e = insert(new_number, std::move(walked))) return e;
  }
  out.put16(u16(found.size()));
  for (const Qid& qid : found) out.put(qid);
  return 0;
}

Errno Server::clunk(Reader& in) {
  const u32 number = in.get32();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = take(number);
  if (fid == nullptr) return EBADF;
  return fid->what() == Fid::Kind::XattrWrite ? commit_xattr(*fid) : 0;
}

// Names. -------------------------------------------------------------------------------------------------------------

Errno Server::lcreate(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const std::string name = in.string();
  const u32 flags = in.get32(), mode = in.get32(), gid = in.get32();
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (const Errno e = Export::check_name(name)) return e;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::shared_lock hold_names(names_);
  const std::lock_guard hold(fid->mutex);
  const Path folder = fid->path();
  const Owner owner{.mode = mode & 07777, .uid = fid->uid, .gid = gid};
  const Errno failure = open_as(*fid, out, [&](Fd& file) {
    return folder_->create_file(folder, name, host_open_flags(flags) & ~O_DIRECTORY, owner, file);
  });
  if (failure == 0) fid->set_path(Export::join(folder, name));
  return failure;
}

Errno Server::symlink(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const std::string name = in.string(), target = in.string();
  const u32 gid = in.get32();
  return make(in, out, number, name, [&](const Path& folder, u32 uid) {
    return folder_->make_symlink(folder, name, target, {.mode = 0777, .uid = uid, .gid = gid});
  });
}

Errno Server::mkdir(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const std::string name = in.string();
  const u32 mode = in.get32(), gid = in.get32();
  return make(in, out, number, name, [&](const Path& folder, u32 uid) {
    return folder_->make_dir(folder, name, {.mode = mode & 07777, .uid = uid, .gid = gid});
  });
}

Errno Server::mknod(Reader& in, Writer& out) {
  const u32 number = in.get32();
  const std::string name = in.string();
  const u32 mode = in.get32(), major = in.get32(), minor = in.get32(), gid = in.get32();
  return make(in, out, number, name, [&](const Path& folder, u32 uid) {
    return folder_->make_node(folder, name, {.mode = mode, .uid = uid, .gid = gid}, makedev(major, minor));
  });
}

/// What the three above have in common: a name in a folder, and a reply that identifies it.
Errno Server::make(const Reader& in, Writer& out, u32 number, const std::string& name,
                   const std::function<Errno(const Path& folder, u32 uid)>& how) {
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (const Errno e = Export::check_name(name)) return e;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::shared_lock hold(names_);
  if (const Errno e = how(fid->path(), fid->uid)) return e;
  Qid qid;
  if (const Errno e = qid_of(Export::join(fid->path(), name), qid)) return e;
  out.put(qid);
  return 0;
}

Errno Server::link(Reader& in) {
  const u32 folder_number = in.get32(), number = in.get32();
  const std::string name = in.string();
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (const Errno e = Export::check_name(name)) return e;
  const FidRef folder = find(folder_number), fid = find(number);
  if (folder == nullptr || fid == nullptr) return EBADF;
  const std::shared_lock hold(names_);
  return folder_->link(fid->path(), folder->path(), name);
}

Errno Server::readlink(Reader& in, Writer& out) {
  const u32 number = in.get32();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::shared_lock hold(names_);
  std::string target;
  if (const Errno e = folder_->read_link(fid->path(), target)) return e;
  out.put(target);
  return 0;
}

Errno Server::rename(Reader& in) {
  const u32 number = in.get32(), folder_number = in.get32();
  const std::string name = in.string();
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (const Errno e = Export::check_name(name)) return e;
  const FidRef fid = find(number), folder = find(folder_number);
  if (fid == nullptr || folder == nullptr) return EBADF;
  const std::unique_lock hold(names_);
  return move(fid->path(), Export::join(folder->path(), name));
}

Errno Server::renameat(Reader& in) {
  const u32 from_number = in.get32();
  const std::string from_name = in.string();
  const u32 to_number = in.get32();
  const std::string to_name = in.string();
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (const Errno e = Export::check_name(from_name)) return e;
  if (const Errno e = Export::check_name(to_name)) return e;
  const FidRef from = find(from_number), to = find(to_number);
  if (from == nullptr || to == nullptr) return EBADF;
  const std::unique_lock hold(names_);
  return move(Export::join(from->path(), from_name), Export::join(to->path(), to_name));
}

/// Renames a file, and with it all fids on it and below it. `names_` is held, alone.
Errno Server::move(const Path& from, const Path& to) {
  if (from.empty()) return EBUSY;
  if (const Errno e = folder_->rename(from, to)) return e;
  if (from == to) return 0;
  const std::lock_guard hold(table_mutex_);
  for (auto& [number, fid] : fids_) {
    const Path path = fid->path();
    if (Export::is_within(path, from)) fid->set_path(to + path.substr(from.size()));
  }
  return 0;
}

Errno Server::unlinkat(Reader& in) {
  const u32 number = in.get32();
  const std::string name = in.string();
  const u32 flags = in.get32();
  if (!in.is_good()) return EPROTO;
  if (is_read_only()) return EROFS;
  if (flags & ~kRemoveFolder) return EINVAL;
  if (const Errno e = Export::check_name(name)) return e;
  const FidRef fid = find(number);
  if (fid == nullptr) return EBADF;
  const std::shared_lock hold(names_);
  return folder_->remove(Export::join(fid->path(), name), (flags & kRemoveFolder) != 0);
}

/// The fid goes in any case.
Errno Server::remove(Reader& in) {
  const u32 number = in.get32();
  if (!in.is_good()) return EPROTO;
  const FidRef fid = take(number);
  if (fid == nullptr) return EBADF;
  if (is_read_only()) return EROFS;
  const std::shared_lock hold(names_);
  return folder_->remove(fid->path(), std::nullopt);
}

}  // namespace emu::hw::p9
