// SPDX-License-Identifier: Apache-2.0
#include "monitor/symbols.h"

#include <algorithm>
#include <cstring>

#include "util/file.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

constexpr std::size_t kMostBytes = std::size_t(1) << 30;
/// So far behind a symbol of unknown size an address still has its name.
constexpr u64 kReach = u64(1) << 20;
constexpr auto kGuestPatience = std::chrono::seconds(2);

// Tool Interface Standard, ELF 1.2, and the 64-bit object file format; little-endian here.
constexpr u32 kSymbolTable = 2;  // SHT_SYMTAB
constexpr u8 kFunction = 2, kObject = 1, kNoType = 0;

/// Bounded, unaligned little-endian reads.
class Bytes {
 public:
  explicit Bytes(std::span<const u8> data) : data_(data) {}
  u64 get(u64 offset, unsigned bytes) const {
    if (offset > data_.size() || bytes > data_.size() - offset) return 0;
    u64 value = 0;
    for (unsigned i = bytes; i-- > 0;) value = value << 8 | data_[offset + i];
    return value;
  }
  std::string text(u64 offset, u64 end) const {
    std::string out;
    end = std::min<u64>(end, data_.size());
    while (offset < end && data_[offset] != 0) out += char(data_[offset++]);
    return out;
  }

 private:
  std::span<const u8> data_;
};

}  // namespace

Result<void> Symbols::add_file(const std::string& path) {
  const std::string data = EMU_TRY(read_file(path, kMostBytes));
  EMU_TRY(add({reinterpret_cast<const u8*>(data.data()), data.size()}), "'" + path + "'");
  return {};
}

Result<void> Symbols::add(std::span<const u8> data) {
  const bool is_elf = data.size() > 64 && std::memcmp(data.data(), "\x7f""ELF", 4) == 0;
  const Table read = EMU_TRY(is_elf ? read_elf(data) : read_map(data));
  auto files = files_.lock();
  for (const auto& [name, address] : read.by_name) files->by_name.try_emplace(name, address);
  for (const auto& [address, symbol] : read.by_address) files->add(address, symbol.size, symbol.name);
  return {};
}

Result<Symbols::Table> Symbols::read_elf(std::span<const u8> data) {
  const Bytes file(data);
  const bool wide = data[4] == 2;
  if (data[5] != 1) return error("is big-endian, as no guest here is");
  const u64 sections = wide ? file.get(40, 8) : file.get(32, 4);
  const u64 section_bytes = file.get(wide ? 58 : 46, 2), count = file.get(wide ? 60 : 48, 2);
  // Offset and size of a section's bytes.
  const auto section = [&](u64 index, unsigned wide_at, unsigned narrow_at) {
    return file.get(sections + index * section_bytes + (wide ? wide_at : narrow_at), wide ? 8 : 4);
  };
  Table table;
  for (u64 i = 0; i < count; i++) {
    if (file.get(sections + i * section_bytes + 4, 4) != kSymbolTable) continue;
    const u64 begin = section(i, 24, 16), bytes = section(i, 32, 20);
    const u64 names = file.get(sections + i * section_bytes + (wide ? 40 : 24), 4);
    const u64 text = section(names, 24, 16), text_bytes = section(names, 32, 20);
    const u64 entry = wide ? 24 : 16;
    if (begin > data.size() || bytes > data.size() - begin || text > data.size() || text_bytes > data.size() - text) {
      return error("is cut off within its symbols");
    }
    for (u64 at = begin; at + entry <= begin + bytes; at += entry) {
      const u8 type = u8(file.get(at + (wide ? 4 : 12), 1)) & 15;
      const u64 where = file.get(at + (wide ? 6 : 14), 2);
      if (where == 0 || (type != kFunction && type != kObject && type != kNoType)) continue;
      std::string name = file.text(text + file.get(at, 4), text + text_bytes);
      if (name.empty() || name[0] == '$') continue;
      table.add(wide ? file.get(at + 8, 8) : file.get(at + 4, 4), wide ? file.get(at + 16, 8) : file.get(at + 8, 4),
                std::move(name));
    }
  }
  if (table.by_name.empty()) return error("has no symbols");
  return table;
}

/// Lines of nm, as System.map has them: "ffffffff81000000 T _text".
Result<Symbols::Table> Symbols::read_map(std::span<const u8> data) {
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  Table table;
  if (text.substr(0, 4096).find('\0') != std::string_view::npos) return error("is neither ELF nor a list of symbols");
  for (const std::string_view line : split(text, '\n')) {
    const auto words = split(trim(line), ' ');
    if (words.size() < 3 || words[0].size() > 16 || words[0].empty() || words[1].size() != 1) continue;
    const auto address = parse_u64("0x" + std::string(words[0]));
    if (!address || words[2].empty()) continue;
    table.add(*address, 0, std::string(words[2]));
  }
  if (table.by_name.empty()) {
    return error(Error("is neither ELF nor a list of symbols")
                     .with_hint("System.map has lines like 'ffffffff81000000 T _text'"));
  }
  return table;
}

Result<std::size_t> Symbols::add_guest(const Reader& read) {
  guest_looked_at_ = std::chrono::steady_clock::now();
  std::vector<KernelSymbol> symbols = EMU_TRY(read());
  guest_ = {};
  for (KernelSymbol& symbol : symbols) guest_.add(symbol.address, 0, std::move(symbol.name));
  return symbols.size();
}

void Symbols::forget_guest() {
  guest_ = {};
  guest_looked_at_.reset();
}

void Symbols::look_into_guest() {
  if (!guest_reader_ || !guest_.by_address.empty()) return;
  if (guest_looked_at_ && std::chrono::steady_clock::now() - *guest_looked_at_ < kGuestPatience) return;
  static_cast<void>(add_guest(guest_reader_));
}

/// Under its lock, so that who comes meanwhile finds the names, too.
void Symbols::load_pending() {
  auto later = later_.lock();
  for (const std::string& path : std::exchange(*later, {})) static_cast<void>(add_file(path));
}

std::string Symbols::describe_by_files(u64 address) {
  load_pending();
  return files_.lock()->describe(address);
}

std::string Symbols::describe(u64 address) {
  if (std::string name = describe_by_files(address); !name.empty()) return name;
  look_into_guest();
  return guest_.describe(address);
}

std::optional<u64> Symbols::find(std::string_view name) {
  load_pending();
  if (const auto address = files_.lock()->find(name)) return address;
  look_into_guest();
  return guest_.find(name);
}

std::vector<std::string> Symbols::names_with(std::string_view prefix, std::size_t most) {
  load_pending();
  look_into_guest();
  std::vector<std::string> names;
  files_.lock()->add_names_with(prefix, most, names);
  guest_.add_names_with(prefix, most, names);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.size() > most) names.resize(most);
  return names;
}

// --- Table ---

void Symbols::Table::add(u64 address, u64 size, std::string name) {
  by_name.try_emplace(name, address);
  Symbol& there = by_address[address];
  // Of several names the one with a size is a function's; otherwise the first stays.
  if (there.name.empty() || (there.size == 0 && size != 0)) there = {size, std::move(name)};
}

std::string Symbols::Table::describe(u64 address) const {
  auto at = by_address.upper_bound(address);
  if (at == by_address.begin()) return "";
  --at;
  const u64 offset = address - at->first;
  if (offset >= (at->second.size != 0 ? at->second.size : kReach)) return "";
  return offset == 0 ? at->second.name : fmt::format("{}+{:#x}", at->second.name, offset);
}

void Symbols::Table::add_names_with(std::string_view prefix, std::size_t most, std::vector<std::string>& names) const {
  std::size_t found = 0;
  for (auto at = by_name.lower_bound(prefix); at != by_name.end() && at->first.starts_with(prefix); ++at) {
    if (found++ == most) return;
    names.push_back(at->first);
  }
}

std::optional<u64> Symbols::Table::find(std::string_view name) const {
  const auto at = by_name.find(name);
  if (at == by_name.end()) return std::nullopt;
  return at->second;
}

}  // namespace emu::monitor
