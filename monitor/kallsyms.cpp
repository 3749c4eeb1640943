// SPDX-License-Identifier: Apache-2.0
// The layout is that of scripts/kallsyms.c. In order of addresses, each aligned to 8:
//
//   up to 6.3   offsets (4 bytes each), base (8), number of symbols (4), names, markers (4 each), tokens, index (2)
//   from 6.4    number of symbols, names, markers, tokens, index, offsets, base
//
// In 6.2, 6.3 and Debian's 6.1 the numbers of names in alphabetical order (3 bytes each) come between markers and
// tokens. A name is a length (one byte, or two where the first has bit 7) and as many tokens; spelled out, its first
// character is the symbol's kind. Tokens are 256 strings, each ended by 0; a character that occurs in names is a token
// of itself, which is how the table is found. The index holds where each token begins: few other bytes would agree with
// it. Every 256th name has a marker: where it begins, from the first. Memory is the guest's, and may hold anything.
#include "monitor/kallsyms.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "monitor/ram_ranges.h"
#include "softmmu/memory/address_space.h"
#include "softmmu/memory/memory.h"
#include "util/bits.h"

namespace emu::monitor {
namespace {

constexpr unsigned kTokens = 256, kNamesPerMarker = 256;
constexpr std::size_t kMostSymbols = std::size_t(1) << 21, kLongestName = 512, kLongestToken = 64;
/// What is read around the digits: before them names, markers and up to 6.1 offsets; behind them tokens and the rest.
constexpr u64 kBefore = u64(24) << 20, kBehind = u64(12) << 20;
constexpr u64 kLowestKernelAddress = 0xffff'8000'0000'0000;
constexpr unsigned kMostCandidates = 64;

constexpr std::array<u8, 20> kDigits = {'0', 0, '1', 0, '2', 0, '3', 0, '4', 0, '5', 0, '6', 0, '7', 0, '8', 0, '9', 0};

class Tables {
 public:
  explicit Tables(std::span<const u8> memory) : memory_(memory) {}

  std::vector<KernelSymbol> parse(std::size_t digits) {
    if (!find_tokens(digits) || !find_names()) return {};
    const std::size_t bytes = align_up(4 * count_, 8);
    if (names_ >= 16 + bytes) {
      if (auto symbols = read(names_ - 16 - bytes, names_ - 16); !symbols.empty()) return symbols;
    }
    return read(behind_index_, behind_index_ + bytes);
  }

 private:
  u64 get(std::size_t at, unsigned bytes) const {
    if (at > memory_.size() || bytes > memory_.size() - at) return 0;
    u64 value = 0;
    std::memcpy(&value, memory_.data() + at, bytes);
    return value;
  }
  bool holds(std::size_t at, std::size_t bytes) const { return at <= memory_.size() && bytes <= memory_.size() - at; }

  /// Goes back from "0" to the second token, for what lies before the first may end in anything; then on over all
  /// behind it to the index, which says where the first one is.
  bool find_tokens(std::size_t digits) {
    std::size_t second = digits;
    for (unsigned n = 1; n < '0'; n++) {
      if (second == 0 || memory_[second - 1] != 0) return false;
      second--;
      for (std::size_t length = 0; second > 0 && memory_[second - 1] != 0; second--) {
        if (++length > kLongestToken) return false;
      }
    }
    std::size_t at = second;
    for (unsigned i = 1; i < kTokens; i++) {
      if (!take_token(at, tokens_[i])) return false;
    }
    const std::size_t index = align_up(at, 8);
    if (!holds(index, 2 * kTokens)) return false;
    std::size_t offset = std::size_t(get(index + 2, 2));
    if (get(index, 2) != 0 || offset > second || (second - offset) % 8 != 0) return false;
    tokens_begin_ = at = second - offset;
    if (!take_token(at, tokens_[0]) || at != second) return false;
    for (unsigned i = 1; i < kTokens; i++) {
      if (get(index + 2 * i, 2) != offset) return false;
      offset += tokens_[i].size() + 1;
    }
    behind_index_ = align_up(index + 2 * kTokens, 8);
    return true;
  }

  bool take_token(std::size_t& at, std::string& token) const {
    token.clear();
    for (; at < memory_.size() && token.size() <= kLongestToken; at++) {
      if (memory_[at] == 0) return at++, true;
      token += char(memory_[at]);
    }
    return false;
  }

  /// Where the number of symbols is follows from nothing, but what it says must agree with all that lies between it and
  /// the tokens.
  bool find_names() {
    for (std::size_t at = tokens_begin_; at >= 16; at -= 8) {
      const u64 count = get(at - 8, 8);
      if (count == 0 || count > kMostSymbols) continue;
      count_ = std::size_t(count);
      names_ = at;
      const std::size_t markers = align_up(4 * ((count_ - 1) / kNamesPerMarker + 1), 8);
      for (const std::size_t sorted : {std::size_t(0), std::size_t(align_up(3 * count_, 8))}) {
        if (tokens_begin_ - names_ < markers + sorted) break;
        markers_ = tokens_begin_ - sorted - markers;
        if (names_end_at_markers()) return true;
      }
    }
    return false;
  }

  /// Tokens of the name at `at`, which moves behind it. False: it reaches too far.
  bool take_name(std::size_t& at, std::span<const u8>& tokens) const {
    if (at >= markers_) return false;
    std::size_t length = memory_[at++];
    if (length & 0x80) {
      if (at >= markers_) return false;
      length = (length & 0x7f) | std::size_t(memory_[at++]) << 7;
    }
    if (length == 0 || length > kLongestName || length > markers_ - at) return false;
    tokens = memory_.subspan(at, length);
    at += length;
    return true;
  }

  bool names_end_at_markers() {
    const std::size_t last = (count_ - 1) / kNamesPerMarker;
    if (get(markers_, 4) != 0 || get(markers_ + 4 * last, 4) >= markers_ - names_) return false;
    std::size_t at = names_;
    std::span<const u8> tokens;
    for (std::size_t i = 0; i < count_; i++) {
      if (patience_ == 0) return false;
      patience_--;
      if (i % kNamesPerMarker == 0 && get(markers_ + 4 * (i / kNamesPerMarker), 4) != at - names_) return false;
      if (!take_name(at, tokens)) return false;
    }
    return align_up(at, 8) == markers_;
  }

  std::string spell(std::span<const u8> tokens) const {
    std::string name;
    for (const u8 token : tokens) {
      name += tokens_[token];
      if (name.size() > kLongestName) break;
    }
    return name;
  }

  /// Offsets count from the base; or, in kernels for several CPUs, below -1 down from it, where those from 0 on are
  /// numbers that stand for themselves.
  std::vector<KernelSymbol> read(std::size_t offsets, std::size_t base_at) const {
    if (!holds(offsets, 4 * count_) || !holds(base_at, 8)) return {};
    const u64 base = get(base_at, 8);
    if (base < kLowestKernelAddress) return {};
    bool has_numbers = false;
    for (std::size_t i = 0; i < count_; i++) has_numbers |= i32(get(offsets + 4 * i, 4)) < 0;
    std::vector<KernelSymbol> symbols;
    std::size_t at = names_;
    std::span<const u8> tokens;
    u64 last = 0;
    for (std::size_t i = 0; i < count_ && take_name(at, tokens); i++) {
      const u32 offset = u32(get(offsets + 4 * i, 4));
      if (has_numbers && i32(offset) >= 0) continue;
      const u64 address = has_numbers ? base - 1 - u64(i64(i32(offset))) : base + offset;
      if (address < last || address < kLowestKernelAddress) return {};  // they are sorted
      last = address;
      std::string name = spell(tokens);
      if (name.size() < 2) return {};
      symbols.push_back({address, name.substr(1)});
    }
    return symbols;
  }

  const std::span<const u8> memory_;
  std::array<std::string, kTokens> tokens_;
  std::size_t tokens_begin_ = 0, behind_index_ = 0, markers_ = 0, names_ = 0, count_ = 0;
  std::size_t patience_ = 4 * kMostSymbols;  ///< names to look at: a guest may have made many beginnings
};

std::optional<std::vector<u8>> read_range(mem::AddressSpace& memory, RamRange range) {
  std::vector<u8> data(range.size);
  const mem::MemTxAttrs attrs{.requester = mem::MemTxAttrs::Requester::Host, .debug = true};
  if (memory.read(range.address, data, attrs) != mem::MemTxResult::Ok) return std::nullopt;
  return data;
}

/// The part of `range` around `digits`.
RamRange around(RamRange range, u64 digits, u64 before, u64 behind) {
  const u64 begin = align_down(std::max(range.address, digits - std::min(digits, before)), 8);
  return {begin, std::min(range.end(), digits + behind) - begin};
}

std::vector<KernelSymbol> read_around(mem::AddressSpace& memory, RamRange range, u64 digits) {
  const RamRange wanted = around(range, digits, kBefore, kBehind);
  const auto data = read_range(memory, wanted);
  return data ? parse_kallsyms(*data, std::size_t(digits - wanted.address)) : std::vector<KernelSymbol>();
}

}  // namespace

std::vector<KernelSymbol> parse_kallsyms(std::span<const u8> memory, std::size_t digits) {
  if (digits >= memory.size()) return {};
  return Tables(memory).parse(digits);
}

Result<std::vector<KernelSymbol>> find_kallsyms(mem::AddressSpace& memory) {
  constexpr u64 kChunk = u64(4) << 20;
  unsigned candidates = 0;
  for (const RamRange& range : ram_ranges(memory)) {
    for (u64 begin = range.address; begin < range.end(); begin += kChunk) {
      const auto data = read_range(memory, {begin, std::min(range.end() - begin, kChunk + kDigits.size())});
      if (!data) continue;
      for (std::size_t at = 0;; at++) {
        const void* found = ::memmem(data->data() + at, data->size() - at, kDigits.data(), kDigits.size());
        if (found == nullptr) break;
        at = std::size_t(static_cast<const u8*>(found) - data->data());
        if (++candidates > kMostCandidates)
          return error("memory is full of what looks like a kernel's symbols, but is not");
        auto symbols = read_around(memory, range, begin + at);
        if (!symbols.empty()) return symbols;
      }
    }
  }
  return error(Error("no Linux kernel's symbols are in guest memory")
                   .with_hint("a 64-bit kernel has them once it is unpacked, if it was built with CONFIG_KALLSYMS"));
}

}  // namespace emu::monitor
