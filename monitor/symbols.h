// SPDX-License-Identifier: Apache-2.0
// Names of guest addresses, from ELF files, System.map and the guest itself.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/kallsyms.h"
#include "util/guarded.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::monitor {

/// Main thread; describe_by_files() any.
class Symbols {
 public:
  /// Errors: not to be read, neither ELF nor a map, or without symbols.
  Result<void> add_file(const std::string& path);
  /// The same when a name is first asked for; a file without symbols is no error then.
  void add_file_later(std::string path) { later_.lock()->push_back(std::move(path)); }
  /// The symbols in `data`, by its first bytes. Errors as above.
  Result<void> add(std::span<const u8> data);

  /// Finds the guest's own symbols anew; `read` looks for them. Returns how many there are. Errors are those of `read`.
  using Reader = std::function<Result<std::vector<KernelSymbol>>()>;
  Result<std::size_t> add_guest(const Reader& read);
  /// The same when a name is first asked for that files do not know, and again after forget_guest(). As long as there
  /// are none it is tried every other second.
  void add_guest_later(Reader read) { guest_reader_ = std::move(read); }
  /// Another kernel may come.
  void forget_guest();

  /// "start_kernel+0x1c", or "" when no symbol is near below.
  std::string describe(u64 address);
  std::optional<u64> find(std::string_view name);
  /// Names that begin with `prefix`, sorted, at most `most`.
  std::vector<std::string> names_with(std::string_view prefix, std::size_t most);
  /// As describe(), without a look into the guest, which a thread that executes it must not take.
  std::string describe_by_files(u64 address);

 private:
  struct Symbol {
    u64 size = 0;  ///< 0: not known, up to the next one
    std::string name;
  };
  struct Table {
    std::map<u64, Symbol> by_address;
    std::map<std::string, u64, std::less<>> by_name;
    void add(u64 address, u64 size, std::string name);
    std::string describe(u64 address) const;
    std::optional<u64> find(std::string_view name) const;
    void add_names_with(std::string_view prefix, std::size_t most, std::vector<std::string>& names) const;
  };
  static Result<Table> read_elf(std::span<const u8> data);
  static Result<Table> read_map(std::span<const u8> data);
  void load_pending();
  void look_into_guest();

  // In the order in which they are taken.
  Guarded<std::vector<std::string>> later_;
  Guarded<Table> files_;
  Table guest_;
  Reader guest_reader_;
  std::optional<std::chrono::steady_clock::time_point> guest_looked_at_;
};

}  // namespace emu::monitor
