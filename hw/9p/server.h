// SPDX-License-Identifier: Apache-2.0
// One session of 9P2000.L over an exported folder: messages in, replies out.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "hw/9p/export.h"
#include "hw/9p/wire.h"

namespace emu::hw::p9 {

/// Largest message that is agreed upon; the smallest is what Linux asks for at least.
inline constexpr u32 kMostMessage = 1 << 20, kLeastMessage = 4096;

/// What a guest can make us keep.
struct Limits {
  u32 fids = 1 << 16;
  u32 open_files = 512;         ///< descriptors of the host
  u64 xattr_bytes = 16 << 20;   ///< of extended attributes being read or written
};

/// Any thread, several requests at once; each is carried out to its end inside handle(). Order of locks: names_, a
/// fid's, table_mutex_, a fid's path. Tflush is answered at once: who runs requests side by side keeps its order
/// (hw/virtio/virtio_9p.cpp). Deviations: locks are granted as asked, since the guest's kernel has arbitrated between
/// its processes before, and hosts and other guests are not kept out; the path in Tattach is ignored, as there is one
/// tree only.
class Server {
 public:
  explicit Server(std::shared_ptr<const Export> folder) : Server(std::move(folder), Limits()) {}
  Server(std::shared_ptr<const Export> folder, Limits limits);
  ~Server();

  /// The reply to one message. Anything may be in it: what is no message at all gets an error, too.
  std::vector<u8> handle(std::span<const u8> request);
  /// The largest message; before the version is agreed upon, of that negotiation.
  u32 message_bytes() const {
    const u32 agreed = message_bytes_;  // once: a version may be negotiated meanwhile
    return agreed != 0 ? agreed : kLeastMessage;
  }
  /// For tests.
  size_t fid_count();

 private:
  class Share;
  struct Fid;
  using FidRef = std::shared_ptr<Fid>;

  Errno serve(Type type, Reader& in, Writer& out);
  Errno serve_names(Type type, Reader& in, Writer& out);
  Errno serve_attributes(Type type, Reader& in, Writer& out);
  Errno serve_data(Type type, Reader& in, Writer& out);

  Errno version(Reader& in, Writer& out);
  Errno attach(Reader& in, Writer& out);
  Errno walk(Reader& in, Writer& out);
  Errno clunk(Reader& in);
  Errno lopen(Reader& in, Writer& out);
  Errno lcreate(Reader& in, Writer& out);
  Errno symlink(Reader& in, Writer& out);
  Errno mkdir(Reader& in, Writer& out);
  Errno mknod(Reader& in, Writer& out);
  Errno link(Reader& in);
  Errno readlink(Reader& in, Writer& out);
  Errno rename(Reader& in);
  Errno renameat(Reader& in);
  Errno unlinkat(Reader& in);
  Errno remove(Reader& in);
  Errno getattr(Reader& in, Writer& out);
  Errno setattr(Reader& in);
  Errno statfs(Reader& in, Writer& out);
  Errno xattrwalk(Reader& in, Writer& out);
  Errno xattrcreate(Reader& in);
  Errno read(Reader& in, Writer& out);
  Errno write(Reader& in, Writer& out);
  Errno readdir(Reader& in, Writer& out);
  Errno fsync(Reader& in);
  Errno lock(Reader& in, Writer& out);
  Errno getlock(Reader& in, Writer& out);

  FidRef find(u32 number);
  Errno insert(u32 number, FidRef fid);
  FidRef take(u32 number);
  Errno make(const Reader& in, Writer& out, u32 number, const std::string& name,
             const std::function<Errno(const Path& folder, u32 uid)>& how);
  Errno open_as(Fid& fid, Writer& out, const std::function<Errno(Fd& file)>& how);
  Errno move(const Path& from, const Path& to);
  Errno commit_xattr(Fid& fid);
  Errno qid_of(const Path& path, Qid& qid) const;
  Errno qid_of(const struct stat& status, Qid& qid) const;
  bool is_read_only() const { return folder_->options().read_only; }

  const std::shared_ptr<const Export> folder_;
  const Limits limits_;
  std::atomic<u32> message_bytes_{0};
  std::atomic<u64> open_files_{0}, xattr_bytes_{0};
  std::shared_mutex names_;  ///< held shared while a fid's path is in use, alone to rename
  std::mutex table_mutex_;   ///< fids_
  std::unordered_map<u32, FidRef> fids_;
};

}  // namespace emu::hw::p9
