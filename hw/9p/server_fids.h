// SPDX-License-Identifier: Apache-2.0
// What a guest's handle on a file (fid) stands for. Inside of the server only.
#pragma once

#include "hw/9p/server.h"

namespace emu::hw::p9 {

/// A part of what the session may use, given back at the end.
class Server::Share {
 public:
  Share() = default;
  /// False when no more than `most` are to be had.
  bool take(std::atomic<u64>& used, u64 amount, u64 most) {
    give_back();
    if (used.fetch_add(amount) + amount > most) {
      used.fetch_sub(amount);
      return false;
    }
    used_ = &used;
    amount_ = amount;
    return true;
  }
  ~Share() { give_back(); }
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  void give_back() {
    if (used_ != nullptr) used_->fetch_sub(amount_);
    used_ = nullptr;
  }

 private:
  std::atomic<u64>* used_ = nullptr;
  u64 amount_ = 0;
};

struct Server::Fid {
  enum class Kind : u8 { Name, File, Folder, XattrRead, XattrWrite };

  Fid(Path where, u32 user) : uid(user), path_(std::move(where)) {}

  const u32 uid;  ///< who attached: owns what is made

  /// Stays valid as long as the server's `names_` is held.
  Path path() const {
    const std::lock_guard hold(path_mutex_);
    return path_;
  }
  void set_path(Path path) {
    const std::lock_guard hold(path_mutex_);
    path_ = std::move(path);
  }

  std::mutex mutex;  ///< all below, and the position of an open folder
  Kind kind = Kind::Name;
  Fd file;  ///< once open it stays the same, and may be used without the lock
  Share share;
  std::string xattr_name;
  std::vector<u8> xattr;
  u64 xattr_done = 0;
  u32 xattr_flags = 0;

  /// The open descriptor, or -1.
  int open_fd() {
    const std::lock_guard hold(mutex);
    return file.get();
  }
  Kind what() {
    const std::lock_guard hold(mutex);
    return kind;
  }

 private:
  mutable std::mutex path_mutex_;
  Path path_;
};

/// Flags of Tlopen and Tlcreate, whose numbers are those of Linux on most processors.
int host_open_flags(u32 flags);

}  // namespace emu::hw::p9
