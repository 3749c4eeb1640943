// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/aml.h"

#include <algorithm>
#include <string>

#include "util/check.h"

namespace emu::hw::aml {
namespace {

// §20.3, table "AML byte stream byte values"
enum Op : u8 {
  kZero = 0x00,
  kOne = 0x01,
  kName = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDWordPrefix = 0x0c,
  kStringPrefix = 0x0d,
  kQWordPrefix = 0x0e,
  kScope = 0x10,
  kBuffer = 0x11,
  kPackage = 0x12,
  kVarPackage = 0x13,
  kMethod = 0x14,
  kDualNamePrefix = 0x2e,
  kMultiNamePrefix = 0x2f,
  kExtPrefix = 0x5b,
  kRootChar = 0x5c,
  kParentPrefix = 0x5e,
  kLocal0 = 0x60,
  kArg0 = 0x68,
  kStore = 0x70,
  kAdd = 0x72,
  kShiftLeft = 0x79,
  kAnd = 0x7b,
  kOr = 0x7d,
  kNotify = 0x86,
  kCreateDWordField = 0x8a,
  kLAnd = 0x90,
  kLOr = 0x91,
  kLNot = 0x92,
  kLEqual = 0x93,
  kLLess = 0x95,
  kIf = 0xa0,
  kElse = 0xa1,
  kWhile = 0xa2,
  kReturn = 0xa4,
  kOnes = 0xff,
};
enum ExtOp : u8 { kOpRegion = 0x80, kField = 0x81, kDevice = 0x82 };

/// A package length (§20.2.4) counts itself: `rest` bytes follow it.
Aml package_length(size_t rest) {
  Aml out;
  if (rest + 1 < 0x40) return out.byte(u8(rest + 1));
  unsigned extra = 1;
  while (rest + 1 + extra >= size_t(1) << (4 + 8 * extra)) extra++;
  EMU_CHECK(extra <= 3);
  const size_t length = rest + 1 + extra;
  out.byte(u8(extra << 6 | (length & 15)));
  return out.number(length >> 4, extra);
}

/// The length of a field unit uses the same form but does not count itself.
Aml field_length(unsigned bits) {
  Aml out;
  if (bits < 0x40) return out.byte(u8(bits));
  const unsigned extra = bits < 1u << 12 ? 1 : bits < 1u << 20 ? 2 : 3;
  out.byte(u8(extra << 6 | (bits & 15)));
  return out.number(bits >> 4, extra);
}

Aml enclosed(std::initializer_list<u8> op, const Aml& content) {
  Aml out(op);
  return out << package_length(content.size()) << content;
}

Aml operation(u8 op, std::initializer_list<Aml> operands) {
  Aml out{op};
  for (const Aml& operand : operands) out << operand;
  return out;
}

Aml target_or_none(const Aml& target) { return target.size() == 0 ? Aml{kZero} : target; }

Aml segment(std::string_view name) {
  EMU_CHECK(!name.empty() && name.size() <= 4);
  Aml out;
  for (unsigned i = 0; i < 4; i++) out.byte(i < name.size() ? u8(name[i]) : u8('_'));
  return out;
}

}  // namespace

Aml list(std::initializer_list<Aml> terms) {
  Aml out;
  for (const Aml& term : terms) out << term;
  return out;
}

// Data. --------------------------------------------------------------------------------------------------------------

Aml path(std::string_view name) {
  Aml out;
  if (name.starts_with('\\')) {
    out.byte(kRootChar);
    name.remove_prefix(1);
  }
  while (name.starts_with('^')) {
    out.byte(kParentPrefix);
    name.remove_prefix(1);
  }
  if (name.empty()) return out.byte(kZero);
  const auto count = size_t(1 + std::count(name.begin(), name.end(), '.'));
  EMU_CHECK(count < 256);
  if (count == 2) out.byte(kDualNamePrefix);
  if (count > 2) out.byte(kMultiNamePrefix).byte(u8(count));
  while (true) {
    const size_t dot = name.find('.');
    out << segment(name.substr(0, dot));
    if (dot == std::string_view::npos) return out;
    name.remove_prefix(dot + 1);
  }
}

Aml integer(u64 value) {
  Aml out;
  if (value <= 1) return out.byte(value == 0 ? kZero : kOne);
  if (value == ~u64(0)) return out.byte(kOnes);
  if (value <= 0xff) return out.byte(kBytePrefix).number(value, 1);
  if (value <= 0xffff) return out.byte(kWordPrefix).number(value, 2);
  if (value <= 0xffff'ffff) return out.byte(kDWordPrefix).number(value, 4);
  return out.byte(kQWordPrefix).number(value, 8);
}

Aml text(std::string_view ascii) {
  Aml out{kStringPrefix};
  for (const char c : ascii) out.byte(u8(c));
  return out.byte(0);
}

Aml buffer(const std::vector<u8>& bytes) {
  Aml content = integer(bytes.size());
  for (const u8 b : bytes) content.byte(b);
  return enclosed({kBuffer}, content);
}

Aml package(std::initializer_list<Aml> elements) { return package(std::vector<Aml>(elements)); }

Aml package(const std::vector<Aml>& elements) {
  Aml content;
  const bool few = elements.size() < 256;
  if (few)
    content.byte(u8(elements.size()));
  else
    content << integer(elements.size());
  for (const Aml& element : elements) content << element;
  return enclosed({few ? kPackage : kVarPackage}, content);
}

/// Three letters of five bits and four hexadecimal digits, big-endian (§19.3.4).
Aml eisa_id(std::string_view id) {
  EMU_CHECK(id.size() == 7);
  u32 value = u32(id[0] - '@') << 26 | u32(id[1] - '@') << 21 | u32(id[2] - '@') << 16;
  value |= u32(std::stoul(std::string(id.substr(3)), nullptr, 16));
  return Aml{kDWordPrefix}.number(__builtin_bswap32(value), 4);
}

/// The first three groups are little-endian, the rest as written (§19.6.142).
Aml uuid(std::string_view id) {
  static constexpr unsigned kDigits[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};
  EMU_CHECK(id.size() == 36);
  std::vector<u8> bytes;
  for (const unsigned at : kDigits) bytes.push_back(u8(std::stoul(std::string(id.substr(at, 2)), nullptr, 16)));
  return buffer(bytes);
}

Aml local(unsigned n) { return Aml{u8(kLocal0 + n)}; }
Aml arg(unsigned n) { return Aml{u8(kArg0 + n)}; }

// Named objects. -----------------------------------------------------------------------------------------------------

Aml name(std::string_view object, const Aml& value) { return operation(kName, {path(object), value}); }
Aml scope(std::string_view object, const Aml& body) { return enclosed({kScope}, list({path(object), body})); }
Aml device(std::string_view object, const Aml& body) {
  return enclosed({kExtPrefix, kDevice}, list({path(object), body}));
}

Aml method(std::string_view object, unsigned arguments, Serialize serialize, const Aml& body) {
  Aml content = path(object);
  content.byte(u8(arguments | (serialize == Serialize::Yes ? 8 : 0)));
  return enclosed({kMethod}, content << body);
}

Aml operation_region(std::string_view object, Space space, u64 offset, u64 length) {
  Aml out{kExtPrefix, kOpRegion};
  out << path(object);
  out.byte(u8(space));
  return out << integer(offset) << integer(length);
}

Aml field(std::string_view region, Access access, Update update, std::initializer_list<FieldUnit> units) {
  Aml content = path(region);
  content.byte(u8(u8(access) | u8(update) << 5));  // without the global lock
  for (const FieldUnit& unit : units) {
    if (unit.name.empty())
      content.byte(0);
    else
      content << segment(unit.name);
    content << field_length(unit.bits);
  }
  return enclosed({kExtPrefix, kField}, content);
}

Aml create_dword_field(const Aml& source, u64 byte_offset, std::string_view object) {
  return operation(kCreateDWordField, {source, integer(byte_offset), path(object)});
}

// Statements and operators. ------------------------------------------------------------------------------------------

Aml store(const Aml& value, const Aml& target) { return operation(kStore, {value, target}); }
Aml bit_and(const Aml& a, const Aml& b, const Aml& target) { return operation(kAnd, {a, b, target_or_none(target)}); }
Aml bit_or(const Aml& a, const Aml& b, const Aml& target) { return operation(kOr, {a, b, target_or_none(target)}); }
Aml add(const Aml& a, const Aml& b, const Aml& target) { return operation(kAdd, {a, b, target_or_none(target)}); }
Aml shift_left(const Aml& a, const Aml& count, const Aml& target) {
  return operation(kShiftLeft, {a, count, target_or_none(target)});
}
Aml equal(const Aml& a, const Aml& b) { return operation(kLEqual, {a, b}); }
Aml less(const Aml& a, const Aml& b) { return operation(kLLess, {a, b}); }
Aml logical_not(const Aml& a) { return operation(kLNot, {a}); }
Aml logical_and(const Aml& a, const Aml& b) { return operation(kLAnd, {a, b}); }
Aml logical_or(const Aml& a, const Aml& b) { return operation(kLOr, {a, b}); }
Aml if_then(const Aml& condition, const Aml& body) { return enclosed({kIf}, list({condition, body})); }
Aml otherwise(const Aml& body) { return enclosed({kElse}, body); }
Aml while_loop(const Aml& condition, const Aml& body) { return enclosed({kWhile}, list({condition, body})); }
Aml give(const Aml& value) { return operation(kReturn, {value}); }

Aml call(std::string_view object, std::initializer_list<Aml> arguments) {
  Aml out = path(object);
  for (const Aml& argument : arguments) out << argument;
  return out;
}

Aml notify(std::string_view object, u64 value) { return notify_with(object, integer(value)); }
Aml notify_with(std::string_view object, const Aml& value) { return operation(kNotify, {path(object), value}); }

// Resource templates, §6.4. ------------------------------------------------------------------------------------------

Resources& Resources::irq(unsigned isa_irq) {
  bytes_.byte(0x22).number(u64(1) << isa_irq, 2);
  return *this;
}

Resources& Resources::interrupts(Trigger trigger, Polarity polarity, Sharing sharing, const std::vector<u32>& numbers) {
  bytes_.byte(0x89).number(2 + 4 * numbers.size(), 2);
  bytes_.byte(u8(1 | u8(trigger) << 1 | u8(polarity) << 2 | u8(sharing) << 3));  // consumer
  bytes_.byte(u8(numbers.size()));
  for (const u32 number : numbers) bytes_.number(number, 4);
  return *this;
}

Resources& Resources::io(u16 first, u8 length, u8 alignment) {
  bytes_.byte(0x47).byte(1).number(first, 2).number(first, 2).byte(alignment).byte(length);  // 16-bit decode
  return *this;
}

Resources& Resources::memory32(u32 base, u32 length, bool writable) {
  bytes_.byte(0x86).number(9, 2).byte(writable ? 1 : 0).number(base, 4).number(length, 4);
  return *this;
}

template <typename T>
void Resources::window(u8 tag, u8 type, u8 type_flags, T first, T last) {
  constexpr u8 kProducerFixed = 0x0c;  // bridge passes it on; both ends are fixed; positive decode
  bytes_.byte(tag).number(3 + 5 * sizeof(T), 2).byte(type).byte(kProducerFixed).byte(type_flags);
  bytes_.number(0, sizeof(T)).number(first, sizeof(T)).number(last, sizeof(T)).number(0, sizeof(T));
  bytes_.number(T(last - first + 1), sizeof(T));
}

Resources& Resources::bus_numbers(u16 first, u16 last) {
  window<u16>(0x88, 2, 0, first, last);
  return *this;
}
Resources& Resources::io_window(u16 first, u16 last) {
  window<u16>(0x88, 1, 3, first, last);  // both ISA and non-ISA ranges
  return *this;
}
Resources& Resources::memory_window32(u32 first, u32 last, Cache cache) {
  window<u32>(0x87, 0, u8(1 | u8(cache) << 1), first, last);
  return *this;
}
Resources& Resources::memory_window64(u64 first, u64 last, Cache cache) {
  window<u64>(0x8a, 0, u8(1 | u8(cache) << 1), first, last);
  return *this;
}

Aml Resources::finish() const {
  std::vector<u8> all = bytes_.bytes();
  all.push_back(0x79);  // end tag; a checksum of zero counts as right
  all.push_back(0);
  return buffer(all);
}

}  // namespace emu::hw::aml
