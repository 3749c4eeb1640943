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
  kChassis = 0x0300,
  kProcessor = 0x0400,
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

void write_bios(Writer& w, const SmbiosConfig::Bios& bios) {
  constexpr u64 kCharacteristicsUnsupported = bit64(3);
  constexpr u8 kTargetedContent = bit(2);
  w.begin(0, kBios);
  w.text(bios.vendor).text(bios.version).u16s(0xe800).text(bios.date).u8s(0);
  w.u64s(kCharacteristicsUnsupported).u8s(0).u8s(kTargetedContent);
  w.u8s(0).u8s(0).u8s(0xff).u8s(0xff);  // releases of BIOS and of the embedded controller: none
  w.end();
}

void write_system(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kPowerSwitch = 6;
  w.begin(1, kSystem);
  w.text(c.manufacturer).text(c.product).text(c.version).text(c.serial);
  // The first three fields of a UUID are little-endian here, §7.2.1.
  for (const unsigned i : {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}) w.u8s(c.uuid[i]);
  w.u8s(kPowerSwitch).text(c.sku).text(c.family);
  w.end();
}

void write_chassis(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kOther = 1, kSafe = 3, kSecurityUnknown = 2;
  w.begin(3, kChassis);
  w.text(c.manufacturer).u8s(kOther).text(c.version).text("").text("");
  w.u8s(kSafe).u8s(kSafe).u8s(kSafe).u8s(kSecurityUnknown).u32s(0).u8s(0).u8s(0).u8s(0).u8s(0).text("");
  w.end();
}

void write_processor(Writer& w, const SmbiosConfig& c, unsigned socket) {
  constexpr u8 kCentral = 3, kOther = 1, kPopulatedEnabled = 0x41, kMaxByte = 0xff;
  constexpr u16 kSpeedMhz = 2000, kUnknown = 0x02;
  const unsigned threads = c.cores * c.threads;
  w.begin(4, u16(kProcessor + socket));
  w.text("CPU " + std::to_string(socket)).u8s(kCentral).u8s(kOther).text(c.manufacturer);
  w.u32s(c.cpuid_1_eax).u32s(c.cpuid_1_edx).text(c.version);
  w.u8s(0).u16s(0).u16s(kSpeedMhz).u16s(kSpeedMhz).u8s(kPopulatedEnabled).u8s(kOther);
  w.u16s(kNoCache).u16s(kNoCache).u16s(kNoCache).text("").text("").text("");
  // Counts beyond a byte are given in the fields of version 3.0, which our structures do not have, §7.5.6.
  w.u8s(std::min<unsigned>(c.cores, kMaxByte))
      .u8s(std::min<unsigned>(c.cores, kMaxByte))
      .u8s(std::min<unsigned>(threads, kMaxByte));
  w.u16s(kUnknown).u16s(kOther);
  w.end();
}

void write_memory(Writer& w, const SmbiosConfig& c) {
  constexpr u8 kOther = 1, kSystemMemory = 3, kMultiBitEcc = 6, kDimm = 9, kRamType = 7;
  constexpr u16 kDetailOther = 2, kSizeExtended = 0x7fff, kUnknownWidth = 0xffff;
  constexpr u32 kCapacityExtended = 0x8000'0000;
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
    w.u16s(std::min<u64>(mib, kSizeExtended)).u8s(kDimm).u8s(0).text("DIMM " + std::to_string(i)).text("");
    w.u8s(kRamType).u16s(kDetailOther).u16s(0).text(c.manufacturer).text("").text("").text("");
    w.u8s(0).u32s(mib >= kSizeExtended ? mib : 0).u16s(0).u16s(0).u16s(0).u16s(0);
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

SmbiosTables build_smbios_tables(const SmbiosConfig& config) {
  Writer w;
  if (config.bios) write_bios(w, *config.bios);
  write_system(w, config);
  write_chassis(w, config);
  for (unsigned socket = 0; socket < config.sockets; socket++) write_processor(w, config, socket);
  write_memory(w, config);
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
