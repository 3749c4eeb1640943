// SPDX-License-Identifier: Apache-2.0
// smb=FOLDER with a program in smbd's place that shows how it was started, and echoes.
#include "net/smb_server.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "unit/net/user_guest.h"
#include "util/file.h"

namespace emu::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr u32 kSmbServer = 0x0a00'0204;
constexpr u16 kNetbios = 139, kDirect = 445;

/// A variable of the environment, as long as this lives.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    ::setenv(name, value.c_str(), 1);
  }
  ~Setting() {
    if (old_) {
      ::setenv(name_, old_->c_str(), 1);
    } else {
      ::unsetenv(name_);
    }
  }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

class SmbServerTest : public ::testing::Test {
 protected:
  SmbServerTest() {
    fs::create_directories(shared);
    fs::create_directories(programs);
    fs::create_directories(temporary);
    std::ofstream(programs / "smbd") << "#!/bin/sh\necho \"$@\" >'" << (base / "started").string() << "'\nexec cat\n";
    fs::permissions(programs / "smbd", fs::perms::owner_all);
  }
  ~SmbServerTest() override { fs::remove_all(base); }
  std::size_t temporary_folders() const { return std::size_t(std::distance(fs::directory_iterator(temporary), {})); }
  std::string text_of(const fs::path& path) const { return read_file(path.string(), 1 << 20).value_or(""); }
  std::string smb() const { return ",smb=" + shared.string(); }

  const fs::path base = fs::path(::testing::TempDir()) / ("smb_" + std::to_string(::getpid()));
  const fs::path shared = base / "a folder", programs = base / "it's bin", temporary = base / "tmp";
  const Setting temporary_setting{"TMPDIR", temporary.string()};
  const Setting path_setting{"PATH", programs.string() + ":" + std::getenv("PATH")};
};

/// Whether what the guest sends to that port of a server comes back.
bool echoes(Guest& guest, u16 from, u16 port, u32 server = kSmbServer) {
  FakePeer& card = guest.card;
  card.got.clear();
  card.give(tcp_frame(from, port, server, 500, 0, 0x02));
  const u32 theirs = guest.answered_syn();
  card.give(tcp_frame(from, port, server, 501, theirs, 0x10));
  card.give(tcp_frame(from, port, server, 501, theirs, 0x18, "echo this"));
  return guest.bench.wait_for([&] {
    return find(card, [](const auto& f) {
             return is_tcp(f, 0x10) && std::string(f.begin() + 54, f.end()).starts_with("echo this");
           }) != nullptr;
  });
}

TEST_F(SmbServerTest, EachConnectionGetsAProgramAndItsStateGoesWithTheNetwork) {
  {
    Guest guest(smb());
    ASSERT_EQ(temporary_folders(), 1u);
    const std::string state = fs::directory_iterator(temporary)->path().string();
    EXPECT_EQ(fs::status(state).permissions(), fs::perms::owner_all);
    EXPECT_TRUE(echoes(guest, 4001, kDirect));
    EXPECT_EQ(text_of(base / "started"), "-l " + state + " -s " + state + "/smb.conf\n");
    fs::remove(base / "started");
    EXPECT_TRUE(echoes(guest, 4002, kNetbios));
    EXPECT_TRUE(fs::exists(base / "started"));
    const std::string configuration = text_of(state + "/smb.conf");
    EXPECT_THAT(configuration, HasSubstr("\n[qemu]\npath = " + shared.string() + "\n"));
    EXPECT_THAT(configuration, HasSubstr("\nprivate dir = " + state + "\n"));
  }
  EXPECT_EQ(temporary_folders(), 0u);
}

TEST_F(SmbServerTest, TheServersAddressCanBeChosen) {
  Guest guest(smb() + ",smbserver=10.0.2.77");
  EXPECT_TRUE(echoes(guest, 4001, kDirect, 0x0a00'024d));
}

TEST_F(SmbServerTest, RefusesWhatCannotBeServed) {
  NetBench bench;
  std::ofstream(base / "file") << "";
  fs::create_directory(base / "50% off");
  const std::string at = "user,id=n,smb=" + base.string();
  EXPECT_THAT(bench.refusal(at + "/absent"), HasSubstr("/absent': No such file"));
  EXPECT_THAT(bench.refusal(at + "/file"), HasSubstr("/file' is not a folder"));
  EXPECT_THAT(bench.refusal(at + "/50% off"), HasSubstr("cannot be told a path like"));
  const std::string user = "user,id=n" + smb();
  EXPECT_THAT(bench.refusal(user + ",smbserver=10.0.3.4"), HasSubstr("smbserver=10.0.3.4 is not an address in"));
  EXPECT_THAT(bench.refusal(user + ",smbserver=10.0.2.3"), HasSubstr("'smbserver' and 'dns' are the same"));
  EXPECT_THAT(bench.refusal(user + ",dhcpstart=10.0.2.4"), HasSubstr("'smbserver' and 'dhcpstart' are the same"));
  EXPECT_THAT(bench.refusal(user + ",guestfwd=tcp:10.0.2.4:445-cmd:cat"),
              HasSubstr("port 445 of that address is where 'smb' is served"));
  EXPECT_THAT(bench.refusal(user + ",ipv4=off"), HasSubstr("'smb' has no meaning with ipv4=off"));
  EXPECT_THAT(bench.refusal("user,id=n,smbserver=10.0.2.4"), HasSubstr("goes with 'smb' only"));
  EXPECT_EQ(temporary_folders(), 0u);
}

TEST_F(SmbServerTest, ASymbolicLinkStandsForAFolderWithAnAwkwardName) {
  fs::create_directory(base / "50% off");
  fs::create_symlink(base / "50% off", base / "link");
  EXPECT_EQ(net::path_to_share((base / "link").string()).value_or(""), (base / "link").string());
}

TEST_F(SmbServerTest, SaysWhatToInstall) {
  const Setting nowhere("PATH", temporary.string());
  const auto found = net::find_smbd({});
  ASSERT_FALSE(found.has_value());
  EXPECT_THAT(found.error().text(), HasSubstr("no program 'smbd'"));
  EXPECT_EQ(found.error().hint(), "apt-get install samba");
  const std::string there = (programs / "smbd").string();
  EXPECT_EQ(net::find_smbd({"/nowhere/smbd", there}).value_or(""), there);
}

TEST_F(SmbServerTest, ProgramsThatASandboxEndsAreRefused) {
  NetBench bench;
  const auto refusal = [&](const std::string& text, net::ProgramRights rights) {
    auto options = Options::parse(text, {.implied_key = "type"});
    auto made = net::add_netdev({.tree = bench.tree, .loop = bench.loop, .programs = rights}, std::move(*options));
    return made ? "" : made.error().text();
  };
  EXPECT_THAT(refusal("user,id=n" + smb(), {.start = false}), HasSubstr("-sandbox spawn=deny"));
  EXPECT_THAT(refusal("user,id=n" + smb(), {.change_user = false}), HasSubstr("-sandbox elevateprivileges=deny"));
  const std::string command = "user,id=n,guestfwd=tcp:10.0.2.100:7-cmd:cat";
  EXPECT_THAT(refusal(command, {.start = false}), HasSubstr("-sandbox spawn=deny"));
  EXPECT_EQ(refusal(command, {.change_user = false}), "");
}

TEST_F(SmbServerTest, ADryRunMakesNoFolder) {
  NetBench bench;
  std::vector<Fd> kept;
  auto options = Options::parse("user,id=n" + smb(), {.implied_key = "type"});
  EXPECT_TRUE(net::add_netdev({.tree = bench.tree, .loop = bench.loop, .dry_run = &kept}, std::move(*options)));
  EXPECT_EQ(temporary_folders(), 0u);
}

}  // namespace
}  // namespace emu::test
