// SPDX-License-Identifier: Apache-2.0
// A 9P client for tests: builds requests, takes replies apart.
#pragma once

#include <fmt/format.h>
#include <ftw.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "hw/9p/server.h"

namespace emu::test {

/// A folder that goes with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = ::testing::TempDir() + "9p-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path = name;
  }
  ~TemporaryFolder() {
    ::nftw(path.c_str(), [](const char* file, const struct stat*, int, struct FTW*) { return ::remove(file); }, 16,
           FTW_DEPTH | FTW_PHYS);
  }
  std::string path;
};

/// The fields of a request, one after another.
class Message {
 public:
  explicit Message(hw::p9::Type type, u16 tag = 1) : out_(u8(type), tag) {}
  Message& u8_(u8 v) { return out_.put8(v), *this; }
  Message& u16_(u16 v) { return out_.put16(v), *this; }
  Message& u32_(u32 v) { return out_.put32(v), *this; }
  Message& u64_(u64 v) { return out_.put64(v), *this; }
  Message& str(std::string_view text) { return out_.put(text), *this; }
  Message& bytes(std::string_view text) {
    for (const char c : text) out_.put8(u8(c));
    return *this;
  }
  std::vector<u8> done() { return out_.finish(); }

 private:
  hw::p9::Writer out_;
};

struct Reply {
  hw::p9::Header header;
  std::vector<u8> body;

  int error() const {
    if (header.type != 7) return 0;
    hw::p9::Reader in(body);
    return int(in.get32());
  }
  hw::p9::Reader reader() const { return hw::p9::Reader(body); }
};

inline Reply parse_reply(const std::vector<u8>& bytes) {
  Reply reply;
  if (bytes.size() < hw::p9::kHeaderBytes) {
    ADD_FAILURE() << "a reply of " << bytes.size() << " bytes";
    return reply;
  }
  reply.header = hw::p9::parse_header(std::span(bytes).first<hw::p9::kHeaderBytes>());
  EXPECT_EQ(reply.header.size, bytes.size());
  reply.body.assign(bytes.begin() + hw::p9::kHeaderBytes, bytes.end());
  return reply;
}

inline Message version_message(u32 size = 65536, std::string_view name = "9P2000.L") {
  return Message(hw::p9::Type::Version, hw::p9::kNoTag).u32_(size).str(name);
}
inline Message attach_message(u32 fid, u32 uid = 1000) {
  return Message(hw::p9::Type::Attach).u32_(fid).u32_(hw::p9::kNoFid).str("root").str("/").u32_(uid);
}
inline Message walk_message(u32 fid, u32 new_fid, const std::vector<std::string>& names) {
  Message m(hw::p9::Type::Walk);
  m.u32_(fid).u32_(new_fid).u16_(u16(names.size()));
  for (const std::string& name : names) m.str(name);
  return m;
}

}  // namespace emu::test
