// SPDX-License-Identifier: Apache-2.0
// Register tables: offsets, masks and side effects of a device's registers, as data.
#pragma once

#include <algorithm>
#include <concepts>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "hw/core/device_class.h"
#include "util/bits.h"
#include "util/log.h"

namespace emu::hw {

/// A member function that gives a register's value: `u32 f() const`, or `u32 f(unsigned index)` for arrays.
template <typename T>
class ReadHook {
 public:
  ReadHook() = default;
  template <typename C, std::integral R>
  ReadHook(R (C::*f)() const) : call_([f](T& d, unsigned) { return u64((d.*f)()); }), width_(sizeof(R)) {}
  template <typename C, std::integral R>
  ReadHook(R (C::*f)()) : call_([f](T& d, unsigned) { return u64((d.*f)()); }), width_(sizeof(R)) {}
  template <typename C, std::integral R>
  ReadHook(R (C::*f)(unsigned) const) : call_([f](T& d, unsigned i) { return u64((d.*f)(i)); }), width_(sizeof(R)) {}
  template <typename C, std::integral R>
  ReadHook(R (C::*f)(unsigned)) : call_([f](T& d, unsigned i) { return u64((d.*f)(i)); }), width_(sizeof(R)) {}
  explicit operator bool() const { return bool(call_); }
  u64 operator()(T& device, unsigned index) const { return call_(device, index); }
  unsigned width() const { return width_; }

 private:
  std::function<u64(T&, unsigned)> call_;
  unsigned width_ = 0;
};

/// A member function that takes the whole written value: `void f(u32 value)` or `void f(unsigned index, u32 value)`.
template <typename T>
class WriteHook {
 public:
  WriteHook() = default;
  template <typename C, std::integral V>
  WriteHook(void (C::*f)(V)) : call_([f](T& d, unsigned, u64 v) { (d.*f)(V(v)); }), width_(sizeof(V)) {}
  template <typename C, std::integral V>
  WriteHook(void (C::*f)(unsigned, V)) : call_([f](T& d, unsigned i, u64 v) { (d.*f)(i, V(v)); }), width_(sizeof(V)) {}
  explicit operator bool() const { return bool(call_); }
  void operator()(T& device, unsigned index, u64 value) const { call_(device, index, value); }
  unsigned width() const { return width_; }

 private:
  std::function<void(T&, unsigned, u64)> call_;
  unsigned width_ = 0;
};

/// A member function that is told after the state changed: `void f()` or `void f(unsigned index)`.
template <typename T>
class WroteHook {
 public:
  WroteHook() = default;
  template <typename C>
  WroteHook(void (C::*f)()) : call_([f](T& d, unsigned) { (d.*f)(); }) {}
  template <typename C>
  WroteHook(void (C::*f)(unsigned)) : call_([f](T& d, unsigned i) { (d.*f)(i); }) {}
  explicit operator bool() const { return bool(call_); }
  void operator()(T& device, unsigned index) const { call_(device, index); }

 private:
  std::function<void(T&, unsigned)> call_;
};

/// What a register does. A bit that no mask mentions is read-only zero; a state register with no mask at all is
/// read-only and shows its whole value.
template <typename T>
struct RegSpec {
  u64 rw = 0;         ///< bits the guest reads and writes
  u64 w1c = 0;        ///< bits cleared by writing one
  u64 w1s = 0;        ///< bits set by writing one
  u64 ro = 0;         ///< bits the guest sees and cannot change
  ReadHook<T> read;   ///< instead of the state's value, masks not applied; may have side effects
  WriteHook<T> write;  ///< instead of storing into the state; gets the raw value
  WroteHook<T> wrote;  ///< after the state was changed by a write, even to the same value
  unsigned width = 0;  ///< bytes; 0: that of the state member or the hook
};

/// The registers of one region. `T` is the device, `S` its state struct.
template <typename T, typename S>
class RegisterTable final : public RegisterTableBase {
 public:
  template <typename C>
  RegisterTable(std::string name, u64 size, S C::* state)
      : name_(std::move(name)), size_(size), state_([state](T& d) -> S& { return d.*state; }) {}

  /// A register that is a member of the state.
  template <std::integral F>
  RegisterTable& reg(hwaddr offset, std::string name, F S::* field, RegSpec<T> spec = {}) {
    Entry& entry = add(offset, std::move(name), spec, sizeof(F), 1, 0);
    if ((spec.rw | spec.w1c | spec.w1s | spec.ro) == 0) entry.spec.ro = low_mask(entry.width * 8);
    entry.load = [field](S& s, unsigned) { return u64(s.*field); };
    entry.store = [field](S& s, unsigned, u64 v) { s.*field = F(v); };
    return *this;
  }
  /// A register that is computed: by .read, .write or both. Without .read it reads as zero.
  RegisterTable& reg(hwaddr offset, std::string name, RegSpec<T> spec) {
    add(offset, std::move(name), spec, std::max(spec.read.width(), spec.write.width()), 1, 0);
    return *this;
  }
  /// `N` registers, `stride` bytes apart, in an array of the state.
  template <std::integral F, size_t N>
  RegisterTable& regs(hwaddr offset, std::string name, unsigned stride, std::array<F, N> S::* field,
                      RegSpec<T> spec = {}) {
    Entry& entry = add(offset, std::move(name), spec, sizeof(F), N, stride);
    if ((spec.rw | spec.w1c | spec.w1s | spec.ro) == 0) entry.spec.ro = low_mask(entry.width * 8);
    entry.load = [field](S& s, unsigned i) { return u64((s.*field)[i]); };
    entry.store = [field](S& s, unsigned i, u64 v) { (s.*field)[i] = F(v); };
    return *this;
  }
  /// `count` computed registers; the hooks take the index.
  RegisterTable& regs(hwaddr offset, std::string name, unsigned stride, unsigned count, RegSpec<T> spec) {
    add(offset, std::move(name), spec, std::max(spec.read.width(), spec.write.width()), count, stride);
    return *this;
  }

  /// Access sizes the guest may use. By default from the narrowest register's width to the widest's; wider accesses
  /// are split. An access narrower than its register reads or replaces part of it.
  RegisterTable& access(unsigned min, unsigned max) {
    access_ = {u8(min), u8(max)};
    return *this;
  }
  RegisterTable& endian(mem::Endian endian) {
    options_.endian = endian;
    return *this;
  }
  /// Locking::None: the hooks and the state are then protected by the device itself.
  RegisterTable& locking(mem::Locking locking) {
    options_.locking = locking;
    return *this;
  }
  /// Offsets without a register read as this (default 0); many ISA parts float to all ones.
  RegisterTable& unknown_reads_as(u64 value) {
    unknown_ = value;
    return *this;
  }

  std::vector<RegisterInfo> rows() const override {
    std::vector<RegisterInfo> rows;
    for (const Entry& e : entries_)
      rows.push_back({e.offset, e.name, e.width, e.count, e.stride, e.spec.rw, e.spec.w1c, e.spec.ro});
    return rows;
  }

  mem::RegionRef make_region(T& device, mem::Memory& memory) const {
    mem::MmioOptions options = options_;
    options.valid = options.impl = access_.max != 0 ? access_ : mem::AccessSizes{narrowest(), widest()};
    return mem::Region::mmio(memory, name_, size_, std::make_unique<Ops>(device, *this), options);
  }

  u64 read(T& device, u64 offset, unsigned size) const {
    unsigned index = 0;
    const Entry* entry = find(offset, size, index);
    if (entry == nullptr) {
      log::guest_error("{}: {}: read of {} bytes at {:#x}, where no register is", device.path(), name_, size, offset);
      return unknown_;
    }
    const u64 value = entry->read_value(device, state_(device), index);
    return bits(value, entry->width * 8 - 1, 0) >> (8 * (offset - entry->start(index)));
  }

  void write(T& device, u64 offset, u64 value, unsigned size) const {
    unsigned index = 0;
    const Entry* entry = find(offset, size, index);
    if (entry == nullptr) {
      log::guest_error("{}: {}: write of {:#x}, {} bytes, at {:#x}, where no register is", device.path(), name_, value,
                       size, offset);
      return;
    }
    const unsigned shift = 8 * unsigned(offset - entry->start(index));
    entry->write_value(device, state_(device), index, value << shift, low_mask(size * 8) << shift);
  }

 private:
  struct Entry {
    hwaddr offset;
    std::string name;
    unsigned width, count, stride;
    RegSpec<T> spec;
    std::function<u64(S&, unsigned)> load;
    std::function<void(S&, unsigned, u64)> store;

    hwaddr start(unsigned index) const { return offset + hwaddr(index) * stride; }
    hwaddr end() const { return start(count - 1) + width; }
    u64 read_value(T& device, S& state, unsigned index) const {
      if (spec.read) return spec.read(device, index);
      return load ? load(state, index) & (spec.rw | spec.w1c | spec.w1s | spec.ro) : 0;
    }
    void write_value(T& device, S& state, unsigned index, u64 value, u64 lanes) const {
      if (spec.write) {
        spec.write(device, index, value);
      } else if (load) {
        const u64 old = load(state, index);
        const u64 rw = spec.rw & lanes;
        u64 updated = (old & ~rw) | (value & rw);
        updated &= ~(value & spec.w1c & lanes);
        updated |= value & spec.w1s & lanes;
        store(state, index, updated);
      } else {
        log::guest_error("{}: write of {:#x} to {}, which is read-only", device.path(), value, name);
      }
      if (spec.wrote) spec.wrote(device, index);
    }
  };

  class Ops final : public mem::MmioOps {
   public:
    Ops(T& device, const RegisterTable& table) : device_(device), table_(table) {}
    u64 read(u64 offset, unsigned size) override { return table_.read(device_, offset, size); }
    void write(u64 offset, u64 value, unsigned size) override { table_.write(device_, offset, value, size); }

   private:
    T& device_;
    const RegisterTable& table_;
  };

  Entry& add(hwaddr offset, std::string name, const RegSpec<T>& spec, unsigned width, unsigned count, unsigned stride) {
    if (spec.width != 0) width = spec.width;
    EMU_CHECK(width == 1 || width == 2 || width == 4 || width == 8);
    EMU_CHECK(count > 0 && (count == 1 || stride >= width));
    Entry entry{offset, std::move(name), width, count, stride, spec, {}, {}};
    EMU_CHECK(entry.end() <= size_);
    auto place = std::upper_bound(entries_.begin(), entries_.end(), offset,
                                  [](hwaddr o, const Entry& e) { return o < e.offset; });
    EMU_CHECK(place == entries_.begin() || std::prev(place)->end() <= offset);  // registers do not overlap
    EMU_CHECK(place == entries_.end() || entry.end() <= place->offset);
    return *entries_.insert(place, std::move(entry));
  }
  /// The register in which all of [offset, offset + size) lies.
  const Entry* find(u64 offset, unsigned size, unsigned& index) const {
    auto after = std::upper_bound(entries_.begin(), entries_.end(), offset,
                                  [](u64 o, const Entry& e) { return o < e.offset; });
    if (after == entries_.begin()) return nullptr;
    const Entry& entry = *std::prev(after);
    index = entry.count == 1 ? 0 : unsigned((offset - entry.offset) / entry.stride);
    if (index >= entry.count || offset + size > entry.start(index) + entry.width) return nullptr;
    return &entry;
  }
  u8 narrowest() const {
    unsigned width = 8;
    for (const Entry& e : entries_) width = std::min(width, e.width);
    return u8(width);
  }
  u8 widest() const {
    unsigned width = 1;
    for (const Entry& e : entries_) width = std::max(width, e.width);
    return u8(width);
  }

  std::string name_;
  u64 size_;
  std::function<S&(T&)> state_;
  std::vector<Entry> entries_;  // by offset
  mem::AccessSizes access_{0, 0};
  mem::MmioOptions options_;
  u64 unknown_ = 0;
};

}  // namespace emu::hw
