// SPDX-License-Identifier: Apache-2.0
// Names and layout of 9P2000.L messages. Plan 9 manual, section 5; protocol.md of the diod project.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/endian.h"

namespace emu::hw::p9 {

/// Requests; the reply to each has the next number.
enum class Type : u8 {
  Lerror = 6,  ///< only as a reply, Rlerror = 7
  Statfs = 8,
  Lopen = 12,
  Lcreate = 14,
  Symlink = 16,
  Mknod = 18,
  Rename = 20,
  Readlink = 22,
  Getattr = 24,
  Setattr = 26,
  Xattrwalk = 30,
  Xattrcreate = 32,
  Readdir = 40,
  Fsync = 50,
  Lock = 52,
  Getlock = 54,
  Link = 70,
  Mkdir = 72,
  Renameat = 74,
  Unlinkat = 76,
  Version = 100,
  Auth = 102,
  Attach = 104,
  Flush = 108,
  Walk = 110,
  Read = 116,
  Write = 118,
  Clunk = 120,
  Remove = 122,
};

inline constexpr u32 kHeaderBytes = 7;  ///< size[4] type[1] tag[2]
inline constexpr u16 kNoTag = 0xffff;
inline constexpr u32 kNoFid = ~0u;
/// Elements of one walk.
inline constexpr unsigned kMostNames = 16;

/// Size, type and tag of a message that may be shorter.
struct Header {
  u32 size = 0;
  u8 type = 0;
  u16 tag = 0;
};
inline Header parse_header(std::span<const u8, kHeaderBytes> bytes) {
  return {u32(bytes[0]) | u32(bytes[1]) << 8 | u32(bytes[2]) << 16 | u32(bytes[3]) << 24, bytes[4],
          u16(bytes[5] | bytes[6] << 8)};
}

/// What identifies a file; `type` has the flags of its mode.
struct Qid {
  static constexpr u8 kDir = 0x80, kSymlink = 0x02;
  u8 type = 0;
  u32 version = 0;
  u64 path = 0;
};

/// Takes fields from a message. Beyond its end everything is zero, and is_good() false.
class Reader {
 public:
  explicit Reader(std::span<const u8> bytes) : bytes_(bytes) {}
  bool is_good() const { return good_; }

  u8 get8() { return u8(integer(1)); }
  u16 get16() { return u16(integer(2)); }
  u32 get32() { return u32(integer(4)); }
  u64 get64() { return integer(8); }
  std::string string() {
    const std::span<const u8> text = raw(get16());
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  std::span<const u8> raw(u64 size) {
    if (size > bytes_.size()) {
      good_ = false;
      bytes_ = {};
      return {};
    }
    const auto taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }

 private:
  u64 integer(unsigned size) {
    u64 value = 0;
    const auto from = raw(size);
    for (size_t i = 0; i < from.size(); i++) value |= u64(from[i]) << (8 * i);
    return value;
  }

  std::span<const u8> bytes_;
  bool good_ = true;
};

/// Builds a message; finish() puts its length in front.
class Writer {
 public:
  Writer(u8 type, u16 tag) {
    put32(0);
    put8(type);
    put16(tag);
  }
  void put8(u8 value) { bytes_.push_back(value); }
  void put16(u16 value) { integer(value, 2); }
  void put32(u32 value) { integer(value, 4); }
  void put64(u64 value) { integer(value, 8); }
  void put(std::string_view text) {
    put16(u16(text.size()));
    bytes_.insert(bytes_.end(), text.begin(), text.end());
  }
  void put(const Qid& qid) {
    put8(qid.type);
    put32(qid.version);
    put64(qid.path);
  }
  /// `size` zeroes to be filled; shrink() takes back what was not.
  std::span<u8> room(size_t size) {
    const size_t at = bytes_.size();
    bytes_.resize(at + size);
    return {bytes_.data() + at, size};
  }
  void shrink(size_t unused) { bytes_.resize(bytes_.size() - unused); }
  void set32(size_t at, u32 value) {
    for (unsigned i = 0; i < 4; i++) bytes_[at + i] = u8(value >> (8 * i));
  }
  size_t size() const { return bytes_.size(); }
  std::vector<u8> finish() {
    set32(0, u32(bytes_.size()));
    return std::move(bytes_);
  }

 private:
  void integer(u64 value, unsigned size) {
    for (unsigned i = 0; i < size; i++) bytes_.push_back(u8(value >> (8 * i)));
  }

  std::vector<u8> bytes_;
};

}  // namespace emu::hw::p9
