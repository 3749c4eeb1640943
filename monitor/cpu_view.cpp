// SPDX-License-Identifier: Apache-2.0
#include "monitor/cpu_view.h"

#include <algorithm>
#include <cctype>

#include "util/string.h"

namespace emu::monitor {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// The dump as it stands: NAME, spaces, '=', spaces, hexadecimal digits.
std::optional<u64> find_exact(std::string_view dump, std::string_view upper) {
  for (std::size_t at = dump.find(upper); at != std::string_view::npos; at = dump.find(upper, at + 1)) {
    if (at > 0 && is_word(dump[at - 1])) continue;
    std::size_t i = at + upper.size();
    while (i < dump.size() && dump[i] == ' ') i++;
    if (i >= dump.size() || dump[i] != '=') continue;
    i++;
    while (i < dump.size() && dump[i] == ' ') i++;
    u64 value = 0;
    std::size_t digits = 0;
    for (; i < dump.size() && std::isxdigit(static_cast<unsigned char>(dump[i])) != 0 && digits < 16; i++, digits++) {
      const char c = char(std::tolower(static_cast<unsigned char>(dump[i])));
      value = value << 4 | u64(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (digits > 0) return value;
  }
  return std::nullopt;
}

std::string upper_case(std::string_view text) {
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  return upper;
}

}  // namespace

std::optional<u64> find_register(std::string_view dump, std::string_view name) {
  const std::string upper = upper_case(name);
  if (const auto value = find_exact(dump, upper)) return value;
  if (upper == "EFLAGS" || upper == "RFLAGS") {
    const auto wide = find_exact(dump, "RFL");
    return wide ? wide : find_exact(dump, "EFL");
  }
  static constexpr std::string_view kStems[] = {"AX", "BX", "CX", "DX", "SI", "DI", "BP", "SP", "IP"};
  const std::string_view stem = std::string_view(upper).substr(upper.size() > 2 ? upper.size() - 2 : 0);
  if (std::find(std::begin(kStems), std::end(kStems), stem) == std::end(kStems)) return std::nullopt;
  u64 mask = 0xffff;
  if (upper.size() == 3 && (upper[0] == 'R' || upper[0] == 'E'))
    mask = upper[0] == 'R' ? ~u64(0) : 0xffff'ffff;
  else if (upper.size() != 2)
    return std::nullopt;
  for (const char* prefix : {"R", "E"}) {
    if (const auto value = find_exact(dump, prefix + std::string(stem))) return *value & mask;
  }
  return std::nullopt;
}

std::optional<u64> CpuView::register_value(std::string_view name) const {
  if (to_lower(name) == "pc") return cpu_.cpu->debug_pc();
  return find_register(cpu_.cpu->dump_registers(), name);
}

bool CpuView::read(u64 address, AddressKind kind, std::span<u8> to) const {
  const mem::MemTxAttrs attrs{.requester = mem::MemTxAttrs::Requester::Host, .debug = true};
  while (!to.empty()) {
    const std::size_t length = std::min<u64>(to.size(), mem::kPageSize - (address & (mem::kPageSize - 1)));
    u64 physical = address;
    if (kind == AddressKind::Virtual) {
      const auto found = cpu_.cpu->debug_translate(address);
      if (!found) return false;
      physical = cpu_.cpu->wrap_physical(*found);
    }
    if (cpu_.memory->read(physical, to.first(length), attrs) != mem::MemTxResult::Ok) return false;
    to = to.subspan(length);
    address += length;
  }
  return true;
}

}  // namespace emu::monitor
