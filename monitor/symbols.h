// SPDX-License-Identifier: Apache-2.0
// Names of guest addresses, from ELF files and System.map.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::monitor {

/// Main thread.
class Symbols {
 public:
  /// Errors: not to be read, neither ELF nor a map, or without symbols.
  Result<void> add_file(const std::string& path);
  /// The same when a name is first asked for; a file without symbols is no error then.
  void add_file_later(std::string path) { later_.push_back(std::move(path)); }
  /// The symbols in `data`, by its first bytes. Errors as above.
  Result<void> add(std::span<const u8> data);

  /// "start_kernel+0x1c", or "" when no symbol is near below.
  std::string describe(u64 address);
  std::optional<u64> find(std::string_view name);

 private:
  struct Symbol {
    u64 size = 0;  ///< 0: not known, up to the next one
    std::string name;
  };
  Result<void> add_elf(std::span<const u8> data);
  Result<void> add_map(std::span<const u8> data);
  void add_symbol(u64 address, u64 size, std::string name);
  void load_pending();

  std::vector<std::string> later_;
  std::map<u64, Symbol> by_address_;
  std::map<std::string, u64, std::less<>> by_name_;
};

}  // namespace emu::monitor
