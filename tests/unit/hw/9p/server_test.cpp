// SPDX-License-Identifier: Apache-2.0
// 9P2000.L spoken to the server directly. Fid 0 is the root in all tests.
#include "hw/9p/server.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "client.h"

namespace emu::hw::p9 {
namespace {

namespace fs = std::filesystem;
using test::attach_message;
using test::Message;
using test::Reply;
using test::version_message;
using test::walk_message;

constexpr u32 kNoUser = ~0u;

class Session {
 public:
  explicit Session(ExportOptions options = {}, Limits limits = {}) {
    options.path = folder.path + "/export";
    fs::create_directory(options.path);
    root = options.path;
    auto opened = Export::open(options);
    EXPECT_TRUE(opened.has_value()) << opened.error().text();
    server = std::make_unique<Server>(std::shared_ptr<const Export>(std::move(*opened)), limits);
    EXPECT_EQ(ask(version_message()).error(), 0);
    EXPECT_EQ(ask(attach_message(0)).error(), 0);
  }
  Reply ask(Message message) { return test::parse_reply(server->handle(message.done())); }
  int walk(u32 fid, const std::vector<std::string>& names) { return ask(walk_message(0, fid, names)).error(); }
  int open(u32 fid, u32 flags) { return ask(Message(Type::Lopen).u32_(fid).u32_(flags)).error(); }
  int clunk(u32 fid) { return ask(Message(Type::Clunk).u32_(fid)).error(); }
  int create(u32 fid, const std::string& name, u32 flags = O_RDWR, u32 mode = 0644) {
    return ask(Message(Type::Lcreate).u32_(fid).str(name).u32_(flags).u32_(mode).u32_(1000)).error();
  }
  int mkdir(const std::string& name, u32 mode = 0755) {
    return ask(Message(Type::Mkdir).u32_(0).str(name).u32_(mode).u32_(1000)).error();
  }
  int symlink(const std::string& name, const std::string& target) {
    return ask(Message(Type::Symlink).u32_(0).str(name).str(target).u32_(1000)).error();
  }
  int write(u32 fid, u64 offset, const std::string& text) {
    return ask(Message(Type::Write).u32_(fid).u64_(offset).u32_(u32(text.size())).bytes(text)).error();
  }
  std::string read(u32 fid, u64 offset, u32 count) {
    const Reply reply = ask(Message(Type::Read).u32_(fid).u64_(offset).u32_(count));
    EXPECT_EQ(reply.error(), 0);
    Reader in = reply.reader();
    const auto bytes = in.raw(in.get32());
    EXPECT_TRUE(in.is_good());
    return {bytes.begin(), bytes.end()};
  }
  struct Attributes {
    int error = 0;
    Qid qid;
    u32 mode = 0, uid = 0, gid = 0;
    u64 links = 0, rdev = 0, size = 0, mtime = 0;
  };
  Attributes getattr(u32 fid) {
    const Reply reply = ask(Message(Type::Getattr).u32_(fid).u64_(0x7ff));
    Attributes a;
    a.error = reply.error();
    Reader in = reply.reader();
    in.get64();
    a.qid.type = in.get8();
    a.qid.version = in.get32();
    a.qid.path = in.get64();
    a.mode = in.get32();
    a.uid = in.get32();
    a.gid = in.get32();
    a.links = in.get64();
    a.rdev = in.get64();
    a.size = in.get64();
    in.get64();
    in.get64();
    in.get64();
    in.get64();
    a.mtime = in.get64();
    return a;
  }
  std::string readlink(u32 fid) {
    const Reply reply = ask(Message(Type::Readlink).u32_(fid));
    EXPECT_EQ(reply.error(), 0);
    return reply.reader().string();
  }
  /// Names in an open folder, read with replies of `count` bytes.
  std::vector<std::string> list(u32 fid, u32 count = 4096) {
    std::vector<std::string> names;
    u64 offset = 0;
    while (true) {
      const Reply reply = ask(Message(Type::Readdir).u32_(fid).u64_(offset).u32_(count));
      EXPECT_EQ(reply.error(), 0);
      Reader in = reply.reader();
      Reader entries(in.raw(in.get32()));
      EXPECT_TRUE(in.is_good());
      bool any = false;
      while (true) {
        entries.raw(13);
        const u64 next = entries.get64();
        entries.get8();
        std::string name = entries.string();
        if (!entries.is_good()) break;
        offset = next;
        names.push_back(std::move(name));
        any = true;
      }
      if (!any) return names;
    }
  }

  test::TemporaryFolder folder;
  std::string root;
  std::unique_ptr<Server> server;
};

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void put(const std::string& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

TEST(P9Server, AgreesOnTheDialectOfLinuxOnly) {
  Session s;
  for (const char* name : {"9P2000", "9P2000.u", "9P2000.Lx", ""}) {
    const Reply reply = s.ask(version_message(8192, name));
    Reader in = reply.reader();
    in.get32();
    EXPECT_EQ(in.string(), "unknown") << name;
    EXPECT_EQ(s.ask(attach_message(0)).error(), EPROTO);
  }
  const Reply reply = s.ask(version_message(64 << 20));
  Reader in = reply.reader();
  EXPECT_EQ(in.get32(), kMostMessage);
  EXPECT_EQ(in.string(), "9P2000.L");
  EXPECT_EQ(s.ask(version_message(4095)).error(), EMSGSIZE);
}

TEST(P9Server, ANewVersionForgetsAllFids) {
  Session s;
  ASSERT_EQ(s.walk(1, {}), 0);
  EXPECT_EQ(s.server->fid_count(), 2u);
  ASSERT_EQ(s.ask(version_message()).error(), 0);
  EXPECT_EQ(s.server->fid_count(), 0u);
  EXPECT_EQ(s.getattr(1).error, EBADF);
}

TEST(P9Server, FilesAreMadeWrittenReadAndRemoved) {
  Session s;
  ASSERT_EQ(s.walk(1, {}), 0);
  ASSERT_EQ(s.create(1, "file", O_RDWR, 0640), 0);
  ASSERT_EQ(s.write(1, 0, "hello"), 0);
  ASSERT_EQ(s.write(1, 5, " there"), 0);
  EXPECT_EQ(s.read(1, 6, 100), "there");
  EXPECT_EQ(s.read(1, 100, 100), "");
  EXPECT_EQ(s.getattr(1).size, 11u);
  EXPECT_EQ(s.getattr(1).mode, u32(S_IFREG | 0640));
  EXPECT_EQ(s.ask(Message(Type::Fsync).u32_(1).u32_(0)).error(), 0);
  EXPECT_EQ(contents(s.root + "/file"), "hello there");
  ASSERT_EQ(s.walk(2, {"file"}), 0);
  EXPECT_EQ(s.ask(Message(Type::Remove).u32_(2)).error(), 0);
  EXPECT_FALSE(fs::exists(s.root + "/file"));
  EXPECT_EQ(s.getattr(2).error, EBADF);
  EXPECT_EQ(s.read(1, 0, 5), "hello") << "what is open stays";
  EXPECT_EQ(s.getattr(1).error, 0) << "its attributes, too";
  EXPECT_EQ(s.clunk(1), 0);
  EXPECT_EQ(s.clunk(1), EBADF);
}

TEST(P9Server, CreatingExclusivelyFindsWhatIsThere) {
  Session s;
  put(s.root + "/file", "old");
  ASSERT_EQ(s.walk(1, {}), 0);
  EXPECT_EQ(s.create(1, "file", O_RDWR | O_CREAT | O_EXCL), EEXIST);
  EXPECT_EQ(s.create(1, "file", O_RDWR | O_CREAT | O_TRUNC), 0);
  EXPECT_EQ(contents(s.root + "/file"), "");
}

TEST(P9Server, WalksGoAsFarAsNamesAre) {
  Session s;
  fs::create_directories(s.root + "/a/b");
  Reply reply = s.ask(walk_message(0, 1, {"a", "b", "none", "x"}));
  ASSERT_EQ(reply.error(), 0);
  EXPECT_EQ(reply.reader().get16(), 2);
  EXPECT_EQ(s.getattr(1).error, EBADF) << "the new fid is there only after a whole walk";
  EXPECT_EQ(s.walk(1, {"none"}), ENOENT);
  EXPECT_EQ(s.walk(1, {"a", "b"}), 0);
  EXPECT_EQ(s.walk(1, {"a"}), EBADF) << "in use";
  EXPECT_EQ(s.ask(walk_message(1, 1, {".."})).error(), 0) << "onto itself";
  EXPECT_EQ(s.getattr(1).qid.path, [&] {
    struct stat st {};
    ::stat((s.root + "/a").c_str(), &st);
    return u64(st.st_ino);
  }());
  EXPECT_EQ(s.walk(2, std::vector<std::string>(17, "a")), EINVAL);
}

TEST(P9Server, NothingOutsideIsReached) {
  Session s;
  put(s.folder.path + "/secret", "secret");
  fs::create_symlink("../secret", s.root + "/link");
  fs::create_symlink("..", s.root + "/up");
  fs::create_symlink("/etc", s.root + "/etc");
  // ".." stays at the top.
  ASSERT_EQ(s.walk(1, {"..", "..", ".."}), 0);
  EXPECT_EQ(s.getattr(1).qid.path, s.getattr(0).qid.path);
  for (const char* name : {".", "", "../secret", "/etc/passwd", "a/b"}) EXPECT_EQ(s.walk(2, {name}), ENOENT) << name;
  // A link is itself, never where it leads.
  ASSERT_EQ(s.walk(3, {"link"}), 0);
  EXPECT_EQ(s.getattr(3).qid.type, Qid::kSymlink);
  EXPECT_EQ(s.readlink(3), "../secret");
  EXPECT_EQ(s.open(3, O_RDONLY), ELOOP);
  EXPECT_EQ(s.ask(walk_message(0, 4, {"etc", "passwd"})).reader().get16(), 1);
  EXPECT_EQ(s.ask(walk_message(0, 4, {"up", "secret"})).reader().get16(), 1);
  ASSERT_EQ(s.walk(5, {"up"}), 0);
  EXPECT_NE(s.create(5, "made"), 0);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(5).str("secret").u32_(0)).error(), ENOTDIR);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(0).str("..").u32_(0x200)).error(), EINVAL);
  EXPECT_EQ(s.ask(Message(Type::Mkdir).u32_(0).str("../made").u32_(0755).u32_(0)).error(), EINVAL);
  Message chmod(Type::Setattr);
  chmod.u32_(3).u32_(1).u32_(0).u32_(0).u32_(0).u64_(0).u64_(0).u64_(0).u64_(0).u64_(0);
  EXPECT_EQ(s.ask(std::move(chmod)).error(), EOPNOTSUPP);
  EXPECT_EQ(contents(s.folder.path + "/secret"), "secret");
}

/// Somebody on the host changes a folder into a link again and again.
TEST(P9Server, NothingOutsideIsReachedWhileTheHostSwapsFolders) {
  Session s;
  fs::create_directory(s.folder.path + "/outside");
  put(s.folder.path + "/outside/name", "secret");
  fs::create_directory(s.root + "/folder");
  put(s.root + "/folder/name", "public");
  fs::create_symlink("../outside", s.root + "/link");
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) {
      ::renameat2(AT_FDCWD, (s.root + "/folder").c_str(), AT_FDCWD, (s.root + "/link").c_str(), RENAME_EXCHANGE);
    }
  });
  unsigned opened = 0;
  for (unsigned i = 0; i < 3000; i++) {
    if (s.ask(walk_message(0, 1, {"folder", "name"})).reader().get16() == 2) {
      if (s.open(1, O_RDONLY) == 0) {
        opened++;
        ASSERT_EQ(s.read(1, 0, 100), "public");
      }
      s.clunk(1);
    }
  }
  stop = true;
  swapper.join();
  EXPECT_GT(opened, 0u);
}

TEST(P9Server, FoldersAreListedInPieces) {
  Session s;
  std::set<std::string> wanted = {".", ".."};
  for (unsigned i = 0; i < 500; i++) {
    const std::string name = fmt::format("file-{}-{}", i, std::string(i % 200, 'x'));
    put(s.root + "/" + name, "");
    wanted.insert(name);
  }
  ASSERT_EQ(s.walk(1, {}), 0);
  EXPECT_EQ(s.ask(Message(Type::Readdir).u32_(1).u64_(0).u32_(4096)).error(), EBADF) << "not open";
  ASSERT_EQ(s.open(1, O_RDONLY | O_DIRECTORY), 0);
  for (const u32 count : {300u, 4096u, 60000u}) {
    const auto names = s.list(1, count);
    EXPECT_EQ(names.size(), wanted.size()) << count;
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), wanted) << count;
  }
  EXPECT_EQ(s.ask(Message(Type::Readdir).u32_(1).u64_(0).u32_(10)).error(), EINVAL) << "no room for one entry";
  EXPECT_EQ(s.ask(Message(Type::Read).u32_(1).u64_(0).u32_(10)).error(), EISDIR);
}

TEST(P9Server, RenamedFoldersTakeTheirFidsAlong) {
  Session s;
  fs::create_directories(s.root + "/old/deep");
  fs::create_directory(s.root + "/oldish");
  put(s.root + "/old/deep/file", "1");
  ASSERT_EQ(s.walk(1, {"old", "deep", "file"}), 0);
  ASSERT_EQ(s.walk(2, {"old"}), 0);
  ASSERT_EQ(s.walk(3, {"oldish"}), 0);
  ASSERT_EQ(s.ask(Message(Type::Renameat).u32_(0).str("old").u32_(0).str("new")).error(), 0);
  EXPECT_EQ(s.getattr(1).error, 0);
  EXPECT_EQ(s.getattr(3).error, 0);
  ASSERT_EQ(s.ask(Message(Type::Rename).u32_(2).u32_(3).str("moved")).error(), 0);
  EXPECT_EQ(contents(s.root + "/oldish/moved/deep/file"), "1");
  EXPECT_EQ(s.open(1, O_RDONLY), 0);
  EXPECT_EQ(s.read(1, 0, 1), "1");
  EXPECT_EQ(s.ask(Message(Type::Rename).u32_(0).u32_(3).str("root")).error(), EBUSY);
  EXPECT_EQ(s.ask(Message(Type::Renameat).u32_(0).str("oldish").u32_(2).str("inside")).error(), EINVAL);
}

TEST(P9Server, NodesLinksAndAttributes) {
  Session s;
  ASSERT_EQ(s.mkdir("dir", 0711), 0);
  EXPECT_EQ(s.mkdir("dir"), EEXIST);
  ASSERT_EQ(s.symlink("link", "dir/x"), 0);
  ASSERT_EQ(s.ask(Message(Type::Mknod).u32_(0).str("pipe").u32_(S_IFIFO | 0600).u32_(0).u32_(0).u32_(0)).error(), 0);
  ASSERT_EQ(s.walk(1, {"pipe"}), 0);
  EXPECT_EQ(s.getattr(1).mode, u32(S_IFIFO | 0600));
  EXPECT_EQ(s.open(1, O_RDONLY), ENXIO) << "a pipe would wait";
  ASSERT_EQ(s.walk(2, {"link"}), 0);
  EXPECT_EQ(s.readlink(2), "dir/x");
  ASSERT_EQ(s.walk(3, {"dir"}), 0);
  ASSERT_EQ(s.ask(Message(Type::Link).u32_(3).u32_(1).str("pipe2")).error(), 0);
  EXPECT_EQ(s.getattr(1).links, 2u);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(0).str("dir").u32_(0)).error(), EISDIR);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(0).str("dir").u32_(0x200)).error(), ENOTEMPTY);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(3).str("pipe2").u32_(0)).error(), 0);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(0).str("dir").u32_(0x200)).error(), 0);

  put(s.root + "/file", "0123456789");
  ASSERT_EQ(s.walk(4, {"file"}), 0);
  const auto setattr = [&](u32 valid, u32 mode, u64 size, u64 mtime) {
    return s.ask(Message(Type::Setattr).u32_(4).u32_(valid).u32_(mode).u32_(0).u32_(0).u64_(size).u64_(0).u64_(0).u64_(
                    mtime).u64_(0)).error();
  };
  EXPECT_EQ(setattr(0x1 | 0x8 | 0x20 | 0x100, 0604, 4, 12345), 0);
  EXPECT_EQ(s.getattr(4).mode, u32(S_IFREG | 0604));
  EXPECT_EQ(s.getattr(4).size, 4u);
  EXPECT_EQ(s.getattr(4).mtime, 12345u);
  EXPECT_EQ(setattr(0x8, 0, ~u64(0), 0), EFBIG);
  const Reply statfs = s.ask(Message(Type::Statfs).u32_(4));
  EXPECT_EQ(statfs.error(), 0);
  EXPECT_EQ(statfs.body.size(), 4 + 4 + 6 * 8 + 4u);
}

TEST(P9Server, ExtendedAttributes) {
  Session s;
  put(s.root + "/file", "");
  ASSERT_EQ(s.walk(1, {"file"}), 0);
  const auto set = [&](const std::string& name, const std::string& value) {
    EXPECT_EQ(s.ask(walk_message(1, 2, {})).error(), 0);
    const int made = s.ask(Message(Type::Xattrcreate).u32_(2).str(name).u64_(value.size()).u32_(0)).error();
    EXPECT_EQ(made, 0);
    if (!value.empty()) {
      EXPECT_EQ(s.write(2, 0, value), 0);
    }
    return s.clunk(2);
  };
  ASSERT_EQ(set("user.color", "blue"), 0);
  EXPECT_EQ(set("user.virtfs.uid", "1234"), EOPNOTSUPP) << "ours";
  Reply reply = s.ask(Message(Type::Xattrwalk).u32_(1).u32_(3).str("user.color"));
  ASSERT_EQ(reply.error(), 0);
  EXPECT_EQ(reply.reader().get64(), 4u);
  EXPECT_EQ(s.read(3, 0, 100), "blue");
  EXPECT_EQ(s.read(3, 2, 100), "ue");
  EXPECT_EQ(s.read(3, 9, 100), "");
  reply = s.ask(Message(Type::Xattrwalk).u32_(1).u32_(4).str(""));
  ASSERT_EQ(reply.error(), 0);
  EXPECT_EQ(s.read(4, 0, 100), std::string("user.color\0", 11));
  EXPECT_EQ(set("user.color", ""), 0) << "removes it";
  EXPECT_EQ(s.ask(Message(Type::Xattrwalk).u32_(1).u32_(5).str("user.color")).error(), ENODATA);
  EXPECT_EQ(s.ask(Message(Type::Xattrcreate).u32_(1).str("user.x").u64_(65537).u32_(0)).error(), E2BIG);
  ASSERT_EQ(s.ask(Message(Type::Xattrcreate).u32_(1).str("user.x").u64_(4).u32_(0)).error(), 0);
  EXPECT_EQ(s.write(1, 3, "12"), ENOSPC);
  EXPECT_EQ(s.write(1, ~u64(0), "12"), ENOSPC);
  EXPECT_EQ(s.clunk(1), EINVAL) << "not all was written";
}

TEST(P9Server, MappedFilesAreWhatTheGuestMadeThem) {
  Session s({.security = SecurityModel::Mapped});
  ASSERT_EQ(s.mkdir("dir", 01777), 0);
  ASSERT_EQ(s.symlink("link", "/etc/passwd"), 0);
  ASSERT_EQ(s.ask(Message(Type::Mknod).u32_(0).str("disk").u32_(S_IFBLK | 0660).u32_(8).u32_(300).u32_(6)).error(), 0);
  ASSERT_EQ(s.walk(1, {}), 0);
  ASSERT_EQ(s.create(1, "file", O_RDWR, 04755), 0);
  EXPECT_EQ(s.getattr(1).mode, u32(S_IFREG | 04755));
  EXPECT_EQ(s.getattr(1).uid, 1000u);
  struct stat host {};
  ASSERT_EQ(::lstat((s.root + "/file").c_str(), &host), 0);
  EXPECT_EQ(host.st_mode & 07777, 0600u);
  EXPECT_EQ(host.st_uid, ::getuid());
  ASSERT_EQ(::lstat((s.root + "/link").c_str(), &host), 0);
  EXPECT_TRUE(S_ISREG(host.st_mode));

  ASSERT_EQ(s.walk(2, {"link"}), 0);
  EXPECT_EQ(s.getattr(2).qid.type, Qid::kSymlink);
  EXPECT_EQ(s.getattr(2).mode, u32(S_IFLNK | 0777));
  EXPECT_EQ(s.readlink(2), "/etc/passwd");
  ASSERT_EQ(s.walk(3, {"disk"}), 0);
  EXPECT_EQ(s.getattr(3).mode, u32(S_IFBLK | 0660));
  EXPECT_EQ(s.getattr(3).rdev, u64(makedev(8, 300)));
  EXPECT_EQ(s.getattr(3).gid, 6u);
  ASSERT_EQ(s.walk(4, {"dir"}), 0);
  EXPECT_EQ(s.getattr(4).mode, u32(S_IFDIR | 01777));
  EXPECT_EQ(s.ask(Message(Type::Setattr).u32_(4).u32_(7).u32_(S_IFREG | 0700).u32_(5).u32_(7).u64_(0).u64_(0).u64_(
                    0).u64_(0).u64_(0)).error(), 0);
  EXPECT_EQ(s.getattr(4).mode, u32(S_IFDIR | 0700)) << "its kind is not the guest's to change";
  EXPECT_EQ(s.getattr(4).uid, 5u);
  EXPECT_EQ(s.getattr(4).gid, 7u);
  ASSERT_EQ(s.ask(Message(Type::Xattrwalk).u32_(4).u32_(5).str("")).error(), 0);
  EXPECT_EQ(s.read(5, 0, 100), "") << "how it is kept does not show";
  EXPECT_EQ(s.ask(Message(Type::Xattrwalk).u32_(4).u32_(6).str("security.capability")).error(), EOPNOTSUPP);
}

TEST(P9Server, ReadOnlyFoldersStayAsTheyAre) {
  Session plain;
  put(plain.root + "/file", "text");
  auto opened = Export::open({.path = plain.root, .read_only = true});
  ASSERT_TRUE(opened.has_value());
  plain.server = std::make_unique<Server>(std::shared_ptr<const Export>(std::move(*opened)));
  Session& s = plain;
  ASSERT_EQ(s.ask(version_message()).error(), 0);
  ASSERT_EQ(s.ask(attach_message(0)).error(), 0);
  ASSERT_EQ(s.walk(1, {"file"}), 0);
  for (const u32 flags : {u32(O_WRONLY), u32(O_RDWR), u32(O_RDONLY | O_TRUNC), 3u}) EXPECT_EQ(s.open(1, flags), EROFS);
  EXPECT_EQ(s.mkdir("dir"), EROFS);
  EXPECT_EQ(s.symlink("link", "x"), EROFS);
  EXPECT_EQ(s.ask(Message(Type::Unlinkat).u32_(0).str("file").u32_(0)).error(), EROFS);
  EXPECT_EQ(s.ask(Message(Type::Renameat).u32_(0).str("file").u32_(0).str("x")).error(), EROFS);
  EXPECT_EQ(s.ask(Message(Type::Xattrcreate).u32_(1).str("user.x").u64_(1).u32_(0)).error(), EROFS);
  EXPECT_EQ(s.open(1, O_RDONLY), 0);
  EXPECT_EQ(s.read(1, 0, 10), "text");
  EXPECT_EQ(s.write(1, 0, "x"), EBADF);
}

TEST(P9Server, AGuestCannotTakeMoreThanItsShare) {
  Session s({}, {.fids = 10, .open_files = 3, .xattr_bytes = 100});
  put(s.root + "/file", "");
  int failed = 0;
  u32 fid = 1;
  for (; failed == 0 && fid < 100; fid++) failed = s.walk(fid, {"file"});
  EXPECT_EQ(failed, ENFILE);
  EXPECT_EQ(s.server->fid_count(), 10u);
  for (u32 i = 1; i <= 3; i++) EXPECT_EQ(s.open(i, O_RDONLY), 0);
  EXPECT_EQ(s.open(4, O_RDONLY), ENFILE);
  EXPECT_EQ(s.clunk(1), 0);
  EXPECT_EQ(s.open(4, O_RDONLY), 0);
  EXPECT_EQ(s.ask(Message(Type::Xattrcreate).u32_(5).str("user.x").u64_(101).u32_(0)).error(), ENOSPC);
  EXPECT_EQ(s.ask(Message(Type::Xattrcreate).u32_(5).str("user.x").u64_(100).u32_(0)).error(), 0);
  EXPECT_EQ(s.ask(Message(Type::Xattrcreate).u32_(6).str("user.x").u64_(1).u32_(0)).error(), ENOSPC);
}

TEST(P9Server, LocksAreGranted) {
  Session s;
  ASSERT_EQ(s.walk(1, {}), 0);
  const auto lock = [&] {
    return s.ask(Message(Type::Lock).u32_(1).u8_(1).u32_(1).u64_(0).u64_(10).u32_(7).str("guest"));
  };
  EXPECT_EQ(lock().error(), EINVAL) << "not open";
  ASSERT_EQ(s.create(1, "file"), 0);
  EXPECT_EQ(lock().body, std::vector<u8>{0});
  const Reply reply = s.ask(Message(Type::Getlock).u32_(1).u8_(0).u64_(3).u64_(4).u32_(7).str("guest"));
  Reader in = reply.reader();
  EXPECT_EQ(in.get8(), 2);  // nobody holds it
  EXPECT_EQ(in.get64(), 3u);
}

TEST(P9Server, BrokenMessagesAreRefused) {
  Session s;
  const auto raw = [&](std::vector<u8> bytes) { return test::parse_reply(s.server->handle(bytes)).error(); };
  EXPECT_EQ(raw({}), EPROTO);
  EXPECT_EQ(raw({1, 2, 3}), EPROTO);
  EXPECT_EQ(raw({200, 0, 0, 0, 24, 1, 0}), EPROTO) << "longer than it is";
  EXPECT_EQ(raw({6, 0, 0, 0, 24, 1, 0}), EPROTO) << "shorter than its header";
  for (unsigned type = 0; type < 256; type++) {
    if (type == u8(Type::Flush)) continue;
    const int error = raw({7, 0, 0, 0, u8(type), 1, 0});
    EXPECT_TRUE(error == EPROTO || error == EOPNOTSUPP) << type << ": " << error;
  }
  // A name that ends behind the message.
  EXPECT_EQ(s.ask(Message(Type::Walk).u32_(0).u32_(9).u16_(1).u16_(10).bytes("abc")).error(), EPROTO);
  EXPECT_EQ(s.ask(Message(Type::Write).u32_(0).u64_(0).u32_(~0u).bytes("abc")).error(), EPROTO);
}

/// Messages out of a seeded generator, most of them nearly right: nothing but replies comes of it, and nothing happens
/// outside of the folder.
TEST(P9Server, OutlivesAHundredThousandRandomMessages) {
  constexpr unsigned kMessages = 100'000;
  for (const SecurityModel security : {SecurityModel::None, SecurityModel::Mapped}) {
    Session s({.security = security}, {.fids = 40, .open_files = 20, .xattr_bytes = 1000});
    put(s.folder.path + "/outside", "untouched");
    fs::create_symlink("../outside", s.root + "/escape");
    std::mt19937 random(9);
    const auto below = [&](u32 limit) { return u32(random() % limit); };
    static constexpr u8 kTypes[] = {8,  12, 14, 16, 18, 20, 22, 24, 26,  30,  32,  40,  50,  52,  54,
                                    70, 72, 74, 76, 100, 102, 104, 108, 110, 116, 118, 120, 122, 112, 255};
    static constexpr const char* kNames[] = {"a", "b", "c", "dir", "escape", "..", ".", "", "../outside", "user.x"};
    const auto add_field = [&](Message& m) {
      switch (below(8)) {
        case 0: m.str(kNames[below(std::size(kNames))]); break;
        case 1: m.u64_(below(3) == 0 ? ~u64(0) >> below(64) : below(5000)); break;
        case 2: m.u16_(u16(below(4))); break;
        case 3: m.u8_(u8(below(256))); break;
        case 4: m.bytes(std::string(below(50), 'x')); break;
        case 5: m.u32_(below(2) == 0 ? below(0x1000) : u32(random())); break;
        default: m.u32_(below(30)); break;
      }
    };
    const auto add_right_fields = [&](u8 type, Message& m) {
      const auto name = [&] { m.str(kNames[below(std::size(kNames))]); };
      m.u32_(below(30));
      switch (Type(type)) {
        case Type::Lopen: m.u32_(below(4) | below(2) << 9); break;
        case Type::Lcreate: name(); m.u32_(2 | below(2) << 7).u32_(0644).u32_(0); break;
        case Type::Mkdir: name(); m.u32_(0755).u32_(0); break;
        case Type::Symlink: name(); name(); m.u32_(0); break;
        case Type::Mknod: name(); m.u32_((1 + below(15)) << 12 | 0600).u32_(1).u32_(3).u32_(0); break;
        case Type::Renameat: name(); m.u32_(below(30)); name(); break;
        case Type::Unlinkat: name(); m.u32_(below(2) << 9); break;
        case Type::Walk:
          m.u32_(below(30)).u16_(2);
          name();
          name();
          break;
        case Type::Readdir:
        case Type::Read: m.u64_(below(100)).u32_(below(10000)); break;
        case Type::Write: m.u64_(below(100)).u32_(10).bytes("0123456789"); break;
        case Type::Xattrwalk: m.u32_(below(30)); name(); break;
        case Type::Xattrcreate: name(); m.u64_(10).u32_(0); break;
        case Type::Attach: m.u32_(kNoFid).str("").str("").u32_(kNoUser); break;
        default:
          for (unsigned i = below(6); i > 0; i--) add_field(m);
      }
    };
    for (unsigned i = 0; i < kMessages / 2; i++) {
      u8 type = kTypes[below(std::size(kTypes))];
      if (type == u8(Type::Version) && below(50) != 0) type = u8(Type::Walk);
      Message m = type == u8(Type::Version) ? version_message(4096 + below(10000)) : Message(Type(type), u16(i));
      if (type != u8(Type::Version)) {
        if (below(4) != 0) {
          add_right_fields(type, m);
        } else {
          for (unsigned fields = below(8); fields > 0; fields--) add_field(m);
        }
      }
      std::vector<u8> bytes = m.done();
      if (below(8) == 0) bytes[below(u32(bytes.size()))] = u8(random());
      if (below(20) == 0) bytes.resize(below(u32(bytes.size())));
      const std::vector<u8> reply = s.server->handle(bytes);
      const Header header = parse_header(std::span(reply).first<kHeaderBytes>());
      ASSERT_EQ(header.size, reply.size());
      ASSERT_LE(reply.size(), std::max(s.server->message_bytes(), kLeastMessage));
      if (s.server->fid_count() == 0) {
        s.ask(version_message());
        s.ask(attach_message(below(30)));
      }
    }
    EXPECT_LE(s.server->fid_count(), 40u);
    EXPECT_EQ(contents(s.folder.path + "/outside"), "untouched");
    EXPECT_EQ(std::distance(fs::directory_iterator(s.folder.path), {}), 2) << "the folder, and what lies beside it";
  }
}

}  // namespace
}  // namespace emu::hw::p9
