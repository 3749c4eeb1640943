// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/smbios.h"

#include <algorithm>

#include "util/bits.h"
#include "util/check.h"

namespace emu::hw {
namespace {

constexpr u64 kKiB = 1 << 10, kMiB = 1 << 20, kGiB = 1 << 30;
constexpr u64 kDimmBytes = 16 * kGiB;  ///< RAM is shown as modules of this size and one with the rest
constexpr u16 kNoErrorHandle = 0xfffe, kNoCache = 0xffff;
/// Handles are the type times 256, counted up.
enum Handle : u16 {
  kBios = 0x0000,
  kSystem = 0x0100,
  kBaseBoard = 0x0200,
  kChassis = 0x0300,
  kProcessor = 0x0400,
  kPort = 0x0800,
  kSlot = 0x0900,
  kOemStrings = 0x0b00,
  kArray = 0x1000,
  kDevice = 0x1100,
  kArrayAddress = 0x1300,
  kBoot = 0x2000,
  kEnd = 0x7f00
};

/// Writes structures: a formatted area, then its strings (§6.1).
class Writer {
 public:
  void begin(u8 type, u16 handle) {
    start_ = bytes_.size();
    strings_.clear();
    number(type, 1).number(0, 1).number(handle, 2);
    count_++;
  }
  Writer& number(u64 value, unsigned size) {
    for (unsigned i = 0; i < size; i++) bytes_.push_back(u8(value >> (8 * i)));
    return *this;
  }
  Writer& u8s(u64 v) { return number(v, 1); }
  Writer& u16s(u64 v) { return number(v, 2); }
  Writer& u32s(u64 v) { return number(v, 4); }
  Writer& u64s(u64 v) { return number(v, 8); }
  /// The number of the string; 0 for none.
  Writer& text(const std::string& value) {
    if (value.empty()) return u8s(0);
    strings_.push_back(value);
    return u8s(strings_.size());
  }
  /// Strings that no field names.
  void strings(const std::vector<std::string>& values) { strings_ = values; }
  /// A whole structure.
  void raw(const std::vector<u8>& structure) {
    bytes_.insert(bytes_.end(), structure.begin(), structure.end());
    longest_ = std::max(longest_, structure.size());
    count_++;
  }
  void end() {
    const size_t formatted = bytes_.size() - start_;
    EMU_CHECK(formatted < 256);
    bytes_[start_ + 1] = u8(formatted);
    for (const std::string& value : strings_) {
      for (const char c : value) bytes_.push_back(c == 0 ? u8(' ') : u8(c));
      bytes_.push_back(0);
    }
    bytes_.push_back(0);
    if (strings_.empty()) bytes_.push_back(0);
    longest_ = std::max(longest_, bytes_.size() - start_);
  }

  std::vector<u8>& bytes() { return bytes_; }
  size_t count() const { return count_; }
  size_t longest() const { return longest_; }

 private:
  std::vector<u8> bytes_;
  size_t start_ = 0, count_ = 0, longest_ = 0;
  std::vector<std::string> strings_;
};

/// A field of a port or slot.
std::string field_of(const SmbiosOverrides::Fields& fields, const std::string& key) {
  const auto at = fields.find(key);
  return at == fields.end() ? std::string() : at->second;
}
u64 number_of(const std::string& text, u64 otherwise) {
  u64 value = 0;
  for (const char c : text) value = value * 10 + u64(c - '0');
  return text.empty() ? otherwise : value;
}

void write_bios(Writer& w, const SmbiosConfig& c) {
  constexpr u64 kCharacteristicsUnsupported = bit64(3);
  constexpr u8 kTargetedContent = bit(2), kUefi = bit(3), kNone = 0xff;
  const SmbiosOverrides& o = c.overrides;
  const SmbiosConfig::Bios bios = c.bios.value_or(SmbiosConfig::Bios{});
  w.begin(0, kBios);
  w.text(o.text(0, "vendor", bios.vendor)).text(o.text(0, "version", bios.version)).u16s(0xe800);
  w.text(o.text(0, "date", bios.date)).u8s(0).u64s(kCharacteristicsUnsupported).u8s(0);
  w.u8s(kTargetedContent | (o.text(0, "uefi") == "on" ? kUefi : 0));
  const std::string release = o.text(0, "release");  // of the BIOS; the embedded controller has none
  const size_t dot = release.find('.');
  w.u8s(number_of(release.substr(0, dot), release.empty() ? 0 : kNone));
  w.u8s(dot == std::string::npos ? 0 : number_of(release.substr(dot + 1), 0)).u8s(kNone).u8s(kNone);
  w.end();
}

/// The first three fields of a UUID are little-endian here, §7.2.1.
void write_uuid(Writer& w, const std::array<u8, 16>& uuid) {
  for (const unsigned i : {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}) w.u8s(uuid[i]);
}

void write_system(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kPowerSwitch = 6;
  const SmbiosOverrides& o = c.overrides;
  std::array<u8, 16> uuid = c.uuid;
  if (const std::string* text = o.find(1, "uuid")) {
    unsigned digit = 0;
    uuid = {};
    for (const char ch : *text) {
      if (ch == '-' || digit >= 32) continue;
      const u8 value = u8(ch <= '9' ? ch - '0' : (ch | 0x20) - 'a' + 10);
      uuid[digit / 2] = u8(uuid[digit / 2] << 4 | (value & 15));
      digit++;
    }
  }
  w.begin(1, kSystem);
  w.text(o.text(1, "manufacturer", c.manufacturer)).text(o.text(1, "product", c.product));
  w.text(o.text(1, "version", c.version)).text(o.text(1, "serial", c.serial));
  write_uuid(w, uuid);
  w.u8s(kPowerSwitch).text(o.text(1, "sku", c.sku)).text(o.text(1, "family", c.family));
  w.end();
}

/// The base board, §7.3: only when somebody describes one.
void write_board(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kHosting = bit(0), kMotherboard = 0x0a;
  const SmbiosOverrides& o = c.overrides;
  w.begin(2, kBaseBoard);
  w.text(o.text(2, "manufacturer", c.manufacturer)).text(o.text(2, "product", c.product));
  w.text(o.text(2, "version", c.version)).text(o.text(2, "serial")).text(o.text(2, "asset"));
  w.u8s(kHosting).text(o.text(2, "location")).u16s(kChassis).u8s(kMotherboard).u8s(0);
  w.end();
}

void write_chassis(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kOther = 1, kSafe = 3, kSecurityUnknown = 2;
  const SmbiosOverrides& o = c.overrides;
  w.begin(3, kChassis);
  w.text(o.text(3, "manufacturer", c.manufacturer)).u8s(kOther).text(o.text(3, "version", c.version));
  w.text(o.text(3, "serial")).text(o.text(3, "asset"));
  w.u8s(kSafe).u8s(kSafe).u8s(kSafe).u8s(kSecurityUnknown).u32s(0).u8s(0).u8s(0).u8s(0).u8s(0).text(o.text(3, "sku"));
  w.end();
}

void write_processor(Writer& w, const SmbiosConfig& c, unsigned socket) {
  constexpr u8 kCentral = 3, kOther = 1, kPopulatedEnabled = 0x41, kMaxByte = 0xff;
  constexpr u16 kSpeedMhz = 2000, kUnknown = 0x02;
  const unsigned threads = c.cores * c.threads;
  const SmbiosOverrides& o = c.overrides;
  w.begin(4, u16(kProcessor + socket));
  w.text(o.text(4, "sock_pfx", "CPU") + " " + std::to_string(socket)).u8s(kCentral).u8s(kOther);
  w.text(o.text(4, "manufacturer", c.manufacturer));
  w.u64s(o.number(4, "processor-id", u64(c.cpuid_1_edx) << 32 | c.cpuid_1_eax)).text(o.text(4, "version", c.version));
  w.u8s(0).u16s(0).u16s(o.number(4, "max-speed", kSpeedMhz)).u16s(o.number(4, "current-speed", kSpeedMhz));
  w.u8s(kPopulatedEnabled).u8s(kOther);
  w.u16s(kNoCache).u16s(kNoCache).u16s(kNoCache).text(o.text(4, "serial")).text(o.text(4, "asset"));
  w.text(o.text(4, "part"));
  // Counts beyond a byte are given in the fields of version 3.0, which our structures do not have, §7.5.6.
  w.u8s(std::min<unsigned>(c.cores, kMaxByte))
      .u8s(std::min<unsigned>(c.cores, kMaxByte))
      .u8s(std::min<unsigned>(threads, kMaxByte));
  w.u16s(kUnknown).u16s(kOther);
  w.end();
}

/// Port connectors, §7.9; system slots, §7.10; OEM strings, §7.12.
void write_connectors(Writer& w, const SmbiosOverrides& o) {
  constexpr u8 kNoConnector = 0, kOther = 1, kNoPort = 0;
  u16 handle = kPort;
  for (const SmbiosOverrides::Fields& port : o.ports) {
    w.begin(8, handle++);
    w.text(field_of(port, "internal_reference")).u8s(kNoConnector).text(field_of(port, "external_reference"));
    w.u8s(number_of(field_of(port, "connector_type"), kNoConnector));
    w.u8s(number_of(field_of(port, "port_type"), kNoPort));
    w.end();
  }
  handle = kSlot;
  for (const SmbiosOverrides::Fields& slot : o.slots) {
    w.begin(9, handle++);
    w.text(field_of(slot, "slot_designation")).u8s(number_of(field_of(slot, "slot_type"), kOther));
    w.u8s(number_of(field_of(slot, "slot_data_bus_width"), kOther));
    w.u8s(number_of(field_of(slot, "current_usage"), kOther)).u8s(number_of(field_of(slot, "slot_length"), kOther));
    w.u16s(number_of(field_of(slot, "slot_id"), 0));
    w.u8s(number_of(field_of(slot, "slot_characteristics1"), 0));
    w.u8s(number_of(field_of(slot, "slot_characteristics2"), 0));
    w.u16s(0xffff).u8s(0xff).u8s(0xff);  // no place on a bus
    w.end();
  }
  if (o.oem_strings.empty()) return;
  w.begin(11, kOemStrings);
  w.u8s(o.oem_strings.size());
  w.strings(o.oem_strings);
  w.end();
}

void write_memory(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kOther = 1, kSystemMemory = 3, kMultiBitEcc = 6, kDimm = 9, kRamType = 7;
  constexpr u16 kDetailOther = 2, kSizeExtended = 0x7fff, kUnknownWidth = 0xffff;
  constexpr u32 kCapacityExtended = 0x8000'0000;
  const SmbiosOverrides& o = c.overrides;
  const u64 total = c.ram_below_4g + c.ram_above_4g;
  const u64 modules = std::max<u64>((total + kDimmBytes - 1) / kDimmBytes, 1);

  w.begin(16, kArray);
  w.u8s(kOther).u8s(kSystemMemory).u8s(kMultiBitEcc);
  const bool large = total / kKiB >= kCapacityExtended;
  w.u32s(large ? kCapacityExtended : total / kKiB).u16s(kNoErrorHandle).u16s(modules).u64s(large ? total : 0);
  w.end();

  for (u64 i = 0; i < modules; i++) {
    const u64 mib = std::min(kDimmBytes, total - i * kDimmBytes) / kMiB;
    w.begin(17, u16(kDevice + i));
    w.u16s(kArray).u16s(kNoErrorHandle).u16s(kUnknownWidth).u16s(kUnknownWidth);
    w.u16s(std::min<u64>(mib, kSizeExtended)).u8s(kDimm).u8s(0);
    w.text(o.text(17, "loc_pfx", "DIMM") + " " + std::to_string(i)).text(o.text(17, "bank"));
    w.u8s(kRamType).u16s(kDetailOther).u16s(o.number(17, "speed", 0)).text(o.text(17, "manufacturer", c.manufacturer));
    w.text(o.text(17, "serial")).text(o.text(17, "asset")).text(o.text(17, "part"));
    w.u8s(0).u32s(mib >= kSizeExtended ? mib : 0).u16s(o.number(17, "speed", 0)).u16s(0).u16s(0).u16s(0);
    w.end();
  }

  u16 handle = kArrayAddress;
  const auto mapped = [&](u64 first, u64 size) {
    constexpr u64 kExtendedFrom = 0xffff'ffff;
    if (size == 0) return;
    const u64 start_kib = first / kKiB, end_kib = (first + size) / kKiB - 1;
    const bool extended = end_kib >= kExtendedFrom;
    w.begin(19, handle++);
    w.u32s(extended ? kExtendedFrom : start_kib).u32s(extended ? kExtendedFrom : end_kib).u16s(kArray).u8s(1);
    w.u64s(extended ? first : 0).u64s(extended ? first + size - 1 : 0);
    w.end();
  };
  mapped(0, c.ram_below_4g);
  mapped(4 * kGiB, c.ram_above_4g);
}

u8 checksum(const std::vector<u8>& bytes, size_t start, size_t length) {
  u8 sum = 0;
  for (size_t i = 0; i < length; i++) sum = u8(sum + bytes[start + i]);
  return u8(-sum);
}

// Entry point, §5.2.1
constexpr size_t kAnchorBytes = 31, kChecksumAt = 4, kIntermediateAt = 16, kIntermediateChecksumAt = 21,
                 kAddressAt = 24;

}  // namespace

const std::string* SmbiosOverrides::find(u8 type, const std::string& key) const {
  const auto fields = types.find(type);
  if (fields == types.end()) return nullptr;
  const auto at = fields->second.find(key);
  return at == fields->second.end() ? nullptr : &at->second;
}
std::string SmbiosOverrides::text(u8 type, const std::string& key, std::string otherwise) const {
  const std::string* value = find(type, key);
  return value == nullptr ? std::move(otherwise) : *value;
}
u64 SmbiosOverrides::number(u8 type, const std::string& key, u64 otherwise) const {
  return number_of(text(type, key), otherwise);
}

Result<std::vector<std::vector<u8>>> split_smbios(std::string_view bytes) {
  constexpr size_t kHeader = 4;
  constexpr u8 kEndOfTable = 127;
  std::vector<std::vector<u8>> found;
  for (size_t at = 0; at < bytes.size();) {
    const size_t formatted = bytes.size() - at >= kHeader ? u8(bytes[at + 1]) : 0;
    if (formatted < kHeader || formatted > bytes.size() - at) return error("a structure is cut off at byte {}", at);
    const size_t end = bytes.find(std::string_view("\0\0", 2), at + formatted);
    if (end == std::string_view::npos) return error("the strings of a structure have no end, at byte {}", at);
    if (u8(bytes[at]) == kEndOfTable) {
      return error("an end-of-table structure is at byte {}: it is added at the end", at);
    }
    found.emplace_back(bytes.begin() + std::ptrdiff_t(at), bytes.begin() + std::ptrdiff_t(end + 2));
    at = end + 2;
  }
  return found;
}

SmbiosTables build_smbios_tables(const SmbiosConfig& config) {
  Writer w;
  const SmbiosOverrides& o = config.overrides;
  const auto is_made = [&](u8 type) {
    return std::none_of(o.raw.begin(), o.raw.end(), [&](const std::vector<u8>& raw) { return raw[0] == type; });
  };
  if ((config.bios || o.types.contains(0)) && is_made(0)) write_bios(w, config);
  if (is_made(1)) write_system(w, config);
  if (o.types.contains(2) && is_made(2)) write_board(w, config);
  if (is_made(3)) write_chassis(w, config);
  for (unsigned socket = 0; socket < config.sockets && is_made(4); socket++) write_processor(w, config, socket);
  write_connectors(w, o);
  if (is_made(16) && is_made(17) && is_made(19)) write_memory(w, config);  // they refer to one another
  for (const std::vector<u8>& raw : o.raw) w.raw(raw);
  w.begin(32, kBoot);
  w.number(0, 6).u8s(0);  // reserved; no errors detected
  w.end();
  w.begin(127, kEnd);
  w.end();
  EMU_CHECK(w.bytes().size() <= 0xffff);

  SmbiosTables out{std::move(w.bytes()), {}};
  Writer anchor;
  for (const char c : {'_', 'S', 'M', '_'}) anchor.u8s(u8(c));
  anchor.u8s(0).u8s(kAnchorBytes).u8s(2).u8s(8).u16s(w.longest()).u8s(0).number(0, 5);
  for (const char c : {'_', 'D', 'M', 'I', '_'}) anchor.u8s(u8(c));
  anchor.u8s(0).u16s(out.tables.size()).u32s(0).u16s(w.count()).u8s(0x28);
  out.anchor = std::move(anchor.bytes());
  EMU_CHECK(out.anchor.size() == kAnchorBytes);
  return out;
}

std::vector<u8> place_smbios_anchor(const SmbiosTables& tables, u32 tables_address) {
  std::vector<u8> anchor = tables.anchor;
  for (unsigned i = 0; i < 4; i++) anchor[kAddressAt + i] = u8(tables_address >> (8 * i));
  anchor[kIntermediateChecksumAt] = checksum(anchor, kIntermediateAt, kAnchorBytes - kIntermediateAt);
  anchor[kChecksumAt] = checksum(anchor, 0, kAnchorBytes);
  return anchor;
}

}  // namespace emu::hw
