// SPDX-License-Identifier: Apache-2.0
// Tells Linux perf where translated code lies: the map file that perf looks for by process id, and the jitdump file
// that `perf inject --jit` makes symbols and code bytes of.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "util/result.h"
#include "util/types.h"

namespace emu::accel {

class PerfFiles {
 public:
  /// Opens /tmp/perf-PID.map.
  Result<void> open_map() { return open_map_at(map_path()); }
  Result<void> open_map_at(const std::string& path);
  /// Opens jit-PID.dump in the current folder, which `perf record` takes note of when it is mapped.
  Result<void> open_dump() { return open_dump_at(dump_path()); }
  Result<void> open_dump_at(const std::string& path);
  bool is_open() const { return map_ || dump_; }

  /// A block whose code is in place. Any thread; takes a lock and writes files, so only where somebody asked for it.
  void add(u64 guest_pc, u32 mode, std::span<const u8> code);

  ~PerfFiles();
  PerfFiles() = default;
  PerfFiles(const PerfFiles&) = delete;
  PerfFiles& operator=(const PerfFiles&) = delete;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;

  static std::string map_path();
  static std::string dump_path();
  void dump_locked(const std::string& name, std::span<const u8> code);

  std::mutex mutex_;  // leaf lock
  File map_, dump_;
  void* marker_ = nullptr;  ///< the mapping by which perf finds the dump
  std::size_t marker_bytes_ = 0;
  u64 next_index_ = 0;
};

}  // namespace emu::accel
