// SPDX-License-Identifier: Apache-2.0
// Writes AML, the byte code of ACPI tables. ACPI 6.4 chapter 20 (grammar) and §6.4 (resource descriptors).
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "util/types.h"

namespace emu::hw::aml {

/// Encoded terms. Functions below make one each; `a << b` appends, so a list of terms is an Aml too.
class Aml {
 public:
  Aml() = default;
  Aml(std::initializer_list<u8> bytes) : bytes_(bytes) {}

  Aml& operator<<(const Aml& more) {
    bytes_.insert(bytes_.end(), more.bytes_.begin(), more.bytes_.end());
    return *this;
  }
  Aml& byte(u8 v) {
    bytes_.push_back(v);
    return *this;
  }
  /// Little-endian.
  Aml& number(u64 v, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) byte(u8(v >> (8 * i)));
    return *this;
  }
  const std::vector<u8>& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }

 private:
  std::vector<u8> bytes_;
};

/// Terms one after the other.
Aml list(std::initializer_list<Aml> terms);

// Data. --------------------------------------------------------------------------------------------------------------
/// "\\_SB.PCI0", "^LNKA", "PRQ0"; segments shorter than four letters are padded.
Aml path(std::string_view name);
Aml integer(u64 value);
Aml text(std::string_view ascii);
Aml buffer(const std::vector<u8>& bytes);
Aml package(std::initializer_list<Aml> elements);
Aml package(const std::vector<Aml>& elements);  ///< any number of elements
Aml eisa_id(std::string_view id);               ///< "PNP0A03"
Aml uuid(std::string_view id);                  ///< "33db4d5b-1ff7-401c-9657-7441c03dd766" as ToUUID makes it
Aml local(unsigned n);
Aml arg(unsigned n);

// Named objects. -----------------------------------------------------------------------------------------------------
Aml name(std::string_view path, const Aml& value);
Aml scope(std::string_view path, const Aml& body);
Aml device(std::string_view name, const Aml& body);
enum class Serialize { No, Yes };
Aml method(std::string_view name, unsigned arguments, Serialize serialize, const Aml& body);

enum class Space : u8 { SystemMemory = 0, SystemIo = 1, PciConfig = 2 };
Aml operation_region(std::string_view name, Space space, u64 offset, u64 length);
enum class Access : u8 { Any = 0, Byte = 1, Word = 2, DWord = 3, QWord = 4 };
enum class Update : u8 { Preserve = 0, Ones = 1, Zeros = 2 };
struct FieldUnit {
  std::string_view name;  ///< "" skips the bits
  unsigned bits;
};
Aml field(std::string_view region, Access access, Update update, std::initializer_list<FieldUnit> units);
Aml create_dword_field(const Aml& buffer, u64 byte_offset, std::string_view name);

// Statements and operators. `target` is a name, local or empty (no target).
// --------------------------------------------
Aml store(const Aml& value, const Aml& target);
Aml bit_and(const Aml& a, const Aml& b, const Aml& target = {});
Aml bit_or(const Aml& a, const Aml& b, const Aml& target = {});
Aml add(const Aml& a, const Aml& b, const Aml& target = {});
Aml shift_left(const Aml& a, const Aml& count, const Aml& target = {});
Aml equal(const Aml& a, const Aml& b);
Aml less(const Aml& a, const Aml& b);
Aml logical_not(const Aml& a);
Aml logical_and(const Aml& a, const Aml& b);
Aml logical_or(const Aml& a, const Aml& b);
Aml if_then(const Aml& condition, const Aml& body);
Aml otherwise(const Aml& body);  ///< right after if_then
Aml while_loop(const Aml& condition, const Aml& body);
Aml give(const Aml& value);  ///< Return
Aml call(std::string_view method, std::initializer_list<Aml> arguments);
Aml notify(std::string_view object, u64 value);
Aml notify_with(std::string_view object, const Aml& value);

// Resource templates. ------------------------------------------------------------------------------------------------
enum class Trigger : u8 { Level = 0, Edge = 1 };
enum class Polarity : u8 { High = 0, Low = 1 };
enum class Sharing : u8 { Exclusive = 0, Shared = 1 };
enum class Cache : u8 { None = 0, Cacheable = 1, WriteCombining = 2, Prefetchable = 3 };

class Resources {
 public:
  Resources& irq(unsigned isa_irq);  ///< edge, active high, exclusive
  Resources& interrupts(Trigger trigger, Polarity polarity, Sharing sharing, const std::vector<u32>& numbers);
  Resources& io(u16 first, u8 length, u8 alignment = 1);
  Resources& memory32(u32 base, u32 length, bool writable = true);
  // Windows that a bridge passes on; first and last inclusive.
  Resources& bus_numbers(u16 first, u16 last);
  Resources& io_window(u16 first, u16 last);
  Resources& memory_window32(u32 first, u32 last, Cache cache);
  Resources& memory_window64(u64 first, u64 last, Cache cache);
  Aml finish() const;

 private:
  template <typename T>
  void window(u8 tag, u8 type, u8 type_flags, T first, T last);
  Aml bytes_;
};

}  // namespace emu::hw::aml
